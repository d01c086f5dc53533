# Licensed under a 3-clause BSD style license - see LICENSE
"""`CCDCombiner` beside ``ccdproc.Combiner``: construction, rejection, boundaries."""

import tracemalloc
import warnings
from functools import partial

import astropy.units as u
import bottleneck as bn
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.stats import mad_std, median_absolute_deviation
from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning
from ccdproc import sigma_func
from ccdproc.combiner import Combiner
from combiners import METHODS, assert_same_result, assert_same_state, both, call, images

from imcombiners_astro import CCDCombiner
from imcombiners_astro.errors import EmptyInputError

# ---------------------------------------------------------------- construction


@pytest.mark.parametrize("dtype", [None, "float32", np.float32, float, np.int64])
@pytest.mark.parametrize("of", ["u1", "u2", ">i2", "i4", "i8", "f4", ">f4", "f8", "f2"])
def test_stack_and_mask(of, dtype):
    pair = both(images(dtype=of, nan=False, masks=dtype is not np.int64), dtype=dtype)
    assert_same_state(pair)
    assert pair[0].dtype == pair[1].dtype == pair[0].data_arr.dtype
    assert pair[0].dtype == np.dtype(pair[1].dtype).type
    assert pair[0].unit == pair[1].unit
    assert len(pair[0].ccd_list) == len(pair[0].data_arr) == 9


def test_masks_of_bits_and_of_mixed_types():
    ccds = images(4, masks=False)
    ccds[0].data = ccds[0].data.astype(np.uint16)
    ccds[1].data = ccds[1].data.astype(np.float32)
    ccds[2].mask = np.arange(143).reshape(11, 13) % 4
    pair = both(ccds)
    assert_same_state(pair)
    assert_same_result(pair, "average_combine")


def test_the_images_are_copied():
    ccds = images()
    ours, theirs = both(ccds)
    for ccd in ccds:
        ccd.data[...] = 0
        ccd.mask[...] = False
    assert_same_result((ours, theirs), "median_combine")
    before = [ccd.data.copy() for ccd in ccds]
    ours.data_arr[...] = 5
    ours.mask[...] = True
    for ccd, data in zip(ccds, before, strict=True):
        np.testing.assert_array_equal(ccd.data, data)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (3, 4, 5), (2, 3, 2, 4)])
@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_dimensions(shape, method):
    pair = both(images(shape=shape))
    for combiner in pair:
        combiner.sigma_clipping(2, 2, func="median", dev_func="mad_std")
        combiner.minmax_clipping(900, 1600)
        if len(shape) > 1:  # ccdproc cannot do this with spectra
            combiner.clip_extrema(1, 1)
        combiner.scaling = list(range(1, 10))
    assert_same_state(pair)
    assert_same_result(pair, method)
    assert getattr(pair[0], method)().shape == shape
    if len(shape) == 1:
        pair[0].clip_extrema(1, 1)
        assert (pair[0].mask.sum(axis=0) >= 2).all()


def refusals():
    good = CCDData(np.ones((2, 3)), unit="adu")
    return {
        "nothing": (lambda c: c(), TypeError, "ccd_iter"),
        "None": (lambda c: c(None), TypeError, "should be a list or a generator"),
        "no image": (lambda c: c([]), TypeError, None),
        "array": (lambda c: c([good, good.data]), TypeError, "only contain CCDData"),
        "size": (lambda c: c([good, good[:1]]), TypeError, "not the same size"),
        "unit": (
            lambda c: c([good, CCDData(good.data, unit="s")]),
            TypeError,
            "don't have the same unit",
        ),
        "weights": (
            lambda c: setattr(c([good] * 2), "weights", [1, 2]),
            TypeError,
            "weights must be a numpy.ndarray",
        ),
        "image of weights": (
            lambda c: setattr(c([good] * 2), "weights", np.ones((2, 3))),
            ValueError,
            "1D weights expected",
        ),
        "number of weights": (
            lambda c: setattr(c([good] * 2), "weights", np.ones(3)),
            ValueError,
            "Length of weights not compatible",
        ),
        "scale": (
            lambda c: setattr(c([good] * 2), "scaling", 5),
            TypeError,
            "scaling must be a function or an array the same length",
        ),
        "number of scales": (
            lambda c: setattr(c([good] * 2), "scaling", [5, 5, 5]),
            ValueError,
            "scaling must be a function or an array the same length",
        ),
        "center": (
            lambda c: c([good] * 2).sigma_clipping(func="mode"),
            ValueError,
            "mode is an invalid cenfunc",
        ),
        "deviation": (
            lambda c: c([good] * 2).sigma_clipping(dev_func="mean"),
            ValueError,
            "mean is an invalid stdfunc",
        ),
        "dtype": (lambda c: c([good], dtype="no"), TypeError, "not understood"),
        "ranks": (lambda c: c([good] * 2).clip_extrema(1.5), TypeError, "integer"),
        "integers": (
            lambda c: c(
                [CCDData(np.ones(2), unit="adu", mask=[True, False])], dtype=int
            ).average_combine(),
            TypeError,
            None,
        ),
    }


@pytest.mark.parametrize("name", refusals())
def test_what_is_refused(name):
    act, error, match = refusals()[name]
    for cls in (Combiner, CCDCombiner):
        with pytest.raises(error, match=match):
            act(cls)


def test_refusals_say_what_was_found():
    a, b = (CCDData(np.ones(shape), unit="adu") for shape in ((2, 3), (3, 3)))
    with pytest.raises(TypeError, match=r"image 0 .* \(2, 3\), image 1 \(3, 3\)"):
        CCDCombiner([a, b])
    with pytest.raises(TypeError, match="image 1 is of type ndarray"):
        CCDCombiner([a, b.data])
    with pytest.raises(TypeError, match="image 0 is in adu, image 1 in s"):
        CCDCombiner([a, CCDData(a.data, unit=u.s)])
    with pytest.raises(EmptyInputError, match="there is no image"):
        CCDCombiner(iter(()))


# ------------------------------------------------------------------- rejection


CLIPPERS = {
    "defaults": {},
    "strings": {"func": "median", "dev_func": "mad_std"},
    "two": {"low_thresh": 1.5, "high_thresh": 2, "func": "median"},
    "None": {"low_thresh": None, "high_thresh": 1.2, "dev_func": "mad_std"},
    "zero": {"low_thresh": 0, "high_thresh": 1.2},
    "off": {"low_thresh": np.inf, "high_thresh": 1.2},
    "negative": {"low_thresh": -1, "high_thresh": 2},
    "sigma": {"low_thresh": None, "high_thresh": 2, "sigma": 1.5},
    "guide": {"func": np.ma.median, "dev_func": mad_std},
    "numpy": {"func": np.mean, "dev_func": np.std},
    "masked": {"func": np.ma.mean, "dev_func": np.ma.std},
    "nan": {"func": np.nanmedian, "dev_func": np.nanstd},
    "mad": {"func": np.ma.median, "dev_func": median_absolute_deviation},
    "sigma_func": {"func": np.ma.median, "dev_func": sigma_func},
    "partial": {"func": np.nanmean, "dev_func": partial(np.nanstd, ddof=1)},
    "own": {"func": lambda a, axis: np.nanmax(a, axis=axis) - 20},
    "grow": {"func": "median", "dev_func": "mad_std", "grow": 1},
}


@pytest.mark.parametrize("name", CLIPPERS)
@pytest.mark.parametrize("kind", ["finite", "nan", "u2", "f4"])
@pytest.mark.filterwarnings(
    "ignore:Input data contains:astropy.utils.exceptions.AstropyUserWarning"
)
def test_sigma_clipping(name, kind):
    dtype = {"u2": np.uint16, "f4": np.float32}.get(kind, float)
    ccds = images(12, masks=kind != "finite", nan=kind == "nan", dtype=dtype)
    pair = both(ccds)
    for combiner in pair:
        assert call(combiner, "sigma_clipping", **CLIPPERS[name]) is None
    assert_same_state(pair)
    assert pair[0].mask.any()


def test_bottleneck_in_sigma_clipping():
    # ccdproc ends in a TypeError: these functions take no tuple as axis.
    ours = CCDCombiner(images())
    ours.sigma_clipping(2, 2, func=bn.nanmedian, dev_func=bn.nanstd)
    theirs = Combiner(images())
    theirs.sigma_clipping(2, 2, func=np.nanmedian, dev_func=np.nanstd)
    assert_same_state((ours, theirs))


def test_several_passes():
    # ccdproc passes maxiters on twice, which is a TypeError.
    ours, theirs = both(images(12))
    with pytest.raises(TypeError):
        theirs.sigma_clipping(maxiters=3)
    ours.sigma_clipping(2, 2, maxiters=3)
    once = CCDCombiner(images(12))
    once.sigma_clipping(2, 2)
    assert ours.mask.sum() > once.mask.sum()


def test_warnings_of_sigma_clipping():
    for combiner in both(images(nan=True)):
        with pytest.warns(AstropyUserWarning, match="invalid values") as caught:
            combiner.sigma_clipping()
        assert caught[0].filename == __file__ or isinstance(combiner, Combiner)
        with pytest.warns(AstropyDeprecationWarning, match="use_astropy"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)
                combiner.sigma_clipping(use_astropy=True)


@pytest.mark.parametrize("n", [(1, 1), (0, 3), (2, 0), (None, 1), (-3, 0), (5, 4)])
@pytest.mark.parametrize("nan", [False, True])
def test_clip_extrema(n, nan):
    ccds = images()
    if nan:  # at most one of each at a pixel: the order of equal ones is theirs
        for k, value in enumerate((np.nan, np.inf, -np.inf)):
            ccds[2 * k].data[3:7, 2:6] = value
    pair = both(ccds)
    for combiner in pair:
        combiner.clip_extrema(*n)
    assert_same_state(pair)


def test_clip_extrema_takes_equal_samples_in_the_order_of_the_images():
    data = [[5.0, 1.0], [5.0, 4.0], [3.0, 2.0], [5.0, 3.0]]
    for bad in (0, np.nan):  # both ways of doing it
        combiner = CCDCombiner(
            [CCDData([*row, bad + k], unit="adu") for k, row in enumerate(data)]
        )
        combiner.clip_extrema(nlow=1, nhigh=1)
        expected = [[False, True], [False, True], [True, False], [True, False]]
        np.testing.assert_array_equal(combiner.mask[:, :2], expected)


def test_clip_extrema_of_all():
    ours = CCDCombiner(images())
    ours.clip_extrema(8, 20)  # an IndexError in ccdproc 2.5, not in later versions
    assert ours.mask.all()


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
@pytest.mark.parametrize("limits", [(990, None), (None, 1010.5), (0.1, 0.3), (2, 1)])
def test_minmax_clipping(dtype, limits):
    for ccds in (images(dtype=dtype), [CCDData([0.1, 0.2, 0.3], unit="adu")] * 2):
        for kind in (None, np.float32):
            pair = both([CCDData(c, copy=True) for c in ccds], dtype=kind)
            for combiner in pair:
                combiner.minmax_clipping(*limits)
            assert_same_state(pair)
    image = np.full((11, 13), 995.0)
    pair = both(images(dtype=dtype))
    for combiner in pair:
        combiner.minmax_clipping(min_clip=image, max_clip=np.float64(1004))
    assert_same_state(pair)


# ---------------------------------------------------------- cost and boundaries


def peak(act):
    tracemalloc.start()
    act()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_memory(dtype):
    """No copy more than ccdproc makes; none at all but the one of the images."""
    ccds = images(20, (300, 400), dtype=dtype, masks=False)
    stack = 20 * 300 * 400

    def act(cls):
        combiner = cls(ccds)
        combiner.sigma_clipping(func="median", dev_func="mad_std")
        return combiner.average_combine()

    ours, theirs = peak(lambda: act(CCDCombiner)), peak(lambda: act(Combiner))
    assert ours < theirs
    # The copy of the images, the mask, the mask of one step, and the result.
    assert ours < stack * (np.dtype(dtype).itemsize + 2) + 300 * 400 * 30

    def look(cls):
        combiner = cls(ccds)
        combiner.data_arr.mask.sum()
        return combiner.median_combine()

    assert peak(lambda: look(CCDCombiner)) < peak(lambda: look(Combiner))


def test_other_arrays_are_left_to_ccdproc():
    dask = pytest.importorskip("dask.array")
    ccds = [CCDData(dask.ones((4, 5)) * k, unit="adu") for k in (1, 2, 6)]
    combiner = CCDCombiner(iter(ccds))
    assert type(combiner) is Combiner
    np.testing.assert_array_equal(np.asarray(combiner.median_combine().data), 2)

    class Derived(CCDCombiner):
        pass

    with pytest.raises(TypeError, match="Derived is derived from CCDCombiner"):
        Derived(ccds)


def test_other_numbers_are_left_to_ccdproc():
    ccds = [CCDData(np.full((2, 3), k * 1j), unit="adu") for k in (1, 3)]
    result = CCDCombiner(ccds, dtype=complex).average_combine()
    np.testing.assert_array_equal(result.data, 2j)
    combiner = CCDCombiner(images(), dtype=np.float16)
    assert type(combiner) is Combiner
    assert call(combiner, "average_combine").data.dtype == np.float16


def test_array_library_by_name():
    assert type(CCDCombiner(images(), xp=np)) is CCDCombiner
    with pytest.raises(TypeError, match=r"xp=.*has no such parameter"):
        CCDCombiner(images(), xp=warnings)


@pytest.mark.parametrize("method", METHODS)
def test_types_that_the_kernels_do_not_read(method):
    """Assigned later; everything is then left to NumPy and astropy."""
    pair = both(images(nan=False))
    for combiner in pair:
        combiner.data_arr = combiner.data_arr.astype(np.longdouble)
        combiner.sigma_clipping(1.5, 1.5, func="median", dev_func="mad_std")
        combiner.minmax_clipping(900, 1400)
        combiner.clip_extrema(1, 1)
    assert_same_state(pair)
    ours, theirs = (call(combiner, method) for combiner in pair)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-14)
    good = ~ours.mask
    np.testing.assert_allclose(
        ours.uncertainty.array[good].astype(float),
        theirs.uncertainty.array[good].astype(float),
        rtol=1e-12,
        atol=1e-12,
    )
