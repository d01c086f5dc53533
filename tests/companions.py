# Licensed under a 3-clause BSD style license - see LICENSE
"""Images with mask, uncertainty and flags, and files of them."""

from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)

SHAPE = (7, 11)
UNCERTAINTIES = {
    "std": StdDevUncertainty,
    "var": VarianceUncertainty,
    "ivar": InverseVariance,
}
WANTED = {"want_uncertainty": True, "want_flags": True}


def image_of(rng, kind="std", shape=SHAPE, dtype="f4", unit="adu", mask=True):
    ccd = CCDData(rng.integers(0, 200, shape).astype(dtype), unit=unit)
    ccd.uncertainty = UNCERTAINTIES[kind](rng.uniform(1, 9, shape).astype("f4"))
    if mask:
        ccd.mask = rng.random(shape) < 0.3
    return ccd


def write(path, ccd, flags=None, name="DQ", **cards):
    hdus = ccd.to_hdu()
    hdus["UNCERT"].header.update(cards)
    if flags is not None:
        hdus.append(fits.ImageHDU(flags, name=name))
    hdus.writeto(path)
    return path
