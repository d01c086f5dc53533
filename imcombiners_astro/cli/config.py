# Licensed under a 3-clause BSD style license - see LICENSE
"""
Options from a file: ``--config FILE.toml``.

Every key is the name of a long option. The file becomes words that stand before those
of the command line, so that these win.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Sequence
from typing import Any

from imcombiners_astro.cli.common import Parser, Switch

__all__ = ["find_config", "words_of_config"]

#: The inputs have no option; this is their name.
FILES = "files"
_NOT_IN_A_FILE = ("config", "help", "version")


def find_config(words: Sequence[str]) -> str | None:
    """Return the value of --config, the last one if there are several."""
    found = None
    words = list(words)
    for k, word in enumerate(words):
        if word == "--":
            break
        if word == "--config" and k + 1 < len(words):
            found = words[k + 1]
        elif word.startswith("--config="):
            found = word.partition("=")[2]
    return found


def words_of_config(
    path: str, parser: Parser, others: Parser | None = None
) -> tuple[list[str], list[str]]:
    """
    Read a file of options.

    Parameters
    ----------
    path : str
        A file in the format TOML.
    parser : Parser
        Which options there are.
    others : Parser, optional
        Its options are passed over.

    Returns
    -------
    words : list of str
        The options as they would stand on the command line.
    files : list of str
        The inputs.

    Raises
    ------
    SystemExit
        If it is no such file, or has something else in it; the parser says so.
    """
    try:
        with open(os.path.expanduser(path), "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        parser.error(f"{path}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        parser.error(f"{path}: not a TOML file: {error}")
    options = _options_of(parser)
    passed_over = set() if others is None else set(_options_of(others)) - set(options)
    words = []
    for key, value in table.items():
        if key == FILES or key in passed_over:
            continue
        if key not in options:
            near = difflib.get_close_matches(key, [*options, FILES], 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            parser.error(f"{path}: there is no option {key!r}{hint}")
        try:
            words += _words(key, value, options[key])
        except TypeError as error:
            parser.error(f"{path}: {key}: {error}")
    files = table.get(FILES, [])
    files = [files] if isinstance(files, str) else files
    if not all(isinstance(name, str) for name in files):
        parser.error(f"{path}: {FILES}: names of files are expected, found {files!r}")
    return words, files


def _options_of(parser):
    """Return the long options of a parser without the hyphens, and their actions."""
    return {
        option[2:]: action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option[2:] not in _NOT_IN_A_FILE
    }


def _words(key, value, action):
    """Return the words for one entry."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise TypeError(f"true or false is expected, found {value!r}")
        if value:
            return [f"--{key}"]
        if not isinstance(action, Switch):
            return []
        return [f"--no-{key}" if not key.startswith("no-") else f"--{key[3:]}"]
    several = type(action).__name__ == "_AppendAction"
    if several:
        items = value if isinstance(value, list) else [value]
        return [f"--{key}={_text(item)}" for item in items]
    if isinstance(action.nargs, int):
        items = value if isinstance(value, list) else [value]
        if len(items) != action.nargs:
            raise TypeError(f"{action.nargs} values are expected, found {value!r}")
        return [f"--{key}", *(_word(item) for item in items)]
    if isinstance(value, list):
        value = ",".join(_text(item) for item in value)
    return [f"--{key}={_text(value)}"]


def _word(value):
    """Return a word that is not taken for an option."""
    text = _text(value)
    return f" {text}" if text.startswith("-") else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError(f"a text, a number or a list is expected, found {value!r}")
