# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames in FITS files give what astropy reads, and clear errors."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.fits import (
    FitsFrame,
    SectionFrame,
    open_frame,
    open_frames,
)
from imcombiners_astro.files.layout import NoImageError, NotFITSError
from imcombiners_astro.frames import CCDFrame, fold, strips

SHAPE = (7, 11)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def raw_pixels(rng, bitpix, shape=SHAPE):
    if bitpix < 0:
        dtype = f">f{-bitpix // 8}"
        values = rng.normal(1000, 300, shape).astype(dtype)
        values.flat[-1] = np.nan
        values.flat[0] = np.inf
        return values
    dtype = np.dtype("u1" if bitpix == 8 else f">i{bitpix // 8}")
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype.newbyteorder("="))
    values = values.astype(dtype)
    values.flat[:3] = limits.min, limits.max, 7
    return values


def write_raw(path, raw, **cards):
    """Write pixels as they are with cards that say what they mean."""
    hdu = fits.PrimaryHDU(raw)
    lines = str(hdu.header).rstrip()
    header = fits.Header.fromstring(lines)
    for key, value in cards.items():
        header[key] = value
    data = raw.tobytes()
    path.write_bytes(header.tostring().encode() + data + bytes(-len(data) % 2880))
    return path


def read_all(frame, height=3, buffered=True):
    n_rows, n_columns = fold(frame.shape)
    pieces = []
    for start in range(0, n_rows, height):
        stop = min(start + height, n_rows)
        buffer = np.empty((stop - start) * frame.row_nbytes + 5, np.uint8)
        strip = frame.read(start, stop, buffer if buffered else None)
        assert strip.pixels.shape == (stop - start, n_columns)
        pieces.append(strip.values().copy())
    values = np.empty((n_rows, n_columns), pieces[0].dtype)
    return np.concatenate(pieces, out=values).reshape(frame.shape)


def assert_as_astropy(path, kind=FitsFrame | SectionFrame, **keywords):
    expected = CCDData.read(path, **keywords)
    frame = open_frame(path, **keywords)
    try:
        assert isinstance(frame, kind)
        assert frame.shape == expected.shape
        assert frame.dtype == expected.data.dtype
        assert frame.unit == expected.unit
        for buffered in (True, False):
            values = read_all(frame, buffered=buffered)
            assert values.dtype == expected.data.dtype
            np.testing.assert_array_equal(values, expected.data)
        data = frame.data()
        assert data.dtype == expected.data.dtype
        np.testing.assert_array_equal(data, expected.data)
        mask = frame.read(0, fold(frame.shape)[0]).mask
        if expected.mask is None:
            assert mask is None
        else:
            assert mask.dtype == bool
            np.testing.assert_array_equal(mask.reshape(frame.shape), expected.mask)
        template = frame.template()
        assert template.header == expected.header
        np.testing.assert_array_equal(template.data, expected.data)
    finally:
        frame.close()


SCALINGS = {
    "as is": {},
    "BZERO and BSCALE": {"BZERO": 12.25, "BSCALE": 0.1},
    "BZERO": {"BZERO": -3},
    "BSCALE": {"BSCALE": 1.7},
    "large BZERO": {"BZERO": 2147483648, "BSCALE": 3},
    "BLANK": {"BLANK": 7},
    "BLANK 0": {"BLANK": 0},
    "BLANK too large": {"BLANK": 2**63 - 1},
    "BLANK and BSCALE": {"BLANK": 7, "BSCALE": 2.0, "BZERO": 1.0},
}


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


def fixed_mask():
    mask = np.zeros(SHAPE, "u1")
    mask[2, 3] = 1
    mask[4, 5] = 128
    return mask


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


def multi_extension(path, rng):
    primary = fits.PrimaryHDU()
    primary.header["BUNIT"] = "electron"
    primary.header["OBSERVER"] = "me"
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    one = fits.ImageHDU(rng.integers(0, 9, SHAPE).astype("u2"), name="SCI")
    two = fits.ImageHDU(rng.normal(size=SHAPE), name="SCI", ver=2)
    two.header["BUNIT"] = "adu"
    fits.HDUList([primary, table, one, two]).writeto(path)


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


# --- frames in memory ------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["?", "u1", ">i2", "f2", "f4", "f8", "i8"])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 4)])
def test_ccd_frame(rng, dtype, shape):
    data = rng.integers(0, 2, shape).astype(dtype)
    ccd = CCDData(data, unit="adu", mask=data == 0)
    frame = CCDFrame(ccd, "img_list[0]")
    assert (frame.shape, frame.dtype) == (shape, data.dtype)
    assert frame.row_nbytes == (4 * fold(shape)[1] if dtype == "f2" else 0)
    np.testing.assert_array_equal(read_all(frame, 1), data)
    strip = frame.read(0, fold(shape)[0])
    np.testing.assert_array_equal(strip.mask.reshape(shape), ccd.mask)
    if dtype != "f2":
        assert np.shares_memory(strip.pixels, data)
        assert np.shares_memory(strip.mask, ccd.mask)
    assert frame.data() is ccd.data
    template = frame.template()
    assert not np.shares_memory(template.data, data)


def test_ccd_frame_of_a_view(rng):
    cube = rng.normal(size=(4, 6, 8))
    data = cube[::2, 1:5, ::-1]
    frame = CCDFrame(CCDData(data, unit="adu"), "x")
    np.testing.assert_array_equal(read_all(frame, 3), data)
    plane = CCDFrame(CCDData(cube[0, ::2, 1::3], unit="adu"), "x")
    assert np.shares_memory(plane.read(1, 2).pixels, cube)


def test_masks_in_memory(rng):
    data = rng.normal(size=SHAPE)
    assert CCDFrame(NDData(data, mask=False), "x").read(0, 7).mask is None
    assert CCDFrame(NDData(data, mask=True), "x").read(0, 7).mask.all()
    bits = np.arange(77).reshape(SHAPE) % 3
    strip = CCDFrame(NDData(data, mask=bits), "x").read(2, 5)
    np.testing.assert_array_equal(strip.mask, bits[2:5] != 0)
    with pytest.raises(ValueError, match=r"img_list\[2\]: the mask has shape \(3, 3\)"):
        CCDFrame(NDData(data, mask=np.zeros((3, 3), bool)), "img_list[2]")


def test_wrong_data_in_memory():
    with pytest.raises(TypeError, match=r"x: .*complex128"):
        CCDFrame(NDData(np.zeros((2, 2), complex)), "x")
    with pytest.raises(ValueError, match=r"x: .*one number"):
        CCDFrame(NDData(np.array(1.0)), "x")


def test_crop(tmp_path, rng):
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(rng.normal(size=SHAPE)),
            fits.ImageHDU(fixed_mask(), name="MASK"),
        ]
    )
    hdus.writeto(tmp_path / "a.fits")
    expected = CCDData.read(tmp_path / "a.fits", unit="adu")
    hdus = fits.open(tmp_path / "a.fits")
    for item in (tmp_path / "a.fits", expected, hdus):
        frame = open_frame(item, unit="adu")
        frame.crop_to((5, 6))
        assert frame.shape == (5, 6)
        np.testing.assert_array_equal(read_all(frame), expected.data[:5, :6])
        np.testing.assert_array_equal(frame.read(0, 5).mask, expected.mask[:5, :6])
        assert frame.data().shape == SHAPE
        for shape in ((8, 6), (5, 12), (3,)):
            with pytest.raises(ValueError, match="has no part"):
                frame.crop_to(shape)
        frame.close()
    hdus.close()


# --- errors ------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fits"):
        open_frame(tmp_path / "nothing.fits", unit="adu")


def test_directory(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        open_frame(tmp_path, unit="adu")


@pytest.mark.parametrize("content", [b"", b"hello", 9000 * b"x"])
@pytest.mark.parametrize("name", ["a.fits", "a.txt"])
def test_not_fits(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotFITSError, match=f"{name} is not a FITS file") as info:
        open_frame(tmp_path / name, unit="adu")
    assert isinstance(info.value, OSError)
    assert isinstance(info.value, IORegistryError)  # as from CCDData.read


@pytest.mark.parametrize("length", [2880, 5000, 9000])
def test_truncated(tmp_path, rng, length):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 32, (50, 50)), BUNIT="adu")
    content = path.read_bytes()
    path.write_bytes(content[:length])
    message = rf"a\.fits is truncated: its header needs 12880 bytes, found {length}"
    with pytest.raises(OSError, match=message):
        open_frame(path)


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_truncated_mask_and_header(tmp_path, rng):
    ccd = CCDData(rng.normal(size=(50, 50)), unit="adu", mask=np.ones((50, 50), bool))
    ccd.write(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content[: len(content) - 2880])
    with pytest.raises(OSError, match=r"a\.fits is truncated"):
        open_frame(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(content[:400])
    with pytest.raises(OSError, match=r"b\.fits cannot be read: "):
        open_frame(tmp_path / "b.fits")


def test_no_image(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(NoImageError, match=r"a\.fits has no image, only 0 \(PRIMARY"):
        open_frame(tmp_path / "a.fits", unit="adu")
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    table.writeto(tmp_path / "b.fits")
    with pytest.raises(NoImageError, match=r"b\.fits has no image.*BinTableHDU"):
        open_frame(tmp_path / "b.fits", unit="adu")
    with pytest.raises(NoImageError, match=r"b\.fits: HDU 1 has no image"):
        open_frame(tmp_path / "b.fits", unit="adu", hdu=1)
    with pytest.raises(TypeError, match="img_list\\[1\\] is an HDU without an image"):
        open_frames([fits.PrimaryHDU(np.ones((2, 2))), table], unit="adu")


def test_no_such_hdu(tmp_path, rng):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), BUNIT="adu")
    with pytest.raises(IndexError, match=r"a\.fits has no HDU 7"):
        open_frame(path, hdu=7)
    with pytest.raises(KeyError, match=r"a\.fits has no HDU 'SCI'"):
        open_frame(path, hdu="SCI")


def test_mask_of_wrong_shape(tmp_path):
    for mask in (fits.ImageHDU, fits.CompImageHDU):
        hdus = [fits.PrimaryHDU(np.ones((4, 4))), mask(np.zeros((2, 2), "u1"))]
        hdus[1].header["EXTNAME"] = "MASK"
        fits.HDUList(hdus).writeto(tmp_path / "a.fits", overwrite=True)
        with pytest.raises(ValueError, match=r"a\.fits: the mask has shape \(2, 2\)"):
            open_frame(tmp_path / "a.fits", unit="adu")


def test_mask_that_is_a_table(tmp_path):
    table = fits.BinTableHDU.from_columns(
        [fits.Column("x", "J", array=[1, 2])], name="MASK"
    )
    fits.HDUList([fits.PrimaryHDU(np.ones((4, 4))), table]).writeto(tmp_path / "a.fits")
    with pytest.raises(NoImageError, match="HDU 'MASK' is no image"):
        open_frame(tmp_path / "a.fits", unit="adu")


def test_unusable_keywords(tmp_path, rng):
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), BUNIT="adu")
    before = path.read_bytes()
    for key in ("do_not_scale_image_data", "scale_back"):
        with pytest.raises(TypeError, match=f"unsupported keyword: {key}"):
            open_frame(path, **{key: True})
    for mode in ("update", "append", "ostream"):
        with pytest.raises(ValueError, match=f"mode='{mode}'"):
            open_frame(path, mode=mode)
    assert path.read_bytes() == before
    assert_as_astropy(path, mode="readonly", memmap=True, nonsense=1)
    assert_as_astropy(path, ignore_missing_simple=True)


def test_wrong_items():
    with pytest.raises(TypeError, match=r"img_list\[0\] must be .* found ndarray"):
        open_frames([np.ones((2, 2))])


def test_nothing_stays_open_after_an_error(tmp_path, rng):
    # an open file would be a ResourceWarning, which is an error here
    good = write_raw(tmp_path / "a.fits", raw_pixels(rng, 16), BUNIT="adu")
    bad = write_raw(tmp_path / "b.fits", raw_pixels(rng, 16))
    with pytest.raises(ValueError, match=r"b\.fits"):
        open_frames([good, good, bad])


@pytest.mark.parametrize("through_astropy", [False, True])
def test_file_that_gets_shorter(tmp_path, rng, monkeypatch, through_astropy):
    if through_astropy:
        monkeypatch.setattr(files_fits, "scan", lambda *args: None)
    paths = []
    for k in range(3):
        raw = raw_pixels(rng, 32, (400, 300))
        paths.append(write_raw(tmp_path / f"{k}.fits", raw, BUNIT="adu"))
    frames = open_frames(paths)
    with pytest.raises(OSError, match=r"1\.fits is truncated"):
        for start, _, planes in strips(frames, 1e9, target=100_000):
            assert len(planes) == 3
            if start == 0:
                with open(paths[1], "rb+") as file:
                    file.truncate(250_000)
    for frame in frames:
        frame.close()


def test_file_that_is_replaced(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("imcombiners_astro.files.parking.MAX_OPEN", 0)
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 32), BUNIT="adu")
    other = write_raw(tmp_path / "b.fits", raw_pixels(rng, 32), BUNIT="adu")
    frame = open_frame(path)
    frame.read(0, 1)
    other.replace(path)
    with pytest.raises(OSError, match=r"a\.fits was replaced"):
        frame.read(0, 1)
    frame.close()


def test_section_frame_without_a_slot(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("imcombiners_astro.files.parking.MAX_OPEN", 0)
    data = rng.integers(0, 9, (20, 30)).astype("i2")
    fits.CompImageHDU(data).writeto(tmp_path / "a.fits")
    assert_as_astropy(tmp_path / "a.fits", SectionFrame, hdu=1, unit="adu")


def test_astropy_warning_for_odd_truncation(tmp_path, rng):
    # the header is one that only astropy understands; its warning comes first
    path = write_raw(tmp_path / "a.fits", raw_pixels(rng, 32, (50, 50)), BUNIT="adu")
    path.write_bytes(path.read_bytes()[:5000])
    with (
        pytest.warns(AstropyUserWarning, match="truncated"),
        pytest.raises(OSError, match=r"a\.fits is truncated"),
    ):
        open_frame(path, ignore_missing_simple=True)


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
