# Licensed under a 3-clause BSD style license - see LICENSE
"""Growth of masks."""

import numpy as np

from imcombiners_astro import planes
from imcombiners_astro.stacks import radius_of
from imcombiners_astro.threads import threads_for

__all__ = ["grow_mask"]


def grow_mask(mask, grow, *, validate=True):
    """
    Mask whatever is near a masked sample of the same frame.

    Parameters
    ----------
    mask : bool `~numpy.ndarray` (N, *spatial)
        True where a sample is masked.
    grow : float
        Radius in pixels: a sample at a distance of ``grow`` is masked. The distance
        is Euclidean, over all axes but the first.
    validate : bool
        Whether to check ``mask``.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        A new mask.

    Raises
    ------
    ValueError
        If ``mask`` has fewer than two dimensions, or ``grow`` is not finite
        or negative.
    TypeError
        If ``mask`` is no array of booleans.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import grow_mask
    >>> mask = np.zeros((1, 3, 3), dtype=bool)
    >>> mask[0, 1, 1] = True
    >>> grow_mask(mask, 1)[0].astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 1, 0]])
    """
    if validate:
        if not isinstance(mask, np.ndarray) or mask.dtype != bool:
            found = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"mask: found {found}, expected an array of booleans")
        if mask.ndim < 2:
            raise ValueError(
                "mask must have at least 2 dimensions, (N, *spatial); "
                f"found shape {mask.shape}"
            )
    threads = threads_for(mask[:1].size)
    return planes.grow_mask(mask, radius_of(grow), n_threads=threads)
