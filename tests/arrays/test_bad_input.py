# Licensed under a 3-clause BSD style license - see LICENSE
"""Wrong arguments, in every route that takes them, and what the error must say."""

import functools

import numpy as np
import pytest

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

STACK = np.arange(12, dtype="f4").reshape(4, 3)
COLUMN = STACK[:, 0]
NAN = np.nan

CLIPPERS = {
    "sigclip": imc.SigClip,
    "ccdclip": imc.CcdClip,
    "linearclip": imc.LinearClip,
    "minmax": imc.MinMaxClip,
    "pclip": imc.PClip,
    "avsigclip": imc.AvSigClip,
    "crreject": imc.CrReject,
}


def routes_of(name, *, columns=True):
    """Yield (name, callable taking the options) of every way to a rejector."""
    make = CLIPPERS[name]
    kernel = functools.partial
    yield "apply", lambda **options: make(**options).apply(STACK)
    yield "reject", lambda **options: imc.Combiner(STACK).reject(make(**options))
    yield (
        "standard",
        lambda **options: imc.Combiner(STACK).combine(rejectors=make(**options)),
    )
    yield (
        "diagnostics",
        lambda **options: imc.Combiner(STACK).combine(
            rejectors=[make(**options)], diagnostics="full"
        ),
    )
    yield "unchecked", lambda **options: make(**options).apply(STACK, validate=False)
    yield name, kernel(getattr(imck, name), STACK)
    yield f"{name}_mask", kernel(getattr(imck, f"{name}_mask"), STACK)
    combine = getattr(imck, f"{name}_combine")
    yield f"{name}_combine", kernel(combine, STACK, combine="mean")
    yield "combine, unchecked", kernel(combine, STACK, combine="mean", validate=False)
    if columns and name != "avsigclip":
        yield f"{name}_1d", kernel(getattr(imck, f"{name}_1d"), COLUMN)
        yield f"{name}_mask_1d", kernel(getattr(imck, f"{name}_mask_1d"), COLUMN)
        combine = getattr(imck, f"{name}_combine_1d")
        yield f"{name}_combine_1d", kernel(combine, COLUMN, combine="mean")
    if name in ("sigclip", "ccdclip"):
        yield (
            "ndcombine",
            lambda **options: imc.ndcombine(STACK, reject=name, **options),
        )


SIGMA = [
    ({"sigma": -1}, ValueError, "sigma thresholds must be finite and non-negative"),
    ({"sigma": (3, -1)}, ValueError, "sigma thresholds must be finite"),
    ({"sigma": NAN}, ValueError, "sigma thresholds must be finite"),
    ({"sigma": np.inf}, ValueError, "sigma thresholds must be finite"),
    ({"sigma": (1, 2, 3)}, ValueError, "sigma: found .* pair"),
    ({"sigma": "3"}, ValueError, "sigma: found '3', expected a number"),
    ({"sigma": None}, ValueError, "sigma: found None"),
]
NKEEP = [
    ({"nkeep": 1.5}, TypeError, "nkeep: found 1.5, expected an integer"),
    ({"nkeep": None}, TypeError, "nkeep: found None"),
]
LIMITS = [
    *NKEEP,
    ({"maxrej": -1}, ValueError, "maxrej: found -1, expected an integer >= 0"),
    ({"maxrej": "2"}, TypeError, "maxrej: found '2', expected an integer"),
    ({"revert_on_nkeep": "no"}, ValueError, "revert_on_nkeep: found 'no', expected"),
    ({"revert_on_nkeep": None}, ValueError, "revert_on_nkeep: found None"),
    ({"revert_on_nkeep": []}, ValueError, "revert_on_nkeep: found"),
]
CENFUNC = [
    ({"cenfunc": "mode"}, ValueError, "unknown cenfunc 'mode'; expected one of: mean"),
    ({"cenfunc": None}, ValueError, "unknown cenfunc None"),
    ({"cenfunc": np.mean}, ValueError, "unknown cenfunc"),
]
MAXITERS = [
    ({"maxiters": -1}, ValueError, "maxiters: found -1, expected an integer >= 0"),
    ({"maxiters": 2.5}, TypeError, "maxiters: found 2.5, expected an integer"),
    ({"maxiters": "5"}, TypeError, "maxiters: found '5'"),
]
CLIP_CEN = [({"clip_cen": "mode"}, ValueError, "unknown clip_cen 'mode'")]
NOISE = [
    ({"gain": 0}, ValueError, "gain: found 0, expected finite and > 0"),
    ({"gain": -1}, ValueError, "gain: found -1"),
    ({"gain": NAN}, ValueError, "gain: found nan"),
    ({"gain": "2"}, TypeError, "gain: found '2'"),
    ({"gain": (1, 2)}, ValueError, r"gain: found an array of shape \(2,\), expected 4"),
    ({"gain": (1, 2, 3, 0)}, ValueError, "gain: found 0"),
    ({"rdnoise": -1}, ValueError, "rdnoise: found -1, expected finite and not neg"),
    ({"snoise": -0.1}, ValueError, "snoise: found -0.1"),
]
SIGNAL = [
    ({"scales": (1, 2)}, ValueError, r"scales: found an array of shape \(2,\)"),
    ({"scales": (1, 2, 0, 1)}, ValueError, "scales: found 0"),
    ({"zeros": (1, NAN, 0, 1)}, ValueError, "zeros: found NaN or infinity"),
]
REFERENCE = [
    ({"scale_ref": 0}, ValueError, "scale_ref: found 0, expected a positive number"),
    ({"zero_ref": NAN}, ValueError, "zero_ref: found nan, expected a finite number"),
]
DDOF = [
    ({"ddof": -1}, ValueError, "ddof: found -1, expected an integer >= 0"),
    ({"ddof": 0.5}, TypeError, "ddof: found 0.5, expected an integer"),
]
LINEAR = [
    ({name: value}, ValueError, f"{name}: found .*, expected finite and not negative")
    for name in ("low_scale", "low", "upp_scale", "upp")
    for value in (-1, NAN, np.inf)
]

OPTIONS = {
    "sigclip": [
        *SIGMA,
        *LIMITS,
        *CENFUNC,
        *MAXITERS,
        *CLIP_CEN,
        *DDOF,
    ],
    "ccdclip": [*SIGMA, *LIMITS, *CENFUNC, *MAXITERS, *CLIP_CEN, *NOISE, *REFERENCE],
    "linearclip": [*LINEAR, *LIMITS, *CENFUNC, *MAXITERS],
    "minmax": [
        ({"n_min": -1}, ValueError, "n_min: found -1, expected a non-negative number"),
        ({"n_max": NAN}, ValueError, "n_max: found nan, expected a non-negative"),
        ({"n_max": "1"}, TypeError, "n_max: found '1'"),
        ({"n_min": (1, 2)}, TypeError, r"n_min: found \(1, 2\)"),
    ],
    "pclip": [
        *SIGMA,
        *NKEEP,
        ({"nkeep": -1}, ValueError, "nkeep: found -1, expected an integer >= 0"),
        ({"frac": 0}, ValueError, "pclip frac: found 0, expected finite and not 0"),
        ({"frac": NAN}, ValueError, "pclip frac: found nan"),
        ({"frac": (0.5, 1)}, TypeError, r"pclip frac: found \(0.5, 1\)"),
        ({"frac": "0.5"}, TypeError, "pclip frac: found '0.5'"),
    ],
    "avsigclip": [*SIGMA, *LIMITS, *CENFUNC],
    "crreject": [*SIGMA, *LIMITS, *CENFUNC, *MAXITERS, *CLIP_CEN, *NOISE, *SIGNAL],
}


@pytest.mark.parametrize(
    ("route", "options", "error", "message"),
    [
        pytest.param(route, *case, id=f"{name} {label} {case[0]}")
        for name, cases in OPTIONS.items()
        for label, route in routes_of(name)
        for case in cases
    ],
)
def test_options_of_rejectors(route, options, error, message):
    with pytest.raises(error, match=message):
        route(**options)


@pytest.mark.parametrize("name", ["sigclip"])
def test_stdfunc(name):
    for label, route in routes_of(name):
        if label != "ndcombine":
            with pytest.raises(ValueError, match="unknown stdfunc 'iqr'; expected one"):
                route(stdfunc="iqr")


@pytest.mark.parametrize("grow", [-1, NAN, np.inf])
@pytest.mark.parametrize("name", CLIPPERS)
def test_grow(name, grow):
    for label, route in routes_of(name, columns=False):
        if label != "ndcombine":
            with pytest.raises(ValueError, match=r"grow: found .* radius >= 0"):
                route(grow=grow)
    with pytest.raises(ValueError, match="grow: found"):
        imc.ndcombine(STACK, grow=grow)
    with pytest.raises(ValueError, match="grow: found"):
        imc.Combiner(STACK).reject(CLIPPERS[name](), grow=grow)


# ------------------------------------------------------------------ the arrays

STACK_ROUTES = {
    "Combiner": imc.Combiner,
    "ndcombine": imc.ndcombine,
    "apply": imc.SigClip().apply,
    **{name: getattr(imck, name) for name in CLIPPERS},
    **{f"{name}_mask": getattr(imck, f"{name}_mask") for name in CLIPPERS},
    **{
        f"{name}_combine": functools.partial(
            getattr(imck, f"{name}_combine"), combine="mean"
        )
        for name in CLIPPERS
    },
}
STATISTICS = {
    **{
        name: getattr(imck, name)
        for name in "mean median lmedian summation minimum maximum variance".split()
    },
    "percentiles": functools.partial(imck.percentiles, q=50),
    "nanaverage": functools.partial(imck.nanaverage, weights=[1, 1, 1, 1]),
    "weighted_average": functools.partial(imck.weighted_average, weights=[1, 1, 1, 1]),
    "resolve_zero_scale": lambda arr: imc.resolve_zero_scale("zero", 1, arr),
}
BAD_STACKS = [
    ([[1.0, 2], [3, 4]], TypeError, "arr: found list, expected a NumPy array"),
    (None, TypeError, "arr: found NoneType"),
    (
        np.ones(3),
        ValueError,
        r"arr must have at least 2 dimensions.*found shape \(3,\)",
    ),
    (np.float64(3), TypeError, "arr: found float64"),
    (np.ones((0, 3)), ValueError, r"arr: found shape \(0, 3\), expected at least 1"),
    *[
        (
            np.ones((4, 3), dtype),
            TypeError,
            f"arr: found dtype {np.dtype(dtype)}, expec",
        )
        for dtype in (bool, "c8", "f2", "O")
    ],
    (np.array([["a", "b"]] * 4), TypeError, "arr: found dtype <U1"),
]


@pytest.mark.parametrize("bad", BAD_STACKS, ids=lambda bad: str(bad[2]))
@pytest.mark.parametrize("route", [*STACK_ROUTES, *STATISTICS])
def test_stacks(route, bad):
    arr, error, message = bad
    function = (STACK_ROUTES | STATISTICS)[route]
    with pytest.raises(error, match=message):
        function(arr)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (3, 4), (1, 3), (), (4, 3, 2)])
@pytest.mark.parametrize("route", STACK_ROUTES)
def test_masks(route, shape):
    with pytest.raises(ValueError, match=r"mask shape .* does not match arr: expected"):
        STACK_ROUTES[route](STACK, mask=np.zeros(shape, bool))


@pytest.mark.parametrize("route", STACK_ROUTES)
def test_unchecked_masks_are_still_safe(route):
    function = functools.partial(STACK_ROUTES[route], STACK, validate=False)
    wrong = [np.zeros((4, 2), bool), np.zeros((3, 3), bool), np.zeros(STACK.shape)]
    for mask in wrong:
        with pytest.raises((ValueError, TypeError), match="mask"):
            result = function(mask=mask)
            result.combine("median")  # a Combiner looks at its arrays only here


VALUES_ROUTES = {
    **{
        f"{name}{kind}_1d": functools.partial(
            getattr(imck, f"{name}{kind}_1d"),
            **({"combine": "mean"} if kind == "_combine" else {}),
        )
        for name in CLIPPERS
        for kind in ("", "_mask", "_combine")
        if name != "avsigclip"
    },
    **{
        f"{name}_1d": getattr(imck, f"{name}_1d")
        for name in "mean median lmedian sum min max var".split()
    },
    "percentiles_1d": functools.partial(imck.percentiles_1d, q=50),
    "wvg_1d": functools.partial(imck.wvg_1d, weights=[1, 1]),
}


@pytest.mark.parametrize("route", VALUES_ROUTES)
def test_values(route):
    function = VALUES_ROUTES[route]
    for values in (np.ones((2, 2)), 3.0, [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="values must be 1-D; found shape"):
            function(values)
    with pytest.raises(ValueError, match="values: found none"):
        function([])
    for values in ([True, False], [1j, 2], ["a", "b"], np.ones(2, "f2")):
        with pytest.raises(TypeError, match=r"values: found dtype .*expected integers"):
            function(values)
    if "clip" in route or "minmax" in route or "crreject" in route:
        with pytest.raises(
            ValueError, match=r"mask shape \(3,\) does not match values"
        ):
            function(COLUMN, mask=[True, False, True])


# ------------------------------------------------------- what the stack becomes


def combine_routes():
    yield "Combiner", imc.Combiner(STACK).combine
    yield (
        "ndcombine",
        lambda method="mean", **options: imc.ndcombine(
            STACK, combine=method, **options
        ),
    )
    for name in CLIPPERS:
        kernel = getattr(imck, f"{name}_combine")
        yield (
            f"{name}_combine",
            lambda method="mean", kernel=kernel, **options: kernel(
                STACK, combine=method, **options
            ),
        )


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        ("summation", {}, ValueError, "unknown combine method 'summation'; expected"),
        ("weighted_average", {}, ValueError, "unknown combine method"),
        ("wvg", {}, ValueError, "unknown combine method"),
        (None, {}, ValueError, "unknown combine method None"),
        ("median", {"weight": [1] * 4}, ValueError, "weight: found with combine='med"),
        ("mean", {"weight": [1] * 3}, ValueError, r"weight: .*\(3,\), expected 4"),
        ("mean", {"weight": [1, 2, 3, NAN]}, ValueError, "weight: found NaN or inf"),
        (
            "mean",
            {"weight": np.ones((4, 2))},
            ValueError,
            r"weight: found shape \(4, 2",
        ),
        ("mean", {"weight": 2.0}, ValueError, "weight: found an array of shape"),
        ("mean", {"weight": "exposure"}, TypeError, "weight: found 'exposure', expect"),
        ("percentile", {}, ValueError, "combine='percentile' needs q"),
        ("percentile", {"q": 101}, ValueError, "q: found 101, expected a percentage"),
        ("percentile", {"q": [1, NAN]}, ValueError, "q: found nan"),
        ("percentile", {"q": "50"}, TypeError, "q: found '50'"),
        ("percentile", {"q": [[1]]}, ValueError, "q: found 2 dimensions"),
        ("mean", {"q": 50}, ValueError, "q: found 50 with combine='mean', expected"),
        ("variance", {"ddof": -1}, ValueError, "ddof: found -1, expected an integer"),
        ("variance", {"ddof": "1"}, TypeError, "ddof: found '1', expected an integer"),
    ],
)
def test_methods(method, options, error, message):
    for _, route in combine_routes():
        with pytest.raises(error, match=message):
            route(method, **options)


COMBINE = {
    "combine": imc.Combiner(STACK).combine,
    "ndcombine": functools.partial(imc.ndcombine, STACK),
}


@pytest.mark.parametrize("route", COMBINE)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"thresholds": 5}, ValueError, "thresholds: found 5, expected a pair"),
        ({"thresholds": (2, 1)}, ValueError, r"thresholds: found \(2.0, 1.0\), expec"),
        ({"thresholds": (NAN, 1)}, ValueError, r"thresholds: found \(nan, 1.0\)"),
        ({"thresholds": (1, 2, 3)}, ValueError, "thresholds: found"),
        ({"thresholds": ("a", 3)}, ValueError, "thresholds: found"),
        ({"diagnostics": "all"}, ValueError, "diagnostics: found 'all', expected None"),
        ({"diagnostics": True}, ValueError, "diagnostics: found True"),
        (
            {"diagnostics": "full", "full": True},
            ValueError,
            "either diagnostics or full",
        ),
        ({"zero": [1, 2]}, ValueError, r"zero: .* shape \(2,\), expected 4 values"),
        ({"zero": NAN}, ValueError, "zero: found NaN or infinity, expected finite"),
        ({"zero": "mode"}, ValueError, "unknown zero statistic 'mode'; expected one"),
        ({"zero": lambda plane: plane}, TypeError, "zero: found .* from the callable"),
        ({"zero": lambda plane: NAN}, ValueError, "zero: .* callable for frame 0"),
        ({"zero": object()}, TypeError, "zero: found"),
        ({"scale": 0}, ValueError, "scale: found 0, expected numbers to divide by"),
        ({"scale": [1, 2, 0, 1]}, ValueError, "scale: found 0"),
        ({"scale": "min"}, ValueError, "scale: found 0"),
        (
            {"zero": "med_sc", "zero_sigclip_kwargs": {"nkeep": 1}},
            ValueError,
            "zero_sigclip_kwargs: unknown key 'nkeep'; expected some of sigma, maxit",
        ),
        (
            {"scale": "mean_sc", "scale_sigclip_kwargs": {"sigma": -1}},
            ValueError,
            "sigma thresholds must be finite",
        ),
    ],
)
def test_combine(route, options, error, message):
    with pytest.raises(error, match=message):
        COMBINE[route](**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reject": "linearclip"}, ValueError, "unknown reject 'linearclip'; expected"),
        ({"reject": imc.SigClip()}, ValueError, "unknown reject SigClip"),
        (
            {"reject": "minmax", "n_minmax": 1},
            ValueError,
            "n_minmax: found 1, expected",
        ),
        ({"reject": "minmax", "n_minmax": (1, -1)}, ValueError, "n_max: found -1"),
        ({"reject": "pclip", "pclip": 0}, ValueError, "pclip frac: found 0"),
        ({"reject": "pclip", "sigma": -1}, ValueError, "sigma thresholds must be fin"),
        ({"reject": "ccdclip", "sigscale": -1}, ValueError, "sigscale: found -1"),
    ],
)
def test_ndcombine(options, error, message):
    with pytest.raises(error, match=message):
        imc.ndcombine(STACK, **options)


@pytest.mark.parametrize("bad", [3, "sigclip", imc.SigClip, [imc.SigClip(), None]])
def test_rejectors(bad):
    combiner = imc.Combiner(STACK)
    with pytest.raises(TypeError, match=r"rejector: found .*expected a Rejector"):
        combiner.combine(rejectors=bad)
    with pytest.raises(TypeError, match=r"rejector: found .*expected a Rejector"):
        combiner.reject(bad)
    with pytest.raises(ValueError, match="diagnostics: found 'all'"):
        combiner.reject(imc.SigClip(), diagnostics="all")


def test_what_a_rejector_of_your_own_must_return():
    class Short(imc.Rejector):
        def apply(self, arr, mask=None, *, validate=True):
            return arr[:2] > 0, None, None, None, None, np.zeros(3)

    message = r"Short.apply: expected \(mask_rej, .* of shape \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        imc.Combiner(STACK).combine(rejectors=Short())
    with pytest.raises(NotImplementedError):
        imc.Combiner(STACK).combine(rejectors=imc.Rejector())


@pytest.mark.parametrize(
    ("method", "noise", "error", "message"),
    [
        ("mean", {"gain": 1}, ValueError, "noise: found with combine='mean', expected"),
        (
            "nmodel",
            {"ron": 1},
            ValueError,
            "noise: unknown key 'ron'; expected some of",
        ),
        ("nmodel", {"gain": 0}, ValueError, "gain: found 0, expected finite and > 0"),
        ("nmodel", {"rdnoise": [1]}, ValueError, "rdnoise: found an array of shape"),
    ],
)
def test_noise(method, noise, error, message):
    with pytest.raises(error, match=message):
        imc.Combiner(STACK).combine(method, noise=noise)


def test_threshold_and_variance():
    combiner = imc.Combiner(STACK)
    with pytest.raises(ValueError, match=r"thresholds: found \(2.0, 1.0\)"):
        combiner.threshold(2, 1)
    with pytest.raises(ValueError, match="ddof: found -1"):
        combiner.variance(ddof=-1)
    with pytest.raises(ValueError, match="arr: found shape"):
        combiner.arr = np.ones((2, 2))
    with pytest.raises(ValueError, match="mask shape"):
        combiner.mask = np.ones((2, 2), bool)


def test_grow_mask():
    mask = np.zeros((2, 3), bool)
    for radius in (-1, NAN, np.inf):
        with pytest.raises(ValueError, match=r"grow: found .* radius >= 0"):
            imc.grow_mask(mask, radius)
    with pytest.raises(TypeError, match="mask: found float64, expected an array of b"):
        imc.grow_mask(np.zeros((2, 3)), 1)
    with pytest.raises(TypeError, match="mask: found list"):
        imc.grow_mask([[True]], 1)
    with pytest.raises(ValueError, match="mask must have at least 2 dimensions"):
        imc.grow_mask(np.zeros(3, bool), 1)


@pytest.mark.parametrize(
    ("images", "offsets", "error", "message"),
    [
        ([], [], ValueError, "images: found none, expected at least one"),
        (
            [np.ones(2), np.ones((2, 2))],
            [[0], [0]],
            ValueError,
            r"images\[1\]: found 2",
        ),
        ([np.ones((2, 0))], [[0, 0]], ValueError, r"images\[0\]: found a zero-length"),
        ([np.float64(1)], [[0]], ValueError, r"images\[0\]: found 0 dim.* at least 1"),
        (
            [np.ones(2)],
            [0],
            ValueError,
            r"offsets: found shape \(1,\), expected \(1, 1",
        ),
        (
            [np.ones(2)],
            [[0.5]],
            TypeError,
            "offsets: found dtype float64, expected int",
        ),
        ([np.ones(2, "c8")], [[0]], TypeError, r"images\[0\]: found dtype complex64"),
        (
            [np.ones((2, 2))] * 2,
            [[-(2**63), 0], [2**63 - 1, 0]],
            ValueError,
            "normalized y offset overflow",
        ),
        (
            [np.ones((2, 2))] * 2,
            [[0, 0], [2**63 - 1, 0]],
            ValueError,
            "padded output y overflow",
        ),
    ],
)
def test_place_into_padded(images, offsets, error, message):
    with pytest.raises(error, match=message):
        imc.place_into_padded(images, offsets)


SETTERS = {
    "num_threads": imc.set_rayon_num_threads,
    "threshold": imc.set_parallel_threshold,
    "threshold ": imc.set_minmax_1d_parallel_threshold,
}


@pytest.mark.parametrize("name", SETTERS)
def test_thread_settings(name):
    for value, error in [(0, ValueError), (-1, ValueError), (1.5, TypeError)]:
        message = f"{name.strip()}: found {value}, expected a positive integer"
        with pytest.raises(error, match=message):
            SETTERS[name](value)
