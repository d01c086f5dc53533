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

import numpy as np
from astropy import units as u

from imcombiners_astro.errors import CroppedFrameWarning, warn
from imcombiners_astro.noise import effective_noise, resolve_noise
from imcombiners_astro.normalization import frame_numbers_by_name
from imcombiners_astro.offsets import find_offsets, shift_coordinates
from imcombiners_astro.pieces import FlagRule, Transform
from imcombiners_astro.places import footprint_of
from imcombiners_astro.provenance import frames_table, write_header
from imcombiners_astro.result import CombinedCCDData
from imcombiners_astro.task import Inputs, Tally, Task
from imcombiners_astro.uncertainty import uncertainty_like
from imcombiners_astro.variances import require_variances
from imcombiners_astro.workers import Workers

__all__ = ["Tally", "combine_frames", "needs_variances"]


def combine_frames(frames, template, options, tally=None):
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

    Returns
    -------
    `~astropy.nddata.CCDData`
        Of the class of `template`, or `~imcombiners_astro.CombinedCCDData` if there are
        diagnostics.

    Raises
    ------
    TypeError
        Frames of units that cannot be converted, or smaller than the first one.
    ValueError
        Numbers that do not fit the frames, or are not found in them.
    IntegerResultError
        `options.dtype` cannot hold the result.
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
        thresholds=thresholds,
        ignored=flag_rule.ignored,
        mem_limit=options.mem_limit,
        n_threads=options.n_threads,
    )
    shown = _shown(template)
    if placement is not None:
        shift_coordinates(shown, placement)
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
    with Workers(options.n_threads) as workers:
        task = Task(inputs, options, workers, tally)
        task.run()
    return _assemble(shown, task, noise, normalization)


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
    """
    first = frames[0]
    cropped = []
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


def _assemble(result, task, noise, normalization):
    """Put the arrays of a combination into a copy of the first image."""
    example = result.uncertainty
    image, sigma, mask = task.result()
    extras = task.options.extras
    result.data = image
    result.mask = mask
    result.uncertainty = None
    if extras.offsets is not None:
        result.flags = None  # those of the first image are of other pixels
    if sigma is not None:
        result.uncertainty = uncertainty_like(example, sigma, result)
    output_dq = task.output_dq
    if output_dq is not None:
        output_dq = output_dq.reshape(task.shape)
        if extras.ignore_flags is not None or extras.least_bad is not None:
            result.flags = output_dq
    record = task.record
    if record is None:
        # The diagnostics of a first image that has some are not those of the result.
        has_some = isinstance(result, CombinedCCDData)
        return type(result).from_ccd(result) if has_some else result
    frames, offsets, n_pixels = task.inputs.frames, None, mask.size or 1
    if extras.offsets is not None:
        offsets = [frame.position for frame in frames]
        n_pixels = np.array([frame.n_covered or 1 for frame in frames])
    frames = frames_table(
        frames,
        normalization=normalization,
        noise=noise,
        n_used_per_frame=record.n_used,
        rejected_low_per_frame=record.n_low / n_pixels,
        rejected_high_per_frame=record.n_high / n_pixels,
        offsets=offsets,
    )
    return CombinedCCDData.from_ccd(
        result, frames=frames, output_dq=output_dq, **record.result(task.shape)
    )
