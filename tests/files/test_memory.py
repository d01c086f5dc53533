# Licensed under a 3-clause BSD style license - see LICENSE
"""What a process takes while it combines is the limit, result included."""

import gzip
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="cannot ask for the peak here"
)

SIDE = 600
# image, uncertainty and mask
RESULT = SIDE * SIDE * 17
# Thread stacks, pieces of the allocator, and what the reading of a header leaves.
SLACK = 5e6

CHILD = """
    import json, sys
    import numpy as np
    from astropy.nddata import CCDData
    from imcombiners_astro import SigClip, combine

    def status(key):
        with open("/proc/self/status") as lines:
            (line,) = (line for line in lines if line.startswith(key))
        return int(line.split()[1]) * 1024

    paths, source, keywords = json.loads(sys.argv[1])
    keywords["unit"] = "adu"
    if keywords.pop("grows", False):
        keywords["rejectors"] = SigClip(3, grow=2)
    items = paths
    if source == "memory":
        images = np.random.default_rng(1).normal(1000, 10, (40, 600, 600))
        items = [
            CCDData(image.astype("f2"), unit="adu" if k else "kadu")
            for k, image in enumerate(images)
        ]
        del images
    combine(items[:8], **keywords | {"mem_limit": 1e6})  # what is imported and kept
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    result = combine(items, **keywords)
    print(status("VmHWM") - before, float(result.data[5].sum()).hex())
"""


def rise(paths, source="files", **keywords):
    """Return the rise of the memory of a process [bytes], and a part of the result."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    command.append(json.dumps([[str(path) for path in paths], source, keywords]))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    rose, bits = done.stdout.split()
    return float(rose), bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    for k in range(60):
        data = rng.normal(1000 + k, 10, (SIDE, SIDE))
        fits.PrimaryHDU(data.astype("u2")).writeto(folder / f"u2-{k:02d}.fits")
        if k < 30:
            packed = folder / f"gz-{k:02d}.fits"
            content = (folder / f"u2-{k:02d}.fits").read_bytes()
            packed.write_bytes(gzip.compress(content, 1))
            tiles = fits.CompImageHDU(data.astype("i2"), tile_shape=(20, SIDE))
            fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(
                folder / f"fz-{k:02d}.fits"
            )
        if k < 12:
            fits.PrimaryHDU(data).writeto(folder / f"f8-{k:02d}.fits")
    return folder


CASES = {
    # 43 MB of pixels
    "plain": ("u2", RESULT + 3e6, {"sigma_clip": True}),
    "the result is larger": ("u2", 5e6, {"sigma_clip": True}),
    "packed": ("gz", RESULT + 5e6, {}),
    "tiles": ("fz", RESULT + 6e6, {}),
    "growth": ("u2", RESULT + 16e6, {"grows": True}),
    "statistics": ("f8", RESULT + 21e6, {"zero": "median", "scale": "mean"}),
}


@pytest.mark.parametrize("case", CASES)
def test_files(folder, case):
    kind, limit, keywords = CASES[case]
    paths = sorted(folder.glob(f"{kind}-*.fits"))
    rose, bits = rise(paths, mem_limit=limit, **keywords)
    room = max(limit, RESULT + limit / 8)
    assert rose < room + SLACK
    assert bits == rise(paths, mem_limit=1e9, **keywords)[1]


def test_images_in_memory():
    # converted to other units and types, piece by piece: 29 MB as half precision
    limit = RESULT + 20e6
    rose, bits = rise([], "memory", mem_limit=limit)
    assert rose < limit + SLACK
    assert bits == rise([], "memory", mem_limit=1e9)[1]
