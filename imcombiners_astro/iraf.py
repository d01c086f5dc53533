# Licensed under a 3-clause BSD style license - see LICENSE
"""
IRAF's imcombine for arrays: its parameters, defaults and units, without its defects.

`imcombine` gives what the help page of IRAF's ``images.immatch.imcombine`` describes.
There are no algorithms here: every rejection and statistic is one of the kernel's.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro.flags import SampleFlags
from imcombiners_astro.iraf_frames import (
    STATISTICS,
    Frames,
    checked_offsets,
    checked_request,
    resolve_factors,
)
from imcombiners_astro.places import Place, footprint_of, place_inside
from imcombiners_astro.planes import Plan, combine_planes, grow_mask

__all__ = ["ImcombineResult", "imcombine"]

# The kernel's name of every statistic, with and without weights.
_COMBINE = {
    "average": ("mean", "wmean"),
    "median": ("median", "median"),
    "lmedian": ("median", "median"),
    "sum": ("sum", "wsum"),
    "quadrature": ("quadrature", "quadrature"),
    "nmodel": ("nmodel", "nmodel"),
}
# The kernel's name of every algorithm.
_REJECT = {
    "none": None,
    "minmax": "extrema",
    "ccdclip": "ccdclip",
    "crreject": "ccdclip",
    "sigclip": "sigclip",
    "avsigclip": "avsigclip",
    "pclip": "pclip",
}
_WORDS = {
    "scale": ("none", *STATISTICS, "exposure"),
    "zero": ("none", *STATISTICS),
    "weight": ("none", *STATISTICS, "exposure"),
}
_OUTTYPES = {"real": np.float32, "double": np.float64}
_POSITIVE = ("a positive number", lambda number: number > 0)
_YES_NO = {"yes": True, "no": False}
_NOT_NEGATIVE = ("a finite number >= 0", lambda number: number >= 0)

_REJECTED = np.uint8(SampleFlags.ALGORITHM)
_ABSENT = np.uint8(
    SampleFlags.INPUT_MASK | SampleFlags.NONFINITE | SampleFlags.THRESHOLD
)
_CUBES = {"mask_rej": np.bool_, "sample_flags": np.uint8}
_MAPS = {"n_used": np.uint16}


@dataclass(frozen=True, eq=False)
class ImcombineResult:
    """
    What `imcombine` makes of N images; IRAF's output images in one object.

    Attributes
    ----------
    image : `~numpy.ndarray` ``shape``
        The combination (``output``), in the unit of the images.
    sigma : `~numpy.ndarray` ``shape``
        Scatter of the samples used (``sigmas``), in the unit of the images.
    rejmask : bool `~numpy.ndarray` (N, *shape)
        True where a sample is not used (``rejmasks``): masked, not finite, outside
        the thresholds, or rejected.
    nrejmask : int `~numpy.ndarray` ``shape``
        Number of samples not used (``nrejmasks``).
    expmask : int `~numpy.ndarray` ``shape`` or None
        Sum of the exposure times of the samples used whose weight is not 0
        (``expmasks``), rounded to whole seconds; None without exposure times.
    """

    image: np.ndarray
    sigma: np.ndarray
    rejmask: np.ndarray
    nrejmask: np.ndarray
    expmask: np.ndarray | None


def imcombine(
    images,
    masks=None,
    *,
    exptime=None,
    combine="average",
    reject="none",
    scale="none",
    zero="none",
    weight="none",
    lthreshold=None,
    hthreshold=None,
    nlow=1,
    nhigh=1,
    nkeep=1,
    mclip=True,
    lsigma=3.0,
    hsigma=3.0,
    rdnoise=0.0,
    gain=1.0,
    snoise=0.0,
    sigscale=0.1,
    pclip=-0.5,
    grow=0.0,
    blank=0.0,
    outtype="real",
    offsets="none",
    n_threads=None,
):
    """
    Combine images as IRAF's imcombine does.

    Parameters and defaults are those of IRAF 2.17. Order: samples that are masked, not
    finite or outside the thresholds are left out; the others become
    ``v / scale - zero``; ``reject`` and ``grow`` reject some; ``combine`` makes one
    number of what is left.

    Parameters
    ----------
    images : `~numpy.ndarray` (N, *shape), or sequence of N `~numpy.ndarray`
        Images of one shape (unless there are ``offsets``) and any number of dimensions;
        integers of 8 to 64 bits,
        float32 or float64. Masks of masked arrays count.
    masks : `~numpy.ndarray` (N, *shape) or ``shape``, or sequence of N, optional
        True (or not 0) where a sample is bad. Items of a sequence may be None.
    exptime : sequence of N numbers, optional
        Exposure times, s (in IRAF: the header keyword ``expname``).
    combine : {"average", "median", "lmedian", "sum", "quadrature", "nmodel"}
        The statistic. "lmedian" is the median, but the lower of two samples;
        "quadrature" sqrt(sum (w v)^2) / sum w; "nmodel" the error of the mean by the
        noise model of the detector, sqrt(sum (w sigma)^2) / sum w.
    reject : {"none", "minmax", "ccdclip", "crreject", "sigclip", "avsigclip", "pclip"}
        The algorithm of rejection.
    scale : "none", "mode", "median", "mean", "exposure", or sequence of N numbers
        Levels that the images are divided by, in units of the first. Numbers, IRAF's
        ``@file``, are factors to multiply by, also in units of the first.
    zero : "none", "mode", "median", "mean", or sequence of N numbers
        Levels that are subtracted, less that of the first image. Numbers are offsets to
        add, before the images are scaled.
    weight : "none", "mode", "median", "mean", "exposure", or sequence of N numbers
        Weights of "average", "sum", "quadrature" and "nmodel". If ``zero`` is a
        statistic, weights that are not numbers are divided by the level of the sky.
    lthreshold, hthreshold : float, None or "INDEF"
        Raw values below or above are not used.
    nlow, nhigh : int
        "minmax": number of lowest and highest samples to reject; of n samples left of
        N, ``int(n * nlow / N + 0.001)``.
    nkeep : int
        Fewest samples to keep; if negative, most to reject. If fewer are left, those
        nearest to the centre come back. Not for "minmax".
    mclip : bool, "yes" or "no"
        Whether limits are about the median, or the mean (in the first pass without
        the lowest and highest sample).
    lsigma, hsigma : float, None or "INDEF"
        Limits below and above the centre, in sigmas; None: no limit.
    rdnoise, gain, snoise : float, or sequence of N
        Read noise (electrons), gain (electrons per unit of the images) and sensitivity
        noise (a fraction): variance = (rdnoise/gain)^2 + v/gain + (snoise v)^2.
    sigscale : float
        Sigmas follow the level of every image if a scale differs from 1 by more than
        this, or a zero level from 0 by more than this fraction of the mean level.
    pclip : float
        Sample whose distance from the median is the sigma of "pclip": its rank from the
        median or, between -1 and 1, a fraction of half the images; negative below.
    grow : float
        Radius in pixels within which rejected samples take others of their image along;
        below 1 none.
    blank : float
        Value where nothing is left; may be NaN.
    outtype : {"real", "double"}
        Type of ``image`` and ``sigma``: float32 or float64. All is computed in float64.
    offsets : "none", "grid n1 s1 n2 s2 ...", or integer array-like (N, ndim)
        Where the images are, in pixels: in a grid of n1 images in steps of s1 along x,
        n2 rows of them in steps of s2 along y, ...; or, unlike in IRAF's files in the
        order of the axes (y, x), the positions of their first pixels. The result holds
        all images, which may have different shapes. The samples that an image does not
        cover are not used, and count in ``rejmask`` and ``nrejmask``.
    n_threads : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    ImcombineResult
        ``image``, ``sigma``, ``rejmask``, ``nrejmask`` and ``expmask``.

    Raises
    ------
    ValueError
        A parameter has a value that it cannot have, a number of values is not the
        number of images, shapes differ, or an image of which a statistic is needed has
        no good pixel.
    TypeError
        An image or a parameter has the wrong type.

    Warns
    -----
    CombineWarning
        Scales or weights are dropped because a level is not positive, as in IRAF.

    Notes
    -----
    ``sigma`` is the scatter about the result, sqrt(sum (v - r)^2 / (n - 1)) or, with
    weights, sqrt(sum w (v - r)^2 / sum w * n / (n - 1)); for sums about the mean. It is
    0 for one sample, and not divided by sqrt(n).

    Statistics of images larger than 10^5 pixels are taken on IRAF's grid, every j-th
    pixel along each axis.

    References
    ----------
    The algorithms are those of the help page and source of ``images.immatch.imcombine``
    (F. Valdes; IRAF 2.17), https://github.com/iraf-community/iraf.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.iraf import imcombine
    >>> images = np.array([[[10, 11]], [[12, 11]], [[11, 90]], [[9, 10]], [[11, 12]]])
    >>> result = imcombine(images, reject="sigclip", hsigma=1.5)
    >>> result.image
    array([[10.6, 11. ]], dtype=float32)
    >>> result.nrejmask
    array([[0, 1]])
    """
    thresholds = _interval(lthreshold, hthreshold)
    no_offsets = isinstance(offsets, str) and offsets.strip().lower() == "none"
    frames = Frames.of(images, masks, thresholds, same_shape=no_offsets)
    n_frames = len(frames.planes)
    offsets = checked_offsets(offsets, n_frames)
    combine = _word("combine", combine, _COMBINE)
    reject = _word("reject", reject, _REJECT)
    dtype = args.choice("outtype", outtype, _OUTTYPES)
    extremes = {"low": args.integer("nlow", nlow), "high": args.integer("nhigh", nhigh)}
    if reject == "minmax" and sum(extremes.values()) >= n_frames:
        raise ValueError(
            f"nlow, nhigh: found {nlow} and {nhigh} for {n_frames} images, "
            "expected a sum less than the number of images"
        )
    nkeep = args.integer("nkeep", nkeep, least=None)
    limits = {
        "low": _limit("lsigma", lsigma),
        "high": _limit("hsigma", hsigma),
        "nkeep": max(0, nkeep),
        "maxrej": -nkeep if nkeep < 0 else None,
    }
    if not isinstance(mclip, (bool, np.bool_)):
        mclip = args.choice("mclip", mclip, _YES_NO)
    noise = {
        "gain": _per_frame("gain", gain, n_frames, *_POSITIVE),
        "rdnoise": _per_frame("rdnoise", rdnoise, n_frames, *_NOT_NEGATIVE),
        "snoise": _per_frame("snoise", snoise, n_frames, *_NOT_NEGATIVE),
    }
    sigscale = args.real("sigscale", sigscale, *_NOT_NEGATIVE)
    grow = args.real("grow", grow, *_NOT_NEGATIVE)
    pclip = args.real("pclip", pclip, "a finite number, not 0", bool)
    if not (isinstance(blank, float) and math.isnan(blank)):
        blank = args.real("blank", blank, "a finite number, or NaN")
    if n_threads is not None:
        n_threads = args.integer("n_threads", n_threads, least=1)
    requests = {
        name: checked_request(name, value, _WORDS[name], n_frames)
        for name, value in {"scale": scale, "zero": zero, "weight": weight}.items()
    }
    exptime = _exposures(exptime, requests, n_frames)

    factors = resolve_factors(frames, exptime, requests, sigscale)
    levels = {"scales": factors.scales.tolist(), "zeros": factors.zeros.tolist()}
    options = {
        "minmax": {**extremes, "rule": "fraction"},
        "pclip": {"frac": pclip, **limits},
    }.get(reject)
    if options is None:
        options = _iterative(reject, limits, mclip, noise)
        options |= levels if factors.poisson else {}
    steps = () if reject == "none" else ((_REJECT[reject], options),)

    stack = _Stack(*frames, n_threads)
    if offsets is not None:
        stack = stack.placed(offsets(frames.planes[0].ndim))
    if factors.applied:
        zero = factors.zeros * factors.scales
        stack = stack._replace(zero=zero, scale=factors.scales)
    if steps and grow >= 1:
        stack, steps = stack.without(_grown(stack, steps, grow, nkeep)), ()
    weights = factors.weights if factors.weighted else None
    image, sigma, rejmask, n_used = _combined(
        stack, combine, steps, weights, noise | levels
    )
    image[n_used == 0] = sigma[n_used == 0] = blank
    expmask = None
    if exptime is not None:
        exposure = np.zeros(n_used.shape)
        for k in np.flatnonzero(factors.weights > 0):
            np.add(exposure, exptime[k], out=exposure, where=~rejmask[k])
        expmask = np.rint(exposure).astype(int)
    with np.errstate(over="ignore"):
        image, sigma = image.astype(dtype), sigma.astype(dtype)
    nrejmask = n_frames - n_used.astype(int)
    return ImcombineResult(image, sigma, rejmask, nrejmask, expmask)


def _word(name, value, words):
    return args.choice(name, value, {word: word for word in words})


def _is_indef(value):
    """Whether a limit is not set."""
    return value is None or (
        isinstance(value, str) and value.strip().upper() == "INDEF"
    )


def _limit(name, value):
    """Return a number of sigmas; INDEF is infinity."""
    if _is_indef(value) or (isinstance(value, float) and value == math.inf):
        return math.inf
    return args.real(name, value, 'a number >= 0, None or "INDEF"', lambda x: x >= 0)


def _interval(low, high):
    """Return the thresholds as a pair, None if neither is set."""
    if _is_indef(low) and _is_indef(high):
        return None
    expected = 'a finite number, None or "INDEF"'
    low = -math.inf if _is_indef(low) else args.real("lthreshold", low, expected)
    high = math.inf if _is_indef(high) else args.real("hthreshold", high, expected)
    if low > high:
        raise ValueError(
            f"lthreshold, hthreshold: found {low} and {high}, "
            "expected lthreshold <= hthreshold"
        )
    return low, high


def _per_frame(name, value, n_frames, expected, accept):
    """Return a number, or one for each image; text counts if it is a number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(
                f"{name}: found {value!r}, expected {expected}, or one for each image; "
                "header keywords are not read here"
            ) from None
    return args.per_frame(name, value, n_frames, expected, accept)


def _exposures(exptime, requests, n_frames):
    """Return the exposure times, which some requests need."""
    if exptime is None:
        for name, value in requests.items():
            if isinstance(value, str) and value == "exposure":
                raise ValueError(f"exptime: found None, needed for {name}='exposure'")
        return None
    exptime = args.vector("exptime", exptime, n_frames)
    if exptime.min() < 0:
        raise ValueError(
            f"exptime: found {exptime.min()} for image {exptime.argmin()}, "
            "expected numbers >= 0"
        )
    return exptime


def _iterative(reject, limits, mclip, noise):
    """Return the kernel's options of an algorithm that iterates."""
    options = {
        **limits,
        "center": "median" if mclip else "trimmed",
        "maxiters": None,
        "revert": "closest",
        "min_samples": 3,
    }
    if reject == "sigclip":
        return options | {"ddof": 1, "zero_spread": "skip"}
    if reject == "avsigclip":
        return options
    options |= {"min_samples": 2, **noise}
    return options | ({"low": math.inf} if reject == "crreject" else {})


class _Stack(NamedTuple):
    """The images with what the kernel needs to load their samples."""

    planes: list
    masks: list
    thresholds: tuple[float, float] | None
    n_threads: int | None
    zero: np.ndarray | None = None
    scale: np.ndarray | None = None
    shape: tuple[int, ...] | None = None
    places: list[Place] | None = None

    def placed(self, offsets):
        """Return the stack of the images, folded, in their places."""
        shape, positions = footprint_of(self.planes, offsets, "union")
        each = zip(self.planes, positions, strict=True)
        places = [place_inside(shape, plane.shape, at) for plane, at in each]
        rows = [np.atleast_2d(plane) for plane in self.planes]
        planes = [plane.reshape(-1, plane.shape[-1]) for plane in rows]
        masks = [
            None if mask is None else mask.reshape(plane.shape)
            for mask, plane in zip(self.masks, planes, strict=True)
        ]
        return self._replace(planes=planes, masks=masks, shape=shape, places=places)

    def without(self, rejmask):
        """Return the stack without the samples marked in ``rejmask`` (N, *shape)."""
        masks = list(rejmask)
        if self.places is not None:
            masks = [
                place.of(mask.reshape(place.shape), plane.shape)
                for mask, place, plane in zip(
                    masks, self.places, self.planes, strict=True
                )
            ]
        return self._replace(masks=masks, thresholds=None)

    def run(self, names, statistic="mean", steps=(), weights=None, noise=None):
        """Call the kernel once; return the products ``names``."""
        shape = self.planes[0].shape if self.shape is None else self.shape
        outputs = {
            name: np.empty((len(self.planes), *shape), _CUBES[name])
            if name in _CUBES
            else np.empty(shape, _MAPS.get(name, np.float64))
            for name in names
        }
        # Single precision holds samples of these types exactly, but not scaled ones.
        exact = all(
            p.dtype.itemsize <= (4 if p.dtype.kind == "f" else 2) for p in self.planes
        )
        plan = Plan(
            statistic,
            steps,
            "f4" if exact and self.scale is None else "f8",
            self.thresholds,
            uncertainty="scatter" if "uncertainty" in names else None,
            noise=noise if statistic == "nmodel" else None,
        )
        written, places = outputs, None
        if self.places is not None:
            rows = self.places[0].shape
            places = (rows, [(place.row, place.column) for place in self.places])
            written = {
                name: array.reshape(-1, *rows)
                if name in _CUBES
                else array.reshape(rows)
                for name, array in outputs.items()
            }
        combine_planes(
            self.planes,
            plan,
            written,
            places=places,
            masks=None if all(mask is None for mask in self.masks) else self.masks,
            weights=weights,
            zero=self.zero,
            scale=self.scale,
            n_threads=self.n_threads,
        )
        return [outputs[name] for name in names]


def _grown(stack, steps, radius, nkeep):
    """
    Return where samples are not used after ``steps`` and growth, (N, *shape).

    Where growth would leave fewer samples than ``nkeep`` allows there is none.
    """
    (flags,) = stack.run(["sample_flags"], steps=steps)
    absent, rejected = (flags & _ABSENT) != 0, (flags & _REJECTED) != 0
    del flags
    mask = absent | rejected
    if not rejected.any():
        return mask
    wider = absent | grow_mask(rejected, radius, stack.n_threads)
    present = len(wider) - absent.sum(axis=0)
    keep = np.minimum(present, nkeep) if nkeep >= 0 else np.maximum(0, present + nkeep)
    enough = len(wider) - wider.sum(axis=0) >= keep
    return np.where(enough, wider, mask)


def _combined(stack, combine, steps, weights, noise):
    """
    Return image, sigma, rejection mask and number of samples used.

    Image and sigma are arbitrary where no sample is left.
    """
    both = ["image", "uncertainty"]
    plain, weighted = _COMBINE[combine]
    if plain == weighted == "median":
        weights = None
    image, sigma, rejmask, n_used = stack.run(
        [*both, "mask_rej", "n_used"],
        plain if weights is None else weighted,
        steps,
        weights,
        noise,
    )
    rest = stack.without(rejmask)
    if combine == "lmedian":
        two = n_used == 2
        if two.any():
            lower, scatter = rest.run(both, "min")
            image[two], sigma[two] = lower[two], scatter[two]
    if weights is None:
        return image, sigma, rejmask, n_used
    no_weight = np.ones(n_used.shape, bool)
    for k in np.flatnonzero(weights > 0):
        no_weight &= rejmask[k]
    if combine != "average":
        # About another point than the weighted mean the scatter is larger.
        mean, scatter = rest.run(both, "wmean", weights=weights)
        point = rest.run(["image"], "mean")[0] if combine == "sum" else image
        freedom = n_used / np.maximum(1.0, n_used - 1.0)
        about = np.sqrt(scatter**2 + (mean - point) ** 2 * freedom)
        sigma = np.where(no_weight, sigma, about)
    if combine != "sum" and no_weight.any():
        # Where all weights are 0, all samples count the same.
        equal, scatter = rest.run(both, plain, noise=noise)
        image[no_weight], sigma[no_weight] = equal[no_weight], scatter[no_weight]
    return image, sigma, rejmask, n_used
