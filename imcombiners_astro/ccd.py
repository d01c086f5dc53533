# Licensed under a 3-clause BSD style license - see LICENSE
"""
From the options of a combination to a plan, and from arrays back to a CCDData.

The meaning of every option is that of ``ccdproc.combine``: rejections look at the
samples as they are in the images, each on its own (a sample is dropped when any of
them rejects it, and masked samples still take part in their statistics); `scale`
multiplies what is left; the statistic and its scatter follow.
"""

import copy
import warnings
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro import clipfuncs
from imcombiners_astro.errors import CroppedFrameWarning, IntegerResultError, warn
from imcombiners_astro.frames import plan_strips, strips
from imcombiners_astro.options import checked_scale, checked_weights
from imcombiners_astro.planes import Plan, combine_planes
from imcombiners_astro.uncertainty import (
    call_uncertainty,
    known_uncertainty,
    uncertainty_like,
)

__all__ = ["Tally", "combine_frames"]

# Bytes of the float64 stack that is handed to a function of the caller at a time.
_CALLED_NBYTES = 32 * 2**20

# One sample as the kernel sees it: converted, BZERO and BSCALE applied, NaN where it
# is not finite.
_LOAD = Plan(statistic="mean", work="f8")


class Piece(NamedTuple):
    """
    The same pixels of every frame.

    Attributes
    ----------
    place : slice
        Where they are in the flattened image.
    pixels, masks, fits : list of N
        Arguments of `combine_planes`; a list without anything in it is None.
    """

    place: slice
    pixels: list
    masks: list | None
    fits: list | None

    @classmethod
    def of_strips(cls, start, stop, planes):
        """Take the folded rows `start` to `stop`, given as one strip for each frame."""
        pixels = [strip.pixels for strip in planes]
        masks = [strip.mask for strip in planes]
        fits = [strip.fits for strip in planes]
        n_columns = pixels[0].shape[1]
        if n_columns == 1:
            # An image of one dimension: one long row is better than many short ones.
            pixels = [plane.T for plane in pixels]
            masks = [None if mask is None else mask.T for mask in masks]
        return cls(
            slice(start * n_columns, stop * n_columns),
            pixels,
            None if all(mask is None for mask in masks) else masks,
            None if all(scaling is None for scaling in fits) else fits,
        )

    @property
    def shape(self):
        """Rows and columns."""
        return self.pixels[0].shape

    def arguments(self):
        """Give what `combine_planes` takes."""
        return {"pixels": self.pixels, "masks": self.masks, "fits": self.fits}

    def stack(self, dtype, n_threads):
        """All samples, masked or not, in an array of shape (N, rows, columns)."""
        out = np.empty((len(self.pixels), *self.shape), dtype)
        for k, image in enumerate(out):
            combine_planes(
                self.pixels[k : k + 1],
                _LOAD,
                {"image": image},
                fits=self.fits and self.fits[k : k + 1],
                n_threads=n_threads,
            )
        return out


@dataclass(slots=True)
class Tally:
    """
    Numbers of samples of a combination.

    Attributes
    ----------
    samples : int
        All of them: frames times pixels.
    low, high : int
        Samples rejected below and above the center, or as the lowest and highest.
    called : int
        Samples rejected by functions of the caller, which do not tell the side.
    """

    samples: int = 0
    low: int = 0
    high: int = 0
    called: int = 0


def combine_frames(frames, template, options, tally=None):
    """
    Combine frames of one shape and unit into one image.

    Parameters
    ----------
    frames : list of Frame
        The images, N of them; all are checked before the first pixel is used.
    template : `~astropy.nddata.CCDData`
        The first image, of which the class, header, WCS, unit, PSF and flags are
        copied. Its data are not used.
    options : Options
        See `imcombiners_astro.options`.
    tally : Tally, optional
        To be added to.

    Returns
    -------
    `~astropy.nddata.CCDData`
        Of the class of `template`; data, mask and uncertainty are always there.

    Raises
    ------
    TypeError
        Frames of different units, or smaller than the first one.
    ValueError
        Weights or scale factors that do not fit the frames.
    IntegerResultError
        `options.dtype` cannot hold the result.
    """
    shape = tuple(frames[0].shape)
    check_alike(frames)
    weights = checked_weights(options.weights, len(frames), shape)
    factors = checked_scale(_scale_factors(frames, options.scale), frames)
    task = _Task(frames, shape, options, weights, factors, tally)
    for piece in task.pieces():
        task.combine(piece)
    image, uncertainty, mask = task.result()
    return assemble(template, image, uncertainty, mask, len(frames))


def check_alike(frames):
    """
    Compare shapes and units with those of the first frame; crop larger frames.

    Raises
    ------
    TypeError
        A frame is smaller than the first one or has another number of dimensions or
        another unit.
    """
    first = frames[0]
    cropped = []
    for frame in frames[1:]:
        if frame.unit != first.unit:
            raise TypeError(
                "CCDData objects don't have the same unit: "
                f"{first.name} is in {_named(first.unit)}, {frame.name} in "
                f"{_named(frame.unit)}."
            )
        if tuple(frame.shape) == tuple(first.shape):
            continue
        if len(frame.shape) != 2 or len(first.shape) != 2:
            larger = False
        else:
            larger = all(n >= m for n, m in zip(frame.shape, first.shape, strict=True))
        if not larger:
            raise TypeError(
                "CCDData objects are not the same size: "
                f"{first.name} has the shape {tuple(first.shape)}, {frame.name} "
                f"{tuple(frame.shape)}."
            )
        cropped.append(f"{frame.name} {tuple(frame.shape)}")
        frame.crop_to(tuple(first.shape))
    if cropped:
        shown = ", ".join(cropped[:3]) + (", ..." if len(cropped) > 3 else "")
        warn(
            f"{len(cropped)} of {len(frames)} frames are larger than the first one "
            f"({tuple(first.shape)}) and are cut to its size from pixel [0, 0]: "
            f"{shown}.",
            CroppedFrameWarning,
        )


def _named(unit):
    return str(unit) or "no unit (dimensionless)"


def _scale_factors(frames, scale):
    """Call a scale function on every whole image, masks ignored, as ccdproc does."""
    if callable(scale):
        return [scale(frame.data()) for frame in frames]
    return scale


class _Task:
    """One combination: the plan, the arrays of the result, and the work on a piece."""

    def __init__(self, frames, shape, options, weights, factors, tally):
        self.frames = frames
        self.tally = tally
        self.options = options
        self.factors = factors
        self.uncertainty = known_uncertainty(options)
        self.plan = plan_of(options, frames, weights, factors, self.uncertainty)
        self.stack_dtype = np.float32 if options.dtype == np.float32 else np.float64

        n_pixels = prod(shape)
        self.shape = shape
        self.image = np.empty(n_pixels, self.stack_dtype)
        self.sigma = np.empty(n_pixels, self.stack_dtype)
        self.mask = np.empty(n_pixels, bool)
        self.weights = weights
        if weights is not None and weights.ndim > 1:
            self.weights = weights.reshape(len(frames), n_pixels)

    @property
    def calls_functions(self):
        """Whether a function of the caller has to see the samples."""
        return self.options.clips_by_call or self.uncertainty is None

    def pieces(self):
        """Yield the pieces of the images in order, under the limit of memory."""
        limit = self.options.mem_limit
        done = sum(a.nbytes for a in (self.image, self.sigma, self.mask))
        # A result that takes all of the limit cannot be helped; strips of single rows
        # would only be slow as well.
        done = min(done, limit / 2)
        work = strips(self.frames, limit, done)
        if self.options.progress_bar is not None:
            n_strips = plan_strips(self.frames, limit, done).n_strips
            work = self.options.progress_bar(_Sized(work, n_strips))
        for start, stop, planes in work:
            step = stop - start
            if self.calls_functions:
                # The stack, copies of it inside astropy and masks: some four times.
                room = min(_CALLED_NBYTES, (limit - done) / 4)
                row = 8 * len(planes) * max(planes[0].pixels.shape[1], 1)
                step = max(1, int(room / row))
            for top in range(start, stop, step):
                end = min(top + step, stop)
                rows = slice(top - start, end - start)
                yield Piece.of_strips(top, end, [_rows(s, rows) for s in planes])

    def combine(self, piece):
        """Combine one piece into its place in the result."""
        options = self.options
        image, sigma, mask = (
            array[piece.place].reshape(piece.shape)
            for array in (self.image, self.sigma, self.mask)
        )
        outputs = {"image": image, "mask": mask}
        arguments = piece.arguments()
        if self.uncertainty is not None:
            outputs["uncertainty"] = sigma
            if self.uncertainty.needs_n_used:
                outputs["n_used"] = np.empty(piece.shape, np.uint16)
        else:
            outputs["mask_rej"] = np.empty((len(piece.pixels), *piece.shape), bool)
        if self.tally is not None:
            outputs["n_rejected_low"] = np.empty(piece.shape, np.uint16)
            outputs["n_rejected_high"] = np.empty(piece.shape, np.uint16)

        stack = None
        if self.calls_functions:
            stack = piece.stack(self.stack_dtype, options.n_threads)
        if options.clips_by_call:
            clipped = call_sigma_clip(stack, options)
            masks = _joined(arguments["masks"], clipped)
            if self.tally is not None:
                given = arguments["masks"] or ()
                self.tally.called += sum(np.count_nonzero(mask) for mask in masks)
                self.tally.called -= sum(
                    np.count_nonzero(mask) for mask in given if mask is not None
                )
            arguments["masks"] = masks

        weights = self.weights
        if weights is not None and weights.ndim > 1:
            weights = weights[:, piece.place].reshape(len(weights), *piece.shape)
        combine_planes(
            **arguments,
            plan=self.plan,
            outputs=outputs,
            weights=weights,
            factor=self.factors,
            n_threads=options.n_threads,
        )
        if self.uncertainty is not None:
            self.uncertainty.finish(sigma, outputs.get("n_used"), len(piece.pixels))
        else:
            rejected = outputs["mask_rej"]
            for k, bad in enumerate(arguments["masks"] or ()):
                if bad is not None:
                    rejected[k] |= bad
            sigma[...] = call_uncertainty(stack, rejected, self.factors, options)
        if self.tally is not None:
            self.tally.samples += mask.size * len(piece.pixels)
            self.tally.low += int(outputs["n_rejected_low"].sum(dtype=np.int64))
            self.tally.high += int(outputs["n_rejected_high"].sum(dtype=np.int64))
        self._check_integer(mask)

    def _check_integer(self, mask):
        options = self.options
        empty_is_nan = options.blank is None and options.method != "sum"
        if options.dtype.kind in "iu" and empty_is_nan and mask.any():
            raise IntegerResultError(
                f"dtype={options.dtype} cannot hold the NaN of pixels where no sample "
                "is left (masked, not finite or rejected in every frame). Use a "
                "floating-point dtype, or give their value with blank=."
            )

    def result(self):
        """Image, standard deviation and mask in the shape of the frames."""
        dtype = self.options.dtype
        image, sigma = self.image, self.sigma
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            outside = ~((image > limits.min - 1.0) & (image < limits.max + 1.0))
            if outside.any():
                raise IntegerResultError(
                    f"dtype={dtype} holds values from {limits.min} to {limits.max}, "
                    f"the combined image has {image[outside][0]:g}."
                )
        image = image.astype(dtype, copy=False)
        # The uncertainty of an integer image stays a float: truncated it would mostly
        # be 0.
        if dtype.kind == "f":
            sigma = sigma.astype(dtype, copy=False)
        return tuple(a.reshape(self.shape) for a in (image, sigma, self.mask))


def plan_of(options, frames, weights, factors, uncertainty):
    """Write the options down as the plan of the kernel."""
    steps = []
    if options.extrema is not None:
        low, high = options.extrema
        steps.append(("extrema", {"low": low, "high": high, "rule": "count"}))
    if options.limits is not None:
        low, high = options.limits
        steps.append(("range", {"low": low, "high": high}))
    if options.clip is not None and not options.clips_by_call:
        center, spread = options.clip.pair
        steps.append(
            (
                "sigclip",
                {
                    "low": options.clip.low,
                    "high": options.clip.high,
                    "center": center.name,
                    "spread": spread.name,
                    # numpy's std is about the mean, the MAD about the median,
                    # whatever the center of the clipping is.
                    "spread_center": "mean" if spread.name == "std" else "median",
                    "mad_factor": spread.factor,
                    "ddof": spread.ddof,
                    "maxiters": 1,
                    "nan_rule": clipfuncs.nan_rule(center, spread),
                },
            )
        )
    statistic = {"average": "mean", "median": "median", "sum": "sum"}[options.method]
    if weights is not None and options.method != "median":
        statistic = "w" + statistic
    # Values of at most 16 bits are exact in float32, and so is every comparison of
    # them; scaled values are not. A float32 image was asked for with dtype=float32:
    # its samples are then float32 too, as in ccdproc.
    plain = factors is None and weights is None
    narrow = all(
        frame.exact16
        or (options.dtype == np.float32 and np.dtype(frame.dtype).str[1:] == "f4")
        for frame in frames
    )
    return Plan(
        statistic=statistic,
        steps=tuple(steps),
        work="f4" if plain and narrow else "f8",
        independent=True,
        transform_after=True,
        uncertainty=None if uncertainty is None else uncertainty.name,
        blank=np.nan if options.blank is None else options.blank,
    )


def call_sigma_clip(stack, options):
    """
    Clip with functions the kernel does not know, through astropy's own clipping.

    Returns
    -------
    ndarray of bool, shape of `stack`
        True where a sample is rejected.
    """
    from astropy.stats import sigma_clip

    clip = options.clip
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Input data contains invalid values", AstropyUserWarning
        )
        clipped = sigma_clip(
            stack,
            sigma_lower=clip.low,
            sigma_upper=clip.high,
            axis=0,
            copy=False,
            maxiters=1,
            cenfunc=clipfuncs.without_bottleneck(clip.center),
            stdfunc=clipfuncs.without_bottleneck(clip.spread),
            masked=True,
        )
    return np.ma.getmaskarray(clipped)


def _joined(masks, clipped):
    if masks is None:
        return list(clipped)
    return [
        new if old is None else old | new
        for old, new in zip(masks, clipped, strict=True)
    ]


class _Sized:
    """An iterable with the length that a progress bar wants to know."""

    def __init__(self, iterable, length):
        self.iterable, self.length = iterable, length

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.iterable)


def _rows(strip, rows):
    mask = strip.mask
    return strip._replace(
        pixels=strip.pixels[rows], mask=None if mask is None else mask[rows]
    )


def assemble(template, image, uncertainty, mask, n_frames):
    """
    Put the arrays of a result into a copy of the first image.

    Parameters
    ----------
    template : `~astropy.nddata.CCDData`
        Gives class, header, WCS, unit, PSF and flags; it is not changed.
    image, uncertainty, mask : ndarray
        Combined data, their standard deviation, and True where there are none. The
        result takes them over.
    n_frames : int
        Goes into the header as NCOMBINE.
    """
    result = copy.copy(template)
    result.data = image
    result.mask = mask
    for name in ("_meta", "_wcs", "_psf", "_flags"):
        if hasattr(template, name):
            setattr(result, name, copy.deepcopy(getattr(template, name)))
    result.uncertainty = uncertainty_like(template.uncertainty, uncertainty, result)
    if hasattr(result.meta, "cards"):  # a FITS header: with a comment
        result.meta["NCOMBINE"] = (n_frames, "number of frames combined")
    else:
        result.meta["NCOMBINE"] = n_frames
    return result
