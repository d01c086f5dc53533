# Licensed under a 3-clause BSD style license - see LICENSE
"""Shifted images, against images that are filled up with NaN to the same size."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS, DistortionLookupTable, Sip
from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS

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
from imcombiners_astro.errors import SubpixelOffsetWarning, UnusedOptionWarning
from imcombiners_astro.flags import SampleFlags

FOOTPRINTS = ["union", "intersection", "first"]
MAPS = (
    *("mask_rej", "sample_flags", "output_flags", "n_used", "low", "upp", "std", "nit"),
    *("n_rejected_low", "n_rejected_high"),
)
CLIP = SigClip(sigma=1.3, stdfunc="mad")


def draw(rng, n=7, ndim=2, size=14, reach=6, same=False, full=False, dtype="f8"):
    """Images of different shapes, and where they are."""
    images, offsets = [], []
    for k in range(n):
        low = size if same else size // 2 + 1
        shape = tuple(rng.integers(low, size + 1, ndim).tolist())
        data = (rng.normal(1000, 30, shape) + 40 * k).round().astype(dtype)
        image = CCDData(data, unit="adu", mask=rng.random(shape) < 0.05)
        if data.dtype.kind == "f":
            data[rng.random(shape) < 0.02] = np.nan
        if full:
            sigma = rng.uniform(1, 3, shape)
            image.uncertainty = StdDevUncertainty(sigma)
            image.flags = (rng.random(shape) < 0.1) * rng.choice([2, 4, 8], shape)
        images.append(image)
        offsets.append(tuple(rng.integers(-reach, reach + 1, ndim).tolist()))
    return images, offsets


def box(images, offsets, footprint):
    """What the footprint is of the union, as slices."""
    starts = np.subtract(offsets, np.min(offsets, axis=0))
    ends = starts + [image.shape for image in images]
    if footprint == "union":
        low, high = starts.min(axis=0), ends.max(axis=0)
    elif footprint == "intersection":
        low, high = starts.max(axis=0), ends.min(axis=0)
    else:
        low, high = starts[0], ends[0]
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def filled_up(images, offsets, footprint="union"):
    """The images filled up with NaN, and cut to the footprint."""
    part = (slice(None), *box(images, offsets, footprint))

    def pad(arrays, fill):
        return place_into_padded(arrays, offsets, fill=fill)[part]

    data = pad([image.data.astype("f8") for image in images], np.nan)
    masks = pad([image.mask.astype("u1") for image in images], 0) != 0
    filled = [
        CCDData(one, unit="adu", mask=mask, meta=dict(image.meta))
        for one, mask, image in zip(data, masks, images, strict=True)
    ]
    if images[0].uncertainty is not None:
        sigmas = pad([image.uncertainty.array for image in images], 1.0)
        for image, sigma in zip(filled, sigmas, strict=True):
            image.uncertainty = StdDevUncertainty(sigma)
    if images[0].flags is not None:
        flags = pad([image.flags.astype("u1") for image in images], 0).astype("u1")
        for image, bits in zip(filled, flags, strict=True):
            image.flags = bits
    return filled


def assert_same(got, expected, names=()):
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.data, expected.data)
    np.testing.assert_array_equal(got.mask, expected.mask)
    if expected.uncertainty is not None:
        a, b = got.uncertainty.array, expected.uncertainty.array
        np.testing.assert_array_equal(a, b)
    for name in names:
        a, b = getattr(got, name), getattr(expected, name)
        np.testing.assert_array_equal(a, b, err_msg=name)


def written(images, tmp_path):
    """The images as files."""
    paths = []
    for k, image in enumerate(images):
        paths.append(str(tmp_path / f"{k}.fits"))
        image.write(paths[-1])
    return paths


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


# ------------------------------------------------------------------- what is given


def test_header_keywords():
    rng = np.random.default_rng(23)
    images, offsets = draw(rng)
    expected = combine(images, offsets=offsets)
    for image, (y, x) in zip(images, offsets, strict=True):
        image.header = {"xoff": x + 5.0, "yoff": str(y)}
    assert_same(combine(images, offsets=("XOFF", "YOFF")), expected)
    assert_same(combine(images, offsets=["!XOFF", "!YOFF"]), expected)
    del images[3].header["xoff"]
    with pytest.raises(ValueError, match=r"offsets: the header of img_list\[3\]"):
        combine(images, offsets=("XOFF", "YOFF"))
    with pytest.raises(ValueError, match="found 3 keywords, expected 2"):
        combine(images, offsets=("XOFF", "YOFF", "ZOFF"))


def test_keywords_with_parts_of_pixels():
    images, offsets = draw(np.random.default_rng(24), n=3)
    for image, (y, x) in zip(images, offsets, strict=True):
        image.header = {"X": x, "Y": y}
    expected = combine(images, offsets=offsets)
    images[1].header["X"] += 0.09
    assert_same(combine(images, offsets=("X", "Y")), expected)
    images[1].header["X"] += 0.3
    with pytest.warns(SubpixelOffsetWarning, match=r"\[1\] is up to 0.39 pixels off"):
        assert_same(combine(images, offsets=("X", "Y")), expected)


def test_physical_coordinates():
    rng = np.random.default_rng(25)
    sky = rng.normal(100, 5, (40, 50))
    cuts = [(5, 7), (0, 0), (12, 3)]
    images = [
        CCDData(sky[y : y + 20, x : x + 25], unit="adu", meta=fits.Header())
        for y, x in cuts
    ]
    for image, (y, x) in zip(images, cuts, strict=True):
        if (y, x) != (0, 0):  # a whole image has none
            image.header["LTV1"], image.header["LTV2"] = -x, -float(y)
            image.header["LTM1_1"] = image.header["LTM2_2"] = 1.0
    got = combine(images, offsets="physical")
    np.testing.assert_allclose(
        got.data[~got.mask], sky[:32, :32][~got.mask], rtol=1e-15
    )
    assert got.shape == (32, 32)
    assert (got.header["LTV1"], got.header["LTV2"]) == (0, 0)
    inner = combine(images, offsets="physical", footprint="intersection")
    np.testing.assert_allclose(inner.data, sky[12:20, 7:25], rtol=1e-15)
    assert (inner.header["LTV1"], inner.header["LTV2"]) == (-7, -12)
    # The result has a place among the images.
    again = combine([images[1], inner], offsets="physical", footprint="first")
    np.testing.assert_allclose(again.data, sky[:20, :25], rtol=1e-15)
    images[2].header["LTM1_1"] = 0.5
    with pytest.raises(ValueError, match=r"LTM of img_list\[2\] is \[\[0.5, "):
        combine(images, offsets="physical")
    for image in images:
        image.header = fits.Header()
    with pytest.raises(ValueError, match="no image has physical coordinates"):
        combine(images, offsets="physical")


@pytest.mark.parametrize(
    ("offsets", "error", "message"),
    [
        ("sky", ValueError, "found 'sky', expected 'wcs', 'physical', a tuple"),
        ([(0, 0)], ValueError, r"found shape \(1, 2\), expected .* shape \(3, number"),
        ([0, 1, 2], ValueError, r"found shape \(3,\)"),
        ([(0, 0), (0, 0.5), (1, 1)], TypeError, "dtype float64, expected integers"),
        ([(0, 0), (0,), (1, 1)], ValueError, "offsets: "),
        ([(0, 0, 0)] * 3, ValueError, "found 3 numbers for each image, expected 2"),
        (("X", 3), ValueError, "offsets: found"),
        (("X", ""), ValueError, "offsets: found"),
        ("wcs", ValueError, r"offsets='wcs': img_list\[0\] has no WCS"),
    ],
)
def test_offsets_that_are_none(offsets, error, message):
    images, _ = draw(np.random.default_rng(26), n=3)
    with pytest.raises(error, match=message):
        combine(images, offsets=offsets)


def test_footprint():
    images, offsets = draw(np.random.default_rng(27), n=3, same=True)
    with pytest.raises(ValueError, match="footprint: found 'all', expected one of"):
        combine(images, offsets=offsets, footprint="all")
    with pytest.warns(UnusedOptionWarning, match="'first' has no effect without"):
        combine(images, footprint="first")


def test_images_with_other_numbers_of_axes():
    images = [CCDData(np.ones((4, 4)), unit="adu"), CCDData(np.ones(4), unit="adu")]
    with pytest.raises(TypeError, match="not the same size"):
        combine(images, offsets=[(0, 0), (0, 0)])


# ---------------------------------------------------------------------- the sky


def header_of_sky(kind="TAN", **changes):
    """A header with a WCS of a small field, turned by 33 degrees."""
    scale, angle = 0.3 / 3600, np.deg2rad(33)
    header = fits.Header(
        {
            "CTYPE1": f"RA---{kind}",
            "CTYPE2": f"DEC--{kind}",
            "CRVAL1": 150.1,
            "CRVAL2": 32.3,
            "CRPIX1": 30.25,
            "CRPIX2": -12.5,
            "CD1_1": -scale * np.cos(angle),
            "CD1_2": scale * np.sin(angle),
            "CD2_1": scale * np.sin(angle),
            "CD2_2": scale * np.cos(angle),
            **changes,
        }
    )
    if kind.endswith("SIP"):
        header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-7, "B_1_1": -2e-7})
        header.update({"AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": -3e-7, "BP_1_1": 2e-7})
    if kind == "TPV":
        header.update({"PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": 1e-3, "PV2_6": -2e-3})
    return header


def shifted(header, y, x):
    """The header of the part that begins at a pixel."""
    header = header.copy()
    header["CRPIX1"] -= x
    header["CRPIX2"] -= y
    return header


def skies(kind, cuts, **changes):
    images = []
    header = header_of_sky(kind, **changes)
    for k, (y, x) in enumerate(cuts):
        own = shifted(header, y, x)
        data = np.full((40 + k, 50 - k), 1.0 + k)
        images.append(CCDData(data, unit="adu", wcs=WCS(own)))
    return images


@pytest.mark.parametrize("footprint", FOOTPRINTS)
@pytest.mark.parametrize("kind", ["TAN", "TAN-SIP", "TPV", "SIN", "CAR"])
def test_a_star_stays_where_it_is(kind, footprint, tmp_path):
    cuts = [(0, 0), (7, -3), (-12, 9)]
    images = skies(kind, cuts)
    got = combine(images, offsets="wcs", footprint=footprint, diagnostics="simple")
    position = got.frames["offset"]
    np.testing.assert_array_equal(position - position[0], cuts)
    assert_same(got, combine(images, offsets=cuts, footprint=footprint))
    got.write(tmp_path / "a.fits")
    paths = written(images, tmp_path)
    of_files = combine(paths, offsets="wcs", footprint=footprint)
    read = CCDData.read(tmp_path / "a.fits")
    for k, image in enumerate(images):
        y, x = np.indices(image.shape).reshape(2, -1)[:, ::97].astype(float)
        sky = np.array(image.wcs.all_pix2world(x, y, 0))
        for result in (got, of_files, read):
            dy, dx = position[k]
            there = np.array(result.wcs.all_pix2world(x + dx, y + dy, 0))
            assert np.abs(there - sky).max() < 1e-9
    if got.wcs.sip is not None:
        assert isinstance(got.wcs.sip, Sip)
        y, x = position[0]
        first = images[0].wcs
        np.testing.assert_array_equal(
            got.wcs.sip.crpix, first.sip.crpix + np.array([x, y])
        )


def test_the_shape_of_the_wcs():
    images = skies("TAN", [(0, 0), (3, 5)])
    images[0].wcs.pixel_shape = (50, 40)
    images[0].wcs.pixel_bounds = [(-0.5, 49.5), (-0.5, 39.5)]
    got = combine(images, offsets="wcs")
    assert got.wcs.array_shape == got.shape == (44, 54)
    moved = combine(images, offsets=[(0, 0), (-3, -5)])
    assert moved.wcs.pixel_bounds == [(4.5, 54.5), (2.5, 42.5)]
    assert images[0].wcs.pixel_shape == (50, 40)


def test_reference_pixels_of_the_header():
    header = fits.Header({"CRPIX1": 3.0, "CRPIX2A": 5, "CRPIX3": 1.0, "LTV2": 4.0})
    header["CRPIX1"] = (3.0, "a comment")
    images = [CCDData(np.ones((3, 3)), unit="adu", meta=header) for _ in range(2)]
    got = combine(images, offsets=[(0, 0), (-2, -7)])
    found = [got.header[key] for key in ("CRPIX1", "CRPIX2A", "CRPIX3")]
    assert found == [10.0, 7.0, 1.0]
    assert (got.header["LTV1"], got.header["LTV2"]) == (7.0, 6.0)
    assert got.header.comments["CRPIX1"] == "a comment"
    assert images[0].header["CRPIX1"] == 3.0


def test_tables_of_distortion():
    def table():
        values = np.linspace(0, 1, 81, dtype="f4").reshape(9, 9)
        return DistortionLookupTable(values, (1, 1), (1, 1), (8, 8))

    wcs = WCS(header_of_sky())
    distorted = WCS(header_of_sky())
    distorted.cpdis1, distorted.cpdis2 = table(), table()
    images = [
        CCDData(np.ones((40, 40)), unit="adu", wcs=distorted),
        CCDData(np.ones((40, 40)), unit="adu", wcs=wcs),
    ]
    got = combine(images, offsets=[(0, 0), (-4, -6)])
    points = np.random.default_rng(1).uniform(0, 39, (20, 2))
    sky = distorted.all_pix2world(points, 0)
    there = got.wcs.all_pix2world(points + np.array([6, 4]), 0)
    assert np.abs(there - sky).max() < 1e-9
    assert np.abs(wcs.all_pix2world(points, 0) - sky).max() > 1e-6


def test_a_cube_with_a_spectral_axis():
    header = header_of_sky()
    header.update({"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6})
    header.update({"CRPIX3": 2.0, "CD3_3": 1e6, "CUNIT3": "Hz"})
    images = []
    for shift in ((0, 0, 0), (2, -3, 4)):
        own = header.copy()
        for axis, step in enumerate(reversed(shift), start=1):
            own[f"CRPIX{axis}"] -= step
        images.append(CCDData(np.ones((5, 8, 9)), unit="adu", wcs=WCS(own)))
    got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 3, 0], [2, 0, 4]]
    a = images[0].wcs.all_pix2world([[1.0, 2.0, 3.0]], 0)
    b = got.wcs.all_pix2world([[1.0, 5.0, 3.0]], 0)
    np.testing.assert_allclose(a, b, rtol=1e-14)


def test_parts_of_pixels_on_the_sky():
    images = skies("TAN", [(0, 0), (3, 5), (1, 1)])
    images[1].wcs.wcs.crpix += [0.05, -0.05]
    combine(images, offsets="wcs")
    images[1].wcs.wcs.crpix += [0.35, 0.0]
    with pytest.warns(SubpixelOffsetWarning, match=r"up to 0.40 .* and 1 of 3 images"):
        got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [3, 5], [1, 1]]


def test_other_frames_of_the_sky():
    images = skies("TAN", [(0, 0), (3, 5)])
    fk5 = WCS(shifted(header_of_sky(RADESYS="FK5", EQUINOX=2000.0), 3, 5))
    images[1].wcs = fk5
    got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [3, 5]]


@pytest.mark.parametrize(
    "change",
    [
        lambda wcs: wcs.wcs.cd.__imul__(1.06),
        lambda wcs: wcs.wcs.cd.__setitem__(0, -wcs.wcs.cd[0]),
        lambda wcs: setattr(
            wcs.wcs, "cd", wcs.wcs.cd @ [[0.998, 0.06], [-0.06, 0.998]]
        ),
        lambda wcs: setattr(wcs.wcs, "crval", [330.0, -32.3]),
    ],
    ids=["scale", "flip", "rotation", "elsewhere"],
)
def test_other_scales_and_rotations(change):
    images = skies("TAN", [(0, 0), (3, 5)])
    change(images[1].wcs)
    images[1].wcs.wcs.set()
    with pytest.raises(
        ValueError, match=r"img_list\[1\] is not a shifted img_list\[0\]"
    ):
        combine(images, offsets="wcs")


def test_images_without_a_sky(tmp_path):
    images = skies("TAN", [(0, 0), (3, 5)])
    images[1].wcs = None
    with pytest.raises(ValueError, match=r"img_list\[1\] has no WCS"):
        combine(images, offsets="wcs")
    paths = written(images, tmp_path)
    with pytest.raises(ValueError, match=r"1\.fits has no WCS"):
        combine(paths, offsets="wcs")
    fits.setval(paths[1], "CTYPE1", value="RA---TAN")
    fits.setval(paths[1], "CTYPE2", value="GLAT-SIN")
    with pytest.raises(ValueError, match=r"1\.fits has a WCS that cannot be used"):
        combine(paths, offsets="wcs")
    images[1].wcs = WCS(naxis=3)
    with pytest.raises(ValueError, match="is for 3 axes, the image has 2"):
        combine(images, offsets="wcs")


def test_a_wcs_of_another_kind():
    images = skies("TAN", [(0, 0), (3, 5)])
    part = SlicedLowLevelWCS(images[1].wcs, (slice(2, 40), slice(1, 49)))
    other = NDData(
        images[1].data[2:40, 1:49], unit="adu", wcs=HighLevelWCSWrapper(part)
    )
    got = combine([images[0], other], offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [5, 6]]


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
