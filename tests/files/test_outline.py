# Licensed under a 3-clause BSD style license - see LICENSE
"""What a result begins with: all that CCDData.read finds, but no pixels."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS

from imcombiners_astro.files.fits import open_frame

SHAPE = (40, 30)


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.crpix = 12, 17
    wcs.wcs.crval = 150, 2
    wcs.wcs.cdelt = -1e-4, 1e-4
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    return wcs


def plain(path, dtype="u2"):
    hdu = fits.PrimaryHDU(np.arange(1200).reshape(SHAPE).astype(dtype))
    hdu.header.update(sky().to_header())
    hdu.header["OBJECT"] = ("M 31", "what it is")
    hdu.header["COMMENT"] = "seen through clouds"
    hdu.header["HIERARCH ESO DET"] = 3
    hdu.writeto(path)


def scaled(path):
    plain(path, "i2")
    with fits.open(path, "update") as hdus:
        hdus[0].header["BZERO"] = 12.5
        hdus[0].header["BLANK"] = 5


def cube(path):
    hdu = fits.PrimaryHDU(np.zeros((3, *SHAPE), "f8"))
    hdu.header["BUNIT"] = "ADU"
    hdu.writeto(path)


def image_of_ccd(path):
    ccd = CCDData(np.ones(SHAPE), unit="adu", wcs=sky(), mask=np.eye(40, 30) > 0)
    ccd.uncertainty = VarianceUncertainty(np.ones(SHAPE))
    ccd.psf = np.arange(25.0).reshape(5, 5)
    ccd.write(path)


def extensions(path):
    plain(path)
    with fits.open(path) as hdus:
        new = [fits.PrimaryHDU(), fits.ImageHDU(hdus[0].data, hdus[0].header)]
        new[0].header["INSTRUME"] = "camera"
        table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
        new += [table, fits.ImageHDU(np.ones((3, 3)), name="PSFIMAGE")]
        fits.HDUList(new).writeto(path, overwrite=True)


def extension_by_name(path):
    extensions(path)
    with fits.open(path, "update") as hdus:
        hdus[1].name = "SCI"


def packed(path):
    plain(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def compressed(path):
    data = np.arange(1200).reshape(SHAPE).astype("i2")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(path)


def compressed_mask(path):
    image_of_ccd(path)
    with fits.open(path) as hdus:
        mask = fits.CompImageHDU(hdus["MASK"].data, hdus["MASK"].header)
        hdus[hdus.index_of("MASK")] = mask
        hdus.writeto(path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize(
    "write",
    [
        *(plain, scaled, cube, image_of_ccd, extensions, extension_by_name, packed),
        *(compressed, compressed_mask),
    ],
)
def test_all_but_the_pixels(tmp_path, write):
    path = tmp_path / "a.fits"
    write(path)
    keywords = {"hdu": "SCI"} if write is extension_by_name else {}
    if write is not image_of_ccd and write is not compressed_mask:
        keywords["unit"] = "adu"
    frame = open_frame(path, **keywords)
    expected, found = frame.template(), frame.outline()
    assert type(found) is type(expected)
    assert repr(found.header) == repr(expected.header)
    assert found.unit == expected.unit
    assert (found.wcs is None) == (expected.wcs is None)
    if found.wcs is not None:
        assert found.wcs.pixel_shape == expected.wcs.pixel_shape
        assert found.wcs.to_header() == expected.wcs.to_header()
    assert type(found.uncertainty) is type(expected.uncertainty)
    np.testing.assert_equal(found.psf, expected.psf)
    assert found.data.shape == expected.data.shape
    assert found.data.dtype == expected.data.dtype
    assert found.data.strides == (0,) * found.data.ndim
    assert found.mask is None
    frame.close()


def test_flags_are_those_of_the_file(tmp_path):
    ccd = CCDData(np.ones(SHAPE), unit="adu")
    hdus = ccd.to_hdu()
    hdus.append(fits.ImageHDU(np.full(SHAPE, 4, "u1"), name="DQ"))
    hdus.writeto(tmp_path / "a.fits")
    frame = open_frame(tmp_path / "a.fits", hdu_flags="DQ")
    assert frame.outline().flags[3, 3] == 4
    frame.close()
