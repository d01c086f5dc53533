# Licensed under a 3-clause BSD style license - see LICENSE
"""The same bits whatever the threads, the calls, the layout and the SIMD level.

One pixel is one lane: nothing that is done to a column may depend on its
neighbours, on where in memory it lies or on which processor does it.
"""

import hashlib
import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import oracle
import pytest
from strategies import make_values

from imcombiners_astro import planes

CLIP = {"low": 2.0, "high": 2.5, "center": "median", "spread": "std", "maxiters": 5}
PLANS = {
    "mean": {},
    "median": {"statistic": "median", "uncertainty": "mad_error"},
    "lmedian": {"statistic": "lmedian"},
    "extremes": {"statistic": "max", "uncertainty": "std_sum"},
    "percentile": {"statistic": "percentile", "q": 15.866},
    "variance": {"statistic": "variance", "ddof": 1},
    "clip median std": {"statistic": "median", "steps": (("sigclip", CLIP),)},
    "clip median mad": {
        "uncertainty": "std_error",
        "steps": (("sigclip", CLIP | {"spread": "mad"}),),
    },
    "clip mean std": {"steps": (("sigclip", CLIP | {"center": "mean"}),)},
    "clip lmedian about mean": {
        "statistic": "std",
        "steps": (("sigclip", CLIP | {"center": "lmedian", "spread_center": "mean"}),),
    },
    "clip with limits": {
        "steps": (
            (
                "sigclip",
                CLIP
                | {"low": 0.7, "high": 0.9}
                | {"nkeep": 3, "maxrej": 5, "revert": "closest"},
            ),
        ),
    },
    "chain": {
        "statistic": "wmean",
        "thresholds": (-500.0, 5000.0),
        "steps": (
            ("extrema", {"low": 1, "high": 1, "rule": "fraction"}),
            ("range", {"low": -400.0, "high": 4000.0}),
            ("sigclip", CLIP | {"center": "mean", "spread": "mad"}),
        ),
    },
    "ccdproc": {
        "independent": True,
        "transform_after": True,
        "uncertainty": "std_error",
        "steps": (
            ("extrema", {"low": 1, "high": 2, "rule": "count"}),
            ("sigclip", CLIP | {"spread_center": "mean", "maxiters": 1}),
        ),
    },
}
PLANS |= {
    "propagated": {
        "statistic": "median",
        "uncertainty": "propagate",
        "steps": (("sigclip", CLIP),),
    },
    "noise model": {
        "uncertainty": "noise",
        "noise": (1.7, 5.0, 0.01),
        "steps": (("extrema", {"low": 1, "high": 1, "rule": "fraction"}),),
    },
    "inverse variances": {
        "statistic": "wmean",
        "uncertainty": "propagate",
        "ivar": True,
        "steps": (("sigclip", CLIP | {"center": "mean"}),),
    },
}
SMALL = ("u1", "i2", "u2", "f4")
#: Arguments that hold a number for every sample.
PER_SAMPLE = ("masks", "variances", "flags")


def make_job(dtype, n_frames, n_pixels, plan_name):
    """Pixels and arguments: all sorts of columns side by side in one stack."""
    rng = np.random.default_rng([n_frames, n_pixels, PLANS_SEED[plan_name]])
    kinds = ("noise", "outliers", "ties", "nearly constant", "signed zeros", "decades")
    width = n_pixels // len(kinds) + 1
    parts = [
        make_values(rng, kind, dtype, (n_frames, width), bad=0.03 if i % 2 else 0)
        for i, kind in enumerate(kinds)
    ]
    cube = np.concatenate(parts, axis=1)[:, :n_pixels]
    cube = np.ascontiguousarray(cube[:, rng.permutation(n_pixels)])
    arguments = {}
    if plan_name != "mean":
        arguments["masks"] = rng.random(cube.shape) < 0.03
    if plan_name in ("chain", "ccdproc"):
        arguments["zero"] = rng.normal(0, 3, n_frames)
        arguments["scale"] = rng.uniform(0.8, 1.2, n_frames)
        arguments["weights"] = rng.uniform(0.5, 2, n_frames)
    if plan_name in ("propagated", "noise model", "inverse variances"):
        arguments["zero"] = rng.normal(0, 3, n_frames)
        arguments["scale"] = rng.uniform(0.8, 1.2, n_frames)
        arguments["flags"] = rng.integers(0, 2**15, cube.shape, dtype="i2")
    if plan_name in ("propagated", "inverse variances"):
        variances = rng.uniform(0.5, 9, cube.shape)
        arguments["variances"] = variances.astype("f4" if n_frames % 2 else "f8")
    work = "f4" if dtype in SMALL and plan_name != "ccdproc" else "f8"
    return cube, {"work": work} | PLANS[plan_name], arguments


PLANS_SEED = {name: seed for seed, name in enumerate(PLANS)}


def run(cube, options, arguments, *, image_only=False, n_threads=None):
    """The outputs as one dictionary; a cube of any layout or a list of planes."""
    shape = np.shape(cube[0])
    outputs = {}
    for name, dtype in oracle.output_types("f8", dq="flags" in arguments).items():
        if name == "uncertainty" and not options.get("uncertainty"):
            continue
        if name == "image" or not image_only:
            full = (len(cube), *shape) if name in oracle.CUBES else shape
            outputs[name] = np.zeros(full, dtype)
    planes.combine_planes(
        cube, planes.Plan(**options), outputs, n_threads=n_threads, **arguments
    )
    return outputs


def assert_same_bits(got, expected):
    for name, values in got.items():
        if values.tobytes() != expected[name].tobytes():
            differ = np.argwhere(values.view("u1") != expected[name].view("u1"))
            raise AssertionError(f"{name} differs, first at byte {differ[0]}")


def jobs(stacks, n_pixels):
    for dtype, n_frames in stacks:
        for plan_name in PLANS:
            yield dtype, n_frames, n_pixels, plan_name


STACKS = [("f4", 31), ("u2", 9), ("f8", 16), ("f4", 70), ("i4", 5), ("u1", 40)]
each_job = pytest.mark.parametrize(
    ("dtype", "n_frames", "n_pixels", "plan_name"), list(jobs(STACKS, 1003))
)


@pytest.mark.parametrize("plan_name", PLANS)
@pytest.mark.parametrize(("dtype", "n_frames"), [("f4", 11), ("u2", 31), ("f8", 70)])
def test_any_number_of_threads(dtype, n_frames, plan_name):
    job = make_job(dtype, n_frames, 30011, plan_name)
    alone = run(*job, n_threads=1)
    for n_threads in (2, 5, None):
        assert_same_bits(run(*job, n_threads=n_threads), alone)


@each_job
def test_any_cut_into_calls(dtype, n_frames, n_pixels, plan_name):
    cube, options, arguments = make_job(dtype, n_frames, n_pixels, plan_name)
    whole = run(cube, options, arguments)
    rng = np.random.default_rng(n_frames)
    for step in (1, 7, 16, 33, 500, None):
        # Single pixels are slow to call for: the first 40 will do.
        stop = 40 if step == 1 else n_pixels
        cuts = np.arange(0, stop, step) if step else rng.integers(0, stop, 12)
        edges = sorted({0, stop, *cuts.tolist()})
        pieces = []
        for a, b in pairwise(edges):
            here = dict(arguments)
            for name in PER_SAMPLE:
                if name in here:
                    here[name] = here[name][:, a:b]
            pieces.append(run(cube[:, a:b], options, here))
        for name, values in whole.items():
            glued = np.concatenate([piece[name] for piece in pieces], axis=-1)
            assert glued.tobytes() == np.ascontiguousarray(values[..., :stop]).tobytes()


@each_job
def test_any_layout(dtype, n_frames, n_pixels, plan_name):
    cube, options, arguments = make_job(dtype, n_frames, n_pixels, plan_name)
    expected = run(cube, options, arguments)
    big_endian = cube.astype(cube.dtype.newbyteorder(">"))
    wide = np.zeros((n_frames, n_pixels + 3), cube.dtype)
    wide[:, 3:] = cube
    for pixels in (
        list(cube),
        [plane.copy() for plane in cube],
        big_endian,
        list(big_endian),
        wide[:, 3:],
        np.asfortranarray(cube),
        [big_endian[k] if k % 3 else cube[k] for k in range(n_frames)],
    ):
        assert_same_bits(run(pixels, options, arguments), expected)
    for name in PER_SAMPLE:
        if name not in arguments:
            continue
        values = arguments[name]
        swapped = values.astype(values.dtype.newbyteorder(">"))
        for same in (list(values), np.asfortranarray(values), swapped):
            assert_same_bits(run(cube, options, arguments | {name: same}), expected)


@each_job
def test_any_shape_of_the_planes(dtype, n_frames, n_pixels, plan_name):
    cube, options, arguments = make_job(dtype, n_frames, 990, plan_name)
    expected = run(cube, options, arguments)
    for shape in ((990, 1), (1, 990), (30, 33), (9, 10, 11)):
        full = (n_frames, *shape)
        here = dict(arguments)
        for name in PER_SAMPLE:
            if name in here:
                here[name] = here[name].reshape(full)
        assert_same_bits(run(cube.reshape(full), options, here), expected)


@each_job
def test_any_outputs_asked_for(dtype, n_frames, n_pixels, plan_name):
    job = make_job(dtype, n_frames, n_pixels, plan_name)
    assert_same_bits(run(*job, image_only=True), run(*job))


@each_job
def test_again_in_the_same_process(dtype, n_frames, n_pixels, plan_name):
    job = make_job(dtype, n_frames, n_pixels, plan_name)
    assert_same_bits(run(*job), run(*job))


# ------------------------------------------------------------------------ SIMD


def digests():
    """A hash of the outputs of many jobs, by name of the job."""
    stacks = [
        (dtype, n_frames)
        for dtype in ("f4", "u2", "i2", "u1", "f8", "i4")
        for n_frames in (1, 2, 3, 8, 9, 16, 31, 32, 33, 48, 64, 65, 70, 128)
    ]
    found = {}
    for job in jobs(stacks, 403):
        pixels, options, arguments = make_job(*job)
        for pixels_too in (pixels, pixels.astype(pixels.dtype.newbyteorder(">"))):
            for image_only in (True, False):
                outputs = run(pixels_too, options, arguments, image_only=image_only)
                digest = hashlib.sha256()
                for values in outputs.values():
                    digest.update(values.tobytes())
                key = f"{job} {pixels_too.dtype.byteorder} {image_only}"
                found[key] = digest.hexdigest()
    return {"level": planes.simd_level(), "digests": found}


def digests_at(level):
    """`digests` in another process, forced to that SIMD level."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("IMCOMBINERS_SIMD", None)
    if level:
        environment["IMCOMBINERS_SIMD"] = level
    done = subprocess.run(
        [sys.executable, __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def at_base():
    answer = digests_at("base")
    assert answer["level"] == "base"
    return answer["digests"]


@pytest.mark.parametrize("level", ["avx2", "avx512", None])
def test_any_simd_level(level, at_base):
    answer = digests_at(level)
    if level and answer["level"] != level:
        pytest.skip(f"this processor has no {level}, {answer['level']} was used")
    differ = [
        job for job, digest in at_base.items() if answer["digests"][job] != digest
    ]
    assert not differ, f"{len(differ)} of {len(at_base)} jobs differ: {differ[:5]}"


if __name__ == "__main__":
    print(json.dumps(digests()))
