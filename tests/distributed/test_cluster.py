# Licensed under a 3-clause BSD style license - see LICENSE
"""A cluster of two processes: the same bits, and stacks larger than their memory."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from comparison import stack_of

import imcombiners_astro as imc

distributed = pytest.importorskip("distributed")
import dask.array as da  # noqa: E402

from imcombiners_astro.distributed import combine  # noqa: E402

# What a worker takes before it does anything is some 150 MB.
LIMIT = 350e6


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=int(LIMIT),
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def most_memory():
    """Most memory that this process ever had; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])


def test_same_bits(client, tmp_path):
    ccds = stack_of(9, (40, 31), dtype="f4", masks=True, bad=(np.nan,))
    files = [tmp_path / f"{k}.fits" for k in range(9)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
    stack = da.from_array(np.array([ccd.data for ccd in ccds]), chunks=(3, 20, 10))
    mask = da.from_array(np.array([ccd.mask for ccd in ccds]))
    for call in (
        {"method": "median", "zero": "mean", "statsec": "[1:20,1:30]"},
        {"rejectors": imc.SigClip(2, grow=2), "diagnostics": "full"},
        {"scale": lambda data: 1 / np.nanmax(data), "uncertainty": None},
    ):
        for own, lazy in (
            (ccds, combine(stack, mask=mask, unit="adu", chunks=(9, -1), **call)),
            (files, combine(files, chunks=9, **call)),
        ):
            expected = imc.combine(own, **call)
            for found in (lazy.compute(), client.compute(lazy).result()):
                assert found.data.tobytes() == expected.data.tobytes()
                assert found.mask.tobytes() == expected.mask.tobytes()
                if "diagnostics" in call:
                    cube = expected.sample_flags
                    assert found.sample_flags.tobytes() == cube.tobytes()
                if expected.uncertainty is not None:
                    sigma = expected.uncertainty.array
                    assert found.uncertainty.array.tobytes() == sigma.tobytes()
            if own is files:
                assert repr(found.header) == repr(expected.header)
    assert lazy.persist().image.compute().tobytes() == expected.data.tobytes()


def test_a_stack_larger_than_the_memory_of_a_worker(client):
    shape, rows = (40, 2048, 2560), 128
    rng = da.random.default_rng(1)
    stack = rng.integers(0, 60000, shape, dtype="u2", chunks=(40, rows, 2560))
    assert stack.nbytes > 1.1 * LIMIT
    lazy = combine(stack, "median", unit="adu", uncertainty=None, mem_limit=8e7)
    assert lazy.numblocks == (16, 1)
    found = lazy.compute()
    assert max(client.run(most_memory).values()) < LIMIT
    # The numbers of a chunk are the same whoever makes them.
    for k in (0, 7, 15):
        part = slice(k * rows, (k + 1) * rows)
        expected = imc.combine(
            stack[:, part].compute(), method="median", unit="adu", uncertainty=None
        )
        assert found.data[part].tobytes() == expected.data.tobytes()


def test_files_larger_than_the_memory_of_a_worker(client, tmp_path):
    """They are sparse: almost all of them is zero and takes no room on the disk."""
    shape, n_frames = (2048, 4096), 25
    some = np.random.default_rng(2).integers(0, 5000, (n_frames, 3, 4096), dtype="i2")
    header = fits.PrimaryHDU(np.zeros((1, 1), "i2")).header
    header["NAXIS1"], header["NAXIS2"] = shape[::-1]
    header["BUNIT"] = "adu"
    files = [tmp_path / f"{k}.fits" for k in range(n_frames)]
    for path, values in zip(files, some, strict=True):
        with path.open("wb") as file:
            file.write(header.tostring().encode())
            start = file.tell()
            file.seek(start + 1000 * 4096 * 2)
            file.write(values.astype(">i2").tobytes())
            n_bytes = start + 2 * shape[0] * shape[1]
            file.truncate(-(-n_bytes // 2880) * 2880)
    assert n_frames * 2 * shape[0] * shape[1] > 1.1 * LIMIT
    call = {"rejectors": imc.SigClip(3), "zero": "mean", "statsec": "[*,1001:1003]"}
    lazy = combine(files, mem_limit=8e7, **call)
    assert lazy.numblocks[0] > 8
    found = lazy.compute()
    assert max(client.run(most_memory).values()) < LIMIT
    expected = imc.combine(files, **call)
    assert found.data.tobytes() == expected.data.tobytes()
    assert found.data[1001].any()
