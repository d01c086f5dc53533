# Licensed under a 3-clause BSD style license - see LICENSE
"""What the benchmarks share: timing, the description of the machine, the tables."""

import argparse
import csv
import gc
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

WARM_UP = 0.02  # seconds


def timed(call, number=1, warm=False):
    """
    Seconds of one of ``number`` calls; freeing the last result is not counted.

    With ``warm``, calls are made for some time just before: systems need that to wake
    the threads and to spread them over the processors.
    """
    gc.collect()
    gc.disable()
    try:
        awake = time.perf_counter() + WARM_UP
        while warm:
            call()
            warm = time.perf_counter() < awake
        start = time.perf_counter()
        for _ in range(number):
            result = call()
        seconds = time.perf_counter() - start
    finally:
        gc.enable()
    del result
    return seconds / number


def quickest(call, tries=3):
    """
    Seconds of the quickest of some calls in a row, after calls that wake the threads.

    On a machine that others use as well, that is the one they disturbed least.
    """
    return min(timed(call, warm=k == 0) for k in range(tries))


def in_turn(timers, repeats):
    """Let each timer measure ``repeats`` times, each first in every other round."""
    seconds = {name: [] for name in timers}
    for k in range(repeats):
        for name in timers if k % 2 else reversed(timers):
            seconds[name].append(timers[name]())
    return seconds


def reset_peak():
    """Let the system forget the peak of the memory so far, where it can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def positive(text):
    """Read a positive integer from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer >= 1")
    return int(text)


def not_negative(text):
    """Read an integer from 0 on from the command line."""
    return 0 if text == "0" else positive(text)


def machine():
    """Describe the machine, without its name."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def processor():
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions(packages):
    """Versions of the packages in this environment."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def load_average():
    """Processes that ran in the last minute, about."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # Windows
        return float("nan")


def print_found(found):
    """Print the description of a run, a line for each item."""
    width = max(17, *map(len, found))
    for name, value in found.items():
        print(f"{name:<{width}} {value}")


def write_csv(path, rows, found):
    """Write the rows, each with the description of the run."""
    if common := set(rows[0]) & set(found):
        raise ValueError(f"{path}: columns {sorted(common)} would be there twice")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *found])
        writer.writeheader()
        writer.writerows(row | found for row in rows)


def rst_table(header, lines):
    """Lay out a simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    rows = [
        "  ".join(map(str.ljust, line, widths)).rstrip() for line in (header, *lines)
    ]
    return "\n".join([rule, rows[0], rule, *rows[1:], rule, ""])


def rst_cells(labels, columns, lines):
    """
    Lay out a table from its cells; where there is none it stays empty.

    Parameters
    ----------
    labels : list of str
        Titles of the first columns.
    columns : dict of str
        Titles of the others by the keys of their cells.
    lines : dict of dict
        The cells of a line by the texts in its first columns.
    """
    return rst_table(
        [*labels, *columns.values()],
        [
            [*texts, *(cells.get(key, "") for key in columns)]
            for texts, cells in lines.items()
        ],
    )
