# Licensed under a 3-clause BSD style license - see LICENSE
"""All ways to the same result give the same bits; where the oracle can, it agrees."""

from dataclasses import fields

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

REJECTORS = {
    "sigclip": imc.SigClip(sigma=(2, 1.5)),
    "sigclip mean": imc.SigClip(sigma=2, cenfunc="mean", ddof=1, maxiters=2, nkeep=0),
    "sigclip mad": imc.SigClip(sigma=3, clip_cen="lmedian", stdfunc="mad", maxrej=2),
    "sigclip closest": imc.SigClip(sigma=1, nkeep=4, revert_on_nkeep="closest"),
    "sigclip strict": imc.SigClip(sigma=1, nkeep=4, revert_on_nkeep=False),
    "ccdclip": imc.CcdClip(sigma=2, rdnoise=5, gain=2, snoise=0.01),
    "ccdclip frames": imc.CcdClip(
        sigma=2, rdnoise=(5, 4, 3, 5, 4, 3, 2), gain=2, clip_cen="mean"
    ),
    "linearclip": imc.LinearClip(low=12, upp=10, maxiters=3),
    "minmax": imc.MinMaxClip(1, 0.2),
    "pclip": imc.PClip(0.25, sigma=(2, 1.5)),
    "avsigclip": imc.AvSigClip(sigma=2),
    "crreject": imc.CrReject(sigma=2, rdnoise=5, gain=2),
}
METHODS = ("mean", "median", "lmedian", "sum", "min", "max", "variance", "std")
KERNEL_OF = {
    imc.SigClip: "sigclip",
    imc.CcdClip: "ccdclip",
    imc.LinearClip: "linearclip",
    imc.MinMaxClip: "minmax",
    imc.PClip: "pclip",
    imc.AvSigClip: "avsigclip",
    imc.CrReject: "crreject",
}


def make_stack(dtype="f4", shape=(7, 6, 11), bad=True):
    rng = np.random.default_rng(5)
    stack = rng.normal(100, 10, shape)
    stack[rng.random(shape) < 0.05] += 80
    stack[:, 0, 0] = np.round(stack[:, 0, 0], -1)  # ties
    if np.dtype(dtype).kind == "f" and bad:
        stack[rng.random(shape) < 0.05] = np.nan
        stack[rng.random(shape) < 0.02] = np.inf
        stack[:, -1, -1] = np.nan
    return np.clip(stack, 0, 250).astype(dtype)


def make_mask(shape=(7, 6, 11)):
    rng = np.random.default_rng(6)
    mask = rng.random(shape) < 0.1
    mask[:, 1, 1] = True
    return mask


def options_of(rejector, but=("grow",)):
    options = {field.name: getattr(rejector, field.name) for field in fields(rejector)}
    return {name: option for name, option in options.items() if name not in but}


def kernel_options(rejector):
    but = ("grow", "sigscale") + (("ddof",) if type(rejector) is imc.CcdClip else ())
    return options_of(rejector, but)


CONDITIONS = {
    "plain": {},
    "mask": {"mask": True},
    "thresholds": {"thresholds": (85, 140)},
    "zero, scale": {"zero": "median", "scale": [1, 1.3, 1, 0.8, 1, 1, 1]},
    "all": {
        "mask": True,
        "thresholds": (80, 160),
        "zero": [0, 5, -5, 1, 2, 3, 4],
        "scale": "mean",
    },
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", REJECTORS)
def test_fused_chained_and_diagnostics(name, condition):
    rejector, stack = REJECTORS[name], make_stack()
    options = dict(CONDITIONS[condition])
    mask = make_mask() if options.pop("mask", False) else None
    combiner = imc.Combiner(stack, mask)
    chain = imc.Combiner(stack, mask)
    if "thresholds" in options:
        chain.threshold(*options["thresholds"])
    if "zero" in options:
        chain.zero_scale(options["zero"], options["scale"])
    chain.reject(rejector, diagnostics="full")
    for method in METHODS:
        fused = combiner.combine(method, rejectors=rejector, **options)
        assert fused.dtype == np.float32
        assert_array_equal(fused, chain.combine(method), err_msg=method)
    image = combiner.combine(
        "median", rejectors=rejector, diagnostics="full", **options
    )
    assert_array_equal(image, chain.combine("median"))
    for one, other in zip(combiner.last_reject, chain.last_reject, strict=True):
        assert_array_equal(one, other)
    assert_array_equal(combiner.sample_flags, chain.sample_flags)
    assert combiner.mask is None or not (combiner.mask != mask).any()


@pytest.mark.parametrize("grow", [None, 1.5])
@pytest.mark.parametrize("name", REJECTORS)
def test_kernels(name, grow):
    rejector, stack, mask = REJECTORS[name], make_stack(), make_mask()
    kernel = KERNEL_OF[type(rejector)]
    options = kernel_options(rejector) | {"grow": grow}
    chain = imc.Combiner(stack, mask).reject(rejector, grow=grow)
    products = getattr(imck, kernel)(stack, mask=mask, **options)
    assert [None if p is None else p.dtype for p in products] == [
        np.dtype(bool),
        np.dtype("f4") if rejector.has_std else None,
        *[np.dtype("f4")] * 2,
        *[np.dtype("u1")] * 2,
    ]
    for one, other in zip(products, chain.last_reject, strict=True):
        assert_array_equal(one, other)
    mask_rej = getattr(imck, f"{kernel}_mask")(stack, mask=mask, **options)
    assert_array_equal(mask_rej, products[0])
    for method in METHODS:
        extra = {"combine": method} | ({"ddof": 0} if "ddof" not in options else {})
        image = getattr(imck, f"{kernel}_combine")(stack, mask=mask, **options, **extra)
        if options.get("ddof", 0) == 0 or method not in ("variance", "std"):
            assert_array_equal(image, chain.combine(method), err_msg=method)


@pytest.mark.parametrize("reject", ["sigclip", "ccdclip", "minmax", "pclip"])
@pytest.mark.parametrize("grow", [None, 1])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_ndcombine(reject, grow, condition):
    stack = make_stack()
    options = dict(CONDITIONS[condition])
    if options.pop("mask", False):
        options["mask"] = make_mask()
    clip = {"sigma": 2, "maxiters": 3, "rdnoise": 4, "gain": 2, "pclip": 0.25}
    for method in ("mean", "median", "sum"):
        arguments = {
            "combine": method,
            "reject": reject,
            "grow": grow,
            **clip,
            **options,
        }
        image = imc.ndcombine(stack, **arguments)
        simple = imc.ndcombine(stack, diagnostics="simple", **arguments)
        legacy = imc.ndcombine(stack, full=True, **arguments)
        full = imc.ndcombine(stack, diagnostics="full", **arguments)
        assert (len(simple), len(legacy), len(full)) == (8, 8, 9)
        for one, two, three in zip(simple, legacy, full, strict=False):
            assert_array_equal(one, two)
            assert_array_equal(one, three)
        assert_array_equal(image, simple[0])
        unused = full[8] & ~np.uint8(imc.SampleFlags(64 | 128)) != 0
        assert_array_equal(full[1], unused)
        if "thresholds" in options:
            assert_array_equal(full[2], (full[8] & 4) != 0)
        else:
            assert full[2] is None


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">i2", "i4", "f4", ">f4", "f8"])
@pytest.mark.parametrize("name", REJECTORS)
def test_types_and_axes(name, dtype):
    """A stack of any type is as good as its floats, of any shape as a cube."""
    rejector = REJECTORS[name]
    stack = make_stack(dtype)
    work = np.float32 if np.dtype(dtype).itemsize < 4 or dtype[-2:] == "f4" else float
    for method in ("mean", "median"):
        image = imc.Combiner(stack).combine(method, rejectors=rejector)
        assert image.dtype == work
        again = imc.Combiner(stack.astype(work)).combine(method, rejectors=rejector)
        assert_array_equal(image, again)
        if name == "avsigclip":
            continue  # goes by rows
        for shape in ((7, 66), (7, 3, 2, 11), (7, 1, 2, 3, 11)):
            other = imc.Combiner(stack.reshape(shape))
            flat = other.combine(method, rejectors=rejector)
            assert flat.shape == shape[1:]
            assert_array_equal(flat.ravel(), image.ravel())
            chain = other.reject(rejector)
            assert chain.mask_rej.shape == shape
            assert_array_equal(chain.combine(method), flat)


@pytest.mark.parametrize("work", ["f4", "f8"])
@pytest.mark.parametrize("name", REJECTORS)
def test_columns(name, work):
    rejector = REJECTORS[name]
    kernel = KERNEL_OF[type(rejector)]
    if kernel == "avsigclip":
        pytest.skip("goes by rows, not by columns")
    stack, mask = make_stack(work), make_mask()
    options = kernel_options(rejector)
    products = rejector.apply(stack, mask)
    image = imc.Combiner(stack, mask).combine("median", rejectors=rejector)
    for y, x in np.ndindex(stack.shape[1:]):
        column, hidden = stack[:, y, x], mask[:, y, x]
        found = getattr(imck, f"{kernel}_1d")(column, mask=hidden, **options)
        assert_array_equal(found[0], products[0][:, y, x])
        for one, cube in zip(found[1:], products[1:], strict=True):
            if cube is None:
                assert one is None
            else:
                assert one.dtype == cube.dtype
                assert_array_equal(one, cube[y, x])
        rejected = getattr(imck, f"{kernel}_mask_1d")(column, mask=hidden, **options)
        assert_array_equal(rejected, found[0])
        value = getattr(imck, f"{kernel}_combine_1d")(
            column, mask=hidden, combine="median", **options
        )
        assert type(value) is float
        assert_array_equal(value, image[y, x])


def test_several_rejectors():
    stack, mask = make_stack(), make_mask()
    several = [imc.MinMaxClip(0, 1), imc.SigClip(sigma=1.5), imc.SigClip(sigma=1.2)]
    chain = imc.Combiner(stack, mask)
    for rejector in several:
        chain.reject(rejector, diagnostics="full")
    assert len(chain.reject_history) == 3
    standard = imc.Combiner(stack, mask)
    for method in METHODS:
        fused = standard.combine(method, rejectors=several)
        assert_array_equal(fused, chain.combine(method))
        diagnosed = standard.combine(method, rejectors=several, diagnostics="full")
        assert_array_equal(diagnosed, fused)
    for one, other in zip(standard.last_reject, chain.last_reject, strict=True):
        assert_array_equal(one, other)
    assert_array_equal(standard.sample_flags, chain.sample_flags)
    grown = [imc.MinMaxClip(0, 1), imc.SigClip(sigma=1.5, grow=1), several[2]]
    chain = imc.Combiner(stack, mask)
    for rejector in grown:
        chain.reject(rejector)
    fused = imc.Combiner(stack, mask).combine("mean", rejectors=grown)
    assert_array_equal(fused, chain.combine("mean"))


def test_a_rejector_of_your_own_among_others():
    class Above(imc.Rejector):
        def apply(self, arr, mask=None, *, validate=True):
            nothing = np.zeros(arr.shape[1:], np.uint8)
            return arr > 120, None, nothing, nothing, nothing, nothing

    stack, mask = make_stack(), make_mask()
    several = [imc.SigClip(sigma=2), Above(), imc.MinMaxClip(1, 0)]
    ours = [imc.SigClip(sigma=2), imc.LinearClip(0, 0, 0, 120), imc.MinMaxClip(1, 0)]
    found = imc.Combiner(stack, mask).combine("mean", rejectors=several)
    expected = imc.Combiner(stack, mask).combine("mean", rejectors=ours)
    assert_array_equal(found, expected)
    chain = imc.Combiner(stack, mask).reject(Above(), diagnostics="full", grow=1)
    rejected = (chain.sample_flags & imc.SampleFlags.ALGORITHM) != 0
    usable = ~mask & np.isfinite(stack)
    assert_array_equal(rejected, (stack > 120) & usable)
    grown = imc.grow_mask(rejected, 1) & ~rejected & usable
    assert_array_equal((chain.sample_flags & imc.SampleFlags.GROW) != 0, grown)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", REJECTORS)
def test_weights(name, per_sample):
    rejector, stack, mask = REJECTORS[name], make_stack(), make_mask()
    rng = np.random.default_rng(8)
    weight = rng.random(stack.shape if per_sample else len(stack))
    fused = imc.Combiner(stack, mask).combine("mean", weight=weight, rejectors=rejector)
    chain = imc.Combiner(stack, mask).reject(rejector)
    assert_array_equal(fused, chain.combine("avg", weight=weight))
    use = ~chain.mask.reshape(stack.shape) & np.isfinite(stack)
    broad = np.broadcast_to(
        weight.reshape(len(stack), *weight.shape[1:] or (1, 1)), stack.shape
    )
    with np.errstate(invalid="ignore"):
        expected = (np.where(use, stack, 0.0) * broad).sum(0) / (use * broad).sum(0)
    assert_allclose(fused, expected, rtol=3e-7)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("work", ["f4", "f8"])
@pytest.mark.parametrize("name", REJECTORS)
def test_oracle(name, work, condition):
    rejector, stack = REJECTORS[name], make_stack(work)
    options = dict(CONDITIONS[condition])
    mask = make_mask() if options.pop("mask", False) else None
    zero, scale = options.get("zero"), options.get("scale")
    thresholds = options.get("thresholds")
    if zero == "median" or scale == "mean":
        seen = np.where(np.isfinite(stack), stack, np.nan).astype("f8")
        if mask is not None:
            seen[mask] = np.nan
        if thresholds:
            seen[(seen < thresholds[0]) | (seen > thresholds[1])] = np.nan
    if zero == "median":
        zero = np.nanmedian(seen, axis=(1, 2))
    if scale == "mean":
        scale = np.array([np.mean(plane[np.isfinite(plane)]) for plane in seen])
    if zero is not None:
        zero, scale = np.array(zero) - zero[0], np.array(scale) / scale[0]
    counts = None if zero is None else (zero, scale)
    step = rejector.step(len(stack), counts)
    for method in METHODS:
        plan = oracle.Plan(method, (step,), work, thresholds)
        truth = oracle.combine(
            stack, plan, masks=mask, zero=zero, scale=scale, output_dtype=work
        )
        combiner = imc.Combiner(stack, mask)
        image = combiner.combine(
            method, rejectors=rejector, diagnostics="simple", **options
        )
        assert_array_equal(image, truth["image"], err_msg=method)
    expected = truth["mask_rej"]
    if not rejector.marks_masked:
        bad = (truth["sample_flags"] & 5) != 0
        expected = expected & ~bad
    assert_array_equal(combiner.mask_rej, expected)
    assert_array_equal(combiner.nit, truth["nit"])
    assert_array_equal(combiner.low, truth["low"])
    if rejector.has_std:
        assert_array_equal(combiner.std, truth["std"])
