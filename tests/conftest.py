# Licensed under a 3-clause BSD style license - see LICENSE
"""Report header and hypothesis profiles of the whole test suite."""

import os
from importlib import metadata

import hypothesis
from pytest_astropy_header.display import PYTEST_HEADER_MODULES, TESTED_VERSIONS

# Timings of single examples mean nothing on a loaded machine.  On CI the examples
# are the same in every run, so that a red run is red again.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config):
    """Name the versions that matter here in the header of the report."""
    PYTEST_HEADER_MODULES.clear()
    for name in ("numpy", "astropy", "ccdproc", "bottleneck", "dask", "hypothesis"):
        PYTEST_HEADER_MODULES[name] = name
    TESTED_VERSIONS["imcombiners_astro"] = metadata.version("imcombiners_astro")
