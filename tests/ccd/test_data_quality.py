# Licensed under a 3-clause BSD style license - see LICENSE
"""Flags of images: what they exclude, what the result says, the least bad samples."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, extend_bit_flag_map
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine

N = 6
SHAPE = (9, 10)
DQ = extend_bit_flag_map("DQ", WARM=1, SATURATED=2, COSMIC=8)
CLIP = imc.SigClip(sigma=3, stdfunc="mad")


def flagged_stack(dtype="u2"):
    ccds = stack_of(N, SHAPE, masks=True)
    rng = np.random.default_rng(5)
    for ccd in ccds:
        ccd.flags = rng.choice(
            np.array([0, 1, 2, 8, 9], dtype), SHAPE, p=[0.5, 0.2, 0.1, 0.1, 0.1]
        )
        ccd.flags[0, 1] = 9  # never good
        ccd.flags[0, 2] = 4  # never usable
    return ccds


def flags_of(ccds):
    return np.array([ccd.flags for ccd in ccds], np.int64)


def masked_by(ccds, bad):
    """The same images with a mask in place of the flags."""
    return [
        CCDData(ccd.data, unit=ccd.unit, mask=ccd.mask | mask)
        for ccd, mask in zip(ccds, bad, strict=True)
    ]


def or_of_used(flags, used):
    return np.bitwise_or.reduce(np.where(used, flags, 0), axis=0)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8"])
@pytest.mark.parametrize(
    ("ignore", "bits"),
    [
        (0, 0),
        (1, 1),
        ("1,8", 9),
        ([2, 8], 10),
        (("WARM,COSMIC", DQ), 9),
        (("~COSMIC", DQ), ~8),
    ],
)
@pytest.mark.parametrize("diagnostics", [None, "simple"])
def test_flags_make_samples_bad(ignore, bits, dtype, diagnostics):
    ccds = flagged_stack(dtype)
    flags = flags_of(ccds)
    call = {"rejectors": CLIP, "diagnostics": "full"}
    expected = combine(masked_by(ccds, (flags & ~bits) != 0), **call)
    call["diagnostics"] = diagnostics
    result = combine(ccds, ignore_flags=ignore, **call)
    np.testing.assert_array_equal(result.data, expected.data)
    np.testing.assert_array_equal(result.mask, expected.mask)
    np.testing.assert_array_equal(result.uncertainty.array, expected.uncertainty.array)
    dq = or_of_used(flags, ~expected.mask_rej)
    np.testing.assert_array_equal(result.flags, dq)
    assert result.flags.dtype == np.uint32
    if diagnostics:
        np.testing.assert_array_equal(result.output_dq, dq)
        np.testing.assert_array_equal(result.mask_rej, expected.mask_rej)


def test_diagnostics_pass_flags_on_without_using_them():
    ccds = flagged_stack()
    plain = combine(ccds, rejectors=CLIP)
    result = combine(ccds, rejectors=CLIP, diagnostics="full")
    np.testing.assert_array_equal(result.data, plain.data)
    dq = or_of_used(flags_of(ccds), ~result.mask_rej)
    np.testing.assert_array_equal(result.output_dq, dq)
    assert dq.any()
    for ccd in ccds:
        ccd.flags = None
    assert combine(ccds, diagnostics="full").output_dq is None


def test_masks_of_integers_are_flags():
    ccds = flagged_stack()
    with_masks = [CCDData(ccd.data, unit="adu") for ccd in ccds]
    for ccd, image in zip(ccds, with_masks, strict=True):
        image._mask = ccd.flags  # the setter of CCDData makes booleans of it
        ccd.mask = None
    any_bit = [
        CCDData(ccd.data, unit="adu", mask=flags != 0)
        for ccd, flags in zip(ccds, flags_of(ccds), strict=True)
    ]
    expected = combine(any_bit)
    for call in ({}, {"diagnostics": "full"}):
        result = combine(with_masks, **call)
        np.testing.assert_array_equal(result.data, expected.data)
    assert not result.output_dq.any()
    expected = combine(ccds, ignore_flags="1")
    result = combine(with_masks, ignore_flags="1")
    np.testing.assert_array_equal(result.data, expected.data)
    np.testing.assert_array_equal(result.flags, expected.flags)


@pytest.mark.parametrize("thresholds", [None, (None, 1400)])
@pytest.mark.parametrize("ignore", [None, "2"])
def test_least_bad_samples(ignore, thresholds):
    ccds = flagged_stack()
    ccds[1].data[0, 1] = np.nan
    ccds[2].data[0, 1] = 1500.0
    flags, masks = flags_of(ccds), np.array([ccd.mask for ccd in ccds])
    values = np.array([ccd.data for ccd in ccds])
    absent = masks | ~np.isfinite(values)
    if thresholds:
        absent |= values > 1400
    ignored = 2 if ignore else 0
    classes = [1, 8]
    bad = np.ones(flags.shape, bool)
    for place in np.ndindex(SHAPE):
        column = (slice(None), *place)
        allowed = ignored
        for more in [0, *classes]:
            allowed |= more
            usable = (flags[column] & ~allowed) == 0
            if (usable & ~absent[column]).any():
                bad[column] = ~usable
                break
        else:
            bad[column] = (flags[column] & ~ignored) != 0
    expected = combine(masked_by(ccds, bad), thresholds=thresholds, diagnostics="full")
    for names in (classes, (["WARM", "COSMIC"], DQ)):
        result = combine(
            ccds,
            least_bad=names,
            ignore_flags=ignore,
            thresholds=thresholds,
            diagnostics="full",
        )
        np.testing.assert_array_equal(result.data, expected.data)
        np.testing.assert_array_equal(result.mask_rej, expected.mask_rej)
        dq = or_of_used(flags, ~expected.mask_rej)
        np.testing.assert_array_equal(result.output_dq, dq)
    assert result.output_dq[0, 1] == 9
    assert result.mask[0, 2]


@pytest.mark.parametrize("name", ["DQ", "FLAGS"])
def test_flags_of_files(tmp_path, name):
    ccds = flagged_stack()
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        hdus = ccd.to_hdu()
        hdus.append(fits.ImageHDU(ccd.flags, name=name))
        hdus.writeto(file)
    for call in ({"ignore_flags": "1"}, {"least_bad": [1, 8]}):
        expected = combine(ccds, diagnostics="full", rejectors=CLIP, **call)
        for mem_limit in (16e9, 1):
            found = combine(
                files,
                diagnostics="full",
                rejectors=CLIP,
                mem_limit=mem_limit,
                **call,
            )
            np.testing.assert_array_equal(found.data, expected.data)
            np.testing.assert_array_equal(found.output_dq, expected.output_dq)
            np.testing.assert_array_equal(found.mask_rej, expected.mask_rej)


def test_statistics_of_images_do_without_flagged_pixels():
    ccds = flagged_stack()
    for ccd in ccds:
        ccd.data[ccd.flags == 2] = 1e6
    bad = (flags_of(ccds) & 2) != 0
    expected = combine(masked_by(ccds, bad), scale="mean", statsec="[2:9,*]")
    result = combine(ccds, ignore_flags="~2", scale="mean", statsec="[2:9,*]")
    np.testing.assert_array_equal(result.data, expected.data)


BAD = [
    ({"ignore_flags": "COSMIC"}, ValueError, "names of flags need a BitFlagNameMap"),
    ({"ignore_flags": ("HOT", DQ)}, ValueError, "HOT.*WARM, SATURATED, COSMIC"),
    ({"ignore_flags": 1.5}, TypeError, "ignore_flags=1.5"),
    ({"ignore_flags": [3]}, ValueError, "ignore_flags"),
    ({"least_bad": "1,8"}, TypeError, "least_bad='1,8'"),
    ({"least_bad": 4}, TypeError, "least_bad=4"),
    ({"least_bad": [0]}, ValueError, "least_bad.0.=0 has no flag"),
    ({"least_bad": ["COSMIC"]}, ValueError, "names of flags need"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD)
def test_bad_rules(call, error, match):
    with pytest.raises(error, match=match):
        combine(flagged_stack(), **call)
    names = str(call).count("COSMIC") and "DQ" not in str(call)
    if not names:  # what names mean, the images could tell
        with pytest.raises(error, match=match):
            combine(["missing.fits"], **call)


def test_flags_of_a_wrong_type():
    ccds = flagged_stack()
    ccds[2].flags = ccds[2].flags.astype(float)
    with pytest.raises(TypeError, match=r"img_list\[2\].*flags must be integers"):
        combine(ccds, ignore_flags=0)
    assert combine(ccds).flags is not None  # nobody asked
