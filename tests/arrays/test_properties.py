# Licensed under a 3-clause BSD style license - see LICENSE
"""
Random stacks with random options: every route gives the same bits.

The output-only call, the chain of steps, the diagnostics, the kernels of one operation,
the columns and the oracle are compared. ``IMCOMBINERS_CASES`` sets the number of cases.
"""

import os
from dataclasses import fields

import numpy as np
import oracle
import pytest
from against_oracle import TALLY, show_tally
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

CASES = int(os.environ.get("IMCOMBINERS_CASES", "1000"))
METHODS = ("mean", "median", "lmedian", "sum", "min", "max", "variance", "std")
DTYPES = ("u1", "i1", "u2", ">i2", "u4", "i4", "i8", "f4", ">f4", "f8", ">f8")
WIDE = ("u4", "i4")  # worked on in double precision, as what has 8 bytes
GROW = st.sampled_from([None, None, None, 0, 1, 1.5, 2])
SIGMA = st.one_of(
    st.floats(0, 4), st.tuples(st.floats(0, 4), st.floats(0, 4)).map(tuple)
)
CENTERS = st.sampled_from(["mean", "median", "lmedian"])
LIMITS = {
    "nkeep": st.integers(-3, 6),
    "maxrej": st.none() | st.integers(0, 4),
    "revert_on_nkeep": st.sampled_from([True, False, "closest"]),
    "grow": GROW,
}
MAXITERS = st.none() | st.integers(0, 6)
ITERATED = {
    "sigma": SIGMA,
    "maxiters": MAXITERS,
    "cenfunc": CENTERS,
    "clip_cen": st.none() | CENTERS,
    **LIMITS,
}
NOISE = {
    "rdnoise": st.floats(0, 9),
    "gain": st.floats(0.1, 4),
    "snoise": st.floats(0, 1),
}
REJECTORS = st.one_of(
    st.builds(
        imc.SigClip,
        **ITERATED,
        stdfunc=st.sampled_from(["std", "mad"]),
        ddof=st.integers(0, 2),
    ),
    st.builds(imc.CcdClip, **ITERATED, **NOISE),
    st.builds(imc.CrReject, **ITERATED | {"sigma": st.floats(0, 4)}, **NOISE),
    st.builds(
        imc.LinearClip,
        low_scale=st.floats(0, 1.5),
        low=st.floats(0, 30),
        upp_scale=st.floats(0.5, 2),
        upp=st.floats(0, 30),
        maxiters=MAXITERS,
        cenfunc=CENTERS,
        **LIMITS,
    ),
    st.just(imc.LinearClip(grow=1)),
    st.builds(
        imc.MinMaxClip,
        n_min=st.integers(0, 4) | st.floats(0, 1),
        n_max=st.integers(0, 4) | st.floats(0, 1),
        grow=GROW,
    ),
    st.builds(
        imc.PClip,
        frac=st.floats(-3, 3).filter(bool),
        sigma=SIGMA,
        nkeep=st.integers(0, 5),
        grow=GROW,
    ),
    st.builds(imc.AvSigClip, sigma=SIGMA, cenfunc=CENTERS, **LIMITS),
)
KERNEL_OF = {
    imc.SigClip: "sigclip",
    imc.CcdClip: "ccdclip",
    imc.LinearClip: "linearclip",
    imc.MinMaxClip: "minmax",
    imc.PClip: "pclip",
    imc.AvSigClip: "avsigclip",
    imc.CrReject: "crreject",
}


@st.composite
def stacks(draw):
    """Stack, mask and the options of a combination without its rejectors."""
    n_frames = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 9, 17, 31, 33]))
    shape = draw(st.sampled_from([(1,), (5,), (3, 4), (2, 19), (2, 3, 4)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stack = rng.normal(60, 8, (n_frames, *shape))
    stack[rng.random(stack.shape) < 0.1] += draw(st.sampled_from([0, 25, -40]))
    if draw(st.booleans()):
        stack = np.round(stack / 8) * 8  # ties
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "f":
        for value in draw(st.sets(st.sampled_from([np.nan, np.inf, -np.inf]))):
            stack[rng.random(stack.shape) < 0.1] = value
    stack = np.where(np.isfinite(stack), np.clip(stack, 0, 120), stack).astype(dtype)
    mask_shape = draw(st.sampled_from([None, stack.shape, shape]))
    mask = None if mask_shape is None else rng.random(mask_shape) < 0.2
    options = {}
    if draw(st.booleans()):
        options["thresholds"] = draw(st.sampled_from([(20, 80), (60, 61), (0, np.inf)]))
    if draw(st.booleans()):
        options["zero"] = rng.normal(0, 5, n_frames)
    if draw(st.booleans()):
        options["scale"] = rng.uniform(0.5, 2, n_frames)
    return stack, mask, options


def use(rejectors):
    return {"rejectors": rejectors} if rejectors else {}


def same(one, other):
    assert (one is None) is (other is None)
    if one is not None:
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    show_tally(request.config)


@settings(
    max_examples=CASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(stacks(), st.lists(REJECTORS, max_size=3), st.sampled_from(METHODS), st.data())
def test_every_route_gives_the_same_bits(case, rejectors, method, data):
    tally = TALLY["routes against routes and oracle"]
    tally["cases"] += 1
    tally["columns"] += int(np.prod(case[0].shape[1:]))
    try:
        compare_routes(case, rejectors, method, data)
    except AssertionError:
        tally["mismatches"] += 1
        raise


def compare_routes(case, rejectors, method, data):
    """The routes of the Combiner against each other and the oracle."""
    stack, mask, options = case
    weight = None
    if method == "mean" and data.draw(st.booleans()):
        weight = np.linspace(0.5, 2, len(stack))
    final = {"weight": weight}
    combiner = imc.Combiner(stack, mask)
    image = combiner.combine(method, **use(rejectors), **options, **final)

    same(image, truth(stack, mask, options, rejectors, method, weight, image.dtype))

    chain = imc.Combiner(stack, mask)
    if "thresholds" in options:
        chain.threshold(*options["thresholds"])
    numbers = {name: options[name] for name in ("zero", "scale") if name in options}
    if numbers:
        chain.zero_scale(**numbers)
        if data.draw(st.booleans()):
            assert chain.arr is not None  # which has it computed now
    for rejector in rejectors:
        chain.reject(rejector, diagnostics="full")
    same(image, chain.combine(method, **final))

    told = combiner.combine(
        method, diagnostics="full", **use(rejectors), **options, **final
    )
    same(image, told)
    same(combiner.mask_thresh, chain.mask_thresh)
    same(combiner.sample_flags, chain.sample_flags)
    for one, other in zip(
        combiner.last_reject or (), chain.last_reject or (), strict=True
    ):
        same(one, other)
    same(image, combiner.combine(method, **use(rejectors), **options, **final))
    if rejectors:
        check_products(chain, rejectors[-1])
    if len(rejectors) == 1 and not options:
        check_kernels(stack, mask, rejectors[0], combiner, image, method, weight)


def truth(stack, mask, options, rejectors, method, weight, dtype):
    """The image according to the oracle, growth included."""
    n_frames = len(stack)
    numbers = {k: options[k] for k in ("zero", "scale") if k in options}
    if n_frames > 1 and "zero" in numbers:
        numbers["zero"] = numbers["zero"] - numbers["zero"][0]
    if n_frames > 1 and "scale" in numbers:
        numbers["scale"] = numbers["scale"] / numbers["scale"][0]
    counts = None
    if numbers:
        zero, scale = np.zeros(n_frames), np.ones(n_frames)
        counts = numbers.get("zero", zero), numbers.get("scale", scale)
    work = "f8" if stack.dtype.itemsize == 8 or stack.dtype.str[1:] in WIDE else "f4"
    bad = np.zeros(stack.shape, bool) | (False if mask is None else mask)

    def run(statistic, steps, weights=None):
        plan = oracle.Plan(statistic, steps, work, options.get("thresholds"))
        return oracle.combine(
            stack, plan, masks=bad, weights=weights, output_dtype=dtype, **numbers
        )

    steps = ()
    for rejector in rejectors:
        step = rejector.step(n_frames, counts)
        steps += () if step is None else (step,)
        if rejector.grow:
            after, before = (
                run("mean", some)["sample_flags"] & oracle.ALGORITHM != 0
                for some in (steps, steps[:-1] if step else steps)
            )
            # Only what this rejector took grows.
            bad |= after | oracle.grow(after & ~before, rejector.grow)
            steps = ()
    statistic = "wmean" if weight is not None else method
    return run(statistic, steps, weight)["image"]


def check_products(chain, rejector):
    """The products of a rejection agree with each other."""
    mask_rej, _, low, upp, _, flags = chain.last_reject
    samples = chain.sample_flags
    unusable = (samples & (2 | 32)) != 0
    assert not (((samples & 8) != 0) & unusable).any()
    assert not (((samples & 16) != 0) & ((samples & (8 | 2 | 32)) != 0)).any()
    used = samples & ~np.uint8(64 | 128) == 0
    if rejector.marks_masked:
        assert_array_equal(mask_rej, ~used)
        left = ~(mask_rej & ((samples & 16) == 0))
        values = np.where(left, chain.arr.reshape(mask_rej.shape), np.nan)
        for product, function in [(low, np.fmin), (upp, np.fmax)]:
            assert_array_equal(product, function.reduce(values, axis=0))
    else:
        assert_array_equal(
            mask_rej, ((samples & (2 | 8 | 16)) != 0) & (samples & 32 == 0)
        )
    for bit, flag in [(16, 16), (64, 4), (128, 8)]:
        some = ((samples & bit) != 0).any(axis=0)
        assert not (some & ((flags & flag) == 0)).any()
    assert_array_equal((flags & 1) != 0, ((samples & 32) != 0).any(axis=0))


def check_kernels(stack, mask, rejector, combiner, image, method, weight):
    """The functions of one operation give what the Combiner gave."""
    kernel = KERNEL_OF[type(rejector)]
    options = {field.name: getattr(rejector, field.name) for field in fields(rejector)}
    options.pop("sigscale", None)
    ddof = options.get("ddof", 0)
    for one, other in zip(
        getattr(imck, kernel)(stack, mask=mask, **options),
        combiner.last_reject,
        strict=True,
    ):
        same(one, other)
    masked = getattr(imck, f"{kernel}_mask")(stack, mask=mask, **options)
    same(masked, combiner.mask_rej)
    if ddof == 0:
        combine = getattr(imck, f"{kernel}_combine")
        same(image, combine(stack, combine=method, mask=mask, weight=weight, **options))
    if options.pop("grow") or kernel == "avsigclip" or weight is not None:
        return
    place = (0,) * (stack.ndim - 1)
    column = stack[(slice(None), *place)]
    hidden = None if mask is None else np.broadcast_to(mask, stack.shape)
    hidden = None if hidden is None else hidden[(slice(None), *place)]
    found = getattr(imck, f"{kernel}_1d")(column, mask=hidden, **options)
    same(found[0], combiner.mask_rej[(slice(None), *place)])
    for one, product in zip(found[1:], combiner.last_reject[1:], strict=True):
        assert (one is None) is (product is None)
        if one is not None:
            assert_array_equal(one, product[place])
    if ddof == 0:
        combine = getattr(imck, f"{kernel}_combine_1d")
        value = combine(column, combine=method, mask=hidden, **options)
        assert_array_equal(value, image[place])
