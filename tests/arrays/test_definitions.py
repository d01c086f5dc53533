# Licensed under a 3-clause BSD style license - see LICENSE
"""The rejectors against their definitions, written down once more for one column."""

import math
import statistics

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro.kernels as imck

CENTERS = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "lmedian": statistics.median_low,
}
PREMASKED, MAXITERS, NKEEP, MAXREJ = 1, 2, 4, 8


def ccd_limits(x, sigma, cenfunc, clip_cen, gain, rdnoise, snoise):
    """Center -+ sigma * noise, and the noise."""
    center = CENTERS[cenfunc](x)
    signal = max(0.0, CENTERS[clip_cen or cenfunc](x))
    variance = max((rdnoise / gain) ** 2, 1e4 / 3.402823466e38)
    noise = math.sqrt(variance + signal / gain + (snoise * signal) ** 2)
    return center - sigma[0] * noise, center + sigma[1] * noise, noise


def linear_limits(x, low_scale, low, upp_scale, upp, cenfunc):
    """Linear functions of the center."""
    center = CENTERS[cenfunc](x)
    return low_scale * center - low, upp_scale * center + upp, None


def clip(values, mask, limits, maxiters, nkeep, maxrej, revert, linear=False):
    """Iterate: (mask_rej, std, low, upp, nit, flags) of one column."""
    left = [k for k, x in enumerate(values) if math.isfinite(x) and not mask[k]]
    n_start = len(left)
    flags = PREMASKED if any(mask) else 0
    nit, std, bounds = (0 if linear else 1), math.nan, (math.nan, math.nan)
    unsettled = maxiters == 0 and not linear
    for number in range(1, maxiters + 1):
        unsettled = number == maxiters and not linear  # also without any sample
        nit += linear
        if not left:
            break
        low, upp, std = limits([values[k] for k in left])
        kept = [k for k in left if low <= values[k] <= upp]
        is_new = len(kept) < len(left)
        unsettled = number == maxiters and is_new and not (linear and maxiters == 1)
        too_few = revert and len(kept) < nkeep
        too_many = maxrej is not None and n_start - len(kept) > maxrej
        if too_few or too_many:
            flags |= NKEEP * too_few | MAXREJ * too_many
            unsettled = False
            break
        left, bounds = kept, (low, upp)
        if not is_new:
            break
        nit += not linear
    flags |= MAXITERS * unsettled
    x = [values[k] for k in left]
    if not linear:
        bounds = (min(x), max(x)) if x else (math.nan, math.nan)
    mask_rej = [k not in left for k in range(len(values))]
    if linear:
        mask_rej = [m and not hidden for m, hidden in zip(mask_rej, mask, strict=True)]
    return mask_rej, None if linear else std, *bounds, nit, flags


def pclip(values, mask, frac, sigma):
    """Without nkeep: which samples go."""
    left = [k for k, x in enumerate(values) if math.isfinite(x) and not mask[k]]
    half = max(len(values) // 2, 1)
    offset = math.trunc(frac * half if abs(frac) < 1 else frac)
    offset = min(max(offset, -half), -1) if frac < 0 else max(min(offset, half), 1)
    n = len(left)
    rejected = []
    if n >= 3:
        x = sorted(values[k] for k in left)
        middle = 1 + n // 2
        median = statistics.median(x)
        rank = (middle - 1 if n % 2 == 0 else middle) if offset < 0 else middle
        rank = min(max(rank + offset, 1), n)
        spread = math.copysign(1, offset) * (x[rank - 1] - median)
        if spread != 0:
            rejected = [
                k
                for k in left
                if (median - values[k]) / spread >= sigma[0]
                or (values[k] - median) / spread >= sigma[1]
            ]
            lows = [k for k in rejected if values[k] < median]
            highs = [k for k in rejected if values[k] > median]
            rejected = lows + highs
    return [k in rejected or k not in left for k in range(len(values))]


def columns(n_columns=150):
    rng = np.random.default_rng(11)
    for _ in range(n_columns):
        n = int(rng.integers(1, 14))
        values = rng.normal(40, rng.choice([3, 30]), n)
        values[rng.random(n) < 0.15] += 60
        values[rng.random(n) < 0.1] = np.nan
        yield values, rng.random(n) < 0.15, rng


def check(found, expected):
    names = ("mask_rej", "std", "low", "upp", "nit", "flags")
    for name, one, other in zip(names, found, expected, strict=True):
        if other is None:
            assert one is None
        elif name in ("mask_rej", "nit", "flags"):
            assert_array_equal(one, other, err_msg=name)
        else:
            assert_allclose(one, other, rtol=1e-13, err_msg=name)


LIMITS = [(0, None, True), (3, None, True), (4, 2, True), (5, 1, False), (1, 0, True)]


@pytest.mark.parametrize(("nkeep", "maxrej", "revert"), LIMITS)
@pytest.mark.parametrize("maxiters", [0, 1, 2, 8])
@pytest.mark.parametrize("cenfunc", CENTERS)
def test_ccdclip(cenfunc, maxiters, nkeep, maxrej, revert):
    for values, mask, rng in columns():
        sigma = tuple(rng.uniform(0.5, 3, 2))
        noise = tuple(rng.uniform([0.5, 0, 0], [3, 8, 0.3]))
        clip_cen = rng.choice([None, *CENTERS])
        names = dict(zip(("gain", "rdnoise", "snoise"), noise, strict=True))
        found = imck.ccdclip_1d(
            values,
            mask=mask,
            sigma=sigma,
            cenfunc=cenfunc,
            clip_cen=clip_cen,
            maxiters=maxiters,
            nkeep=nkeep,
            maxrej=maxrej,
            revert_on_nkeep=revert,
            **names,
        )
        expected = clip(
            values.tolist(),
            mask.tolist(),
            lambda x: ccd_limits(x, sigma, cenfunc, clip_cen, *noise),  # noqa: B023
            maxiters,
            nkeep,
            maxrej,
            revert,
        )
        check(found, expected)


@pytest.mark.parametrize(("nkeep", "maxrej", "revert"), LIMITS)
@pytest.mark.parametrize("maxiters", [1, 2, 8])
@pytest.mark.parametrize("cenfunc", CENTERS)
def test_linearclip(cenfunc, maxiters, nkeep, maxrej, revert):
    for values, mask, rng in columns():
        options = rng.uniform([0.5, 0, 0.7, 0], [1, 20, 1.5, 20]).tolist()
        names = ("low_scale", "low", "upp_scale", "upp")
        found = imck.linearclip_1d(
            values,
            mask=mask,
            cenfunc=cenfunc,
            maxiters=maxiters,
            nkeep=nkeep,
            maxrej=maxrej,
            revert_on_nkeep=revert,
            **dict(zip(names, options, strict=True)),
        )
        expected = clip(
            values.tolist(),
            mask.tolist(),
            lambda x: linear_limits(x, *options, cenfunc),  # noqa: B023
            maxiters,
            nkeep,
            maxrej,
            revert,
            linear=True,
        )
        if (np.array(expected[0]) | mask).all():  # nothing to run a pass on
            assert_array_equal(found[0], expected[0])
        else:
            check(found, expected)


@pytest.mark.parametrize("frac", [-3, -0.7, -0.5, -0.1, 0.1, 0.25, 0.5, 1, 2.7, 30])
def test_pclip(frac):
    for values, mask, rng in columns(600):
        sigma = tuple(rng.uniform(0.5, 3, 2))
        found = imck.pclip_mask_1d(values, mask=mask, frac=frac, sigma=sigma, nkeep=0)
        expected = pclip(values.tolist(), mask.tolist(), frac, sigma)
        assert_array_equal(found, expected)
