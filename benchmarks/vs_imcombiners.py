# Licensed under a 3-clause BSD style license - see LICENSE
"""
Compare the array system with the package imcombiners 0.1.1: time.

The released imcombiners is installed from PyPI into an environment of its own. Each
package runs in a process of its own, in its own environment, and both make the same
stacks from the same seeds: a level of 1000, noise 30, and a grid of outliers. The calls
are the same too, but for the import. This process asks the two for single timed calls
in turn, so that whatever else the machine does strikes both alike; before that it
compares their results.

    python vs_imcombiners.py --threads 1 2 --csv results.csv
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import zlib
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from _common import (
    in_turn,
    load_average,
    machine,
    positive,
    print_found,
    rst_cells,
    timed,
    versions,
    write_csv,
)

OURS, THEIRS = "imcombiners_astro", "imcombiners"
CONTESTANTS = (OURS, THEIRS)
THEIR_VERSION = "0.1.1"
# Reductions of one column are in reducers, on which imcombiners depends.
PACKAGES = {OURS: (OURS, "numpy"), THEIRS: (THEIRS, "reducers", "numpy")}

SIGMA, MAXITERS = (3.0, 3.0), 5
MEAN_CENTRED = "mean/std"
WARM_UPS = 2

# Calls of a microsecond are timed so many at a time.
COLUMN_CALLS = 20_000

# Where the products of a call differ by more, or at all if they are integers, the pixel
# is counted and the first one shown; so many of the pixels may differ in the image.
RTOL = 1e-5
MAX_DIFFERENT = 1e-4

# What the calls return with diagnostics, in this order.
PRODUCTS = (
    "image mask_rej mask_thresh std low upp nit output_flags sample_flags".split()
)
REJECTION = [PRODUCTS[1], *PRODUCTS[3:8]]

# Names of the reductions of one column: ours, theirs.
REDUCTIONS = {
    "mean": ("mean_1d", "nanmean"),
    "median": ("median_1d", "nanmedian"),
    "sum": ("sum_1d", "nansum"),
    "min": ("min_1d", "nanmin"),
    "max": ("max_1d", "nanmax"),
    "variance": ("var_1d", "nanvar"),
}


class Case(NamedTuple):
    """A call on a stack of ``depth`` images of ``size`` pixels a side."""

    workload: str
    depth: int
    size: int  # 0: a single column of samples
    dtype: str
    operation: str
    route: str


def workloads(size, median_size):
    """Return the cases, in lists by workload."""
    simple, clip = ("mean", "median"), ("sigclip mean", "sigclip median")
    centred = (f"sigclip {MEAN_CENTRED} mean",)
    # Workload: dtypes, operations, routes.
    images = {
        "output": (simple + clip, ("Combiner", "ndcombine")),
        "centred": (centred, ("Combiner", "ndcombine")),
        "prepared": (clip, ("kernel",)),
        "diagnostics": (clip, ("simple", "full", "chained")),
    }
    cases = {
        workload: [
            Case(workload, depth, size, dtype, operation, route)
            for depth in (31, 5)
            for dtype in ("uint16", "float32")
            for operation in operations
            for route in routes
        ]
        for workload, (operations, routes) in images.items()
    }
    cases["median384"] = [
        Case("median384", depth, median_size, "float32", "median", route)
        for depth in (31, 5)
        for route in ("Combiner", "ndcombine")
    ]
    calls = [("sigclip", "sigclip_1d"), ("sigclip", "sigclip_mask_1d")]
    calls += [(operation, "sigclip_combine_1d") for operation in clip]
    calls += [(operation, "reduction") for operation in REDUCTIONS]
    cases["columns"] = [Case("columns", 31, 0, "float32", *call) for call in calls]
    return cases


# ----------------------------------------------------------- in the processes


@lru_cache(maxsize=1)
def stack(depth, size, dtype):
    """Make a stack, or for size 0 a column."""
    if not size:
        rng = np.random.default_rng(20260528 + depth)
        values = rng.normal(1000, 30, depth)
        values[0] = np.nan
        values[1] += 700
        return values.astype(dtype)
    rng = np.random.default_rng(20260523 + depth)
    values = rng.normal(1000, 30, (depth, size, size)).astype(np.float32)
    values[0, ::32, ::32] += 800
    values[1, 16::32, 16::32] -= 500
    if np.dtype(dtype).kind == "u":
        values = np.rint(np.clip(values, 0, np.iinfo(dtype).max))
    return values.astype(dtype)


def bind(package, case):
    """Make the call of a case, ready to be timed."""
    api = importlib.import_module(package)
    kernels = importlib.import_module(f"{package}.kernels")
    data = stack(case.depth, case.size, case.dtype)
    method = case.operation.split()[-1]
    clip, reject = {}, {}
    rejector = None
    if case.operation.startswith("sigclip"):
        clip = {"sigma": SIGMA, "maxiters": MAXITERS}
        if MEAN_CENTRED in case.operation:
            clip["cenfunc"] = "mean"
        reject = {"reject": "sigclip", **clip}
        rejector = api.SigClip(**clip)
    match case.route:
        case "Combiner":
            return lambda: api.Combiner(data).combine(method, rejectors=rejector)
        case "ndcombine":
            return lambda: api.ndcombine(data, combine=method, **reject)
        case "simple" | "full" as level:
            return lambda: api.ndcombine(
                data, combine=method, diagnostics=level, **reject
            )
        case "chained":
            return lambda: api.Combiner(data).reject(rejector).combine(method)
        case "kernel":
            prepared = np.ascontiguousarray(data, np.float32)
            call = kernels.sigclip_combine
            return lambda: call(prepared, combine=method, validate=False, **clip)
        case "sigclip_combine_1d":
            call = kernels.sigclip_combine_1d
            return lambda: call(data, combine=method, **clip)
        case "sigclip_1d" | "sigclip_mask_1d" as name:
            call = getattr(kernels, name)
            return lambda: call(data, **clip)
        case "reduction":
            ours, theirs = REDUCTIONS[method]
            if package == OURS:
                return partial(getattr(kernels, ours), data)
            return partial(getattr(importlib.import_module("reducers"), theirs), data)
    raise ValueError(f"no route {case.route!r}")


def named_products(result):
    """Name what a call returned."""
    if not isinstance(result, tuple):
        result = (result,)
    names = REJECTION if len(result) == len(REJECTION) else PRODUCTS
    pairs = zip(names, result, strict=False)
    return {name: np.asarray(value) for name, value in pairs if value is not None}


def serve(package):
    """Answer requests, one a line, until there are no more."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    importlib.import_module(package)
    for line in sys.stdin:
        request = json.loads(line)
        answer = None
        match request.pop("do"):
            case "describe":
                answer = versions(PACKAGES[package])
                if package == OURS:
                    planes = importlib.import_module(f"{package}.planes")
                    answer["instructions"] = planes.simd_level()
            case "bind":
                case = Case(**request)
                call = bind(package, case)
                answer = zlib.crc32(stack(case.depth, case.size, case.dtype))
            case "save":
                np.savez(request["path"], **named_products(call()))
            case "time":
                number = 1 if case.size else COLUMN_CALLS
                answer = timed(call, number, request["warm"])
        print(json.dumps(answer), file=answers, flush=True)


# ----------------------------------------------------------- in this process


class Worker:
    """A process that runs one of the packages."""

    def __init__(self, package, python, threads):
        self.package = package
        self.process = subprocess.Popen(
            [python, __file__, "--worker", package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"RAYON_NUM_THREADS": str(threads)},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()

    def ask(self, do, **request):
        """Send a request, and wait for the answer."""
        try:
            request = json.dumps({"do": do, **request})
            print(request, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.package}: the process ended at {request}")
        return json.loads(line)


def environment(folder):
    """Return the interpreter of an environment with imcombiners; make it if need be."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not folder.is_dir() or not any(folder.iterdir()):
        requirements = [f"{THEIRS}=={THEIR_VERSION}", f"numpy=={np.__version__}"]
        print(f"... install {' '.join(requirements)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(pip, check=True)
    if not python.exists():
        raise FileNotFoundError(f"--env {folder}: no environment, and not empty")
    return python


def difference(folder, workers):
    """Compare the results: in which products how many differ, and where first."""
    results = {}
    for name, worker in workers.items():
        path = str(Path(folder) / f"{name}.npz")
        worker.ask("save", path=path)
        with np.load(path) as file:
            results[name] = dict(file)
    ours, theirs = (results[name] for name in CONTESTANTS)
    if list(ours) != list(theirs):
        raise RuntimeError(f"products: found {list(ours)} and {list(theirs)}")
    found = {}
    for name, values in ours.items():
        other = theirs[name]
        if values.shape != other.shape:
            raise RuntimeError(f"{name}: found {values.shape} and {other.shape}")
        if values.dtype.kind == "f":
            different = ~np.isclose(values, other, rtol=RTOL, atol=0, equal_nan=True)
        else:
            different = values != other
        if different.any():
            first = tuple(int(k) for k in np.argwhere(different)[0])
            found[name] = (
                int(np.count_nonzero(different)),
                f"first at {first}: {values[first]} and {other[first]}",
            )
    n_image = found.get("image", (0,))[0]
    if n_image > MAX_DIFFERENT * ours.get("image", np.zeros(1)).size:
        raise RuntimeError(
            f"the image differs at {n_image} pixels: {found['image'][1]}"
        )
    return found


def measure_case(case, workers, folder, options):
    """Compare, then time in turn."""
    data = {
        name: worker.ask("bind", **case._asdict()) for name, worker in workers.items()
    }
    if data[OURS] != data[THEIRS]:
        raise RuntimeError("the processes did not make the same stack")
    found = difference(folder, workers)
    for name, (number, first) in found.items():
        print(f"    {name} differs at {number}, {first}", file=sys.stderr)
    timers = {
        name: partial(worker.ask, "time", warm=options.warm)
        for name, worker in workers.items()
    }
    in_turn(timers, WARM_UPS)
    seconds = in_turn(timers, options.repeats)
    ours, theirs = (median(seconds[name]) for name in CONTESTANTS)
    row = {"ratio": theirs / ours, "our_seconds": ours, "their_seconds": theirs}
    for short, name in zip(("our", "their"), CONTESTANTS, strict=True):
        row |= {f"{short}_min": min(seconds[name]), f"{short}_max": max(seconds[name])}
    different = " ".join(f"{name}:{number}" for name, (number, _) in found.items())
    return row | case._asdict() | {"different": different}


def measure(python, options):
    """Return a row for each case and number of threads, and what was run."""
    rows, found = [], {}
    interpreters = {OURS: sys.executable, THEIRS: python}
    cases = workloads(options.size, options.median_size)
    cases = [case for workload in options.cases for case in cases[workload]]
    # The stacks in turn: each process keeps only one.
    cases.sort(key=lambda case: (-case.size, -case.depth, case.dtype != "uint16"))
    for threads in options.threads:
        with TemporaryDirectory() as folder, ExitStack() as processes:
            workers = {
                name: processes.enter_context(Worker(name, interpreters[name], threads))
                for name in CONTESTANTS
            }
            for name, worker in workers.items():
                for key, value in worker.ask("describe").items():
                    found[key if key in CONTESTANTS else f"{key} of {name}"] = value
            if found[THEIRS] != THEIR_VERSION:
                raise RuntimeError(
                    f"{THEIRS}: found {found[THEIRS]}, expected {THEIR_VERSION}"
                )
            for case in cases:
                # A column is worked on by one thread.
                if case.workload == "columns" and threads != options.threads[0]:
                    continue
                print(
                    f"... {threads} threads, {' '.join(map(str, case))}",
                    file=sys.stderr,
                )
                row = measure_case(case, workers, folder, options)
                rows.append({"threads": threads, **row})
    return rows, found


# ------------------------------------------------------------------ the tables


def duration(seconds):
    """Write a time in a fitting unit."""
    return f"{seconds * 1e3:.2f} ms" if seconds > 1e-4 else f"{seconds * 1e6:.2f} us"


def times(ratio):
    """Write a ratio with two or more digits."""
    return f"{ratio:.{0 if ratio >= 19.95 else 1}f}x"


def shape(row):
    """Write the shape of the stack."""
    size = row["size"]
    return f"({row['depth']},{size},{size})" if size else f"({row['depth']},)"


def print_table(rows):
    """Print a line for each case and number of threads."""
    line = "{:>6} {:>11} {:>12} {:>8}  {:<13} {:<8} {:<15} {:<19} {}"
    print(
        line.format(
            "ratio",
            "ours",
            "imcombiners",
            "threads",
            "stack",
            "dtype",
            "operation",
            "route",
            "different",
        )
    )
    for row in rows:
        print(
            line.format(
                times(row["ratio"]),
                duration(row["our_seconds"]),
                duration(row["their_seconds"]),
                row["threads"],
                shape(row),
                row["dtype"],
                row["operation"],
                row["route"],
                row["different"],
            ).rstrip()
        )


def print_ranges(rows):
    """Print the range of the ratios of each workload."""
    groups = {}
    for row in rows:
        kind = "mean" if row["operation"] == "mean" else "median, sigclip"
        if row["workload"] in ("columns", "centred"):
            kind = "all"
        key = (row["workload"], row["depth"], kind, row["threads"])
        groups.setdefault(key, []).append(row["ratio"])
    print(
        f"{'ratios':<13}{'N':>3}  {'operations':<17}{'threads':>7}   lowest to highest"
    )
    for (workload, depth, kind, threads), ratios in groups.items():
        print(
            f"{workload:<13}{depth:>3}  {kind:<17}{threads:>7}   "
            f"{times(min(ratios))} to {times(max(ratios))}"
        )


ROUTES = {
    "Combiner": "``Combiner(x).combine``",
    "ndcombine": "``ndcombine(x)``",
    "kernel": "``kernels.sigclip_combine``",
    "simple": '``ndcombine(x, diagnostics="simple")``',
    "full": '``ndcombine(x, diagnostics="full")``',
    "chained": "``Combiner(x).reject().combine``",
    "reduction": "``kernels.*_1d``",
}


def rst_tables(rows):
    """Return the tables of the documentation: one for each size of stack."""
    tables = {}
    for row in rows:
        table = tables.setdefault(shape(row), {})
        route = ROUTES.get(row["route"], f"``kernels.{row['route']}``")
        unit = "thread" if row["threads"] == 1 else "threads"
        column = f"{row['dtype']}, {row['threads']} {unit}"
        ratio = times(row["ratio"]).replace("x", " \N{MULTIPLICATION SIGN}")
        cell = f"{ratio} ({duration(row['our_seconds']).replace('us', 'μs')})"
        table.setdefault((row["operation"], route), {})[column] = cell
    texts = []
    for name, table in tables.items():
        columns = {column: column for line in table.values() for column in line}
        texts += [
            f"Stack ``{name}``:\n",
            rst_cells(["operation", "call"], columns, table),
        ]
    return "\n".join(texts)


# ---------------------------------------------------------------------- start


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument(
        "--env",
        type=Path,
        metavar="DIR",
        help="environment of imcombiners, made if need be (default: a temporary one)",
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=positive,
        default=sorted({1, os.cpu_count() or 1}),
        metavar="N",
        help="of both (default: 1 and all cores)",
    )
    parser.add_argument("--size", type=positive, default=512, metavar="N")
    parser.add_argument("--median-size", type=positive, default=384, metavar="N")
    parser.add_argument("--repeats", type=positive, default=9, metavar="N")
    parser.add_argument(
        "--warm",
        action="store_true",
        help="just before every timed call, make it without timing for 20 ms",
    )
    names = list(workloads(1, 1))
    parser.add_argument(
        "--cases", nargs="+", choices=names, default=names, metavar="CASE"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write tables")
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    """Measure."""
    options = parse()
    if options.worker:
        serve(options.worker)
        return
    found = machine() | {"repeats": options.repeats, "warm": options.warm}
    found["load_before"] = load_average()
    with TemporaryDirectory() as folder:
        python = environment(options.env or Path(folder))
        rows, packages = measure(python, options)
    found |= packages | {"load_after": load_average()}
    print_found(found)
    print()
    print_table(rows)
    print()
    print_ranges(rows)
    if options.csv:
        write_csv(options.csv, rows, found)
    if options.rst:
        options.rst.write_text(rst_tables(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
