# Licensed under a 3-clause BSD style license - see LICENSE
"""What is wrong with a FITS file is found and named."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from fits_images import assert_as_astropy, raw_pixels, write_raw

from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.fits import (
    SectionFrame,
    open_frame,
    open_frames,
)
from imcombiners_astro.files.layout import NoImageError, NotFITSError
from imcombiners_astro.frames import strips


@pytest.fixture
def rng():
    return np.random.default_rng(20)


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
