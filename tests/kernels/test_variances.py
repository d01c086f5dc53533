# Licensed under a 3-clause BSD style license - see LICENSE
"""Uncertainties from variances and noise models, inverse-variance weights and flags."""

import itertools
import math
import re

import numpy as np
import oracle
import pytest
from against_oracle import check, compared, show_tally
from numpy.testing import assert_allclose, assert_array_equal
from strategies import Case
from strategies_variances import FLAG_TYPES, PROPAGATED, cases_with_variances

from imcombiners_astro import planes

OFTEN, SELDOM = 320, 160
NAN = math.nan


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    show_tally(request.config)


def propagate(pixels, statistic="mean", **arguments):
    """Image and propagated uncertainty of a stack; a single column gives floats."""
    pixels = np.asarray(pixels, dtype="f8")
    shape = pixels.shape[1:]
    outputs = {"image": np.empty(shape), "uncertainty": np.empty(shape)}
    names = ("uncertainty", "noise", "ivar", "steps")
    options = {name: arguments.pop(name) for name in names if name in arguments}
    plan = planes.Plan(statistic, **({"uncertainty": "propagate"} | options))
    planes.combine_planes(pixels, plan, outputs, **arguments)
    return outputs["image"], outputs["uncertainty"]


def propagated(column, statistic="mean", *, variances=None, **arguments):
    """Uncertainty of a single column."""
    if variances is not None:
        arguments["variances"] = np.asarray(variances, dtype="f8")[:, np.newaxis]
    column = np.asarray(column, dtype="f8")[:, np.newaxis]
    return float(propagate(column, statistic, **arguments)[1][0])


# -------------------------------------------------------------- against the oracle


@compared(OFTEN, strategy=cases_with_variances)
def test_statistics(case, some):
    check(case, some)


@compared(OFTEN, strategy=cases_with_variances, steps="sigclip")
def test_sigma_clipping(case, some):
    check(case, some)


@compared(OFTEN, strategy=cases_with_variances, steps="any chain")
def test_chains_of_all_steps(case, some):
    check(case, some)


@compared(OFTEN, strategy=cases_with_variances, steps="any chain", statistics=["wmean"])
def test_weights(case, some):
    check(case, some)


@compared(SELDOM, strategy=cases_with_variances, steps="avsigclip")
def test_pooled_scatter(case, some):
    check(case, some)


@compared(SELDOM, strategy=cases_with_variances, raw_fits=True)
def test_raw_fits_values(case, some):
    check(case, some)


@compared(SELDOM, strategy=cases_with_variances, plain=True)
def test_plain_cubes(case, some):
    check(case, some)


@pytest.mark.parametrize("statistic", PROPAGATED)
@pytest.mark.parametrize("n_frames", [1, 2, 3, 4])
def test_few_frames(statistic, n_frames):
    """Every subset of the frames, of a variance of each kind."""
    sorts = [2.0, 0.25, 0.0, NAN, -1.0, math.inf]
    two = [sorts] * min(n_frames, 2)
    columns = list(itertools.product(*two, range(2**n_frames)))
    subsets = np.array([subset for *_, subset in columns])
    each = [(found * n_frames)[:n_frames] for *found, _ in columns]
    variances = np.ascontiguousarray(np.array(each).T)
    pixels = np.arange(variances.size, dtype="f8").reshape(variances.shape)
    masks = np.array([subsets >> k & 1 for k in range(n_frames)], dtype=bool)
    more = {"masks": masks, "variances": variances}
    if statistic[0] == "w":
        more["weights"] = np.arange(n_frames) - 1.5
    check(Case(pixels, oracle.Plan(statistic, uncertainty="propagate"), **more), set())
    if statistic == "wmean":
        del more["weights"]
        plan = oracle.Plan("wmean", uncertainty="propagate", ivar=True)
        check(Case(pixels, plan, **more), set())


# ----------------------------------------------------------------- known numbers

# Of the variances 4, 9, 1 and 10: mostly their harmonic mean in the sense of errors.
TYPICAL = (3 * (4 / (1 / 2 + 1 / 3 + 1 + 1 / math.sqrt(10))) ** 2 + 24 / 4) / 4


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("sum", 6.0),
        ("mean", 1.5),
        ("wsum", math.sqrt(4 * 4 + 9 + 1 + 10)),
        ("wmean", math.sqrt(4 * 4 + 9 + 1 + 10) / 5),
        ("median", math.sqrt(TYPICAL * math.pi / (2 * (4 + math.pi - 2)))),
        ("lmedian", math.sqrt(TYPICAL * math.pi / (2 * (4 + math.pi / 2 - 1)))),
    ],
)
def test_formulas(statistic, expected):
    variances = [4.0, 9.0, 1.0, 10.0]
    if statistic in ("sum", "mean"):
        variances = [4.0, 9.0, 1.0, 22.0]
    weights = np.array([2.0, 1.0, 1.0, 1.0]) if statistic[0] == "w" else None
    found = propagated([1, 2, 4, 7], statistic, variances=variances, weights=weights)
    assert found == pytest.approx(expected, rel=1e-15)


def test_few_samples():
    variances = [4.0, 9.0]
    for statistic in ("mean", "median"):
        assert propagated([1, 2], statistic, variances=variances) == math.sqrt(13) / 2
    # The variance of the smaller of two normal samples is 1 - 1/pi of theirs.
    found = propagated([1, 2], "lmedian", variances=[8, 8])
    assert found == pytest.approx(math.sqrt(8 * (1 - 1 / math.pi)), rel=1e-15)
    for statistic in PROPAGATED:
        weights = np.array([-3.0]) if statistic[0] == "w" else None
        expected = 6.0 if statistic == "wsum" else 2.0
        assert propagated([7], statistic, variances=[4], weights=weights) == expected
        nothing = propagated([NAN], statistic, variances=[4], weights=weights)
        assert math.isnan(nothing)


def test_the_transform_scales_variances():
    numbers = {"zero": [1.0, 2.0], "factor": [1.0, 3.0], "scale": [2.0, 1.0]}
    found = propagated([5, 6], "sum", variances=[16, 1], **numbers)
    assert found == math.sqrt(16 / 4 + 9)


def test_rejected_samples_do_not_count():
    steps = (("range", {"low": 0.0, "high": 10.0}),)
    variances = [1.0, NAN, 8.0, -5.0]
    column = [1.0, 99.0, 2.0, NAN]
    assert propagated(column, variances=variances, steps=steps) == 1.5
    assert math.isnan(propagated(column, variances=variances))


def test_inverse_variance_weights():
    column, variances = [1.0, 4.0, 50.0, 60.0, 70.0, 80.0], [1, 4, 0, -1, NAN, math.inf]
    arguments = {"variances": np.array(variances)[:, np.newaxis], "ivar": True}
    pixels = np.array(column)[:, np.newaxis]
    image, sigma = propagate(pixels, "wmean", **arguments)
    assert image == (1 / 1 + 4 / 4) / (1 + 1 / 4)
    assert sigma == 1 / math.sqrt(1 + 1 / 4)
    # Scales enter the weights squared.
    scale = np.array([2.0, 1, 1, 1, 1, 1])
    image, sigma = propagate(pixels, "wmean", scale=scale, **arguments)
    assert image == (0.5 * 4 + 4 / 4) / (4 + 1 / 4)
    assert sigma == 1 / math.sqrt(4 + 1 / 4)


def test_samples_without_weight_count_as_masked():
    pixels = np.array([[1.0, 1], [2, 2], [3, NAN]])
    variances = np.array([[1.0, 0], [1, -2], [0, 1]])
    outputs = {
        "mask_rej": np.zeros((3, 2), bool),
        "sample_flags": np.zeros((3, 2), "u1"),
        "output_flags": np.zeros(2, "u1"),
        "mask": np.zeros(2, bool),
    }
    plan = planes.Plan("wmean", ivar=True)
    planes.combine_planes(pixels, plan, outputs, variances=variances)
    assert_array_equal(outputs["mask_rej"], [[0, 1], [0, 1], [1, 1]])
    masked, lost = oracle.INPUT_MASK, oracle.NONFINITE
    assert_array_equal(
        outputs["sample_flags"], [[0, masked], [0, masked], [masked, lost]]
    )
    assert_array_equal(outputs["output_flags"], [oracle.PREMASKED] * 2)
    assert_array_equal(outputs["mask"], [False, True])


def test_noise_model_at_the_level_of_the_result():
    noise = (2.0, 6.0, 0.1)
    variance = 3**2 + 10 / 2 + 1  # at the mean, which is 10
    column = [9, 10, 11]
    for form in (noise, dict(zip(("gain", "rdnoise", "snoise"), noise, strict=True))):
        found = propagated(column, uncertainty="noise", noise=form)
        assert found == math.sqrt(variance * 3) / 3
    found = propagated(column, "sum", uncertainty="noise", noise=noise)
    assert found == math.sqrt(variance * 3)
    weights = np.array([1.0, 2.0, 1.0])
    found = propagated(
        column, "wsum", uncertainty="noise", noise=noise, weights=weights
    )
    assert found == math.sqrt(variance * 6)
    # No signal below zero.
    assert propagated([-9, -9], "sum", uncertainty="noise", noise=noise) == math.sqrt(
        18
    )


def test_noise_model_of_transformed_frames():
    """Raw levels 25 and 30 become 10; so do their Poisson variances."""
    column, gain = [25.0, 30.0], np.array([1.0, 3.0])
    numbers = {"zero": [5.0, 0.0], "scale": [2.0, 3.0]}
    found = propagated(
        column, "sum", uncertainty="noise", noise=(gain, 0, 0), **numbers
    )
    assert found == pytest.approx(math.sqrt(25 / 4 + 30 / 3 / 9), rel=1e-15)


@pytest.mark.parametrize("kind", ["std_error", "mad_error", "scatter", None])
def test_variances_that_nobody_needs(kind):
    pixels = np.arange(12.0).reshape(4, 3) ** 2
    names = ("image", "uncertainty") if kind else ("image",)

    def run(**arguments):
        outputs = {name: np.empty(3) for name in names}
        plan = planes.Plan("median", uncertainty=kind)
        planes.combine_planes(pixels, plan, outputs, **arguments)
        return outputs

    plain, given = run(), run(variances=np.full((4, 3), NAN))
    for name in names:
        assert_array_equal(plain[name], given[name])


def test_an_image_alone_needs_no_variances():
    image = np.empty(3)
    plan = planes.Plan(uncertainty="propagate")
    planes.combine_planes(np.ones((2, 3)), plan, {"image": image})
    assert_array_equal(image, 1)


# --------------------------------------------------------------------- flags


@pytest.mark.parametrize("dtype", FLAG_TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_flags_of_the_samples_used(dtype, order):
    dtype = np.dtype(dtype).newbyteorder(order)
    top = 2 ** (8 * dtype.itemsize - 1)
    flags = np.array([[1, 1, 1], [2, 2, 2], [4, top, 4]], dtype=f"u{dtype.itemsize}")
    flags = flags.view(dtype.newbyteorder("=")).astype(dtype)
    pixels = np.array([[1.0, 1, NAN], [50, 1, NAN], [1, 1, NAN]])
    dq = np.full(3, 77, "u4")
    plan = planes.Plan(steps=(("range", {"low": 0.0, "high": 9.0}),))
    planes.combine_planes(pixels, plan, {"dq": dq}, flags=flags)
    assert_array_equal(dq, [5, 3 + top, 0])
    planes.combine_planes(pixels, plan, {"dq": dq}, flags=[None, flags[1], None])
    assert_array_equal(dq, [0, 2, 0])


# ----------------------------------------------------------------- what is refused

STACK = np.arange(24.0).reshape(4, 6)
GIVEN = {"variances": np.ones((4, 6))}


def fail(match, *, outputs=("uncertainty",), error=(ValueError, TypeError), **options):
    """The combination must fail, naming ``match``, and write nothing."""
    names = ("masks", "weights", "zero", "factor", "scale", "variances", "flags")
    arguments = {name: options.pop(name) for name in names if name in options}
    outputs = {
        name: np.full(6, 7, "u4" if name == "dq" else "f8")
        if isinstance(name, str)
        else name
        for name in outputs
    }
    with pytest.raises(error, match=re.compile(match)):
        planes.combine_planes(STACK, planes.Plan(**options), outputs, **arguments)
    for values in outputs.values():
        assert_array_equal(values, 7)


@pytest.mark.parametrize(
    "statistic",
    ["min", "max", "variance", "std", "percentile", "quadrature", "nmodel"],
)
@pytest.mark.parametrize("kind", ["propagate", "noise"])
def test_statistics_whose_uncertainty_is_not_defined(statistic, kind):
    options = {"statistic": statistic, "q": 50, "noise": (1.0, 1.0, 0.0)}
    fail(f"uncertainty: {kind}", uncertainty=kind, **options, **GIVEN)
    fail(f"uncertainty: {kind}", uncertainty=kind, outputs=["image"], **options)


@pytest.mark.parametrize(
    ("variances", "match"),
    [
        (None, r"variances\[0\]: None"),
        ([np.ones(6), None, np.ones(6), np.ones(6)], r"variances\[1\]: None"),
        (np.ones((3, 6)), "variances: found 3 planes"),
        ([np.ones(6)] * 5, "variances: found 5 planes"),
        (np.ones((4, 5)), r"variances: shape \[5\]"),
        (np.ones(6), "variances"),
        (np.ones((4, 6), "i4"), "variances: expected floats"),
        ([np.ones(6, bool)] * 4, r"variances\[0\]: expected floats"),
        (np.ones((4, 6), "f2"), "variances: dtype float16"),
        (np.ones((4, 6), complex), "variances: dtype complex"),
        ("propagate", "variances"),
        (1.0, "variances"),
    ],
)
def test_wrong_variances(variances, match):
    fail(match, uncertainty="propagate", variances=variances)
    options = {"statistic": "wmean", "ivar": True}
    fail(match, outputs=["image"], variances=variances, **options)


def test_wrong_inverse_variance_weights():
    options = {"outputs": ["image"], "ivar": True} | GIVEN
    for statistic in ("mean", "median", "sum", "wsum", "quadrature"):
        weights = np.ones(4) if statistic == "wsum" else None
        match = "weights: given" if statistic == "wsum" else "ivar: true"
        fail(match, statistic=statistic, weights=weights, **options)
    fail("ivar: true", statistic="wsum", **options)
    for weights in (np.ones(4), np.ones((4, 6))):
        fail("weights: given", statistic="wmean", weights=weights, **options)
    fail("ivar", statistic="wmean", **(options | {"ivar": 3}))
    plan = planes.Plan("wmean", ivar=True)
    for mask in (None, np.zeros(4, bool)):
        with pytest.raises(ValueError, match="ivar: a column without variances"):
            planes.combine_column(STACK[:, 0], plan, mask)


@pytest.mark.parametrize(
    ("noise", "match"),
    [
        (None, "noise: None"),
        (3.0, "noise: 3.0"),
        ((1.0, 2.0), "noise: "),
        ("abc", "noise gain: a"),
        (("1", 0, 0), "noise gain"),
        ((0.0, 1.0, 0.0), "noise gain: 0"),
        ((-1.0, 1.0, 0.0), "noise gain: -1"),
        ((NAN, 1.0, 0.0), "noise gain: NaN"),
        ((1.0, -1.0, 0.0), "noise rdnoise: -1"),
        ((1.0, math.inf, 0.0), "noise rdnoise: inf"),
        ((1.0, 0.0, -0.1), "noise snoise: -0.1"),
        ((np.ones(4), np.ones(3), 0.0), "noise rdnoise: found 3"),
        ((np.ones(3), 0.0, 0.0), "noise gain: found 3"),
        (([1.0, 1.0, 0.0, 1.0], 0.0, 0.0), "noise gain: 0"),
        ({"gain": 1.0, "scales": [2.0] * 4}, "noise scales and zeros"),
        ({"gain": 1.0, "readnoise": 4.0}, "readnoise"),
    ],
    ids=str,
)
def test_wrong_noise_models(noise, match):
    fail(match, uncertainty="noise", noise=noise)


def test_noise_models_need_the_raw_level():
    options = {"uncertainty": "noise", "noise": (1.0, 1.0, 0.0)}
    fail(r"factor\[2\]: 0", factor=[1.0, 1.0, 0.0, 1.0], **options)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (None, "flags: None"),
        ([None] * 4, "flags: None"),
        (np.ones((3, 6), "u1"), "flags: found 3 planes"),
        (np.ones((4, 5), "u1"), r"flags: shape \[5\]"),
        (np.ones((4, 6)), "flags: expected integers of at most 32 bits"),
        (np.ones((4, 6), bool), "flags: expected integers of at most 32 bits"),
        (np.ones((4, 6), "i8"), "flags: expected integers of at most 32 bits"),
        ([None, np.ones(6), None, None], r"flags\[1\]: expected integers"),
        ("dq", "flags"),
    ],
)
def test_wrong_flags(flags, match):
    fail(match, outputs=["dq"], flags=flags)


@pytest.mark.parametrize("dtype", ["i4", "u2", "u8", "f8", bool])
def test_wrong_outputs_for_flags(dtype):
    flags = np.ones((4, 6), "u1")
    with pytest.raises((ValueError, TypeError), match="dq"):
        planes.combine_planes(
            STACK, planes.Plan(), {"dq": np.zeros(6, dtype)}, flags=flags
        )


@pytest.mark.parametrize("name", ["variances", "flags"])
def test_outputs_that_are_inputs(name):
    values = np.ones((4, 6), "f8" if name == "variances" else "u4")
    output = {"uncertainty" if name == "variances" else "dq": values[2]}
    plan = planes.Plan(uncertainty="propagate")
    with pytest.raises(ValueError, match="shares memory"):
        planes.combine_planes(STACK, plan, output, **{name: values})


# ------------------------------------------------------------- the true scatter


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 5, 6, 9, 16, 31])
def test_the_uncertainty_is_the_scatter_of_the_result(n_frames):
    rng = np.random.default_rng(n_frames)
    n_pixels = 60_000
    sigma = 30.0
    stack = rng.normal(1e4, sigma, (n_frames, n_pixels))
    variances = np.full(stack.shape, sigma**2, "f4")
    weights = rng.uniform(0.2, 2, n_frames)
    for statistic in PROPAGATED:
        more = {"weights": weights} if statistic[0] == "w" else {}
        image, found = propagate(stack, statistic, variances=variances, **more)
        assert_allclose(found, image.std(), rtol=0.035)
    frames = rng.uniform(1, 5, (n_frames, 1))
    stack = 1e4 + frames * rng.standard_normal(stack.shape)
    variances = np.broadcast_to(frames**2, stack.shape)
    image, found = propagate(stack, "wmean", variances=variances, ivar=True)
    assert_allclose(found, image.std(), rtol=0.015)
    gain, scale = rng.uniform(1, 3, n_frames), rng.uniform(0.5, 2, n_frames)
    electrons = rng.poisson((scale * 400 * gain)[:, np.newaxis], stack.shape)
    stack = (electrons + rng.normal(0, 9, stack.shape)) / gain[:, np.newaxis]
    more = {"scale": scale, "uncertainty": "noise", "noise": (gain, 9.0, 0.0)}
    image, found = propagate(stack, "mean", **more)
    assert_allclose(found.mean(), image.std(), rtol=0.015)
