# Licensed under a 3-clause BSD style license - see LICENSE
"""
Rejectors on the command line: ``--reject NAME[:KEY=VALUE,...]``.

Names and keys are those of the classes; what a class can do is never listed twice.
IRAF's options (``--lsigma``, ``--nlow``, ...) set keys of the rejectors given.
"""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from dataclasses import fields
from typing import Any

from imcombiners_astro import rejectors
from imcombiners_astro.cli.values import (
    count,
    limit,
    literal,
    number,
    positive_pair,
)

__all__ = [
    "REJECTORS",
    "add_rejection",
    "describe_rejection",
    "describe_rejector",
    "keys_of",
    "make_rejectors",
    "parse_rejector",
    "rejector_help",
]

#: Classes by the names they have here.
REJECTORS = {
    name.lower().replace("minmaxclip", "minmax"): getattr(rejectors, name)
    for name in rejectors.__all__
    if name not in ("KernelRejector", "Rejector")
}

# What IRAF takes for an infinite limit; a rejector takes finite ones.
_NO_LIMIT = 1e38


def keys_of(cls: type) -> list[str]:
    """Return the keys that a rejector has."""
    return [field.name for field in fields(cls)]


def parse_rejector(text: str) -> tuple[str, dict[str, Any]]:
    """
    Read the value of --reject.

    Returns
    -------
    str
        The name, "none" for no rejection.
    dict
        Keys and their values.
    """
    name, _, rest = text.strip().partition(":")
    name = name.strip().lower()
    if name == "none" and not rest:
        return "none", {}
    name = "minmax" if name == "minmaxclip" else name
    if name not in REJECTORS:
        raise argparse.ArgumentTypeError(
            f"invalid choice: {name!r} (choose from {', '.join(REJECTORS)}, none)"
        )
    known, keys = keys_of(REJECTORS[name]), {}
    # A comma before KEY= begins the next key; others are between numbers.
    for part in re.split(r",(?=\s*\w+\s*=)", rest) if rest else ():
        key, sign, value = (x.strip() for x in part.partition("="))
        if not sign or key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise argparse.ArgumentTypeError(
                f"{name} has no key {key!r}, only {', '.join(known)}{hint}"
            )
        keys[key] = literal(value)
    return name, keys


def _sigmas(text: str) -> float:
    if text.strip().upper() == "INDEF":
        return _NO_LIMIT
    value = number(text)
    if not 0 <= value <= _NO_LIMIT:
        raise argparse.ArgumentTypeError(
            f"a number >= 0 or INDEF is expected, not {text!r}"
        )
    return value


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d+\s*", text):
        raise argparse.ArgumentTypeError(f"an integer is expected, not {text!r}")
    return int(text)


def _mclip(text: str) -> str:
    if text.lower() in ("yes", "true"):
        return "median"
    raise argparse.ArgumentTypeError(
        f"found {text!r}: IRAF's mean without the extremes is not a center here; use "
        "--reject NAME:cenfunc=mean for the plain mean, or imcombiners_astro.iraf"
    )


#: Option: key, function for its value, placeholder, help.
_KEYS = {
    "lsigma": ("sigma", _sigmas, "S", "lower limit in sigmas, INDEF for none"),
    "hsigma": ("sigma", _sigmas, "S", "upper limit in sigmas, INDEF for none"),
    "nlow": ("n_min", number, "N", "minmax: lowest samples to reject (below 1: part)"),
    "nhigh": ("n_max", number, "N", "minmax: highest samples to reject"),
    "nkeep": ("nkeep", _whole, "N", "fewest samples to keep; -N: most to reject"),
    "mclip": ("cenfunc", _mclip, "yes", "limits about the median"),
    "pclip": ("frac", number, "P", "pclip: the percentile, as in IRAF"),
    "sigscale": ("sigscale", number, "T", "ccdclip, crreject: tolerance of scales"),
    "grow": ("grow", number, "R", "radius of growth in pixels"),
}


_ABOUT_KEYS = """\
  Limits are one number or two (low,high); none stands for no limit of passes,
  of samples or of growth. The documentation of the classes says what keys mean.
"""


def rejector_help() -> str:
    """List the rejectors with their keys and defaults, for the help."""
    text = "rejectors (--reject) with their keys and defaults:\n"
    for name, cls in REJECTORS.items():
        keys = " ".join(f"{f.name}={_shown(f.default)}" for f in fields(cls))
        text += textwrap.fill(
            keys,
            78,
            initial_indent=f"  {name:<12}",
            subsequent_indent=" " * 14,
            break_long_words=False,
            break_on_hyphens=False,
        )
        text += "\n"
    return text + _ABOUT_KEYS


def add_rejection(parser: argparse.ArgumentParser) -> None:
    """Add the options of all ways to reject."""
    names = ", ".join(REJECTORS)
    group = parser.add_argument_group(
        "rejection, one step after the other",
        "Each step judges the samples that those before have left, after --zero and "
        "--scale.",
    )
    group.add_argument(
        "--reject",
        dest="rejectors",
        action="append",
        type=parse_rejector,
        metavar="NAME[:KEY=VALUE,...]",
        help=f"a step: {names}, or none; several in their order. Keys are the "
        "listed below; for example sigclip:sigma=3,2.5,stdfunc=mad",
    )
    for name, (_, kind, metavar, text) in _KEYS.items():
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)

    group = parser.add_argument_group(
        "rejection, each way on its own (as ccdproc)",
        "Each way judges all the samples of a pixel as they are in the files; what any "
        "of them rejects is not used. Not together with --reject.",
    )
    group.add_argument(
        "--sigma-clip",
        type=positive_pair,
        metavar="[LOW [HIGH]]",
        help="reject samples more than LOW times the spread below or HIGH times "
        "above the center, in one pass; one number serves for both, none means 3",
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
        type=count,
        metavar=("NLOW", "NHIGH"),
        help="reject the NLOW lowest and the NHIGH highest samples",
    )
    group.add_argument(
        "--minmax",
        nargs=2,
        type=limit,
        metavar=("MIN", "MAX"),
        help="reject samples below MIN or above MAX; 'none' for no limit",
    )


def make_rejectors(options: argparse.Namespace) -> list | None:
    """
    Make the rejectors that were asked for.

    Returns
    -------
    list of KernelRejector or None
        None if there are none.

    Raises
    ------
    ValueError
        An option of a rejector that has no use.
    """
    steps = [(name, dict(keys)) for name, keys in options.rejectors or ()]
    # "none" takes back what came before, for example from a configuration file.
    for k, (name, _) in reversed(list(enumerate(steps))):
        if name == "none":
            steps = steps[k + 1 :]
            break
    for option, (key, *_) in _KEYS.items():
        value = getattr(options, option)
        if value is not None:
            _set_key(steps, option, key, value)
    return [REJECTORS[name](**keys) for name, keys in steps] or None


def _set_key(steps, option, key, value):
    """Set a key of all steps that have it and do not say it themselves."""
    able = [name for name, cls in REJECTORS.items() if key in keys_of(cls)]
    if option == "lsigma":
        able.remove("crreject")  # it has no lower limit
    takers = [(name, keys) for name, keys in steps if name in able]
    if not takers:
        raise ValueError(f"--{option} needs --reject with one of {', '.join(able)}")
    # The two limits are one key of the classes, and two options.
    side = {"lsigma": 0, "hsigma": 1}.get(option)
    open_ = [
        (name, keys)
        for name, keys in takers
        if key not in keys or (side is not None and isinstance(keys[key], _Sides))
    ]
    if not open_:
        raise ValueError(f"--{option}: --reject {takers[0][0]} has {key!r} already")
    for name, keys in open_:
        if side is None or name == "crreject":
            keys[key] = value
            continue
        default = REJECTORS[name].sigma
        both = keys.get(key, default if isinstance(default, tuple) else (default,) * 2)
        keys[key] = _Sides(value if k == side else both[k] for k in (0, 1))


class _Sides(tuple):
    """Limits that were given by --lsigma and --hsigma."""


def describe_rejection(options: argparse.Namespace) -> list[str]:
    """Write each way to reject that was asked for."""
    found = []
    if options.clip_extrema:
        low, high = options.clip_extrema
        found.append(f"clip extrema ({low} lowest, {high} highest)")
    if options.minmax:
        sides = zip(("below", "above"), options.minmax, strict=True)
        limits = [f"{side} {x:g}" for side, x in sides if x is not None]
        found.append(f"minmax ({' or '.join(limits) or 'no limits'})")
    if options.sigma_clip:
        low, high = options.sigma_clip
        center, spread = options.center or "median", options.spread or "mad_std"
        found.append(f"sigma clip -{low:g} +{high:g} ({center}, {spread})")
    return found + [describe_rejector(step) for step in make_rejectors(options) or ()]


def describe_rejector(rejector: Any) -> str:
    """Write a rejector with its limits, and with what is not at its default."""
    shown = {}
    for field in fields(rejector):
        value = getattr(rejector, field.name)
        if field.name == "sigma" or value != field.default:
            shown[field.name] = value
    name = next(n for n, cls in REJECTORS.items() if type(rejector) is cls)
    values = (f"{key}={_shown(value)}" for key, value in shown.items())
    return f"{name}:{','.join(values)}" if shown else name


def _shown(value):
    if isinstance(value, tuple):
        first, *rest = map(_shown, value)
        return first if set(rest) == {first} else ",".join([first, *rest])
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
