# Licensed under a 3-clause BSD style license - see LICENSE
"""What is put together about one pixel: its samples, and the limits they had."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS

import imcombiners_astro as imc
from imcombiners_astro import combine
from imcombiners_astro.pixel import pixel_of

N, SHAPE = 9, (5, 8)
PLACES = list(np.ndindex(SHAPE))
MAD = {"sigma_clip_func": "median", "sigma_clip_dev_func": "mad_std"}


def make_images(outliers=True, **attributes):
    """Images of noise 5 about 100, in which every fourth pixel has outliers."""
    rng = np.random.default_rng(5)
    stack = rng.normal(100.0, 5.0, (N, *SHAPE))
    if outliers:
        for number, place in enumerate(PLACES[::4]):
            stack[(number % N, *place)] += 60 * (-1) ** number
            stack[((number + 3) % N, *place)] += 400
    return [CCDData(plane, unit="adu", **attributes) for plane in stack]


def values_at(images, place):
    return np.array([image.data[place] for image in images])


@pytest.fixture
def images():
    return make_images()


def test_of_a_result_and_of_images_alone(images):
    keywords = {"rejectors": imc.SigClip(sigma=3, stdfunc="mad")}
    result = combine(images, diagnostics="full", **keywords)
    for place in PLACES[:6]:
        pixel = pixel_of(result, place, images, keywords)
        again = pixel_of(images, place, keywords=keywords)
        assert pixel.index == place and pixel.unit == u.adu
        assert pixel.names == [f"img_list[{k}]" for k in range(N)]
        np.testing.assert_array_equal(pixel.values, values_at(images, place))
        np.testing.assert_array_equal(pixel.flags, result.sample_flags[:, *place])
        np.testing.assert_array_equal(pixel.used, ~result.mask_rej[:, *place])
        assert pixel.value == result.data[place]
        assert pixel.error == result.uncertainty.array[place]
        for name in ("low", "upp", "std", "nit", "output_flags"):
            assert getattr(pixel, name) == getattr(result, name)[place]
        assert np.isnan(pixel.errors).all()
        for one, other in zip(pixel, again, strict=True):
            np.testing.assert_equal(one, other)


def test_negative_indices_and_other_numbers_of_axes(images):
    result = combine(images, diagnostics="full")
    assert pixel_of(result, (-1, -2), images).index == (SHAPE[0] - 1, SHAPE[1] - 2)
    for axes in (1, 3):
        shape = (40,) if axes == 1 else (2, 4, 5)
        others = [CCDData(i.data.reshape(shape), unit="adu") for i in images]
        for index in (PLACES[0], PLACES[21], PLACES[-1]):
            flat = np.ravel_multi_index(index, SHAPE)
            there = tuple(int(i) for i in np.unravel_index(flat, shape))
            pixel = pixel_of(others, there)
            np.testing.assert_array_equal(pixel.values, values_at(images, index))


def test_images_with_a_wcs_are_no_obstacle(images):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    for image in images:
        image.wcs = wcs
    assert pixel_of(images, (2, 3)).value == combine(images).data[2, 3]


def test_images_at_offsets(images):
    offsets = [(k % 3, -k) for k in range(N)]
    images[2] = images[2][:2, 3:]
    keywords = {"offsets": offsets, "rejectors": imc.MinMaxClip(0, 1)}
    result = combine(images, diagnostics="full", **keywords)
    for index in ((0, 0), (2, N), (3, 9), (result.shape[0] - 1, result.shape[1] - 1)):
        pixel = pixel_of(result, index, images, keywords=keywords)
        for k, image in enumerate(images):
            own = np.subtract(index, result.frames["offset"][k])
            there = (own >= 0).all() and (own < image.shape).all()
            expected = image.data[tuple(own)] if there else np.nan
            np.testing.assert_equal(pixel.values[k], expected)
            assert pixel.used[k] <= there
        again = pixel_of(images, index, keywords=keywords)
        np.testing.assert_equal(again.values, pixel.values)


def test_zero_scale_and_units(images):
    images[2] = CCDData(images[2].data * 1e-3, unit=u.Unit("1000 adu"))
    zero, scale = np.linspace(0, 8, N), np.linspace(0.5, 2, N)
    keywords = {"zero": zero, "scale": scale, "rejectors": imc.MinMaxClip(1, 1)}
    pixel = pixel_of(images, (1, 1), keywords=keywords)
    # Numbers given as scale multiply.
    raw = values_at(images, (1, 1))
    raw[2] *= 1000
    np.testing.assert_allclose(pixel.values, (raw - zero) * scale, rtol=1e-13)
    assert pixel.is_scaled and pixel.saw_scaled
    np.testing.assert_allclose(pixel.value, pixel.values[pixel.used].mean())
    after = pixel_of(images, (1, 1), keywords={"scale": scale})
    assert after.is_scaled and not after.saw_scaled


@pytest.mark.parametrize(
    "cls", [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
def test_errors_of_samples_and_result(images, cls):
    for k, image in enumerate(images):
        image.uncertainty = StdDevUncertainty(np.full(SHAPE, 1.0 + k)).represent_as(cls)
    images[3].uncertainty = UnknownUncertainty(np.ones(SHAPE))
    images[4].uncertainty = None
    scale = np.full(N, 2.0)
    pixel = pixel_of(images, (0, 5), keywords={"scale": scale})
    expected = 2 * (1.0 + np.arange(N))
    expected[3:5] = np.nan
    np.testing.assert_allclose(pixel.errors, expected)
    # The result keeps the class.
    np.testing.assert_allclose(pixel.error, pixel.values.std() / 3)


def test_files_of_the_result(images, tmp_path):
    paths = [tmp_path / f"image{k}.fits" for k in range(N)]
    for image, path in zip(images, paths, strict=True):
        image.data = image.data.astype("f4")
        image.write(path)
    result = combine(paths, diagnostics="simple", output_file=tmp_path / "master.fits")
    pixel = pixel_of(result, (4, 7))
    np.testing.assert_array_equal(pixel.values, values_at(images, (4, 7)))
    assert pixel.flags is None and pixel.names == [str(path) for path in paths]
    read = imc.CombinedCCDData.read(tmp_path / "master.fits")
    np.testing.assert_equal(pixel_of(read, (4, 7))[5:], pixel[5:])
    paths[5].unlink()
    with pytest.raises(ValueError, match=r"no file .*image5\.fits'; give the images"):
        pixel_of(result, (4, 7))


def test_keywords_for_reading(images, tmp_path):
    paths = [tmp_path / f"image{k}.fits" for k in range(N)]
    for image, path in zip(images, paths, strict=True):
        hdus = image.to_hdu()
        del hdus[0].header["BUNIT"]
        hdus.writeto(path)
    result = combine(paths, diagnostics="full", unit="adu")
    with pytest.raises(ValueError, match="unit"):
        pixel_of(result, (0, 1))
    pixel = pixel_of(result, (0, 1), keywords={"unit": "adu"})
    np.testing.assert_array_equal(pixel.values, values_at(images, (0, 1)))


def passes(values, rejector, spread):
    """Clip with numpy; return the limits of the last pass."""
    there = np.isfinite(values)
    for _ in range(rejector.maxiters):
        center, sigma = np.median(values[there]), spread(values[there])
        low, upp = center - rejector.sigma * sigma, center + rejector.sigma * sigma
        left = there & (values >= low) & (values <= upp)
        if (left == there).all():
            break
        there = left
    return low, upp, there


def mad(values):
    return 1.482602218505602 * np.median(np.abs(values - np.median(values)))


def about_median(values):
    return np.sqrt(np.mean((values - np.median(values)) ** 2))


@pytest.mark.parametrize("maxiters", [1, 2, 3, 10])
@pytest.mark.parametrize(("stdfunc", "spread"), [("mad", mad), ("std", about_median)])
def test_limits_of_the_last_pass(images, maxiters, stdfunc, spread):
    images[6].data[PLACES[8]] = np.nan
    rejector = imc.SigClip(sigma=2, maxiters=maxiters, stdfunc=stdfunc)
    result = combine(images, rejectors=rejector, diagnostics="full")
    assert result.n_rejected_high.any() and result.n_rejected_low.any()
    for place in PLACES:
        pixel = pixel_of(result, place, images, {"rejectors": rejector})
        low, upp, left = passes(pixel.values, rejector, spread)
        np.testing.assert_array_equal(pixel.used, left)
        lines = np.broadcast_to([[low], [upp]], (2, N))
        np.testing.assert_allclose(pixel.limits["SigClip"], lines, rtol=1e-12)


@pytest.mark.parametrize("rejector", [imc.CcdClip(sigma=4), imc.CrReject(sigma=4)])
@pytest.mark.parametrize("own", [False, True])
def test_limits_of_noise_models(images, rejector, own):
    keywords = {"gain": 2.0, "readnoise": 6.0}
    if own:
        rejector = type(rejector)(sigma=4, gain=2.0, rdnoise=6.0)
        keywords = {}
    keywords["rejectors"] = rejector
    result = combine(images, diagnostics="full", **keywords)
    for place in PLACES:
        pixel = pixel_of(result, place, images, keywords)
        center = np.median(pixel.values[pixel.used])
        reach = 4 * np.sqrt(3.0**2 + center / 2)
        low = center - reach if isinstance(rejector, imc.CcdClip) else -np.inf
        limits = pixel.limits[type(rejector).__name__]
        expected = np.broadcast_to([[low], [center + reach]], (2, N))
        np.testing.assert_allclose(limits, expected, rtol=1e-12)


def test_limits_that_are_not_known_are_not_there(images):
    gains = np.linspace(1, 2, N)
    each = {"rejectors": imc.CcdClip(), "gain": list(gains), "readnoise": 5.0}
    own = {"rejectors": imc.CcdClip(gain=tuple(gains), rdnoise=5.0)}
    scaled = {"rejectors": imc.CcdClip(gain=2.0, rdnoise=5.0), "scale": list(gains)}
    sensitive = {"rejectors": imc.CcdClip(), "gain": 2.0, "readnoise": 5.0}
    sensitive["snoise"] = 0.01
    unpassed = {"rejectors": imc.SigClip(2, maxiters=0)}
    two = {"rejectors": [imc.SigClip(2), imc.MinMaxClip()]}
    called = {"sigma_clip": True, "sigma_clip_func": lambda x, axis: x.mean(axis)}
    for keywords in (each, own, scaled, sensitive, unpassed, two, called):
        assert pixel_of(images, (0, 0), keywords=keywords).limits == {}
    # Nor those of a rejector without the flags of the samples.
    keywords = {"rejectors": imc.SigClip(stdfunc="mad")}
    result = combine(images, diagnostics="simple", **keywords)
    pixel = pixel_of(result, (0, 0), images, keywords)
    assert pixel.limits == {} and pixel.flags is None
    closest = imc.SigClip(sigma=0.1, stdfunc="mad", nkeep=4, revert_on_nkeep="closest")
    assert pixel_of(images, (0, 0), keywords={"rejectors": closest}).limits == {}


def test_a_pass_that_was_undone_has_limits_too(images):
    rejector = imc.SigClip(sigma=0.5, stdfunc="mad", nkeep=8)
    pixel = pixel_of(images, (0, 1), keywords={"rejectors": rejector})
    low, upp = pixel.limits["SigClip"][:, 0]
    center, reach = np.median(pixel.values), 0.5 * mad(pixel.values)
    np.testing.assert_allclose([low, upp], [center - reach, center + reach])
    assert pixel.used.all() and (pixel.values > upp).any()


def test_limits_of_linear_clip_and_thresholds(images):
    rejector = imc.LinearClip(low=12, upp=15)
    keywords = {"rejectors": rejector, "thresholds": (40 * u.adu, None)}
    keywords |= {"zero": np.arange(N) * 0.1}
    pixel = pixel_of(images, PLACES[4], keywords=keywords)
    low, upp = pixel.limits["LinearClip"]
    np.testing.assert_allclose(upp - low, 27)
    inside = (low <= pixel.values) & (pixel.values <= upp)
    np.testing.assert_array_equal(inside, pixel.used)
    np.testing.assert_allclose(pixel.limits["thresholds"][0], 40 - 0.1 * np.arange(N))
    assert (pixel.limits["thresholds"][1] == np.inf).all()


@pytest.mark.parametrize("scale", [None, np.linspace(0.5, 2, N), -np.linspace(1, 2, N)])
@pytest.mark.parametrize("thresholds", [None, (80, 300)])
def test_limits_of_the_switches_of_ccdproc(images, scale, thresholds):
    for image in images:
        image.mask = np.zeros(SHAPE, bool)
    images[0].mask[:] = True  # masked samples are looked at, but not used
    keywords = {"sigma_clip": True, "scale": scale, "thresholds": thresholds, **MAD}
    if thresholds is None:
        keywords |= {"minmax_clip": True, "minmax_clip_max": 450.0}
    if scale is None:
        del keywords["scale"]
    result = combine(images, diagnostics="full", **keywords)
    assert result.n_rejected_high.any() or result.n_rejected_low.any()
    for place in PLACES:
        pixel = pixel_of(result, place, images, keywords)
        inside = np.ones(N, bool)
        for low, upp in pixel.limits.values():
            inside &= (low <= pixel.values) & (pixel.values <= upp)
        inside[0] = False
        np.testing.assert_array_equal(inside, pixel.used)


def test_samples_outside_thresholds_have_no_part_in_limits():
    images = make_images(outliers=False)
    images[4].data[1, 1] = 9000.0
    call = {"sigma_clip": True, "thresholds": (None, 500), **MAD}
    call |= {"sigma_clip_func": "mean", "sigma_clip_dev_func": "std"}
    call |= {"sigma_clip_low_thresh": 2, "sigma_clip_high_thresh": 2}
    pixel = pixel_of(images, (1, 1), keywords=call)
    there = np.delete(pixel.values, 4)
    low, upp = pixel.limits["sigma_clip"][:, 0]
    np.testing.assert_allclose(low, there.mean() - 2 * there.std())
    np.testing.assert_allclose(upp, there.mean() + 2 * there.std())


def test_a_nan_and_functions_that_do_not_ignore_it(images):
    images[1].data[0, 0] = np.nan
    call = {"sigma_clip": True, "sigma_clip_low_thresh": 2, "sigma_clip_high_thresh": 2}
    assert "sigma_clip" not in pixel_of(images, (0, 0), keywords=call).limits
    call |= MAD
    assert "sigma_clip" in pixel_of(images, (0, 0), keywords=call).limits


def test_what_does_not_fit(images):
    result = combine(images, diagnostics="full")
    with pytest.raises(IndexError, match=r"found 1 indices of a pixel, \(3,\)"):
        pixel_of(result, (3,), images)
    with pytest.raises(IndexError, match=r"no pixel \(5, 0\).*shape \(5, 8\)"):
        pixel_of(result, (5, 0), images)
    with pytest.raises(TypeError, match="index of the pixel: found 'a'"):
        pixel_of(result, ("a", 0), images)
    with pytest.raises(ValueError, match="give the images that were combined"):
        pixel_of(result, (0, 0))
    with pytest.raises(ValueError, match="found 8 images; the result is of 9"):
        pixel_of(result, (0, 0), images[1:])
    with pytest.raises(ValueError, match="images= goes with a result"):
        pixel_of(images, (0, 0), images)
    with pytest.raises(ValueError, match=r"has no low, upp; .*Arithmetic drops"):
        pixel_of(result.add(1 * u.adu), (0, 0), images)
    with pytest.raises(ValueError, match="has no mask_rej, frames, low, upp"):
        pixel_of(imc.CombinedCCDData(images[0]), (0, 0), images)
    with pytest.raises(ValueError, match="needs the same part of the images"):
        pixel_of(result[:3], (0, 0), images)
    other = [CCDData(image.data, unit="s") for image in images]
    with pytest.raises(TypeError, match="the result"):
        pixel_of(result, (0, 0), other)
    far = make_images()
    far[4].data += 1000
    with pytest.raises(ValueError, match=r"pixel \(0, 0\) the samples used are"):
        pixel_of(result, (0, 0), far)
    with pytest.raises(TypeError, match="rejectors"):
        pixel_of(result, (0, 0), images, {"rejectors": "sigma"})


def test_a_part_of_a_result(images):
    result = combine(images, diagnostics="full")[1:4, 2:]
    parts = [image[1:4, 2:] for image in images]
    pixel = pixel_of(result, (0, 0), parts)
    np.testing.assert_array_equal(pixel.values, values_at(images, (1, 2)))


def test_a_pixel_without_samples(images):
    for image in images:
        image.mask = np.zeros(SHAPE, bool)
        image.mask[2, 2] = True
    pixel = pixel_of(images, (2, 2), keywords={"rejectors": imc.SigClip(2)})
    assert not pixel.used.any() and np.isnan(pixel.value)
    assert pixel.limits == {}
    np.testing.assert_array_equal(pixel.values, values_at(images, (2, 2)))


@pytest.mark.filterwarnings("ignore::imcombiners_astro.errors.CroppedFrameWarning")
def test_larger_images(images):
    images[3] = CCDData(np.pad(images[3].data, ((0, 2), (0, 4))), unit="adu")
    pixel = pixel_of(images, (4, 6))
    np.testing.assert_array_equal(pixel.values, values_at(images, (4, 6)))
