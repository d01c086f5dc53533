# Licensed under a 3-clause BSD style license - see LICENSE
"""
How the time grows with the number of images and with the size of the images.

The calls are those of a user who has a float32 stack: functions of
``imcombiners_astro.kernels`` with ``validate=False``, which make the result array and
choose themselves from which size on to use threads.

    python scaling.py --out results
"""

import sys
from functools import partial
from statistics import median

from _common import in_turn, rst_cells, timed
from _report import (
    COLOURS,
    conditions,
    counts,
    label,
    number,
    parser,
    pick,
    print_rows,
    publish,
)
from _stacks import make_stack

import imcombiners_astro as imc
import imcombiners_astro.kernels as imck

DEPTHS = (3, 5, 7, 9, 12, 15, 20, 25, 31, 40, 50, 64, 80, 100, 140, 200, 300, 500, 1000)
SIDES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048)
SAMPLES = 31 * 2**20  # of the stacks of different depths
DEPTHS_OF_SIDES = (5, 31)

OPERATIONS = {
    "mean": imck.mean,
    "median": imck.median,
    "sigclip median/std": partial(imck.sigclip_combine, combine="median"),
    "sigclip mean/std": partial(imck.sigclip_combine, combine="mean", cenfunc="mean"),
}

# Calls are repeated until this much time is measured.
MEASURED = 0.004

COLUMNS = ["against", "n", "pixels", "threads", "operation", "ms", "ns_per_sample"]


def with_threads(n_threads, call):
    """Make a call after setting the number of threads."""
    imc.set_rayon_num_threads(n_threads)
    return call()


def measure_stack(stack, options):
    """Return the rows of one stack, all operations and threads in turn."""
    timers = {}
    for operation, function in OPERATIONS.items():
        call = partial(function, stack, validate=False)
        call()
        repeated = max(1, int(MEASURED / timed(call)))
        for n_threads in options.threads:
            timer = partial(timed, call, repeated, warm=True)
            timers[operation, n_threads] = partial(with_threads, n_threads, timer)
    rows = []
    for (operation, n_threads), times in in_turn(timers, options.repeats).items():
        seconds = median(times)
        row = {"n": len(stack), "pixels": stack[0].size, "threads": n_threads}
        row |= {"operation": operation, "seconds": seconds, "seconds_min": min(times)}
        rows.append(row | {"ns_per_sample": 1e9 * seconds / stack.size})
    return rows


def measure(options):
    """Return the rows of all stacks."""
    stacks = [("n", n, options.samples // n) for n in options.depths]
    stacks += [
        ("pixels", n, side**2) for n in DEPTHS_OF_SIDES for side in options.sides
    ]
    rows = []
    for against, n, n_pixels in stacks:
        print(f"... against {against}: {n} x {n_pixels}", file=sys.stderr)
        found = measure_stack(make_stack(n, n_pixels), options)
        rows += [{"against": against} | row for row in found]
    return rows


def tables(rows):
    """Return the tables of the documentation."""
    texts = []
    for against, title in (("n", "number of images"), ("pixels", "pixels")):
        few = pick(rows, against=against)
        lines = {}
        for row in few:
            key = (str(row["n"]), str(row["pixels"]))
            cells = lines.setdefault(key, {})
            cells[row["operation"], row["threads"]] = number(row["ns_per_sample"])
        keys = [(row["operation"], row["threads"]) for row in few]
        columns = {key: f"{key[0]}, {key[1]}" for key in keys}
        table = rst_cells(["N", "pixels"], columns, lines)
        texts.append(
            f"Nanoseconds per sample against the {title} "
            f"(operation, threads):\n\n{table}"
        )
    return "\n".join(texts)


def draw(figure, rows):
    """Draw the time for a sample against the depth and against the size."""
    left, right = figure.subplots(1, 2)
    threads = sorted({row["threads"] for row in rows})
    n = max(DEPTHS_OF_SIDES)
    panels = [
        (left, "n", "images N", pick(rows, against="n")),
        (right, "pixels", "pixels of an image", pick(rows, against="pixels", n=n)),
    ]
    for panel, against, words, few in panels:
        for k, operation in enumerate(OPERATIONS):
            for n_threads in threads:
                line = pick(few, operation=operation, threads=n_threads)
                panel.plot(
                    [row[against] for row in line],
                    [row["ns_per_sample"] for row in line],
                    "o-" if n_threads == 1 else "o:",
                    markersize=3,
                    linewidth=1.2,
                    color=COLOURS[k],
                    label=f"{operation}, {n_threads}",
                )
        counts(panel, "y", (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50))
        if against == "n":
            counts(panel, "x", (3, 5, 9, 15, 31, 64, 100, 200, 500, 1000))
        else:
            panel.set_xscale("log")
        label(panel, "" if against == "n" else f"N = {n}", words, "ns per sample")
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def parse():
    """Read the command line."""
    options = parser(__doc__, repeats=5).parse_args()
    options.depths, options.sides, options.samples = DEPTHS, SIDES, SAMPLES
    if options.quick:
        options.depths, options.sides = (3, 31, 100), (8, 64)
        options.samples, options.repeats, options.threads = 2**14, 1, [1]
    return options


def main():
    """Measure."""
    options = parse()
    found = conditions(options)
    rows = measure(options)
    print_rows([row | {"ms": 1e3 * row["seconds"]} for row in rows], COLUMNS)
    publish(options, "scaling", rows, found, tables(rows), partial(draw, rows=rows))


if __name__ == "__main__":
    main()
