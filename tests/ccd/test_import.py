# Licensed under a 3-clause BSD style license - see LICENSE
"""Importing the package is quick: it brings nothing but itself."""

import subprocess
import sys

CODE = """
import sys

import astropy.nddata

before = set(sys.modules)
import imcombiners_astro

new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""


def test_import_brings_no_other_package():
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["imcombiners_astro"]
