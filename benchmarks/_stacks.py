# Licensed under a 3-clause BSD style license - see LICENSE
"""The stacks that are combined, and the calls that combine them."""

from functools import partial

import numpy as np

from imcombiners_astro.planes import FitsScaling, Plan, combine_planes
from imcombiners_astro.rejectors import (
    CcdClip,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)

LEVEL, NOISE, OUTLIERS, HEIGHT = 1000, 30, 1e-3, 5000

# Images this wide: the distance of two planes is a multiple of 4 KiB, as for most
# detectors, which is what caches like least.
WIDTH = 1024

# "fits" are the raw values of a FITS file: big-endian, unsigned integers as signed ones
# with BZERO = 32768.
DTYPES = {
    "f32": np.dtype("f4"),
    "u16": np.dtype("u2"),
    "u16 fits": np.dtype(">i2"),
    "f64": np.dtype("f8"),
    "i16": np.dtype("i2"),
    "i16 fits": np.dtype(">i2"),
    "f32 fits": np.dtype(">f4"),
}

# Rejector, if any, and what becomes of the rest.
OPERATIONS = {
    "mean": (None, "mean"),
    "median": (None, "median"),
    "sigclip median/std": (SigClip(3), "median"),
    "sigclip mean/std": (SigClip(3, cenfunc="mean"), "mean"),
    "sigclip median/mad": (SigClip(3, stdfunc="mad"), "median"),
    "minmax": (MinMaxClip(1, 1), "mean"),
    "pclip": (PClip(-0.5, 3), "mean"),
    "ccdclip": (CcdClip(3, gain=1.0, rdnoise=5.0), "mean"),
    "linearclip": (LinearClip(low=3 * NOISE, upp=3 * NOISE), "mean"),
}

# Arrays that a rejection writes besides the image; one is as deep as the stack.
SIMPLE = {
    "std": np.float32,
    "low": np.float32,
    "upp": np.float32,
    "nit": np.uint8,
    "output_flags": np.uint8,
}
PRODUCTS = {
    "none": ({}, ()),
    "simple": (SIMPLE, ("mask_rej",)),
    "full": (SIMPLE, ("mask_rej", "sample_flags")),
}


def shape_of(n_pixels):
    """Return the shape of an image of about so many pixels."""
    if n_pixels <= WIDTH:
        return 1, n_pixels
    return max(1, n_pixels // WIDTH), WIDTH


def make_stack(n, n_pixels, dtype="f32", seed=20260601):
    """
    Make a stack of ``n`` images of about ``n_pixels`` pixels.

    Normal samples with some outliers. To be quick, up to 8 images are drawn and the
    others are these, each moved by another distance: the samples of a pixel are
    independent, those of different pixels not quite.
    """
    rng = np.random.default_rng(seed)
    shape = shape_of(n_pixels)
    n_pixels = shape[0] * shape[1]
    drawn = rng.standard_normal((min(n, 8), n_pixels), dtype=np.float32)
    drawn *= NOISE
    drawn += LEVEL
    drawn[rng.random(drawn.shape, dtype=np.float32) < OUTLIERS] += HEIGHT
    if np.dtype(DTYPES[dtype]).kind != "f":
        np.rint(drawn, out=drawn)
    n_turns = -(-n // len(drawn))
    if n_turns > n_pixels:
        raise ValueError(f"{n} images of {n_pixels} pixels: too few pixels")
    stack = np.empty((n, n_pixels), DTYPES[dtype])
    for k, plane in enumerate(stack):
        source = drawn[k % len(drawn)]
        moved = k // len(drawn) * (n_pixels // n_turns)
        if dtype == "u16 fits":
            source = source - 2**15
        plane[moved:] = source[: n_pixels - moved]
        plane[:moved] = source[n_pixels - moved :]
    return stack.reshape(n, *shape)


def is_double(dtype):
    """Whether the samples are worked on in double precision."""
    return DTYPES[dtype].itemsize == 8


def plan_of(operation, n, dtype="f32"):
    """Return the plan of an operation on columns of ``n`` samples."""
    rejector, statistic = OPERATIONS[operation]
    steps = () if rejector is None else (rejector.step(n),)
    return Plan(statistic, steps, "f8" if is_double(dtype) else "f4")


def bind(stack, dtype, operation, n_threads, diagnostics="none", masks=None):
    """
    Return a function without arguments that combines the stack.

    What it writes to is made, and written, once for all: a prepared workspace.
    """
    real = np.float64 if is_double(dtype) else np.float32
    images, cubes = PRODUCTS[diagnostics]
    images = {"image": real} | {
        name: real if kind is np.float32 else kind for name, kind in images.items()
    }
    outputs = {name: np.zeros(stack.shape[1:], kind) for name, kind in images.items()}
    for name in cubes:
        kind = bool if name.startswith("mask") else np.uint8
        outputs[name] = np.zeros(stack.shape, kind)
    for array in outputs.values():
        array.fill(1)
    fits = [FitsScaling(unsigned=True)] * len(stack) if dtype == "u16 fits" else None
    return partial(
        combine_planes,
        stack,
        plan_of(operation, len(stack), dtype),
        outputs,
        masks=masks,
        fits=fits,
        n_threads=n_threads,
    )
