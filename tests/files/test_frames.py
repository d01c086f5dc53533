# Licensed under a 3-clause BSD style license - see LICENSE
"""A stack cut into strips gives every pixel once, within the memory."""

import threading

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.files.fits import open_frames
from imcombiners_astro.frames import (
    CCDFrame,
    fold,
    folded_rows,
    plan_strips,
    strips,
)


@pytest.fixture
def stack(tmp_path):
    """Write files of several types, one with a mask, and give their values."""
    rng = np.random.default_rng(3)
    paths, values, masks = [], [], []
    for k, dtype in enumerate(["u2", "i2", "f4", "f8", "u1"]):
        data = rng.integers(0, 100, (37, 53)).astype(dtype)
        mask = rng.random((37, 53)) < 0.2 if dtype == "f4" else None
        path = tmp_path / f"{k}.fits"
        CCDData(data, unit="adu", mask=mask).write(path)
        paths.append(path)
        values.append(data)
        masks.append(mask)
    return paths, values, masks


def collect(frames, *args, **keywords):
    n_rows, n_columns = fold(frames[0].shape)
    values = [np.full((n_rows, n_columns), -1.0) for _ in frames]
    masks = [np.zeros((n_rows, n_columns), bool) for _ in frames]
    bounds = []
    for start, stop, planes in strips(frames, *args, **keywords):
        bounds.append((start, stop))
        for k, strip in enumerate(planes):
            values[k][start:stop] = strip.values()
            if strip.mask is not None:
                masks[k][start:stop] = strip.mask
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == n_rows
    return values, masks, bounds


@pytest.mark.parametrize("n_ahead", [0, 1, 3])
@pytest.mark.parametrize("target", [1, 1000, 5000, 2**30])
def test_every_pixel_once(stack, target, n_ahead):
    paths, expected, expected_masks = stack
    frames = open_frames(paths)
    values, masks, bounds = collect(frames, 1e9, n_ahead=n_ahead, target=target)
    for k, data in enumerate(expected):
        np.testing.assert_array_equal(values[k], data)
        if expected_masks[k] is not None:
            np.testing.assert_array_equal(masks[k], expected_masks[k])
        else:
            assert not masks[k].any()
    assert (len(bounds) == 1) == (target == 2**30)
    for frame in frames:
        frame.close()


@pytest.mark.parametrize("mem_limit", [-5, 0, 1, 10_000, 25_000, 100_000, 1e9])
def test_memory_of_strips(stack, mem_limit):
    frames = open_frames(stack[0])
    plan = plan_strips(frames, mem_limit, fixed_nbytes=500)
    assert plan.height >= 1
    assert plan.height * (plan.n_strips - 1) < 37 <= plan.height * plan.n_strips
    assert plan.nbytes <= mem_limit - 500 or plan.height == 1
    values, _, bounds = collect(frames, mem_limit, 500)
    np.testing.assert_array_equal(values[0], stack[1][0])
    assert len(bounds) == plan.n_strips
    assert all(stop - start <= plan.height for start, stop in bounds)
    for frame in frames:
        frame.close()


def test_strips_have_equal_heights(stack):
    frames = open_frames(stack[0])
    row = sum(frame.row_nbytes for frame in frames)
    plan = plan_strips(frames, 1e9, target=35 * row)
    assert (plan.height, plan.n_strips) == (19, 2)
    for frame in frames:
        frame.close()


def test_images_in_memory_are_one_strip():
    data = [np.arange(12.0).reshape(3, 4) + k for k in range(2)]
    frames = [CCDFrame(CCDData(d, unit="adu"), "x") for d in data]
    ((start, stop, planes),) = strips(frames, 0)
    assert (start, stop) == (0, 3)
    assert all(np.shares_memory(p.pixels, d) for p, d in zip(planes, data, strict=True))


def test_files_and_images_in_memory(stack):
    frames = open_frames([stack[0][0], CCDData(stack[1][1], unit="adu"), stack[0][2]])
    values, masks, bounds = collect(frames, 1e9, target=3000)
    assert len(bounds) >= 5
    for k in range(3):
        np.testing.assert_array_equal(values[k], stack[1][k])
    np.testing.assert_array_equal(masks[2], stack[2][2])
    for frame in frames:
        frame.close()


@pytest.mark.parametrize("shape", [(1000,), (5, 6, 7), (1, 1000), (2, 1, 3, 4)])
def test_other_shapes(tmp_path, shape):
    data = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    paths = [tmp_path / "a.fits", tmp_path / "b.fits"]
    for path in paths:
        fits.PrimaryHDU(data).writeto(path)
    frames = open_frames(paths, unit="adu")
    values, _, bounds = collect(frames, 1e9, target=60)
    np.testing.assert_array_equal(values[0].reshape(shape), data)
    assert len(bounds) > 1 or shape[0] == 1
    for frame in frames:
        frame.close()


def test_no_rows():
    frames = [CCDFrame(CCDData(np.zeros((0, 4)), unit="adu"), "x")]
    assert list(strips(frames, 1e9)) == []


def test_different_shapes():
    frames = [
        CCDFrame(CCDData(np.zeros(shape), unit="adu"), name)
        for name, shape in [("one", (3, 4)), ("two", (4, 3))]
    ]
    with pytest.raises(ValueError, match=r"two has shape \(4, 3\), one has \(3, 4\)"):
        next(strips(frames, 1e9))


class SlowFrame(CCDFrame):
    """Says that it is read, and in which thread."""

    row_nbytes = 100

    def __init__(self, log):
        super().__init__(CCDData(np.zeros((10, 4)), unit="adu"), "slow")
        self.log = log

    def read(self, start, stop, buffer=None):
        self.log.append((start, threading.current_thread()))
        if start == 6:
            raise OSError("slow is broken")
        return super().read(start, stop)


def test_reads_ahead_and_not_more():
    log = []
    iterator = strips([SlowFrame(log)], 1e9, target=100)
    start, _, _ = next(iterator)
    assert start == 0
    start, _, _ = next(iterator)
    assert start == 1
    assert [start for start, _ in log] in ([0, 1], [0, 1, 2])
    assert all(thread is not threading.main_thread() for _, thread in log)
    iterator.close()
    n_reads, n_threads = len(log), threading.active_count()
    assert n_reads <= 3
    assert n_threads == 1 or "imcombiners-read_0" not in {
        thread.name for thread in threading.enumerate()
    }


def test_error_in_reading_comes_to_the_caller():
    seen = []
    with pytest.raises(OSError, match="slow is broken"):
        for start, _, _ in strips([SlowFrame([])], 1e9, target=100):
            seen.append(start)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_planes_are_aligned_and_apart(tmp_path):
    paths = [tmp_path / f"{k}.fits" for k in range(4)]
    for path in paths:
        fits.PrimaryHDU(np.zeros((8, 2048), "i2")).writeto(path)
    frames = open_frames(paths, unit="adu")
    for _, _, planes in strips(frames, 1e9, target=2 * 4 * 4096):
        addresses = [strip.pixels.ctypes.data for strip in planes]
        assert all(address % 64 == 0 for address in addresses)
        assert len({address % 4096 for address in addresses}) == 4
    for frame in frames:
        frame.close()


def test_folding():
    assert fold((3, 4)) == (3, 4)
    assert fold((2, 3, 4)) == (6, 4)
    assert fold((5,)) == (5, 1)
    data = np.arange(60).reshape(3, 4, 5)
    for array in (data, np.asfortranarray(data)):
        for start in range(12):
            for stop in range(start + 1, 13):
                rows = folded_rows(array, data.shape, start, stop)
                np.testing.assert_array_equal(rows, data.reshape(12, 5)[start:stop])
