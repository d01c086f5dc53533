# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine FILES -o OUT``: options, files, messages and exit codes."""

import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_array_equal

import imcombiners_astro
from imcombiners_astro.cli import main, peak_memory
from imcombiners_astro.cli.combine import make_parser, parse
from imcombiners_astro.cli.names import expand_names
from imcombiners_astro.files.combine import combine_and_count


def assert_same(path, expected):
    result = CCDData.read(path)
    assert result.data.dtype.newbyteorder("=") == expected.data.dtype
    assert result.unit == expected.unit
    assert_array_equal(result.data, expected.data)
    assert_array_equal(result.mask, expected.mask)
    assert_array_equal(result.uncertainty.array, expected.uncertainty.array)


CASES = {
    "average": ([], {}),
    "median": (["-m", "median"], {"method": "median"}),
    "sum": (["--method=sum"], {"method": "sum"}),
    "sigma clip": (
        ["--sigma-clip"],
        {
            "sigma_clip": True,
            "sigma_clip_low_thresh": 3,
            "sigma_clip_high_thresh": 3,
            "sigma_clip_func": "median",
            "sigma_clip_dev_func": "mad_std",
        },
    ),
    "sigma clip, everything": (
        ["--sigma-clip", "2.5", "2", "--center", "mean", "--spread", "std"],
        {
            "sigma_clip": True,
            "sigma_clip_low_thresh": 2.5,
            "sigma_clip_high_thresh": 2,
            "sigma_clip_func": "mean",
            "sigma_clip_dev_func": "std",
        },
    ),
    "extrema": (
        ["--clip-extrema", "1", "2"],
        {"clip_extrema": True, "nlow": 1, "nhigh": 2},
    ),
    "limits": (
        ["--minmax", "-1e3", "1210.5"],
        {"minmax_clip": True, "minmax_clip_min": -1e3, "minmax_clip_max": 1210.5},
    ),
    "one limit": (
        ["--minmax", "none", "1210"],
        {"minmax_clip": True, "minmax_clip_max": 1210},
    ),
    "weights": (
        ["--weights", "1,2,3,4,5,6,7.5"],
        {"weights": np.array([1, 2, 3, 4, 5, 6, 7.5])},
    ),
    "scale": (
        ["--scale", "1,1.1,1.2,1.3,1.4,1.5,1.6"],
        {"scale": np.array([1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6])},
    ),
    "scale by a negative number": (
        ["--scale", "-1,1,1,1,1,1,1"],
        {"scale": np.array([-1, 1, 1, 1, 1, 1, 1.0])},
    ),
    "resources": (
        ["--dtype", "float32", "--mem-limit", "30k", "--threads", "2"],
        {"dtype": "float32", "mem_limit": 30e3},
    ),
    "unit": (["--unit", "electron"], {"unit": "electron"}),
}


@pytest.mark.parametrize(("words", "keywords"), CASES.values(), ids=CASES)
def test_equals_the_function(frames, words, keywords, capsys):
    assert main([*frames, "-o", "out.fits", *words]) == 0
    assert capsys.readouterr() == ("", "")
    assert_same("out.fits", imcombiners_astro.combine(frames, **keywords))


@pytest.mark.parametrize("scale", ["inv_median", "inv_mean"])
def test_scale_by_function(frames, scale):
    assert main([*frames, "-o", "out.fits", "--scale", scale]) == 0
    function = {"inv_median": np.median, "inv_mean": np.mean}[scale]
    factors = np.array([1 / function(fits.getdata(name)) for name in frames])
    assert_same("out.fits", imcombiners_astro.combine(frames, scale=factors))
    assert np.median(fits.getdata("out.fits")) == pytest.approx(1, abs=0.02)


def test_whole_range_of_a_16_bit_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.arange(2**16, dtype="u2").reshape(256, 256) ^ np.array(
        [0x0000, 0x1234, 0xFFFF], dtype="u2"
    ).reshape(3, 1, 1)
    for k, image in enumerate(images):
        fits.writeto(f"{k}.fits", image)
    assert main(["?.fits", "-o", "out.fits", "--unit", "adu"]) == 0
    expected = images.mean(axis=0, dtype=float)
    np.testing.assert_allclose(fits.getdata("out.fits"), expected, rtol=1e-15)


def test_hdu(frames):
    images = [fits.getdata(name) for name in frames]
    for k, image in enumerate(images):
        hdus = [fits.PrimaryHDU()]
        hdus += [fits.ImageHDU(image + n, name=f"CHIP{n}") for n in (1, 2)]
        fits.HDUList(hdus).writeto(f"mef_{k}.fits")
    for words, added in (["--hdu", "2"], 2), (["--hdu", "CHIP2"], 2), ([], 1):
        assert (
            main(["mef_*.fits", "-o", "out.fits", "--unit=adu", "--overwrite", *words])
            == 0
        )
        expected = np.mean([image + added for image in images], axis=0, dtype=float)
        np.testing.assert_allclose(fits.getdata("out.fits"), expected, rtol=1e-12)


def test_names_of_the_subcommand_and_order_of_words(frames):
    assert main(["combine", "-o", "a.fits", "--method", "median", *frames]) == 0
    assert main([*frames[:3], "--method", "median", "-o", "b.fits", *frames[3:]]) == 0
    assert main(["--method", "median", "-o", "c.fits", "--", *frames]) == 0
    for name in "b.fits", "c.fits":
        assert_array_equal(fits.getdata("a.fits"), fits.getdata(name))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (3, 3)),
        (["5"], (5, 5)),
        (["5", "3"], (5, 3)),
        (["5,3"], (5, 3)),
        (["inf", "2"], (np.inf, 2)),
    ],
)
def test_numbers_of_sigma_clip_leave_files_alone(words, expected):
    options = parse(["-o", "out.fits", "--sigma-clip", *words, "a.fits", "b.fits"])
    assert options.sigma_clip == expected
    assert options.files == ["a.fits", "b.fits"]
    assert parse(["a.fits", "-o", "o", f"--sigma-clip={words[0] if words else 3}"])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500M", 500e6),
        ("2g", 2e9),
        ("1.5GiB", 1.5 * 2**30),
        ("16e9", 16e9),
        ("64kB", 64e3),
        ("1000000", 1e6),
        ("7B", 7),
        ("1T", 1e12),
    ],
)
def test_sizes_of_memory(text, size):
    assert parse(["a", "-o", "b", "--mem-limit", text]).mem_limit == size


# -- names of files ------------------------------------------------------------


def test_patterns(frames):
    assert expand_names(["frame_[135].fits"]) == [f"frame_{k}.fits" for k in (1, 3, 5)]
    assert expand_names(["*.fits"]) == frames
    assert expand_names(["missing.fits"]) == ["missing.fits"]
    with pytest.raises(FileNotFoundError, match=r"no file matches 'dark\*.fits'"):
        expand_names(["frame_1.fits", "dark*.fits"])


def test_name_that_looks_like_a_pattern(frames):
    os.rename("frame_1.fits", "frame[2].fits")
    assert expand_names(["frame[2].fits"]) == ["frame[2].fits"]


def test_home(frames, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expand_names(["~/frame_0.fits"]) == [os.path.join(tmp_path, "frame_0.fits")]


def test_lists(frames, monkeypatch):
    text = "# the good ones\n\n  frame_4.fits \nframe_[01].fits\n#frame_2.fits"
    Path("list.txt").write_text(text)
    expected = ["frame_4.fits", "frame_0.fits", "frame_1.fits"]
    assert expand_names(["@list.txt"]) == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO("frame_6.fits\nframe_5.fits\n"))
    assert expand_names(["@-", "frame_0.fits"]) == [
        "frame_6.fits",
        "frame_5.fits",
        "frame_0.fits",
    ]
    with pytest.raises(ValueError, match="standard input has no names of files"):
        expand_names(["@-"])
    assert main(["@list.txt", "-o", "out.fits"]) == 0
    assert_same("out.fits", imcombiners_astro.combine(expected))


def test_numbers_from_files(frames):
    Path("weights.txt").write_text("# by seeing\n1\n2\n3\n4\n5\n6\n7\n")
    assert main([*frames, "-o", "out.fits", "--weights", "@weights.txt"]) == 0
    weights = np.arange(1.0, 8.0)
    assert_same("out.fits", imcombiners_astro.combine(frames, weights=weights))


def test_file_given_twice_is_mentioned(frames, capsys):
    assert main(["frame_0.fits", "frame_?.fits", "-o", "out.fits"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("imcombine: warning: ") and error.count("\n") == 1
    assert "frame_0.fits: given 2 times" in error


# -- what goes wrong -----------------------------------------------------------


def failure(words, capsys):
    """Exit code and the one line on stderr."""
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("imcombine: error: ")
    assert error.endswith("\n") and error.count("\n") == 1
    return code, error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: FILES, -o"),
        (["a.fits"], "required: -o"),
        (["-o", "out.fits"], "required: FILES"),
        (
            ["a.fits", "-o", "b", "--method", "mode"],
            "--combine: invalid choice: 'mode'",
        ),
        (["a.fits", "-o", "b", "--metod", "sum"], "--metod"),
        (["a.fits", "-o", "b", "--sigma-clip", "-3"], "two positive numbers"),
        (["a.fits", "-o", "b", "--sigma-clip", "0"], "two positive numbers"),
        (["a.fits", "-o", "b", "--sigma-clip=x"], "not 'x'"),
        (["a.fits", "-o", "b", "--sigma-clip=1,2,3"], "not '1,2,3'"),
        (["a.fits", "-o", "b", "--sigma-clip", "nan"], "not 'nan'"),
        (["a.fits", "-o", "b", "--sigma-clip", "--center", "mode"], "--center"),
        (["a.fits", "-o", "b", "--center", "mean"], "--center needs --sigma-clip"),
        (["a.fits", "-o", "b", "--spread", "std"], "--spread needs --sigma-clip"),
        (["a.fits", "-o", "b", "--clip-extrema", "1"], "expected 2 arguments"),
        (["a.fits", "-o", "b", "--clip-extrema", "1", "-1"], "not ' -1'"),
        (["a.fits", "-o", "b", "--clip-extrema", "1.5", "1"], "not '1.5'"),
        (["a.fits", "-o", "b", "--minmax", "low", "7"], "a number or 'none'"),
        (["a.fits", "-o", "b", "--minmax", "nan", "7"], "a number or 'none'"),
        (["a.fits", "-o", "b", "--scale", "medium"], "inv_median, inv_mean, 'mean'"),
        (["a.fits", "-o", "b", "--scale", "1,two"], "'two'"),
        (["a.fits", "-o", "b", "--weights", ""], "numbers separated by commas"),
        (["a.fits", "-o", "b", "--weights", "@no.txt"], "no.txt: No such file"),
        (["a.fits", "-o", "b", "--dtype", "complex"], "--dtype: invalid choice"),
        (["a.fits", "-o", "b", "--threads", "0"], "--threads: 1 or more"),
        (["a.fits", "-o", "b", "--mem-limit", "0"], "a size such as 500M"),
        (["a.fits", "-o", "b", "--mem-limit", "5q"], "a size such as 500M"),
        (["a.fits", "-o", "b", "--mem-limit", "inf"], "a size such as 500M"),
        (["a.fits", "-o", "b", "--mem-limit", "M"], "a size such as 500M"),
        (["a.fits", "-o", "b", "-q", "-v"], "--quiet and --verbose"),
    ],
)
def test_wrong_usage(words, message, capsys, no_strays, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, error = failure(words, capsys)
    assert code == 2
    assert message in error
    assert "imcombine --help" in error
    no_strays()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frame_0.fits", "missing.fits", "-o", "out.fits"], "missing.fits"),
        (["dark_*.fits", "-o", "out.fits"], "no file matches 'dark_*.fits'"),
        (["@missing.txt", "-o", "out.fits"], "no list of files 'missing.txt'"),
        (["@empty.txt", "-o", "out.fits"], "the list empty.txt has no names of files"),
        (["frame_0.fits", "text.fits", "-o", "out.fits"], "text.fits"),
        (
            ["frame_?.fits", "-o", "frame_1.fits", "--overwrite"],
            "frame_1.fits: the out",
        ),
        (["frame_?.fits", "-o", "./frame_1.fits"], "the output is also one of"),
        (["frame_?.fits", "-o", "old.fits"], "old.fits"),
        (["frame_?.fits", "-o", "nowhere/out.fits"], "nowhere"),
        (["frame_?.fits", "-o", "text.txt/out.fits"], "text.txt"),
        (["frame_?.fits", "-o", "out.jpeg"], ""),
        (["frame_?.fits", "-o", "out.fits", "--weights", "1,2"], "eights"),
        (["frame_?.fits", "-o", "out.fits", "--unit", "parsnip"], "parsnip"),
        (["frame_?.fits", "-o", "out.fits", "--hdu", "4"], ""),
    ],
)
def test_failures(frames, words, message, capsys, tmp_path):
    for name, text in {
        "text.fits": "no image",
        "text.txt": "x",
        "empty.txt": "# nothing",
        "old.fits": "precious",
    }.items():
        Path(name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    code, error = failure(words, capsys)
    assert code == 1
    assert message in error
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*")}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_directory_without_permission(frames, capsys, tmp_path):
    os.mkdir("closed", 0o555)
    code, error = failure([*frames, "-o", "closed/out.fits"], capsys)
    assert code == 1
    assert "closed" in error


def test_debug_shows_the_traceback(frames, imcombine):
    with pytest.raises(FileNotFoundError):
        main(["missing.fits", "-o", "out.fits", "--debug"])
    plain = imcombine("missing.fits", "-o", "out.fits")
    assert plain.returncode == 1
    assert "Traceback" not in plain.stderr
    debug = imcombine("missing.fits", "-o", "out.fits", "--debug")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    Path("debug.toml").write_text("debug = true\n")
    with pytest.raises(FileNotFoundError):
        main(["missing.fits", "-o", "out.fits", "--config", "debug.toml"])


def test_unforeseen_error_has_its_type(frames, capsys, monkeypatch):
    monkeypatch.setattr(
        "imcombiners_astro.cli.combine.combine_and_count", lambda *_, **__: {}["x"]
    )
    code, error = failure([*frames, "-o", "out.fits"], capsys)
    assert code == 1
    assert "KeyError: x (--debug shows where)" in error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('If so, use "overwrite_output=True".', 'If so, use "--overwrite".'),
        ("no unit= was given", "no --unit was given"),
        ("give output_file=, or more", "give --output, or more"),
        ("gain: found a scale of 3", "--gain: found a scale of 3"),
        ("the unit of method scale", "the unit of method scale"),
        (
            "Use sigma_clip_dev_func='mad_std' (with sigma_clip_func='median')",
            "Use --spread 'mad_std' (with --center 'median')",
        ),
        ("minmax_clip_min=5.0 is above\nminmax_clip_max=1.0: none", "MIN 5.0 is above"),
        ("nlow=1 and nhigh=2 reject all", "NLOW 1 and NHIGH 2 reject all"),
        ("output_file 'a/b': no directory", "--output 'a/b': no directory"),
        ("found no_such_name=3, unit3=4", "found no_such_name=3, unit3=4"),
    ],
)
def test_messages_speak_of_options(frames, text, expected, capsys, monkeypatch):
    def fail(*args, **keywords):
        raise ValueError(text)

    monkeypatch.setattr("imcombiners_astro.cli.combine.combine_and_count", fail)
    code, error = failure([*frames, "-o", "out.fits"], capsys)
    assert code == 1
    assert expected in error


def test_interrupt(frames, capsys, monkeypatch):
    def interrupted(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("imcombiners_astro.cli.combine.combine_and_count", interrupted)
    assert main([*frames, "-o", "out.fits"]) == 130
    assert capsys.readouterr() == ("", "imcombine: interrupted\n")


# -- what is printed -----------------------------------------------------------


def test_quiet_when_piped(frames, imcombine):
    done = imcombine(*frames, "-o", "out.fits", "--sigma-clip")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_prints_the_summary(frames, capsys):
    words = [*frames, "-o", "out.fits", "--sigma-clip", "4", "3"]
    words += ["--clip-extrema", "0", "1", "--minmax", "none", "60000"]
    assert main([*words, "--verbose"]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    rows = dict(
        re.match(" +(.+?)  +(.+)", line).groups() for line in error.splitlines()
    )
    method = (
        "average, clip extrema (0 lowest, 1 highest), minmax (above 60000), "
        "sigma clip -4 +3 (median, mad_std)"
    )
    assert rows["frames"] == "7"
    assert rows["image size"] == "50 x 40"
    assert rows["method"] == method
    assert rows["empty pixels"] == "0"
    assert rows["output"] == "out.fits"
    assert "frames/s" in error
    assert "peak memory" in error or peak_memory() is None


def test_summary_tells_what_was_rejected(frames, capsys):
    assert main([*frames, "-o", "out.fits", "-v", "--clip-extrema", "1", "2"]) == 0
    n = len(frames)
    text = f"{300 / n:.3f} % of the samples ({100 / n:.3f} low, {200 / n:.3f} high)"
    assert f"rejected      {text}" in capsys.readouterr().err


def test_terminal(frames, command):
    pytest.importorskip("pty", reason="no terminals on Windows")
    pytest.importorskip("tqdm")
    screens = []
    for words in [], ["--no-progress"], ["--quiet"]:
        words = [*frames, "-o", "out.fits", "--overwrite", *words]
        screens.append(run_on_terminal([*command, *words]))
    assert "combining" in screens[0] and "frames/s" in screens[0]
    assert "combining" not in screens[1] and "frames/s" in screens[1]
    assert screens[2] == ""


def test_progress_without_tqdm(frames, capsys, monkeypatch, no_strays):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main([*frames, "-o", "out.fits", "--progress"]) == 1
    error = capsys.readouterr().err
    assert '--progress needs tqdm, which is not installed: pip install "' in error
    assert not os.path.exists("out.fits")
    assert main([*frames, "-o", "out.fits"]) == 0


def test_help_on_a_terminal_of_unknown_size(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((0, 0)))
    lines = make_parser().format_help().splitlines()
    assert 70 < max(map(len, lines)) <= 80


def run_on_terminal(command):
    """Run a command on a terminal of its own; return what the screen shows."""
    import pty
    import termios

    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 80))
    process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there)
    os.close(there)
    screen = b""
    while True:
        try:
            text = os.read(here, 4096)
        except OSError:  # how Linux tells the end
            break
        if not text:
            break
        screen += text
    os.close(here)
    assert process.wait() == 0
    return screen.decode()


def test_warnings_take_one_line_and_come_once(frames, capsys, monkeypatch):
    combine = combine_and_count

    def warning(*args, **keywords):
        for _ in range(3):
            warnings.warn("three sigma\n of two", AstropyUserWarning, stacklevel=1)
        return combine(*args, **keywords)

    monkeypatch.setattr("imcombiners_astro.cli.combine.combine_and_count", warning)
    assert main([*frames, "-o", "out.fits"]) == 0
    expected = "imcombine: warning: three sigma of two\n"
    assert capsys.readouterr() == ("", expected)
    assert main([*frames, "-o", "out.fits", "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_version_and_help(capsys):
    for words, text in {
        ("--version",): f"imcombine {imcombiners_astro.__version__}\n",
        ("--help",): "exit codes:\n  0    done\n  1    failed",
        ("demo", "--help"): "demo_master.fits",
    }.items():
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert stop.value.code == 0
        out, error = capsys.readouterr()
        assert text in out
        assert error == ""
        assert max(map(len, out.splitlines())) <= 88


def test_peak_memory():
    peak = peak_memory()
    assert peak is None or 10e6 < peak < 1e12
