# Licensed under a 3-clause BSD style license - see LICENSE
"""Random combinations of options: the same bits by every way there is."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)

import imcombiners_astro as imc
from imcombiners_astro.diagnostics import DIAGNOSTICS

pytestmark = pytest.mark.filterwarnings("ignore")

SHAPES = [(7,), (1, 1), (1, 9), (9, 1), (5, 7), (12, 40), (3, 4, 5), (2, 1, 6)]
TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f4", "f8", "f8"]
CLASSES = [StdDevUncertainty, VarianceUncertainty, InverseVariance]


def random_image(rng, k, shape, dtype, has, uncertainty):
    middle = 50 if np.dtype(dtype).itemsize == 1 else 500
    data = rng.normal(middle, middle / 20, shape)
    data[rng.random(shape) < 0.06] *= 1.2 if middle == 50 else 1.9
    if np.dtype(dtype).kind == "f":
        data[rng.random(shape) < 0.06] = rng.choice([np.nan, np.inf])
    image = CCDData(np.asarray(data, dtype), unit="adu", meta=fits.Header())
    image.header.update({"EXPTIME": 1.0 + k, "GAIN": 1.5, "RDNOISE": 4.0, "SKY": 9 * k})
    if has["mask"]:
        image.mask = rng.random(shape) < 0.1
    if has["uncertainty"]:
        errors = rng.uniform(1, 9, shape).astype(rng.choice(["f4", "f8"]))
        errors[rng.random(shape) < 0.02] = rng.choice([0, np.nan])
        image.uncertainty = uncertainty(errors)
    if has["flags"]:
        image.flags = rng.choice(np.array([0, 0, 0, 1, 4, 5], "u1"), shape)
    return image


def random_rejector(rng, n):
    grow = [None, None, 0, 1, 1.5][rng.integers(5)]
    makers = [
        lambda: imc.SigClip(sigma=1.5, stdfunc="mad", grow=grow),
        lambda: imc.SigClip(sigma=1, grow=grow),
        lambda: imc.CcdClip(sigma=2, grow=grow),
        lambda: imc.CrReject(grow=grow),
        lambda: imc.LinearClip(low=20, upp=30, grow=grow),
        lambda: imc.PClip(sigma=2, grow=grow),
        lambda: imc.MinMaxClip(int(n > 2), int(n > 3), grow=grow),
    ]
    return makers[rng.integers(len(makers))]()


def random_options(rng, n, shape, same_shape, has):
    """Options that fit together, each with some probability."""
    options = {"method": str(rng.choice(["average", "median", "sum"]))}

    def maybe(name, *values):
        choice = rng.integers(2 * len(values) + 1)
        if choice < len(values):
            options[name] = values[choice]

    maybe("rejectors", [random_rejector(rng, n) for _ in range(rng.integers(1, 3))])
    if "rejectors" not in options:
        maybe("sigma_clip", True)
        if "sigma_clip" in options:
            maybe("sigma_clip_func", "median", "mean")
            maybe("sigma_clip_dev_func", "mad_std")
        maybe("clip_extrema", *[True] * (n > 2))
    maybe(
        "scale", "mean", "median", "mode", "exposure", [1 + 0.1 * k for k in range(n)]
    )
    maybe("zero", "median", "mode", "SKY")
    maybe("statsample", 7, 40)
    maybe("thresholds", (45, 1200))
    if options["method"] != "median":
        maybe("weights", "exposure", np.arange(1.0, n + 1))
        if same_shape:
            maybe("weights", rng.random((n, *shape)))
    if has["uncertainty"]:
        maybe("uncertainty", "propagate", "scatter", "noise", None)
        if options["method"] == "average":
            maybe("weights", "ivar")
    maybe("diagnostics", "simple", "full", "full")
    maybe("dtype", "f4")
    maybe("blank", -7.0)
    maybe("exposure", "sum", "mean")
    if has["flags"]:
        options["ignore_flags"] = int(rng.choice([0, 1, 4]))
        maybe("least_bad", [1, 4])
    return options


class Case:
    """Images, the same in files, and options for them."""

    def __init__(self, seed, folder):
        self.rng = rng = np.random.default_rng(seed)
        self.folder = folder
        n = int(rng.choice([1, 2, 3, 5, 9]))
        shape = SHAPES[rng.integers(len(SHAPES))]
        kinds = [("mask", 0.5), ("uncertainty", 0.4), ("flags", 0.2)]
        has = {name: rng.random() < p for name, p in kinds}
        self.is_placed = rng.random() < 0.35
        same_shape = not self.is_placed or rng.random() < 0.5
        cls = CLASSES[rng.integers(3)]
        self.images = [
            random_image(
                rng,
                k,
                shape
                if same_shape
                else tuple(int(rng.integers(1, s + 4)) for s in shape),
                TYPES[rng.integers(len(TYPES))],
                has,
                cls,
            )
            for k in range(n)
        ]
        self.options = random_options(rng, n, shape, same_shape, has)
        if self.is_placed:
            self.options["offsets"] = rng.integers(-3, 4, (n, len(shape)))
            self.options["footprint"] = str(rng.choice(["union", "union", "first"]))
        self.output = {
            "output_compression": [None, None, "GZIP_2", "RICE_1"][rng.integers(4)],
            "output_checksum": bool(rng.random() < 0.3),
            "output_dtype": [None, None, "f4", "f8"][rng.integers(4)],
        }
        self.limit = float(rng.choice([1, 1000, 5000, 30000]))
        self.n_threads = int(rng.choice([1, 2]))

    def hdus(self, image, version=None):
        hdus = image.to_hdu(as_image_hdu=version is not None)
        if image.flags is not None:
            hdus.append(fits.ImageHDU(image.flags, name="DQ"))
        if version is not None:
            hdus[0].name = "SCI"
            for hdu in hdus:
                hdu.ver = version
        return list(hdus)

    def files(self):
        return self._written("plain", lambda image: self.hdus(image))

    def multi_files(self):
        return self._written(
            "multi",
            lambda image: [
                fits.PrimaryHDU(header=fits.Header({"EXPTIME": 1.0})),
                *self.hdus(image, 1),
                *self.hdus(image, 2),
            ],
        )

    def _written(self, name, make):
        paths = [self.folder / f"{name} {k} é.fits" for k in range(len(self.images))]
        for path, image in zip(paths, self.images, strict=True):
            fits.HDUList(make(image)).writeto(path)
        return paths

    def combined(self, images, *args, **keywords):
        # The images are the caller's, and nothing of them may be changed.
        return imc.combine(images, *args, **self.options, **keywords)


def assert_same(one, other, header=True):
    assert type(one) is type(other)
    assert one.unit == other.unit
    names = ["data", "mask", "flags"]
    if isinstance(one, imc.CombinedCCDData):
        names += DIAGNOSTICS
        assert one.frames.colnames == other.frames.colnames
        for name in set(one.frames.colnames) - {"name"}:
            np.testing.assert_array_equal(one.frames[name], other.frames[name])
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    assert type(one.uncertainty) is type(other.uncertainty)
    if one.uncertainty is not None:
        pairs.append(("uncertainty", one.uncertainty.array, other.uncertainty.array))
    for name, x, y in pairs:
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype.newbyteorder("="), name
            np.testing.assert_array_equal(x, y, err_msg=name, strict=False)
            assert np.signbit(x).tobytes() == np.signbit(y).tobytes() or x.dtype == bool
    if header:
        for keyword in ("NCOMBINE", "EXPTIME", "GAIN", "RDNOISE"):
            assert one.header.get(keyword) == other.header.get(keyword)


def without_times(path):
    """
    All that is in a file but the times at which it was made.

    These are in the comments of checksums, and in what is packed by gzip.
    """
    found = []
    with fits.open(path) as hdus:
        for hdu in hdus:
            cards = [
                str(card) for card in hdu.header.cards if "SUM" not in card.keyword
            ]
            found.append((cards, b"" if hdu.data is None else hdu.data.tobytes()))
    return found


def padded(image, offset, shape):
    """A placed image in one that is as large as the result."""
    dtype = np.result_type(image.data.dtype, "f4")
    box = tuple(slice(at, at + n) for at, n in zip(offset, image.shape, strict=True))

    def larger(array, fill, kind):
        whole = np.full(shape, fill, kind)
        whole[box] = array
        return whole

    found = CCDData(larger(image.data, np.nan, dtype), unit="adu", meta=image.header)
    found.mask = larger(False if image.mask is None else image.mask, True, bool)
    if image.uncertainty is not None:
        errors = image.uncertainty.array
        found.uncertainty = type(image.uncertainty)(larger(errors, 1, errors.dtype))
    if image.flags is not None:
        found.flags = larger(image.flags, 0, image.flags.dtype)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_same_by_every_way(tmp_path, seed):
    case = Case(seed, tmp_path)
    work = {"mem_limit": case.limit, "n_threads": case.n_threads}
    expected = case.combined(case.images)
    assert_same(expected, case.combined(case.images, **work))
    files = case.files()
    assert_same(expected, case.combined(files))
    assert_same(expected, case.combined(files, **work))

    whole = case.combined(files, tmp_path / "whole.fits", **case.output)
    assert_same(expected, whole)
    small = {"mem_limit": 1, "n_threads": case.n_threads}
    pieces = case.combined(files, tmp_path / "pieces.fits", **small, **case.output)
    assert_same(expected, pieces)
    assert not pieces.data.flags.writeable
    names = "whole.fits", "pieces.fits"
    one, other = (without_times(tmp_path / name) for name in names)
    assert one == other
    if case.output["output_checksum"]:
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with fits.open(tmp_path / name, checksum=True) as hdus:
                    hdus.verify("exception")

    multi = case.multi_files()
    found = case.combined(multi, tmp_path / "m.fits", hdu="all", **work, **case.output)
    assert list(found) == [("SCI", 1), ("SCI", 2)]
    for result in found.values():
        assert_same(expected, result)
    assert [path.name for path in tmp_path.glob(".*")] == []

    not_lazy = {"statsample", "offsets"} & set(case.options)
    if case.is_placed and case.options["footprint"] == "union":
        weights = case.options.get("weights")
        if np.ndim(weights) <= 1 and "statsample" not in case.options:
            offsets = case.options["offsets"] - case.options["offsets"].min(axis=0)
            larger = [
                padded(image, offset, expected.shape)
                for image, offset in zip(case.images, offsets, strict=True)
            ]
            del case.options["offsets"], case.options["footprint"]
            found = case.combined(larger)
            np.testing.assert_array_equal(found.data, expected.data)
            np.testing.assert_array_equal(found.mask, expected.mask)
            if expected.uncertainty is not None:
                np.testing.assert_array_equal(
                    found.uncertainty.array, expected.uncertainty.array
                )
            if isinstance(expected, imc.CombinedCCDData):
                np.testing.assert_array_equal(found.n_used, expected.n_used)
                np.testing.assert_array_equal(found.mask_rej, expected.mask_rej)
    if not not_lazy:
        distributed = pytest.importorskip("imcombiners_astro.distributed")
        import dask

        with dask.config.set(scheduler="synchronous"):
            limit = float(case.rng.choice([2e3, 1e5, 1e8]))
            lazy = distributed.combine(files, mem_limit=limit, **case.options)
            assert_same(expected, lazy.compute())
