# Licensed under a 3-clause BSD style license - see LICENSE
"""
The tests that ccdproc is released with, run on our `combine`.

They run in a process of their own, unchanged, from the installed ccdproc. A plugin
puts our function in the place of ``ccdproc.combine`` before the tests are collected,
and counts its calls.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import imcombiners_astro

# Tests of ccdproc that may fail with our function, and why.
EXCEPTIONS: dict[str, str] = {}

# pytest need not rewrite the plugin, which may be in use when pytest starts.
PLUGIN = '''
"""Our combine in the place of ccdproc's; PYTEST_DONT_REWRITE."""

import functools

import ccdproc
import ccdproc.combiner

import imcombiners_astro

calls = 0


@functools.wraps(imcombiners_astro.combine)
def combine(*args, **keywords):
    global calls
    calls += 1
    return imcombiners_astro.combine(*args, **keywords)


ccdproc.combine = ccdproc.combiner.combine = combine


def pytest_sessionfinish():
    with open("calls", "w") as file:
        file.write(str(calls))
'''

# Python runs this at the start of every process.
SITECUSTOMIZE = "import use_our_combine"


def run_tests_of_ccdproc(folder, module):
    """Run one of ccdproc's test modules; return outcomes by name, calls and output."""
    (folder / "use_our_combine.py").write_text(PLUGIN)
    (folder / "empty.ini").write_text("[pytest]\n")
    package = Path(imcombiners_astro.__file__).parents[1]
    path = [str(folder), str(package), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "use_our_combine"),
            *("-p", "no:cacheprovider", "-c", "empty.ini", "--rootdir", str(folder)),
            *("-W", "error", "--junitxml", "report.xml", "-q", "--tb=short"),
            *("--pyargs", module),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (folder / "report.xml").exists(), run.stdout + run.stderr
    outcomes = {}
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        tags = {child.tag for child in case}
        outcomes[case.get("name")] = (
            "failed"
            if tags & {"failure", "error"}
            else "skipped"
            if "skipped" in tags
            else "passed"
        )
    return outcomes, int((folder / "calls").read_text()), run.stdout


def test_the_tests_of_ccdproc_pass(tmp_path):
    outcomes, calls, output = run_tests_of_ccdproc(
        tmp_path, "ccdproc.tests.test_combiner"
    )
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    assert failed == set(EXCEPTIONS), output
    # 2.5.1: 72 tests, of which 24 calls come here (others are refused or not ours).
    assert len(outcomes) >= 72
    assert calls >= 24


@pytest.mark.skipif(sys.platform == "win32", reason="limits of descriptors are POSIX")
def test_many_files_under_a_low_limit_of_descriptors(tmp_path):
    pytest.importorskip("psutil")  # which this test of ccdproc needs
    # It starts a process with room for 20 open files, which combines
    # 15 of them: the plugin has to reach that process as well.
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    outcomes, _, output = run_tests_of_ccdproc(
        tmp_path, "ccdproc.tests.test_combine_open_files"
    )
    assert set(outcomes.values()) <= {"passed", "skipped"}, output
    assert "passed" in outcomes.values(), output


@pytest.mark.skipif(sys.platform != "linux", reason="ccdproc tests this on Linux only")
def test_memory_stays_below_the_limit(tmp_path):
    pytest.importorskip("psutil")
    pytest.importorskip("memory_profiler")
    outcomes, calls, output = run_tests_of_ccdproc(
        tmp_path, "ccdproc.tests.test_memory_use"
    )
    assert list(outcomes.values()) == ["passed"] * 3, output
    assert calls == 3
