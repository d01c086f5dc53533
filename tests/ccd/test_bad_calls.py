# Licensed under a 3-clause BSD style license - see LICENSE
"""Calls that are refused, or that do something else than they seem to say."""

import inspect
import warnings

import ccdproc.combiner
import numpy as np
import pytest
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, NDData, fits_ccddata_reader
from astropy.utils.exceptions import AstropyUserWarning
from comparison import assert_same, ccdproc_combine, stack_of

from imcombiners_astro import SigClip, combine
from imcombiners_astro.errors import (
    CombineWarning,
    EmptyInputError,
    ThresholdWarning,
    UnknownKeywordWarning,
    UnusedOptionWarning,
)
from imcombiners_astro.files.options import READER_KEYWORDS

N = 6
SHAPE = (7, 9)


@pytest.fixture
def ccds():
    return stack_of(N, SHAPE)


@pytest.mark.parametrize("method", ["mean", "Average", "", None, 1, ["median"]])
def test_unknown_method_is_refused_first(method):
    # Before the list is looked at: there are no such files.
    with pytest.raises(ValueError, match="unrecognised combine method : "):
        combine(["missing.fits", 3], "missing/out.fits", method=method)


@pytest.mark.parametrize("images", [None, 1, stack_of(1)[0]], ids=["None", "1", "CCD"])
def test_no_list_of_images(images):
    with pytest.raises(ValueError, match="unrecognised input for list of images"):
        combine(images)


@pytest.mark.parametrize("images", [[], (), np.array([], str), iter(())])
def test_no_image(images):
    with pytest.raises(EmptyInputError, match="img_list is empty"):
        combine(images)
    assert issubclass(EmptyInputError, IndexError)  # what ccdproc raises


BAD_OPTIONS = [
    ({"mem_limit": 0}, ValueError, "mem_limit must be a positive number"),
    ({"mem_limit": -1e9}, ValueError, "mem_limit must be a positive number"),
    ({"mem_limit": np.nan}, ValueError, "mem_limit must be a positive number"),
    ({"mem_limit": None}, TypeError, "mem_limit must be a number"),
    ({"mem_limit": "4GB"}, TypeError, "mem_limit must be a number"),
    ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    ({"n_threads": -2}, ValueError, "n_threads must be at least 1"),
    ({"n_threads": 1.5}, TypeError, "n_threads must be None or an integer"),
    ({"n_threads": True}, TypeError, "n_threads must be None or an integer"),
    ({"progress_bar": 3}, TypeError, "progress_bar must be a function"),
    ({"combine_uncertainty_function": "std"}, TypeError, "must be a function"),
    ({"blank": "x"}, TypeError, "blank must be a number"),
    ({"blank": -1, "dtype": "u2"}, ValueError, "blank=-1 cannot be held by"),
    ({"dtype": "S4"}, TypeError, "not a type of numbers"),
    ({"dtype": "no type"}, TypeError, "dtype='no type' is not a type"),
    ({"dtype": object()}, TypeError, "dtype=.* is not a type"),
    ({"diagnostics": np.arange(2)}, ValueError, "diagnostics: found array"),
    (
        {"offsets": [(2**63 - 1, 0), (-(2**63), 0), *[(0, 0)] * (N - 2)]},
        ValueError,
        "offsets: .* overflow",
    ),
    ({"scale": 2.0}, TypeError, "scaling must be a function or an array"),
    ({"scale": [1.0] * (N - 1)}, ValueError, f"{N - 1} values for {N} images"),
    ({"scale": np.ones((N, 2))}, ValueError, "scaling must be a function"),
    ({"scale": ["a"] * N}, TypeError, "values must be numbers"),
    ({"scale": [1, 1, 1, 0, 1, 1]}, ValueError, "image 3 is 0.0"),
    ({"scale": [1, np.nan, 1, 1, 1, 1]}, ValueError, "image 1 is nan"),
    ({"scale": [1, np.inf, 1, 1, 1, 1]}, ValueError, "image 1 is inf"),
    ({"scale": lambda image: np.nan}, ValueError, r"img_list\[0\] is nan"),
    ({"scale": lambda image: 0}, ValueError, r"img_list\[0\] is 0.0"),
    ({"scale": lambda image: image}, ValueError, "scaling must be a function"),
    ({"weights": 1}, TypeError, "weights must be a numpy.ndarray"),
    ({"weights": "equal"}, TypeError, "weights must be a numpy.ndarray"),
    ({"weights": ["a"] * N}, TypeError, "weights must be an array of numbers"),
    ({"weights": np.ones(N + 1)}, ValueError, "Length of weights not compatible"),
    ({"weights": np.ones(SHAPE)}, ValueError, "1D weights expected"),
    ({"weights": np.ones((N, 9, 7))}, ValueError, "1D weights expected"),
    ({"weights": np.ones((N, 1, 1))}, ValueError, "1D weights expected"),
    ({"weights": [1, 1, np.nan, 1, 1, 1]}, ValueError, r"weights\[2\] has nan"),
    ({"weights": np.full((N, *SHAPE), np.inf)}, ValueError, r"weights\[0\] has inf"),
    ({"clip_extrema": True, "nlow": 3, "nhigh": 3}, ValueError, "nlow=3 and nhigh=3"),
    ({"clip_extrema": True, "nlow": 1.5}, TypeError, "nlow must be an integer"),
    (
        {"minmax_clip": True, "minmax_clip_min": 2, "minmax_clip_max": 1},
        ValueError,
        "minmax_clip_min=2 is larger than minmax_clip_max=1",
    ),
    ({"minmax_clip": True, "minmax_clip_min": "a"}, TypeError, "minmax_clip_min must"),
    ({"minmax_clip": True, "minmax_clip_max": np.nan}, ValueError, "not be NaN"),
    ({"sigma_clip": True, "sigma_clip_func": "mode"}, ValueError, "invalid cenfunc"),
    ({"sigma_clip": True, "sigma_clip_dev_func": "mad"}, ValueError, "invalid stdfunc"),
    ({"sigma_clip": True, "sigma_clip_func": 3}, TypeError, "sigma_clip_func must be"),
    ({"sigma_clip": True, "sigma_clip_low_thresh": "3"}, TypeError, "low_thresh must"),
    ({"sigma_clip": True, "sigma_clip_high_thresh": np.nan}, ValueError, "not be NaN"),
    (
        {"combine_uncertainty_function": lambda stack, axis: 1.0},
        ValueError,
        "must reduce axis 0",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_OPTIONS)
def test_bad_options(ccds, tmp_path, call, error, match):
    output = tmp_path / "out.fits"
    output.write_bytes(b"precious")
    with pytest.raises(error, match=match):
        combine(ccds, output, overwrite_output=True, **call)
    assert output.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [output]


def test_options_are_refused_before_files_are_opened():
    for call, error, match in BAD_OPTIONS:
        if any(callable(value) for value in call.values()) or (
            np.ndim(call.get("weights")) > 1
        ):
            continue
        with pytest.raises(error, match=match):
            combine([f"missing-{k}.fits" for k in range(N)], **call)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"scale": "median"},
        {"zero": "mode", "statsample": 3},
        {"rejectors": SigClip(stdfunc="mad", grow=1), "diagnostics": "full"},
        {"offsets": "first"},
        {"output_compression": "GZIP_2"},
    ],
)
def test_images_without_a_pixel(tmp_path, shape, call):
    if "offsets" in call:
        call = {"offsets": np.ones((2, len(shape)), int), "footprint": "first"}
    images = [CCDData(np.zeros(shape), unit="adu") for _ in range(2)]
    with pytest.raises(ValueError, match=r"img_list\[0\] has no pixel: .*0"):
        combine(images, tmp_path / "a.fits", mem_limit=1, **call)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mem_limit", [1, 1e9])
def test_progress_bars_that_lose_strips(ccds, tmp_path, mem_limit):
    output = tmp_path / "out.fits"
    output.write_bytes(b"precious")

    def call(progress_bar, **keywords):
        combine(
            ccds,
            output,
            overwrite_output=True,
            mem_limit=mem_limit,
            progress_bar=progress_bar,
            **keywords,
        )

    with pytest.raises(TypeError, match=r"progress_bar must return .* NoneType"):
        call(lambda strips: None)
    with pytest.raises(ValueError, match="progress_bar: it gave 0 of the"):
        call(lambda strips: [])
    with pytest.raises(ValueError, match="progress_bar: it gave 0 of the"):
        call(lambda strips: [], rejectors=SigClip(stdfunc="mad", grow=1))
    assert output.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [output]


def test_frames_that_do_not_fit(ccds):
    small = stack_of(1, (7, 8))[0]
    with pytest.raises(TypeError, match=r"not the same size.*img_list\[2\].*\(7, 8\)"):
        combine([*ccds[:2], small])
    cube = stack_of(1, (2, 7, 9))[0]
    with pytest.raises(TypeError, match="not the same size"):
        combine([*ccds, cube])
    electrons = stack_of(1, SHAPE, unit="electron")[0]
    with pytest.raises(TypeError, match=r"same unit: .* adu, img_list\[6\].* electron"):
        combine([*ccds, electrons])
    # CCDData checks its mask, the class it derives from does not.
    ccds[1] = NDData(ccds[1].data, mask=np.zeros((3, 3), bool), unit="adu")
    with pytest.raises(ValueError, match=r"img_list\[1\].*mask.*\(3, 3\)"):
        combine(ccds)
    with pytest.raises(TypeError, match=r"img_list\[6\].*complex"):
        combine([*stack_of(N, SHAPE), CCDData(np.ones(SHAPE, complex), unit="adu")])


@pytest.fixture
def files(tmp_path):
    names = [str(tmp_path / f"{k}.fits") for k in range(3)]
    for name, ccd in zip(names, stack_of(3, SHAPE, dtype="i2"), strict=True):
        ccd.write(name)
    return names


def test_bad_files(files, tmp_path):
    missing = str(tmp_path / "missing.fits")
    for images in ([missing, *files], [*files, missing]):
        with pytest.raises(FileNotFoundError, match=r"missing\.fits"):
            combine(images)
    text = tmp_path / "text.fits"
    text.write_text("This is no FITS file." * 300)
    with pytest.raises(OSError, match=r"text\.fits"):
        combine([*files, text])
    empty = tmp_path / "empty.fits"
    empty.write_bytes(b"")
    with pytest.raises(OSError, match=r"empty\.fits"):
        combine([*files, empty])
    large = tmp_path / "large.fits"
    fits.writeto(large, np.ones((90, 90)), fits.Header({"BUNIT": "adu"}))
    cut = tmp_path / "cut.fits"
    cut.write_bytes(large.read_bytes()[:-5760])
    with pytest.raises(OSError, match=r"cut\.fits"):
        combine([large, cut])
    header_only = tmp_path / "header.fits"
    fits.PrimaryHDU(header=fits.Header({"BUNIT": "adu"})).writeto(header_only)
    with pytest.raises((ValueError, TypeError, OSError), match=r"header\.fits"):
        combine([*files, header_only])


def test_files_without_a_unit(files, tmp_path):
    fits.delval(files[1], "BUNIT")
    with pytest.raises(ValueError, match="a unit for CCDData must be specified"):
        combine(files)
    assert combine(files, unit="adu").unit == "adu"
    fits.setval(files[1], "BUNIT", value="electron")
    with pytest.raises(TypeError, match=r"same unit: .*0\.fits.*1\.fits"):
        combine(files)


def test_output(files, tmp_path):
    output = tmp_path / "out.fits"
    result = combine(files, output)
    assert_same(result, ccdproc_combine(files))
    before = output.read_bytes()
    with pytest.raises(OSError, match=r"out\.fits already exists"):
        combine(["missing.fits"], output)
    with pytest.raises(FileNotFoundError, match="no/such"):
        combine(["missing.fits"], tmp_path / "no" / "such" / "out.fits")
    with pytest.raises(IORegistryError, match=r"out\.xyz.*format cannot be told"):
        combine(["missing.fits"], tmp_path / "out.xyz")
    with pytest.raises(FileNotFoundError):
        combine(["missing.fits"], output, overwrite_output=True)
    assert output.read_bytes() == before


def test_signature_is_that_of_ccdproc():
    theirs = inspect.signature(ccdproc.combiner.combine).parameters
    ours = inspect.signature(combine).parameters
    positional = [n for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    expected = [n for n in theirs if n != "ccdkwargs"]
    # The last one is in the next version of ccdproc.
    assert positional[: len(expected)] == expected
    assert positional[len(expected) :] in ([], ["array_package"])
    for name in expected:
        if theirs[name].default is not None:
            assert ours[name].default == theirs[name].default, name
    assert ours["ccdkwargs"].kind is inspect.Parameter.VAR_KEYWORD


def test_keywords_of_the_readers_pass():
    names = set()
    for function in (fits_ccddata_reader, fits.open):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                names.add(name)
    assert names - {"filename", "name"} <= READER_KEYWORDS


@pytest.mark.parametrize(
    ("keyword", "suggestion"),
    [
        ("signma_clip_dev_func", "Did you mean 'sigma_clip_dev_func'"),
        ("sigma_clip_low_treshold", "Did you mean 'sigma_clip_low_thresh'"),
        ("threads", "Did you mean 'n_threads'"),
        ("overwrite", "Did you mean 'overwrite_output'"),
        ("nonsense", "has no effect."),
        ("combine", "has no effect."),
    ],
)
def test_unknown_keywords(ccds, keyword, suggestion):
    with pytest.warns(UnknownKeywordWarning) as record:
        result = combine(ccds, **{keyword: 1})
    assert len(record) == 1
    assert repr(keyword) in str(record[0].message)
    assert suggestion in str(record[0].message)
    assert record[0].filename == __file__
    assert_same(result, ccdproc_combine(ccds))


def test_keywords_of_the_reader_do_not_warn(files):
    combine(files, hdu=0, hdu_mask=None, memmap=False, format="fits", uint=True)
    with pytest.raises(TypeError, match="do_not_scale_image_data"):
        combine(files, do_not_scale_image_data=True)


@pytest.mark.parametrize(
    ("call", "category", "match"),
    [
        ({"nlow": 2}, UnusedOptionWarning, "nlow has no effect without clip_extrema"),
        (
            {"nlow": 0, "nhigh": 2},
            UnusedOptionWarning,
            "nlow and nhigh have no effect without clip_extrema=True",
        ),
        ({"minmax_clip_max": 3}, UnusedOptionWarning, "without minmax_clip=True"),
        ({"sigma_clip_low_thresh": 5}, UnusedOptionWarning, "without sigma_clip=True"),
        ({"minmax_clip": True}, UnusedOptionWarning, "rejects nothing"),
        ({"sigma_clip": True}, ThresholdWarning, "at most 2.24 standard deviations"),
        (
            {"sigma_clip": True, "sigma_clip_func": "median"},
            ThresholdWarning,
            "at most 2.68 standard deviations from the median",
        ),
        (
            {"sigma_clip": True, "sigma_clip_low_thresh": 0, "sigma_clip_func": min},
            ThresholdWarning,
            "sigma_clip_low_thresh=0 stands for 3",
        ),
    ],
)
def test_warnings_come_once(ccds, call, category, match):
    if call.get("sigma_clip_func") is min:
        call = call | {"sigma_clip_func": np.min}
    with pytest.warns(category, match=match) as record:
        result = combine(ccds, **call)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert issubclass(category, CombineWarning)
    assert issubclass(category, AstropyUserWarning)
    assert_same(result, ccdproc_combine(ccds, **call))


@pytest.mark.parametrize("n", [9, 10, 11, 12, 23, 24, 30])
@pytest.mark.parametrize(("center", "sigma"), [("mean", 3), ("median", 5)])
def test_warning_of_thresholds_that_cannot_reject_is_right(n, center, sigma):
    frames = [CCDData(np.zeros((1, 1)), unit="adu") for _ in range(n)]
    frames[0].data[...] = 1e6
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        result = combine(
            frames,
            sigma_clip=True,
            sigma_clip_func=center,
            sigma_clip_dev_func="std",
            sigma_clip_low_thresh=sigma,
            sigma_clip_high_thresh=sigma,
        )
    assert bool(record) == (result.data[0, 0] != 0)


def test_values_that_are_given_and_mean_the_default_do_not_warn(ccds):
    found = combine(
        ccds,
        nlow=1,
        nhigh=None,
        sigma_clip_low_thresh=3.0,
        sigma_clip_func=None,
        minmax_clip_min=None,
    )
    assert_same(found, combine(ccds))
