# Licensed under a 3-clause BSD style license - see LICENSE
"""Memory stays below the limit, the result included."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro.cli import peak_memory

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak cannot be reset elsewhere"
)

SHAPE, N = (1500, 1200), 5
# Image, uncertainty, mask; with diagnostics, maps and two cubes.
PLAIN = SHAPE[0] * SHAPE[1] * (8 + 8 + 1)
FULL = PLAIN + SHAPE[0] * SHAPE[1] * (3 * 8 + 2 + 3 * 2 + 2 * N)

CODE = """
    import json, sys
    from imcombiners_astro import SigClip, combine
    from imcombiners_astro.cli import peak_memory

    case = json.load(sys.stdin)
    call = {"overwrite_output": True, "rejectors": SigClip(3, stdfunc="mad")}
    call |= case["call"]
    # What is imported and kept for ever is none of the result.
    combine(case["small"], case["out"], mem_limit=1, **call)
    combine(case["small"], case["out"], **call)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak_memory()
    out = case["out"] if case["write"] else None
    result = combine(case["files"], out, mem_limit=case["mem_limit"], **call)
    print(json.dumps([peak_memory() - before, result.data.flags.writeable]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    found = {"files": [], "small": [], "out": str(folder / "out.fits")}
    for kind, shape in (("files", SHAPE), ("small", (50, 40))):
        for k in range(N):
            name = folder / f"{kind}{k}.fits"
            data = rng.normal(1000, 10, shape).astype("f4")
            fits.writeto(name, data, fits.Header({"BUNIT": "adu"}))
            found[kind].append(str(name))
    return found


def growth(files, mem_limit, write=True, **call):
    """Combine in a process; return how far its memory grows and whether it wrote."""
    case = files | {"mem_limit": mem_limit, "write": write, "call": call}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE)],
        input=json.dumps(case),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    grown, in_memory = json.loads(done.stdout.splitlines()[-1])
    return grown, not in_memory


@pytest.mark.skipif(not peak_memory(), reason="cannot tell the memory of a process")
@pytest.mark.parametrize(
    "call, nbytes",
    [
        ({}, PLAIN),
        ({"diagnostics": "full"}, FULL),
        ({"output_compression": "RICE_1"}, PLAIN),
        ({"output_dtype": "float32", "output_checksum": True}, PLAIN),
    ],
    ids=["plain", "full", "compressed", "single"],
)
def test_larger_than_the_limit(files, call, nbytes):
    mem_limit = 8e6
    assert nbytes > mem_limit + 22e6
    grown, streamed = growth(files, mem_limit, **call)
    assert streamed
    assert grown < mem_limit + 20e6  # for Python, threads and the system
    # The check itself works: all of it in memory is more.
    grown, streamed = growth(files, 16e9, **call)
    assert not streamed
    assert grown > 0.9 * nbytes


def test_just_below_the_limit(files):
    for write, room in ((False, 2e6), (True, 40e6)):
        grown, streamed = growth(files, PLAIN + room, write)
        assert not streamed
        assert PLAIN < grown < PLAIN + room + 10e6
