# Licensed under a 3-clause BSD style license - see LICENSE
"""Every decision of the clipping is that of double precision.

The kernels look at most columns in the precision of the samples and leave the
doubtful ones to double precision. Here a second implementation, with NumPy and in
double precision throughout, clips stacks that are hard on rounding: masks, counts,
spreads, limits and images must be the same, without any tolerance.

``IMCOMBINERS_TEST_PIXELS`` is the number of columns in a stack, 4000 by default.
"""

import hashlib
import json
import os
import subprocess
import sys
from itertools import product

import numpy as np
import oracle
import pytest
from against_oracle import TALLY, show_tally

from imcombiners_astro import planes

PIXELS = int(os.environ.get("IMCOMBINERS_TEST_PIXELS", "4000"))
#: Columns that the reference does at once.
CHUNK = 1000
MAD_TO_STD = 1.482602218505602

TALLY["decisions against double precision"] = COUNTS = {
    "cases": 0,
    "columns": 0,
    "mismatches": 0,
}


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    show_tally(request.config)


# ---------------------------------------------------------------- the reference


def present(x):
    """The number of samples of every column; absent ones are NaN."""
    return np.count_nonzero(~np.isnan(x), axis=0)


def add_up(x):
    """Sums in frame order (`numpy.sum` adds in another one)."""
    total = np.zeros(x.shape[1:])
    for frame in np.where(np.isnan(x), 0.0, x):
        total += frame
    return total


def mean(x):
    return add_up(x) / present(x)


def middle_ranks(x):
    """The two middle samples, which are one if their number is odd."""
    ordered, n = np.sort(x, axis=0), present(x)  # NaN goes last
    pair = np.stack([np.maximum(n - 1, 0) // 2, n // 2])
    return np.take_along_axis(ordered, pair, axis=0)


def median(x):
    a, b = middle_ranks(x)
    return np.where(np.isfinite(a + b), (a + b) / 2, a / 2 + b / 2)


def lmedian(x):
    return middle_ranks(x)[0]


def std(x, about, ddof=0):
    free = present(x) - ddof
    d = x - about
    return np.sqrt(np.where(free > 0, add_up(d * d) / free, np.nan))


def mad(x, about):
    return MAD_TO_STD * median(np.abs(x - about))


CENTER = {"mean": mean, "median": median, "lmedian": lmedian}
UNCERTAINTY = {
    "std_error": lambda x: std(x, mean(x)) / np.sqrt(present(x)),
    "mad_error": lambda x: mad(x, median(x)) / np.sqrt(present(x)),
}


def center_and_spread(x, center, spread, ddof=0):
    c = CENTER[center](x)
    return c, mad(x, c) if spread == "mad" else std(x, c, ddof)


def clip(x, *, low, high, center, spread, ddof=0, maxiters=None):
    """Clip columns until nothing more is rejected; returns the products of that.

    Parameters
    ----------
    x : array of shape (N, n_pixels)
        The samples, NaN where there is none; rejected ones become NaN.
    low, high, center, spread, ddof, maxiters
        As for the kernels.
    """
    n_pixels = x.shape[1]
    counts = {
        "nit": np.ones(n_pixels, "u1"),
        "std": np.full(n_pixels, np.nan),
        "n_rejected_low": np.zeros(n_pixels, int),
        "n_rejected_high": np.zeros(n_pixels, int),
    }
    active, passes = np.arange(n_pixels), 0
    while active.size and passes != maxiters:
        passes += 1
        now = x[:, active]
        c, s = center_and_spread(now, center, spread, ddof)
        defined = np.isfinite(c) & np.isfinite(s)
        counts["std"][active[defined]] = s[defined]
        below = defined & (now < c - low * s)
        above = defined & (now > c + high * s)
        counts["n_rejected_low"][active] += np.count_nonzero(below, axis=0)
        counts["n_rejected_high"][active] += np.count_nonzero(above, axis=0)
        x[:, active] = np.where(below | above, np.nan, now)
        active = active[np.any(below | above, axis=0)]
        counts["nit"][active] += 1
    counts["output_flags"] = np.zeros(n_pixels, "u1")
    counts["output_flags"][active] = oracle.MAXITERS
    return counts


def reference(cube, masks, options):
    """All products by name, images and uncertainties also by that of the statistic."""
    pieces = []
    for start in range(0, cube.shape[1], CHUNK):
        here = slice(start, start + CHUNK)
        x = cube[:, here].astype("f8")
        bad = np.zeros(x.shape, bool)
        for to, mask in zip(bad, masks or (), strict=bool(masks)):
            to[:] = False if mask is None else mask[here]
        x[bad | ~np.isfinite(x)] = np.nan
        with np.errstate(all="ignore"):
            piece = clip(x, **options)
            piece |= {name: center(x) for name, center in CENTER.items()}
            piece |= {name: error(x) for name, error in UNCERTAINTY.items()}
        piece["output_flags"][bad.any(axis=0)] |= oracle.PREMASKED
        piece["n_used"] = n = present(x)
        piece |= {"mask": n == 0, "mask_rej": np.isnan(x)}
        piece |= {"low": np.fmin.reduce(x), "upp": np.fmax.reduce(x)}
        pieces.append(piece)
    return {
        name: np.concatenate([piece[name] for piece in pieces], axis=-1)
        for name in pieces[0]
    }


# ------------------------------------------------------------------- the stacks


def outliers(rng, shape):
    """Normal noise, one sample in a hundred far away."""
    far = rng.choice([0.0, -500.0, 5000.0], shape, p=[0.99, 0.005, 0.005])
    return 1000.0 + 30.0 * rng.standard_normal(shape) + far


def ties(rng, shape):
    """Small integers around 0."""
    return np.rint(2.0 * rng.standard_normal(shape))


def constant(rng, shape):
    """A column of one value, one sample in seventy beside it."""
    beside = rng.choice([0.0, -1.0, 1.0, 77.0], shape, p=[0.985, 0.005, 0.005, 0.005])
    return rng.normal(100.0, 10.0, shape[1:]) + beside


def sky(rng, shape):
    """Little noise on a high level."""
    return 60000.0 + 1.3 * rng.standard_normal(shape)


def mixed(rng, shape):
    """Samples of all magnitudes."""
    return rng.choice([1e-3, 1e4], shape) * rng.standard_normal(shape) ** 3


def scaled(factor):
    """Noise whose squares are out of range."""
    return lambda rng, shape: factor * rng.standard_normal(shape)


def every_fifth(largest):
    """Every fifth plane is full of numbers near the largest ones."""

    def make(rng, shape):
        values = 1000.0 * rng.standard_normal(shape)
        values[::5] = np.copysign(largest, values[::5])
        return values

    return make


FAMILIES = {
    "outliers": outliers,
    "ties": ties,
    "constant": constant,
    "sky": sky,
    "mixed": mixed,
    "1e30": scaled(1e30),
    "1e-25": scaled(1e-25),
    "3e38": every_fifth(3e38),
    # The like for double precision.
    "1e300": scaled(1e300),
    "1e-200": scaled(1e-200),
    "1.7e308": every_fifth(1.7e308),
}
INTEGER = ["outliers", "ties", "constant", "sky"]
FITTING = {"f4": list(FAMILIES)[:8], "u2": INTEGER, "f8": list(FAMILIES)}
#: 33 and 50 frames are read by halves, 100 are sorted in chunks.
DEPTHS = {"f4": (5, 12, 31, 33, 50, 100), "u2": (12, 31, 50), "f8": (12, 31, 50)}
#: Families of which there are also stacks with absent and masked samples.
SPOILED = ["outliers", "ties", "constant", "3e38"]
#: Type, number of frames, family and whether it is spoiled, of every stack.
STACKS = [
    pytest.param(
        dtype, n, family, spoiled, id=f"{dtype}-{n}-{family}{'-bad' * spoiled}"
    )
    for dtype, families in FITTING.items()
    for n, family, spoiled in product(DEPTHS[dtype], families, (False, True))
    if family in SPOILED or not spoiled
]


def make_stack(dtype, n_frames, family, spoiled, n_pixels):
    """Planes and masks; one sample in a thousand of ``spoiled`` ones is bad."""
    rng = np.random.default_rng([n_frames, list(FAMILIES).index(family), spoiled])
    values = FAMILIES[family](rng, (n_frames, n_pixels))
    if dtype == "u2":
        middle = 2.0**15 if family == "ties" else 0.0
        values = np.rint(values + middle)
    cube = values.astype(dtype)
    if not spoiled:
        return cube, None
    if cube.dtype.kind == "f":
        absent = rng.random(cube.shape) < 0.001
        cube[absent] = rng.choice([np.nan, np.inf, -np.inf], absent.sum())
    masks = rng.random(cube.shape) < 0.001
    return cube, [None if k % 4 == 0 else mask for k, mask in enumerate(masks)]


def clips(n_frames):
    """Options of clipping, with usual limits and with those of a single outlier.

    One sample beside n - 1 equal ones is sqrt(n - ddof) standard deviations from
    their median (from their mean with ddof = 1: (n - 1) / sqrt(n)), so that rounding
    decides whether it is beyond.
    """
    for center in CENTER:
        usual = {"low": 2.0, "high": 3.0, "center": center, "maxiters": 5}
        yield usual | {"spread": "mad"}
        yield usual | {"spread": "std"}
        free = n_frames - 1
        edge = free**0.5 if center != "mean" else free / n_frames**0.5
        limits = {"low": edge, "high": edge, "center": center, "maxiters": None}
        yield limits | {"spread": "std", "ddof": 1}


# -------------------------------------------------------------------- the tests

EVERYTHING = (
    "image n_used mask mask_rej low upp std nit n_rejected_low n_rejected_high "
    "output_flags"
).split()

#: Statistic, uncertainty and products: what is asked for decides how to look.
ASKED = (
    ("mean", None, EVERYTHING),
    ("median", None, EVERYTHING),
    ("lmedian", None, ["image", "n_used"]),
    ("mean", "std_error", ["image", "uncertainty"]),
    ("median", "mad_error", ["image", "uncertainty"]),
)


def orders(cube):
    """The planes in both byte orders; doubles only in that which is looked at."""
    yield cube
    if cube.dtype.itemsize < 8:
        yield cube.astype(cube.dtype.newbyteorder())


def run(cube, masks, options, statistic, uncertainty, names):
    """The named products by the kernels."""
    types = oracle.output_types()
    outputs = {
        name: np.zeros(cube.shape if name == "mask_rej" else cube.shape[1:], dtype)
        for name, dtype in types.items()
        if name in names
    }
    plan = planes.Plan(
        statistic,
        (("sigclip", options),),
        work="f8" if cube.dtype.itemsize == 8 else "f4",
        uncertainty=uncertainty,
    )
    planes.combine_planes(cube, plan, outputs, masks=masks)
    return outputs


def differences(got, truth, asked, cube, what):
    """A line for every product that is not the true one, with its first column."""
    statistic, uncertainty, _ = asked
    truth = truth | {"image": truth[statistic]}
    if uncertainty:
        truth["uncertainty"] = truth[uncertainty]
    for name, values in got.items():
        real = values.dtype.kind == "f"
        if np.array_equal(values, truth[name], equal_nan=real):
            continue
        same = np.isclose(values, truth[name], rtol=0, atol=0, equal_nan=True)
        columns = np.flatnonzero(~(same.all(axis=0) if name == "mask_rej" else same))
        p = columns[0]
        yield (
            f"{name} differs in {columns.size} of {cube.shape[1]} columns: "
            f"{cube.dtype.str} {asked[:2]} {what}\n"
            f"  column {p}: {cube[:, p].tolist()}\n"
            f"  {values[..., p].tolist()} for {truth[name][..., p].tolist()}"
        )


def check(found):
    """Count a case; fail if there are any differences."""
    COUNTS["mismatches"] += bool(found)
    assert not found, f"{len(found)} products differ\n" + "\n".join(found[:8])


@pytest.mark.parametrize(("dtype", "n_frames", "family", "spoiled"), STACKS)
def test_double_precision(dtype, n_frames, family, spoiled):
    cube, masks = make_stack(dtype, n_frames, family, spoiled, PIXELS)
    stacks = list(orders(cube))
    found, n_rejected = [], 0
    for options in clips(n_frames):
        truth = reference(cube, masks, options)
        n_rejected += truth["n_rejected_low"].sum() + truth["n_rejected_high"].sum()
        COUNTS["cases"] += 1
        COUNTS["columns"] += PIXELS
        for stack, asked in product(stacks, ASKED):
            if stack is cube or asked[2] is EVERYTHING:
                got = run(stack, masks, options, *asked)
                found += differences(got, truth, asked, stack, options)
    assert n_rejected
    check(found)


def move_to_bound(x, center, spread, factor):
    """Move the samples of the last frame to the upper bound of their columns."""
    inside = median(x)
    outside = inside + 100.0 * std(x, inside)
    for _ in range(60):
        x[-1] = (inside + outside) / 2
        c, s = center_and_spread(x, center, spread)
        beyond = x[-1] > c + factor * s
        inside = np.where(beyond, inside, x[-1])
        outside = np.where(beyond, x[-1], outside)


@pytest.mark.parametrize("make", [sky, scaled(1.0)], ids=["sky", "noise"])
@pytest.mark.parametrize("n_frames", [12, 31, 50])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_samples_at_the_bound(dtype, n_frames, make):
    rng = np.random.default_rng(n_frames)
    noise = make(rng, (n_frames, PIXELS // 2))
    found = []
    for center, spread in product(CENTER, ("std", "mad")):
        x = noise.copy()
        move_to_bound(x, center, spread, 2.5)
        x[-1] += np.spacing(x[-1]) * rng.integers(-3, 4, x.shape[1])
        cube = x.astype(dtype)
        limits = {"low": 9.0, "high": 2.5, "maxiters": 5}
        options = limits | {"center": center, "spread": spread}
        truth = reference(cube, None, options)
        COUNTS["cases"] += 1
        COUNTS["columns"] += cube.shape[1]
        # Rounding decides, now in this way and now in that.
        assert 0.1 < truth["mask_rej"][-1].mean() < 0.9
        for stack, asked in product(orders(cube), ASKED[:3]):
            got = run(stack, None, options, *asked)
            found += differences(got, truth, asked, stack, options)
    check(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_that_of_the_oracle(family):
    cube, masks = make_stack("f8", 12, family, True, 40)
    for options, asked in product(clips(12), ASKED):
        statistic, uncertainty, names = asked
        steps = (("sigclip", options),)
        plan = oracle.Plan(statistic, steps, uncertainty=uncertainty)
        slow = oracle.combine(cube, plan, masks=masks)
        slow = {name: slow[name] for name in names}
        truth = reference(cube, masks, options)
        check(list(differences(slow, truth, asked, cube, options)))


# ------------------------------------------------------------------------ SIMD


def digests(n_pixels):
    """A hash of all products of every stack, by name of the stack."""
    found = {}
    for parameters in STACKS:
        cube, masks = make_stack(*parameters.values, n_pixels)
        digest = hashlib.sha256()
        for stack, options, asked in product(orders(cube), clips(len(cube)), ASKED):
            if asked[2] is EVERYTHING:
                for values in run(stack, masks, options, *asked).values():
                    digest.update(values.tobytes())
        found[parameters.id] = digest.hexdigest()
    return {"level": planes.simd_level(), "digests": found}


def digests_at(level):
    """`digests` in another process, forced to that SIMD level."""
    here = {"PYTHONPATH": os.pathsep.join(sys.path), "IMCOMBINERS_SIMD": level}
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["level"] == level
    return answer["digests"]


@pytest.fixture(scope="module")
def at_base():
    return digests_at("base")


@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_any_simd_level(level, at_base):
    if level not in planes.simd_levels():
        pytest.skip(f"this processor has no {level}")
    found = digests_at(level)
    differ = [stack for stack, digest in at_base.items() if found[stack] != digest]
    assert not differ, f"{len(differ)} of {len(at_base)} stacks differ: {differ[:5]}"


if __name__ == "__main__":
    print(json.dumps(digests(387)))
