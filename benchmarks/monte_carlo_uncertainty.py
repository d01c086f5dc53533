# Licensed under a 3-clause BSD style license - see LICENSE
"""
Uncertainties put to the test: what combinations say of their errors, and the truth.

Images of which everything is known are combined in every way that gives an uncertainty.
The result of a case is one number: the root mean square of the uncertainties that the
combination states, divided by the root mean square of its true errors.

    python monte_carlo_uncertainty.py --out results
"""

import argparse
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _common import positive, print_found, rst_table, versions, write_csv
from _report import COLOURS, label
from astropy.nddata import CCDData, StdDevUncertainty

from imcombiners_astro import CcdClip, CrReject, MinMaxClip, SigClip, combine
from imcombiners_astro.errors import ThresholdWarning

# A CCD: level in adu, gain in electrons per adu, read noise in electrons.
LEVEL, GAIN, READNOISE = 100.0, 1.5, 6.0
SIGMA = np.sqrt((READNOISE / GAIN) ** 2 + LEVEL / GAIN)
CCD = {"gain": GAIN, "readnoise": READNOISE}
# How much too high an outlier is.
OUTLIER = 1e4
# Frames beyond n, for outliers and for samples to be rejected.
MORE = 2

DEPTHS = range(2, 32)
SHOWN = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 31)
GROUPS = {
    "propagate": 'uncertainty="propagate"',
    "noise": 'uncertainty="noise"',
    "scatter": 'uncertainty="scatter"',
    "outlier": "an outlier at every pixel, rejected by a noise model",
    "approximate": "where the formulas are approximations; no outliers",
    "empirical": 'uncertainty="empirical"',
}


@dataclass(frozen=True)
class Case:
    """
    A way to combine.

    Attributes
    ----------
    group : str
        A key of GROUPS.
    name : str
        What the table calls it.
    keywords : dict
        Those of `combine`.
    rising : float
        By what factor the noise of the frames rises from the first to the last, in
        equal steps about 10 adu; 0: the frames are those of the CCD.
    more : int
        Frames beyond n: those with an outlier at every pixel, or to be rejected.
    outliers : bool
        Whether there are outliers, one for each of these.
    """

    group: str
    name: str
    keywords: dict = field(default_factory=dict)
    rising: float = 0
    more: int = 0
    outliers: bool = False


def cases():
    """Return all cases."""
    sent, noise = {"uncertainty": "propagate"}, {"uncertainty": "noise", **CCD}
    seen = {"uncertainty": "scatter"}
    median, total = {"method": "median"}, {"method": "sum"}
    model = {"rejectors": CcdClip(sigma=6), **CCD}
    rays = {"rejectors": CrReject(sigma=6), **CCD}
    struck = {"group": "outlier", "more": 1, "outliers": True}
    return [
        Case("propagate", "average", sent),
        Case("propagate", "average, weights 1 to 3", sent | {"weights": "1 to 3"}),
        Case("propagate", "average, scales 1 to 3", sent | {"scale": "1 to 3"}),
        Case("propagate", 'average, weights="ivar"', sent | {"weights": "ivar"}, 3),
        Case("propagate", "average, unequal errors", sent, 3),
        Case("propagate", "median", sent | median),
        Case("propagate", "median, unequal errors", sent | median, 3),
        Case("propagate", "sum", sent | total),
        Case("noise", "average", noise),
        Case("noise", "median", noise | median),
        Case("noise", "sum", noise | total),
        Case("scatter", "average", seen),
        Case("scatter", "median", seen | median),
        Case("scatter", "sum", seen | total),
        Case(name="average, propagate, CcdClip", keywords=sent | model, **struck),
        Case(
            name="median, propagate, CcdClip", keywords=sent | median | model, **struck
        ),
        Case(name="sum, propagate, CcdClip", keywords=sent | total | model, **struck),
        Case(
            name='average, weights="ivar", CcdClip',
            keywords=sent | model | {"weights": "ivar"},
            **struck,
        ),
        Case(name="average, noise, CrReject", keywords=noise | rays, **struck),
        Case(name="median, noise, CrReject", keywords=noise | median | rays, **struck),
        Case("approximate", "average, SigClip(3)", sent | {"rejectors": SigClip(3.0)}),
        Case("approximate", "average, SigClip(5, mad)", sent | mad(5.0)),
        Case("approximate", "average, SigClip(3, mad)", sent | mad(3.0)),
        Case("approximate", "median, SigClip(3, mad)", sent | median | mad(3.0)),
        Case("approximate", "median, errors 1 to 10", sent | median, 10),
        Case("approximate", "average, MinMaxClip(1, 1)", sent | extremes(), more=2),
        Case("empirical", "average"),
        Case("empirical", "median", median),
        Case("empirical", "sum", total),
    ]


def mad(sigma):
    """Keywords for clipping by the MAD."""
    return {"rejectors": SigClip(sigma, stdfunc="mad")}


def extremes():
    """Keywords for rejecting the lowest and the highest sample."""
    return {"rejectors": MinMaxClip(1, 1)}


class Night:
    """Frames of one pixel each many times over, and their noise."""

    def __init__(self, n, n_pixels, rng):
        self.n, self.rng = n, rng
        shape = (n + MORE, n_pixels)
        charge = rng.poisson(LEVEL * GAIN, shape) + rng.normal(0, READNOISE, shape)
        self.ccd = charge / GAIN
        self.normal = rng.normal(0, 1, shape)
        # Where the outliers of a pixel begin.
        self.first = rng.integers(0, 2**31, n_pixels)

    def frames(self, case):
        """Return CCDData for a case, and keywords that depend on their number."""
        n = self.n + case.more
        sigma = np.full(n, SIGMA)
        stack = self.ccd[:n]
        if case.rising:
            sigma = np.linspace(1.0, case.rising, n)
            sigma *= 10 / sigma.mean()
            stack = LEVEL + sigma[:, np.newaxis] * self.normal[:n]
        if case.outliers:
            stack = stack.copy()
            for k in range(case.more):
                struck = (self.first + k) % n
                stack[struck, np.arange(stack.shape[1])] += OUTLIER
        keywords, rising = dict(case.keywords), np.linspace(1, 3, n)
        if keywords.get("weights") == "1 to 3":
            keywords["weights"] = rising
        if keywords.get("scale") == "1 to 3":
            # To be brought to one level again; numbers multiply.
            stack, sigma = stack / rising[:, np.newaxis], sigma / rising
            keywords["scale"] = rising
        frames = []
        for plane, error in zip(stack, sigma, strict=True):
            error = StdDevUncertainty(np.full(plane.shape, error))
            frames.append(CCDData(plane, unit="adu", uncertainty=error))
        return frames, keywords

    def ratio(self, case):
        """Return stated by true errors, and the mean number of samples used."""
        frames, keywords = self.frames(case)
        with warnings.catch_warnings():
            # That 3 sigma cannot reject anything among a few samples.
            warnings.simplefilter("ignore", ThresholdWarning)
            result = combine(frames, diagnostics="simple", **keywords)
        truth = LEVEL
        if keywords.get("method") == "sum":
            truth = LEVEL * result.n_used
        stated = np.mean(result.uncertainty.array**2)
        return np.sqrt(
            stated / np.mean((result.data - truth) ** 2)
        ), result.n_used.mean()


def measure(options):
    """Return a row for each case and number of samples."""
    rows = []
    for n in options.depths:
        night = Night(n, options.pixels, np.random.default_rng([options.seed, n]))
        for case in cases():
            ratio, n_used = night.ratio(case)
            rows.append(
                {
                    "group": case.group,
                    "case": case.name,
                    "n": n,
                    "n_used": round(float(n_used), 3),
                    "stated_by_true": round(float(ratio), 4),
                }
            )
    return rows


def lines_of(rows, depths):
    """Return the lines of the table by group."""
    found = {}
    for case in cases():
        numbers = {
            row["n"]: row["stated_by_true"]
            for row in rows
            if (row["group"], row["case"]) == (case.group, case.name)
        }
        line = [case.name, *(f"{numbers[n]:.3f}" for n in depths)]
        found.setdefault(case.group, []).append(line)
    return found


def print_tables(rows, depths):
    """Print a table for each group."""
    for group, lines in lines_of(rows, depths).items():
        print(GROUPS[group])
        width = max(len(line[0]) for line in lines)
        print(" " * width, *(f"n = {n}".rjust(6) for n in depths))
        for name, *numbers in lines:
            print(name.ljust(width), *(number.rjust(6) for number in numbers))
        print()


def rst_of(rows, depths, found):
    """Return the tables for the documentation."""
    parts = []
    for group, lines in lines_of(rows, depths).items():
        title = GROUPS[group]
        if "=" in title:
            title = f"``{title}``"
        header = ["case", *(f"n = {n}" for n in depths)]
        parts.append(f"{title}:\n\n{rst_table(header, lines)}")
    error = 100 / np.sqrt(2 * found["pixels"])
    parts.append(
        f"Each number is from {found['pixels']} pixels, and has itself an error of "
        f"{error:.1g} % (seed {found['seed']}).\n"
    )
    return "\n".join(parts)


def draw(figure, rows):
    """Draw the ratios of all cases, groups that belong together in one panel."""
    panels = {
        ("propagate", "noise"): "propagate and noise, no rejection",
        ("outlier",): GROUPS["outlier"],
        ("approximate",): GROUPS["approximate"],
        ("empirical", "scatter"): "empirical and scatter",
    }
    ranges = ((0.93, 1.05), (0.93, 1.05), (0.8, 1.32), (0.6, 1.1))
    axes = figure.subplots(2, 2, sharex=True)
    markers = "osD^vXP"
    for groups, (bottom, top), ax in zip(panels, ranges, axes.flat, strict=True):
        ax.axhspan(0.97, 1.03, color="#eeeeee", zorder=0)
        ax.axhline(1, color="#777777", lw=0.8, zorder=1)
        shown = [case for group in groups for case in cases() if case.group == group]
        for k, case in enumerate(shown):
            points = [
                (row["n"], row["stated_by_true"])
                for row in rows
                if (row["group"], row["case"]) == (case.group, case.name)
            ]
            name = case.name
            if case.group != groups[0]:
                name += f", {case.group}"
            ax.plot(
                *zip(*points, strict=True),
                marker=markers[k % len(markers)],
                ms=3,
                lw=0.8,
                ls="-" if k < len(markers) else "--",
                color=COLOURS[k % len(COLOURS)],
                label=name,
            )
        if "empirical" in groups:
            n = np.array(sorted({row["n"] for row in rows}))
            ax.plot(n, np.sqrt((n - 1) / n), "k:", lw=1, label="sqrt((n - 1) / n)")
        label(ax, panels[groups], "samples used, n", "stated / true")
        ax.set_ylim(bottom, top)
        place = "upper right" if "approximate" in groups else "lower right"
        ax.legend(fontsize=7.5, frameon=False, ncols=2, loc=place)


def main():
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write monte_carlo.csv, .rst and .png"
    )
    parser.add_argument("--pixels", type=positive, default=200_000, metavar="N")
    parser.add_argument("--seed", type=positive, default=1, metavar="N")
    parser.add_argument(
        "--quick", action="store_true", help="few pixels, to see that all works"
    )
    options = parser.parse_args()
    options.depths = DEPTHS
    if options.quick:
        options.pixels, options.depths = 500, (2, 3, 31)
    depths = [n for n in SHOWN if n in options.depths]
    found = {"pixels": options.pixels, "seed": options.seed}
    found |= versions(("imcombiners_astro", "numpy", "astropy"))
    print_found(found)
    print()
    rows = measure(options)
    print_tables(rows, depths)
    if options.out is None:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "monte_carlo.csv", rows, found)
    text = rst_of(rows, depths, found)
    (options.out / "monte_carlo.rst").write_text(text, encoding="utf-8")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    draw(figure, rows)
    figure.savefig(options.out / "monte_carlo.png", dpi=80)


if __name__ == "__main__":
    main()
