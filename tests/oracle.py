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
   (for ``ivar`` the weight of a sample is 1 / (variance (factor / scale)**2), and a
   sample without a positive finite weight is masked);
4. the rejection steps, in order, each seeing what all before have left
   (``independent``: each judges all finite samples within the thresholds,
   masked ones included, and what any of them rejects is rejected); they are in
   ``oracle_reject``, the statistics in ``oracle_statistics``;
5. the statistic and the uncertainty of what survives, and all its flags.
"""

import math
from dataclasses import dataclass

import numpy as np
from oracle_reject import (
    ALGORITHM,
    HIGH,
    INPUT_MASK,
    LOW,
    MAXITERS,
    MAXREJ,
    NKEEP,
    NONFINITE,
    PREMASKED,
    RESTORED_MAXREJ,
    RESTORED_NKEEP,
    STEPS,
    THRESHOLD,
    grow,
    pool,
)
from oracle_reject import Column as Seen
from oracle_statistics import (
    MAD_TO_STD,
    add_up,
    level_of,
    model_variances,
    propagated,
    statistic_of,
    uncertainty_of,
)

__all__ = [
    "ALGORITHM",
    "CUBES",
    "HIGH",
    "INPUT_MASK",
    "LOW",
    "MAD_TO_STD",
    "MAXITERS",
    "MAXREJ",
    "NKEEP",
    "NONFINITE",
    "PREMASKED",
    "RESTORED_MAXREJ",
    "RESTORED_NKEEP",
    "STEPS",
    "THRESHOLD",
    "Plan",
    "combine",
    "grow",
    "load_plane",
    "output_types",
]


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
    noise: dict | tuple | None = None
    ivar: bool = False


# ----------------------------------------------------------------- the column


class Column:
    """One column on its way through a plan.

    Parameters
    ----------
    raw, seen, used : list of float
        The samples as they were read, as the rejection sees them, and as the
        statistic uses them.
    bad : list of bool
        The input mask, True = bad.
    weights, variances : list of float
        One per sample; the variances are those of the raw samples.
    dq : list of int
        Flags of the samples.
    plan : Plan
        What to do.
    transforms : list of (float, float, float)
        Zero, factor and scale of the frames.
    """

    def __init__(self, raw, seen, used, bad, weights, variances, dq, plan, transforms):
        self.seen, self.used, self.weights, self.plan = seen, used, weights, plan
        self.variances, self.dq, self.transforms = variances, dq, transforms
        self.frames = frames = range(len(raw))
        self.premasked = any(bad)
        lower, upper = plan.thresholds or (-math.inf, math.inf)
        self.flags = flags = [0 for _ in frames]
        for k in frames:
            if bad[k]:
                flags[k] |= INPUT_MASK
            if not math.isfinite(raw[k]):
                flags[k] |= NONFINITE
            if raw[k] < lower or raw[k] > upper:
                flags[k] |= THRESHOLD
        everything = [k for k in frames if not flags[k] & (NONFINITE | THRESHOLD)]
        for k in everything if plan.independent else self.without(flags):
            if not math.isfinite(seen[k]):  # the transform left the range of numbers
                flags[k] |= NONFINITE
        self.everything = [k for k in everything if not flags[k] & NONFINITE]
        self.survivors = self.available = self.without(flags)
        self.spoiled = any(flag & NONFINITE for flag in flags)
        self.verdicts = []
        self.side = [0 for _ in frames]

    def without(self, flags):
        """The frames without any of the flags."""
        return [k for k in self.frames if not flags[k]]

    @property
    def judged(self):
        """What the next step sees."""
        return self.everything if self.plan.independent else self.survivors

    def reject(self, name, options, pooled):
        """Do one step of rejection."""
        column = Seen(self.seen, self.spoiled, pooled)
        verdict = STEPS[name](column, self.judged, **options)
        self.verdicts.append(verdict)
        for side, frames in ((LOW, verdict.low), (HIGH, verdict.high)):
            for k in frames:
                if k in self.survivors:  # else an independent step went before
                    self.side[k] = side
        gone = set(verdict.low + verdict.high)
        self.survivors = [k for k in self.survivors if k not in gone]
        for k in verdict.restored:
            self.flags[k] |= verdict.restored_bits

    def outputs(self):
        """Every output at this pixel; the cubes as lists."""
        plan, flags = self.plan, list(self.flags)
        for k in self.available:
            if k not in self.survivors:
                flags[k] |= ALGORITHM
        for k in self.survivors:
            if not math.isfinite(self.used[k]):
                flags[k] |= NONFINITE
        survivors = [k for k in self.survivors if math.isfinite(self.used[k])]

        x = [self.used[k] for k in survivors]
        weights = [self.weights[k] for k in survivors]
        image = 0.0 if plan.statistic in ("sum", "wsum") else math.nan
        if x:
            image = statistic_of(x, weights, survivors, len(flags), plan)
        elif not math.isnan(plan.blank):
            image = plan.blank
        low, upp = (min(x), max(x)) if x else (math.nan, math.nan)
        nit, std, output_flags = 1, math.nan, PREMASKED if self.premasked else 0
        for verdict in self.verdicts:
            output_flags |= verdict.flags
            std = verdict.std if verdict.clips else std
            low, upp = verdict.limits or (low, upp)
            # Linear clipping counts its passes, and those of nobody before it.
            nit = verdict.passes_run or nit + verdict.passes
        dq = 0
        for k in survivors:
            dq |= self.dq[k]
        return {
            "image": image,
            "uncertainty": self.uncertainty(x, weights, image, survivors),
            "dq": dq,
            "n_used": len(x),
            "mask": not x,
            "mask_rej": [k not in survivors for k in self.frames],
            "mask_thresh": [bool(flag & THRESHOLD) for flag in flags],
            "sample_flags": flags,
            "low": low,
            "upp": upp,
            "std": std,
            "nit": min(nit, 255),
            "output_flags": output_flags,
            "n_rejected_low": self.side.count(LOW),
            "n_rejected_high": self.side.count(HIGH),
            "sample_sides": self.side,
            "frame_used": [k in survivors for k in self.frames],
            "frame_rejected_low": [side == LOW for side in self.side],
            "frame_rejected_high": [side == HIGH for side in self.side],
        }

    def uncertainty(self, x, weights, image, survivors):
        """Uncertainty of the image, made of the survivors with these weights."""
        plan = self.plan
        if plan.uncertainty not in ("propagate", "noise"):
            return uncertainty_of(x, weights, image, plan.statistic, plan.uncertainty)
        if not x:
            return math.nan
        transforms = [self.transforms[k] for k in survivors]
        if plan.uncertainty == "noise":
            level = level_of(image, weights, len(x), plan.statistic)
            variances = model_variances(level, survivors, self.transforms, plan.noise)
        elif plan.ivar:
            return 1.0 / math.sqrt(add_up(weights))
        else:
            variances = [self.variances[k] for k in survivors]
        return propagated(variances, transforms, weights, plan.statistic)


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


def variances_of(errors, scaling):
    """Variances from errors of a kind; NaN where these are negative."""
    if scaling is None:
        return errors
    with np.errstate(all="ignore"):
        real = np.where(errors < 0, np.nan, errors)
        variances = {"var": real, "std": real * real, "ivar": 1.0 / real}[scaling.kind]
        return variances * scaling.factor


def inverse_weights(variances, factor, scale):
    """Weights of samples of these raw variances, and where there is none."""
    slope = factor / scale
    with np.errstate(all="ignore"):
        weights = 1.0 / (variances * (slope * slope))
        return weights, ~((weights > 0) & (weights < math.inf))


def load_flags(flags):
    """Flags as integers; the bits of signed ones are taken as they are."""
    flags = np.asarray(flags)
    native = np.ascontiguousarray(flags.astype(flags.dtype.newbyteorder("=")))
    return native.view(f"u{flags.dtype.itemsize}").reshape(flags.shape)


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
    variances=None,
    errors=None,
    flags=None,
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
        Weights for ``"wmean"``, ``"wsum"``, ``"quadrature"`` and ``"nmodel"``.
    zero, factor, scale : array of shape (N,), optional
        value = (raw - zero) * factor / scale.
    fits : list of N, optional
        FITS scaling of each plane (``unsigned``, ``bscale``, ``bzero``,
        ``blank``) or None.
    variances : array of shape (N, *shape), or list of N, optional
        Variances of the samples before the transform.
    errors : list of N, optional
        What each plane of variances holds instead (``kind``, ``factor``) or None.
    flags : array of int, shape (N, *shape), or list of N, optional
        Flags of the samples. ``None`` in a list: no flags in that frame.
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
    raw, seen, used, bad, weight, variance, dq = [], [], [], [], [], [], []
    negative = []
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
        known = np.full(shape, np.nan) if variances is None else variances[k]
        known = np.asarray(known).astype(np.float64)
        read = plan.ivar or plan.uncertainty == "propagate"
        negative.append(read and bool((known < 0).any()))
        known = variances_of(known, errors and errors[k])
        if plan.ivar:
            one, without = inverse_weights(known, factors[k], scales[k])
            mask = mask | without
        else:
            one = 1.0 if weights is None else np.asarray(weights[k], dtype=np.float64)
        bad.append(np.asarray(mask).ravel().tolist())
        weight.append(np.broadcast_to(one, shape).ravel().tolist())
        variance.append(known.ravel().tolist())
        no_flags = flags is None or (isinstance(flags, list) and flags[k] is None)
        bits = np.zeros(shape, "u4") if no_flags else load_flags(flags[k])
        dq.append(bits.ravel().tolist())

    n_pixels = math.prod(shape)
    stacks = (raw, seen, used, bad, weight, variance, dq)
    transforms = list(zip(zeros, factors, scales, strict=True))
    columns = [
        Column(*([plane[p] for plane in stack] for stack in stacks), plan, transforms)
        for p in range(n_pixels)
    ]
    width = max(shape[-1], 1) if shape else 1
    for name, options in plan.steps:
        for start in range(0, n_pixels, width):
            row = columns[start : start + width]
            pooled = math.nan
            if name == "avsigclip":
                pooled = pool([(c.seen, c.judged) for c in row], **options)
            for column in row:
                column.reject(name, options, pooled)
    columns = [column.outputs() for column in columns]

    outputs = {}
    for name, dtype in output_types(output_dtype, dq=flags is not None).items():
        cube = name in CUBES
        full_shape = (n_frames, *shape) if cube else shape
        values = [column[name] for column in columns]
        if cube:
            flat = np.array(values, dtype=dtype).reshape(n_pixels, n_frames).T
        else:
            with np.errstate(over="ignore"):
                flat = np.array(values, dtype=np.float64).astype(dtype)
        outputs[name] = np.ascontiguousarray(flat).reshape(full_shape)
    for name in PER_FRAME[:-1]:
        values = np.array([column[name] for column in columns], dtype=np.int64)
        outputs[name] = values.reshape(n_pixels, n_frames).sum(axis=0)
    outputs["frame_negative"] = np.array(negative, dtype=np.int64)
    return outputs


#: Outputs with a value per sample.
CUBES = ("mask_rej", "mask_thresh", "sample_flags", "sample_sides")

#: Outputs with a number per frame, of type int64.
PER_FRAME = (
    "frame_used",
    "frame_rejected_low",
    "frame_rejected_high",
    "frame_negative",
)


def output_types(real="f8", dq=False):
    """Name and dtype of every output; ``real`` is that of the real ones."""
    types = {
        "image": np.dtype(real),
        "uncertainty": np.dtype(real),
        "n_used": np.dtype("u2"),
        "mask": np.dtype(bool),
        "mask_rej": np.dtype(bool),
        "mask_thresh": np.dtype(bool),
        "sample_flags": np.dtype("u1"),
        "sample_sides": np.dtype("u1"),
        "low": np.dtype(real),
        "upp": np.dtype(real),
        "std": np.dtype(real),
        "nit": np.dtype("u1"),
        "output_flags": np.dtype("u1"),
        "n_rejected_low": np.dtype("u2"),
        "n_rejected_high": np.dtype("u2"),
    }
    return types | {"dq": np.dtype("u4")} if dq else types
