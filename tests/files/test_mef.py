# Licensed under a 3-clause BSD style license - see LICENSE
"""Files of several images, combined extension by extension."""

import io
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty

from imcombiners_astro import CombinedCCDData, SigClip, combine
from imcombiners_astro.atomic import fcntl
from imcombiners_astro.files.combine import combine_and_count
from imcombiners_astro.files.layout import NoImageError

N = 4
NAMES = [("SCI", 1), ("SCI", 2), ("REF", 3)]
SHAPES = [(13, 20), (10, 31), (3, 4, 5)]
KEYS = [("SCI", 1), ("SCI", 2), "REF"]
CATALOGUE = fits.BinTableHDU.from_columns(
    [fits.Column("x", "J", array=[3, 1, 2])], name="CATALOG"
)


def make_hdus(rng, k=0, names=NAMES, shapes=SHAPES, companions=True, compressed=False):
    """Images with masks, uncertainties and flags, in an order of no kind."""
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update({"OBJECT": "M 31", "EXPTIME": 10.0 + k, "BUNIT": "adu"})
    for (name, version), shape in zip(names, shapes, strict=True):
        data = rng.integers(0, 1000, shape).astype("u2" if companions else "f8")
        if not companions:
            data.flat[rng.integers(3) + 5 * version :: 9] = np.nan
            data.flat[version::7] = np.nan  # in all files
        hdu = (fits.CompImageHDU if compressed else fits.ImageHDU)(data, name=name)
        hdu.header["CHIP"] = f"{name}{version}"
        new = [hdu]
        if companions:
            mask = (rng.random(shape) < 0.2).astype("u1")
            flags = rng.integers(0, 8, shape).astype("i2")
            error = rng.uniform(1, 9, shape)
            new.append(fits.ImageHDU(mask, name="MASK"))
            new.append(fits.ImageHDU(error, name="UNCERT"))
            new.append(fits.ImageHDU(flags, name="DQ"))
        for hdu in new:
            hdu.ver = version
        hdus += new[:1]
        hdus[1:1] = new[1:]  # companions of the last image come first
    hdus.insert(len(hdus) - 1, CATALOGUE.copy())
    return fits.HDUList(hdus)


def images_of(hdus, names=NAMES, flags=False):
    """The images of a file as CCDData, read by astropy alone."""
    images = []
    for name, version in names:

        def data(kind, version=version):
            key = (kind, version)
            return np.array(hdus[key].data) if key in hdus else None

        error, mask = data("UNCERT"), data("MASK")
        images.append(
            CCDData(
                np.array(hdus[name, version].data),
                unit="adu",
                mask=None if mask is None else mask.astype(bool),
                uncertainty=None if error is None else StdDevUncertainty(error),
                flags=data("DQ") if flags else None,
                meta={"EXPTIME": hdus[0].header["EXPTIME"]},
            )
        )
    return images


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**options):
    rng = np.random.default_rng(90)
    for k in range(N):
        make_hdus(rng, k, **options).writeto(f"f{k}.fits", overwrite=True)
    return [f"f{k}.fits" for k in range(N)]


def assert_combined(found, files, keys=KEYS, names=NAMES, flags=False, **keywords):
    stacks = []
    for name in files:
        with fits.open(name) as hdus:
            stacks.append(images_of(hdus, names, flags))
    assert list(found) == keys
    for result, images in zip(found.values(), zip(*stacks, strict=True), strict=True):
        expected = combine(list(images), **keywords)
        np.testing.assert_array_equal(result.data, expected.data)
        np.testing.assert_array_equal(result.mask, expected.mask)
        np.testing.assert_array_equal(
            result.uncertainty.array, expected.uncertainty.array
        )
        assert result.unit == "adu"
        if flags:
            np.testing.assert_array_equal(result.flags, expected.flags)
        if "diagnostics" in keywords:
            np.testing.assert_array_equal(result.n_used, expected.n_used)
            np.testing.assert_array_equal(result.mask_rej, expected.mask_rej)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("companions", [False, True])
@pytest.mark.parametrize("mem_limit", [16e9, 1])
def test_every_extension(folder, compressed, companions, mem_limit):
    files = write(compressed=compressed, companions=companions)
    found = combine(files, hdu="all", mem_limit=mem_limit)
    assert_combined(found, files)
    for (name, version), result in zip(NAMES, found.values(), strict=True):
        assert result.header["CHIP"] == f"{name}{version}"
        assert result.header["NCOMBINE"] == N


@pytest.mark.parametrize("as_files", [True, False])
@pytest.mark.parametrize("compressed", [False, True])
def test_class_of_the_uncertainty(folder, compressed, as_files):
    # which is of the first file, though nothing else of its uncertainty is used
    files = write(compressed=compressed)
    for name in files:
        with fits.open(name, mode="update") as hdus:
            for version in (1, 2, 3):
                hdus["UNCERT", version].header["UTYPE"] = "VarianceUncertainty"
    items = files if as_files else [fits.open(name) for name in files]
    results = combine(items, hdu="all", unit="adu")
    classes = {key: type(result.uncertainty) for key, result in results.items()}
    assert classes == dict.fromkeys(KEYS, VarianceUncertainty)
    if not as_files:
        for hdus in items:
            hdus.close()


def test_options(folder):
    files = write()
    keywords = {
        "rejectors": SigClip(1.2, stdfunc="mad"),
        "scale": "exposure",
        "uncertainty": "propagate",
        "diagnostics": "full",
        "method": "median",
    }
    found = combine("f*.fits", hdu="all", **keywords)
    assert_combined(found, files, **keywords)
    assert list(found["REF"].frames["name"]) == [f"{name}[REF]" for name in files]
    assert found["SCI", 2].header["IMCMB004"] == "f3.fits[SCI,2]"


def test_offsets(folder):
    rng = np.random.default_rng(5)
    for k in range(N):
        shapes = [(13 + k, 20), (10, 31 - k)]
        hdus = make_hdus(rng, k, NAMES[:2], shapes, companions=False)
        hdus.writeto(f"f{k}.fits")
    keywords = {"offsets": [(0, 0), (1, 2), (-2, 0), (0, 3)], "footprint": "union"}
    found = combine("f*.fits", hdu="all", output_file="out.fits", **keywords)
    assert len(found) == 2
    for key, result in found.items():
        expected = combine("f*.fits", hdu=key, unit="adu", **keywords)
        np.testing.assert_array_equal(result.data, expected.data)
        np.testing.assert_array_equal(fits.getdata("out.fits", key), result.data)


def test_flags(folder):
    files = write()
    found = combine(files, hdu="all", ignore_flags=3, hdu_mask=None)
    for name in files:
        with fits.open(name, mode="update") as hdus:
            for version in (1, 2, 3):
                del hdus["MASK", version]
    assert_combined(found, files, flags=True, ignore_flags=3)


def test_hdu_lists_and_file_objects(folder):
    files = write(compressed=True)
    opened = [fits.open(name) for name in files]
    objects = [io.BytesIO(Path(name).read_bytes()) for name in files]
    mixture = [files[0], opened[1], objects[2], Path(files[3])]
    for given in (mixture, opened, objects, ["f0.fits", *opened[1:]]):
        for file in objects:
            file.seek(0)
        found = combine(given, hdu="all", diagnostics="simple")
        assert_combined(found, files, diagnostics="simple")
    for hdus in opened:
        hdus.close()


def test_tally(folder):
    files = write(companions=False)
    _, tally = combine_and_count(files, hdu="all", clip_extrema=True)
    parts = [
        combine_and_count(files, hdu=name, unit="adu", clip_extrema=True)[1]
        for name in NAMES
    ]
    assert tally.samples == N * sum(np.prod(shape) for shape in SHAPES)
    assert tally.low == sum(part.low for part in parts) > 0
    assert tally.high == sum(part.high for part in parts) > 0


@pytest.mark.parametrize(
    "names, keys",
    [
        ([("SCI", 1), ("REF", 1), ("SKY", 1)], ["SCI", "REF", "SKY"]),
        ([("A", 1), ("A", 5), ("A", 2)], [("A", 1), ("A", 5), ("A", 2)]),
        ([("", 1), ("B", 1), ("", 1)], [1, "B", 4]),
        ([("A", 1), ("A", 1), ("A", 2)], [1, 2, ("A", 2)]),
    ],
)
@pytest.mark.parametrize("diagnostics", [None, "full"])
@pytest.mark.parametrize("compressed", [False, True])
def test_keys(folder, names, keys, compressed, diagnostics):
    files = write(names=names, companions=False, compressed=compressed)
    found = combine(files, hdu="all", output_file="out.fits", diagnostics=diagnostics)
    assert list(found) == keys
    with fits.open("out.fits") as hdus:
        numbers = [1, 2, 4]
        assert [(hdus[k].name, hdus[k].ver) for k in numbers] == names
        for result, number in zip(found.values(), numbers, strict=True):
            np.testing.assert_array_equal(hdus[number].data, result.data)
    assert_belong("out.fits", found, numbers)


def assert_belong(path, found, numbers):
    """What was written beside each image is read with it."""
    twice = combine([path] * 2, hdu="all", diagnostics="simple")
    assert list(twice) == list(found)
    for key, number in zip(found, numbers, strict=True):
        result = found[key]
        read = CombinedCCDData.read(path, hdu=number)
        np.testing.assert_array_equal(read.mask, result.mask)
        np.testing.assert_array_equal(read.uncertainty.array, result.uncertainty.array)
        for more in ({}, {"checksum": True}):
            one = combine([path] * 2, hdu=number, uncertainty="propagate", **more)
            np.testing.assert_array_equal(one.mask, result.mask)
            expected = combine([result] * 2, uncertainty="propagate")
            np.testing.assert_array_equal(
                one.uncertainty.array, expected.uncertainty.array
            )
        np.testing.assert_array_equal(twice[key].mask, result.mask)
        np.testing.assert_array_equal(twice[key].n_used, np.where(result.mask, 0, 2))


def test_image_in_the_primary_hdu(folder):
    rng = np.random.default_rng(4)
    arrays = rng.normal(size=(N, 2, 5, 6))
    arrays[:, 0, 0, 0] = arrays[:, 1, 1, 1] = np.nan
    for k, (one, two) in enumerate(arrays):
        primary = fits.PrimaryHDU(one)
        primary.header["BUNIT"] = "adu"
        hdus = fits.HDUList([primary, fits.ImageHDU(two, name="TWO")])
        hdus[1].header["BUNIT"] = "Jy"
        hdus.writeto(f"f{k}.fits")
    found = combine("f*.fits", hdu="all", output_file="out.fits")
    assert list(found) == ["PRIMARY", "TWO"]
    np.testing.assert_allclose(found["TWO"].data, arrays[:, 1].mean(axis=0))
    assert_belong("out.fits", found, [0, 1])
    with pytest.raises(ValueError, match=r"f0\.fits has an image in its primary HDU"):
        combine("f*.fits", hdu="all", output_file="c.fits", output_compression="RICE_1")


def test_one_image(folder):
    # what belongs to the only image of a file need not have its EXTVER
    rng = np.random.default_rng(4)
    for k in range(N):
        hdus = make_hdus(rng, k, [("SCI", 2)], SHAPES[:1])
        hdus["MASK", 2].ver = 1
        hdus.writeto(f"f{k}.fits")
    found = combine("f*.fits", hdu="all")
    expected = combine("f*.fits", hdu=("SCI", 2), unit="adu")
    assert list(found) == ["SCI"]
    np.testing.assert_array_equal(found["SCI"].data, expected.data)
    unmasked = combine("f*.fits", hdu="all", hdu_mask=None)
    assert (found["SCI"].data != unmasked["SCI"].data).any()


def test_output(folder):
    files = write()
    keywords = {"rejectors": SigClip(1.2), "diagnostics": "full", "exposure": "sum"}
    found = combine(files, hdu="all", output_file="out.fits", **keywords)
    with fits.open(files[0]) as old, fits.open("out.fits") as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert (header["OBJECT"], header["NCOMBINE"]) == ("M 31", N)
        assert header["IMCMB004"] == "f3.fits"
        assert header["EXPTIME"] == sum(10 + k for k in range(N))
        assert "diagnostics=full" in header["HISTORY"]
        kept = [hdu for hdu in old if hdu.name not in ("MASK", "UNCERT", "DQ")]
        new = hdus[: len(kept)]
        for one, other in zip(new, kept, strict=True):
            assert (one.name, one.ver) == (other.name, other.ver)
        np.testing.assert_array_equal(hdus["CATALOG"].data["x"], [3, 1, 2])
        for (name, version), result in zip(NAMES, found.values(), strict=True):
            image = hdus[name, version]
            assert image.header["CHIP"] == f"{name}{version}"
            assert image.header["BUNIT"] == "adu"
            assert "OBJECT" not in image.header
            np.testing.assert_array_equal(image.data, result.data)
            np.testing.assert_array_equal(
                hdus["MASKREJ", version].data, result.mask_rej
            )
            for kind in ("MASK", "UNCERT", "LOW", "NUSED", "OUTFLAGS", "FRAMES"):
                assert (kind, version) in hdus


def test_output_read_again(folder):
    files = write()
    found = combine(
        files, hdu="all", output_file="out.fits", diagnostics="full", ignore_flags=0
    )
    for (name, version), result in zip(NAMES, found.values(), strict=True):
        read = CombinedCCDData.read("out.fits", hdu=(name, version))
        np.testing.assert_array_equal(read.data, result.data)
        np.testing.assert_array_equal(read.mask, result.mask)
        np.testing.assert_array_equal(read.flags, result.flags)
        np.testing.assert_array_equal(read.n_used, result.n_used)
        np.testing.assert_array_equal(read.sample_flags, result.sample_flags)
        np.testing.assert_array_equal(read.uncertainty.array, result.uncertainty.array)
        assert list(read.frames["name"]) == list(result.frames["name"])
    # masters are combined like images, and what belongs to them is left out
    again = combine(["out.fits"] * 2, hdu="all", diagnostics="simple")
    assert list(again) == KEYS
    for key, result in found.items():
        np.testing.assert_array_equal(again[key].mask, result.mask)
        np.testing.assert_array_equal(again[key].n_used, np.where(result.mask, 0, 2))


def test_results_that_do_not_fit(folder):
    files = write()
    keywords = {"diagnostics": "full", "rejectors": SigClip(1.2), "hdu": "all"}
    expected = combine(files, output_file="memory.fits", **keywords)
    found = combine(files, output_file="maps.fits", mem_limit=3000, **keywords)
    assert not any(result.data.flags.writeable for result in found.values())
    for key, result in expected.items():
        for name in ("data", "mask", "n_used", "mask_rej", "sample_flags"):
            np.testing.assert_array_equal(
                getattr(found[key], name), getattr(result, name)
            )
    assert Path("memory.fits").read_bytes() == Path("maps.fits").read_bytes()
    assert sorted(x.name for x in folder.iterdir()) == [
        *files,
        "maps.fits",
        "memory.fits",
    ]


@pytest.mark.skipif(fcntl is None, reason="no locks of files")
@pytest.mark.parametrize("name", ["out.fits", "out.fits.gz"])
def test_what_a_killed_process_has_left(folder, name):
    files = write()
    keywords = {"hdu": "all", "output_file": name, "mem_limit": 3000}
    code = f"""
        import os
        from imcombiners_astro import combine
        from imcombiners_astro.files.stream import FileStore

        FileStore.finish = lambda store, frames=None: os._exit(9)
        combine({files}, diagnostics="simple", **{keywords})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=120)
    assert killed.returncode == 9
    (left,) = {x.name for x in folder.iterdir()} - set(files)
    assert re.fullmatch(r"\.[0-9a-f]{8}\.part\." + re.escape(name), left)
    combine(files, **keywords)
    assert sorted(x.name for x in folder.iterdir()) == [*files, name]


@pytest.mark.parametrize("mem_limit", [16e9, 3000])
def test_type_compression_and_checksum(folder, mem_limit):
    files = write()
    found = combine(
        files,
        hdu="all",
        output_file="out.fits",
        output_dtype="float32",
        output_compression="GZIP_2",
        output_checksum=True,
        mem_limit=mem_limit,
    )
    with fits.open("out.fits", checksum=True) as hdus:
        for name, result in zip(NAMES, found.values(), strict=True):
            assert isinstance(hdus[name], fits.CompImageHDU)
            np.testing.assert_array_equal(hdus[name].data, result.data.astype("f4"))
    with fits.open("out.fits", disable_image_compression=True) as hdus:
        assert all("DATASUM" in hdu.header for hdu in hdus)
    rounded = {}
    for key, result in found.items():
        rounded[key] = CCDData(result)
        rounded[key].data = result.data.astype("f4")
    assert_belong("out.fits", rounded, [1, 2, 4])


def test_extver_of_one_image(folder):
    """Without hdu="all" as well, mask and uncertainty are those of the EXTVER."""
    write(shapes=[(13, 20)] * 3)
    for plain in (True, False):
        for number, version in ((7, 2), (("SCI", 2), 2), (("REF", 3), 3)):
            with fits.open("f0.fits") as hdus:
                mask = hdus["MASK", version].data.astype(bool)
                if isinstance(number, int):
                    number = hdus.index_of(("SCI", 2))
            more = {} if plain else {"checksum": True}
            found = combine(["f0.fits"] * 2, hdu=number, unit="adu", **more)
            np.testing.assert_array_equal(found.mask, mask)


def test_output_is_all_or_nothing(folder):
    files = write()
    Path("out.fits").write_text("old")
    with pytest.raises(OSError, match="already exists"):
        combine(files, hdu="all", output_file="out.fits")
    combine(files, hdu="all", output_file="out.fits", overwrite_output=True)
    size = Path("out.fits").stat().st_size
    whole = Path(files[2]).read_bytes()
    with fits.open(files[2]) as hdus:
        place = hdus["SCI", 2].fileinfo()
    # in pixels, in a header, before the first and before the last image
    for length in (
        *(place["datLoc"] + 10, place["hdrLoc"] + 200),
        *(hdus[1].fileinfo()["datLoc"] + 1, len(whole) - 2880),
    ):
        Path(files[2]).write_bytes(whole[:length])
        with pytest.raises(OSError, match=r"f2\.fits is truncated"):
            combine(files, hdu="all", output_file="out.fits", overwrite_output=True)
    assert Path("out.fits").stat().st_size == size
    assert sorted(path.name for path in folder.iterdir()) == [*files, "out.fits"]


def differs(change):
    def make(hdus):
        change(hdus)
        return hdus

    return make


def drop(hdus):
    del hdus["SCI", 2]


def add(hdus):
    hdus.append(fits.ImageHDU(np.ones((2, 2)), name="MORE"))


def rename(hdus):
    hdus["REF", 3].ver = 4


def reshape(hdus):
    hdus["SCI", 2].data = np.ones((10, 30), "u2")


def forget_unit(hdus):
    del hdus[0].header["BUNIT"]


def other_unit(hdus):
    hdus["SCI", 2].header["BUNIT"] = "s"


@pytest.mark.parametrize(
    "change, error, message",
    [
        (drop, ValueError, r"f2.fits has no image \('SCI', 1\) \(f0.fits has it\)"),
        (add, ValueError, r"f0.fits has no image 'MORE' \(f2.fits has it\)"),
        (
            reshape,
            ValueError,
            r"f2.fits\[SCI,2\] has the shape \(10, 30\), f0.fits\[SCI,2\] \(10, 31\)",
        ),
        (forget_unit, ValueError, r"f2.fits has no BUNIT"),
        (other_unit, TypeError, r"f2.fits\[SCI,2\]"),
    ],
)
def test_files_that_differ(folder, monkeypatch, change, error, message):
    files = write(companions=False)
    with fits.open(files[2], mode="update") as hdus:
        change(hdus)

    def never(*args):
        raise AssertionError("an extension was combined")

    monkeypatch.setattr("imcombiners_astro.files.mef.combine_frames", never)
    with pytest.raises(error, match=message):
        combine(files, hdu="all")


def test_errors_name_the_extension(folder):
    files = write(companions=False)
    with fits.open(files[1], mode="update") as hdus:
        other_unit(hdus)
    with pytest.raises(TypeError) as info:
        combine(files, hdu="all")
    assert info.value.__notes__ == ["(extension ('SCI', 2) of 4 files)"]


@pytest.mark.parametrize(
    "names, kind",
    [([("A", 1), ("B", 1), ("C", 2)], "MASK"), ([("A", 1), ("A", 2), ("A", 3)], "")],
)
def test_what_belongs_to_which(folder, names, kind):
    files = write(names=names)
    if kind:
        with pytest.raises(
            ValueError,
            match=r"2 images and 2 extensions MASK have EXTVER 1; .*hdu_mask=None",
        ):
            combine(files, hdu="all")
        found = combine(files, hdu="all", hdu_mask=None)
        assert list(found) == ["A", "B", "C"]
        assert not any(result.mask.any() for result in found.values())
    else:
        assert len(combine(files, hdu="all")) == 3


def test_wrong_input(folder):
    files = write(companions=False)
    ccd = CCDData(np.ones((2, 2)), unit="adu")
    with pytest.raises(TypeError, match=r"img_list\[1\], which is one image \(CCDData"):
        combine([files[0], ccd], hdu="all")
    with pytest.raises(ValueError, match=r"f1.fits\[2\]: the HDU 2 was asked for"):
        combine([files[0], "f1.fits[2]"], hdu="all")
    with pytest.raises(ValueError, match=r"name of their extension, found 3\."):
        combine(files, hdu="all", hdu_mask=3)
    with pytest.raises(ValueError, match="is for FITS files"):
        combine(files, hdu="all", format="ascii")
    with pytest.raises(FileNotFoundError, match=r"nix\.fits"):
        combine([*files, "nix.fits"], hdu="all")
    fits.PrimaryHDU().writeto("empty.fits")
    with pytest.raises(NoImageError, match=r"empty\.fits has no image"):
        combine(["empty.fits"], hdu="all")
    with pytest.raises(TypeError, match="hdu='all' is for NumPy arrays"):
        combine(files, hdu="all", array_package=pytest)


def test_memory(folder, monkeypatch):
    """What earlier extensions take counts for the later ones."""
    files = write()
    limits = []

    def spy(frames, template, options, tally):
        limits.append(options.mem_limit)
        return real(frames, template, options, tally)

    from imcombiners_astro.files import mef

    real = mef.combine_frames
    monkeypatch.setattr(mef, "combine_frames", spy)
    found = combine(files, hdu="all", mem_limit=10_000)
    nbytes = [
        x.data.nbytes + x.mask.nbytes + x.uncertainty.array.nbytes
        for x in found.values()
    ]
    assert limits[0] == 10_000
    assert limits[1] == max(10_000 - nbytes[0], 5_000)
    assert limits[2] == 5_000
