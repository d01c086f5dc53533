# Licensed under a 3-clause BSD style license - see LICENSE
"""Reports for programs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import imcombiners_astro as imc
from imcombiners_astro.cli import main


def strict(text):
    """Read JSON as programs do that are not Python."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_report(frames, capsys):
    words = [*frames, "-o", "out.fits", "--reject", "sigclip:sigma=4,stdfunc=mad"]
    words += ["--diagnostics", "simple", "--weights", "1,2,3,4,5,6,7"]
    words += ["--mem-limit", "30M", "--json", "report.json"]
    assert main(words) == 0
    assert capsys.readouterr() == ("", "")
    report = strict(Path("report.json").read_text(encoding="utf-8"))
    assert (report["status"], report["error"]) == ("done", None)
    assert report["command"] == words
    assert report["versions"]["imcombiners_astro"] == imc.__version__
    assert report["versions"]["numpy"] == np.__version__
    assert [file["name"] for file in report["inputs"]] == frames
    assert {file["bytes"] for file in report["inputs"]} == {
        Path(frames[0]).stat().st_size
    }
    assert report["output"] == "out.fits"
    assert report["options"]["weights"] == [1, 2, 3, 4, 5, 6, 7]
    assert "stdfunc='mad'" in report["options"]["rejectors"][0]
    assert report["memory"]["limit"] == 30e6
    assert report["memory"]["peak"] is None or report["memory"]["peak"] > 1e6
    assert report["time"]["seconds"] > 0
    assert report["warnings"] == report["notes"] == []

    result = imc.CombinedCCDData.read("out.fits")
    (found,) = report["results"]
    assert (found["shape"], found["dtype"], found["unit"]) == (
        [40, 50],
        "float64",
        "adu",
    )
    assert found["empty_pixels"] == 0
    assert [row["name"] for row in found["frames"]] == frames
    for name in "weight", "n_used", "rejected_low", "rejected_high":
        column = [row[name] for row in found["frames"]]
        np.testing.assert_allclose(column, result.frames[name])
    assert [row["gain"] for row in found["frames"]] == [None] * 7  # not known
    n_samples = 7 * 40 * 50
    n_rejected = report["samples"]["rejected_low"] + report["samples"]["rejected_high"]
    assert report["samples"]["all"] == n_samples
    assert 0 < n_rejected == np.count_nonzero(result.mask_rej)
    per_frame = sum(
        row["rejected_low"] + row["rejected_high"] for row in found["frames"]
    )
    assert math.isclose(per_frame / 100 * 2000, n_rejected)


def test_report_on_standard_output(frames, capsys):
    assert main([*frames, frames[0], "-o", "out.fits", "--json", "-"]) == 0
    out, error = capsys.readouterr()
    report = strict(out)
    assert report["memory"]["limit"] == 16e9
    assert report["results"][0]["frames"] is None
    assert len(report["warnings"]) == 1
    assert "given 2 times" in report["warnings"][0]
    assert error == f"imcombine: warning: {report['warnings'][0]}\n"


def test_report_of_a_failure(frames, capsys):
    Path("frame_3.fits").write_bytes(Path("frame_3.fits").read_bytes()[:4000])
    assert main([*frames, "-o", "out.fits", "--json", "report.json"]) == 1
    error = capsys.readouterr().err
    report = strict(Path("report.json").read_text())
    assert report["status"] == "failed"
    assert "frame_3.fits" in report["error"]
    assert error == f"imcombine: error: {report['error']}\n"
    assert not Path("out.fits").exists()


@pytest.mark.parametrize("name", ["old.json", "frame_1.fits", "no/report.json"])
def test_where_no_report_can_be(frames, name, capsys, no_strays):
    Path("old.json").write_text("precious")
    before = Path("frame_1.fits").read_bytes()
    assert main([*frames, "-o", "out.fits", "--json", name]) == 1
    assert name in capsys.readouterr().err
    assert Path("old.json").read_text() == "precious"
    assert Path("frame_1.fits").read_bytes() == before
    no_strays(*frames, "old.json")
    words = [*frames, "-o", "out.fits", "--json", "old.json", "--overwrite"]
    assert main(words) == 0
    assert strict(Path("old.json").read_text())["status"] == "done"


def test_interrupt_leaves_no_report(frames, monkeypatch, no_strays):
    def interrupted(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("imcombiners_astro.cli.combine.combine_and_count", interrupted)
    assert main([*frames, "-o", "out.fits", "--json", "report.json"]) == 130
    no_strays(*frames)
