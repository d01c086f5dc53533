# Licensed under a 3-clause BSD style license - see LICENSE
"""Zero levels and scales; padding; threads and their environment variables."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc

NAN = np.nan


@pytest.fixture
def stack():
    rng = np.random.default_rng(2)
    stack = rng.normal(100, 5, (4, 30, 20)) + np.reshape([0, 10, 20, 40], (4, 1, 1))
    stack[:, 3, 3] = 5000
    return stack


FUNCTIONS = {
    "mean": np.mean,
    "average": np.mean,
    "AVG": np.mean,
    "median": np.median,
    "med": np.median,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_statistics(stack, name):
    found = imc.resolve_zero_scale("zero", name, stack)
    assert found.shape == (4, 1, 1)
    assert_allclose(found.ravel(), [FUNCTIONS[name](plane) for plane in stack])


def test_shapes_and_types(stack):
    resolve = imc.resolve_zero_scale
    assert resolve("zero", 3, stack).shape == (1, 1, 1)
    assert resolve("zero", np.float32(3), stack).shape == (1, 1, 1)
    assert resolve("zero", np.arange(4), stack).shape == (4, 1, 1)
    assert resolve("zero", 3, stack.astype("f4")).dtype == np.float32
    assert resolve("zero", 3, stack.astype("i4")).dtype == np.float64
    assert resolve("zero", [1, 2], np.ones((2, 5))).shape == (2, 1)
    found = resolve("scale", "mean", stack, nonzero=True, to_0th=True)
    assert found[0, 0, 0] == 1
    assert_array_equal(resolve("zero", "mean", stack, to_0th=True)[0], [[0]])
    assert_array_equal(resolve("zero", [5], np.ones((1, 2)), to_0th=True), [[5]])
    assert_array_equal(resolve("scale", -2, stack, nonzero=True), [[[-2]]])


def clip_like_documented(values, sigma=3, maxiters=5):
    kept = values
    for _ in range(maxiters):
        center = np.median(kept)
        std = np.sqrt(np.mean((kept - center) ** 2))
        kept = values[np.abs(values - center) <= sigma * std]
    return kept


@pytest.mark.parametrize("name", ["sigclip_mean", "mean_sc"])
def test_clipped_mean(stack, name):
    found = imc.resolve_zero_scale("zero", name, stack).ravel()
    expected = [clip_like_documented(plane.ravel()).mean() for plane in stack]
    assert_allclose(found, expected)
    assert (np.abs(found - [100, 110, 120, 140]) < 1).all()


@pytest.mark.parametrize("name", ["sigclip_median", "median_sc", "med_sc"])
def test_clipped_median(stack, name):
    options = {"sigma": (2, 2), "maxiters": 2, "cenfunc": "med", "ddof": 0}
    found = imc.resolve_zero_scale("zero", name, stack, sigclip_kwargs=options)
    expected = [np.median(clip_like_documented(p.ravel(), 2, 2)) for p in stack]
    assert_allclose(found.ravel(), expected)


def test_a_frame_without_scatter():
    stack = np.array([[5.0, 5, 5], [1, 1, 1]])
    assert_array_equal(imc.resolve_zero_scale("zero", "mean_sc", stack), [[5], [1]])


def test_masked_samples_do_not_count(stack):
    mask = stack > 1000
    stack[0, 0, 0] = NAN
    for request in ("mean", "max", "med_sc", np.nanmean):
        found = imc.Combiner(stack, mask).combine("mean", zero=request)
        again = imc.Combiner(stack).combine(
            "mean", zero=request, thresholds=(-np.inf, 1000)
        )
        assert_array_equal(found, again)
        chain = imc.Combiner(stack).threshold(upp=1000).zero_scale(request)
        assert_array_equal(found, chain.combine("mean"))
        assert np.nanmax(found) < 130
    for request in ("mean", np.mean):
        with pytest.raises(ValueError, match=r"zero: (frame 1 has no|found nan)"):
            imc.ndcombine(np.ones((2, 2)), [[False, False], [True, True]], zero=request)


def test_thresholds_come_before_statistics():
    stack = np.array([[1.0, 2, 1000], [10, 20, 1000]])
    image = imc.ndcombine(
        stack, thresholds=(-np.inf, 100), zero="mean", zero_to_0th=False
    )
    assert_array_equal(image, [-2.75, 2.75, NAN])


def test_both_are_those_of_the_values_before(stack):
    found = imc.Combiner(stack).zero_scale("mean", "mean").arr
    means = stack.mean(axis=(1, 2)).reshape(4, 1, 1)
    assert_allclose(found, (stack - (means - means[0])) / (means / means[0]))


# --------------------------------------------------------------------- padding


def test_padding():
    images = [np.ones((2, 3), "u2"), np.full((1, 2), 7, "f4")]
    stack = imc.place_into_padded(images, np.array([[5, 5], [4, 9]], "i4"))
    assert (stack.dtype, stack.shape) == (np.float32, (2, 3, 6))
    assert_array_equal(stack[1], [[NAN] * 4 + [7, 7], [NAN] * 6, [NAN] * 6])
    assert imc.Combiner(stack).combine("max").shape == (3, 6)
    mixed = imc.place_into_padded([images[0], np.ones((1, 1))], [[0, 0]] * 2, fill=-1)
    assert mixed.dtype == np.float64
    assert mixed[1, 1, 1] == -1
    line = imc.place_into_padded(iter([np.ones(2)] * 2), [[-3], [1]])
    assert line.shape == (2, 6)
    solid = imc.place_into_padded([np.ones((1, 2, 3))] * 2, [[0, 0, 0], [1, 1, 1]])
    assert solid.shape == (2, 2, 3, 4)
    assert imc.place_into_padded([np.ones(2, ">i2")], [[0]]).dtype == np.float32


# --------------------------------------------------------------------- threads


def run(code, **environment):
    command = [sys.executable, "-c", f"import imcombiners_astro as imc; {code}"]
    environment = dict(os.environ) | environment
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_environment():
    code = (
        "print(imc.get_rayon_num_threads(), imc.get_parallel_threshold(), "
        "imc.get_minmax_1d_parallel_threshold())"
    )
    found = run(
        code,
        RAYON_NUM_THREADS="3",
        IMCOMBINERS_PARALLEL_THRESHOLD="77",
        IMCOMBINERS_MINMAX_1D_PARALLEL_THRESHOLD="88",
    )
    assert found.stdout.split() == ["3", "77", "88"]


@pytest.mark.parametrize("value", ["0", "many", "-1", ""])
def test_environment_that_makes_no_sense(value):
    name = "IMCOMBINERS_PARALLEL_THRESHOLD"
    found = run("imc.get_parallel_threshold()", **{name: value})
    assert f"environment variable {name}: found" in found.stderr
    assert "expected a positive integer" in found.stderr


def test_names_of_the_package():
    names = """Combiner Rejector SigClip CcdClip LinearClip MinMaxClip PClip SampleFlags
    OutputFlags kernels ndcombine place_into_padded nanaverage sigclip ccdclip minmax
    linearclip pclip grow_mask resolve_zero_scale __version__"""
    assert set(names.split()) <= set(imc.__all__)
    kernels = """sigclip ccdclip linearclip minmax pclip sigclip_mask ccdclip_mask
    minmax_mask pclip_mask sigclip_combine ccdclip_combine minmax_combine pclip_combine
    nanaverage grow_mask sigclip_1d ccdclip_1d linearclip_1d minmax_1d pclip_1d
    sigclip_mask_1d ccdclip_mask_1d minmax_mask_1d pclip_mask_1d sigclip_combine_1d
    ccdclip_combine_1d minmax_combine_1d pclip_combine_1d mean median lmedian summation
    minimum maximum variance percentiles weighted_average"""
    assert set(kernels.split()) <= set(imc.kernels.__all__)
    for module in (imc, imc.kernels):
        assert all(hasattr(module, name) for name in module.__all__)
