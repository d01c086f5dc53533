# Licensed under a 3-clause BSD style license - see LICENSE
"""
Code as the performance guide of imcombiners shows it, with only the import changed.

The routes must agree, and so must prepared data.
"""

import numpy as np
import pytest

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck


def prepare_workspace(stack):
    dtype = np.float64 if stack.dtype == np.dtype(np.int32) else np.float32
    return np.ascontiguousarray(stack, dtype=dtype)


def make_stack(depth, dtype="uint16"):
    rng = np.random.default_rng(20250311)
    stack = np.clip(
        rng.normal(1000.0, 30.0, size=(depth, 128, 96)), 0, np.iinfo(np.uint16).max
    ).astype(dtype)
    stack[0, ::16, ::16] += 800
    return stack


@pytest.fixture(params=[5, 31])
def stack(request):
    return make_stack(request.param)


KW = {
    "combine": "median",
    "reject": "sigclip",
    "sigma": (3.0, 3.0),
    "maxiters": 5,
    "ddof": 0,
}
CLIP = imc.SigClip(sigma=(3.0, 3.0), maxiters=5, ddof=0)


def test_public_routes(stack):
    results = {
        "SC-None": imc.Combiner(stack).combine(
            "median", rejectors=CLIP, diagnostics=None
        ),
        "nd-None": imc.ndcombine(stack, **KW, diagnostics=None),
        "CC": imc.Combiner(stack).reject(CLIP).combine("median"),
        "nd-simple": imc.ndcombine(stack, **KW, diagnostics="simple")[0],
    }
    for result in results.values():
        assert result.dtype == np.float32
        np.testing.assert_allclose(results["SC-None"], result, rtol=1e-5)
        np.testing.assert_array_equal(results["SC-None"], result)


def test_prepared_data(stack):
    prepared = prepare_workspace(stack)
    chained = imc.Combiner(stack).reject(CLIP).combine("median")
    chained_prepared = imc.Combiner(prepared, validate=False).reject(CLIP)
    np.testing.assert_allclose(chained, chained_prepared.combine("median"), rtol=1e-5)
    output_only = imc.Combiner(stack).combine("median", rejectors=CLIP)
    output_only_prepared = imc.Combiner(prepared, copy=False, validate=False).combine(
        "median", rejectors=CLIP, diagnostics=None
    )
    np.testing.assert_allclose(output_only, output_only_prepared, rtol=1e-5)
    np.testing.assert_allclose(output_only, output_only_prepared, atol=1e-5)
    kernel = imck.sigclip_combine(prepared, combine="median", validate=False)
    np.testing.assert_array_equal(output_only, kernel)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("method", ["mean", "median"])
@pytest.mark.parametrize("masked", [False, True])
def test_benchmarked_operations(dtype, method, masked):
    stack = (make_stack(5) / (8 if dtype == "uint8" else 1)).astype(dtype)
    rng = np.random.default_rng(77 + 5)
    mask = rng.random(stack.shape) < 0.02 if masked else None
    clip = imc.SigClip(
        sigma=3.0, maxiters=5, ddof=0, nkeep=0, cenfunc="median", clip_cen="mean"
    )
    standard = imc.Combiner(stack, mask=mask).combine(
        method, rejectors=clip, diagnostics=None
    )
    chained = imc.Combiner(stack, mask=mask).reject(clip).combine(method)
    prepared = imck.sigclip_combine(
        prepare_workspace(stack),
        mask=mask,
        combine=method,
        nkeep=0,
        clip_cen="mean",
        validate=False,
    )
    np.testing.assert_array_equal(standard, chained)
    np.testing.assert_array_equal(standard, prepared)


def test_thread_functions():
    stack = make_stack(5)
    expected = imc.ndcombine(stack, **KW)
    threads, threshold = imc.get_rayon_num_threads(), imc.get_parallel_threshold()
    try:
        for number in (1, 2, 3):
            imc.set_rayon_num_threads(number)
            assert imc.get_rayon_num_threads() == number
            for pixels in (1, 10**9):
                imc.set_parallel_threshold(pixels)
                assert imc.get_parallel_threshold() == pixels
                assert imck.get_parallel_threshold() == pixels
                np.testing.assert_array_equal(imc.ndcombine(stack, **KW), expected)
    finally:
        imc.set_rayon_num_threads(threads)
        imc.set_parallel_threshold(threshold)


def test_minmax_1d_threshold():
    values = np.random.default_rng(1).normal(size=1000)
    values[[3, 990]] = -9, 9
    before = imc.get_minmax_1d_parallel_threshold()
    try:
        for threshold in (1, 65, 10**9):
            imc.set_minmax_1d_parallel_threshold(threshold)
            assert imck.get_minmax_1d_parallel_threshold() == threshold
            assert (imck.min_1d(values), imck.max_1d(values)) == (-9, 9)
            assert imck.min_1d(values[:70]) == values[:70].min()
            assert imck.max_1d(values[:3]) == values[:3].max()
    finally:
        imc.set_minmax_1d_parallel_threshold(before)
