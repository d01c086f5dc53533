# Licensed under a 3-clause BSD style license - see LICENSE
"""A combined image comes back from its file as it went, to the bit."""

import gzip
import os

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    FlagCollection,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.table import MaskedColumn, QTable, Table
from astropy.wcs import WCS
from combined import (
    N,
    assert_same,
    assert_same_header,
    assert_same_tables,
    assert_same_wcs,
    bits,
    make,
    round_trip,
    sky,
    table,
)

from imcombiners_astro import CombinedCCDData
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.errors import CombineWarning


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(
    "uncertainty", [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
def test_everything(tmp_path, dtype, uncertainty):
    result = make(dtype=dtype, uncertainty=uncertainty)
    before = result.copy()
    back = round_trip(result, tmp_path / "a.fits")
    assert_same(result, back)
    # Writing leaves the image as it was, and what was read can be written again.
    assert_same(before, result)
    assert_same(result, round_trip(back, tmp_path / "b.fits"))
    assert sorted(os.listdir(tmp_path)) == ["a.fits", "b.fits"]


@pytest.mark.parametrize("name", ["a.fits.gz", "a.fit", "A.FITS"])
def test_suffixes(tmp_path, name):
    result = make()
    assert_same(result, round_trip(result, tmp_path / name))
    if name.endswith("gz"):
        assert gzip.decompress((tmp_path / name).read_bytes())[:6] == b"SIMPLE"


@pytest.mark.parametrize("shape", [(40,), (3, 5, 9), (1, 8), (8, 1), (600, 700)])
def test_shapes(tmp_path, shape):
    result = make(shape)
    assert_same(result, round_trip(result, tmp_path / "a.fits"))


@pytest.mark.parametrize("name", [*DIAGNOSTICS, "frames", "mask", "uncertainty", "wcs"])
def test_each_alone_and_absent(tmp_path, name):
    value = {"uncertainty": StdDevUncertainty(np.ones((5, 9)))}.get(name)
    value = getattr(make(), name) if value is None else value
    alone = CombinedCCDData(np.ones((5, 9)), unit="adu", **{name: value})
    assert_same(alone, round_trip(alone, tmp_path / "a.fits"))
    without = make()
    setattr(without, name, None)
    assert_same(without, round_trip(without, tmp_path / "b.fits"))


def test_nothing_at_all(tmp_path):
    result = CombinedCCDData(np.ones((5, 9)), unit="adu")
    assert_same(result, round_trip(result, tmp_path / "a.fits"))
    with fits.open(tmp_path / "a.fits") as hdus:
        assert len(hdus) == 1


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f8", ">i2"]
)
def test_types_of_data(tmp_path, dtype):
    data = np.arange(45).reshape(5, 9).astype(dtype)
    data[0, :2] = [np.iinfo(dtype).min, np.iinfo(dtype).max] if "f" not in dtype else 7
    back = round_trip(make(data=data), tmp_path / "a.fits")
    assert np.array_equal(back.data, data)
    assert back.data.dtype == data.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "unit", ["", "electron", "electron / adu", "1e-3 Jy", "Jy / beam", "%", "adu2 / s"]
)
def test_units(tmp_path, unit):
    result = make(unit=unit)
    result.header["BUNIT"] = "erg"  # left over from an input
    back = round_trip(result, tmp_path / "a.fits")
    assert_same(result, back)
    with fits.open(tmp_path / "a.fits") as hdus:
        assert ("BUNIT" in hdus["STD"].header) == ("BUNIT" in hdus[0].header)
        assert ("BUNIT" in hdus[0].header) == (unit != "")


def test_unit_as_argument(tmp_path):
    make(unit="").write(tmp_path / "a.fits")
    assert CombinedCCDData.read(tmp_path / "a.fits", unit="Jy").unit == u.Jy


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "u2", "i2"])
def test_scaling_left_over_in_the_header(tmp_path, dtype):
    # The header of the first image may be that of a file of scaled integers.
    header = fits.Header({"BSCALE": 2.0, "BZERO": 32768.0, "BLANK": 5, "A": 1})
    data = np.arange(45).reshape(5, 9).astype(dtype)
    back = round_trip(make(data=data, header=header), tmp_path / "a.fits")
    assert bits(back.data) == bits(data)
    assert back.header["A"] == 1


def test_header_that_is_a_dict(tmp_path):
    result = make(
        header={
            "OBJECT": "M 1",
            "date-obs": "2021-03-04",
            "VALUE": 1 / 3,
            "bzero": 32768,
        }
    )
    back = round_trip(result, tmp_path / "a.fits")
    header = fits.Header()
    header["OBJECT"], header["DATE-OBS"], header["VALUE"] = "M 1", "2021-03-04", 1 / 3
    assert_same_header(header, back.header)


# The times of the combination are in its header; those of the first frame, in the WCS,
# must not get into the file.
def test_times_are_those_of_the_header(tmp_path):
    first = {"DATE-OBS": "2019-01-01T00:00:00", "MJD-OBS": 58484.0}
    wcs = sky(**first, **{"XPOSURE": 600.0, "TELAPSE": 601.0, "TIMESYS": "TT"})
    result = make(wcs=wcs)
    back = round_trip(result, tmp_path / "a.fits")
    assert_same(result, back)
    with fits.open(tmp_path / "a.fits") as hdus:
        header = hdus[0].header
        assert header["DATE-OBS"] == result.header["DATE-OBS"]
        assert header["DATE-END"] == result.header["DATE-END"]
        assert header["MJD-AVG"] == result.header["MJD-AVG"]
        assert header["TIMESYS"] == "TT"
        assert not {"MJD-OBS", "MJD-END", "XPOSURE", "TELAPSE", "DATE-AVG"} & set(
            header
        )


def test_wcs_with_sip_and_cd(tmp_path):
    wcs = WCS(
        fits.Header(
            {
                "CTYPE1": "RA---TAN-SIP",
                "CTYPE2": "DEC--TAN-SIP",
                "CRVAL1": 50.0 / 3,
                "CRVAL2": -5.2,
                "CRPIX1": 3.3,
                "CRPIX2": 2.2,
                "CD1_1": -1e-5 / 3,
                "CD1_2": 1e-9 / 3,
                "CD2_1": 2e-9 / 3,
                "CD2_2": 1e-5 / 7,
                "A_ORDER": 2,
                "B_ORDER": 2,
                "A_2_0": 1e-7 / 7,
                "B_0_2": 1e-7 / 3,
            }
        )
    )
    wcs.sip.a[2, 0] = 1.2345678901234567e-7
    back = round_trip(make(wcs=wcs), tmp_path / "a.fits")
    assert np.array_equal(back.wcs.sip.a, wcs.sip.a)
    assert np.array_equal(back.wcs.sip.b, wcs.sip.b)
    assert_same_wcs(wcs, back.wcs)
    assert not {"A_2_0", "CD1_1", "PC1_1", "CRVAL1"} & set(back.header)


@pytest.mark.parametrize("rotation", ["CD1_2", "CROTA2"])
def test_header_that_repeats_the_wcs(tmp_path, rotation):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0})
    header[rotation] = 0.125
    for keyword in ("CD1_1", "CD2_2") if rotation == "CD1_2" else ("CDELT1", "CDELT2"):
        header[keyword] = 1e-3 / 3
    result = make(wcs=WCS(header), header=header)
    back = round_trip(result, tmp_path / "a.fits")
    assert_same_wcs(result.wcs, back.wcs)
    # One form of the matrix, as the standard wants it.
    written = set(fits.getheader(tmp_path / "a.fits"))
    assert "PC1_2" in written
    assert not {"CD1_1", "CD2_2", "CD1_2", "CROTA2"} & written
    assert "CRVAL1" not in back.header


def test_wcs_with_parameters_of_the_projection(tmp_path):
    wcs = sky(CTYPE1="RA---ZPN", CTYPE2="DEC--ZPN", PV2_1=1.0, PV2_3=50.0 / 3)
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 500.0 / 3)])
    wcs.wcs.set()
    result = make(wcs=wcs)
    assert_same(result, round_trip(result, tmp_path / "a.fits"))


def test_slice_and_scaled(tmp_path):
    whole = make(psf=None)
    for result in (whole[1:4, 2:], whole.multiply(2.0), whole[::2], whole[:, 3:3]):
        assert_same(result, round_trip(result, tmp_path / "a.fits", overwrite=True))


# Flags


def test_flags_of_booleans(tmp_path):
    result = make(flags=np.eye(5, 9) > 0)
    assert_same(result, round_trip(result, tmp_path / "a.fits"))


def test_collection_of_flags(tmp_path):
    flags = FlagCollection(shape=(5, 9))
    flags["Hot pixel"] = np.eye(5, 9) > 0
    flags["count"] = np.arange(45, dtype=np.uint16).reshape(5, 9)
    back = round_trip(make(flags=flags), tmp_path / "a.fits").flags
    assert isinstance(back, FlagCollection)
    assert [*back] == [*flags]
    for name in flags:
        assert bits(back[name]) == bits(flags[name])


def test_flags_that_fits_cannot_hold(tmp_path):
    result = make(flags=np.full((5, 9), "good"))
    with pytest.warns(CombineWarning, match="flags of type <U4 cannot be written"):
        result.write(tmp_path / "a.fits")
    assert CombinedCCDData.read(tmp_path / "a.fits").flags is None


# Frames


def test_other_tables(tmp_path):
    names = ["/données/é.fits", "b\\x.fits", "c", ""]
    for frames in (
        Table({"name": names}),
        Table({"name": MaskedColumn(names, mask=[0, 0, 0, 1])}),
        Table({"name": ["b\\xe9", "c", "d", ""]}),
        Table({"a": MaskedColumn([1.0] * N, mask=True), "b": MaskedColumn([0] * N)}),
        Table({"a.mask": [1, 2, 3, 4]}),
    ):
        result = make(frames=frames)
        assert_same(result, round_trip(result, tmp_path / "a.fits", overwrite=True))


def test_table_of_quantities(tmp_path):
    result = make(frames=QTable({"exposure": [1.0, 2.0, 3.0, 4.0] * u.s}))
    back = round_trip(result, tmp_path / "a.fits")
    assert_same_tables(Table(result.frames), back.frames)


def test_table_for_other_programs(tmp_path):
    make().write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        data = hdus["FRAMES"].data
        assert data["name"].tolist() == table()["name"].tolist()
        assert np.isnan(data["exposure"][2])
        assert data["exposure.mask"].tolist() == [False, False, True, False]
        assert hdus["FRAMES"].columns["exposure"].unit == "s"
        assert hdus["FRAMES"].columns["rejected"].unit == "%"
