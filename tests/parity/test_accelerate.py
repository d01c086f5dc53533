# Licensed under a 3-clause BSD style license - see LICENSE
"""`accelerate_ccdproc`: what it replaces, and that it gives it back."""

import inspect
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import ccdproc
import ccdproc.combiner
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from comparison import assert_same, stack_of

import imcombiners_astro
from imcombiners_astro import CCDCombiner, accelerate_ccdproc
from imcombiners_astro.errors import CombineWarning

THEIRS = {
    (module, name): getattr(module, name)
    for module in (ccdproc, ccdproc.combiner)
    for name in ("combine", "Combiner")
}


def now():
    return {place: getattr(*place) for place in THEIRS}


def is_accelerated():
    return all(now()[place] is not theirs for place, theirs in THEIRS.items())


@pytest.fixture(autouse=True)
def untouched():
    assert now() == THEIRS
    before = {module: set(vars(module)) for module in (ccdproc, ccdproc.combiner)}
    yield
    assert now() == THEIRS
    assert {module: set(vars(module)) for module in before} == before
    assert CCDCombiner._replaced is None


@pytest.fixture
def our_calls(monkeypatch):
    """Count the calls that arrive."""
    calls = []

    def combine(*args, **keywords):
        calls.append("combine")
        return imcombiners_astro.combine(*args, **keywords)

    monkeypatch.setattr("imcombiners_astro.patching.combine", combine)
    init = CCDCombiner.__init__

    def construct(self, *args, **keywords):
        calls.append("Combiner")
        return init(self, *args, **keywords)

    monkeypatch.setattr(CCDCombiner, "__init__", construct)
    return calls


# ------------------------------------------------------------ patching and undoing


def test_as_a_function():
    acceleration = accelerate_ccdproc()
    assert is_accelerated()
    assert ccdproc.Combiner is ccdproc.combiner.Combiner is CCDCombiner
    assert ccdproc.combine is ccdproc.combiner.combine
    assert "in force" in repr(acceleration)
    acceleration.undo()
    assert now() == THEIRS
    acceleration.undo()
    assert now() == THEIRS
    assert "undone" in repr(acceleration)


def test_as_a_context_manager(our_calls):
    frames = stack_of(5, masks=True)
    theirs = ccdproc.combine(frames, method="median")
    with accelerate_ccdproc() as acceleration:
        assert is_accelerated()
        assert_same(ccdproc.combine(frames, method="median"), theirs)
        ccdproc.Combiner(frames).median_combine()
    assert our_calls == ["combine", "Combiner"]
    assert now() == THEIRS
    with pytest.raises(ZeroDivisionError), acceleration:  # once more
        assert is_accelerated()
        _ = 1 / 0


def test_nested_in_any_order():
    a, b, c = (accelerate_ccdproc() for _ in range(3))
    ours = now()
    a.undo()
    assert now() == ours
    with c, accelerate_ccdproc():
        c.undo()
        assert now() == ours
    assert now() == ours
    b.undo()
    assert now() == THEIRS
    with accelerate_ccdproc(), accelerate_ccdproc():
        assert now() == ours
    assert now() == THEIRS


def test_what_others_put_there_meanwhile_stays(monkeypatch):
    acceleration = accelerate_ccdproc()
    mine = object()
    ccdproc.combine = mine
    with pytest.warns(CombineWarning, match=r"ccdproc\.combine got another value"):
        acceleration.undo()
    assert ccdproc.combine is mine
    ccdproc.combine = THEIRS[ccdproc, "combine"]


def test_what_others_put_there_before_comes_back(monkeypatch):
    def mine(*args, **keywords):
        return "mine"

    with monkeypatch.context() as patch:
        patch.setattr(ccdproc, "combine", mine)
        with accelerate_ccdproc():
            assert ccdproc.combine is not mine
        assert ccdproc.combine is mine


def test_names_imported_before_stay_as_they_are():
    from ccdproc import Combiner as before

    class Derived(before):
        pass

    with accelerate_ccdproc():
        from ccdproc import Combiner as meanwhile

        assert before is THEIRS[ccdproc, "Combiner"]
        assert not issubclass(Derived, CCDCombiner)
        assert meanwhile is CCDCombiner
    assert meanwhile is CCDCombiner
    frames = stack_of(4)
    assert_same(meanwhile(frames).sum_combine(), Derived(frames).sum_combine())


def test_pickles():
    frames = stack_of(4)
    with accelerate_ccdproc():
        combiner = ccdproc.Combiner(frames)
        combiner.mask[0, 1, 1] = True
        parts = pickle.dumps((ccdproc.combine, ccdproc.Combiner, combiner))
        combine, cls, copy = pickle.loads(parts)
        assert combine is ccdproc.combine
        assert cls is CCDCombiner
    combine, cls, copy = pickle.loads(parts)
    assert combine is ccdproc.combine
    assert cls is CCDCombiner
    assert copy.mask[0, 1, 1]
    assert_same(copy.average_combine(), combiner.average_combine(), 0)


def test_signature_and_help():
    with accelerate_ccdproc():
        parameters = inspect.signature(THEIRS[ccdproc, "combine"]).parameters
        assert inspect.signature(ccdproc.combine).parameters == parameters
        assert ccdproc.combine.__doc__ == imcombiners_astro.combine.__doc__
        assert ccdproc.combine.__name__ == "combine"
        ours = inspect.signature(ccdproc.Combiner).parameters
    theirs = inspect.signature(ccdproc.Combiner).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name in ("average_combine", "median_combine", "sum_combine"):
        ours, theirs = (
            inspect.signature(getattr(cls, name)).parameters
            for cls in (CCDCombiner, ccdproc.Combiner)
        )
        assert list(ours) == list(theirs)
    for name in ("clip_extrema", "minmax_clipping"):
        ours, theirs = (
            inspect.signature(getattr(cls, name)).parameters
            for cls in (CCDCombiner, ccdproc.Combiner)
        )
        assert ours == theirs
    public = {name for name in vars(ccdproc.Combiner) if not name.startswith("__")}
    assert public <= set(vars(CCDCombiner))


def test_many_threads_at_once():
    frames = stack_of(6, masks=True)
    expected = ccdproc.Combiner(frames).average_combine(), ccdproc.combine(frames)

    def work(_):
        with accelerate_ccdproc():
            assert is_accelerated()
            return ccdproc.Combiner(frames).average_combine(), ccdproc.combine(frames)

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(100)):
            for result, theirs in zip(results, expected, strict=True):
                assert_same(result, theirs)


def is_ours(_):
    return ccdproc.Combiner is CCDCombiner


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_inherits_it():
    with accelerate_ccdproc():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(is_ours, [0]) == [True]


def test_import_order_and_cost():
    """The package alone does not import ccdproc; the function does."""
    code = """
        import sys
        import imcombiners_astro
        assert "ccdproc" not in sys.modules
        imcombiners_astro.CCDCombiner
        assert "ccdproc" not in sys.modules
        imcombiners_astro.accelerate_ccdproc()
        from ccdproc import Combiner
        from ccdproc.combiner import combine
        assert Combiner is imcombiners_astro.CCDCombiner
        assert combine.__wrapped__.__module__ == "ccdproc.combiner"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


# ------------------------------------------------------- other arrays, other numbers


def test_other_arrays_are_still_combined_by_ccdproc():
    dask = pytest.importorskip("dask.array")
    frames = [CCDData(dask.ones((4, 5)) * k, unit="adu") for k in (1, 2, 6)]
    with accelerate_ccdproc():
        combiner = ccdproc.Combiner(frames)
        assert type(combiner) is THEIRS[ccdproc, "Combiner"]
        assert (np.asarray(combiner.average_combine().data) == 3).all()
        # Their function looks up their class, and finds ours, which hands over.
        result = ccdproc.combine(frames, method="median")
    assert (np.asarray(result.data) == 2).all()


def test_other_numbers_are_still_combined_by_ccdproc():
    frames = [CCDData(np.full((2, 3), k * 1j), unit="adu") for k in (1, 3)]
    with accelerate_ccdproc():
        result = ccdproc.Combiner(frames, dtype=complex).average_combine()
    np.testing.assert_array_equal(result.data, 2j)


def test_a_class_in_the_place_by_hand(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ccdproc.combiner, "Combiner", CCDCombiner)
        with pytest.raises(TypeError, match="use accelerate_ccdproc"):
            CCDCombiner(stack_of(2), dtype=complex)


# ----------------------------------------------- the calls of ccdproc's documentation


def on_both(act, our_calls, at_least):
    """Result of the calls with ccdproc and with us."""
    theirs = act()
    assert not our_calls
    with accelerate_ccdproc():
        ours = act()
    assert len(our_calls) >= at_least
    assert ours.keys() == theirs.keys()
    for name, result in ours.items():
        assert_same(result, theirs[name], ulp=4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(3))
def test_page_on_image_combination(our_calls, seed):
    """Every call of the page, in its order, on three equal images and on others."""

    def act():
        from ccdproc import Combiner

        rng = np.random.default_rng(seed)
        images = [CCDData(rng.normal(size=(10, 10)), unit="adu") for _ in range(3)]
        if seed == 0:
            images = [images[0].copy() for _ in range(3)]
        results = {}
        combiner = Combiner(images)
        combiner.minmax_clipping(min_clip=-0.3, max_clip=0.1)
        results["minmax"] = combiner.average_combine()
        for func in (np.ma.median, "median"):
            combiner.sigma_clipping(low_thresh=2, high_thresh=5, func=func)
        results["sigma"] = combiner.average_combine()
        if seed:
            # Among equal images it is chance which are the lowest in ccdproc.
            combiner.clip_extrema(nlow=1, nhigh=1)
        old_n_masked, passes = 0, 0
        new_n_masked = combiner.data_arr.mask.sum()
        while new_n_masked > old_n_masked:
            combiner.sigma_clipping(func=np.ma.median)
            old_n_masked, passes = new_n_masked, passes + 1
            new_n_masked = combiner.data_arr.mask.sum()
        assert passes >= 1
        results["average"] = combiner.average_combine()
        results["median"] = combiner.median_combine()
        if seed == 0:
            combiner = Combiner(images)  # something must be left for its scaling
        if seed:
            combiner.data_arr.mask[:, :5] = False
        combiner.scaling = lambda arr: 1 / np.ma.average(arr)
        results["scaled"] = combiner.average_combine()
        results["scaled median"] = combiner.median_combine()
        combiner.data_arr.mask = False  # see "weights" in the documentation
        combiner.weights = np.array([0.5, 1, 2.0])
        results["weights"] = combiner.average_combine()
        combiner.weights = np.random.default_rng(7).random([3, 10, 10])
        results["weights of pixels"] = combiner.average_combine()
        return results

    on_both(act, our_calls, 1)


def test_page_on_image_combination_new_names():
    """The loop as the page of ccdproc's development version has it."""
    frames = stack_of(12, masks=True)
    with accelerate_ccdproc():
        combiner = ccdproc.Combiner(frames)
        old_n_masked = 0
        new_n_masked = combiner.mask.sum()
        while new_n_masked > old_n_masked:
            combiner.sigma_clipping(func="median")
            old_n_masked = new_n_masked
            new_n_masked = combiner.mask.sum()
        ours = combiner.average_combine()
    combiner = ccdproc.Combiner(frames)
    combiner.sigma_clipping(func="median")
    assert_same(ours, combiner.average_combine())


def test_page_on_image_combination_collections(our_calls, tmp_path):
    ccd = CCDData(np.ones([5, 5]), unit="adu")
    for i in range(3):
        ccd.multiply(i + 1).write(tmp_path / f"ccd-{i}.fits")

    def act():
        from ccdproc import Combiner, ImageFileCollection, combine

        ifc = ImageFileCollection(tmp_path)
        results = {"ccds": Combiner(ifc.ccds()).average_combine()}
        files = ifc.files_filtered(include_path=True)
        results["files"] = combine(files, mem_limit=1e9)
        results["generator"] = combine(ifc.ccds())
        return results

    on_both(act, our_calls, 3)


def test_page_on_image_combination_projected_images(our_calls):
    """What wcs_project returns, masked at the border and with NaN there."""
    wcs = WCS(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}))
    frames = stack_of(4)
    for k, frame in enumerate(frames):
        frame.wcs = wcs
        frame.data[k] = np.nan
        frame.mask = np.isnan(frame.data)

    def act():
        result = ccdproc.Combiner(frames).average_combine()
        assert result.wcs is None
        return {"stacked": result}

    on_both(act, our_calls, 1)


# --------------------------------------------------------------- calls of pipelines


def test_13_median_by_a_function_that_fills():
    def bn_median(masked_array, axis=None):
        import bottleneck as bn

        return bn.nanmedian(masked_array.filled(fill_value=np.nan), axis=axis)

    frames = stack_of(9, masks=True, dtype=np.float32)

    def act():
        combiner = ccdproc.Combiner(frames, dtype=np.float32)
        return combiner.median_combine(median_func=bn_median)

    theirs = act()
    with accelerate_ccdproc():
        ours = act()
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    good = ~ours.mask
    # The median of an even number of samples is rounded to float32 in ccdproc.
    np.testing.assert_allclose(
        ours.uncertainty.array[good], theirs.uncertainty.array[good], rtol=1e-4
    )


@pytest.mark.parametrize("dev_func", [None, np.ma.std])
def test_14_extrema_loop_and_scale(our_calls, dev_func):
    frames = stack_of(15, seed=4)
    for k, frame in enumerate(frames):
        frame.data += np.arange(713).reshape(23, 31) * 1e-3 * (k + 1)  # no ties

    def act():
        c = ccdproc.Combiner(frames)
        c.clip_extrema(1, 1)
        old, new = 0, c.data_arr.mask.sum()
        while new > old:
            options = {} if dev_func is None else {"dev_func": dev_func}
            c.sigma_clipping(low_thresh=3, high_thresh=3, func=np.ma.median, **options)
            old, new = new, c.data_arr.mask.sum()
        c.scaling = lambda a: 1 / np.ma.average(a)
        return {"master": c.average_combine()}

    on_both(act, our_calls, 1)


def test_15_afterwards(tmp_path):
    with accelerate_ccdproc():
        r = ccdproc.Combiner(stack_of(4)).average_combine()
    assert r[0].data.shape == (31,)
    r.wcs = WCS(naxis=2)
    r.header = fits.Header({"OBJECT": "M 31"})
    r.meta["combined"] = True
    r.header.add_history("combined")
    r.data = r.data.astype(np.float32)
    r.uncertainty.array[...] *= 2
    r.data[0, 0] = 3
    r.write(tmp_path / "a.fits")
    r.write(tmp_path / "a.fits", overwrite=True, hdu_mask=None, hdu_uncertainty=None)
    with fits.open(tmp_path / "a.fits") as hdus:
        assert len(hdus) == 1


def test_16_assigning_a_mask_of_astropy(our_calls):
    from astropy.stats import sigma_clip

    frames = stack_of(15, seed=4)

    def act():
        combiner = ccdproc.Combiner(frames)
        clipped = sigma_clip(
            combiner.data_arr, sigma=3, axis=0, cenfunc="median", stdfunc="mad_std"
        )
        combiner.data_arr.mask = clipped.mask
        results = {"clipped": combiner.median_combine()}
        combiner.data_arr = clipped
        results["array"] = combiner.average_combine()
        return results

    on_both(act, our_calls, 1)
