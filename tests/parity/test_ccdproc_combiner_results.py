# Licensed under a 3-clause BSD style license - see LICENSE
"""`CCDCombiner` beside ``ccdproc.Combiner``: combination, functions of the user."""

import warnings
from functools import partial

import bottleneck as bn
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.stats import mad_std
from ccdproc import sigma_func
from combiners import (
    FUNCTION_NAME,
    METHODS,
    SCALINGS,
    assert_same_result,
    both,
    call,
    images,
)
from comparison import assert_same, assert_within_ulp

from imcombiners_astro import CCDCombiner
from imcombiners_astro.errors import IntegerResultError


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("kind", ["f8", "nan", "u2", "f4"])
@pytest.mark.filterwarnings(
    "ignore:Input data contains:astropy.utils.exceptions.AstropyUserWarning"
)
def test_combination(method, scaling, kind):
    dtype = "f8" if kind == "nan" else kind
    pair = both(images(dtype=dtype, nan=kind == "nan"))
    for combiner in pair:
        combiner.sigma_clipping(1.5, 1.5, func="median", dev_func="mad_std")
        combiner.scaling = SCALINGS[scaling]
    np.testing.assert_array_equal(pair[0].scaling, pair[1].scaling)
    assert_same_result(pair, method)
    assert_same_result(pair, method, scale_to=2.5)
    assert_same_result(pair, method, scale_to=np.full((11, 13), 0.3))
    assert_same_result(pair, method, scale_to=np.arange(1.0, 10).reshape(9, 1, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scaling", ["none", "list"])
def test_float32(method, scaling):
    pair = both(images(dtype="f4"), dtype=np.float32)
    for combiner in pair:
        combiner.scaling = SCALINGS[scaling]
    for keywords in ({}, {"scale_to": 2.5}):
        ours, theirs = (call(combiner, method, **keywords) for combiner in pair)
        assert ours.data.dtype == theirs.data.dtype == np.float32
        assert ours.uncertainty.array.dtype == theirs.uncertainty.array.dtype
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        # ccdproc adds up in single precision.
        np.testing.assert_allclose(ours.data, theirs.data, rtol=3e-7)
        np.testing.assert_allclose(
            ours.uncertainty.array, theirs.uncertainty.array, rtol=2e-5
        )
        exact = CCDCombiner(images(dtype="f4"))
        exact.scaling = SCALINGS[scaling]
        exact = getattr(exact, method)(**keywords)
        assert_within_ulp(ours.data, exact.data.astype("f4"), 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [int, np.uint16, "int32"])
def test_integers(method, dtype):
    pair = both(images(masks=False), dtype=dtype)
    for combiner in pair:
        combiner.minmax_clipping(max_clip=60000)  # nothing
    assert_same_result(pair, method, ulp=4)
    assert getattr(pair[0], method)().data.dtype == np.dtype(dtype)
    # Masked samples are no obstacle, as long as one is left.
    pair[0].mask[1] = True
    getattr(pair[0], method)()
    pair[0].mask[:, 0, 0] = True
    if method != "sum_combine":
        with pytest.raises(IntegerResultError, match="NaN where no sample"):
            getattr(pair[0], method)()


def test_integers_out_of_range():
    combiner = CCDCombiner(images(masks=False, n=90), dtype=np.uint16)
    with pytest.raises(IntegerResultError, match="from 0 to 65535"):
        combiner.sum_combine()


@pytest.mark.parametrize("method", ["average_combine", "sum_combine"])
@pytest.mark.parametrize("shape", [(9,), (9, 11, 13)])
@pytest.mark.parametrize("dtype", ["i8", "f4", "f8"])
@pytest.mark.parametrize("sum_func", [None, np.nansum, bn.nansum, np.sum, np.ma.sum])
def test_weights(method, shape, dtype, sum_func):
    weights = np.random.default_rng(3).integers(1, 9, shape).astype(dtype)
    pair = both(images(masks=False))
    for combiner in pair:
        combiner.weights = weights
        assert combiner.weights is weights
        combiner.scaling = SCALINGS["list"]
    keywords = {} if sum_func is None else {"sum_func": sum_func}
    assert_same_result(pair, method, ulp=4, **keywords)
    for combiner in pair:
        combiner.weights = None
        combiner.scaling = None
    assert_same_result(pair, method)


@pytest.mark.parametrize("shape", [(9,), (9, 11, 13)])
@pytest.mark.parametrize("by_call", [False, True])
def test_weights_of_masked_samples_do_not_count(shape, by_call):
    weights = np.random.default_rng(3).random(shape)
    weights.flat[3] = np.nan  # as good as 0
    combiner = CCDCombiner(images(nan=True))
    combiner.weights = weights
    plain = combiner.data_arr.filled(np.nan)
    used = np.where(np.isnan(weights), 0, weights)
    used = used.reshape(9, 1, 1) if len(shape) == 1 else used
    with np.errstate(invalid="ignore"):
        top = np.nansum(plain * used, axis=0)
        mean = top / np.where(np.isnan(plain), 0, used).sum(axis=0)

    def add(array, axis):
        return np.nansum(array, axis=axis)

    keywords = {"sum_func": add} if by_call else {}
    result = combiner.average_combine(**keywords)
    np.testing.assert_allclose(result.data, mean, rtol=1e-14)
    if not by_call:
        np.testing.assert_allclose(combiner.sum_combine().data, top, rtol=1e-14)
    np.testing.assert_array_equal(result.mask, np.isnan(plain).all(axis=0))
    # They have no effect on the uncertainty.
    combiner.weights = None
    plain = combiner.average_combine()
    assert_within_ulp(result.uncertainty.array, plain.uncertainty.array, 0)


def test_weights_of_cubes():
    # ccdproc shapes the weights for two dimensions: a wrong answer or an error.
    combiner = CCDCombiner(
        [CCDData(np.full((3, 2, 2), v), unit="adu") for v in (1.0, 2.0, 3.0)]
    )
    combiner.weights = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(combiner.average_combine().data, 14 / 6)
    np.testing.assert_allclose(
        combiner.average_combine(sum_func=lambda a, axis: a.sum(axis=axis)).data, 14 / 6
    )


def test_masked_weights_are_zero():
    combiner = CCDCombiner(images(masks=False))
    combiner.weights = np.ones_like(combiner.data_arr)
    combiner.weights[4] = np.ma.masked
    left = np.delete(combiner.data, 4, axis=0)
    np.testing.assert_allclose(combiner.average_combine().data, left.mean(axis=0))


def test_a_function_of_the_user_beside_weights():
    # As in all versions of ccdproc: it is not called, and masked samples count.
    ccds = [
        CCDData([[1.0, 2.0]], unit="adu", mask=[[True, False]]),
        CCDData([[10.0, 20.0]], unit="adu"),
    ]
    for combiner in both(ccds):
        combiner.weights = np.array([1, 3])
        result = combiner.average_combine(scale_func=np.mean)
        np.testing.assert_allclose(result.data, [[7.75, 15.5]])


@pytest.mark.parametrize("method", METHODS)
def test_infinite_samples_are_never_used(method):
    ccds = images(masks=False)
    reference = CCDCombiner(ccds)
    reference.mask[3, 4, 5] = True
    expected = getattr(reference, method)()
    ccds[3].data[4, 5] = np.inf
    assert_same(getattr(CCDCombiner(ccds), method)(), expected, 0)


# ------------------------------------------------------- functions of the user


def recording(func):
    """Wrap a function; keep what it is called with."""

    def wrapped(array, axis=None):
        wrapped.calls.append((array, axis))
        return func(array, axis=axis)

    wrapped.calls = []
    return wrapped


def filled_median(array, axis=None):
    """As found in pipelines: relies on getting a masked array."""
    return bn.nanmedian(array.filled(np.nan), axis=axis)


KNOWN = {
    "average_combine": [np.ma.mean, np.ma.average, np.mean, np.average, np.nanmean],
    "median_combine": [np.ma.median, np.median, np.nanmedian, bn.nanmedian],
    "sum_combine": [np.ma.sum, np.sum, np.nansum, bn.nansum],
}


@pytest.mark.parametrize(
    ("method", "func"), [(m, f) for m, funcs in KNOWN.items() for f in funcs]
)
@pytest.mark.parametrize("kind", ["plain", "masks", "nan"])
def test_known_functions(method, func, kind):
    """Computed by the kernels or called: the answer of the function."""
    pair = both(images(masks=kind == "masks", nan=kind == "nan"))
    keywords = {FUNCTION_NAME[method]: func}
    with warnings.catch_warnings():
        # numpy.median and numpy.nanmedian do not like masked arrays.
        warnings.simplefilter("ignore")
        a, b = (call(combiner, method, **keywords) for combiner in pair)
    assert_within_ulp(a.data, b.data)
    np.testing.assert_array_equal(a.mask, b.mask)
    # The scatter is that of the samples left; in ccdproc bottleneck's nanstd also
    # takes what is masked, numpy's does not.
    default = getattr(pair[0], method)()
    assert_within_ulp(a.uncertainty.array, default.uncertainty.array)
    if method == "median_combine" and kind != "nan":  # ccdproc counts NaN as used
        good = ~a.mask
        assert_within_ulp(a.uncertainty.array[good], b.uncertainty.array[good])


@pytest.mark.parametrize("method", METHODS)
def test_a_function_of_the_user_gets_a_masked_array(method):
    pair = both(images())
    for combiner in pair:
        combiner.clip_extrema(1, 1)
        combiner.scaling = SCALINGS["list"]
    func = {
        "average_combine": np.ma.mean,
        "median_combine": filled_median,
        "sum_combine": np.ma.sum,
    }[method]
    called = [recording(func), recording(func)]
    a, b = (
        call(combiner, method, **{FUNCTION_NAME[method]: function})
        for combiner, function in zip(pair, called, strict=True)
    )
    assert_within_ulp(a.data, b.data, 0)
    np.testing.assert_array_equal(a.mask, b.mask)
    (((x, axis),), ((y, other),)) = (function.calls for function in called)
    assert axis == other == 0
    assert type(x) is type(y) is np.ma.MaskedArray
    np.testing.assert_array_equal(x.mask, y.mask)
    np.testing.assert_array_equal(x.data, y.data)
    assert pair[0].data.flags.writeable


def test_a_scale_function_gets_masked_planes():
    pair = both(images(dtype="u2"), dtype=np.float32)
    functions = [recording(lambda a, axis: 1 / np.ma.median(a)) for _ in pair]
    for _ in range(2):
        for combiner, function in zip(pair, functions, strict=True):
            combiner.scaling = function
        for (x, _), (y, _) in zip(*(f.calls for f in functions), strict=True):
            assert type(x) is type(y) is np.ma.MaskedArray
            assert x.dtype == y.dtype == np.float32
            np.testing.assert_array_equal(x.mask, y.mask)
            np.testing.assert_array_equal(x.data, y.data)
        np.testing.assert_array_equal(pair[0].scaling, pair[1].scaling)
        assert pair[0].scaling.shape == (9, 1, 1)
        _ = pair[0].data_arr  # and again when the stack has been looked at


SCATTERS = {
    "std": np.std,
    "ma": np.ma.std,
    "nan": np.nanstd,
    "bottleneck": bn.nanstd,
    "sigma_func": sigma_func,
    "mad": mad_std,
    "ddof": partial(np.nanstd, ddof=1),
    "sum": np.sum,
    "own": lambda array, axis: np.nanmax(array, axis=axis),
    "number": lambda array, axis: 3.0,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SCATTERS)
@pytest.mark.parametrize("masks", [False, True])
def test_functions_for_the_uncertainty(method, name, masks):
    pair = both(images(masks=masks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN in every function
        assert_same_result(pair, method, ulp=4, uncertainty_func=SCATTERS[name])


@pytest.mark.parametrize("method", METHODS)
def test_both_functions_of_the_user(method):
    pair = both(images())
    keywords = {FUNCTION_NAME[method]: KNOWN[method][0]}
    for func in (np.ma.std, np.ma.mean):
        a, b = (
            call(combiner, method, uncertainty_func=func, **keywords)
            for combiner in pair
        )
        good = ~np.isnan(a.uncertainty.array)
        assert good.sum() >= 140
        assert_within_ulp(a.uncertainty.array[good], b.uncertainty.array[good], 4)


def test_an_uncertainty_that_does_not_fit():
    with pytest.raises(ValueError, match=r"must reduce axis 0.*\(9, 11\)"):
        CCDCombiner(images()).average_combine(
            uncertainty_func=lambda array, axis: np.nansum(array, axis=2)
        )
