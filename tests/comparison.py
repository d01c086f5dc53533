# Licensed under a 3-clause BSD style license - see LICENSE
"""ccdproc beside us: the stacks both combine, and what counts as the same answer."""

import warnings

import ccdproc.combiner
import numpy as np
from astropy.nddata import CCDData

# Before any test replaces it.
_CCDPROC_COMBINE = ccdproc.combiner.combine


def ccdproc_combine(*args, **keywords):
    """Answer of ccdproc, without its warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return _CCDPROC_COMBINE(*args, **keywords)


def assert_within_ulp(actual, desired, ulp=2):
    """NaN in the same places, everything else within `ulp` units of the last place."""
    actual, desired = np.asarray(actual), np.asarray(desired)
    assert actual.shape == desired.shape
    assert actual.dtype == desired.dtype
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(desired))
    finite = np.isfinite(desired)
    np.testing.assert_array_equal(actual[~finite], desired[~finite])
    actual, desired = actual[finite], desired[finite]
    unit = np.spacing(np.maximum(np.abs(actual), np.abs(desired)))
    worst = np.abs(actual - desired) / unit
    assert worst.size == 0 or worst.max() <= ulp, f"{worst.max()} ulp"


def assert_same(ours, theirs, ulp=2):
    """Data, uncertainty, mask, unit, class and header of two results agree."""
    assert type(ours) is type(theirs)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert_within_ulp(ours.data, theirs.data, ulp)
    assert type(ours.uncertainty) is type(theirs.uncertainty)
    # Where no scatter is left it may be 0 for one and a rounding error for the other.
    noise = 8 * np.spacing(np.nanmax(np.abs(theirs.data), initial=0))
    a, b = ours.uncertainty.array, theirs.uncertainty.array
    tiny = (np.abs(a) < noise) & (np.abs(b) < noise)
    assert_within_ulp(np.where(tiny, 0, a), np.where(tiny, 0, b), ulp)
    assert ours.unit == theirs.unit
    assert (ours.wcs is None) == (theirs.wcs is None)
    header = dict(ours.header)
    assert header.pop("NCOMBINE") >= 1
    assert header == {k: v for k, v in theirs.header.items() if k != "NCOMBINE"}


def stack_of(
    n_frames=12, shape=(23, 31), *, seed=1, dtype=float, masks=False, bad=(), unit="adu"
):
    """CCDData of noise with outliers; `bad` values and masks at random places."""
    rng = np.random.default_rng(seed)
    stack = rng.normal(1000, 10, (n_frames, *shape))
    stack[rng.random(stack.shape) < 0.03] += 500
    stack[rng.random(stack.shape) < 0.01] -= 300
    for value in bad:
        stack[rng.random(stack.shape) < 0.02] = value
    stack[0, ..., :3] = stack[-1, ..., :3]  # ties
    if np.dtype(dtype).kind in "iu":
        stack = np.round(stack)
    frames = [CCDData(image.astype(dtype), unit=unit) for image in stack]
    if masks:
        for k, frame in enumerate(frames):
            frame.mask = rng.random(shape) < 0.1
            frame.mask.flat[-1] = True  # one pixel without any sample
            frame.mask.flat[0] = k > 0  # one with a single sample
    for k, frame in enumerate(frames):
        frame.header["FRAME"] = k
    return frames
