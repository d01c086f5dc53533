# Licensed under a 3-clause BSD style license - see LICENSE
"""Data-quality flags: the choice of bits, and the least bad samples."""

import numpy as np
import pytest
from astropy.nddata import extend_bit_flag_map
from astropy.nddata.bitmask import bitfield_to_boolean_mask

from imcombiners_astro.dq import class_bits, dq_mask, ignored_bits, least_bad

DQ = extend_bit_flag_map("DQ", BAD=1, NONLINEAR=2, SATURATED=4, CR=8, NO_DATA=16)


@pytest.mark.parametrize(
    "spec, bits",
    [
        (None, None),
        ("", None),
        ("None", None),
        (0, 0),
        (12, 12),
        (np.uint8(12), 12),
        (-1, -1),
        ("12", 12),
        ("4,8", 12),
        ("4|8", 12),
        ("4+8", 12),
        ("~8", ~8),
        ("~(4,8)", ~12),
        ([4, 8], 12),
        ((4, 8), 12),
        ({4, 8}, 12),
        (np.array([4, 8]), 12),
        ("SATURATED", 4),
        ("saturated,CR", 12),
        ("~CR", ~8),
        (["SATURATED", "CR"], 12),
        (("SATURATED", "CR"), 12),
        (("SATURATED,CR", DQ), 12),
        ((4, DQ), 4),
        ((["CR", "BAD"], DQ), 9),
    ],
)
def test_choice_of_flags(spec, bits):
    assert ignored_bits(spec, DQ) == bits


def test_a_pair_brings_its_own_names():
    other = extend_bit_flag_map("OTHER", CR=1)
    assert ignored_bits(("CR", other), DQ) == 1
    assert ignored_bits(("CR", other)) == 1


@pytest.mark.parametrize(
    "spec, error, message",
    [
        ("COSMIC", ValueError, "'COSMIC' not defined; the names are BAD, NONLINEAR, S"),
        (["CR", "COSMIC"], ValueError, "Flag 'COSMIC' not defined"),
        ("4,6", ValueError, "not powers of two"),
        ([3], ValueError, "not powers of two"),
        ("4,8|16", ValueError, "Only one type of bit flag separator"),
        ("4,~8", ValueError, "Bitwise-NOT must precede"),
        (["4", 8], TypeError, "found list, expected an integer, names or numbers"),
        (4.0, TypeError, "ignore_flags=4.0: found float, expected an integer"),
        (True, TypeError, "ignore_flags=True: found bool"),
        (DQ, TypeError, "found BitFlagNameMeta"),
    ],
)
def test_wrong_choice_of_flags(spec, error, message):
    with pytest.raises(error, match=message):
        ignored_bits(spec, DQ)


@pytest.mark.parametrize("spec", ["CR", "~CR", ["CR"], ("CR", "BAD"), "4,CR"])
def test_names_without_a_map(spec):
    with pytest.raises(ValueError, match="names of flags need a BitFlagNameMap"):
        ignored_bits(spec)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">u2", "i4", "u4", "i8"])
@pytest.mark.parametrize("ignore", [0, 4, ~4, "4,8", "~8", -1, 2**31, None])
def test_mask(dtype, ignore):
    flags = np.random.default_rng(1).integers(0, 128, (40, 50)).astype(dtype)
    flags[:2, 0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    mask = dq_mask(flags, ignore)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, bitfield_to_boolean_mask(flags, ignore))
    if isinstance(ignore, int):
        n_bits = 8 * flags.dtype.itemsize
        bits = flags.astype(object) & (2**n_bits - 1)
        np.testing.assert_array_equal(mask, (bits & ~ignore) != 0)


def test_mask_of_what_is_no_flags():
    for dtype in ("f4", "?", "c8"):
        with pytest.raises(
            TypeError, match=f"must be integers, found dtype {dtype[0]}"
        ):
            dq_mask(np.zeros((2, 2), dtype.replace("f4", "f").replace("c8", "c8")))
    with pytest.raises(TypeError, match="an array of booleans is a mask"):
        dq_mask(np.zeros((2, 2), bool))


def test_classes():
    assert class_bits(["2,4", 8, [1, 16]]) == [6, 8, 17]
    assert class_bits(["NONLINEAR,SATURATED", "CR"], DQ) == [6, 8]
    assert class_bits((["CR", 1], DQ)) == [8, 1]
    assert class_bits(()) == []


@pytest.mark.parametrize(
    "classes, error, message",
    [
        ("CR", TypeError, "least_bad='CR': expected a sequence"),
        (8, TypeError, "least_bad=8: expected a sequence"),
        (["CR", "COSMIC"], ValueError, r"least_bad\[1\]='COSMIC': Flag 'COSMIC' not"),
        (["CR", 0], ValueError, r"least_bad\[1\]=0 has no flag"),
        ([None], ValueError, r"least_bad\[0\]=None has no flag"),
        ([1.5], TypeError, r"least_bad\[0\]=1.5: found float"),
    ],
)
def test_wrong_classes(classes, error, message):
    with pytest.raises(error, match=message):
        class_bits(classes, DQ)


def least_bad_pixel(flags, masked, finite, classes, ignored):
    """One pixel, sample by sample."""
    n = range(len(flags))
    usable = [finite[k] and not masked[k] for k in n]
    allowed = ignored
    for more in [0, *classes]:
        allowed |= more
        chosen = [usable[k] and not flags[k] & ~allowed for k in n]
        if any(chosen):
            return [not c for c in chosen]
    return [True for k in n]


@pytest.mark.parametrize("ignored", [0, 1, 12])
@pytest.mark.parametrize("classes", [[], [2], [2, 4 | 8], [16, 2], [31]])
def test_least_bad_pixel_by_pixel(classes, ignored):
    rng = np.random.default_rng(7)
    shape, n = (30, 40), 4
    bits = rng.choice([0, 1, 2, 4, 8, 6, 16, 18], (n, *shape))
    flags = [*bits[:3].astype("u2"), None]
    bits[3] = 0
    masks = [*(rng.random((3, *shape)) < 0.3), rng.random(shape) < 0.9]
    masks[1] = None
    values = rng.normal(size=(n, *shape))
    values[rng.random(values.shape) < 0.2] = np.nan
    given = [None if mask is None else mask.copy() for mask in masks]
    found = least_bad(flags, masks, classes, ignored, pixels=list(values))
    for mask, before in zip(masks, given, strict=True):
        np.testing.assert_array_equal(mask, before)  # left as they were
    finite = np.isfinite(values)
    masked = np.array([np.zeros(shape, bool) if m is None else m for m in masks])
    n_rescued = 0
    for y, x in np.ndindex(*shape):
        place = np.s_[:, y, x]
        expected = least_bad_pixel(
            bits[place], masked[place], finite[place], classes, ignored
        )
        # what is not finite is left out later, masked or not
        ours = np.array([mask[y, x] for mask in found]) | ~finite[place]
        assert ours.tolist() == expected, (bits[place], masked[place], finite[place])
        n_rescued += any(
            not bad and bits[k, y, x] & ~ignored for k, bad in enumerate(expected)
        )
    assert (n_rescued > 0) == any(more & ~ignored for more in classes)


def test_least_bad_without_need():
    flags = [np.array([0, 2], np.uint8), np.array([2, 0], np.uint8)]
    for mask, flag in zip(least_bad(flags, [None, None], [2]), flags, strict=True):
        np.testing.assert_array_equal(mask, flag != 0)
    # an image without flags and mask is good everywhere
    first, second = least_bad([flags[0], None], [None, None], [2])
    np.testing.assert_array_equal(first, [False, True])
    assert second is None


def test_least_bad_of_nothing():
    assert least_bad([], [], [2]) == []
    with pytest.raises(ValueError, match="zip"):
        least_bad([None], [None, None], [2])


def test_least_bad_of_big_endian_values():
    flags = [np.array([0, 0], np.uint8), np.array([2, 2], np.uint8)]
    values = [np.array([np.nan, 1], ">f4"), np.array([1, 1], ">f4")]
    first, second = least_bad(flags, [None, None], [2], pixels=values)
    np.testing.assert_array_equal(first, [False, False])
    np.testing.assert_array_equal(second, [False, True])
