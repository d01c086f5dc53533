# Licensed under a 3-clause BSD style license - see LICENSE
"""Weights and scale factors."""

import numpy as np
import pytest
from comparison import assert_same, ccdproc_combine, stack_of

from imcombiners_astro import combine
from imcombiners_astro.errors import UnusedOptionWarning

N = 9
SHAPE = (12, 17)
CLIP = {"sigma_clip": True, "sigma_clip_func": "median", "sigma_clip_low_thresh": 2}


def weights_of(kind):
    rng = np.random.default_rng(4)
    return {
        "vector": rng.random(N),
        "integer": rng.integers(1, 5, N),
        "float32": rng.random(N).astype("f4"),
        "with zeros and signs": np.array([1, 0, -1, 2, 0, 3, 1, 1, 0.5]),
        "cube": rng.random((N, *SHAPE)),
        "float32 cube": rng.random((N, *SHAPE)).astype("f4"),
    }[kind]


KINDS = [
    "vector",
    "integer",
    "float32",
    "with zeros and signs",
    "cube",
    "float32 cube",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["average", "sum"])
def test_weights(method, kind):
    call = {"method": method, "weights": weights_of(kind)}
    ccds = stack_of(N, SHAPE)
    # Sums of terms with both signs lose digits, in any order.
    ulp = 64 if kind.startswith("with") else 2
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call), ulp)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_samples_left_out_do_not_count(kind):
    # ccdproc 2.5.1 divides by the sum of all weights; the next version by those of
    # the samples in use, as we do.
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    weights = weights_of(kind).astype(float)
    cube = weights if weights.ndim == 3 else weights[:, None, None]
    result = combine(ccds, weights=weights)
    stack = np.stack([c.data for c in ccds])
    used = ~np.stack([c.mask for c in ccds]) & np.isfinite(stack)
    w = np.where(used, cube, 0.0)
    with np.errstate(invalid="ignore"):
        expected = (np.where(used, stack, 0) * w).sum(0) / w.sum(0)
    rtol = 1e-11 if kind.startswith("with") else 1e-14
    np.testing.assert_allclose(result.data, expected, rtol=rtol)
    np.testing.assert_array_equal(result.mask, ~used.any(0))
    total = combine(ccds, weights=weights, method="sum")
    assert_same(total, ccdproc_combine(ccds, weights=weights, method="sum"), ulp=64)


def test_weights_that_add_up_to_nothing():
    result = combine(stack_of(N, SHAPE), weights=np.zeros(N))
    assert np.isnan(result.data).all()
    assert not result.mask.any()


def test_weights_and_rejection():
    ccds = stack_of(N, SHAPE)
    cube = np.random.default_rng(1).random((N, *SHAPE))
    a = combine(ccds, weights=cube, **CLIP)
    b = combine(ccds, weights=cube, **CLIP, scale=np.ones(N))
    np.testing.assert_array_equal(a.data, b.data)
    plain = combine(ccds, **CLIP)
    np.testing.assert_array_equal(a.uncertainty.array, plain.uncertainty.array)


def test_weights_have_no_effect_on_the_median():
    ccds = stack_of(N, SHAPE)
    with pytest.warns(UnusedOptionWarning, match="median"):
        result = combine(ccds, method="median", weights=np.arange(N))
    assert_same(result, ccdproc_combine(ccds, method="median"))


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize(
    "scale",
    [
        list(range(1, N + 1)),
        np.linspace(0.5, 2, N),
        [1, -1, 1, -1, 1, -1, 1, -1, 2],
        lambda image: 1 / image.mean(),
        lambda image: 1 / np.ma.average(image),
    ],
    ids=["list", "array", "signs", "mean", "average"],
)
def test_scale(method, scale):
    ccds = stack_of(N, SHAPE, masks=True)
    for rejection in ({}, CLIP, {"clip_extrema": True}):
        call = {"method": method, "scale": scale, **rejection}
        assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call), ulp=4)


def test_scale_function_sees_the_data_of_the_frame():
    ccds = stack_of(N, SHAPE, dtype=np.uint16, masks=True)
    seen = []

    def scale(image):
        seen.append(image)
        return 1.0

    combine(ccds, scale=scale)
    assert [type(image) for image in seen] == [np.ndarray] * N
    for image, ccd in zip(seen, ccds, strict=True):
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, ccd.data)


def test_rejection_comes_before_scaling():
    # As in ccdproc: levels 100 and 200 hide the outlier until they are scaled.
    levels = [100.0, 200.0] * 6
    ccds = stack_of(12, (2, 2))
    for ccd, level in zip(ccds, levels, strict=True):
        ccd.data[...] = level
    ccds[0].data[0, 0] = 150
    scale = [100 / level for level in levels]
    result = combine(ccds, scale=scale, sigma_clip=True)
    assert result.data[0, 0] > 104
    assert_same(result, ccdproc_combine(ccds, scale=scale, sigma_clip=True))
