# Licensed under a 3-clause BSD style license - see LICENSE
"""Whatever is combined by dask is what `combine` gives, bit for bit."""

import pickle

import cloudpickle
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro.result import DIAGNOSTICS

dask = pytest.importorskip("dask")
import dask.array as da  # noqa: E402

from imcombiners_astro import distributed  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:All-NaN")

N, SHAPE = 9, (29, 37)
MAD = imc.SigClip(sigma=3, stdfunc="mad")

CALLS = {
    "plain": {},
    "median": {"method": "median", "n_threads": 2},
    "switches of ccdproc": {
        "sigma_clip": True,
        "sigma_clip_low_thresh": 2,
        "sigma_clip_high_thresh": 1.5,
        "clip_extrema": True,
        "minmax_clip": True,
        "minmax_clip_max": 1400,
        "scale": "mean",
        "clip_scaled": True,
    },
    "sum of thresholds": {
        "method": "sum",
        "thresholds": (800, None),
        "weights": np.arange(1.0, N + 1),
        "dtype": "f4",
        "blank": -5,
    },
    "noise": {"rejectors": imc.CcdClip(sigma=2), "uncertainty": "noise"},
    "by header": {"scale": "exposure", "zero": "SKY", "exposure": "sum"},
    "by statistics": {
        "rejectors": [imc.MinMaxClip(1, 1), MAD],
        "zero": "median",
        "scale": "mode",
        "statsec": "[5:30,3:20]",
    },
    "by a sample": {
        "rejectors": MAD,
        "zero": "median",
        "scale": "mean",
        "statsec": "[5:30,3:20]",
        "statsample": 60,
    },
    "by functions of images": {
        "zero": lambda data: float(np.ma.median(data)),
        "scale": lambda data: 1000 / np.nanmean(data[:5]),
        "rejectors": MAD,
    },
    "rows": {
        "rejectors": [imc.MinMaxClip(1, 1), imc.AvSigClip(sigma=2)],
        "weights": "ivar",
        "uncertainty": "propagate",
    },
    "growth": {
        "rejectors": [imc.SigClip(sigma=2, grow=2), imc.SigClip(sigma=2, grow=1.5)],
        "uncertainty": "propagate",
        "weights": np.random.default_rng(0).random((N, *SHAPE)),
    },
    "flags": {"ignore_flags": "1", "least_bad": [4, 8], "uncertainty": None},
    "called functions": {
        "sigma_clip": True,
        "sigma_clip_func": lambda a, axis: np.sort(a, axis=0)[2],
        "combine_uncertainty_function": lambda a, axis: np.nanmax(a, axis=0) * 0.5,
    },
}
WHOLE_ROWS = "rows", "growth"


def images():
    """Images with masks, errors, flags, headers and a WCS."""
    rng = np.random.default_rng(2)
    ccds = stack_of(N, SHAPE, dtype="f4", masks=True, bad=(np.nan,))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10.0, -5.0]
    for k, ccd in enumerate(ccds):
        if k == 0:
            ccd.wcs = wcs
        ccd.uncertainty = VarianceUncertainty(rng.uniform(25, 90, SHAPE).astype("f4"))
        ccd.flags = rng.choice(np.array([0, 1, 4, 5], "u2"), SHAPE, p=[0.7, *[0.1] * 3])
        ccd.header["GAIN"], ccd.header["RDNOISE"] = 1.5, 5.0 + k
        ccd.header["EXPTIME"], ccd.header["SKY"] = 30.0 + k, 900.0 + k
        ccd.header["DATE-OBS"] = f"2026-03-01T00:00:{10 + k}"
    return ccds


def lazily(ccds, chunks=(10, 37)):
    """Give the same images, with dask arrays in them."""
    found = []
    for ccd in ccds:
        lazy = CCDData(
            da.from_array(ccd.data, chunks=chunks),
            unit=ccd.unit,
            meta=ccd.header,
            wcs=ccd.wcs,
            mask=ccd.mask,
            flags=ccd.flags,
        )
        array = da.from_array(ccd.uncertainty.array, chunks=(8, 20))
        lazy.uncertainty = VarianceUncertainty(array)
        found.append(lazy)
    return found


def written(ccds, folder):
    """Give the same images in files."""
    files = [folder / f"{k}.fits" for k in range(len(ccds))]
    for ccd, file in zip(ccds, files, strict=True):
        hdus = ccd.to_hdu()
        hdus.append(fits.ImageHDU(ccd.flags, name="DQ"))
        hdus.writeto(file)
    return files


def assert_same(a, b):
    assert type(a) is type(b)
    assert a.unit == b.unit
    assert (a.wcs is None) == (b.wcs is None)
    if a.wcs is not None:
        assert a.wcs.to_header() == b.wcs.to_header()
    if isinstance(a.header, fits.Header):
        assert repr(a.header) == repr(b.header)
    assert dict(a.header) == dict(b.header)
    names = ["data", "mask", "flags"]
    if isinstance(a, imc.CombinedCCDData):
        names += DIAGNOSTICS
    for name in names:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype, name
            assert x.tobytes() == y.tobytes(), name
            assert x.flags.writeable
    assert type(a.uncertainty) is type(b.uncertainty)
    if a.uncertainty is not None:
        assert a.uncertainty.array.dtype == b.uncertainty.array.dtype
        assert a.uncertainty.array.tobytes() == b.uncertainty.array.tobytes()
    if isinstance(a, imc.CombinedCCDData):
        assert a.frames.colnames == b.frames.colnames
        for name in a.frames.colnames:
            np.testing.assert_array_equal(a.frames[name], b.frames[name])


def assert_products_are(lazy, result):
    """The dask arrays are what the result has."""
    names = {"image": result.data, "mask": result.mask}
    if isinstance(result, imc.CombinedCCDData):
        names |= {name: getattr(result, name) for name in DIAGNOSTICS}
    lazies = {name: getattr(lazy, name) for name in names}
    computed = dask.compute(lazies)[0]
    for name, expected in names.items():
        assert (lazies[name] is None) == (expected is None), name
        if expected is not None:
            assert lazies[name].dtype == expected.dtype, name
            assert lazies[name].shape == expected.shape, name
            assert computed[name].dtype == expected.dtype, name
            assert computed[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("form", ["arrays", "files"])
@pytest.mark.parametrize("name", CALLS)
def test_same_bits(tmp_path, name, form):
    ccds, call = images(), CALLS[name]
    if form == "files":
        own = lazy = written(ccds, tmp_path)
    else:
        own, lazy = ccds, lazily(ccds)
    columns = -1 if name in WHOLE_ROWS else "auto"
    for level, sizes in ((None, [(11, columns)]), ("full", [None, 6])):
        expected = imc.combine(own, diagnostics=level, **call)
        for chunks in sizes:
            found = distributed.combine(lazy, chunks=chunks, diagnostics=level, **call)
            assert (np.prod(found.numblocks) > 1) == (chunks is not None)
            assert_same(found.compute(), expected)
        assert_products_are(found, expected)


@pytest.mark.parametrize("chunks", [(N, 7, 10), (1, 29, 37), (4, 10, 37)])
def test_a_stack_with_a_mask(chunks):
    ccds = stack_of(N, SHAPE, masks=True, dtype="u2")
    for ccd in ccds:
        ccd.meta.clear()
    mask = np.array([ccd.mask for ccd in ccds])
    stack = np.array([ccd.data for ccd in ccds])
    lazy = da.from_array(stack, chunks=chunks)
    masked = da.ma.masked_array(lazy, da.from_array(mask, chunks=(2, 29, 10)))
    other = mask[1]
    joined = [
        CCDData(ccd.data, unit="adu", mask=ccd.mask | other, meta={}) for ccd in ccds
    ]
    for frames, bad, expected in (
        (lazy, None, stack),
        (lazy, da.from_array(mask), ccds),
        (masked, None, ccds),
        (lazy, other, [CCDData(ccd.data, unit="adu", mask=other) for ccd in ccds]),
        (masked, da.from_array(other), joined),
        (list(lazy), list(mask), ccds),
        (lazily_masked(lazy, mask), [other, *[None] * (N - 1)], [joined[0], *ccds[1:]]),
    ):
        call = {"unit": "adu", "rejectors": MAD, "diagnostics": "simple"}
        call["zero"] = "mean"
        found = distributed.combine(frames, mask=bad, chunks=(10, 20), **call)
        assert_same(found.compute(), imc.combine(expected, **call))


def lazily_masked(stack, mask):
    return [NDData(a, mask=m, unit="adu") for a, m in zip(stack, mask, strict=True)]


def test_units_and_larger_images():
    a, b = np.arange(12.0).reshape(3, 4), np.arange(20.0).reshape(4, 5)

    def pair(array):
        error = array(np.full((4, 5), 30.0))
        return [
            NDData(array(a), unit="Jy", uncertainty=StdDevUncertainty(array(a + 1))),
            NDData(
                array(b),
                unit="mJy",
                meta={"EXPTIME": 3.0},
                uncertainty=StdDevUncertainty(error, unit=u.mJy),
            ),
        ]

    call = {"uncertainty": "propagate", "diagnostics": "full"}
    with pytest.warns(match="larger than the first"):
        expected = imc.combine(pair(np.array), **call)
    with pytest.warns(match="larger than the first"):
        lazy = distributed.combine(pair(da.from_array), chunks=2, **call)
    assert_same(lazy.compute(), expected)
    assert lazy.unit == u.Jy


@pytest.mark.parametrize("grow", [None, 2])
@pytest.mark.parametrize("shape", [(23,), (4, 6, 7), (4, 2, 5, 4)])
def test_axes(tmp_path, shape, grow):
    ccds = stack_of(N, shape, dtype="i4")
    stack = da.from_array(np.array([ccd.data for ccd in ccds]), chunks=5)
    call = {"rejectors": imc.SigClip(2, grow=grow), "diagnostics": "full"}
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
        ccd.meta.clear()
    for images, own, chunks, mem_limit in (
        (list(stack), ccds, 2, None),
        (list(stack), ccds, None, 3e3),
        (files, files, 2, None),
        (files, files, None, 3e3),
    ):
        keywords = {"chunks": chunks, "mem_limit": mem_limit, "unit": "adu", **call}
        lazy = distributed.combine(images, **keywords)
        assert len(lazy.__dask_keys__()) > 1
        assert_same(lazy.compute(), imc.combine(own, unit="adu", **call))


def test_noise_along_the_only_row():
    stack = np.random.default_rng(3).normal(10, 1, (N, 40))
    call = {"rejectors": imc.AvSigClip(2), "unit": "adu"}
    lazy = distributed.combine(list(da.from_array(stack, chunks=(N, 8))), **call)
    assert lazy.numblocks == (1,)
    assert_same(lazy.compute(), imc.combine(list(stack), **call))


def test_other_processes_and_schedulers(tmp_path):
    ccds = images()
    call = CALLS["called functions"] | {
        "scale": CALLS["by functions of images"]["scale"]
    }
    expected = imc.combine(ccds, **call)
    lazy = distributed.combine(lazily(ccds), chunks=15, **call)
    again = pickle.loads(cloudpickle.dumps(lazy))
    for scheduler in ("synchronous", "threads", "processes"):
        assert_same(again.compute(scheduler=scheduler), expected)
    kept = lazy.persist()
    assert len(kept.__dask_graph__()) == len(lazy.__dask_keys__())
    for one in dask.compute(kept, lazy):
        assert_same(one, expected)
    assert_products_are(kept, expected)


def test_nothing_is_computed_too_early():
    def fail(block):
        raise RuntimeError("computed")

    stack = da.ones((3, 4, 5)).map_blocks(fail, meta=np.ones((0, 0, 0)))
    lazy = distributed.combine(stack, unit="adu", scale=[1, 2, 3])
    assert lazy.shape == (4, 5)
    assert lazy.header["NCOMBINE"] == 3
    with pytest.raises(RuntimeError, match="computed"):
        distributed.combine(stack, unit="adu", scale="mean")
    with pytest.raises(RuntimeError, match="computed"):
        lazy.compute()


def test_results_are_independent(tmp_path):
    lazy = distributed.combine(lazily(images()), diagnostics="simple")
    first, second = lazy.compute(), lazy.compute()
    assert not np.shares_memory(first.data, second.data)
    first.header["OBJECT"], first.data[:] = "M 1", 0
    assert "OBJECT" not in second.header
    assert "OBJECT" not in lazy.header
    assert second.data.any()


def test_write(tmp_path):
    files = written(images(), tmp_path)
    out = tmp_path / "out.fits"
    lazy = distributed.combine(files, rejectors=MAD, diagnostics="simple")
    lazy.write(out)
    own = tmp_path / "own.fits"
    imc.combine(files, own, rejectors=MAD, diagnostics="simple")
    assert out.read_bytes() == own.read_bytes()
    with pytest.raises(OSError, match="already exists"):
        lazy.write(out)
    lazy.write(out, overwrite_output=True, scheduler="synchronous")
    assert out.read_bytes() == own.read_bytes()


def test_relative_paths_are_of_the_folder_then(tmp_path, monkeypatch):
    written(images(), tmp_path)
    monkeypatch.chdir(tmp_path)
    lazy = distributed.combine("?.fits", method="median")
    expected = imc.combine("?.fits", method="median")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert_same(lazy.compute(), expected)
