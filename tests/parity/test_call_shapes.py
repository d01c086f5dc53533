# Licensed under a 3-clause BSD style license - see LICENSE
"""
Calls of ``ccdproc.combine`` as they are found in pipelines, run unchanged.

Each is compared with the answer of ccdproc on the same frames: masks equal, data and
uncertainty within two units of the last place, header, unit and class equal.
"""

import contextlib
from functools import partial
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import mad_std, median_absolute_deviation
from astropy.table import Table
from ccdproc import ImageFileCollection
from comparison import assert_same, assert_within_ulp, ccdproc_combine, stack_of

from imcombiners_astro import combine
from imcombiners_astro.errors import (
    ThresholdWarning,
    UnknownKeywordWarning,
    UnusedOptionWarning,
)

N = 25
SHAPE = (41, 53)


def inv_median(image):
    return 1 / np.median(image)


def inv_average(image):
    return 1 / np.ma.average(image)


def write(path, images, *, bunit="adu", hdu=0):
    """Write FITS files as a camera does, uint16 with BZERO, and return their names."""
    names = []
    for k, image in enumerate(images):
        header = fits.Header({"FRAME": k, "IMAGETYP": "bias", "EXPTIME": 2.5})
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        if bunit:
            header["BUNIT"] = bunit
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(-image) for _ in range(hdu - 1))]
        if hdu:
            hdus.append(fits.ImageHDU(image, header))
        else:
            hdus = [fits.PrimaryHDU(image, header)]
        names.append(str(path / f"frame-{k:02d}.fits"))
        fits.HDUList(hdus).writeto(names[-1])
    return names


@pytest.fixture(scope="module")
def images():
    return [ccd.data for ccd in stack_of(N, SHAPE, dtype=np.uint16)]


@pytest.fixture(scope="module")
def files(tmp_path_factory, images):
    return write(tmp_path_factory.mktemp("adu"), images)


@pytest.fixture(scope="module")
def unitless(tmp_path_factory, images):
    return write(tmp_path_factory.mktemp("unitless"), images, bunit=None)


@pytest.fixture
def ccds():
    """Float frames in memory with masks, NaN, and pixels without any sample."""
    return stack_of(N, SHAPE, masks=True, bad=(np.nan,), seed=3)


GUIDE = {
    "method": "average",
    "sigma_clip": True,
    "sigma_clip_low_thresh": 5,
    "sigma_clip_high_thresh": 5,
    "sigma_clip_func": np.ma.median,
    "mem_limit": 350e6,
}


def test_1_the_guide_with_its_typo(files):
    # Also in the form in which no frame can be rejected, as in the guide.
    for n, powerless in ((N, False), (20, True)):
        call = GUIDE | {"signma_clip_dev_func": mad_std}
        warned = pytest.warns(ThresholdWarning, match="cannot reject it")
        with warned if powerless else contextlib.nullcontext():
            with pytest.warns(UnknownKeywordWarning, match="'sigma_clip_dev_func'"):
                ours = combine(files[:n], **call)
        assert_same(ours, ccdproc_combine(files[:n], **call))


@pytest.mark.parametrize(
    "dev_func", [mad_std, np.ma.std, median_absolute_deviation, np.std]
)
def test_2_the_guide_with_a_deviation(files, ccds, dev_func):
    call = GUIDE | {"sigma_clip_dev_func": dev_func}
    assert_same(combine(files, **call), ccdproc_combine(files, **call))
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))


@pytest.mark.parametrize("scale", [inv_median, inv_average])
@pytest.mark.parametrize("method", ["average", "median"])
def test_3_flats(unitless, ccds, scale, method):
    call = GUIDE | {"sigma_clip_dev_func": mad_std, "scale": scale, "method": method}
    assert_same(
        combine(unitless, unit="adu", **call),
        ccdproc_combine(unitless, unit="adu", **call),
    )
    for ccd in ccds:
        ccd.data[np.isnan(ccd.data)] = 1000
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))


def test_4_median_with_two_rejections_and_repaired_nan(ccds):
    call = {"method": "median", "sigma_clip": True, "clip_extrema": True}
    master = combine(ccds, **call)
    assert_same(master, ccdproc_combine(ccds, **call))
    holes = np.isnan(master.data)
    assert holes.any()
    master.data[holes] = 0
    assert np.isfinite(master.data).all()


def test_5_none_as_a_threshold(files):
    call = {
        "method": "median",
        "sigma_clip": True,
        "sigma_clip_low_thresh": None,
        "sigma_clip_high_thresh": 2.0,
    }
    with pytest.warns(ThresholdWarning, match="low_thresh=None stands for 3"):
        result = combine(files, **call)
    assert_same(result, ccdproc_combine(files, **call))
    result.unit = u.electron
    result.header["X"] = 1


@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_6_uncertainty_by_a_masked_std(files, unitless, ccds, method):
    call = {
        "method": method,
        "sigma_clip": True,
        "sigma_clip_low_thresh": 3,
        "sigma_clip_func": np.ma.median,
        "sigma_clip_dev_func": np.ma.std,
        "mem_limit": 350e6,
        "unit": "adu",
        "combine_uncertainty_function": np.ma.std,
    }
    ours, theirs = combine(unitless, **call), ccdproc_combine(unitless, **call)
    assert_same(ours, theirs)
    # Known and replicated: NaN wherever a sample was rejected.
    assert np.isnan(ours.uncertainty.array).any()
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))
    flat = ours.divide(ours.data.max() * u.adu)
    assert isinstance(flat, CCDData)


@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_7_positional_output(files, tmp_path, method):
    call = {
        "method": method,
        "minmax_clip": False,
        "clip_extrema": True,
        "nlow": 1,
        "nhigh": 1,
        "sigma_clip": False,
        "unit": "adu",
    }
    ours = combine(files, str(tmp_path / "ours.fits"), **call)
    theirs = ccdproc_combine(files, str(tmp_path / "theirs.fits"), **call)
    assert_same(ours, theirs)
    with (
        fits.open(tmp_path / "ours.fits") as a,
        fits.open(tmp_path / "theirs.fits") as b,
    ):
        assert [hdu.name for hdu in a] == [hdu.name for hdu in b]
        assert a["PRIMARY"].header.pop("NCOMBINE") == N
        for ours, theirs in zip(a, b, strict=True):
            assert ours.header == theirs.header
        np.testing.assert_array_equal(a["MASK"].data, b["MASK"].data)
        assert_within_ulp(a[0].data, b[0].data)


def test_8_table_column_and_positional_method(files, tmp_path):
    table = Table({"filename": files})
    output = tmp_path / "x.FITS"
    call = {"unit": "adu", "overwrite_output": True, "sigma_clip": True}
    for _ in range(2):
        ours = combine(table["filename"], output_file=str(output), **call)
        theirs = ccdproc_combine(
            table["filename"], output_file=str(tmp_path / "theirs.fits"), **call
        )
        assert_same(ours, theirs)
        assert_same(CCDData.read(output), CCDData.read(tmp_path / "theirs.fits"))
    ours = combine(files, str(tmp_path / "out.fits"), "median")
    assert_same(ours, ccdproc_combine(files, method="median"))


def test_9_one_extension_and_a_unit(tmp_path, images):
    names = write(tmp_path, images[:14], bunit=None, hdu=3)
    call = {
        "hdu": 3,
        "unit": u.electron,
        "method": "median",
        "sigma_clip": True,
        "sigma_clip_func": np.ma.median,
    }
    assert_same(combine(names, **call), ccdproc_combine(names, **call))


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("dtype", [np.float32, "float32", np.float64, None])
def test_10_floating_dtype_and_strings(files, method, dtype):
    call = {
        "method": method,
        "dtype": dtype,
        "mem_limit": 2e5,
        "sigma_clip": True,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": "mad_std",
    }
    ours, theirs = combine(files, **call), ccdproc_combine(files, **call)
    if dtype in (np.float32, "float32"):
        # ccdproc sums in float32 (bottleneck), we in float64: its error, not ours.
        assert ours.data.dtype == ours.uncertainty.array.dtype == np.float32
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_allclose(ours.data, theirs.data, rtol=2e-6)
        np.testing.assert_allclose(
            ours.uncertainty.array, theirs.uncertainty.array, rtol=5e-4
        )
        exact = combine(files, **call | {"dtype": None})
        assert_within_ulp(ours.data, exact.data.astype(np.float32), 0)
    else:
        assert_same(ours, theirs)


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, int])
def test_10_integer_dtype(files, method, dtype):
    call = {"method": method, "dtype": dtype, "mem_limit": 2e5}
    ours, theirs = combine(files, **call), ccdproc_combine(files, **call)
    assert ours.data.dtype == theirs.data.dtype
    np.testing.assert_array_equal(ours.data, theirs.data)
    # ccdproc cuts the uncertainty down to an integer as well, we keep it.
    uncertainty = ours.uncertainty.array
    assert uncertainty.dtype == np.float64
    np.testing.assert_array_equal(
        uncertainty.astype(dtype), theirs.uncertainty.array.astype(dtype)
    )


def test_11_every_kind_of_list(files):
    folder = Path(files[0]).parent
    collection = ImageFileCollection(folder, glob_include="*.fits")
    theirs = ccdproc_combine(files, method="median")
    for images in (
        collection.ccds(imagetyp="bias"),
        collection.files_filtered(include_path=True, imagetyp="bias"),
        ",".join(files),
        np.array(files),
        sorted(folder.glob("*.fits")),
        tuple(files),
        iter(files),
        [CCDData.read(files[0]), *files[1:]],
    ):
        assert_same(combine(images, method="median"), theirs)


def test_11_lists_that_ccdproc_refuses(files):
    folder = Path(files[0]).parent
    theirs = ccdproc_combine(files, method="median")
    assert_same(combine(str(folder / "frame-*.fits"), method="median"), theirs)
    collection = ImageFileCollection(folder, glob_include="*.fits")
    assert_same(combine(collection, method="median"), theirs)
    one = combine(files[3], method="median")
    assert_same(one, ccdproc_combine([files[3]], method="median"))
    with contextlib.ExitStack() as opened:
        hdus = [opened.enter_context(fits.open(name))[0] for name in files]
        assert_same(combine(hdus, method="median"), theirs)


@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_12_minmax_with_sigma_clip(ccds, method):
    call = {
        "method": method,
        "minmax_clip": True,
        "minmax_clip_min": 980,
        "minmax_clip_max": 1100,
        "sigma_clip": True,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": "mad_std",
    }
    assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))


def test_12_minmax_that_leaves_nothing(files):
    call = {
        "minmax_clip": True,
        "minmax_clip_min": 0,
        "minmax_clip_max": 1,
        "sigma_clip": True,
    }
    result = combine(files, **call)
    assert result.mask.all()
    assert_same(result, ccdproc_combine(files, **call))


def test_afterwards(files, tmp_path):
    master = combine(files)
    master.meta["combined"] = True
    master.header.add_history("combined")
    assert master[:1].data.shape == (1, SHAPE[1])
    master.data = master.data.astype("f4")
    master.uncertainty.array[0, 0] = 1
    path = tmp_path / "master.fits"
    master.write(path, overwrite=True, hdu_mask=None, hdu_uncertainty=None)
    with fits.open(path) as hdus:
        assert len(hdus) == 1
        assert hdus[0].header["COMBINED"] is True
        assert hdus[0].header["NCOMBINE"] == N


def test_options_without_their_switch_do_nothing(files):
    call = {"nlow": 2, "nhigh": 2, "sigma_clip_func": np.ma.median, "scale": [1.0] * N}
    with pytest.warns(UnusedOptionWarning) as record:
        ours = combine(files, **call)
    assert sorted(str(w.message).split(" ")[0] for w in record) == [
        "nlow",
        "sigma_clip_func",
    ]
    assert_same(ours, ccdproc_combine(files, **call))


CENTERS = ["mean", "median", np.mean, np.nanmean, np.ma.mean, np.ma.median, np.median]
SPREADS = ["std", "mad_std", np.std, np.nanstd, np.ma.std, mad_std]


@pytest.mark.parametrize("bad", [(), (np.nan,), (np.inf, np.nan)], ids=str)
@pytest.mark.parametrize("masks", [False, True])
def test_every_pair_of_clipping_functions(masks, bad):
    ccds = stack_of(N, (11, 13), masks=masks, bad=bad, seed=5)
    partial_mad = partial(mad_std, ignore_nan=True)
    for method in ("average", "median", "sum"):
        for center in CENTERS:
            for spread in (*SPREADS, partial_mad, np.ptp):
                call = {
                    "method": method,
                    "sigma_clip": True,
                    "sigma_clip_low_thresh": 2.5,
                    "sigma_clip_high_thresh": 2,
                    "sigma_clip_func": center,
                    "sigma_clip_dev_func": spread,
                }
                assert_same(combine(ccds, **call), ccdproc_combine(ccds, **call))
