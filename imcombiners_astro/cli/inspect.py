# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine inspect OUT X Y``: what happened at one pixel of a result."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

import numpy as np
from astropy.io import fits

from imcombiners_astro.atomic import check_free, replacing
from imcombiners_astro.cli.combine import make_parser
from imcombiners_astro.cli.common import (
    EXIT_CODES,
    Parser,
    Switch,
    add_messages,
    format_rows,
    progress_bar,
)
from imcombiners_astro.cli.names import assume_unit, expand_names, plain_path
from imcombiners_astro.cli.options import add_options, make_keywords
from imcombiners_astro.cli.parsing import add_config, read_words
from imcombiners_astro.files.fits import opened_frames
from imcombiners_astro.files.mef import ManyImages
from imcombiners_astro.files.options import READER_KEYWORDS, ReadOptions, reading_of
from imcombiners_astro.files.output import OUTPUT_KEYWORDS
from imcombiners_astro.flags import OutputFlags, SampleFlags
from imcombiners_astro.pixel import Pixel, lacking, pixel_of
from imcombiners_astro.pixelplot import draw_pixel, kinds_of
from imcombiners_astro.result import CombinedCCDData
from imcombiners_astro.strip import fold

__all__ = ["find_images", "parse", "run"]

# Keywords that do not change a pixel.
_WITHOUT_EFFECT = frozenset(
    (*READER_KEYWORDS, "mem_limit", "n_threads", "progress_bar")
)

DESCRIPTION = """\
Show the samples of one pixel of OUT, a file that imcombine has written, and
what became of each. What OUT says of them depends on --diagnostics when it was
made: `full` tells why a sample is not used, `simple` only whether. The samples
themselves are looked up in the files that were combined.
"""

EPILOG = f"""\
examples:
  imcombine inspect master.fits 512 384
  imcombine inspect master.fits 512 384 --reject sigclip:sigma=4 --png pixel.png
  imcombine inspect master.fits 383 511 --numpy --images 'night1/*.fits'

options of the combination:
  Those that OUT was made with (or --config FILE) are needed to see the limits
  of the rejection, and to read files with --hdu or --unit. For an OUT without
  diagnostics the files are combined again with them, in memory. Those about
  the file OUT, such as --output-dtype, change nothing.

files:
  The files that were combined are found by the names in OUT (FRAMES, or
  IMCMB001 and so on): as they are there, else in the current directory, else
  beside OUT; --images names them where they are elsewhere.

{EXIT_CODES.replace(", and OUT is as it was", "")}"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``imcombine inspect``."""
    parser = Parser(
        prog="imcombine inspect",
        usage="imcombine inspect OUT X Y [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        add_help=False,
    )
    group = parser.add_argument_group("pixel")
    group.add_argument("output", nargs="?", metavar="OUT", help="the combined file")
    group.add_argument(
        "pixel",
        nargs="*",
        type=_index,
        metavar="X Y",
        help="the pixel as in FITS: column and row, from 1 (and further axes)",
    )
    group.add_argument(
        "--numpy",
        action=Switch,
        help="the pixel as in NumPy instead: row and column, from 0",
    )
    group.add_argument(
        "--images",
        action="append",
        metavar="FILES",
        help="the files that were combined, in their order: names, a pattern, a "
        "directory or @LIST; may be repeated",
    )
    group.add_argument(
        "--png",
        metavar="FILE",
        help="draw the samples into FILE (.png, .pdf or .svg; needs matplotlib)",
    )
    group.add_argument("--overwrite", action=Switch, help="replace FILE if it exists")
    add_config(group)
    parser.set_defaults(files=None)
    add_options(parser)
    add_messages(parser)
    for word in words:
        if word.startswith(("input=", "output=")) and not os.path.exists(word):
            parser.error(f"{word}: leave it out; OUT and --images name the files")
    options = read_words(parser, words, others=make_parser())
    if not options.pixel:
        parser.error("the following arguments are required: OUT, X, Y")
    return options


def _index(text: str) -> int:
    if not re.fullmatch(r"\s*-?\d+", text):
        raise argparse.ArgumentTypeError(f"an integer is expected, not {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Print the samples of the pixel, and draw them."""
    if options.png is not None:
        check_free(options.png, options.overwrite, "overwrite_output")
    keywords = make_keywords(options)
    result, primary, step = _read(options)
    if keywords.get("hdu") == "all":
        del keywords["hdu"]  # there is one image
    index = _pixel(options, result.shape)
    names = _names(result, primary)
    if options.images:
        images = expand_names(options.images)
    else:
        images = find_images(names, options.output)
    if images is not None and "hdu" in keywords:
        # The names in a result of --hdu all have it in brackets, too.
        images = [plain_path(name) for name in images]
    if images is not None and assume_unit(images, keywords):
        keywords["unit"] = str(result.unit)
    keywords = {k: v for k, v in keywords.items() if k not in OUTPUT_KEYWORDS}
    keywords["progress_bar"] = progress_bar(options, "combining")
    pixel, samples = _samples(result, index, images, keywords, step)
    if not options.quiet:
        print(_heading(options, result, index))
        print(format_rows(_facts(result, index, pixel)))
        print()
        print(_table(result, index, names, pixel, samples))
    if options.png is None:
        return
    if pixel is None:
        raise ValueError(
            f"--png: {options.output} does not say what became of its samples, or its "
            "images are not found; combine with --diagnostics full, or give the "
            "options of the combination again"
        )
    _draw(options, pixel)


def _read(options):
    """Read the result, the primary header of its file, and the step of its values."""
    path, where = os.path.expanduser(options.output), {}
    with fits.open(path, memmap=False) as hdus:
        primary = hdus[0].header.copy()
        # What belongs to an image is left out by its name alone.
        unread = ReadOptions.parse({"hdu_mask": None, "hdu_uncertainty": None})
        images = ManyImages(hdus, path, unread).parts
        if len(images) > 1:
            if options.hdu in (None, "all"):
                names = ", ".join(
                    ",".join(map(str, key)) if isinstance(key, tuple) else str(key)
                    for key in images
                )
                raise ValueError(
                    f"{options.output} has {len(images)} images ({names}); say which "
                    "with --hdu"
                )
            where["hdu"] = options.hdu
            step = _step(hdus[options.hdu])
        else:
            (part,) = images.values()
            step = _step(hdus[part.number])
    return CombinedCCDData.read(path, **where), primary, step


def _step(hdu):
    """Return the largest step between values that a file can hold; 0: they are exact.

    Integers are truncated (``output_dtype``), others may be rounded by the compression.
    """
    if hdu.header["BITPIX"] > 0:
        return 1.0
    if isinstance(hdu, fits.CompImageHDU) and "ZSCALE" in hdu.compressed_data.names:
        return float(np.max(hdu.compressed_data["ZSCALE"]))
    return 0.0


def _pixel(options, shape):
    """Return the index of the pixel in the order of NumPy."""
    index = tuple(options.pixel)
    if len(index) != len(shape):
        raise ValueError(
            f"{options.output} has {len(shape)} axes, found {len(index)} coordinates"
        )
    if not options.numpy:
        index = tuple(k - 1 for k in reversed(index))
    if not all(0 <= k < n for k, n in zip(index, shape, strict=True)):
        last = " x ".join(str(n) for n in (shape if options.numpy else shape[::-1]))
        first = 0 if options.numpy else 1
        raise ValueError(
            f"there is no pixel {' '.join(map(str, options.pixel))} in "
            f"{options.output}: it has {last} pixels, counted from {first}"
        )
    return index


def _names(result, primary) -> list[str]:
    """Return the names of the files that were combined."""
    if result.frames is not None:
        return [str(name) for name in result.frames["name"]]
    header = result.header if "IMCMB001" in result.header else primary
    keys = sorted(key for key in header if re.fullmatch(r"IMCMB\d{3}", str(key)))
    return [str(header[key]) for key in keys]


def find_images(names: Sequence[str], output: str) -> list[str] | None:
    """
    Find the files that were combined.

    Parameters
    ----------
    names : sequence of str
        As the result has them, perhaps without their directories.
    output : str
        The result.

    Returns
    -------
    list of str or None
        Where they are; None if one of them is not found.
    """
    folders = ("", os.path.dirname(os.path.expanduser(output)))
    found = []
    for name in names:
        places = [name]
        places += [os.path.join(folder, os.path.basename(name)) for folder in folders]
        there = next((p for p in places if os.path.isfile(plain_path(p))), None)
        if there is None:
            return None
        found.append(there)
    return found or None


def _samples(
    result, index, images, keywords, step
) -> tuple[Pixel | None, np.ndarray | None]:
    """Return what is known of the pixel, or else the samples alone, if possible."""
    if images is None:
        return None, None
    if len(images) != (result.n_frames or len(images)):
        raise ValueError(
            f"found {len(images)} images, the result is of {result.n_frames}"
        )
    if not lacking(result):
        return pixel_of(result, index, images, keywords), None
    if keywords.keys() - _WITHOUT_EFFECT:
        pixel = pixel_of(images, index, keywords=keywords)
        value = float(result.data[index])
        if not np.isclose(pixel.value, value, 1e-4, atol=step, equal_nan=True):
            raise ValueError(
                f"with these options the pixel is {pixel.value:.7g}, in the file it is "
                f"{value:.7g}: give the options that the file was made with"
            )
        return pixel, None
    return None, _raw_samples(images, index, result, reading_of(keywords))


def _raw_samples(images, index, result, reading):
    """Return the pixel of every image as it is in the file."""
    place = np.ravel_multi_index(index, result.shape)
    values = []
    with opened_frames(images, **reading) as frames:
        for frame in frames:
            row, column = np.unravel_index(place, fold(frame.shape))
            if tuple(frame.shape) != result.shape:
                raise ValueError(
                    f"{frame.name} has the shape {tuple(frame.shape)}, the result "
                    f"{result.shape}; if images were shifted, give --offsets again"
                )
            values.append(float(frame.read(row, row + 1).values()[0, column]))
    return np.array(values)


def _heading(options, result, index):
    place = ", ".join(
        f"{axis} = {k + 1}" for axis, k in zip("xyzuvw", reversed(index), strict=False)
    )
    return f"pixel {place} of {options.output} (NumPy {list(index)})"


def _facts(result, index, pixel) -> list[tuple[str, str]]:
    """Rows about the pixel as a whole."""
    unit = "" if result.unit is None else f" {result.unit}"
    error = ""
    if result.uncertainty is not None and result.uncertainty.array is not None:
        kind = result.uncertainty.uncertainty_type
        sign = "+-" if kind == "std" else f", {kind}"
        error = f" {sign} {result.uncertainty.array[index]:.4g}"
    rows = [("result", f"{result.data[index]:.7g}{error}{unit}")]
    if result.mask is not None and result.mask[index]:
        rows.append(("masked", "no sample is left"))
    if result.n_used is not None:
        total = result.n_frames or len(result.mask_rej)
        text = f"{result.n_used[index]} of {total} samples"
        if result.n_rejected_low is not None:
            text += (
                f", rejected {result.n_rejected_low[index]} low and "
                f"{result.n_rejected_high[index]} high"
            )
        rows.append(("used", text))
    if result.low is not None:
        rows.append(("left", f"{result.low[index]:.7g} to {result.upp[index]:.7g}"))
    if result.std is not None and np.isfinite(result.std[index]):
        nit = 0 if result.nit is None else int(result.nit[index])
        passes = "1 pass" if nit == 1 else f"{nit} passes"
        rows.append(("spread", f"{result.std[index]:.4g}, after {passes}"))
    if result.output_flags is not None and result.output_flags[index]:
        flags = OutputFlags(int(result.output_flags[index]))
        rows.append(("flags", ", ".join(flag.name for flag in flags)))
    if result.output_dq is not None:
        rows.append(("data quality", f"{result.output_dq[index]}"))
    for name, (low, upp) in ({} if pixel is None else pixel.limits).items():
        text = f"{low[0]:.7g} to {upp[0]:.7g}"
        if np.ptp(low) > 0 or np.ptp(upp) > 0:
            text += " for the first frame"
        rows.append(("limits", f"{text} ({name})"))
    return rows


def _table(result, index, names, pixel, samples) -> str:
    """Make a table of the samples, as far as they are known."""
    columns = {"frame": list(names)}
    at = (slice(None), *index)
    if pixel is not None:
        columns["frame"] = pixel.names
        columns["sample"] = [f"{value:.7g}" for value in pixel.values]
        if np.isfinite(pixel.errors).any():
            columns["error"] = [f"{error:.4g}" for error in pixel.errors]
        columns["- result"] = [f"{x:+.4g}" for x in pixel.values - pixel.value]
        columns["verdict"] = list(kinds_of(pixel))
        note = "samples are after zero and scale" if pixel.is_scaled else ""
    elif samples is not None:
        columns["frame"] = columns["frame"] or [
            f"image {k + 1}" for k in range(len(samples))
        ]
        columns["sample"] = [f"{value:.7g}" for value in samples]
        columns["- result"] = [f"{x:+.4g}" for x in samples - result.data[index]]
        note = (
            "samples are as in the files; which are used is not known: combine with "
            "--diagnostics,\nor give the options of the combination again"
        )
    elif result.mask_rej is not None:
        unused = result.mask_rej[at]
        columns["frame"] = names or _numbered(len(unused))
        columns["verdict"] = ["not used" if bad else "used" for bad in unused]
        if result.sample_flags is not None:
            columns["why"] = [
                ", ".join(flag.name for flag in SampleFlags(int(bits)))
                for bits in result.sample_flags[at]
            ]
        note = _not_found(names)
    else:
        return f"the file has no diagnostics, and {_not_found(names)}"
    widths = [max(map(len, [name, *cells])) for name, cells in columns.items()]
    right = [name in ("sample", "error", "- result") for name in columns]
    rows = zip(*([name, *cells] for name, cells in columns.items()), strict=True)
    lines = [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
    lines = [f"  {line}" for line in lines]
    return "\n".join([*lines, "", note] if note else lines)


def _not_found(names):
    shown = f" ({names[0]}{', ...' if len(names) > 1 else ''})" if names else ""
    return f"the images{shown} are not found; --images says where they are"


def _numbered(n):
    return [f"image {k}" for k in range(1, n + 1)]


def _draw(options, pixel):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "--png needs matplotlib, which is not installed: "
            'pip install "imcombiners_astro[plots]"'
        ) from error
    # A figure that pyplot does not know of needs no display.
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    draw_pixel(figure.add_subplot(), pixel)
    with replacing(options.png, bool(options.overwrite)) as name:
        figure.savefig(name)
