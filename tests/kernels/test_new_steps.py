# Licensed under a 3-clause BSD style license - see LICENSE
"""The rules of IRAF and `grow_mask` against the oracle on random stacks."""

import numpy as np
import oracle
import pytest
from against_oracle import TALLY, check, compared, show_tally
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import Case

from imcombiners_astro import planes

OFTEN, SELDOM = 240, 140
SIGMA = 2.0


@st.composite
def edges(draw):
    """Columns whose last sample is within a few ulps of a limit of its own frame.

    The center is the median, which this sample does not move, and so are the noise
    model and the linear limits.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_frames = draw(st.sampled_from([5, 6, 9, 24, 33, 66]), label="N")
    dtype = draw(st.sampled_from(["f4", "f4", "f8"]), label="dtype")
    level = draw(st.sampled_from([10, 1000, 60000]), label="level")
    pixels = (level + rng.standard_normal((n_frames, 131))).astype(dtype)
    top = np.concatenate([pixels[:-1].astype("f8"), np.full((1, 131), np.inf)])
    center = np.median(top, axis=0)
    if draw(st.booleans(), label="noise"):
        gain, scale = rng.uniform(0.5, 2, (2, n_frames))
        step = ("ccdclip", {"low": SIGMA, "high": SIGMA, "rdnoise": 5.0})
        step[1].update(gain=gain.tolist(), scales=scale.tolist(), maxiters=None)
        signal = scale[-1] * center
        edge = center + SIGMA * (
            np.sqrt((5 / gain[-1]) ** 2 + signal / gain[-1]) / scale[-1]
        )
    else:
        step = ("linearclip", {"upp_scale": 1.01, "upp": 7.3, "low": 99.9})
        edge = 1.01 * center + 7.3
    edge = edge.astype(dtype)
    pixels[-1] = edge + rng.integers(-2, 3, 131) * np.spacing(edge)
    statistic = draw(st.sampled_from(["mean", "median"]), label="statistic")
    plan = oracle.Plan(statistic=statistic, work=dtype, steps=(step,))
    return Case(pixels, plan, note={"kind": "edge", "dtype": dtype})


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    show_tally(request.config)


@compared(OFTEN, steps="ccdclip")
def test_noise_models(case, some):
    check(case, some)


@compared(SELDOM, steps="ccdclip limits")
def test_limits_of_noise_models(case, some):
    check(case, some)


@compared(OFTEN, steps="avsigclip")
def test_pooled_scatter(case, some):
    check(case, some)


@compared(SELDOM, steps="avsigclip limits")
def test_limits_of_pooled_scatter(case, some):
    check(case, some)


@compared(OFTEN, steps="linearclip")
def test_linear_clipping(case, some):
    check(case, some)


@compared(SELDOM, steps="linearclip limits")
def test_limits_of_linear_clipping(case, some):
    check(case, some)


@compared(SELDOM, strategy=edges)
def test_samples_at_the_limits(case, some):
    check(case, some)


@compared(OFTEN, steps="pclip")
def test_percentile_clipping(case, some):
    check(case, some)


@compared(SELDOM, steps="pclip limits")
def test_limits_of_percentile_clipping(case, some):
    check(case, some)


@compared(OFTEN, steps="any chain")
def test_chains_of_all_steps(case, some):
    check(case, some)


@compared(SELDOM, steps="any chain", plain=True)
def test_chains_of_all_steps_on_plain_cubes(case, some):
    check(case, some)


@compared(OFTEN, statistics=["quadrature", "nmodel", "wmean", "wsum", "sum"])
def test_weighted_statistics(case, some):
    check(case, some)


@compared(SELDOM, steps="ccdclip", raw_fits=True)
def test_noise_models_of_raw_fits_values(case, some):
    check(case, some)


HUGE = 0.9e308
LIMITS = {"low": 1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("column", "steps"),
    [
        # The median of two subnormal numbers.
        ([0, 5e-324, 5e-324, 1e-323], [("pclip", {"frac": -1.0, **LIMITS})]),
        # What pclip puts back is marked.
        ([0, 1, 2], [("pclip", {"frac": -1.0, "nkeep": 2, **LIMITS})]),
        ([0, 1, 2, 9], [("pclip", {"frac": -1.0, "maxrej": 1, **LIMITS})]),
        # A pass whose mean overflows is no pass.
        (
            [HUGE, HUGE, HUGE, -HUGE, HUGE],
            [
                ("sigclip", {"spread": "mad", **LIMITS}),
                ("linearclip", {"center": "mean", "low": 1.0, "upp": 1.0}),
            ],
        ),
        # Limits that cross: everything is outside, below the lower one first.
        ([-5, -22, -23, -21], [("linearclip", {"low_scale": 0.5})]),
        # Huge residuals that are equal but for rounding.
        ([-(2.0**63), 0, 65535, 65540, 2.0**63], [("pclip", {"maxrej": 1, **LIMITS})]),
        # Ties go back together, also when a thousandth of sigma is nothing beside them.
        (
            [-1e30, 0, 0, 1e30],
            [("linearclip", {"low": 1.0, "nkeep": 3, "revert": "closest"})],
        ),
    ],
)
def test_columns_that_differed_once(column, steps):
    pixels = np.array(column, dtype="f8")[:, np.newaxis]
    check(Case(pixels, oracle.Plan(steps=tuple(steps))), set())


@pytest.mark.parametrize(
    ("column", "step", "rejected", "expected"),
    [
        ([9, 10, 11], ("ccdclip", {"rdnoise": 3}), "000", {"std": 19**0.5}),
        (
            [9, 10, 11],
            ("ccdclip", {"rdnoise": 3, "gain": 2, "snoise": 0.1}),
            "000",
            {"std": (2.25 + 5 + 1) ** 0.5},
        ),
        (
            [18, 20, 22, 200],
            ("ccdclip", {"rdnoise": 3, "low": 1, "high": 1}),
            "0001",
            {"std": 29**0.5, "nit": 2, "low": 18, "upp": 22},
        ),
        (
            [1, 10, 11, 12, 30],
            ("linearclip", {"low": 1, "upp": 2, "maxiters": 1}),
            "10001",
            {"low": 10, "upp": 13, "nit": 1, "output_flags": 0},
        ),
        (
            [0, 10, 11, 12, 13, 100],
            ("linearclip", {"low": 10, "upp": 0.75, "maxiters": 5}),
            "100111",
            {"low": 0.5, "upp": 11.25, "nit": 3, "output_flags": 0},
        ),
        ([*range(9), 100], ("pclip", {"frac": 0.5}), "1000000001", {"upp": 8}),
        ([*range(9), 100], ("pclip", {"frac": 0.2}), "1110000111", {"low": 3}),
        ([*range(9), 100], ("pclip", {"frac": -3.0}), "0000000001", {"nit": 1}),
        # F^2 = (1/4 + 0 + 81/4) / 2 with a center of 4.
        ([3, 4, 13], ("avsigclip", {}), "000", {"std": 2 * 10.25**0.5}),
        # The trimmed mean is 2 in the first pass; all are rejected but 2 and 3.
        (
            [1, 2, 2, 2, 50],
            ("sigclip", {"center": "trimmed", "maxiters": 1, "high": 2, "low": 0}),
            "10001",
            {"std": ((1 + 48**2) / 5) ** 0.5},
        ),
    ],
)
def test_known_columns(column, step, rejected, expected):
    """The oracle against columns done by hand."""
    name, options = step
    if name == "pclip":
        options = {"low": 1.5, "high": 1.5} | options
    elif name != "linearclip":
        options = {"low": 3, "high": 3} | options
    found = oracle.combine(
        np.array(column, "f8"), oracle.Plan(steps=((name, options),))
    )
    assert "".join("01"[bad] for bad in found["mask_rej"].tolist()) == rejected
    for output, value in expected.items():
        assert found[output] == pytest.approx(value, rel=1e-14)


@settings(max_examples=SELDOM, deadline=None)
@given(
    st.sampled_from([(1,), (9,), (70,), (1, 1), (4, 7), (6, 1, 5), (2, 3, 2, 4)]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 1.0, 1.4, 1.5, 2.0, 2.9, 5**0.5, 8.0, 1e9]),
    st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 1, 2]),
)
def test_growth(shape, n_frames, radius, density, seed, n_threads):
    mask = np.random.default_rng(seed).random((n_frames, *shape)) < density
    if density == 0.02:
        mask = np.asfortranarray(mask)
    before = mask.copy()
    found = planes.grow_mask(mask, radius, n_threads)
    tally = TALLY["kernel against oracle"]
    tally["cases"] += 1
    tally["columns"] += int(np.prod(shape))
    assert_array_equal(found, oracle.grow(mask, radius))
    assert_array_equal(mask, before)


@pytest.mark.parametrize("center", ["median", "trimmed"])
def test_rows_are_pooled_alike_in_any_cut(center):
    rng = np.random.default_rng(4)
    stack = rng.normal(100, 9, (7, 33, 150)).astype("f4")
    stack[rng.random(stack.shape) < 0.05] = np.nan
    step = ("avsigclip", {"low": 1.5, "high": 1.5, "center": center})
    plan = planes.Plan("mean", (("range", {"low": 80, "high": 140}), step), "f4")

    def run(stack, n_threads):
        image = np.empty(stack.shape[1:])
        std = np.empty(stack.shape[1:])
        planes.combine_planes(
            stack, plan, {"image": image, "std": std}, n_threads=n_threads
        )
        return image, std

    image, std = run(stack, 1)
    for n_threads in (2, 3, None):
        for one, other in zip(run(stack, n_threads), (image, std), strict=True):
            assert_array_equal(one, other)
    for row in range(len(image)):
        for one, other in zip(run(stack[:, row], 1), (image, std), strict=True):
            assert_array_equal(one, other[row])
