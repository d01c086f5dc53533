# Licensed under a 3-clause BSD style license - see LICENSE
"""IRAF's parameters as words ``NAME=VALUE``."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import imcombiners_astro as imc
from imcombiners_astro import iraf
from imcombiners_astro.cli import main
from imcombiners_astro.cli.combine import parse
from imcombiners_astro.cli.irafwords import PARAMETERS, translate
from imcombiners_astro.cli.options import make_keywords

# All parameters of images.immatch.imcombine, and their defaults.
IRAF = {
    **{"headers": "", "bpmasks": "", "rejmasks": "", "nrejmasks": "", "expmasks": ""},
    **{"sigmas": "", "imcmb": "$I", "logfile": "STDOUT", "combine": "average"},
    **{"reject": "none", "project": "no", "outtype": "real", "outlimits": ""},
    **{"offsets": "none", "masktype": "none", "maskvalue": "0", "blank": "0."},
    **{"scale": "none", "zero": "none", "weight": "none", "statsec": "", "expname": ""},
    **{"lthreshold": "INDEF", "hthreshold": "INDEF", "nlow": "1", "nhigh": "1"},
    **{"nkeep": "1", "mclip": "yes", "lsigma": "3.", "hsigma": "3.", "rdnoise": "0."},
    **{"gain": "1.", "snoise": "0.", "sigscale": "0.1", "pclip": "-0.5", "grow": "0."},
}


def keywords_of(*words):
    return make_keywords(parse(["a.fits", "output=out.fits", *words]))


def test_all_parameters_are_known():
    assert set(PARAMETERS) == {"input", "output", *IRAF}


def test_defaults_of_iraf():
    keywords = keywords_of(*(f"{name}={value}" for name, value in IRAF.items()))
    assert keywords == {
        "method": "average",
        "dtype": "float32",
        "blank": 0,
        "gain": 1,
        "readnoise": 0,
        "snoise": 0,
    }


def test_inputs_and_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = parse(["input=a.fits,@b.txt", "output=o.fits", "c.fits"])
    assert options.files == ["a.fits", "@b.txt", "c.fits"]
    assert options.output == "o.fits"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["combine=median"], {"method": "median"}),
        (["outtype=double"], {"dtype": "float64"}),
        (
            ["reject=sigclip", "lsigma=4", "hsigma=2.5", "nkeep=2"],
            {
                "rejectors": [
                    imc.SigClip(
                        (4, 2.5), None, ddof=1, nkeep=2, revert_on_nkeep="closest"
                    )
                ]
            },
        ),
        (["reject=minmax", "nhigh=2"], {"rejectors": [imc.MinMaxClip(1, 2)]}),
        (["reject=pclip", "pclip=-0.3"], {"rejectors": [imc.PClip(-0.3)]}),
        (["reject=avsigclip", "grow=2"], {"rejectors": [imc.AvSigClip(grow=2)]}),
        (
            ["reject=crreject", "hsigma=5", "gain=GAIN", "grow=0.5"],
            {
                "rejectors": [
                    imc.CrReject(5, None, revert_on_nkeep="closest"),
                ],
                "gain": "!GAIN",
                "readnoise": 0,
                "snoise": 0,
            },
        ),
        (["rdnoise=!RDN", "--uncertainty=noise"], {"readnoise": "!RDN"}),
        (["scale=mode", "zero=mean"], {"scale": "mode", "zero": "mean"}),
        (["scale=exposure", "expname=ITIME"], {"scale": "!ITIME"}),
        (["statsec=[1:5,2:6]"], {"statsec": "[1:5,2:6]"}),
        (["lthreshold=-5", "hthreshold=9"], {"thresholds": [-5, 9]}),
    ],
)
def test_values(words, expected):
    keywords = keywords_of(*words)
    assert {name: keywords[name] for name in expected} == expected


def test_options_win():
    words = ["--reject", "none", "reject=sigclip"]
    assert "rejectors" in keywords_of(*words[1:])
    assert "rejectors" not in keywords_of(*words)
    assert keywords_of("blank=0", "--blank", "7")["blank"] == 7


def test_numbers_from_files(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("2\n3\n5\n")
    keywords = keywords_of(f"scale=@{path}", f"zero=@{path}")
    # IRAF: factors in units of the first, and offsets to add.
    assert keywords["scale"].tolist() == [1, 1.5, 2.5]
    assert keywords["zero"].tolist() == [-2, -3, -5]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("combine=lmedian", "imcombiners_astro.iraf.imcombine has it"),
        ("combine=mean", "expected average, median or sum"),
        ("reject=ccdcrop", "expected one of none, minmax, sigclip"),
        ("outtype=ushort", "--output-dtype"),
        ("offsets=grid 5 100 5 100", "a line X Y for each frame"),
        ("scale=!LAMP", "--scale '!KEYWORD' divides"),
        ("zero=!SKY", "--zero '!KEYWORD' subtracts"),
        ("weight=exposure", "use --weights"),
        ("statsec=overlap", "[x1:x2,y1:y2]"),
        ("masktype=goodvalue", "--hdu-mask"),
        ("project=yes", "a file for each plane"),
        ("outlimits=1 100", "cut the result"),
        ("rejmasks=rej.pl", "--diagnostics full"),
        ("sigmas=sig", "--diagnostics simple adds the scatter"),
        ("logfile=log.txt", "--json"),
        ("scale=@no.txt", "no.txt: No such file"),
        ("nlow=2", "has no effect with reject=none"),
        ("lsgima=3", "neither a file nor a parameter; did you mean lsigma=?"),
        ("mclip=no", "has no effect with reject=none"),
    ],
)
def test_refused(word, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "out.fits", word])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"imcombine: error: {word}") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--masktype", "goodvalue"], "--masktype: masks are the extension MASK"),
        (["--outtype=real"], "--outtype: use --output-dtype"),
        (["--rejmasks", "r.pl"], "--rejmasks: use --diagnostics full"),
        (["--input", "a.fits"], "--input: as a word, input=VALUE"),
        (["--lsgima", "3"], "did you mean --lsigma?"),
    ],
)
def test_options_that_there_are_not(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "out.fits", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_files_and_values_of_options_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gain=2").write_text("a file")
    words = ["gain=2", "--where", "gain=3", "--", "nlow=1"]
    assert translate(words) == ([], words)


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        (["reject=sigclip", "lsigma=4", "hsigma=1.5", "nkeep=3"], {}),
        (["reject=avsigclip", "lsigma=4", "hsigma=1.5", "nkeep=3"], {}),
        (["reject=ccdclip", "lsigma=4", "hsigma=1.5", "rdnoise=6"], {"gain": 1.5}),
        (["reject=ccdclip", "lsigma=0.3", "hsigma=INDEF"], {"gain": 1.5}),
        (["reject=crreject", "hsigma=3", "rdnoise=6", "grow=1.5"], {"gain": 1.5}),
        (["reject=crreject", "hsigma=3"], {}),
        (["reject=pclip", "lsigma=3", "hsigma=2", "pclip=-0.4"], {}),
        (["reject=minmax", "nlow=1", "nhigh=2"], {}),
        (["reject=minmax", "nlow=0", "nhigh=1", "hthreshold=1500"], {}),
        (["combine=median", "reject=sigclip", "hsigma=1"], {}),
        (["scale=@numbers", "zero=@numbers", "lthreshold=1150"], {}),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_equals_iraf(frames, words, parameters):
    for name in frames:
        fits.setval(name, "GAIN", value=1.5)
    Path("numbers").write_text("2\n3\n2.5\n4\n3.5\n5\n1\n")
    given = dict(word.split("=") for word in words)
    if parameters:
        words = [*words, "gain=GAIN"]
    for name, value in given.items():
        if value == "@numbers":
            value = [2, 3, 2.5, 4, 3.5, 5, 1]
        elif name not in ("reject", "combine") and value != "INDEF":
            value = int(value) if value.isdecimal() else float(value)
        parameters = parameters | {name: value}
    assert main(["input=frame_*.fits", "output=out.fits", *words]) == 0
    images = [fits.getdata(name) for name in frames]
    expected = iraf.imcombine(images, outtype="double", **parameters)
    assert 90 < expected.nrejmask.sum() or "scale" in given
    np.testing.assert_allclose(fits.getdata("out.fits"), expected.image, rtol=1e-12)
