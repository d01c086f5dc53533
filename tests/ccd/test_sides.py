# Licensed under a 3-clause BSD style license - see LICENSE
"""Samples of every frame rejected as too low and too high, on all ways."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from astropy.nddata import CCDData

import imcombiners_astro as imc
from imcombiners_astro import combine

SHAPE = (8, 9)
RDNOISE = (25.0, 1.0, 25.0, 25.0, 25.0, 25.0)
#: Of little noise, frame 1 is too high for the center of the first pass; frame 2, which
#: is higher, is too low for that of the second one.
COLUMN = (-1000.0, 10.0, 12.0, 100.0, 100.0, 100.0)
LOW, HIGH = [1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]
CLIP = imc.CcdClip(sigma=(1, 10), cenfunc="mean", rdnoise=RDNOISE)


PLACES = [(0, 0), (3, 8), (4, 4), (7, 2)]


def images():
    stack = np.full((len(COLUMN), *SHAPE), 100.0)
    for place in PLACES:
        stack[(slice(None), *place)] = COLUMN
    return [CCDData(image, unit="adu") for image in stack]


def counts(result):
    size = np.prod(SHAPE)
    sides = ("rejected_low", "rejected_high")
    return [np.rint(result.frames[side] * size / 100).tolist() for side in sides]


WAYS = {
    "by the kernel": {"rejectors": CLIP},
    "after others": {"rejectors": [imc.LinearClip(low=5000, upp=5000), CLIP]},
    "thresholds": {"rejectors": CLIP, "thresholds": (-1e4, 1e4)},
    "scaled after": {
        "rejectors": CLIP,
        "thresholds": (-1e4, 1e4),
        "scale": np.arange(1, 7),
        "clip_scaled": False,
    },
    "growth of nothing first": {
        "rejectors": [imc.LinearClip(low=5000, upp=5000, grow=1), CLIP]
    },
    "growth": {"rejectors": replace(CLIP, grow=1.1)},
    "growth, then more": {"rejectors": [replace(CLIP, grow=1.1), imc.SigClip(9)]},
}


@pytest.mark.parametrize("level", ["simple", "full"])
@pytest.mark.parametrize("mem_limit", [16e9, 1])
@pytest.mark.parametrize("way", WAYS)
def test_who_rejects_says_at_which_side(tmp_path, way, mem_limit, level):
    ccds, files = images(), []
    for k, ccd in enumerate(ccds):
        ccd.write(path := tmp_path / f"{k}.fits")
        files.append(path)
    expected = [[n * len(PLACES) for n in side] for side in (LOW, HIGH)]
    for source in (ccds, files):
        result = combine(source, mem_limit=mem_limit, diagnostics=level, **WAYS[way])
        assert counts(result) == expected
        assert result.n_rejected_low.sum() == sum(expected[0])
        assert result.n_rejected_high.sum() == sum(expected[1])


@pytest.mark.parametrize("way", WAYS)
def test_dask(way):
    da = pytest.importorskip("dask.array")
    from imcombiners_astro import distributed

    lazy = [
        CCDData(da.from_array(ccd.data, chunks=(3, 9)), unit="adu") for ccd in images()
    ]
    result = distributed.combine(lazy, diagnostics="full", **WAYS[way]).compute()
    assert counts(result) == [[n * len(PLACES) for n in side] for side in (LOW, HIGH)]


def test_the_oracle_says_the_same():
    stack = np.array([ccd.data for ccd in images()])
    truth = oracle.combine(stack, oracle.Plan("mean", (CLIP.step(len(COLUMN)),)))
    assert truth["frame_rejected_low"].tolist() == [4 * n for n in LOW]
    assert truth["frame_rejected_high"].tolist() == [4 * n for n in HIGH]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grow", [None, 1.5])
def test_random_noise_of_each_frame(seed, grow):
    rng = np.random.default_rng(seed)
    n = 7
    rdnoise = tuple(rng.uniform(1, 40, n))
    stack = rng.normal(100, 30, (n, *SHAPE))
    clip = imc.CcdClip(sigma=(0.8, 1.2), cenfunc="mean", rdnoise=rdnoise, grow=grow)
    steps = [clip, imc.CcdClip(sigma=(1, 0.5), rdnoise=rdnoise[::-1])]
    masks, low, high = np.zeros(stack.shape, bool), 0, 0
    for one in steps:
        plan = oracle.Plan("mean", (one.step(n),))
        found = oracle.combine(stack, plan, masks=masks)
        low = low + found["frame_rejected_low"]
        high = high + found["frame_rejected_high"]
        masks = masks | oracle.grow(found["sample_sides"] != 0, one.grow or 0)
    ccds = [CCDData(image, unit="adu") for image in stack]
    result = combine(ccds, rejectors=steps, diagnostics="simple")
    assert counts(result) == [low.tolist(), high.tolist()]
