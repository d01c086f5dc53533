# Licensed under a 3-clause BSD style license - see LICENSE
"""Gain and read noise: where they come from, and those of a combined image."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.errors import UnusedOptionWarning
from imcombiners_astro.frames import CCDFrame
from imcombiners_astro.headers import fits_text, lookup
from imcombiners_astro.noise import Noise, effective_noise, resolve_noise
from imcombiners_astro.normalization import Normalization

PURPOSE = "uncertainty='noise'"


def frame(header=None, unit="adu", name="img_list[0]"):
    meta = fits.Header() if header is None else header
    return CCDFrame(CCDData(np.ones((2, 3)), unit=unit, meta=meta), name)


def resolve(frames, gain=None, readnoise=1.0, snoise=None):
    return resolve_noise(frames, gain, readnoise, snoise, purpose=PURPOSE)


@pytest.mark.parametrize(
    ("header", "gain", "keyword"),
    [
        ({"GAIN": 1.5}, 1.5, "GAIN"),
        ({"EGAIN": 0.25, "GAIN": 139}, 0.25, "EGAIN"),
        ({"GAIN": "1.5 "}, 1.5, "GAIN"),
        ({"CCDGAIN": 2}, 2, "CCDGAIN"),
        ({"EGAIN": "", "GAIN": 3}, 3, "GAIN"),
        ({"gain": 3}, 3, "GAIN"),
        ({"HIERARCH ESO DET OUT1 CONAD": 1.9}, 1.9, "ESO DET OUT1 CONAD"),
    ],
)
@pytest.mark.parametrize("kind", [dict, fits.Header])
def test_gain_is_looked_up(header, gain, keyword, kind):
    if kind is dict:
        header = {key.removeprefix("HIERARCH "): v for key, v in header.items()}
    noise = resolve([frame(kind(header))])
    assert noise.gain.tolist() == [gain]
    assert noise.gain_source == [f"{keyword} of the header"]


@pytest.mark.parametrize("keyword", ["RDNOISE", "READNOIS", "ENOISE", "RON"])
def test_readnoise_is_looked_up(keyword):
    noise = resolve([frame(fits.Header({keyword: 4.5}))], gain=2, readnoise=None)
    assert noise.readnoise.tolist() == [4.5]
    assert noise.readnoise_source == [f"{keyword} of the header"]
    assert noise.gain_source == ["as given"]


def test_undefined_values_are_no_values():
    header = fits.Header([("EGAIN", fits.card.UNDEFINED), ("GAIN", 2.0)])
    assert resolve([frame(header)]).gain.tolist() == [2]


def test_every_way_of_giving():
    header = fits.Header({"G2": 1.25, "RN": 7.0, "SENS": 0.02})
    frames = [frame(header, name=f"{k}.fits") for k in range(4)]
    gain = [2, "G2", "!g2", 1.5 * u.electron / u.adu]
    readnoise = [3, 4 * u.electron, 2 * u.adu, "RN"]
    noise = resolve(frames, gain, readnoise, [0, 0.01, 1 * u.percent, "SENS"])
    assert noise.gain.tolist() == [2, 1.25, 1.25, 1.5]
    assert noise.readnoise.tolist() == [3, 4, 2.5, 7]
    assert noise.snoise == pytest.approx([0, 0.01, 0.01, 0.02])
    assert noise.gain_source == [
        "as given",
        "G2 of the header",
        "g2 of the header",
        "as given",
    ]
    one = resolve(frames, np.full(4, 2.0), [1, 2, 3, 4] * u.electron)
    assert one.gain.tolist() == [2] * 4
    assert one.readnoise.tolist() == [1, 2, 3, 4]
    assert one.snoise.tolist() == [0] * 4
    assert resolve(frames, np.float32(2), 3.0).gain.tolist() == [2] * 4


@pytest.mark.parametrize("unit", ["adu", "DN", "ct", ""])
def test_counts_go_by_many_names(unit):
    for count in (u.adu, u.DN, u.ct):
        noise = resolve([frame(unit=unit)], 1.5 * u.electron / count)
        assert noise.gain.tolist() == [1.5]


def test_unit_of_the_image_counts():
    header = fits.Header({"GAIN": 1.5})
    assert resolve([frame(header, unit="1000 adu")]).gain.tolist() == [1500]
    rate = resolve([frame(unit="electron / s")], 60 * u.s)
    assert rate.gain.tolist() == [60]


def test_electrons_have_their_gain_applied():
    header = fits.Header({"GAIN": 1.5})
    noise = resolve([frame(header, unit="electron")])
    assert noise.gain.tolist() == [1]
    assert noise.gain_source == ["applied, data in electron"]
    for gain in (1.5, "GAIN"):
        with pytest.warns(UnusedOptionWarning, match="no effect on images in electron"):
            noise = resolve([frame(header, unit="electron")], gain)
        assert noise.gain.tolist() == [1]
    # the average of eight
    noise = resolve([frame(unit="electron")], 8 * u.electron / u.electron)
    assert noise.gain.tolist() == [8]
    with pytest.raises(TypeError, match=r"img_list\[0\] needs .* is applied"):
        resolve([frame(unit="electron")], 1.5 * u.electron / u.adu)


def test_missing_gain_names_the_file_and_what_to_give():
    frames = [frame({"GAIN": 1.5}, name=f"flat{k}.fits") for k in range(12)]
    frames[7] = frame({"RDNOISE": 5.0}, name="flat7.fits")
    with pytest.raises(ValueError, match=r"gain: the header of flat7.fits") as info:
        resolve(frames)
    text = str(info.value)
    assert all(word in text for word in ("EGAIN, GAIN", PURPOSE, "Give gain="))
    with pytest.raises(ValueError, match=r"flat0.fits has no read noise .*RDNOISE"):
        resolve(frames, 1.5, None)
    with pytest.raises(ValueError, match=r"flat0.fits has no gain \(looked for CONAD"):
        resolve(frames, "CONAD")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gain": 0}, ValueError, "gain: found 0 .* a.fits, expected a positive"),
        ({"gain": -1 * u.electron / u.adu}, ValueError, "gain: found -1"),
        ({"gain": np.nan}, ValueError, "gain: found nan"),
        ({"gain": "ZERO"}, ValueError, r"gain: found 0 \(ZERO of the header\) for a.f"),
        (
            {"gain": "TEXT"},
            ValueError,
            "gain: TEXT of a.fits is 'high', expected a num",
        ),
        ({"gain": "LOGICAL"}, ValueError, "gain: LOGICAL of a.fits is True"),
        ({"gain": [1, 2]}, ValueError, "gain: found 2 values for 1 images"),
        ({"gain": np.ones((1, 2))}, ValueError, "gain: found 1 values for 1 images"),
        ({"gain": True}, TypeError, "gain: found True for a.fits"),
        ({"gain": 2 * u.adu}, TypeError, "gain: a.fits needs electron / adu, found 2"),
        ({"readnoise": -1}, ValueError, "readnoise: found -1 for a.fits"),
        ({"readnoise": 3 * u.s}, TypeError, "a.fits needs electron or adu, found 3"),
        ({"readnoise": np.inf}, ValueError, "readnoise: found inf"),
        ({"snoise": -0.1}, ValueError, "snoise: found -0.1"),
        ({"snoise": 1 * u.s}, TypeError, "snoise: found 1.0 s for a.fits"),
        ({"snoise": "SENS"}, ValueError, "snoise: .*a.fits has no sensitivity noise"),
        ({"snoise": {}}, ValueError, "snoise: found 0 values"),
    ],
)
def test_bad_numbers(arguments, error, message):
    header = fits.Header({"ZERO": 0.0, "TEXT": "high", "LOGICAL": True})
    with pytest.raises(error, match=message):
        resolve([frame(header, name="a.fits")], **{"gain": 1.5, **arguments})


def test_keywords_do_not_hold_for_flux():
    with pytest.raises(ValueError, match=r"a.fits is in Jy, for which keywords"):
        resolve([frame({"GAIN": 1.5}, unit="Jy", name="a.fits")])
    assert resolve([frame(unit="Jy")], 2.0 * u.electron / u.Jy).gain.tolist() == [2]


def test_lookup_prefers_the_first_of_two_equal_keywords():
    assert lookup({"gain": 1.0, "GAIN": 2.0}, ["GAIN"]) == ("GAIN", 1.0)
    assert lookup({}, ["GAIN"]) is None
    assert lookup({"GAIN": None}, ["GAIN"]) is None


def test_text_for_fits():
    assert fits_text("a~ b") == "a~ b"
    odd = fits_text("Ωμ\t\udcff\x7f🔭")
    assert odd == r"\u03a9\u03bc\t\udcff\x7f\U0001f52d"
    fits.Header()["A"] = odd


def same(n, gain=1.5, readnoise=6.0):
    return Noise(np.full(n, gain), np.full(n, readnoise), np.zeros(n), [], [])


@pytest.mark.parametrize("n", [1, 2, 5, 31])
def test_equal_frames(n):
    # IRAF's noao.nproto.findthresh
    root = np.sqrt(n)
    assert effective_noise(same(n), "average") == pytest.approx((1.5 * n, 6 * root))
    assert effective_noise(same(n), "sum") == pytest.approx((1.5, 6 * root))


def test_median_of_many_frames():
    found = effective_noise(same(1001), "median")
    n = 2 * 1001 / np.pi
    assert found == pytest.approx((1.5 * n, 6 * np.sqrt(n)), rel=1e-3)
    assert effective_noise(same(2), "median") == effective_noise(same(2), "average")


N = 5
ZERO = np.array([0.0, 30.0, 60.0, 10.0, 5.0])
SCALE = np.array([1.0, 2.0, 0.5, 1.2, 1.0])
FACTOR = np.array([1.0, 1.5, 1.0, 0.5, 2.0])
WEIGHTS = np.array([1.0, 2.0, 0.0, 3.0, 1.0])


@pytest.mark.parametrize("level", [20.0, 5000.0])
@pytest.mark.parametrize(
    ("method", "normalization"),
    [
        ("average", None),
        ("average", Normalization(zero=ZERO, scale=SCALE, weights=WEIGHTS)),
        ("average", Normalization(factor=FACTOR, scale=SCALE)),
        ("sum", None),
        ("sum", Normalization(zero=ZERO, factor=FACTOR, weights=WEIGHTS)),
        ("median", None),
    ],
)
def test_scatter_is_that_of_the_model(method, normalization, level):
    """The variance of combined noise, 120 000 pixels: its error is 0.4 per cent."""
    gain = (
        np.array([1.5, 1.5, 2.0, 0.8, 3.0]) if method != "median" else np.full(N, 1.5)
    )
    readnoise = np.array([6.0, 9.0, 3.0, 6.0, 12.0]) if method != "median" else 6.0
    noise = Noise(gain, np.broadcast_to(readnoise, N), np.zeros(N), [], [])
    given = normalization or Normalization()
    zero = np.zeros(N) if given.zero is None else given.zero
    divisor = np.ones(N) if given.divisor is None else given.divisor
    weights = np.ones(N) if given.weights is None else given.weights
    rng = np.random.default_rng(3)
    shape = (N, 120_000)
    columns = [np.reshape(x, (-1, 1)) for x in (gain, noise.readnoise, zero, divisor)]
    g, r, z, s = columns
    electrons = rng.poisson(np.broadcast_to((level * s + z) * g, shape))
    samples = ((electrons + rng.normal(0, r, shape)) / g - z) / s
    if method == "median":
        image = np.median(samples, axis=0)
    else:
        image = weights @ samples
        if method == "average":
            image /= weights.sum()
    found = effective_noise(noise, method, normalization)
    model = (found.readnoise / found.gain) ** 2 + image.mean() / found.gain
    assert image.var() == pytest.approx(model, rel=0.03)


def test_units_that_differ():
    # 1500 electrons per kadu are 1.5 per adu
    noise = Noise(np.array([1.5, 1500]), np.full(2, 6.0), np.zeros(2), [], [])
    found = effective_noise(noise, "average", unit_factors=[1, 1000])
    assert found == pytest.approx(effective_noise(same(2), "average"))


@pytest.mark.parametrize("weights", ["ivar", np.ones((2, 3, 3))])
def test_weights_of_pixels_are_refused(weights):
    with pytest.raises(ValueError, match="differ from pixel to pixel"):
        effective_noise(same(2), "average", Normalization(weights=weights))
