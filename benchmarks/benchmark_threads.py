# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find how many threads are best on this machine for a given work.

Every number of threads is tried in a new process, which makes the stack, combines it a
few times without timing and then with. One more process works without other threads:
the serial baseline. The lowest number of threads is recommended that is as quick as the
quickest, give or take the tolerance; none, if the baseline is.

    python benchmark_threads.py --op median --n 31 --height 2048 --width 2048

Memory feeds only so many cores, so that more threads are not always better; and on a
machine that others use as well, their share is not yours to take: with more than 32
processors nothing is tried unless you say what (``--threads``) or insist
(``--force-test``).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from _common import machine, not_negative, positive, print_found, timed, write_csv

OPERATIONS = ("mean", "median", "sigclip_mean", "sigclip_median")
TYPES = ("float32", "float64", "uint16")
CLIP = {"sigma": 3, "maxiters": 5, "nkeep": 0, "clip_cen": "mean"}

# On larger machines it is not for us to try all there is.
MANY_CPUS = 32

# Numerical libraries that start threads of their own.
OTHER_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
SERIAL = 0


class Result(NamedTuple):
    """Times of one number of threads; 0 stands for the serial baseline."""

    threads: int
    seconds: float
    seconds_min: float
    seconds_max: float


# ------------------------------------------------------------- in the processes


def make_stack(n, height, width, dtype):
    """Make a stack: level 1000, noise 30, and outliers on two grids."""
    rng = np.random.default_rng(20260524 + n + height + width)
    stack = rng.normal(1000, 30, (n, height, width)).astype(np.float32)
    stack[0, ::32, ::32] += 800
    if n > 1:
        stack[1, 16::32, 16::32] -= 500
    return stack.astype(dtype)


def call_of(stack, op):
    """Return the call that is timed."""
    import imcombiners_astro.kernels as imck

    if not op.startswith("sigclip_"):
        return lambda: getattr(imck, op)(stack, validate=False)
    statistic = op.removeprefix("sigclip_")
    return lambda: imck.sigclip_combine(
        stack, combine=statistic, validate=False, **CLIP
    )


def measure_here(options):
    """Print the seconds of the timed calls."""
    call = call_of(
        make_stack(options.n[0], options.height, options.width, options.dtype),
        options.op,
    )
    for _ in range(options.warmups):
        call()
    times = [timed(call, warm=True) for _ in range(options.repeats)]
    print(json.dumps(times))


# -------------------------------------------------------------------- the sweep


def candidates(n_cpus, force):
    """Return the numbers of threads to try where none are given."""
    if n_cpus <= MANY_CPUS:
        return list(range(2, n_cpus + 1))
    if not force:
        return []
    powers = [2**k for k in range(1, n_cpus.bit_length()) if 2**k < n_cpus]
    return [*powers, n_cpus]


def measure(threads, n, options):
    """Time one number of threads in a new process."""
    words = [sys.executable, __file__, "--one", "--op", options.op]
    words += ["--dtype", options.dtype, "--n", n]
    words += ["--height", options.height, "--width", options.width]
    words += ["--repeats", options.repeats, "--warmups", options.warmups]
    pixels = options.height * options.width
    environment = os.environ | dict.fromkeys(OTHER_POOLS, "1")
    environment["RAYON_NUM_THREADS"] = str(max(1, threads))
    threshold = n * pixels + 1 if threads == SERIAL else 1
    environment["IMCOMBINERS_PARALLEL_THRESHOLD"] = str(threshold)
    done = subprocess.run(
        list(map(str, words)),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = json.loads(done.stdout)
    return Result(threads, median(seconds), min(seconds), max(seconds))


def recommend(results, tolerance):
    """Return the result with the fewest threads that is about as quick as the best."""
    limit = (1 + tolerance) * min(result.seconds for result in results)
    return min(result for result in results if result.seconds <= limit)


def print_results(results, best, n, options):
    """Print the table of one stack, and what is recommended."""
    shape = f"({n},{options.height},{options.width})"
    print(f"{options.op}, {options.dtype} {shape}")
    print(f"{'threads':>8}{'median [ms]':>13}{'min':>9}{'max':>9}{'speed-up':>10}")
    serial = results[0].seconds
    for result in results:
        name = "serial" if result.threads == SERIAL else result.threads
        times = [f"{1e3 * seconds:.2f}" for seconds in result[1:]]
        print(
            f"{name:>8}{times[0]:>13}{times[1]:>9}{times[2]:>9}"
            f"{serial / result.seconds:>9.2f}x{'  <--' if result is best else ''}"
        )
    if best.threads == SERIAL:
        print("recommended: RAYON_NUM_THREADS=1, more threads do not pay here")
    else:
        print(f"recommended: RAYON_NUM_THREADS={best.threads}")
    print()


def fraction(text):
    """Read a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number 0 to 1")
    return number


def parse():
    """Read the command line."""
    found = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    found.add_argument("--op", choices=OPERATIONS, default="sigclip_median")
    found.add_argument("--dtype", choices=TYPES, default="float32")
    found.add_argument(
        "--n",
        nargs="+",
        type=positive,
        default=[5, 31],
        metavar="N",
        help="images in a stack (default: 5, and 31)",
    )
    found.add_argument("--height", type=positive, default=512, metavar="N")
    found.add_argument("--width", type=positive, default=512, metavar="N")
    found.add_argument(
        "--threads",
        nargs="+",
        type=positive,
        metavar="N",
        help=f"numbers to try (default: all, on machines with up to {MANY_CPUS})",
    )
    found.add_argument(
        "--force-test",
        action="store_true",
        help="on larger machines try 2, 4, 8 ... up to all processors",
    )
    found.add_argument(
        "--tie-tolerance",
        type=fraction,
        default=0.05,
        metavar="X",
        help="how much slower is as quick (default 0.05)",
    )
    found.add_argument("--repeats", type=positive, default=11, metavar="N")
    found.add_argument("--warmups", type=not_negative, default=3, metavar="N")
    found.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that all works"
    )
    found.add_argument("--csv", type=Path, metavar="FILE", help="write a table")
    found.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = found.parse_args()
    if options.quick:
        options.height = options.width = 64
        options.repeats, options.warmups = 3, 1
    return options


def main():
    """Measure and recommend."""
    options = parse()
    if options.one:
        measure_here(options)
        return
    found = machine()
    print_found(found)
    print()
    threads = options.threads or candidates(os.cpu_count() or 1, options.force_test)
    if not threads:
        print(f"{os.cpu_count()} processors: say --threads N..., or --force-test")
    rows = []
    for n in options.n:
        results = [
            measure(number, n, options) for number in (SERIAL, *sorted(set(threads)))
        ]
        best = recommend(results, options.tie_tolerance)
        print_results(results, best, n, options)
        for result in results:
            row = {"op": options.op, "dtype": options.dtype, "n": n}
            row |= {"height": options.height, "width": options.width}
            row |= result._asdict() | {"recommended": result is best}
            rows.append(row | {"speed_up": results[0].seconds / result.seconds})
    if options.csv:
        write_csv(options.csv, rows, found)


if __name__ == "__main__":
    main()
