# Licensed under a 3-clause BSD style license - see LICENSE
"""The slow and obvious truth about combining a stack, one pixel column at a time.

Plain Python floats (IEEE double precision) in plain loops, written to be read
beside the documentation of the rejection algorithms and to be compared with the
fast kernel.  Nothing of the package is imported here.

A *column* is what the N frames hold at one output pixel, in frame order.  What
happens to it:

1. every sample is converted to a number (FITS scaling included) and, for the
   ``"f4"`` workspace, rounded to float32;
2. NaN and infinite samples are absent for ever; samples outside the thresholds
   and masked samples are absent too;
3. value = (raw - zero) * factor / scale, in double precision, rounded once to
   the workspace type (``transform_after``: only after the rejection);
4. the rejection steps, in order, each seeing what all before have left
   (``independent``: each judges all finite samples within the thresholds,
   masked ones included, and what any of them rejects is rejected);
5. the statistic and the uncertainty of what survives.
"""

import math
from dataclasses import dataclass, field

import numpy as np

__all__ = ["MAD_TO_STD", "Plan", "combine", "combine_column"]

MAD_TO_STD = 1.482602218505602  # 1 / Phi^-1(3/4): a normal sigma from its MAD

# Bits of the output flags (one byte per output pixel).
PREMASKED, MAXITERS, NKEEP, MAXREJ = 1, 2, 4, 8
# Bits of the sample flags (one byte per sample).
INPUT_MASK, NONFINITE, THRESHOLD, ALGORITHM = 1, 2, 4, 8
RESTORED_NKEEP, RESTORED_MAXREJ = 64, 128


@dataclass
class Plan:
    """The options of a combination, with the kernel's names and defaults."""

    statistic: str = "mean"
    steps: tuple = ()
    work: str = "f8"
    thresholds: tuple | None = None
    independent: bool = False
    transform_after: bool = False
    uncertainty: str | None = None
    q: float | None = None
    ddof: int = 0
    blank: float = math.nan


# ---------------------------------------------------------------- statistics


def add_up(values):
    """Sum in the order given (the built-in `sum` compensates, NumPy's pairs)."""
    total = 0.0
    for value in values:
        total += value
    return total


def mean(values):
    """Arithmetic mean."""
    return add_up(values) / len(values)


def median(values):
    """Middle value, or half the sum of the two middle values."""
    ordered = sorted(values)
    n = len(ordered)
    if n % 2:
        return ordered[n // 2]
    a, b = ordered[n // 2 - 1], ordered[n // 2]
    # Two values near the largest double have a sum beyond it, but not a middle.
    return (a + b) / 2.0 if math.isfinite(a + b) else a / 2.0 + b / 2.0


def lmedian(values):
    """Middle value, or the lower of the two middle values."""
    return sorted(values)[(len(values) - 1) // 2]


CENTER = {"mean": mean, "median": median, "lmedian": lmedian}


def variance(values, about, ddof):
    """Sum of squared differences from ``about`` over (n - ddof); NaN if n <= ddof."""
    if len(values) <= ddof:
        return math.nan
    return add_up([(x - about) * (x - about) for x in values]) / (len(values) - ddof)


def mad(values, about):
    """Median of the absolute differences from ``about``."""
    return median([abs(x - about) for x in values])


def percentile(values, q):
    """Percentile with linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * (q / 100.0)
    below = math.floor(position)
    lower = ordered[below]
    upper = ordered[min(below + 1, len(ordered) - 1)]
    t = position - below
    # From the nearer end, as NumPy does it: monotonic in q, exact at the ends.
    if t < 0.5:
        return lower + (upper - lower) * t
    return upper - (upper - lower) * (1.0 - t)


def statistic_of(values, weights, plan):
    """The combined value of the survivors of a column (never empty)."""
    name = plan.statistic
    if name in CENTER:
        return CENTER[name](values)
    if name == "sum":
        return add_up(values)
    if name == "min":
        return min(values)
    if name == "max":
        return max(values)
    if name == "variance":
        return variance(values, mean(values), plan.ddof)
    if name == "std":
        return math.sqrt(variance(values, mean(values), plan.ddof))
    if name == "percentile":
        return percentile(values, plan.q)
    weighted = add_up([w * x for w, x in zip(weights, values, strict=True)])
    if name == "wsum":
        return weighted
    if name == "wmean":
        total = add_up(weights)
        return weighted / total if total != 0 else math.nan
    raise ValueError(f"unknown statistic {name!r}")


def uncertainty_of(values, kind):
    """The uncertainty of the combined value from the scatter of the survivors."""
    n = len(values)
    if n == 0 or kind is None:
        return math.nan
    if kind == "mad_error":
        return MAD_TO_STD * mad(values, median(values)) / math.sqrt(n)
    std = math.sqrt(variance(values, mean(values), 0))
    if kind == "std_error":
        return std / math.sqrt(n)
    if kind == "std_sum":
        return std / math.sqrt(n) * n
    raise ValueError(f"unknown uncertainty {kind!r}")


# ------------------------------------------------------------------ rejection


@dataclass
class Verdict:
    """What one rejection step did to a column (lists of frame numbers)."""

    low: list = field(default_factory=list)
    high: list = field(default_factory=list)
    restored: list = field(default_factory=list)
    restored_bits: int = 0
    flags: int = 0
    std: float = math.nan
    passes: int = 0  # that rejected something


def sigclip(
    value,
    judged,
    *,
    low,
    high,
    center="median",
    spread_center=None,
    spread="std",
    mad_factor=MAD_TO_STD,
    ddof=0,
    maxiters=5,
    nkeep=0,
    maxrej=None,
    revert="undo",
    nan_rule="ignore",
):
    """Iterative clipping around a centre, in units of a spread.

    Parameters
    ----------
    value : list of float
        The column, one value per frame.
    judged : list of int
        The frames whose values are judged, in order.

    Returns
    -------
    Verdict

    Notes
    -----
    ``nan_rule`` says what becomes of a column with a non-finite sample: the
    statistics "ignore" it, "none" of the column is clipped, or "all" is.
    """
    verdict = Verdict()
    if nan_rule != "ignore" and not all(math.isfinite(x) for x in value):
        if nan_rule == "all":
            verdict.high = list(judged)
        return verdict

    survivors = list(judged)
    passes = 0
    out_of_passes = maxiters == 0
    while maxiters is None or passes < maxiters:
        passes += 1
        out_of_passes = passes == maxiters
        x = [value[k] for k in survivors]
        if not x or (spread == "std" and len(x) <= ddof):
            break
        c = CENTER[center](x)
        a = CENTER[spread_center or center](x)
        if spread == "mad":
            s = mad_factor * mad(x, a)
        else:
            s = math.sqrt(variance(x, a, ddof))
        if not (math.isfinite(c) and math.isfinite(s)):
            break
        verdict.std = s
        lo = c - low * s if math.isfinite(low) else -math.inf
        hi = c + high * s if math.isfinite(high) else math.inf
        below = [k for k in survivors if value[k] < lo]
        above = [k for k in survivors if value[k] > hi]
        rejected = sorted(below + above)

        n_left = len(survivors) - len(rejected)
        n_rejected = len(judged) - n_left
        missing = nkeep - n_left if revert != "ignore" else 0
        excess = n_rejected - maxrej if maxrej is not None else 0
        if missing > 0 or excess > 0:
            # This pass goes too far: it is undone, wholly or as far as needed,
            # and is the last (also if there were too few to begin with).
            back = rejected
            if revert == "closest":
                back = sorted(rejected, key=lambda k: (abs(value[k] - c), k))
                back = back[: max(missing, excess)]
            verdict.restored = sorted(back)
            if missing > 0:
                verdict.flags |= NKEEP
                verdict.restored_bits |= RESTORED_NKEEP
            if excess > 0:
                verdict.flags |= MAXREJ
                verdict.restored_bits |= RESTORED_MAXREJ
            below = [k for k in below if k not in back]
            above = [k for k in above if k not in back]
        verdict.low += below
        verdict.high += above
        survivors = [k for k in survivors if k not in below and k not in above]
        if below or above:
            verdict.passes += 1
        if missing > 0 or excess > 0 or not rejected:
            out_of_passes = False
            break
    if out_of_passes:
        verdict.flags |= MAXITERS
    return verdict


def extrema(value, judged, *, low, high, rule="count"):
    """Reject the lowest and the highest samples of a column.

    With ``rule="count"`` the ranks are those among all the N samples, and whatever
    is not judged ranks above everything, as NaN does: it counts among the highest.
    With ``"fraction"`` the numbers shrink in proportion n / N.  Of equal values the
    lowest frame is the lowest and the highest frame the highest.
    """
    n_frames, n = len(value), len(judged)
    order = sorted(judged, key=lambda k: (value[k], k))
    if rule == "count":
        n_low = min(low, n)
        n_high = max(high - (n_frames - n), 0)
    else:
        n_low = min(int(n * low / n_frames + 0.001), n)
        n_high = int(n * high / n_frames + 0.001)
    lowest = order[:n_low]
    highest = order[n - min(n_high, n - n_low) :]
    return Verdict(
        low=[k for k in judged if k in lowest],
        high=[k for k in judged if k in highest],
    )


def value_range(value, judged, *, low, high):
    """Reject what lies below ``low`` or above ``high``."""
    return Verdict(
        low=[k for k in judged if value[k] < low],
        high=[k for k in judged if value[k] > high],
    )


STEPS = {"sigclip": sigclip, "extrema": extrema, "range": value_range}


# ----------------------------------------------------------------- the column


def combine_column(raw, seen, used, bad, weights, plan):
    """Combine one column.

    Parameters
    ----------
    raw, seen, used : list of float
        The samples as they were read, as the rejection sees them, and as the
        statistic uses them.
    bad : list of bool
        The input mask, True = bad.
    weights : list of float
        One per sample.
    plan : Plan
        What to do.

    Returns
    -------
    dict
        Every output at this pixel; the cubes as lists.
    """
    frames = range(len(raw))
    lower, upper = plan.thresholds or (-math.inf, math.inf)
    flags = [0 for _ in frames]
    for k in frames:
        if bad[k]:
            flags[k] |= INPUT_MASK
        if not math.isfinite(raw[k]):
            flags[k] |= NONFINITE
        if raw[k] < lower or raw[k] > upper:
            flags[k] |= THRESHOLD
    thresholded = [bool(flags[k] & THRESHOLD) for k in frames]

    survivors = [k for k in frames if flags[k] == 0]
    everything = [k for k in frames if not flags[k] & (NONFINITE | THRESHOLD)]
    for k in everything if plan.independent else survivors:
        if not math.isfinite(seen[k]):  # the transform left the range of numbers
            flags[k] |= NONFINITE
    everything = [k for k in everything if not flags[k] & NONFINITE]
    survivors = available = [k for k in survivors if not flags[k] & NONFINITE]
    verdicts = []
    n_low = n_high = 0
    for name, options in plan.steps:
        judged = everything if plan.independent else survivors
        verdict = STEPS[name](seen, judged, **options)
        verdicts.append((name, verdict))
        n_low += len([k for k in verdict.low if k in survivors])
        n_high += len([k for k in verdict.high if k in survivors])
        gone = set(verdict.low + verdict.high)
        survivors = [k for k in survivors if k not in gone]
        for k in verdict.restored:
            flags[k] |= verdict.restored_bits
    for k in available:
        if k not in survivors:
            flags[k] |= ALGORITHM
    for k in survivors:
        if not math.isfinite(used[k]):
            flags[k] |= NONFINITE
    survivors = [k for k in survivors if math.isfinite(used[k])]

    x = [used[k] for k in survivors]
    if x:
        image = statistic_of(x, [weights[k] for k in survivors], plan)
    elif not math.isnan(plan.blank):
        image = plan.blank
    else:
        image = 0.0 if plan.statistic in ("sum", "wsum") else math.nan

    clips = [verdict for name, verdict in verdicts if name == "sigclip"]
    output_flags = PREMASKED if any(bad) else 0
    for _, verdict in verdicts:
        output_flags |= verdict.flags
    return {
        "image": image,
        "uncertainty": uncertainty_of(x, plan.uncertainty),
        "n_used": len(x),
        "mask": not x,
        "mask_rej": [k not in survivors for k in frames],
        "mask_thresh": thresholded,
        "sample_flags": flags,
        "low": min(x) if x else math.nan,
        "upp": max(x) if x else math.nan,
        "std": clips[-1].std if clips else math.nan,
        "nit": min(1 + sum(verdict.passes for verdict in clips), 255),
        "output_flags": output_flags,
        "n_rejected_low": n_low,
        "n_rejected_high": n_high,
    }


# ------------------------------------------------------------------ the stack


def load_plane(plane, fits=None):
    """One plane as float64 numbers, with the FITS scaling of its raw values.

    The ``unsigned`` convention keeps every bit; otherwise the physical values
    are made in float32 for BITPIX 8, 16 and -32 and in float64 for 32, 64 and
    -64, as `astropy.io.fits` does, and BLANK becomes NaN.
    """
    plane = np.asarray(plane)
    native = plane.astype(plane.dtype.newbyteorder("="))
    if fits is None:
        return native.astype(np.float64)
    if fits.unsigned:
        if native.dtype == np.uint8:  # BITPIX 8, BZERO -128: signed bytes
            return native.astype(np.float64) - 128.0
        bits = 8 * native.dtype.itemsize
        unsigned = np.array(native).view(f"u{bits // 8}")
        return (unsigned ^ np.array(2 ** (bits - 1), unsigned.dtype)).astype(np.float64)
    kind, size = native.dtype.kind, native.dtype.itemsize
    single = size <= 2 or (kind == "f" and size == 4)
    number = np.float32 if single else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        physical = native.astype(number)
        if fits.bscale != 1:
            physical = physical * number(fits.bscale)
        if fits.bzero != 0:
            physical = physical + number(fits.bzero)
    if fits.blank is not None and kind != "f":
        physical = np.where(native == fits.blank, number(np.nan), physical)
    return physical.astype(np.float64)


def to_work(values, work):
    """Float64 values rounded to the workspace type."""
    if work == "f4":
        with np.errstate(over="ignore"):
            return values.astype(np.float32).astype(np.float64)
    return values


def per_frame(numbers, n_frames, default):
    """One float per frame from a vector, or ``default`` for each."""
    if numbers is None:
        return [default] * n_frames
    return [float(number) for number in numbers]


def combine(
    pixels,
    plan,
    *,
    masks=None,
    weights=None,
    zero=None,
    factor=None,
    scale=None,
    fits=None,
    output_dtype="f8",
):
    """Combine a stack of planes and return every output.

    Parameters
    ----------
    pixels : array of shape (N, *shape), or list of N arrays of that shape
        The frames.
    plan : Plan
        What to do (any object with those attributes).
    masks : array of bool, shape (N, *shape) or shape, or list of N, optional
        True = bad.  ``None`` in a list: no bad pixel in that frame.
    weights : array of shape (N,) or (N, *shape), or list of N arrays, optional
        Weights for ``"wmean"`` and ``"wsum"``.
    zero, factor, scale : array of shape (N,), optional
        value = (raw - zero) * factor / scale.
    fits : list of N, optional
        FITS scaling of each plane (``unsigned``, ``bscale``, ``bzero``,
        ``blank``) or None.
    output_dtype : dtype, optional
        Type of the image, uncertainty, low, upp and std.

    Returns
    -------
    dict of str to numpy.ndarray
        All outputs the kernel knows, whether or not anybody wants them.
    """
    n_frames = len(pixels)
    shape = np.shape(pixels[0])
    zeros = per_frame(zero, n_frames, 0.0)
    factors = per_frame(factor, n_frames, 1.0)
    scales = per_frame(scale, n_frames, 1.0)
    raw, seen, used, bad, weight = [], [], [], [], []
    for k in range(n_frames):
        plane = to_work(load_plane(pixels[k], fits[k] if fits else None), plan.work)
        with np.errstate(over="ignore", invalid="ignore"):
            value = to_work((plane - zeros[k]) * factors[k] / scales[k], plan.work)
        raw.append(plane.ravel().tolist())
        used.append(value.ravel().tolist())
        seen.append(raw[-1] if plan.transform_after else used[-1])
        if masks is None or (isinstance(masks, list) and masks[k] is None):
            mask = np.zeros(shape, bool)
        elif isinstance(masks, np.ndarray) and masks.shape == shape:
            mask = masks
        else:
            mask = masks[k]
        bad.append(np.asarray(mask).ravel().tolist())
        one = 1.0 if weights is None else np.asarray(weights[k], dtype=np.float64)
        weight.append(np.broadcast_to(one, shape).ravel().tolist())

    n_pixels = math.prod(shape)
    columns = [
        combine_column(
            *(
                [plane[p] for plane in stack]
                for stack in (raw, seen, used, bad, weight)
            ),
            plan,
        )
        for p in range(n_pixels)
    ]

    outputs = {}
    for name, dtype in output_types(output_dtype).items():
        cube = name in ("mask_rej", "mask_thresh", "sample_flags")
        full_shape = (n_frames, *shape) if cube else shape
        values = [column[name] for column in columns]
        if cube:
            flat = np.array(values, dtype=dtype).reshape(n_pixels, n_frames).T
        else:
            with np.errstate(over="ignore"):
                flat = np.array(values, dtype=np.float64).astype(dtype)
        outputs[name] = np.ascontiguousarray(flat).reshape(full_shape)
    return outputs


def output_types(real="f8"):
    """Name and dtype of every output; ``real`` is that of the real ones."""
    return {
        "image": np.dtype(real),
        "uncertainty": np.dtype(real),
        "n_used": np.dtype("u2"),
        "mask": np.dtype(bool),
        "mask_rej": np.dtype(bool),
        "mask_thresh": np.dtype(bool),
        "sample_flags": np.dtype("u1"),
        "low": np.dtype(real),
        "upp": np.dtype(real),
        "std": np.dtype(real),
        "nit": np.dtype("u1"),
        "output_flags": np.dtype("u1"),
        "n_rejected_low": np.dtype("u2"),
        "n_rejected_high": np.dtype("u2"),
    }
