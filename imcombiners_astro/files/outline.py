# Licensed under a 3-clause BSD style license - see LICENSE
"""
What ``CCDData.read`` makes of a file, but without reading its pixels.

The result of a combination begins with the header, unit, WCS, PSF and classes of the
first image. Its pixels would take as much memory as the result.
"""

import io
from math import prod

import numpy as np
from astropy.nddata import CCDData

from imcombiners_astro.files.blocks import BLOCK

__all__ = ["outline_of_file", "without_pixels"]


def without_pixels(ccd):
    """
    Take the arrays of its pixels from an image that serves as an example only.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image, which is changed: its data are all the same number, for which there
        is one place in memory.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The image.
    """
    ccd.data = np.broadcast_to(np.zeros((), ccd.data.dtype), ccd.data.shape)
    ccd.mask = None
    if ccd.uncertainty is not None:
        ccd.uncertainty.array = None
    return ccd


def outline_of_file(hdus, image, options):
    """
    Read a file as ``CCDData.read`` does, with images of one pixel.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file, of which no image is compressed; its data are not touched.
    image : int
        Number of the HDU of the image.
    options : ReadOptions
        How to read.

    Returns
    -------
    `~astropy.nddata.CCDData`
        As from `without_pixels`.
    """
    memory = io.BytesIO()
    for hdu in hdus:
        memory.write(_small(hdu, options.keywords.get("hdu_psf", "PSFIMAGE")))
    memory.seek(0)
    # which of several masks it is does not matter
    keywords = {**options.keywords, "format": "fits", "hdu_mask": None}
    ccd = CCDData.read(memory, **keywords)
    shape = hdus[image].shape
    for k, size in enumerate(reversed(shape), start=1):
        ccd.header[f"NAXIS{k}"] = size
    if ccd.wcs is not None and ccd.wcs.pixel_shape is not None:
        ccd.wcs.pixel_shape = [
            hdus[image].header.get(f"NAXIS{k + 1}", size)
            for k, size in enumerate(ccd.wcs.pixel_shape)
        ]
    ccd.data = np.broadcast_to(ccd.data.flat[:1], shape)
    return without_pixels(ccd)


def _small(hdu, name_of_psf):
    """Return the bytes of an HDU with an image of one pixel."""
    header = hdu.header.copy()
    if name_of_psf in (hdu.name, (hdu.name, hdu.ver)):
        whole = io.BytesIO()
        hdu.copy().writeto(whole)
        content = whole.getvalue()
        # an extension is written after an empty primary HDU
        return content if "SIMPLE" in header else content[BLOCK:]
    if hdu.is_image and hdu.shape and prod(hdu.shape):
        for k in range(1, len(hdu.shape) + 1):
            header[f"NAXIS{k}"] = 1
        return header.tostring().encode() + bytes(BLOCK)
    if not hdu.is_image:  # a table without rows
        header["NAXIS2"] = header["PCOUNT"] = 0
    return header.tostring().encode()
