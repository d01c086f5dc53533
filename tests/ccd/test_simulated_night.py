# Licensed under a 3-clause BSD style license - see LICENSE
"""Simulated exposures of a night: their statistics are those that are promised."""

import numpy as np
import pytest
from astropy.nddata import CCDData

from imcombiners_astro.simulate import SimulatedField, SimulatedNight

SHAPE, OVERSCAN = (200, 260), 30


@pytest.fixture(scope="module")
def night():
    return SimulatedNight(shape=SHAPE, overscan=OVERSCAN, seed=3)


def pixels(ccd):
    return ccd.data[:, : SHAPE[1]].astype(float)


def overscan(ccd):
    return ccd.data[:, SHAPE[1] :].astype(float)


def test_exposures_can_be_taken_again(night):
    other = SimulatedNight(shape=SHAPE, overscan=OVERSCAN, seed=3)
    for name in ("science", "flat", "dark", "bias"):
        take = getattr(night, name)
        np.testing.assert_array_equal(take(2).data, getattr(other, name)(2).data)
        assert (take(2).data != take(3).data).any()
    assert (SimulatedNight(shape=SHAPE, seed=4).bias(0).data[0] != 0).all()


def test_headers_and_types(night):
    for ccd, kind, seconds in (
        (night.bias(0), "BIAS", 0.0),
        (night.dark(0), "DARK", 300.0),
        (night.dark(0, 60.0), "DARK", 60.0),
        (night.flat(0), "FLAT", 4.0),
        (night.science(0), "LIGHT", 120.0),
    ):
        assert isinstance(ccd, CCDData)
        assert ccd.shape == (200, 290) and ccd.dtype == np.uint16
        assert ccd.header["IMAGETYP"] == kind and ccd.header["EXPTIME"] == seconds
        assert ccd.header["GAIN"] == 1.5 and ccd.header["RDNOISE"] == 6.0
        assert ("FILTER" in ccd.header) == (kind in ("FLAT", "LIGHT"))


def test_bias_and_overscan(night):
    frames = [night.bias(k) for k in range(20)]
    levels = np.array([np.median(overscan(frame)) for frame in frames])
    pattern = np.median(night._pattern[SHAPE[1] :])
    assert 2 < levels.std() < 7 and abs(levels.mean() - pattern - 1000) < 4
    difference = pixels(frames[0]) - pixels(frames[1])
    # Read noise and rounding, of two frames.
    expected = np.sqrt(2 * (4.0**2 + 1 / 12))
    spread = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    assert spread == pytest.approx(expected, rel=0.15)  # of integers
    # The pattern of the columns is the same in all.
    columns = [np.median(pixels(frame), axis=0) for frame in frames[:2]]
    assert np.corrcoef(*columns)[0, 1] > 0.9


def test_dark_current_and_hot_pixels(night):
    def median(seconds):
        frames = [night.dark(k, seconds) for k in range(9)]
        columns = [overscan(frame) for frame in frames]
        levels = [c[np.abs(c - np.median(c)) < 20].mean() for c in columns]
        stack = [pixels(f) - level for f, level in zip(frames, levels, strict=True)]
        return np.median(stack, axis=0)

    short, long = median(0), median(300)
    current = (long - short) * 1.5 / 300
    assert current[current < 1.5].mean() == pytest.approx(0.1, abs=0.01)
    assert 0.9 * 52 <= (current > 1.5).sum() <= 1.1 * 52


def test_flats_become_fainter(night):
    levels = [np.median(pixels(night.flat(k))) - 1000 for k in range(4)]
    np.testing.assert_allclose(np.divide(levels[1:], levels[:-1]), 0.85, rtol=0.01)
    assert levels[0] == pytest.approx(30_000 / 1.5, rel=0.15)
    shape = pixels(night.flat(0)) - 1000
    shape /= shape.mean() * night.sensitivity / night.sensitivity.mean()
    assert np.std(shape) == pytest.approx(1 / np.sqrt(30_000 * 0.9), rel=0.15)


def test_a_perfect_reduction(night):
    frames = [
        pixels(night.science(k)) - np.median(overscan(night.science(k)))
        for k in range(9)
    ]
    master = np.median(frames, axis=0)
    bias = np.mean([pixels(night.bias(k)) for k in range(9)], axis=0)
    bias -= np.mean([np.median(overscan(night.bias(k))) for k in range(9)])
    flat = night.sensitivity / night.sensitivity.mean()
    error = (master - bias - 0.1 * 120 / 1.5) / flat - night.perfect()
    assert abs(np.median(error)) < 0.5
    np.testing.assert_allclose(night.perfect(60.0), night.perfect() / 2)


def test_a_night_has_random_numbers_of_its_own(night):
    field = SimulatedField(SHAPE, seed=3)
    assert night.perfect().shape == field.truth.shape
    stream = SimulatedField(SHAPE, seed=3)._random(0).normal(size=100)
    for k in range(3):
        assert abs(np.corrcoef(stream, night._random(k).normal(size=100))[0, 1]) < 0.5
