# Licensed under a 3-clause BSD style license - see LICENSE
"""The flags of samples, of which few are noted until somebody asks for them all."""

import copy
import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData

from imcombiners_astro import CombinedCCDData, MinMaxClip, SigClip, combine
from imcombiners_astro.products import MemoryStore, NotedCube

N, SHAPE = 7, (120, 131)


def frames(bad=0.003):
    rng = np.random.default_rng(11)
    stack = rng.normal(100.0, 5.0, (N, *SHAPE)).astype("f4")
    stack[rng.random(stack.shape) < bad] += 1000.0
    return [CCDData(plane, unit="adu") for plane in stack]


def noted_one(**keywords):
    """Return a result of which nobody has asked for the flags."""
    result = combine(frames(), rejectors=SigClip(2.3), diagnostics="full", **keywords)
    assert isinstance(result._kept("sample_flags"), NotedCube)
    return result


@pytest.fixture
def truth(monkeypatch):
    """The flags written by the kernel."""
    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "takes_notes", lambda self, name: False)
        result = combine(frames(), rejectors=SigClip(2.3), diagnostics="full")
        flags = result.sample_flags
    assert 0 < np.count_nonzero(flags) < flags.size / 64
    return flags


@pytest.mark.parametrize("keywords", [{}, {"mem_limit": 1e6}, {"n_threads": 3}])
def test_the_flags_of_the_kernel(truth, keywords):
    result = noted_one(**keywords)
    np.testing.assert_array_equal(result.sample_flags, truth)
    assert result.sample_flags is result.sample_flags
    np.testing.assert_array_equal(result.mask_rej, truth != 0)


def test_many_are_written():
    many = combine(frames(), rejectors=MinMaxClip(1, 1), diagnostics="full")
    flags = many._kept("sample_flags")
    assert [len(notes) for notes in flags._notes] == [0]
    assert np.count_nonzero(flags._cube) == 2 * SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(many.mask_rej.sum(axis=0), 2)


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        lambda result: pickle.loads(pickle.dumps(result)),
        CombinedCCDData,
        lambda result: CombinedCCDData(result, copy=True),
        lambda result: result.multiply(2.0),
        lambda result: result.convert_unit_to(u.kadu),
    ],
    ids=["deepcopy", "pickle", "taken over", "copied", "multiplied", "converted"],
)
def test_what_is_made_of_it_has_the_flags(truth, change):
    result = noted_one()
    other = change(result)
    np.testing.assert_array_equal(other.sample_flags, truth)
    np.testing.assert_array_equal(result.sample_flags, truth)
    assert other.n_frames == N


def test_a_part_is_a_view(truth):
    result = noted_one()
    part = result[10:20, 5:]
    np.testing.assert_array_equal(part.sample_flags, truth[:, 10:20, 5:])
    assert np.shares_memory(part.sample_flags, result.sample_flags)


def test_info_and_file(truth, tmp_path):
    result = noted_one()
    share = 100 * np.count_nonzero(truth) / truth.size
    assert f"ALGORITHM {share:.3g} %" in result.info()
    noted_one().write(tmp_path / "result.fits")
    read = CombinedCCDData.read(tmp_path / "result.fits")
    np.testing.assert_array_equal(read.sample_flags, truth)


def test_other_flags(truth):
    result = noted_one()
    result.sample_flags = np.zeros_like(truth)
    assert not result.sample_flags.any()
    np.testing.assert_array_equal(result.mask_rej, truth != 0)
    with pytest.raises(ValueError, match="sample_flags must have the shape"):
        CombinedCCDData(np.ones((2, 3)), unit="adu").sample_flags = noted_one()._kept(
            "sample_flags"
        )
