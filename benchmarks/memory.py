# Licensed under a 3-clause BSD style license - see LICENSE
"""
How much memory a combination takes, on top of the stack or of the imports.

Every case is the whole work of a process of its own: it imports, makes its stack, and
calls once. What is told is how far the memory of the process, as the system counts it,
rose above what it was just before the call. Pages of mapped files count.

    python memory.py --out results
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from _common import positive, reset_peak, rst_table
from _report import COLOURS, conditions, label, number, parser, print_rows, publish
from vs_ccdproc import OURS, THEIRS, make_frames

DEPTH = 31

# Who does what; on arrays of each of these types.
TYPES = ("f32", "u16")
ARRAYS = (
    (OURS, "median"),
    (OURS, "sigclip median/std"),
    (OURS, "sigclip median/std, simple"),
    (OURS, "sigclip median/std, full"),
    ("numpy", "median"),
    ("bottleneck", "median"),
    ("astropy", "sigclip median/std"),
    (THEIRS, "sigclip median/std"),
)

# Who gets how much memory for how many times the frames.
FILES = (
    (OURS, 16e9, 1),
    (OURS, 16e9, 4),
    (OURS, 16e9, 16),
    (OURS, 100e6, 16),
    (OURS, 20e6, 16),
    (THEIRS, 16e9, 1),
    (THEIRS, 16e9, 4),
    (THEIRS, 100e6, 4),
)
CLIP = {
    "sigma_clip": True,
    "sigma_clip_func": "median",
    "sigma_clip_dev_func": "std",
    "overwrite_output": True,
}

COLUMNS = ["input", "contestant", "operation", "n", "input_mb", "above_mb", "ratio"]


# ----------------------------------------------------------------- one process


def array_call(case):
    """Return the call of a contestant on a stack."""
    from _stacks import make_stack
    from peers_arrays import call_of

    data = make_stack(case["n"], case["pixels"], case["input"])
    operation, _, diagnostics = case["operation"].partition(", ")
    if case["contestant"] != OURS:
        return call_of(case["contestant"], operation, data)
    ndcombine = importlib.import_module(OURS).ndcombine
    clip = {"reject": "sigclip", "diagnostics": diagnostics or None}
    if operation == "median":
        clip = {}
    return partial(ndcombine, data, combine="median", **clip)


def file_call(case):
    """Return the call of a contestant on files."""
    combine = importlib.import_module(case["contestant"]).combine
    return partial(
        combine, case["files"], case["out"], mem_limit=case["mem_limit"], **CLIP
    )


def measure_here():
    """Run the case on standard input; print the rise of the memory [MB]."""
    from imcombiners_astro.cli import peak_memory

    warnings.simplefilter("ignore")
    case = json.load(sys.stdin)
    call = file_call(case) if case["input"] == "files" else array_call(case)
    reset_peak()
    before = peak_memory()
    result = call()
    print((peak_memory() - before) / 1e6)
    del result


# -------------------------------------------------------------------- the cases


def cases(options, folder):
    """Yield all cases."""
    for dtype in TYPES[:1] if options.quick else TYPES:
        size = {"f32": 4, "u16": 2}[dtype]
        for contestant, operation in ARRAYS:
            if importlib.util.find_spec(contestant) is None:
                print(f"not compared with: {contestant}", file=sys.stderr)
                continue
            yield {
                "input": dtype,
                "contestant": contestant,
                "operation": operation,
                "n": DEPTH,
                "pixels": options.pixels,
                "input_mb": DEPTH * options.pixels * size / 1e6,
            }
    side = max(8, int(options.pixels**0.5))
    files = make_frames(folder, options.frames * max(case[2] for case in FILES), side)
    for contestant, mem_limit, times in FILES[3::4] if options.quick else FILES:
        n = options.frames * times
        yield {
            "input": "files",
            "contestant": contestant,
            "operation": f"sigclip median/std, limit {mem_limit / 1e6:.0f} MB",
            "n": n,
            "pixels": side**2,
            "input_mb": n * side**2 * 2 / 1e6,
            "files": files[:n],
            "out": str(Path(folder) / "out.fits"),
            "mem_limit": mem_limit,
        }


def in_new_process(case, n_threads):
    """Return the rise of the memory in one case [MB]."""
    done = subprocess.run(
        [sys.executable, __file__, "--one"],
        input=json.dumps(case),
        env=os.environ | {"RAYON_NUM_THREADS": str(n_threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{case['contestant']}, {case['operation']}:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def measure_case(case, options):
    """Return the row of one case."""
    above = median(
        in_new_process(case, options.threads) for _ in range(options.repeats)
    )
    hidden = ("files", "out", "mem_limit")
    row = {key: value for key, value in case.items() if key not in hidden}
    row["threads"] = options.threads if case["contestant"] == OURS else 1
    return row | {"above_mb": above, "ratio": above / case["input_mb"]}


def tables(rows):
    """Return the table of the documentation."""
    header = ["input", "package", "operation", "N", "input [MB]", "more [MB]", "ratio"]
    lines = [[number(row[name]) for name in COLUMNS] for row in rows]
    for line in lines:
        line[0] = line[0].replace("files", "u16 files")
    names = ("input", "contestant", "operation", "n")
    for line, row in zip(lines, rows, strict=True):
        line[1:4] = [str(row[name]) for name in names[1:]]
    return rst_table(header, lines)


def draw(figure, rows):
    """Draw the memory as bars."""
    panels = figure.subplots(1, 2)
    arrays = [row for row in rows if row["input"] == "f32"]
    files = [row for row in rows if row["input"] == "files"]
    for panel, few in zip(panels, (arrays, files), strict=True):
        names = [f"{row['contestant']}\n{short(row)}" for row in few]
        colours = [COLOURS[0 if row["contestant"] == OURS else 2] for row in few]
        bars = panel.barh(range(len(few)), [row["above_mb"] for row in few])
        for bar, colour in zip(bars, colours, strict=True):
            bar.set_color(colour)
        panel.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
        panel.set_yticks(range(len(few)), names, fontsize=6)
        panel.invert_yaxis()
    stack = arrays[0]["input_mb"] if arrays else 0
    label(panels[0], f"a float32 stack of {stack:.3g} MB", "more MB", "")
    label(panels[1], "files", "more MB", "")


def short(row):
    """Describe a case in few words."""
    if row["input"] != "files":
        return row["operation"]
    limit = row["operation"].partition("limit ")[2]
    return f"{row['n']} files, {row['input_mb']:.3g} MB, limit {limit}"


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=1, several_threads=False)
    found.add_argument(
        "--pixels", type=positive, default=2**20, metavar="N", help="of an image"
    )
    found.add_argument(
        "--frames", type=positive, default=10, metavar="N", help="files, at least"
    )
    found.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = found.parse_args()
    if options.quick:
        options.pixels, options.frames = 4096, 1
    return options


def main():
    """Measure."""
    options = parse()
    if options.one:
        measure_here()
        return
    found = conditions(options, ("astropy", THEIRS, "bottleneck"))
    with TemporaryDirectory() as folder:
        rows = []
        for case in cases(options, folder):
            print(f"... {case['contestant']}, {case['operation']}", file=sys.stderr)
            rows.append(measure_case(case, options))
    print_rows(rows, COLUMNS)
    publish(options, "memory", rows, found, tables(rows), partial(draw, rows=rows))


if __name__ == "__main__":
    main()
