# Licensed under a 3-clause BSD style license - see LICENSE
"""Combining the groups of an ImageFileCollection."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData

from imcombiners_astro import combine, combine_collection
from imcombiners_astro.errors import EmptyInputError

ccdproc = pytest.importorskip("ccdproc")

# imagetyp, filter, exptime
NIGHT = [
    ("FLAT", "V", 10.0),
    ("FLAT", "B", 30.0),
    ("flat", "V", 10.0),
    ("FLAT", "V", 2.5),
    ("FLAT", None, 10.0),
    ("BIAS", None, 0.0),
    ("FLAT", "B", 30.0),
    ("Dome Flat", "SII/Ha 6", 30.0),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    night = tmp_path / "night"
    night.mkdir()
    for k, (kind, band, time) in enumerate(NIGHT):
        hdu = fits.PrimaryHDU(rng.normal(100, 5, (6, 7)))
        hdu.header["IMAGETYP"] = kind
        hdu.header["EXPTIME"] = time
        hdu.header["DATE-OBS"] = "2026-01-02"
        hdu.header["OBSERVER"] = f"person {k}"
        hdu.header["COUNTER"] = k
        hdu.header["GAIN"] = 1.5 + (k == 3)
        if band is not None:
            hdu.header["FILTER"] = band
        hdu.writeto(night / f"f{k}.fits")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["all keywords", "few keywords", "names", "relative names"])
def collection(folder, request):
    if request.param == "names":
        files = [str(folder / "night" / f"f{k}.fits") for k in range(len(NIGHT))]
        return ccdproc.ImageFileCollection(filenames=files)
    if request.param == "relative names":
        files = [f"night/f{k}.fits" for k in range(len(NIGHT))]
        return ccdproc.ImageFileCollection(filenames=files, keywords=["imagetyp"])
    keywords = "*" if request.param == "all keywords" else ["object"]
    return ccdproc.ImageFileCollection(folder / "night", keywords=keywords)


@pytest.fixture
def night(folder):
    return ccdproc.ImageFileCollection(folder / "night")


def master(*numbers, **keywords):
    files = [f"night/f{k}.fits" for k in numbers]
    return combine(files, unit="adu", **keywords)


def assert_results(found, expected, **keywords):
    assert list(found) == list(expected)
    for key, numbers in expected.items():
        wanted = master(*numbers, **keywords)
        np.testing.assert_array_equal(found[key].data, wanted.data)
        np.testing.assert_array_equal(
            found[key].uncertainty.array, wanted.uncertainty.array
        )
        assert found[key].header["NCOMBINE"] == len(numbers)


def test_groups(collection):
    found = combine_collection(
        collection, ["filter", "ExpTime"], imagetyp="flat", unit="adu", method="median"
    )
    expected = {
        ("B", 30.0): [1, 6],
        ("V", 2.5): [3],
        ("V", 10.0): [0, 2],
        (None, 10.0): [4],
    }
    assert_results(found, expected, method="median")
    assert {type(value) for key in found for value in key} == {str, float, type(None)}


def test_one_keyword(collection):
    found = combine_collection(
        collection, groupby="FILTER", imagetyp="flat", unit="adu"
    )
    assert_results(found, {("B",): [1, 6], ("V",): [0, 2, 3], (None,): [4]})


def test_no_groups(collection):
    assert_results(combine_collection(collection, unit="adu"), {(): range(len(NIGHT))})
    found = combine_collection(collection, unit="adu", imagetyp="FLAT", exptime=30.0)
    assert_results(found, {(): [1, 6]})


def test_filters(collection):
    found = combine_collection(
        collection, "filter", imagetyp="^(dome )?flat", regex_match=True, unit="adu"
    )
    assert list(found) == [("B",), ("SII/Ha 6",), ("V",), (None,)]
    found = combine_collection(
        collection, unit="adu", filter=None, filters={"DATE-OBS": "2026-01-02"}
    )
    assert_results(found, {(): [4, 5]})
    found = combine_collection(collection, unit="adu", filter="*", exptime=10.0)
    assert_results(found, {(): [0, 2]})
    # gain is a parameter of combine as well
    found = combine_collection(collection, unit="adu", filters={"GAIN": 2.5})
    assert_results(found, {(): [3]})
    noise = {"uncertainty": "noise", "gain": 3, "readnoise": 5}
    found = combine_collection(collection, unit="adu", filters={"gain": 1.5}, **noise)
    assert_results(found, {(): [0, 1, 2, 4, 5, 6, 7]}, **noise)


def test_the_collection_stays_as_it_is(night):
    before = night.summary.copy()
    combine_collection(night, "filter", imagetyp="flat", unit="adu")
    assert list(night.files) == list(before["file"])
    assert (night.summary["file"] == before["file"]).all()


def test_numbers_and_texts_in_one_keyword(folder):
    for k, value in enumerate(["x", 5, 2.5, True, None, "b"]):
        with fits.open(f"night/f{k}.fits", mode="update") as hdus:
            if value is not None:
                hdus[0].header["MIXED"] = value
    night = ccdproc.ImageFileCollection("night")
    found = combine_collection(night, "mixed", unit="adu")
    keys = [(True,), (2.5,), (5,), ("b",), ("x",), (None,)]
    assert list(found) == keys
    assert found[None,].header["NCOMBINE"] == 3


def test_output_in_a_directory(night):
    Path("masters").mkdir()
    found = combine_collection(
        night,
        ["filter", "exptime"],
        "masters",
        filters={"imagetyp": "flat"},
        unit="adu",
    )
    names = {
        ("B", 30.0): "combined_B_30.fits",
        ("V", 2.5): "combined_V_2.5.fits",
        ("V", 10.0): "combined_V_10.fits",
        (None, 10.0): "combined_none_10.fits",
    }
    assert sorted(os.listdir("masters")) == sorted(names.values())
    for key, name in names.items():
        ccd = CCDData.read(f"masters/{name}")
        np.testing.assert_array_equal(ccd.data, found[key].data)
        assert ccd.header["FILTER" if key[0] else "IMAGETYP"] == (key[0] or "FLAT")
    combine_collection(night, output=Path("masters"), unit="adu")
    assert "combined.fits" in os.listdir("masters")


def test_output_by_template(night):
    Path("{x}").mkdir()
    found = combine_collection(
        night,
        ("filter", "exptime"),
        output="master_{IMAGETYP}_{filter}_{exptime:05.1f}s.fits",
        imagetyp="dome flat",
        unit="adu",
    )
    assert list(found) == [("SII/Ha 6", 30.0)]
    assert os.path.isfile("master_Dome_Flat_SII_Ha_6_030.0s.fits")
    combine_collection(night, output="{{x}}/all.fits", unit="adu")
    combine_collection(night, "filter", output="{x}", unit="adu", filter="V")
    assert sorted(os.listdir("{x}")) == ["all.fits", "combined_V.fits"]
    combine_collection(
        night, output="{date-obs}.fits", unit="adu", overwrite_output=True
    )
    assert os.path.isfile("2026-01-02.fits")


def test_hdu_all(folder):
    for k in range(4):
        hdus = [
            fits.PrimaryHDU(),
            *(
                fits.ImageHDU(np.full((2, 3), k + 10.0 * c), name=f"C{c}")
                for c in (1, 2)
            ),
        ]
        hdus[0].header["FILTER"] = "VB"[k % 2]
        fits.HDUList(hdus).writeto(f"m{k}.fits")
    chips = ccdproc.ImageFileCollection(".", glob_include="m?.fits")
    found = combine_collection(chips, "filter", "{filter}.fits", unit="adu", hdu="all")
    assert list(found) == [("B",), ("V",)]
    assert [result.data[0, 0] for result in found["B",].values()] == [12, 22]
    with fits.open("V.fits") as hdus:
        assert [hdus[name].data[0, 0] for name in ("C1", "C2")] == [11, 21]


def never(*args, **keywords):
    raise AssertionError("a group was combined")


@pytest.fixture
def unused(monkeypatch):
    monkeypatch.setattr("imcombiners_astro.files.collection.combine", never)


def test_outputs_are_checked_before(night, unused):
    groupby = ["filter", "exptime"]
    keywords = {"imagetyp": "flat", "unit": "adu"}
    Path("V10.fits").write_text("old")
    with pytest.raises(OSError, match=r"V10.fits already exists"):
        combine_collection(night, groupby, "{filter}{exptime}.fits", **keywords)
    with pytest.raises(FileNotFoundError, match="no directory 'nowhere'"):
        combine_collection(night, groupby, "nowhere/", **keywords)
    with pytest.raises(
        ValueError, match=r"filter='V', exptime=2.5 and .* both be 'V.fits'"
    ):
        combine_collection(night, groupby, "{filter}.fits", **keywords)
    with pytest.raises(
        ValueError, match=r"'B' and filter='V' would both be .* ends with "
    ):
        combine_collection(night, "filter", "one.fits", filter="*", **keywords)
    with pytest.raises(ValueError, match=r"group filter='B' differ in 'counter'"):
        combine_collection(night, "filter", "{filter}_{counter}.fits", **keywords)
    with pytest.raises(ValueError, match=r"no image of the collection has .*'flter'"):
        combine_collection(night, groupby, "{flter}.fits", **keywords)
    with pytest.raises(ValueError, match=r"names of header keywords in the braces"):
        combine_collection(night, groupby, "{}.fits", **keywords)
    with pytest.raises(ValueError, match=r"names of header keywords in the braces"):
        combine_collection(night, groupby, "{filter.x}.fits", **keywords)
    with pytest.raises(ValueError, match=r"output='{filter'"):
        combine_collection(night, groupby, "{filter", **keywords)
    with pytest.raises(ValueError, match=r"output='{filter:f}.fits': Unknown format"):
        combine_collection(night, "filter", "{filter:f}.fits", **keywords)
    with pytest.raises(TypeError, match="output must be a path, found int"):
        combine_collection(night, groupby, 3, **keywords)
    with pytest.raises(IORegistryError, match=r"output_file '.*txt': the format"):
        combine_collection(night, "filter", "{filter}.txt", **keywords)
    assert sorted(os.listdir(".")) == ["V10.fits", "night"]


def test_output_that_is_an_image_of_another_group(folder, unused):
    os.symlink("night", "link")
    for k in range(1, 8):
        fits.setval(f"night/f{k}.fits", "NEXT", value=(k + 1) % 8)
    fits.setval("night/f0.fits", "NEXT", value=1)
    night = ccdproc.ImageFileCollection("night")
    for place in ("night", "link"):
        output = f"{place}/f{{next}}.fits"
        with pytest.raises(ValueError, match=r"f1\.fits' .*counter=0.* of .*counter=1"):
            combine_collection(night, "counter", output, overwrite_output=True)


def test_output_that_is_an_image_of_the_same_group(folder):
    night = ccdproc.ImageFileCollection("night", keywords=["counter"])
    single = combine_collection(night, "counter", unit="adu")
    assert len(single) == len(night.files)
    combine_collection(
        night, "counter", "night/f{counter}.fits", unit="adu", overwrite_output=True
    )
    for (k,), expected in single.items():
        np.testing.assert_array_equal(fits.getdata(f"night/f{k}.fits"), expected.data)


def test_wrong_calls(night, unused):
    for groupby in (1, ["filter", 1], "", [""]):
        with pytest.raises(TypeError, match=r"groupby: found .*, expected a header"):
            combine_collection(night, groupby)
    with pytest.raises(TypeError, match="filters must be a mapping"):
        combine_collection(night, filters=["filter"])
    with pytest.raises(TypeError, match="filters: found the keyword 1"):
        combine_collection(night, filters={1: 2})
    with pytest.raises(TypeError, match="progress_bar must be a function"):
        combine_collection(night, progress_bar=1)
    with pytest.raises(ValueError, match=r"output.* null"):
        combine_collection(night, "filter", "{filter}\0.fits")
    with pytest.raises(TypeError, match=r"ccdproc.ImageFileCollection, found list"):
        combine_collection(["a.fits"])
    with pytest.raises(TypeError, match="takes no output_file="):
        combine_collection(night, output_file="a.fits")
    with pytest.raises(ValueError, match=r"keyword 'bands'\.$"):
        combine_collection(night, "bands")
    with pytest.raises(ValueError, match=r"'methd'. Did you mean combine's 'method'"):
        combine_collection(night, methd="median")
    with pytest.raises(EmptyInputError, match="no image with imagetyp='sky'"):
        combine_collection(night, imagetyp="sky")
    os.mkdir("empty")
    with pytest.warns(Warning, match="no FITS files"):
        empty = ccdproc.ImageFileCollection("empty")
    with pytest.raises(EmptyInputError, match="the collection is empty"):
        combine_collection(empty, "filter")


def test_errors_name_the_group(night):
    with fits.open("night/f3.fits", mode="update") as hdus:
        hdus[0].data = np.ones((2, 2))
    with pytest.raises(TypeError, match="not the same size") as info:
        combine_collection(
            night, "filter", "{filter}.fits", imagetyp="flat", unit="adu"
        )
    assert info.value.__notes__ == ["(group filter='V' of the collection)"]
    assert sorted(os.listdir(".")) == ["B.fits", "night"]  # this one was complete


def test_progress(night):
    seen = []

    def bar(groups):
        for group in groups:
            seen.append(group)
            yield group

    combine_collection(night, "filter", imagetyp="flat", unit="adu", progress_bar=bar)
    assert seen == [("B",), ("V",), (None,)]
