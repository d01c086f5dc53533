# Licensed under a 3-clause BSD style license - see LICENSE
"""Pixels in FITS files, written as they are, and read by frames."""

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.files.fits import (
    FitsFrame,
    SectionFrame,
    open_frame,
)
from imcombiners_astro.frames import fold

SHAPE = (7, 11)
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


def fixed_mask():
    mask = np.zeros(SHAPE, "u1")
    mask[2, 3] = 1
    mask[4, 5] = 128
    return mask


def multi_extension(path, rng):
    primary = fits.PrimaryHDU()
    primary.header["BUNIT"] = "electron"
    primary.header["OBSERVER"] = "me"
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    one = fits.ImageHDU(rng.integers(0, 9, SHAPE).astype("u2"), name="SCI")
    two = fits.ImageHDU(rng.normal(size=SHAPE), name="SCI", ver=2)
    two.header["BUNIT"] = "adu"
    fits.HDUList([primary, table, one, two]).writeto(path)
