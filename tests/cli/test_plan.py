# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine plan``."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.estimate import result_nbytes


def plan(words, capsys, code=0):
    """Rows of a plan, and its lists."""
    assert main(["plan", *words]) == code
    out, error = capsys.readouterr()
    assert error == ""
    first, *lists = out.split("\n\n")
    rows = [re.match(" +(.+?)  +(.+)", line).groups() for line in first.splitlines()]
    return dict(rows), {
        text.partition(":")[0]: [line[4:] for line in text.splitlines()[1:]]
        for text in lists
    }


def test_plan(frames, capsys, no_strays):
    rows, lists = plan([*frames, "-o", "out.fits", "--sigma-clip", "4"], capsys)
    assert rows["frames"] == "7"
    assert rows["image size"] == "50 x 40, uint16, unit adu"
    assert rows["method"] == "average"
    assert rows["reject"] == "sigma clip -4 +4 (median, mad_std)"
    assert rows["pass 1"] == "headers"
    assert rows["pass 2"] == "combination, 28.0 kB"
    assert rows["strips"] == "1 of 40 rows"
    assert rows["memory"].endswith("of 16.0 GB")
    assert rows["output"] == "out.fits"
    assert re.match(r"about \S+ s \(headers \S+, combination \S+\)", rows["time"])
    assert lists == {}
    no_strays(*frames)


def test_passes(frames, capsys):
    words = ["--zero", "median", "--scale", "inv_mean", "--statsec", "[1:20,1:20]"]
    words += ["--reject", "sigclip:stdfunc=mad,grow=2.5", "--method", "median"]
    rows, _ = plan([*frames, *words], capsys)
    statistics = "statistics of each frame of [1:20,1:20] (zero median, scale by functi"
    assert rows["pass 2"].startswith(statistics)
    halo = "combination, strips with 2 more rows on each side for growth"
    assert rows["pass 3"].startswith(halo)
    assert rows["reject"] == "sigclip:sigma=3,stdfunc=mad,grow=2.5"
    assert "statistics" in rows["time"]
    assert rows["output"] == "(not given)"


def test_strips_follow_the_limit_of_memory(frames, capsys, no_strays):
    rows, _ = plan([*frames, "-o", "out.fits", "--mem-limit", "42k"], capsys)
    number, height = map(int, re.match(r"(\d+) of (\d+) rows", rows["strips"]).groups())
    assert 1 < number <= 40 and (number - 1) * height < 40 <= number * height
    rows, lists = plan([*frames, "-o", "out.fits", "--mem-limit", "1k"], capsys)
    assert lists["warnings"] == [
        "two rows of all frames (1.40 kB) are more than --mem-limit (1.00 kB)"
    ]
    no_strays(*frames)


def test_all_extensions(frames, capsys):
    images = [fits.getdata(name) for name in frames]
    for k, image in enumerate(images):
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image[:10]), fits.ImageHDU(image)]
        fits.HDUList(hdus).writeto(f"mef_{k}.fits")
    rows, lists = plan(["mef_?.fits", "--hdu", "all", "--unit", "adu"], capsys)
    assert rows["image size"].startswith("50 x 10")
    assert lists["notes"] == ["--hdu all: this is of the first of 2 images"]

    # A result as input: what belongs to its images is no image.
    words = ["--hdu", "all", "--unit", "adu"]
    assert main(["mef_0.fits", *words, "-o", "out.fits", "--diagnostics", "full"]) == 0
    rows, lists = plan(["out.fits", *words], capsys)
    assert lists["notes"] == ["--hdu all: this is of the first of 2 images"]


@pytest.mark.parametrize(
    ("footprint", "size"), [("union", "53 x 41"), ("intersection", "47 x 39")]
)
def test_size_of_shifted_frames(frames, footprint, size, capsys):
    for k, name in enumerate(frames[:2]):
        fits.setval(name, "XOFF", value=3 * k)
        fits.setval(name, "YOFF", value=-k)
    words = [*frames[:2], "--offsets", "XOFF,YOFF", "--footprint", footprint]
    rows, lists = plan(words, capsys)
    assert rows["image size"] == "50 x 40, uint16, unit adu"
    assert rows["result"] == size
    assert "notes" not in lists
    assert main([*words, "-o", "out.fits"]) == 0
    assert " x ".join(map(str, fits.getdata("out.fits").shape[::-1])) == size


@pytest.mark.parametrize(
    ("n", "words", "warning"),
    [
        (6, ["--sigma-clip", "3", "--center", "mean", "--spread", "std"], "2.24 stand"),
        (6, ["--reject", "sigclip:cenfunc=mean,ddof=1"], "2.04 standard deviations"),
        (1, [], "there is one frame"),
        (7, ["--snoise", "0.1"], "--snoise has no effect"),
    ],
)
def test_warnings(frames, n, words, warning, capsys):
    # The farthest of n samples is (n - 1)/sqrt(n) sample deviations from the mean.
    assert 5 / np.sqrt(6) == pytest.approx(2.04, abs=0.002)
    _, lists = plan([*frames[:n], *words], capsys)
    (found,) = lists["warnings"]
    assert warning in found
    if n == 6:
        assert "cannot reject it" in found


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--reject", "ccdclip"], "has no gain (looked for"),
        (["--clip-extrema", "3", "4"], "NLOW 3 and NHIGH 4 reject all of the 7"),
        (["--reject", "minmax:n_min=4,n_max=4"], "rejects all of the 7 images"),
        (["-o", "old.fits"], "old.fits already exists"),
        (["-o", "no/out.fits"], "no directory 'no'"),
        (["--weights", "1,2"], "2 weights"),
        (["--uncertainty", "propagate"], "frame_0.fits"),
        (["--statsec", "[1:500,1:5]", "--zero", "mean"], "[1:500,1:5]"),
        (["--scale", "LAMP"], "LAMP"),
    ],
)
def test_problems(frames, words, problem, capsys):
    Path("old.fits").write_text("precious")
    rows, lists = plan([*frames, *words], capsys, code=1)
    assert rows["image size"].startswith("50 x 40")
    (found,) = lists["this would fail"]
    assert problem in found
    # It is what the combination says.
    if words[0] != "-o":
        assert main([*frames, "-o", "out.fits", *words]) == 1
        assert found in capsys.readouterr().err
    assert Path("old.fits").read_text() == "precious"
    assert not os.path.exists("out.fits")


@pytest.mark.parametrize("name", ["zero", "scale"])
def test_numbers_are_not_measured(frames, name, capsys):
    rows, _ = plan([*frames, f"--{name}", "1,2,3,4,5,6,7"], capsys)
    assert rows["pass 2"].startswith("combination")
    rows, _ = plan([*frames, f"--{name}", "MEDIAN"], capsys)
    assert rows["pass 2"].startswith(f"statistics of each frame ({name} ")


def test_unit_of_the_primary_header(frames, capsys):
    for k, path in enumerate(frames):
        image = fits.getdata(path).astype("f4")
        primary = fits.PrimaryHDU(header=fits.Header({"BUNIT": "electron"}))
        chips = [fits.ImageHDU(image + n, name=f"CHIP{n}") for n in (1, 2)]
        fits.HDUList([primary, *chips]).writeto(f"raw_{k}.fits")
    rows, lists = plan(["raw_?.fits", "--hdu", "all"], capsys)
    assert rows["image size"] == "50 x 40, float32, unit electron"
    assert lists["notes"] == ["--hdu all: this is of the first of 2 images"]


def test_no_unit(frames, capsys):
    for name in frames:
        fits.delval(name, "BUNIT")
    assert main(["plan", *frames]) == 0
    out, error = capsys.readouterr()
    assert "unit adu" in out
    assert "- no BUNIT in the headers, adu is assumed" in out.partition("notes:")[2]
    assert error == ""


def test_missing_file(frames, capsys):
    assert main(["plan", "nothing.fits"]) == 1
    assert "nothing.fits: No such file" in capsys.readouterr().err
    assert main(["plan", *frames, "nothing.fits"]) == 1
    assert "- nothing.fits: No such file" in capsys.readouterr().out


def test_json(frames, capsys):
    words = [*frames, "--diagnostics", "full", "--dtype", "float32", "--json", "-"]
    assert main(["plan", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "done"
    assert report["geometry"] == {
        "n_frames": 7,
        "shape": [40, 50],
        "result_shape": [40, 50],
        "dtype": "uint16",
        "unit": "adu",
        "bytes_read": 7 * 40 * 50 * 2,
    }
    assert report["strips"] == {"number": 1, "height": 40}
    assert report["time"]["strips_tried"] == 1
    parts = [report["time"][name] for name in ("opening", "statistics", "combining")]
    assert report["time"]["seconds"] == pytest.approx(sum(parts))


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"dtype": "float32"},
        {"uncertainty": None},
        {"diagnostics": "simple"},
        {"diagnostics": "full", "dtype": "float32"},
    ],
)
def test_size_of_the_result(frames, keywords):
    result = imc.combine(frames, **keywords)
    arrays = [result.data, result.mask]
    arrays += [] if result.uncertainty is None else [result.uncertainty.array]
    names = imc.result.DIAGNOSTICS if "diagnostics" in keywords else ()
    arrays += [getattr(result, name) for name in names]
    nbytes = sum(array.nbytes for array in arrays if array is not None)
    assert result_nbytes((40, 50), 7, keywords) == nbytes


def test_many_strips_are_not_all_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for k in range(5):
        image = np.full((2000, 64), k, "u2")
        fits.writeto(f"{k}.fits", image, fits.Header({"BUNIT": "adu"}))
    words = ["?.fits", "-o", "out.fits", "--mem-limit", "500k", "--method", "median"]
    assert main(["plan", *words, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["strips"]["number"] > 9
    assert report["time"]["strips_tried"] == 9
    assert report["time"]["combining"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: FILES"),
        (["a.fits", "--groupby", "filter"], "leave --groupby and --where out"),
        (["a.fits", "--threads", "no"], "--threads"),
    ],
)
def test_wrong_usage(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "imcombine plan --help" in error
