# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection of samples, for the oracle: one column at a time, one rule after another.

Every step takes a `Column` and the frames whose samples it may judge, and returns a
`Verdict`.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from oracle_statistics import (
    CENTER,
    MAD_TO_STD,
    add_up,
    each,
    mad,
    mean,
    median,
    noise_model,
    noise_variance,
    root,
    trimmed,
    variance,
)

# Bits of the output flags (one byte per output pixel).
PREMASKED, MAXITERS, NKEEP, MAXREJ = 1, 2, 4, 8
# Bits of the sample flags (one byte per sample).
INPUT_MASK, NONFINITE, THRESHOLD, ALGORITHM = 1, 2, 4, 8
RESTORED_NKEEP, RESTORED_MAXREJ = 64, 128
# Where a sample was when it was rejected.
LOW, HIGH = 1, 2


@dataclass
class Column:
    """What the steps see of a column.

    ``value``: one number per frame; ``spoiled``: whether some sample is NaN or
    infinite; ``pooled``: the scatter of its image row, for avsigclip.
    """

    value: list
    spoiled: bool = False
    pooled: float = math.nan


@dataclass
class Verdict:
    """What one rejection step did to a column (lists of frame numbers)."""

    low: list = field(default_factory=list)
    high: list = field(default_factory=list)
    restored: list = field(default_factory=list)
    restored_bits: int = 0
    flags: int = 0
    clips: bool = False  # iterative: has passes and a std
    std: float = math.nan
    passes: int = 0  # that rejected something
    passes_run: int | None = None  # counted by linear clipping only
    limits: tuple | None = None  # reported by linear clipping only

    def hold(self, missing, excess):
        """Note which limits hold samples back; returns whether any does."""
        if missing > 0:
            self.flags |= NKEEP
            self.restored_bits |= RESTORED_NKEEP
        if excess > 0:
            self.flags |= MAXREJ
            self.restored_bits |= RESTORED_MAXREJ
        return missing > 0 or excess > 0


def nearest(far, number):
    """Frames in order of distance: that many, and all as near as the last of them.

    ``far`` maps frames to distances in sigmas.  As near: the same but for rounding,
    or within 0.001 of the one before.
    """
    chosen = []
    for k in sorted(far, key=lambda k: (far[k], k)):
        if len(chosen) >= number:
            last = far[chosen[-1]]
            if not (far[k] < last + 0.001 or far[k] <= last * (1.0 + 1e-12)):
                break
        chosen.append(k)
    return chosen


def center_of(name, values, passes):
    """The center in the pass of that number; "trimmed" is for the first one."""
    if name == "trimmed":
        return trimmed(values) if passes == 1 else mean(values)
    return CENTER[name](values)


def roots(n_frames, level, scales, zeros):
    """How much more each frame scatters than one whose level is 1 or less.

    Frame i was divided by ``scales[i]`` and lost ``zeros[i]``: where the result is
    at this level it had (level + zero) / scale counts.
    """
    s = each(1.0 if scales is None else scales, n_frames)
    z = each(0.0 if zeros is None else zeros, n_frames)
    levels = [(level + z[k]) / s[k] for k in range(n_frames)]
    return [root(max(1.0, x)) for x in levels]


# --------------------------------------------------------------------- clipping


def clip(
    column,
    judged,
    sigmas,
    *,
    low,
    high,
    center="median",
    maxiters=5,
    nkeep=0,
    maxrej=None,
    revert="undo",
    min_samples=0,
    skip_zero=False,
    linear=None,
):
    """Iterative clipping around a centre, in units of sigma.

    Parameters
    ----------
    column : Column
        The samples.
    judged : list of int
        The frames whose values are judged, in order.
    sigmas : callable
        ``sigmas(values, frames, c, passes)`` gives the sigma to report and that of
        every frame of the stack.
    linear : (float, float), optional
        Factors of the centre in the lower and upper limit; passes and limits are
        then reported as `linearclip` says.

    Returns
    -------
    Verdict
    """
    value = column.value
    verdict = Verdict(clips=True)
    if linear:
        verdict.passes_run, verdict.limits = 0, (math.nan, math.nan)
    survivors = list(judged)
    passes = 0
    out_of_passes = maxiters == 0
    while maxiters is None or passes < maxiters:
        passes += 1
        out_of_passes = passes == maxiters and not (linear and passes == 1)
        x = [value[k] for k in survivors]
        if not x:
            break
        c = center_of(center, x, passes)
        s, sigma = sigmas(x, survivors, c, passes)
        if not (math.isfinite(c) and math.isfinite(s)):
            break
        verdict.std = s
        down, up = linear or (1.0, 1.0)
        # Infinity times zero is NaN, and nothing is below or above NaN.
        lo = [down * c - low * sigma[k] for k in range(len(value))]
        hi = [up * c + high * sigma[k] for k in range(len(value))]
        idle = len(x) < min_samples or (skip_zero and s == 0.0)
        below = [k for k in survivors if value[k] < lo[k] and not idle]
        # Linear limits can cross: what is outside both is low.
        above = [k for k in survivors if value[k] > hi[k] and not idle]
        above = [k for k in above if k not in below]
        rejected = sorted(below + above)

        n_left = len(survivors) - len(rejected)
        n_rejected = len(judged) - n_left
        missing = nkeep - n_left if revert != "ignore" else 0
        excess = n_rejected - maxrej if maxrej is not None else 0
        held = verdict.hold(missing, excess)
        if held:
            # This pass goes too far: it is undone, wholly or as far as needed,
            # and is the last (also if there were too few to begin with).
            back = rejected
            if revert == "closest":
                far = {k: abs(value[k] - c) / (sigma[k] or 1.0) for k in rejected}
                back = nearest(far, max(missing, excess))
            verdict.restored = sorted(back)
            below = [k for k in below if k not in back]
            above = [k for k in above if k not in back]
        verdict.low += below
        verdict.high += above
        survivors = [k for k in survivors if k not in below and k not in above]
        if below or above:
            verdict.passes += 1
        if linear:
            verdict.passes_run += 1
            if not held:
                verdict.limits = (lo[0], hi[0])
        if held or not rejected:
            out_of_passes = False
            break
    if out_of_passes:
        verdict.flags |= MAXITERS
    return verdict


def sigclip(
    column,
    judged,
    *,
    center="median",
    spread_center=None,
    spread="std",
    mad_factor=MAD_TO_STD,
    ddof=0,
    scales=None,
    zeros=None,
    nan_rule="ignore",
    zero_spread="reject",
    **options,
):
    """Clipping in units of the scatter of the column.

    ``nan_rule`` says what becomes of a spoiled column: the statistics "ignore" the
    bad sample, "none" of the column is clipped, or "all" is (as if too high).
    With ``scales`` or ``zeros`` the frames scatter as `roots` says, and the standard
    deviation is that of the residuals in these units.
    """
    if nan_rule != "ignore" and column.spoiled:
        all_of_them = list(judged) if nan_rule == "all" else []
        return Verdict(high=all_of_them, clips=True)
    n_frames = len(column.value)

    def sigmas(values, frames, c, passes):
        a = center_of(spread_center, values, passes) if spread_center else c
        if spread == "mad":
            s = mad_factor * mad(values, a)
            return s, [s] * n_frames
        if scales is None and zeros is None:
            s = root(variance(values, a, ddof))
            return s, [s] * n_frames
        r = roots(n_frames, a, scales, zeros)
        scaled = [(x - a) / r[k] for x, k in zip(values, frames, strict=True)]
        s = root(variance(scaled, 0.0, ddof))
        return s, [r[k] * s for k in range(n_frames)]

    skip = zero_spread == "skip"
    return clip(column, judged, sigmas, center=center, skip_zero=skip, **options)


def ccdclip(
    column,
    judged,
    *,
    spread_center=None,
    gain=1.0,
    rdnoise=0.0,
    snoise=0.0,
    scales=None,
    zeros=None,
    **options,
):
    """Clipping by the noise model of a CCD, at the level of the centre.

    The signal of frame i is S = max(0, scale (centre + zero)), and its sigma that of
    this signal divided by the scale.  Reported is that of the first frame's detector
    without scale and zero.
    """
    n_frames = len(column.value)
    model = noise_model(n_frames, gain, rdnoise, snoise, scales, zeros)

    def sigma(a, gain, rdnoise, snoise, scale=1.0, zero=0.0):
        signal = max(0.0, scale * (a + zero))
        return root(noise_variance(signal, gain, rdnoise, snoise)) / scale

    def sigmas(values, frames, c, passes):
        a = center_of(spread_center, values, passes) if spread_center else c
        return sigma(a, *model[0][:3]), [sigma(a, *frame) for frame in model]

    return clip(column, judged, sigmas, **options)


def linearclip(
    column, judged, *, low_scale=1.0, low=0.0, upp_scale=1.0, upp=0.0, **options
):
    """Clipping at linear functions of the centre, in data units (sigma is 1).

    ``limits`` are those of the last pass that was accepted whole, ``passes_run``
    counts every pass over something, and a single pass is how it is meant: being
    stopped after one is nothing to flag.
    """
    n_frames = len(column.value)

    def sigmas(values, frames, c, passes):
        return 1.0, [1.0] * n_frames

    linear = (low_scale, upp_scale)
    return clip(column, judged, sigmas, low=low, high=upp, linear=linear, **options)


def avsigclip(column, judged, *, scales=None, zeros=None, **options):
    """Clipping in units of the scatter of the image row, see `pool`.

    Reported is the sigma of a frame without scale and zero.
    """
    n_frames, s = len(column.value), column.pooled

    def sigmas(values, frames, c, passes):
        return roots(1, c, None, None)[0] * s, [
            r * s for r in roots(n_frames, c, scales, zeros)
        ]

    return clip(column, judged, sigmas, skip_zero=True, **options)


def pool(row, *, center="median", scales=None, zeros=None, **options):
    """Scatter of an image row in units of the root of the level.

    ``row`` is a list of (values, judged frames); pixels with fewer than three samples
    do not count.
    """
    totals, samples = [], 0
    for value, judged in row:
        if len(judged) < 3:
            continue
        c = center_of(center, [value[k] for k in judged], 1)
        r = roots(len(value), c, scales, zeros)
        scaled = [(value[k] - c) / r[k] for k in judged]
        totals.append(add_up([x * x for x in scaled]))
        samples += len(judged)
    return root(add_up(totals) / (samples - 1)) if samples else math.nan


# ------------------------------------------------------------------ other rules


def pclip(column, judged, *, frac=-0.5, low, high, nkeep=0, maxrej=None):
    """Rejection in units of the distance of one sample, some ranks from the median.

    Ranks count from 1.  What is exactly at a limit goes.
    """
    value, n = column.value, len(judged)
    verdict = Verdict()
    if n < 3 or n <= nkeep:
        return verdict
    half = max(len(value) // 2, 1)
    offset = int(frac * half) if abs(frac) < 1 else int(frac)
    offset = max(-half, min(-1, offset)) if frac < 0 else min(half, max(1, offset))
    order = sorted(judged, key=lambda k: (value[k], k))
    middle = n // 2 if n % 2 == 0 and offset < 0 else n // 2 + 1
    rank = min(max(middle + offset, 1), n)
    c = median([value[k] for k in judged])
    unit = abs(value[order[rank - 1]] - c)
    if unit == 0:
        return verdict
    far = {k: (value[k] - c) / unit for k in judged}
    below = list(itertools.takewhile(lambda k: -far[k] >= low, order))
    others = reversed(order[len(below) :])
    above = list(itertools.takewhile(lambda k: far[k] >= high, others))
    n_rejected = len(below) + len(above)
    missing = nkeep - (n - n_rejected)
    excess = n_rejected - maxrej if maxrej is not None else 0
    if verdict.hold(missing, excess):
        residual = {k: abs(far[k]) for k in below + above}
        verdict.restored = nearest(residual, max(missing, excess))
    verdict.low = [k for k in judged if k in below and k not in verdict.restored]
    verdict.high = [k for k in judged if k in above and k not in verdict.restored]
    return verdict


def extrema(column, judged, *, low, high, rule="count"):
    """Reject the lowest and the highest samples of a column.

    With ``rule="count"`` the ranks are those among all the N samples, and whatever
    is not judged ranks above everything, as NaN does: it counts among the highest.
    With ``"fraction"`` the numbers shrink in proportion n / N.  Of equal values the
    lowest frame is the lowest and the highest frame the highest.
    """
    value = column.value
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


def value_range(column, judged, *, low, high):
    """Reject what lies below ``low`` or above ``high``."""
    return Verdict(
        low=[k for k in judged if column.value[k] < low],
        high=[k for k in judged if column.value[k] > high],
    )


STEPS = {
    "sigclip": sigclip,
    "ccdclip": ccdclip,
    "avsigclip": avsigclip,
    "linearclip": linearclip,
    "pclip": pclip,
    "extrema": extrema,
    "range": value_range,
}


def grow(mask, radius):
    """Mark whatever is within ``radius`` pixels of a marked sample of its frame."""
    grown = np.array(mask)
    inside = list(np.ndindex(mask.shape[1:]))
    for k, frame in enumerate(mask):
        seeds = [pixel for pixel in inside if frame[pixel]]
        for pixel in inside:
            for seed in seeds:
                steps = [a - b for a, b in zip(pixel, seed, strict=True)]
                if sum(step * step for step in steps) <= radius * radius:
                    grown[(k, *pixel)] = True
                    break
    return grown
