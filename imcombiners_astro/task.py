# Licensed under a 3-clause BSD style license - see LICENSE
"""One combination: what it makes, and the work on each piece."""

import contextlib
import warnings
from dataclasses import dataclass
from functools import partial
from math import prod
from threading import RLock
from typing import NamedTuple

import numpy as np
from astropy.nddata import StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro import clipfuncs
from imcombiners_astro.cutting import Cut, cut_into_pieces
from imcombiners_astro.pieces import FlagRule, PieceMaker
from imcombiners_astro.places import PlacedFrame
from imcombiners_astro.planes import combine_planes
from imcombiners_astro.planning import make_plans
from imcombiners_astro.products import (
    Product,
    blank_array,
    empty_pixels,
    of_type,
    total_nbytes,
)
from imcombiners_astro.records import Record
from imcombiners_astro.stages import run_stages
from imcombiners_astro.strip import fold
from imcombiners_astro.uncertainty import (
    KnownUncertainty,
    call_uncertainty,
    known_uncertainty,
    scatter_uncertainty,
    side_by_side,
    uncertainty_like,
)

__all__ = ["Inputs", "Tally", "Task", "call_sigma_clip"]

# A function of the caller may combine images itself.
_FILTERS = RLock()


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
    image : `~astropy.nddata.CCDData`
        The unit of the result, and the class of its uncertainty (that of its own).
    tally : Tally, optional
        To be added to.

    Attributes
    ----------
    products : list of Product
        What it makes.
    record : Record or None
        The diagnostics.
    """

    def __init__(self, inputs, options, workers, image, tally=None):
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

        self.record = None
        if options.extras.diagnostics is not None:
            self.record = Record(
                options.extras.diagnostics,
                len(frames),
                by_kernel=not (
                    self.plans.stages
                    or options.clips_by_call
                    or inputs.thresholds is not None
                ),
                workers=workers,
            )
        self.products = self._products(kind, image)
        self.weights = inputs.transform.weights
        if self.weights is not None and self.weights.ndim > 1:
            # Placed frames bring those of their own pixels.
            placed = isinstance(frames[0], PlacedFrame)
            shape = (len(frames), prod(shape))
            self.weights = None if placed else self.weights.reshape(shape)

    def _products(self, kind, image):
        """List what the combination makes."""
        options, work = self.options, np.dtype(self.stack_dtype)
        dtype, convert = options.dtype, None
        if dtype != work:
            convert = partial(of_type, dtype=dtype, argument="dtype")
        found = [
            Product("image", work, dtype, convert=convert),
            Product("mask", np.dtype(bool), np.dtype(bool)),
        ]
        if kind is not None:
            # The uncertainty of an integer image stays a float: truncated it would
            # mostly be 0.
            dtype = dtype if dtype.kind == "f" else work
            like = uncertainty_like(image.uncertainty, np.ones(1, dtype), image)
            convert = None
            if dtype != work or not _is_std(like):
                convert = partial(_uncertainty, dtype=dtype, image=image)
            found.append(
                Product("uncertainty", work, like.array.dtype, convert=convert)
            )
        if self.maker.with_flags and (self.gives_flags or self.record is not None):
            found.append(Product("dq", np.dtype("u4"), np.dtype("u4")))
        if self.record is not None:
            found += self.record.products(work)
        return found

    @property
    def lean_products(self):
        """The products of which a result in memory can make the others."""
        if self.record is None or self.record.level != "full":
            return self.products
        return [
            p._replace(is_noted=p.name == "sample_flags" and self.record.by_kernel)
            for p in self.products
            if p.name != "mask_rej"
        ]

    @property
    def gives_flags(self):
        """Whether the flags of the result are those of the samples used."""
        return self.maker.with_flags and self.options.extras.judges_flags

    @property
    def nbytes(self):
        """Bytes of the result in memory."""
        n_frames = len(self.inputs.frames)
        return total_nbytes(self.lean_products, prod(self.shape), n_frames)

    @property
    def past_nbytes(self):
        """Bytes that a sample takes beside its value, where rejections grow."""
        if not self.plans.stages:
            return 0
        return 5 if self.record is None else 7

    def least_nbytes(self, in_memory):
        """
        Estimate the least memory that the combination needs.

        Parameters
        ----------
        in_memory : bool
            Whether the result is kept in memory.
        """
        reach = 1 + 2 * self.plans.halo
        n_rows = reach * prod(self.shape[1:-1]) if self.plans.halo else 2
        row = sum(frame.row_nbytes for frame in self.inputs.frames)
        least = n_rows * (row + self._row_nbytes(in_memory))
        return least + (self.nbytes if in_memory else 0)

    def input_nbytes(self):
        """Bytes that all the strips of the frames would need together."""
        n_rows, _ = fold(self.shape)
        return n_rows * sum(frame.row_nbytes for frame in self.inputs.frames)

    @property
    def calls_functions(self):
        """Whether a function of the caller has to see the samples."""
        return self.options.clips_by_call or self.uncertainty is None

    def run(self, store, in_memory=True):
        """
        Combine all pieces.

        Parameters
        ----------
        store : MemoryStore
            Or another thing with its methods ``keeps``, ``room`` and ``keep``, where
            the products are kept.
        in_memory : bool, optional
            Whether this is in memory.
        """
        cut = self._cut(in_memory)
        frames, progress_bar = self.inputs.frames, self.options.progress_bar
        pieces = cut_into_pieces(frames, self.maker, cut, progress_bar)
        with contextlib.closing(pieces):
            for piece in pieces:
                self.combine(piece, store)
                del piece  # before the next one is made

    def _cut(self, in_memory):
        """Return how large the pieces may be under the limit of memory."""
        limit = self.options.mem_limit
        done = self.nbytes if in_memory else 0
        if done and self.least_nbytes(in_memory) > limit:
            # A small result that is kept in spite of the limit; strips of single rows
            # would only be slow as well.
            done = min(done, limit / 2)
        return Cut(
            limit,
            done,
            self._row_nbytes(in_memory),
            self.plans.halo,
            whole=self.plans.pools_rows and len(self.shape) == 1,
        )

    def _row_nbytes(self, in_memory):
        """Bytes that the work on one folded row of all frames needs."""
        n_columns = fold(self.shape)[1]
        row = n_columns * len(self.inputs.frames)
        nbytes = self.maker.row_nbytes
        if self.calls_functions:
            # The stack, copies of it inside astropy and masks: some four times.
            nbytes += 8 * max(row, 1)
        if self.record is not None and not (in_memory and self.record.by_kernel):
            nbytes += 2 * row
        nbytes += self.past_nbytes * row
        if not in_memory:
            # What the kernel writes, what becomes of it, and that in other bytes.
            maps = [product for product in self.products if not product.is_cube]
            sizes = [p.work.itemsize + 3 * p.dtype.itemsize for p in maps]
            nbytes += n_columns * sum(sizes)
        return nbytes

    def combine(self, piece, store):
        """Combine one piece into its place in a store."""
        options, transform, past = self.options, self.inputs.transform, None
        masks = piece.inner().masks
        if piece.variances is not None and (self.plans.stages or options.clips_by_call):
            # Before any work; else the kernel finds them in passing.
            piece.inner().check_errors(np.ones(len(piece.pixels)), masks)
        if self.plans.stages:
            piece, past = run_stages(
                piece,
                self.plans.stages,
                transform,
                self.shape,
                self.stack_dtype,
                options.n_threads,
                with_sides=self.record is not None,
            )
        outputs = self._outputs(piece, store)
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
            **self._more_arguments(piece, outputs),
            plan=self.plans.last,
            outputs=outputs,
            zeroed=True,
            n_threads=options.n_threads,
            **transform.values(),
        )
        if piece.variances is not None:
            piece.check_errors(outputs["frame_negative"], masks)
        self._finish_uncertainty(piece, outputs, stack, store)
        self._check_integer(outputs["mask"])
        if self.record is not None:
            self.record.complete(piece, outputs, past, called, self.plans, store)
        if self.tally is not None:
            self._count(piece, outputs, past, called)
        for product in self.products:
            if store.keeps(product.name):
                store.keep(product.name, piece, outputs[product.name])

    def _outputs(self, piece, store):
        """Return what the kernel is to write for a piece."""
        outputs = {
            product.name: store.room(product.name, piece)
            for product in self.products
            if not product.is_cube
            # One that the caller's function makes comes later.
            and (product.name != "uncertainty" or self.uncertainty is not None)
        }
        n_frames = len(piece.pixels)
        if self.record is not None:
            outputs |= self.record.outputs(piece, store)
        if piece.variances is not None:
            outputs["frame_negative"] = blank_array(n_frames, np.int64)
        if self.uncertainty is None:
            cube = (n_frames, *piece.shape)
            outputs.setdefault("mask_rej", blank_array(cube, bool))
        elif self.uncertainty.needs_n_used:
            outputs.setdefault("n_used", blank_array(piece.shape, np.uint16))
        if self.tally is not None:
            for name in ("n_rejected_low", "n_rejected_high"):
                outputs.setdefault(name, blank_array(piece.shape, np.uint16))
        return outputs

    def _more_arguments(self, piece, outputs):
        """Return the arguments of the kernel that only the last call has."""
        weights = self.weights
        if weights is not None and weights.ndim > 1:
            weights = weights[:, piece.place].reshape(len(weights), *piece.shape)
        if piece.weights is not None:
            weights = piece.weights
        arguments = {"weights": weights}
        if piece.variances is not None:
            arguments |= {"variances": piece.variances, "errors": piece.errors}
        if piece.flags is not None and "dq" in outputs:
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

    def _finish_uncertainty(self, piece, outputs, stack, store):
        """Do what the kernel has not."""
        if self.uncertainty is not None:
            if "uncertainty" in outputs:
                n_used = outputs.get("n_used")
                sigma = outputs["uncertainty"]
                self.uncertainty.finish(sigma, n_used, len(piece.pixels))
            return
        rejected = outputs["mask_rej"]
        masks = piece.masks or [None] * len(rejected)
        for k, bad in enumerate(piece.whole(masks, False)):
            if bad is not None:
                rejected[k] |= bad
        scaled = self.options.extras.clip_scaled
        transform = None if scaled else self.inputs.transform
        sigma = outputs["uncertainty"] = store.room("uncertainty", piece)
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
            raise empty_pixels("dtype", options.dtype)


def _is_std(uncertainty):
    return isinstance(uncertainty, StdDevUncertainty)


def _uncertainty(sigma, dtype, image):
    """Turn standard deviations into what the uncertainty of an image holds."""
    sigma = sigma.astype(dtype, copy=False)
    return uncertainty_like(image.uncertainty, sigma, image).array


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
    # The filters belong to all threads: who leaves puts back what it found.
    with _FILTERS, warnings.catch_warnings():
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
