# Licensed under a 3-clause BSD style license - see LICENSE
"""All that may stand for a stack of images."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import MaskedColumn, Table

from imcombiners_astro.errors import EmptyInputError
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.paths import split_hdu


@pytest.fixture
def files(tmp_path, monkeypatch):
    for name in ("b2.fits", "b1.fits", "dark[1].fits"):
        fits.PrimaryHDU(np.ones((2, 3))).writeto(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


NAMES = ["x.fits", "y.fits"]


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        tuple(NAMES),
        dict.fromkeys(NAMES),
        (name for name in NAMES),
        [Path(name) for name in NAMES],
        np.array(NAMES),
        np.array(NAMES, object),
        np.array([Path(name) for name in NAMES], object),
        Table({"file": NAMES})["file"],
        Table({"file": np.array(NAMES, "S")})["file"],
        "x.fits,y.fits",
        " x.fits , y.fits,",
        b"x.fits,y.fits",
        np.array("x.fits,y.fits"),
    ],
)
def test_paths(given):
    items = expand_inputs(given)
    assert items == NAMES
    assert {type(item) for item in items} == {str}


def test_set():
    assert sorted(expand_inputs(set(NAMES))) == NAMES


def test_home(files):
    home = str(files)
    assert expand_inputs("~/b1.fits") == [f"{home}/b1.fits"]
    assert expand_inputs(["~/b1.fits", Path("~/z.fits")]) == [
        f"{home}/b1.fits",
        f"{home}/z.fits",
    ]
    assert expand_inputs("~/b1.fits,~/b?.fits") == [
        f"{home}/b1.fits",
        f"{home}/b1.fits",
        f"{home}/b2.fits",
    ]


def test_one_path(files):
    assert expand_inputs("b1.fits") == ["b1.fits"]
    assert expand_inputs(Path("b1.fits")) == ["b1.fits"]
    assert expand_inputs("nothing.fits") == ["nothing.fits"]


def test_patterns(files):
    assert expand_inputs("b*.fits") == ["b1.fits", "b2.fits"]
    assert expand_inputs(Path("b?.fits")) == ["b1.fits", "b2.fits"]
    assert expand_inputs("b2.fits,b*.fits") == ["b2.fits", "b1.fits", "b2.fits"]
    assert expand_inputs("dark[1].fits") == ["dark[1].fits"]  # there is such a file
    with pytest.raises(FileNotFoundError, match=r"no file matches 'c\*\.fits'"):
        expand_inputs("c*.fits")


def test_items_of_a_list_are_one_image_each(files):
    assert expand_inputs(["b*.fits"]) == ["b*.fits"]


def test_comma_in_a_name(files):
    (files / "a,b.fits").touch()
    assert expand_inputs("a,b.fits") == ["a,b.fits"]


def test_urls():
    urls = ["s3://bucket/~a.fits", "https://x.org/a.fits?b=[1]"]
    assert expand_inputs(urls) == urls
    assert expand_inputs(urls[1]) == urls[1:]


def test_images():
    ccd = CCDData(np.ones((2, 2)), unit="adu")
    hdu = fits.PrimaryHDU(np.ones((2, 2)))
    hdus = fits.HDUList([hdu])
    given = [ccd, "x.fits", hdu, hdus]
    for form in (given, tuple(given), iter(given)):
        items = expand_inputs(form)
        assert all(a is b for a, b in zip(items, given, strict=True))
    array = np.empty(2, object)
    array[:] = [ccd, ccd]
    assert expand_inputs(array)[0] is ccd
    assert expand_inputs(hdu)[0] is hdu


def test_hdu_list_is_its_images(files):
    CCDData(np.ones((2, 2)), unit="adu", mask=np.ones((2, 2), bool)).write("c.fits")
    with fits.open("c.fits") as hdus:
        hdus.append(fits.ImageHDU(np.zeros((2, 2)), name="second"))
        hdus.append(fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1])]))
        assert [hdu.name for hdu in expand_inputs(hdus)] == ["PRIMARY", "SECOND"]
        assert expand_inputs([hdus])[0] is hdus


def test_file_objects(files):
    with open("b1.fits", "rb") as file:
        assert expand_inputs(file)[0] is file
        assert expand_inputs([file])[0] is file


def test_image_file_collection(files):
    ccdproc = pytest.importorskip("ccdproc")
    collection = ccdproc.ImageFileCollection(files, glob_include="b*")
    found = [str(files / "b1.fits"), str(files / "b2.fits")]
    assert sorted(expand_inputs(collection)) == found


@pytest.mark.parametrize(
    "empty", [[], (), "", " , ", np.array([]), iter([]), {}, fits.HDUList()]
)
def test_nothing(empty):
    with pytest.raises(EmptyInputError, match="img_list is empty") as info:
        expand_inputs(empty)
    assert isinstance(info.value, ValueError)
    assert isinstance(info.value, IndexError)  # as from ccdproc.combine


@pytest.mark.parametrize(
    "given", [None, 3, 2.5, CCDData(np.ones((2, 2)), unit="adu")], ids=type
)
def test_unrecognised(given):
    message = "unrecognised input for list of images to combine."
    with pytest.raises(ValueError, match=message):
        expand_inputs(given)


@pytest.mark.parametrize(
    "given, message",
    [
        ([None], r"img_list\[0\] must be a path.*found NoneType"),
        (["x.fits", np.ones((2, 2))], r"img_list\[1\] .*give CCDData\(array"),
        (np.ones((2, 2, 2)), r"img_list\[0\] must be a path.*found list"),
        ([("x.fits", 1)], "return_fname=True"),
        (MaskedColumn(NAMES, mask=[False, True]), r"img_list\[1\] must be a path"),
    ],
)
@pytest.mark.filterwarnings("ignore:Warning. converting a masked element")
def test_wrong_items(given, message):
    with pytest.raises(TypeError, match=message):
        expand_inputs(given)


def test_empty_path():
    with pytest.raises(ValueError, match=r"img_list\[1\] is an empty path"):
        expand_inputs(["x.fits", ""])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists(files, end):
    lines = [
        "# all of them",
        "",
        "b2.fits  # the first",
        "  b1.fits",
        "dark*",
        "c#1.fits",
    ]
    (files / "all.lis").write_bytes(end.join(lines).encode())
    found = ["b2.fits", "b1.fits", "dark[1].fits", "c#1.fits"]
    assert expand_inputs("@all.lis") == found
    assert expand_inputs(Path("@all.lis")) == found
    assert expand_inputs("@~/all.lis") == found
    assert expand_inputs("b1.fits, @all.lis") == ["b1.fits", *found]
    assert expand_inputs(["@all.lis"]) == ["@all.lis"]  # one image
    (files / "@all.lis").touch()
    assert expand_inputs("@all.lis") == ["@all.lis"]  # there is such a file


def test_lists_elsewhere(files):
    night = files / "night"
    night.mkdir()
    for name in ("b1.fits", "d1.fits", "d2.fits"):
        (night / name).touch()
    names = "b1.fits\nd1.fits\nd?.fits\nd2.fits[SCI,1]\nd?.fits[1]\nx.fits\n@more"
    (night / "list").write_text(names)
    (night / "more").write_text("~/b2.fits\n")
    home = str(files)
    assert expand_inputs("@night/list") == [
        "b1.fits",  # of the current directory, as in IRAF
        "night/d1.fits",
        "night/d1.fits",
        "night/d2.fits",
        "night/d2.fits[SCI,1]",
        "night/d1.fits[1]",
        "night/d2.fits[1]",
        "x.fits",  # nowhere
        f"{home}/b2.fits",
    ]


def test_wrong_lists(files):
    with pytest.raises(FileNotFoundError, match="no list of files 'nix'"):
        expand_inputs("@nix")
    (files / "empty").write_text("\n# nothing\n")
    with pytest.raises(ValueError, match="the list empty has no names"):
        expand_inputs("@empty")
    (files / "one").write_text("@two\n")
    (files / "two").write_text("@one\n")
    with pytest.raises(ValueError, match="the list one contains itself"):
        expand_inputs("@one")
    (files / "pattern").write_text("c*.fits\n")
    with pytest.raises(FileNotFoundError, match=r"no file matches 'c\*\.fits'"):
        expand_inputs("@pattern")


def test_hdus_in_brackets(files):
    (files / "s[1]").touch()
    assert expand_inputs("b1.fits[2]") == ["b1.fits[2]"]
    assert expand_inputs("b1.fits[SCI,2],b2.fits[SCI,2]") == [
        "b1.fits[SCI,2]",
        "b2.fits[SCI,2]",
    ]
    assert expand_inputs("b?.fits[0]") == ["b1.fits[0]", "b2.fits[0]"]
    assert expand_inputs("dark[1].fits[1]") == ["dark[1].fits[1]"]
    assert expand_inputs("nothing.fits[1]") == ["nothing.fits[1]"]
    with pytest.raises(ValueError, match="Sections of images are not read"):
        expand_inputs("nothing.fits[1:5,1:5]")
    assert split_hdu("s[1]") == ("s[1]", None)
    assert split_hdu("a.fits[ sci , 12 ]") == ("a.fits", ("sci", 12))
    assert split_hdu("a.fits[Sci A]") == ("a.fits", "Sci A")
    assert split_hdu("https://x.org/a[1]") == ("https://x.org/a[1]", None)
    for wrong in ("[]", "[1:3]", "[*,*]", "[a,b]", "[1,2]x[-1:]", "[a,1,2]"):
        with pytest.raises(ValueError, match=r"must be the number, the name or name,"):
            split_hdu(f"a.fits{wrong}")
