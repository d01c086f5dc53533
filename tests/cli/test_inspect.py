# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine inspect``."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.inspect import find_images

CLIP = ["--reject", "sigclip:sigma=4,stdfunc=mad"]


@pytest.fixture
def pixel(frames):
    """A pixel (x, y of FITS) where the sample of frame_2.fits is rejected."""
    assert main([*frames, "-o", "full.fits", *CLIP, "--diagnostics", "full"]) == 0
    assert main([*frames, "-o", "simple.fits", *CLIP, "--diagnostics", "simple"]) == 0
    assert main([*frames, "-o", "plain.fits", *CLIP]) == 0
    result = imc.CombinedCCDData.read("full.fits")
    only = result.mask_rej[2] & (result.mask_rej.sum(axis=0) == 1)
    y, x = np.argwhere(only & (result.n_rejected_high == 1))[0]
    assert x != y
    return int(x) + 1, int(y) + 1


def inspect(words, capsys, code=0):
    """What is printed: the heading, the facts, and the rest of lines by frame."""
    assert main(["inspect", *map(str, words)]) == code
    out, error = capsys.readouterr()
    assert error == ""
    head, table, *notes = out.rstrip("\n").split("\n\n")
    heading, *facts = head.splitlines()
    rows = {}
    for line in table.splitlines()[1:]:
        name, *cells = re.split(r"  +", line.strip())
        rows[os.path.basename(name)] = cells
    facts = [re.match(" +(.+?)  +(.+)", line).groups() for line in facts]
    return heading, dict(facts), rows, notes


def test_full(frames, pixel, capsys):
    x, y = pixel
    heading, facts, rows, notes = inspect(["full.fits", x, y, *CLIP], capsys)
    assert heading == f"pixel x = {x}, y = {y} of full.fits (NumPy [{y - 1}, {x - 1}])"
    result = imc.CombinedCCDData.read("full.fits")
    at = (y - 1, x - 1)
    error = result.uncertainty.array[at]
    assert facts["result"] == f"{result.data[at]:.7g} +- {error:.4g} adu"
    assert facts["used"] == "6 of 7 samples, rejected 0 low and 1 high"
    assert facts["left"] == f"{result.low[at]:.7g} to {result.upp[at]:.7g}"
    assert facts["spread"].startswith(f"{result.std[at]:.4g}, after ")
    low, high = map(
        float, re.match(r"(\S+) to (\S+) \(SigClip", facts["limits"]).groups()
    )
    assert list(rows) == frames
    for k, name in enumerate(frames):
        value = fits.getdata(name)[at]
        sample, difference, verdict = rows[name]
        assert float(sample) == value
        assert float(difference) == pytest.approx(value - result.data[at], rel=1e-3)
        assert verdict == ("rejected, too high" if k == 2 else "used")
        assert (low <= value <= high) == (k != 2)
    assert notes == []
    # As NumPy counts.
    again = inspect(["full.fits", y - 1, x - 1, "--numpy", *CLIP], capsys)
    assert again == (heading, facts, rows, notes)


def test_simple(pixel, capsys):
    _, facts, rows, _ = inspect(["simple.fits", *pixel], capsys)
    assert "limits" not in facts
    assert rows["frame_2.fits"][-1] == "not used"
    assert rows["frame_1.fits"][-1] == "used"


def test_without_diagnostics(frames, pixel, capsys):
    x, y = pixel
    _, facts, rows, (note,) = inspect(["plain.fits", x, y], capsys)
    assert list(facts) == ["result"]
    for name in frames:
        assert float(rows[name][0]) == fits.getdata(name)[y - 1, x - 1]
        assert len(rows[name]) == 2
    assert "which are used is not known" in note
    # With the options of the combination it is done again.
    _, facts, rows, notes = inspect(["plain.fits", x, y, *CLIP], capsys)
    assert rows["frame_2.fits"][-1] == "rejected, too high"
    assert "limits" in facts and notes == []


def test_with_other_options_than_it_was_made(pixel, capsys):
    words = ["inspect", "plain.fits", *map(str, pixel), "--clip-extrema", "3", "0"]
    assert main(words) == 1
    assert "give the options that the file was made with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--output-compression", "RICE_1"],
        ["--output-compression", "HCOMPRESS_1"],
        ["--output-compression", "GZIP_2"],
        ["--output-dtype", "int32"],
        ["--output-dtype", "float32", "--output-checksum", "--threads", "2"],
    ],
)
def test_of_what_is_rounded_in_the_file(frames, pixel, words, capsys):
    assert main([*frames, "-o", "out.fits", *CLIP, *words]) == 0
    _, _, rows, notes = inspect(["out.fits", *pixel, *CLIP, *words], capsys)
    assert rows["frame_2.fits"][-1] == "rejected, too high"
    assert notes == []
    assert main(["inspect", "out.fits", *map(str, pixel), "--method", "sum"]) == 1
    assert "give the options that the file was made with" in capsys.readouterr().err
    # These say nothing of a pixel: as without any.
    _, _, rows, (note,) = inspect(["out.fits", *pixel, *words], capsys)
    assert "which are used is not known" in note


def test_progress(pixel, capsys):
    pytest.importorskip("tqdm")
    words = ["inspect", "plain.fits", *map(str, pixel), *CLIP, "--progress"]
    assert main(words) == 0
    assert "combining" in capsys.readouterr().err


def test_images_elsewhere(frames, pixel, capsys):
    os.mkdir("raw")
    for name in frames:
        shutil.move(name, "raw")
    _, _, rows, (note,) = inspect(["full.fits", *pixel], capsys)
    assert rows["frame_2.fits"] == ["not used", "ALGORITHM"]
    assert rows["frame_1.fits"] == ["used"]
    assert "--images says where they are" in note
    assert main(["inspect", "plain.fits", *map(str, pixel)]) == 0
    assert "the images (frame_0.fits, ...) are not found" in capsys.readouterr().out
    _, _, rows, _ = inspect(["full.fits", *pixel, "--images", "raw"], capsys)
    assert rows["frame_2.fits"][-1] == "rejected, too high"
    words = [
        "inspect",
        "full.fits",
        *map(str, pixel),
        "--images",
        "raw/frame_[12].fits",
    ]
    assert main(words) == 1
    assert "found 2 images, the result is of 7" in capsys.readouterr().err


def test_where_images_are_looked_for(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    output = str(tmp_path / "there" / "out.fits")
    Path("a.fits").touch()
    (tmp_path / "there" / "b.fits").touch()
    found = find_images(["gone/a.fits", "b.fits"], output)
    assert found == ["a.fits", str(tmp_path / "there" / "b.fits")]
    assert find_images(["a.fits", "c.fits"], output) is None
    assert find_images([], output) is None
    assert find_images(["a.fits[CHIP1]"], output) == ["a.fits[CHIP1]"]
    assert find_images(["c.fits[1]"], output) is None


def test_options_from_a_file(pixel, capsys):
    Path("night.toml").write_text(
        "output = 'full.fits'\ndiagnostics = 'full'\njson = 'report.json'\n"
        "reject = 'sigclip:sigma=4,stdfunc=mad'\n"
    )
    words = ["full.fits", *pixel, "--config", "night.toml"]
    _, facts, _, _ = inspect(words, capsys)
    assert facts["limits"].endswith("(SigClip)")
    assert not os.path.exists("report.json")


def test_no_unit(frames, capsys):
    for name in frames:
        fits.delval(name, "BUNIT")
    words = [*frames, "-o", "out.fits", "-q", "--diagnostics", "simple"]
    assert main([*words, "--unit", "electron"]) == 0
    _, facts, rows, _ = inspect(["out.fits", 3, 4], capsys)
    assert facts["result"].endswith("electron")
    assert float(rows["frame_0.fits"][0]) == fits.getdata("frame_0.fits")[3, 2]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_picture(pixel, capsys, suffix):
    pytest.importorskip("matplotlib")
    name = f"pixel.{suffix}"
    words = ["inspect", "full.fits", *map(str, pixel), *CLIP, "--png", name]
    assert main(words) == 0
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert Path(name).read_bytes().startswith(starts[suffix])
    Path(name).write_text("precious")
    assert main(words) == 1
    assert Path(name).read_text() == "precious"
    assert main([*words, "--overwrite", "--quiet"]) == 0
    assert Path(name).read_bytes().startswith(starts[suffix])


def test_no_picture_of_what_is_not_known(pixel, capsys):
    words = ["inspect", "plain.fits", *map(str, pixel), "--png", "pixel.png"]
    assert main(words) == 1
    assert "does not say what became of its samples" in capsys.readouterr().err
    assert not os.path.exists("pixel.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["full.fits", "51", "1"],
            "there is no pixel 51 1 in full.fits: it has 50 x 40",
        ),
        (["full.fits", "0", "1"], "counted from 1"),
        (["full.fits", "40", "0", "--numpy"], "it has 40 x 50 pixels, counted from 0"),
        (["full.fits", "-1", "1"], "there is no pixel"),
        (["full.fits", "1", "2", "3"], "has 2 axes, found 3"),
        (["nothing.fits", "1", "2"], "nothing.fits"),
    ],
)
def test_failures(pixel, words, message, capsys):
    assert main(["inspect", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("imcombine: error: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["full.fits"],
        ["full.fits", "1.5", "2"],
        ["full.fits", "1", "2", "input=a.fits,b.fits"],
        ["full.fits", "1", "2", "output=full.fits"],
    ],
)
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["inspect", *words])
    assert stop.value.code == 2
    assert "imcombine inspect --help" in capsys.readouterr().err


def test_all_of_one_image(frames, capsys):
    assert main([*frames, "-o", "out.fits", "--hdu", "all", *CLIP]) == 0
    words = ["out.fits", 3, 4, "--hdu", "all"]
    _, _, rows, _ = inspect(words, capsys)
    found = float(rows["frame_0.fits[PRIMARY]"][0])
    assert found == fits.getdata("frame_0.fits")[3, 2]


def test_cube(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cube = np.arange(24.0).reshape(2, 3, 4)
    for k in range(3):
        fits.writeto(f"{k}.fits", cube + 100 * k, fits.Header({"BUNIT": "adu"}))
    assert main(["?.fits", "-o", "out.fits", "-m", "median"]) == 0
    heading, facts, rows, _ = inspect(["out.fits", 4, 3, 2], capsys)
    assert heading.startswith("pixel x = 4, y = 3, z = 2 of out.fits")
    assert facts["result"].startswith("123 ")
    assert [float(row[0]) for row in rows.values()] == [23, 123, 223]


def test_several_images(frames, capsys):
    """A result of --hdu all; the images are in extensions of the same names."""
    for name, shift in ("raw", 0), ("out", 1):
        for k, path in enumerate(frames if name == "raw" else frames[:1]):
            image = fits.getdata(path).astype("f4")
            hdus = fits.HDUList([fits.PrimaryHDU()])
            for version, extname in enumerate(["CHIP1", "CHIP2"], 1):
                hdu = fits.ImageHDU(image + 1000 * version + shift, name=extname)
                hdu.header["BUNIT"] = "adu"
                hdu.ver = version
                hdus.append(hdu)
                if name == "out":
                    hdus[0].header[f"IMCMB00{version}"] = f"raw_{version - 1}.fits[1]"
            hdus.writeto(f"{name}_{k}.fits" if name == "raw" else "out.fits")
    assert main(["inspect", "out.fits", "3", "4"]) == 1
    error = capsys.readouterr().err
    assert "has 2 images (CHIP1, CHIP2); say which with --hdu" in error
    _, facts, rows, _ = inspect(["out.fits", 3, 4, "--hdu", "CHIP2"], capsys)
    first, second = (fits.getdata(name)[3, 2] for name in frames[:2])
    assert facts["result"] == f"{first + 2001:.7g} adu"
    assert [float(row[0]) for row in rows.values()] == [first + 2000, second + 2000]


@pytest.mark.parametrize("more", [[], ["--diagnostics", "full"]])
def test_what_belongs_to_several_images(frames, more, capsys):
    for k, path in enumerate(frames):
        image = fits.getdata(path).astype("f4")
        hdus = [fits.ImageHDU(image + n, name=f"CHIP{n}") for n in (1, 2)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(f"raw_{k}.fits")
    words = ["raw_?.fits", "--hdu", "all", "-o", "out.fits", "--unit", "adu", *more]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["inspect", "out.fits", "3", "4"]) == 1
    error = capsys.readouterr().err
    assert "has 2 images (CHIP1, CHIP2); say which with --hdu" in error
