# Licensed under a 3-clause BSD style license - see LICENSE
"""Notes of the flags of few samples say what the cube of all would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imcombiners_astro import SampleFlags, planes

CLIP = ("sigclip", {"center": "median", "low": 2.6, "high": 2.6})
EXTREMA = ("extrema", {"low": 1, "high": 1})


def written(stack, steps, noted, **arguments):
    """Return the flags that were written and, if `noted`, the notes."""
    outputs = {
        "image": np.empty(stack.shape[1:], np.float32),
        "sample_flags": np.zeros(stack.shape, np.uint8),
    }
    if noted:
        outputs["sample_notes"] = None
    plan = planes.Plan("mean", steps, work="f4")
    planes.combine_planes(stack, plan, outputs, zeroed=True, **arguments)
    return outputs["sample_flags"], outputs.get("sample_notes")


def all_flags(flags, notes):
    assert notes.dtype == np.int64
    assert len(np.unique(notes >> 8)) == len(notes)
    assert not flags.reshape(-1)[notes >> 8].any()
    flags.reshape(-1)[notes >> 8] = notes & 255
    return flags


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    shape=st.sampled_from([(1, 1), (3, 41), (2, 1000), (90, 128)]),
    bad=st.sampled_from([0.0, 1e-3, 0.02, 0.2]),
    patch=st.booleans(),
    steps=st.sampled_from([(), (CLIP,), (EXTREMA,), (CLIP, EXTREMA)]),
    with_masks=st.booleans(),
    n_threads=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_same_flags(n, shape, bad, patch, steps, with_masks, n_threads, seed):
    rng = np.random.default_rng(seed)
    stack = rng.normal(100.0, 3.0, (n, *shape)).astype(np.float32)
    stack[rng.random(stack.shape) < bad] += 1000.0
    stack[rng.random(stack.shape) < bad] = np.nan
    if patch:
        # Much happens to a part of the image, little elsewhere.
        stack[: n // 2, : shape[0] // 3] = np.nan
    arguments = {"n_threads": n_threads}
    if with_masks:
        arguments["masks"] = rng.random(stack.shape) < bad
    truth, none = written(stack, steps, False, **arguments)
    assert none is None
    found = all_flags(*written(stack, steps, True, **arguments))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_few_are_noted_and_many_written(dtype):
    stack = np.full((9, 256, 512), 100, dtype)
    stack += np.arange(9, dtype=dtype)[:, None, None]
    stack[3, 7, 5] = 9000
    flags, notes = written(stack, (CLIP,), True)
    assert not flags.any()
    sample = (3 * 256 + 7) * 512 + 5
    assert notes.tolist() == [sample << 8 | SampleFlags.ALGORITHM]
    flags, notes = written(stack, (EXTREMA,), True)
    assert len(notes) == 0
    assert np.count_nonzero(flags) == 2 * 256 * 512


def test_notes_of_parts():
    """Where much happens flags are written, elsewhere they are noted."""
    rng = np.random.default_rng(3)
    stack = rng.normal(100.0, 3.0, (9, 2048, 512)).astype(np.float32)
    stack[4, 1500, 40:60] = 1e6
    stack[:3, :64] = np.nan
    flags, notes = written(stack, (), True, n_threads=2)
    assert len(notes) == 0
    assert np.count_nonzero(flags) == 3 * 64 * 512
    clipped, notes = written(stack, (CLIP,), True, n_threads=2)
    assert len(notes) > 20
    assert (clipped[:3, :64] != 0).all()
    assert not clipped[:, 1500].any()


@pytest.mark.parametrize("lacks", ["flags", "zeros"])
def test_notes_of_nothing(lacks):
    stack = np.ones((3, 4, 5), np.float32)
    outputs = {"image": np.empty((4, 5)), "sample_notes": None}
    if lacks == "zeros":
        outputs["sample_flags"] = np.ones(stack.shape, np.uint8)
    with pytest.raises(ValueError, match="sample_notes: expected sample_flags, too"):
        planes.combine_planes(
            stack, planes.Plan("mean"), outputs, zeroed=lacks != "zeros"
        )


def test_notes_begin_as_none():
    outputs = {"sample_flags": np.zeros((3, 4, 5), np.uint8)}
    outputs["sample_notes"] = np.zeros(7, np.int64)
    with pytest.raises(
        TypeError, match=r"sample_notes: found .*ndarray.*expected None"
    ):
        planes.combine_planes(
            np.ones((3, 4, 5)), planes.Plan("mean"), outputs, zeroed=True
        )
