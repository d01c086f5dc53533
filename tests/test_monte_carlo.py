# Licensed under a 3-clause BSD style license - see LICENSE
"""The script that puts uncertainties to the test makes its table and its plot."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPT = FOLDER / "monte_carlo_uncertainty.py"
if not SCRIPT.is_file():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)


def run(*words):
    command = [sys.executable, SCRIPT, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_readme_names_every_option():
    done = run("--help")
    assert done.returncode == 0, done.stderr
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"## `{SCRIPT.name}`")[2].partition("\n## ")[0]
    for option in set(re.findall(r"--[a-z-]+", done.stdout)) - {"--help"}:
        assert f"`{option}" in section


def test_wrong_number():
    done = run("--pixels", "0")
    assert done.returncode == 2
    assert "--pixels: found '0', expected an integer >= 1" in done.stderr


def test_table_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    done = run("--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "monte_carlo.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["n"]) for row in rows} == {2, 3, 31}
    assert {row["group"] for row in rows} == {
        "propagate",
        "noise",
        "scatter",
        "outlier",
        "approximate",
        "empirical",
    }
    for row in rows:
        # 500 pixels: 3 % each, and 5 times that
        if row["group"] in ("propagate", "noise", "scatter", "outlier"):
            assert float(row["stated_by_true"]) == pytest.approx(1, abs=0.16)
        if row["group"] in ("propagate", "noise", "outlier"):
            assert float(row["n_used"]) == pytest.approx(int(row["n"]), rel=0.01)
        if row["group"] == "empirical" and row["case"] != "median":
            if row["n"] == "2":
                assert float(row["stated_by_true"]) == pytest.approx(0.71, abs=0.12)
    text = (tmp_path / "monte_carlo.rst").read_text(encoding="utf-8")
    for row in rows:
        assert f"\n{row['case']} " in text and row["case"] in done.stdout
        assert f"{float(row['stated_by_true']):.3f}" in text
    assert (tmp_path / "monte_carlo.png").read_bytes().startswith(b"\x89PNG")
