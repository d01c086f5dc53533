# Licensed under a 3-clause BSD style license - see LICENSE
"""
What masks, NaN, the byte order of FITS and diagnostics add to the time.

Every call runs in turn with the same call without it, in one process.

    python extras.py --out results

With ``--ccd`` it is another table: what a CCDData with all its diagnostics and its
propagated uncertainty costs, and how much memory.

    python extras.py --ccd --out results
"""

import sys
from functools import partial
from statistics import median

import numpy as np
from _common import in_turn, positive, quickest, reset_peak, rst_cells
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
from _targets import EXTRAS, FULL_AND_PROPAGATE, verdict
from astropy.nddata import CCDData, StdDevUncertainty

from imcombiners_astro import SigClip, combine
from imcombiners_astro.cli import peak_memory

PLAIN = "plain"
TYPES = ("f32", "u16", "i16")
DEPTHS = (5, 31)
FEW = ("mean", "median", "sigclip median/std", "sigclip mean/std")
BAD = 1e-3

# With fewer samples than this, the call itself is a part of the time.
SMALL = 5 * 2**20

COLUMNS = ["dtype", "n", "threads", "operation", "extra", "ms", "ratio", "asked", "met"]

# The images with uncertainties: how many, their width and height, and the calls.
CCD_DEPTH, CCD_SIDE = 20, 2048
ONLY = "output only"
CCD_CALLS = {
    ONLY: {"uncertainty": None},
    "full + propagate": {"diagnostics": "full", "uncertainty": "propagate"},
}
CCD_COLUMNS = ["call", "threads", "ms", "ms_min", "ratio", "asked", "met", "peak_mb"]


def variants(n, pixels, dtype, operation, n_threads):
    """Return the calls to be timed, by what they have in addition."""
    stack = make_stack(n, pixels, dtype)
    again = {"dtype": dtype, "operation": operation, "n_threads": n_threads}
    calls = {PLAIN: bind(stack, **again)}
    bad = np.random.default_rng(7).random(stack.shape, dtype=np.float32) < BAD
    # Zeros that nobody has written would all be read from one page of the memory.
    calls["empty mask"] = bind(stack, **again, masks=bad & False)
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


def ccd_images(n, side):
    """Return images with standard deviations, all of float32."""
    stack = make_stack(n, side * side, "f32").reshape(n, side, side)
    sigma = [np.full((side, side), 30, np.float32) for _ in stack]
    return [
        CCDData(plane, unit="adu", uncertainty=StdDevUncertainty(error, copy=False))
        for plane, error in zip(stack, sigma, strict=True)
    ]


def measure_ccd(options):
    """Return the rows of images with uncertainties."""
    n, side = (5, 64) if options.quick else (CCD_DEPTH, CCD_SIDE)
    images, rows = ccd_images(n, side), []
    same = {"rejectors": SigClip(3), "method": "average", "dtype": np.float32}
    for n_threads in options.threads:
        calls = {
            name: partial(combine, images, n_threads=n_threads, **same, **words)
            for name, words in CCD_CALLS.items()
        }
        peaks = {name: rise_of_memory(call) for name, call in calls.items()}
        timers = {name: partial(quickest, call) for name, call in calls.items()}
        seconds = in_turn(timers, options.repeats)
        for name, times in seconds.items():
            ratio = median(times) / median(seconds[ONLY])
            judged = name != ONLY and not options.quick
            limit = FULL_AND_PROPAGATE if judged else None
            row = {"n": n, "pixels": side**2, "call": name, "threads": n_threads}
            row |= {"seconds": median(times), "seconds_min": min(times)}
            row |= {"ratio": ratio, **verdict(ratio, at_most=limit)}
            rows.append(row | {"peak_mb": peaks[name]})
    return rows


def rise_of_memory(call):
    """Return by how much a call raises the peak of the memory [MB]."""
    reset_peak()
    before = peak_memory()
    call()
    return (peak_memory() - before) / 1e6


def ccd_table(rows):
    """Return the table of the documentation."""
    lines = {
        (row["call"], str(row["threads"])): {
            "seconds": f"{1e3 * row['seconds']:.3g} ms",
            "ratio": number(row["ratio"]),
            "asked": row["asked"],
            "peak_mb": f"{row['peak_mb']:.0f} MB",
        }
        for row in rows
    }
    columns = {"seconds": "time", "ratio": "ratio", "asked": "asked"}
    return rst_cells(["call", "threads"], columns | {"peak_mb": "memory"}, lines)


def draw_ccd(figure, rows):
    """Draw the times as bars."""
    panel = figure.subplots()
    places = range(len(rows))
    panel.bar(places, [1e3 * row["seconds"] for row in rows], color=COLOURS[0])
    names = [f"{row['call']}\n{row['threads']} thread(s)" for row in rows]
    panel.set_xticks(places, names, fontsize=8)
    label(panel, f"{rows[0]['n']} images with uncertainties", "", "time [ms]")


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=7)
    add_stacks(found, TYPES, TYPES, DEPTHS)
    found.add_argument(
        "--pixels", type=positive, default=2**20, metavar="N", help="of an image"
    )
    found.add_argument(
        "--ccd", action="store_true", help="the table of images with uncertainties"
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
    if options.ccd:
        rows = measure_ccd(options)
        ms = {"ms": "seconds", "ms_min": "seconds_min"}
        shown = [row | {k: 1e3 * row[v] for k, v in ms.items()} for row in rows]
        print_rows(shown, CCD_COLUMNS)
        draw_it = partial(draw_ccd, rows=rows)
        publish(options, "extras_ccd", rows, found, ccd_table(rows), draw_it)
        return
    rows = measure(options)
    print_rows([row | {"ms": 1e3 * row["seconds"]} for row in rows], COLUMNS)
    publish(options, "extras", rows, found, tables(rows), partial(draw, rows=rows))


if __name__ == "__main__":
    main()
