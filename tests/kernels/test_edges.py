# Licensed under a 3-clause BSD style license - see LICENSE
"""Extreme stacks, against the oracle."""

import math

import numpy as np
import oracle
import pytest
from numpy.testing import assert_array_equal

from imcombiners_astro import planes

DEFAULTS = {"low": 3.0, "high": 3.0, "center": "median", "spread": "std"}
CLIP = ("sigclip", DEFAULTS)
STATISTICS = (
    "mean median lmedian sum min max variance std wmean wsum percentile".split()
)
NAN = math.nan


def make_outputs(n_frames, shape, names=None, real="f8"):
    return {
        name: np.zeros((n_frames, *shape) if name in oracle.CUBES else shape, dtype)
        for name, dtype in oracle.output_types(real).items()
        if names is None or name in names
    }


def check(pixels, *, real="f8", n_threads=None, arguments=None, **options):
    """Run the kernel, compare with the oracle, return the kernel's outputs."""
    options.setdefault("uncertainty", "std_error")
    arguments = arguments or {}
    outputs = make_outputs(len(pixels), np.shape(pixels[0]), real=real)
    planes.combine_planes(
        pixels, planes.Plan(**options), outputs, n_threads=n_threads, **arguments
    )
    truth = oracle.combine(
        pixels, oracle.Plan(**options), output_dtype=real, **arguments
    )
    for name, values in outputs.items():
        assert_array_equal(values, truth[name], err_msg=name)
    image = make_outputs(len(pixels), np.shape(pixels[0]), ["image"], real)
    planes.combine_planes(pixels, planes.Plan(**options), image, **arguments)
    assert_array_equal(image["image"], truth["image"], err_msg="image alone")
    return outputs


def statistic(name):
    return {"statistic": name} | ({"q": 30} if name == "percentile" else {})


# -------------------------------------------------------------- extreme stacks


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 0, 4)])
@pytest.mark.parametrize("dtype", ["f4", "u2", "f8"])
def test_no_pixels(shape, dtype):
    check(np.zeros((3, *shape), dtype), steps=(CLIP,))
    check(
        [np.zeros(shape, dtype)] * 3,
        arguments={"masks": [None, np.zeros(shape, bool), None]},
    )


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("steps", [(), (CLIP,)])
def test_one_frame(name, steps):
    pixels = np.array([[3.0, -1.5, NAN, 0.0, math.inf]])
    arguments = {"weights": np.array([2.0])} if name[0] == "w" else {}
    got = check(pixels, steps=steps, arguments=arguments, **statistic(name))
    assert got["n_used"].tolist() == [1, 1, 0, 1, 0]
    if name not in ("variance", "std", "wsum"):
        assert_array_equal(got["image"][[0, 1, 3]], [3.0, -1.5, 0.0])
    assert_array_equal(got["uncertainty"], [0, 0, NAN, 0, NAN])


@pytest.mark.parametrize("n_frames", [1, 2, 5, 31, 64, 65, 128])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u2"])
@pytest.mark.parametrize("name", STATISTICS)
def test_nothing_good(name, dtype, n_frames):
    pixels = np.full((n_frames, 40), 7, dtype)
    masks = np.zeros(pixels.shape, bool)
    masks[:, ::2] = True
    if pixels.dtype.kind == "f":
        pixels[:, ::3] = NAN
        pixels[0, ::4] = math.inf
    arguments = {"masks": masks}
    if name[0] == "w":
        arguments["weights"] = np.ones(n_frames)
    got = check(pixels, steps=(CLIP,), arguments=arguments, **statistic(name))
    expected = 0.0 if name in ("sum", "wsum") else NAN
    assert_array_equal(got["image"][::2], np.full(20, expected))
    assert got["mask"][::2].all()
    assert not got["n_used"][::2].any()
    got = check(
        pixels, steps=(CLIP,), blank=-9.0, arguments=arguments, **statistic(name)
    )
    assert_array_equal(got["image"][::2], np.full(20, -9.0))


@pytest.mark.parametrize("n_frames", [2, 9, 16, 31, 33, 64, 70])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["mean", "median", "lmedian", "min", "max"])
def test_one_good_sample(name, dtype, n_frames):
    # The good sample travels through the frames from pixel to pixel.
    pixels = np.full((n_frames, n_frames), NAN, dtype)
    np.fill_diagonal(pixels, np.arange(n_frames) - 3.5)
    for steps in (
        (),
        (CLIP,),
        (("sigclip", DEFAULTS | {"spread": "mad", "center": "mean"}),),
    ):
        got = check(pixels, steps=steps, statistic=name)
        assert_array_equal(got["image"], np.arange(n_frames) - 3.5)
        assert (got["n_used"] == 1).all()


@pytest.mark.parametrize("size", [1e308, 1.7976931348623157e308, 1e154, 1e-308, 5e-324])
@pytest.mark.parametrize("center", ["mean", "median"])
@pytest.mark.parametrize("spread", ["std", "mad"])
def test_values_near_the_limits_of_f8(size, center, spread):
    rng = np.random.default_rng(4)
    pixels = size * rng.choice([-1.0, 1.0, 0.0, 0.5], (9, 60))
    step = ("sigclip", {"low": 1, "high": 1, "center": center, "spread": spread})
    for name in ("mean", "median", "sum", "variance", "max"):
        check(pixels, steps=(step,), statistic=name)
        check(pixels, statistic=name)


@pytest.mark.parametrize("size", [3.4028235e38, 1e38, 1e19, 1e-38, 1e-45])
@pytest.mark.parametrize("center", ["mean", "median"])
@pytest.mark.parametrize("spread", ["std", "mad"])
def test_values_near_the_limits_of_f4(size, center, spread):
    rng = np.random.default_rng(5)
    pixels = (size * rng.choice([-1.0, 1.0, 0.0, 0.5], (31, 60))).astype("f4")
    step = ("sigclip", {"low": 1, "high": 1, "center": center, "spread": spread})
    for name in ("mean", "median", "variance"):
        check(pixels, work="f4", steps=(step,), statistic=name)
        check(pixels, work="f4", statistic=name)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_results_beyond_f4_are_infinite():
    pixels = np.full((3, 20), 3e38, "f4")
    got = check(pixels, work="f4", statistic="sum", real="f4")
    assert np.isinf(got["image"]).all()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("i8", 2**53 + 1),
        ("i8", 2**63 - 1),
        ("i8", -(2**63)),
        ("i8", -(2**53) - 1),
        ("u8", 2**63 + 1025),
        ("u8", 2**64 - 1),
        ("u4", 2**32 - 1),
        ("i4", -(2**31)),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_integers_become_the_nearest_double(dtype, value, order):
    pixels = np.full((3, 20), value, np.dtype(dtype).newbyteorder(order))
    for name in ("median", "min", "mean"):
        got = check(pixels, statistic=name)
        assert (got["image"] == float(value)).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_small_integers_are_exact(dtype):
    info = np.iinfo(dtype)
    every = np.arange(info.min, info.max + 1).astype(dtype)
    pixels = np.stack([every, np.roll(every, 1), every[::-1]])
    truth = {"mean": np.mean, "median": np.median, "max": np.max}
    for work in ("f4", "f8"):
        for name in ("mean", "median", "max"):
            image = np.zeros(every.shape)
            plan = planes.Plan(statistic=name, work=work)
            planes.combine_planes(pixels, plan, {"image": image})
            assert_array_equal(image, truth[name](pixels.astype("f8"), axis=0))


@pytest.mark.parametrize("n_frames", [97, 128, 129, 257, 300])
@pytest.mark.parametrize("dtype", ["f4", "u2", "f8"])
def test_many_frames(dtype, n_frames):
    rng = np.random.default_rng(n_frames)
    pixels = rng.normal(1000, 9, (n_frames, 50))
    pixels[rng.random(pixels.shape) < 0.03] += 200
    pixels = pixels.astype(dtype)
    masks = rng.random(pixels.shape) < 0.1
    work = "f8" if dtype == "f8" else "f4"
    for name in ("mean", "median", "percentile"):
        for steps in (
            (),
            (("sigclip", DEFAULTS | {"low": 2, "high": 2}),),
            (
                (
                    "sigclip",
                    DEFAULTS | {"low": 2, "high": 2, "center": "mean", "spread": "mad"},
                ),
            ),
            (("extrema", {"low": 5, "high": 40, "rule": "fraction"}),),
        ):
            check(
                pixels,
                steps=steps,
                work=work,
                arguments={"masks": masks},
                **statistic(name),
            )


def test_more_passes_than_nit_can_count():
    # Every pass finds the largest of outliers that grow from frame to frame.
    outliers = 10.0 ** np.linspace(-150, 150, 260)
    column = np.concatenate([np.zeros(300), outliers])[:, None]
    step = (
        "sigclip",
        DEFAULTS | {"low": 2, "high": 2, "center": "median", "maxiters": None},
    )
    got = check(column, steps=(step,))
    assert got["nit"][0] == 255 and got["n_used"][0] == 300


def test_samples_on_the_bounds_stay():
    # Center 0, MAD 1: the bounds are the samples -2 and 2 themselves.
    column = np.array([-3.0, -2, -1, -1, 0, 1, 1, 2, 3])
    pixels = np.repeat(column[:, None], 20, axis=1)
    step = (
        "sigclip",
        DEFAULTS | {"low": 2, "high": 2, "spread": "mad", "mad_factor": 1.0},
    )
    for dtype, work in (("f8", "f8"), ("f4", "f4"), ("i2", "f4")):
        got = check(pixels.astype(dtype), steps=(step,), work=work)
        assert (got["low"] == -2).all() and (got["upp"] == 2).all()


def test_spread_of_zero_rejects_what_differs():
    pixels = np.full((9, 20), 5.0)
    pixels[3] = 5.5
    got = check(pixels, steps=(("sigclip", DEFAULTS | {"spread": "mad"}),))
    assert (got["n_rejected_high"] == 1).all() and (got["std"] == 0).all()


def test_nothing_of_the_input_is_changed():
    rng = np.random.default_rng(6)
    pixels = rng.normal(0, 1, (5, 30)).astype(">f4")
    masks = rng.random(pixels.shape) < 0.2
    before = pixels.tobytes(), masks.tobytes()
    check(pixels, steps=(CLIP,), arguments={"masks": masks, "zero": np.ones(5)})
    assert (pixels.tobytes(), masks.tobytes()) == before


def test_one_plane_as_every_frame():
    plane = np.arange(40.0).reshape(5, 8)
    check(np.broadcast_to(plane, (4, 5, 8)), statistic="median")
    check([plane] * 4, statistic="median")
    mask = np.broadcast_to(np.array([True, False] * 4), (5, 8))
    check([plane] * 4, arguments={"masks": mask})


def test_bytes_as_masks():
    # Not promised; but if bytes are read at all, everything but 0 is bad.
    masks = np.array([0, 1, 2, 255, 0, 128], dtype="u1")
    image = np.zeros(6)
    try:
        planes.combine_planes(
            np.ones((1, 6)), planes.Plan(), {"image": image}, masks=[masks]
        )
    except TypeError:
        return
    assert_array_equal(np.isnan(image), masks != 0)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u2", ">i2"])
@pytest.mark.parametrize("n_frames", [3, 5, 20, 32, 40, 70])
def test_the_image_does_not_depend_on_the_spread_being_asked_for(dtype, n_frames):
    rng = np.random.default_rng(n_frames)
    stack = rng.normal(1000.0, 5.0, (n_frames, 3, 500))
    stack[rng.random(stack.shape) < 1e-3] += 5000.0
    if dtype == "f8":
        stack[:, 0] *= 1e304  # sums of many overflow
    stack = stack.astype(dtype)
    if dtype[0] == "f":
        stack[rng.random(stack.shape) < 1e-3] = np.nan
    step = ("sigclip", {"low": 3.0, "high": 3.0, "center": "median"})
    plan = planes.Plan("mean", (step,), work="f8" if dtype == "f8" else "f4")
    images = [np.empty(stack.shape[1:]) for _ in range(2)]
    planes.combine_planes(stack, plan, {"image": images[0]})
    spread = np.empty(stack.shape[1:])
    planes.combine_planes(stack, plan, {"image": images[1], "std": spread})
    np.testing.assert_array_equal(images[0].view("u8"), images[1].view("u8"))
