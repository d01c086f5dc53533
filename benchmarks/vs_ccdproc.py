# Licensed under a 3-clause BSD style license - see LICENSE
"""
Compare ``imcombiners_astro.combine`` with ``ccdproc.combine``: time and memory.

The frames look like bias frames of a camera: unsigned 16-bit integers in FITS files,
level 1000 adu, read noise, and one pixel in a thousand hit by a cosmic ray. They are
made in a temporary directory and have been read before anything is timed, so that the
speed of the disk does not enter.

Both functions run in this process in turn, so that whatever else the machine does
strikes both alike. Before that their results are compared. Memory is measured in a
process of its own for every case and function.

    python vs_ccdproc.py --csv results.csv
"""

import argparse
import importlib
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from _common import (
    in_turn,
    load_average,
    machine,
    positive,
    print_found,
    timed,
    versions,
    write_csv,
)
from astropy import log
from astropy.io import fits
from astropy.stats import mad_std

LEVEL, READ_NOISE, COSMIC_RAYS = 1000.0, 6.0, 1e-3

CLIP_5 = {
    "sigma_clip": True,
    "sigma_clip_low_thresh": 5,
    "sigma_clip_high_thresh": 5,
}
CASES = {
    "average": {},
    "median": {"method": "median"},
    # Clipping as both packages do it best: functions by name.
    "strings": CLIP_5 | {"sigma_clip_func": "median", "sigma_clip_dev_func": "mad_std"},
    # The call of the CCD Data Reduction Guide.
    "guide": CLIP_5
    | {
        "sigma_clip_func": np.ma.median,
        "sigma_clip_dev_func": mad_std,
        "mem_limit": 350e6,
    },
    # Clipping at 3 numpy.ma.std about numpy.ma.mean.
    "defaults": {"sigma_clip": True},
}
OURS, THEIRS = "imcombiners_astro", "ccdproc"
CONTESTANTS = (OURS, THEIRS)
PACKAGES = (*CONTESTANTS, "numpy", "astropy", "bottleneck")

# Sums of 20 numbers in another order differ in the last digit or two.
MAX_ULP = 2


def make_frames(folder, n_frames, size):
    """Write the frames, and return their names."""
    rng = np.random.default_rng(20240229)
    names = []
    for k in range(n_frames):
        image = rng.standard_normal((size, size), dtype=np.float32)
        image = LEVEL + READ_NOISE * image
        hit = rng.random(image.shape, dtype=np.float32) < COSMIC_RAYS
        image[hit] += rng.exponential(2000, np.count_nonzero(hit))
        data = np.clip(np.rint(image), 0, 65535).astype(np.uint16)
        names.append(str(Path(folder) / f"bias_{k:04d}.fits"))
        fits.writeto(names[-1], data, fits.Header({"BUNIT": "adu"}))
    return names


def bind(contestant, files, case, threads):
    """Make the call of one case, ready to be timed."""
    combine = importlib.import_module(contestant).combine
    keywords = dict(CASES[case])
    if contestant == OURS:
        keywords["n_threads"] = threads
    return lambda: combine(files, **keywords)


def difference(ours, theirs):
    """Compare two results; the largest difference in units in the last place."""
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert ours.unit == theirs.unit
    pairs = (
        (ours.data, theirs.data),
        (ours.uncertainty.array, theirs.uncertainty.array),
    )
    return max(
        float(np.max(np.testing.assert_array_max_ulp(a, b, MAX_ULP))) for a, b in pairs
    )


def measure_case(case, files, options):
    """Compare, then time in turn; one row for each contestant."""
    calls = {name: bind(name, files, case, options.threads) for name in CONTESTANTS}
    ulp = difference(calls[OURS](), calls[THEIRS]())
    timers = {name: partial(timed, call) for name, call in calls.items()}
    seconds = in_turn(timers, options.repeats)
    rows = []
    for name in CONTESTANTS:
        row = {"case": case, "function": f"{name}.combine", "max_ulp": ulp}
        row["ratio"] = median(seconds[THEIRS]) / median(seconds[name])
        row["seconds"] = median(seconds[name])
        row["seconds_min"] = min(seconds[name])
        row["seconds_max"] = max(seconds[name])
        row["peak_mb"], row["above_mb"] = memory_in_new_process(
            case, name, files, options
        )
        rows.append(row)
    return rows


def memory_in_new_process(case, contestant, files, options):
    """Peak memory, and its excess over that after the imports [MB]."""
    words = [sys.executable, __file__, "--memory-of", contestant, "--cases", case]
    if options.threads:
        words += ["--threads", str(options.threads)]
    done = subprocess.run(
        words, input="\n".join(files), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{contestant}, {case}:\n{done.stderr}")
    before, peak = (float(word) / 1e6 for word in done.stdout.split())
    return peak, peak - before


def print_memory(options):
    """Run one case once, the whole work of a process of its own."""
    from imcombiners_astro.cli import peak_memory

    files = sys.stdin.read().splitlines()
    call = bind(options.memory_of, files, options.cases[0], options.threads)
    before = peak_memory()
    call()
    print(before, peak_memory())


def conditions(options):
    """Describe the machine and the versions, without its name."""
    from imcombiners_astro.planes import default_threads, simd_level

    found = {
        "frames": options.frames,
        "size": options.size,
        "repeats": options.repeats,
        "threads": options.threads or default_threads(),
        "instructions": simd_level(),
    }
    return found | machine() | versions(PACKAGES)


def print_table(rows):
    """Print a line for each case."""
    print(
        f"{'case':<10}{'ratio':>7}{'ours [s]':>12}{'ccdproc [s]':>13}{'ours [MB]':>12}"
        f"{'ccdproc [MB]':>14}{'ours +':>10}{'ccdproc +':>11}{'ulp':>5}"
    )
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        print(
            f"{ours['case']:<10}{ours['ratio']:>6.1f}x{ours['seconds']:>12.3f}"
            f"{theirs['seconds']:>13.3f}{ours['peak_mb']:>12.0f}"
            f"{theirs['peak_mb']:>14.0f}{ours['above_mb']:>10.0f}"
            f"{theirs['above_mb']:>11.0f}{ours['max_ulp']:>5.0f}"
        )


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--frames", type=positive, default=20, metavar="N")
    parser.add_argument("--size", type=positive, default=2048, metavar="N")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="of ours (default: all cores)"
    )
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table")
    parser.add_argument("--memory-of", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    """Measure."""
    options = parse()
    log.setLevel("WARNING")
    warnings.simplefilter("ignore")
    if options.memory_of:
        print_memory(options)
        return
    found = conditions(options) | {"load_before": load_average()}
    print_found(found)
    rows = []
    with TemporaryDirectory() as folder:
        files = make_frames(folder, options.frames, options.size)
        for case in options.cases:
            print(f"... {case}", file=sys.stderr)
            rows += measure_case(case, files, options)
    found["load_after"] = load_average()
    print_found({"load_after": found["load_after"]})
    print()
    print_table(rows)
    if options.csv:
        write_csv(options.csv, rows, found)


if __name__ == "__main__":
    main()
