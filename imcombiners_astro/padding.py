# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames placed at integer offsets into one padded stack."""

import numpy as np

from imcombiners_astro.samples import work_dtype

__all__ = ["place_into_padded"]


def place_into_padded(images, offsets, *, fill=np.nan, validate=True):
    """
    Place images at integer offsets into a stack that holds them all.

    Parameters
    ----------
    images : iterable of `~numpy.ndarray`
        Images with the same number of axes, of any shapes without an empty axis.
    offsets : integer array-like (N, ndim)
        Position of the first pixel of each image, in the order of the axes (y, x).
        The smallest on each axis becomes 0.
    fill : float
        Value of the pixels that an image does not cover.
    validate : bool
        Whether to check the shapes of the images.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` (N, *shape)
        The stack, of the smallest shape that holds all images; float64 if any image
        needs it.

    Raises
    ------
    ValueError
        If there is no image, the numbers of axes differ, an image is empty, the
        offsets do not fit the images, or the stack would be too large to index.
    TypeError
        If the offsets are no integers, or an image has a type that cannot be
        combined.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import place_into_padded
    >>> place_into_padded([np.ones(2), np.full(2, 2.0)], [[0], [1]], fill=0)
    array([[1., 1., 0.],
           [0., 2., 2.]])
    """
    images = [np.asarray(image) for image in images]
    if not images:
        raise ValueError("images: found none, expected at least one")
    ndim = images[0].ndim
    for k, image in enumerate(images if validate else ()):
        if image.ndim != ndim or ndim == 0:
            raise ValueError(
                f"images[{k}]: found {image.ndim} dimensions, expected "
                + (f"{ndim} as the first image" if ndim else "at least 1")
            )
        if 0 in image.shape:
            raise ValueError(f"images[{k}]: found a zero-length axis in {image.shape}")
    dtype = np.result_type(
        *(work_dtype(image.dtype, f"images[{k}]") for k, image in enumerate(images))
    )
    starts = relative_offsets(offsets, len(images), ndim)
    outer = []
    for axis in range(ndim):
        ends = [
            start[axis] + im.shape[axis]
            for start, im in zip(starts, images, strict=True)
        ]
        if max(ends) > np.iinfo(np.intp).max:
            raise ValueError(f"padded output {axis_name(axis, ndim)} overflow")
        outer.append(max(ends))
    stack = np.full((len(images), *outer), fill, dtype=dtype)
    for plane, start, image in zip(stack, starts, images, strict=True):
        box = tuple(slice(s, s + n) for s, n in zip(start, image.shape, strict=True))
        plane[box] = image
    return stack


def relative_offsets(offsets, n_images, ndim):
    """Return the offsets as Python integers, the smallest on each axis 0."""
    offsets = np.asarray(offsets)
    if offsets.shape != (n_images, ndim):
        raise ValueError(
            f"offsets: found shape {offsets.shape}, expected ({n_images}, {ndim})"
        )
    if offsets.dtype.kind not in "iu":
        raise TypeError(f"offsets: found dtype {offsets.dtype}, expected integers")
    rows = offsets.tolist()  # of Python integers, which do not overflow
    first = [min(row[axis] for row in rows) for axis in range(ndim)]
    starts = [[at - low for at, low in zip(row, first, strict=True)] for row in rows]
    for row in starts:
        for axis, start in enumerate(row):
            if start > np.iinfo(np.int64).max:
                name = axis_name(axis, ndim)
                raise ValueError(f"normalized {name} offset overflow")
    return starts


def axis_name(axis, ndim):
    """Return x for the last axis, y for the one before, z, else the number."""
    from_last = ndim - 1 - axis
    return "xyz"[from_last] if from_last < 3 else f"axis {axis}"
