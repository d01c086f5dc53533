# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames in memory: what an image may be, and what belongs to it."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    FlagCollection,
    InverseVariance,
    NDData,
    NDDataRef,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked
from astropy.wcs import WCS

from imcombiners_astro.dq import bad_samples, flag_names
from imcombiners_astro.files.fits import open_frame, open_frames
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.frames import CCDFrame, fold, plan_strips, strips
from imcombiners_astro.variances import require_variances

SHAPE = (6, 9)
UNCERTAINTIES = {
    "std": StdDevUncertainty,
    "var": VarianceUncertainty,
    "ivar": InverseVariance,
}


@pytest.fixture
def rng():
    return np.random.default_rng(55)


def whole(frame):
    """Read a frame as one strip."""
    return frame.read(0, fold(frame.shape)[0])


def in_pieces(frame, get, height=2):
    """What `get` finds in strips of a few rows, put together again."""
    pieces = []
    n_rows = fold(frame.shape)[0]
    for start in range(0, n_rows, height):
        stop = min(n_rows, start + height)
        buffer = np.empty((stop - start) * frame.buffer_nbytes, np.uint8)
        pieces.append(get(frame.read(start, stop, buffer)).copy())
    return np.concatenate(pieces).reshape(frame.shape)


# --- kinds of images ---------------------------------------------------------------


def kinds_of_image(data, mask):
    """Give the same image in every way there is."""
    quantity = u.Quantity(data, "adu", copy=False)
    return {
        "CCDData": CCDData(data, unit="adu", mask=mask),
        "NDData": NDData(data, unit="adu", mask=mask),
        "NDDataRef": NDDataRef(data, unit="adu", mask=mask),
        "NDData of a Quantity": NDData(quantity, mask=mask),
        "NDData without a unit": NDData(data, mask=mask),
        "NDData of a masked array": NDData(np.ma.array(data, mask=mask)),
        "masked array": np.ma.array(data, mask=mask),
        "masked Quantity": Masked(quantity, mask=mask, copy=False),
        "Masked array": Masked(data, mask=mask),
        "integer mask": NDData(data, unit="adu", mask=mask.astype(np.int16) * 256),
    }


@pytest.mark.parametrize("kind", kinds_of_image(np.zeros(2), np.zeros(2, bool)))
def test_kinds_of_image(rng, kind):
    data = rng.normal(size=SHAPE)
    mask = rng.random(SHAPE) < 0.3
    frame = open_frame(kinds_of_image(data, mask)[kind], unit="adu")
    assert frame.unit == u.adu
    assert frame.unit_factor == 1
    assert (frame.uncertainty_type, frame.has_flags) == (None, False)
    strip = whole(frame)
    np.testing.assert_array_equal(strip.values(), data)
    assert np.shares_memory(strip.pixels, data)
    np.testing.assert_array_equal(strip.mask, mask)
    template = frame.template()
    assert isinstance(template, CCDData)
    assert template.unit == u.adu
    np.testing.assert_array_equal(template.data, data)
    np.testing.assert_array_equal(template.mask, mask)
    assert not np.shares_memory(template.data, data)


def test_arrays_without_a_mask(rng):
    data = rng.normal(size=SHAPE)
    arrays = [data, data * u.s, np.ma.array(data), Masked(data), data.view(np.matrix)]
    for array in arrays:
        frame = open_frame(array, unit="s")
        assert frame.unit == u.s
        assert not np.any(whole(frame).mask)
        np.testing.assert_array_equal(whole(frame).pixels, data)
        np.testing.assert_array_equal(frame.template().data, data)


def test_masks_of_one_value(rng):
    for value in (True, False):
        image = NDData(rng.normal(size=SHAPE), unit="adu", mask=value)
        template = CCDFrame(image, "x").template()
        assert np.all(template.mask) if value else not np.any(template.mask)


def test_a_quantity_keeps_its_unit():
    assert open_frame(np.ones(SHAPE) * u.electron, unit="adu").unit == u.electron
    assert open_frame(NDData(np.ones(SHAPE), unit="s"), unit="adu").unit == u.s


def test_dimensionless_has_to_be_said():
    for unit in ("", u.dimensionless_unscaled):
        frame = open_frame(np.ones(SHAPE), unit=unit)
        assert frame.unit == u.dimensionless_unscaled
        assert frame.template().unit == u.dimensionless_unscaled


def test_no_unit():
    with pytest.raises(TypeError, match=r"img_list\[1\] must be an array with a unit"):
        open_frames([np.ones(SHAPE) * u.s, np.ones(SHAPE)])
    message = r"a unit for CCDData must be specified: img_list\[1\] has none"
    with pytest.raises(ValueError, match=message):
        open_frames([np.ones(SHAPE) * u.s, NDData(np.ones(SHAPE))])


def test_wrong_arrays():
    with pytest.raises(TypeError, match=r"img_list\[0\]: .* found dtype complex128"):
        open_frames([np.ones(SHAPE, complex)], unit="adu")
    with pytest.raises(TypeError, match=r"img_list\[0\]: .* found dtype <U1"):
        open_frames([np.full(SHAPE, "a")], unit="adu")


def test_arrays_as_a_list(rng):
    cube = rng.normal(size=(3, *SHAPE))
    masked = np.ma.array(cube, mask=cube > 1)
    for given in (cube * u.adu, Masked(cube * u.adu, mask=cube > 1)):
        for k, item in enumerate(expand_inputs(given)):
            np.testing.assert_array_equal(open_frame(item).data(), cube[k])
    for given in (cube, list(cube), masked, [*masked]):
        items = expand_inputs(given, unit="adu")
        frames = open_frames(items, unit="adu")
        for k, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.data(), cube[k])
            if np.ma.isMaskedArray(items[k]):
                np.testing.assert_array_equal(whole(frame).mask, cube[k] > 1)


def test_one_image_is_no_list():
    message = r"An array must have the shape \(N, \*shape\), found \(6, 9\)"
    for one in (np.ones(SHAPE) * u.adu, np.ones(SHAPE)):
        with pytest.raises(ValueError, match=message):
            expand_inputs(one, unit="adu")
    with pytest.raises(TypeError, match=r"img_list\[0\] .*or unit= for all arrays"):
        expand_inputs([np.ones(SHAPE)])


# --- headers -----------------------------------------------------------------------


def test_header():
    header = fits.Header({"GAIN": 1.5})
    ccd = CCDData(np.ones(SHAPE), unit="adu", meta=header)
    assert CCDFrame(ccd, "x").header["GAIN"] == 1.5
    assert CCDFrame(NDData(np.ones(SHAPE), meta={"a": 1}), "x").header == {"a": 1}
    assert len(CCDFrame(NDData(np.ones(SHAPE)), "x").header) == 0
    assert len(open_frame(np.ones(SHAPE), unit="adu").header) == 0


# --- units -------------------------------------------------------------------------


def test_to_unit():
    for unit, factor in (("Jy", 1), ("mJy", 1e-3), ("kJy", 1e3)):
        frame = CCDFrame(CCDData(np.ones(SHAPE), unit=unit), unit)
        frame.to_unit(u.Jy)
        assert frame.unit_factor == pytest.approx(factor, rel=1e-15)
        assert frame.unit == u.Unit(unit)  # what read() gives is still in it
        frame.to_unit(frame.unit)
        assert frame.unit_factor == 1
    frame = CCDFrame(NDData(np.ones(SHAPE)), "x")
    frame.to_unit(None)
    assert frame.unit_factor == 1


@pytest.mark.parametrize(
    "unit, other",
    [
        ("adu", "electron"),
        ("K", "deg_C"),  # not proportional
        ("Jy", "mag(AB)"),
        ("mag(AB)", "Jy"),
        ("", "adu"),
        ("Hz", "m"),
    ],
)
def test_units_that_cannot_be_converted(unit, other):
    frame = CCDFrame(NDData(np.ones(SHAPE), unit=other), "b.fits")
    shown = unit.replace("(", r"\(").replace(")", r"\)") or "no unit"
    message = rf"don't have the same unit: a\.fits is in {shown}.*, b\.fits in "
    with u.set_enabled_equivalencies([*u.spectral(), *u.temperature()]):
        with pytest.raises(TypeError, match=message):
            frame.to_unit(u.Unit(unit), "a.fits")


def test_a_unit_and_none():
    frame = CCDFrame(NDData(np.ones(SHAPE)), "b")
    with pytest.raises(TypeError, match="a is in adu, b in no unit"):
        frame.to_unit(u.adu, "a")
    with pytest.raises(TypeError, match="same unit: not adu, b in no unit"):
        frame.to_unit(u.adu)


# --- uncertainties -----------------------------------------------------------------


def with_uncertainty(kind, sigma, unit="adu", uncertainty_unit=None, data=None):
    """Image with standard deviations `sigma` in the class asked for."""
    array = {"std": sigma, "var": sigma**2, "ivar": sigma**-2.0}[kind]
    ccd = CCDData(np.ones(sigma.shape) if data is None else data, unit=unit)
    ccd.uncertainty = UNCERTAINTIES[kind](array, unit=uncertainty_unit)
    return ccd


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("shape", [(7,), SHAPE, (2, 3, 4)])
def test_variance(rng, kind, shape):
    sigma = rng.uniform(1, 9, shape)
    ccd = with_uncertainty(kind, sigma)
    frame = open_frame(ccd, want_uncertainty=True)
    assert frame.uncertainty_type == kind
    strip = whole(frame)
    np.testing.assert_array_equal(
        strip.uncertainty.reshape(shape), ccd.uncertainty.array
    )
    assert np.shares_memory(strip.uncertainty, ccd.uncertainty.array)
    for height in (1, 2, 100):
        found = in_pieces(frame, lambda strip: strip.variance(), height)
        np.testing.assert_allclose(found, sigma**2, rtol=1e-15)
    assert frame.row_nbytes == 0


def test_uncertainties_are_not_copied(rng):
    errors = rng.uniform(1, 9, SHAPE)
    for array in (errors, errors.astype(">f4"), errors[::-1], errors[:, 1:]):
        ccd = CCDData(np.ones(array.shape), unit="adu")
        for kind in UNCERTAINTIES.values():
            ccd.uncertainty = kind(array, copy=False)
            strip = whole(CCDFrame(ccd, "x", want_uncertainty=True))
            assert np.shares_memory(strip.errors(), array)
    # but strip by strip, where the kernel cannot read them
    for array in (errors.astype(int), errors.astype("f2"), np.asfortranarray(errors)):
        ccd = CCDData(np.ones(SHAPE), uncertainty=StdDevUncertainty(array), unit="adu")
        frame = CCDFrame(ccd, "x", want_uncertainty=True)
        assert frame.row_nbytes == 8 * SHAPE[1]
        strip = frame.read(1, 3)
        np.testing.assert_array_equal(strip.errors(), array[1:3])
        assert strip.errors() is strip.room


def test_not_asked_for():
    ccd = with_uncertainty("std", np.ones(SHAPE))
    frame = CCDFrame(ccd, "x")
    assert frame.uncertainty_type is None
    assert whole(frame).uncertainty is None
    assert whole(frame).variance() is None
    frame = CCDFrame(CCDData(np.ones(SHAPE), unit="adu"), "x", want_uncertainty=True)
    assert frame.uncertainty_type is None
    assert whole(frame).variance() is None


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", ">f8", "g", "i4", "u1"])
def test_types_of_uncertainties(kind, dtype):
    array = np.array([[1, 2, 4], [8, 3, 5]]).astype(dtype)
    data = np.ones((2, 3))
    ccd = CCDData(data, unit="adu", uncertainty=UNCERTAINTIES[kind](array))
    expected = array.astype(float)
    expected = {"std": expected**2, "var": expected, "ivar": 1 / expected}[kind]
    frame = CCDFrame(ccd, "x", want_uncertainty=True)
    found = in_pieces(frame, lambda strip: strip.variance(), 1)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "kind, unit", [("std", "mJy"), ("var", "mJy2"), ("ivar", "mJy-2")]
)
def test_unit_of_uncertainties(kind, unit):
    sigma_mjy = np.full(SHAPE, 3.0)
    ccd = with_uncertainty(kind, sigma_mjy, unit="Jy", uncertainty_unit=unit)
    frame = CCDFrame(ccd, "x", want_uncertainty=True)
    np.testing.assert_allclose(whole(frame).variance(), 9e-6, rtol=1e-14)
    # in the unit of the values that are read, whatever these will be converted to
    frame.to_unit(u.uJy)
    np.testing.assert_allclose(whole(frame).variance(), 9e-6, rtol=1e-14)


def test_unit_of_uncertainties_that_does_not_fit():
    image = NDData(np.ones(SHAPE), uncertainty=StdDevUncertainty(np.ones(SHAPE)))
    image.uncertainty._unit = u.s  # astropy would not let it be assigned
    message = r"img_list\[3\]: the uncertainty \(of type 'std'\) is in s, expected a"
    with pytest.raises(TypeError, match=message):
        CCDFrame(image, "img_list[3]", unit="adu", want_uncertainty=True)


def test_special_values():
    array = np.array([0.0, np.inf, np.nan, 4.0])
    expected = {
        "std": [0, np.inf, np.nan, 16],
        "var": [0, np.inf, np.nan, 4],
        "ivar": [np.inf, 0, np.nan, 0.25],
    }
    for kind, values in expected.items():
        ccd = CCDData(np.ones(4), unit="adu", uncertainty=UNCERTAINTIES[kind](array))
        strip = whole(CCDFrame(ccd, "x", want_uncertainty=True))
        np.testing.assert_array_equal(strip.variance()[:, 0], values)


@pytest.mark.parametrize("kind", UNCERTAINTIES)
def test_negative_uncertainty(kind):
    array = np.ones(SHAPE)
    array[4, 5] = -2
    mask = np.zeros(SHAPE, bool)
    mask[4, 5] = True
    ccd = CCDData(np.ones(SHAPE), unit="adu", uncertainty=UNCERTAINTIES[kind](array))
    frame = CCDFrame(ccd, "img_list[7]", want_uncertainty=True)
    assert (frame.read(0, 4).variance() == 1).all()
    names = {"std": "standard deviation", "var": "variance", "ivar": "inverse variance"}
    message = rf"img_list\[7\]: found a negative {names[kind]}, -2, at a pixel"
    with pytest.raises(ValueError, match=message):
        frame.read(4, 6).variance()
    strip = whole(frame)
    with pytest.raises(ValueError, match=message):
        strip._replace(mask=~mask).variance()
    # nobody uses it there
    found = strip._replace(mask=mask).variance()
    np.testing.assert_array_equal(found[~mask], 1)


def test_uncertainty_of_unknown_type():
    ccd = CCDData(np.ones(SHAPE), unit="adu")
    ccd.uncertainty = UnknownUncertainty(np.ones(SHAPE))
    frame = CCDFrame(ccd, "img_list[2]", want_uncertainty=True)
    assert frame.uncertainty_type == "unknown"
    with pytest.raises(TypeError, match=r"img_list\[2\] has an uncertainty of unknown"):
        whole(frame).variance()
    with pytest.raises(TypeError, match=r"img_list\[2\] .* for weights='ivar'"):
        require_variances([frame], "weights='ivar'")


def test_require_variances():
    frames = [
        CCDFrame(with_uncertainty("ivar", np.ones(SHAPE)), "a", want_uncertainty=True)
    ]
    require_variances(frames, "x")
    frames.append(CCDFrame(CCDData(np.ones(SHAPE), unit="adu"), "b"))
    with pytest.raises(ValueError, match=r"x needs the uncertainty .* and b has none"):
        require_variances(frames, "x")


def test_odd_uncertainties():
    ccd = CCDData(np.ones(SHAPE), unit="adu", uncertainty=StdDevUncertainty(3.0))
    strip = whole(CCDFrame(ccd, "x", want_uncertainty=True))
    np.testing.assert_array_equal(strip.variance(), np.full(SHAPE, 9.0))
    ccd.uncertainty = StdDevUncertainty(None)
    assert CCDFrame(ccd, "x", want_uncertainty=True).uncertainty_type is None
    ccd.uncertainty = StdDevUncertainty(np.ones((2, 2)))
    message = r"img_list\[1\]: the uncertainty has shape \(2, 2\), the data \(6, 9\)"
    with pytest.raises(ValueError, match=message):
        CCDFrame(ccd, "img_list[1]", want_uncertainty=True)
    ccd.uncertainty = StdDevUncertainty(np.ones(SHAPE, complex))
    with pytest.raises(TypeError, match=r"x: the uncertainty .* dtype complex128"):
        CCDFrame(ccd, "x", want_uncertainty=True)


# --- flags -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "i4", "u4", "i8"])
def test_flags(rng, dtype):
    flags = rng.integers(0, 128, SHAPE).astype(dtype)
    ccd = CCDData(np.ones(SHAPE), unit="adu", flags=flags, mask=flags == 3)
    frame = open_frame(ccd, want_flags=True)
    assert frame.has_flags
    assert not frame.flags_are_mask
    assert frame.flag_names is None
    strip = whole(frame)
    np.testing.assert_array_equal(strip.flags, flags)
    assert strip.flags.dtype.kind == "u"
    assert strip.flags.dtype.itemsize <= 4
    assert strip.flags.dtype.isnative
    np.testing.assert_array_equal(strip.mask, flags == 3)
    np.testing.assert_array_equal(in_pieces(frame, lambda s: s.flags, 4), flags)


def test_flags_not_asked_for():
    flags = np.ones(SHAPE, int)
    frame = CCDFrame(CCDData(np.ones(SHAPE), unit="adu", flags=flags), "x")
    assert not frame.has_flags
    assert whole(frame).flags is None
    assert frame.row_nbytes == 0


def test_highest_bits():
    for dtype, top in (("i1", 2**7), ("i2", 2**15), ("i4", 2**31), ("i8", 2**31)):
        flags = np.array([np.iinfo(f"i{min(4, int(dtype[1]))}").min, 1], dtype)
        strip = whole(
            CCDFrame(CCDData(np.ones(2), unit="adu", flags=flags), "x", want_flags=True)
        )
        np.testing.assert_array_equal(strip.flags[:, 0], [top, 1])


@pytest.mark.parametrize(
    "dtype, value", [("u8", 2**32), ("i8", 2**40), ("i8", -(2**32))]
)
def test_too_many_bits(dtype, value):
    flags = np.array([0, value, 1], dtype)
    frame = CCDFrame(
        CCDData(np.ones(3), unit="adu", flags=flags), "img_list[4]", want_flags=True
    )
    with pytest.raises(ValueError, match=rf"img_list\[4\]: .*32 bits, found {value}"):
        whole(frame)


@pytest.mark.parametrize("dtype", ["f4", "f8", "?", "c8", "U1"])
def test_flags_of_a_wrong_type(dtype):
    flags = np.zeros(SHAPE).astype(dtype)
    ccd = CCDData(np.ones(SHAPE), unit="adu", flags=flags)
    message = rf"img_list\[5\]: the flags must be integers, found dtype {flags.dtype}"
    with pytest.raises(TypeError, match=message):
        CCDFrame(ccd, "img_list[5]", want_flags=True)
    CCDFrame(ccd, "img_list[5]")  # nobody looks at them


def test_flags_of_a_wrong_shape():
    image = NDData(np.ones(SHAPE), unit="adu")
    image.flags = np.zeros((2, 2), int)
    message = r"x: the flags have shape \(2, 2\), the data \(6, 9\)"
    with pytest.raises(ValueError, match=message):
        CCDFrame(image, "x", want_flags=True)


def test_integer_mask_is_flags(rng):
    bits = rng.integers(0, 4, SHAPE).astype("i2")
    image = NDData(np.ones(SHAPE), unit="adu", mask=bits)
    frame = CCDFrame(image, "x", want_flags=True)
    assert frame.flags_are_mask
    strip = whole(frame)
    assert strip.mask is None
    np.testing.assert_array_equal(strip.flags, bits)
    np.testing.assert_array_equal(bad_samples(frame, strip, None), bits != 0)
    np.testing.assert_array_equal(bad_samples(frame, strip, 0), bits != 0)
    np.testing.assert_array_equal(bad_samples(frame, strip, 2), bits & 1)
    np.testing.assert_array_equal(bad_samples(frame, strip, ~2), bits & 2 != 0)


def test_flags_beside_a_mask(rng):
    flags = rng.integers(0, 4, SHAPE).astype("u1")
    mask = rng.random(SHAPE) < 0.2
    for kind in (CCDData, NDDataRef):
        image = kind(np.ones(SHAPE), unit="adu", mask=mask)
        image.flags = flags
        frame = CCDFrame(image, "x", want_flags=True)
        assert not frame.flags_are_mask
        strip = whole(frame)
        assert bad_samples(frame, strip, None) is strip.mask
        found = bad_samples(frame, strip, 1)
        np.testing.assert_array_equal(found, mask | (flags > 1))
    np.testing.assert_array_equal(image.mask, mask)  # the user's arrays stay


def test_flag_collection(rng):
    hot, cosmic = rng.random((2, *SHAPE)) < 0.3
    flags = FlagCollection(shape=SHAPE)
    flags["HOT"] = hot
    flags["CR"] = cosmic.astype(float)
    ccd = CCDData(np.ones(SHAPE), unit="adu", flags=flags)
    frame = CCDFrame(ccd, "x", want_flags=True)
    names = flag_names([frame, frame])
    assert (names.HOT, names.CR) == (1, 2)
    np.testing.assert_array_equal(whole(frame).flags, hot + 2 * cosmic)
    np.testing.assert_array_equal(
        in_pieces(frame, lambda s: s.flags, 4), hot + 2 * cosmic
    )
    other = FlagCollection(shape=SHAPE)
    other["CR"] = cosmic
    ccd = CCDData(np.ones(SHAPE), unit="adu", flags=other)
    frames = [frame, CCDFrame(ccd, "y", want_flags=True)]
    message = r"the flags of x are {'HOT': 1, 'CR': 2}, those of y {'CR': 1}"
    with pytest.raises(ValueError, match=message):
        flag_names(frames)
    assert flag_names([CCDFrame(ccd, "y")]) is None
    for k in range(32):
        other[f"F{k}"] = cosmic
    with pytest.raises(ValueError, match="y: found 33 flags"):
        CCDFrame(ccd, "y", want_flags=True)


# --- strips ------------------------------------------------------------------------


def full_frame(rng, shape=SHAPE, **keywords):
    ccd = with_uncertainty("std", rng.uniform(1, 2, shape))
    ccd.flags = rng.integers(0, 8, shape).astype("u2")
    ccd.mask = rng.random(shape) < 0.2
    ccd.wcs = WCS(naxis=len(shape))
    return CCDFrame(ccd, "x", want_uncertainty=True, want_flags=True, **keywords)


def test_rows_of_a_strip(rng):
    frame = full_frame(rng)
    strip = frame.read(1, 6, np.empty(5 * frame.buffer_nbytes, np.uint8))
    part = strip.rows(slice(2, 4))
    for name in ("pixels", "mask", "uncertainty", "flags"):
        np.testing.assert_array_equal(getattr(part, name), getattr(strip, name)[2:4])
    np.testing.assert_array_equal(part.variance(), strip.uncertainty[2:4] ** 2)
    plain = CCDFrame(CCDData(np.ones(SHAPE), unit="adu"), "x").read(0, 6)
    assert plain.rows(slice(1, 2))[1:] == (None,) * 8


def test_crop(rng):
    frame = full_frame(rng)
    frame.crop_to((4, 5))
    ccd = frame.ccd
    strip = frame.read(1, 3, np.empty(2 * frame.buffer_nbytes, np.uint8))
    np.testing.assert_array_equal(strip.flags, ccd.flags[1:3, :5])
    np.testing.assert_array_equal(strip.mask, ccd.mask[1:3, :5])
    expected = ccd.uncertainty.array[1:3, :5] ** 2
    np.testing.assert_array_equal(strip.variance(), expected)


def test_uncertainties_are_converted_in_strips(rng):
    # those of other types never exist all at once as floats
    shape = (400, 300)
    frames = []
    for _ in range(3):
        ccd = CCDData(np.ones(shape), unit="adu")
        ccd.uncertainty = StdDevUncertainty(rng.integers(1, 99, shape))
        frames.append(CCDFrame(ccd, "x", want_uncertainty=True))
    plan = plan_strips(frames, 1e6)
    assert plan.n_strips > 3
    assert plan.nbytes < 1e6
    seen = 0
    for start, stop, planes in strips(frames, 1e6):
        for frame, strip in zip(frames, planes, strict=True):
            errors = strip.errors()
            assert errors.base is not None  # part of the buffer
            expected = frame.ccd.uncertainty.array[start:stop]
            np.testing.assert_array_equal(errors, expected)
        seen += stop - start
    assert seen == 400
