# Licensed under a 3-clause BSD style license - see LICENSE
"""Lazy combination: what is refused, how images are cut, and what is imported."""

import subprocess
import sys

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from comparison import stack_of

import imcombiners_astro as imc

pytest.importorskip("dask")
import dask.array as da

from imcombiners_astro.distributed import combine
from imcombiners_astro.distributed.chunks import choose_chunks, places
from imcombiners_astro.distributed.sources import ArraySource

STACK = da.ones((3, 40, 50), chunks=(1, 20, 50))
GROWING = imc.SigClip(2, stdfunc="mad", grow=3.5)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"output_file": "out.fits"}, TypeError, r"output_file.*write\(path\)"),
        ({"overwrite_output": True}, TypeError, "overwrite_output.*write"),
        ({"progress_bar": iter}, TypeError, "progress_bar.*ProgressBar"),
        ({"array_package": da}, TypeError, "array_package.*NumPy"),
        ({"hdu": "all"}, TypeError, "hdu='all'.*for each extension"),
        ({"method": "mode"}, ValueError, "unrecognised combine method"),
        ({"unit": None}, TypeError, "give unit="),
        ({"mask": np.zeros((3, 40))}, ValueError, "expected bool of shape"),
        ({"mask": np.zeros((2, 40, 50), bool)}, ValueError, "found 2 masks"),
        ({"mask": [None, None]}, ValueError, "found 2 masks"),
        ({"mask": np.zeros((40, 50), int)}, ValueError, "found int64 of shape"),
        ({"chunks": (3, 40, 50)}, ValueError, "axis of the images is always whole"),
        ({"chunks": (30, 30, 7)}, ValueError, "axis of the images"),
        ({"chunks": ((1, 2), 50)}, ValueError, r"chunks: found \(\(1, 2\), 50\)"),
        ({"chunks": (10, 10), "rejectors": GROWING}, ValueError, "cuts axis 1.*growth"),
        ({"chunks": 2, "rejectors": GROWING}, ValueError, "grow over up to 3 rows"),
        (
            {"chunks": (10, 10), "rejectors": imc.AvSigClip(2)},
            ValueError,
            "cuts axis 1.*AvSigClip",
        ),
        ({"weights": STACK}, TypeError, "weights must be a numpy.ndarray"),
        ({"scale": "EXPOSED"}, ValueError, "no such keyword"),
        ({"uncertainty": "propagate"}, ValueError, r"img_list\[0\]"),
        ({"mem_limit": 0}, ValueError, "mem_limit must be a positive"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    ],
)
def test_what_cannot_be_meant(keywords, error, message):
    with pytest.raises(error, match=message):
        combine(STACK, **({"unit": "adu"} | keywords))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.ones((3, 4, 5)), TypeError, "img_list.0. must be a dask array.*in memory"),
        (stack_of(3), TypeError, "found CCDData of ndarray.*imcombiners_astro.combine"),
        ([STACK[0], "a.fits"], TypeError, r"img_list\[1\].*found str"),
        ([STACK[0], np.ones((40, 50))], TypeError, r"img_list\[1\].*found ndarray"),
        (STACK[0], ValueError, r"must have the shape \(N, \*spatial\)"),
        ([], ValueError, "img_list is empty"),
        ([STACK[0], STACK[0][STACK[0][:, 0] > 0]], ValueError, "compute_chunk_sizes"),
        (da.ones((0, 4, 5)), ValueError, "img_list is empty"),
        ([STACK[0], STACK[0][1:]], TypeError, "not the same size"),
        ([STACK[0], STACK[0].astype(complex)], TypeError, "real numbers"),
        ([STACK[0], CCDData(STACK[0], unit="s")], TypeError, "same unit"),
        ("no-such-*.fits", FileNotFoundError, "no-such"),
        (["no-such.fits"], FileNotFoundError, "no-such"),
    ],
)
def test_images_that_cannot_be_combined(images, error, message):
    with pytest.raises(error, match=message):
        combine(images, unit="adu")


def test_every_argument_is_used_or_refused(monkeypatch):
    """One that combine() learns is not ignored by this one."""

    def learned(img_list, method="average", mem_limit=16e9, trick=None, **ccdkwargs):
        pass

    monkeypatch.setattr(imc.files.combine, "combine", learned)
    with pytest.raises(TypeError, match=r"trick= is not for a lazy.*use imcombiners"):
        combine(STACK, unit="adu", trick=3)


def test_masks_of_files(tmp_path):
    stack_of(1)[0].write(tmp_path / "a.fits")
    with pytest.raises(TypeError, match="mask= is for dask arrays"):
        combine([tmp_path / "a.fits"], mask=np.zeros((23, 31), bool))


def test_rows_of_files_stay_whole(tmp_path):
    stack_of(1)[0].write(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"whole rows.*such as"):
        combine([tmp_path / "a.fits"], chunks=(23, 5))


def test_a_file_that_has_changed_meanwhile(tmp_path):
    path = tmp_path / "a.fits"
    stack_of(1)[0].write(path)
    lazy = combine([path])
    stack_of(1, shape=(5, 31))[0].write(path, overwrite=True)
    with pytest.raises(ValueError, match=r"a\.fits: an image of shape"):
        lazy.compute()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.fits"):
        lazy.compute()


def test_unknown_keywords():
    with pytest.warns(imc.errors.UnknownKeywordWarning, match="'method'"):
        combine(STACK, unit="adu", metod="median")


def test_an_integer_that_cannot_hold_the_result():
    stack = da.full((3, 4, 4), 300.0, chunks=2)
    lazy = combine(stack, unit="adu", dtype="u1", chunks=2)
    with pytest.raises(ValueError, match="dtype=uint8 holds values"):
        lazy.compute()


def test_integers_with_neighbours():
    """Rows of the neighbours are not looked at."""
    rng = np.random.default_rng(1)
    stack = rng.normal(100, 5, (9, 40, 6))
    call = {"rejectors": imc.SigClip(2, grow=1), "dtype": "u1", "unit": "adu"}
    call["blank"] = 0
    lazy = combine(list(da.from_array(stack)), chunks=(5, -1), **call)
    expected = imc.combine(list(stack), **call)
    np.testing.assert_array_equal(lazy.compute().data, expected.data)


# ------------------------------------------------------------------- chunks

FREE = {"previous": None, "halo": 0, "whole": {}, "runs": False}


def test_chunks_of_the_arrays_are_kept():
    previous = ((16,) * 4, (64,))
    chunks = choose_chunks(None, (64, 64), 100, 4e5, **FREE | {"previous": previous})
    assert chunks == ((48, 16), (64,)) or max(chunks[0]) % 16 == 0
    assert max(chunks[0]) * max(chunks[1]) * 100 <= 4e5


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1e9, ((3,), (4,), (5,))),
        (2e4, ((1, 1, 1), (4,), (5,))),
        (1.1e4, ((1, 1, 1), (2, 2), (5,))),
        (1, ((1, 1, 1), (1,) * 4, (5,))),
    ],
)
def test_chunks_of_files(limit, expected):
    chunks = choose_chunks(None, (3, 4, 5), 1000, limit, **FREE | {"runs": True})
    assert chunks == expected


@pytest.mark.parametrize(("dtype", "nbytes"), [("f4", 4), (">f8", 8), ("i2", 2 + 8)])
def test_errors_are_counted_with_their_copies(dtype, nbytes):
    """Chunks of float errors are read as they are, others are converted."""

    def sample_nbytes(**keywords):
        ccds = [
            CCDData(da.ones((5, 6), dtype="f4"), unit="adu", **keywords)
            for _ in range(3)
        ]
        source = ArraySource(ccds, None, None)
        with source.opened({"want_uncertainty": True, "want_flags": False}, {}):
            return source.sample_nbytes()

    assert sample_nbytes() == 3 * 4
    errors = StdDevUncertainty(da.ones((5, 6), dtype=dtype))
    assert sample_nbytes(uncertainty=errors) == 3 * (4 + nbytes)


def test_chunks_have_the_rows_that_growth_needs():
    for n_rows in range(1, 30):
        for halo in range(1, 8):
            for asked in (None, 3, 7):
                options = FREE | {"halo": halo, "whole": {1: "so"}}
                try:
                    rows, columns = choose_chunks(
                        asked, (n_rows, 5), 100, 1e3, **options
                    )
                except ValueError as error:
                    assert asked is not None and asked < halo
                    assert "grow over" in str(error)
                    continue
                assert columns == (5,)
                assert sum(rows) == n_rows
                assert len(rows) == 1 or min(rows) >= halo


def test_places_cover_every_row_once():
    for shape, chunks, halo in (
        ((7,), ((3, 4),), 2),
        ((6, 5), ((2, 2, 2), (5,)), 1),
        ((4, 3, 2), ((1,) * 4, (2, 1), (2,)), 0),
        ((4, 3, 2), ((2, 2), (3,), (2,)), 2),
    ):
        image = np.arange(np.prod(shape)).reshape(shape)
        rows = image.reshape(-1, 1 if len(shape) == 1 else shape[-1])
        seen = []
        for place in places(chunks, halo).values():
            part = rows[place.start : place.stop].reshape(place.shape)
            seen.append(part[place.before : len(part) - place.after].ravel())
        assert sorted(np.concatenate(seen)) == list(range(image.size))


# ------------------------------------------------------------------- import

CODE = """
import sys

import imcombiners_astro
from imcombiners_astro import combine

assert "dask" not in sys.modules
sys.modules["dask"] = None
from imcombiners_astro import *

try:
    imcombiners_astro.distributed
except ImportError as error:
    print(error)
"""


def test_dask_is_imported_only_when_it_is_needed():
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert "needs dask" in run.stdout
