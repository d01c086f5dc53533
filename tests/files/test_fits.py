# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames in FITS files give what astropy reads."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from fits_images import (
    SCALINGS,
    SHAPE,
    assert_as_astropy,
    fixed_mask,
    multi_extension,
    raw_pixels,
    read_all,
    write_raw,
)

from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.fits import (
    FitsFrame,
    SectionFrame,
    open_frame,
)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
@pytest.mark.parametrize("cards", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.filterwarnings("ignore:Invalid 'BLANK'")
# float32 from the extremes of large integers, in astropy as well
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_values_of_every_type(tmp_path, rng, bitpix, cards):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, bitpix), BUNIT="adu", **cards)
    assert_as_astropy(path, FitsFrame)


@pytest.mark.parametrize("bitpix, bzero", [(8, -128), (16, 2**15), (32, 2**31)])
@pytest.mark.parametrize("uint", [True, False])
def test_unsigned(tmp_path, rng, bitpix, bzero, uint):
    raw = raw_pixels(rng, bitpix)
    path = write_raw(tmp_path / "a.fits", raw, BZERO=bzero, BUNIT="adu")
    assert_as_astropy(path, uint=uint)


@pytest.mark.parametrize("bzero", [2**63, float(2**63)])
def test_unsigned_64_bits(tmp_path, rng, bzero):
    raw = raw_pixels(rng, 64)
    path = write_raw(tmp_path / "a.fits", raw, BZERO=bzero, BUNIT="adu")
    assert_as_astropy(path)


def test_unsigned_ignores_blank(tmp_path, rng):
    raw = raw_pixels(rng, 16)
    path = write_raw(tmp_path / "a.fits", raw, BZERO=32768, BLANK=7, BUNIT="adu")
    assert_as_astropy(path)


@pytest.mark.filterwarnings("ignore:Invalid value for 'BLANK'")
def test_blank_options(tmp_path, rng):
    raw = raw_pixels(rng, 16)
    path = write_raw(tmp_path / "a.fits", raw, BLANK=7, BUNIT="adu")
    assert_as_astropy(path, ignore_blank=True)
    path = write_raw(tmp_path / "b.fits", raw, BLANK="7", BUNIT="adu")
    assert_as_astropy(path)


@pytest.mark.parametrize(
    "dtype, exact", [("u1", 1), ("i1", 1), ("u2", 1), ("i2", 1), ("i4", 0), ("f4", 0)]
)
def test_exact16(tmp_path, dtype, exact):
    fits.PrimaryHDU(np.zeros((2, 3), dtype)).writeto(tmp_path / "a.fits")
    with_closing = open_frame(tmp_path / "a.fits", unit="adu")
    assert with_closing.exact16 == bool(exact)
    with_closing.close()


@pytest.mark.parametrize("shape", [(5,), (3, 4, 5), (2, 1, 3, 4), (1, 1)])
def test_any_number_of_axes(tmp_path, rng, shape):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, -32, shape), BUNIT="s")
    assert_as_astropy(path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_mask(tmp_path, rng, dtype):
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(rng.normal(size=SHAPE)),
            fits.ImageHDU(fixed_mask().astype(dtype), name="MASK"),
            fits.ImageHDU(1 - fixed_mask(), name="other"),
        ]
    )
    hdus.writeto(tmp_path / "a.fits")
    assert_as_astropy(tmp_path / "a.fits", unit="adu")
    assert_as_astropy(tmp_path / "a.fits", unit="adu", hdu_mask=None)
    assert_as_astropy(tmp_path / "a.fits", unit="adu", hdu_mask="Other")
    assert_as_astropy(tmp_path / "a.fits", unit="adu", hdu_mask="nothing")


def test_mask_that_is_scaled_or_the_image(tmp_path, rng):
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(rng.normal(size=SHAPE)),
            fits.ImageHDU(fixed_mask().astype("u2"), name="MASK"),
        ]
    )
    hdus.writeto(tmp_path / "a.fits")
    assert_as_astropy(tmp_path / "a.fits", SectionFrame, unit="adu")
    assert_as_astropy(tmp_path / "a.fits", SectionFrame, unit="adu", hdu=1)


def test_what_ccddata_writes(tmp_path, rng):
    ccd = CCDData(
        rng.normal(size=SHAPE).astype("f4"),
        unit="electron",
        mask=fixed_mask() > 0,
        uncertainty=StdDevUncertainty(np.ones(SHAPE)),
        wcs=WCS(naxis=2),
    )
    ccd.write(tmp_path / "a.fits")
    assert_as_astropy(tmp_path / "a.fits")


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("hdu", [2, 3, -1, "SCI", "sci", ("SCI", 2), ("SCI", 1)])
def test_choice_of_hdu(tmp_path, rng, hdu):
    multi_extension(tmp_path / "a.fits", rng)
    assert_as_astropy(tmp_path / "a.fits", hdu=hdu, unit="s")


def test_first_image_extension(tmp_path, rng):
    multi_extension(tmp_path / "a.fits", rng)
    assert_as_astropy(tmp_path / "a.fits")
    frame = open_frame(tmp_path / "a.fits")
    assert frame.unit == u.electron  # from the primary header
    frame.close()


def test_unit_rules(tmp_path, rng):
    raw = raw_pixels(rng, 16)
    path = write_raw(tmp_path / "a.fits", raw, BUNIT="ADU")
    assert_as_astropy(path)
    assert_as_astropy(path, unit="electron")
    assert_as_astropy(path, unit=u.s)
    path = write_raw(tmp_path / "b.fits", raw, BUNIT="ELECTRONS/S")
    assert_as_astropy(path)
    path = write_raw(tmp_path / "c.fits", raw, BUNIT="apples")
    with pytest.raises(ValueError, match=r"BUNIT \(apples\) in .*c\.fits"):
        open_frame(path)
    path = write_raw(tmp_path / "d.fits", raw)
    with pytest.raises(ValueError, match=r"unit for CCDData must.*d\.fits"):
        open_frame(path)
    path = write_raw(tmp_path / "e.fits", raw, BUNIT="")
    with pytest.raises(ValueError, match="unit for CCDData must"):
        open_frame(path)


ODD_CARDS = {
    "nothing odd": "BUNIT   = 'adu     '",
    "lower case": "bunit   = 'adu     '",
    "no blank": "BUNIT   ='adu     '",
    "comment": "BUNIT   = 'adu     '           / with a ' and a / in it",
    "quotes": "BUNIT   = 'adu'              / it''s",
    "free format": "BUNIT   =     'adu'",
    "D exponent": "BZERO   = 1.0D2",
    "exponent": "BZERO   = 1E2",
    "twice": "BZERO   = 5",
    "continued": "BUNIT   = 'adu&'",
    "not ASCII": "HISTORY \xe4",
    "hierarch": "HIERARCH ESO BUNIT x = 'm'",
}


@pytest.mark.parametrize("line", ODD_CARDS.values(), ids=ODD_CARDS)
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_unusual_cards(tmp_path, rng, line):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), AAA=0, BZERO=3)
    header = path.read_bytes()
    place = header.index(b"AAA ")
    new = line.ljust(80).encode("latin-1")
    path.write_bytes(header[:place] + new + header[place + 80 :])
    try:
        CCDData.read(path)
    except ValueError:
        assert_as_astropy(path, unit="adu")
    else:
        assert_as_astropy(path)


def test_long_header(tmp_path, rng):
    cards = {f"K{k}": k for k in range(1000)}
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 32), **cards)
    assert_as_astropy(path, unit="adu")


@pytest.mark.parametrize("length", range(350, 365))
def test_end_card_anywhere_in_a_block(tmp_path, length):
    header = fits.PrimaryHDU(np.arange(6, dtype="i2").reshape(2, 3)).header
    for k in range(length - len(header)):
        header[f"K{k}"] = "END" + 10 * " "
    fits.PrimaryHDU(np.arange(6, dtype="i2").reshape(2, 3), header).writeto(
        tmp_path / "a.fits"
    )
    assert_as_astropy(tmp_path / "a.fits", unit="adu")


def test_padding_may_be_missing(tmp_path, rng):
    raw = raw_pixels(rng, 16)
    path = write_raw(tmp_path / "a.fits", raw, BUNIT="adu")
    content = path.read_bytes()
    path.write_bytes(content[: 2880 + raw.nbytes])
    frame = open_frame(path)
    np.testing.assert_array_equal(read_all(frame), raw)
    frame.close()


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open])
def test_packed(tmp_path, rng, opener):
    multi_extension(tmp_path / "a.fits", rng)
    hdus = fits.open(tmp_path / "a.fits")
    hdus.append(fits.ImageHDU(fixed_mask(), name="MASK"))
    hdus.writeto(tmp_path / "b.fits")
    hdus.close()
    content = (tmp_path / "b.fits").read_bytes()
    with opener(tmp_path / "a.fits.packed", "wb") as file:
        file.write(content)
    assert_as_astropy(tmp_path / "a.fits.packed")
    assert_as_astropy(tmp_path / "a.fits.packed", hdu=("SCI", 2))


def test_packed_and_damaged(tmp_path, rng):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 64, (100, 100)), BUNIT="adu")
    content = gzip.compress(path.read_bytes())
    (tmp_path / "b.fits.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"b\.fits\.gz cannot be unpacked"):
        open_frame(tmp_path / "b.fits.gz")
    (tmp_path / "c.fits.gz").write_bytes(gzip.compress(path.read_bytes()[:9000]))
    with pytest.raises(OSError, match=r"c\.fits\.gz is truncated"):
        open_frame(tmp_path / "c.fits.gz")


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("shape", [(40, 50), (3, 8, 10)])
def test_tile_compressed(tmp_path, rng, dtype, shape):
    data = rng.integers(0, 9000, shape).astype(dtype)
    hdus = [
        fits.PrimaryHDU(),
        fits.CompImageHDU(data, compression_type="RICE_1"),
        fits.CompImageHDU((data > 8000).astype("u1"), name="MASK"),
    ]
    hdus[0].header["TELESCOP"] = "T1"
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert_as_astropy(tmp_path / "a.fits", SectionFrame, unit="adu", hdu=1)
    # which CCDData.read would not find
    frame = open_frame(tmp_path / "a.fits", unit="adu")
    expected = CCDData.read(tmp_path / "a.fits", unit="adu", hdu=1)
    np.testing.assert_array_equal(read_all(frame), expected.data)
    template = frame.template()
    assert template.header["TELESCOP"] == "T1"
    np.testing.assert_array_equal(template.mask, expected.mask)
    frame.close()


def test_damaged_tile(tmp_path, rng):
    data = rng.integers(0, 9000, (40, 500)).astype("i4")
    fits.CompImageHDU(data, compression_type="GZIP_1").writeto(tmp_path / "a.fits")
    content = bytearray((tmp_path / "a.fits").read_bytes())
    content[-9000:-6000] = 3000 * b"\xff"
    (tmp_path / "a.fits").write_bytes(content)
    frame = open_frame(tmp_path / "a.fits", unit="adu")
    with pytest.raises(OSError, match=r"a\.fits cannot be read"):
        read_all(frame)
    frame.close()


def test_remote(tmp_path, rng):
    fsspec = pytest.importorskip("fsspec")
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 32))
    with fsspec.open("memory://bucket/a.fits", "wb") as file:
        file.write(path.read_bytes())
    frame = open_frame("memory://bucket/a.fits", unit="adu", use_fsspec=True)
    expected = CCDData.read(path, unit="adu")
    assert isinstance(frame, SectionFrame)
    np.testing.assert_array_equal(read_all(frame), expected.data)
    assert frame.template().header == expected.header
    frame.close()


def test_hdus_in_memory(rng):
    data = rng.integers(0, 60000, SHAPE).astype("u2")
    for hdu in (
        fits.PrimaryHDU(data),
        fits.ImageHDU(data),
        fits.CompImageHDU(data),
        fits.HDUList([fits.PrimaryHDU(data)]),
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data)]),
    ):
        frame = open_frame(hdu, unit="adu")
        assert (frame.shape, frame.dtype, frame.exact16) == (SHAPE, np.uint16, True)
        assert frame.row_nbytes == 0
        np.testing.assert_array_equal(read_all(frame), data)
        np.testing.assert_array_equal(frame.data(), data)
        template = frame.template()
        np.testing.assert_array_equal(template.data, data)
        assert template.unit == u.adu
        frame.close()


@pytest.mark.parametrize("touched", [True, False])
def test_hdus_of_an_open_file(tmp_path, rng, touched):
    hdus = [
        fits.PrimaryHDU(rng.integers(0, 60000, SHAPE).astype("u2")),
        fits.ImageHDU(fixed_mask(), name="MASK"),
    ]
    hdus[0].header["BUNIT"] = "adu"
    hdus[0].header["GAIN"] = 1.5
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    expected = CCDData.read(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        if touched:
            assert hdus[0].data is not None
        frame = open_frame(hdus)
        np.testing.assert_array_equal(read_all(frame), expected.data)
        np.testing.assert_array_equal(frame.read(0, 7).mask, expected.mask)
        template = frame.template()
        assert template.header["GAIN"] == 1.5
        np.testing.assert_array_equal(template.mask, expected.mask)
        frame.close()
        frame = open_frame(hdus[0])
        np.testing.assert_array_equal(read_all(frame), expected.data)
        frame.close()
        assert hdus[0].data.shape == SHAPE  # still open


def test_hdu_of_a_closed_file(tmp_path, rng):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), BUNIT="adu")
    with fits.open(path, memmap=False) as hdus:
        hdu = hdus[0]
    with pytest.raises(OSError, match="img_list\\[3\\] cannot be read"):
        open_frame(hdu, "img_list[3]")


def test_file_objects(tmp_path, rng):
    raw = raw_pixels(rng, 16)
    path = write_raw(tmp_path / "a.fits", raw, BUNIT="adu")
    memory = io.BytesIO(path.read_bytes())
    with open(path, "rb") as file:
        for thing in (memory, file):
            frame = open_frame(thing)
            np.testing.assert_array_equal(read_all(frame), raw)
            assert frame.template().unit == u.adu
            frame.close()
            assert not thing.closed


def test_another_format_of_ccddata(tmp_path):
    from astropy.io import registry

    def reader(name, **keywords):
        return CCDData(np.loadtxt(name), unit="adu")

    path = tmp_path / "a.txt"
    path.write_text("1 2\n3 4\n")
    registry.register_reader("our-text", CCDData, reader)
    try:
        frame = open_frame(path, format="our-text")
        np.testing.assert_array_equal(read_all(frame), [[1, 2], [3, 4]])
        assert frame.name == str(path)
    finally:
        registry.unregister_reader("our-text", CCDData)


def test_home_directory(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), BUNIT="adu")
    frame = open_frame("~/a.fits")
    assert frame.shape == SHAPE
    frame.close()


# --- plain files are not given to astropy ----------------------------------------


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
def test_plain_files_are_scanned(tmp_path, rng, bitpix, monkeypatch):
    def no_open(*args, **keywords):
        raise AssertionError("astropy was asked")

    monkeypatch.setattr(files_fits.fits, "open", no_open)
    raw = raw_pixels(rng, bitpix)
    for k, cards in enumerate(SCALINGS.values()):
        cards = {key: cards[key] for key in cards if key != "BLANK" or bitpix > 0}
        path = write_raw(
            tmp_path / f"{k}.fits", raw, BUNIT="adu", AUTHOR="O''H", **cards
        )
        open_frame(path).close()


def test_both_ways_find_the_same(tmp_path, rng, monkeypatch):
    multi_extension(tmp_path / "a.fits", rng)
    ccd = CCDData(rng.normal(size=SHAPE), unit="adu", mask=fixed_mask() > 0)
    ccd.write(tmp_path / "b.fits")
    write_raw(tmp_path / "c.fits", raw_pixels(rng, 16), BZERO=32768, BUNIT="adu")
    found = []
    for scanned in (True, False):
        if not scanned:
            monkeypatch.setattr(files_fits, "scan", lambda *args: None)
        for name in ("a", "b", "c"):
            for hdu in (0, 2) if name == "a" else (0,):
                frame = open_frame(tmp_path / f"{name}.fits", hdu=hdu, unit="s")
                found.append((frame._image, frame._mask))
                frame.close()
    assert found[:4] == found[4:]
