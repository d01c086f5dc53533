# Licensed under a 3-clause BSD style license - see LICENSE
"""
The tests that ccdproc is released with, with both its names in our hands.

They run in a process of their own, unchanged, from the installed ccdproc, after
`accelerate_ccdproc`.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import imcombiners_astro

# Tests of ccdproc that may fail, and why.
EXCEPTIONS: dict[str, str] = {}

# pytest need not rewrite the plugin, which may be in use when pytest starts.
PLUGIN = '''
"""ccdproc accelerated, and our calls counted; PYTEST_DONT_REWRITE."""

import json
from collections import Counter

import imcombiners_astro
from imcombiners_astro import CCDCombiner, ccdcombiner, ccdrequest, patching

calls = Counter()


def counted(owner, name):
    real = getattr(owner, name)

    def count(*args, **keywords):
        calls[name] += 1
        return real(*args, **keywords)

    setattr(owner, name, count)


counted(patching, "combine")
counted(CCDCombiner, "__init__")
counted(CCDCombiner, "_sigma_clipping_by_astropy")
counted(CCDCombiner, "_called_image")
counted(ccdcombiner, "by_kernels")
counted(CCDCombiner, "_become_one_of_ccdproc")
imcombiners_astro.accelerate_ccdproc()


def pytest_sessionfinish():
    with open("calls", "w") as file:
        json.dump(calls, file)
'''


def test_the_tests_of_ccdproc_pass(tmp_path):
    (tmp_path / "accelerated.py").write_text(PLUGIN)
    (tmp_path / "empty.ini").write_text("[pytest]\n")
    package = Path(imcombiners_astro.__file__).parents[1]
    path = [str(tmp_path), str(package), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "accelerated"),
            *("-p", "no:cacheprovider", "-c", "empty.ini", "--rootdir", str(tmp_path)),
            *("-W", "error", "--junitxml", "report.xml", "-q", "--tb=short"),
            *("--pyargs", "ccdproc.tests.test_combiner"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (tmp_path / "report.xml").exists(), run.stdout + run.stderr
    outcomes = {
        case.get("name"): {child.tag for child in case}
        for case in ET.parse(tmp_path / "report.xml").iter("testcase")
    }
    failed = {name for name, tags in outcomes.items() if tags & {"failure", "error"}}
    assert failed == set(EXCEPTIONS), run.stdout
    assert not any("skipped" in tags for tags in outcomes.values())
    # 2.5.1 has 72 tests.
    assert len(outcomes) >= 72
    calls = json.loads((tmp_path / "calls").read_text())
    assert calls["combine"] >= 24
    # combine() needs no Combiner: all of these are in the tests themselves.
    assert calls["__init__"] >= 50
    assert calls["by_kernels"] >= 40
    # The kernels do it all but for one function of the user: nothing is left to others.
    assert calls.get("_become_one_of_ccdproc", 0) == 0
    assert calls.get("_sigma_clipping_by_astropy", 0) == 0
    assert calls.get("_called_image", 0) == 0
