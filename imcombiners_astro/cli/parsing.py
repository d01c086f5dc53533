# Licensed under a 3-clause BSD style license - see LICENSE
"""From the words of a command line to options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from imcombiners_astro.cli.common import Parser
from imcombiners_astro.cli.config import find_config, words_of_config
from imcombiners_astro.cli.irafwords import refuse_options, translate
from imcombiners_astro.cli.options import check_options
from imcombiners_astro.cli.values import are_numbers

__all__ = ["add_config", "add_json", "read_words"]

#: Options followed by one or two numbers, or by none.
OPTIONAL_NUMBERS = {"--sigma-clip": "3,3"}

# Options that may be repeated: those of the command line replace those of a file.
_REPEATED = ("--reject", "--reader", "--where")


def add_config(group: argparse._ActionsContainer) -> None:
    """Add the option --config."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help="read options from a TOML file: keys are the long names, such as "
        "mem-limit = '2G', and files = ['*.fits']; the command line wins",
    )


def add_json(group: argparse._ActionsContainer, what: str) -> None:
    """Add the option --json."""
    group.add_argument(
        "--json",
        metavar="FILE",
        help=f"write {what} into a file for programs ('-': standard output)",
    )


def read_words(
    parser: Parser, words: Sequence[str], others: Parser | None = None
) -> argparse.Namespace:
    """
    Read a command line with IRAF's words and a file of options.

    Parameters
    ----------
    parser : Parser
        With the options of `imcombiners_astro.cli.options`, --config, and the
        positional argument ``files``.
    words : sequence of str
        The command line.
    others : Parser, optional
        Its options may be in a file of options, and have no effect.

    Returns
    -------
    argparse.Namespace
        The options.

    Raises
    ------
    SystemExit
        If the usage is wrong (code 2), and after --help and --version.
    """
    words = list(words)
    try:
        iraf, rest = translate(words)
        refuse_options(rest, parser._option_string_actions)
    except ValueError as error:
        parser.error(str(error))
    defaults, files = [], []
    if (path := find_config(rest)) is not None:
        defaults, files = words_of_config(path, parser, others)
        # Alone first: then an error is known to be one of the file.
        parser.source = path
        parser.parse_args(join_numbers(defaults))
        parser.source = ""
    for name in _REPEATED:
        if any(w == name or w.startswith(f"{name}=") for w in [*iraf, *rest]):
            defaults = [w for w in defaults if not w.startswith(f"{name}=")]
    # Intermixed: files may stand before and after the options.
    options = parser.parse_intermixed_args(join_numbers([*defaults, *iraf, *rest]))
    options.files = options.files or files
    options.command = words
    options.notes = []
    options.holds_warnings = False
    try:
        check_options(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def join_numbers(words: Sequence[str]) -> list[str]:
    """
    Tie numbers to their options, as argparse cannot.

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
            while words and len(numbers) < 2 and are_numbers(words[0]):
                numbers.append(words.pop(0))
            word += "=" + (",".join(numbers) or OPTIONAL_NUMBERS[word])
        elif word.startswith("-") and are_numbers(word):
            word = " " + word
        joined.append(word)
    return joined
