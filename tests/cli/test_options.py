# Licensed under a 3-clause BSD style license - see LICENSE
"""Every parameter of `combine` has an option, and every option does what it says."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.testing import assert_array_equal

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.combine import make_parser, parse
from imcombiners_astro.cli.options import OPTION_OF, WITHOUT_OPTION, make_keywords
from imcombiners_astro.cli.rejection import REJECTORS, describe_rejector, keys_of
from imcombiners_astro.files.combine import combine
from imcombiners_astro.files.options import READER_KEYWORDS


def keywords_of(*words):
    return make_keywords(parse(["a.fits", "-o", "out.fits", *words]))


def test_every_parameter_has_an_option():
    dests = {action.dest for action in make_parser()._actions}
    parameters = set(inspect.signature(combine).parameters)
    for name in parameters - set(WITHOUT_OPTION):
        assert OPTION_OF.get(name, name) in dests, f"{name}= has no option"
    assert set(WITHOUT_OPTION) <= parameters
    assert set(OPTION_OF) <= parameters


def test_every_keyword_of_the_reader_can_be_given():
    dests = {action.dest for action in make_parser()._actions}
    for name in READER_KEYWORDS:
        if name not in dests:
            assert keywords_of("--reader", f"{name}=1") == {name: 1}


def test_nothing_is_passed_on_that_is_not_given():
    assert keywords_of() == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--weights", "ivar"], {"weights": "ivar"}),
        (["--weight", "EXPTIME"], {"weights": "EXPTIME"}),
        (["--scale", "mode"], {"scale": "mode"}),
        (["--scale", "!lamp"], {"scale": "!lamp"}),
        (["--zero", "median"], {"zero": "median"}),
        (["--zero", "-1.5"], {"zero": -1.5}),
        (["--statsec", "[1:20,5:30]"], {"statsec": "[1:20,5:30]"}),
        (["--thresholds", "none", "6e4"], {"thresholds": [None, 6e4]}),
        (["--thresholds", "-10", "none"], {"thresholds": [-10, None]}),
        (["--lthreshold", "INDEF", "--hthreshold", "5"], {"thresholds": [None, 5]}),
        (["--uncertainty", "scatter"], {"uncertainty": "scatter"}),
        (["--uncertainty", "noise"], {"uncertainty": "noise"}),
        (["--uncertainty", "none"], {"uncertainty": None}),
        (["--diagnostics", "full"], {"diagnostics": "full"}),
        (["--gain", "1.5"], {"gain": 1.5}),
        (["--gain", "1.5,2"], {"gain": [1.5, 2]}),
        (["--rdnoise", "RDN1"], {"readnoise": "RDN1"}),
        (["--snoise", "!sn"], {"snoise": "!sn"}),
        (["--ignore-flags", "4,8"], {"ignore_flags": "4,8"}),
        (["--ignore-flags", "0"], {"ignore_flags": 0}),
        (["--least-bad", "4,8+16"], {"least_bad": ["4", "8,16"]}),
        (["--clip-scaled"], {"clip_scaled": True}),
        (["--no-clip-scaled"], {"clip_scaled": False}),
        (["--exposure", "sum"], {"exposure": "sum"}),
        (["--effective-noise"], {"effective_noise": True}),
        (["--blank", "-1"], {"blank": -1}),
        (["--combine", "sum"], {"method": "sum"}),
        (["--hdu", "SCI,2"], {"hdu": ("SCI", 2)}),
        (["--hdu", "all"], {"hdu": "all"}),
        (["--hdu-mask", "BPM"], {"hdu_mask": "BPM"}),
        (["--hdu-uncertainty", "ERR"], {"hdu_uncertainty": "ERR"}),
        (["--hdu-flags", "QUAL"], {"hdu_flags": "QUAL"}),
        (["--key-uncertainty-type", "ETYPE"], {"key_uncertainty_type": "ETYPE"}),
        (["--reader", "ignore_blank=true"], {"ignore_blank": True}),
        (["--dtype", "int32"], {"dtype": "int32"}),
        (["--mem-limit", "1G"], {"mem_limit": 1e9}),
        (["--threads", "3"], {"n_threads": 3}),
        (["--scale", "exposure", "--expname", "ITIME"], {"scale": "!ITIME"}),
        (
            ["--scale", "exposure", "--weights", "exposure", "--expname", "!ITIME"],
            {"scale": "!ITIME", "weights": "!ITIME"},
        ),
        (["--offsets", "wcs"], {"offsets": "wcs"}),
        (["--offsets", "XOFF,YOFF"], {"offsets": ("XOFF", "YOFF")}),
        (["--statsample", "100000"], {"statsample": 100_000}),
        (["--statsample", "exact"], {"statsample": None}),
        (["--output-dtype", "uint16"], {"output_dtype": "uint16"}),
        (["--output-compression", "RICE_1"], {"output_compression": "RICE_1"}),
        (["--output-compression", "none"], {"output_compression": None}),
        (["--output-checksum"], {"output_checksum": True}),
        (
            ["--offsets", "wcs", "--footprint", "first"],
            {"offsets": "wcs", "footprint": "first"},
        ),
    ],
)
def test_values(words, expected):
    assert keywords_of(*words) == expected


def test_offsets_from_a_file(tmp_path):
    path = tmp_path / "offsets.txt"
    path.write_text("# absolute\n10 20\n13 19.0\n10 25\n")
    found = keywords_of("--offsets", f"@{path}")["offsets"]
    # x y of FITS becomes row, column of NumPy; the first frame is at the origin.
    assert_array_equal(found, [[0, 0], [-1, 3], [5, 0]])
    assert found.dtype.kind == "i"


def test_names_of_flags(frames):
    keywords = keywords_of(
        *("--flag-names", "HOT=1,CR=4", "--ignore-flags", "~HOT"),
        *("--least-bad", "CR,HOT+CR"),
    )
    flags, names = keywords["ignore_flags"]
    assert (flags, names.HOT, names.CR) == ("~HOT", 1, 4)
    assert keywords["least_bad"][0] == ["CR", "HOT,CR"]
    plane = np.zeros((40, 50), "u1")
    plane[3, 4] = 4
    for k, name in enumerate(frames):
        hdus = [fits.PrimaryHDU(fits.getdata(name)), fits.ImageHDU(plane * (k == 0))]
        hdus[1].name = "DQ"
        fits.HDUList(hdus).writeto(f"dq_{k}.fits")
    words = ["dq_*.fits", "-o", "out.fits", "--unit", "adu", "--overwrite"]
    used = {}
    for ignored in "CR", "HOT":
        flags = ["--flag-names", "HOT=1,CR=4", "--ignore-flags", ignored]
        assert main([*words, *flags, "--diagnostics", "simple"]) == 0
        used[ignored] = imc.CombinedCCDData.read("out.fits").n_used[3, 4]
    assert used == {"CR": 7, "HOT": 6}


# -- rejectors -----------------------------------------------------------------


def test_every_rejector_and_every_key_of_it():
    assert {cls.__name__ for cls in REJECTORS.values()} == {
        name
        for name in imc.rejectors.__all__
        if name not in ("Rejector", "KernelRejector")
    }
    for name, cls in REJECTORS.items():
        for field in fields(cls):
            value = {"true": True}.get(str(field.default).lower(), field.default)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            rejectors = keywords_of("--reject", f"{name}:{field.name}={text}")
            assert rejectors == {"rejectors": [cls()]}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--reject", "sigclip"], [imc.SigClip()]),
        (["--reject", "SigClip:sigma=2.5"], [imc.SigClip(sigma=2.5)]),
        (
            ["--reject", "sigclip:sigma=3,2.5,maxiters=none,stdfunc=mad,grow=1.5"],
            [imc.SigClip(sigma=(3, 2.5), maxiters=None, stdfunc="mad", grow=1.5)],
        ),
        (
            ["--reject", "minmax:n_min=0", "--reject", "crreject:sigma=4"],
            [imc.MinMaxClip(n_min=0), imc.CrReject(sigma=4)],
        ),
        (["--reject", "ccdclip:gain=1,2,3"], [imc.CcdClip(gain=(1, 2, 3))]),
        (
            ["--reject", "sigclip:revert_on_nkeep=false"],
            [imc.SigClip(revert_on_nkeep=False)],
        ),
        (
            ["--reject", "avsigclip", "--lsigma", "4", "--hsigma", "2"],
            [imc.AvSigClip(sigma=(4, 2))],
        ),
        (["--reject", "ccdclip", "--hsigma", "2"], [imc.CcdClip(sigma=(3, 2))]),
        (["--reject", "pclip", "--lsigma", "5"], [imc.PClip(sigma=(5, 3))]),
        (["--reject", "crreject", "--hsigma", "6"], [imc.CrReject(sigma=6)]),
        (["--reject", "sigclip", "--lsigma", "INDEF"], [imc.SigClip(sigma=(1e38, 3))]),
        (
            ["--reject", "minmax", "--nlow", "0", "--nhigh", "2"],
            [imc.MinMaxClip(0, 2)],
        ),
        (["--reject", "pclip", "--pclip", "-0.4"], [imc.PClip(frac=-0.4)]),
        (
            ["--reject", "sigclip", "--nkeep", "-2", "--mclip", "yes", "--grow", "2"],
            [imc.SigClip(nkeep=-2, grow=2)],
        ),
        (
            ["--reject", "ccdclip", "--sigscale", "0.2"],
            [imc.CcdClip(sigscale=0.2)],
        ),
        (
            ["--reject", "minmax", "--reject", "sigclip:grow=1", "--grow", "2"],
            [imc.MinMaxClip(grow=2), imc.SigClip(grow=1)],
        ),
    ],
)
def test_rejectors(words, expected):
    assert keywords_of(*words) == {"rejectors": expected}


def test_none_takes_rejectors_back():
    assert keywords_of("--reject", "sigclip", "--reject", "none") == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reject", "sigmaclip"], "invalid choice: 'sigmaclip' (choose from avsigc"),
        (["--reject", "sigclip:sgima=3"], "no key 'sgima'"),
        (["--reject", "sigclip:sgima=3"], "did you mean sigma?"),
        (["--reject", "sigclip:3"], "no key '3'"),
        (["--lsigma", "3"], "--lsigma needs --reject with one of avsigclip, ccdclip"),
        (["--reject", "crreject", "--lsigma", "3"], "--lsigma needs --reject"),
        (["--reject", "sigclip", "--nlow", "3"], "--nlow needs --reject with one of m"),
        (["--reject", "sigclip:sigma=3", "--lsigma", "2"], "has 'sigma' already"),
        (["--reject", "sigclip", "--mclip", "no"], "cenfunc=mean"),
        (["--reject", "sigclip", "--hsigma", "-1"], "a number >= 0 or INDEF"),
        (["--reject", "sigclip", "--nkeep", "1.5"], "an integer is expected"),
        (["--reject", "sigclip", "--nkeep", "inf"], "an integer is expected"),
        (["--thresholds", "1", "2", "--lthreshold", "1"], "exclude each other"),
        (["--footprint", "first"], "--footprint needs --offsets"),
        (["--expname", "ITIME"], "--expname needs --scale exposure"),
        (["--flag-names", "HOT=1"], "--flag-names needs"),
        (["--flag-names", "HOT=3", "--ignore-flags", "HOT"], "powers of 2"),
        (["--reader", "ignore_blank"], "KEY=VALUE is expected"),
        (["--reader", "ignor_blank=1"], "no keyword 'ignor_blank'"),
        (["--offsets", "grid"], "wcs, physical, two header keywords"),
        (["--offsets", "@no.txt"], "no.txt: No such file"),
        (["--hdu", "SCI,x"], "NAME,VERSION"),
        (["--gain", "1,x"], "a number, a header keyword"),
        (["--statsample", "0"], "or 'exact'"),
        (["--least-bad", "4;8"], "4,8+16"),
        (
            ["--uncertainty", "std"],
            "choose from empirical, scatter, propagate, noise, none",
        ),
        (["--zero", "low"], "'mean', 'median', 'mode', a header keyword"),
    ],
)
def test_wrong_values(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "out.fits", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("imcombine: error: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("text", ["1.5 2\n3 4\n", "1 2\n3\n", "a b\n", ""])
def test_wrong_offsets(text, tmp_path, capsys):
    path = tmp_path / "offsets.txt"
    path.write_text(text)
    with pytest.raises(SystemExit):
        parse(["a.fits", "-o", "out.fits", "--offsets", f"@{path}"])
    assert str(path) in capsys.readouterr().err


def test_rejectors_in_words():
    assert describe_rejector(imc.SigClip()) == "sigclip:sigma=3"
    clip = imc.SigClip(sigma=(3, 2.5), stdfunc="mad", maxiters=None)
    text = describe_rejector(clip)
    assert text == "sigclip:sigma=3,2.5,maxiters=none,stdfunc=mad"
    assert keywords_of("--reject", text) == {"rejectors": [clip]}
    assert describe_rejector(imc.MinMaxClip()) == "minmax"
    assert "grow" in keys_of(imc.MinMaxClip)


def test_rejection_equals_the_function(frames):
    words = ["--reject", "minmax:n_min=0,n_max=1", "--reject", "ccdclip", "--grow", "1"]
    words += ["--gain", "1.5", "--readnoise", "6", "--zero", "median"]
    words += ["--uncertainty", "noise", "--diagnostics", "full", "--blank", "-1"]
    assert main([*frames, "-o", "out.fits", *words]) == 0
    result = imc.CombinedCCDData.read("out.fits")
    expected = imc.combine(
        frames,
        rejectors=[imc.MinMaxClip(0, 1, grow=1), imc.CcdClip(grow=1)],
        gain=1.5,
        readnoise=6,
        zero="median",
        uncertainty="noise",
        diagnostics="full",
        blank=-1,
    )
    assert_array_equal(result.data, expected.data)
    assert_array_equal(result.uncertainty.array, expected.uncertainty.array)
    assert_array_equal(result.sample_flags, expected.sample_flags)
    assert result.mask_rej.sum() > 2000


def test_the_header_names_the_files(frames):
    assert main([*frames, "-o", "out.fits", "--sigma-clip", "4"]) == 0
    header = CCDData.read("out.fits").header
    assert [header[f"IMCMB{k:03}"] for k in range(1, 8)] == frames
    history = list(header["HISTORY"])
    assert "sigma_clip_low_thresh=4.0" in history
    assert not any("rejectors" in line for line in history)
