# Licensed under a 3-clause BSD style license - see LICENSE
"""Functions of the caller: recognised, or called as ccdproc calls them."""

import functools

import numpy as np
import pytest
from astropy.stats import (
    biweight_location,
    mad_std,
    median_absolute_deviation,
    sigma_clip,
)
from astropy.stats.nanfunctions import nanmadstd, nanmean, nanmedian, nanstd
from ccdproc import sigma_func
from comparison import assert_same, ccdproc_combine, stack_of

from imcombiners_astro import combine
from imcombiners_astro.clipfuncs import (
    Statistic,
    center_and_spread,
    nan_rule,
    recognise,
)
from imcombiners_astro.errors import ThresholdWarning

N = 25
CENTERS = {
    "mean": "mean",
    "median": "median",
    "np.mean": np.mean,
    "np.average": np.average,
    "np.nanmean": np.nanmean,
    "np.median": np.median,
    "np.nanmedian": np.nanmedian,
    "np.ma.mean": np.ma.mean,
    "np.ma.average": np.ma.average,
    "np.ma.median": np.ma.median,
    "astropy nanmean": nanmean,
    "astropy nanmedian": nanmedian,
}
SPREADS = {
    "std": "std",
    "mad_std": "mad_std",
    "np.std": np.std,
    "np.nanstd": np.nanstd,
    "np.nanstd ddof": functools.partial(np.nanstd, ddof=1),
    "np.ma.std": np.ma.std,
    "astropy mad_std": mad_std,
    "astropy mad": median_absolute_deviation,
    "astropy mad_std ignore_nan": functools.partial(mad_std, ignore_nan=True),
    "astropy nanstd": nanstd,
    "astropy nanmadstd": nanmadstd,
    "ccdproc": sigma_func,
}


@pytest.mark.filterwarnings("ignore:Input data contains invalid values")
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("center", CENTERS)
def test_rule_for_nan_is_that_of_astropy(center, spread):
    stack = np.random.default_rng(0).normal(0, 1, (N, 1, 1))
    stack[3], stack[4], stack[5] = np.nan, 100, -100
    rejected = sigma_clip(
        stack,
        sigma_lower=2,
        sigma_upper=2,
        axis=0,
        copy=False,
        maxiters=1,
        cenfunc=CENTERS[center],
        stdfunc=SPREADS[spread],
        masked=True,
    ).mask.sum()
    measured = {1: "none", N: "all"}.get(rejected, "ignore")
    assert nan_rule(*center_and_spread(CENTERS[center], SPREADS[spread])) == measured


def test_functions_of_bottleneck_are_recognised():
    bn = pytest.importorskip("bottleneck")
    assert recognise(bn.nanmean) == recognise("mean")
    assert recognise(bn.nanmedian) == recognise("median")
    assert recognise(bn.nanstd) == recognise("std")
    assert recognise(bn.median) == recognise(np.median)
    # ccdproc cannot use them for clipping: they take no tuple of axes.
    ccds = stack_of(N, (5, 6), bad=(np.nan,))
    ours = combine(
        ccds,
        sigma_clip=True,
        sigma_clip_func=bn.nanmedian,
        sigma_clip_dev_func=bn.nanstd,
    )
    call = {"sigma_clip": True, "sigma_clip_func": "median"}
    theirs = ccdproc_combine(ccds, sigma_clip_dev_func="std", **call)
    assert_same(ours, theirs)
    # Beside a function that is not known, too.
    ours = combine(ccds, sigma_clip_dev_func=np.ptp, **call)
    call["sigma_clip_func"] = bn.nanmedian
    assert_same(combine(ccds, sigma_clip_dev_func=np.ptp, **call), ours)


@pytest.mark.parametrize(
    "func",
    [
        max,
        lambda a, axis: a[0],
        biweight_location,
        functools.partial(np.std, axis=0),
        functools.partial(mad_std, func=np.median),
        functools.partial(mad_std, np.ones(3)),
        functools.partial(np.ma.std, ddof=1),
        functools.partial(np.std, ddof=0.5),
        np.var,
        "max",
        None,
        3,
    ],
    ids=repr,
)
def test_what_is_not_recognised(func):
    assert recognise(func) is None


def test_a_callable_that_cannot_be_hashed():
    class Center(list):
        def __call__(self, a, axis):
            return np.nanmedian(a, axis=axis)

    ccds = stack_of(N, (5, 6))
    assert recognise(Center()) is None
    call = {"sigma_clip": True, "sigma_clip_dev_func": "std"}
    assert_same(
        combine(ccds, sigma_clip_func=Center(), **call),
        combine(ccds, sigma_clip_func="median", **call),
    )


def test_none_is_the_default_of_the_next_ccdproc():
    ccds = stack_of(N, (5, 6), bad=(np.nan,))
    ours = combine(
        ccds, sigma_clip=True, sigma_clip_func=None, sigma_clip_dev_func=None
    )
    call = {"sigma_clip_func": np.mean, "sigma_clip_dev_func": np.std}
    assert_same(ours, ccdproc_combine(ccds, sigma_clip=True, **call))
    assert center_and_spread(None, None) == (
        Statistic("mean", "nan"),
        Statistic("std", "nan"),
    )


def low_quartile(stack, axis):
    return np.nanpercentile(stack, 25, axis=axis)


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_unknown_clipping_functions_are_called(method, masks, dtype):
    bad = (np.nan, np.inf) if dtype == "f8" else ()
    ccds = stack_of(N, (9, 11), masks=masks, bad=bad, dtype=dtype)
    for center, spread in (
        (low_quartile, "std"),
        (low_quartile, np.ma.std),
        (biweight_location, mad_std),
        ("median", lambda a, axis: np.ma.std(a, axis=axis) / 2),
    ):
        call = {
            "method": method,
            "sigma_clip": True,
            "sigma_clip_func": center,
            "sigma_clip_dev_func": spread,
            "clip_extrema": True,
        }
        if dtype == "f8":
            # Which of equal samples is the extreme one shows when they are scaled.
            call["scale"] = np.linspace(1, 2, N)
        assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))


def test_clipping_functions_get_the_stack_of_astropy():
    ccds = stack_of(N, (9, 11), dtype="u2")
    seen = []

    def center(stack, axis):
        seen.append((type(stack), stack.dtype, stack.ndim, len(stack), axis))
        return np.median(stack, axis=axis)

    combine(ccds, sigma_clip=True, sigma_clip_func=center)
    assert set(seen) == {(np.ndarray, np.dtype("f8"), 3, N, (0,))}


@pytest.mark.filterwarnings("ignore:All-NaN", "ignore:Mean of empty", "ignore:Degrees")
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize(
    "func",
    [
        np.std,
        np.nanstd,
        np.ma.std,
        mad_std,
        sigma_func,
        nanmadstd,
        median_absolute_deviation,
        np.sum,
        np.nanvar,
        functools.partial(np.nanstd, ddof=1),
        functools.partial(mad_std, ignore_nan=True),
        lambda stack, axis: np.ma.masked_less(np.nanmax(stack, axis=axis), 2010),
    ],
)
def test_uncertainty_functions(func, method, masks):
    ccds = stack_of(N, (9, 11), masks=masks, bad=(np.nan,))
    call = {"method": method, "combine_uncertainty_function": func}
    call |= {"sigma_clip": True, "scale": np.linspace(1, 2, N)}
    call |= {"sigma_clip_func": "median", "sigma_clip_dev_func": "mad_std"}
    ours, theirs = combine(ccds, **call), ccdproc_combine(ccds, **call)
    if np.ma.isMaskedArray(func(np.ones((2, 2)), axis=0)) and func is not np.ma.std:
        # What a function masks is NaN here; ccdproc shows what lies under the mask.
        known = np.isfinite(ours.uncertainty.array)
        assert known.any() and not known.all()
        theirs.uncertainty.array[~known] = np.nan
    assert_same(ours, theirs, ulp=4)


def test_negative_thresholds_are_those_of_ccdproc():
    ccds = stack_of(N, (9, 11))
    for call in (
        {"sigma_clip_low_thresh": -1},
        {"sigma_clip_low_thresh": -1, "sigma_clip_func": "median"},
        {"sigma_clip_high_thresh": -0.5, "sigma_clip_dev_func": mad_std},
    ):
        with pytest.warns(ThresholdWarning, match="other side of the center"):
            ours = combine(ccds, sigma_clip=True, **call)
        assert_same(ours, ccdproc_combine(ccds, sigma_clip=True, **call))


def test_infinity_switches_a_side_off():
    ccds = stack_of(N, (9, 11))
    call = {"sigma_clip": True, "sigma_clip_low_thresh": np.inf}
    call |= {"sigma_clip_high_thresh": 2, "sigma_clip_func": "median"}
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))
