# Licensed under a 3-clause BSD style license - see LICENSE
"""
Programs that combine FITS files, as commands: IRAF, Gnuastro, Siril, SWarp.

Each is told how to combine files without normalisation and weights. The clip is at 3
standard deviations about the median, and the mean of the rest is taken, as near as the
program comes to that: SWarp takes the noise from elsewhere and clips once.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

SIGMA = 3
OPERATIONS = ("mean", "median", "sigclip")


def iraf(files, operation, folder, n_threads):
    """Run imcombine of IRAF, which uses one thread."""
    how = {
        "mean": 'combine="average", reject="none"',
        "median": 'combine="median", reject="none"',
        "sigclip": 'combine="average", reject="sigclip", mclip=yes, '
        f"lsigma={SIGMA}., hsigma={SIGMA}., nkeep=1",
    }[operation]
    Path(folder, "files.txt").write_text("\n".join(files) + "\n", encoding="ascii")
    script = Path(folder, "run.cl")
    script.write_text(
        "images\nimmatch\n"
        f'imcombine ("@files.txt", "out.fits", {how}, '
        'logfile="", offsets="none", outtype="real")\nlogout\n',
        encoding="ascii",
    )
    return ["irafcl", "-f", str(script)], "out.fits"


def gnuastro(files, operation, folder, n_threads):
    """Run astarithmetic of GNU Astronomy Utilities."""
    how = {
        "mean": ["mean"],
        "median": ["median"],
        "sigclip": [str(SIGMA), "0.2", "sigclip-mean"],
    }[operation]
    options = ["--globalhdu=0", f"--numthreads={n_threads}", "--quiet"]
    words = ["astarithmetic", *files, str(len(files)), *how, *options]
    return [*words, "--output=out.fits"], "out.fits"


def siril(files, operation, folder, n_threads):
    """Run stack of Siril, which scales its results to 1."""
    how = {
        "mean": "rej none",
        "median": "med",
        "sigclip": f"rej s {SIGMA} {SIGMA}",
    }[operation]
    for k, name in enumerate(files):
        link = Path(folder, f"frame_{k + 1:05d}.fits")
        if not link.exists():
            link.symlink_to(name)
    script = Path(folder, "run.ssf")
    script.write_text(
        f"requires 1.0.0\nsetext fits\nset32bits\nsetcpu {n_threads}\n"
        f"stack frame_ {how} -nonorm -out=out\n",
        encoding="ascii",
    )
    return [first("siril-cli", "siril"), "-d", folder, "-s", str(script)], "out.fits"


def swarp(files, operation, folder, n_threads):
    """Run SWarp without resampling and without subtraction of a background."""
    how = {"mean": "AVERAGE", "median": "MEDIAN", "sigclip": "CLIPPED"}[operation]
    options = {
        "COMBINE_TYPE": how,
        "CLIP_SIGMA": SIGMA,
        "RESAMPLE": "N",
        "SUBTRACT_BACK": "N",
        "NTHREADS": n_threads,
        "WRITE_XML": "N",
        "VERBOSE_TYPE": "QUIET",
        "IMAGEOUT_NAME": "out.fits",
        "WEIGHTOUT_NAME": "weight.fits",
    }
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    return [first("SWarp", "swarp"), *files, *map(str, words)], "out.fits"


def first(*names):
    """Return the first program that there is."""
    return next(filter(shutil.which, names), names[0])


# Command that must be there, and what makes the call.
PROGRAMS = {
    "IRAF": ("irafcl", iraf),
    "gnuastro": ("astarithmetic", gnuastro),
    "siril": (first("siril-cli", "siril"), siril),
    "swarp": (first("SWarp", "swarp"), swarp),
}

# What the result is to be multiplied with.
UNITS = {"siril": 65535.0}


def environment(folder):
    """Return the environment to run in: IRAF wants a name and a home of the user."""
    return os.environ | {"HOME": str(folder), "USER": os.environ.get("USER", "user")}


def program_versions(names):
    """Return the versions of programs, as they tell it."""
    found = {}
    for name in names:
        program = PROGRAMS[name][0]
        option = "-v" if name == "IRAF" else "--version"
        done = subprocess.run(
            [program, option], capture_output=True, text=True, check=False
        )
        number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        found[name] = number.group() if number else "unknown"
    return found
