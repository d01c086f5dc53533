# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejectors of images, compared with the oracle to the last bit."""

import numpy as np
import oracle
import pytest
from astropy.nddata import CCDData
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine
from imcombiners_astro.files.combine import combine_and_count
from imcombiners_astro.result import CombinedCCDData

N = 9
SHAPE = (7, 8)
STATISTICS = {"average": "mean", "median": "median", "sum": "sum"}
UNCERTAINTIES = {"average": "std_error", "median": "mad_error", "sum": "std_sum"}

REJECTORS = {
    "sigma clipping": imc.SigClip(sigma=2),
    "MAD": imc.SigClip(sigma=(3, 2.5), stdfunc="mad", maxiters=3),
    "a few kept": imc.SigClip(sigma=1, nkeep=6, revert_on_nkeep="closest"),
    "noise": imc.CcdClip(gain=1.5, rdnoise=10, sigma=2),
    "noise of each": imc.CcdClip(gain=np.linspace(1, 2, N), rdnoise=10, sigma=2),
    "cosmic rays": imc.CrReject(gain=1.5, rdnoise=10, sigma=2),
    "pooled noise": imc.AvSigClip(sigma=2),
    "linear": imc.LinearClip(low=20, upp=20),
    "nothing": imc.LinearClip(),
    "extremes": imc.MinMaxClip(2, 1),
    "percentile": imc.PClip(),
    "several": [imc.MinMaxClip(1, 0), imc.SigClip(sigma=1.5), imc.PClip(0.4)],
    "linear first": [imc.LinearClip(low=30, upp=30), imc.SigClip(sigma=1.5)],
    "none": [],
}


def steps_of(rejectors, counts=None):
    """The steps of the kernel, which are those of the oracle."""
    several = [rejectors] if isinstance(rejectors, imc.Rejector) else rejectors
    steps = [rejector.step(N, counts) for rejector in several]
    return tuple(step for step in steps if step is not None)


@pytest.mark.parametrize("rejectors", REJECTORS.values(), ids=REJECTORS)
@pytest.mark.parametrize("keywords", [{}, {"scale": np.linspace(0.9, 1.1, N)}])
def test_by_the_kernel_and_by_its_flags(rejectors, keywords):
    """Thresholds that exclude nothing have the flags tell which samples are used."""
    ccds = stack_of(N, (30, 41), masks=True, dtype=np.float32)
    keywords = {"rejectors": rejectors, "diagnostics": "full", "dtype": "f4"} | keywords
    found = combine(ccds, **keywords)
    truth = combine(ccds, thresholds=(-1e30, 1e30), **keywords)
    names = (*oracle.output_types(), "sample_flags")
    for name in set(names) - {"image", "uncertainty", "mask_thresh", "sample_sides"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name), name)
    for name in found.frames.colnames:
        np.testing.assert_array_equal(found.frames[name], truth.frames[name], name)


def truth_of(ccds, plan, **arguments):
    masks = [ccd.mask for ccd in ccds]
    return oracle.combine([ccd.data for ccd in ccds], plan, masks=masks, **arguments)


#: What the oracle tells, and a result does not, or under another name.
NOT_KEPT = ("image", "mask", "uncertainty", "mask_thresh", "dq", "sample_sides")


def check(result, truth):
    """All that a result tells is what the oracle says."""
    outside = ((truth["sample_flags"] & oracle.THRESHOLD) != 0).any(axis=0)
    truth["output_flags"][outside] |= oracle.PREMASKED
    assert isinstance(result, CombinedCCDData)
    np.testing.assert_array_equal(result.data, truth["image"])
    np.testing.assert_array_equal(result.mask, truth["mask"])
    np.testing.assert_array_equal(result.uncertainty.array, truth["uncertainty"])
    for name in oracle.output_types():
        if name not in NOT_KEPT:
            np.testing.assert_array_equal(
                getattr(result, name), truth[name], err_msg=name
            )
    used = (~truth["mask_rej"]).sum(axis=tuple(range(1, truth["mask_rej"].ndim)))
    np.testing.assert_array_equal(result.frames["n_used"], used)


def check_sides(result, truth):
    for side in ("low", "high"):
        found = result.frames[f"rejected_{side}"] * result.size / 100
        expected = truth[f"frame_rejected_{side}"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("method", STATISTICS)
@pytest.mark.parametrize("dtype", ["u2", "f8"])
@pytest.mark.parametrize("name", REJECTORS)
def test_rejectors(name, dtype, method):
    bad = () if dtype == "u2" else (np.nan, np.inf)
    ccds = stack_of(N, SHAPE, dtype=dtype, masks=True, bad=bad)
    plan = oracle.Plan(
        STATISTICS[method],
        steps_of(REJECTORS[name]),
        work="f4" if dtype == "u2" else "f8",
        uncertainty=UNCERTAINTIES[method],
    )
    truth = truth_of(ccds, plan)
    call = {"method": method, "rejectors": REJECTORS[name]}
    result = combine(ccds, diagnostics="full", **call)
    check(result, truth)
    check_sides(result, truth)

    # Diagnostics do not change the image, and less of them is a part of them.
    plain = combine(ccds, **call)
    assert type(plain) is CCDData
    np.testing.assert_array_equal(plain.data, result.data)
    np.testing.assert_array_equal(plain.uncertainty.array, result.uncertainty.array)
    simple = combine(ccds, diagnostics="simple", **call)
    assert simple.sample_flags is None
    np.testing.assert_array_equal(simple.mask_rej, result.mask_rej)
    for column in ("n_used", "rejected_low", "rejected_high"):
        np.testing.assert_array_equal(simple.frames[column], result.frames[column])


@pytest.mark.parametrize("clip_scaled", [None, True, False])
@pytest.mark.parametrize("name", ["MAD", "extremes", "noise", "several"])
def test_zero_and_scale(name, clip_scaled):
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    zero = np.linspace(0, 50, N)
    scale = np.linspace(0.8, 1.2, N)
    after = clip_scaled is False
    counts = None if after else (zero, 1 / scale)
    plan = oracle.Plan(
        "mean",
        steps_of(REJECTORS[name], counts),
        uncertainty="std_error",
        transform_after=after,
        thresholds=(700, 1490),
    )
    truth = truth_of(ccds, plan, zero=zero, factor=scale)
    result = combine(
        ccds,
        rejectors=REJECTORS[name],
        zero=zero,
        scale=scale,
        clip_scaled=clip_scaled,
        thresholds=(700, 1490),
        diagnostics="full",
    )
    check(result, truth)
    check_sides(result, truth)


@pytest.mark.parametrize("name", ["clip_extrema", "minmax_clip", "sigma_clip", "all"])
@pytest.mark.parametrize("clip_scaled", [False, True])
def test_diagnostics_of_the_switches_of_ccdproc(name, clip_scaled):
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    clip = {"low": 1.5, "high": 1.5, "center": "median", "spread": "mad"}
    clip |= {"spread_center": "median", "maxiters": 1}
    steps = {
        "clip_extrema": ("extrema", {"low": 1, "high": 2, "rule": "count"}),
        "minmax_clip": ("range", {"low": 900.0, "high": 1300.0}),
        "sigma_clip": ("sigclip", clip),
    }
    chosen = list(steps) if name == "all" else [name]
    factor = np.linspace(0.9, 1.1, N)
    plan = oracle.Plan(
        "mean",
        tuple(steps[switch] for switch in chosen),
        uncertainty="std_error",
        independent=True,
        transform_after=not clip_scaled,
        thresholds=(600, 2000),
    )
    truth = truth_of(ccds, plan, factor=factor)
    options = {
        "clip_extrema": {"nlow": 1, "nhigh": 2},
        "minmax_clip": {"minmax_clip_min": 900, "minmax_clip_max": 1300},
        "sigma_clip": {
            "sigma_clip_func": "median",
            "sigma_clip_dev_func": "mad_std",
            "sigma_clip_low_thresh": 1.5,
            "sigma_clip_high_thresh": 1.5,
        },
    }
    call = {key: value for s in chosen for key, value in options[s].items()}
    call |= dict.fromkeys(chosen, True)
    result = combine(
        ccds,
        scale=factor,
        clip_scaled=clip_scaled,
        thresholds=(600, 2000),
        diagnostics="full",
        **call,
    )
    check(result, truth)


@pytest.mark.parametrize("spread", ["std", lambda a, axis: np.nanstd(a, axis=axis)])
def test_diagnostics_of_called_functions(spread):
    # The same clipping, known to the kernel or not.
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    call = {"sigma_clip": True, "sigma_clip_func": "median", "scale": [1.1] * N}
    call |= {"sigma_clip_low_thresh": 1.5, "sigma_clip_high_thresh": 1.5}
    call |= {"thresholds": (None, 1490.0), "clip_scaled": True, "diagnostics": "full"}
    known = combine(ccds, sigma_clip_dev_func="std", **call)
    called = combine(ccds, sigma_clip_dev_func=spread, **call)
    np.testing.assert_array_equal(called.data, known.data)
    for name in ("mask_rej", "n_used", "n_rejected_low", "n_rejected_high"):
        np.testing.assert_array_equal(getattr(called, name), getattr(known, name))
    np.testing.assert_array_equal(called.sample_flags, known.sample_flags)
    premasked = known.output_flags & oracle.PREMASKED
    assert not premasked.all()
    np.testing.assert_array_equal(called.output_flags & oracle.PREMASKED, premasked)
    for side in ("rejected_low", "rejected_high"):
        np.testing.assert_allclose(called.frames[side], known.frames[side])


@pytest.mark.filterwarnings("ignore:Degrees of freedom")
def test_uncertainty_function_with_rejectors():
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    call = {"rejectors": REJECTORS["MAD"], "zero": "median", "scale": [1.1] * N}
    expected = combine(ccds, **call)
    found = combine(
        ccds,
        combine_uncertainty_function=lambda a, axis: np.nanstd(a, axis=axis),
        **call,
    )
    np.testing.assert_allclose(found.uncertainty.array, expected.uncertainty.array)


def test_noise_comes_from_the_images():
    ccds = stack_of(N, SHAPE)
    for k, ccd in enumerate(ccds):
        ccd.header["GAIN"], ccd.header["RDNOISE"] = 1.0 + k / 10, 8.0 + k
    gain, readnoise = 1 + np.arange(N) / 10, 8.0 + np.arange(N)
    own = {"gain": tuple(gain), "rdnoise": tuple(readnoise)}
    for kind in (imc.CcdClip, imc.CrReject):
        expected = combine(ccds, rejectors=kind(sigma=2, **own), diagnostics="simple")
        assert expected.mask_rej.any()
        for given in (
            {},
            {"gain": "GAIN", "readnoise": readnoise},
            {"gain": list(gain), "readnoise": "!RDNOISE"},
        ):
            found = combine(
                ccds, rejectors=kind(sigma=2), diagnostics="simple", **given
            )
            np.testing.assert_array_equal(found.mask_rej, expected.mask_rej)
            np.testing.assert_array_equal(found.frames["gain"], gain)
            np.testing.assert_array_equal(found.frames["readnoise"], readnoise)
    assert np.isnan(expected.frames["gain"]).all()  # that is the business of CrReject
    # A sensitivity noise of the rejector stays.
    loose = combine(ccds, rejectors=imc.CcdClip(2, snoise=10), diagnostics="simple")
    assert not loose.mask_rej.any()
    found = combine(ccds, rejectors=imc.CcdClip(2), snoise=10, diagnostics="simple")
    assert not found.mask_rej.any()


@pytest.mark.parametrize("diagnostics", [None, "simple"])
@pytest.mark.parametrize(
    "call",
    [
        {"rejectors": REJECTORS["several"]},
        {"rejectors": [imc.SigClip(sigma=2, grow=1), imc.MinMaxClip(1, 1)]},
        {"clip_extrema": True, "sigma_clip": True, "sigma_clip_func": np.nanmedian}
        | {"sigma_clip_low_thresh": 2, "sigma_clip_high_thresh": 2},
    ],
)
def test_counts_of_the_whole_combination(call, diagnostics):
    ccds = stack_of(N, SHAPE, masks=True, bad=(np.nan,))
    result, tally = combine_and_count(ccds, diagnostics=diagnostics, **call)
    expected = combine(ccds, diagnostics="simple", **call)
    np.testing.assert_array_equal(result.data, expected.data)
    assert tally.samples == N * result.size
    assert tally.low == expected.n_rejected_low.sum()
    assert tally.high == expected.n_rejected_high.sum()
    assert tally.called == 0


def test_counts_of_called_functions():
    ccds = stack_of(N, SHAPE, masks=True)
    call = {"clip_extrema": True, "sigma_clip": True}
    call |= {"sigma_clip_low_thresh": 2, "sigma_clip_high_thresh": 2}
    call["sigma_clip_func"] = lambda a, axis: np.median(a, axis=axis)
    plain = combine_and_count(ccds, **call)[1]
    result, tally = combine_and_count(ccds, diagnostics="simple", **call)
    assert tally == plain
    assert tally.called > 0
    n_rejected = result.n_rejected_low.sum() + result.n_rejected_high.sum()
    assert tally.low + tally.high + tally.called == n_rejected


def test_units_are_converted_before_the_rejection():
    ccds = stack_of(N, SHAPE, unit="Jy")
    mixed = [ccd.copy() for ccd in ccds]
    for k in (1, 4):
        mixed[k] = ccds[k].convert_unit_to("mJy")
    limits = {"minmax_clip": True, "minmax_clip_max": 1400}
    for call in (
        {"clip_extrema": True, "scale": np.linspace(0.9, 1.1, N), **limits},
        {"rejectors": REJECTORS["several"], "zero": "median", "scale": "mean"},
        {"sigma_clip": True, "sigma_clip_func": lambda a, axis: np.median(a, axis=axis)}
        | {"sigma_clip_low_thresh": 2, "sigma_clip_high_thresh": 2},
    ):
        expected = combine(ccds, diagnostics="full", **call)
        found = combine(mixed, diagnostics="full", **call)
        assert found.unit == "Jy"
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-13)
        np.testing.assert_array_equal(found.sample_flags, expected.sample_flags)
    with pytest.raises(TypeError, match=r"list\[0\] is in Jy, img_list\[2\] in adu"):
        combine([*ccds[:2], *stack_of(1, SHAPE)])


def test_results_are_combined_again():
    ccds = stack_of(N, SHAPE, masks=True)
    parts = [combine(ccds[k : k + 3], diagnostics="full") for k in (0, 3, 6)]
    result = combine(parts)
    assert type(result) is CombinedCCDData
    assert result.mask_rej is result.frames is result.n_used is None
    assert parts[0].mask_rej is not None
    result = combine(parts, rejectors=REJECTORS["none"], diagnostics="simple")
    assert result.n_frames == 3
    assert result.header["NCOMBINE"] == N


def test_images_of_one_row_and_of_one_column():
    for shape in ((11,), (11, 1), (1, 11)):
        ccds = stack_of(N, shape, masks=True)
        rejectors = REJECTORS["pooled noise"]
        plan = oracle.Plan("mean", steps_of(rejectors), uncertainty="std_error")
        result = combine(ccds, rejectors=rejectors, diagnostics="full")
        check(result, truth_of(ccds, plan))
