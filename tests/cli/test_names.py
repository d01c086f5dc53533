# Licensed under a 3-clause BSD style license - see LICENSE
"""Directories as inputs, and units that no header has."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.testing import assert_array_equal

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.names import expand_names

NOTE = "imcombine: note: no BUNIT in the headers, adu is assumed; --unit says otherwise"


@pytest.fixture
def night(frames):
    os.mkdir("night")
    for name in frames:
        shutil.move(name, "night")
    return [os.path.join("night", name) for name in frames]


def test_directory(night):
    Path("night/notes.txt").write_text("clouds")
    Path("night/.hidden.fits").write_text("part of something")
    os.mkdir("night/raw.fits")
    assert expand_names(["night"]) == night
    assert expand_names(["night/"]) == night
    Path("list").write_text("night\n")
    assert expand_names(["@list"]) == night
    # names in a list are those here, or beside it
    lines = "frame_1.fits  # good\nframe_[02].fits\nnight\n@more\n"
    Path("night/list").write_text(lines)
    Path("night/more").write_text("frame_6.fits")
    expected = [night[1], night[0], night[2], *night, night[6]]
    assert expand_names(["@night/list"]) == expected
    assert expand_names([f"@{os.path.abspath('night/more')}"]) == [
        os.path.abspath(night[6])
    ]
    assert main(["night", "-o", "out.fits", "--sigma-clip"]) == 0
    clip = {"sigma_clip_func": "median", "sigma_clip_dev_func": "mad_std"}
    expected = imc.combine(night, sigma_clip=True, **clip)
    assert_array_equal(fits.getdata("out.fits"), expected.data)


def test_all_endings(night):
    for name in "a.FITS", "b.fit", "c.fts", "d.fits.fz", "e.fits.gz", "f.fit.bz2":
        Path("night", name).write_bytes(b"")
    assert len(expand_names(["night"])) == len(night) + 6


def test_output_in_the_directory_is_no_input(night):
    for _ in range(2):
        words = ["night", "-o", "night/a_master.fits", "--overwrite"]
        assert main(words) == 0
        assert fits.getheader("night/a_master.fits")["NCOMBINE"] == 7
    assert len(expand_names(["night"])) == 8
    words = ["night/*.fits", "-o", "night/a_master.fits", "--overwrite"]
    assert main(words) == 1


def test_empty_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    assert main(["empty", "-o", "out.fits"]) == 1
    assert "empty: no FITS file in this directory" in capsys.readouterr().err


def without_unit(names):
    for name in names:
        fits.delval(name, "BUNIT")


def test_adu_is_assumed(frames, capsys):
    without_unit(frames)
    assert main(["frame_*.fits", "-o", "out.fits"]) == 0
    assert capsys.readouterr() == ("", f"{NOTE}\n")
    assert CCDData.read("out.fits").unit == u.adu
    words = ["frame_*.fits", "-o", "out.fits", "--overwrite"]
    assert main([*words, "--quiet"]) == 0
    assert main([*words, "--unit", "electron"]) == 0
    assert capsys.readouterr() == ("", "")
    assert CCDData.read("out.fits").unit == u.electron


def test_unit_of_an_extension_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = fits.ImageHDU(np.ones((3, 4)), fits.Header({"BUNIT": "electron"}))
    for k in range(2):
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(f"{k}.fits")
    assert main(["?.fits", "-o", "out.fits"]) == 0
    assert capsys.readouterr().err == ""
    assert CCDData.read("out.fits").unit == u.electron


def test_some_have_a_unit(frames, capsys):
    without_unit(frames[:3])
    assert main([*frames, "-o", "out.fits"]) == 1
    error = capsys.readouterr().err
    assert (
        "frame_0.fits has no BUNIT in its header, and frame_3.fits is in adu" in error
    )
    assert main([*frames[::-1], "-o", "out.fits"]) == 1
    assert "frame_2.fits has no BUNIT" in capsys.readouterr().err
    assert not os.path.exists("out.fits")
