# Licensed under a 3-clause BSD style license - see LICENSE
"""Wrong arguments: named in the error, never a panic.

A panic of the compiled code would reach Python as a `BaseException`, which
`pytest.raises` here does not catch, so that such a test fails.
"""

import math
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from imcombiners_astro import planes

DEFAULTS = {"low": 3.0, "high": 3.0, "center": "median", "spread": "std"}
CLIP = ("sigclip", DEFAULTS)
NAN = math.nan
NEEDED = {
    "sigclip": DEFAULTS,
    "extrema": {"low": 1, "high": 1, "rule": "count"},
    "range": {"low": 0.0, "high": 1.0},
}
STACK = np.arange(24.0).reshape(4, 6)


def fail(
    match, *, error=(ValueError, TypeError), pixels=STACK, outputs=None, **options
):
    """The combination must fail, naming ``match`` in the message."""
    names = ("masks", "weights", "zero", "factor", "scale", "fits", "n_threads")
    names += ("variances", "errors")
    arguments = {name: options.pop(name) for name in names if name in options}
    with pytest.raises(error, match=re.compile(match, re.IGNORECASE)):
        if outputs is None:
            outputs = {"image": np.zeros(6)}
        planes.combine_planes(pixels, planes.Plan(**options), outputs, **arguments)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 5)),
        [],
        np.float64(3.0),
        np.zeros(()),
        "image",
        None,
        [np.zeros(6), np.zeros(7)],
        [np.zeros(6), np.zeros((2, 3))],
        [np.zeros(6), [0.0] * 6],
        [np.zeros(6), None],
    ],
    ids=lambda pixels: f"{type(pixels).__name__} {str(pixels)[:30]}",
)
def test_pixels_that_are_no_stack(pixels):
    fail("pixels|plane|frame", pixels=pixels)


@pytest.mark.parametrize("dtype", [bool, "c8", "c16", "f2", "O", "S4", "M8[s]", "g"])
def test_pixels_of_a_wrong_dtype(dtype):
    pixels = np.zeros((4, 6), dtype)
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is double here")
    fail("pixels|plane|frame", error=TypeError, pixels=pixels)
    fail("pixels|plane|frame", error=TypeError, pixels=list(pixels))
    fail(
        "pixels|plane|frame",
        error=TypeError,
        pixels=[np.zeros(6), np.zeros(6), np.zeros(6, dtype), np.zeros(6)],
    )


@pytest.mark.parametrize(
    "masks",
    [
        np.zeros((3, 6), bool),
        np.zeros((4, 5), bool),
        np.zeros(5, bool),
        np.zeros((6, 4), bool),
        np.zeros((), bool),
        [None] * 3,
        [None] * 5,
        [np.zeros(5, bool), None, None, None],
        [],
        np.zeros((4, 6)),
        [np.zeros(6, "i4"), None, None, None],
        "mask",
    ],
    ids=lambda masks: (
        f"{type(masks).__name__} {np.shape(masks) or len(masks or 'x')}"
        if not isinstance(masks, list)
        else f"list of {len(masks)}"
    ),
)
def test_wrong_masks(masks):
    fail("mask", masks=masks)


@pytest.mark.parametrize(
    "weights",
    [
        np.ones(3),
        np.ones(5),
        np.ones((4, 5)),
        np.ones((6, 4)),
        [np.ones(6)] * 3,
        [np.ones(5)] * 4,
        np.ones(4, complex),
        np.array([1, 1, NAN, 1]),
        np.array([1, 1, math.inf, 1]),
        "weights",
        None,
    ],
    ids=lambda w: (
        f"{type(w).__name__} {getattr(w, 'dtype', '')} {getattr(w, 'shape', '')}"
    ),
)
def test_wrong_weights(weights):
    fail("weight", weights=weights, statistic="wmean")


@pytest.mark.parametrize("name", ["zero", "factor", "scale"])
@pytest.mark.parametrize(
    "numbers",
    [
        np.ones(3),
        np.ones(5),
        np.ones((4, 1)),
        np.array([1, NAN, 1, 1]),
        np.array([1, math.inf, 1, 1]),
        np.array(["1"] * 4),
        "auto",
    ],
    ids=str,
)
def test_wrong_transforms(name, numbers):
    fail(name, **{name: numbers})


def test_scale_of_zero():
    fail("scale", scale=np.array([1.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ({"image": np.zeros(5)}, "image"),
        ({"image": np.zeros((6, 1))}, "image"),
        ({"image": np.zeros(6, "f2")}, "image"),
        ({"image": np.zeros(6, "i4")}, "image"),
        ({"image": np.zeros(6, "f8").astype(">f8")}, "image"),
        ({"image": np.zeros(12)[::2]}, "image"),
        ({"image": [0.0] * 6}, "image"),
        ({"image": None}, "image"),
        ({"mask_rej": np.zeros((6, 4), bool)}, "mask_rej"),
        ({"mask_rej": np.zeros(6, bool)}, "mask_rej"),
        ({"mask_rej": np.zeros((6, 4), bool).T}, "mask_rej"),
        ({"sample_flags": np.zeros((4, 6), bool)}, "sample_flags"),
        ({"n_used": np.zeros(6, "i8")}, "n_used"),
        ({"n_used": np.zeros(6, "i2")}, "n_used"),
        ({"nit": np.zeros(6, "u2")}, "nit"),
        ({"std": np.zeros(7)}, "std"),
        ({"output_flags": np.zeros(7, "u1")}, "output_flags"),
        ({"imgae": np.zeros(6)}, "imgae"),
        ({3: np.zeros(6)}, "output"),
        ([np.zeros(6)], "output"),
        (None, "output"),
    ],
    ids=str,
)
def test_wrong_outputs(outputs, match):
    with pytest.raises((ValueError, TypeError), match=match):
        planes.combine_planes(STACK, planes.Plan(), outputs)


def test_read_only_output():
    image = np.zeros(6)
    image.flags.writeable = False
    fail("image", outputs={"image": image})


def test_uncertainty_without_its_kind():
    fail("uncertainty", outputs={"uncertainty": np.zeros(6)})


def test_two_outputs_in_one_array():
    image = np.zeros(6)
    fail(
        "image|uncertainty",
        outputs={"image": image, "uncertainty": image},
        uncertainty="std_error",
    )


def test_an_output_that_is_an_input():
    pixels = STACK.copy()
    fail("image|overlap|pixels", pixels=pixels, outputs={"image": pixels[0]})


@pytest.mark.parametrize(
    ("errors", "match"),
    [
        ([None] * 3, "errors: found 3 entries, expected one for each of 4"),
        ([planes.ErrorScaling("sigma")] * 4, 'unknown kind of errors: "sigma"'),
        ([planes.ErrorScaling("std", -1.0)] * 4, r"errors\[0\] factor: -1"),
        ([None, planes.ErrorScaling("std", NAN), None, None], r"errors\[1\] factor"),
        ([None, None, "std", None], "errors: found .*str.*, expected ErrorScaling"),
        ("std!", "errors: found .*str"),
    ],
)
def test_wrong_errors(errors, match):
    fail(match, variances=STACK, errors=errors, uncertainty="propagate")


def test_errors_need_variances():
    errors = [None, planes.ErrorScaling("std"), None, None]
    fail(r"errors\[1\]: a scaling of variances that are not given", errors=errors)


def test_wrong_outputs_per_frame():
    fail("frame_used: shape", outputs={"frame_used": np.zeros(6, "i8")})
    fail("frame_used", outputs={"frame_used": np.zeros(4, "u1")})
    fail("n_used: cannot write int64", outputs={"n_used": np.zeros(6, "i8")})


def test_cubes_of_separate_planes():
    whole = np.full((4, 9), 77, "u1")
    planes.combine_planes(STACK, planes.Plan(), {"sample_flags": whole[:, 2:8]})
    assert_array_equal(whole[:, 2:8], 0)
    assert_array_equal(whole[:, [0, 1, 8]], 77)
    wrong = [
        np.zeros((6, 4), "u1").T,
        np.zeros((4, 12), "u1")[:, ::2],
        np.zeros((4, 6), "u1")[::-1],
        np.lib.stride_tricks.as_strided(np.zeros(6, "u1"), (4, 6), (0, 1)),
    ]
    for cube in wrong:
        fail("sample_flags: not C-contiguous", outputs={"sample_flags": cube})
    # What is between the planes counts as part of the output.
    pixels = list(np.zeros((4, 6), "u1"))
    memory = np.zeros((4, 12), "u1")
    pixels[1] = memory[1, 6:]
    fail("shares memory", pixels=pixels, outputs={"sample_flags": memory[:, :6]})


@pytest.mark.parametrize("q", [-0.1, 100.1, NAN, math.inf, None, "50", [50, 60]])
def test_wrong_percentile(q):
    fail(r"\bq\b", statistic="percentile", q=q)


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, "all", 2**70])
def test_wrong_number_of_threads(n_threads):
    fail("n_threads", n_threads=n_threads)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"statistic": "average"}, "statistic.*average"),
        ({"statistic": None}, "statistic"),
        ({"statistic": 3}, "statistic"),
        ({"work": "f2"}, "work"),
        ({"work": "i4"}, "work"),
        ({"uncertainty": "error"}, "uncertainty"),
        ({"uncertainty": True}, "uncertainty"),
        ({"ddof": -1}, "ddof"),
        ({"ddof": 0.5}, "ddof"),
        ({"ddof": 2**70}, "ddof"),
        ({"thresholds": (1.0,)}, "thresholds"),
        ({"thresholds": (1.0, NAN)}, "thresholds"),
        ({"thresholds": (2.0, 1.0)}, "thresholds"),
        ({"thresholds": 3.0}, "thresholds"),
        ({"blank": "nan"}, "blank"),
        ({"steps": "sigclip"}, "steps"),
        ({"steps": (("sigmaclip", {}),)}, "sigmaclip"),
        ({"steps": ("sigclip",)}, "steps"),
        ({"steps": (("sigclip",),)}, "steps"),
        ({"steps": (("sigclip", None),)}, "steps|sigclip"),
        ({"steps": ((3, {}),)}, "steps"),
        ({"sttistic": "mean"}, "sttistic"),
    ],
    ids=str,
)
def test_wrong_plans(options, match):
    fail(match, **options)


@pytest.mark.parametrize(
    ("step", "option", "values"),
    [
        ("sigclip", "low", [-1, NAN, "3", None, [1]]),
        ("sigclip", "high", [-1, NAN, "3", None, [1]]),
        ("sigclip", "center", ["mode", None, 3]),
        ("sigclip", "spread_center", ["mode", 3]),
        ("sigclip", "spread", ["sigma", None, 3]),
        ("sigclip", "mad_factor", [-1, NAN, math.inf, "1", None]),
        ("sigclip", "ddof", [-1, 0.5, "1", None]),
        ("sigclip", "maxiters", [-1, 0.5, "1", 2**70]),
        ("sigclip", "nkeep", [-1, 0.5, "1", None]),
        ("sigclip", "maxrej", [-1, 0.5, "1"]),
        ("sigclip", "revert", ["all", None, 3]),
        ("sigclip", "nan_rule", ["some", None, 3]),
        ("sigclip", "sigma", [3.0]),
        ("extrema", "low", [-1, 0.5, "1", None]),
        ("extrema", "high", [-1, 0.5, "1", None]),
        ("extrema", "rule", ["rank", None, 3]),
        ("extrema", "nlow", [1]),
        ("range", "low", [NAN, "0", [0]]),
        ("range", "high", [NAN, "0", [0]]),
        ("range", "minimum", [0]),
    ],
)
def test_wrong_options_of_steps(step, option, values):
    for value in values:
        fail(rf"\b{option}\b", steps=((step, NEEDED[step] | {option: value}),))


@pytest.mark.parametrize("step", ["sigclip", "extrema", "range"])
def test_missing_options_of_steps(step):
    for option in ("low", "high"):
        others = {k: v for k, v in NEEDED[step].items() if k != option}
        fail(rf"\b{option}\b", steps=((step, others),))


@pytest.mark.parametrize(
    "fits", [[None] * 3, [None] * 5, "fits", [1, 2, 3, 4], [{}] * 4]
)
def test_wrong_fits(fits):
    fail("fits", fits=fits)


@pytest.mark.parametrize(
    "options", [{"bscale": "1"}, {"bzero": None}, {"blank": 1.5}, {"blank": 2**70}]
)
def test_wrong_fits_scaling(options):
    name = next(iter(options))
    with pytest.raises((ValueError, TypeError), match=name):
        scaling = planes.FitsScaling(
            **{"unsigned": False, "bscale": 1.0, "bzero": 0.0, "blank": None} | options
        )
        planes.combine_planes(
            STACK.astype(">i2"),
            planes.Plan(),
            {"image": np.zeros(6)},
            fits=[scaling] * 4,
        )


def test_unsigned_convention_is_for_integers():
    scaling = planes.FitsScaling(unsigned=True, bscale=1.0, bzero=32768.0, blank=None)
    fail("unsigned", pixels=STACK.astype(">f4"), fits=[scaling] * 4)


def test_the_next_call_is_right_after_an_error():
    fail("statistic", statistic="average")
    fail("n_threads", n_threads=0)
    image = np.zeros(6)
    plan = planes.Plan("median", steps=(CLIP,))
    planes.combine_planes(STACK, plan, {"image": image})
    assert_array_equal(image, np.median(STACK, axis=0))
