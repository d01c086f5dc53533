# Licensed under a 3-clause BSD style license - see LICENSE
"""
500 files where 40 may be open: of every kind, in a process with that limit.

Nothing is unpacked, and no header parsed, once for each strip.
"""

import gzip
import json
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro import SigClip, combine
from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files import hdus as files_hdus
from imcombiners_astro.files import parking

FD = "/dev/fd"
pytestmark = [
    pytest.mark.skipif(parking.resource is None, reason="no limits here"),
    pytest.mark.skipif(not os.path.isdir(FD), reason="cannot see open files"),
]

N = 500
SHAPE = (12, 20)

CHILD = """
    import json, os, resource, sys
    import numpy as np
    import imcombiners_astro.frames
    from imcombiners_astro import combine
    from imcombiners_astro.files.parking import KEPT, SLOTS

    folder, keywords = sys.argv[1], json.loads(sys.argv[2])
    paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    imcombiners_astro.frames.READ_NBYTES = 20 * 20
    imcombiners_astro.frames.STRIP_NBYTES = 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    n_open, n_strips = [], 0

    def watched(strips):
        global n_strips
        for strip in strips:
            n_open.append(len(os.listdir("/dev/fd")))
            n_strips += 1
            yield strip

    before = len(os.listdir("/dev/fd"))
    result = combine(paths, progress_bar=watched, unit="adu", **keywords)
    np.save(sys.stdout.buffer, result.data)
    np.save(sys.stdout.buffer, result.uncertainty.array)
    found = {"strips": n_strips, "most": max(n_open) - before}
    found["left"] = len(os.listdir("/dev/fd")) - before
    found["counted"] = SLOTS._taken + KEPT._taken
    print(json.dumps(found), file=sys.stderr)
"""


def in_child(folder, **keywords):
    """Combine the files of a folder where 40 may be open; tell what was open."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(CHILD)]
    command += [str(folder), json.dumps(keywords)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    data, _, rest = done.stdout.partition(b"\x93NUMPY")[2].partition(b"\x93NUMPY")
    arrays = [
        np.lib.format.read_array(as_file(b"\x93NUMPY" + part)) for part in (data, rest)
    ]
    return *arrays, json.loads(done.stderr.decode().splitlines()[-1])


def as_file(content):
    import io

    return io.BytesIO(content)


def frame(k, rng):
    return rng.integers(0, 60000, SHAPE).astype("u2") + np.uint16(k)


def write_plain(path, data):
    fits.PrimaryHDU(data).writeto(path)


def write_gz(path, data):
    fits.PrimaryHDU(data).writeto(path)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def write_fz(path, data):
    fits.HDUList(
        [fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="RICE_1")]
    ).writeto(path)


def write_mef(path, data):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]
    hdus.append(fits.ImageHDU((data % 7 == 0).astype("u1"), name="MASK"))
    hdus.append(fits.ImageHDU(np.full(SHAPE, 2, "f4"), name="UNCERT"))
    fits.HDUList(hdus).writeto(path)


def write_mef_gz(path, data):
    write_mef(path, data)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


@pytest.mark.parametrize(
    "write", [write_plain, write_gz, write_fz, write_mef, write_mef_gz]
)
def test_forty_descriptors(tmp_path, write):
    rng = np.random.default_rng(1)
    frames = [frame(k, rng) for k in range(N)]
    for k, data in enumerate(frames):
        write(tmp_path / f"{k:03d}.fits", data)
    with_companions = "mef" in write.__name__
    keywords = {"uncertainty": "propagate"} if with_companions else {}
    data, uncertainty, found = in_child(tmp_path, **keywords)
    stack = np.ma.MaskedArray(frames)
    if with_companions:
        stack = np.ma.masked_where(stack % 7 == 0, stack)
    np.testing.assert_allclose(data, stack.mean(axis=0), rtol=1e-14)
    n = stack.count(axis=0)
    sigma = 2 / n**0.5 if with_companions else stack.std(axis=0) / n**0.5
    np.testing.assert_allclose(uncertainty, sigma, rtol=1e-12)
    assert found["strips"] > 1
    assert found["most"] <= 20
    assert found["left"] == found["counted"] == 0


@pytest.fixture
def openings(monkeypatch):
    """Count how often files are opened by astropy, and gzip begins with one."""
    counts = {"astropy": 0, "gzip": 0}
    real_open, real_gzip = fits.open, gzip.GzipFile.__init__

    def counted_open(*args, **keywords):
        counts["astropy"] += 1
        return real_open(*args, **keywords)

    def counted_gzip(*args, **keywords):
        counts["gzip"] += 1
        return real_gzip(*args, **keywords)

    for module in (files_hdus, files_fits):
        monkeypatch.setattr(module.fits, "open", counted_open)
    monkeypatch.setattr(gzip.GzipFile, "__init__", counted_gzip)
    # no file is kept open
    monkeypatch.setattr(parking, "MAX_OPEN", 0)
    monkeypatch.setattr("imcombiners_astro.frames.STRIP_NBYTES", 1)
    monkeypatch.setattr("imcombiners_astro.frames.READ_NBYTES", 1)
    return counts


def combine_in_strips(paths, least=10, **keywords):
    n_strips = 0

    def counted(strips):
        nonlocal n_strips
        for strip in strips:
            n_strips += 1
            yield strip

    result = combine(paths, progress_bar=counted, unit="adu", **keywords)
    assert n_strips >= least
    return result, n_strips


@pytest.mark.parametrize(
    "write, n_headers, n_headers_more",
    [(write_plain, 0, 1), (write_mef, 0, 1), (write_fz, 1, 1)],
)
def test_headers_are_parsed_once(tmp_path, openings, write, n_headers, n_headers_more):
    rng = np.random.default_rng(2)
    paths = [tmp_path / f"{k}.fits" for k in range(5)]
    for k, path in enumerate(paths):
        write(path, frame(k, rng))
    openings["astropy"] = 0
    combine_in_strips(paths)
    # and that of the first file for the header of the result
    assert openings["astropy"] <= 5 * n_headers + 2
    openings["astropy"] = 0
    combine_in_strips(paths, exposure="keep", thresholds=(0, 1e5))
    assert openings["astropy"] <= 5 * n_headers_more + 2


@pytest.mark.parametrize("write, n_readers", [(write_gz, 1), (write_mef_gz, 3)])
def test_packed_files_are_unpacked_once(
    tmp_path, openings, monkeypatch, write, n_readers
):
    rng = np.random.default_rng(3)
    paths = [tmp_path / f"{k}.fits" for k in range(5)]
    for k, path in enumerate(paths):
        write(path, frame(k, rng))
    keywords = {"uncertainty": "propagate"} if n_readers > 1 else {}
    rewinds, real = [], gzip._GzipReader._rewind
    monkeypatch.setattr(
        gzip._GzipReader, "_rewind", lambda self: (rewinds.append(1), real(self))
    )
    found = []
    for nbytes in (1, 10**6):
        monkeypatch.setattr("imcombiners_astro.frames.STRIP_NBYTES", nbytes)
        openings["gzip"] = 0
        rewinds.clear()
        n_strips = combine_in_strips(paths, 1 if nbytes > 1 else 10, **keywords)[1]
        found.append((n_strips > 1, openings["gzip"], len(rewinds)))
    # as often, however many strips there are: once for each part of a file, and for
    # what CCDData.read makes of one of them for the header of the result
    assert found == [(True, *found[0][1:]), (False, *found[0][1:])]
    assert found[0][1] <= 5 * n_readers + 6


def test_bzip2_without_room_begins_again(tmp_path, openings, monkeypatch):
    import bz2

    rng = np.random.default_rng(4)
    frames, paths = [], []
    for k in range(3):
        frames.append(frame(k, rng))
        paths.append(tmp_path / f"{k}.fits.bz2")
        write_plain(paths[-1].with_suffix(""), frames[-1])
        paths[-1].write_bytes(bz2.compress(paths[-1].with_suffix("").read_bytes()))
    opened, real = [], bz2.BZ2File.__init__

    def counted(self, *args, **keywords):
        opened.append(1)
        real(self, *args, **keywords)

    monkeypatch.setattr(bz2.BZ2File, "__init__", counted)
    counts = []
    for n_bytes in (5_000_000, 50_000_000):  # one file takes 4.2 MB
        monkeypatch.setattr(parking, "MAX_KEPT", n_bytes)
        opened.clear()
        result, n_strips = combine_in_strips(paths)
        np.testing.assert_allclose(result.data, np.mean(frames, axis=0), rtol=1e-14)
        assert parking.KEPT._taken == 0
        counts.append(len(opened))
    # two of the three files begin again for each strip
    assert counts[0] - counts[1] >= 2 * (n_strips - 1)


@pytest.mark.parametrize("grow", [1, 2.5])
def test_neighbours_in_packed_files(tmp_path, openings, monkeypatch, grow):
    monkeypatch.setattr("imcombiners_astro.cutting._WORK_NBYTES", 1)
    rng = np.random.default_rng(6)
    results, rewinds = [], []
    real = gzip._GzipReader._rewind
    monkeypatch.setattr(
        gzip._GzipReader, "_rewind", lambda self: (rewinds.append(1), real(self))
    )
    # rows of more bytes than what is read from a packed file at once
    n_columns = 40_000
    stacks = [rng.normal(1000, 10, (60, n_columns)).astype("f4") for _ in range(5)]
    stacks[2][[0, 7, 30, 59], [3, 4, 5, 6]] = 9000
    for write in (write_plain, write_gz):
        paths = [tmp_path / f"{write.__name__}{k}.fits" for k in range(5)]
        for path, data in zip(paths, stacks, strict=True):
            write(path, data)
        reject = SigClip(3, stdfunc="mad", grow=grow)
        results.append(combine_in_strips(paths, 5, rejectors=reject, mem_limit=1e8)[0])
    np.testing.assert_array_equal(results[0].data, results[1].data)
    whole = combine(stacks, unit="adu", rejectors=reject)
    np.testing.assert_array_equal(whole.data, results[0].data)
    # what pieces have in common is kept
    assert len(rewinds) <= 5 + 3


@pytest.mark.parametrize("where", ["bar", "bar of strips that overlap", "function"])
def test_nothing_is_read_after_an_error(tmp_path, monkeypatch, where):
    # As long as there is the traceback, nothing in it is ended by being forgotten.
    monkeypatch.setattr("imcombiners_astro.frames.STRIP_NBYTES", 1)
    monkeypatch.setattr("imcombiners_astro.frames.READ_NBYTES", 1)
    monkeypatch.setattr("imcombiners_astro.cutting._WORK_NBYTES", 1)
    rng = np.random.default_rng(5)
    paths = [tmp_path / f"{k}.fits" for k in range(4)]
    for k, path in enumerate(paths):
        write_plain(path, frame(k, rng))
    seen = []

    class Stop(Exception):
        pass

    def stops(*ignored, **keywords):
        names = [thread.name for thread in threading.enumerate()]
        seen.extend(name for name in names if name.startswith("imcombiners-read"))
        raise Stop

    def bar(strips):
        for strip in strips:
            yield strip
            stops()

    keywords = {"progress_bar": bar}
    if where == "function":
        keywords = {"combine_uncertainty_function": stops}
    elif "overlap" in where:
        keywords["rejectors"] = SigClip(sigma=1, grow=1)
    with pytest.raises(Stop) as caught:
        combine(paths, unit="adu", **keywords)
    names = [thread.name for thread in threading.enumerate()]
    assert seen and not set(seen) & set(names), caught.traceback
