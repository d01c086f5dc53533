# Licensed under a 3-clause BSD style license - see LICENSE
"""
What masks, NaN, the byte order of FITS and diagnostics add to the time.

Every call runs in turn with the same call without it, in one process.

    python extras.py --out results
"""

import sys
from functools import partial
from statistics import median

import numpy as np
from _common import in_turn, positive, quickest, rst_cells
from _report import (
    COLOURS,
    add_stacks,
    conditions,
    label,
    number,
    parser,
    pick,
    print_rows,
    publish,
)
from _stacks import OPERATIONS, bind, make_stack
from _targets import EXTRAS, verdict

PLAIN = "plain"
TYPES = ("f32", "u16", "i16")
DEPTHS = (5, 31)
FEW = ("mean", "median", "sigclip median/std", "sigclip mean/std")
BAD = 1e-3

# With fewer samples than this, the call itself is a part of the time.
SMALL = 5 * 2**20

COLUMNS = ["dtype", "n", "threads", "operation", "extra", "ms", "ratio", "asked", "met"]


def variants(n, pixels, dtype, operation, n_threads):
    """Return the calls to be timed, by what they have in addition."""
    stack = make_stack(n, pixels, dtype)
    again = {"dtype": dtype, "operation": operation, "n_threads": n_threads}
    calls = {PLAIN: bind(stack, **again)}
    bad = np.random.default_rng(7).random(stack.shape, dtype=np.float32) < BAD
    calls["empty mask"] = bind(stack, **again, masks=np.zeros_like(bad))
    calls["mask"] = bind(stack, **again, masks=bad)
    if stack.dtype.kind == "f":
        holes = stack.copy()
        holes[bad] = np.nan
        calls["NaN"] = bind(holes, **again)
    swapped = f"{dtype} fits"
    fits = make_stack(n, pixels, swapped)
    calls["big-endian"] = bind(fits, **again | {"dtype": swapped})
    if OPERATIONS[operation][0] is not None:
        for level in ("simple", "full"):
            calls[level] = bind(stack, **again, diagnostics=level)
    return calls


def measure(options):
    """Return the rows of all stacks."""
    rows = []
    for dtype in options.dtypes:
        for n in options.depths:
            for operation in FEW:
                print(f"... {dtype}, {n}, {operation}", file=sys.stderr)
                for n_threads in options.threads:
                    case = {"dtype": dtype, "n": n, "threads": n_threads}
                    case |= {"pixels": options.pixels, "operation": operation}
                    calls = variants(n, options.pixels, dtype, operation, n_threads)
                    rows += compare(case, calls, options.repeats)
    return rows


def compare(case, calls, repeats):
    """Time calls in turn; a row for each."""
    timers = {name: partial(quickest, call) for name, call in calls.items()}
    seconds = in_turn(timers, repeats)
    is_small = case["n"] * case["pixels"] < SMALL
    rows = []
    for name, times in seconds.items():
        ratio = median(times) / median(seconds[PLAIN])
        row = case | {"extra": name, "seconds": median(times)}
        row |= {"seconds_min": min(times), "ratio": ratio}
        limit = None if is_small else EXTRAS.get(name)
        rows.append(row | verdict(ratio, at_most=limit))
    return rows


def tables(rows):
    """Return the table of the documentation."""
    lines = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("dtype", "n", "operation", "threads"))
        cells = lines.setdefault(key, {})
        is_plain = row["extra"] == PLAIN
        cells[row["extra"]] = (
            f"{1e3 * row['seconds']:.3g} ms" if is_plain else number(row["ratio"])
        )
    columns = {name: name for name in (PLAIN, "empty mask", *EXTRAS)}
    return rst_cells(["dtype", "N", "operation", "threads"], columns, lines)


def draw(figure, rows):
    """Draw the ratios of the deepest stack with one thread as bars."""
    n = max(row["n"] for row in rows)
    n_threads = min(row["threads"] for row in rows)
    extras = ["empty mask", *EXTRAS]
    types = list(dict.fromkeys(row["dtype"] for row in rows))
    axes = figure.subplots(1, len(types), sharey=True, squeeze=False)[0]
    for dtype, panel in zip(types, axes, strict=True):
        for k, operation in enumerate(FEW):
            few = pick(rows, dtype=dtype, n=n, threads=n_threads, operation=operation)
            ratios = {row["extra"]: row["ratio"] for row in few}
            places = [x for x, name in enumerate(extras) if name in ratios]
            panel.bar(
                [x + 0.2 * (k - 1.5) for x in places],
                [ratios[extras[x]] for x in places],
                width=0.18,
                color=COLOURS[k],
                label=operation,
            )
        panel.axhline(1, color="black", linewidth=0.8)
        label(panel, f"{dtype}, N = {n}", "", "time / plain")
        panel.set_xticks(range(len(extras)), extras, rotation=60, fontsize=8)
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=7)
    add_stacks(found, TYPES, TYPES, DEPTHS)
    found.add_argument(
        "--pixels", type=positive, default=2**20, metavar="N", help="of an image"
    )
    options = found.parse_args()
    if options.quick:
        options.pixels, options.repeats, options.threads = 4096, 1, [1]
        options.depths, options.dtypes = (5,), ("f32", "u16")
    return options


def main():
    """Measure."""
    options = parse()
    found = conditions(options)
    rows = measure(options)
    print_rows([row | {"ms": 1e3 * row["seconds"]} for row in rows], COLUMNS)
    publish(options, "extras", rows, found, tables(rows), partial(draw, rows=rows))


if __name__ == "__main__":
    main()
