# Licensed under a 3-clause BSD style license - see LICENSE
"""``--groupby`` and ``--where``."""

import json
import os

import numpy as np
import pytest
from astropy.io import fits

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.combine import parse


@pytest.fixture
def night(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("night")
    k = 0
    for imagetyp, band, exptime in (
        *[("flat", "V", 2.0)] * 3,
        *[("flat", "B", 2.0)] * 2,
        *[("flat", "V", 5.0)] * 2,
        *[("bias", "V", 2.0)] * 2,
    ):
        header = fits.Header({"IMAGETYP": imagetyp, "FILTER": band, "EXPTIME": exptime})
        header["BUNIT"] = "adu"
        fits.writeto(f"night/{k:02}.fits", np.full((4, 5), 10.0 * k), header)
        k += 1
    return tmp_path / "night"


class Recorded(Exception):
    """The call was made."""


def test_what_is_passed_on(night, monkeypatch):
    calls = []

    def combine_collection(collection, groupby=None, output=None, **keywords):
        calls.append((collection, groupby, output, keywords))
        raise Recorded

    monkeypatch.setattr(imc, "combine_collection", combine_collection)
    words = ["night", "-o", "out", "--groupby", "filter, exptime", "--overwrite"]
    words += ["--where", "imagetyp=flat", "--where", "exptime=2", "-m", "median"]
    with pytest.raises(Recorded):
        main([*words, "--debug"])
    ((collection, groupby, output, keywords),) = calls
    assert [os.path.basename(f) for f in collection.files] == [
        f"{k:02}.fits" for k in range(9)
    ]
    assert (groupby, output) == (["filter", "exptime"], "out")
    assert keywords == {
        "filters": {"imagetyp": "flat", "exptime": 2},
        "overwrite_output": True,
        "progress_bar": None,
        "method": "median",
        "rejectors": [],
    }


def test_groups(night, capsys):
    os.mkdir("masters")
    words = ["night", "--groupby", "filter,exptime", "--where", "imagetyp=flat"]
    words += ["-m", "median", "-v", "--json", "report.json"]
    assert main([*words, "-o", "masters/flat_{filter}_{exptime:.0f}.fits"]) == 0
    error = capsys.readouterr().err
    assert "frames        7" in error and "images        3" in error
    medians = {
        name: float(np.median(fits.getdata(f"masters/{name}")))
        for name in sorted(os.listdir("masters"))
    }
    assert medians == {
        "flat_B_2.fits": 35.0,
        "flat_V_2.fits": 10.0,
        "flat_V_5.fits": 55.0,
    }
    report = json.loads((night.parent / "report.json").read_text())
    names = [result["name"] for result in report["results"]]
    assert names == ["('B', 2.0)", "('V', 2.0)", "('V', 5.0)"]
    assert main([*words, "-o", "masters", "--overwrite"]) == 0
    assert len(os.listdir("masters")) == 6
    capsys.readouterr()
    assert main(["night", "-o", "out.fits", "--where", "imagetyp=sky"]) == 1
    assert "imagetyp='sky'" in capsys.readouterr().err


def test_every_extension(night, capsys):
    for k in range(9):
        data = np.full((2, 3), 100.0 + k)
        fits.append(f"night/{k:02}.fits", data, fits.Header({"EXTNAME": "TWO"}))
    words = ["night", "--groupby", "filter", "--where", "exptime=2", "--hdu", "all"]
    words += ["-o", "{filter}.fits", "--json", "report.json", "-v"]
    assert main(words) == 0
    error = capsys.readouterr().err
    assert "frames        7" in error and "images        4" in error
    report = json.loads((night.parent / "report.json").read_text())
    assert [result["name"] for result in report["results"]] == [
        "('B', 'PRIMARY')",
        "('B', 'TWO')",
        "('V', 'PRIMARY')",
        "('V', 'TWO')",
    ]
    assert fits.getval("B.fits", "NCOMBINE", "TWO") == 2
    assert fits.getdata("B.fits", "TWO")[0, 0] == 103.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--groupby", "filter,,exptime"], "header keywords such as filter,exptime"),
        (["--where", "imagetyp"], "KEY=VALUE is expected"),
        (["--where", "a=1", "--where", "A=2"], "--where a: given 2 times"),
    ],
)
def test_wrong_usage(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "out", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
