# Licensed under a 3-clause BSD style license - see LICENSE
"""
The options of a combination, by theme, and the keywords of the library they are.

The destination of an option is the keyword of `imcombiners_astro.combine` where both
mean the same. An option that is not given is None and is not passed on: the library
has the defaults.
"""

from __future__ import annotations

import argparse
from typing import Any

from imcombiners_astro.cli import values
from imcombiners_astro.cli.common import Parser, Switch, add_threads
from imcombiners_astro.cli.rejection import add_rejection, make_rejectors
from imcombiners_astro.files.options import READER_KEYWORDS

__all__ = [
    "OPTION_OF",
    "WITHOUT_OPTION",
    "add_options",
    "check_options",
    "make_keywords",
]

TYPES = "float32 float64 int16 int32 int64 uint8 uint16 uint32".split()

#: Keywords of the library without an option of their own, and why.
WITHOUT_OPTION = {
    "img_list": "the files",
    "array_package": "files give NumPy arrays",
    "combine_uncertainty_function": "a function; write a script for it",
    "ccdkwargs": "--hdu, --unit and their like, and --reader",
}

#: Names of other options for keywords of the library.
OPTION_OF = {
    "clip_extrema": "clip_extrema",
    "nlow": "clip_extrema",
    "nhigh": "clip_extrema",
    "minmax_clip": "minmax",
    "minmax_clip_min": "minmax",
    "minmax_clip_max": "minmax",
    "sigma_clip_low_thresh": "sigma_clip",
    "sigma_clip_high_thresh": "sigma_clip",
    "sigma_clip_func": "center",
    "sigma_clip_dev_func": "spread",
    "output_file": "output",
    "overwrite_output": "overwrite",
    "progress_bar": "progress",
}

# Options that are keywords of the library as they are.
_AS_THEY_ARE = """
    method weights scale mem_limit dtype n_threads blank zero statsec uncertainty
    diagnostics gain readnoise snoise clip_scaled exposure effective_noise
    offsets footprint statsample output_dtype output_compression output_checksum
    unit hdu hdu_mask hdu_uncertainty hdu_flags key_uncertainty_type
""".split()


def add_options(parser: Parser) -> None:
    """Add all options that say how files are read and combined."""
    _add_combination(parser)
    _add_normalization(parser)
    add_rejection(parser)
    _add_uncertainty(parser)
    _add_quality(parser)
    _add_geometry(parser)
    _add_reading(parser)
    _add_output(parser)


def _add_combination(parser):
    group = parser.add_argument_group("combination")
    group.add_argument(
        "-m",
        "--method",
        "--combine",
        choices=("average", "median", "sum"),
        help="what becomes of the samples left at a pixel (default: average)",
    )
    group.add_argument(
        "--weights",
        "--weight",
        type=values.weights,
        metavar="W",
        help="weights in an average or sum: 'ivar' (inverse variances of the samples, "
        "by the uncertainties in the files), 'exposure', a header keyword such as "
        "NCOMBINE or '!ncombine', or numbers: one per frame, separated by commas or in "
        "a file, @FILE",
    )
    group.add_argument(
        "--thresholds",
        nargs=2,
        type=values.limit,
        metavar=("LOW", "HIGH"),
        help="use no sample below LOW or above HIGH, before anything else is done; "
        "'none' for no limit",
    )
    for name, text in (("lthreshold", "LOW"), ("hthreshold", "HIGH")):
        group.add_argument(
            f"--{name}", type=values.limit, metavar=text, help="one of them (IRAF)"
        )
    group.add_argument(
        "--blank",
        type=values.number,
        metavar="V",
        help="value of pixels with no sample left (default: NaN; 0 for the sum)",
    )


def _add_normalization(parser):
    group = parser.add_argument_group(
        "zero and scale",
        "A sample enters as (value - zero) / scale. What is measured or read from "
        "headers is relative to the first frame; numbers are used as they are.",
    )
    group.add_argument(
        "--zero",
        type=values.statistic_or_numbers,
        metavar="Z",
        help="to subtract: 'mean', 'median' or 'mode' of each frame, a header keyword, "
        "or numbers (one, or one per frame, or @FILE)",
    )
    group.add_argument(
        "--scale",
        type=values.scale,
        metavar="S",
        help="'mean', 'median', 'mode', 'exposure' or a header keyword divides each "
        "frame by it, relative to the first; 'inv_median' and 'inv_mean' make the "
        "median or mean of each frame 1, as for flats; numbers (one per frame, or "
        "@FILE) multiply",
    )
    group.add_argument(
        "--statsec",
        metavar="[X1:X2,Y1:Y2]",
        help="section of the frames for statistics, as in FITS and IRAF",
    )
    group.add_argument(
        "--statsample",
        type=values.sample_size,
        metavar="N",
        help="take statistics of at most N pixels of a frame, or 'exact' (default)",
    )
    group.add_argument(
        "--clip-scaled",
        action=Switch,
        help="reject after zero and scale, or with --no-clip-scaled before (default: "
        "after with --reject, before with the others)",
    )
    group.add_argument(
        "--expname",
        metavar="KEYWORD",
        help="exposure time for 'exposure' in --scale and --weights (default: EXPTIME "
        "and its like)",
    )


def _add_uncertainty(parser):
    group = parser.add_argument_group("noise, uncertainty, diagnostics")
    group.add_argument(
        "--uncertainty",
        type=values.word_or_none("empirical", "scatter", "propagate", "noise"),
        metavar="KIND",
        help="empirical: from the scatter of the samples, by ccdproc's formulas "
        "(default); scatter: the same, unbiased; propagate: from the uncertainties in "
        "the files; noise: from gain and read noise; none",
    )
    for name, also, what in (
        ("gain", (), "electrons per unit of the files"),
        ("readnoise", ("--rdnoise",), "read noise in electrons"),
        ("snoise", (), "sensitivity noise, a fraction of the signal"),
    ):
        group.add_argument(
            f"--{name}",
            *also,
            type=values.noise,
            metavar="G" if name == "gain" else "R" if also else "F",
            help=f"{what}: a number, one per frame, @FILE or a header keyword"
            + ("" if name == "snoise" else " (default: the usual keywords)"),
        )
    group.add_argument(
        "--diagnostics",
        choices=("simple", "full"),
        help="write what happened to every pixel, frame (simple) and sample (full) "
        "into extensions of OUT, for 'imcombine inspect'",
    )
    group.add_argument(
        "--exposure",
        choices=("keep", "sum", "mean"),
        help="exposure time in the header of OUT (default: keep that of the first)",
    )
    group.add_argument(
        "--effective-noise",
        action=Switch,
        help="gain and read noise in the header of OUT become those of the result",
    )


def _add_quality(parser):
    group = parser.add_argument_group("data quality")
    group.add_argument(
        "--ignore-flags",
        type=values.flags,
        metavar="BITS",
        help="flags that do not make a sample bad, all others do: 0, 4,8 or ~4, as in "
        "astropy.nddata.bitmask, or names, see --flag-names. Flags are in the "
        "extension DQ or FLAGS, see --hdu-flags",
    )
    group.add_argument(
        "--least-bad",
        type=values.flag_classes,
        metavar="BITS",
        help="flags of samples to use where there is no good one, the mildest first, "
        "such as 4,8+16",
    )
    group.add_argument(
        "--flag-names",
        type=values.bit_names,
        metavar="NAME=BIT,...",
        help="names for --ignore-flags and --least-bad",
    )


def _add_geometry(parser):
    group = parser.add_argument_group("offsets")
    group.add_argument(
        "--offsets",
        type=values.offsets,
        metavar="O",
        help="where frames lie, in whole pixels: wcs, physical, two header keywords "
        "(of x and y, such as XOFF,YOFF), or @FILE with a line X Y for each frame",
    )
    group.add_argument(
        "--footprint",
        choices=("union", "intersection", "first"),
        help="what OUT covers, with --offsets (default: union)",
    )


def _add_reading(parser):
    group = parser.add_argument_group("what is read of the files")
    group.add_argument(
        "--unit",
        help="unit of the pixels, such as adu or electron, stronger than BUNIT "
        "(default: BUNIT, or adu if no file has it)",
    )
    group.add_argument(
        "--hdu",
        type=values.hdu,
        help="extension to combine: number, NAME or NAME,VERSION (default: the first "
        "one with an image); all: each extension with its like, into as many",
    )
    for name, default in (("mask", "MASK"), ("uncertainty", "UNCERT"), ("flags", "DQ")):
        group.add_argument(
            f"--hdu-{name}",
            metavar="HDU",
            help=f"extension with the {name} (default: {default}"
            + (" or FLAGS)" if name == "flags" else ")"),
        )
    group.add_argument(
        "--key-uncertainty-type",
        metavar="KEYWORD",
        help="keyword for the class of the uncertainties (default: UTYPE)",
    )
    group.add_argument(
        "--reader",
        action="append",
        type=values.keyword_value,
        metavar="KEY=VALUE",
        help="any other keyword of CCDData.read or astropy.io.fits.open, such as "
        "ignore_missing_end=true; may be repeated",
    )


def _add_output(parser):
    group = parser.add_argument_group("output and resources")
    group.add_argument(
        "--dtype",
        choices=TYPES,
        metavar="TYPE",
        help="type of the result: float32 or float64 (default), or an integer type, "
        "to which values are truncated; everything is computed in float64",
    )
    group.add_argument(
        "--output-dtype",
        choices=TYPES,
        metavar="TYPE",
        help=f"type of the image in the file only: {', '.join(TYPES)}",
    )
    group.add_argument(
        "--output-compression",
        type=values.word_or_none("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"),
        metavar="TYPE",
        help="tile compression: RICE_1, GZIP_1, GZIP_2, HCOMPRESS_1",
    )
    group.add_argument(
        "--output-checksum",
        action=Switch,
        help="write DATASUM and CHECKSUM into every extension",
    )
    group.add_argument(
        "--mem-limit",
        type=values.memory,
        metavar="SIZE",
        help="memory to use, such as 500M, 2G or 1.5GiB (default: 16G); the result "
        "does not depend on it",
    )
    add_threads(group)


def check_options(options: argparse.Namespace) -> None:
    """
    Find options that need others.

    Raises
    ------
    ValueError
        Naming them.
    """
    for name in ("center", "spread"):
        if getattr(options, name) and not options.sigma_clip:
            raise ValueError(f"--{name} needs --sigma-clip")
    if options.thresholds and (options.lthreshold, options.hthreshold) != (None,) * 2:
        raise ValueError(
            "--thresholds and --lthreshold, --hthreshold exclude each other"
        )
    if options.footprint and options.offsets is None:
        raise ValueError("--footprint needs --offsets")
    if options.flag_names and options.ignore_flags is None and not options.least_bad:
        raise ValueError("--flag-names needs --ignore-flags or --least-bad")
    by_time = [x for x in (options.scale, options.weights) if _is_exposure(x)]
    if options.expname and not by_time:
        raise ValueError("--expname needs --scale exposure or --weights exposure")
    for name, _ in options.reader or ():
        if name not in READER_KEYWORDS:
            raise ValueError(
                f"--reader: there is no keyword {name!r}, only "
                f"{', '.join(sorted(READER_KEYWORDS))}"
            )
    make_rejectors(options)


def _is_exposure(value):
    return isinstance(value, str) and value.lower() == "exposure"


def make_keywords(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of the library for the options that were given."""
    keywords = {name: getattr(options, name) for name in _AS_THEY_ARE}
    keywords["thresholds"] = options.thresholds
    if (options.lthreshold, options.hthreshold) != (None, None):
        keywords["thresholds"] = [options.lthreshold, options.hthreshold]
    keywords["rejectors"] = make_rejectors(options)
    keywords = {name: value for name, value in keywords.items() if value is not None}
    for name, value in keywords.items():
        if isinstance(value, values.Given):
            keywords[name] = value.value
    if options.expname:
        for name in ("scale", "weights"):
            if _is_exposure(keywords.get(name)):
                keywords[name] = f"!{options.expname.removeprefix('!')}"
    return keywords | _flags(options) | _switches(options) | dict(options.reader or ())


def _switches(options):
    """Return keywords for the ways to reject that are those of ccdproc."""
    keywords = {}
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


def _flags(options):
    """Return keywords for flags, with the names that were given."""
    keywords = {
        name: getattr(options, name)
        for name in ("ignore_flags", "least_bad")
        if getattr(options, name) is not None
    }
    if not options.flag_names:
        return keywords
    from astropy.nddata.bitmask import extend_bit_flag_map

    names = extend_bit_flag_map("FLAGS", **options.flag_names)
    return {
        name: value if isinstance(value, int) else (value, names)
        for name, value in keywords.items()
    }
