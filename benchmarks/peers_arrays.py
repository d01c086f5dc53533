# Licensed under a 3-clause BSD style license - see LICENSE
"""
Other packages on the same arrays: imcombiners, astropy, ccdproc, bottleneck, numpy.

This package and imcombiners 0.1.1 run as in vs_imcombiners.py, each in a process
of its own and with the same number of threads. The others run in this process and use
one thread, whatever there is. All take turns, and before that all results are compared
with ours.

    python peers_arrays.py --env /tmp/imcombiners --out results
"""

import importlib
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from _common import in_turn, positive, rst_cells, timed
from _report import (
    COLOURS,
    add_stacks,
    conditions,
    label,
    number,
    parser,
    print_rows,
    publish,
)
from _targets import FASTER_THAN_IMCOMBINERS, verdict
from vs_imcombiners import (
    MAXITERS,
    MEAN_CENTRED,
    OURS,
    THEIR_VERSION,
    THEIRS,
    Case,
    Worker,
    environment,
    stack,
)

OTHERS = ("astropy", "ccdproc", "bottleneck", "numpy")
SIGMA = 3.0
RTOL = 1e-5

# The names here, those of vs_imcombiners.py, and the way to call.
OPERATIONS = {
    "mean": ("mean", "ndcombine"),
    "median": ("median", "ndcombine"),
    "sigclip median/std": ("sigclip median", "ndcombine"),
    "sigclip mean/std": (f"sigclip {MEAN_CENTRED} mean", "ndcombine"),
    "sigclip, simple": ("sigclip median", "simple"),
    "sigclip, full": ("sigclip median", "full"),
}
CLIPS = {
    "sigclip median/std": ("median", "median"),
    "sigclip mean/std": ("mean", "mean"),
}

COLUMNS = ["operation", "dtype", "n", "threads", "contestant", "ms", "ratio", "asked"]
COLUMNS += ["met", "different"]


def call_of(contestant, operation, data):
    """Return the call of another package; None where it has no such operation."""
    statistic = CLIPS.get(operation, (None, operation))[1]
    module = importlib.import_module(contestant)
    if operation in ("mean", "median"):
        match contestant:
            case "numpy":
                return partial(getattr(np, statistic), data, axis=0)
            case "bottleneck":
                return partial(getattr(module, f"nan{statistic}"), data, axis=0)
            case "ccdproc":
                return partial(with_ccdproc, data, statistic)
        return None
    if operation not in CLIPS:
        return None
    match contestant:
        case "astropy":
            return partial(with_astropy, data, *CLIPS[operation])
        case "ccdproc":
            return partial(with_ccdproc, data, statistic, CLIPS[operation][0])
    return None


def with_astropy(data, center, statistic):
    """Clip with astropy, and combine what is left."""
    from astropy.stats import SigmaClip
    from astropy.stats.nanfunctions import nanmean, nanmedian  # bottleneck's, if there

    clip = SigmaClip(SIGMA, maxiters=MAXITERS, cenfunc=center, stdfunc="std")
    kept = clip(data, axis=0, masked=False, copy=True)
    return {"mean": nanmean, "median": nanmedian}[statistic](kept, axis=0)


def with_ccdproc(data, statistic, center=None):
    """Combine with ccdproc, clipping in one pass (it has no more)."""
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    combiner = Combiner([CCDData(image, unit="adu") for image in data])
    if center:
        combiner.sigma_clipping(
            low_thresh=SIGMA, high_thresh=SIGMA, func=center, dev_func="std"
        )
    combine = {"mean": combiner.average_combine, "median": combiner.median_combine}
    return np.ma.getdata(combine[statistic]().data)


def different(ours, theirs):
    """Return the percentage of pixels that differ from ours."""
    equal = np.isclose(ours, theirs, rtol=RTOL, atol=0, equal_nan=True)
    return 100 * float(np.mean(~equal))


def saved(worker, folder):
    """Return the image of a process."""
    path = str(Path(folder) / "products.npz")
    worker.ask("save", path=path)
    with np.load(path) as file:
        return file["image"]


def available(options):
    """Return the other packages that there are, and say which are not."""
    found, missing = [], []
    for name in OTHERS:
        there = importlib.util.find_spec(name)
        (found if there else missing).append(name)
    python = None
    try:
        if not options.without_imcombiners:
            python = environment(options.env)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"{THEIRS}: {error}", file=sys.stderr)
    if python is None:
        missing.insert(0, THEIRS)
    if missing:
        print(f"not compared with: {', '.join(missing)}", file=sys.stderr)
    return found, python


def measure_case(case, operation, data, workers, others, repeats):
    """Compare and time all who can do it; a row for each."""
    timers, seconds, unequal = {}, {}, {}
    with TemporaryDirectory() as folder:
        for key, worker in workers.items():
            worker.ask("bind", **case._asdict())
            image = saved(worker, folder)
            if key[0] == OURS:
                ours = image
            unequal[key] = different(ours, image)
            timers[key] = partial(worker.ask, "time", warm=True)
    for name in others:
        if call := call_of(name, operation, data):
            unequal[name, 1] = different(ours, call())
            timers[name, 1] = partial(timed, call)
    seconds = in_turn(timers, repeats)
    rows = []
    for (name, n_threads), times in seconds.items():
        ratio = median(times) / median(seconds.get((OURS, n_threads), times))
        limit = None
        limits = FASTER_THAN_IMCOMBINERS.get((operation, case.depth))
        if name == THEIRS and limits and case.size >= 256:
            limit = limits[n_threads > 1]
        row = {"operation": operation, "dtype": case.dtype, "n": case.depth}
        row |= {"size": case.size, "threads": n_threads, "contestant": name}
        row |= {"seconds": median(times), "seconds_min": min(times), "ratio": ratio}
        rows.append(
            row
            | verdict(ratio, at_least=limit)
            | {"different": unequal[name, n_threads]}
        )
    return rows


def measure(options, python, others):
    """Return the rows of all stacks."""
    rows = []
    packages = {OURS: sys.executable} | ({THEIRS: python} if python else {})
    with ExitStack() as processes:
        workers = {
            (name, n_threads): processes.enter_context(
                Worker(name, interpreter, n_threads)
            )
            for n_threads in options.threads
            for name, interpreter in packages.items()
        }
        for dtype in options.dtypes:
            for n in options.depths:
                data = stack(n, options.size, dtype)
                for operation in options.operations:
                    print(f"... {dtype}, {n}, {operation}", file=sys.stderr)
                    name, route = OPERATIONS[operation]
                    case = Case("", n, options.size, dtype, name, route)
                    rows += measure_case(
                        case, operation, data, workers, others, options.repeats
                    )
    return rows


def tables(rows):
    """Return the table of the documentation: how many times faster we are."""
    names = [THEIRS, *OTHERS, *(row["contestant"] for row in rows)]
    columns = {OURS: "ours"} | {name: name for name in names if name != OURS}
    lines = {}
    for row in rows:
        key = (row["operation"], row["dtype"], str(row["n"]), str(row["threads"]))
        cells = lines.setdefault(key, {})
        value = number(row["ratio"])
        cells[row["contestant"]] = (
            f"{1e3 * row['seconds']:.3g} ms" if row["contestant"] == OURS else value
        )
    return rst_cells(["operation", "dtype", "N", "threads"], columns, lines)


def draw(figure, rows):
    """Draw how many times faster we are, for the deepest float32 stack."""
    n = max(row["n"] for row in rows)
    dtype = "float32" if any(row["dtype"] == "float32" for row in rows) else "uint16"
    few = [row for row in rows if row["n"] == n and row["dtype"] == dtype]
    few = [row for row in few if row["contestant"] != OURS]
    names = list(dict.fromkeys((row["contestant"], row["threads"]) for row in few))
    operations = list(dict.fromkeys(row["operation"] for row in few))
    axes = figure.subplots()
    width = 0.8 / max(1, len(names))
    for k, (name, n_threads) in enumerate(names):
        here = {
            row["operation"]: row["ratio"]
            for row in few
            if (row["contestant"], row["threads"]) == (name, n_threads)
        }
        bars = axes.bar(
            [
                operations.index(operation) + (k + 0.5) * width - 0.4
                for operation in here
            ],
            list(here.values()),
            width=0.9 * width,
            color=COLOURS[k % len(COLOURS)],
            label=f"{name}, {n_threads} thread{'s' if n_threads > 1 else ''}",
        )
        axes.bar_label(bars, fmt="%.3g", fontsize=6)
    axes.set_yscale("log")
    axes.axhline(1, color="black", linewidth=0.8)
    label(axes, f"{dtype}, N = {n}", "", "time / ours")
    axes.set_xticks(range(len(operations)), operations, fontsize=8)
    if names:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=5)
    found.add_argument(
        "--env",
        type=Path,
        metavar="DIR",
        help=f"environment of {THEIRS} {THEIR_VERSION} (default: a temporary one)",
    )
    found.add_argument(
        "--without-imcombiners", action="store_true", help="which must be installed"
    )
    found.add_argument("--size", type=positive, default=512, metavar="N")
    types = ("float32", "uint16")
    add_stacks(found, types, types, depths=(5, 31))
    found.add_argument(
        "--operations",
        nargs="+",
        choices=OPERATIONS,
        default=list(OPERATIONS),
        metavar="NAME",
    )
    options = found.parse_args()
    if options.quick:
        options.size, options.repeats, options.threads = 32, 1, [1]
        options.depths, options.dtypes = (31,), ("float32",)
    return options


def main():
    """Measure."""
    options = parse()
    with ExitStack() as folders:
        if options.env is None:
            options.env = Path(folders.enter_context(TemporaryDirectory()))
        others, python = available(options)
        found = conditions(options, packages=others)
        if python:
            found[THEIRS] = THEIR_VERSION
        rows = measure(options, python, others)
    print_rows([row | {"ms": 1e3 * row["seconds"]} for row in rows], COLUMNS)
    publish(
        options, "peers_arrays", rows, found, tables(rows), partial(draw, rows=rows)
    )


if __name__ == "__main__":
    main()
