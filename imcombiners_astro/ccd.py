# Licensed under a 3-clause BSD style license - see LICENSE
"""
From frames and options to a combined CCDData.

The meaning of every option of ``ccdproc.combine`` is the same here: its rejections look
at the samples as they are in the images, each on its own (a sample is dropped when any
of them rejects it, and masked samples still take part in their statistics); `scale`
multiplies what is left; the statistic and its scatter follow. What ccdproc does not
have is in `imcombiners_astro.extras`.
"""

import copy
from contextlib import nullcontext
from math import prod
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, FlagCollection

from imcombiners_astro.diagnostics import Derived
from imcombiners_astro.errors import CroppedFrameWarning, warn
from imcombiners_astro.noise import Noise, effective_noise, resolve_noise
from imcombiners_astro.normalization import Normalization, frame_numbers_by_name
from imcombiners_astro.offsets import find_offsets, shift_coordinates
from imcombiners_astro.pieces import FlagRule, Transform
from imcombiners_astro.places import PlacedFrame, footprint_of
from imcombiners_astro.products import MemoryStore
from imcombiners_astro.provenance import frames_table, write_header
from imcombiners_astro.result import DIAGNOSTICS, CombinedCCDData
from imcombiners_astro.task import Inputs, Tally, Task
from imcombiners_astro.uncertainty import uncertainty_like
from imcombiners_astro.variances import require_variances
from imcombiners_astro.workers import Workers

__all__ = [
    "Prepared",
    "Tally",
    "assemble",
    "combine_frames",
    "counts_of",
    "frames_table_of",
    "needs_variances",
    "prepare",
]

# Bytes of strips and work with which a combination runs at full speed.
_EASY_NBYTES = 48 * 2**20

# A result with no file to go to is refused only if it is larger than this. Scripts for
# ccdproc, which does not count the result, come with limits of a few megabytes.
_SMALL_NBYTES = 16 * 2**20


def combine_frames(frames, template, options, tally=None, output=None):
    """
    Combine frames of one shape into one image.

    Parameters
    ----------
    frames : list of Frame
        The images, N of them; all are checked before the first pixel is combined.
    template : `~astropy.nddata.CCDData`
        The first image, of which the class, header, WCS, unit, PSF and flags are
        copied. Its data are not used.
    options : Options
        See `imcombiners_astro.options`.
    tally : Tally, optional
        To be added to.
    output : `~imcombiners_astro.files.output.Output`, optional
        Where the result goes if it does not fit in the memory; it is tried before the
        first pixel is combined.

    Returns
    -------
    `~astropy.nddata.CCDData`
        Of the class of `template`, or `~imcombiners_astro.CombinedCCDData` if there are
        diagnostics. If ``output.is_written``, its arrays are read-only maps of files.

    Raises
    ------
    TypeError
        Frames of units that cannot be converted, or smaller than the first one.
    ValueError
        Numbers that do not fit the frames, or are not found in them; a result that does
        not fit in the memory, and no `output`.
    IntegerResultError
        `options.dtype` cannot hold the result.
    """
    prepared = prepare(frames, template, options)
    shown = prepared.shown
    with Workers(options.n_threads) as workers:
        task = Task(prepared.inputs, options, workers, shown, tally)
        with _store(task, shown, output) as store:
            in_memory = isinstance(store, MemoryStore)
            task.run(store, in_memory)
            table = None
            if task.record is not None:
                n_pixels, placed = prod(task.shape), prepared.inputs.frames
                table = frames_table_of(prepared, placed, n_pixels, counts_of(task))
            arrays = store.finish(table)
    return assemble(shown, arrays, options, table)


class Prepared(NamedTuple):
    """
    What is known of a combination before its pixels are combined.

    Attributes
    ----------
    shown : `~astropy.nddata.CCDData`
        The first image with the header of the result; its data are not used.
    inputs : Inputs
        The frames, and how they enter.
    noise : `~imcombiners_astro.noise.Noise` or None
        Gain and read noise, if something needs them.
    normalization : `~imcombiners_astro.normalization.Normalization`
        Zero levels, scales and weights.
    """

    shown: CCDData
    inputs: Inputs
    noise: Noise | None
    normalization: Normalization


def prepare(frames, template, options, measure=None):
    """
    Check frames against each other and find the numbers by which they enter.

    Parameters
    ----------
    frames, template, options
        As for `combine_frames`.
    measure : callable, optional
        Takes the statistics of the frames, see
        `~imcombiners_astro.normalization.frame_numbers_by_name`.

    Returns
    -------
    Prepared

    Raises
    ------
    TypeError, ValueError
        As `combine_frames`.
    """
    extras = options.extras
    check_alike(frames, same_shape=extras.offsets is None)
    placement, lines = None, ()
    if extras.offsets is not None:
        offsets, lines = find_offsets(frames, extras.offsets)
        placement = footprint_of(frames, offsets, extras.footprint)
    flag_rule = FlagRule.of(extras, frames)
    thresholds = _thresholds_in(extras.thresholds, frames[0].unit)
    with_variances = needs_variances(options)
    if with_variances:
        require_variances(frames, with_variances)
    noise = _noise(frames, extras)
    normalization = frame_numbers_by_name(
        frames,
        zero=extras.zero,
        scale=options.scale,
        weights=options.weights,
        statsec=extras.statsec,
        statsample=extras.statsample,
        thresholds=thresholds,
        ignored=flag_rule.ignored,
        mem_limit=options.mem_limit,
        n_threads=options.n_threads,
        measure=measure,
    )
    shown = _shown(template)
    if placement is not None:
        shift_coordinates(shown, placement)
        shown.flags = None  # those of the first image are of other pixels
    _write_header(shown, frames, options, noise, normalization, lines)
    transform = _transform(normalization)
    placed = frames
    if placement is not None:
        per_sample = np.ndim(transform.weights) > 1
        placed = placement.place(frames, transform.weights if per_sample else None)
    inputs = Inputs(
        placed,
        transform,
        thresholds,
        flag_rule,
        None if noise is None else _in_first_unit(noise, frames),
        bool(with_variances),
    )
    return Prepared(shown, inputs, noise, normalization)


def _store(task, shown, output):
    """Choose where the result is kept: in memory, or where the output goes."""
    limit, n_frames = task.options.mem_limit, len(task.inputs.frames)
    needed = task.least_nbytes(in_memory=True)
    if output is not None:
        small = tuple(min(n, 8) for n in task.shape)
        store = MemoryStore(task.products, small, n_frames)
        output.rehearse(
            assemble(_small(shown, small), store.finish(), task.options, None)
        )
        easy = task.nbytes + min(task.input_nbytes(), _EASY_NBYTES)
        needed = max(needed, easy) + output.writing_nbytes(
            task.products, task.shape, n_frames
        )
    can_stream = output is not None and output.can_stream
    if needed <= limit or (not can_stream and needed <= _SMALL_NBYTES):
        return nullcontext(MemoryStore(task.lean_products, task.shape, n_frames))
    if not can_stream:
        advice = "Give output_file=, to which it is then written strip by strip,"
        if output is not None:
            advice = (
                f"{output.path} cannot be written strip by strip, because it is to be "
                "compressed as a whole: give a name that does not end with .gz,"
            )
        raise ValueError(
            f"the result needs {task.nbytes} bytes of memory ({needed} with what it "
            f"takes to make it), mem_limit={limit:.0f} allows fewer. {advice} or a "
            "larger mem_limit."
        )
    example = copy.copy(shown)
    if task.gives_flags:
        example.flags = None
    return output.stream(task.products, task.shape, n_frames, example)


def _small(shown, shape):
    """Copy of an image with flags of a few pixels."""
    small = copy.copy(shown)
    small.data = np.empty(shape)
    if isinstance(small, CombinedCCDData):
        for name in DIAGNOSTICS:
            setattr(small, name, None)
    flags = shown.flags
    part = tuple(slice(0, n) for n in shape)
    if isinstance(flags, FlagCollection):
        small._flags = FlagCollection(shape=shape)
        small._flags.update({name: array[part] for name, array in flags.items()})
    elif flags is not None:
        small._flags = flags[part]
    return small


def needs_variances(options):
    """Return what needs the uncertainties of the images, in words; "" if nothing."""
    if options.extras.uncertainty == "propagate":
        return "uncertainty='propagate'"
    by_name = isinstance(options.weights, str)
    return "weights='ivar'" if by_name and options.weights == "ivar" else ""


def check_alike(frames, same_shape=True):
    """
    Compare shapes and units with those of the first frame.

    Larger frames are cropped, and other units are converted.

    Parameters
    ----------
    frames : list of Frame
        The frames.
    same_shape : bool, optional
        Whether shapes matter; the number of dimensions does in any case.

    Raises
    ------
    TypeError
        A frame is smaller than the first one or has another number of dimensions, or a
        unit that cannot be converted.
    ValueError
        A frame without a pixel.
    """
    first = frames[0]
    cropped = []
    for frame in frames:
        if 0 in frame.shape:
            raise ValueError(
                f"{frame.name} has no pixel: its shape is {tuple(frame.shape)}."
            )
    for frame in frames[1:]:
        frame.to_unit(first.unit, first.name)
        same = len(frame.shape) == len(first.shape)
        if tuple(frame.shape) == tuple(first.shape) or (same and not same_shape):
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


def _thresholds_in(thresholds, unit):
    """Return thresholds as numbers in the unit of the first frame."""
    if thresholds is None:
        return None
    pair = []
    for limit in thresholds:
        if isinstance(limit, u.Quantity):
            try:
                limit = limit.to_value(unit)
            except u.UnitConversionError as error:
                raise TypeError(
                    f"thresholds: found {limit}, expected values in "
                    f"{unit or 'numbers without a unit'}, as the first image has."
                ) from error
        pair.append(float(limit))
    low, upp = pair
    if low > upp:
        raise ValueError(f"thresholds: found ({low}, {upp}), expected low <= upp.")
    return low, upp


def _noise(frames, extras):
    """Find gain and read noise if something needs them."""
    purpose = extras.noise_purpose
    if purpose is None:
        return None
    given = (extras.gain, extras.readnoise, extras.snoise)
    return resolve_noise(frames, *given, purpose=purpose)


def _in_first_unit(noise, frames):
    """Gain, read noise and sensitivity noise for values in the unit of the first."""
    factors = np.array([frame.unit_factor for frame in frames])
    return noise.gain / factors, noise.readnoise, noise.snoise


def _transform(normalization):
    weights = normalization.weights
    return Transform(
        normalization.zero,
        normalization.factor,
        normalization.scale,
        None if isinstance(weights, str) else weights,
    )


def _shown(template):
    """Copy of the first image with a header and a WCS of its own; its data are not."""
    result = copy.copy(template)
    for name in ("_meta", "_wcs", "_psf", "_flags"):
        if hasattr(template, name):
            setattr(result, name, copy.deepcopy(getattr(template, name)))
    return result


def _write_header(result, frames, options, noise, normalization, lines):
    """Write what is known before the work; what cannot be written stops it here."""
    extras, header = options.extras, result.meta
    by_name = any(isinstance(x, str) for x in (options.scale, options.weights))
    if not extras.given and not by_name:
        # As ccdproc, but for the number.
        if hasattr(header, "cards"):  # a FITS header: with a comment
            header["NCOMBINE"] = (len(frames), "number of frames combined")
        else:
            header["NCOMBINE"] = len(frames)
        return
    effective = None
    if extras.effective_noise:
        factors = [frame.unit_factor for frame in frames]
        effective = effective_noise(noise, options.method, normalization, factors)
    write_header(
        header,
        frames,
        options=(*options.described, *lines),
        exposure=extras.exposure,
        noise=noise,
        normalization=normalization,
        effective_noise=effective,
        wcs=result.wcs,
    )


def counts_of(task):
    """
    Collect what is counted of every frame.

    Parameters
    ----------
    task : Task
        It has run, with diagnostics.

    Returns
    -------
    int64 `~numpy.ndarray` (3, N)
        Samples used, and rejected below and above.
    """
    record = task.record
    return np.array([record.n_used, record.n_low, record.n_high])


def frames_table_of(prepared, frames, n_pixels, counts):
    """
    Make the table of the frames.

    Parameters
    ----------
    prepared : Prepared
        What was known before.
    frames : sequence of Frame
        The images, of which names, units and headers are used.
    n_pixels : int
        Pixels of an image.
    counts : `~numpy.ndarray` (3, N)
        As `counts_of` gives them.

    Returns
    -------
    `~astropy.table.Table`
        See `~imcombiners_astro.provenance.frames_table`.
    """
    n_used, n_low, n_high = counts
    n_pixels, offsets = n_pixels or 1, None
    if isinstance(frames[0], PlacedFrame):
        offsets = [frame.position for frame in frames]
        n_pixels = np.array([frame.n_covered or 1 for frame in frames])
    return frames_table(
        frames,
        normalization=prepared.normalization,
        noise=prepared.noise,
        n_used_per_frame=n_used,
        rejected_low_per_frame=n_low / n_pixels,
        rejected_high_per_frame=n_high / n_pixels,
        offsets=offsets,
    )


def assemble(result, arrays, options, frames):
    """
    Put the arrays of a combination into a copy of the first image.

    Parameters
    ----------
    result : `~astropy.nddata.CCDData`
        The copy, which is changed.
    arrays : dict of str to `~numpy.ndarray`
        image, mask, and as far as they are there uncertainty (of the class of that of
        `result`), dq and the diagnostics, in the shape of the image or (N, *shape).
    options : Options
        What was done.
    frames : `~astropy.table.Table` or None
        The table of the frames.

    Returns
    -------
    `~astropy.nddata.CCDData`
        As of `combine_frames`.
    """
    example, extras, arrays = result.uncertainty, options.extras, dict(arrays)
    result.data = arrays.pop("image")
    result.mask = arrays.pop("mask")
    result.uncertainty = None
    if "uncertainty" in arrays:
        array = arrays.pop("uncertainty")
        uncertainty = uncertainty_like(example, np.ones(1, array.dtype), result)
        uncertainty.array = array
        result.uncertainty = uncertainty
    output_dq = arrays.pop("dq", None)
    if output_dq is not None and extras.judges_flags:
        result.flags = output_dq
    if extras.diagnostics is None:
        # The diagnostics of a first image that has some are not those of the result.
        has_some = isinstance(result, CombinedCCDData)
        return type(result).from_ccd(result) if has_some else result
    if "sample_flags" in arrays:
        arrays.setdefault("mask_rej", Derived.FROM_FLAGS)
    return CombinedCCDData.from_ccd(
        result, frames=frames, output_dq=output_dq, **arrays
    )
