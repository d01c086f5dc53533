# Licensed under a 3-clause BSD style license - see LICENSE
"""
A night of frames that is larger than the memory allowed: time and peak memory.

The frames (by default 200 of 4096 x 4096 unsigned 16-bit pixels, 6.7 GB) are written to
a directory and have been read before anything is timed (or, with ``--cold``, are on
the disk only whenever something is timed). ``cat`` of all of them to the
null device and the combinations take turns; each is a process of its own, of which the
time of the call and the peak of the whole process are told. Before that, a few frames
are combined with a small and with a large limit of memory, and the bits compared.

    python night.py --dir /scratch --out results
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from _common import in_turn, load_average, positive, rst_table
from _report import COLOURS, conditions, label, number, parser, print_rows, publish
from astropy.io import fits

CASES = ("mean", "sigma-clipped mean", "sigma-clipped mean, median center")
LARGE = 8e9
N_SKIES = 8
COLUMNS = ["case", "seconds", "process_s", "ratio", "cpu_s", "cpu_ratio", "peak_mb"]


def make_frames(folder, n_frames, side):
    """Write the frames; the noise of each is that of another part of a few skies."""
    rng = np.random.default_rng(19860101)
    skies = []
    for _ in range(min(N_SKIES, n_frames)):
        sky = rng.standard_normal((side, side), dtype=np.float32)
        sky = 1000 + 10 * sky
        sky[rng.random(sky.shape, dtype=np.float32) < 1e-3] += 3000
        skies.append(np.rint(sky).astype(np.uint16))
    names = []
    for k in range(n_frames):
        data = np.roll(skies[k % len(skies)], (37 * k, 1009 * k), axis=(0, 1))
        names.append(str(Path(folder) / f"night_{k:04d}.fits"))
        fits.writeto(names[-1], data, fits.Header({"BUNIT": "adu"}))
    return names


def keywords_of(case):
    """Return the keywords of a combination."""
    from imcombiners_astro import SigClip

    if case == "mean":
        return {}
    center = "median" if case.endswith("median center") else "mean"
    return {"rejectors": SigClip(3, maxiters=5, cenfunc=center)}


def measure_here():
    """Run the case on standard input; print what it takes."""
    from imcombiners_astro import combine
    from imcombiners_astro.cli import peak_memory

    case = json.load(sys.stdin)
    keywords = keywords_of(case["case"])
    started = time.perf_counter(), time.process_time()
    result = combine(
        case["files"],
        mem_limit=case["mem_limit"],
        n_threads=case["threads"],
        **keywords,
    )
    seconds = time.perf_counter() - started[0]
    found = {
        "seconds": seconds,
        "cpu_s": time.process_time() - started[1],
        "peak_mb": peak_memory() / 1e6,
    }
    if case["hash"]:
        parts = (result.data, result.uncertainty.array, result.mask)
        parts = b"".join(hashlib.sha256(part).digest() for part in parts)
        found["hash"] = hashlib.sha256(parts).hexdigest()
    print(json.dumps(found))


def in_new_process(case, files, options, mem_limit, with_hash=False):
    """Combine in a process of its own; return what it tells."""
    request = {
        "case": case,
        "files": files,
        "mem_limit": mem_limit,
        "threads": options.threads,
        "hash": with_hash,
    }
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--one"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{case}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) | {"process_s": seconds}


def evict(files):
    """Let the system forget what is in files, so that they come from the disk."""
    for name in files:
        with open(name, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_evicted(files, call):
    """Return a call that begins with files that are on the disk only."""

    def begun():
        evict(files)
        return call()

    return begun


def read_with_cat(files):
    """Read the files with cat, and tell the seconds."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return {"seconds": seconds, "process_s": seconds, "cpu_s": cpu}


def check_bits(files, options):
    """Raise unless the limit of memory leaves the result alone."""
    for case in CASES:
        hashes = {
            in_new_process(case, files[: options.few], options, limit, True)["hash"]
            for limit in (0.7 * options.mem_limit, options.mem_limit, LARGE)
        }
        if len(hashes) > 1:
            raise RuntimeError(f"{case}: the limit of memory changes the result")
    print(f"{options.few} frames: the same bits with every limit of memory\n")


def measure(files, options):
    """Return the rows of the table."""
    timers = {"cat": partial(read_with_cat, files)}
    for case in CASES:
        timers[case] = partial(in_new_process, case, files, options, options.mem_limit)
    if options.cold:
        timers = {case: first_evicted(files, timers[case]) for case in timers}
    found = in_turn(timers, options.repeats)
    rows = []
    for case, runs in found.items():
        row = {"case": case, "limit_mb": options.mem_limit / 1e6}
        for name in ("seconds", "process_s", "cpu_s"):
            row[name] = median(run.get(name, float("nan")) for run in runs)
        row["peak_mb"] = max(run.get("peak_mb", float("nan")) for run in runs)
        rows.append(row)
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
        row["cpu_ratio"] = row["cpu_s"] / (rows[0]["cpu_s"] or float("nan"))
    return rows


def tables(rows, options):
    """Return the table of the documentation."""
    header = ["operation", "call [s]", "process [s]", "to cat", "CPU [s]", "to cat"]
    header.append("peak [MB]")
    names = COLUMNS[1:]
    lines = [
        [row["case"], *(number(row[name]).replace("nan", "") for name in names)]
        for row in rows
    ]
    gigabytes = options.frames * options.size**2 * 2 / 1e9
    text = (
        f"{options.frames} frames of {options.size} x {options.size} unsigned 16-bit "
        f"pixels, {gigabytes:.3g} GB, ``mem_limit`` {options.mem_limit / 1e6:g} MB, "
        f"{options.threads} threads, {'from disk' if options.cold else 'warm'}.\n\n"
    )
    return text + rst_table(header, lines)


def draw(figure, rows):
    """Draw the times and the peaks as bars."""
    panels = figure.subplots(1, 2)
    for panel, what, unit in zip(
        panels, ("seconds", "peak_mb"), ("s", "MB"), strict=True
    ):
        few = [row for row in rows if row[what] == row[what]]
        panel.barh([row["case"] for row in few], [row[what] for row in few])
        for bar, row in zip(panel.patches, few, strict=True):
            bar.set_color(COLOURS[6 if row["case"] == "cat" else 0])
        panel.invert_yaxis()
        panel.bar_label(panel.containers[0], fmt="%.3g", fontsize=7, padding=2)
        label(panel, "time of the call" if unit == "s" else "peak memory", unit, "")


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=3, several_threads=False)
    found.add_argument("--dir", type=Path, help="where the frames are made for a while")
    found.add_argument("--frames", type=positive, default=200, metavar="N")
    found.add_argument("--size", type=positive, default=4096, metavar="N")
    found.add_argument(
        "--few", type=positive, default=20, metavar="N", help="whose bits are compared"
    )
    found.add_argument(
        "--mem-limit", type=float, default=500e6, metavar="BYTES", help="(500e6)"
    )
    found.add_argument(
        "--cold", action="store_true", help="read from the disk, not from its cache"
    )
    found.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = found.parse_args()
    if options.quick:
        options.frames, options.size, options.few, options.repeats = 3, 32, 2, 1
    return options


def main():
    """Measure."""
    options = parse()
    if options.one:
        measure_here()
        return
    found = conditions(options, ("astropy",))
    with TemporaryDirectory(dir=options.dir) as folder:
        files = make_frames(folder, options.frames, options.size)
        os.sync()
        read_with_cat(files)
        found["load_before"] = load_average()
        check_bits(files, options)
        rows = measure(files, options)
    print_rows(rows, COLUMNS)
    text = tables(rows, options)
    name = "night_cold" if options.cold else "night"
    publish(options, name, rows, found, text, partial(draw, rows=rows))


if __name__ == "__main__":
    main()
