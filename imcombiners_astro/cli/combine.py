# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine FILES... -o OUT``: combine FITS files into one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from imcombiners_astro.cli.common import (
    ENVIRONMENT,
    EXIT_CODES,
    Parser,
    Switch,
    add_messages,
    format_rows,
    one_line,
    peak_memory,
    progress_bar,
    say,
)
from imcombiners_astro.cli.groups import (
    add_groups,
    check_groups,
    count_frames,
    run_groups,
)
from imcombiners_astro.cli.names import assume_unit, check_names, expand_names
from imcombiners_astro.cli.options import add_options, make_keywords
from imcombiners_astro.cli.parsing import add_config, add_json, read_words
from imcombiners_astro.cli.rejection import describe_rejection, rejector_help
from imcombiners_astro.cli.report import (
    begin_report,
    check_report,
    frame_rows,
    write_report,
)
from imcombiners_astro.files.combine import combine_and_count

__all__ = ["add_files", "make_parser", "parse", "prepare", "run"]

DESCRIPTION = """\
Combine FITS images of one size, pixel by pixel, into one image: the average,
the median or the sum, after rejecting what does not belong (cosmic rays,
satellites, bad samples). Masked and NaN pixels are never used. Files are read
in strips, so that hundreds of frames need no more memory than --mem-limit.
"""

EPILOG = f"""\
commands:
  imcombine [combine] FILES... -o OUT    this one
  imcombine plan FILES... [options]      what it would do, without doing it
  imcombine inspect OUT X Y              what happened at one pixel of a result
  imcombine demo                         show on simulated frames what it does
  Each has a --help of its own.

{rejector_help()}
examples:
  Everything in a directory, the mean after clipping at 3 sigma:
    imcombine night/bias/ -o master_bias.fits --sigma-clip

  Master flat of a steady lamp: clipped, then each frame divided by its median:
    imcombine @flats.txt -o master_flat.fits --sigma-clip --scale inv_median

  Median of the first image extension, in 32 bits, with 2 GB of memory at most:
    imcombine 'night1/*.fits.fz' -o sky.fits --method median --hdu 1 \\
              --dtype float32 --mem-limit 2G

  Sky-levelled science frames, cosmic rays rejected by the noise of the detector
  and one pixel around them, with diagnostics and a report:
    imcombine sci_*.fits -o m51.fits --zero median \\
              --statsec '[100:900,100:900]' --reject ccdclip:sigma=5,grow=1 \\
              --diagnostics simple --json m51.json

  In IRAF's words:
    imcombine input=@sci.txt output=m51.fits zero=median reject=ccdclip \\
              lsigma=5 hsigma=5 grow=1 gain=GAIN rdnoise=RDNOISE

  One flat for each filter and exposure time, into the directory masters/:
    imcombine night/ -o masters/ --groupby filter,exptime --where imagetyp=flat

  The same options every night, from a file:
    imcombine night42/flat/ -o flat42.fits --config flat.toml
  where flat.toml has, for example,
    sigma-clip = [4, 3]
    scale = "inv_median"
    mem-limit = "2G"
    overwrite = true

files:
  A directory stands for the FITS files in it (*.fits, *.fit, *.fts, also with
  .fz, .gz or .bz2) in the order of their names, without OUT. A name with * ? or
  [ ] that is not a file itself is a pattern (for names that the shell did not
  expand). @LIST reads names, patterns, directories or other lists from the file
  LIST, one per line, and @- from standard input. Empty lines and all from a #
  on do not count; names are relative to the current directory, or to that of
  LIST where only there is such a file.
  OUT is written only when all went well, under a temporary name in its
  directory first; an existing OUT is kept unless --overwrite is given. It
  holds the image, a mask (MASK: pixels with no sample left), the uncertainty
  (UNCERT) and the diagnostics; its header names the files and the options. A
  failure or Ctrl-C leaves nothing behind.

IRAF:
  Words NAME=VALUE with the names of IRAF's imcombine mean what they mean there,
  or are refused with a hint at what to use (unless there is such a file).
  Options with IRAF's names (--lsigma, --nlow, --rdnoise, ...) set single values
  and leave the rest to the defaults of this command.

output:
  The progress bar (if tqdm is installed) and the summary go to standard error,
  and only if that is a terminal; --verbose gives the summary in any case.
  Nothing is written to standard output but what --json - asks for.

{ENVIRONMENT}
{EXIT_CODES}"""


def make_parser(
    prog: str = "imcombine",
    usage: str = "FILES... -o OUT [options]",
    description: str = DESCRIPTION,
    epilog: str | None = None,
) -> Parser:
    """Make the parser of ``imcombine combine``, or of one with the same options."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} {usage}",
        description=description,
        epilog=EPILOG if epilog is None else epilog,
        add_help=False,
    )
    add_files(
        parser,
        "the FITS file to write; with --groupby a directory, or a name with {keyword} "
        "in it",
    )
    add_options(parser)
    add_groups(parser)
    group = add_messages(parser)
    group.add_argument(
        "-v",
        "--verbose",
        action=Switch,
        help="print the summary even if standard error is not a terminal",
    )
    return parser


def add_files(parser: Parser, output: str) -> None:
    """Add the arguments that name files."""
    group = parser.add_argument_group("files")
    group.add_argument(
        "files",
        nargs="*",
        metavar="FILES",
        help="FITS files, directories, patterns, or @LIST (a file of names)",
    )
    group.add_argument("-o", "--output", metavar="OUT", help=output)
    group.add_argument("--overwrite", action=Switch, help="replace OUT if it exists")
    add_config(group)
    add_json(group, "a report (versions, options, what was rejected, time, memory)")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``imcombine combine``."""
    parser = make_parser()
    options = read_words(parser, words)
    lacking = [
        name
        for name, value in (("FILES", options.files), ("-o/--output", options.output))
        if not value
    ]
    if lacking:
        parser.error(f"the following arguments are required: {', '.join(lacking)}")
    if options.quiet and options.verbose:
        parser.error("--quiet and --verbose exclude each other")
    try:
        check_groups(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def prepare(options: argparse.Namespace) -> tuple[list[str], dict]:
    """
    Find the files, and the keywords of the library.

    Returns
    -------
    list of str
        The files.
    dict
        Keywords of `imcombiners_astro.combine`, with a unit if the files have none.
    """
    keywords = make_keywords(options)
    # An own keyword: the header then names the files and the options.
    keywords.setdefault("rejectors", [])
    output = None if options.output is None else os.path.expanduser(options.output)
    files = expand_names(options.files, output)
    check_names(files, output)
    if unit := assume_unit(files, keywords):
        keywords["unit"] = unit
        note = f"no BUNIT in the headers, {unit} is assumed; --unit says otherwise"
        options.notes.append(note)
        if not (options.quiet or options.holds_warnings):
            say(f"note: {note}")
    return files, keywords


def run(options: argparse.Namespace) -> None:
    """Combine the files and tell what was done."""
    files, keywords = prepare(options)
    check_report(options, [*files, options.output])
    report = begin_report(options, files, keywords)
    start = time.perf_counter()
    try:
        if options.groupby or options.where:
            results, tally = run_groups(files, keywords, options), None
            n_frames = count_frames(results, keywords)
        else:
            results, tally = combine_and_count(
                files,
                options.output,
                overwrite_output=bool(options.overwrite),
                progress_bar=progress_bar(options, "combining"),
                **keywords,
            )
            n_frames = len(files)
            if not isinstance(results, dict):
                results = {None: results}
    except Exception as error:
        report["error"] = one_line(error)
        write_report(report, options)
        raise
    seconds = time.perf_counter() - start
    _complete(report, n_frames, results, tally, seconds)
    write_report(report, options)
    if options.verbose or (sys.stderr.isatty() and not options.quiet):
        rows = _summary(options, n_frames, results, tally, seconds)
        print(format_rows(rows), file=sys.stderr)


def _complete(report, n_frames, results, tally, seconds):
    """Add what has happened to a report."""
    report["status"] = "done"
    report["results"] = [
        {
            "name": None if name is None else str(name),
            "shape": list(result.shape),
            "dtype": result.dtype.newbyteorder("=").name,
            "unit": str(result.unit),
            "empty_pixels": _n_empty(result),
            "frames": frame_rows(getattr(result, "frames", None)),
        }
        for name, result in results.items()
    ]
    report["samples"] = None
    if tally is not None:
        report["samples"] = {
            "all": tally.samples,
            "rejected_low": tally.low,
            "rejected_high": tally.high,
        }
    report["time"] = {
        "seconds": seconds,
        "frames_per_second": n_frames / seconds,
    }


def _n_empty(result):
    return 0 if result.mask is None else int(np.count_nonzero(result.mask))


def _summary(options, n_frames, results, tally, seconds) -> list[tuple[str, str]]:
    """Rows (name, value) of the summary."""
    shapes = {" x ".join(str(n) for n in reversed(r.shape)) for r in results.values()}
    steps = describe_rejection(options)
    rows = [
        ("frames", f"{n_frames}"),
        ("image size", ", ".join(sorted(shapes))),
        ("method", ", ".join([options.method or "average", *steps])),
    ]
    if len(results) > 1:
        rows.insert(1, ("images", f"{len(results)}"))
    if tally is not None and steps and tally.samples:
        low, high = (100 * n / tally.samples for n in (tally.low, tally.high))
        text = f"{low + high:.3f} % of the samples ({low:.3f} low, {high:.3f} high)"
        rows.append(("rejected", text))
    rows.append(("empty pixels", f"{sum(map(_n_empty, results.values()))}"))
    rows.append(("time", f"{seconds:.2f} s ({n_frames / seconds:.1f} frames/s)"))
    if memory := peak_memory():
        rows.append(("peak memory", f"{memory / 1e6:.0f} MB"))
    rows.append(("output", options.output))
    return rows
