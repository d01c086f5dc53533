# Licensed under a 3-clause BSD style license - see LICENSE
"""Images from anywhere combine as the same images in memory."""

import bz2
import gzip
import importlib.util
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro import combine
from imcombiners_astro.files.fits import open_frame

N = 3
# Strips of some rows.
SMALL = 4000


@pytest.fixture
def arrays():
    rng = np.random.default_rng(8)
    return [rng.integers(0, 60000, (2, 20, 30), dtype=np.uint16) for _ in range(N)]


@pytest.fixture
def files(tmp_path, monkeypatch, arrays):
    """Files a0.fits, ...: two images each, the second one compressed."""
    monkeypatch.chdir(tmp_path)
    for k, (first, second) in enumerate(arrays):
        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU(first, name="SCI"),
                fits.CompImageHDU(second, name="SCI"),
            ]
        )
        hdus[0].header["OBJECT"] = "M 31"
        hdus[2].ver = 2
        hdus.writeto(f"a{k}.fits")
    return [f"a{k}.fits" for k in range(N)]


def assert_combines(given, arrays, number=0, **keywords):
    expected = combine([CCDData(array[number], unit="adu") for array in arrays])
    for limit in (16e9, SMALL):
        found = combine(given, unit="adu", mem_limit=limit, **keywords)
        np.testing.assert_array_equal(found.data, expected.data)
        np.testing.assert_array_equal(
            found.uncertainty.array, expected.uncertainty.array
        )
    return found


def test_paths_patterns_and_lists(files, arrays):
    Path("list").write_text("a0.fits\na[12].fits\n")
    for given in ("a*.fits", ",".join(files), "@list", [*map(Path, files)]):
        assert assert_combines(given, arrays).header["OBJECT"] == "M 31"


def test_hdus_in_brackets(files, arrays):
    given = [f"{name}[SCI,2]" for name in files]
    result = assert_combines(given, arrays, 1, diagnostics="simple")
    assert list(result.frames["name"]) == given
    assert result.header["IMCMB003"] == "a2.fits[SCI,2]"
    assert result.header["EXTVER"] == 2
    assert_combines("a*.fits[2]", arrays, 1)
    assert_combines([f"{name}[sci]" for name in files], arrays, hdu=2)  # these win
    with pytest.raises(IndexError, match=r"a1.fits has no HDU 3"):
        combine([files[0], "a1.fits[3]"], unit="adu")
    with pytest.raises(KeyError, match=r"a1.fits has no HDU 'REF'"):
        combine([files[0], "a1.fits[REF]"], unit="adu")
    with pytest.raises(ValueError, match=r"a1.fits\[1:5,2\]: .* Sections"):
        combine([files[0], "a1.fits[1:5,2]"], unit="adu")


def test_hdus(files, arrays):
    opened = [fits.open(name) for name in files]
    assert_combines(opened, arrays)
    assert_combines([hdus[2] for hdus in opened], arrays, 1)
    assert_combines(opened, arrays, 1, hdu=("SCI", 2))
    for hdus in opened:
        hdus.close()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("number", [0, 1])
def test_file_objects(files, arrays, compress, number):
    hdu = (0, 2)[number]
    contents = [compress(Path(name).read_bytes()) for name in files]
    for limit in (16e9, SMALL):
        objects = [io.BytesIO(content) for content in contents]
        found = combine(objects, unit="adu", hdu=hdu, mem_limit=limit)
        expected = combine(
            [CCDData(array[number], unit="adu") for array in arrays], mem_limit=limit
        )
        np.testing.assert_array_equal(found.data, expected.data)
        assert not any(file.closed for file in objects)


def test_file_objects_of_other_kinds(files, arrays):
    with zipfile.ZipFile("all.zip", "w") as archive:
        for name in files:
            archive.write(name)
    with zipfile.ZipFile("all.zip") as archive:
        objects = [archive.open(name) for name in files]
        found = combine(objects, unit="adu")
        assert not any(file.closed for file in objects)
        for file in objects:
            file.close()
    expected = combine([CCDData(array[0], unit="adu") for array in arrays])
    np.testing.assert_array_equal(found.data, expected.data)

    class Pipe:
        """Can be read only, and only forwards."""

        def __init__(self, name):
            self.file = open(name, "rb")

        def read(self, size=-1):
            return self.file.read(size)

    pipes = [Pipe(name) for name in files]
    found = combine(pipes, unit="adu")
    np.testing.assert_array_equal(found.data, expected.data)
    for pipe in pipes:
        pipe.file.close()


def test_a_file_object_is_read_in_pieces(tmp_path):
    array = np.arange(2_000_000, dtype=np.int16).reshape(1000, 2000)
    memory = io.BytesIO()
    fits.PrimaryHDU(array).writeto(memory)
    memory.seek(0)
    tracemalloc.start()
    frame = open_frame(memory, unit="adu")
    rows = frame.read(500, 510).values().copy()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(rows, array[500:510])
    assert peak < array.nbytes / 4


def test_objects_that_are_no_fits(tmp_path):
    with pytest.raises(OSError, match=r"img_list\[0\] cannot be read"):
        combine([io.BytesIO(b"no file of this kind")], unit="adu")
    with pytest.raises(OSError, match=r"img_list\[0\] cannot be unpacked"):
        combine([io.BytesIO(gzip.compress(b"abc" * 1000)[:20])], unit="adu")


def test_addresses(files, arrays):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in files:
        memory.pipe(f"/night/{name}", Path(name).read_bytes())
    try:
        given = [f"memory://night/{name}" for name in files]
        assert_combines(given, arrays)
        assert_combines(given, arrays, use_fsspec=True)
        assert_combines(given, arrays, 1, hdu=("SCI", 2))
        result = combine(given, unit="adu", hdu="all")
        expected = combine(files, unit="adu", hdu="all")
        assert list(result) == [("SCI", 1), ("SCI", 2)]
        for key in result:
            np.testing.assert_array_equal(result[key].data, expected[key].data)
        with pytest.raises(OSError, match=r"memory://night/nothing\.fits cannot"):
            combine(["memory://night/nothing.fits"], unit="adu")
        with fsspec.open(given[0]) as one, fsspec.open(given[1]) as two:
            objects = combine([one, two], unit="adu")
        np.testing.assert_array_equal(objects.data, combine(files[:2], unit="adu").data)
    finally:
        memory.rm("/night", recursive=True)


def test_files_as_addresses(files, arrays):
    given = [Path(name).absolute().as_uri() for name in files]
    assert given[0].startswith("file:///")
    assert_combines(given, arrays)
    assert_combines([f"{name}[2]" for name in given], arrays, 1)
    assert_combines(",".join(given), arrays)


def test_without_fsspec(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "fsspec" else find(name),
    )
    with pytest.raises(ImportError, match=r"memory://a\.fits is opened with .*fsspec"):
        combine(["memory://a.fits"], unit="adu")


def test_a_collection(files, arrays):
    ccdproc = pytest.importorskip("ccdproc")
    collection = ccdproc.ImageFileCollection(".", glob_include="a*.fits")
    assert_combines(collection, arrays)


def test_a_mixture(files, arrays):
    with open(files[1], "rb") as file, fits.open(files[2]) as hdus:
        assert_combines([files[0], file, hdus], arrays)
        given = ["a0.fits[2]", CCDData(arrays[1][1], unit="adu"), hdus[2]]
        assert_combines(given, arrays, 1)
