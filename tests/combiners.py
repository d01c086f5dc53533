# Licensed under a 3-clause BSD style license - see LICENSE
"""`CCDCombiner` and ``ccdproc.Combiner`` side by side."""

import warnings

import numpy as np
from astropy.nddata import CCDData
from ccdproc.combiner import Combiner
from comparison import assert_same

from imcombiners_astro import CCDCombiner

METHODS = ["average_combine", "median_combine", "sum_combine"]
FUNCTION_NAME = {
    "average_combine": "scale_func",
    "median_combine": "median_func",
    "sum_combine": "sum_func",
}


def images(n=9, shape=(11, 13), *, dtype=float, masks=True, nan=False, seed=1):
    """Noise with outliers, without ties; a pixel without samples, one with one."""
    rng = np.random.default_rng(seed)
    stack = rng.normal(1000, 10, (n, *shape))
    stack[rng.random(stack.shape) < 0.05] += 500
    if nan:
        stack[rng.random(stack.shape) < 0.03] = np.nan
    ccds = [CCDData(image.astype(dtype), unit="adu") for image in stack]
    if masks:
        for k, ccd in enumerate(ccds):
            ccd.mask = rng.random(shape) < 0.1
            ccd.mask.flat[-1] = True
            ccd.mask.flat[0] = k > 0
    return ccds


def both(ccds, **keywords):
    return CCDCombiner(ccds, **keywords), Combiner(ccds, **keywords)


def call(combiner, method, **keywords):
    """Result of a combining method, without the warnings of ccdproc about NaN."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        if isinstance(combiner, Combiner):
            warnings.simplefilter("ignore")
        return getattr(combiner, method)(**keywords)


def assert_same_result(pair, method, ulp=2, **keywords):
    ours, theirs = (call(combiner, method, **keywords) for combiner in pair)
    assert ours.meta == theirs.meta
    assert type(ours.meta) is type(theirs.meta)
    assert ours.wcs is theirs.wcs is None
    assert_same(ours, theirs, ulp)


def assert_same_state(pair):
    ours, theirs = (combiner.data_arr for combiner in pair)
    assert isinstance(ours, np.ma.MaskedArray)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.mask, theirs.mask)


def average(image):
    """Scale function that minds the mask."""
    return 1000 / np.ma.average(np.ma.masked_invalid(image))


SCALINGS = {
    "none": None,
    "list": [1, 2, 1.5, 1, 1, 1, 1, 1, 0.5],
    "zero": [0.0, 1, 1, 1, 1, 1, 1, 1, 1],
    "nan": np.array([np.nan, 1, 1, 1, 1, 1, 1, 1, 1]),
    "function": average,
}
