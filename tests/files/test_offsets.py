# Licensed under a 3-clause BSD style license - see LICENSE
"""Shifted images, against images that are filled up with NaN to the same size."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from shifted import FOOTPRINTS, MAPS, assert_same, box, draw, filled_up, written

from imcombiners_astro import (
    AvSigClip,
    CombinedCCDData,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
    combine,
    place_into_padded,
)
from imcombiners_astro.flags import SampleFlags

CLIP = SigClip(sigma=1.3, stdfunc="mad")

# ------------------------------------------------------------------ footprints


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("footprint", FOOTPRINTS)
def test_same_as_filled_up(footprint, ndim):
    for number in range(4):
        rng = np.random.default_rng([number, ndim])
        size = (40, 14, 9, 6)[ndim - 1]
        images, offsets = draw(rng, ndim=ndim, size=size, reach=max(1, size // 6))
        keywords = {"rejectors": CLIP, "diagnostics": "full"}
        got = combine(images, offsets=offsets, footprint=footprint, **keywords)
        filled = filled_up(images, offsets, footprint)
        assert_same(got, combine(filled, **keywords), MAPS)


@pytest.mark.parametrize("footprint", FOOTPRINTS)
def test_files_in_strips(tmp_path, footprint):
    rng = np.random.default_rng(5)
    images, offsets = draw(rng, dtype="u2", size=40, reach=12)
    paths = written(images, tmp_path)
    expected = combine(filled_up(images, offsets, footprint), rejectors=CLIP)
    for mem_limit in (1, 20_000, 1e9):
        for n_threads in (1, 2):
            got = combine(
                paths,
                offsets=offsets,
                footprint=footprint,
                rejectors=CLIP,
                mem_limit=mem_limit,
                n_threads=n_threads,
            )
            assert_same(got, expected)


def test_packed_files(tmp_path):
    images, offsets = draw(np.random.default_rng(30), dtype="i2", size=40, n=4)
    images = [CCDData(image.data, unit="adu", mask=image.data < 0) for image in images]
    expected = combine(filled_up(images, offsets))
    paths = [str(tmp_path / name) for name in ("0.fits", "1.fits.gz", "2.fz", "3.fz")]
    for image, path in zip(images, paths, strict=True):
        hdu = fits.ImageHDU if "fits" in path else fits.CompImageHDU
        hdus = [fits.PrimaryHDU(), hdu(image.data)]
        fits.HDUList(hdus).writeto(path)
    for mem_limit in (1, 1e9):
        got = combine(paths, offsets=offsets, mem_limit=mem_limit, hdu=1, unit="adu")
        assert_same(got, expected)


@pytest.mark.parametrize("footprint", FOOTPRINTS)
def test_cubes_in_strips(tmp_path, footprint):
    rng = np.random.default_rng(6)
    images, offsets = draw(rng, ndim=3, size=10, reach=2, dtype="f4")
    paths = written(images, tmp_path)
    filled = filled_up(images, offsets, footprint)
    expected = combine(filled, method="median", diagnostics="full")
    for mem_limit in (1, 10_000, 1e9):
        keywords = {"footprint": footprint, "mem_limit": mem_limit}
        keywords |= {"method": "median", "diagnostics": "full"}
        assert_same(combine(paths, offsets=offsets, **keywords), expected, MAPS)


def test_images_that_do_not_touch():
    rng = np.random.default_rng(7)
    images, _ = draw(rng, n=3)
    offsets = [(0, 0), (30, 5), (-25, -40)]
    got = combine(images, offsets=offsets, diagnostics="full")
    assert_same(got, combine(filled_up(images, offsets), diagnostics="full"), MAPS)
    assert got.n_used.max() == 1
    with pytest.raises(ValueError, match=r"no pixel that all 3 .* have none in common"):
        combine(images, offsets=offsets, footprint="intersection")
    first = combine(images, offsets=offsets, footprint="first", diagnostics="full")
    good = np.isfinite(images[0].data) & ~images[0].mask
    np.testing.assert_array_equal(first.n_used, good)
    assert not first.frames["n_used"][1:].any()


def test_offsets_that_must_be_wrong():
    images, _ = draw(np.random.default_rng(31), n=2)
    offsets = [(0, 0), (2**40, -(2**40))]
    with pytest.raises(ValueError, match=r"would have the shape .* more than an array"):
        combine(images, offsets=offsets)
    first = combine(images, offsets=offsets, footprint="first")
    np.testing.assert_array_equal(
        first.data, np.where(images[0].mask, np.nan, images[0].data)
    )


def test_a_frame_is_read_only_where_it_is(tmp_path, monkeypatch):
    from imcombiners_astro.files.fitsframes import FitsFrame

    images, _ = draw(np.random.default_rng(8), n=3, size=20, same=True, dtype="i2")
    paths, seen = written(images, tmp_path), []
    read = FitsFrame.read

    def watch(frame, start, stop, buffer=None):
        seen.append((frame.name, start, stop))
        return read(frame, start, stop, buffer)

    monkeypatch.setattr(FitsFrame, "read", watch)
    offsets = [(0, 0), (100, 0), (5, 50)]
    combine(paths, offsets=offsets, mem_limit=1)
    for path in paths:
        rows = [row for name, a, b in seen if name == path for row in range(a, b)]
        assert sorted(rows) == list(range(20))


def test_offsets_are_relative_to_the_first_image():
    images, offsets = draw(np.random.default_rng(9))
    plain = combine(images, offsets=offsets)
    moved = np.add(offsets, [1000, -77])
    assert_same(combine(images, offsets=moved), plain)
    assert_same(combine(images, offsets=moved.tolist()), plain)
    assert_same(combine(images, offsets=moved.astype("i2")), plain)


def test_zero_offsets_are_none():
    images, _ = draw(np.random.default_rng(10), same=True)
    keywords = {"sigma_clip": True, "diagnostics": "full"}
    keywords |= {"sigma_clip_low_thresh": 1.5, "sigma_clip_high_thresh": 1.5}
    expected = combine(images, **keywords)
    for footprint in FOOTPRINTS:
        got = combine(images, offsets=[(0, 0)] * 7, footprint=footprint, **keywords)
        assert_same(got, expected, MAPS)


# ------------------------------------------------------------------- rejection


@pytest.mark.parametrize(
    "keywords",
    [
        {"method": "median"},
        {"method": "sum"},
        {"clip_extrema": True},
        {"minmax_clip": True, "minmax_clip_min": 980, "minmax_clip_max": 1200},
        {"sigma_clip": True, "sigma_clip_func": "median", "sigma_clip_dev_func": "std"}
        | {"sigma_clip_low_thresh": 1.2, "sigma_clip_high_thresh": 1.3},
        {"rejectors": [MinMaxClip(1, 0), CLIP], "thresholds": (950, 1250)},
        {"rejectors": AvSigClip(sigma=1.5)},
        {"rejectors": [PClip(sigma=1), LinearClip(0.9, 1.1)]},
        {"rejectors": SigClip(sigma=1.5, grow=2.5)},
        {"rejectors": [SigClip(sigma=1.5, grow=1), SigClip(sigma=2, grow=1)]},
        {"scale": "median", "zero": "mode", "rejectors": CLIP},
        {"scale": [1, 2, 3, 4, 5, 6, 7.0], "sigma_clip": True, "clip_scaled": True}
        | {"sigma_clip_func": "mean", "sigma_clip_dev_func": "mad_std"},
        {"scale": [1, 2, 3, 4, 5, 6, 7.0], "sigma_clip": True}
        | {"sigma_clip_func": "mean", "sigma_clip_dev_func": "std"}
        | {"sigma_clip_low_thresh": 0.8, "sigma_clip_high_thresh": 0.9},
        {"weights": np.arange(1.0, 8), "blank": -1},
        {"uncertainty": "noise", "gain": 1.5, "readnoise": 4},
        {"uncertainty": None, "blank": 7},
    ],
    ids=str,
)
def test_every_way_to_reject(tmp_path, keywords):
    rng = np.random.default_rng(11)
    images, offsets = draw(rng, size=30, reach=9)
    keywords = keywords | {"diagnostics": "full"}
    expected = combine(filled_up(images, offsets), **keywords)
    size = expected.data.size
    paths = written(images, tmp_path)
    limited = {"mem_limit": 30_000, "n_threads": 2}
    for given, more in ((images, {}), (paths, limited)):
        got = combine(given, offsets=offsets, **keywords, **more)
        assert_same(got, expected, MAPS)
        np.testing.assert_array_equal(got.frames["n_used"], expected.frames["n_used"])
        for name in ("rejected_low", "rejected_high"):
            found = [got.frames[name][k] * im.data.size for k, im in enumerate(images)]
            np.testing.assert_allclose(found, expected.frames[name] * size, rtol=1e-12)


@pytest.mark.parametrize("footprint", FOOTPRINTS)
def test_growth_stays_in_the_frame(footprint):
    rng = np.random.default_rng(12)
    images, offsets = draw(rng, size=30, reach=5)
    keywords = {"rejectors": SigClip(sigma=1.5, grow=3), "diagnostics": "full"}
    got = combine(images, offsets=offsets, footprint=footprint, **keywords)
    assert_same(got, combine(filled_up(images, offsets, footprint), **keywords), MAPS)
    absent = np.isnan([i.data for i in filled_up(images, offsets, footprint)])
    assert not (got.sample_flags[absent] & SampleFlags.GROW).any()


def test_the_default_clipping_ignores_what_is_not_there():
    # Its functions let a NaN spoil a pixel, but there is none.
    rng = np.random.default_rng(13)
    images, offsets = draw(rng)
    for image in images:
        image.data[...] = np.nan_to_num(image.data, nan=1000.0)
    limits = {"sigma_clip_low_thresh": 1.0, "sigma_clip_high_thresh": 1.2}
    got = combine(images, offsets=offsets, sigma_clip=True, **limits)
    plain = {"sigma_clip_func": "mean", "sigma_clip_dev_func": "std"}
    filled = filled_up(images, offsets)
    assert_same(got, combine(filled, sigma_clip=True, **limits, **plain))


def test_functions_of_the_caller():
    def center(stack, axis=0):
        return np.nanpercentile(np.ma.filled(stack, np.nan), 40, axis=axis)

    def spread(stack, axis=0):
        return np.nanstd(np.ma.filled(stack, np.nan), axis=axis) / 2

    rng = np.random.default_rng(14)
    images, offsets = draw(rng, size=20)
    keywords = {
        "sigma_clip": True,
        "sigma_clip_func": center,
        "sigma_clip_dev_func": spread,
        "combine_uncertainty_function": np.nanstd,
    }
    for more in ({}, {"diagnostics": "full"}):
        got = combine(images, offsets=offsets, **keywords, **more)
        expected = combine(filled_up(images, offsets), **keywords, **more)
        assert_same(got, expected, MAPS if more else ())


# --------------------------------------------- masks, flags, variances, weights


@pytest.mark.parametrize(
    "keywords",
    [
        {"uncertainty": "propagate"},
        {"weights": "ivar", "uncertainty": "propagate"},
        {"ignore_flags": 2, "rejectors": CLIP},
        {"least_bad": [2, 4], "thresholds": (950, 1300)},
        {"ignore_flags": 0, "method": "median", "uncertainty": "propagate"},
    ],
    ids=str,
)
def test_what_belongs_to_the_samples(keywords):
    for footprint in FOOTPRINTS:
        images, offsets = draw(np.random.default_rng(15), size=20, reach=4, full=True)
        keywords = keywords | {"diagnostics": "full"}
        got = combine(images, offsets=offsets, footprint=footprint, **keywords)
        expected = combine(filled_up(images, offsets, footprint), **keywords)
        assert_same(got, expected, (*MAPS, "output_dq"))
        if "uncertainty" not in keywords:
            np.testing.assert_array_equal(got.flags, expected.flags)


def test_companions_in_files(tmp_path):
    images, offsets = draw(np.random.default_rng(16), size=20, full=True)
    paths = written(images, tmp_path)
    for path, image in zip(paths, images, strict=True):
        bits = image.flags.astype("i4")
        fits.append(path, bits, fits.Header({"EXTNAME": "DQ"}))
    keywords = {"uncertainty": "propagate", "ignore_flags": 0, "diagnostics": "full"}
    expected = combine(filled_up(images, offsets), **keywords)
    for mem_limit in (1, 1e9):
        got = combine(paths, offsets=offsets, mem_limit=mem_limit, **keywords)
        assert_same(got, expected, (*MAPS, "output_dq"))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_weights_of_samples(ndim, tmp_path):
    rng = np.random.default_rng([17, ndim])
    size, reach = ((50, 6), (20, 6), (8, 2))[ndim - 1]
    images, offsets = draw(rng, ndim=ndim, size=size, reach=reach, same=True)
    weights = rng.uniform(0.1, 2, (7, *images[0].shape))
    padded = place_into_padded(weights, offsets, fill=1)
    paths = written(images, tmp_path)
    for footprint in FOOTPRINTS:
        part = box(images, offsets, footprint)
        if any(axis.stop <= axis.start for axis in part):
            continue
        expected = combine(
            filled_up(images, offsets, footprint), weights=padded[(slice(None), *part)]
        )
        for given, mem_limit in ((images, 1e9), (paths, 1)):
            keywords = {"footprint": footprint, "mem_limit": mem_limit}
            got = combine(given, offsets=offsets, weights=weights, **keywords)
            assert_same(got, expected)
    with pytest.raises(ValueError, match="1D weights expected"):
        smaller = [*images[:-1], images[-1][:3]]
        combine(smaller, offsets=offsets, weights=weights)


def test_statistics_are_of_the_pixels_of_each_image():
    rng = np.random.default_rng(18)
    images, offsets = draw(rng, n=3)
    images = [CCDData(np.nan_to_num(im.data, nan=1e3), unit="adu") for im in images]
    for image, level in zip(images, (1, 2, 4), strict=True):
        image.data[2:5, 1:6] = 100 * level
    keywords = {"offsets": offsets, "diagnostics": "simple"}
    got = combine(images, scale="median", statsec="[2:6,3:5]", **keywords)
    np.testing.assert_array_equal(got.frames["scale"], [1, 2, 4])
    images[1] = images[1][:4]
    with pytest.raises(ValueError, match=r"img_list\[1\]: statsec"):
        combine(images, scale="median", statsec="[2:6,3:5]", **keywords)


def test_images_of_other_units():
    images, offsets = draw(np.random.default_rng(19), n=4)
    meters = [CCDData(im.data, unit="m", mask=im.mask) for im in images]
    for k in (1, 3):
        meters[k] = CCDData(images[k].data * 100, unit="cm", mask=images[k].mask)
    got = combine(meters, offsets=offsets)
    plain = combine(filled_up(images, offsets))
    np.testing.assert_allclose(got.data, plain.data, rtol=1e-12)


# ----------------------------------------------------------------- diagnostics


def test_the_table_of_the_frames(tmp_path):
    rng = np.random.default_rng(20)
    images, _ = draw(rng, n=3, same=True, size=10)
    for image in images:
        image.mask[...] = False
        image.data[...] = 100.0
    images[2].data[0, 0] = 1e5
    offsets = [(0, 0), (0, 0), (-4, 3)]
    keywords = {"rejectors": MinMaxClip(0, 1), "diagnostics": "full"}
    got = combine(images, offsets=offsets, footprint="first", **keywords)
    assert got.frames["offset"].tolist() == [[0, 0], [0, 0], [-4, 3]]
    assert got.frames["n_used"].sum() == got.n_used.sum()
    flags = got.sample_flags[2]
    covered = np.zeros((10, 10), bool)
    covered[:6, 3:] = True
    np.testing.assert_array_equal(flags == SampleFlags.NONFINITE, ~covered)
    rejected = (flags & SampleFlags.ALGORITHM) != 0
    per_cent = 100 * rejected.sum() / covered.sum()
    assert got.frames["rejected_high"][2] == pytest.approx(per_cent)
    got.write(tmp_path / "a.fits")
    again = CombinedCCDData.read(tmp_path / "a.fits")
    assert again.frames["offset"].tolist() == got.frames["offset"].tolist()
    assert "offset" not in combine(images, diagnostics="simple").frames.colnames


def test_the_header_tells_what_was_found():
    images, _ = draw(np.random.default_rng(21), n=3)
    for k, image in enumerate(images):
        image.header = fits.Header({"XOFF": 10 + 2 * k, "YOFF": -k})
    got = combine(images, offsets=("XOFF", "YOFF"), footprint="first")
    history = " ".join(got.header["HISTORY"])
    assert "offsets=(XOFF, YOFF)" in history
    assert "footprint=first" in history
    assert "offsets found: (0, 0), (-1, 2), (-2, 4)" in history


def test_flags_of_the_first_image_are_not_those_of_the_result():
    images, offsets = draw(np.random.default_rng(22), full=True)
    assert combine(images, offsets=offsets).flags is None


@pytest.mark.parametrize("mem_limit", [1, 1e9])
@pytest.mark.parametrize("shift", [-9, -4, -3, 3, 4, 9])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_image_beside_the_first_one(axis, shift, mem_limit):
    rng = np.random.default_rng(5)
    images = [CCDData(rng.normal(size=(3, 3, 3)), unit="adu") for _ in range(4)]
    offsets = np.zeros((4, 3), int)
    offsets[3, axis] = shift
    keywords = {
        "rejectors": SigClip(sigma=1, stdfunc="mad", grow=1),
        "diagnostics": "simple",
        "mem_limit": mem_limit,
    }
    found = combine(images, offsets=offsets, footprint="first", **keywords)
    assert found.mask_rej.shape == (4, 3, 3, 3)
    expected = combine(images[:3], **keywords)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.n_used, expected.n_used)
