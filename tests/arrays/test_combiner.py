# Licensed under a 3-clause BSD style license - see LICENSE
"""`Combiner`: its state, its steps, its products."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc

NAN = np.nan


def column(values, dtype="f8"):
    return np.array(values, dtype)[:, np.newaxis]


@pytest.fixture
def stack():
    rng = np.random.default_rng(20250311)
    stack = rng.normal(100, 5, (10, 8, 8)).astype("f4")
    stack[3] += 1000
    return stack


def test_repr(stack):
    mask = np.zeros(stack.shape, bool)
    mask[0, 0, :3] = True
    text = "Combiner(N=10, H=8, W=8, dtype=float32, n_masked=3)"
    assert repr(imc.Combiner(stack, mask)) == text
    text = "Combiner(N=10, shape=(2, 4, 8), dtype=float64, n_masked=0)"
    assert repr(imc.Combiner(stack.reshape(10, 2, 4, 8).astype("i4"))) == text


def test_pipeline_removes_an_outlying_frame(stack):
    image = imc.Combiner(stack).reject(imc.SigClip(2.5, 1)).combine("mean")
    assert_allclose(image, np.delete(stack, 3, axis=0).mean(axis=0), rtol=1e-6)


def test_names_and_defaults_of_rejectors():
    assert imc.SigClip() == imc.SigClip(
        (3.0, 3.0), 5, "median", None, "std", 0, 1, None, True, None
    )
    ccd = ((3.0, 3.0), 5, "median", None, 0, 1, None, True, 0.0, 1.0, 0.0, 1.0, 0.0)
    assert imc.CcdClip() == imc.CcdClip(*ccd, None)
    linear = (1.0, 0.0, 1.0, 0.0, 1, "median", 1, None, True, None)
    assert imc.LinearClip() == imc.LinearClip(*linear)
    assert imc.MinMaxClip() == imc.MinMaxClip(1, 1, None)
    assert imc.PClip() == imc.PClip(-0.5, 3.0, 1, None)
    for rejector in (imc.SigClip(), imc.CcdClip(), imc.LinearClip(), imc.PClip()):
        assert hash(rejector) == hash(type(rejector)())
        with pytest.raises(AttributeError):
            rejector.grow = 1
        with pytest.raises(TypeError):
            type(rejector)(restore_nkeep=True)


def test_flags():
    assert [flag.value for flag in imc.SampleFlags] == [2**k for k in range(8)]
    assert imc.SampleFlags(40) == imc.SampleFlags.ALGORITHM | imc.SampleFlags.PREVIOUS
    assert [flag.value for flag in imc.OutputFlags] == [1, 2, 4, 8, 16]


# ------------------------------------------------------------------- the state


def test_public_arrays_have_three_axes(stack):
    for shape in [(10, 64), (10, 2, 4, 8)]:
        combiner = imc.Combiner(stack.reshape(shape), np.zeros(shape, bool))
        assert combiner.arr.shape == combiner.mask.shape == (10, 64, 1)
        products = combiner.threshold(upp=500).reject(imc.SigClip()).last_reject
        assert products[0].shape == shape == combiner.mask_thresh.shape
        assert {product.shape for product in products[1:]} == {shape[1:]}
    flat = imc.Combiner(stack.reshape(10, 64), np.ones((10, 64, 1), bool))
    assert flat.n_rejected == stack.size


def test_copies(stack):
    kept = stack.copy()
    combiner = imc.Combiner(stack)
    stack[0] = 0
    assert_array_equal(combiner.arr, kept)
    combiner.arr[0] = 5
    assert (stack[0] == 0).all()
    shared = imc.Combiner(stack, copy=False)
    assert np.shares_memory(shared.arr, stack)
    shared.zero_scale(zero="mean").threshold(upp=0).reject(imc.SigClip())
    assert_array_equal(stack[1:], kept[1:])
    integers = stack.astype("u2")
    promoted = imc.Combiner(integers, copy=False)
    assert promoted.arr.dtype == np.float32
    assert not np.shares_memory(promoted.arr, integers)


def test_what_is_written_to_the_public_arrays_counts(stack):
    combiner = imc.Combiner(stack.astype("u2"))
    combiner.arr[3] = 100
    assert combiner.combine("max").max() < 200
    combiner.threshold(upp=99)
    before = combiner.mask.copy()
    combiner.mask |= combiner.arr < 98
    assert combiner.n_rejected > before.sum()
    combiner.mask = None
    assert combiner.n_rejected == 0


def test_writing_to_the_mask_does_not_write_to_products(stack):
    combiner = imc.Combiner(stack).reject(imc.MinMaxClip())
    before = combiner.mask_rej.copy()
    combiner.mask[:] = True
    assert_array_equal(combiner.mask_rej, before)
    assert combiner.n_rejected == stack.size


def test_a_mask_of_one_frame(stack):
    mask = np.zeros((8, 8), bool)
    mask[2, 3] = True
    cube = np.broadcast_to(mask, stack.shape)
    clip = imc.SigClip(grow=1)
    for options in ({}, {"rejectors": clip}, {"rejectors": clip, "full": True}):
        one, other = imc.Combiner(stack, mask), imc.Combiner(stack, cube)
        assert_array_equal(one.combine(**options), other.combine(**options))
        assert np.isnan(one.combine(**options)[2, 3])
        assert one.n_rejected == 10
        assert_array_equal(one.mask, cube)
    assert_array_equal(imc.ndcombine(stack, mask), imc.ndcombine(stack, cube))
    statistic = imc.Combiner(stack, mask).zero_scale("mean").combine()
    assert_array_equal(
        statistic, imc.Combiner(stack, cube).zero_scale("mean").combine()
    )
    masked = np.ma.array(stack, mask=cube)
    assert_array_equal(imc.ndcombine(masked), imc.ndcombine(stack, cube))
    assert_array_equal(
        imc.ndcombine(masked, validate=False), imc.ndcombine(stack, cube)
    )


def test_copy(stack):
    one = imc.Combiner(stack).threshold(upp=500).reject(imc.MinMaxClip())
    two = one.copy()
    two.threshold(upp=0).reject(imc.MinMaxClip())
    two.arr[...] = 0
    assert one.n_rejected < two.n_rejected
    assert len(one.reject_history) == 1
    assert not one.mask_thresh.all()
    assert one.arr.max() > 0
    assert two.copy().last_reject is two.last_reject


# ------------------------------------------------------------------- the steps


def test_products_are_those_of_the_tuple(stack):
    combiner = imc.Combiner(stack)
    names = ("mask_rej", "std", "low", "upp", "nit", "output_flags")
    assert [getattr(combiner, name) for name in names] == [None] * 6
    assert combiner.mask is combiner.mask_thresh is combiner.sample_flags is None
    combiner.reject(imc.SigClip())
    assert isinstance(combiner.last_reject, tuple)
    for name, product in zip(names, combiner.last_reject, strict=True):
        assert getattr(combiner, name) is product
    assert combiner.last_sample_flags is None
    combiner.reject(imc.MinMaxClip(), diagnostics="full")
    assert combiner.std is None
    assert combiner.sample_flags is combiner.last_sample_flags
    assert combiner.reject_history[-1] is combiner.last_reject
    combiner.reject(imc.MinMaxClip(), diagnostics=None)
    assert combiner.sample_flags is None


def test_flags_belong_to_the_latest_step():
    chain = imc.Combiner(column([1, 2, 100, 4, 5], "f4")).reject(imc.MinMaxClip(0, 1))
    chain.reject(imc.MinMaxClip(2, 0), diagnostics="full")
    assert_array_equal(chain.sample_flags[:, 0], [8, 0, 32, 0, 0])
    assert_array_equal(chain.output_flags, [1])


def test_thresholds_are_inclusive_and_know_no_nan():
    values = column([1, 2, 3, NAN, np.inf, -np.inf])
    combiner = imc.Combiner(values).threshold(1, 2)
    assert_array_equal(combiner.mask_thresh[:, 0], [0, 0, 1, 0, 1, 1])
    combiner.threshold(low=1.5)
    assert_array_equal(combiner.mask_thresh[:, 0], [1, 0, 1, 0, 1, 1])
    assert_array_equal(combiner.combine(), [2])


def test_thresholds_in_one_call(stack):
    combiner = imc.Combiner(stack)
    chain = imc.Combiner(stack).threshold(95, np.inf).threshold(upp=110)
    several = [(95, np.inf), (-np.inf, 110)]
    found = combiner.combine("mean", thresholds=several, diagnostics="simple")
    assert_array_equal(found, chain.combine("mean"))
    assert_array_equal(combiner.mask_thresh, chain.mask_thresh)
    assert_array_equal(combiner.combine("mean", thresholds=several), found)
    nothing = combiner.combine("mean", thresholds=[(0, 90), (95, 99)])
    assert np.isnan(nothing).all()


def test_zero_scale_before_thresholds_and_after(stack):
    one = imc.Combiner(stack).zero_scale(scale=2).threshold(upp=60).combine()
    two = imc.Combiner(stack).threshold(upp=120).zero_scale(scale=2).combine()
    three = imc.Combiner(stack).zero_scale(scale=2).combine(thresholds=(-np.inf, 60))
    four = imc.Combiner(stack).combine(thresholds=(-np.inf, 120), scale=2)
    for other in (two, three, four):
        assert_array_equal(one, other)
    twice = imc.Combiner(stack).zero_scale(zero=1).zero_scale(scale=2)
    assert_array_equal(twice.combine(), imc.Combiner((stack - 1) / 2).combine())
    assert_array_equal(twice.arr, (stack - 1) / 2)
    again = imc.Combiner(stack).zero_scale(zero=1).combine(scale=2)
    assert_array_equal(again, twice.combine())


def test_a_single_number_is_taken_as_it_is():
    stack = column([10, 13])
    assert_array_equal(imc.Combiner(stack).combine("min", zero=1, scale=3), [3])
    assert_array_equal(imc.Combiner(stack).combine("min", zero=[1, 4]), [10])
    options = {"zero": [1, 1], "scale": [3, 3]}
    relative = {"zero_to_0th": False, "scale_to_0th": False}
    found = imc.Combiner(stack).combine("min", **options, **relative)
    assert_array_equal(found, [3])


def test_variance(stack):
    combiner = imc.Combiner(stack)
    assert_allclose(combiner.variance(), stack.var(axis=0, ddof=1), rtol=1e-5)
    assert_allclose(combiner.variance(ddof=0), combiner.combine("var"))
    variance, mean = imc.Combiner(stack[:1]).variance(return_mean=True)
    assert np.isnan(variance).all()
    assert_array_equal(mean, stack[0])


def test_linearclip_leaves_the_mask_it_found():
    mask = column([1, 0, 0, 0, 0], bool)
    chain = imc.Combiner(column([5, 10, 11, 12, 30]), mask)
    chain.reject(imc.LinearClip(low=2, upp=2))
    assert_array_equal(chain.mask_rej[:, 0], [0, 0, 0, 0, 1])
    assert_array_equal(chain.mask[:, 0, 0], [1, 0, 0, 0, 1])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_integers(dtype):
    stack = np.array([[1, 5], [2, 7], [6, 9], [3, 8]], dtype)
    small = np.dtype(dtype).itemsize <= 2
    work = np.float32 if small else np.float64
    for order in ("<", ">"):
        stack = stack.astype(stack.dtype.newbyteorder(order))
        for method in ("mean", "median", "sum", "variance"):
            assert imc.ndcombine(stack, combine=method).dtype == np.float64
            assert imc.Combiner(stack).combine(method).dtype == work
            assert imc.ndcombine(stack, combine=method, zero=0).dtype == work
        for method in ("min", "max", "lmedian"):
            image = imc.ndcombine(stack, combine=method)
            exact = np.dtype(dtype).itemsize <= 4
            assert image.dtype == (np.dtype(dtype) if exact else np.float64)
            assert imc.Combiner(stack).combine(method).dtype == work
        assert_array_equal(imc.ndcombine(stack, combine="lmedian"), [2, 7])
        assert_array_equal(imc.ndcombine(stack, combine="median"), [2.5, 7.5])
    # Integers are exact where the workspace holds them.
    big = np.array([[2**24 + 1], [2**24 + 3]], "i4")
    assert imc.Combiner(big).combine("max")[0] == 2**24 + 3


def test_percentiles(stack):
    q = [0, 12.5, 50, 100]
    found = imc.Combiner(stack).combine("percentile", q=q)
    assert found.shape == (4, 8, 8)
    assert found.dtype == np.float32
    assert_allclose(found, np.percentile(stack, q, axis=0), rtol=1e-6)
    assert_array_equal(imc.kernels.percentiles(stack, q), found)
    assert_array_equal(imc.ndcombine(stack, combine="percentile", q=50), found[2])
    clip = imc.SigClip()
    clipped = imc.Combiner(stack).combine("percentile", q=q, rejectors=clip, full=True)
    chain = imc.Combiner(stack).reject(clip)
    assert_array_equal(clipped, chain.combine("percentile", q=q))
    assert imc.Combiner(stack).combine("percentile", q=[]).shape == (0, 8, 8)


def test_noise_of_scaled_frames():
    """The scales of a combination reach the noise model in every route."""
    rng = np.random.default_rng(3)
    scale = np.array([1, 2, 4, 1, 2, 4, 1.0])
    zero = np.array([0, 10, 20, 0, 10, 20, 0.0])
    stack = rng.poisson(100 * np.ones((7, 500)) * scale[:, None]) + zero[:, None]
    options = {"zero": zero, "scale": scale}
    clip = imc.CcdClip(sigma=2)
    fused = imc.Combiner(stack).combine("mean", rejectors=clip, **options)
    chain = imc.Combiner(stack).zero_scale(**options).reject(clip)
    assert_array_equal(fused, chain.combine("mean"))
    slow = imc.Combiner(stack).zero_scale(**options)
    assert slow.arr is not None
    assert_array_equal(slow.reject(clip).mask_rej, chain.mask_rej)
    explicit = imc.CcdClip(sigma=2, scales=tuple(scale), zeros=tuple(zero / scale))
    values = (stack - zero[:, None]) / scale[:, None]
    assert_array_equal(explicit.apply(values)[0], chain.mask_rej)
    without = imc.CcdClip(sigma=2, sigscale=4)
    equal = imc.Combiner(stack).zero_scale(**options).reject(without)
    assert (equal.mask_rej != chain.mask_rej).any()
    assert_array_equal(equal.mask_rej, clip.apply(values)[0])
    nd = imc.ndcombine(stack, reject="ccdclip", sigma=2, **options)
    assert_array_equal(nd, fused)
