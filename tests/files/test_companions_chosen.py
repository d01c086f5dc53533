# Licensed under a 3-clause BSD style license - see LICENSE
"""Which HDU is the mask, the uncertainty or the flags of an image."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from companions import SHAPE, WANTED, image_of

from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.fits import (
    open_frame,
)
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.layout import NoImageError


@pytest.fixture
def rng():
    return np.random.default_rng(56)


def several(path, *hdus):
    """Write a file of small images: (name, version, value)."""
    file = fits.HDUList([fits.PrimaryHDU()])
    for name, version, value in hdus:
        file.append(fits.ImageHDU(np.full((2, 3), value, "i2"), name=name, ver=version))
    file.writeto(path)
    return path


def flags_in(path, **keywords):
    frame = open_frame(path, unit="adu", want_flags=True, **keywords)
    try:
        return int(frame.read(0, 1).flags[0, 0]) if frame.has_flags else None
    finally:
        frame.close()


MOSAIC = [("SCI", 1, 1), ("DQ", 1, 11), ("SCI", 2, 2), ("DQ", 2, 12), ("FLAGS", 1, 21)]


@pytest.mark.parametrize("way", ["scan", "astropy"])
def test_which_flags(tmp_path, way, monkeypatch):
    if way == "astropy":
        monkeypatch.setattr(files_fits, "scan", lambda *args: None)
    path = several(tmp_path / "a.fits", *MOSAIC)
    assert flags_in(path) == 11  # of the first image
    assert flags_in(path, hdu=1) == 11
    assert flags_in(path, hdu=3) == 12  # the image of version 2
    assert flags_in(path, hdu=("SCI", 2)) == 12
    assert flags_in(path, flags_hdu="flags") == 21
    assert flags_in(path, hdu=3, flags_hdu="FLAGS") == 21
    assert flags_in(path, hdu=3, flags_hdu=("DQ", 1)) == 11
    assert flags_in(path, hdu=3, flags_hdu=5) == 21
    assert flags_in(path, hdu_flags="FLAGS") == 21  # as in CCDData.read
    assert flags_in(path, hdu_flags="FLAGS", flags_hdu="DQ") == 11
    # an image is not its own flags
    assert flags_in(path, hdu="DQ") == 12
    path = several(tmp_path / "b.fits", ("SCI", 1, 1), ("SCI", 2, 2), ("FLAGS", 1, 5))
    assert flags_in(path, hdu=2) == 5
    path = several(tmp_path / "c.fits", ("SCI", 1, 1))
    assert flags_in(path) is None


def test_flags_that_must_be_there(tmp_path):
    path = several(tmp_path / "a.fits", *MOSAIC)
    for hdu, error in (("BPM", KeyError), (9, IndexError), (("DQ", 3), KeyError)):
        for keyword in ("flags_hdu", "hdu_flags"):
            with pytest.raises(error, match=r"a\.fits has no HDU .*(BPM|9|DQ)"):
                flags_in(path, **{keyword: hdu})
    # nobody wants them
    open_frame(path, unit="adu", flags_hdu="BPM").close()


def test_table_named_as_flags(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    table.name = "FLAGS"
    fits.HDUList([fits.PrimaryHDU(np.ones((2, 3))), table]).writeto(tmp_path / "a.fits")
    assert flags_in(tmp_path / "a.fits") is None
    with pytest.raises(
        NoImageError, match=r"HDU .* is no image, it cannot be the flag"
    ):
        flags_in(tmp_path / "a.fits", flags_hdu="FLAGS")
    table.name = "UNCERT"
    fits.HDUList([fits.PrimaryHDU(np.ones((2, 3))), table]).writeto(tmp_path / "b.fits")
    with pytest.raises(NoImageError, match=r"'UNCERT' is no image.* the uncertainty"):
        open_frame(tmp_path / "b.fits", unit="adu", want_uncertainty=True)


def test_which_uncertainty(tmp_path, rng):
    ccd = image_of(rng)
    hdus = ccd.to_hdu()
    other = fits.ImageHDU(np.full(SHAPE, 5.0), name="ERR")
    fits.HDUList([*hdus, other]).writeto(tmp_path / "a.fits")
    for hdu, expected in (("ERR", 25.0), (-1, 25.0), (("ERR", 1), 25.0), (None, None)):
        frame = open_frame(
            tmp_path / "a.fits", want_uncertainty=True, hdu_uncertainty=hdu
        )
        variance = frame.read(0, 1).variance()
        assert variance is None if expected is None else variance[0, 0] == expected
        frame.close()


@pytest.mark.parametrize(
    "name, cards, kind",
    [
        ("UNCERT", {}, "std"),
        ("UNCERT", {"UTYPE": "VarianceUncertainty"}, "var"),
        ("UNCERT", {"UTYPE": "InverseVariance"}, "ivar"),
        ("UNCERT", {"UTYPE": "UnknownUncertainty"}, "unknown"),
        ("UNCERT", {"UTYPE": "Spectrum"}, "unknown"),
        ("UNCERT", {"MYTYPE": "VarianceUncertainty"}, "std"),
        ("VAR", {}, "var"),
        ("variance", {}, "var"),
        ("IVAR", {}, "ivar"),
        ("ERR", {}, "std"),
        ("VAR", {"UTYPE": "StdDevUncertainty"}, "std"),
    ],
)
def test_kind_of_uncertainty(tmp_path, name, cards, kind, monkeypatch):
    hdus = [fits.PrimaryHDU(np.ones(SHAPE)), fits.ImageHDU(np.full(SHAPE, 2.0))]
    hdus[1].header.update(cards)
    hdus[1].name = name
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    how = {"unit": "adu", "hdu_uncertainty": name, "want_uncertainty": True}
    frame = open_frame(tmp_path / "a.fits", **how)
    assert frame.uncertainty_type == kind
    frame.close()
    if "MYTYPE" in cards:
        frame = open_frame(tmp_path / "a.fits", key_uncertainty_type="MYTYPE", **how)
        assert frame.uncertainty_type == "var"
        frame.close()
    monkeypatch.setattr(files_fits, "scan", lambda *args: None)
    frame = open_frame(tmp_path / "a.fits", **how)
    assert frame.uncertainty_type == kind
    if kind == "unknown":
        with pytest.raises(TypeError, match=r"a\.fits has an uncertainty of unknown"):
            frame.read(0, 1).variance()
    frame.close()


def test_images_of_an_hdu_list(rng):
    hdus = image_of(rng).to_hdu()
    hdus.append(fits.ImageHDU(np.zeros(SHAPE, "i2"), name="DQ"))
    hdus.append(fits.ImageHDU(np.zeros(SHAPE, "i2"), name="FLAGS"))
    hdus.append(fits.ImageHDU(np.zeros(SHAPE, "i2"), name="SCI"))
    assert [hdu.name for hdu in expand_inputs(hdus)] == ["PRIMARY", "SCI"]


@pytest.mark.parametrize("first", ["MASK", "UNCERT", "DQ", "FLAGS", "PSFIMAGE"])
@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_what_belongs_to_an_image_is_none(tmp_path, first, kind):
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "T1", "BUNIT": "adu"})
    data = np.arange(77, dtype="i2").reshape(SHAPE)
    beside = fits.ImageHDU(np.zeros(SHAPE, "u1"), name=first)
    path = tmp_path / "a.fits"
    fits.HDUList([primary, beside, kind(data, name="SCI")]).writeto(path)
    frame = open_frame(path, hdu_psf="PSFIMAGE", **WANTED)
    np.testing.assert_array_equal(frame.data(), data)
    assert frame.has_flags == (first in ("DQ", "FLAGS"))
    assert frame.header["TELESCOP"] == "T1"
    template = frame.template()
    np.testing.assert_array_equal(template.data, data)
    assert template.unit == u.adu
    assert template.header["TELESCOP"] == "T1"
    frame.close()
    # one that was asked for is one, and so is one that is all there is
    frame = open_frame(path, hdu=1, unit="adu", hdu_mask=None)
    np.testing.assert_array_equal(frame.data(), beside.data)
    frame.close()
    fits.HDUList([primary, beside]).writeto(tmp_path / "b.fits")
    frame = open_frame(tmp_path / "b.fits", hdu_mask=None)
    np.testing.assert_array_equal(frame.data(), beside.data)
    np.testing.assert_array_equal(frame.template().data, beside.data)
    frame.close()
