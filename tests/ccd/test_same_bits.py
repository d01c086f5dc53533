# Licensed under a 3-clause BSD style license - see LICENSE
"""The same bits for any memory limit and thread count, from files or memory."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from comparison import stack_of

from imcombiners_astro import combine

N = 11
SHAPE = (60, 97)
RESULT_NBYTES = 17 * SHAPE[0] * SHAPE[1]

CALLS = {
    "average": {},
    "median": {"method": "median"},
    "sum": {"method": "sum"},
    "clipped": {"sigma_clip": True, "sigma_clip_high_thresh": 2},
    "median and MAD": {
        "sigma_clip": True,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": "mad_std",
    },
    "extrema of a scaled median": {
        "method": "median",
        "clip_extrema": True,
        "scale": np.linspace(0.9, 1.1, N),
    },
    "weights": {"weights": np.linspace(1, 2, N)},
    "weights of samples": {
        "weights": np.random.default_rng(0).random((N, *SHAPE)),
        "minmax_clip": True,
        "minmax_clip_max": 1200,
    },
    "called functions": {
        "sigma_clip": True,
        "sigma_clip_func": lambda a, axis: np.sort(a, axis=0)[2],
        "combine_uncertainty_function": lambda a, axis: np.nanmax(a, axis=0) * 0.5,
    },
    "float32": {"dtype": "f4", "method": "median", "clip_extrema": True},
}


def strip_nbytes(dtype, rows):
    """Bytes of that many rows of all frames, masks included."""
    return N * rows * SHAPE[1] * (np.dtype(dtype).itemsize + 1)


def assert_equal_bits(a, b):
    assert a.data.tobytes() == b.data.tobytes()
    assert a.mask.tobytes() == b.mask.tobytes()
    assert a.uncertainty.array.tobytes() == b.uncertainty.array.tobytes()


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_same_bits(tmp_path, name, dtype):
    bad = () if dtype == "u2" else (np.nan,)
    ccds = stack_of(N, SHAPE, dtype=dtype, masks=True, bad=bad)
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
    call = CALLS[name]
    whole = combine(ccds, **call)
    ten_strips = RESULT_NBYTES + 2.5 * strip_nbytes(dtype, SHAPE[0] / 10)
    for images in (ccds, files):
        for n_threads in (1, 2, 5):
            for mem_limit in (16e9, ten_strips, 1):
                result = combine(
                    images, n_threads=n_threads, mem_limit=mem_limit, **call
                )
                assert_equal_bits(result, whole)


def test_strips_really_are_cut(tmp_path):
    ccds = stack_of(N, SHAPE, dtype="f4", masks=True)
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
    lengths = []

    def bar(iterable):
        lengths.append(len(iterable))
        return iterable

    for mem_limit in (16e9, RESULT_NBYTES + 2.5 * strip_nbytes("f4", 6), 1):
        combine(files, mem_limit=mem_limit, progress_bar=bar)
    assert lengths[0] == 1
    assert 5 <= lengths[1] <= 20
    assert lengths[2] == SHAPE[0]


def test_byte_order_and_strides_of_the_input():
    ccds = stack_of(N, SHAPE, masks=True)
    whole = combine(ccds, sigma_clip=True)
    for view in (
        lambda a: a.astype(a.dtype.newbyteorder()),
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    ):
        others = [
            CCDData(view(c.data), mask=view(c.mask), unit=c.unit, meta=c.meta)
            for c in ccds
        ]
        assert_equal_bits(combine(others, sigma_clip=True), whole)
