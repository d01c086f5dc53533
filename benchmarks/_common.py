# Licensed under a 3-clause BSD style license - see LICENSE
"""What the benchmarks share: timing, the description of the machine, the table."""

import argparse
import csv
import gc
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def timed(call, number=1, warm=False):
    """
    Seconds of one of ``number`` calls; freeing the last result is not counted.

    With ``warm``, one call more is made just before.
    """
    gc.collect()
    gc.disable()
    try:
        if warm:
            call()
        start = time.perf_counter()
        for _ in range(number):
            result = call()
        seconds = time.perf_counter() - start
    finally:
        gc.enable()
    del result
    return seconds / number


def in_turn(timers, repeats):
    """Let each timer measure ``repeats`` times, each first in every other round."""
    seconds = {name: [] for name in timers}
    for k in range(repeats):
        for name in timers if k % 2 else reversed(timers):
            seconds[name].append(timers[name]())
    return seconds


def positive(text):
    """Read a positive integer from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer >= 1")
    return int(text)


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
