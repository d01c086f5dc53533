# Licensed under a 3-clause BSD style license - see LICENSE
"""`CCDCombiner` beside ``ccdproc.Combiner``: what is written to it counts."""

import warnings

import bottleneck as bn
import numpy as np
import pytest
from astropy.nddata import CCDData
from ccdproc import sigma_func
from ccdproc.combiner import Combiner
from combiners import (
    METHODS,
    SCALINGS,
    assert_same_result,
    assert_same_state,
    average,
    both,
    images,
)
from comparison import assert_within_ulp

from imcombiners_astro import CCDCombiner

# ---------------------------------------------------------------- a live state


def test_both_spellings_are_one():
    c = CCDCombiner(images(dtype="u2"))
    early = c.mask  # before the stack of floats exists
    assert c.data is not None
    assert np.shares_memory(early, c.data_arr.mask)
    for a, b in (
        (c.data, c.data_arr.data),
        (c._data_arr, c.data),
        (c.mask, c.data_arr.mask),
        (c._data_arr_mask, c.mask),
    ):
        assert type(a) is np.ndarray
        assert np.shares_memory(a, b)
    assert c.data_arr is c.data_arr
    assert c.mask.dtype == bool
    c.sigma_clipping(1, 1)
    assert early.sum() == c.data_arr.mask.sum() > 0


WRITES = {
    "element": lambda c: c.data_arr.__setitem__((0, 5, 5), 9e3),
    "masked": lambda c: c.data_arr.__setitem__((1, 5, 5), np.ma.masked),
    "mask": lambda c: c.data_arr.mask.__setitem__((slice(4), 3, 3), True),
    "where": lambda c: c.data_arr.mask.__setitem__(np.where(c.data_arr > 1100), True),
    "new mask": lambda c: setattr(c.data_arr, "mask", c.data_arr.data > 1100),
    "no mask": lambda c: setattr(c.data_arr, "mask", False),
    "in place": lambda c: np.multiply(c.data_arr.data, 2, out=c.data_arr.data),
    "new array": lambda c: setattr(c, "data_arr", c.data_arr[::-1] * 2),
    "no mask at all": lambda c: setattr(
        c, "data_arr", np.ma.MaskedArray(c.data_arr.data + 1)
    ),
    "another type": lambda c: setattr(c, "data_arr", c.data_arr.astype(">f8")),
    "fewer": lambda c: setattr(c, "data_arr", c.data_arr[:5]),
    "order": lambda c: setattr(
        c, "data_arr", np.ma.MaskedArray(np.asfortranarray(c.data_arr.data), mask=False)
    ),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_counts(name, method):
    pair = both(images(dtype="f4"))
    for combiner in pair:
        combiner.minmax_clipping(max_clip=1700)
        WRITES[name](combiner)
        combiner.sigma_clipping(1.5, 1.5, func="median", dev_func="mad_std")
        if name != "no mask at all":  # ccdproc has no mask to index then
            combiner.minmax_clipping(1002, 1600)
            combiner.clip_extrema(1, 0)
    assert_same_state(pair)
    assert_same_result(pair, method)


def test_assignment_to_the_new_names():
    c = CCDCombiner(images(masks=False, dtype="u2"))
    view = c.mask
    c.mask = np.zeros((9, 11, 13), bool)
    c._data_arr_mask = c.data > 1100
    assert view.any()
    expected = c.data.copy()
    expected[3] = 1.0
    c._data_arr = expected
    assert np.shares_memory(c.data_arr.data, expected)
    assert c.mask.sum() == view.sum()
    c.data = expected[...].tolist()
    np.testing.assert_array_equal(c.data_arr.data, expected)
    result = c.average_combine()
    truth = np.ma.MaskedArray(expected, mask=view).mean(axis=0)
    np.testing.assert_allclose(result.data, truth)


def test_weights_and_scaling_may_be_changed_in_place():
    pair = both(images(masks=False))
    for combiner in pair:
        combiner.weights = np.ones_like(combiner.data_arr)
        combiner.weights[:, 5, 5] = np.arange(9)
        combiner.scaling = np.ones(9)
        combiner.scaling[3] *= 2
    assert_same_result(pair, "average_combine")
    for combiner in pair:
        combiner._weights = np.arange(9.0)
        combiner._scaling = None
    assert_same_result(pair, "sum_combine")


def test_the_result_is_independent():
    c = CCDCombiner(images())
    for keywords in ({}, {"scale_func": lambda a, axis: a[0]}):
        result = c.average_combine(**keywords)
        before = c.data_arr.copy()
        for array in (result.data, result.mask, result.uncertainty.array):
            array[...] = 1
        np.testing.assert_array_equal(c.data_arr.data, before.data)
        np.testing.assert_array_equal(c.data_arr.mask, before.mask)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings(
    "ignore:Input data contains:astropy.utils.exceptions.AstropyUserWarning"
)
def test_any_sequence_of_calls(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    dtype = rng.choice(["u2", "i4", "f4", "f8"])
    pair = both(images(n, dtype=dtype, seed=seed, nan=dtype[0] == "f" and seed % 2 > 0))
    low, high = rng.uniform(0.5, 3, 2)
    steps = [
        lambda c: c.sigma_clipping(low, high, func="median", dev_func="mad_std"),
        lambda c: c.sigma_clipping(low, high, func=np.ma.median, dev_func=np.nanstd),
        lambda c: c.sigma_clipping(low, high),
        lambda c: c.minmax_clipping(1000 - 5 * low, 1000 + 5 * high),
        lambda c: setattr(c, "scaling", np.linspace(0.5, 1.5, n)),
        lambda c: setattr(c, "scaling", average),
        lambda c: setattr(c, "scaling", None),
        lambda c: c.data_arr.mask.__setitem__((0, slice(4), 2), True),
        lambda c: c.data_arr.__setitem__((-1, 3, 3), 5e4),
        lambda c: c.data_arr.data.sum(),
    ]
    for k in rng.integers(0, len(steps), 6):
        for combiner in pair:
            with warnings.catch_warnings():
                if isinstance(combiner, Combiner):
                    warnings.simplefilter("ignore")
                steps[k](combiner)
        method = rng.choice(METHODS)
        if (k % 2) == 0:
            assert_same_state(pair)
        assert_same_result(pair, method)
    assert_same_state(pair)


# ------------------------------------------------- classes derived from this one


def test_a_pipeline_that_combines_by_itself():
    """As soxspipe: the setup of ccdproc, its own combination."""

    def derived(base):
        class WithoutUncertainty(base):
            def average_combine(self):
                data, masked_values, scale_func = self._combination_setup(
                    None, bn.nanmean, None
                )
                image = CCDData(
                    np.asarray(scale_func(data, axis=0), dtype=self.dtype),
                    mask=masked_values == len(self.data_arr),
                    unit=self.unit,
                )
                image.meta["NCOMBINE"] = len(data)
                return image

        return WithoutUncertainty

    pair = [derived(base)(images()) for base in (CCDCombiner, Combiner)]
    for combiner in pair:
        combiner.sigma_clipping(2, 2)
        combiner.scaling = SCALINGS["list"]
    ours, theirs = (combiner.average_combine() for combiner in pair)
    assert ours.uncertainty is theirs.uncertainty is None
    assert_within_ulp(ours.data, theirs.data, 0)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert_same_result(pair, "median_combine")


def test_a_pipeline_that_overrides_the_clipping():
    def derived(base):
        class Careful(base):
            def __init__(self, ccds, limit):
                super().__init__(ccds, dtype=np.float64)
                self.limit = limit

            def clip_extrema(self, nlow=0, nhigh=0):
                self.data_arr.mask |= self.data_arr.data > self.limit
                super().clip_extrema(nlow, nhigh)

        return Careful

    pair = [derived(base)(images(), limit=1200) for base in (CCDCombiner, Combiner)]
    for combiner in pair:
        combiner.clip_extrema(1, 1)
    assert_same_state(pair)
    assert_same_result(pair, "average_combine")


@pytest.mark.parametrize("method", METHODS)
def test_a_pipeline_that_overrides_a_helper(method):
    def derived(base):
        class Bias(base):
            def _get_scaled_data(self, scale_arg):
                return super()._get_scaled_data(scale_arg) - 900

        return Bias

    pair = [derived(base)(images()) for base in (CCDCombiner, Combiner)]
    assert_same_result(pair, method, ulp=8)
    pair = [derived(base)(images(masks=False)) for base in (CCDCombiner, Combiner)]
    if method == "median_combine":
        assert_same_result(pair, method, uncertainty_func=sigma_func)
        return
    for combiner in pair:
        combiner.weights = np.arange(1.0, 10)
    assert_same_result(pair, method, ulp=8)
