# Licensed under a 3-clause BSD style license - see LICENSE
"""
The limit: the time of a combination, against that of only reading the stack.

Every operation runs in turn with a plain read of the same bytes, in one process. What
is written to is prepared before. Other instruction sets of the processor run in
processes of their own.

    python limit.py --out results
"""

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from _common import WARM_UP, in_turn, not_negative, positive, quickest, rst_table
from _read import quickest_read, reader
from _report import (
    COLOURS,
    add_stacks,
    conditions,
    counts,
    label,
    number,
    parser,
    pick,
    print_rows,
    publish,
)
from _stacks import DTYPES, OPERATIONS, bind, make_stack
from _targets import TO_CLIP, to_reading, verdict

from imcombiners_astro.planes import simd_level, simd_levels

DEPTHS = (3, 5, 9, 15, 20, 25, 31, 50, 64, 100, 200, 500, 1000)
TYPES = ("f32", "u16", "u16 fits", "f64")
READ, PREFETCHED = "read", "read, prefetched"

# A read that others disturb would make us look good: more tries than a combination has.
READS, PATIENCE = 10, 10

# The others are judged by this one at the same depth.
CLIP = "sigclip median/std"

# Deeper stacks have as many samples as this one.
DEEP = 31

# Fewer samples than this take no time to read.
SMALL = 5 * 2**20

# What other instruction sets run.
FEW = ("mean", "median", CLIP)

COLUMNS = ["level", "dtype", "n", "pixels", "threads", "operation"]
COLUMNS += ["ms", "ratio", "asked", "met"]


def n_pixels(n, options):
    """Return how many pixels an image has in a stack of ``n``."""
    return options.pixels if n <= 50 else max(1, DEEP * options.pixels // n)


def read_seconds(stack, n_threads, prefetch, at_most):
    """
    Return the seconds of a plain read.

    Fewer threads took ``at_most``: more cannot take longer, unless others have the
    processors. Then it is tried again, some times.
    """
    seconds = []
    while len(seconds) < PATIENCE and min(seconds, default=inf) >= at_most:
        seconds.append(quickest_read(stack, n_threads, prefetch, READS, WARM_UP)[0])
    return min(*seconds, at_most)


def measure_stack(stack, dtype, n_threads, operations, repeats, at_most):
    """Return a row for reading, by two ways, and for each operation."""
    timers = {
        READ: partial(read_seconds, stack, n_threads, False, at_most.get(READ, inf)),
        PREFETCHED: partial(
            read_seconds, stack, n_threads, True, at_most.get(PREFETCHED, inf)
        ),
    }
    for operation in operations:
        call = bind(stack, dtype, operation, n_threads)
        timers[operation] = partial(quickest, call)
    seconds = in_turn(timers, repeats)
    rows = []
    for name, times in seconds.items():
        rows.append(
            {
                "dtype": dtype,
                "n": len(stack),
                "pixels": stack[0].size,
                "threads": n_threads,
                "operation": name,
                "seconds": median(times),
                "seconds_min": min(times),
                "ratio": median(times) / median(seconds[READ]),
                "ratio_min": min(times) / min(seconds[READ]),
                "gb_per_s": stack.nbytes / median(times) / 1e9,
            }
        )
    return rows


def judge(rows, level):
    """Add instruction set and targets to the rows of one stack."""
    ratios = {row["operation"]: row["ratio"] for row in rows}
    judged = []
    for row in rows:
        limit = to_reading(level, row["dtype"], row["n"], row["operation"])
        if CLIP in ratios and row["operation"] in TO_CLIP:
            limit = TO_CLIP[row["operation"]] * ratios[CLIP]
        if row["n"] * row["pixels"] < SMALL:
            limit = None
        judged.append({"level": level} | row | verdict(row["ratio"], at_most=limit))
    return judged


def measure(options, level):
    """Return the rows of all stacks."""
    stacks = [
        (dtype, n, n_pixels(n, options))
        for dtype in options.dtypes
        for n in options.depths
    ]
    if options.large:
        stacks.append(("f32", DEEP, options.large))
    rows = []
    for dtype, n, pixels in stacks:
        print(f"... {level}, {dtype}, {n} x {pixels}", file=sys.stderr)
        stack = make_stack(n, pixels, dtype)
        at_most = {}
        for n_threads in sorted(options.threads):
            found = measure_stack(
                stack, dtype, n_threads, options.operations, options.repeats, at_most
            )
            at_most = {row["operation"]: row["seconds"] for row in found}
            rows += judge(found, level)
    return rows


def measure_level(level, options):
    """Return the rows of another instruction set, from a process of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        words = [sys.executable, __file__, "--rows", path, "--large", 0, "--levels"]
        words += ["--dtypes", "f32", "--depths", DEEP, "--operations", *FEW]
        words += ["--pixels", options.pixels, "--repeats", options.repeats]
        words += ["--threads", *options.threads]
        environment = os.environ | {"IMCOMBINERS_SIMD": level}
        subprocess.run(list(map(str, words)), env=environment, check=True)
        return json.loads(path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------ the tables


def by_depth(rows, n_threads):
    """Lay out the ratios of float32: a line for each operation, a column for each N."""
    few = pick(rows, dtype="f32", threads=n_threads)
    depths = sorted({row["n"] for row in few})
    lines = []
    for operation in dict.fromkeys(row["operation"] for row in few):
        cells = []
        for n in depths:
            found = pick(few, operation=operation, n=n)
            # A larger image of the same depth is another question.
            smallest = min(found, key=lambda row: row["pixels"], default=None)
            is_read = operation in (READ, PREFETCHED)
            value = smallest and (
                f"{1e3 * smallest['seconds']:.3g} ms"
                if is_read
                else number(smallest["ratio"])
            )
            cells.append(value or "")
        lines.append([operation, *cells])
    return rst_table(["operation", *(f"N = {n}" for n in depths)], lines)


def by_kind(rows, key, values):
    """Lay out ratios at the depth DEEP: a line for each value of ``key``."""
    lines = []
    for value in values:
        for n_threads in sorted({row["threads"] for row in rows}):
            few = pick(rows, **{key: value}, n=DEEP, threads=n_threads)
            ratios = {row["operation"]: row["ratio"] for row in few}
            if few:
                cells = (number(ratios.get(name, "")) for name in OPERATIONS)
                lines.append([str(value), str(n_threads), *cells])
    return rst_table([key, "threads", *OPERATIONS], lines)


def tables(rows, level):
    """Return the tables of the documentation."""
    own = pick(rows, level=level)
    base = min((row["pixels"] for row in pick(own, n=DEEP)), default=0)
    texts = []
    for n_threads in sorted({row["threads"] for row in own}):
        unit = "thread" if n_threads == 1 else "threads"
        texts.append(f"float32, {n_threads} {unit}:\n\n{by_depth(own, n_threads)}")
    small = [row for row in own if row["pixels"] == base]
    types = list(dict.fromkeys(row["dtype"] for row in small))
    texts.append(f"Types of samples, N = {DEEP}:\n\n{by_kind(small, 'dtype', types)}")
    sizes = sorted({row["pixels"] for row in pick(own, n=DEEP, dtype="f32")})
    floats = pick(own, dtype="f32")
    texts.append(f"Sizes, float32, N = {DEEP}:\n\n{by_kind(floats, 'pixels', sizes)}")
    levels = list(dict.fromkeys(row["level"] for row in rows))
    floats = [row for row in pick(rows, dtype="f32") if row["pixels"] == base]
    texts.append(
        f"Instruction sets, float32, N = {DEEP}:\n\n{by_kind(floats, 'level', levels)}"
    )
    return "\n".join(texts)


def draw(figure, rows, level):
    """Draw the ratio against the depth."""
    own = pick(rows, level=level, dtype="f32")
    threads = sorted({row["threads"] for row in own})
    names = [name for name in OPERATIONS if name in {row["operation"] for row in own}]
    axes = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for n_threads, panel in zip(threads, axes, strict=True):
        for k, operation in enumerate(names):
            few = pick(own, threads=n_threads, operation=operation)
            few = sorted(
                {row["n"]: row for row in reversed(few)}.values(),
                key=lambda row: row["n"],
            )
            panel.plot(
                [row["n"] for row in few],
                [row["ratio"] for row in few],
                "o-" if k < 5 else ".--",
                markersize=4,
                linewidth=1.2,
                color=COLOURS[k % len(COLOURS)],
                label=operation,
            )
        panel.axhline(1, color="black", linewidth=0.8)
        unit = "thread" if n_threads == 1 else "threads"
        label(panel, f"float32, {n_threads} {unit}", "images N", "time / read")
        counts(panel, "x", (3, 5, 9, 15, 31, 64, 100, 200, 500, 1000))
        top = max((row["ratio"] for row in own), default=1)
        ticks = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
        counts(panel, "y", [tick for tick in ticks if tick < 2 * top])
        panel.tick_params(axis="x", labelsize=8)
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=7)
    add_stacks(found, DTYPES, TYPES, DEPTHS)
    found.add_argument(
        "--operations",
        nargs="+",
        choices=OPERATIONS,
        default=list(OPERATIONS),
        metavar="NAME",
    )
    found.add_argument(
        "--pixels",
        type=positive,
        default=2**20,
        metavar="N",
        help="of an image (default 1 Mpix; deeper than 50: fewer)",
    )
    found.add_argument(
        "--large",
        type=not_negative,
        default=2**22,
        metavar="N",
        help=f"pixels of one more float32 stack of {DEEP} images; 0: none",
    )
    found.add_argument(
        "--levels",
        nargs="*",
        metavar="NAME",
        help="other instruction sets (default: all the processor has)",
    )
    found.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = found.parse_args()
    for name in options.levels or ():
        if name not in simd_levels():
            has = ", ".join(simd_levels())
            found.error(f"--levels: found {name!r}, expected what there is: {has}")
    if options.quick:
        options.pixels, options.large, options.depths = 4096, 8192, (3, DEEP)
        options.dtypes, options.repeats = ("f32", "u16 fits"), 1
    return options


def main():
    """Measure."""
    options = parse()
    level = simd_level()
    if options.rows:
        options.rows.write_text(json.dumps(measure(options, level)), encoding="utf-8")
        return
    found = conditions(options, reader=reader())
    rows = measure(options, level)
    levels = options.levels
    if levels is None:
        levels = [name for name in simd_levels() if name != level]
    for name in levels:
        rows += measure_level(name, options)
    print_rows([row | {"ms": 1e3 * row["seconds"]} for row in rows], COLUMNS)
    text = tables(rows, level)
    publish(options, "limit", rows, found, text, partial(draw, rows=rows, level=level))


if __name__ == "__main__":
    main()
