# Licensed under a 3-clause BSD style license - see LICENSE
"""Sections of images: IRAF's and NumPy's notation, and what is read of a frame."""

from itertools import pairwise

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.files.fits import open_frame
from imcombiners_astro.frames import CCDFrame, fold
from imcombiners_astro.sections import (
    parse_section,
    read_section,
    section_chunks,
    section_text,
)

SHAPE = (40, 60)


def pixels(shape=SHAPE):
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


def frame_of(data, **ccd):
    return CCDFrame(CCDData(data, unit="adu", **ccd), "img_list[0]")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("[*,*]", np.s_[:, :]),
        ("[1:60,1:40]", np.s_[:, :]),
        ("[11:20,5:5]", np.s_[4:5, 10:20]),
        (" [ 60 , 1:40:7 ] ", np.s_[0:40:7, 59:60]),
        ("[*:3,-*]", np.s_[:, ::3]),
        ("[20:11,40:1]", np.s_[:, 10:20]),
        # 10, 7, 4, 1 whichever way round
        ("[10:1:3,2:9:3]", np.s_[1:9:3, 0:10:3]),
        ("[9:1:3,1:2]", np.s_[0:2, 2:9:3]),
    ],
)
def test_iraf_section(text, index):
    data = pixels()
    found = data[parse_section(text, SHAPE)]
    assert np.array_equal(found, data[index])


@pytest.mark.parametrize(
    "index",
    [
        np.s_[3:9, 10:20],
        np.s_[-5:, :-3],
        np.s_[::4, ::-7],
        np.s_[10],
        np.s_[-1:, 59],
        np.s_[2:30],
        slice(2, 30),
    ],
)
def test_numpy_section(index):
    data = pixels()
    found = data[parse_section(index, SHAPE)]
    assert set(found.ravel()) == set(np.ravel(data[index]))
    assert found.size == np.size(data[index])


def test_text_says_the_same_as_slices():
    slices = parse_section(np.s_[4:10:3, :20], SHAPE)
    assert section_text(slices) == "[1:20,5:8:3]"
    assert parse_section(section_text(slices), SHAPE) == slices


@pytest.mark.parametrize(
    "section",
    [
        "[1:61,1:40]",
        "[0:10,1:40]",
        "[1:60,41]",
        np.s_[0:41, :],
        np.s_[:, -61:],
        np.s_[40],
        np.s_[5:5, :],
        np.s_[9:3, :],
    ],
)
def test_section_outside_names_both(section):
    with pytest.raises(ValueError, match=r"statsec=.*empty or reaches outside") as info:
        parse_section(section, SHAPE)
    assert "(40, 60) (NAXIS1 = 60, NAXIS2 = 40)" in str(info.value)
    if isinstance(section, str):
        assert section in str(info.value)


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ("1:10,1:10", ValueError, "expected a section such as"),
        ("overlap", ValueError, "expected a section such as"),
        ("[1:10]", ValueError, "has 1 ranges, the images have 2 axes"),
        ("[1:10,1:5,1:2]", ValueError, "has 3 ranges"),
        ("[a:b,1:5]", ValueError, "'a:b' is no range"),
        ("[1:10:0,1:5]", ValueError, "outside"),
        (np.s_[1:2, 1:2, 1:2], ValueError, "has 3 slices"),
        (np.s_[::0, :], TypeError, "statsec=.*zero"),
        (slice("a", None), TypeError, "statsec="),
        (3.5, TypeError, "statsec: found 3.5"),
        ([slice(1, 2)], TypeError, "statsec: found"),
        ((True, slice(None)), TypeError, "statsec: found"),
    ],
)
def test_section_that_is_none(section, error, message):
    with pytest.raises(error, match=message):
        parse_section(section, SHAPE)


@pytest.mark.parametrize(
    ("shape", "section"),
    [
        ((500,), "[11:490:7]"),
        ((40, 60), "[3:50:2,7:33:5]"),
        ((40, 60), None),
        ((5, 20, 30), "[2:29,4:18:3,2:5:2]"),
        ((2, 3, 20, 30), "[5:30,1:20,2:3,1:2]"),
    ],
)
def test_read_section(shape, section):
    data = pixels(shape)
    mask = data % 7 == 0
    frame = frame_of(data, mask=mask)
    slices = parse_section(section, shape)
    values, bad = read_section(frame, slices)
    assert np.array_equal(values, data[slices])
    assert np.array_equal(bad, mask[slices])


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8", "u1", "i4"])
def test_section_of_a_file(tmp_path, dtype):
    data = pixels().astype(dtype)
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(data).writeto(path)
    frame = open_frame(str(path), "a.fits", unit="adu")
    slices = parse_section("[3:50:2,7:33:5]", SHAPE)
    values, bad = read_section(frame, slices)
    frame.close()
    assert np.array_equal(values, data[slices])
    assert values.dtype.isnative
    assert not bad.any()


def test_what_is_bad():
    data = pixels((3, 4))
    data[0, 0], data[1, 1] = np.nan, np.inf
    frame = frame_of(data)
    whole = parse_section(None, data.shape)
    expected = ~np.isfinite(data)
    assert np.array_equal(read_section(frame, whole)[1], expected)
    expected |= (data < 2) | (data > 9)
    assert np.array_equal(read_section(frame, whole, thresholds=(2, 9))[1], expected)


def test_flags_make_bad():
    flags = np.arange(12).reshape(3, 4)
    ccd = CCDData(pixels((3, 4)), unit="adu", flags=flags)
    frame = CCDFrame(ccd, "a", want_flags=True)
    whole = parse_section("[2:4,1:3]", (3, 4))
    _, bad = read_section(frame, whole, ignored=4)
    assert np.array_equal(bad, ((flags & ~4) != 0)[:, 1:])


class Watched(CCDFrame):
    """A frame that remembers which rows were read."""

    def read(self, start, stop, buffer=None):
        self.seen = [*getattr(self, "seen", []), (start, stop)]
        return super().read(start, stop, buffer)


def rows_read(shape, section):
    frame = Watched(CCDData(np.zeros(shape), unit="adu"), "a")
    read_section(frame, parse_section(section, shape))
    return frame.seen


def test_only_the_rows_of_the_section_are_read():
    assert rows_read((100, 8), "[3:4,21:30]") == [(20, 30)]
    assert rows_read((3, 100, 8), "[*,21:30,2:3]") == [(120, 130), (220, 230)]
    assert rows_read((100,), "[21:30]") == [(20, 30)]


def test_rows_far_apart_are_read_one_by_one():
    assert rows_read((100, 8), "[*,21:50:10]") == [(20, 21), (30, 31), (40, 41)]


def test_high_tiles_are_read_once(tmp_path):
    data = np.arange(1000 * 600).reshape(1000, 600).astype("i2")
    tiles = fits.CompImageHDU(data, tile_shape=(500, 600))
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(data).writeto(tmp_path / "b.fits")
    found = []
    for name in ("a.fits", "b.fits"):
        frame = open_frame(str(tmp_path / name), name, unit="adu")
        reads, real = [], frame.read
        frame.read = lambda *a, reads=reads, real=real: (reads.append(a), real(*a))[1]
        chunks = list(section_chunks(frame, parse_section(None, data.shape)))
        found.append([values.tobytes() for values, _ in chunks])
        assert len(reads) == (1 if name == "a.fits" else len(chunks)) < 10
        frame.close()
    assert found[0] == found[1]


@pytest.mark.parametrize("step", [1, 3])
def test_rows_are_read_a_few_at_a_time(step):
    shape = (6000, 1000)
    seen = rows_read(shape, f"[*,11:5990:{step}]")
    assert len(seen) > 3
    assert seen[0][0] == 10
    assert 5990 - step < seen[-1][1] <= 5990
    for (_, stop), (start, _) in pairwise(seen):
        assert start - stop == step - 1
    assert max(b - a for a, b in seen) * fold(shape)[1] * 8 <= 8 * 2**20
