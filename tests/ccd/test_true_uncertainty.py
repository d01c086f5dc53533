# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stated uncertainties beside true errors, for images of which everything is known.

``benchmarks/monte_carlo_uncertainty.py`` does the same for every n from 2 to 31.

Tolerance: the ratio of two root mean squares of N numbers has an error of
``1 / sqrt(2 N)``, here 0.29 %. The rule for the median of n samples is off by up to
1.3 % itself (n = 4, 5 and 6). 3 % is what is promised, and 5 times the error beyond
what is known; the seeds are fixed.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty

import imcombiners_astro as imc
from imcombiners_astro import combine

N_PIXELS = 60_000
DEPTHS = (2, 3, 4, 5, 8, 31)
LEVEL, GAIN, READNOISE = 100.0, 1.5, 6.0
SIGMA = np.sqrt((READNOISE / GAIN) ** 2 + LEVEL / GAIN)
CCD = {"gain": GAIN, "readnoise": READNOISE}
MODEL = {"rejectors": imc.CcdClip(sigma=6), **CCD}
RAYS = {"rejectors": imc.CrReject(sigma=6), **CCD}
PROPAGATE, NOISE = {"uncertainty": "propagate"}, {"uncertainty": "noise", **CCD}


def ratio(n, keywords, sigma=SIGMA, outlier=False, scale=None, cls=StdDevUncertainty):
    """Root mean square of the stated uncertainties by that of the true errors."""
    rng = np.random.default_rng(n)
    n_frames = n + outlier
    sigma = np.broadcast_to(sigma, n_frames)
    if np.ptp(sigma):
        stack = LEVEL + sigma[:, None] * rng.normal(0, 1, (n_frames, N_PIXELS))
    else:
        charge = rng.poisson(LEVEL * GAIN, (n_frames, N_PIXELS))
        stack = (charge + rng.normal(0, READNOISE, charge.shape)) / GAIN
    if outlier:
        struck = rng.integers(0, n_frames, N_PIXELS)
        stack[struck, np.arange(N_PIXELS)] += 1e4
    scale = np.ones(n_frames) if scale is None else scale
    frames = []
    for plane, one, factor in zip(stack, sigma, scale, strict=True):
        error = StdDevUncertainty(np.full(N_PIXELS, one / factor))
        frames.append(
            CCDData(plane / factor, unit="adu", uncertainty=error.represent_as(cls))
        )
    if np.ptp(scale):
        keywords = keywords | {"scale": scale}
    result = combine(frames, diagnostics="simple", **keywords)
    assert (result.n_used == n).mean() > 0.9999
    truth = LEVEL * result.n_used if keywords.get("method") == "sum" else LEVEL
    stated = result.uncertainty.represent_as(StdDevUncertainty).array
    return np.sqrt(np.mean(stated**2) / np.mean((result.data - truth) ** 2))


@pytest.mark.parametrize("n", DEPTHS)
@pytest.mark.parametrize("method", ["average", "median", "sum"])
@pytest.mark.parametrize("mode", [PROPAGATE, NOISE], ids=["propagate", "noise"])
@pytest.mark.parametrize("rejection", [None, MODEL, RAYS], ids=["none", "ccd", "cr"])
def test_each_mode_with_and_without_rejection(n, method, mode, rejection):
    keywords = {"method": method, **mode, **(rejection or {})}
    found = ratio(n, keywords, outlier=rejection is not None)
    assert found == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", DEPTHS)
@pytest.mark.parametrize("rejection", [None, MODEL], ids=["none", "ccd"])
@pytest.mark.parametrize("cls", [StdDevUncertainty, InverseVariance])
def test_inverse_variances(n, rejection, cls):
    outlier = rejection is not None
    # The noise model knows one noise only.
    sigma = SIGMA if outlier else np.linspace(5, 15, n)
    keywords = PROPAGATE | {"weights": "ivar"} | (rejection or {})
    found = ratio(n, keywords, sigma, outlier, cls=cls)
    assert found == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", DEPTHS)
def test_weights_scales_and_unequal_errors(n):
    rising = np.linspace(1, 3, n)
    for found in (
        ratio(n, PROPAGATE | {"weights": rising}),
        ratio(n, PROPAGATE, scale=rising),
        ratio(n, PROPAGATE, sigma=np.linspace(5, 15, n)),
        ratio(n, PROPAGATE | {"method": "median"}, sigma=np.linspace(5, 15, n)),
    ):
        assert found == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", DEPTHS)
@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_noise_of_frames_at_several_levels(n, method):
    # As flats at dusk: each has the noise of its own level.
    rng = np.random.default_rng(n)
    factor = np.linspace(1, 2, n)
    charge = rng.poisson(5000 * GAIN / factor[:, None], (n, N_PIXELS))
    stack = (charge + rng.normal(0, READNOISE, charge.shape)) / GAIN
    frames = [CCDData(plane, unit="adu") for plane in stack]
    result = combine(frames, method=method, scale=factor, **NOISE)
    truth = 5000 * n if method == "sum" else 5000
    stated = np.mean(result.uncertainty.array**2)
    found = np.sqrt(stated / np.mean((result.data - truth) ** 2))
    assert found == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", DEPTHS)
@pytest.mark.parametrize("method", ["average", "median", "sum"])
def test_scatter_is_unbiased(n, method):
    found = ratio(n, {"method": method, "uncertainty": "scatter"})
    assert found == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", DEPTHS)
@pytest.mark.parametrize("method", ["average", "sum"])
def test_empirical_is_too_small_by_what_is_known(n, method):
    # That of ccdproc divides by n, not by n - 1.
    found = ratio(n, {"method": method, "uncertainty": "empirical"})
    assert found == pytest.approx(np.sqrt((n - 1) / n), rel=0.02)


@pytest.mark.parametrize(
    ("n", "std"),
    [(6, 0.46340), (7, 0.45874), (8, 0.41010), (9, 0.40756), (12, 0.34281)],
)
def test_the_rule_for_the_median_beside_exact_numbers(n, std):
    # Standard deviations of medians of normal samples, by numerical integration, as
    # tabulated with the function STDMED of SAS/QC.
    frames = [
        CCDData(
            np.array([[float(k)]]),
            unit="adu",
            uncertainty=StdDevUncertainty(np.ones((1, 1))),
        )
        for k in range(n)
    ]
    result = combine(frames, method="median", uncertainty="propagate")
    assert result.uncertainty.array[0, 0] == pytest.approx(std, rel=0.013)
