# Licensed under a 3-clause BSD style license - see LICENSE
"""The common end of the benchmarks: a table on the terminal, CSV, rst and a plot."""

import argparse
import os
import sys
from pathlib import Path

from _common import load_average, machine, positive, print_found, versions, write_csv

# One colour for an operation or a program in all plots.
COLOURS = ("#4477aa", "#228833", "#cc3311", "#ee7733", "#aa3377", "#66ccee", "#777777")


def parser(doc, repeats, several_threads=True):
    """Return a parser of the command line with the options that all tables have."""
    cores = os.cpu_count() or 1
    found = argparse.ArgumentParser(description=doc.strip().partition("\n")[0])
    found.add_argument(
        "--out", type=Path, metavar="DIR", help="write the table and a plot there"
    )
    found.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that all works"
    )
    found.add_argument("--repeats", type=positive, default=repeats, metavar="N")
    found.add_argument(
        "--threads",
        nargs="+" if several_threads else None,
        type=positive,
        default=sorted({1, cores}) if several_threads else cores,
        metavar="N",
        help=f"default: {'1 and ' if several_threads else ''}all cores",
    )
    return found


def add_stacks(found, choices, dtypes, depths):
    """Add the options that say which stacks are measured."""
    found.add_argument(
        "--dtypes", nargs="+", choices=choices, default=dtypes, metavar="TYPE"
    )
    found.add_argument(
        "--depths", nargs="+", type=positive, default=depths, metavar="N"
    )


def conditions(options, packages=(), **more):
    """Describe the machine, the versions and the options at the start of a run."""
    from imcombiners_astro.planes import simd_level

    found = {"repeats": options.repeats, "instructions": simd_level()} | more
    found |= machine() | versions(("imcombiners_astro", "numpy", *packages))
    found["load_before"] = load_average()
    print_found(found)
    print()
    return found


def number(value):
    """Write a number in 3 digits, anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    digits = f"{value:.3g}"
    return digits if "e" not in digits or abs(value) < 1 else f"{value:.0f}"


def pick(rows, **conditions):
    """Return the rows that fulfil conditions."""
    return [row for row in rows if conditions.items() <= row.items()]


def print_rows(rows, columns):
    """Print some columns of the rows."""
    lines = [[number(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *lines, strict=True)]
    for line in (columns, *lines):
        print("  ".join(map(str.rjust, line, widths)))


def publish(options, name, rows, found, text, draw):
    """
    Write ``name.csv``, ``name.rst`` and ``name.png`` if a directory is given.

    Parameters
    ----------
    options : `~argparse.Namespace`
        With ``out``.
    name : str
        Of the files.
    rows : list of dict
        The table.
    found : dict
        The conditions of the run.
    text : str
        Tables for the documentation.
    draw : function
        Is given a `~matplotlib.figure.Figure` to draw on.
    """
    found["load_after"] = load_average()
    if not options.out:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rounded = [
        {
            key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in rows
    ]
    write_csv(options.out / f"{name}.csv", rounded, found)
    text = f"{text}\n{described(found)}\n"
    (options.out / f"{name}.rst").write_text(text, encoding="utf-8")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    draw(figure)
    figure.savefig(options.out / f"{name}.png", dpi=100)


def described(found):
    """Describe a run in a paragraph."""
    names = [key for key in found if key not in NOT_PACKAGES and found[key] != "none"]
    packages = ", ".join(f"{name} {found[name]}" for name in names)
    cores = "core" if found["cores"] == 1 else "cores"
    several = f"Medians of {found['repeats']} runs."
    runs = "One run." if found["repeats"] == 1 else several
    return (
        f"{runs} Machine: {found['cores']} {cores}, "
        f"{found['processor']} ({found['instructions']}), {found['system']}, load "
        f"average {found['load_before']} before and {found['load_after']} after. "
        f"Versions: Python {found['python']}, {packages}."
    )


NOT_PACKAGES = {
    "repeats",
    "instructions",
    "reader",
    "processor",
    "cores",
    "system",
    "python",
    "load_before",
    "load_after",
}


def label(axes, title, x, y):
    """Label axes, without what distracts."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def counts(axes, axis, values):
    """Scale an axis logarithmically, with plain numbers where there are data."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    getattr(axes, f"set_{axis}scale")("log")
    which = getattr(axes, f"{axis}axis")
    which.set_major_formatter(ScalarFormatter())
    which.set_minor_formatter(NullFormatter())
    getattr(axes, f"set_{axis}ticks")(values)
