# Licensed under a 3-clause BSD style license - see LICENSE
"""Planes in a place of their own give what planes filled up with NaN give."""

import numpy as np
import oracle
import pytest

from imcombiners_astro.flags import SampleFlags
from imcombiners_astro.planes import FitsScaling, Plan, combine_planes

ALL_STEPS = [
    (),
    (("sigclip", {"low": 1.5, "high": 1.5, "center": "median", "spread": "std"}),),
    (("sigclip", {"low": 2.0, "high": 1.0, "center": "mean", "spread": "mad"}),),
    (("extrema", {"low": 1, "high": 1, "rule": "count"}),),
    (("avsigclip", {"low": 1.5, "high": 1.5, "center": "median"}),),
    (
        ("pclip", {"frac": -0.5, "low": 1.0, "high": 1.0}),
        ("range", {"low": 90.0, "high": 110.0}),
    ),
]


class Stack:
    """Planes somewhere in a product, and the same filled up."""

    def __init__(self, rng, n_frames, shape, dtype="f8"):
        self.shape, self.places, self.planes = shape, [], []
        height, width = shape
        dtype = np.dtype(dtype)
        for k in range(n_frames):
            n = height if k % 3 == 0 else rng.integers(0, height + 1)
            m = width if k % 4 == 0 else rng.integers(0, width + 1)
            column = int(rng.integers(0, width - m + 1))
            row = int(rng.integers(0, height - n + 1))
            if k % 5 == 2:  # rows with gaps
                row = np.sort(rng.choice(height, n, replace=False)).astype(np.int64)
            values = rng.normal(100, 6, (n, m)).round(1 if dtype.kind == "f" else 0)
            plane = values.astype(dtype)
            if dtype.kind == "f":
                plane[rng.random((n, m)) < 0.02] = np.nan
            self.places.append((row, column))
            self.planes.append(plane)

    def filled(self, planes, fill, dtype=None):
        """The planes, filled up."""
        if planes is None:
            return None
        cube = np.full((len(planes), *self.shape), fill, dtype or planes[0].dtype)
        for image, plane, (row, column) in zip(cube, planes, self.places, strict=True):
            rows = np.arange(len(plane)) + row if np.ndim(row) == 0 else row
            image[rows, column : column + plane.shape[1]] = plane
        return cube

    def covered(self):
        ones = [np.ones(plane.shape, bool) for plane in self.planes]
        return self.filled(ones, False)

    def like(self, make):
        """Something for every sample."""
        return [make(plane.shape) for plane in self.planes]


def outputs_for(stack, plan, with_dq=False):
    types = oracle.output_types("f8", dq=with_dq)
    if plan.uncertainty is None:
        del types["uncertainty"]
    cube = (len(stack.planes), *stack.shape)
    return {
        name: np.full(cube if name in oracle.CUBES else stack.shape, 77, dtype)
        for name, dtype in types.items()
    }


def assert_same(got, expected, names=None):
    for name in names or got:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("number", range(12))
def test_same_as_filled_up(number, n_threads):
    rng = np.random.default_rng(number)
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 700)))
    dtype = ["f4", ">f4", "f8", ">f8"][number % 4]
    stack = Stack(rng, int(rng.integers(2, 36)), shape, dtype)
    plan = Plan(
        ["mean", "median", "sum", "lmedian"][number % 4],
        ALL_STEPS[number % 6],
        work="f" + dtype[-1],
        thresholds=(85.0, 115.0) if number % 2 else None,
        independent=number % 3 == 0,
        uncertainty="mad_error" if number % 4 == 1 else "std_error",
    )
    masks = stack.like(lambda s: rng.random(s) < 0.05)
    masks[1] = None
    some = [np.zeros(p.shape, bool) if m is None else m
            for m, p in zip(masks, stack.planes, strict=True)]  # fmt: skip
    got, expected = outputs_for(stack, plan), outputs_for(stack, plan)
    places = (shape, stack.places)
    combine_planes(
        stack.planes, plan, got, masks=masks, places=places, n_threads=n_threads
    )
    filled = stack.filled(stack.planes, np.nan, stack.planes[0].dtype)
    combine_planes(filled, plan, expected, masks=stack.filled(some, False))
    assert_same(got, expected)


@pytest.mark.parametrize("number", range(12))
def test_against_the_truth(number):
    rng = np.random.default_rng([7, number])
    stack = Stack(rng, int(rng.integers(2, 9)), (4, int(rng.integers(1, 21))))
    n = len(stack.planes)
    plan = Plan(
        ["wmean", "median", "mean", "wsum"][number % 4],
        ALL_STEPS[number % 6],
        uncertainty="propagate",
        thresholds=(88.0, 120.0),
    )
    extras = {
        "masks": (stack.like(lambda s: rng.random(s) < 0.1), False),
        "variances": (stack.like(lambda s: rng.uniform(1, 4, s)), 1.0),
        "flags": (stack.like(lambda s: rng.integers(0, 99, s).astype("u1")), 0),
    }
    if number % 4 in (0, 3):
        extras["weights"] = (stack.like(lambda s: rng.uniform(0, 2, s)), 1.0)
    transform = {"zero": rng.normal(0, 2, n), "scale": rng.uniform(0.9, 1.1, n)}
    got = outputs_for(stack, plan, with_dq=True)
    given = {name: planes for name, (planes, _) in extras.items()}
    places = (stack.shape, stack.places)
    combine_planes(stack.planes, plan, got, places=places, **given, **transform)
    filled = {name: stack.filled(*pair) for name, pair in extras.items()}
    pixels = stack.filled(stack.planes, np.nan)
    truth = oracle.combine(pixels, plan, **filled, **transform)
    assert_same(got, truth, [name for name in got if name != "uncertainty"])
    np.testing.assert_allclose(got["uncertainty"], truth["uncertainty"], rtol=1e-13)


def test_inverse_variances():
    rng = np.random.default_rng(3)
    stack = Stack(rng, 7, (5, 40))
    variances = stack.like(lambda s: rng.uniform(0, 4, s).round())
    plan = Plan("wmean", ivar=True, uncertainty="propagate")
    got, expected = outputs_for(stack, plan), outputs_for(stack, plan)
    places = (stack.shape, stack.places)
    combine_planes(stack.planes, plan, got, variances=variances, places=places)
    filled = stack.filled(stack.planes, np.nan)
    combine_planes(filled, plan, expected, variances=stack.filled(variances, 1.0))
    assert_same(got, expected)


@pytest.mark.parametrize("unsigned", [False, True])
def test_raw_fits_values(unsigned):
    rng = np.random.default_rng(4)
    stack = Stack(rng, 9, (6, 300), ">i2")
    scaling = FitsScaling(unsigned, *(() if unsigned else (0.5, 7.0, 100)))
    values = [plane.astype("f8") for plane in stack.planes]
    if unsigned:
        values = [plane + 32768 for plane in values]
    else:
        values = [np.where(x == 100, np.nan, 0.5 * x + 7) for x in values]
    plan = Plan("median", ALL_STEPS[1], work="f4")
    got, expected = outputs_for(stack, plan), outputs_for(stack, plan)
    places, fits = (stack.shape, stack.places), [scaling] * 9
    combine_planes(stack.planes, plan, got, fits=fits, places=places)
    filled = stack.filled(values, np.nan).astype("f4")
    combine_planes(filled, plan, expected)
    assert_same(got, expected)


@pytest.mark.parametrize("rule", ["none", "all"])
def test_a_sample_that_is_not_there_spoils_nothing(rule):
    rng = np.random.default_rng(5)
    stack = Stack(rng, 12, (5, 200))
    options = {"low": 1.0, "high": 1.0, "maxiters": 1}
    got, careless = outputs_for(stack, Plan()), outputs_for(stack, Plan())
    for outputs, nan_rule in ((got, rule), (careless, "ignore")):
        plan = Plan("mean", (("sigclip", options | {"nan_rule": nan_rule}),))
        places = (stack.shape, stack.places)
        combine_planes(stack.planes, plan, outputs, places=places)
    nan = stack.covered() & np.isnan(stack.filled(stack.planes, np.nan))
    spoiled = nan.any(axis=0)
    assert 0 < spoiled.sum() < spoiled.size
    flags = got["sample_flags"]
    np.testing.assert_array_equal(
        flags[:, ~spoiled], careless["sample_flags"][:, ~spoiled]
    )
    rejected = (flags[:, spoiled] & SampleFlags.ALGORITHM) != 0
    finite = np.isfinite(stack.filled(stack.planes, np.nan))[:, spoiled]
    expected = finite if rule == "all" else np.zeros_like(finite)
    np.testing.assert_array_equal(rejected, expected)


def test_what_is_not_covered_is_told():
    stack = Stack(np.random.default_rng(6), 6, (4, 9))
    got = outputs_for(stack, Plan())
    places = (stack.shape, stack.places)
    combine_planes(stack.planes, Plan("sum"), got, places=places)
    flags = got["sample_flags"]
    assert (flags[~stack.covered()] == SampleFlags.NONFINITE).all()
    assert not got["output_flags"].any()
    there = np.isfinite(stack.filled(stack.planes, np.nan)).sum(axis=0)
    np.testing.assert_array_equal(got["n_used"], there)


def test_planes_without_rows_or_columns():
    planes = [np.empty((0, 3)), np.empty((2, 0)), np.array([[5.0, 6.0, 7.0]])]
    places = ((2, 3), [(2, 0), (0, 3), (1, 0)])
    outputs = {"image": np.empty((2, 3)), "n_used": np.empty((2, 3), np.uint16)}
    combine_planes(planes, Plan("mean"), outputs, places=places)
    nan = np.nan
    np.testing.assert_array_equal(outputs["image"], [[nan] * 3, [5.0, 6.0, 7.0]])
    np.testing.assert_array_equal(outputs["n_used"], [[0] * 3, [1] * 3])


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (((3, 4), [(0, 0)]), "places: found 1, expected one for each of 2 frames"),
        (((3, 4), [(2, 0), (0, 0)]), "row 3 after 1 others; expected inside"),
        (((3, 4), [(0, 2), (0, 0)]), "columns 2..5; expected inside"),
        (((3, 4), [(np.array([1, 1]), 0), (0, 0)]), "row 1 after 1 others"),
        (((3, 4), [(np.array([-1, 1]), 0), (0, 0)]), "after 0 others"),
        (((3, 4), [(np.array([1]), 0), (0, 0)]), "found 1 rows, expected 2"),
        (((3, 4), [(-1, 0), (0, 0)]), r"places\[0\]"),
        (((3, 4), [(0, -1), (0, 0)]), r"places\[0\]"),
    ],
)
def test_places_that_are_none(places, message):
    planes, image = [np.ones((2, 3)), np.ones((1, 4))], np.empty((3, 4))
    with pytest.raises(ValueError, match=message):
        combine_planes(planes, Plan(), {"image": image}, places=places)


def test_shapes_that_do_not_fit():
    places = ((3, 4), [(0, 0), (0, 0)])
    planes = [np.ones((2, 3)), np.ones((1, 4))]
    with pytest.raises(ValueError, match="expected rows and columns"):
        flat = [np.ones(3), np.ones(4)]
        combine_planes(flat, Plan(), {"image": np.empty((3, 4))}, places=places)
    with pytest.raises(ValueError, match=r"output image: shape .* expected \[3, 4\]"):
        combine_planes(planes, Plan(), {"image": np.empty((2, 3))}, places=places)
    masks = [None, np.zeros((2, 3), bool)]
    with pytest.raises(ValueError, match=r"masks\[1\]: shape .* as its frame"):
        image = np.empty((3, 4))
        combine_planes(planes, Plan(), {"image": image}, masks=masks, places=places)
    with pytest.raises(TypeError, match="places"):
        combine_planes(planes, Plan(), {"image": np.empty((3, 4))}, places=3)
