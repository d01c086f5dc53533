# Licensed under a 3-clause BSD style license - see LICENSE
"""A result written piece by piece is that of the memory, to the byte."""

import errno
import gc
import io
import itertools
import mmap
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS

from imcombiners_astro import CombinedCCDData, SigClip, combine
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.files import stream, tiles
from imcombiners_astro.files.checksum import DataSum
from imcombiners_astro.result_fits import tile_shape

N = 6
CLIP = SigClip(sigma=2.5, stdfunc="mad")


def frames(shape=(23, 17), dtype="f4", **attributes):
    rng = np.random.default_rng(3)
    found = []
    for k in range(N):
        data = rng.normal(1000, 10, shape).astype(dtype)
        data[rng.random(shape) < 0.03] += 5000
        ccd = CCDData(data, unit="adu", meta=fits.Header({"EXPTIME": 2.0 + k}))
        ccd.mask = rng.random(shape) < 0.05
        found.append(ccd)
    for name, value in attributes.items():
        setattr(found[0], name, value)
    return found


def write(ccds, folder):
    names = []
    for k, ccd in enumerate(ccds):
        names.append(folder / f"in{k}.fits")
        ccd.write(names[-1])
    return names


def both(images, folder, **keywords):
    """Combine in memory and piece by piece; return the results."""
    results = []
    for mem_limit, name in ((16e9, "memory.fits"), (1, "pieces.fits")):
        result = combine(
            images,
            folder / name,
            mem_limit=mem_limit,
            overwrite_output=True,
            **keywords,
        )
        assert result.data.flags.writeable == (mem_limit > 1)
        results.append(result)
    return results


def assert_same_files(folder):
    first, second = (
        (folder / name).read_bytes() for name in ("memory.fits", "pieces.fits")
    )
    assert first == second, fits.FITSDiff(
        folder / "memory.fits", folder / "pieces.fits"
    ).report()


def assert_same_values(one, other):
    assert type(one) is type(other)
    assert one.unit == other.unit
    names = ["data", "mask", "flags"]
    if isinstance(one, CombinedCCDData):
        names += DIAGNOSTICS
        for column in one.frames.colnames:
            np.testing.assert_array_equal(one.frames[column], other.frames[column])
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    assert type(one.uncertainty) is type(other.uncertainty)
    if one.uncertainty is not None:
        assert one.uncertainty.unit == other.uncertainty.unit
        pairs.append(("uncertainty", one.uncertainty.array, other.uncertainty.array))
    for name, x, y in pairs:
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype.newbyteorder("="), name
            np.testing.assert_array_equal(x, y, err_msg=name, strict=False)
            assert not y.flags.writeable


CALLS = {
    "plain": {},
    "median in single precision": {"method": "median", "dtype": "float32"},
    "integers": {"dtype": "uint16", "blank": 0},
    "signed bytes": {"dtype": "int8", "blank": 0, "scale": [0.01] * N},
    "simple": {"rejectors": CLIP, "diagnostics": "simple"},
    "full": {"rejectors": CLIP, "diagnostics": "full", "dtype": "float32"},
    "growth": {"rejectors": SigClip(2.5, stdfunc="mad", grow=1), "diagnostics": "full"},
    "no uncertainty": {"uncertainty": None},
    "functions": {
        "sigma_clip": True,
        "sigma_clip_func": lambda x, axis: np.ma.median(x, axis=axis),
        "combine_uncertainty_function": lambda x, axis: np.nanmax(x, axis=axis),
        "diagnostics": "full",
    },
    "integers in the file": {"output_dtype": "uint16", "blank": 0},
    "single precision in the file": {"output_dtype": "f4", "diagnostics": "simple"},
}


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("from_files", [False, True], ids=["memory", "files"])
@pytest.mark.parametrize("name", CALLS)
def test_same_file_and_values(tmp_path, name, from_files):
    images = frames()
    if from_files:
        images = write(images, tmp_path)
    whole, pieces = both(images, tmp_path, **CALLS[name])
    assert_same_files(tmp_path)
    assert_same_values(whole, pieces)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


@pytest.mark.parametrize("shape", [(300,), (1, 40), (9, 1), (4, 5, 6), (1, 1)])
def test_shapes(tmp_path, shape):
    whole, pieces = both(
        frames(shape), tmp_path, rejectors=CLIP, diagnostics="full", output_dtype="f4"
    )
    assert_same_files(tmp_path)
    assert_same_values(whole, pieces)


@pytest.mark.parametrize("diagnostics", [None, "simple"])
def test_all_that_an_image_has(tmp_path, diagnostics):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.cdelt = [10.123456789012345, -20.0], [1e-4 / 3, 1e-4]
    images = frames(
        wcs=wcs,
        psf=np.linspace(0, 1, 15).reshape(3, 5),
        flags=np.arange(23 * 17, dtype="i2").reshape(23, 17),
    )
    images[0].header["BZERO"], images[0].header["HIERARCH long name"] = 32768, 1 / 3
    images[0].header["COMMENT"] = "a comment"
    whole, pieces = both(images, tmp_path, diagnostics=diagnostics, exposure="sum")
    assert_same_files(tmp_path)
    # Those of the first image are as they were.
    pieces.flags = pieces.flags.copy()
    pieces.flags.flags.writeable = False
    assert_same_values(whole, pieces)
    with fits.open(tmp_path / "pieces.fits") as hdus:
        names = [hdu.name for hdu in hdus]
    assert names[:4] == ["PRIMARY", "MASK", "UNCERT", "PSFIMAGE"]
    assert ("FLAGS" in names) == (diagnostics is not None)


@pytest.mark.parametrize("diagnostics", [None, "full"])
def test_flags_of_the_samples(tmp_path, diagnostics):
    images = frames()
    rng = np.random.default_rng(1)
    for image in images:
        image.flags = rng.integers(0, 8, image.shape).astype("u1")
    whole, pieces = both(images, tmp_path, diagnostics=diagnostics, ignore_flags=7)
    assert whole.flags.any()
    assert_same_files(tmp_path)
    assert_same_values(whole, pieces)


@pytest.mark.parametrize(
    "cls", [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_class_of_the_uncertainty(tmp_path, cls, dtype):
    images = frames()
    for image in images:
        image.uncertainty = cls(np.full(image.shape, 2.0))
    with np.errstate(divide="ignore"):
        whole, pieces = both(images, tmp_path, dtype=dtype, uncertainty="propagate")
    assert type(pieces.uncertainty) is cls
    assert_same_files(tmp_path)
    assert_same_values(whole, pieces)


def decoded(path):
    """Headers and data of all HDUs, as they are before they are decompressed."""
    with fits.open(path) as hdus:
        return [(hdu.header.copy(), np.copy(hdu.data)) for hdu in hdus]


@pytest.mark.parametrize("slab", [100, 2**20])
@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
def test_compression(tmp_path, monkeypatch, algorithm, slab):
    monkeypatch.setattr(tiles, "_SLAB_SIZE", slab)
    monkeypatch.setattr("imcombiners_astro.result_fits._TILE_SIZE", 50)
    whole, pieces = both(
        frames(),
        tmp_path,
        rejectors=CLIP,
        diagnostics="full",
        output_compression=algorithm,
    )
    assert_same_values(whole, pieces)
    one, other = decoded(tmp_path / "memory.fits"), decoded(tmp_path / "pieces.fits")
    assert len(one) == len(other) == 15
    for (header, data), (header_2, data_2) in zip(one, other, strict=True):
        assert repr(header) == repr(header_2)
        assert data.dtype == data_2.dtype
        assert data.tobytes() == data_2.tobytes(), header.get("EXTNAME")
    if not algorithm.startswith("GZIP"):
        # GZIP notes the time, and so does astropy where it cannot quantize.
        size = os.path.getsize(tmp_path / "memory.fits")
        assert size == os.path.getsize(tmp_path / "pieces.fits")
    with fits.open(tmp_path / "pieces.fits", disable_image_compression=True) as hdus:
        tables = [hdu for hdu in hdus if "ZIMAGE" in hdu.header]
        assert tables[0].header["ZCMPTYPE"] == algorithm
        assert [hdu.name for hdu in hdus if "ZIMAGE" not in hdu.header] == [
            "PRIMARY",
            "FRAMES",
        ]
    read = CombinedCCDData.read(tmp_path / "pieces.fits")
    exact = algorithm.startswith("GZIP")
    for name in DIAGNOSTICS:
        x, y = getattr(whole, name), getattr(read, name)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)
    np.testing.assert_array_equal(read.mask, whole.mask)
    noise = np.nanstd(whole.data)
    atol = 0 if exact else noise / 8
    np.testing.assert_allclose(read.data, whole.data, rtol=0, atol=atol)
    np.testing.assert_array_equal(combine([tmp_path / "pieces.fits"]).data, read.data)


@pytest.mark.parametrize("compression", [None, "RICE_1"])
def test_checksums(tmp_path, compression):
    call = {"diagnostics": "full", "output_compression": compression}
    both(frames(), tmp_path, output_checksum=True, **call)
    for name in ("memory.fits", "pieces.fits"):
        # astropy warns if one is wrong
        with fits.open(
            tmp_path / name, checksum=True, disable_image_compression=True
        ) as hdus:
            for hdu in hdus:
                assert hdu.verify_checksum() == 1
                assert hdu.verify_datasum() == 1
    difference = fits.FITSDiff(
        tmp_path / "memory.fits",
        tmp_path / "pieces.fits",
        ignore_keywords=["CHECKSUM"],
        ignore_comments=["DATASUM"],
    )
    assert difference.identical, difference.report()


@pytest.mark.parametrize("start", range(6))
def test_sum_of_pieces(start):
    rng = np.random.default_rng(start)
    data = rng.integers(0, 256, 1003, dtype="u1")
    data[:200] = 255
    hdu = fits.PrimaryHDU(data)
    hdu.add_datasum()
    total = DataSum()
    cuts = [0, start, 500 + start, 601, 1003]
    for first, last in itertools.pairwise(cuts):
        total.add(data[first:last].tobytes(), first)
    assert str(total.total) == hdu.header["DATASUM"]


@pytest.mark.parametrize(
    "shape", [(7, 10, 12), (40, 3), (500,), (3, 500), (2, 3, 4, 500), (5, 1)]
)
@pytest.mark.parametrize("slab", [1, 37, 300])
def test_slabs_are_all_pixels_in_the_order_of_the_tiles(monkeypatch, shape, slab):
    monkeypatch.setattr(tiles, "_SLAB_SIZE", slab)
    monkeypatch.setattr("imcombiners_astro.result_fits._TILE_SIZE", 60)
    tile = tile_shape(shape)
    end = 0
    for start, part in tiles.slabs(shape, tile):
        assert start == end
        assert len(part) == len(shape)
        end += int(np.prod(part))
    assert end == np.prod(shape)


def test_rows_of_tiles_for_hcompress():
    for n_rows in range(4, 200):
        height = tile_shape((n_rows, 10_000), min_rows=4)[0]
        assert height >= 4
        assert n_rows % height == 0 or n_rows % height >= 4


def test_places_beyond_32_bits(monkeypatch):
    """Of more than 4 GB, as astropy decides by the size of the values."""
    monkeypatch.setattr(tiles, "_HUGE", 100)
    data, parts = np.arange(200, dtype="u1").reshape(20, 10), []

    def read(first, shape):
        return data.reshape(-1)[first : first + np.prod(shape)].reshape(shape)

    table = tiles.compress(
        read,
        lambda values: fits.CompImageHDU(values, tile_shape=(1, 10)),
        data.shape,
        (1, 10),
        data.dtype,
        parts.append,
    )
    assert table.header["TFORM1"].startswith("1QB(")
    assert table.header["NAXIS1"] == 16
    raw = table.header.tostring().encode() + table.rows.tobytes() + b"".join(parts)
    primary = fits.PrimaryHDU().header.tostring().encode()
    raw = primary + raw + bytes(-len(raw) % 2880)
    with fits.open(io.BytesIO(raw)) as hdus:
        np.testing.assert_array_equal(hdus[1].data, data)


def test_result_outlives_its_file(tmp_path):
    """Its arrays are those of the file it wrote, whatever has that name later."""
    images = frames()
    path = tmp_path / "a.fits"
    call = {"diagnostics": "full", "mem_limit": 1, "overwrite_output": True}
    first = combine(images, path, **call)
    before = first.data.copy(), first.mask_rej.copy()
    images[0].data += 1000
    second = combine(images, path, **call)
    assert (second.data != before[0]).any()
    np.testing.assert_array_equal(first.data, before[0])
    os.unlink(path)
    np.testing.assert_array_equal(first.mask_rej, before[1])
    with pytest.raises(ValueError, match="read-only"):
        first.data[0, 0] = 1
    assert (first.multiply(2.0).data == 2 * before[0]).all()
    part = first[3:5]
    np.testing.assert_array_equal(part.mask_rej, before[1][:, 3:5])
    first.write(tmp_path / "b.fits")
    again = CombinedCCDData.read(tmp_path / "b.fits")
    np.testing.assert_array_equal(again.mask_rej, before[1])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="cannot see open files")
def test_few_descriptors_and_no_space_are_held(tmp_path):
    images = frames()
    combine(images, tmp_path / "a.fits", mem_limit=1, diagnostics="full")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    result = combine(images, tmp_path / "b.fits", mem_limit=1, diagnostics="full")
    assert len(os.listdir("/proc/self/fd")) - before <= 2
    del result
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert sorted(os.listdir(tmp_path)) == ["a.fits", "b.fits"]


@pytest.mark.skipif(os.name == "nt", reason="files with maps cannot be renamed")
@pytest.mark.parametrize("n_good", [0, 1])
def test_no_room_for_maps(tmp_path, monkeypatch, n_good):
    path = tmp_path / "a.fits"
    path.write_bytes(b"the old one")
    made = []

    def map_some(*args, **keywords):
        if len(made) == n_good:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        made.append(real(*args, **keywords))
        return made[-1]

    real = mmap.mmap
    monkeypatch.setattr(stream.mmap, "mmap", map_some)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        combine(frames(), path, mem_limit=1, overwrite_output=True, dtype="u2", blank=0)
    assert len(made) == n_good
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_no_output_file(monkeypatch):
    monkeypatch.setattr("imcombiners_astro.ccd._SMALL_NBYTES", 0)
    images = frames()
    nbytes = 23 * 17 * (8 + 8 + 1)
    seen = []

    def bar(iterable):
        seen.append(iterable)
        return iterable

    with pytest.raises(ValueError, match=f"needs {nbytes} bytes.*output") as e:
        combine(images, mem_limit=1, progress_bar=bar)
    assert not seen
    # The number that is told is enough.
    needed = int(str(e.value).partition("(")[2].split()[0])
    combine(images, mem_limit=needed)
    with pytest.raises(ValueError, match="output_file="):
        combine(images, mem_limit=needed - 1)


def test_gz_is_written_from_memory(tmp_path, monkeypatch):
    images = frames()
    path = tmp_path / "a.fits.gz"
    combine(images, path)
    monkeypatch.setattr("imcombiners_astro.ccd._SMALL_NBYTES", 0)
    with pytest.raises(ValueError, match=r"a\.fits\.gz cannot be written strip.*\.gz"):
        combine(images, path, mem_limit=1, overwrite_output=True)
    assert CCDData.read(path).shape == (23, 17)
    assert os.listdir(tmp_path) == ["a.fits.gz"]


class Odd(CCDData):
    """Writes an extension of its own."""

    def to_hdu(self, **layout):
        hdus = super().to_hdu(**layout)
        hdus.append(fits.ImageHDU(np.zeros(self.shape), name="ODD"))
        return hdus


def test_extension_of_another_class(tmp_path):
    images = frames()
    images[0] = Odd(images[0])
    combine(images, tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"b\.fits: the extension ODD"):
        combine(images, tmp_path / "b.fits", mem_limit=1)
    assert os.listdir(tmp_path) == ["a.fits"]


def test_uncertainty_that_cannot_be_written(tmp_path):
    images = frames()
    for image in images:
        image.uncertainty = UnknownUncertainty(np.ones(image.shape))
    combine(images)

    def no_work(iterable):
        pytest.fail("the error comes after the work")

    with pytest.raises(ValueError, match=r"a\.fits.*uncertainties of type"):
        combine(images, tmp_path / "a.fits", progress_bar=no_work)
    combine(images, tmp_path / "a.fits", uncertainty=None)


def test_module_knows_all_extensions():
    assert set(stream._NAMES.values()) | {"output_dq"} >= set(DIAGNOSTICS)
