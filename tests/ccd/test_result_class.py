# Licensed under a 3-clause BSD style license - see LICENSE
"""The combined image with its diagnostics, as an object."""

import copy
import pickle
import re
from itertools import pairwise

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDDataRef, StdDevUncertainty
from astropy.nddata.bitmask import bitfield_to_boolean_mask
from astropy.table import Table
from astropy.wcs import WCS

from imcombiners_astro import (
    OUTPUT_FLAG_MAP,
    SAMPLE_FLAG_MAP,
    CombinedCCDData,
    OutputFlags,
    SampleFlags,
)
from imcombiners_astro.diagnostics import DIAGNOSTICS

N = 5
VALUES = ("low", "upp", "std")
OTHERS = [name for name in DIAGNOSTICS if name not in VALUES]


def make(shape=(6, 7), wcs=True, dtype="f8", **changes):
    """A result with all diagnostics, no two values of which are the same by design."""
    rng = np.random.default_rng(3)
    attributes = {}
    for name, diagnostic in DIAGNOSTICS.items():
        full = (N, *shape) if diagnostic.is_cube else shape
        if diagnostic.dtype == "f":
            attributes[name] = rng.normal(size=full).astype(dtype)
        else:
            attributes[name] = rng.integers(0, 200, full).astype(diagnostic.dtype)
    attributes["mask_rej"] = rng.random((N, *shape)) < 0.2
    attributes["frames"] = Table(
        {
            "name": [f"bias_{k}.fits" for k in range(N)],
            "rejected_low": [0.5, 0.25, 3.0, 0.0, 1.0],
            "rejected_high": [0.5, 0.25, 3.0, 0.0, 6.0],
        }
    )
    data = rng.normal(100.0, 1.0, shape).astype(dtype)
    sky = WCS(naxis=len(shape))
    if len(shape) == 2:
        sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        sky.wcs.cdelt = [1e-4, 1e-4]
    return CombinedCCDData(
        data,
        **{
            "unit": "adu",
            "mask": rng.random(shape) < 0.1,
            "uncertainty": StdDevUncertainty(np.full(shape, 0.5, dtype)),
            "header": fits.Header({"OBJECT": "M 1"}),
            "wcs": sky if wcs else None,
            **attributes,
            **changes,
        },
    )


def bits(array):
    return (array.shape, array.dtype, array.tobytes())


def assert_same(one, other, names=(*DIAGNOSTICS,)):
    for name in names:
        assert bits(getattr(one, name)) == bits(getattr(other, name)), name


def assert_none(result, names=(*DIAGNOSTICS, "frames")):
    assert {name: getattr(result, name) for name in names} == dict.fromkeys(names)


def test_it_is_a_ccddata():
    result = make()
    assert isinstance(result, CCDData)
    assert result.n_frames == N
    assert result.unit == u.adu
    assert result.header["OBJECT"] == "M 1"


def test_everything_is_none_by_default():
    result = CombinedCCDData(np.ones((2, 2)), unit="adu")
    assert_none(result)
    assert result.n_frames is None


def test_arrays_are_not_copied():
    flags = np.zeros((N, 2, 2), np.uint8)
    result = CombinedCCDData(np.ones((2, 2)), unit="adu", sample_flags=flags)
    assert result.sample_flags is flags
    again = CombinedCCDData(result)
    assert again.sample_flags is flags
    assert again.data is result.data


def test_what_is_given_replaces_what_the_image_has():
    result, other = make(), np.zeros((6, 7), np.uint8)
    again = CombinedCCDData(result, nit=other)
    assert again.nit is other
    assert again.low is result.low
    assert again.frames is result.frames


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_wrong_type(name):
    wrong = np.zeros((N, 6, 7) if DIAGNOSTICS[name].is_cube else (6, 7), np.int64)
    with pytest.raises(TypeError, match=rf"^{name} must be of type \w+.*, found int64"):
        make(**{name: wrong})


@pytest.mark.parametrize("dtype", ["f2", "c8", "?"])
def test_wrong_type_of_values(dtype):
    with pytest.raises(TypeError, match=r"^std must be of type float32 or float64"):
        make(std=np.zeros((6, 7), dtype))


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("shape", [(7, 6), (6,), (N, 7, 6), (1, N, 6, 7), ()])
def test_wrong_shape(name, shape):
    result = make()
    wrong = np.zeros(shape, getattr(result, name).dtype)
    with pytest.raises(
        ValueError, match=rf"^{name} must have the shape \((N, )?6, 7\)"
    ):
        setattr(result, name, wrong)


def test_other_number_of_frames():
    result = make()
    with pytest.raises(ValueError, match=r"mask_rej is of 4 frames, the other .* of 5"):
        result.mask_rej = np.zeros((4, 6, 7), bool)
    with pytest.raises(ValueError, match=r"frames is of 2 frames, the other .* of 5"):
        result.frames = result.frames[:2]
    with pytest.raises(TypeError, match="frames must be an astropy Table, found list"):
        result.frames = ["a"] * N
    # The only one that tells the number may be replaced by any.
    alone = CombinedCCDData(
        np.ones((2, 2)), unit="adu", mask_rej=np.zeros((3, 2, 2), bool)
    )
    alone.mask_rej = np.zeros((4, 2, 2), bool)
    assert alone.n_frames == 4


def test_from_ccd():
    ccd = CCDData(np.ones((6, 7)), unit="adu", header={"A": 1}, mask=np.eye(6, 7) > 0)
    ccd.uncertainty = StdDevUncertainty(np.ones((6, 7)))
    ccd.flags = np.ones((6, 7), int)
    nit = np.ones((6, 7), np.uint8)
    result = CombinedCCDData.from_ccd(ccd, nit=nit)
    assert result.nit is nit
    assert result.data is ccd.data
    assert result.mask is ccd.mask
    assert result.uncertainty.array is ccd.uncertainty.array
    assert result.flags is ccd.flags
    assert ccd.uncertainty.parent_nddata is ccd
    with pytest.raises(TypeError, match="no diagnostic 'nits'"):
        CombinedCCDData.from_ccd(ccd, nits=nit)


def test_from_a_combined_image_only_what_is_given():
    # An input of a combination may be the result of another one.
    old = make()
    result = CombinedCCDData.from_ccd(old, n_used=np.ones((6, 7), np.uint16))
    assert_none(result, [n for n in (*DIAGNOSTICS, "frames") if n != "n_used"])
    assert (result.n_used == 1).all()


# Slicing


ITEMS = [
    np.s_[1:4, 2:],
    np.s_[2],
    np.s_[::2, ::-1],
    np.s_[..., 3],
    np.s_[:, np.array([0, 0, 5])],
    np.s_[[1, 3]],
    np.s_[[1, 3], [0, 2]],
    np.s_[3, 4],
    np.s_[3:3],
    np.s_[np.newaxis, 2:4],
    np.arange(42).reshape(6, 7) % 5 == 0,
    np.array([True, False] * 3),
]


@pytest.mark.parametrize("item", ITEMS, ids=repr)
def test_slices(item):
    result = make(wcs=False)
    part = result[item]
    assert isinstance(part, CombinedCCDData)
    assert np.array_equal(part.data, result.data[item])
    assert part.frames is result.frames
    for name, diagnostic in DIAGNOSTICS.items():
        old, new = getattr(result, name), getattr(part, name)
        planes = [plane[item] for plane in old] if diagnostic.is_cube else old[item]
        assert np.array_equal(new, planes), name
        assert new.dtype == old.dtype


def test_slices_of_three_dimensions():
    result = make((4, 6, 7), wcs=False)
    item = np.s_[[0, 1, 3], :, [2, 2, 6]]  # numpy moves the axis of such an index
    part = result[item]
    assert part.data.shape == (3, 6)
    assert np.array_equal(part.sample_flags, [p[item] for p in result.sample_flags])
    assert np.array_equal(part.nit, result.nit[item])


def test_slices_are_views_with_a_wcs():
    result = make()
    part = result[2:5, 1:4]
    assert np.shares_memory(part.sample_flags, result.sample_flags)
    assert np.shares_memory(part.n_used, result.n_used)
    assert part.wcs.wcs.crpix.tolist() == (result.wcs.wcs.crpix - [1, 2]).tolist()
    assert part.uncertainty.array.shape == (3, 3)
    again = part[1:, 1:]
    assert_same(again, result[3:5, 2:4])


def test_without_diagnostics_slices_have_none():
    assert_none(CombinedCCDData(np.ones((6, 7)), unit="adu")[2:4])


# Arithmetic


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
@pytest.mark.parametrize(
    "number", [2, 2.5, np.float32(3), np.array(2.0)], ids=lambda n: type(n).__name__
)
def test_arithmetic_with_a_number(name, number):
    result = make()
    if name in ("add", "subtract"):
        number = number * u.adu
    new = getattr(result, name)(number)
    old = getattr(CCDData(result), name)(number)
    assert isinstance(new, CombinedCCDData)
    assert bits(new.data) == bits(old.data)
    assert bits(new.mask) == bits(old.mask)
    assert bits(new.uncertainty.array) == bits(old.uncertainty.array)
    assert_none(new, VALUES)
    assert_same(new, result, OTHERS)
    assert new.frames is result.frames
    assert result.low is not None


def test_units_of_arithmetic():
    result = make()
    new = result.multiply(1.5 * u.electron / u.adu)
    assert new.unit == u.electron
    assert_same(new, result, OTHERS)
    assert new[1:3].n_used.shape == (2, 7)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_arithmetic_with_an_image(name):
    result = make()
    plain = CCDData(np.full((6, 7), 2.0), unit="adu")
    for other in (make(), plain, NDDataRef(plain.data, unit="adu")):
        new = getattr(result, name)(other)
        assert isinstance(new, CombinedCCDData)
        assert np.array_equal(
            new.data, getattr(CCDData(result), name)(CCDData(other)).data
        )
        assert_none(new)
    reverse = getattr(plain, name)(result)
    assert type(reverse) is CCDData


def test_arithmetic_with_an_array():
    assert_none(make().multiply(np.ones((6, 7))))
    assert_none(make().multiply(np.ones(7)))


def test_arithmetic_called_on_the_class():
    result = make()
    assert_same(CombinedCCDData.multiply(result, 2.0), result, OTHERS)
    assert_none(CombinedCCDData.multiply(result, result))
    assert_none(CombinedCCDData.multiply(2.0, result))
    assert_none(result.multiply(2.0, result))


@pytest.mark.parametrize("name", ["sum", "mean", "min", "max"])
def test_collapse(name):
    result = make(wcs=False)
    new = getattr(result, name)(axis=0)
    assert isinstance(new, CombinedCCDData)
    assert new.shape == (7,)
    assert_none(new)


def test_convert_unit_to():
    result = make()
    result.unit = u.Jy
    new = result.convert_unit_to(u.mJy)
    assert np.allclose(new.data, result.data * 1000)
    assert new.unit == u.mJy
    assert_none(new, VALUES)
    assert_same(new, result, OTHERS)


# Copies


@pytest.mark.parametrize(
    "duplicate",
    [
        CombinedCCDData.copy,
        copy.deepcopy,
        lambda result: pickle.loads(pickle.dumps(result)),
        lambda result: CombinedCCDData(result, copy=True),
    ],
    ids=["copy", "deepcopy", "pickle", "constructor"],
)
def test_duplicates(duplicate):
    result = make()
    new = duplicate(result)
    assert type(new) is CombinedCCDData
    assert bits(new.data) == bits(result.data)
    assert bits(new.uncertainty.array) == bits(result.uncertainty.array)
    assert new.uncertainty.parent_nddata is new
    assert new.unit == result.unit
    assert new.header == result.header
    assert_same(new, result)
    for name in DIAGNOSTICS:
        assert not np.shares_memory(getattr(new, name), getattr(result, name)), name
    assert new.frames is not result.frames
    assert (new.frames == result.frames).all()
    assert new[:2].n_used.shape == (2, 7)


def test_shallow_copy_is_independent_when_set():
    result = make()
    new = copy.copy(result)
    new.nit = None
    assert result.nit is not None


def test_subclasses_keep_their_class():
    class Mine(CombinedCCDData):
        pass

    mine = Mine(make())
    for new in (mine[1:], mine.copy(), mine.multiply(2)):
        assert type(new) is Mine
        assert new.n_used is not None


# Texts


def test_repr():
    text = repr(make())
    assert text.startswith("CombinedCCDData([[")
    assert text.endswith(
        f", unit='adu', n_frames=5, diagnostics={[*DIAGNOSTICS, 'frames']})"
    )
    plain = repr(CombinedCCDData(np.ones(3), unit="adu"))
    assert plain == "CombinedCCDData([1., 1., 1.], unit='adu', diagnostics=[])"


def test_info():
    sample_flags = np.zeros((N, 2, 3), np.uint8)
    sample_flags[0, 0] = SampleFlags.ALGORITHM
    sample_flags[1, 1, 0] = SampleFlags.INPUT_MASK | SampleFlags.NONFINITE
    sample_flags[:, 1, 2] = SampleFlags.THRESHOLD
    sample_flags[2, 0, 1] = SampleFlags.RESTORED_NKEEP
    mask_rej = (sample_flags > 0) & (sample_flags < 64)
    output_flags = np.array([[0, 4, 0], [1, 0, 13]], np.uint8)
    result = CombinedCCDData(
        np.ones((2, 3)),
        unit="adu",
        uncertainty=StdDevUncertainty(np.array([[1, 2, 3], [4, 5, np.nan]], float)),
        mask_rej=mask_rej,
        sample_flags=sample_flags,
        output_flags=output_flags,
        n_used=(N - mask_rej.sum(axis=0)).astype(np.uint16),
        n_rejected_low=np.array([[1, 0, 1], [0, 0, 0]], np.uint16),
        n_rejected_high=np.array([[0, 1, 0], [0, 0, 0]], np.uint16),
        nit=np.array([[1, 2, 1], [1, 1, 3]], np.uint8),
        output_dq=np.array([[0, 5, 0], [0, 0, 2**31]], np.uint32),
        frames=make().frames,
    )
    assert result.info().splitlines() == [
        "CombinedCCDData of shape (2, 3), float64, in adu, of 5 frames",
        "rejected     6.67 % of the samples as too low, 3.33 % as too high",
        "not used     30 % of the samples, for any reason: INPUT_MASK 3.33 %, "
        "NONFINITE 3.33 %, THRESHOLD 16.7 %, ALGORITHM 10 %",
        "worst frame  bias_4.fits [4]: 1 % too low, 6 % too high",
        "n_used       0 to 5 per pixel, median 4; 0 at 1 of 6 pixels",
        "restored     samples put back at pixels: NKEEP 2, MAXREJ 1",
        "pixel flags  PREMASKED 2, NKEEP 2, MAXREJ 1",
        "data quality 2 pixels flagged, with 1, 4, 2147483648",
        "passes       1 to 3",
        "uncertainty  StdDevUncertainty, median 3 adu",
        "diagnostics  mask_rej, nit, output_flags, sample_flags, n_used, "
        "n_rejected_low, n_rejected_high, output_dq, frames",
    ]


def test_info_with_less():
    result = CombinedCCDData(np.ones((2, 2)), unit="", mask=[[True, False]] * 2)
    assert result.info().splitlines() == [
        "CombinedCCDData of shape (2, 2), float64, in no unit (dimensionless)",
        "n_used       0 at 2 of 4 pixels",
        "uncertainty  none",
        "diagnostics  none",
    ]
    mask_rej = np.zeros((3, 2, 2), bool)
    mask_rej[1, 0] = True
    result.mask_rej = mask_rej
    result.output_flags = np.zeros((2, 2), np.uint8)
    lines = result.info().splitlines()
    assert "worst frame  [1]: 50 % not used" in lines
    assert "not used     16.7 % of the samples, for any reason" in lines
    assert "restored     samples put back at pixels: none" in lines
    assert "pixel flags  none set" in lines


@pytest.mark.parametrize("item", [np.s_[3:3], np.s_[2, 3], np.s_[1]], ids=repr)
def test_texts_of_parts(item):
    part = make(wcs=False)[item]
    assert part.info().startswith("CombinedCCDData of shape (")
    assert repr(part).startswith("CombinedCCDData(")


def test_info_of_absent_numbers():
    frames = make().frames
    frames = Table(frames, masked=True)
    frames["rejected_low"].mask[4] = True
    frames["rejected_high"][3] = np.nan
    assert "worst frame  bias_2.fits [2]: 3 % too low" in make(frames=frames).info()
    frames["rejected_low"] = np.nan
    assert re.search(
        r"worst frame  bias_\d.fits \[\d\]: .* not used", make(frames=frames).info()
    )
    uncertainty = StdDevUncertainty(np.full((6, 7), np.nan))
    lines = make(uncertainty=uncertainty).info().splitlines()
    assert "uncertainty  StdDevUncertainty" in lines


# Names of flags


@pytest.mark.parametrize(
    ("flags", "names"),
    [(SampleFlags, SAMPLE_FLAG_MAP), (OutputFlags, OUTPUT_FLAG_MAP)],
)
def test_names_of_flags(flags, names):
    assert {flag.name: getattr(names, flag.name) for flag in flags} == dict(
        flags.__members__
    )
    values = np.array([flag.value for flag in flags], np.uint8)
    first, second = list(flags)[:2]
    mask = bitfield_to_boolean_mask(
        values, ignore_flags=f"{first.name},{second.name}", flag_name_map=names
    )
    assert mask.tolist() == [False, False] + [True] * (len(flags) - 2)


def test_unknown_name_of_flags():
    from imcombiners_astro import flags

    with pytest.raises(AttributeError, match="no attribute 'FLAG_MAP'"):
        _ = flags.FLAG_MAP


def test_names_of_extensions_are_short_and_different():
    names = [diagnostic.extname for diagnostic in DIAGNOSTICS.values()]
    assert all(one < other for one, other in pairwise(sorted(names)))
    assert all(len(name) <= 8 and name.isupper() for name in names)
