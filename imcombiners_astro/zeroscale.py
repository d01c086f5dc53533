# Licensed under a 3-clause BSD style license - see LICENSE
"""
Zero levels and scales of the frames: numbers, or statistics of the frames themselves.

A sample enters a combination as ``(value - zero) / scale``.
"""

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro.samples import Samples, join
from imcombiners_astro.stacks import mask_threshold

__all__ = ["frame_numbers", "resolve_zero_scale", "with_zero_scale"]


# The mode is looked for with a window of this width in steps of this size, both in
# units of the range of the middle 70 per cent of the values, as in IRAF.
_WINDOW, _STEP = 0.1, 0.01
_FEWEST_FOR_MODE = 10


def mean(values):
    """Return the mean in double precision."""
    return np.mean(values, dtype=np.float64)


def total(values):
    """Return the sum in double precision."""
    return np.sum(values, dtype=np.float64)


def median(values):
    """Return the median in double precision."""
    half = values.size // 2
    # For a single rank NumPy is many times as fast as for two.
    parted = np.partition(values, half)
    lower = parted[half] if values.size % 2 else parted[:half].max()
    return np.float64(lower) / 2 + np.float64(parted[half]) / 2


def sorted_median(ordered):
    """Return the median of ordered values in double precision."""
    lower, upper = ordered[(ordered.size - 1) // 2], ordered[ordered.size // 2]
    return np.float64(lower) / 2 + np.float64(upper) / 2


def sorted_lower_median(ordered):
    """Return the lower of the two middle ones of ordered values."""
    return ordered[(ordered.size - 1) // 2]


SORTED_CENTERS = {
    "mean": mean,
    "median": sorted_median,
    "lmedian": sorted_lower_median,
}


def mode(ordered):
    """
    Return the mode of values as IRAF's imcombine defines it.

    Parameters
    ----------
    ordered : `~numpy.ndarray` (n,)
        Values in ascending order, at least one; or what can be indexed and searched
        like such an array.

    Returns
    -------
    float
        Of the middle 70 per cent of the values, the middle one of those in the fullest
        of half-open windows, which are a tenth of their range wide and a hundredth
        apart; the first one of the fullest counts. The median of fewer than 10 values.

    References
    ----------
    ``ic_mode`` in ``icstat.gx`` of ``images.immatch.imcombine``, IRAF 2.17.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.zeroscale import mode
    >>> mode(np.repeat([0.0, 10, 11, 12, 50, 90], [5, 20, 40, 20, 5, 5]))
    11.0
    """
    if ordered.size < _FEWEST_FOR_MODE:
        return float(sorted_median(ordered))
    first, last = 3 * ordered.size // 20, 17 * ordered.size // 20
    width = ordered[last] - ordered[first]
    if width == 0:
        return float(ordered[first])
    steps = np.full(int(1 / _STEP) + 2, _STEP * width)
    steps[0] = ordered[first] - steps[1]  # one step before the first window
    lows = np.add.accumulate(steps)[1:]
    begin, end = (
        np.clip(ordered.searchsorted(edges), first, last)
        for edges in (lows, lows + _WINDOW * width)
    )
    reach = int(np.argmax(end >= last)) + 1
    fullest = int(np.argmax((end - begin)[:reach]))
    return float(ordered[(begin[fullest] + end[fullest]) // 2])


def clipped(values, *, sigma=3.0, maxiters=5, cenfunc="median", clip_cen=None, ddof=0):
    """
    Return the values of a frame that survive sigma clipping, in ascending order.

    Unlike in a rejection, every pass looks at all the values again.
    """
    low, upp = args.sigma_pair(sigma)
    center = args.center(cenfunc)
    about = args.spread_center(clip_cen) or center
    ddof = args.integer("ddof", ddof)
    ordered = np.sort(values.astype(np.float64))
    start, stop = 0, ordered.size
    for _ in range(args.integer("maxiters", maxiters)):
        kept = ordered[start:stop]
        if kept.size <= ddof:
            break
        middle = SORTED_CENTERS[center](kept)
        origin = SORTED_CENTERS[about](kept)
        std = np.sqrt(np.sum((kept - origin) ** 2) / (kept.size - ddof))
        if std == 0:
            break
        before = start, stop
        start = ordered.searchsorted(middle - low * std, "left")
        stop = ordered.searchsorted(middle + upp * std, "right")
        if (start, stop) == before:
            break
    return ordered[start:stop]


CLIP_OPTIONS = ("sigma", "maxiters", "cenfunc", "clip_cen", "ddof")

_STATISTICS = {
    "mean": ("mean", "average", "avg"),
    "median": ("median", "med"),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "sigclip_mean": ("sigclip_mean", "mean_sc"),
    "sigclip_median": ("sigclip_median", "median_sc", "med_sc"),
}
STATISTICS = {alias: name for name, all_ in _STATISTICS.items() for alias in all_}
FUNCTIONS = {"mean": mean, "median": median, "sum": total, "min": np.min, "max": np.max}


def frame_statistic(name, request, samples, k, clip_options):
    """Return the statistic of frame k that a string or a callable asks for."""
    plane = samples.stack[k]
    mask = samples.mask
    if mask is not None and mask.shape == samples.stack.shape:
        mask = mask[k]
    if callable(request):
        plane = plane.astype(samples.dtype)
        if mask is not None:
            plane[mask] = np.nan
        return args.real(
            name, request(plane), f"a finite number from the callable for frame {k}"
        )
    good = np.isfinite(plane)
    if mask is not None:
        good &= ~mask
    values = plane[good].astype(plane.dtype.newbyteorder("="), copy=False)
    if values.size == 0:
        raise ValueError(f"{name}: frame {k} has no finite, unmasked value")
    statistic = args.choice(name, request, STATISTICS, f"{name} statistic")
    if statistic.startswith("sigclip_"):
        values = clipped(values, **clip_options)
        if values.size == 0:
            raise ValueError(f"{name}: clipping leaves no value of frame {k}")
    return float(FUNCTIONS[statistic.removeprefix("sigclip_")](values))


def frame_numbers(
    name, values, samples, *, nonzero=False, to_0th=False, sigclip_kwargs=None
):
    """
    Return one number for all frames, or one for each.

    Parameters
    ----------
    name : str
        The argument that gave ``values``, for error messages.
    values : float, array-like (N,), str or callable
        See `resolve_zero_scale`.
    samples : `~imcombiners_astro.samples.Samples`
        The frames; masked samples do not enter statistics.
    nonzero, to_0th, sigclip_kwargs
        As in `resolve_zero_scale`.

    Returns
    -------
    float64 `~numpy.ndarray` (1,) or (N,)
        The numbers.
    """
    clip_options = dict(sigclip_kwargs or {})
    unknown = [key for key in clip_options if key not in CLIP_OPTIONS]
    if unknown:
        raise ValueError(
            f"{name}_sigclip_kwargs: unknown key {unknown[0]!r}; "
            f"expected some of {', '.join(CLIP_OPTIONS)}"
        )
    n_frames = len(samples.stack)
    if isinstance(values, str) or callable(values):
        if isinstance(values, str):
            args.choice(name, values, STATISTICS, f"{name} statistic")
        numbers = np.array(
            [
                frame_statistic(name, values, samples, k, clip_options)
                for k in range(n_frames)
            ]
        )
        is_one = False
    else:
        is_one = np.ndim(values) == 0
        numbers = args.vector(
            name, [values] if is_one else values, 1 if is_one else n_frames
        )
    if nonzero and (numbers == 0).any():
        raise ValueError(f"{name}: found 0, expected numbers to divide by")
    if to_0th and not is_one and n_frames > 1:
        numbers = numbers / numbers[0] if nonzero else numbers - numbers[0]
    return numbers


def with_zero_scale(samples, zero, scale, to_0th, sigclip_kwargs):
    """Return the samples with the zero levels and scales that were asked for."""
    requests = {"zero": zero, "scale": scale}
    if any(isinstance(value, str) or callable(value) for value in requests.values()):
        # The statistics see what the thresholds leave.
        mask = join(samples.mask, mask_threshold(samples))
        seen = samples._replace(mask=mask)
    else:
        seen = samples
    numbers = {}
    for (name, value), relative, kwargs in zip(
        requests.items(), to_0th, sigclip_kwargs, strict=True
    ):
        if value is not None:
            vector = frame_numbers(
                name,
                value,
                seen,
                nonzero=name == "scale",
                to_0th=relative,
                sigclip_kwargs=kwargs,
            )
            numbers[name] = np.broadcast_to(vector, len(samples.stack)).copy()
    return samples._replace(**numbers)


def resolve_zero_scale(
    name,
    values,
    arr,
    *,
    nonzero=False,
    to_0th=False,
    sigclip_kwargs=None,
    validate=True,
):
    """
    Return the zero levels or scales of the frames of a stack.

    Parameters
    ----------
    name : str
        What they are, "zero" or "scale", for error messages.
    values : float, array-like (N,), str or callable
        One number for all frames or one for each; the name of a statistic of the
        frames ("mean", "median", "sum", "min", "max", "sigclip_mean",
        "sigclip_median"), or a function of a frame that returns a number.
        Non-finite samples do not enter statistics.
    arr : `~numpy.ndarray` (N, *spatial)
        The stack.
    nonzero : bool
        Whether they are to divide by; the value of the first frame then becomes 1,
        else 0, by ``to_0th``.
    to_0th : bool
        Whether they are made relative to the first frame; a single number is not.
    sigclip_kwargs : dict, optional
        ``sigma`` (3), ``maxiters`` (5), ``cenfunc`` ("median"), ``clip_cen`` (None)
        and ``ddof`` (0) of the statistics "sigclip_mean" and "sigclip_median".
    validate : bool
        Whether to check ``arr``.

    Returns
    -------
    `~numpy.ndarray` (N, 1, ...) or (1, 1, ...)
        To be broadcast against ``arr``; float32 or float64.

    Raises
    ------
    ValueError
        If a number is not finite, or 0 with ``nonzero``, there are not N of them, or
        the statistic or an option of it is unknown.
    TypeError
        If ``values`` or what a callable returns is no number.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import resolve_zero_scale
    >>> stack = np.array([[1.0, 2, 3], [11, 12, 16]])
    >>> resolve_zero_scale("zero", "median", stack, to_0th=True)
    array([[ 0.],
           [10.]])
    """
    samples = Samples.of(arr, None, validate)
    numbers = frame_numbers(
        name,
        values,
        samples,
        nonzero=nonzero,
        to_0th=to_0th,
        sigclip_kwargs=sigclip_kwargs,
    )
    return numbers.astype(samples.dtype).reshape(-1, *[1] * (samples.stack.ndim - 1))
