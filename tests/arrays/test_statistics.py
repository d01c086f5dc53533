# Licensed under a 3-clause BSD style license - see LICENSE
"""Statistics of stacks and of columns against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

NAN = np.nan
ROUTES = {
    "mean": ("mean", imck.mean, imck.mean_1d, np.nanmean),
    "median": ("median", imck.median, imck.median_1d, np.nanmedian),
    "sum": ("sum", imck.summation, imck.sum_1d, np.nansum),
    "min": ("min", imck.minimum, imck.min_1d, np.nanmin),
    "max": ("max", imck.maximum, imck.max_1d, np.nanmax),
    "variance": ("var", imck.variance, imck.var_1d, np.nanvar),
}


@pytest.fixture(params=["f4", "f8"])
def stack(request):
    rng = np.random.default_rng(20250311)
    stack = rng.normal(100, 5, (10, 8, 8)).astype(request.param)
    stack[rng.random(stack.shape) < 0.1] = NAN
    stack[rng.random(stack.shape) < 0.05] = np.inf
    return stack


@pytest.mark.parametrize("name", ROUTES)
def test_statistics(stack, name):
    alias, kernel, kernel_1d, function = ROUTES[name]
    finite = np.where(np.isfinite(stack), stack, NAN).astype("f8")
    image = kernel(stack)
    assert image.dtype == stack.dtype
    assert_allclose(image, function(finite, axis=0), rtol=1e-6)
    assert_array_equal(imc.Combiner(stack).combine(alias), image)
    assert_array_equal(imc.ndcombine(stack, combine=name.upper()), image)
    for y, x in np.ndindex(3, 8):
        value = kernel_1d(stack[:, y, x])
        assert type(value) is float
        assert value == image[y, x]


def test_lower_median():
    stack = np.array([[1, NAN, np.inf, 5], [0, 1, 2, 3]]).T
    assert_array_equal(imck.lmedian(stack), [1, 1])
    assert_array_equal(imc.ndcombine(stack, combine="lmed"), [1, 1])
    assert_array_equal(imck.median(stack), [3, 1.5])
    assert imck.lmedian_1d(stack[:, 0]) == 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", ">u2"])
def test_integers_keep_their_type(dtype):
    stack = np.array([[0], [1], [2], [3], [4], [5]], dtype)
    for kernel, value in [(imck.lmedian, 2), (imck.minimum, 0), (imck.maximum, 5)]:
        image = kernel(stack)
        assert image.dtype == np.dtype(dtype).newbyteorder("=")
        assert_array_equal(image, [value])
    assert imck.mean(stack).dtype.kind == "f"
    assert imck.mean_1d(stack[:, 0]) == 2.5


def test_ddof(stack):
    assert_array_equal(imck.variance(stack, ddof=1), imc.Combiner(stack).variance())
    assert imck.var_1d([1.0, 3.0, NAN], ddof=1) == 2
    assert np.isnan(imck.var_1d([1.0], ddof=1))
    assert np.isnan(imck.mean_1d([NAN, np.inf]))
    assert imck.sum_1d([NAN]) == 0


def test_percentiles(stack):
    finite = np.where(np.isfinite(stack), stack, NAN)
    for q in (0, 37.5, 50, 100):
        expected = np.nanpercentile(finite.astype("f8"), q, axis=0)
        assert_allclose(imck.percentiles(stack, q), expected, rtol=1e-6)
        value = imck.percentiles_1d(stack[:, 0, 0], q)
        assert value == imck.percentiles(stack, q)[0, 0]
    q = [0, 16, 37.5, 100]
    expected = imck.percentiles(stack, q)[:, 0, 0]
    for some in (q, tuple(q), np.array(q), np.array(q, "f4"), range(0, 1)):
        found = imck.percentiles_1d(stack[:, 0, 0], some)
        assert found.dtype == np.float64
        assert_array_equal(found, expected[: len(some)])
    assert imck.percentiles_1d(stack[:, 0, 0], np.array(16)) == expected[1]
    assert imck.percentiles_1d(stack[:, 0, 0], ()).shape == (0,)
    hidden = np.ma.array([1.0, 2, 3, 400], mask=[0, 0, 0, 1])
    assert_array_equal(imck.percentiles_1d(hidden, [0, 50, 100]), [1, 2, 3])
    assert np.isnan(imck.percentiles_1d([NAN, np.inf], [0, 50])).all()


def test_weighted_mean():
    stack = np.array([[10.0], [20], [30]], "f4")
    weights = [1, 1, 2]
    for found in (
        imc.nanaverage(stack, weights),
        imck.weighted_average(stack, weights),
        imc.Combiner(stack).combine("mean", weight=weights),
        imc.ndcombine(stack, weight=weights),
        imck.nanaverage(stack, np.array([[1], [1], [2]])),
    ):
        assert found.dtype == np.float32
        assert_array_equal(found, [22.5])
    assert imck.wvg_1d(stack[:, 0], weights) == 22.5
    assert imck.wvg_1d([10.0, NAN, 30.0], weights) == (10 + 60) / 3
    rng = np.random.default_rng(7)
    for dtype in ("f4", "f8", ">i2"):
        column = rng.normal(1000, 30, 31).astype(dtype)
        weight = rng.uniform(-1, 3, 31)
        for some in (
            weight,
            weight.astype(">f8"),
            weight.astype("f4"),
            weight.tolist(),
        ):
            found = imck.wvg_1d(column, some)
            expected = imck.weighted_average(column[:, np.newaxis], np.array(some))
            assert found == float(expected[0])
    assert np.isnan(imck.wvg_1d(column, np.zeros(31)))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 2], ValueError, r"weight: found an array of shape \(2,\), expected 3"),
        (2.0, ValueError, r"weight: found an array of shape \(\), expected 3"),
        ([[1], [2], [3]], ValueError, r"weight: found an array of shape \(3, 1\)"),
        ([1, 2, NAN], ValueError, "weight: found NaN or infinity, expected finite"),
        ([1, 2, np.inf], ValueError, "weight: found NaN or infinity"),
        ("exposure", TypeError, "weight: found 'exposure', expected 3 numbers"),
    ],
)
def test_wrong_weights_of_a_column(weights, error, message):
    for validate in (True, False):
        with pytest.raises(error, match=message):
            imck.wvg_1d([1.0, 2, 3], weights, validate=validate)


@pytest.mark.parametrize("depth", [1, 2, 63, 64, 65, 66, 200])
def test_columns_of_any_length(depth):
    """Short columns are sorted, long ones are not."""
    rng = np.random.default_rng(depth)
    stack = np.round(rng.normal(1000, 30, (depth, 40)), 1).astype("f4")
    stack[rng.random(stack.shape) < 0.1] += 300
    stack[rng.random(stack.shape) < 0.05] = NAN
    clips = [
        ("sigclip", {"stdfunc": stdfunc, "clip_cen": center, "sigma": 2})
        for stdfunc in ("std", "mad")
        for center in (None, "mean", "lmedian")
    ]
    clips += [
        ("ccdclip", {"rdnoise": 5, "gain": 2, "cenfunc": "lmedian"}),
        ("ccdclip", {"rdnoise": tuple(range(depth)), "gain": 2}),
        ("pclip", {"sigma": 2}),
        ("minmax", {"n_min": 0.2, "n_max": 0.1}),
    ]
    for name, options in clips:
        for method in ("median", "lmedian", "mean"):
            image = getattr(imck, f"{name}_combine")(stack, combine=method, **options)
            column = getattr(imck, f"{name}_combine_1d")
            for k in range(stack.shape[1]):
                found = column(stack[:, k], combine=method, **options)
                assert_array_equal(found, image[k])


def test_many_values():
    values = np.random.default_rng(1).normal(size=200_000).astype("f4")
    values[77_777] = NAN
    assert imck.min_1d(values) == np.nanmin(values)
    assert imck.max_1d(values[::-3]) == np.nanmax(values[::-3])
    assert imck.max_1d(np.arange(200_000, dtype=">i4")) == 199_999


def test_remembered_plans_do_not_mix():
    values = np.array([1.0, 2, 3, 50])
    for dtype in ("f4", "f8", "u2"):
        for combine in ("mean", "median"):
            for sigma in (1.5, 100):
                found = imck.sigclip_combine_1d(
                    values.astype(dtype), combine=combine, sigma=sigma
                )
                kept = values if sigma == 100 else values[:3]
                assert found == getattr(np, combine)(kept)
    assert imck.minmax_mask_1d(values, n_min=0.5).sum() == 3
    assert imck.minmax_mask_1d(values[:2], n_min=0.5).sum() == 2
    listed = imck.sigclip_mask_1d(values, sigma=[1.5, 1.5])
    assert_array_equal(listed, imck.sigclip_mask_1d(values, sigma=(1.5, 1.5)))


def test_quadrature_and_noise_model():
    rng = np.random.default_rng(9)
    stack, mask = rng.normal(100, 5, (6, 40)), rng.random((6, 40)) < 0.2
    values = np.ma.array(stack, mask=mask)
    n = values.count(axis=0)
    found = imc.Combiner(stack, mask).combine("quadrature")
    assert_allclose(found, np.sqrt((values**2).sum(axis=0)) / n)
    gain, rdnoise = np.arange(1, 7)[:, None], 3.0
    noise = {"gain": gain.ravel(), "rdnoise": rdnoise, "snoise": 0.1}
    variance = (rdnoise / gain) ** 2 + values / gain + (0.1 * values) ** 2
    expected = np.sqrt(variance.sum(axis=0)) / n
    assert_allclose(imc.Combiner(stack, mask).combine("nmodel", noise=noise), expected)
    found = imc.ndcombine(stack, mask, combine="nmodel", **noise)
    assert_allclose(found, expected)
    weight = np.array([1, 2, 1, 1, 3, 1.0])[:, None]
    total = (weight * ~mask).sum(axis=0)
    found = imc.ndcombine(stack, mask, combine="nmodel", weight=weight.ravel(), **noise)
    assert_allclose(found, np.sqrt((weight**2 * variance).sum(axis=0)) / total)
    # In the counts that a frame had before it was scaled.
    scale = np.array([1, 2, 4, 1, 2, 4.0])
    found = imc.ndcombine(stack, combine="nmodel", gain=2, rdnoise=3, scale=scale)
    counts = 2.25 + stack / 2
    expected = np.sqrt((counts / scale[:, None] ** 2).sum(axis=0)) / 6
    assert_allclose(found, expected)


def test_masked_arrays():
    values = np.ma.array([1.0, 2, 3, 400], mask=[0, 1, 0, 0])
    assert imck.max_1d(values) == 400
    assert imck.sum_1d(values) == 404
    assert imck.wvg_1d(values, [1, 1, 1, 0]) == 2
    assert imck.minmax_combine_1d(values, combine="mean", n_min=0, n_max=2) == 2
    rejected = imck.sigclip_mask_1d(values, mask=[True, False, False, False])
    assert_array_equal(rejected, [True, True, False, False])
    assert imck.median(values[:, np.newaxis]) == [3]
    assert imck.median_1d(values) == 3
