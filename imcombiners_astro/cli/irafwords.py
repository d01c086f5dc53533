# Licensed under a 3-clause BSD style license - see LICENSE
"""
IRAF's way to give parameters: ``reject=sigclip lsigma=4 zero=median``.

A word ``NAME=VALUE`` with the name of a parameter of ``images.immatch.imcombine`` means
what it means there, or is refused with a hint at what to use. It becomes options of
this command, before those that stand on the command line themselves.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Container, Sequence

from imcombiners_astro.cli.values import is_number, read_list

__all__ = ["PARAMETERS", "refuse_options", "translate"]


class Refused(Exception):
    """A parameter or value that has no equal here."""


# Iteration, spread and restoration as in IRAF; the rest are defaults of the classes.
_LIKE_IRAF = "maxiters=none,revert_on_nkeep=closest"
_REJECT = {
    "none": "none",
    "minmax": "minmax",
    "sigclip": f"sigclip:ddof=1,{_LIKE_IRAF}",
    "ccdclip": f"ccdclip:{_LIKE_IRAF}",
    "crreject": f"crreject:{_LIKE_IRAF}",
    "avsigclip": "avsigclip:revert_on_nkeep=closest",
    "pclip": "pclip",
}
_STATISTICS = ("mode", "median", "mean")
_ITERATING = ("sigclip", "ccdclip", "crreject", "avsigclip")


def _option(name: str, *, none: str | None = None) -> Callable:
    """Make a rule: the value as it is, after an option."""

    def rule(value: str) -> list[str]:
        return [] if value == none else [name, value]

    return rule


def _refuse(hint: str, *, unless: Sequence[str] = ("",)) -> Callable:
    """Make a rule: nothing but a value that changes nothing."""

    def rule(value: str) -> list[str]:
        if value.lower() in unless:
            return []
        raise Refused(hint)

    return rule


def _combine(value):
    if value in ("average", "median", "sum"):
        return ["--method", value]
    if value in ("lmedian", "quadrature", "nmodel"):
        raise Refused("for arrays imcombiners_astro.iraf.imcombine has it")
    raise Refused(f"found {value!r}, expected average, median or sum")


def _reject(value):
    if value not in _REJECT:
        raise Refused(f"found {value!r}, expected one of {', '.join(_REJECT)}")
    return ["--reject", _REJECT[value]]


def _outtype(value):
    types = {"real": "float32", "double": "float64"}
    if value not in types:
        raise Refused("use --output-dtype, which does not truncate")
    return ["--dtype", types[value]]


def _offsets(value):
    if value.lower() in ("none", ""):
        return []
    if value in ("wcs", "world"):
        return ["--offsets", "wcs"]
    if value == "physical":
        return ["--offsets", "physical"]
    if value.startswith("grid"):
        raise Refused("write the offsets into a file, a line X Y for each frame")
    return ["--offsets", f"@{value.removeprefix('@')}"]


def _scale(value):
    if value in ("none", ""):
        return []
    if value in (*_STATISTICS, "exposure"):
        return ["--scale", value]
    if value.startswith("@"):
        numbers = _numbers(value)
        return ["--scale", ",".join(str(x / numbers[0]) for x in numbers)]
    raise Refused(
        "IRAF multiplies by a keyword, and --scale '!KEYWORD' divides by it; use that, "
        "or numbers"
    )


def _zero(value):
    if value in ("none", ""):
        return []
    if value in _STATISTICS:
        return ["--zero", value]
    if value.startswith("@"):
        return ["--zero=" + ",".join(str(-x) for x in _numbers(value))]
    raise Refused(
        "IRAF adds a keyword, and --zero '!KEYWORD' subtracts it, less that of the "
        "first frame; use that, or numbers"
    )


def _numbers(value):
    try:
        return [float(word) for word in read_list(value[1:])]
    except OSError as error:
        raise Refused(f"{value[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"{value[1:]}: {error}") from None


def _statsec(value):
    words = value.split(None, 1)
    if words and words[0].lower() in ("input", "output", "overlap"):
        raise Refused("give the section of the frames, [x1:x2,y1:y2]")
    return ["--statsec", value] if value else []


def _noise(option):
    def rule(value):
        if is_number(value):
            return [option, value]
        return [option, f"!{value.removeprefix('!')}"]

    return rule


_DIAGNOSTICS = "use --diagnostics full, which writes them as extensions of OUT"

#: Parameters of IRAF's task: a rule makes words of the value, or refuses it.
PARAMETERS: dict[str, Callable[[str], list[str]]] = {
    "input": lambda value: [word for word in value.split(",") if word],
    "output": _option("--output"),
    "headers": _refuse("there is no file of headers; --diagnostics names the frames"),
    "bpmasks": _refuse("the extension MASK of OUT is True where nothing is left"),
    "rejmasks": _refuse(_DIAGNOSTICS),
    "nrejmasks": _refuse(_DIAGNOSTICS),
    "expmasks": _refuse("use --diagnostics simple and the number of samples used"),
    "sigmas": _refuse(
        "UNCERT of OUT is the error of the mean; --diagnostics simple adds the scatter"
    ),
    "imcmb": _refuse("IMCMBnnn has the names of the files", unless=("$i", "")),
    "logfile": _refuse("use --json or --verbose", unless=("", "stdout")),
    "combine": _combine,
    "reject": _reject,
    "project": _refuse("give a file for each plane", unless=("no", "false", "")),
    "outtype": _outtype,
    "outlimits": _refuse("cut the result"),
    "offsets": _offsets,
    "masktype": _refuse(
        "masks are the extension MASK, see --hdu-mask, or flags, see --ignore-flags",
        unless=("none", ""),
    ),
    "maskvalue": _refuse("see --ignore-flags", unless=("0", "")),
    "blank": _option("--blank"),
    "scale": _scale,
    "zero": _zero,
    "weight": _refuse(
        "IRAF multiplies weights by NCOMBINE of the frames; use --weights",
        unless=("none", ""),
    ),
    "statsec": _statsec,
    "expname": _option("--expname", none=""),
    "lthreshold": _option("--lthreshold"),
    "hthreshold": _option("--hthreshold"),
    "nlow": _option("--nlow"),
    "nhigh": _option("--nhigh"),
    "nkeep": _option("--nkeep"),
    "mclip": _option("--mclip"),
    "lsigma": _option("--lsigma"),
    "hsigma": _option("--hsigma"),
    "rdnoise": _noise("--readnoise"),
    "gain": _noise("--gain"),
    "snoise": _noise("--snoise"),
    "sigscale": _option("--sigscale"),
    "pclip": _option("--pclip"),
    "grow": _option("--grow"),
}

# Which algorithms look at a parameter, and the value that changes nothing.
_USED_BY = {
    "nlow": (("minmax",), "1"),
    "nhigh": (("minmax",), "1"),
    "pclip": (("pclip",), "-0.5"),
    "lsigma": (("sigclip", "ccdclip", "avsigclip", "pclip"), "3"),
    "hsigma": ((*_ITERATING, "pclip"), "3"),
    "nkeep": ((*_ITERATING, "pclip"), "1"),
    "mclip": (_ITERATING, "yes"),
    "sigscale": (("ccdclip", "crreject"), "0.1"),
    "grow": ((*_ITERATING, "pclip", "minmax"), "0"),
}

# Options whose values look like parameters.
_WITH_PAIRS = ("--reader", "--where", "--flag-names", "--reject")


def translate(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """
    Take IRAF's words out of a command line.

    Parameters
    ----------
    words : sequence of str
        The command line. A word that is the name of a file is one.

    Returns
    -------
    options : list of str
        What IRAF's words mean here.
    rest : list of str
        The other words, and the values of ``input``.

    Raises
    ------
    ValueError
        A parameter or value that has no equal here, with what to use.

    Examples
    --------
    >>> from imcombiners_astro.cli.irafwords import translate
    >>> translate(["a.fits", "reject=minmax", "nlow=0"])
    (['--reject', 'minmax', '--nlow', '0'], ['a.fits'])
    """
    given, rest = _split(words)
    reject = given.get("reject", "none")
    options, inputs = [], []
    for name, value in given.items():
        algorithms, default = _USED_BY.get(name, ((reject,), None))
        if reject not in algorithms:
            if not _same(value, default):
                raise ValueError(f"{name}={value} has no effect with reject={reject}")
            continue
        if name == "grow" and is_number(value) and float(value) < 1:
            continue  # no pixel is as near as that
        try:
            found = PARAMETERS[name](value)
        except Refused as error:
            raise ValueError(f"{name}={value}: {error}") from None
        (inputs if name == "input" else options).extend(found)
    if reject in ("ccdclip", "crreject"):
        # IRAF's defaults; here they would be looked up in the headers.
        options = "--gain 1 --readnoise 0 --snoise 0".split() + options
    return options, inputs + rest


def refuse_options(words: Sequence[str], options: Container[str]) -> None:
    """
    Find options with the names of IRAF's parameters that are no options here.

    Parameters
    ----------
    words : sequence of str
        The command line.
    options : container of str
        The options that there are.

    Raises
    ------
    ValueError
        With what to use.
    """
    for word in words:
        if word == "--":
            return
        option = word.partition("=")[0]
        name = option.removeprefix("--")
        if name == option or name not in PARAMETERS or option in options:
            continue
        hint = f"as a word, {name}=VALUE, it is what it is in IRAF"
        try:
            PARAMETERS[name]("?")
        except Refused as error:
            hint = str(error)
        raise ValueError(f"{option}: {hint}")


def _split(words):
    """Return IRAF's parameters, and the other words."""
    given, rest, previous = {}, [], ""
    for k, word in enumerate(words):
        if word == "--":
            rest += words[k:]
            break
        name, sign, value = word.partition("=")
        is_pair = bool(sign) and previous not in _WITH_PAIRS
        if is_pair and name in PARAMETERS and not os.path.exists(word):
            given[name] = value.strip()
        else:
            rest.append(word)
            if is_pair and name.isidentifier() and not os.path.exists(word):
                near = difflib.get_close_matches(name, PARAMETERS, 1, 0.75)
                if near:
                    raise ValueError(
                        f"{word}: neither a file nor a parameter; did you mean "
                        f"{near[0]}=?"
                    )
        previous = word
    return given, rest


def _same(value, default):
    if is_number(value) and is_number(default):
        return float(value) == float(default)
    return value.lower() == default
