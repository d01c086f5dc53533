# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine plan FILES... [options]``: what a combination would do, without it."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from math import prod

from imcombiners_astro.cli.combine import make_parser, prepare
from imcombiners_astro.cli.common import (
    EXIT_CODES,
    FORESEEN,
    format_rows,
    format_size,
    one_line,
)
from imcombiners_astro.cli.estimate import (
    estimate,
    first_frame,
    measured_levels,
    result_nbytes,
    shape_of_result,
)
from imcombiners_astro.cli.names import plain_path
from imcombiners_astro.cli.parsing import read_words
from imcombiners_astro.cli.rejection import describe_rejection
from imcombiners_astro.cli.report import (
    DEFAULT_LIMIT,
    begin_report,
    check_report,
    write_report,
)
from imcombiners_astro.files.mef import ManyImages
from imcombiners_astro.files.options import ReadOptions, reading_of
from imcombiners_astro.files.output import check_output

__all__ = ["parse", "run"]

DESCRIPTION = """\
Show what `imcombine` would do with the same words: put `plan` in front of
them. Printed are the size of the images, what is rejected and how, how often
the files are read, strips, memory, open files, the time it will take, what is
to be warned about, and what would stop it. Nothing is written but what --json
asks for.
"""

EPILOG = f"""\
time:
  The combination is begun and stopped after some strips (of up to 1 s); the
  time of the others is that of the strips tried. Zero levels and scales that
  are measured on the frames are measured on two of them. Writing OUT is not
  included. Files that are in the cache of the system now, and will not be
  then, take longer. --progress and --verbose change nothing here.

{EXIT_CODES.replace("and OUT is as it was", "or OUT cannot be made")}"""

_STREAMED = "the result does not fit in the memory and is written to OUT piece by piece"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``imcombine plan``."""
    parser = make_parser(
        "imcombine plan", "FILES... [-o OUT] [options]", DESCRIPTION, EPILOG
    )
    options = read_words(parser, words)
    if not options.files:
        parser.error("the following arguments are required: FILES")
    if options.groupby or options.where:
        parser.error("a plan is of one combination: leave --groupby and --where out")
    # They are part of the plan.
    options.holds_warnings = True
    return options


def run(options: argparse.Namespace) -> int:
    """Print the plan; return the exit code."""
    files, keywords = prepare(options)
    check_report(options, files)
    report = begin_report(options, files, keywords)
    if keywords.get("hdu") == "all":
        keywords |= _first_image(files[0], keywords, options)
    frame = first_frame(files[0], keywords)
    problems = _problems_of_output(options)
    limit = keywords.get("mem_limit", DEFAULT_LIMIT)
    found, shape = None, frame.shape
    try:
        found = _estimate(files, keywords, options)
    except FORESEEN as error:
        problems.insert(0, one_line(error))
    if found is not None and options.offsets is not None:
        shape = shape_of_result(files, keywords)
    nbytes = result_nbytes(shape, len(files), keywords)
    _warn_about_resources(options, files, frame, nbytes, limit)
    report |= {
        "status": "failed" if problems else "done",
        "error": "; ".join(problems) or None,
        "geometry": {
            "n_frames": len(files),
            "shape": list(frame.shape),
            "result_shape": list(shape),
            "dtype": frame.dtype,
            "unit": frame.unit,
            "bytes_read": frame.nbytes * len(files),
        },
        "passes": _passes(options, keywords),
        "strips": None,
        "time": None,
        "memory": {
            "limit": limit,
            "result": nbytes,
            "result_in_memory": _STREAMED not in options.notes,
        },
        "descriptors": _descriptors(len(files)),
    }
    if found is not None:
        strip = frame.nbytes * len(files) / max(found.n_strips, 1)
        height = -(-prod(frame.shape[:-1]) // max(found.n_strips, 1))
        report["strips"] = {
            "number": found.n_strips,
            "height": None if options.offsets is not None else height,
        }
        report["time"] = {
            "seconds": found.seconds,
            "opening": found.opening,
            "statistics": found.statistics,
            "combining": found.combining,
            "strips_tried": found.n_tried,
        }
        report["memory"]["strips"] = strip * min(2, found.n_strips)
    write_report(report, options)
    if not options.quiet and options.json != "-":
        print(_text(report, options))
        for title, lines in (
            ("warnings", options.warnings),
            ("notes", options.notes),
            ("this would fail", problems),
        ):
            if lines:
                print(f"\n{title}:")
                print("\n".join(f"  - {line}" for line in lines))
    return 1 if problems else 0


def _first_image(file, keywords, options):
    """Return keywords for the first of the images that --hdu all combines."""
    reading = ReadOptions.parse(reading_of(keywords))
    images = ManyImages(plain_path(file), file, reading)
    images.close()
    key, first = next(iter(images.parts.items()))
    options.notes.append(
        f"--hdu all: this is of the first of {len(images.parts)} images"
    )
    # As there: an extension without BUNIT has that of the primary header.
    bunit = first.bunit or images.all_parts[0].bunit
    return {"hdu": first.number, "unit": reading.unit_of(bunit, images.label(key))}


def _estimate(files, keywords, options):
    """Estimate; with the output only where the result does not fit in the memory."""
    try:
        return estimate(files, keywords)
    except ValueError as error:
        if options.output is None or "output_file" not in str(error):
            raise
    options.notes.append(_STREAMED)
    return estimate(files, keywords, options.output)


def _problems_of_output(options):
    """Say why the output cannot be written."""
    if options.output is None:
        return []
    try:
        check_output(options.output, bool(options.overwrite))
    except FORESEEN as error:
        return [one_line(error)]
    return []


def _warn_about_resources(options, files, frame, nbytes, limit):
    """Warn about what the library cannot know before the work."""
    row = frame.nbytes * len(files) / max(frame.shape[0], 1)
    if 2 * row > limit:
        options.warnings.append(
            f"two rows of all frames ({format_size(2 * row)}) are more than "
            f"--mem-limit ({format_size(limit)})"
        )
    if len(files) == 1:
        options.warnings.append("there is one frame: nothing to compare it with")
    if options.output is not None:
        folder = os.path.dirname(os.path.expanduser(options.output)) or os.curdir
        if os.path.isdir(folder):
            free = shutil.disk_usage(folder).free
            if free < nbytes:
                options.warnings.append(
                    f"{folder} has {format_size(free)} left, the result may take "
                    f"{format_size(nbytes)}"
                )


def _descriptors(n_files):
    """Return how many files are open at once, and may be."""
    try:
        import resource
    except ImportError:  # Windows
        return {"files": n_files, "limit": None}
    return {"files": n_files, "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}


def _passes(options, keywords):
    """Say how often the files are read, and what for."""
    passes = ["headers"]
    levels = [
        f"{name} {value if isinstance(value, str) else 'by function'}"
        for name, value in measured_levels(keywords).items()
    ]
    if levels:
        section = f" of {options.statsec}" if options.statsec else ""
        passes.append(f"statistics of each frame{section} ({', '.join(levels)})")
    halo = sum(int(r.grow or 0) for r in keywords.get("rejectors") or ())
    rows = f", strips with {halo} more rows on each side for growth" if halo else ""
    return [*passes, f"combination{rows}"]


def _text(report, options):
    """Write the plan for people."""
    geometry, memory = report["geometry"], report["memory"]
    size = " x ".join(str(n) for n in reversed(geometry["shape"]))
    total = format_size(geometry["bytes_read"])
    rows = [
        ("frames", f"{geometry['n_frames']}"),
        ("image size", f"{size}, {geometry['dtype']}, unit {geometry['unit']}"),
        *_result_size(geometry),
        ("method", options.method or "average"),
        *(("reject", step) for step in describe_rejection(options)),
        *(
            (f"pass {k}", f"{text}" + (f", {total}" if k > 1 else ""))
            for k, text in enumerate(report["passes"], 1)
        ),
    ]
    if strips := report["strips"]:
        of_rows = "" if strips["height"] is None else f" of {strips['height']} rows"
        rows.append(("strips", f"{strips['number']}{of_rows}"))
    rows.append(("memory", _memory_text(memory)))
    open_files = report["descriptors"]
    if open_files["limit"] is not None:
        rows.append(
            ("open files", f"limit {open_files['limit']}, {open_files['files']} frames")
        )
    if seconds := report["time"]:
        rows.append(("time", _time_text(seconds, strips, len(report["passes"]))))
    rows.append(("output", report["output"] or "(not given)"))
    return format_rows(rows)


def _result_size(geometry):
    """Return a row for the size of the result, if it is not that of the frames."""
    if geometry["result_shape"] == geometry["shape"]:
        return []
    return [("result", " x ".join(str(n) for n in reversed(geometry["result_shape"])))]


def _memory_text(memory):
    parts = {"result": memory["result"]} if memory["result_in_memory"] else {}
    parts |= {"strips": memory["strips"]} if "strips" in memory else {}
    listed = ", ".join(f"{name} {format_size(size)}" for name, size in parts.items())
    total, limit = (format_size(x) for x in (sum(parts.values()), memory["limit"]))
    return f"{total} ({listed}) of {limit}"


def _time_text(seconds, strips, n_passes):
    parts = [f"headers {seconds['opening']:.2g}"]
    if n_passes > 2:
        parts.append(f"statistics {seconds['statistics']:.2g}")
    parts.append(f"combination {seconds['combining']:.2g}")
    tried, number = seconds["strips_tried"], strips["number"]
    how = "all strips" if tried == number else f"the first {tried} of {number} strips"
    return (
        f"about {seconds['seconds']:.2g} s ({', '.join(parts)}), tried with {how}, "
        "without writing"
    )
