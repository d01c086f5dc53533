# Licensed under a 3-clause BSD style license - see LICENSE
"""
Columns worked out by hand, with every product of the rejection.

Each is a vector of samples in frame order; a mask is written as a string of 0 and 1.
They go through all routes: stack and column, kernel and `Combiner`.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

NAN = np.nan
REJECTORS = {
    "sigclip": imc.SigClip,
    "ccdclip": imc.CcdClip,
    "linearclip": imc.LinearClip,
    "minmax": imc.MinMaxClip,
    "pclip": imc.PClip,
}


def bits(mask):
    return "".join(str(int(bit)) for bit in mask)


def column(values, dtype):
    return np.array(values, dtype)[:, np.newaxis]


def check(name, values, dtype="f4", mask=None, image=None, **expected):
    """
    Compare every route with the products expected.

    `image` is (method, value); `options` those of the rejector.
    """
    options = expected.pop("options", {})
    stack = column(values, dtype)
    cube = None if mask is None else column(mask, bool)
    runs = {
        "kernel": getattr(imck, name)(stack, mask=cube, **options),
        "apply": REJECTORS[name](**options).apply(stack, cube),
        "chained": imc.Combiner(stack, cube)
        .reject(REJECTORS[name](**options))
        .last_reject,
        "column": getattr(imck, f"{name}_1d")(stack[:, 0], mask=mask, **options),
    }
    names = ("mask_rej", "std", "low", "upp", "nit", "flags")
    for route, products in runs.items():
        found = dict(zip(names, products, strict=True))
        for key, value in expected.items():
            if key == "mask_rej":
                assert bits(np.ravel(found[key])) == value, route
            elif value is None:
                assert found[key] is None
            else:
                assert_allclose(np.ravel(found[key])[0], value, 2e-5, err_msg=route)
    masks = [
        getattr(imck, f"{name}_mask")(stack, mask=cube, **options)[:, 0],
        getattr(imck, f"{name}_mask_1d")(stack[:, 0], mask=mask, **options),
    ]
    for one in masks:
        assert bits(one) == expected["mask_rej"]
    if image:
        method, value = image
        combine = getattr(imck, f"{name}_combine")
        assert_allclose(combine(stack, combine=method, mask=cube, **options), value)
        combine = getattr(imck, f"{name}_combine_1d")
        assert_allclose(
            combine(stack[:, 0], combine=method, mask=mask, **options), value
        )
        rejector = REJECTORS[name](**options)
        combiner = imc.Combiner(stack, cube)
        assert_allclose(combiner.combine(method, rejectors=rejector), value)
        assert_allclose(combiner.reject(rejector).combine(method), value)


A1 = [970, 1002, 1004, 1006, 1008, 1010, 1012]


def test_a1_sigclip():
    check(
        "sigclip",
        A1,
        options={"sigma": 2},
        mask_rej="1000000",
        low=1002,
        upp=1012,
        std=3.41565,
        nit=2,
        flags=0,
        image=("median", 1007),
    )


def test_a1_pclip():
    check(
        "pclip",
        A1,
        options={"frac": 0.25},
        mask_rej="1000001",
        low=1002,
        upp=1010,
        std=None,
        nit=1,
        image=("median", 1006),
    )


def test_a2_minmax():
    values = np.arange(10)
    check(
        "minmax",
        values,
        options={"n_min": 2, "n_max": 3},
        mask_rej="1100000111",
        low=2,
        upp=6,
        std=None,
        nit=1,
    )
    one_each = "1000000001"
    check("minmax", values, options={"n_min": 0.1, "n_max": 0.1}, mask_rej=one_each)
    check("minmax", values, mask_rej=one_each)
    fraction = imck.minmax_mask_1d(np.arange(20.0), n_min=0.1, n_max=0.1)
    assert fraction.sum() == 4


A3 = [NAN, 1, -5, 2, 100]


def test_a3_flags():
    mask = [False, True, False, False, False]
    image, mask_rej, mask_thresh, std, low, upp, nit, flags, samples = imc.ndcombine(
        column(A3, "f4"),
        column(mask, bool),
        thresholds=(0, np.inf),
        reject="minmax",
        n_minmax=(0, 3),
        diagnostics="full",
    )
    assert_array_equal(image, [2])
    assert_array_equal(samples[:, 0], [2, 1, 4, 0, 8])
    assert bits(mask_rej[:, 0]) == "11101"
    assert bits(mask_thresh[:, 0]) == "00100"
    assert_array_equal(flags, [1])
    assert (std, nit[0]) == (None, 1)
    assert_array_equal([low[0], upp[0]], [2, 2])


def test_a3_flags_chained():
    mask = [False, True, False, False, False]
    chain = imc.Combiner(column(A3, "f4"), column(mask, bool)).threshold(0, np.inf)
    chain.reject(imc.MinMaxClip(0, 3), diagnostics="full")
    assert_array_equal(chain.sample_flags[:, 0], [2, 32, 32, 0, 8])
    assert_array_equal(chain.combine("mean"), [2])


def test_a4_mad():
    check(
        "sigclip",
        [8, 9, 10, 11, 12, 100],
        options={
            "stdfunc": "mad",
            "sigma": (10, 3),
            "maxiters": 1,
            "nkeep": 0,
            "clip_cen": "median",
        },
        mask_rej="000001",
        std=2.2239,
        low=8,
        upp=12,
        nit=2,
        flags=2,
        image=("mean", 10),
    )


@pytest.mark.parametrize(
    ("cenfunc", "mask_rej", "std"),
    [("median", "0001", 14.89597), ("lmedian", "0011", 15.03629)],
)
def test_a5_lower_median(cenfunc, mask_rej, std):
    check(
        "sigclip",
        [8, 10, 10.6, 40],
        options={"sigma": (10, 0.021), "maxiters": 1, "cenfunc": cenfunc},
        mask_rej=mask_rej,
        std=std,
    )


def test_a6_three_passes():
    check(
        "sigclip",
        [-4.8572235, -2.555665, 0.41809884, -0.5677696],
        options={"sigma": 1.1664820770253346, "nkeep": 0, "clip_cen": "median"},
        mask_rej="1100",
        nit=3,
        std=0.492934,
    )


@pytest.mark.parametrize(
    ("options", "mask_rej", "flags", "samples"),
    [
        ({"nkeep": 3}, "000", 4, [0, 0, 64]),
        ({"nkeep": 3, "revert_on_nkeep": False}, "001", 2, [0, 0, 8]),
        ({"nkeep": 0, "maxrej": 0}, "000", 8, [0, 0, 128]),
        ({"nkeep": 3, "maxrej": 0}, "000", 12, [0, 0, 192]),
        ({"maxrej": 0, "revert_on_nkeep": False}, "000", 8, [0, 0, 128]),
    ],
)
def test_a7_limits(options, mask_rej, flags, samples):
    options = {"sigma": (10, 0.5), "maxiters": 1} | options
    check("sigclip", [0, 1, 100], options=options, mask_rej=mask_rej, flags=flags)
    chain = imc.Combiner(column([0, 1, 100], "f4"))
    chain.reject(imc.SigClip(**options), diagnostics="full")
    assert_array_equal(chain.sample_flags[:, 0], samples)


def test_a8_nkeep():
    check(
        "sigclip",
        [-0.1, 0, 1, 2],
        options={"sigma": (0.1, 10), "maxiters": 1, "nkeep": 2},
        mask_rej="1100",
        low=1,
        upp=2,
        nit=2,
        flags=2,
    )
    options = {"sigma": 0.1, "maxiters": 1}
    check("sigclip", [0, 100], options=options, mask_rej="00", flags=4)
    check("sigclip", [0, 100], options=options | {"nkeep": 0}, mask_rej="11")


def test_a9_ccdclip_without_noise():
    # Of the noise nothing is left but the floor of the variance, 1e4 / 3.4e38.
    values = [1, 1, 5, 12]
    options = {"sigma": 1, "nkeep": 0, "gain": 1e30}
    check("ccdclip", values, options=options, mask_rej="1111", low=NAN, upp=NAN, nit=2)


def test_a9_ccdclip_centers():
    values = [1, 1, 5, 12]
    options = {"sigma": 1, "nkeep": 0, "clip_cen": "mean"}
    check("ccdclip", values, options=options, mask_rej="0011", nit=3)
    options["clip_cen"] = "median"
    check("ccdclip", values, options=options, mask_rej="1111", low=NAN, upp=NAN, nit=2)


def test_a10_ccdclip_gain():
    # Corrected: the noise of IRAF in data units, sqrt((3/2)**2 + 20/2).
    check(
        "ccdclip",
        [18, 20, 22, 200],
        options={
            "sigma": 1,
            "maxiters": 3,
            "rdnoise": 3,
            "gain": 2,
            "clip_cen": "median",
        },
        mask_rej="0001",
        std=np.sqrt(2.25 + 10),
        low=18,
        upp=22,
        nit=2,
    )


@pytest.mark.parametrize(
    ("options", "variance"),
    [
        ({}, 9 + 10),
        ({"gain": 2}, 2.25 + 5),
        ({"gain": 2, "snoise": 0.1}, 2.25 + 5 + 1),
    ],
)
def test_a11_ccdclip_noise(options, variance):
    check(
        "ccdclip",
        [9, 10, 11],
        options={"rdnoise": 3} | options,
        mask_rej="000",
        std=np.sqrt(variance),
    )


A12 = [0, 10, 11, 12, 13, 100]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (
            [1, 10, 11, 12, 30],
            {"low": 1, "upp": 2},
            {"mask_rej": "10001", "low": 10, "upp": 13, "nit": 1},
        ),
        (
            [8, 10, 10.6, 40],
            {"low": 1, "upp": 0.4, "cenfunc": "lmedian"},
            {"mask_rej": "1011", "low": 9, "upp": 10.4},
        ),
        (
            A12,
            {"low": 10, "upp": 0.75, "maxiters": 1},
            {"mask_rej": "100011", "low": 1.5, "upp": 12.25},
        ),
        (
            A12,
            {"low": 10, "upp": 0.75, "maxiters": 5},
            {"mask_rej": "100111", "low": 0.5, "upp": 11.25, "nit": 3, "flags": 0},
        ),
    ],
)
def test_a12_linearclip(values, options, expected):
    check("linearclip", values, options=options, std=None, **expected)


def test_a12_linearclip_masked():
    check(
        "linearclip",
        [NAN, 10, 11, 12, 100],
        mask=[False, False, False, False, True],
        options={"low": 1, "upp": 2},
        mask_rej="10000",
        flags=1,
    )


A13 = (
    "120 126 123 123 126 119 124 129 126 131 122 126 124 128 128 128 128 124 128 123 "
    "130 124 130 122 126 127 114 129 127 116 127"
)
A14 = (
    "992.9125 1000.275 1034.5599 1012.77594 995.114 1003.24164 971.7945 974.2783 "
    "976.7365 965.33966 1017.0628 973.20807 1061.7831 1006.59283 1042.946 1106.5452 "
    "982.25836 1018.5643 1016.13336 989.6895 977.3514 1016.6553 1017.8271 986.9952 "
    "955.7002 913.0865 1003.0293 981.4976 990.4585 997.5548 999.18524"
)


def with_rejected(n, *indices):
    return "".join("1" if k in indices else "0" for k in range(n))


@pytest.mark.parametrize(
    ("text", "clip_cen", "rejected", "expected"),
    [
        (A13, "mean", [26], {"std": 3.413047, "nit": 2, "flags": 0}),
        (A13, None, [], {"std": 4.024121, "nit": 1}),
        (A14, "mean", [15, 25], {"nit": 3}),
    ],
)
def test_a13_a14_depth_31(text, clip_cen, rejected, expected):
    values = [float(word) for word in text.split()]
    options = {"sigma": 3, "nkeep": 0, "clip_cen": clip_cen}
    mask_rej = with_rejected(31, *rejected)
    check("sigclip", values, options=options, mask_rej=mask_rej, **expected)


A15 = [NAN, NAN, 0, 0.1, 0.2, 0.1, 0.15, 0.12, 0.11, 100]


@pytest.mark.parametrize(
    ("maxrej", "rejected", "flags"), [(0, False, 8), (1, True, 0), (None, True, 0)]
)
def test_a15_maxrej(maxrej, rejected, flags):
    # Corrected: samples that were absent before do not count.
    mask_rej = "110000000" + str(int(rejected))
    options = {"sigma": 2, "maxrej": maxrej}
    check("sigclip", A15, options=options, mask_rej=mask_rej, flags=flags)


def test_a15_maxrej_linearclip():
    options = {"low": 1, "upp": 1, "maxrej": 1}
    check("linearclip", A15, options=options, mask_rej="1100000001")


A16 = [0, 1, 2, 3, 4, 5, 6, 7, 8, 100]


@pytest.mark.parametrize(
    ("frac", "sigma", "nkeep", "mask_rej"),
    [
        (0.5, 1.5, 1, "1000000001"),
        (-0.5, 1.5, 1, "1000000001"),
        (0.2, 1.5, 1, "1110000111"),
        (-0.2, 1.5, 1, "1110000111"),
        (1, 1.5, 1, "1110000111"),
        (-3, 1.5, 1, "0000000001"),
        (0.2, 0.5, 6, "1100000011"),
        (0.2, 0.5, 1, "1111001111"),
    ],
)
def test_a16_pclip(frac, sigma, nkeep, mask_rej):
    options = {"frac": frac, "sigma": sigma, "nkeep": nkeep}
    check("pclip", A16, "f8", options=options, mask_rej=mask_rej)


@pytest.mark.parametrize(
    ("frac", "n", "offset"),
    [
        (-0.5, 7, -1),
        (-0.5, 10, -2),
        (0.25, 7, 1),
        (0.5, 3, 1),
        (3, 7, 3),
        (-9, 7, -3),
        (0.1, 5, 1),
    ],
)
def test_a17_pclip_offset(frac, n, offset):
    """A fraction rejects what the number of ranks that it means does."""
    rng = np.random.default_rng(n)
    stack = rng.normal(0, 1, (n, 200))
    fraction = imck.pclip_mask(stack, frac=frac, sigma=1.5)
    assert_array_equal(fraction, imck.pclip_mask(stack, frac=offset, sigma=1.5))
    assert fraction.any()
    if n > 4 and abs(offset) == 1:
        more = imck.pclip_mask(stack, frac=2 * offset, sigma=1.5)
        assert (fraction != more).any()


@pytest.mark.parametrize(("n_good", "each_side"), [(25, 2), (20, 1), (13, 1), (12, 0)])
def test_a18_minmax_fraction(n_good, each_side):
    values = np.arange(25, dtype="f4")
    mask = values >= n_good
    rejected = imck.minmax_mask_1d(values, mask=mask, n_min=0.1, n_max=0.1)
    assert rejected[~mask].sum() == 2 * each_side
    assert rejected[mask].all()


def test_a19_zero_and_scale_are_rebased():
    stack = np.full((3, 2, 2), 1.0) * np.reshape([10, 20, 40], (3, 1, 1))
    image = imc.ndcombine(stack, zero=[10, 20, 40], scale=[1, 2, 4])
    assert_allclose(image, np.full((2, 2), (10 + 5 + 2.5) / 3))


def test_a20_place_into_padded():
    first, second = np.ones((2, 2)), np.full((1, 3), 2.0)
    stack = imc.place_into_padded([first, second], [(2, -1), (-1, 1)])
    assert stack.shape == (2, 5, 5)
    assert_array_equal(stack[0, 3:5, 0:2], first)
    assert_array_equal(stack[1, 0, 2:5], second[0])
    assert np.isfinite(stack).sum() == 7


def test_a21_growth():
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 1, 1] = True
    plus = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    assert_array_equal(imc.grow_mask(mask, 1)[0], plus)
    assert imc.grow_mask(mask, 2**0.5).all()
    assert_array_equal(imc.grow_mask(mask, 0.9), mask)
    solid = np.zeros((1, 3, 3, 3), bool)
    solid[0, 1, 1, 1] = True
    assert imc.grow_mask(solid, 1).sum() == 7
