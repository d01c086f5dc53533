# Licensed under a 3-clause BSD style license - see LICENSE
"""The file of a combined image: layout, other programs, errors, size and memory."""

import io
import os
import sys
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, UnknownUncertainty
from combined import N, assert_same, assert_same_wcs, bits, make, sky

from imcombiners_astro import CombinedCCDData, SigClip, combine
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.files.output import write_output


def test_layout(tmp_path):
    result = make()
    result.write(tmp_path / "a.fits", checksum=True)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == [
            *("PRIMARY", "MASK", "UNCERT", "PSFIMAGE", "FLAGS"),
            *("MASKREJ", "LOW", "UPP", "STD", "NIT", "OUTFLAGS", "SMPFLAGS", "NUSED"),
            *("NREJLOW", "NREJUPP", "OUTDQ", "FRAMES"),
        ]
        hdus.verify("exception")
        for name, diagnostic in DIAGNOSTICS.items():
            hdu, value = hdus[diagnostic.extname], getattr(result, name)
            assert isinstance(hdu, fits.CompImageHDU) == diagnostic.is_cube
            assert np.array_equal(hdu.data, value, equal_nan=diagnostic.is_value)
            assert str(hdu.header["COMMENT"]) == f"{name}: {diagnostic.description}"
        assert hdus["SMPFLAGS"].header["FLAG8"] == "ALGORITHM"
        assert hdus["OUTFLAGS"].header["FLAG4"] == "NKEEP"
        assert hdus["STD"].header["BUNIT"] == "adu"
        assert hdus["SMPFLAGS"].compression_type == "RICE_1"


def test_ccddata_reads_the_image(tmp_path):
    result = make()
    result.write(tmp_path / "a.fits")
    ccd = CCDData.read(tmp_path / "a.fits")
    assert type(ccd) is CCDData
    assert np.array_equal(ccd.data, result.data, equal_nan=True)
    assert np.array_equal(ccd.mask, result.mask)
    assert type(ccd.uncertainty) is StdDevUncertainty
    assert ccd.unit == u.adu


def test_file_of_a_ccddata(tmp_path):
    ccd = CCDData(np.ones((5, 9)), unit="adu", mask=np.eye(5, 9) > 0, wcs=sky())
    ccd.write(tmp_path / "a.fits")
    result = CombinedCCDData.read(tmp_path / "a.fits")
    assert bits(result.data) == bits(ccd.data)
    assert bits(result.mask) == bits(ccd.mask)
    assert result.n_frames is None
    assert result.wcs.wcs.ctype[0] == "RA---TAN"


def test_names_of_extensions(tmp_path):
    result, path = make(), tmp_path / "a.fits"
    names = {"hdu_mask": "BAD", "hdu_uncertainty": "ERR", "hdu_flags": "DQ"}
    result.write(path, hdu_psf=None, **names)
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus][:5] == [
            "PRIMARY",
            *"BAD ERR DQ MASKREJ".split(),
        ]
    back = CombinedCCDData.read(path, **names)
    result.psf = None
    assert_same(result, back)
    assert CombinedCCDData.read(path).mask is None


def test_image_in_an_extension(tmp_path):
    result, path = make(), tmp_path / "a.fits"
    result.write(path, as_image_hdu=True)
    with fits.open(path) as hdus:
        assert hdus[0].data is None
        assert hdus[1].header["OBJECT"] == "M 1"
    for back in (CombinedCCDData.read(path), CombinedCCDData.read(path, hdu=1)):
        assert bits(back.data) == bits(result.data)
        assert bits(back.mask_rej) == bits(result.mask_rej)
        assert back.header["DATE-END"] == result.header["DATE-END"]
        assert_same_wcs(result.wcs, back.wcs)


def test_hdus_of_astropy(tmp_path):
    # Another way to the file, which ccdproc uses.
    result = make()
    result.to_hdu().writeto(tmp_path / "a.fits")
    assert_same(result, CombinedCCDData.read(tmp_path / "a.fits"))


def test_file_objects(tmp_path):
    result, memory = make(), io.BytesIO()
    result.write(memory, format="fits")
    (tmp_path / "a.fits").write_bytes(memory.getvalue())
    assert_same(result, CombinedCCDData.read(tmp_path / "a.fits"))
    with open(tmp_path / "a.fits", "rb") as file:
        assert_same(result, CombinedCCDData.read(file, format="fits"))
    assert_same(result, CombinedCCDData.read(str(tmp_path / "a.fits"), format="fits"))


def test_output_file_of_a_combination(tmp_path):
    rng = np.random.default_rng(5)
    images = []
    for k in range(N):
        data = rng.normal(100.0, 1.0, (20, 30)).astype(np.float32)
        data[k, k] = 1e4
        header = fits.Header({"DATE-OBS": f"2021-03-04T05:0{k}:00", "EXPTIME": 30.0})
        images.append(CCDData(data, unit="adu", header=header, wcs=sky()))
    result = combine(
        images,
        tmp_path / "a.fits",
        rejectors=SigClip(sigma=1.4),
        diagnostics="full",
    )
    assert type(result) is CombinedCCDData
    assert result.n_rejected_high.any()
    assert_same(result, CombinedCCDData.read(tmp_path / "a.fits"))
    combine(images, tmp_path / "b.fits")
    with fits.open(tmp_path / "b.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "UNCERT"]


# Errors


def test_extension_of_somebody_else(tmp_path):
    primary = fits.PrimaryHDU(np.ones((5, 9)))
    for name, array, text in (
        ("STD", np.ones((5, 8)), r"a\.fits: std must have the shape \(5, 9\)"),
        ("NIT", np.ones((5, 9)), r"a\.fits: nit must be of type uint8, found float64"),
        ("MASKREJ", np.ones((2, 5, 9)), r"a\.fits: mask_rej must be of type bool"),
    ):
        hdus = fits.HDUList([primary, fits.ImageHDU(array, name=name)])
        hdus.writeto(tmp_path / "a.fits", overwrite=True)
        with pytest.raises((TypeError, ValueError), match=text):
            CombinedCCDData.read(tmp_path / "a.fits")


def test_uncertainty_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="only uncertainties of type"):
        make(uncertainty=UnknownUncertainty).write(tmp_path / "a.fits")
    assert os.listdir(tmp_path) == []


def test_image_that_changed_its_shape(tmp_path):
    result = make()
    result.data = result.data[:3]
    with pytest.raises(ValueError, match=r"mask_rej must have the shape \(N, 3, 9\)"):
        result.write(tmp_path / "a.fits")
    assert os.listdir(tmp_path) == []


def test_existing_file(tmp_path):
    path = tmp_path / "a.fits"
    make().write(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r'already exists.* use "overwrite=True"'):
        make().write(path)
    with pytest.raises(OSError, match=r'already exists.* use "overwrite_output=True"'):
        write_output(make(), path)
    assert path.read_bytes() == before
    other = CombinedCCDData(np.ones((2, 2)), unit="adu")
    other.write(path, overwrite=True)
    assert_same(other, CombinedCCDData.read(path))
    write_output(make(), path, overwrite=True)
    assert_same(make(), CombinedCCDData.read(path))
    assert os.listdir(tmp_path) == ["a.fits"]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [CombinedCCDData.write, write_output], ids=["", "o"])
def test_failure_in_the_middle(tmp_path, monkeypatch, error, write):
    path = tmp_path / "a.fits"
    make().write(path)
    before = path.read_bytes()
    write_hdu = fits.BinTableHDU._writeto

    def fail(self, *args, **kwargs):
        if self.name == "FRAMES":
            raise error
        return write_hdu(self, *args, **kwargs)

    monkeypatch.setattr(fits.BinTableHDU, "_writeto", fail)
    with pytest.raises(type(error)) as info:
        if write is write_output:
            write_output(make(), path, overwrite=True)
        else:
            make().write(path, overwrite=True)
    if isinstance(error, OSError):
        assert "a.fits" in str(info.value)
        assert ".part." not in str(info.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.fits"]


# Size and memory


def sparse(n_frames, n_rows, n_columns, fraction=0.001):
    rng = np.random.default_rng(2)
    mask_rej = np.zeros((n_frames, n_rows, n_columns), bool)
    mask_rej.reshape(-1)[
        rng.integers(0, mask_rej.size, int(fraction * mask_rej.size))
    ] = True
    data = np.zeros((n_rows, n_columns), np.float32)
    return CombinedCCDData(
        data,
        unit="adu",
        mask_rej=mask_rej,
        sample_flags=mask_rej.view(np.uint8) * np.uint8(8),
    )


def test_cubes_are_small(tmp_path):
    # 20 frames of 2048 x 2048 pixels must take less than 5 MB; this is a 16th of them.
    result = sparse(20, 512, 512)
    result.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        for name in ("MASKREJ", "SMPFLAGS"):
            assert hdus[name]._data_size < 5e6 / 16 / 2, name
    back = CombinedCCDData.read(tmp_path / "a.fits")
    assert np.array_equal(back.mask_rej, result.mask_rej)
    assert np.array_equal(back.sample_flags, result.sample_flags)


@pytest.mark.skipif(sys.gettrace() is not None, reason="memory of the tracer counts")
def test_no_second_copy_of_a_cube(tmp_path):
    result, path = sparse(16, 512, 512), tmp_path / "a.fits"
    cube, plane = result.mask_rej.nbytes, result.data.nbytes
    tracemalloc.start()
    try:
        result.write(path)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        back = CombinedCCDData.read(path)
        read = tracemalloc.get_traced_memory()[1] - before
        result.info()
    finally:
        tracemalloc.stop()
    assert back.mask_rej.nbytes == cube
    assert written < cube / 2 + plane
    # The two cubes that are returned, the image and the compressed bytes.
    assert read < 2 * cube + cube / 2 + 2 * plane


def test_info_makes_no_cube():
    result = sparse(16, 512, 512)
    tracemalloc.start()
    try:
        result.info()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < result.mask_rej.nbytes / 4
