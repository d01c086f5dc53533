# Licensed under a 3-clause BSD style license - see LICENSE
"""Keywords that ccdproc does not have: calls that are refused or warned about."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine
from imcombiners_astro.errors import ThresholdWarning, UnusedOptionWarning

N = 12
SHAPE = (5, 6)
CLIP = imc.SigClip(sigma=2)


class OwnRejector(imc.Rejector):
    """A rejector that nobody else knows."""

    def apply(self, arr, mask=None, *, validate=True):
        raise AssertionError("not to be called")


class OtherClip(imc.SigClip):
    """A rejector with a way of its own."""

    def apply(self, arr, mask=None, *, validate=True):
        raise AssertionError("not to be called")


# Refused before a file is opened.
EARLY = [
    ({"rejectors": 3}, TypeError, "rejectors: found 3, expected a rejector such as"),
    ({"rejectors": "sigclip"}, TypeError, "rejectors: found 'sigclip', expected"),
    ({"rejectors": imc.SigClip}, TypeError, "expected a rejector .*; call the class"),
    ({"rejectors": [CLIP, None]}, TypeError, r"rejectors\[1\]: found None"),
    ({"rejectors": OwnRejector()}, TypeError, "OwnRejector rejects by a method of its"),
    ({"rejectors": [CLIP, OtherClip()]}, TypeError, r"rejectors\[1\]: OtherClip"),
    ({"rejectors": imc.SigClip(sigma=-1)}, ValueError, "rejectors, SigClip: sigma thr"),
    ({"rejectors": imc.SigClip(cenfunc="x")}, ValueError, "unknown cenfunc 'x'"),
    ({"rejectors": imc.SigClip(2, grow=-1)}, ValueError, "grow: found -1"),
    ({"rejectors": imc.CcdClip(gain=[1, 2])}, ValueError, "expected 12 values"),
    ({"rejectors": imc.CcdClip(gain=0)}, ValueError, "gain: found 0"),
    ({"rejectors": imc.MinMaxClip(6, 6)}, ValueError, "rejects all of the 12 images"),
    (
        {"rejectors": CLIP, "sigma_clip": True},
        ValueError,
        "rejectors cannot be mixed with sigma_clip",
    ),
    (
        {"rejectors": CLIP, "clip_extrema": True, "minmax_clip": True}
        | {"minmax_clip_min": 1},
        ValueError,
        "mixed with clip_extrema and minmax_clip",
    ),
    ({"thresholds": 3}, ValueError, "thresholds: found 3, expected a pair"),
    ({"thresholds": (1, 2, 3)}, ValueError, r"thresholds: found \(1, 2, 3\)"),
    ({"thresholds": (2, 1)}, ValueError, r"found \(2.0, 1.0\), expected low <= upp"),
    ({"thresholds": (np.nan, 1)}, ValueError, "expected low <= upp, neither NaN"),
    ({"thresholds": (np.nan * u.adu, 1)}, ValueError, "expected no NaN"),
    ({"thresholds": b"ab"}, ValueError, "thresholds: found b'ab', expected"),
    ({"thresholds": "12"}, ValueError, "thresholds: found '12', expected"),
    ({"thresholds": ("1", 2)}, TypeError, "thresholds: found .*'1', 2"),
    ({"thresholds": ([1], 2)}, TypeError, "thresholds: found"),
    ({"uncertainty": "std"}, ValueError, "uncertainty: found 'std', expected one of"),
    ({"uncertainty": True}, ValueError, "uncertainty: found True"),
    (
        {"uncertainty": "noise", "combine_uncertainty_function": np.std},
        ValueError,
        "combine_uncertainty_function is the scatter of uncertainty='empirical'",
    ),
    (
        {"uncertainty": None, "combine_uncertainty_function": np.std},
        ValueError,
        "found uncertainty=None",
    ),
    ({"diagnostics": "some"}, ValueError, "diagnostics: found 'some', expected None"),
    ({"diagnostics": True}, ValueError, "diagnostics: found True"),
    ({"clip_scaled": "yes"}, TypeError, "clip_scaled: found 'yes', expected True or"),
    ({"effective_noise": 1}, TypeError, "effective_noise: found 1"),
    ({"statsample": 0}, ValueError, "statsample: found 0, expected at least 1"),
    ({"statsample": 1e5}, TypeError, "statsample: found 100000.0, expected a number"),
    ({"statsample": True}, TypeError, "statsample: found True"),
    ({"exposure": "max"}, ValueError, "exposure: found 'max', expected one of 'keep'"),
    ({"weights": "ivar", "method": "sum"}, ValueError, "weights='ivar' weights an av"),
    (
        {"weights": "exposre"},
        TypeError,
        "'ivar', 'exposure', a header keyword in capit",
    ),
    ({"weights": ""}, TypeError, "weights must be"),
    ({"scale": "medain"}, ValueError, "scale='medain': expected 'mean', 'median'"),
    ({"scale": "!"}, ValueError, "scale='!'"),
    (
        {"zero": "medain"},
        ValueError,
        "zero='medain': expected 'mean', 'median', 'mode'",
    ),
    ({"zero": "exposure"}, ValueError, "zero='exposure': expected"),
    ({"zero": [1, 2, 3]}, ValueError, "zero: found 3 values for 12 images"),
    (
        {"gain": 2, "rejectors": imc.CcdClip(rdnoise=3)},
        ValueError,
        "given twice: gain of combine.. and rdnoise of CcdClip",
    ),
    (
        {"snoise": 0.1, "rejectors": [CLIP, imc.CrReject(snoise=0.1)]},
        ValueError,
        "given twice: snoise of combine.. and snoise of CrReject",
    ),
]

# Refused when the images are known, before they are combined.
LATE = [
    ({"uncertainty": "propagate"}, ValueError, r"needs the uncertainty.*img_list\[0\]"),
    ({"weights": "ivar"}, ValueError, r"weights='ivar' needs.*img_list\[0\]"),
    ({"thresholds": (0 * u.s, None)}, TypeError, "thresholds: found 0.0 s, expected"),
    (
        {"thresholds": (2 * u.adu, 1)},
        ValueError,
        r"thresholds: found \(2.0, 1.0\), expected low <= upp",
    ),
    ({"rejectors": imc.CcdClip()}, ValueError, r"img_list\[6\].*rejector CcdClip"),
    ({"uncertainty": "noise"}, ValueError, r"gain.*img_list\[6\].*uncertainty='noise'"),
    ({"effective_noise": True}, ValueError, r"img_list\[6\].*effective_noise=True"),
    ({"uncertainty": "noise", "gain": 0}, ValueError, "gain: found 0"),
    ({"uncertainty": "noise", "gain": [1] * 3}, ValueError, "gain: found 3 values"),
    ({"uncertainty": "noise", "gain": 2 * u.s}, TypeError, "gain: .* needs electron"),
    (
        {"uncertainty": "noise", "gain": 2, "readnoise": -1},
        ValueError,
        "readnoise: found -1",
    ),
    ({"scale": "median", "statsec": "[1:9,1:9]"}, ValueError, "9"),
    ({"scale": "mean", "statsec": 1.5}, TypeError, "statsec"),
    ({"scale": "NOSUCH"}, ValueError, r"scale.*img_list\[0\].*NOSUCH"),
    ({"weights": "!nosuch"}, ValueError, r"weights.*img_list\[0\]"),
    ({"weights": "exposure"}, ValueError, r"img_list\[0\]"),
    ({"exposure": "sum"}, ValueError, r"exposure='sum'.*img_list\[0\]|img_list\[0\]"),
    ({"zero": lambda image: "a"}, TypeError, "zero"),
    ({"zero": ["a"] * N}, TypeError, "zero"),
    (
        {"weights": np.where(np.arange(N) == 3, np.nan, 1.0)},
        ValueError,
        r"weights\[3\] has nan",
    ),
]


@pytest.fixture
def ccds():
    """Twelve images, the seventh without a gain."""
    ccds = stack_of(N, SHAPE)
    for k, ccd in enumerate(ccds):
        if k != 6:
            ccd.header["GAIN"] = 2.0
        ccd.header["RDNOISE"] = 5.0
    return ccds


@pytest.mark.parametrize(("call", "error", "match"), EARLY + LATE)
def test_refused(ccds, tmp_path, call, error, match):
    output = tmp_path / "out.fits"
    output.write_bytes(b"precious")
    with pytest.raises(error, match=match):
        combine(ccds, output, overwrite_output=True, **call)
    assert output.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("call", "error", "match"), EARLY)
def test_refused_before_files_are_opened(call, error, match):
    with pytest.raises(error, match=match):
        combine([f"missing-{k}.fits" for k in range(N)], **call)


def test_the_work_is_not_begun(ccds, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("no pixel was to be combined")

    monkeypatch.setattr("imcombiners_astro.task.combine_planes", never)
    for call, error, match in LATE:
        with pytest.raises(error, match=match):
            combine(ccds, **call)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"gain": 2}, "gain has no effect"),
        ({"gain": 2, "readnoise": 3}, "gain and readnoise have no effect"),
        ({"snoise": 0.1, "diagnostics": "simple"}, "snoise has no effect"),
        ({"rejectors": CLIP, "clip_scaled": True}, "clip_scaled has no effect"),
        ({"scale": [1.1] * N, "clip_scaled": True}, "clip_scaled has no effect"),
        ({"statsec": "[1:3,1:3]"}, "statsec.* has no effect"),
        ({"statsample": 100}, "statsample=100 has no effect"),
        ({"weights": "ivar", "method": "median"}, "weights have no effect"),
    ],
)
def test_options_without_effect(ccds, call, match):
    with pytest.warns(UnusedOptionWarning, match=match) as record:
        result = combine(ccds, **call)
    assert len(record) == 1
    options = ("gain", "readnoise", "snoise", "clip_scaled", "statsec", "statsample")
    for name in (*options, "weights"):
        call.pop(name, None)
    np.testing.assert_array_equal(result.data, combine(ccds, **call).data)


@pytest.mark.parametrize(
    ("clip", "warns"),
    [
        (imc.SigClip(sigma=3.5), True),
        (imc.SigClip(sigma=3.4), False),
        (imc.SigClip(sigma=3.2, cenfunc="mean"), False),
        (imc.SigClip(sigma=3.4, cenfunc="mean"), True),
        (imc.SigClip(sigma=3.4, ddof=1), True),
        (imc.SigClip(sigma=(9, 3)), False),
        (imc.SigClip(sigma=9, stdfunc="mad"), False),
    ],
)
def test_clipping_that_cannot_reject(clip, warns):
    images = [
        CCDData(np.full((1, 1), float(k == 5) * 1e6), unit="adu") for k in range(N)
    ]
    if warns:
        with pytest.warns(ThresholdWarning, match="With 12 images a single outlier"):
            result = combine(images, rejectors=clip, diagnostics="simple")
    else:
        result = combine(images, rejectors=clip, diagnostics="simple")
    assert result.n_rejected_high[0, 0] == (not warns)


def test_a_row_that_does_not_fit_into_the_memory():
    ccds = stack_of(N, (4000,))
    # What thresholds do is put on top of the diagnostics in memory of its own.
    keywords = {"diagnostics": "full", "thresholds": (-1e9, 1e9)}
    with pytest.raises(ValueError, match=r"AvSigClip.*one row.*mem_limit=100000"):
        combine(ccds, rejectors=imc.AvSigClip(), mem_limit=1e5, **keywords)
    combine(ccds, rejectors=imc.AvSigClip(), mem_limit=1e6, **keywords)


def test_arrays_of_other_libraries_are_for_ccdproc_alone(ccds):
    class Library:
        __name__ = "no such library"

    with pytest.raises(TypeError, match="rejectors= is for images of NumPy arrays"):
        combine(ccds, rejectors=CLIP, array_package=Library())
