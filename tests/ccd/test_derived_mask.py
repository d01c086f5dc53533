# Licensed under a 3-clause BSD style license - see LICENSE
"""The mask of samples not used, which is made of their flags when it is asked for."""

import copy
import pickle

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

from imcombiners_astro import CombinedCCDData, MinMaxClip, SigClip, ccd, combine
from imcombiners_astro.diagnostics import DIAGNOSTICS, Derived
from imcombiners_astro.task import Task

N, SHAPE = 6, (37, 41)


def frames():
    """Images with outliers, and masked, NaN and infinite samples."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(N):
        data = rng.normal(100.0, 5.0, SHAPE).astype("f4")
        data[rng.random(SHAPE) < 0.02] += 1000.0
        data[rng.random(SHAPE) < 0.02] = [np.nan, np.inf][k % 2]
        mask = rng.random(SHAPE) < 0.03
        mask[3, 4], data[5, 6] = True, np.nan
        error = StdDevUncertainty(rng.uniform(1.0, 9.0, SHAPE).astype("f4"))
        found.append(CCDData(data, unit="adu", mask=mask, uncertainty=error))
    return found


def lazy_one(**keywords):
    """Return a result of which nobody has asked for the mask."""
    result = combine(frames(), rejectors=SigClip(2), diagnostics="full", **keywords)
    assert result._kept("mask_rej") is Derived.FROM_FLAGS
    return result


def called(samples, axis=None):
    return np.ma.mean(samples, axis=axis)


def span(samples, axis=None):
    return np.nanmax(np.nan_to_num(samples), axis=axis)


WAYS = {
    "plain": {},
    "nothing": {"rejectors": ()},
    "two": {"rejectors": [SigClip(2), MinMaxClip(1, 1)]},
    "limits": {"rejectors": SigClip(1.2, nkeep=5)},
    "few": {"rejectors": SigClip(1.2, maxrej=1, revert_on_nkeep="closest")},
    "grown": {"rejectors": SigClip(2, grow=1.5)},
    "thresholds": {"thresholds": (90.0, 108.0)},
    "zero": {"scale": [1, 2, 3, 4, 5, 6], "rejectors": SigClip(2)},
    "ivar": {"weights": "ivar", "uncertainty": "propagate"},
    "offsets": {"offsets": [(0, k) for k in range(N)], "rejectors": SigClip(2)},
    "as ccdproc": {"sigma_clip": True, "sigma_clip_low_thresh": 1.5},
    "function": {"sigma_clip": True, "sigma_clip_func": called},
    "scatter": {"combine_uncertainty_function": span},
}


@pytest.mark.parametrize("way", WAYS)
def test_same_as_written_by_the_kernel(way):
    keywords = WAYS[way]
    full = combine(frames(), diagnostics="full", **keywords)
    simple = combine(frames(), diagnostics="simple", **keywords)
    assert full._kept("mask_rej") is Derived.FROM_FLAGS
    assert isinstance(simple._kept("mask_rej"), np.ndarray)
    assert full.mask_rej.dtype == bool and full.mask_rej.any()
    np.testing.assert_array_equal(full.mask_rej, simple.mask_rej)
    np.testing.assert_array_equal((~full.mask_rej).sum(axis=0), full.n_used)
    for name in ("n_used", "n_rejected_low", "n_rejected_high", "output_flags", "nit"):
        np.testing.assert_array_equal(getattr(full, name), getattr(simple, name))
    assert list(full.frames["n_used"]) == list(simple.frames["n_used"])


def test_it_is_made_once_and_can_be_changed():
    result = lazy_one()
    mask = result.mask_rej
    assert result.mask_rej is mask
    mask[:] = False
    assert not result.mask_rej.any()
    result = lazy_one()
    result.mask_rej = None
    assert result.mask_rej is None


@pytest.mark.parametrize("new", [None, np.zeros((N, *SHAPE), np.uint8)], ids=type)
def test_other_flags_leave_it_as_it_was(new):
    result, expected = lazy_one(), lazy_one().mask_rej
    result.sample_flags = new
    np.testing.assert_array_equal(result.mask_rej, expected)


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda result: pickle.loads(pickle.dumps(result)),
        CombinedCCDData,
        lambda result: CombinedCCDData(result, copy=True),
        lambda result: result.multiply(2.0),
        lambda result: result.convert_unit_to("adu"),
        lambda result: result[2:30, ::3],
        lambda result: result[4],
    ],
)
def test_nothing_makes_it_before_it_is_needed(duplicate):
    result = lazy_one()
    other = duplicate(result)
    for one in (result, other):
        assert one._kept("mask_rej") is Derived.FROM_FLAGS
    parts = lazy_one()
    parts.mask_rej  # noqa: B018 (it is made now)
    expected = duplicate(parts)
    assert isinstance(expected._kept("mask_rej"), np.ndarray)
    np.testing.assert_array_equal(other.mask_rej, expected.mask_rej)


def test_flags_changed_in_place_show_in_it_until_it_is_made():
    result, expected = lazy_one(), lazy_one().mask_rej
    result.mask_rej  # noqa: B018 (it is made now)
    result.sample_flags[:] = 0
    np.testing.assert_array_equal(result.mask_rej, expected)
    result = lazy_one()
    result.sample_flags[:] = 0
    assert not result.mask_rej.any()


@pytest.mark.parametrize("level", ["simple", "full"])
def test_memory_is_asked_for_what_is_kept(monkeypatch, level):
    tasks = []

    class Noted(Task):
        def __init__(self, *args):
            super().__init__(*args)
            tasks.append(self)

    monkeypatch.setattr(ccd, "Task", Noted)
    result = combine(frames(), rejectors=SigClip(2), diagnostics=level)
    result.sample_flags  # noqa: B018 (all of them are written now)
    arrays = [result.data, result.mask, result.uncertainty.array]
    arrays += [result._kept(name) for name in DIAGNOSTICS]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    assert [task.nbytes for task in tasks] == [sum(array.nbytes for array in arrays)]


def test_texts_do_not_make_it():
    result, other = lazy_one(), lazy_one()
    other.mask_rej  # noqa: B018 (it is made now)
    assert result.info() == other.info()
    assert repr(result) == repr(other)
    assert "mask_rej" in repr(result) and result.n_frames == N
    result.frames = other.frames = None
    assert result.info() == other.info()
    assert result._kept("mask_rej") is Derived.FROM_FLAGS


def test_files(tmp_path):
    result, path = lazy_one(), tmp_path / "combined.fits"
    expected = lazy_one().mask_rej
    result.write(path)
    back = CombinedCCDData.read(path)
    np.testing.assert_array_equal(back.mask_rej, expected)
    np.testing.assert_array_equal(back.sample_flags, result.sample_flags)
    combine(
        frames(), tmp_path / "at_once.fits", rejectors=SigClip(2), diagnostics="full"
    )
    back = CombinedCCDData.read(tmp_path / "at_once.fits")
    np.testing.assert_array_equal(back.mask_rej, expected)
