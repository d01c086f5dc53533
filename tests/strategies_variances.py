# Licensed under a 3-clause BSD style license - see LICENSE
"""Random variances, flags and noise models for hypothesis, on top of `strategies`."""

import numpy as np
from hypothesis import strategies as st
from strategies import LAYOUTS, cases, lay_out, planes_of
from strategies_steps import per_frame

from imcombiners_astro.planes import ErrorScaling

__all__ = ["FLAG_TYPES", "PROPAGATED", "cases_with_variances"]

#: Statistics whose uncertainty follows from the variances of the samples.
PROPAGATED = ("mean", "median", "lmedian", "sum", "wmean", "wsum")

FLAG_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4")

#: How the variances of a stack look.
KINDS = ("usual", "one per frame", "decades", "ties", "tiny", "huge")


def make_variances(rng, kind, dtype, shape, bad):
    """Variances of a stack; a fraction ``bad`` of them make no weights."""
    info = np.finfo(dtype)
    if kind == "one per frame":
        frames = rng.uniform(0.5, 50, (shape[0], *(1 for _ in shape[1:])))
        values = np.broadcast_to(frames, shape)
    elif kind == "decades":
        values = 10.0 ** rng.uniform(-6, 6, shape)
    elif kind == "ties":
        values = rng.integers(0, 4, shape).astype(float)
    elif kind == "tiny":
        values = rng.uniform(0, 8, shape) * float(info.tiny)
    elif kind == "huge":
        values = rng.uniform(0, 1, shape) * float(info.max)
    else:
        values = rng.uniform(0.5, 50, shape)
    choice = [0.0, -0.0, -1.5, np.nan, np.inf, -np.inf, info.smallest_subnormal]
    hit = rng.random(shape) < bad
    return np.where(hit, rng.choice(choice, shape), values).astype(dtype)


def make_flags(rng, dtype, shape):
    """Flags of a stack: few bits, all bits, or none."""
    info = np.iinfo(dtype)
    flags = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    few = (1 << rng.integers(0, info.bits - 1, shape)).astype(dtype)
    flags = np.where(rng.random(shape) < 0.5, few, flags)
    return np.where(rng.random(shape) < 0.4, flags.dtype.type(0), flags)


@st.composite
def models(draw, n_frames):
    """A noise model, in either form."""
    names = ("gain", "rdnoise", "snoise")
    limits = ((0.2, 5.0, 1.0), (0.0, 9.0, 4.0), (0.0, 0.5, 0.01))
    numbers = [draw(per_frame(n_frames, *limit), label="model") for limit in limits]
    if draw(st.booleans(), label="dict"):
        return dict(zip(names, numbers, strict=True))
    return tuple(np.asarray(x) if isinstance(x, list) else x for x in numbers)


@st.composite
def errors(draw, n_frames):
    """What the variances of the frames hold: the same everywhere, or anything."""
    kinds = st.sampled_from(["std", "std", "ivar", "var"])
    factors = st.sampled_from([1.0, 1.0, 1e-6, 0.7])
    if draw(st.booleans(), label="all alike"):
        return [ErrorScaling(draw(kinds), draw(factors))] * n_frames
    each = st.one_of(st.none(), st.builds(ErrorScaling, kinds, factors))
    return [draw(each) for _ in range(n_frames)]


@st.composite
def cases_with_variances(draw, **options):
    """Strategy for a `Case` with variances, flags, or both; options of `cases`."""
    case = draw(cases(**({"statistics": PROPAGATED} | options)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="more seed"))
    plan, shape = case.plan, (len(case.pixels), *case.shape)
    kinds = ["propagate", "propagate", "noise"]
    if draw(st.integers(0, 9), label="scatter") < 9:
        plan.uncertainty = draw(st.sampled_from(kinds), label="from variances")
    if plan.uncertainty == "noise":
        plan.noise = draw(models(shape[0]))
    if plan.statistic == "wmean" and draw(st.booleans(), label="ivar"):
        plan.ivar, case.weights = True, None
    if plan.ivar or plan.uncertainty == "propagate" or draw(st.booleans()):
        dtype = draw(st.sampled_from(["f4", "f8"]), label="variances")
        kind = draw(st.sampled_from(KINDS), label="kind of variances")
        bad = draw(st.sampled_from([0.0, 0.0, 0.02, 0.3]), label="bad variances")
        layout = draw(st.sampled_from(LAYOUTS), label="layout of variances")
        cube = make_variances(rng, kind, dtype, shape, bad)
        case.variances = lay_out(cube, layout)
        case.note["variances"] = f"{kind}, {dtype}, {layout}"
        if draw(st.booleans(), label="errors of other kinds"):
            case.errors = draw(errors(shape[0]))
            case.note["errors"] = case.errors
    if draw(st.booleans(), label="flags"):
        dtype = draw(st.sampled_from(FLAG_TYPES), label="type of flags")
        layout = draw(st.sampled_from(LAYOUTS), label="layout of flags")
        case.flags = lay_out(make_flags(rng, dtype, shape), layout)
        if shape[0] > 1 and draw(st.integers(0, 3), label="some without") == 3:
            flags = planes_of(case.flags) if hasattr(case.flags, "ndim") else case.flags
            case.flags = [plane if k % 2 else None for k, plane in enumerate(flags)]
        case.note["flags"] = f"{dtype}, {layout}"
    return case
