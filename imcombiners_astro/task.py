# Licensed under a 3-clause BSD style license - see LICENSE
"""One combination: the arrays of the result, and the work on each piece."""

import warnings
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro import clipfuncs
from imcombiners_astro.errors import IntegerResultError
from imcombiners_astro.pieces import Cut, FlagRule, PieceMaker, cut_into_pieces
from imcombiners_astro.places import PlacedFrame
from imcombiners_astro.planes import combine_planes
from imcombiners_astro.planning import make_plans
from imcombiners_astro.records import Record
from imcombiners_astro.stages import run_stages
from imcombiners_astro.strip import fold
from imcombiners_astro.uncertainty import (
    KnownUncertainty,
    call_uncertainty,
    known_uncertainty,
    scatter_uncertainty,
    side_by_side,
)

__all__ = ["Inputs", "Tally", "Task", "call_sigma_clip"]


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


class Inputs(NamedTuple):
    """
    What is known of the frames before their pixels are combined.

    Attributes
    ----------
    frames : list of Frame
        The images.
    transform : Transform
        Zero, scale and weights.
    thresholds : (float, float) or None
        In the unit of the first frame.
    flag_rule : FlagRule
        Which flags make a sample bad.
    noise : tuple of `~numpy.ndarray` or None
        Gain, read noise and sensitivity noise of every frame.
    with_variances : bool
        Whether their uncertainties are used.
    """

    frames: list
    transform: tuple
    thresholds: tuple | None = None
    flag_rule: FlagRule = FlagRule()
    noise: tuple | None = None
    with_variances: bool = False


class Task:
    """
    One combination.

    Parameters
    ----------
    inputs : Inputs
        The frames.
    options : Options
        What to do.
    workers : Workers
        Threads.
    tally : Tally, optional
        To be added to.

    Attributes
    ----------
    record : Record or None
        The diagnostics.
    output_dq : uint32 `~numpy.ndarray` (n_pixels,) or None
        Flags of the samples used.
    """

    def __init__(self, inputs, options, workers, tally=None):
        self.inputs, self.options, self.tally = inputs, options, tally
        frames = inputs.frames
        self.shape = shape = tuple(frames[0].shape)
        kind = options.extras.uncertainty
        if kind == "empirical":
            self.uncertainty = known_uncertainty(options)
        elif kind == "scatter":
            self.uncertainty = scatter_uncertainty(options.method)
        else:
            self.uncertainty = KnownUncertainty(kind)
        self.plans = make_plans(
            options,
            frames,
            inputs.transform,
            inputs.thresholds,
            None if self.uncertainty is None else self.uncertainty.name,
            inputs.noise,
        )
        self.maker = PieceMaker(
            frames,
            inputs.flag_rule,
            inputs.thresholds,
            with_variances=inputs.with_variances,
            keep_rows=self.plans.pools_rows or bool(self.plans.stages),
            n_threads=options.n_threads,
            workers=workers,
        )
        self.stack_dtype = np.float32 if options.dtype == np.float32 else np.float64

        n_pixels = prod(shape)
        self.image = np.empty(n_pixels, self.stack_dtype)
        self.mask = np.empty(n_pixels, bool)
        self.sigma = self.record = self.output_dq = None
        if kind is not None:
            self.sigma = np.empty(n_pixels, self.stack_dtype)
        if options.extras.diagnostics is not None:
            level, n_frames = options.extras.diagnostics, len(frames)
            self.record = Record(
                level,
                n_frames,
                n_pixels,
                self.stack_dtype,
                n_threads=options.n_threads,
                workers=workers,
            )
        if self.maker.with_flags:
            self.output_dq = np.empty(n_pixels, np.uint32)
        self.weights = inputs.transform.weights
        if self.weights is not None and self.weights.ndim > 1:
            # Placed frames bring those of their own pixels.
            placed = isinstance(frames[0], PlacedFrame)
            shape = (len(frames), n_pixels)
            self.weights = None if placed else self.weights.reshape(shape)

    @property
    def calls_functions(self):
        """Whether a function of the caller has to see the samples."""
        return self.options.clips_by_call or self.uncertainty is None

    def run(self):
        """Combine all pieces."""
        cut = self._cut()
        frames, progress_bar = self.inputs.frames, self.options.progress_bar
        for piece in cut_into_pieces(frames, self.maker, cut, progress_bar):
            self.combine(piece)

    def _cut(self):
        """Return how large the pieces may be under the limit of memory."""
        limit = self.options.mem_limit
        arrays = (self.image, self.sigma, self.mask, self.output_dq)
        done = sum(array.nbytes for array in arrays if array is not None)
        done += 0 if self.record is None else self.record.nbytes
        row = fold(self.shape)[1] * len(self.inputs.frames)
        row_nbytes = self.maker.row_nbytes
        if self.calls_functions:
            # The stack, copies of it inside astropy and masks: some four times.
            row_nbytes += 8 * max(row, 1)
        if self.record is not None:
            row_nbytes += 2 * row
        if self.plans.stages:
            row_nbytes += 5 * row
        return Cut(
            limit,
            # A result that takes all of the limit cannot be helped; strips of single
            # rows would only be slow as well.
            min(done, limit / 2),
            row_nbytes,
            self.plans.halo,
            whole=self.plans.pools_rows and len(self.shape) == 1,
        )

    def combine(self, piece):
        """Combine one piece into its place in the result."""
        options, transform, past = self.options, self.inputs.transform, None
        if self.plans.stages:
            piece, past = run_stages(
                piece,
                self.plans.stages,
                transform,
                self.shape,
                self.stack_dtype,
                options.n_threads,
            )
        outputs = self._outputs(piece)
        stack = called = None
        if self.calls_functions:
            stack = piece.stack(
                self.stack_dtype,
                options.n_threads,
                transform if options.extras.clip_scaled else None,
                self.inputs.thresholds,
            )
        if options.clips_by_call:
            piece, called = self._call_clip(piece, stack)
        combine_planes(
            **piece.arguments(),
            **self._more_arguments(piece),
            plan=self.plans.last,
            outputs=outputs,
            n_threads=options.n_threads,
            **transform.values(),
        )
        self._finish_uncertainty(piece, outputs, stack)
        if self.record is not None:
            self.record.keep(piece, outputs, past, called, self.plans, transform)
        if self.tally is not None:
            self._count(piece, outputs, past, called)
        self._check_integer(outputs["mask"])

    def _outputs(self, piece):
        """Return what the kernel is to write for a piece."""
        outputs = {} if self.record is None else self.record.outputs(piece)
        for name, array in (
            ("image", self.image),
            ("mask", self.mask),
            ("dq", self.output_dq),
        ):
            if array is not None:
                outputs[name] = array[piece.place].reshape(piece.shape)
        if self.uncertainty is None:
            outputs["mask_rej"] = np.empty((len(piece.pixels), *piece.shape), bool)
        elif self.sigma is not None:
            outputs["uncertainty"] = self.sigma[piece.place].reshape(piece.shape)
            if self.uncertainty.needs_n_used:
                outputs.setdefault("n_used", np.empty(piece.shape, np.uint16))
        if self.tally is not None:
            for name in ("n_rejected_low", "n_rejected_high"):
                outputs.setdefault(name, np.empty(piece.shape, np.uint16))
        return outputs

    def _more_arguments(self, piece):
        """Return the arguments of the kernel that only the last call has."""
        weights = self.weights
        if weights is not None and weights.ndim > 1:
            weights = weights[:, piece.place].reshape(len(weights), *piece.shape)
        if piece.weights is not None:
            weights = piece.weights
        arguments = {"weights": weights}
        if piece.variances is not None:
            arguments["variances"] = piece.variances
        if piece.flags is not None:
            arguments["flags"] = piece.flags
        return arguments

    def _call_clip(self, piece, stack):
        """Clip by functions of the caller; return the piece with more in its masks."""
        masks = piece.masks or [None] * len(stack)
        if self.record is None:
            clipped, called = call_sigma_clip(stack, self.options), None
        else:
            low, high = call_sigma_clip(stack, self.options, sides=True)
            for k, mask in enumerate(piece.whole(masks, False)):
                if mask is not None:
                    low[k] &= ~mask
                    high[k] &= ~mask
            called, clipped = (low, high), low | high
        joined = [
            new if old is None else old | new
            for old, new in zip(masks, piece.covered(clipped), strict=True)
        ]
        if self.tally is not None:
            self.tally.called += sum(np.count_nonzero(mask) for mask in joined)
            self.tally.called -= sum(
                np.count_nonzero(mask) for mask in masks if mask is not None
            )
        return piece._replace(masks=joined), called

    def _finish_uncertainty(self, piece, outputs, stack):
        """Do what the kernel has not."""
        if self.sigma is None:
            return
        sigma = self.sigma[piece.place].reshape(piece.shape)
        if self.uncertainty is not None:
            self.uncertainty.finish(sigma, outputs.get("n_used"), len(piece.pixels))
            return
        rejected = outputs["mask_rej"]
        masks = piece.masks or [None] * len(rejected)
        for k, bad in enumerate(piece.whole(masks, False)):
            if bad is not None:
                rejected[k] |= bad
        scaled = self.options.extras.clip_scaled
        transform = None if scaled else self.inputs.transform
        sigma[...] = call_uncertainty(stack, rejected, transform, self.options)

    def _count(self, piece, outputs, past, called):
        tally = self.tally
        tally.samples += piece.n_samples
        # With diagnostics the numbers are those of all stages and functions.
        for side, name, k in (
            ("low", "n_rejected_low", 0),
            ("high", "n_rejected_high", 1),
        ):
            number = int(outputs[name].sum(dtype=np.int64))
            if self.record is None and past is not None:
                number += int(getattr(past, name).sum(dtype=np.int64))
            if called is not None:
                number -= np.count_nonzero(called[k])
            setattr(tally, side, getattr(tally, side) + number)

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
        """Image, standard deviation (or None) and mask in the shape of the frames."""
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
        if sigma is not None:
            if dtype.kind == "f":
                sigma = sigma.astype(dtype, copy=False)
            sigma = sigma.reshape(self.shape)
        return image.reshape(self.shape), sigma, self.mask.reshape(self.shape)


def call_sigma_clip(stack, options, *, sides=False):
    """
    Clip with functions the kernel does not know, through astropy's own clipping.

    Parameters
    ----------
    stack : `~numpy.ndarray` (N, rows, columns)
        The samples.
    options : Options
        With the clipping.
    sides : bool
        Whether to tell the sides apart.

    Returns
    -------
    ndarray of bool, shape of `stack`
        True where a sample is rejected. With ``sides`` there are two, of samples below
        and of others, without those that are not finite.
    """
    from astropy.stats import sigma_clip

    clip = options.clip
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Input data contains invalid values", AstropyUserWarning
        )
        clipped = sigma_clip(
            side_by_side(stack),
            sigma_lower=clip.low,
            sigma_upper=clip.high,
            axis=0,
            copy=False,
            maxiters=1,
            cenfunc=clipfuncs.without_bottleneck(clip.center),
            stdfunc=clipfuncs.without_bottleneck(clip.spread),
            masked=True,
            return_bounds=sides,
        )
    n_columns = stack.shape[2]
    if not sides:
        return np.ma.getmaskarray(clipped)[..., :n_columns]
    clipped, lower, _ = clipped
    rejected = np.ma.getmaskarray(clipped)[..., :n_columns] & np.isfinite(stack)
    low = rejected & (stack < np.ma.filled(lower, -np.inf)[..., :n_columns])
    return low, rejected & ~low
