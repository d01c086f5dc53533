# Licensed under a 3-clause BSD style license - see LICENSE
"""Uncertainties of combined images: from those of the images, and from their noise."""

import math

import numpy as np
import oracle
import pytest
from astropy import units as u
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine

N = 8
SHAPE = (6, 11)
CLASSES = (StdDevUncertainty, VarianceUncertainty, InverseVariance)
CLIP = imc.SigClip(sigma=3, stdfunc="mad")
ZERO, SCALE = np.linspace(0, 70, N), np.linspace(0.8, 1.3, N)


def stack_with_errors(n_frames=N, classes=CLASSES, **options):
    """CCDData with errors of several classes, and their variances."""
    ccds = stack_of(n_frames, SHAPE, masks=True, **options)
    rng = np.random.default_rng(7)
    variances = rng.uniform(50, 150, (n_frames, *SHAPE))
    for k, (ccd, variance) in enumerate(zip(ccds, variances, strict=True)):
        cls = classes[k % len(classes)]
        array = {
            StdDevUncertainty: np.sqrt(variance),
            VarianceUncertainty: variance,
            InverseVariance: 1 / variance,
        }[cls]
        ccd.uncertainty = cls(array)
        ccd.header["GAIN"], ccd.header["RDNOISE"] = 1.5 + k / 10, 4.0 + k
        ccd.header["EXPTIME"] = 10.0 + k
    return ccds, variances


def median_factor(n):
    """Variance of the median of n samples over that of their mean."""
    if n <= 2:
        return 1.0
    c = math.pi / 2 - 1 if n % 2 else math.pi - 2
    return math.pi * n / (2 * (n + c))


def expected(method, variances, used, weights=None):
    """Error of the result at every pixel, from the variances of the samples used."""
    result = np.full(variances.shape[1:], np.nan)
    for place in np.ndindex(result.shape):
        column = (slice(None), *place)
        at = used[column]
        v, n = variances[column][at], np.count_nonzero(at)
        if n == 0:
            continue
        w = np.ones(n) if weights is None else weights[column][at]
        if method == "median" and n > 2:
            harmonic = n / math.fsum(1 / np.sqrt(v))
            typical = ((n - 1) * harmonic**2 + v.mean()) / n
            v = np.full(n, typical)
        error = math.sqrt(math.fsum(w**2 * v))
        if method != "sum":
            error /= abs(math.fsum(w))
        if method == "median":
            error *= math.sqrt(median_factor(n))
        result[place] = error
    return result


def cube(vector):
    return np.broadcast_to(np.asarray(vector)[:, None, None], (len(vector), *SHAPE))


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("weights", [None, "numbers", "samples", "exposure"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rejectors", [None, CLIP])
@pytest.mark.filterwarnings("ignore:weights have no effect")
def test_propagation(method, weights, scaled, rejectors):
    ccds, variances = stack_with_errors()
    call = {"method": method, "rejectors": rejectors, "diagnostics": "simple"}
    if scaled:
        call |= {"zero": ZERO, "scale": SCALE}
        variances = variances * cube(SCALE) ** 2
    rng = np.random.default_rng(3)
    numbers = {
        None: None,
        "numbers": rng.uniform(1, 2, N),
        "samples": rng.uniform(1, 2, (N, *SHAPE)),
        "exposure": 10.0 + np.arange(N),
    }[weights]
    call["weights"] = "exposure" if weights == "exposure" else numbers
    result = combine(ccds, uncertainty="propagate", **call)
    weight = None
    if numbers is not None and method != "median":
        weight = cube(numbers) if numbers.ndim == 1 else numbers
    truth = expected(method, variances, ~result.mask_rej, weight)
    assert result.mask.any()
    assert isinstance(result.uncertainty, StdDevUncertainty)
    np.testing.assert_allclose(result.uncertainty.array, truth, rtol=1e-13)
    # The image does not depend on it.
    other = combine(ccds, uncertainty=None, **call)
    assert other.uncertainty is None
    np.testing.assert_array_equal(other.data, result.data)


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("scaled", [False, True])
def test_scatter(method, scaled):
    ccds, _ = stack_with_errors()
    call = {"method": method, "rejectors": CLIP, "diagnostics": "simple"}
    if scaled:
        call |= {"zero": ZERO, "scale": SCALE}
    result = combine(ccds, uncertainty="scatter", **call)
    values = np.array([ccd.data for ccd in ccds], float)
    if scaled:
        values = (values - cube(ZERO)) * cube(SCALE)
    seen = 0
    for place in np.ndindex(SHAPE):
        column = (slice(None), *place)
        x = values[column][~result.mask_rej[column]]
        n, found = len(x), result.uncertainty.array[place]
        if n < 2:
            assert np.isnan(found)
            continue
        truth = np.std(x, ddof=1) / math.sqrt(n)
        truth *= {"median": math.sqrt(median_factor(n)), "sum": n}.get(method, 1)
        assert found == pytest.approx(truth, rel=1e-12)
        seen += 1
    assert seen > 10


@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_noise(method, scaled, given):
    ccds, _ = stack_with_errors()
    call = {"method": method, "rejectors": CLIP, "diagnostics": "simple"}
    gain, readnoise, snoise = 1.5 + np.arange(N) / 10, 4.0 + np.arange(N), 0.0
    if given:
        gain, snoise = np.full(N, 2.5), 0.01
        call |= {"gain": 2.5 * u.electron / u.adu, "snoise": 0.01}
    zero, scale = (ZERO, SCALE) if scaled else (np.zeros(N), np.ones(N))
    if scaled:
        call |= {"zero": ZERO, "scale": SCALE}
    result = combine(ccds, uncertainty="noise", **call)
    level = result.data
    if method == "sum":
        level = level / np.maximum(result.n_used, 1)
    signal = np.maximum(level / cube(scale) + cube(zero), 0)
    variances = (readnoise / gain)[:, None, None] ** 2 + signal / cube(gain)
    variances += (snoise * signal) ** 2
    truth = expected(method, variances * cube(scale) ** 2, ~result.mask_rej)
    np.testing.assert_allclose(result.uncertainty.array, truth, rtol=1e-13)
    np.testing.assert_array_equal(result.frames["gain"], gain)
    np.testing.assert_array_equal(result.frames["readnoise"], readnoise)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rejectors", [None, CLIP])
def test_inverse_variances_as_weights(scaled, rejectors):
    ccds, variances = stack_with_errors()
    ccds[2].uncertainty.array[0, :4] = [0, np.nan, np.inf, 0]  # inverse variances
    nothing = np.zeros(variances.shape, bool)
    nothing[2, 0, :4] = True
    call = {"rejectors": rejectors, "diagnostics": "simple"}
    factor = SCALE if scaled else np.ones(N)
    if scaled:
        call["scale"] = SCALE
    result = combine(ccds, weights="ivar", uncertainty="propagate", **call)
    used = ~result.mask_rej
    assert not (used & nothing).any()
    weights = np.where(used, 1 / (variances * cube(factor) ** 2), 0)
    values = np.array([ccd.data for ccd in ccds]) * cube(factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        image = (weights * values).sum(axis=0) / weights.sum(axis=0)
        sigma = 1 / np.sqrt(weights.sum(axis=0))
    sigma[result.mask] = np.nan
    np.testing.assert_allclose(result.data, image, rtol=1e-13)
    np.testing.assert_allclose(result.uncertainty.array, sigma, rtol=1e-13)


@pytest.mark.parametrize("mode", ["propagate", "noise"])
@pytest.mark.parametrize(
    "statistic", ["mean", "wmean", "ivar", "median", "sum", "wsum"]
)
def test_bits_of_the_oracle(statistic, mode):
    ccds, variances = stack_with_errors(classes=(VarianceUncertainty,), bad=(np.nan,))
    weights = np.linspace(1, 2, N)
    noise = (1.5 + np.arange(N) / 10, 4.0 + np.arange(N), np.full(N, 0.02))
    plan = oracle.Plan(
        "wmean" if statistic == "ivar" else statistic,
        (CLIP.step(N),),
        thresholds=(800, 1600),
        uncertainty=mode,
        ivar=statistic == "ivar",
        noise=noise if mode == "noise" else None,
    )
    truth = oracle.combine(
        [ccd.data for ccd in ccds],
        plan,
        masks=[ccd.mask for ccd in ccds],
        zero=ZERO,
        factor=SCALE,
        weights=weights if statistic in ("wmean", "wsum") else None,
        variances=variances,
    )
    call = {"mean": {}, "median": {"method": "median"}, "sum": {"method": "sum"}}
    call |= {"wmean": {"weights": weights}, "ivar": {"weights": "ivar"}}
    call |= {"wsum": {"weights": weights, "method": "sum"}}
    found = combine(
        ccds,
        rejectors=CLIP,
        zero=ZERO,
        scale=SCALE,
        thresholds=(800, 1600),
        uncertainty=mode,
        snoise=0.02 if mode == "noise" else None,
        **call[statistic],
    )
    sigma = found.uncertainty.represent_as(StdDevUncertainty).array
    np.testing.assert_array_equal(found.data, truth["image"])
    np.testing.assert_allclose(sigma, truth["uncertainty"], rtol=1e-15)


@pytest.mark.parametrize("n_frames", [1, 2])
@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_one_and_two_images(n_frames, method):
    ccds, variances = stack_with_errors(n_frames)
    result = combine(ccds, method=method, uncertainty="propagate")
    used = ~np.array([ccd.mask for ccd in ccds])
    truth = expected(method, variances, used)
    np.testing.assert_allclose(result.uncertainty.array, truth, rtol=1e-14)


@pytest.mark.parametrize("first", CLASSES)
@pytest.mark.parametrize("mode", ["empirical", "propagate", "noise"])
def test_class_is_that_of_the_first_image(first, mode):
    classes = (first, *(cls for cls in CLASSES if cls is not first))
    ccds, _ = stack_with_errors(classes=classes)
    result = combine(ccds, uncertainty=mode, rejectors=CLIP)
    assert type(result.uncertainty) is first
    ccds, _ = stack_with_errors(classes=CLASSES)
    std = combine(ccds, uncertainty=mode, rejectors=CLIP).uncertainty
    found = result.uncertainty.represent_as(StdDevUncertainty).array
    known = np.isfinite(std.array) & (std.array > 0)
    np.testing.assert_allclose(found[known], std.array[known], rtol=1e-12)


def test_units_of_images_and_of_their_errors():
    ccds, variances = stack_with_errors(unit="Jy")
    plain = combine(ccds, rejectors=CLIP, uncertainty="propagate", thresholds=(0, 1400))
    ccds[1] = CCDData(
        ccds[1].data * 1000,
        unit="mJy",
        mask=ccds[1].mask,
        uncertainty=StdDevUncertainty(np.sqrt(variances[1]), unit="Jy"),
    )
    ccds[3].uncertainty = StdDevUncertainty(np.sqrt(variances[3]) * 1000, unit="mJy")
    limits = (0 * u.Jy, 1.4e6 * u.mJy)
    mixed = combine(ccds, rejectors=CLIP, uncertainty="propagate", thresholds=limits)
    assert mixed.unit == "Jy"
    np.testing.assert_allclose(mixed.data, plain.data, rtol=1e-13)
    np.testing.assert_allclose(
        mixed.uncertainty.array, plain.uncertainty.array, rtol=1e-13
    )


def test_noise_of_images_in_other_units():
    ccds, _ = stack_with_errors(unit="electron", classes=(StdDevUncertainty,))
    plain = combine(ccds, rejectors=imc.CcdClip(2), uncertainty="noise")
    for k in (0, 4):
        header, mask = ccds[k].header, ccds[k].mask
        ccds[k] = CCDData(ccds[k].data / 1000, unit=1000 * u.electron, meta=header)
        ccds[k].mask = mask
    mixed = combine(ccds[::-1], rejectors=imc.CcdClip(2), uncertainty="noise")
    assert mixed.unit == "electron"
    np.testing.assert_allclose(mixed.data, plain.data, rtol=1e-12)
    np.testing.assert_allclose(
        mixed.uncertainty.array, plain.uncertainty.array, rtol=1e-12
    )


@pytest.mark.parametrize("size", [3e-25, 3e25])
@pytest.mark.parametrize("weights", [None, "ivar"])
def test_squares_of_float32_that_no_float32_can_hold(size, weights):
    sigma = np.arange(1.0, N + 1)
    arrays = [np.full(SHAPE, s * size, "f4") for s in sigma]
    ccds = [
        CCDData(array, unit="Jy", uncertainty=StdDevUncertainty(array.copy()))
        for array in arrays
    ]
    found = combine(ccds, uncertainty="propagate", weights=weights)
    error = np.sqrt(sum(sigma**2)) / N
    if weights == "ivar":
        error = 1 / np.sqrt(sum(1 / sigma**2))
    np.testing.assert_allclose(found.uncertainty.array, error * size, rtol=1e-6)


def test_nan_variance_makes_the_error_unknown():
    ccds, _ = stack_with_errors(classes=(StdDevUncertainty,))
    ccds[1].uncertainty.array[2, 3:5] = np.nan
    ccds[1].mask[2, 3:5] = [True, False]
    result = combine(ccds, uncertainty="propagate")
    assert np.isfinite(result.uncertainty.array[2, 3])
    assert np.isnan(result.uncertainty.array[2, 4])
    assert np.isfinite(result.data[2, 4])


BAD = [
    (None, "uncertainty='propagate' needs the uncertainty of every image.*list.3.*non"),
    (UnknownUncertainty(np.ones(SHAPE)), r"img_list\[3\].*unknown type"),
    (StdDevUncertainty(-np.ones(SHAPE)), r"img_list\[3\].*negative standard deviation"),
    (VarianceUncertainty(-np.ones(SHAPE)), r"img_list\[3\].*negative variance"),
    (StdDevUncertainty(np.ones(SHAPE), unit="s"), r"img_list\[3\].*is in s"),
]


@pytest.mark.parametrize(("uncertainty", "match"), BAD)
def test_errors_that_cannot_be_used(uncertainty, match):
    ccds, _ = stack_with_errors(classes=(StdDevUncertainty,))
    try:
        ccds[3].uncertainty = uncertainty
    except u.UnitConversionError:  # astropy looks at it by itself
        ccds[3]._uncertainty = uncertainty
    with pytest.raises((TypeError, ValueError), match=match):
        combine(ccds, uncertainty="propagate")
    combine(ccds)  # nobody needs them
    if "needs" in match:
        with pytest.raises(ValueError, match="weights='ivar' needs"):
            combine(ccds, weights="ivar")


@pytest.mark.parametrize("keyword", [{"uncertainty": "propagate"}, {"weights": "ivar"}])
@pytest.mark.parametrize("grow", [None, 1.5])
@pytest.mark.parametrize("bad", [-2.0, -math.inf])
def test_a_negative_error_counts_unless_it_is_masked(keyword, grow, bad):
    rejector = imc.SigClip(sigma=2, grow=grow)
    for uncertainty, kind in (
        (StdDevUncertainty, "standard deviation"),
        (VarianceUncertainty, "variance"),
        (InverseVariance, "inverse variance"),
    ):
        ccds, _ = stack_with_errors(classes=(uncertainty,))
        # rejected or not, and in two images
        place = (1, 4)
        ccds[2].data[place] = 1e6
        for k in (2, 4):
            ccds[k].uncertainty.array[place] = bad
            ccds[k].mask[place] = True
        keywords = {"rejectors": rejector, "diagnostics": "full"} | keyword
        result = combine(ccds, **keywords)
        assert np.isfinite(result.data[place])
        for k in (4, 2):
            ccds[k].mask[place] = False
            message = rf"img_list\[{k}\]: found a negative {kind}, {bad:g}, at a pixel"
            with pytest.raises(ValueError, match=message):
                combine(ccds, **keywords)


def test_a_negative_error_is_refused_before_functions_are_called():
    ccds, _ = stack_with_errors(classes=(StdDevUncertainty,))
    ccds[2].uncertainty.array[1, 4] = -2
    ccds[2].mask[1, 4] = True
    called = []

    def center(samples, axis=None):
        called.append(len(samples))
        return np.ma.mean(samples, axis=axis)

    keywords = {"uncertainty": "propagate", "sigma_clip": True}
    keywords |= {"sigma_clip_func": center}
    combine(ccds, **keywords)
    assert called
    called.clear()
    ccds[2].mask[1, 4] = False
    with pytest.raises(ValueError, match=r"img_list\[2\]: found a negative standard"):
        combine(ccds, **keywords)
    assert not called


@pytest.mark.parametrize("dtype", ["f4", ">f4", ">f8", "f2", "i2"])
def test_types_of_errors(dtype):
    """What the kernel reads, and what is converted for it, in and out of rows."""
    rng = np.random.default_rng(8)
    ccds, plain = stack_of(N, SHAPE), stack_of(N, SHAPE)
    for ccd, other in zip(ccds, plain, strict=True):
        sigma = rng.integers(1, 9, SHAPE)
        ccd.uncertainty = StdDevUncertainty(sigma.astype(dtype, order="F"))
        other.uncertainty = StdDevUncertainty(sigma.astype(float))
    found, truth = (combine(x, uncertainty="propagate") for x in (ccds, plain))
    np.testing.assert_array_equal(found.uncertainty.array, truth.uncertainty.array)
    for ccd in ccds:
        ccd.uncertainty.array = np.ascontiguousarray(ccd.uncertainty.array)
    found = combine(ccds, uncertainty="propagate", mem_limit=1e4)
    np.testing.assert_array_equal(found.uncertainty.array, truth.uncertainty.array)


def test_files_have_their_errors(tmp_path):
    ccds, _ = stack_with_errors()
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
    call = {"rejectors": CLIP, "uncertainty": "propagate", "weights": "ivar"}
    found, expected = combine(files, **call), combine(ccds, **call)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_allclose(
        found.uncertainty.array, expected.uncertainty.array, rtol=1e-15
    )
    ccds[5].uncertainty = None
    ccds[5].write(files[5], overwrite=True)
    with pytest.raises(ValueError, match=r"5\.fits has none"):
        combine(files, **call)


@pytest.mark.parametrize("ratio", [1e200, 1e-200])
@pytest.mark.parametrize("of_image", [False, True])
def test_units_too_far_apart_for_variances(ratio, of_image):
    far = u.def_unit("far", ratio * u.adu)
    ones = np.ones(SHAPE)
    ccds = [CCDData(ones, unit="adu", uncertainty=StdDevUncertainty(ones))]
    if of_image:
        ccds.append(CCDData(ones, unit=far, uncertainty=StdDevUncertainty(ones)))
    else:
        error = StdDevUncertainty(ones, unit=far)
        ccds.append(CCDData(ones, unit="adu", uncertainty=error))
    with pytest.raises(ValueError, match=r"img_list\[1\]: the units of .* 1e[+-]200"):
        combine(ccds, uncertainty="propagate")
