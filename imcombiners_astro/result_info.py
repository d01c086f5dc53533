# Licensed under a 3-clause BSD style license - see LICENSE
"""The story of a combination in a few lines of text."""

import numpy as np

from imcombiners_astro.flags import OutputFlags, SampleFlags

__all__ = ["describe"]

# Samples that were rejected and put back, and the limits that did so.
_RESTORED = SampleFlags.RESTORED_NKEEP | SampleFlags.RESTORED_MAXREJ
_RESTORING = OutputFlags.NKEEP | OutputFlags.MAXREJ


def describe(result, names):
    """
    Describe a combined image.

    Parameters
    ----------
    result : CombinedCCDData
        The image.
    names : list of str
        The diagnostics it has.

    Returns
    -------
    str
        A line for each thing the diagnostics tell. No array of the size of a cube is
        made.
    """
    unit = str(result.unit) or "no unit (dimensionless)"
    n_frames = "" if result.n_frames is None else f", of {result.n_frames} frames"
    lines = [
        f"{type(result).__name__} of shape {result.shape}, {result.dtype}, in {unit}"
        f"{n_frames}"
    ]
    for label, text in (
        ("rejected", _rejected(result)),
        ("not used", _not_used(result)),
        ("worst frame", _worst_frame(result)),
        ("n_used", _n_used(result)),
        ("restored", _restored(result)),
        ("pixel flags", _pixel_flags(result)),
        ("data quality", _data_quality(result)),
        ("passes", _passes(result)),
        ("uncertainty", _uncertainty(result)),
        ("diagnostics", ", ".join(names) or "none"),
    ):
        if text is not None:
            lines.append(f"{label:<13}{text}")
    return "\n".join(lines)


def _rejected(result):
    """Fractions of all samples."""
    n_samples = (result.n_frames or 0) * result.size
    low, high = result.n_rejected_low, result.n_rejected_high
    if not n_samples or low is None or high is None:
        return None
    low, high = (_percent(a.sum(dtype=np.int64), n_samples) for a in (low, high))
    return f"{low} of the samples as too low, {high} as too high"


def _not_used(result):
    n_samples = (result.n_frames or 0) * result.size
    has_mask = result._kept("mask_rej") is not None
    if not n_samples or not (has_mask or result.sample_flags is not None):
        return None
    if has_mask:
        n_left_out = sum(map(np.count_nonzero, result._unused_planes()))
        text = f"{_percent(n_left_out, n_samples)} of the samples, for any reason"
    else:
        text = "samples"
    if result.sample_flags is not None:
        reasons = _counts(result.sample_flags, ~_RESTORED)
        if reasons:
            text += f": {_listed(reasons, n_samples)}"
    return text


def _worst_frame(result):
    frames = result.frames
    low, high = _per_cent(frames, "rejected_low"), _per_cent(frames, "rejected_high")
    if low is not None and high is not None:
        worst = int(np.nanargmax(low + high))
        text = f"{low[worst]:.3g} % too low, {high[worst]:.3g} % too high"
    elif result._kept("mask_rej") is not None and result.size:
        left_out = [np.count_nonzero(plane) for plane in result._unused_planes()]
        worst = int(np.argmax(left_out))
        text = f"{_percent(left_out[worst], result.size)} not used"
    else:
        return None
    name = f"[{worst}]"
    if frames is not None and "name" in frames.colnames:
        name = f"{frames['name'][worst]} {name}"
    return f"{name}: {text}"


def _per_cent(frames, name):
    """Return a column of the table, NaN where it is masked, or None if all is NaN."""
    if frames is None or name not in frames.colnames:
        return None
    values = np.ma.filled(np.ma.asarray(frames[name], float), np.nan)
    return None if np.isnan(values).all() else values


def _n_used(result):
    n_used = result.n_used
    if n_used is None or not n_used.size:
        if result.mask is None:
            return None
        return f"0 at {np.count_nonzero(result.mask)} of {result.size} pixels"
    return (
        f"{n_used.min()} to {n_used.max()} per pixel, median {np.median(n_used):g}; "
        f"0 at {np.count_nonzero(n_used == 0)} of {result.size} pixels"
    )


def _passes(result):
    if result.nit is None or not result.nit.size:
        return None
    return f"{result.nit.min()} to {result.nit.max()}"


def _restored(result):
    if result.output_flags is None:
        return None
    counts = _counts(result.output_flags[np.newaxis], _RESTORING)
    return f"samples put back at pixels: {_listed(counts) or 'none'}"


def _pixel_flags(result):
    if result.output_flags is None:
        return None
    counts = _counts(result.output_flags[np.newaxis], OutputFlags)
    return _listed(counts) or "none set"


def _data_quality(result):
    if result.output_dq is None:
        return None
    bits = int(np.bitwise_or.reduce(result.output_dq, axis=None))
    values = [str(1 << bit) for bit in range(32) if bits >> bit & 1]
    flagged = np.count_nonzero(result.output_dq)
    return f"{flagged} pixels flagged, with {', '.join(values) or 'no bit'}"


def _uncertainty(result):
    uncertainty = result.uncertainty
    if uncertainty is None:
        return "none"
    text = type(uncertainty).__name__
    values = uncertainty.array
    if values is None:
        return text
    values = values[np.isfinite(values)]
    if values.size:
        text += f", median {np.median(values):.4g} {uncertainty.unit or ''}".rstrip()
    return text


def _counts(planes, flags):
    """Count how often each flag is set, plane by plane."""
    return {
        flag.name: sum(int(np.count_nonzero(plane & flag.value)) for plane in planes)
        for flag in flags
    }


def _listed(counts, total=None):
    """List the counts that are not 0, as parts of the total if it is given."""
    return ", ".join(
        f"{name} {number if total is None else _percent(number, total)}"
        for name, number in counts.items()
        if number
    )


def _percent(number, total):
    return f"{100 * number / total:.3g} %"
