# Licensed under a 3-clause BSD style license - see LICENSE
"""
What goes into a combination like IRAF's: images, scales, zero levels and weights.

A sample enters a combination as ``v / scale - zero``. The rules are those of IRAF 2.17
(``images.immatch.imcombine``), read from its source and compared with its results.
"""

from typing import NamedTuple

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro.errors import warn
from imcombiners_astro.padding import relative_offsets
from imcombiners_astro.zeroscale import mode

__all__ = [
    "STATISTICS",
    "Factors",
    "Frames",
    "checked_offsets",
    "checked_request",
    "resolve_factors",
]

STATISTICS = ("mode", "median", "mean")

# IRAF looks at every j-th pixel along each axis, with the first j up to 10 that leaves
# fewer than this many.
_MOST_PIXELS = 100_000
_COARSEST = 10

# Shortest exposure, s.
_SHORTEST = 0.001


class Frames(NamedTuple):
    """
    The images, and which of their samples may be used.

    Attributes
    ----------
    planes : list of N `~numpy.ndarray`
        Images, of one shape unless they have offsets.
    masks : list of N bool `~numpy.ndarray` or None
        True where a sample is bad.
    thresholds : (float, float) or None
        Values outside are not used.
    """

    planes: list
    masks: list
    thresholds: tuple[float, float] | None

    @classmethod
    def of(cls, images, masks, thresholds, same_shape=True):
        """Return what a caller gave, checked; masks of masked arrays count."""
        planes = _checked_planes(images, same_shape)
        masks = _checked_masks(masks, planes)
        return cls([plane.view(np.ndarray) for plane in planes], masks, thresholds)

    def good_values(self, k):
        """Return the good values of image k on IRAF's grid, as a 1-D float64 array."""
        plane = self.planes[k]
        step = 1
        while (
            step < _COARSEST
            and np.prod([-(-size // step) for size in plane.shape]) >= _MOST_PIXELS
        ):
            step += 1
        grid = (slice(None, None, step),) * plane.ndim
        values = plane[grid].astype(np.float64)
        good = np.isfinite(values)
        if self.masks[k] is not None:
            good &= ~self.masks[k][grid]
        if self.thresholds is not None:
            low, high = self.thresholds
            good &= (values >= low) & (values <= high)
        return values[good]


def _checked_planes(images, same_shape):
    """Return the images as a list of arrays, of one shape if need be."""
    if isinstance(images, np.ndarray):
        if images.ndim < 2:
            raise ValueError(
                f"images: found shape {images.shape}, expected (N, *shape) with at "
                "least 2 dimensions"
            )
        planes = list(images)
    else:
        try:
            planes = list(images)
        except TypeError:
            raise TypeError(
                f"images: found {type(images).__name__}, expected an array (N, *shape) "
                "or a sequence of arrays"
            ) from None
    if not planes:
        raise ValueError("images: found none, expected at least 1")
    for k, plane in enumerate(planes):
        if not isinstance(plane, np.ndarray):
            raise TypeError(
                f"images[{k}]: found {type(plane).__name__}, expected a NumPy array"
            )
        same = plane.shape == planes[0].shape
        if not same_shape:
            same = plane.ndim == planes[0].ndim
        if plane.ndim == 0 or not same:
            raise ValueError(
                f"images[{k}]: found shape {plane.shape}, expected "
                f"{planes[0].shape or 'at least 1 dimension'}"
            )
        if plane.dtype.kind not in "iuf" or plane.dtype.itemsize not in (
            (4, 8) if plane.dtype.kind == "f" else (1, 2, 4, 8)
        ):
            raise TypeError(
                f"images[{k}]: found dtype {plane.dtype}, expected integers of 8 to 64 "
                "bits, float32 or float64"
            )
    return planes


def _checked_masks(masks, planes):
    """Return one mask of booleans, or None, for each image."""
    shape, n = planes[0].shape, len(planes)
    if masks is None:
        masks = [None] * n
    elif isinstance(masks, np.ndarray) and masks.shape == shape:
        masks = [masks] * n
    elif isinstance(masks, np.ndarray) and masks.shape != (n, *shape):
        raise ValueError(
            f"masks: found shape {masks.shape}, expected {(n, *shape)} or {shape}"
        )
    try:
        masks = list(masks)
    except TypeError:
        found = type(masks).__name__
        raise TypeError(f"masks: found {found}, expected an array or {n}") from None
    if len(masks) != n:
        raise ValueError(f"masks: found {len(masks)}, expected {n}, one for each image")
    checked = []
    for k, (mask, plane) in enumerate(zip(masks, planes, strict=True)):
        if mask is not None:
            if np.shape(mask) != plane.shape:
                raise ValueError(
                    f"masks[{k}]: found shape {np.shape(mask)}, expected {plane.shape}"
                )
            mask = np.asarray(mask).astype(bool, copy=False)
        if isinstance(plane, np.ma.MaskedArray):
            hidden = np.ma.getmaskarray(plane)
            mask = hidden if mask is None else mask | hidden
        checked.append(mask)
    return checked


class Factors(NamedTuple):
    """
    How every image enters.

    Attributes
    ----------
    scales, zeros : float64 `~numpy.ndarray` (N,)
        A sample enters as ``v / scale - zero``; the first scale is 1.
    weights : float64 `~numpy.ndarray` (N,)
        Weights that sum to 1.
    applied : bool
        Whether any scale or zero changes a sample.
    poisson : bool
        Whether the levels of the images differ so much that their sigmas differ.
    """

    scales: np.ndarray
    zeros: np.ndarray
    weights: np.ndarray
    applied: bool
    poisson: bool

    @property
    def weighted(self):
        """Whether the weights differ."""
        return bool((self.weights != self.weights[0]).any())


def checked_offsets(offsets, n_frames):
    """
    Return where images are.

    Parameters
    ----------
    offsets : str, or integer array-like (N, ndim)
        "none"; "grid n1 s1 n2 s2 ...", n1 images in steps of s1 pixels along x, n2 such
        rows in steps of s2 along y, and so on; or the offsets, in NumPy's order of axes
        (y, x).
    n_frames : int
        Number N of images.

    Returns
    -------
    callable or None
        Gives for images of so many dimensions the offsets from the least ones, as N
        lists of int; None without any.

    Raises
    ------
    ValueError, TypeError
        If they are none of these.

    Examples
    --------
    >>> from imcombiners_astro.iraf_frames import checked_offsets
    >>> checked_offsets("grid 2 50 2 40", 4)(2)
    [[0, 0], [0, 50], [40, 0], [40, 50]]
    """
    if not isinstance(offsets, str):
        return lambda ndim: relative_offsets(offsets, n_frames, ndim)
    word, *numbers = offsets.lower().split() or [""]
    if word == "none" and not numbers:
        return None
    try:
        numbers = [int(number) for number in numbers]
    except ValueError:
        numbers = []
    counts, steps = numbers[::2], numbers[1::2]
    if word != "grid" or not steps or len(counts) != len(steps) or min(counts) < 1:
        hint = ""
        if word in ("wcs", "world", "physical"):
            hint = "; arrays have no coordinates, imcombiners_astro.combine reads them"
        raise ValueError(
            f"offsets: found {offsets!r}, expected 'none', 'grid n1 s1 n2 s2 ...', or "
            f"integers of shape ({n_frames}, number of axes){hint}"
        )

    def grid(ndim):
        if len(steps) > ndim:
            raise ValueError(f"offsets: found {offsets!r} for images of {ndim} axes")
        places, before = np.zeros((n_frames, ndim), int), 1
        for axis, (count, step) in enumerate(zip(counts, steps, strict=True)):
            places[:, -1 - axis] = np.arange(n_frames) // before % count * step
            before *= count
        return relative_offsets(places, n_frames, ndim)

    return grid


def checked_request(name, value, words, n_frames):
    """
    Return a word, or N numbers, that ``scale``, ``zero`` or ``weight`` asks for.

    Parameters
    ----------
    name : str
        The parameter.
    value : str or sequence of N numbers
        What was asked for.
    words : sequence of str
        Words that the parameter takes.
    n_frames : int
        Number N of images.

    Returns
    -------
    str or float64 `~numpy.ndarray` (N,)
        The word in lower case, or the numbers.

    Raises
    ------
    ValueError
        If the word is unknown, there are not N numbers, one is not finite, a scale is
        not positive or a weight is negative.
    TypeError
        If they are not numbers.
    """
    if isinstance(value, str):
        if value.strip()[:1] in ("@", "!"):
            raise ValueError(
                f"{name}: found {value!r}; files and keywords are not read here, "
                f"expected {n_frames} numbers or one of: {', '.join(words)}"
            )
        return args.choice(name, value, {word: word for word in words})
    numbers = args.vector(name, value, n_frames)
    for k, number in enumerate(numbers):
        if (name == "scale" and number <= 0) or (name == "weight" and number < 0):
            expected = "a positive number" if name == "scale" else "a number >= 0"
            raise ValueError(
                f"{name}: found {number} for image {k}, expected {expected}"
            )
    return numbers


def resolve_factors(frames, exptime, requests, sigscale):
    """
    Return the factors that the parameters ask for.

    Parameters
    ----------
    frames : `Frames`
        The images, for statistics.
    exptime : float64 `~numpy.ndarray` (N,) or None
        Exposure times, s.
    requests : dict
        ``scale``, ``zero`` and ``weight``, as `checked_request` returns them.
    sigscale : float
        Levels differ if a scale differs from 1 by more than this, or a zero level from
        0 by more than this fraction of the mean level.

    Returns
    -------
    Factors
        The factors.

    Raises
    ------
    ValueError
        If an image of which a statistic is needed has no good pixel.

    Warns
    -----
    CombineWarning
        Where scales or weights are dropped because a level is not positive.
    """
    n = len(frames.planes)
    words = {
        name: value if isinstance(value, str) else None
        for name, value in requests.items()
    }
    levels = {
        kind: np.array([_statistic(frames, k, kind) for k in range(n)])
        for kind in STATISTICS
        if kind in words.values()
    }

    def numbers(name, default):
        if words[name] is None:
            return requests[name]
        if words[name] == "exposure":
            return np.maximum(_SHORTEST, exptime)
        return levels.get(words[name], np.full(n, default))

    scales = numbers("scale", 1.0)
    if scales.min() <= 0:
        _warn_level("scale", words["scale"], scales, "nothing is scaled")
        scales = np.ones(n)
    if words["scale"] is None:
        scales = 1 / scales
    scales = scales / scales[0]
    zeros = numbers("zero", 0.0) / scales
    weights = numbers("weight", 1.0)
    if weights.min() < 0:
        _warn_level("weight", words["weight"], weights, "all weights are equal")
        weights = np.ones(n)
    elif words["weight"] not in (None, "none") and words["zero"] in STATISTICS:
        # Where the sky limits, the variance is proportional to its level.
        if zeros.min() <= 0:
            effect = "weights are not divided by the sky level"
            _warn_level("zero", words["zero"], zeros, effect)
        else:
            weights = weights * zeros[0] / zeros
    total = weights.sum()
    mean_level = zeros.mean()
    zeros = -zeros if words["zero"] is None else zeros - zeros[0]
    scaled = n > 1 and (words["scale"] is None or (scales != scales[0]).any())
    shifted = n > 1 and (words["zero"] is None or (zeros != zeros[0]).any())
    poisson = (scaled and (np.abs(scales - 1) > sigscale).any()) or (
        shifted and (np.abs(zeros) > sigscale * abs(mean_level)).any()
    )
    return Factors(
        scales,
        zeros,
        weights / total if total > 0 else np.ones(n),
        bool(scaled or shifted),
        bool(poisson),
    )


def _warn_level(name, kind, values, effect):
    """Warn of the first value that cannot be used."""
    k = int(np.argmin(values))
    warn(f"{name}: the {kind} of image {k} is {values[k]:g}; {effect}, as in IRAF")


def _statistic(frames, k, kind):
    """Return the mean, median or mode of image k."""
    values = frames.good_values(k)
    if values.size == 0:
        raise ValueError(f"images: image {k} has no good pixel to take the {kind} of")
    if kind == "mean":
        return values.mean()
    if kind == "median":
        return np.median(values)
    return mode(np.sort(values))
