# Licensed under a 3-clause BSD style license - see LICENSE
"""Growth of rejections over images that are combined in strips."""

import numpy as np
import oracle
import pytest
from comparison import stack_of

import imcombiners_astro as imc
from imcombiners_astro import combine

N = 7
NOT_USED = oracle.INPUT_MASK | oracle.NONFINITE | oracle.THRESHOLD | oracle.ALGORITHM
GROWN, HAS_GROWN = 16, 16
COUNTS = [f"{k}_rejected_{side}" for k in ("n", "frame") for side in ("low", "high")]

REJECTORS = {
    "one": imc.SigClip(sigma=1.9, grow=1),
    "far": imc.SigClip(sigma=2.1, grow=2.3),
    "less than a pixel": imc.SigClip(sigma=1.5, grow=0.9),
    "in the middle": [
        imc.MinMaxClip(1, 0),
        imc.SigClip(sigma=1.8, stdfunc="std", grow=1.5),
        imc.PClip(0.3),
    ],
    "twice": [
        imc.SigClip(sigma=2, grow=1),
        imc.LinearClip(low=25, upp=25, grow=1.5),
    ],
    "pooled": [imc.SigClip(sigma=2.1, grow=1), imc.AvSigClip(sigma=2)],
}


def truth_of(ccds, rejectors):
    """Reject and grow rejector by rejector, each time with the whole stack."""
    if isinstance(rejectors, imc.Rejector):
        rejectors = [rejectors]
    masks = np.array([ccd.mask for ccd in ccds])
    flags, counts = np.zeros(masks.shape, np.uint8), dict.fromkeys(COUNTS, 0)
    has_grown = np.zeros(masks.shape[1:], bool)
    for k, rejector in enumerate(rejectors):
        plan = oracle.Plan("mean", (rejector.step(N),))
        found = oracle.combine([ccd.data for ccd in ccds], plan, masks=masks)
        new = found["sample_flags"]
        flags |= new if k == 0 else new & ~np.uint8(oracle.INPUT_MASK)
        counts = {name: count + found[name] for name, count in counts.items()}
        unused = (new & NOT_USED) != 0
        grown = oracle.grow((new & oracle.ALGORITHM) != 0, rejector.grow or 0)
        grown &= ~unused
        flags[grown] |= GROWN
        has_grown |= grown.any(axis=0)
        masks = unused | grown
    plan = oracle.Plan("mean", uncertainty="std_error")
    found = oracle.combine([ccd.data for ccd in ccds], plan, masks=masks)
    found |= {"sample_flags": flags, "mask_rej": masks, "has_grown": has_grown}
    return found | counts


@pytest.mark.parametrize("shape", [(40,), (12, 9), (4, 5, 6), (4, 3, 1)], ids=str)
@pytest.mark.parametrize("name", REJECTORS)
def test_growth(tmp_path, name, shape):
    ccds = stack_of(N, shape, masks=True, bad=(np.nan,))
    files = [tmp_path / f"{k}.fits" for k in range(N)]
    for ccd, file in zip(ccds, files, strict=True):
        ccd.write(file)
    rejectors = REJECTORS[name]
    truth = truth_of(ccds, rejectors)
    assert (truth["has_grown"]).any() == (name != "less than a pixel")
    strips = []

    def bar(iterable):
        strips.append(len(iterable))
        return iterable

    # Pooling over a single row needs all of it in memory.
    small = 1e5 if name == "pooled" and len(shape) == 1 else 1
    for images in (ccds, files):
        for mem_limit in (16e9, small):
            result = combine(
                images,
                rejectors=rejectors,
                diagnostics="full",
                mem_limit=mem_limit,
                progress_bar=bar,
            )
            np.testing.assert_array_equal(result.data, truth["image"])
            np.testing.assert_array_equal(result.mask, truth["mask"])
            np.testing.assert_array_equal(
                result.uncertainty.array, truth["uncertainty"]
            )
            for key in ("mask_rej", "sample_flags", "n_used"):
                np.testing.assert_array_equal(getattr(result, key), truth[key])
            for key in ("n_rejected_low", "n_rejected_high"):
                np.testing.assert_array_equal(getattr(result, key), truth[key])
            grown = (result.output_flags & HAS_GROWN) != 0
            np.testing.assert_array_equal(grown, truth["has_grown"])
            # What growth rejects is on neither side.
            for side in ("low", "high"):
                number = result.frames[f"rejected_{side}"] * result.size / 100
                expected = truth[f"frame_rejected_{side}"]
                np.testing.assert_allclose(number, expected, rtol=1e-12)
            plain = combine(images, rejectors=rejectors, mem_limit=mem_limit)
            np.testing.assert_array_equal(plain.data, truth["image"])
    if small == 1 and name != "less than a pixel":
        assert strips == [1, shape[0], 1, shape[0]]


def test_growth_is_that_of_combiner():
    ccds = stack_of(N, (20, 30), bad=(np.nan,))
    clip = imc.SigClip(sigma=1.9, grow=1.5)
    chain = imc.Combiner(np.array([ccd.data for ccd in ccds])).reject(clip)
    result = combine(ccds, rejectors=clip, diagnostics="simple")
    np.testing.assert_array_equal(result.data, chain.combine("mean"))
    for name in ("mask_rej", "std", "nit", "output_flags"):
        np.testing.assert_array_equal(getattr(result, name), getattr(chain, name))


def test_less_than_a_pixel_is_no_growth():
    ccds = stack_of(N, (20, 30), masks=True)
    names = ("low", "upp", "std", "nit", "output_flags", "sample_flags")
    results = [
        combine(
            ccds,
            rejectors=[imc.SigClip(sigma=2, grow=grow), imc.MinMaxClip(1, 1)],
            diagnostics="full",
        )
        for grow in (None, 0.5)
    ]
    for name in ("data", *names):
        np.testing.assert_array_equal(*(getattr(result, name) for result in results))
