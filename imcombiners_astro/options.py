# Licensed under a 3-clause BSD style license - see LICENSE
"""
The options of `imcombiners_astro.combine`: checked, with defaults and warnings.

Everything that can be refused without looking at an image is refused here, before a
file is opened.
"""

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from imcombiners_astro import clipfuncs
from imcombiners_astro.errors import ThresholdWarning, UnusedOptionWarning, warn
from imcombiners_astro.extras import Extras, check_extras, is_name, values_by_name

__all__ = ["Clip", "Options", "check_options", "checked_scale", "checked_weights"]

METHODS = ("average", "median", "sum")


class Clip(NamedTuple):
    """
    A sigma clipping.

    Attributes
    ----------
    low, high : float
        Thresholds in units of the spread, never 0.
    center, spread : str or callable
        As the caller gave them.
    pair : (Statistic, Statistic) or None
        The same two, when both are recognised.
    """

    low: float
    high: float
    center: Any
    spread: Any
    pair: tuple | None


class Options(NamedTuple):
    """
    The options of a combination in the form that `combine_frames` takes.

    Attributes
    ----------
    method, dtype, mem_limit, weights, scale, n_threads, progress_bar, blank
        As in `imcombiners_astro.combine`.
    extrema : (int, int) or None
        Numbers of lowest and highest samples to reject.
    limits : (float, float) or None
        Samples outside are rejected.
    clip : Clip or None
        The sigma clipping.
    uncertainty_function : callable or None
        ``combine_uncertainty_function``.
    extras : Extras
        What ccdproc does not have.
    described : tuple of str
        The parameters as they are to be told in a header.
    """

    method: str
    dtype: np.dtype
    mem_limit: float
    weights: Any
    scale: Any
    extrema: tuple[int, int] | None
    limits: tuple[float, float] | None
    clip: Clip | None
    uncertainty_function: Callable[..., Any] | None
    n_threads: int | None
    progress_bar: Callable[..., Any] | None
    blank: float | None
    extras: Extras = Extras()
    described: tuple[str, ...] = ()

    @property
    def clips_by_call(self):
        """Whether the clipping has to be left to astropy."""
        clip = self.clip
        if clip is None:
            return False
        return clip.pair is None or clip.low < 0 or clip.high < 0


def check_method(method):
    """Refuse a method that does not exist."""
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"unrecognised combine method : {method}.")


def check_options(
    *,
    method,
    weights,
    scale,
    mem_limit,
    clip_extrema,
    nlow,
    nhigh,
    minmax_clip,
    minmax_clip_min,
    minmax_clip_max,
    sigma_clip,
    sigma_clip_low_thresh,
    sigma_clip_high_thresh,
    sigma_clip_func,
    sigma_clip_dev_func,
    dtype,
    combine_uncertainty_function,
    n_threads,
    progress_bar,
    blank,
    n_frames,
    **keywords,
):
    """
    Check the parameters of `imcombiners_astro.combine` for `n_frames` images.

    ``keywords`` are those that ccdproc does not have, see `imcombiners_astro.extras`.

    Warns about what the caller may not expect, once.

    Returns
    -------
    Options

    Raises
    ------
    ValueError, TypeError
        Naming the parameter, its value and what it may be.
    """
    check_method(method)
    for name, func in (
        ("combine_uncertainty_function", combine_uncertainty_function),
        ("progress_bar", progress_bar),
    ):
        if func is not None and not callable(func):
            raise TypeError(f"{name} must be a function or None, not {func!r}.")
    _check_scale_argument(scale, n_frames)
    _check_weights_argument(weights, n_frames)
    dtype = _checked_dtype(dtype)
    options = Options(
        method=method,
        dtype=dtype,
        mem_limit=_checked_mem_limit(mem_limit),
        weights=None if method == "median" else weights,
        scale=scale,
        extrema=_checked_extrema(nlow, nhigh, n_frames) if clip_extrema else None,
        limits=_checked_limits(minmax_clip_min, minmax_clip_max)
        if minmax_clip
        else None,
        clip=_checked_clip(
            sigma_clip_low_thresh,
            sigma_clip_high_thresh,
            sigma_clip_func,
            sigma_clip_dev_func,
        )
        if sigma_clip
        else None,
        uncertainty_function=combine_uncertainty_function,
        n_threads=_checked_n_threads(n_threads),
        progress_bar=progress_bar,
        blank=_checked_blank(blank, dtype),
    )
    _warn_unused("clip_extrema", clip_extrema, nlow=(nlow, 1), nhigh=(nhigh, 1))
    _warn_unused(
        "minmax_clip",
        minmax_clip,
        minmax_clip_min=(minmax_clip_min, None),
        minmax_clip_max=(minmax_clip_max, None),
    )
    _warn_unused(
        "sigma_clip",
        sigma_clip,
        sigma_clip_low_thresh=(sigma_clip_low_thresh, 3),
        sigma_clip_high_thresh=(sigma_clip_high_thresh, 3),
        sigma_clip_func=(sigma_clip_func, np.ma.mean),
        sigma_clip_dev_func=(sigma_clip_dev_func, np.ma.std),
    )
    if weights is not None and method == "median":
        warn(
            "weights have no effect with method='median': every sample counts alike.",
            UnusedOptionWarning,
        )
    if options.clip is not None:
        _warn_powerless(options.clip, n_frames)
    return options._replace(extras=check_extras(options, keywords, n_frames))


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _checked_dtype(dtype):
    try:
        dtype = np.dtype(np.float64 if dtype is None else dtype).newbyteorder("=")
    except (TypeError, ValueError) as error:
        raise TypeError(f"dtype={dtype!r} is not a type.") from error
    if dtype.kind not in "fiuc":
        raise TypeError(f"dtype={dtype} is not a type of numbers.")
    return dtype


def _checked_mem_limit(mem_limit):
    if not _is_number(mem_limit):
        raise TypeError(f"mem_limit must be a number of bytes, not {mem_limit!r}.")
    if not mem_limit > 0:
        raise ValueError(
            f"mem_limit must be a positive number of bytes, not {mem_limit!r}."
        )
    return float(mem_limit)


def _checked_n_threads(n_threads):
    if n_threads is None:
        return None
    if isinstance(n_threads, bool | np.bool_):
        raise TypeError(f"n_threads must be None or an integer, not {n_threads!r}.")
    try:
        n_threads = operator.index(n_threads)
    except TypeError:
        raise TypeError(
            f"n_threads must be None or an integer, not {n_threads!r}."
        ) from None
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, not {n_threads}.")
    return n_threads


def _checked_blank(blank, dtype):
    if blank is None:
        return None
    if not _is_number(blank):
        raise TypeError(f"blank must be a number or None, not {blank!r}.")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= blank <= limits.max:
            raise ValueError(f"blank={blank!r} cannot be held by dtype={dtype}.")
    return float(blank)


def _checked_extrema(nlow, nhigh, n_frames):
    counts = []
    for name, count in (("nlow", nlow), ("nhigh", nhigh)):
        try:
            # None and negative numbers reject nothing, as in ccdproc.
            counts.append(0 if count is None else max(0, operator.index(count)))
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {count!r}.") from None
    if sum(counts) >= n_frames:
        raise ValueError(
            f"nlow={counts[0]} and nhigh={counts[1]} reject all of the {n_frames} "
            "frames; their sum must be smaller than the number of frames."
        )
    return tuple(counts)


def _checked_limits(low, high):
    limits = []
    for name, limit, default in (
        ("minmax_clip_min", low, -math.inf),
        ("minmax_clip_max", high, math.inf),
    ):
        if limit is None:
            limit = default
        if not _is_number(limit):
            raise TypeError(f"{name} must be a number or None, not {limit!r}.")
        if math.isnan(limit):
            raise ValueError(f"{name} must not be NaN; None switches the side off.")
        limits.append(float(limit))
    if limits[0] > limits[1]:
        raise ValueError(
            f"minmax_clip_min={low!r} is larger than minmax_clip_max={high!r}: every "
            "sample would be rejected."
        )
    if low is None and high is None:
        warn(
            "minmax_clip=True without minmax_clip_min or minmax_clip_max rejects "
            "nothing.",
            UnusedOptionWarning,
        )
    return tuple(limits)


def _checked_clip(low, high, center, spread):
    pair = clipfuncs.center_and_spread(center, spread)
    thresholds = []
    for name, value in (
        ("sigma_clip_low_thresh", low),
        ("sigma_clip_high_thresh", high),
    ):
        if value is None or (_is_number(value) and value == 0):
            warn(
                f"{name}={value!r} stands for 3, as in ccdproc; it does not switch "
                "this side of the clipping off. numpy.inf does.",
                ThresholdWarning,
            )
            value = 3.0
        if not _is_number(value):
            raise TypeError(f"{name} must be a number or None, not {value!r}.")
        if math.isnan(value):
            raise ValueError(f"{name} must not be NaN.")
        if value < 0:
            warn(
                f"{name}={value!r} puts this bound on the other side of the center, as "
                "in ccdproc, so that most or all samples are rejected. Thresholds are "
                "positive on both sides.",
                ThresholdWarning,
            )
        thresholds.append(float(value))
    center = np.mean if center is None else center
    spread = np.std if spread is None else spread
    return Clip(*thresholds, center, spread, pair)


def _warn_unused(switch, on, **options):
    """Warn about options that need `switch`, which is off."""
    if on:
        return
    given = [
        name
        for name, (value, default) in options.items()
        if value is not None
        and value is not default
        and not (_is_number(value) and value == default)
    ]
    if given:
        warn(
            f"{' and '.join(given)} {'have' if len(given) > 1 else 'has'} no effect "
            f"without {switch}=True.",
            UnusedOptionWarning,
        )


def _warn_powerless(clip, n_frames):
    """Warn when a single outlier cannot be as far off as the thresholds ask for."""
    if clip.pair is None or clip.pair[1].name != "std" or n_frames < 2:
        return
    center, spread = clip.pair
    # One frame off by d among n equal ones: the mean is d/n, the variance
    # d**2 (n-1)/n**2. From the mean nothing can be further off (Samuelson 1968,
    # J. Am. Stat. Assoc. 63, 1522).
    n = n_frames
    limit = math.sqrt(n - 1) if center.name == "mean" else n / math.sqrt(n - 1)
    limit *= math.sqrt(max(n - spread.ddof, 0) / n)
    nearest = min(clip.low, clip.high)
    if limit <= nearest < math.inf:
        warn(
            f"With {n} frames a single outlier is at most {limit:.2f} standard "
            f"deviations from the {center.name}, so a clipping at {nearest:g} cannot "
            "reject it. Use sigma_clip_dev_func='mad_std' (with "
            "sigma_clip_func='median'), or lower thresholds.",
            ThresholdWarning,
        )


_SCALE = (
    "scaling must be a function or an array the same length as the number of images"
)


def _check_scale_argument(scale, n_frames):
    if scale is None or callable(scale):
        return
    if isinstance(scale, str):
        if not is_name("scale", scale):
            raise ValueError(
                f"scale={scale!r}: expected {values_by_name('scale')}, a function or "
                f"{n_frames} numbers."
            )
        return
    try:
        length = len(scale)
    except TypeError:
        raise TypeError(f"{_SCALE}, not {scale!r}.") from None
    if length != n_frames:
        raise ValueError(f"{_SCALE}: scale has {length} values for {n_frames} images.")
    checked_scale(scale, None)


def checked_scale(factors, frames):
    """
    Scale factors as a float64 vector, one for each frame.

    Parameters
    ----------
    factors : None or sequence of N numbers
    frames : list of Frame or None
        For the names in the messages.

    Raises
    ------
    ValueError
        A factor is 0, NaN or infinite.
    TypeError
        A factor is not a number.
    """
    if factors is None:
        return None
    try:
        vector = np.asarray(factors, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise TypeError(f"{_SCALE}; its values must be numbers: {err}") from err
    if vector.ndim != 1:
        raise ValueError(f"{_SCALE}; its shape is {vector.shape}.")
    bad = np.flatnonzero(~np.isfinite(vector) | (vector == 0))
    if bad.size:
        k = int(bad[0])
        name = f"image {k}" if frames is None else frames[k].name
        raise ValueError(
            f"the scale factor of {name} is {vector[k]}; it must be finite and not 0."
        )
    return vector


def _check_weights_argument(weights, n_frames):
    if weights is None:
        return
    if isinstance(weights, str) and is_name("weights", weights):
        return
    if not isinstance(weights, np.ndarray | Sequence) or isinstance(weights, str):
        found = repr(weights) if isinstance(weights, str) else type(weights).__name__
        raise TypeError(
            f"weights must be a numpy.ndarray, {values_by_name('weights')}, not "
            f"{found}."
        )
    # Whether an array is meant for single pixels shows when the shape is known.
    if np.ndim(weights) <= 1:
        checked_weights(weights, n_frames, None)


def checked_weights(weights, n_frames, shape):
    """
    Weights as an array of float32 or float64 of shape (N,) or (N, *shape).

    Parameters
    ----------
    weights : None or array_like
    n_frames : int
    shape : tuple of int or None
        Shape of the images; None allows one weight for each image only.

    Raises
    ------
    TypeError
        Not an array of numbers.
    ValueError
        Of another shape, or with a value that is not finite.
    """
    if weights is None:
        return None
    try:
        array = np.asarray(weights)
        if array.dtype.str[1:] not in ("f4", "f8"):
            array = array.astype(np.float64)
    except (TypeError, ValueError) as err:
        raise TypeError(f"weights must be an array of numbers: {err}") from err
    if shape is None or array.shape != (n_frames, *shape):
        if array.ndim != 1:
            raise ValueError(
                "1D weights expected when shapes of the data and weights differ: "
                f"weights have the shape {array.shape}, the {n_frames} images of shape "
                f"{shape} need ({n_frames},) or {(n_frames, *(shape or ()))}."
            )
        if len(array) != n_frames:
            raise ValueError(
                "Length of weights not compatible with specified axis: there are "
                f"{len(array)} weights for {n_frames} images."
            )
    for k, row in enumerate(array):
        finite = np.isfinite(row)
        if not finite.all():
            value = row[~finite].flat[0]
            raise ValueError(f"weights must be finite: weights[{k}] has {value}.")
    return array
