# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine demo``, and the simulated frames that it combines."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

import imcombiners_astro
from imcombiners_astro.cli import main
from imcombiners_astro.simulate import SimulatedField

QUICK = ["--frames", "12", "--size", "128"]


def table(text):
    """Rows of the table: {name: (mean, rms, worst, number left)}."""
    pattern = (
        r"^(sigma-clipped mean|plain mean|plain median) +(\S+) +(\S+) +(\S+) +(\d+)"
    )
    return {
        name: (float(mean), float(rms), float(worst), int(left))
        for name, mean, rms, worst, left in re.findall(pattern, text, re.MULTILINE)
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_clipping_beats_mean_and_median(here, capsys, no_strays):
    assert main(["demo", "--size", "256"]) == 0
    text, error = capsys.readouterr()
    assert error == ""
    rows = table(text)
    clipped, mean, median = (
        rows[name] for name in ("sigma-clipped mean", "plain mean", "plain median")
    )
    assert clipped[1] < 0.5 * mean[1]
    assert clipped[1] < median[1]
    noise = float(re.search(r"noise alone +0 +(\S+)", text)[1])
    assert noise < clipped[1] < 1.1 * noise
    assert abs(clipped[0]) < 0.1 < mean[0]
    assert abs(clipped[2]) < 0.2 * mean[2]
    n_bright = int(re.search(r"have raised (\d+) pixels", text)[1])
    assert n_bright > 300
    assert clipped[3] == 0
    assert mean[3] > 0.9 * n_bright
    assert "frames/s" in text
    assert "demo_master.fits" in text
    no_strays("demo_master.fits")


def test_prints_what_it_wrote(here, capsys):
    words = ["demo", *QUICK, "--keep-frames", "night", "-o", "master.fits"]
    assert main(words) == 0
    text = capsys.readouterr().out
    names = [f"frame_{k:03}.fits" for k in range(1, 13)]
    assert sorted(os.listdir("night")) == [*names, "truth"]
    assert "'" + str(Path("night") / "frame_*.fits") + "'" in text
    error = fits.getdata("master.fits") - fits.getdata("night/truth/truth.fits")
    rms = table(text)["sigma-clipped mean"][1]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(rms, abs=6e-4)

    # All of the directory is what the command proposes; the truth is not taken.
    assert main(["night", "-o", "all.fits", "--sigma-clip", "3"]) == 0
    assert_array_equal(fits.getdata("all.fits"), fits.getdata("master.fits"))

    # The command that it proposes gives the same image.
    assert main(["night/frame_*.fits", "-o", "again.fits", "--sigma-clip", "3"]) == 0
    assert_array_equal(fits.getdata("again.fits"), fits.getdata("master.fits"))


def test_frames_are_what_a_camera_writes(here):
    assert main(["demo", *QUICK, "--keep-frames", "night", "--quiet"]) == 0
    field = SimulatedField(shape=(128, 128))
    with fits.open("night/frame_003.fits") as hdus:
        assert hdus[0].header["BITPIX"] == 16
        assert hdus[0].header["BUNIT"] == "adu"
        assert hdus[0].header["GAIN"] == field.gain
        assert_array_equal(hdus[0].data, field.expose(2).data)


def test_again(here, capsys):
    assert main(["demo", *QUICK]) == 0
    first, text = fits.getdata("demo_master.fits"), capsys.readouterr().out
    assert main(["demo", *QUICK]) == 0
    assert_array_equal(fits.getdata("demo_master.fits"), first)
    assert table(capsys.readouterr().out) == table(text)
    assert main(["demo", *QUICK, "--seed", "2"]) == 0
    assert (fits.getdata("demo_master.fits") != first).mean() > 0.9


def test_named_files_are_not_replaced(here, capsys):
    os.mkdir("night")
    mine, frame = Path("mine.fits"), Path("night/frame_002.fits")
    mine.write_text("precious")
    frame.write_text("precious")
    for words, path in (
        (["-o", "mine.fits"], mine),
        (["--keep-frames", "night"], frame),
    ):
        assert main(["demo", *QUICK, *words]) == 1
        error = capsys.readouterr().err
        assert error == (f"imcombine: error: {path} exists; --overwrite replaces it\n")
        assert path.read_text() == "precious"
        assert sorted(os.listdir()) == ["mine.fits", "night"]
        assert os.listdir("night") == ["frame_002.fits"]
    words = ["-o", "mine.fits", "--keep-frames", "night", "--overwrite"]
    assert main(["demo", *QUICK, *words]) == 0
    assert len(os.listdir("night")) == 13
    assert fits.getdata("night/frame_002.fits").shape == (128, 128)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "2"], "--frames: an integer of 3 or more"),
        (["--size", "big"], "not 'big'"),
        (["--seed", "-1"], "--seed"),
        (["a.fits"], "unrecognized arguments: a.fits"),
    ],
)
def test_wrong_usage(here, words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("imcombine: error: ") and error.count("\n") == 1
    assert message in error
    assert "imcombine demo --help" in error


def test_nothing_is_left_behind_by_a_failure(here, capsys, monkeypatch, no_strays):
    for error, code in (OSError("disk full"), 1), (KeyboardInterrupt(), 130):

        def fail(*args, error=error, **keywords):
            raise error

        monkeypatch.setattr(imcombiners_astro, "combine", fail)
        assert main(["demo", *QUICK, "--keep-frames", "night"]) == code
        no_strays()
    assert "disk full" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_control_c(here, imcombine, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("temporary")
    words = ["demo", "--size", "1024", "--frames", "60"]
    process = imcombine(*words, env={"TMPDIR": str(temporary)}, start=True)
    limit = time.monotonic() + 60
    while not list(temporary.rglob("frame_002.fits")) and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (130, "", "imcombine: interrupted\n")
    assert os.listdir(temporary) == []
    assert os.listdir(here) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_reader_that_goes_away(here, imcombine):
    process = imcombine("demo", *QUICK, start=True)
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(60) == 141
    assert error == ""
    process.stderr.close()


def test_piped_demo_prints_only_its_report(here, imcombine):
    done = imcombine("demo", *QUICK)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 88
    quiet = imcombine("demo", *QUICK, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


# -- simulated frames ----------------------------------------------------------


def test_exposures_can_be_repeated_in_any_order():
    field, same = (SimulatedField(shape=(90, 80), seed=7) for _ in range(2))
    late, early = field.expose(5), field.expose(0)
    assert_array_equal(same.expose(0).data, early.data)
    assert_array_equal(same.expose(5).data, late.data)
    assert_array_equal(same.expose(5).cosmic_rays, late.cosmic_rays)
    assert (early.data != late.data).any()
    assert_array_equal(field.truth, same.truth)
    assert (SimulatedField(shape=(90, 80), seed=8).truth != field.truth).any()


def test_noise_and_level_are_as_promised():
    field = SimulatedField(shape=(60, 50), seed=4, cosmic_rays=0)
    stack = np.array([field.expose(k).data for k in range(300)], dtype=float)
    pull = (stack.mean(axis=0) - field.truth) / (field.noise / np.sqrt(300))
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1, abs=0.06)
    ratio = stack.std(axis=0, ddof=1) / field.noise
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_cosmic_rays_are_what_was_added():
    field = SimulatedField(shape=(64, 64), seed=4, cosmic_rays=5000)
    clean = SimulatedField(shape=(64, 64), seed=4, cosmic_rays=0)
    exposure = field.expose(0)
    assert exposure.data.dtype == np.uint16
    hit = exposure.cosmic_rays > 0
    assert 0.005 < hit.mean() < 0.1
    difference = exposure.data.astype(float) - clean.expose(0).data
    assert_array_equal(difference[~hit], 0)
    assert np.abs(difference - exposure.cosmic_rays)[hit].max() <= 1
    assert clean.expose(0).cosmic_rays.max() == 0


def test_numbers_follow_the_size():
    field = SimulatedField(shape=(500, 1000), stars=400, hot_pixels=100)
    assert (field.n_stars, field.n_hot_pixels) == (200, 50)
    # Hot pixels stand alone: count sharp peaks far above their neighbours.
    truth = SimulatedField(shape=(500, 1000), stars=0, hot_pixels=100).truth
    assert np.count_nonzero(truth > truth.min() + 300) == 50
    assert truth.min() == field.bias + field.sky / field.gain
