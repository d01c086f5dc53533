# Licensed under a 3-clause BSD style license - see LICENSE
"""Random rejection steps for hypothesis, as (name, options) of the kernel."""

import math

import numpy as np
from hypothesis import strategies as st
from oracle import MAD_TO_STD

SIGMAS = st.sampled_from([3.0, 2.0, 1.0, 1.5, 0.5, 5.0, 0.0, math.inf])
NARROW = st.sampled_from([0.5, 1.0, 1.5, 0.0, 2.0])
CENTERS = st.sampled_from(["median", "mean", "lmedian", "trimmed"])
SPREAD_CENTERS = st.none() | CENTERS

#: What all iterative clipping steps know.
ITERATED = {
    "center": CENTERS,
    "maxiters": st.sampled_from([5, 1, 2, None, 0, 12]),
    "min_samples": st.sampled_from([0, 0, 2, 3, 5]),
}
LIMITS = {
    "nkeep": st.sampled_from([0, 1, 2, 3, 5, 12]),
    "maxrej": st.sampled_from([None, 0, 1, 2, 4]),
    "revert": st.sampled_from(["undo", "ignore", "closest"]),
}


def with_limits(needed, optional, limits):
    """Strategy for a dict of options; ``limits``: always with nkeep and maxrej."""
    if limits:
        return st.fixed_dictionaries(needed | LIMITS, optional=optional)
    return st.fixed_dictionaries(needed, optional=optional | LIMITS)


@st.composite
def per_frame(draw, n_frames, low, high, usual):
    """One number, or one for every frame, between the limits or the usual one."""
    number = st.sampled_from([usual, low, high, (low + high) / 2])
    if draw(st.booleans()):
        return draw(number)
    return draw(each_frame(n_frames, low, high, usual))


@st.composite
def each_frame(draw, n_frames, low, high, usual):
    """One number for every frame."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="numbers"))
    numbers = rng.uniform(low, high, n_frames)
    return np.where(rng.random(n_frames) < 0.3, usual, numbers).tolist()


def levels(n_frames):
    """Scales and zeros of the frames."""
    return {
        "scales": each_frame(n_frames, 0.3, 3.0, 1.0),
        "zeros": each_frame(n_frames, -50.0, 50.0, 0.0),
    }


@st.composite
def clips(draw, n_frames, limits=False):
    """Sigma-clipping steps; ``limits``: with nkeep or maxrej."""
    sigma = NARROW if limits else SIGMAS
    optional = ITERATED | {
        "spread_center": SPREAD_CENTERS,
        "spread": st.sampled_from(["std", "mad"]),
        "mad_factor": st.sampled_from([MAD_TO_STD, 1.0, 1.4826]),
        "ddof": st.sampled_from([0, 1, 0, 2]),
        "nan_rule": st.sampled_from(["ignore", "ignore", "none", "all"]),
        "zero_spread": st.sampled_from(["reject", "skip"]),
    }
    options = draw(with_limits({"low": sigma, "high": sigma}, optional, limits))
    if options.get("spread") != "mad" and draw(st.integers(0, 3)) == 3:
        options |= draw(st.fixed_dictionaries({}, optional=levels(n_frames)))
    return "sigclip", options


def noise_options(n_frames):
    """The parameters of a detector, scales and zeros."""
    return {
        "gain": per_frame(n_frames, 0.2, 5.0, 1.0),
        "rdnoise": per_frame(n_frames, 0.0, 9.0, 4.0),
        "snoise": per_frame(n_frames, 0.0, 0.5, 0.01),
        **levels(n_frames),
    }


def noise_clips(n_frames, limits=False):
    """Clipping by the noise model."""
    sigma = NARROW if limits else SIGMAS
    optional = ITERATED | {"spread_center": SPREAD_CENTERS} | noise_options(n_frames)
    options = with_limits({"low": sigma, "high": sigma}, optional, limits)
    return st.tuples(st.just("ccdclip"), options)


def pooled_clips(n_frames, limits=False):
    """Clipping by the scatter of the image row."""
    sigma = NARROW if limits else SIGMAS
    optional = ITERATED | levels(n_frames)
    options = with_limits({"low": sigma, "high": sigma}, optional, limits)
    return st.tuples(st.just("avsigclip"), options)


def linear_clips(limits=False):
    """Clipping at linear functions of the centre."""
    offset = st.sampled_from([0.0, 1.0, 2.5, 30.0, 45.0])
    optional = ITERATED | {
        "low_scale": st.sampled_from([1.0, 0.99, 0.5, 0.0]),
        "upp_scale": st.sampled_from([1.0, 1.01, 1.5, 2.0]),
        "low": offset,
        "upp": offset,
    }
    options = with_limits({}, optional, limits)
    return st.tuples(st.just("linearclip"), options)


def percentile_clips(limits=False):
    """Clipping by a percentile sample."""
    needed = {
        "frac": st.sampled_from([-0.5, 0.5, 0.25, -0.2, -1.0, 1.0, 2.0, -3.0, 90.0]),
        "low": NARROW if limits else SIGMAS,
        "high": NARROW if limits else SIGMAS,
    }
    held = {"nkeep": LIMITS["nkeep"], "maxrej": LIMITS["maxrej"]}
    if limits:
        options = st.fixed_dictionaries(needed | held)
    else:
        options = st.fixed_dictionaries(needed, optional=held)
    return st.tuples(st.just("pclip"), options)


@st.composite
def extremes(draw, n_frames):
    """Rejection of the lowest and highest samples."""
    most = min(n_frames, 4)
    return (
        "extrema",
        {
            "low": draw(st.integers(0, most)),
            "high": draw(st.integers(0, most)),
            "rule": draw(st.sampled_from(["count", "fraction"])),
        },
    )


@st.composite
def ranges(draw, center):
    """Rejection outside a range; the ends are often values of the stack."""
    low, high = center
    return (
        "range",
        {
            "low": draw(st.sampled_from([low, -math.inf, high])),
            "high": draw(st.sampled_from([high, math.inf])),
        },
    )


def steps_by_name(n_frames, low_high):
    """Strategies for a step, by the name that `strategies.cases` knows."""
    by_name = {
        "sigclip": clips(n_frames),
        "limits": clips(n_frames, limits=True),
        "ccdclip": noise_clips(n_frames),
        "ccdclip limits": noise_clips(n_frames, limits=True),
        "avsigclip": pooled_clips(n_frames),
        "avsigclip limits": pooled_clips(n_frames, limits=True),
        "linearclip": linear_clips(),
        "linearclip limits": linear_clips(limits=True),
        "pclip": percentile_clips(),
        "pclip limits": percentile_clips(limits=True),
        "extrema": extremes(n_frames),
        "range": ranges(low_high),
    }
    old = [by_name[name] for name in ("sigclip", "limits", "extrema", "range")]
    by_name["chain"] = st.one_of(*old)
    by_name["any chain"] = st.one_of(*by_name.values())
    return by_name
