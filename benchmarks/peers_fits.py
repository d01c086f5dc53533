# Licensed under a 3-clause BSD style license - see LICENSE
"""
Other programs from FITS files to a FITS file: IRAF, gnuastro, siril, swarp, ccdproc.

The files are those of vs_ccdproc.py. Programs run as whole processes, as their users
run them; this package and ccdproc do that too, and as a call in an interpreter that has
combined before. All take turns, and the files are in the cache of the system. Peak
memory is that of the largest process that took part.

    python peers_fits.py --out results
"""

import importlib
import os
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from _common import in_turn, positive, rst_table, timed
from _programs import (
    OPERATIONS,
    PROGRAMS,
    SIGMA,
    UNITS,
    environment,
    program_versions,
)
from _report import COLOURS, conditions, label, number, parser, print_rows, publish
from _targets import FASTER_THAN_PROGRAMS, verdict
from astropy import log
from astropy.io import fits
from vs_ccdproc import OURS, THEIRS, make_frames

from imcombiners_astro import SigClip

LAUNCH = Path(__file__).with_name("_launch.py")
WARM, PROCESS = "warm", "process"

# With fewer samples than this, only the start of the programs is measured.
SMALL = 20 * 1024**2

CALLS = {
    "mean": {"method": "average"},
    "median": {"method": "median"},
    "sigclip": {
        "method": "average",
        "sigma_clip": True,
        "sigma_clip_low_thresh": SIGMA,
        "sigma_clip_high_thresh": SIGMA,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": "std",
    },
}
# Ours clips as often as it takes, at most 5 times, as the programs do; ccdproc once.
OUR_CLIP = {"method": "average", "rejectors": SigClip(SIGMA)}

SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from {package} import {names}
combine(sys.argv[1:], "out.fits", overwrite_output=True, **{keywords})
"""

COLUMNS = ["operation", "contestant", "run", "threads", "seconds", "cpu_seconds"]
COLUMNS += ["ratio", "asked", "met", "peak_mb", "asked_mb", "met_mb", "rms_difference"]


def keywords_of(package, operation, n_threads):
    """Return the arguments of ``combine`` of a package."""
    if package != OURS:
        return CALLS[operation]
    ours = OUR_CLIP if operation == "sigclip" else CALLS[operation]
    return ours | {"n_threads": n_threads}


def warm_call(package, files, operation, folder, n_threads):
    """Return the call in this interpreter."""
    combine = importlib.import_module(package).combine
    out = str(Path(folder) / "out.fits")
    keywords = keywords_of(package, operation, n_threads)
    return partial(combine, files, out, overwrite_output=True, **keywords)


def command(contestant, files, operation, folder, n_threads):
    """Return the command of a contestant, and the file it writes."""
    if contestant not in PROGRAMS:
        keywords = keywords_of(contestant, operation, n_threads)
        names = "combine, SigClip" if contestant == OURS else "combine"
        script = SCRIPT.format(package=contestant, names=names, keywords=keywords)
        return [sys.executable, "-c", script, *files], "out.fits"
    return PROGRAMS[contestant][1](files, operation, folder, n_threads)


def run(contestant, files, operation, folder, n_threads):
    """Run a process; return its seconds, processor seconds and peak memory [MB]."""
    words, out = command(contestant, files, operation, str(folder), n_threads)
    path = Path(folder) / out
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCH, *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or not path.exists():
        raise RuntimeError(f"{contestant}, {operation}:\n{done.stdout}{done.stderr}")
    return tuple(map(float, done.stdout.split()[-3:]))


def image(contestant, folder):
    """Return the image that a contestant wrote."""
    with fits.open(Path(folder) / "out.fits") as hdus:
        data = next(hdu.data for hdu in hdus if hdu.data is not None)
        return np.squeeze(data).astype(float) * UNITS.get(contestant, 1)


def available(names):
    """Return the contestants that there are, and say which are not."""
    missing = [name for name in names if not is_there(name)]
    if missing:
        print(f"not compared with: {', '.join(missing)}", file=sys.stderr)
    return [name for name in names if name not in missing]


def is_there(name):
    """Whether a contestant is installed."""
    if name in PROGRAMS:
        return shutil.which(PROGRAMS[name][0]) is not None and os.name != "nt"
    return importlib.util.find_spec(name) is not None


class Contestant:
    """Who takes part, and what one operation cost it."""

    def __init__(self, name, how, files, operation, folder, n_threads):
        self.name, self.how = name, how
        self.folder = Path(folder) / f"{name}_{how}"
        self.folder.mkdir(exist_ok=True)
        arguments = (files, operation, self.folder, n_threads)
        if how == WARM:
            self.call = warm_call(name, *arguments)
        else:
            self.call = partial(run, name, *arguments)
        self.processor, self.peak = [], []

    def seconds(self):
        """Run once."""
        if self.how == WARM:
            return timed(self.call)
        seconds, processor, peak = self.call()
        self.processor.append(processor)
        self.peak.append(peak)
        return seconds


def measure_operation(operation, names, files, folder, options):
    """Compare and time all; a row for each."""
    n_threads = options.threads
    kinds = [(OURS, WARM), (OURS, PROCESS)]
    kinds += [(name, PROCESS) for name in names if name != OURS]
    kinds += [(THEIRS, WARM)] if THEIRS in names else []
    takers = {
        kind: Contestant(*kind, files, operation, folder, n_threads) for kind in kinds
    }
    images = {}
    for kind, taker in takers.items():
        taker.call()
        images[kind] = image(kind[0], taker.folder)
    seconds = in_turn(
        {kind: taker.seconds for kind, taker in takers.items()}, options.repeats
    )
    is_small = options.frames * options.size**2 < SMALL
    rows = []
    for (name, how), times in seconds.items():
        taker = takers[name, how]
        ratio = median(times) / median(seconds[OURS, WARM])
        limit = FASTER_THAN_PROGRAMS.get((name, operation)) if how == PROCESS else None
        is_process = how == PROCESS
        rows.append(
            {
                "operation": operation,
                "contestant": name,
                "run": how,
                "threads": n_threads if name not in (THEIRS, "IRAF") else 1,
                "seconds": median(times),
                "seconds_min": min(times),
                "cpu_seconds": median(taker.processor) if is_process else "",
                "ratio": ratio,
                **verdict(ratio, at_least=None if is_small else limit),
                "peak_mb": max(taker.peak) if is_process else "",
                "asked_mb": "",
                "met_mb": "",
                "rms_difference": rms(images[name, how] - images[OURS, WARM]),
            }
        )
    return rows if is_small else judge_memory(rows)


def judge_memory(rows):
    """Ask of our process to need less memory than any other."""
    peaks = {row["contestant"]: row["peak_mb"] for row in rows if row["run"] == PROCESS}
    least = min((peak for name, peak in peaks.items() if name != OURS), default=None)
    for row in rows:
        if least and (row["contestant"], row["run"]) == (OURS, PROCESS):
            row["asked_mb"] = f"< {least:.0f}"
            row["met_mb"] = "yes" if row["peak_mb"] < least else "no"
    return rows


def rms(values):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def tables(rows):
    """Return the table of the documentation."""
    header = ["operation", "program", "run", "threads", "seconds", "ratio", "memory"]
    lines = [
        [
            row["operation"],
            row["contestant"],
            row["run"],
            str(row["threads"]),
            f"{row['seconds']:.3f}",
            number(row["ratio"]),
            f"{row['peak_mb']:.0f} MB" if row["peak_mb"] != "" else "",
        ]
        for row in rows
    ]
    return rst_table(header, lines)


def draw(figure, rows):
    """Draw time and memory as bars."""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    kinds = list(dict.fromkeys((row["contestant"], row["run"]) for row in rows))
    left, right = figure.subplots(1, 2, sharey=True)
    height = 0.8 / len(operations)
    for k, operation in enumerate(operations):
        few = [row for row in rows if row["operation"] == operation]
        here = [kinds.index((row["contestant"], row["run"])) for row in few]
        places = np.array(here) + (k + 0.5) * height - 0.4
        look = {"height": 0.9 * height, "color": COLOURS[k]}
        times = [row["seconds"] for row in few]
        left.barh(places, times, **look, label=operation)
        right.barh(places, [row["peak_mb"] or 0 for row in few], **look)
    left.set_xscale("log")
    left.set_yticks(range(len(kinds)), [", ".join(kind) for kind in kinds], fontsize=8)
    left.invert_yaxis()
    left.legend(fontsize=7)
    label(left, "time", "seconds", "")
    label(right, "peak memory", "MB", "")


def parse():
    """Read the command line."""
    found = parser(__doc__, repeats=3, several_threads=False)
    found.add_argument("--frames", type=positive, default=20, metavar="N")
    found.add_argument("--size", type=positive, default=2048, metavar="N")
    found.add_argument(
        "--operations",
        nargs="+",
        choices=OPERATIONS,
        default=OPERATIONS,
        metavar="NAME",
    )
    names = [*PROGRAMS, THEIRS]
    found.add_argument(
        "--contestants",
        nargs="*",
        choices=names,
        default=names,
        metavar="NAME",
        help="besides this package (default: all that are installed)",
    )
    options = found.parse_args()
    if options.quick:
        options.frames, options.size, options.repeats = 5, 64, 1
    return options


def main():
    """Measure."""
    options = parse()
    log.setLevel("WARNING")
    warnings.simplefilter("ignore")
    names = available(options.contestants)
    programs = program_versions(name for name in names if name in PROGRAMS)
    found = conditions(options, ("astropy", THEIRS, "bottleneck")) | programs
    rows = []
    with TemporaryDirectory() as folder:
        files = make_frames(folder, options.frames, options.size)
        for operation in options.operations:
            print(f"... {operation}", file=sys.stderr)
            rows += measure_operation(operation, names, files, folder, options)
    print_rows(rows, COLUMNS)
    publish(options, "peers_fits", rows, found, tables(rows), partial(draw, rows=rows))


if __name__ == "__main__":
    main()
