# Licensed under a 3-clause BSD style license - see LICENSE
"""
Run all benchmarks: a table for each question, as CSV, rst and PNG.

Each table comes from a script of its own, which may as well be run alone. In the end
comes what is aimed at, and what of it is not reached.

    python suite.py --out ../docs/performance
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from _common import positive
from _report import print_rows

# Scripts, and what they answer.
TABLES = {
    "limit": "how near to merely reading the stack?",
    "extras": "what do masks, NaN, byte order and diagnostics add?",
    "peers_arrays": "how much faster than other packages on arrays?",
    "peers_fits": "how much faster than other programs on files?",
    "scaling": "how does the time grow with images and pixels?",
    "memory": "how much memory does it take?",
}
# These take one number of threads: the largest.
ONE_COUNT = ("peers_fits", "memory")

# How a row is described in the list of what is aimed at.
CASE = (
    "level",
    "dtype",
    "n",
    "pixels",
    "size",
    "operation",
    "extra",
    "contestant",
    "run",
    "threads",
)


def arguments(name, options):
    """Return the command of a table."""
    words = [sys.executable, Path(__file__).with_name(f"{name}.py")]
    words += ["--out", options.out]
    threads = options.threads
    words += ["--threads", *(threads[-1:] if name in ONE_COUNT else threads)]
    if options.quick:
        words.append("--quick")
    if name == "peers_arrays":
        if options.env:
            words += ["--env", options.env]
        elif options.quick:
            words.append("--without-imcombiners")
    return list(map(str, words))


def targets(folder, names):
    """Return a row for everything that is aimed at."""
    rows = []
    for name in names:
        path = folder / f"{name}.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                case = " ".join(row[key] for key in CASE if row.get(key))
                for what, asked, met in (
                    ("ratio", "asked", "met"),
                    ("peak_mb", "asked_mb", "met_mb"),
                ):
                    if row.get(asked):
                        found = {"table": name, "case": case, "found": row[what]}
                        rows.append(found | {"asked": row[asked], "met": row[met]})
    return rows


def parse():
    """Read the command line."""
    found = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    found.add_argument(
        "--tables",
        nargs="+",
        choices=TABLES,
        default=list(TABLES),
        metavar="NAME",
        help=f"among {', '.join(TABLES)} (default: all)",
    )
    found.add_argument(
        "--out", type=Path, metavar="DIR", help="write the tables and plots there"
    )
    found.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that all works"
    )
    found.add_argument(
        "--threads",
        nargs="+",
        type=positive,
        default=sorted({1, os.cpu_count() or 1}),
        metavar="N",
        help="of ours (default: 1 and all cores)",
    )
    found.add_argument(
        "--env",
        type=Path,
        metavar="DIR",
        help="environment of imcombiners, made if need be (default: a temporary one)",
    )
    options = found.parse_args()
    options.threads = sorted(set(options.threads))
    return options


def main():
    """Run all; return the exit code, which is 1 if a script failed."""
    options = parse()
    failed = []
    with TemporaryDirectory() as folder:
        options.out = options.out or Path(folder)
        for name in options.tables:
            print(f"\n=== {name}: {TABLES[name]}\n", flush=True)
            start = time.perf_counter()
            done = subprocess.run(arguments(name, options), check=False)
            print(f"\n{name}: {time.perf_counter() - start:.0f} s")
            if done.returncode:
                failed.append(name)
        rows = targets(options.out, options.tables)
    if rows:
        missed = [row for row in rows if row["met"] != "yes"]
        print(f"\naimed at: {len(rows)}, reached: {len(rows) - len(missed)}")
        if missed:
            print("\nnot reached:")
            print_rows(missed, ["table", "case", "found", "asked"])
    for name in failed:
        print(f"{name} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
