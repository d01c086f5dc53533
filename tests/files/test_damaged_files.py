# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files that are damaged, or change while they are combined.

Each is an OSError that names the file. The old output stays, and nothing else is left.
"""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro import combine
from imcombiners_astro.files import parking, rawfile

SHAPE = (60, 300)
N = 4
BAD = 2  # the file that something happens to

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def image(k):
    rng = np.random.default_rng(k)
    return rng.integers(0, 60000, SHAPE).astype("i4")


def hdus_of(kind, k):
    if kind == "plain" or kind in PACK:
        return fits.HDUList([fits.PrimaryHDU(image(k))])
    if kind == "mef":
        mask = fits.ImageHDU((image(k) % 5 == 0).astype("u1"), name="MASK")
        return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(k)), mask])
    tiles = fits.CompImageHDU(image(k), compression_type=kind, tile_shape=(10, 300))
    return fits.HDUList([fits.PrimaryHDU(), tiles])


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Make files of a kind, and an output that exists; combine in many strips."""
    monkeypatch.setattr("imcombiners_astro.frames.STRIP_NBYTES", 1)
    monkeypatch.setattr("imcombiners_astro.frames.READ_NBYTES", 1)
    folder = tmp_path / "night"
    folder.mkdir()
    output = folder / "master.fits"
    output.write_bytes(b"the old one")

    class Night:
        def __init__(self, kind):
            self.paths = [folder / f"raw{k}.fits" for k in range(N)]
            for k, path in enumerate(self.paths):
                hdus_of(kind, k).writeto(path)
                if kind in PACK:
                    path.write_bytes(PACK[kind](path.read_bytes()))
            self.bad = self.paths[BAD]

        def combine(self, during=lambda: None):
            def watched(strips):
                for k, strip in enumerate(strips):
                    yield strip
                    if k == 1:
                        during()

            return combine(
                self.paths,
                output,
                unit="adu",
                overwrite_output=True,
                progress_bar=watched,
            )

        def fails(self, during=lambda: None):
            names = sorted(os.listdir(folder))
            with pytest.raises(OSError, match=rf"raw{BAD}\.fits") as info:
                self.combine(during)
            assert output.read_bytes() == b"the old one"
            left = set(os.listdir(folder))
            assert left <= set(names)
            assert parking.SLOTS._taken == parking.KEPT._taken == 0
            return str(info.value)

    return Night


def flip(path, place, n=1):
    """Change some bytes at a place, a fraction of the length."""
    content = bytearray(path.read_bytes())
    at = int(len(content) * place)
    for k in range(at, at + n):
        content[k] ^= 0xFF
    path.write_bytes(content)


def shorten(path, place=0.5):
    os.truncate(path, int(path.stat().st_size * place))


KINDS = ["plain", "mef", *PACK, "RICE_1", "GZIP_1", "HCOMPRESS_1"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong(night, kind):
    result = night(kind).combine()
    stack = np.ma.MaskedArray([image(k) for k in range(N)])
    if kind == "mef":
        stack = np.ma.masked_where(stack % 5 == 0, stack)
    np.testing.assert_allclose(result.data[~result.mask], stack.mean(0).compressed())


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.filterwarnings("ignore:Error validating header")
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", KINDS)
def test_truncated(night, kind, place):
    files = night(kind)
    shorten(files.bad, place)
    files.fails()


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("place", [0.3, 0.7, 0.99])
def test_damage_of_a_packed_file(night, kind, place):
    files = night(kind)
    flip(files.bad, place, 3)
    files.fails()


def test_damage_that_only_the_checksum_tells(night):
    files = night("gz")
    # stored without packing: another pixel value is as good as any
    files.bad.write_bytes(gzip.compress(gzip.decompress(files.bad.read_bytes()), 0))
    flip(files.bad, 0.6)
    assert "CRC" in files.fails()


def test_corrupt_tile(night):
    files = night("GZIP_1")
    with fits.open(files.bad) as hdus:
        assert hdus[1].tile_shape == (10, 300)
    flip(files.bad, 0.6, 2000)
    assert "cannot be read" in files.fails()


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_file_that_gets_shorter(night, monkeypatch, kind, keeps):
    if kind == "bz2" and keeps:
        pytest.skip("a block of bzip2, here the whole file, is unpacked at once")
    if not keeps:
        monkeypatch.setattr(parking, "MAX_OPEN", 0)
    files = night(kind)
    files.fails(lambda: shorten(files.bad, 0.01))


@pytest.mark.parametrize("what", ["replaced", "removed"])
@pytest.mark.parametrize("kind", KINDS)
def test_file_that_is_not_there_any_more(night, monkeypatch, kind, what):
    monkeypatch.setattr(parking, "MAX_OPEN", 0)
    files = night(kind)

    def happens():
        if what == "removed":
            files.bad.unlink()
        else:
            other = files.bad.with_name("other")
            other.write_bytes(files.bad.read_bytes())
            other.replace(files.bad)

    message = files.fails(happens)
    assert ("was replaced" if what == "replaced" else "No such file") in message


@pytest.mark.parametrize("kind", ["plain", "gz", "RICE_1"])
def test_a_file_that_is_kept_open_may_be_removed(night, kind):
    files = night(kind)
    result = files.combine(files.bad.unlink)
    expected = np.mean([image(k) for k in range(N)], axis=0)
    np.testing.assert_allclose(result.data, expected)


@pytest.mark.parametrize("kind", ["plain", "gz", "RICE_1"])
def test_permission_denied(night, monkeypatch, kind):
    files = night(kind)
    really_open = open

    def refusing(path, *args, **keywords):
        if str(path) == str(files.bad):
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, *args, **keywords)

    monkeypatch.setattr(rawfile, "open", refusing, raising=False)
    assert "Permission denied" in files.fails()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions here")
def test_permission_really_denied(night):
    if os.geteuid() == 0:
        pytest.skip("nothing is denied to root")
    files = night("plain")
    files.bad.chmod(0)
    assert "Permission denied" in files.fails()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="cannot see maps")
@pytest.mark.parametrize("memmap", [None, True])
@pytest.mark.parametrize("kind", ["plain", "mef", "gz", "RICE_1"])
def test_no_file_is_mapped(night, kind, memmap):
    files, maps = night(kind), []

    def look(strips):
        for strip in strips:
            maps.append(Path("/proc/self/maps").read_text())
            yield strip

    keywords = {} if memmap is None else {"memmap": memmap}
    combine(files.paths, unit="adu", progress_bar=look, **keywords)
    assert maps
    assert not any("raw" in line for one in maps for line in one.splitlines())


@pytest.mark.parametrize("hdu", [None, "all"])
@pytest.mark.parametrize("n_rows", [0, 10**10, 10**19, -1])
def test_impossible_sizes(tmp_path, n_rows, hdu):
    header = fits.PrimaryHDU(np.zeros((1, 5), "f4")).header.tostring()
    path = tmp_path / "raw.fits"
    size = f"NAXIS2  = {n_rows:20d}"
    path.write_text(header.replace(f"NAXIS2  = {1:20d}", size))
    with pytest.raises((OSError, ValueError), match=r"raw\.fits (is trunc|has no im)"):
        combine([path] * 2, unit="adu", **({} if hdu is None else {"hdu": hdu}))
