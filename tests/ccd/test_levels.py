# Licensed under a 3-clause BSD style license - see LICENSE
"""Levels of frames from chunks of their values are those from sorted values."""

import numpy as np
import pytest

from imcombiners_astro.levels import _keys, _of_keys, _Values, clipped_levels
from imcombiners_astro.sections import parse_section, section_shape, thin_section
from imcombiners_astro.zeroscale import clipped, mode

WORDS = {"a": "mean", "b": "median", "c": "mode"}


def slow_levels(values, sigma, maxiters):
    kept = clipped(values, sigma=sigma, maxiters=maxiters)
    return {"a": kept.mean(), "b": np.median(kept), "c": mode(kept)}


def samples(kind, dtype, n=5000):
    rng = np.random.default_rng(7)
    values = {
        "sky": rng.normal(100, 10, n),
        "outliers": np.where(rng.random(n) < 0.05, 120, rng.normal(100, 2, n)),
        "ties": rng.integers(98, 103, n),
        "equal": np.full(n, 42),
        "both signs": rng.normal(0, 30, n),
        "wide": rng.exponential(20, n) ** 1.3,
        "one": np.array([7]),
        "two": np.array([7, 9]),
    }[kind]
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.round(values), limits.min, limits.max)
    return values.astype(dtype)


@pytest.mark.parametrize("n_chunks", [1, 7])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize(
    "kind", ["sky", "outliers", "ties", "equal", "both signs", "wide", "one", "two"]
)
def test_levels(kind, dtype, n_chunks):
    values = samples(kind, dtype)
    chunks = np.array_split(values, n_chunks)
    for sigma, maxiters in [((3, 3), 5), ((2, 1.5), 10), ((9, 2), 1), ((3, 3), 0)]:
        clip = {"sigma": sigma, "maxiters": maxiters}
        found = clipped_levels(lambda: chunks, WORDS, **clip)
        assert clipped_levels(lambda: chunks, WORDS, **clip, sort=False) == found
        expected = slow_levels(values, sigma, maxiters)
        assert found["b"] == expected["b"]
        assert found["c"] == pytest.approx(expected["c"], rel=1e-12)
        assert found["a"] == pytest.approx(expected["a"], rel=1e-12, abs=1e-12)


def test_ranks_of_many_values_with_digits_in_common(monkeypatch):
    monkeypatch.setattr("imcombiners_astro.levels._FEW", 10)
    rng = np.random.default_rng(8)
    values = np.concatenate(
        [
            1000 + rng.random(3000) * 1e-9,
            np.full(500, 1000 + 5e-10),
            -rng.random(100) * 1e-300,
            [0.0, -0.0, 1e308, -1e308, 5e-324],
        ]
    )
    rng.shuffle(values)
    chunks = np.array_split(values, 5)
    found, ordered = _Values(lambda: chunks), np.sort(values)
    for rank in [*range(0, values.size, 37), values.size - 1]:
        assert found[rank] == ordered[rank]
    edges = np.array([-1.0, 0.0, 1000, 1000 + 5e-10, 2e308])
    for side in ("left", "right"):
        assert np.array_equal(
            found.searchsorted(edges, side), ordered.searchsorted(edges, side)
        )


def test_keys_are_in_the_order_of_the_numbers():
    values = np.array([-np.finfo("f8").max, -2.5, -5e-324, 0.0, 5e-324, 1.0, 1e300])
    keys = _keys(values)
    assert (np.diff(keys.astype(object)) > 0).all()
    assert [_of_keys(key) for key in keys] == list(values)
    assert _keys(np.array([-0.0])) == _keys(np.array([0.0]))


def test_no_value():
    assert clipped_levels(lambda: [], WORDS) == {}
    for dtype in ("u2", "f4"):
        assert clipped_levels(lambda dtype=dtype: [np.empty(0, dtype)], WORDS) == {}


@pytest.mark.parametrize("most", [1, 5, 29, 30, 31, 100, 599, 600, 601, 10**6])
@pytest.mark.parametrize("shape", [(20, 30), (600,), (3, 10, 20), (1, 600)])
def test_thin_section(shape, most):
    whole = parse_section(None, shape)
    thinned = thin_section(whole, most)
    n = np.prod(section_shape(thinned))
    assert 1 <= n <= most
    assert n == 600 or most < 600
    assert n > most / 4 or n == 600
    for axis, size in zip(thinned, shape, strict=True):
        left = np.arange(size)[axis]
        # as far from one end as from the other
        assert abs(left[0] - (size - 1 - left[-1])) <= 1
    if most >= shape[-1]:
        assert thinned[-1] == whole[-1] or len(shape) == 1


def test_thin_a_part():
    section = parse_section("[2:40:3,11:50]", (60, 50))
    assert thin_section(section, 13 * 4) == (slice(14, 45, 10), slice(1, 38, 3))
