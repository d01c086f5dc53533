# Licensed under a 3-clause BSD style license - see LICENSE
"""Files of every format combine to the same bits as the arrays that astropy reads."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro import SigClip, combine

N = 5
SHAPES = {"2-D": (13, 17), "3-D": (3, 6, 17), "4-D": (2, 3, 5, 7)}
# Strips of one row, of some, and one strip.
LIMITS = [1, 12_000, 16e9]


@pytest.fixture
def rng():
    return np.random.default_rng(61)


def pixels(rng, dtype, shape):
    """Values over the whole range of a type, or floats with some that are NaN."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        values = rng.normal(1000, 300, shape).astype(dtype)
        values[rng.random(shape) < 0.1] = np.nan
        return values
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**51)), min(limits.max, 2**51)
    return rng.integers(low, high, shape, dtype, endpoint=True)


def raw_image(raw, cards, extension):
    """Bytes of an HDU whose pixels have a meaning that cards tell."""
    hdu = (fits.ImageHDU if extension else fits.PrimaryHDU)(raw)
    header = fits.Header.fromstring(str(hdu.header).rstrip())
    header.update(cards)
    data = raw.astype(raw.dtype.newbyteorder(">")).tobytes()
    return header.tostring().encode() + data + bytes(-len(data) % 2880)


def packed(hdus, opener=None):
    memory = io.BytesIO()
    fits.HDUList(hdus).writeto(memory)
    return memory.getvalue() if opener is None else opener(memory.getvalue())


def assert_same(folder, contents, hdu=0, suffix=".fits"):
    """Write files, and combine them and the arrays that astropy finds in them."""
    paths = []
    for k, content in enumerate(contents):
        paths.append(folder / f"{k}{suffix}")
        paths[-1].write_bytes(content)
    arrays = []
    for path in paths:
        with fits.open(path) as hdus:
            index = hdu if hdu or hdus[0].shape else 1
            arrays.append(np.array(hdus[index].data))
    assert any((array != arrays[0]).any() for array in arrays)
    images = [CCDData(array, unit="adu") for array in arrays]
    stack = np.array([array.astype(float) for array in arrays])
    some_left = np.isfinite(stack).any(axis=0)
    for keywords in ({}, {"method": "median", "rejectors": SigClip(1.2)}):
        expected = combine(images, **keywords)
        if not keywords:
            truth = np.full(expected.shape, np.nan)
            truth[some_left] = np.nanmean(stack[:, some_left], axis=0)
            np.testing.assert_allclose(
                expected.data, truth, rtol=1e-12, atol=1e-12 * np.nanmax(abs(stack))
            )
        for limit in LIMITS:
            found = combine(paths, unit="adu", hdu=hdu, mem_limit=limit, **keywords)
            assert found.data.dtype == expected.data.dtype
            np.testing.assert_array_equal(found.data, expected.data)
            np.testing.assert_array_equal(found.mask, expected.mask)
            np.testing.assert_array_equal(
                found.uncertainty.array, expected.uncertainty.array
            )


@pytest.mark.parametrize(
    "shape, extension",
    [(SHAPES["2-D"], False), (SHAPES["3-D"], True), (SHAPES["4-D"], False)],
    ids=SHAPES,
)
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
)
def test_types(tmp_path, rng, dtype, shape, extension):
    images = [pixels(rng, dtype, shape) for _ in range(N)]
    if extension:
        contents = [packed([fits.PrimaryHDU(), fits.ImageHDU(x)]) for x in images]
    else:
        contents = [packed([fits.PrimaryHDU(x)]) for x in images]
    assert_same(tmp_path, contents)


SCALINGS = {
    "BSCALE and BZERO": {"BSCALE": 0.1, "BZERO": 12.25},
    "negative BSCALE": {"BSCALE": -3.5, "BZERO": 1e6},
    "BZERO": {"BZERO": -7.0},
    "BLANK": {"BLANK": 7},
    "all": {"BSCALE": 0.25, "BZERO": 2.0, "BLANK": 7},
}


@pytest.mark.parametrize("extension", [False, True], ids=["primary", "extension"])
@pytest.mark.parametrize("cards", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8"])
def test_scaled_integers(tmp_path, rng, dtype, cards, extension):
    contents = []
    for _ in range(N):
        raw = pixels(rng, dtype, SHAPES["2-D"])
        raw[rng.random(raw.shape) < 0.3] = 7
        raw[0, :2] = 7  # nothing is left here if that is BLANK
        image = raw_image(raw, cards, extension)
        contents.append((packed([fits.PrimaryHDU()]) if extension else b"") + image)
    assert_same(tmp_path, contents)
    assert np.isnan(combine([*tmp_path.iterdir()], unit="adu").data[0, 0]) == (
        "BLANK" in cards
    )


@pytest.mark.parametrize("dtype, shape", [("u2", SHAPES["2-D"]), ("f4", SHAPES["3-D"])])
@pytest.mark.parametrize(
    "suffix, compress",
    [
        (".fits.gz", gzip.compress),
        (".fits.bz2", bz2.compress),
        (".fits.xz", lzma.compress),
        (".fits", gzip.compress),
    ],
)
def test_packed_files(tmp_path, rng, suffix, compress, dtype, shape):
    contents = [
        packed([fits.PrimaryHDU(pixels(rng, dtype, shape))], compress) for _ in range(N)
    ]
    assert_same(tmp_path, contents, suffix=suffix)


TILES = {
    "RICE_1": {"compression_type": "RICE_1"},
    "RICE_1 in blocks": {"compression_type": "RICE_1", "tile_shape": (4, 5)},
    "GZIP_1": {"compression_type": "GZIP_1"},
    "GZIP_2": {"compression_type": "GZIP_2", "tile_shape": (5, 17)},
    "HCOMPRESS_1": {"compression_type": "HCOMPRESS_1", "tile_shape": (7, 17)},
    "PLIO_1": {"compression_type": "PLIO_1"},
}


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
@pytest.mark.parametrize("tiles", TILES)
def test_compressed_integers(tmp_path, rng, tiles, dtype):
    if (tiles, dtype) == ("PLIO_1", "u2"):
        pytest.skip("astropy does not write it")
    contents = []
    for _ in range(N):
        image = rng.integers(0, 200, SHAPES["2-D"]).astype(dtype)
        hdu = fits.CompImageHDU(image, **TILES[tiles])
        contents.append(packed([fits.PrimaryHDU(), hdu]))
    assert_same(tmp_path, contents, suffix=".fits.fz")


FLOATS = {
    "lossless": {"compression_type": "GZIP_2", "quantize_level": 0.0},
    "no dither": {"quantize_method": -1},
    "dither 1": {"quantize_method": 1, "dither_seed": 42},
    "dither 2": {"quantize_method": 2, "dither_seed": 42},
    "dither 2 in blocks": {
        "quantize_method": 2,
        "dither_seed": 9,
        "tile_shape": (6, 10),
    },
    "HCOMPRESS_1": {"compression_type": "HCOMPRESS_1", "quantize_method": 1},
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("tiles", FLOATS)
def test_compressed_floats(tmp_path, rng, tiles, dtype):
    contents = []
    for _ in range(N):
        image = rng.normal(100, 5, (26, 34)).astype(dtype)
        image[rng.random(image.shape) < 0.05] = 0.0  # dither 2 keeps zeros
        if FLOATS[tiles].get("compression_type") != "HCOMPRESS_1":
            image[rng.random(image.shape) < 0.05] = np.nan
        hdu = fits.CompImageHDU(image, **FLOATS[tiles])
        contents.append(packed([fits.PrimaryHDU(), hdu]))
    assert_same(tmp_path, contents, suffix=".fits.fz")


def test_compressed_cubes(tmp_path, rng):
    contents = [
        packed(
            [
                fits.PrimaryHDU(),
                fits.CompImageHDU(
                    pixels(rng, "i2", SHAPES["3-D"]), tile_shape=(1, 4, 17)
                ),
            ]
        )
        for _ in range(N)
    ]
    assert_same(tmp_path, contents, suffix=".fits.fz")


@pytest.mark.parametrize(
    "hdu", [1, 2, 3, "SCI", "REF", ("SCI", 2), -1], ids=lambda hdu: str(hdu)
)
def test_one_of_several_extensions(tmp_path, rng, hdu):
    contents = []
    for _ in range(N):
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(pixels(rng, "i2", (4, 5)), name="SCI"),
            fits.CompImageHDU(pixels(rng, "f4", (20, 30)), name="SCI"),
            fits.ImageHDU(pixels(rng, "u2", (6, 3)), name="REF"),
        ]
        hdus[2].ver = 2
        contents.append(packed(hdus))
    assert_same(tmp_path, contents, hdu=hdu)


def test_files_of_different_formats(tmp_path, rng):
    images = [rng.integers(0, 1000, SHAPES["2-D"]).astype("u2") for _ in range(N)]
    contents = [
        packed([fits.PrimaryHDU(images[0])]),
        packed([fits.PrimaryHDU(images[1])], gzip.compress),
        packed([fits.PrimaryHDU(), fits.CompImageHDU(images[2])]),
        packed([fits.PrimaryHDU(images[3].astype("f8"))]),
        raw_image(images[4].astype("i4"), {"BSCALE": 0.5, "BZERO": 3.0}, False),
    ]
    assert_same(tmp_path, contents)
