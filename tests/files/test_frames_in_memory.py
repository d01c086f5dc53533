# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames over images in memory, and frames that are cropped."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from fits_images import SHAPE, fixed_mask, read_all

from imcombiners_astro.files.fits import (
    open_frame,
)
from imcombiners_astro.frames import CCDFrame, fold


@pytest.fixture
def rng():
    return np.random.default_rng(20)


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
