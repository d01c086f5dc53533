# Licensed under a 3-clause BSD style license - see LICENSE
"""Known defects of the package whose interface this is: none of them is here."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

NAN = np.nan
ROUND = np.array([8, 9, 10, 11, 12, 100], "f4")


def column(values, dtype="f8"):
    return np.array(values, dtype)[:, np.newaxis]


def test_1_the_fused_route_knows_the_mad():
    clip = imc.SigClip(sigma=(10, 3), maxiters=1, nkeep=0, stdfunc="mad")
    stack = column(ROUND, "f4")
    assert imc.Combiner(stack).combine("mean", rejectors=clip) == [10]
    chain = imc.Combiner(stack).reject(clip, diagnostics="full")
    assert chain.combine("mean") == [10]
    several = [clip, imc.MinMaxClip(0, 0)]
    assert imc.Combiner(stack).combine("mean", rejectors=several) == [10]


def test_1_restored_flags_know_the_mad():
    # The standard deviation would have rejected nothing to restore.
    clip = imc.SigClip(sigma=(10, 3), maxiters=1, nkeep=6, stdfunc="mad")
    chain = imc.Combiner(column(ROUND)).reject(clip, diagnostics="full")
    assert_array_equal(chain.sample_flags[:, 0], [0, 0, 0, 0, 0, 64])


def test_2_every_ccdclip_knows_the_gain():
    values = np.array([100, 103, 97, 101, 125], "f8")
    options = {"sigma": 3, "rdnoise": 1.0, "gain": 4.0, "nkeep": 0}
    stack = values[:, np.newaxis]
    expected = [False, False, False, False, True]
    assert_array_equal(imck.ccdclip_mask_1d(values, **options), expected)
    assert_array_equal(imck.ccdclip_1d(values, **options)[0], expected)
    assert_array_equal(imck.ccdclip_mask(stack, **options)[:, 0], expected)
    assert_array_equal(imck.ccdclip(stack, **options)[0][:, 0], expected)
    assert not imck.ccdclip_mask_1d(values, **options | {"gain": 1.0}).any()


@pytest.mark.parametrize("offset", [0, 1e4, 1e8, 1e12])
def test_3_spread_about_the_mean_at_large_offsets(offset):
    values = np.array([-1.5, -1, -0.5, 0, 0.5, 1, 1.5, 30]) + offset
    rejected = imck.sigclip_mask_1d(values, sigma=2, nkeep=0, clip_cen="mean")
    assert_array_equal(rejected, [False] * 7 + [True])
    three = np.array([1e12, 1e12 + 2, 1e12 + 4])
    assert not imck.sigclip_mask_1d(three, nkeep=0, clip_cen="mean").any()


def test_4_the_gain_is_in_electrons_per_unit():
    rng = np.random.default_rng(4)
    gain, rdnoise = 2.0, 10.0
    electrons = rng.poisson(2000, (31, 5000)) + rng.normal(0, rdnoise, (31, 5000))
    stack = electrons / gain
    rejected = imck.ccdclip_mask(stack, gain=gain, rdnoise=rdnoise, nkeep=0)
    # Three sigmas of Gaussian noise are 0.27 %.
    assert 0.002 < rejected.mean() < 0.0045
    std = imck.ccdclip(stack, gain=gain, rdnoise=rdnoise)[1]
    assert_allclose(np.median(std), stack.std(), rtol=0.02)


@pytest.mark.parametrize(
    "rejector",
    [
        imc.SigClip(sigma=2, maxrej=1, maxiters=1),
        imc.CcdClip(sigma=2, maxrej=1),
        imc.LinearClip(low=5, upp=5, maxrej=1),
    ],
)
def test_5_maxrej_counts_what_the_step_rejects(rejector):
    stack = column([NAN, NAN, 10, 10.1, 10.2, 10.1, 10.15, 10.12, 10.11, 100])
    mask = np.zeros(stack.shape, bool)
    mask[2] = True
    products = rejector.apply(stack, mask)
    assert products[0][9, 0]
    assert products[5][0] & imc.OutputFlags.MAXREJ == 0


def test_6_only_rejected_samples_grow():
    stack = np.full((5, 9, 9), 10.0)
    stack[0, 1, 1] = NAN
    stack[0, 7, 7] = 900
    mask = np.zeros(stack.shape, bool)
    mask[0, 1, 7] = True
    clip = imc.SigClip(sigma=1.2, grow=1)
    chain = imc.Combiner(stack, mask).threshold(upp=1e4).reject(clip)
    grown = np.zeros((9, 9), bool)
    grown[[6, 8, 7, 7], [7, 7, 6, 8]] = True
    expected = grown.copy()
    expected[[1, 1, 7], [1, 7, 7]] = True
    assert_array_equal(chain.mask_rej[0], expected)
    flags = chain.output_flags & imc.OutputFlags.GROW
    assert_array_equal(flags != 0, grown)


def test_7_diagnostics_change_nothing():
    stack = np.array([[2.0, 4], [3, 6], [40, 9]])
    combiner = imc.Combiner(stack)
    options = {
        "zero": [1, 2, 3],
        "scale": [1, 2, 4],
        "rejectors": imc.MinMaxClip(0, 1),
        "thresholds": (0, 1000),
    }
    plain = combiner.combine("mean", **options)
    for level in ("simple", "full", "simple", None):
        assert_array_equal(
            combiner.combine("mean", diagnostics=level, **options), plain
        )
    assert combiner.mask is None
    assert_array_equal(combiner.arr.reshape(stack.shape), stack)
    assert combiner.mask_rej.sum() == 2


def test_8_weights_without_a_sum():
    stack = np.array([[1.0, NAN, 5], [2, 7, 6], [3, 8, NAN]], "f4")
    for route in (
        lambda: imc.nanaverage(stack, [1, 0, 0]),
        lambda: imc.Combiner(stack).combine("mean", weight=[1, 0, 0]),
        lambda: imc.ndcombine(stack, weight=[1, 0, 0]),
    ):
        image = route()
        assert image.dtype == np.float32
        assert_array_equal(image, [1, NAN, 5])
    assert_array_equal(imc.nanaverage(stack, [1, -1, 0])[:1], [NAN])


def test_9_an_empty_pixel():
    """The sum of nothing is 0 by decision, everything else NaN."""
    stack = np.full((3, 1), NAN)
    for method in ("mean", "median", "lmedian", "min", "max", "variance", "std"):
        assert_array_equal(imc.Combiner(stack).combine(method), [NAN])
    assert_array_equal(imc.Combiner(stack).combine("percentile", q=50), [NAN])
    assert_array_equal(imc.Combiner(stack).combine("sum"), [0])


def test_10_statistics_of_integer_frames_are_not_truncated():
    stack = np.array([[1, 2], [3, 4]], np.uint16)
    numbers = imc.resolve_zero_scale("zero", "mean", stack)
    assert numbers.dtype == np.float32
    assert_array_equal(numbers, [[1.5], [3.5]])


def test_10_callables_need_no_validation():
    stack = np.array([[1.0, 2], [3, 4]])
    image = imc.ndcombine(stack, zero=np.mean, zero_to_0th=False, validate=False)
    assert_array_equal(image, [-0.5, 0.5])
    numbers = imc.resolve_zero_scale("zero", np.mean, stack, validate=False)
    assert_array_equal(numbers, [[1.5], [3.5]])


@pytest.mark.parametrize("statistic", ["mean", "median", "min", "max", "sum", "med_sc"])
def test_10_statistics_know_no_infinity(statistic):
    stack = np.array([[1.0, 2, np.inf, NAN, -np.inf], [1.0, 2, NAN, NAN, NAN]])
    first, second = imc.resolve_zero_scale("zero", statistic, stack)
    assert first == second


def test_11_the_mad_has_no_ddof():
    stack = column(ROUND)
    stds = [imc.sigclip(stack, stdfunc="mad", ddof=ddof)[1] for ddof in (0, 1, 3)]
    assert_array_equal(stds[0], stds[1])
    assert_array_equal(stds[0], stds[2])


def test_12_any_layout_without_validation():
    rng = np.random.default_rng(12)
    plain = rng.normal(0, 1, (6, 5, 4))
    plain[2, 1, 1] = 50
    mask = rng.random(plain.shape) < 0.2
    expected = imck.sigclip_combine(plain, combine="median", mask=mask)
    layouts = [
        lambda array: np.asfortranarray(array),
        lambda array: np.repeat(array, 2, axis=2)[:, :, ::2],
        lambda array: np.ascontiguousarray(array[::-1])[::-1],
        lambda array: np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2),
    ]
    for of_stack in layouts:
        for of_mask in layouts:
            found = imck.sigclip_combine(
                of_stack(plain), combine="median", mask=of_mask(mask), validate=False
            )
            assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="mask"):
        imck.sigclip_mask(plain, mask=mask[:, :3], validate=False)
    flat = imc.Combiner(plain.reshape(6, 20), validate=False).combine("mean")
    assert_array_equal(flat, imc.Combiner(plain).combine("mean").ravel())


def test_13_a_linearclip_that_does_nothing_does_the_rest():
    values = [NAN, 10, 11, 12, 100]
    stack, mask = column(values), column([0, 0, 0, 0, 1], bool)
    mask_rej, std, low, upp, nit, flags = imc.linearclip(stack, mask=mask, grow=3)
    assert_array_equal(mask_rej[:, 0], [True, False, False, False, False])
    assert_array_equal(imck.linearclip_1d(values, mask=mask[:, 0])[0], mask_rej[:, 0])
    assert std is None
    assert np.isnan([low[0], upp[0]]).all()
    assert (nit[0], flags[0]) == (0, imc.OutputFlags.PREMASKED)
    with pytest.raises(ValueError, match="grow"):
        imc.linearclip(stack, grow=-1)
    with pytest.raises(ValueError, match="maxiters"):
        imc.LinearClip(maxiters=-1).apply(stack)


def test_14_maxiters_means_that_the_last_pass_rejected_something():
    """As documented; that nothing would follow is not known without another pass."""
    stack = column([*range(10), 1000])
    flags = [imc.sigclip(stack, sigma=2.5, maxiters=n)[5][0] for n in (1, 2, 3)]
    assert_array_equal(flags, [imc.OutputFlags.MAXITERS, 0, 0])


def test_15_nit_saturates():
    # The largest of what is left is sqrt(3/4 n) sigmas away, the next half as far.
    values = 2.0 ** np.arange(-450, 150)
    nit = imck.sigclip_1d(values, sigma=15, maxiters=None)[4]
    assert nit == 255


def test_16_pclip_does_not_overflow():
    values = np.array([-1e308, -0.9e308, 0.8e308, 0.9e308, 1e308, 1.1e308])
    image = imck.pclip_combine(values[:, None], combine="median", frac=0.5)
    assert np.isfinite(image).all()
