# Licensed under a 3-clause BSD style license - see LICENSE
"""Images of different shapes, and where they are; the same filled up with NaN."""

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty

from imcombiners_astro import (
    place_into_padded,
)

FOOTPRINTS = ["union", "intersection", "first"]
MAPS = (
    *("mask_rej", "sample_flags", "output_flags", "n_used", "low", "upp", "std", "nit"),
    *("n_rejected_low", "n_rejected_high"),
)


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
