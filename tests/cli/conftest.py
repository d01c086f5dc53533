# Licensed under a 3-clause BSD style license - see LICENSE
import os
import subprocess
import sys

import pytest
from astropy.io import fits

from imcombiners_astro.simulate import SimulatedField


@pytest.fixture
def command():
    """Words that start the command, whether or not it is on the PATH."""
    # A shell makes its background jobs deaf to Ctrl-C; the tests may be one of them.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from imcombiners_astro.cli import main; sys.exit(main())"
    )
    return [sys.executable, "-c", code]


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Names of seven frames in the current directory."""
    monkeypatch.chdir(tmp_path)
    field = SimulatedField(shape=(40, 50), seed=5, cosmic_rays=2000)
    names = []
    for k in range(7):
        name = f"frame_{k}.fits"
        fits.writeto(name, field.expose(k).data, fits.Header({"BUNIT": "adu"}))
        names.append(name)
    return names


@pytest.fixture
def imcombine(command, tmp_path):
    """Run the command as a process of its own; everything is piped."""

    def run(*words, start=False, env=None):
        process = subprocess.Popen(
            [*command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
        )
        if start:
            return process
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    return run


@pytest.fixture
def no_strays(tmp_path):
    """Check that only the named files are in the directory."""

    def check(*names):
        found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
        assert sorted(found) == sorted(names)

    return check
