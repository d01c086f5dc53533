# Licensed under a 3-clause BSD style license - see LICENSE
"""The interface of `imcombiners_astro.iraf`: input, words, output, errors.

That the numbers are right is shown in ``test_iraf.py``.
"""

from dataclasses import FrozenInstanceError, fields

import iraf_oracle as io
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from imcombiners_astro import iraf, place_into_padded
from imcombiners_astro.errors import CombineWarning
from imcombiners_astro.iraf import ImcombineResult, imcombine
from imcombiners_astro.iraf_frames import Frames, resolve_factors


def same_bits(a, b):
    """Whether two results are equal bit for bit."""
    for field in fields(ImcombineResult):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            assert_array_equal(x, y)
    return True


@pytest.fixture
def stack():
    rng = np.random.default_rng(11)
    cube = rng.normal(500, 20, (7, 12, 9))
    cube[rng.random(cube.shape) < 0.05] += 600
    return np.rint(cube).astype("u2")


CLIP = dict(reject="sigclip", lsigma=2, hsigma=2)


def test_defaults_are_those_of_iraf():
    defaults = imcombine.__kwdefaults__
    for name, value in io.DEFAULTS.items():
        mine = defaults[name]
        mine = "yes" if mine is True else "INDEF" if mine is None else mine
        assert mine == value, name


def test_the_words_of_iraf(stack):
    plain = imcombine(stack, **CLIP, mclip=False)
    assert same_bits(plain, imcombine(stack, **CLIP, mclip="no"))
    assert same_bits(
        plain,
        imcombine(
            stack,
            **CLIP,
            combine="AVERAGE",
            mclip="No",
            lthreshold="INDEF",
            hthreshold="indef",
            rdnoise="0.",
            gain="1.",
            snoise="0.",
        ),
    )
    open_ended = imcombine(stack, reject="sigclip", lsigma="INDEF", hsigma=2)
    for none in (None, np.inf):
        again = imcombine(stack, reject="sigclip", lsigma=none, hsigma=2)
        assert same_bits(open_ended, again)


def test_types(stack):
    result = imcombine(stack, exptime=np.full(7, 2.5), **CLIP)
    assert result.image.dtype == result.sigma.dtype == np.float32
    assert result.rejmask.dtype == bool
    assert result.nrejmask.dtype == result.expmask.dtype == int
    assert result.rejmask.shape == stack.shape
    assert_array_equal(result.expmask, np.rint(2.5 * (7 - result.nrejmask)))
    double = imcombine(stack, outtype="double", **CLIP)
    assert double.image.dtype == double.sigma.dtype == np.float64
    assert double.expmask is None
    with pytest.raises(FrozenInstanceError):
        result.image = None


@pytest.mark.parametrize("dtype", ["i2", ">u2", "i4", ">i8", "f4", ">f4", "f8"])
def test_every_type_and_container_of_pixels(stack, dtype):
    expected = imcombine(stack, combine="median", **CLIP, scale="mean", zero="mode")
    cube = stack.astype(dtype)
    options = dict(combine="median", **CLIP, scale="mean", zero="mode")
    assert same_bits(expected, imcombine(cube, **options))
    assert same_bits(expected, imcombine(list(cube), **options))
    assert same_bits(expected, imcombine((plane for plane in cube), **options))
    strided = np.asfortranarray(np.repeat(cube, 2, axis=2))[:, :, ::2]
    assert same_bits(expected, imcombine(strided, **options))
    assert_array_equal(cube, stack)  # untouched


def test_masks(stack):
    rng = np.random.default_rng(3)
    one = rng.random(stack.shape[1:]) < 0.1
    every = np.broadcast_to(one, stack.shape)
    options = dict(CLIP, scale="median")
    expected = imcombine(stack, every, **options)
    assert expected.rejmask[:, one].all()
    assert (expected.nrejmask[one] == len(stack)).all()
    for masks in (one, one.astype("u1"), list(every), every.astype("i4") * 5):
        assert same_bits(expected, imcombine(stack, masks, **options))
    hidden = np.ma.array(stack, mask=every)
    assert same_bits(expected, imcombine(hidden, **options))
    some = [None, one, *[None] * 5]
    hidden = [np.ma.array(stack[0], mask=one), *stack[1:]]
    both = imcombine(hidden, some, **options)
    assert both.rejmask[:2, one].all()
    assert same_bits(both, imcombine(stack, [one, one, *[None] * 5], **options))


@pytest.mark.parametrize("reject", list(iraf._REJECT))
@pytest.mark.parametrize("shape", [(7, 108), (7, 2, 6, 9), (7, 108, 1)])
def test_any_number_of_dimensions(stack, reject, shape):
    lines = {(7, 108): (7, 1, 108), (7, 108, 1): (7, 108, 1)}.get(shape, stack.shape)
    options = dict(CLIP, reject=reject)
    flat = imcombine(stack.reshape(lines), **options)
    result = imcombine(stack.reshape(shape), **options)
    assert result.image.shape == shape[1:]
    assert_array_equal(result.image.ravel(), flat.image.ravel())
    assert_array_equal(result.sigma.ravel(), flat.sigma.ravel())
    assert_array_equal(result.rejmask.ravel(), flat.rejmask.ravel())


@pytest.mark.parametrize("number", range(12))
def test_offsets(number):
    rng = np.random.default_rng(number)
    n, ndim = 6, 1 + number % 3
    images = [rng.normal(100, 5, rng.integers(3, 8, ndim)).round() for _ in range(n)]
    masks = [rng.random(image.shape) < 0.1 for image in images]
    offsets = rng.integers(-3, 4, (n, ndim))
    combines = ["average", "median", "lmedian", "sum", "quadrature", "nmodel"]
    rejects = ["minmax", "ccdclip", "crreject", "sigclip", "avsigclip", "pclip", "none"]
    options = {
        "combine": combines[number % 6],
        "reject": rejects[number % 7],
        "weight": ["none", "mean"][number % 2],
        "scale": ["none", "median"][number // 2 % 2],
        "grow": 1.5 * (number % 5 == 0),
        "lsigma": 1,
        "hsigma": 1.2,
        "exptime": np.arange(n),
    }
    filled = place_into_padded(images, offsets)
    hidden = place_into_padded([mask.astype("u1") for mask in masks], offsets, fill=0)
    plain = imcombine(filled, hidden != 0, **options)
    assert same_bits(imcombine(images, masks, offsets=offsets, **options), plain)


def test_a_grid(stack):
    ones = np.ones((5, 4, 6), "i2") * np.arange(1, 6, dtype="i2")[:, None, None]
    found = imcombine(ones, offsets="Grid 2 7 2 -5", blank=-1)
    # The first image of a row is on the left; rows go down here, and are counted anew.
    image = np.full((9, 13), -1.0)
    image[5:, :6], image[5:, 7:] = 3, 2  # the fifth is where the first is
    image[:4, :6], image[:4, 7:] = 3, 4
    assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.nrejmask[5:, :6], 3)
    assert same_bits(imcombine(stack, offsets=" none "), imcombine(stack))
    same = imcombine(stack, offsets="grid 1 3")
    assert same_bits(same, imcombine(stack))


def test_threads_do_not_matter():
    rng = np.random.default_rng(5)
    cube = rng.normal(100, 5, (9, 200, 150)).astype("f4")
    options = dict(CLIP, combine="lmedian", scale="median", grow=1.5, nkeep=3)
    one = imcombine(cube, **options, n_threads=1)
    assert same_bits(one, imcombine(cube, **options, n_threads=2))
    assert same_bits(one, imcombine(cube, **options))


def test_samples_that_are_not_finite_are_never_used(stack):
    cube = stack.astype("f4")
    bad = np.random.default_rng(2).random(cube.shape) < 0.1
    cube[bad] = np.random.default_rng(2).choice([np.nan, np.inf, -np.inf], bad.sum())
    options = dict(CLIP, scale="median", zero="mean", weight="mode", grow=1)
    result = imcombine(cube, **options)
    assert result.rejmask[bad].all()
    assert same_bits(result, imcombine(stack, bad, **options))


def test_blank(stack):
    stack[:, 0, 0] = 0
    for combine in iraf._COMBINE:
        for blank in (0.0, -99.0, np.nan):
            result = imcombine(stack, combine=combine, blank=blank, lthreshold=1)
            assert_array_equal(result.image[0, 0], np.float32(blank))
            assert_array_equal(result.sigma[0, 0], np.float32(blank))
            assert result.nrejmask[0, 0] == 7


def test_noise_of_every_image():
    # 10 below the median: 2 sigma of 5 electrons in one image, 0.2 sigma in the other
    images = np.array([100.0, 100, 100, 90, 90]).reshape(5, 1, 1)
    options = dict(reject="ccdclip", lsigma=1.5, gain=1e6)
    result = imcombine(images, rdnoise=[5e6, 5e6, 5e6, 5e6, 50e6], **options)
    assert_array_equal(result.rejmask[:, 0, 0], [False, False, False, True, False])
    same = imcombine(images, rdnoise=5e6, **options)
    assert same_bits(same, imcombine(images, rdnoise=[5e6] * 5, **options))
    gain, rdnoise, snoise = np.arange(1.0, 6), np.arange(5.0, 0, -1), np.full(5, 0.1)
    error = imcombine(
        images,
        combine="nmodel",
        gain=gain,
        rdnoise=rdnoise,
        snoise=snoise,
        outtype="double",
    )
    v = images[:, 0, 0]
    variance = (rdnoise / gain) ** 2 + v / gain + (snoise * v) ** 2
    assert_allclose(error.image, np.sqrt(variance.sum()) / 5, rtol=1e-14)


def test_factors_of_large_images_come_from_the_grid():
    rng = np.random.default_rng(8)
    images = rng.normal(1000, 30, (3, 330, 340)) + rng.exponential(40, (3, 330, 340))
    images *= np.array([1.0, 1.3, 0.8])[:, None, None]
    images = images.astype("f4")
    frames = Frames(list(images), [None] * 3, None)
    for scale, zero, weight in (
        ("mode", "median", "mean"),
        ("median", "mode", "exposure"),
        ("exposure", [1.0, 2.0, 3.0], "mode"),
        ([1.0, 2.0, 3.0], "mean", [0.0, 1.0, 2.0]),
    ):
        request = dict(scale=scale, zero=zero, weight=weight)
        model = io.Model(3, request, False)
        io.factors(model, images.astype(float), [1.0, 2.0, 4.0])
        numbers = {
            name: value if isinstance(value, str) else np.array(value)
            for name, value in request.items()
        }
        found = resolve_factors(frames, np.array([1.0, 2.0, 4.0]), numbers, 0.1)
        assert_allclose(found.scales, model.scales, rtol=1e-13)
        assert_allclose(found.zeros, model.zeros, rtol=1e-11, atol=1e-9)
        assert_allclose(found.weights, model.weights, rtol=1e-12)
        assert found.applied == model.scaled
        assert found.poisson == model.poisson
        assert found.weighted == model.weighted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(scale="median"), "scale: the median of image 1 is -5; nothing is scaled"),
        (
            dict(weight="mean"),
            "weight: the mean of image 1 is -5; all weights are equal",
        ),
        (
            dict(zero="mode", weight="exposure", exptime=[1, 2, 3]),
            "zero: the mode of image 1 is -5; weights are not divided by the sky level",
        ),
    ],
)
def test_levels_that_are_not_positive_are_told(options, message):
    images = np.stack([np.full((4, 4), level) for level in (10.0, -5.0, 10.0)])
    with pytest.warns(CombineWarning, match=message):
        imcombine(images, **options)


IMAGES = np.zeros((5, 3, 4))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(combine="mean"), ValueError, "unknown combine 'mean'; expected one of: "
         "average, median, lmedian, sum, quadrature, nmodel"),
        (dict(combine=None), ValueError, "unknown combine None"),
        (dict(reject="sigmaclip"), ValueError, "unknown reject 'sigmaclip'; expected "
         "one of: none, minmax, ccdclip, crreject, sigclip, avsigclip, pclip"),
        (dict(scale="flux"), ValueError, "unknown scale 'flux'; expected one of: "
         "none, mode, median, mean, exposure"),
        (dict(zero="exposure"), ValueError, "unknown zero 'exposure'; expected one of: "
         "none, mode, median, mean"),
        (dict(weight="sky"), ValueError, "unknown weight 'sky'"),
        (dict(scale="@scales"), ValueError, "scale: found '@scales'; files and "
         "keywords are not read here, expected 5 numbers or one of: none"),
        (dict(zero="!SKY"), ValueError, "zero: found '!SKY'; files and keywords"),
        (dict(outtype="short"), ValueError, "unknown outtype 'short'; expected one "
         "of: real, double"),
        (dict(mclip="maybe"), ValueError, "unknown mclip 'maybe'; expected one of: "
         "yes, no"),
        (dict(mclip=1), ValueError, "unknown mclip 1"),
        (dict(scale=[1, 2]), ValueError, r"scale: found an array of shape \(2,\), "
         "expected 5 values, one for each frame"),
        (dict(zero=3.0), ValueError, r"zero: found an array of shape \(\)"),
        (dict(weight=[1, 1, 1, 1, np.nan]), ValueError, "weight: found NaN or inf"),
        (dict(weight=["a"] * 5), TypeError, "weight: found"),
        (dict(scale=[1, 1, 0, 1, 1]), ValueError, "scale: found 0.0 for image 2, "
         "expected a positive number"),
        (dict(weight=[1, 1, 1, -1, 1]), ValueError, "weight: found -1.0 for image 3, "
         "expected a number >= 0"),
        (dict(scale="exposure"), ValueError, "exptime: found None, needed for "
         "scale='exposure'"),
        (dict(weight="Exposure"), ValueError, "exptime: found None, needed for weight"),
        (dict(exptime=[1, 2]), ValueError, r"exptime: found an array of shape \(2,\)"),
        (dict(exptime=[1, 2, 3, 4, -1]), ValueError, "exptime: found -1.0 for image 4"),
        (dict(reject="minmax", nlow=2, nhigh=3), ValueError, "nlow, nhigh: found 2 and "
         "3 for 5 images, expected a sum less than the number of images"),
        (dict(nlow=-1), ValueError, "nlow: found -1, expected an integer >= 0"),
        (dict(nhigh=0.2), TypeError, "nhigh: found 0.2, expected an integer"),
        (dict(nkeep="1"), TypeError, "nkeep: found '1', expected an integer"),
        (dict(lsigma=-1), ValueError, 'lsigma: found -1, expected a number >= 0, None'),
        (dict(hsigma=np.nan), ValueError, "hsigma: found nan"),
        (dict(hsigma="three"), TypeError, "hsigma: found 'three'"),
        (dict(gain=0), ValueError, "gain: found 0, expected a positive number"),
        (dict(gain=[1, 1, 1, 1, -2]), ValueError, "gain: found -2.0"),
        (dict(gain="GAIN"), ValueError, "gain: found 'GAIN', expected a positive "
         "number, or one for each image; header keywords are not read here"),
        (dict(gain=[1, 2]), ValueError, r"gain: found an array of shape \(2,\)"),
        (dict(rdnoise=-5), ValueError, "rdnoise: found -5, expected a finite number"),
        (dict(rdnoise=np.nan), ValueError, "rdnoise: found nan"),
        (dict(rdnoise="nan"), ValueError, "rdnoise: found nan"),
        (dict(snoise=np.inf), ValueError, "snoise: found inf"),
        (dict(sigscale=-0.1), ValueError, "sigscale: found -0.1"),
        (dict(pclip=0), ValueError, "pclip: found 0, expected a finite number, not 0"),
        (dict(pclip=np.nan), ValueError, "pclip: found nan"),
        (dict(grow=-1), ValueError, "grow: found -1"),
        (dict(grow=np.inf), ValueError, "grow: found inf"),
        (dict(blank=np.inf), ValueError, "blank: found inf, expected a finite number, "
         "or NaN"),
        (dict(blank="INDEF"), TypeError, "blank: found 'INDEF'"),
        (dict(lthreshold=np.nan), ValueError, "lthreshold: found nan"),
        (dict(lthreshold=5, hthreshold=1), ValueError, "lthreshold, hthreshold: found "
         "5.0 and 1.0, expected lthreshold <= hthreshold"),
        (dict(n_threads=0), ValueError, "n_threads: found 0"),
        (dict(images=np.zeros(5)), ValueError, r"images: found shape \(5,\)"),
        (dict(images=[]), ValueError, "images: found none"),
        (dict(images=5), TypeError, "images: found int, expected an array"),
        (dict(images=[[1, 2], [3, 4]]), TypeError, r"images\[0\]: found list, "
         "expected a NumPy array"),
        (dict(images=[np.zeros((2, 2)), np.zeros((2, 3))]), ValueError, r"images\[1\]: "
         r"found shape \(2, 3\), expected \(2, 2\)"),
        (dict(images=IMAGES.astype(complex)), TypeError, r"images\[0\]: found dtype "
         "complex128, expected integers"),
        (dict(images=IMAGES.astype("f2")), TypeError, "found dtype float16"),
        (dict(masks=np.zeros((3, 3), bool)), ValueError, r"masks: found shape "
         r"\(3, 3\), expected \(5, 3, 4\) or \(3, 4\)"),
        (dict(masks=[None]), ValueError, "masks: found 1, expected 5, one for each"),
        (dict(masks=[None] * 4 + [np.zeros(3)]), ValueError, r"masks\[4\]: found"),
        (dict(masks=1), TypeError, "masks: found int"),
        (dict(offsets="wcs"), ValueError, "offsets: found 'wcs', expected 'none', "
         "'grid n1 s1 n2 s2 ...', or integers .* arrays have no coordinates"),
        (dict(offsets="grid 2"), ValueError, "offsets: found 'grid 2'"),
        (dict(offsets="grid 0 5"), ValueError, "offsets: found 'grid 0 5'"),
        (dict(offsets="grid 1 2 3 4 5 6"), ValueError, "for images of 2 axes"),
        (dict(offsets=[(0, 0)]), ValueError,
         r"found shape \(1, 2\), expected \(5, 2\)"),
        (dict(offsets=[(0, 0.5)] * 5), TypeError, "offsets: found dtype float64"),
        (dict(offsets=[(0, 0)] * 2, images=[np.zeros((2, 2)), np.zeros(2)]), ValueError,
         r"images\[1\]: found shape \(2,\)"),
        (dict(images=np.full((5, 3, 4), np.nan), scale="mode"), ValueError, "images: "
         "image 0 has no good pixel to take the mode of"),
    ],
)  # fmt: skip
def test_bad_input_is_told_before_any_work(monkeypatch, options, error, message):
    def work(*args, **kwargs):
        raise AssertionError("work has begun")

    monkeypatch.setattr(iraf, "combine_planes", work)
    with pytest.raises(error, match=message):
        imcombine(**{"images": IMAGES, **options})
