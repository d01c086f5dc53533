# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the words after an option mean.

Each function takes a text and returns a value of the library. argparse shows the text
of an ArgumentTypeError.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from imcombiners_astro.extras import is_name, values_by_name

__all__ = [
    "Given",
    "are_numbers",
    "bit_names",
    "count",
    "flag_classes",
    "flags",
    "hdu",
    "keyword_value",
    "limit",
    "memory",
    "noise",
    "number",
    "offsets",
    "positive_pair",
    "read_list",
    "sample_size",
    "scale",
    "statistic_or_numbers",
    "weights",
    "word_or_none",
]

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

_WORDS = {"none": None, "true": True, "yes": True, "false": False, "no": False}


class Given(NamedTuple):
    """A value that may be None, of an option that was given."""

    value: Any


def read_list(name: str) -> list[str]:
    """Lines of a file (``-``: standard input) that are not empty or comments."""
    if name == "-":
        lines = sys.stdin.read().splitlines()
    else:
        with open(os.path.expanduser(name), encoding="utf-8") as file:
            lines = file.read().splitlines()
    lines = [line.strip() for line in lines]
    return [line for line in lines if line and not line.startswith("#")]


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def are_numbers(text: str) -> bool:
    """Whether a text is numbers with commas between them."""
    return all(is_number(word) for word in text.split(","))


def number(text: str) -> float:
    """Return a number."""
    if not is_number(text):
        raise ArgumentTypeError(f"a number is expected, not {text.strip()!r}")
    return float(text)


def positive_pair(text: str) -> tuple[float, float]:
    """Return one positive number twice, or two."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(number > 0 for number in numbers):
        raise ArgumentTypeError(
            f"one or two positive numbers are expected, not {text!r}"
        )
    return numbers[0], numbers[-1]


def count(text: str) -> int:
    """Return a number of samples."""
    if not text.strip().isdecimal():
        raise ArgumentTypeError(
            f"a number of samples (0, 1, 2, ...) is expected, not {text!r}"
        )
    return int(text)


def limit(text: str) -> float | None:
    """Return a number; 'none' and IRAF's INDEF are None."""
    if text.strip().lower() in ("none", "indef"):
        return None
    if not is_number(text) or np.isnan(float(text)):
        raise ArgumentTypeError(f"a number or 'none' is expected, not {text!r}")
    return float(text)


def memory(text: str) -> float:
    """Return a size in bytes."""
    size = 0.0
    if match := SIZE.fullmatch(text.lower()):
        size = float(match["number"]) * UNITS_OF_MEMORY[match["unit"]]
    if not 0 < size < np.inf:
        raise ArgumentTypeError(
            f"a size such as 500M, 2G or 1.5GiB is expected, not {text!r}"
        )
    return size


def _lines(text: str) -> list[str]:
    try:
        return read_list(text[1:])
    except OSError as error:
        raise ArgumentTypeError(f"{text[1:]}: {error.strerror}") from None


def numbers(text: str, else_: str = "") -> np.ndarray:
    """Return numbers, given here or in a file."""
    words = _lines(text) if text.startswith("@") else text.split(",")
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise ArgumentTypeError(
            f"{else_}numbers separated by commas, or @FILE with one per line, are "
            f"expected: {error}"
        ) from None


def _named(argument: str, text: str) -> str | np.ndarray:
    if text.strip() and is_name(argument, text):
        return text.strip()
    return numbers(text, f"{values_by_name(argument)}, ")


def weights(text: str) -> str | np.ndarray:
    """Return the name of weights, or numbers."""
    return _named("weights", text)


def scale(text: str) -> str | np.ndarray | Callable:
    """Return a function, the name of a scale, or numbers."""
    if text in SCALES:
        return SCALES[text]
    try:
        return _named("scale", text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{', '.join(SCALES)}, {error}") from None


def statistic_or_numbers(text: str) -> str | float | np.ndarray:
    """Return the name of a zero level, one number, or numbers."""
    return float(text) if is_number(text) else _named("zero", text)


def noise(text: str) -> float | str | list[float]:
    """Return one number, one for each frame, or a header keyword."""
    if is_number(text):
        return float(text)
    if text.startswith("@") or are_numbers(text):
        return numbers(text).tolist()
    keyword = text.strip().removeprefix("!")
    if not re.fullmatch(r"[A-Za-z0-9_. -]+", keyword) or keyword[0].isdigit():
        raise ArgumentTypeError(
            "a number, a header keyword, numbers separated by commas, or @FILE with "
            f"one per line, is expected, not {text!r}"
        )
    return text.strip()


def hdu(text: str) -> int | str | tuple[str, int]:
    """Return number, name, or name and version of an extension."""
    text = text.strip()
    if text.isdecimal():
        return int(text)
    name, comma, version = text.partition(",")
    if not comma:
        return text
    if not version.strip().isdecimal():
        raise ArgumentTypeError(
            f"NUMBER, NAME or NAME,VERSION is expected, not {text!r}"
        )
    return name.strip(), int(version)


def word_or_none(*words: str) -> Callable[[str], str | None]:
    """Make a function that takes one of some words, and "none" for None."""

    def word(text: str) -> str | None:
        if text == "none":
            return None
        if text not in words:
            raise ArgumentTypeError(
                f"invalid choice: {text!r} (choose from {', '.join(words)}, none)"
            )
        return text

    # None would mean that the option was not given.
    return lambda text: Given(word(text))


def flags(text: str) -> int | str:
    """Return a number of bits, or text for astropy to read."""
    text = text.strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def flag_classes(text: str) -> list[str]:
    """Return classes of flags: 4,8+16 are the flag 4, and 8 or 16."""
    classes = [word.strip().replace("+", ",") for word in text.split(",")]
    if not all(re.fullmatch(r"\w+(,\w+)*", flags) for flags in classes):
        raise ArgumentTypeError(
            f"flags such as 4,8+16 are expected, the mildest first, not {text!r}"
        )
    return classes


def bit_names(text: str) -> dict[str, int]:
    """Return names of flags: HOT=1,SATURATED=4."""
    names = {}
    for word in text.split(","):
        name, _, bit = (part.strip() for part in word.partition("="))
        is_bit = bit.isdecimal() and int(bit) > 0 and int(bit) & (int(bit) - 1) == 0
        if not (name.isidentifier() and is_bit):
            raise ArgumentTypeError(
                "names of flags such as HOT=1,SATURATED=4 are expected, with powers "
                f"of 2, not {text!r}"
            )
        names[name] = int(bit)
    return names


def keyword_value(text: str) -> tuple[str, Any]:
    """Return a name and the value of KEY=VALUE."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ArgumentTypeError(f"KEY=VALUE is expected, not {text!r}")
    return name.strip(), literal(value.strip())


def literal(text: str) -> Any:
    """Return None, a truth value, an integer, a number, some of these, or the text."""
    if "," in text:
        return tuple(literal(word.strip()) for word in text.split(","))
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def sample_size(text: str) -> Given:
    """Return a number of pixels, or None for all of them."""
    if text == "exact":
        return Given(None)
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(
            f"a number of pixels of a frame, or 'exact', is expected, not {text!r}"
        )
    return Given(int(text))


def offsets(text: str) -> str | tuple[str, ...] | np.ndarray:
    """Return the name of offsets, keywords, or integers in the order of NumPy."""
    if text in ("wcs", "physical"):
        return text
    if text.startswith("@"):
        return _offsets_of(_lines(text), text[1:])
    keywords = [word.strip().removeprefix("!") for word in text.split(",")]
    if len(keywords) > 1 and all(re.fullmatch(r"[A-Z0-9_-]+", k) for k in keywords):
        return tuple(keywords)
    raise ArgumentTypeError(
        "wcs, physical, two header keywords such as XOFF,YOFF, or @FILE with X Y of "
        f"each frame, is expected, not {text!r}"
    )


def _offsets_of(lines: Sequence[str], name: str) -> np.ndarray:
    try:
        rows = [[float(word) for word in line.split()] for line in lines]
        found = np.array(rows, dtype=float)
        if found.ndim != 2 or not found.size:
            raise ValueError
    except ValueError:
        raise ArgumentTypeError(
            f"{name}: a line with X Y (in pixels) of each frame is expected"
        ) from None
    if (found != np.rint(found)).any():
        raise ArgumentTypeError(
            f"{name}: offsets are whole pixels; for others resample the images, for "
            "example with reproject"
        )
    # Columns as in FITS: x is the last axis of NumPy.
    return (found - found[0]).astype(int)[:, ::-1].copy()
