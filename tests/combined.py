# Licensed under a 3-clause BSD style license - see LICENSE
"""A combined image that is hard to write, and its comparison with what was read."""

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

from imcombiners_astro import CombinedCCDData
from imcombiners_astro.diagnostics import DIAGNOSTICS

N = 4
STRUCTURE = {
    "SIMPLE",
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS3",
    "EXTEND",
    "BUNIT",
}


def odd_floats(rng, shape, dtype):
    """Values that a careless writer changes: NaNs of all kinds, -0, subnormal, inf."""
    values = rng.normal(1e3, 1.0, shape).astype(dtype)
    flat = values.reshape(-1)
    integer = np.dtype(dtype).str.replace("f", "u")
    flat[:6] = [np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).tiny / 8, 1 / 3]
    flat.view(integer)[6] = flat.view(integer)[0] | 5  # a NaN that carries a message
    flat.view(integer)[7] = flat.view(integer)[0] | 1 << (flat.itemsize * 8 - 1)
    return values


def sky(**changes):
    """A WCS whose numbers have more digits than a card usually has."""
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 83.6331234567891,
            "CRVAL2": -22.0145678912345,
            "CRPIX1": 1.0 / 3,
            "CRPIX2": 2.0 / 3,
            **changes,
        }
    )
    wcs = WCS(header)
    wcs.wcs.crval = [250.0 / 3, -68.0 / 3]
    wcs.wcs.cdelt = [-1e-5 / 3, 1e-4 / 7]
    wcs.wcs.pc = [[0.9998812345678912, 0.01212312312312345], [-1e-9 / 3, 1.0 + 2**-52]]
    wcs.wcs.set()
    return wcs


def table():
    return Table(
        [
            MaskedColumn([f"bias{k}.fits" for k in range(N)], name="name"),
            MaskedColumn([30, 1 / 3, 0, 60], mask=[0, 0, 1, 0], unit="s", name="exp"),
            [1.0, np.nan, -0.0, np.inf] * u.electron / u.adu,
            [0.1, 0.2, 0.3, 0.7] * u.percent,
            np.arange(N, dtype=np.uint16) + 60000,
            MaskedColumn([1, 2, 3, 2**60], mask=[0, 1, 0, 0], name="number"),
            MaskedColumn(["", "a", "bc", ""], mask=[1, 0, 1, 0], name="text"),
            np.array([1, 2, 3, 4], np.float32),
            [True, False, False, True],
        ],
        names="name exposure gain rejected n_used number text single good".split(),
        descriptions={"gain": "e-/ADU"},
    )


def make(shape=(5, 9), dtype="f8", uncertainty=StdDevUncertainty, **changes):
    rng = np.random.default_rng(7)
    attributes = {}
    for name, diagnostic in DIAGNOSTICS.items():
        full = (N, *shape) if diagnostic.is_cube else shape
        if diagnostic.is_value:
            attributes[name] = odd_floats(rng, full, dtype)
        else:
            top = np.iinfo(diagnostic.dtype).max if diagnostic.dtype != "?" else 1
            array = rng.integers(0, top, full, endpoint=True)
            array.flat[:2] = [0, top]
            attributes[name] = array.astype(diagnostic.dtype)
    header = fits.Header()
    header["OBJECT"] = ("M 1", "a comment")
    header["DATE-OBS"] = "2021-03-04T05:06:07.890"
    header["EXPTIME"] = 30.0
    header["SMALL"] = (-1.2345678901234567e-05, "17 digits")
    header["HIERARCH ESO DET GAIN"] = 1.2345678901234567e-300
    header["NCOMBINE"] = N
    header["HISTORY"] = "combined"
    header["DATE-END"] = "2021-03-04T06:07:08.900"
    header["MJD-AVG"] = 59277.23
    return CombinedCCDData(
        **{
            "data": odd_floats(rng, shape, dtype),
            "unit": "adu",
            "mask": rng.random(shape) < 0.3,
            "uncertainty": uncertainty(odd_floats(rng, shape, dtype)),
            "header": header,
            "wcs": sky() if len(shape) == 2 else None,
            "psf": rng.normal(size=(3, 3)),
            "flags": rng.integers(-100, 100, shape).astype(np.int16),
            "frames": table(),
            **attributes,
            **changes,
        },
    )


def bits(array):
    if array is None:
        return None
    assert type(array) is np.ndarray
    return (array.shape, array.dtype, array.tobytes())


def assert_same_header(one, other):
    def cards(header):
        return [
            (card.keyword, type(card.value), card.value, card.comment)
            for card in fits.Header(header).cards
            if card.keyword not in STRUCTURE
        ]

    assert cards(one) == cards(other)


def assert_same_wcs(one, other):
    if one is None:
        assert other is None
        return
    for name in ("crpix", "crval", "lonpole", "latpole"):
        assert np.array_equal(getattr(one.wcs, name), getattr(other.wcs, name)), name
    assert [*one.wcs.ctype] == [*other.wcs.ctype]
    assert [*one.wcs.cunit] == [*other.wcs.cunit]
    assert np.array_equal(one.wcs.get_pc(), other.wcs.get_pc())
    assert np.array_equal(one.wcs.get_cdelt(), other.wcs.get_cdelt())
    assert one.wcs.get_pv() == other.wcs.get_pv()
    pixels = np.array([[0.0, 0.0], [100.5, 3.25]])
    assert np.array_equal(one.all_pix2world(pixels, 0), other.all_pix2world(pixels, 0))


def assert_same_tables(one, other):
    if one is None:
        assert other is None
        return
    assert one.colnames == other.colnames
    assert one.meta == other.meta
    for name in one.colnames:
        a, b = one[name], other[name]
        assert type(a) is type(b), name
        assert (a.dtype, a.unit, a.description) == (b.dtype, b.unit, b.description)
        assert str(a.unit) == str(b.unit)
        mask = np.ma.getmaskarray(a)
        assert np.array_equal(mask, np.ma.getmaskarray(b)), name
        a, b = np.asarray(a)[~mask], np.asarray(b)[~mask]
        assert a.tobytes() == b.tobytes(), name


def assert_same(one, other):
    assert type(one) is type(other) is CombinedCCDData
    assert one.unit == other.unit
    for name in ("data", "mask", "psf", "flags", *DIAGNOSTICS):
        assert bits(getattr(one, name)) == bits(getattr(other, name)), name
    assert type(one.uncertainty) is type(other.uncertainty)
    if one.uncertainty is not None:
        assert bits(one.uncertainty.array) == bits(other.uncertainty.array)
        assert one.uncertainty.unit == other.uncertainty.unit
        assert other.uncertainty.parent_nddata is other
    assert_same_header(one.header, other.header)
    assert_same_wcs(one.wcs, other.wcs)
    assert_same_tables(one.frames, other.frames)


def round_trip(result, path, **keywords):
    result.write(path, **keywords)
    return CombinedCCDData.read(path)
