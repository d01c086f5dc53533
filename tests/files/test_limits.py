# Licensed under a 3-clause BSD style license - see LICENSE
"""Few files are open at a time."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro.files import parking
from imcombiners_astro.files.fits import open_frame, open_frames
from imcombiners_astro.frames import strips

FD = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
needs_fd = pytest.mark.skipif(not os.path.isdir(FD), reason="cannot see open files")
pytestmark = pytest.mark.skipif(parking.resource is None, reason="no limits here")


def write(folder, n):
    paths = []
    for k in range(n):
        paths.append(folder / f"{k:03d}.fits")
        fits.PrimaryHDU(np.full((40, 30), k, "u2")).writeto(paths[-1])
    return paths


@needs_fd
def test_at_most_64_files_are_open(tmp_path):
    paths = write(tmp_path, 100)
    before = len(os.listdir(FD))
    frames = open_frames(paths, unit="adu")
    limit = parking.SLOTS.limit()
    assert limit <= 64
    assert len(os.listdir(FD)) - before <= limit
    for start, stop, planes in strips(frames, 1e9, target=50_000):
        assert [strip.values()[0, 0] for strip in planes] == list(range(100))
        assert len(os.listdir(FD)) - before <= limit + 1  # one in the background
        assert stop > start
    for frame in frames:
        frame.close()
    assert len(os.listdir(FD)) == before
    assert parking.SLOTS._taken == 0


def test_closing_twice(tmp_path):
    frame = open_frame(write(tmp_path, 1)[0], unit="adu")
    frame.close()
    frame.close()
    assert parking.SLOTS._taken == 0


@pytest.mark.parametrize(
    "soft, is_open, slots",
    [(20, 4, 8), (40, 5, 17), (5, 4, 0), (4, 4, 0), (3, 9, 0), (256, 100, 64)],
)
def test_half_of_what_is_left(monkeypatch, soft, is_open, slots):
    monkeypatch.setattr(parking.resource, "getrlimit", lambda which: (soft, soft))
    monkeypatch.setattr(parking.os, "listdir", lambda folder: list(range(is_open)))
    assert parking.SLOTS.limit() == slots


def test_no_limit_and_nobody_to_count(monkeypatch):
    infinity = parking.resource.RLIM_INFINITY
    monkeypatch.setattr(parking.resource, "getrlimit", lambda _: (infinity, infinity))
    assert parking.SLOTS.limit() == 64

    def no_folder(folder):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(parking.resource, "getrlimit", lambda _: (40, 40))
    monkeypatch.setattr(parking.os, "listdir", no_folder)
    assert parking.SLOTS.limit() == 0


@pytest.mark.parametrize("limit, n, packed", [(20, 15, 0), (16, 200, 0), (20, 12, 1)])
def test_few_descriptors(tmp_path, limit, n, packed):
    paths = write(tmp_path, n)
    if packed:
        import gzip

        for path in paths:
            path.write_bytes(gzip.compress(path.read_bytes()))
    code = f"""
        import resource, sys
        from imcombiners_astro.files.fits import open_frames
        from imcombiners_astro.frames import strips
        paths = sys.argv[1:]
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
        frames = open_frames(paths, unit="adu")
        for start, stop, planes in strips(frames, 1e9, target=10_000):
            assert [p.values()[-1, -1] for p in planes] == list(range({n}))
        for frame in frames:
            frame.close()
        print("done", start)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    command += [str(path) for path in paths]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.stdout.startswith("done"), result.stderr


def test_no_descriptor_left(tmp_path):
    path = write(tmp_path, 1)[0]
    code = """
        import os, resource, sys
        from imcombiners_astro.files.fits import open_frame
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        while len(held) < 20:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        try:
            open_frame(sys.argv[1], unit="adu")
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Too many open files" in result.stdout, result.stderr
    assert "000.fits" in result.stdout
