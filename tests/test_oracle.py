# Licensed under a 3-clause BSD style license - see LICENSE
"""The oracle itself is checked against NumPy, Astropy, ccdproc and known columns."""

import math
from io import BytesIO
from types import SimpleNamespace

import ccdproc
import numpy as np
import oracle
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import mad_std, sigma_clip
from numpy.testing import assert_allclose, assert_array_equal
from oracle import MAD_TO_STD, Plan, combine

CLIP = {"low": 3, "high": 3, "center": "median", "spread": "std"}
MAD_2011 = 1.4826  # the rounder factor the golden columns were made with


def make_stack(seed=1, shape=(13, 40), nan=0.15):
    rng = np.random.default_rng(seed)
    stack = rng.normal(100.0, 7.0, shape)
    stack[rng.random(shape) < 0.05] += 200.0
    stack[rng.random(shape) < nan] = np.nan
    stack[:2] = rng.normal(100.0, 7.0, (2, *shape[1:]))  # no empty column
    return stack


def clip(column, masks=None, *, statistic="mean", **options):
    """Sigma-clip one column; every output as a scalar or a list."""
    column = np.asarray(column)
    plan = Plan(statistic=statistic, steps=(("sigclip", CLIP | options),))
    if column.dtype == np.float32:
        plan.work = "f4"
    return {k: v.tolist() for k, v in combine(column, plan, masks=masks).items()}


def bits(flags):
    return "".join("1" if flag else "0" for flag in flags)


# ------------------------------------------------------- against the libraries


@pytest.mark.parametrize(
    ("statistic", "options", "function"),
    [
        ("mean", {}, np.nanmean),
        ("median", {}, np.nanmedian),
        ("sum", {}, np.nansum),
        ("min", {}, np.nanmin),
        ("max", {}, np.nanmax),
        ("variance", {}, np.nanvar),
        ("std", {"ddof": 1}, lambda x, axis: np.nanstd(x, axis=axis, ddof=1)),
    ],
)
def test_statistics_agree_with_numpy(statistic, options, function):
    stack = make_stack()
    image = combine(stack, Plan(statistic=statistic, **options))["image"]
    assert_allclose(image, function(stack, axis=0), rtol=1e-12)


@pytest.mark.parametrize("q", [0, 1, 15.866, 25, 50, 77.7, 100])
def test_percentile_agrees_with_numpy_to_the_bit(q):
    stack = make_stack(nan=0.3)
    image = combine(stack, Plan(statistic="percentile", q=q))["image"]
    assert_array_equal(image, np.nanpercentile(stack, q, axis=0))


def test_lower_median_is_a_sample():
    stack = make_stack()
    image = combine(stack, Plan(statistic="lmedian"))["image"]
    expected = np.nanpercentile(stack, 50, axis=0, method="inverted_cdf")
    assert_array_equal(image, expected)


def test_weights_agree_with_numpy():
    rng = np.random.default_rng(3)
    stack = rng.normal(5, 1, (9, 30))
    cube = rng.uniform(0.1, 2, stack.shape)
    for weights in (cube, cube[:, 0]):
        full = np.broadcast_to(weights.T, stack.T.shape).T
        mean = combine(stack, Plan(statistic="wmean"), weights=weights)["image"]
        total = combine(stack, Plan(statistic="wsum"), weights=weights)["image"]
        assert_allclose(mean, np.average(stack, axis=0, weights=full), rtol=1e-12)
        assert_allclose(total, (full * stack).sum(axis=0), rtol=1e-12)
    none = combine(stack, Plan(statistic="wmean"), weights=np.zeros(9))["image"]
    assert np.isnan(none).all()


def test_sums_run_in_frame_order():
    column = np.array([2.0**53, 1.0, -(2.0**53), 1.0])  # 2**53 + 1 == 2**53
    assert combine(column, Plan(statistic="sum"))["image"] == 1.0
    assert combine(column[::-1], Plan(statistic="sum"))["image"] == 2.0


@pytest.mark.parametrize("center", ["mean", "median"])
@pytest.mark.parametrize("spread", ["std", "mad"])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 2.5])
def test_one_pass_agrees_with_astropy(center, spread, sigma):
    stack = make_stack(seed=5, nan=0.1)
    if spread == "mad":  # Astropy's MAD is always about the median
        about = "median"
    else:  # and its std always about the mean
        about = "mean"
    plan = Plan(
        steps=(
            (
                "sigclip",
                {
                    "low": sigma,
                    "high": 2 * sigma,
                    "center": center,
                    "spread": spread,
                    "spread_center": about,
                    "maxiters": 1,
                },
            ),
        )
    )
    ours = combine(stack, plan)
    theirs = sigma_clip(
        np.ma.masked_invalid(stack),
        sigma_lower=sigma,
        sigma_upper=2 * sigma,
        maxiters=1,
        cenfunc=center,
        stdfunc={"std": "std", "mad": "mad_std"}[spread],
        axis=0,
    )
    assert_array_equal(ours["mask_rej"], np.ma.getmaskarray(theirs))
    if spread == "mad":
        assert_allclose(ours["std"], mad_std(stack, axis=0, ignore_nan=True))
    else:
        assert_allclose(ours["std"], np.nanstd(stack, axis=0))


def test_to_convergence_agrees_with_astropy():
    stack = make_stack(seed=6, nan=0.0)
    options = CLIP | {"spread_center": "mean", "maxiters": None}
    ours = combine(stack, Plan(steps=(("sigclip", options),)))
    theirs = sigma_clip(stack, sigma=3, maxiters=None, axis=0)
    assert_array_equal(ours["mask_rej"], np.ma.getmaskarray(theirs))


def test_ccdproc_agrees():
    rng = np.random.default_rng(8)
    stack = rng.normal(100, 5, (8, 6, 7))
    masks = rng.random(stack.shape) < 0.1
    frames = [
        CCDData(plane, mask=mask, unit="adu")
        for plane, mask in zip(stack, masks, strict=True)
    ]
    combiner = ccdproc.Combiner(frames)
    combiner.clip_extrema(nlow=1, nhigh=2)
    combiner.sigma_clipping(low_thresh=1.5, high_thresh=1, func="median")
    steps = (
        ("extrema", {"low": 1, "high": 2, "rule": "count"}),
        (
            "sigclip",
            {
                "low": 1.5,
                "high": 1,
                "center": "median",
                "spread": "std",
                "spread_center": "mean",
                "maxiters": 1,
            },
        ),
    )
    for statistic, uncertainty in [
        ("mean", "std_error"),
        ("median", "mad_error"),
        ("sum", "std_sum"),
    ]:
        theirs = {
            "mean": combiner.average_combine,
            "median": combiner.median_combine,
            "sum": combiner.sum_combine,
        }[statistic]()
        ours = combine(
            stack,
            Plan(
                statistic=statistic,
                steps=steps,
                independent=True,
                uncertainty=uncertainty,
            ),
            masks=masks,
        )
        assert_array_equal(ours["mask"], theirs.mask)
        assert_allclose(ours["image"], theirs.data, rtol=1e-12)
        assert_allclose(ours["uncertainty"], theirs.uncertainty.array, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("scaled", [False, True])
def test_fits_values_are_those_of_astropy(dtype, scaled):
    rng = np.random.default_rng(9)
    if dtype[0] == "f":
        values = rng.normal(0, 1e3, (5, 6)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, (5, 6), dtype, endpoint=True)
        values[2, 2] = 7
    hdu = fits.PrimaryHDU(values)
    raw = values.astype(np.dtype(dtype).newbyteorder(">"))
    scaling = SimpleNamespace(unsigned=False, bscale=1.0, bzero=0.0, blank=None)
    if scaled:
        scaling.bscale, scaling.bzero = 0.1, 3.7
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.1, 3.7
    if dtype[0] != "f":
        scaling.blank = 7
        hdu.header["BLANK"] = 7
    data = raw.tobytes()
    stored = hdu.header.tostring().encode() + data + bytes(-len(data) % 2880)
    with fits.HDUList.fromstring(stored) as hdus:
        expected = np.asarray(hdus[0].data, dtype=np.float64)
    assert_array_equal(oracle.load_plane(raw, scaling), expected)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_fits_unsigned_convention_keeps_every_bit(bits):
    values = np.array([0, 1, 2 ** (bits - 1), 2**bits - 1], dtype=f"u{bits // 8}")
    if bits == 8:
        values = np.array([-128, -1, 0, 127], dtype="i1")
    with fits.HDUList([fits.PrimaryHDU(values)]) as hdus:
        stream = BytesIO()
        hdus.writeto(stream)
    kind = "u1" if bits == 8 else f">i{bits // 8}"
    raw = np.frombuffer(stream.getvalue()[2880:], kind, count=4)
    scaling = SimpleNamespace(
        unsigned=True,
        bscale=1.0,
        bzero=-128.0 if bits == 8 else 2.0 ** (bits - 1),
        blank=None,
    )
    assert_array_equal(oracle.load_plane(raw, scaling), values.astype(np.float64))


# ----------------------------------------------------------- columns by heart

RAMP = np.array([970, 1002, 1004, 1006, 1008, 1010, 1012], dtype="f4")


def test_a_low_sample_is_rejected():
    got = clip(RAMP, statistic="median", low=2, high=2, nkeep=1)
    assert bits(got["mask_rej"]) == "1000000"
    assert (got["low"], got["upp"], got["nit"], got["output_flags"]) == (
        1002,
        1012,
        2,
        0,
    )
    assert got["std"] == pytest.approx(3.41565, abs=1e-5)
    assert got["image"] == 1007
    assert (got["n_rejected_low"], got["n_rejected_high"]) == (1, 0)


def test_extrema_take_their_share():
    for rule in ("count", "fraction"):
        plan = Plan(steps=(("extrema", {"low": 2, "high": 3, "rule": rule}),))
        got = combine(np.arange(10.0), plan)
        assert bits(got["mask_rej"]) == "1100000111"
        assert (got["low"], got["upp"], got["nit"]) == (2, 6, 1)
        assert (got["n_rejected_low"], got["n_rejected_high"]) == (2, 3)


@pytest.mark.parametrize(("n_good", "n_gone"), [(25, 2), (20, 1), (13, 1), (12, 0)])
def test_extrema_shares_shrink_with_the_column(n_good, n_gone):
    masks = np.arange(25) >= n_good
    plan = Plan(steps=(("extrema", {"low": 2, "high": 0, "rule": "fraction"}),))
    got = combine(np.arange(25.0), plan, masks=masks)
    assert got["n_rejected_low"] == n_gone
    assert got["n_used"] == n_good - n_gone


def test_extrema_ties_go_by_frame():
    column = np.array([5.0, 1, 1, 5, 1, 5, 3])
    plan = Plan(steps=(("extrema", {"low": 1, "high": 1, "rule": "count"}),))
    assert bits(combine(column, plan)["mask_rej"]) == "0100010"


def test_extrema_count_masked_and_nan_samples():
    column = np.array([1.0, 2, 3, np.nan])
    masks = np.array([True, False, False, False])
    plan = Plan(steps=(("extrema", {"low": 1, "high": 2, "rule": "count"}),))
    # Masked samples are judged by their values or, with NaN, among the highest.
    plan.independent = True
    got = combine(column, plan, masks=masks)
    assert bits(got["mask_rej"]) == "1011"
    assert (got["n_rejected_low"], got["n_rejected_high"]) == (0, 1)
    plan.independent = False
    got = combine(column, plan, masks=masks)
    assert bits(got["mask_rej"]) == "1101"
    assert (got["n_rejected_low"], got["n_rejected_high"]) == (1, 0)
    plan = Plan(steps=(("extrema", {"low": 1, "high": 1, "rule": "fraction"}),))
    assert combine(column, plan)["n_used"] == 3  # int(3 * 1 / 4 + 0.001) = 0


def test_full_flags_of_a_column():
    column = np.array([np.nan, 1.0, -5.0, 2.0, 100.0])
    plan = Plan(
        thresholds=(0, math.inf),
        steps=(("extrema", {"low": 0, "high": 3, "rule": "fraction"}),),
    )
    got = combine(column, plan, masks=np.array([0, 1, 0, 0, 0], bool))
    assert got["image"] == 2
    assert got["sample_flags"].tolist() == [2, 1, 4, 0, 8]
    assert bits(got["mask_rej"]) == "11101"
    assert bits(got["mask_thresh"]) == "00100"
    assert got["output_flags"] == oracle.PREMASKED


def test_mad_clip():
    column = np.array([8, 9, 10, 11, 12, 100], dtype="f4")
    got = clip(column, low=10, high=3, maxiters=1, spread="mad", mad_factor=MAD_2011)
    assert bits(got["mask_rej"]) == "000001"
    assert got["std"] == pytest.approx(2.2239)
    assert (got["low"], got["upp"], got["nit"]) == (8, 12, 2)
    assert got["output_flags"] == oracle.MAXITERS
    assert got["image"] == 10
    assert clip(column, spread="mad", maxiters=1)["std"] == 1.5 * MAD_TO_STD


@pytest.mark.parametrize(
    ("center", "mask", "std"),
    [("median", "0001", 14.89597), ("lmedian", "0011", 15.03629)],
)
def test_lower_median_center(center, mask, std):
    column = np.array([8, 10, 10.6, 40], dtype="f4")
    got = clip(column, low=10, high=0.021, maxiters=1, center=center)
    assert bits(got["mask_rej"]) == mask
    assert got["std"] == pytest.approx(std, abs=1e-5)


def test_two_passes():
    column = [-4.8572235, -2.555665, 0.41809884, -0.5677696]
    sigma = 1.1664820770253346
    got = clip(column, low=sigma, high=sigma)
    assert bits(got["mask_rej"]) == "1100"
    assert got["nit"] == 3
    assert got["std"] == pytest.approx(0.492934, abs=1e-6)


def test_limits_undo_the_pass():
    column = [0.0, 1.0, 100.0]
    options = {"low": 10, "high": 0.5, "maxiters": 1}
    got = clip(column, nkeep=3, **options)
    assert (bits(got["mask_rej"]), got["output_flags"]) == ("000", oracle.NKEEP)
    assert got["sample_flags"] == [0, 0, 64]
    got = clip(column, nkeep=3, revert="ignore", **options)
    assert (bits(got["mask_rej"]), got["n_rejected_high"]) == ("001", 1)
    got = clip(column, maxrej=0, **options)
    assert (bits(got["mask_rej"]), got["output_flags"]) == ("000", oracle.MAXREJ)
    assert got["sample_flags"] == [0, 0, 128]


def test_limits_just_met():
    got = clip([-0.1, 0, 1, 2], low=0.1, high=10, maxiters=1, nkeep=2)
    assert bits(got["mask_rej"]) == "1100"
    assert (got["low"], got["upp"], got["nit"]) == (1, 2, 2)
    assert got["output_flags"] == oracle.MAXITERS
    got = clip([0, 100], low=0.1, high=0.1, maxiters=1, nkeep=1)
    assert (bits(got["mask_rej"]), got["output_flags"]) == ("00", oracle.NKEEP)
    got = clip([0, 100], low=0.1, high=0.1, maxiters=1)
    assert bits(got["mask_rej"]) == "11"
    assert got["mask"] and math.isnan(got["image"])


def test_the_closest_samples_come_back():
    # Center 0; all but the zeros are rejected, then put back by |residual| / spread.
    column = [0.0, 9.0, -3.0, 0.0, 4.0, -50.0, 8.0, 0.0, 0.0]
    options = {"low": 0.01, "high": 0.01, "maxiters": 1, "revert": "closest"}
    got = clip(column, nkeep=5, **options)
    assert bits(got["mask_rej"]) == "010011100"
    assert got["sample_flags"] == [0, 8, 64, 0, 8, 8, 8, 0, 0]
    assert (got["nit"], got["output_flags"]) == (2, oracle.NKEEP)
    got = clip(column, maxrej=2, **options)
    assert bits(got["mask_rej"]) == "010001000"
    column[4] = 3.0  # as far as frame 2: what is put back goes with its equals
    got = clip(column, nkeep=5, **options)
    assert bits(got["mask_rej"]) == "010001100"
    got = clip(column, maxrej=2, **options)
    assert (got["n_rejected_low"], got["n_rejected_high"]) == (1, 1)


COUNTS = [
    *(120, 126, 123, 123, 126, 119, 124, 129, 126, 131, 122, 126, 124, 128, 128, 128),
    *(128, 124, 128, 123, 130, 124, 130, 122, 126, 127, 114, 129, 127, 116, 127),
]


def test_spread_about_the_mean_or_the_median():
    got = clip(COUNTS, spread_center="mean")
    assert [k for k, gone in enumerate(got["mask_rej"]) if gone] == [26]
    assert got["std"] == pytest.approx(3.413047, abs=1e-6)
    assert (got["nit"], got["output_flags"]) == (2, 0)
    got = clip(COUNTS)
    assert not any(got["mask_rej"])
    assert got["std"] == pytest.approx(4.024121, abs=1e-6)
    assert got["nit"] == 1


SKY = np.array(
    [
        *(992.9125, 1000.275, 1034.5599, 1012.77594, 995.114, 1003.24164, 971.7945),
        *(974.2783, 976.7365, 965.33966, 1017.0628, 973.20807, 1061.7831, 1006.59283),
        *(1042.946, 1106.5452, 982.25836, 1018.5643, 1016.13336, 989.6895, 977.3514),
        *(1016.6553, 1017.8271, 986.9952, 955.7002, 913.0865, 1003.0293, 981.4976),
        *(990.4585, 997.5548, 999.18524),
    ],
    dtype="f4",
)


def test_one_outlier_hides_another():
    got = clip(SKY, spread_center="mean")
    assert [k for k, gone in enumerate(got["mask_rej"]) if gone] == [15, 25]
    assert got["nit"] == 3


@pytest.mark.parametrize(("maxrej", "flag"), [(0, 8), (1, 0), (2, 0), (None, 0)])
def test_maxrej_counts_this_step_only(maxrej, flag):
    nan = math.nan
    column = [nan, nan, 0, 0.1, 0.2, 0.1, 0.15, 0.12, 0.11, 100]
    got = clip(column, low=2, high=2, maxrej=maxrej)
    assert bits(got["mask_rej"]) == ("1100000000" if flag else "1100000001")
    assert got["output_flags"] == flag


def test_large_offset_does_not_disturb_the_clip():
    residuals = np.random.default_rng(11).integers(-3, 4, 30) / 4.0
    residuals[7] = 50.0
    for offset in (0.0, 1e8):
        got = clip(offset + residuals, center="mean")
        assert [k for k, gone in enumerate(got["mask_rej"]) if gone] == [7]


def test_nan_rules():
    column = [1.0, 2, 3, 2, 50, math.nan]
    options = {"low": 1, "high": 1, "maxiters": 1}
    assert clip(column, nan_rule="ignore", **options)["n_used"] == 4
    assert clip(column, nan_rule="none", **options)["n_used"] == 5
    assert clip(column, nan_rule="all", **options)["n_used"] == 0
    assert clip(column[:5], nan_rule="all", **options)["n_used"] == 4


def test_independent_steps_see_masked_samples():
    column = np.array([1.0, 2, 3, 1000.0])
    masks = np.array([0, 0, 0, 1], bool)
    step = ("sigclip", CLIP | {"low": 1, "high": 1, "center": "mean", "maxiters": 1})
    # Beside the masked sample the others look alike; without it they do not.
    plan = Plan(steps=(step,), independent=True)
    assert combine(column, plan, masks=masks)["n_used"] == 3
    plan.independent = False
    assert combine(column, plan, masks=masks)["n_used"] == 1


def test_steps_follow_one_another():
    column = np.array([0.0, 10, 11, 12, 100])
    steps = (
        ("range", {"low": 1, "high": math.inf}),
        ("extrema", {"low": 0, "high": 2, "rule": "fraction"}),
    )
    got = combine(column, Plan(steps=steps))
    assert bits(got["mask_rej"]) == "10001"  # int(4 * 2 / 5 + 0.001) = 1
    assert (got["n_rejected_low"], got["n_rejected_high"]) == (1, 1)


def test_transform_before_and_after():
    column = np.array([100.0, 210, 330])
    numbers = {"zero": [0, 10, 30], "factor": [1, 1, 2], "scale": [1, 2, 3]}
    step = ("range", {"low": 90, "high": 110})
    assert combine(column, Plan(steps=(step,)), **numbers)["n_used"] == 2
    plan = Plan(steps=(("range", {"low": 200, "high": 400}),), transform_after=True)
    got = combine(column, plan, **numbers)
    assert (got["n_used"], got["image"]) == (2, 150.0)
    assert combine(column, Plan(thresholds=(90, 110)), **numbers)["image"] == 100


def test_nothing_left():
    column = np.array([math.nan, math.inf, 3.0])
    masks = np.array([False, False, True])
    for statistic, value in [("mean", math.nan), ("median", math.nan), ("sum", 0.0)]:
        got = combine(column, Plan(statistic=statistic), masks=masks)
        assert_array_equal(got["image"], value)
        assert got["mask"] and got["n_used"] == 0
        assert math.isnan(got["low"]) and math.isnan(got["upp"])
    assert combine(column, Plan(blank=-1.0), masks=masks)["image"] == -1


def test_f4_workspace_rounds_samples_not_sums():
    column = np.array([0.1, 0.2, 0.4])
    got = combine(column, Plan(statistic="sum", work="f4"))["image"]
    single = [float(np.float32(x)) for x in column]
    assert got == single[0] + single[1] + single[2]
    assert combine(column, Plan(work="f4"), output_dtype="f4")["image"].dtype == "f4"
