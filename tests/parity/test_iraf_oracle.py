# Licensed under a 3-clause BSD style license - see LICENSE
"""The model of IRAF's imcombine against results of IRAF itself, and by hand."""

from pathlib import Path

import iraf_oracle as io
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

PATHS = sorted((Path(__file__).parents[1] / "data" / "iraf").glob("*.npz"))
every_case = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def combine(values, defects, **params):
    """Combine one pixel."""
    stack = np.array(values, "f4").reshape(-1, 1, 1)
    out = io.imcombine(stack, None, [1.0] * len(stack), params, defects)
    return [float(out[0][0, 0]), float(out[1][0, 0]), int(out[3][0, 0])]


NOISES = ("gain", "rdnoise", "snoise")
PER_FRAME = [path for path in PATHS if path.stem.startswith("noise")]


def test_cases_are_there():
    assert len(PATHS) >= 170
    assert len(PER_FRAME) >= 20
    given = [io.load_case(path)["params"] for path in PER_FRAME]
    for name in NOISES:
        assert sum(isinstance(params[name], list) for params in given) >= 5


@pytest.mark.parametrize("path", PER_FRAME, ids=lambda p: p.stem)
def test_cases_tell_the_noise_of_one_frame_from_that_of_another(path):
    case = io.load_case(path)
    params = case["params"]
    lists = {name for name in NOISES if isinstance(params[name], list)}
    first = params | {name: params[name][0] for name in lists}
    reversed_ = params | {name: params[name][::-1] for name in lists}
    for wrong in (first, reversed_):
        found = io.imcombine(case["stack"], case["mask"], case["exptime"], wrong)
        different = (found[0] != case["image"]) | (found[3] != case["nrej"])
        assert np.count_nonzero(different) >= 15


@every_case
def test_with_its_defects_the_model_is_iraf(path):
    case = io.load_case(path)
    args = [case[k] for k in ("stack", "mask", "exptime", "params")]
    image, sigma, rejmask, nrej, exp = io.imcombine(*args)
    assert_array_equal(image, case["image"])  # to the bit
    # IRAF's selection of the median permutes the samples before sigma is summed
    noise = 2e-7 * np.abs(case["image"])
    ok = np.abs(sigma - case["sigma"]) <= 1e-6 * np.abs(case["sigma"]) + noise
    assert (ok | (np.isnan(sigma) & np.isnan(case["sigma"]))).all()
    assert_array_equal(rejmask, case["rejmask"])
    assert_array_equal(nrej, case["nrej"])
    assert_array_equal(exp, case["exp"])


@every_case
def test_without_defects_outputs_follow_from_the_survivors(path):
    case = io.load_case(path)
    stack, params = case["stack"].astype(float), {**io.DEFAULTS, **case["params"]}
    args = [case["stack"], case["mask"], case["exptime"], params]
    image, sigma, rejmask, nrej, exp = io.imcombine(*args, defects=False)
    bad = np.isnan(stack)
    bad |= False if case["mask"] is None else case["mask"]
    if params["lthreshold"] != "INDEF":
        bad |= stack < params["lthreshold"]
    if params["hthreshold"] != "INDEF":
        bad |= stack > params["hthreshold"]
    assert not (bad & ~rejmask).any()
    m = io.Model(len(stack), params, False)
    io.factors(m, np.where(bad, np.nan, stack), case["exptime"])
    s, z, w = (np.reshape(x, (-1, 1, 1)) for x in (m.scales, m.zeros, m.weights))
    v = np.ma.array(stack / s - z, mask=rejmask)
    w = np.ma.array(np.broadcast_to(w if m.weighted else 1.0, v.shape), mask=rejmask)
    n = v.count(0)
    assert_array_equal(nrej, len(stack) - n)
    times = np.reshape(case["exptime"], (-1, 1, 1)) * (
        np.reshape(m.weights, s.shape) > 0
    )
    assert_array_equal(exp, np.where(rejmask, 0, times).sum(0))
    if m.combine in ("quadrature", "nmodel"):
        return
    dead = w.sum(0) == 0
    w = np.where(dead & m.weighted, np.ma.array(1.0 * ~rejmask, mask=rejmask), w)
    w = np.ma.array(w, mask=rejmask)
    mean = (v * w).sum(0) / w.sum(0)
    expected = {
        "average": lambda: mean,
        "sum": lambda: (v * w).sum(0),
        "median": lambda: np.ma.median(v, axis=0),
        "lmedian": lambda: np.ma.where(n == 2, v.min(0), np.ma.median(v, axis=0)),
    }[m.combine]()
    assert_allclose(image[n > 0], expected[n > 0], rtol=1e-12, atol=1e-9)
    assert (image[n == 0] == params["blank"]).all()
    if not m.weighted:
        about = v.mean(0) if m.combine == "sum" else expected
        var = ((v - about) ** 2).sum(0) / np.maximum(1, n - 1)
        assert_allclose(sigma[n > 0], np.sqrt(var)[n > 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "params", "iraf", "described"),
    [
        # the last rejection leaves two: the median of three stays
        ([0, 1, 100], dict(combine="median", reject="sigclip"), 1.0, 0.5),
        ([0, 1, 100], dict(combine="lmedian", reject="sigclip"), 1.0, 0.0),
        ([1, 3, 4, 5], dict(combine="lmedian"), 3.5, 3.5),
        ([7, 5], dict(combine="lmedian"), 5.0, 5.0),
        # two sorted samples, no clipping for want of images
        ([5, 7], dict(combine="lmedian", reject="sigclip"), 7.0, 5.0),
        ([1, np.nan, 3], {}, np.float32(4 / 3), 2.0),
        (np.arange(41.0) ** 2, dict(reject="minmax"), 540.0, 20540 / 39),
        ([2, 4], dict(combine="sum", weight=[1, 3]), 6.0, 3.5),
    ],
)
def test_defects_worked_by_hand(values, params, iraf, described):
    params = dict(lsigma=1.0, hsigma=1.0) | params
    assert combine(values, True, **params)[0] == iraf
    assert combine(values, False, **params)[0] == pytest.approx(described, rel=1e-15)


def test_defects_one_by_one():
    values, params = [0, 1, 100], dict(reject="sigclip", lsigma=1.0, hsigma=1.0)
    assert combine(values, ["stale_median"], combine="median", **params)[0] == 1.0
    assert combine(values, ["lmedian_ignored"], combine="lmedian", **params)[0] == 0.5
    case = dict(
        stack=np.array(values, "f4").reshape(3, 1, 1),
        mask=None,
        exptime=[1, 1, 1],
        params=params | dict(combine="median"),
    )
    assert io.explain(case)[0, 0] == {"stale_median"}


def test_median_of_statistics():
    frame = np.arange(25.0).reshape(5, 5)
    for defects, median in ((True, 11), (False, 12)):
        m = io.Model(2, {}, defects)
        assert io.statistic(m, "median", frame.astype(m.real), True) == median


@pytest.mark.parametrize("mclip", ["yes", "no"])
@pytest.mark.parametrize("defects", [True, False])
def test_ties_come_back_together(mclip, defects):
    # sigma is 1, the centre 0: both samples go
    params = dict(reject="ccdclip", rdnoise=1, lsigma=1, hsigma=1, mclip=mclip)
    for nkeep, nrej in ((0, 2), (1, 0)):
        assert combine([-1.5, 1.5], defects, nkeep=nkeep, **params)[2] == nrej


def test_every_defect_is_documented_and_bad_names_are_refused():
    for name in io.DEFECTS:
        assert f"\n{name} " in io.__doc__
    with pytest.raises(ValueError, match="unknown"):
        combine([1, 2], ["no_such"])
    with pytest.raises(ValueError, match="unknown"):
        combine([1, 2], True, mcilp="no")
    with pytest.raises(ValueError, match="gain: 3 of 2"):
        combine([1, 2], True, gain=[1, 1, 1])
    with pytest.raises(ValueError, match="nothing left"):
        combine([1, 2], True, reject="minmax")
