# Licensed under a 3-clause BSD style license - see LICENSE
"""The arrays that the kernel writes."""

import numpy as np
import pytest

from imcombiners_astro.products import blank_array

HUGE_PAGE = 1 << 21
SHAPES = [(3, 4), 5, (2, 1024, 1024), (5, 1023, 1025), 1 << 23]


@pytest.mark.parametrize("dtype", [bool, "u1", "u2", "u4", "f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_of_that_shape_and_type(shape, dtype):
    array = blank_array(shape, dtype)
    assert array.shape == np.empty(shape, "u1").shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    if array.dtype.kind != "f":
        assert not array.any()
    array[...] = 1
    assert (array == 1).all()


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_large_ones_begin_with_a_huge_page(dtype):
    # Several: one alone could begin there by chance.
    arrays = [blank_array((3, 1200, 1300), dtype) for _ in range(3)]
    assert [array.ctypes.data % HUGE_PAGE for array in arrays] == [0, 0, 0]
    small = blank_array((7, 9), dtype)
    assert small.base is None


def test_more_memory_than_wanted_is_not_touched():
    array = blank_array((2, 1024, 1025), np.uint16)
    assert array.base.nbytes - array.nbytes == HUGE_PAGE
