# Licensed under a 3-clause BSD style license - see LICENSE
"""
Count the instructions of the kernels, and compare with those counted before.

The clock depends on the machine and on who else uses it; the number of instructions
that a given library executes on given data hardly does. Valgrind counts those of one
call of each kernel, less those of the same call on very few pixels, which is what it
costs to get there. It knows no AVX-512, so the kernels are forced to use AVX2.

    python instruction_counts.py
    python instruction_counts.py --update

The exit code is 1 if a kernel needs more instructions than before.
"""

import argparse
import csv
import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from _common import positive
from _report import print_rows

FILE = Path(__file__).with_suffix(".csv")
LEVEL = "avx2"

OPERATIONS = (
    "mean",
    "median",
    "sigclip median/std",
    "sigclip median/mad",
    "sigclip mean/std",
    "minmax",
)
TYPES = ("f32", "u16")
DEPTHS = (5, 31, 100)
PIXELS, FEW_PIXELS = 2**16, 2**6

COLUMNS = ["operation", "dtype", "n", "pixels", "instructions"]

# The requests of valgrind's header, as functions.
SOURCE = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
"""


class Unavailable(Exception):
    """This machine cannot count."""


# ------------------------------------------------------------- under valgrind


def name_of(operation, dtype, n, pixels):
    """Name a count."""
    return f"{operation}|{dtype}|{n}|{pixels}"


def count_here(library, cases, pixels):
    """Make the calls of all cases, each between two requests to valgrind."""
    from _stacks import bind, make_stack

    requests = ctypes.CDLL(library)
    gc.disable()
    for operation, dtype, n in cases:
        for size in (pixels, FEW_PIXELS):
            call = bind(make_stack(n, size, dtype), dtype, operation, 1)
            call()  # what happens only once
            name = name_of(operation, dtype, n, size).encode()
            requests.start()
            call()
            requests.stop(name)


# ------------------------------------------------------------------- counting


def compile_requests(folder):
    """Compile the functions that talk to valgrind."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler or not shutil.which("valgrind"):
        raise Unavailable("valgrind and a C compiler are needed")
    source, library = Path(folder) / "requests.c", Path(folder) / "requests.so"
    source.write_text(SOURCE, encoding="ascii")
    words = [compiler, "-O1", "-shared", "-fPIC", source, "-o", library]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"the header of valgrind is needed:\n{done.stderr}")
    return library


def count(cases, pixels):
    """Return the instructions of every case, (operation, dtype, n) to number."""
    with TemporaryDirectory() as folder:
        library = compile_requests(folder)
        words = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        words += [f"--callgrind-out-file={folder}/counts", sys.executable, __file__]
        words += ["--requests", library, "--pixels", pixels]
        # As arguments of their own, so that any subset of the cases may be counted.
        words += ["--one", *("|".join(map(str, case)) for case in cases)]
        done = subprocess.run(
            list(map(str, words)),
            env=os.environ | {"IMCOMBINERS_SIMD": LEVEL, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"valgrind failed:\n{done.stdout}{done.stderr}")
        counts = dict(read_dumps(folder))
    return {
        case: counts[name_of(*case, pixels)] - counts[name_of(*case, FEW_PIXELS)]
        for case in cases
    }


def read_dumps(folder):
    """Yield name and instructions of every dump of callgrind."""
    for path in Path(folder).glob("counts.*"):
        text = path.read_text(encoding="utf-8", errors="replace")
        name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if name and total:
            yield name[1].strip(), int(total[1])


# ------------------------------------------------------------------ comparing


def read_file(path):
    """Return the counts of a file, (operation, dtype, n, pixels) to number."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["operation"], row["dtype"], int(row["n"]), int(row["pixels"])): int(
                row["instructions"]
            )
            for row in csv.DictReader(file)
        }


def write_file(path, counts):
    """Write counts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((*key, number) for key, number in counts.items())


def compare(counts, before, tolerance):
    """Return a row for each count, with what is to be said about it."""
    rows = []
    for key, number in counts.items():
        row = dict(zip(COLUMNS, (*key, number), strict=True))
        row["per_sample"] = number / (key[2] * (key[3] - FEW_PIXELS))
        row |= {"before": before.get(key, ""), "change": "", "verdict": "not in file"}
        if key in before:
            change = number / before[key] - 1
            row["change"] = f"{100 * change:+.1f} %"
            row["verdict"] = "ok"
            if change > tolerance:
                row["verdict"] = "MORE"
            elif change < -tolerance:
                row["verdict"] = "fewer"
        rows.append(row)
    return rows


def percentage(text):
    """Read a positive number of per cent."""
    number = float(text)
    if not 0 < number < 100:
        raise argparse.ArgumentTypeError(f"found {text}, expected between 0 and 100")
    return number


def parse():
    """Read the command line."""
    found = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    found.add_argument(
        "--file", type=Path, default=FILE, help="counts (default: beside the script)"
    )
    found.add_argument("--update", action="store_true", help="write the file anew")
    found.add_argument(
        "--tolerance",
        type=percentage,
        default=3,
        metavar="PERCENT",
        help="how much more is allowed (default 3)",
    )
    found.add_argument(
        "--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS
    )
    found.add_argument("--dtypes", nargs="+", choices=TYPES, default=TYPES)
    found.add_argument(
        "--depths", nargs="+", type=positive, default=DEPTHS, metavar="N"
    )
    found.add_argument("--pixels", type=positive, default=PIXELS, metavar="N")
    found.add_argument("--requests", help=argparse.SUPPRESS)
    found.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = found.parse_args()
    if options.pixels <= FEW_PIXELS:
        found.error(
            f"--pixels: found {options.pixels}, expected more than {FEW_PIXELS}"
        )
    return options


def main():
    """Count, then compare or update; return the exit code."""
    options = parse()
    if options.one:
        cases = [text.split("|") for text in options.one]
        cases = [(operation, dtype, int(n)) for operation, dtype, n in cases]
        count_here(options.requests, cases, options.pixels)
        return 0
    if not options.update and not options.file.exists():
        print(f"{options.file}: no such file; make it with --update", file=sys.stderr)
        return 2
    cases = list(product(options.operations, options.dtypes, options.depths))
    try:
        found = count(cases, options.pixels)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    counts = {(*case, options.pixels): number for case, number in found.items()}
    before = read_file(options.file) if options.file.exists() else {}
    rows = compare(counts, before, options.tolerance / 100)
    print_rows(rows, [*COLUMNS, "per_sample", "before", "change", "verdict"])
    if options.update:
        write_file(options.file, before | counts)
        return 0
    verdicts = {row["verdict"] for row in rows}
    if "fewer" in verdicts:
        print("fewer instructions than before: keep them with --update")
    return 1 if verdicts & {"MORE", "not in file"} else 0


if __name__ == "__main__":
    sys.exit(main())
