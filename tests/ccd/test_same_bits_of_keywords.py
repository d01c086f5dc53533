# Licensed under a 3-clause BSD style license - see LICENSE
"""The same bits with rejectors, errors, flags and diagnostics, however it is cut."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine
from imcombiners_astro.result import DIAGNOSTICS

N = 9
SHAPE = (40, 53)
MAD = imc.SigClip(sigma=3, stdfunc="mad")

CALLS = {
    "noise and exposure": {
        "rejectors": imc.CcdClip(sigma=2),
        "scale": "exposure",
        "uncertainty": "noise",
    },
    "least bad of medians": {
        "rejectors": MAD,
        "method": "median",
        "zero": "median",
        "statsec": "[5:40,3:30]",
        "statsample": 300,
        "least_bad": [1, 4],
    },
    "inverse variance": {
        "rejectors": [imc.MinMaxClip(1, 1), imc.AvSigClip(sigma=2)],
        "weights": "ivar",
        "uncertainty": "propagate",
        "ignore_flags": "1",
    },
    "growth": {
        "rejectors": [imc.SigClip(sigma=2, grow=2), imc.SigClip(sigma=2, grow=1.5)],
        "uncertainty": "propagate",
        "ignore_flags": 0,
    },
    "weights of samples": {
        "rejectors": MAD,
        "weights": np.random.default_rng(0).random((N, *SHAPE)),
        "scale": np.linspace(0.9, 1.1, N),
        "clip_scaled": False,
        "thresholds": (800, None),
    },
    "switches of ccdproc": {
        "sigma_clip": True,
        "sigma_clip_low_thresh": 2,
        "sigma_clip_high_thresh": 1.5,
        "clip_extrema": True,
        "scale": "mean",
        "clip_scaled": True,
        "uncertainty": "propagate",
    },
    "called functions": {
        "sigma_clip": True,
        "sigma_clip_func": lambda a, axis: np.sort(a, axis=0)[2],
        "scale": "mean",
        "combine_uncertainty_function": lambda a, axis: np.nanmax(a, axis=0) * 0.5,
        "method": "sum",
    },
}


@pytest.fixture
def stack(tmp_path):
    """Images with masks, errors, flags and headers, in memory and in files."""
    ccds = stack_of(N, SHAPE, dtype="f4", masks=True, bad=(np.nan,))
    rng = np.random.default_rng(2)
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for k, (ccd, file) in enumerate(zip(ccds, files, strict=True)):
        ccd.uncertainty = StdDevUncertainty(rng.uniform(5, 15, SHAPE).astype("f4"))
        ccd.flags = rng.choice(np.array([0, 1, 4, 5], "u2"), SHAPE, p=[0.7, *[0.1] * 3])
        ccd.header["GAIN"], ccd.header["RDNOISE"] = 1.5, 5.0 + k
        ccd.header["EXPTIME"] = 30.0 + k
        hdus = ccd.to_hdu()
        hdus.append(fits.ImageHDU(ccd.flags, name="DQ"))
        hdus.writeto(file)
    return ccds, files


def assert_equal_bits(a, b):
    for name in ("data", "mask", *DIAGNOSTICS):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes(), name
    assert a.uncertainty.array.tobytes() == b.uncertainty.array.tobytes()
    for name in a.frames.colnames[1:]:
        np.testing.assert_array_equal(a.frames[name], b.frames[name], err_msg=name)


@pytest.mark.filterwarnings("ignore:All-NaN", "ignore:mem_limit=.*too little")
@pytest.mark.parametrize("name", CALLS)
def test_same_bits(stack, name):
    ccds, files = stack
    call = CALLS[name]
    whole = combine(ccds, diagnostics="full", **call)
    assert whole.mask_rej.any()
    assert (whole.output_dq is not None) == all(ccd.flags is not None for ccd in ccds)
    by_statistic = "mean" in str(call.get("scale")) or "zero" in call
    for images in (ccds, files):
        for n_threads in (1, 2, 5):
            # Statistics of the images take so much, or see fewer pixels.
            for mem_limit in (16e9, 4e5, 1.2e5 if by_statistic else 1):
                result = combine(
                    images,
                    diagnostics="full",
                    n_threads=n_threads,
                    mem_limit=mem_limit,
                    **call,
                )
                assert_equal_bits(result, whole)
            plain = combine(images, n_threads=n_threads, **call)
            assert plain.data.tobytes() == whole.data.tobytes()


@pytest.mark.parametrize("shape", [(17,), (9, 1), (1, 9), (1, 1)])
def test_called_functions_of_narrow_images(shape):
    ccds = stack_of(N, shape, seed=4)
    call = dict(CALLS["called functions"], scale=[1.1] * N)
    call["combine_uncertainty_function"] = lambda a, axis: np.nanstd(a, axis=axis)
    whole = combine(ccds, diagnostics="full", **call)
    parts = combine(ccds, diagnostics="full", mem_limit=1, **call)
    assert_equal_bits(parts, whole)


@pytest.mark.parametrize("name", ["noise and exposure", "inverse variance", "growth"])
def test_no_stack_of_floats_is_made(tmp_path, name):
    """Beside the result there are only strips, whatever the images bring along."""
    shape, n_frames = (600, 500), 16
    n_pixels = shape[0] * shape[1]
    rng = np.random.default_rng(0)
    files = []
    for k in range(n_frames):
        image = rng.normal(1000, 10, shape).astype("f4")
        header = fits.Header({"BUNIT": "adu", "GAIN": 1.0, "RDNOISE": 3.0})
        header["EXPTIME"] = 5.0
        error = fits.ImageHDU(np.full(shape, 10, "f4"), name="UNCERT")
        error.header["UTYPE"] = "StdDevUncertainty"
        flags = fits.ImageHDU(np.zeros(shape, "i2"), name="DQ")
        hdus = fits.HDUList([fits.PrimaryHDU(image, header), error, flags])
        files.append(tmp_path / f"{k}.fits")
        hdus.writeto(files[-1])
    call = {"diagnostics": "full", **CALLS[name]}
    combine(files, **call)  # what is imported stays
    limit = 52e6
    tracemalloc.start()
    result = combine(files, mem_limit=limit, **call)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    arrays = [getattr(result, key) for key in ("data", "mask", *DIAGNOSTICS)]
    nbytes = sum(array.nbytes for array in arrays if array is not None)
    nbytes += result.uncertainty.array.nbytes
    assert 2 * nbytes < limit < 8 * n_frames * n_pixels + nbytes
    # The first image, of which the header is copied, is read as a whole once.
    assert peak < limit + 3 * 4 * n_pixels
