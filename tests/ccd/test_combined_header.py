# Licensed under a 3-clause BSD style license - see LICENSE
"""What a combined image tells of its making: header, table of the images, file."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from comparison import ccdproc_combine, stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine
from imcombiners_astro.result import DIAGNOSTICS, CombinedCCDData

N = 5
SHAPE = (8, 9)
CLIP = imc.SigClip(sigma=3, stdfunc="mad")


@pytest.fixture
def files(tmp_path):
    """Exposures of one night."""
    names = [tmp_path / f"dark{k}.fits" for k in range(N)]
    for k, (ccd, name) in enumerate(zip(stack_of(N, SHAPE), names, strict=True)):
        ccd.header["EXPTIME"] = 10.0 + k
        ccd.header["DATE-OBS"] = f"2024-05-01T00:0{k}:00"
        ccd.header["GAIN"], ccd.header["RDNOISE"] = 2.0, 6.0
        if k == 3:
            ccd.header["NCOMBINE"] = 4
        ccd.write(name)
    return names


def test_a_call_of_ccdproc_has_its_header(files):
    ours = combine(files, sigma_clip=True, sigma_clip_dev_func="mad_std")
    theirs = ccdproc_combine(files, sigma_clip=True, sigma_clip_dev_func="mad_std")
    header = ours.header.copy()
    assert header["NCOMBINE"] == N
    del header["NCOMBINE"]
    assert repr(header) == repr(theirs.header)


@pytest.mark.parametrize(
    "call",
    [
        {"rejectors": CLIP},
        {"zero": "mean"},
        {"scale": "mean"},
        {"weights": "exposure"},
        {"thresholds": (None, 1e5)},
        {"uncertainty": None},
        {"diagnostics": "simple"},
        {"ignore_flags": 0},
        {"least_bad": [1]},
        {"exposure": "mean"},
        {"effective_noise": True},
    ],
    ids=lambda call: next(iter(call)),
)
def test_any_other_keyword_tells_more(files, call):
    header = combine(files, **call).header
    assert header["NCOMBINE"] == N + 3
    assert [header[f"IMCMB{k:03d}"] for k in range(1, N + 1)] == [
        file.name for file in files
    ]
    assert header["DATE-OBS"] == "2024-05-01T00:00:00"
    assert header["DATE-END"].startswith("2024-05-01T00:04:14")
    name, value = next(iter(call.items()))
    history = "".join(str(line).ljust(72) for line in header["HISTORY"])
    assert f"{name}={'SigClip(sigma=3' if name == 'rejectors' else value}" in history
    assert "method=average" in history
    assert "mem_limit" not in history


def test_exposure_time_and_effective_noise(files):
    result = combine(files, method="sum", exposure="sum", effective_noise=True)
    assert result.header["EXPTIME"] == sum(10 + k for k in range(N))
    assert result.header["GAIN"] == pytest.approx(2)
    assert result.header["RDNOISE"] == pytest.approx(6 * np.sqrt(N))
    history = " ".join(result.header["HISTORY"])
    assert "gain: 2 (GAIN of the header)" in history
    with pytest.raises(ValueError, match="effective_noise"):
        combine(files, effective_noise=True, weights=np.ones((N, *SHAPE)))


def test_table_of_the_images(files):
    result = combine(
        files,
        rejectors=imc.CcdClip(sigma=2),
        zero=np.arange(5.0),
        scale="exposure",
        weights="exposure",
        diagnostics="simple",
    )
    table = result.frames
    np.testing.assert_array_equal(table["name"], [str(file) for file in files])
    np.testing.assert_array_equal(table["exposure"], 10.0 + np.arange(N))
    np.testing.assert_array_equal(table["zero"], np.arange(N))
    np.testing.assert_allclose(table["scale"], 1 + np.arange(N) / 10)
    np.testing.assert_array_equal(table["weight"], table["exposure"])
    np.testing.assert_array_equal(table["gain"], 2)
    np.testing.assert_array_equal(table["readnoise"], 6)
    n_used = (~result.mask_rej).sum(axis=(1, 2))
    np.testing.assert_array_equal(table["n_used"], n_used)
    rejected = table["rejected_low"] + table["rejected_high"]
    np.testing.assert_allclose(rejected, 100 * (1 - n_used / result.size))
    assert rejected.max() > 0


def test_a_header_that_is_a_dictionary():
    images = [
        CCDData(np.ones(SHAPE), unit="adu", meta={"exptime": 2.0 + k}) for k in range(3)
    ]
    result = combine(images, rejectors=CLIP, exposure="mean")
    assert result.meta["exptime"] == 3
    assert "rejectors=SigClip" in result.meta["HISTORY"]
    assert "HISTORY" not in images[0].meta


def test_file_of_a_combination(files, tmp_path):
    output = tmp_path / "out.fits"
    call = {"rejectors": CLIP, "diagnostics": "full", "uncertainty": "noise"}
    result = combine(files, output, **call)
    found = CombinedCCDData.read(output)
    for name in ("data", "mask", *DIAGNOSTICS):
        np.testing.assert_array_equal(getattr(found, name), getattr(result, name))
    np.testing.assert_array_equal(found.uncertainty.array, result.uncertainty.array)
    assert found.frames.colnames == result.frames.colnames
    assert found.header["NCOMBINE"] == N + 3
    plain = CCDData.read(output)
    np.testing.assert_array_equal(plain.data, result.data)
    with pytest.raises(OSError, match="already exists"):
        combine(files, output, **call)


def test_class_without_and_with_diagnostics():
    class Image(CCDData):
        """A class of its own."""

    images = [Image(np.full(SHAPE, k, float), unit="adu") for k in range(4)]
    assert type(combine(images, rejectors=CLIP)) is Image
    result = combine(images, diagnostics="simple")
    assert type(result) is CombinedCCDData
    assert result.n_frames == 4
    # All arrays are independent of the images and writable.
    for name in ("data", "mask", *DIAGNOSTICS):
        array = getattr(result, name)
        if array is not None:
            assert array.flags.writeable
            assert not any(np.shares_memory(array, image.data) for image in images)


def test_dtypes():
    images = stack_of(N, SHAPE, dtype="f4")
    for dtype in ("f4", None, "i4"):
        result = combine(images, rejectors=CLIP, diagnostics="full", dtype=dtype)
        assert result.dtype == np.dtype(dtype or "f8")
        real = "f4" if dtype == "f4" else "f8"
        assert result.std.dtype == result.low.dtype == real
    blank = [CCDData(np.full((1, 1), np.nan), unit="adu")] * 3
    assert combine(blank, diagnostics="simple", blank=-1).data[0, 0] == -1
    with pytest.raises(ValueError, match="cannot hold the NaN"):
        combine(blank, diagnostics="simple", dtype="i4")
