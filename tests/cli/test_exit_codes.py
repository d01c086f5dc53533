# Licensed under a 3-clause BSD style license - see LICENSE
"""How the command ends: exit codes of a process, and what is left behind."""

import re
import signal
import sys

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro.cli import common, main

SUBCOMMANDS = ("combine", "plan", "inspect", "demo")


def test_all_are_documented(capsys):
    for name in SUBCOMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        listed = capsys.readouterr().out.partition("exit codes:\n")[2]
        codes = [int(code) for code in re.findall(r"^  (\d+) ", listed, re.M)]
        assert codes == [0, 1, 2, 130, 141]


def test_codes(frames, imcombine):
    assert imcombine(*frames, "-o", "out.fits").returncode == 0
    assert imcombine(*frames, "-o", "out.fits").returncode == 1
    assert imcombine(*frames, "-o", "out.fits", "--nonsense").returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
@pytest.mark.parametrize(
    "words", [["plan"], ["--version"], ["-o", "o.fits", "--json=-"]]
)
def test_reader_that_has_gone(frames, imcombine, words):
    process = imcombine(*words, *frames, start=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("old", [None, b"precious"])
def test_control_c(tmp_path, imcombine, old):
    pytest.importorskip("tqdm")
    rng = np.random.default_rng(1)
    image = rng.poisson(100, (1024, 1024)).astype("f4")
    names = [f"{k:02}.fits" for k in range(30)]
    for name in names:
        fits.writeto(tmp_path / name, image, fits.Header({"BUNIT": "adu"}))
    if old is not None:
        (tmp_path / "out.fits").write_bytes(old)
    words = ["??.fits", "-o", "out.fits", "--overwrite", "--json", "report.json"]
    # Growth makes it slow; the progress bar tells when the first strip is done.
    words += ["--reject", "sigclip:grow=5", "--diagnostics", "full", "--progress"]
    process = imcombine(*words, "--threads", "1", "--mem-limit", "60M", start=True)
    seen = ""
    while "combining" not in seen:
        more = process.stderr.read(20)
        assert more, f"it has ended too early: {seen}"
        seen += more
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith("imcombine: interrupted\n")
    assert "Traceback" not in error
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == names + ["out.fits"] * (old is not None)
    if old is not None:
        assert (tmp_path / "out.fits").read_bytes() == old


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (999_900, "1.00 MB"),
        (25_400_000, "25.4 MB"),
        (16e9, "16.0 GB"),
        (123.4e12, "123 TB"),
    ],
)
def test_sizes_in_words(nbytes, text):
    assert common.format_size(nbytes) == text
