# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine FILES... -o OUT``: combine FITS files into one."""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro.cli import (
    Parser,
    add_messages,
    add_threads,
    peak_memory,
    progress_bar,
)
from imcombiners_astro.files.combine import combine_and_count

__all__ = ["parse", "run"]

DESCRIPTION = """\
Combine FITS images of one size, pixel by pixel, into one image: the average, the
median or the sum, after rejecting what does not belong (cosmic rays, satellites,
bad samples). Masked and NaN pixels are never used. Files are read in strips, so
that hundreds of frames need no more memory than --mem-limit.
"""

EPILOG = """\
commands:
  imcombine [combine] FILES... -o OUT    this one
  imcombine demo                         show on simulated frames what it does

examples:
  Master bias, the mean after clipping at 5 sigma about the median:
    imcombine bias_*.fits -o master_bias.fits --sigma-clip 5 --unit adu

  Master flat of a steady lamp: clipped, then each frame divided by its median:
    imcombine @flats.txt -o master_flat.fits --sigma-clip --scale inv_median

  Median of the first image extension, in 32 bits, with 2 GB of memory at most:
    imcombine 'night1/*.fits.fz' -o sky.fits --method median --hdu 1 \\
              --dtype float32 --mem-limit 2G

files:
  A name with * ? or [ ] that is not a file itself is a pattern (for names that the
  shell did not expand). @LIST reads names or patterns from the file LIST, one per
  line; empty lines and lines that begin with # are skipped, names are relative to
  the current directory, and @- reads standard input. OUT is written only when all
  went well, under a temporary name first; an existing OUT is kept unless
  --overwrite is given. It holds the image, a mask (MASK: pixels with no sample
  left) and the uncertainty (UNCERT).

output:
  The progress bar (if tqdm is installed) and the summary go to standard error, and
  only if that is a terminal; --verbose gives the summary in any case.

exit codes:
  0 done    1 failed    2 wrong usage    130 interrupted (Ctrl-C)
"""

#: Options followed by one or two numbers, or by none.
OPTIONAL_NUMBERS = {"--sigma-clip": "3,3"}

#: Ways of --scale to find the factor of a frame from its pixels.
SCALES = {
    "inv_median": lambda image: 1 / np.median(image),
    "inv_mean": lambda image: 1 / np.mean(image),
}

UNITS_OF_MEMORY = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
SIZE = re.compile(r"(?P<number>\d+\.?\d*(e\d+)?)(?P<unit>([kmgt]i?)?)b?")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``imcombine combine``."""
    parser = Parser(
        prog="imcombine",
        usage="imcombine FILES... -o OUT [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILES",
        help="FITS files, patterns, or @LIST (a file of names)",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="the FITS file to write",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT if it exists"
    )

    group = parser.add_argument_group("combination")
    group.add_argument(
        "-m",
        "--method",
        choices=("average", "median", "sum"),
        default="average",
        help="what becomes of the samples left at a pixel (default: average)",
    )
    group.add_argument(
        "--scale",
        type=_scale,
        metavar="S",
        help="multiply each frame by a factor: 'inv_median' or 'inv_mean' (one over "
        "the median or mean of the frame, as for flats), or one number per frame, "
        "separated by commas or in a file, @FILE. The samples are rejected before "
        "they are multiplied",
    )
    group.add_argument(
        "--weights",
        type=_numbers,
        metavar="W",
        help="weights of the frames in an average or sum: numbers separated by "
        "commas, or @FILE",
    )

    group = parser.add_argument_group(
        "rejection",
        "Each way judges all the samples of a pixel; what any of them rejects is "
        "not used.",
    )
    group.add_argument(
        "--sigma-clip",
        type=_thresholds,
        metavar="[LOW [HIGH]]",
        help="reject samples more than LOW times the spread below or HIGH times "
        "above the center; one number serves for both, none means 3",
    )
    group.add_argument(
        "--center",
        choices=("median", "mean"),
        help="center for --sigma-clip (default: median)",
    )
    group.add_argument(
        "--spread",
        choices=("mad_std", "std"),
        help="spread for --sigma-clip (default: mad_std, 1.4826 times the median "
        "absolute deviation, which outliers do not enlarge). Choose std where the "
        "noise is below one unit of integer data",
    )
    group.add_argument(
        "--clip-extrema",
        nargs=2,
        type=_count,
        metavar=("NLOW", "NHIGH"),
        help="reject the NLOW lowest and the NHIGH highest samples",
    )
    group.add_argument(
        "--minmax",
        nargs=2,
        type=_limit,
        metavar=("MIN", "MAX"),
        help="reject samples below MIN or above MAX; 'none' for no limit",
    )

    group = parser.add_argument_group("files and resources")
    group.add_argument(
        "--unit",
        help="unit of the pixels, such as adu or electron; needed if the files have "
        "no BUNIT, and stronger than it",
    )
    group.add_argument(
        "--hdu",
        type=lambda text: int(text) if text.isdecimal() else text,
        help="number or name of the extension to combine (default: the first one "
        "with an image)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        help="type of the pixels of OUT (default: float64)",
    )
    group.add_argument(
        "--mem-limit",
        type=_memory,
        metavar="SIZE",
        help="memory to use, such as 500M, 2G or 1.5GiB (default: 16G)",
    )
    add_threads(group)
    group = add_messages(parser)
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print the summary even if standard error is not a terminal",
    )

    # Intermixed: files may stand before and after the options.
    options = parser.parse_intermixed_args(_join_numbers(words))
    for name in ("center", "spread"):
        if getattr(options, name) and not options.sigma_clip:
            parser.error(f"--{name} needs --sigma-clip")
    if options.quiet and options.verbose:
        parser.error("--quiet and --verbose exclude each other")
    return options


def run(options: argparse.Namespace) -> None:
    """Combine the files and tell what was done."""
    files = expand_names(options.files)
    _check_names(files, options.output)
    start = time.perf_counter()
    result, tally = combine_and_count(
        files,
        options.output,
        options.method,
        overwrite_output=options.overwrite,
        progress_bar=progress_bar(options, "combining"),
        **_keywords(options),
    )
    seconds = time.perf_counter() - start
    if options.verbose or (sys.stderr.isatty() and not options.quiet):
        rows = _summary(options, files, result, tally, seconds)
        print(format_rows(rows), file=sys.stderr)


def _keywords(options: argparse.Namespace) -> dict:
    """Keywords of ``combine`` for the options that were given."""
    keywords = {
        "weights": options.weights,
        "scale": options.scale,
        "mem_limit": options.mem_limit,
        "dtype": options.dtype,
        "n_threads": options.threads,
        "unit": options.unit,
        "hdu": options.hdu,
    }
    keywords = {name: value for name, value in keywords.items() if value is not None}
    if options.sigma_clip:
        low, high = options.sigma_clip
        keywords |= {
            "sigma_clip": True,
            "sigma_clip_low_thresh": low,
            "sigma_clip_high_thresh": high,
            "sigma_clip_func": options.center or "median",
            "sigma_clip_dev_func": options.spread or "mad_std",
        }
    if options.clip_extrema:
        low, high = options.clip_extrema
        keywords |= {"clip_extrema": True, "nlow": low, "nhigh": high}
    if options.minmax:
        low, high = options.minmax
        keywords |= {
            "minmax_clip": True,
            "minmax_clip_min": low,
            "minmax_clip_max": high,
        }
    return keywords


def _summary(options, files, result, tally, seconds) -> list[tuple[str, str]]:
    """Rows (name, value) of the summary."""
    steps = [options.method]
    if options.clip_extrema:
        low, high = options.clip_extrema
        steps.append(f"without the {low} lowest and {high} highest")
    if options.minmax:
        low, high = options.minmax
        steps += [f"from {low:g}"] if low is not None else []
        steps += [f"up to {high:g}"] if high is not None else []
    if options.sigma_clip:
        low, high = options.sigma_clip
        center, spread = options.center or "median", options.spread or "mad_std"
        steps.append(f"sigma clip -{low:g} +{high:g} ({center}, {spread})")
    rows = [
        ("frames", f"{len(files)}"),
        ("image size", " x ".join(str(n) for n in reversed(result.shape))),
        ("method", ", ".join(steps)),
    ]
    if options.clip_extrema or options.minmax or options.sigma_clip:
        low, high = (100 * n / max(tally.samples, 1) for n in (tally.low, tally.high))
        text = f"{low + high:.3f} % of the samples ({low:.3f} low, {high:.3f} high)"
        rows.append(("rejected", text))
    n_empty = 0 if result.mask is None else np.count_nonzero(result.mask)
    rows.append(("empty pixels", f"{n_empty}"))
    rows.append(("time", f"{seconds:.2f} s ({len(files) / seconds:.1f} frames/s)"))
    if memory := peak_memory():
        rows.append(("peak memory", f"{memory / 1e6:.0f} MB"))
    rows.append(("output", options.output))
    return rows


def format_rows(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns: names and values."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def expand_names(names: Sequence[str]) -> list[str]:
    """Replace lists and patterns by the names of files.

    Raises
    ------
    FileNotFoundError
        If a list cannot be found, or no file matches a pattern.
    ValueError
        If a list is empty.
    """
    files = []
    for name in names:
        if name.startswith("@"):
            entries = _read_list(name[1:])
            if not entries:
                raise ValueError(f"{name[1:]}: no names of files in it")
        else:
            entries = [name]
        for entry in entries:
            files += _match(entry)
    return files


def _match(name: str) -> list[str]:
    name = os.path.expanduser(name)
    if os.path.exists(name) or not glob.has_magic(name):
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise FileNotFoundError(f"no file matches {name!r}")
    return found


def _read_list(name: str) -> list[str]:
    """Lines of a file (``-``: standard input) that are not empty or comments."""
    if name == "-":
        lines = sys.stdin.read().splitlines()
    else:
        with open(os.path.expanduser(name), encoding="utf-8") as file:
            lines = file.read().splitlines()
    lines = [line.strip() for line in lines]
    return [line for line in lines if line and not line.startswith("#")]


def _check_names(files: Sequence[str], output: str) -> None:
    """Find the two slips of the shell: the output as an input, and a file twice."""
    places = Counter(os.path.realpath(file) for file in files)
    if os.path.realpath(output) in places:
        raise ValueError(f"{output}: the output is also one of the files to combine")
    for place, times in places.items():
        if times > 1:
            warnings.warn(
                f"{place}: given {times} times, and used as often",
                AstropyUserWarning,
                stacklevel=2,
            )


def _join_numbers(words: Sequence[str]) -> list[str]:
    """Tie numbers to their options, as argparse cannot.

    ``--sigma-clip a.fits`` must leave a.fits alone, and a negative number such as
    -1e3 must not be taken for an option: a blank before it is enough.
    """
    words, joined = list(words), []
    while words:
        word = words.pop(0)
        if word == "--":
            return [*joined, word, *words]
        if word in OPTIONAL_NUMBERS:
            numbers = []
            while words and len(numbers) < 2 and _are_numbers(words[0]):
                numbers.append(words.pop(0))
            word += "=" + (",".join(numbers) or OPTIONAL_NUMBERS[word])
        elif word.startswith("-") and _are_numbers(word):
            word = " " + word
        joined.append(word)
    return joined


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_numbers(text: str) -> bool:
    return all(_is_number(word) for word in text.split(","))


# Types of options. argparse shows the text of an ArgumentTypeError.


def _thresholds(text: str) -> tuple[float, float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(number > 0 for number in numbers):
        raise argparse.ArgumentTypeError(
            f"one or two positive numbers are expected, not {text!r}"
        )
    return numbers[0], numbers[-1]


def _count(text: str) -> int:
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(
            f"a number of samples (0, 1, 2, ...) is expected, not {text!r}"
        )
    return int(text)


def _limit(text: str) -> float | None:
    if text == "none":
        return None
    if not _is_number(text) or np.isnan(float(text)):
        raise argparse.ArgumentTypeError(
            f"a number or 'none' is expected, not {text!r}"
        )
    return float(text)


def _memory(text: str) -> float:
    size = 0.0
    if match := SIZE.fullmatch(text.lower()):
        size = float(match["number"]) * UNITS_OF_MEMORY[match["unit"]]
    if not 0 < size < np.inf:
        raise argparse.ArgumentTypeError(
            f"a size such as 500M, 2G or 1.5GiB is expected, not {text!r}"
        )
    return size


def _numbers(text: str) -> np.ndarray:
    try:
        words = _read_list(text[1:]) if text.startswith("@") else text.split(",")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text[1:]}: {error.strerror}") from None
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"numbers separated by commas, or @FILE with one per line, are expected: "
            f"{error}"
        ) from None


def _scale(text: str) -> np.ndarray | Callable:
    if text in SCALES:
        return SCALES[text]
    if text.isidentifier():
        raise argparse.ArgumentTypeError(
            f"{' or '.join(SCALES)}, or numbers, are expected, not {text!r}"
        )
    return _numbers(text)
