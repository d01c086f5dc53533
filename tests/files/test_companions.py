# Licensed under a 3-clause BSD style license - see LICENSE
"""Uncertainties and flags beside the images of files, read in strips with them."""

import gzip
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    FlagCollection,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from companions import SHAPE, UNCERTAINTIES, WANTED, image_of, write

from imcombiners_astro import combine
from imcombiners_astro.dq import bad_samples
from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.fits import (
    FitsFrame,
    SectionFrame,
    open_frame,
    open_frames,
)
from imcombiners_astro.frames import fold, plan_strips, strips

VARIANCE = {"std": lambda x: x**2, "var": lambda x: x, "ivar": lambda x: 1 / x}


@pytest.fixture
def rng():
    return np.random.default_rng(56)


def pieces(frame, get, height=3, buffered=True):
    """What `get` finds in strips of a few rows, put together again."""
    n_rows, _ = fold(frame.shape)
    found = []
    for start in range(0, n_rows, height):
        stop = min(start + height, n_rows)
        # one byte more, to see that the end of the buffer does not matter
        buffer = np.full((stop - start) * frame.buffer_nbytes + 1, 255, np.uint8)
        found.append(get(frame.read(start, stop, buffer if buffered else None)).copy())
    return np.concatenate(found).reshape(frame.shape)


def assert_reads(frame, ccd, kind, flags):
    expected = VARIANCE[kind](ccd.uncertainty.array.astype(float))
    assert (frame.uncertainty_type, frame.has_flags) == (kind, flags is not None)
    assert not frame.flags_are_mask
    for buffered in (True, False):
        for height in (1, 3, 100):
            how = height, buffered
            values = pieces(frame, lambda s: s.values(), *how)
            np.testing.assert_array_equal(values, ccd.data)
            variance = pieces(frame, lambda s: s.variance(), *how)
            np.testing.assert_allclose(variance, expected, rtol=1e-14)
            assert variance.dtype.isnative
            raw = pieces(frame, lambda s: s.uncertainty, *how)
            np.testing.assert_array_equal(raw, ccd.uncertainty.array)
            if ccd.mask is not None:
                mask = pieces(frame, lambda s: s.mask, *how)
                np.testing.assert_array_equal(mask, ccd.mask)
            if flags is not None:
                found = pieces(frame, lambda s: s.flags, *how)
                np.testing.assert_array_equal(found, flags)
                assert found.dtype.kind == "u"


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [SHAPE, (5,), (2, 3, 5)])
def test_everything(tmp_path, rng, kind, dtype, shape, monkeypatch):
    ccd = image_of(rng, kind, shape, dtype)
    flags = rng.integers(0, 2**15, shape).astype("u2")
    write(tmp_path / "a.fits", ccd, flags)
    for way in ("scan", "astropy"):
        if way == "astropy":
            monkeypatch.setattr(files_fits, "scan", lambda *args: None)
        frame = open_frame(tmp_path / "a.fits", **WANTED)
        assert isinstance(frame, FitsFrame)
        assert_reads(frame, ccd, kind, flags)
        frame.close()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_types_of_flags(tmp_path, rng, dtype):
    flags = rng.integers(0, 128, SHAPE).astype(dtype)
    ccd = image_of(rng)
    write(tmp_path / "a.fits", ccd, flags)
    frame = open_frame(tmp_path / "a.fits", **WANTED)
    assert isinstance(frame, FitsFrame)
    assert_reads(frame, ccd, "std", flags)
    frame.close()
    flags[3, 4] = -1 if dtype[0] == "i" else np.iinfo(dtype).max
    write(tmp_path / "b.fits", ccd, flags)
    with fits.open(tmp_path / "b.fits") as hdus:
        frames = open_frame(tmp_path / "b.fits", **WANTED), open_frame(hdus, **WANTED)
        for frame in frames:
            if dtype == "u8":
                with pytest.raises(ValueError, match="may have up to 32 bits, found 1"):
                    frame.read(3, 4)
            else:
                bits = min(32, 8 * flags.dtype.itemsize)
                assert frame.read(3, 4).flags[0, 4] == 2**bits - 1
            frame.close()


@pytest.mark.parametrize("dtype", ["i2", "i4", "f8", "u1"])
def test_types_of_uncertainties(tmp_path, rng, dtype):
    ccd = image_of(rng, "var")
    ccd.uncertainty = VarianceUncertainty(rng.integers(1, 99, SHAPE).astype(dtype))
    write(tmp_path / "a.fits", ccd)
    frame = open_frame(tmp_path / "a.fits", **WANTED)
    assert_reads(frame, ccd, "var", None)
    frame.close()


def test_scaled_uncertainties(tmp_path, rng):
    ccd = image_of(rng)
    ccd.uncertainty = StdDevUncertainty(rng.integers(1, 99, SHAPE).astype("u2"))
    write(tmp_path / "a.fits", ccd, np.ones(SHAPE, "u2"))
    frame = open_frame(tmp_path / "a.fits", **WANTED)
    assert isinstance(frame, SectionFrame)
    assert_reads(frame, ccd, "std", np.ones(SHAPE))
    frame.close()


@pytest.mark.parametrize("what", ["image", "UNCERT", "DQ", "MASK"])
def test_tile_compressed(tmp_path, rng, what):
    ccd = image_of(rng, dtype="i2")
    flags = rng.integers(0, 9, SHAPE).astype("i2")
    write(tmp_path / "a.fits", ccd, flags)
    with fits.open(tmp_path / "a.fits") as hdus:
        if what == "image":
            data = hdus[0].data
            hdus[0] = fits.PrimaryHDU()
            hdus.insert(1, fits.CompImageHDU(data, name="SCI"))
            hdus["SCI"].header["BUNIT"] = "adu"
        else:
            old = hdus[what]
            new = fits.CompImageHDU(
                old.data, old.header, compression_type="GZIP_1", quantize_level=0
            )
            hdus[hdus.index_of(what)] = new
        hdus.writeto(tmp_path / "b.fits")
    frame = open_frame(tmp_path / "b.fits", **WANTED)
    assert isinstance(frame, SectionFrame)
    assert_reads(frame, ccd, "std", flags)
    # pixels, uncertainties, flags, mask; and a mask and a copy of the flags
    extra = frame.row_nbytes - frame.buffer_nbytes
    assert extra == 11 * (1 if what == "DQ" else 5)
    assert frame.buffer_nbytes >= 11 * (2 + 4 + 2 + 1)
    frame.close()


def test_hdus_in_memory(tmp_path, rng):
    ccd = image_of(rng, "ivar")
    flags = rng.integers(0, 9, SHAPE).astype("u1")
    write(tmp_path / "a.fits", ccd, flags)
    with fits.open(tmp_path / "a.fits") as hdus:
        frame = open_frame(hdus, **WANTED)
        assert_reads(frame, ccd, "ivar", flags)
        assert frame.header["BUNIT"] == "adu"
        frame.close()
        # one HDU has no others beside it
        frame = open_frame(hdus[0], **WANTED)
        assert (frame.uncertainty_type, frame.has_flags) == (None, False)
        assert frame.read(0, 7).flags is None
    memory = ccd.to_hdu()
    memory.append(fits.ImageHDU(flags, name="dq"))
    assert_reads(open_frame(memory, **WANTED), ccd, "ivar", flags)


def test_packed(tmp_path, rng):
    ccd = image_of(rng)
    flags = rng.integers(0, 9, SHAPE).astype("i2")
    write(tmp_path / "a.fits", ccd, flags)
    packed = tmp_path / "a.fits.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    frame = open_frame(packed, **WANTED)
    assert_reads(frame, ccd, "std", flags)
    assert frame.header["BUNIT"] == "adu"
    frame.close()


def test_crop(tmp_path, rng):
    ccd = image_of(rng)
    flags = rng.integers(0, 9, SHAPE).astype("u2")
    write(tmp_path / "a.fits", ccd, flags)
    with fits.open(tmp_path / "a.fits") as hdus:
        for item in (tmp_path / "a.fits", hdus):
            frame = open_frame(item, **WANTED)
            frame.crop_to((5, 6))
            strip = frame.read(2, 5)
            expected = ccd.uncertainty.array[2:5, :6].astype(float) ** 2
            np.testing.assert_array_equal(strip.variance(), expected)
            np.testing.assert_array_equal(strip.flags, flags[2:5, :6])
            frame.close()


def test_nothing_asked_for(tmp_path, rng):
    write(tmp_path / "a.fits", image_of(rng), np.zeros(SHAPE, "f4"))
    frame = open_frame(tmp_path / "a.fits")
    assert (frame.uncertainty_type, frame.has_flags) == (None, False)
    strip = frame.read(0, 7)
    assert strip[3:] == (None,) * 6
    assert strip.variance() is None
    assert frame.row_nbytes == 11 * (4 + 1)
    frame.close()


def test_nothing_there(tmp_path, rng):
    CCDData(np.ones(SHAPE), unit="adu").write(tmp_path / "a.fits")
    frame = open_frame(tmp_path / "a.fits", **WANTED)
    assert (frame.uncertainty_type, frame.has_flags) == (None, False)
    strip = frame.read(0, 7)
    assert strip[1:] == (None,) * 8
    assert frame.row_nbytes == 11 * 8
    frame.close()


# --- units -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, unit",
    [("std", "mJy"), ("var", "mJy2"), ("ivar", "mJy-2"), ("var", "mJy*mJy")],
)
def test_unit_of_uncertainty(tmp_path, rng, kind, unit):
    ccd = image_of(rng, kind, unit="Jy")
    path = write(tmp_path / "a.fits", ccd, BUNIT=unit)
    expected = VARIANCE[kind](ccd.uncertainty.array.astype(float)) * 1e-6
    frame = open_frame(path, want_uncertainty=True)
    np.testing.assert_allclose(frame.read(0, 7).variance(), expected, rtol=1e-14)
    frame.close()
    # the unit that is given counts for the uncertainty too
    frame = open_frame(path, want_uncertainty=True, unit="adu")
    assert frame.unit == u.adu
    np.testing.assert_allclose(frame.read(0, 7).variance(), expected * 1e6, rtol=1e-14)
    frame.close()


def test_unit_copied_from_the_image(tmp_path, rng):
    ccd = image_of(rng, "var")
    path = write(tmp_path / "a.fits", ccd, BUNIT="ADU")
    frame = open_frame(path, want_uncertainty=True)
    np.testing.assert_array_equal(frame.read(0, 7).variance(), ccd.uncertainty.array)
    frame.close()


def test_wrong_unit_of_uncertainty(tmp_path, rng):
    path = write(tmp_path / "a.fits", image_of(rng), BUNIT="s")
    with pytest.raises(TypeError, match=r"a\.fits: the uncertainty .* is in s, expect"):
        open_frame(path, want_uncertainty=True)
    open_frame(path).close()
    path = write(tmp_path / "b.fits", image_of(rng), BUNIT="apples")
    with pytest.raises(ValueError, match=r"BUNIT \(apples\) of the uncertainty in .*b"):
        open_frame(path, want_uncertainty=True)


def test_units_of_files_and_images(tmp_path, rng):
    write(tmp_path / "a.fits", image_of(rng, unit="mJy"))
    with fits.open(tmp_path / "a.fits") as hdus:
        for item, name in ((tmp_path / "a.fits", r"a\.fits"), (hdus, "x")):
            frame = open_frame(item, "x")
            frame.to_unit(u.Jy, "b.fits")
            assert frame.unit_factor == 1e-3
            message = rf"b\.fits is in electron, .*{name} in mJy"
            with pytest.raises(TypeError, match=message):
                frame.to_unit(u.electron, "b.fits")
            frame.close()


def test_errors_in_memory_that_are_copied_count(rng):
    errors = rng.uniform(1, 2, (600, 600)).astype(">f4")

    def peak(array):
        hdus = [
            fits.HDUList([fits.PrimaryHDU(errors), fits.ImageHDU(array, name="UNCERT")])
            for _ in range(16)
        ]
        tracemalloc.start()
        result = combine(hdus, unit="adu", uncertainty="propagate", mem_limit=8e6)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top, result.uncertainty.array

    (rows, expected), (columns, found) = peak(errors), peak(np.asfortranarray(errors))
    np.testing.assert_array_equal(found, expected)
    assert columns < rows + 2e6


# --- headers -----------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_header(tmp_path, compressed):
    primary = fits.PrimaryHDU()
    primary.header.update({"EXPTIME": 30.0, "GAIN": 9.0, "BUNIT": "adu"})
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    image = kind(np.ones(SHAPE, "i2"), name="SCI")
    image.header["GAIN"] = 1.5
    fits.HDUList([primary, image]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        for item in (tmp_path / "a.fits", hdus):
            for hdu in (0, 1):
                frame = open_frame(item, hdu=hdu, unit="adu")
                assert frame.header["GAIN"] == 1.5
                assert frame.header["EXPTIME"] == 30.0
                assert frame.header is frame.header
                frame.close()
        alone = open_frame(hdus[1], unit="adu")
        assert alone.header["GAIN"] == 1.5
        assert "EXPTIME" not in alone.header
        assert "EXPTIME" not in hdus[1].header


# --- errors ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_flags_that_are_no_integers(tmp_path, rng, dtype):
    write(tmp_path / "a.fits", image_of(rng), np.zeros(SHAPE, dtype))
    with fits.open(tmp_path / "a.fits") as hdus:
        for item, name in ((tmp_path / "a.fits", r"a\.fits"), (hdus, "flat 3")):
            with pytest.raises(TypeError, match=f"{name}: the flags must be integers"):
                open_frame(item, "flat 3", want_flags=True)
            open_frame(item).close()


def test_flags_with_a_scale(tmp_path, rng):
    write(tmp_path / "a.fits", image_of(rng), np.zeros(SHAPE, "i2"))
    with fits.open(tmp_path / "a.fits", "update", do_not_scale_image_data=True) as hdus:
        hdus["DQ"].header["BSCALE"] = 0.5
    with pytest.raises(TypeError, match="the flags must be integers, found dtype floa"):
        open_frame(tmp_path / "a.fits", want_flags=True)


@pytest.mark.parametrize("way", [fits.ImageHDU, fits.CompImageHDU])
@pytest.mark.parametrize("name, what", [("UNCERT", "uncertainty has"), ("DQ", "flags")])
def test_wrong_shapes(tmp_path, way, name, what):
    other = way(np.ones((2, 2), "i2"), name=name)
    fits.HDUList([fits.PrimaryHDU(np.ones(SHAPE)), other]).writeto(tmp_path / "a.fits")
    message = rf"a\.fits: the {what}.* shape \(2, 2\), the data \(7, 11\)"
    with pytest.raises(ValueError, match=message):
        open_frame(tmp_path / "a.fits", unit="adu", **WANTED)


def test_negative_variance(tmp_path, rng):
    ccd = image_of(rng, "var", mask=False)
    ccd.uncertainty.array[5, 6] = -0.5
    for name in ("a.fits", "b.fits"):
        write(tmp_path / name, ccd)
        ccd.uncertainty.array[5, 6] = 0.5
    frames = open_frames([tmp_path / "b.fits", tmp_path / "a.fits"], **WANTED)
    with pytest.raises(ValueError, match=r"a\.fits: found a negative variance, -0\.5"):
        for start, _, planes in strips(frames, 1e6, target=1):
            assert start <= 5
            for strip in planes:
                strip.variance()
    for frame in frames:
        frame.close()


@pytest.mark.parametrize("cut, name", [(1, "DQ"), (2, "UNCERT"), (3, "MASK")])
def test_truncated(tmp_path, rng, cut, name):
    ccd = image_of(rng, shape=(50, 50))
    write(tmp_path / "a.fits", ccd, np.ones((50, 50), "i2"))
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus = sorted(hdus, key=lambda hdu: hdu.fileinfo()["datLoc"])
        place = hdus[-cut].fileinfo()["datLoc"]
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content[: place + 10])
    with pytest.raises(OSError, match=r"a\.fits is truncated"):
        open_frame(tmp_path / "a.fits", **WANTED)


def test_nothing_stays_open_after_an_error(tmp_path, rng):
    # an open file would be a ResourceWarning, which is an error here
    good = write(tmp_path / "a.fits", image_of(rng), np.ones(SHAPE, "i2"))
    bad = write(tmp_path / "b.fits", image_of(rng), np.ones(SHAPE, "f4"))
    with pytest.raises(TypeError, match=r"b\.fits"):
        open_frames([good, bad], **WANTED)


# --- memory ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["std", "var"])
@pytest.mark.parametrize("source", ["files", "compressed", "memory"])
def test_memory_of_strips(tmp_path, rng, kind, source):
    shape, n_frames, limit = (600, 1000), 4, 3e6
    items = []
    for k in range(n_frames):
        ccd = image_of(rng, kind, shape, "f4")
        ccd.flags = (rng.random(shape) < 0.01) * np.int64(4)
        path = tmp_path / f"{k}.fits"
        if source == "memory":
            items.append(ccd)
            continue
        hdus = ccd.to_hdu()
        hdus.append(fits.ImageHDU(ccd.flags.astype("u2"), name="DQ"))
        if source == "compressed":
            hdus[-1] = fits.CompImageHDU(ccd.flags.astype("u2"), name="DQ")
        hdus.writeto(path)
        items.append(path)
    frames = open_frames(items, **WANTED)
    plan = plan_strips(frames, limit)
    assert plan.n_strips > 5
    tracemalloc.start()
    for _, _, planes in strips(frames, limit):
        kept = [
            (strip.errors(), bad_samples(frame, strip, 0))
            for frame, strip in zip(frames, planes, strict=True)
        ]
        assert len(kept) == n_frames
        del kept
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # the thread and its queues, and what one frame needs for a moment
    assert peak < limit + 100_000
    for frame in frames:
        frame.close()


def test_the_same_from_files_and_from_memory(tmp_path, rng):
    items = {"files": [], "memory": []}
    for k, kind in enumerate(UNCERTAINTIES):
        ccd = image_of(rng, kind)
        ccd.flags = rng.integers(0, 9, SHAPE).astype("u2")
        items["memory"].append(ccd)
        items["files"].append(write(tmp_path / f"{k}.fits", ccd, ccd.flags))
    found = {}
    for source in items:
        frames = open_frames(items[source], **WANTED)
        found[source] = [
            (strip.variance(), bad_samples(frame, strip, 4), strip.flags)
            for frame, strip in ((frame, frame.read(0, 7)) for frame in frames)
        ]
        for frame in frames:
            frame.close()
    for one, other in zip(*found.values(), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_flag_collection_and_files(tmp_path, rng):
    # FLAGS_... of CCDData.write are arrays of their own, no bits of one array
    flags = FlagCollection(shape=SHAPE)
    flags["HOT"] = np.ones(SHAPE, "i2")
    ccd = image_of(rng)
    ccd.flags = flags
    assert open_frame(ccd, want_flags=True).has_flags
    assert open_frame(NDData(ccd), want_flags=True).has_flags is False
