# Licensed under a 3-clause BSD style license - see LICENSE
"""Type, compression and checksum of the output; what is refused before the work."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.nddata import CCDData

from imcombiners_astro import CombinedCCDData, combine
from imcombiners_astro.errors import IntegerResultError, UnusedOptionWarning
from imcombiners_astro.files.output import Output


def images(value=1000.6, shape=(8, 9)):
    return [CCDData(np.full(shape, value + k), unit="adu") for k in range(3)]


def no_work(iterable):
    pytest.fail("the error comes after the work")


@pytest.mark.parametrize("mem_limit", [16e9, 1], ids=["memory", "pieces"])
@pytest.mark.parametrize(
    "dtype, value",
    [
        ("uint16", 1001),
        (np.int32, 1001),
        (">i2", 1001),
        ("float32", np.float32(1001.6)),
        ("f8", 1001.6),
    ],
)
def test_type_of_the_image_in_the_file(tmp_path, dtype, value, mem_limit):
    path = tmp_path / "a.fits"
    result = combine(images(), path, output_dtype=dtype, mem_limit=mem_limit)
    # Integers are truncated, as by dtype=; the result itself is as ever.
    assert result.data.dtype.newbyteorder("=") == np.float64
    np.testing.assert_allclose(result.data, 1001.6)
    with fits.open(path) as hdus:
        assert hdus[0].data.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
        assert (hdus[0].data == value).all()
        assert hdus["UNCERT"].data.dtype == np.dtype(">f8")
    assert (CCDData.read(path).data == value).all()
    assert (CombinedCCDData.read(path).data == value).all()


@pytest.mark.parametrize("mem_limit", [16e9, 1], ids=["memory", "pieces"])
@pytest.mark.parametrize("compression", [None, "RICE_1"])
def test_values_that_the_type_cannot_hold(tmp_path, mem_limit, compression):
    path = tmp_path / "a.fits"
    call = {"mem_limit": mem_limit, "output_compression": compression}
    with pytest.raises(
        IntegerResultError, match=r"output_dtype=uint8 holds .* 1001\.6"
    ):
        combine(images(), path, output_dtype="uint8", **call)
    bad = images()
    for image in bad:
        image.mask = np.zeros(image.shape, bool)
        image.mask[2, 3] = True
    with pytest.raises(IntegerResultError, match=r"uint16 cannot hold.*NaN"):
        combine(bad, path, output_dtype="uint16", **call)
    with pytest.raises(IntegerResultError, match="output_dtype=float32 cannot hold 1e"):
        combine(images(1e300), path, output_dtype="float32", **call)
    assert not list(tmp_path.iterdir())
    combine(bad, path, output_dtype="uint16", blank=7, **call)
    assert CombinedCCDData.read(path).data[2, 3] == 7
    # What is infinite anyway may be so in the file.
    combine(
        images(np.inf), tmp_path / "b.fits", output_dtype="f4", blank=np.inf, **call
    )


@pytest.mark.parametrize(
    "keywords, error, message",
    [
        ({"dtype": "complex64"}, TypeError, "dtype=complex64: FITS files"),
        ({"dtype": "float16"}, TypeError, "dtype=float16: FITS files"),
        ({"output_dtype": "float16"}, TypeError, "output_dtype=float16: FITS"),
        ({"output_dtype": "complex128"}, TypeError, "output_dtype=complex128: FITS"),
        ({"output_dtype": "no type"}, TypeError, "output_dtype.*no type"),
        ({"output_compression": "RICE"}, ValueError, "found 'RICE', expected .*RICE_1"),
        ({"output_compression": True}, ValueError, "output_compression: found True"),
        ({"overwrite_output": "no"}, TypeError, "overwrite_output: found 'no', expect"),
        ({"output_checksum": 1}, TypeError, "output_checksum: found 1"),
        (
            {"dtype": "int64", "output_compression": "RICE_1"},
            TypeError,
            "'RICE_1' is for integers of up to 32 bits, found dtype=int64",
        ),
    ],
)
def test_refused_before_a_file_is_opened(tmp_path, keywords, error, message):
    with pytest.raises(error, match=message):
        combine([tmp_path / "missing.fits"], tmp_path / "a.fits", **keywords)


@pytest.mark.parametrize("shape", [(30,), (3, 20), (5, 20, 3)])
def test_images_too_small_for_hcompress(tmp_path, shape):
    with pytest.raises(ValueError, match="at least 4 rows and 4 columns"):
        combine(
            images(shape=shape),
            tmp_path / "a.fits",
            output_compression="HCOMPRESS_1",
            progress_bar=no_work,
        )


def test_types_that_only_memory_has(tmp_path):
    assert combine(images(), dtype="complex64").data.dtype == np.complex64
    # The uncertainty is of that type, too.
    with pytest.raises(TypeError, match="dtype=float16: FITS files"):
        combine(images(), tmp_path / "a.fits", dtype="f2", output_dtype="f4")
    assert combine(images(), dtype="f2").uncertainty.array.dtype == np.float16


def test_unit_and_header_that_cannot_be_written(tmp_path):
    first, *others = images()
    first.header["a keyword that is longer than FITS allows"] = object()
    with pytest.raises((TypeError, ValueError), match=r"output_file .*a\.fits"):
        combine([first, *others], tmp_path / "a.fits", progress_bar=no_work)


@pytest.mark.parametrize("mem_limit", [16e9, 1], ids=["memory", "pieces"])
def test_warnings_of_the_header(tmp_path, mem_limit):
    first, *others = images()
    first.header = fits.Header()
    first.header["LONG"] = ("x" * 60, "a comment for which there is no room")
    with pytest.warns(VerifyWarning, match="comment will be truncated") as found:
        combine([first, *others], tmp_path / "a.fits", mem_limit=mem_limit)
    with pytest.warns(VerifyWarning) as expected:
        first.write(tmp_path / "b.fits")
    if mem_limit > 1:
        assert len(found) == len(expected)


def test_options_of_a_file_without_a_file():
    with pytest.warns(
        UnusedOptionWarning, match="output_dtype and output_checksum hav"
    ):
        combine(images(), output_dtype="f4", output_checksum=True)
    with pytest.warns(UnusedOptionWarning, match="output_compression has no effect"):
        combine(images(), output_compression="RICE_1")


def test_integers_of_64_bits_are_compressed_by_gzip(tmp_path):
    path = tmp_path / "a.fits"
    combine(images(), path, dtype="int64", output_compression="gzip_2")
    with fits.open(path, disable_image_compression=True) as hdus:
        assert hdus[1].header["ZCMPTYPE"] == "GZIP_2"
    assert (CombinedCCDData.read(path).data == 1001).all()


@pytest.mark.parametrize("mem_limit", [16e9, 1], ids=["memory", "pieces"])
def test_checksum(tmp_path, mem_limit):
    path = tmp_path / "a.fits"
    combine(images(), path, output_checksum=True, mem_limit=mem_limit)
    with fits.open(path, checksum=True) as hdus:  # which warns if one is wrong
        assert all(hdu.verify_checksum() == hdu.verify_datasum() == 1 for hdu in hdus)
    combine(images(), path, overwrite_output=True, mem_limit=mem_limit)
    with fits.open(path) as hdus:
        assert all("CHECKSUM" not in hdu.header for hdu in hdus)


def test_they_are_not_in_the_history(tmp_path):
    result = combine(
        images(), tmp_path / "a.fits", output_checksum=True, diagnostics="simple"
    )
    assert "output" not in str(result.header["HISTORY"])


def test_no_output_is_no_output():
    assert Output.of(None, False, np.float64, dtype=None, checksum=False) is None
