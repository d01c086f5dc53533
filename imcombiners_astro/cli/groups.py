# Licensed under a 3-clause BSD style license - see LICENSE
"""Groups of files: ``--groupby filter,exptime --where imagetyp=flat``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

import imcombiners_astro
from imcombiners_astro.cli import values
from imcombiners_astro.cli.common import Parser, progress_bar

__all__ = ["add_groups", "check_groups", "count_frames", "run_groups"]


def add_groups(parser: Parser) -> None:
    """Add the options that choose and group files by their headers."""
    group = parser.add_argument_group("groups of files")
    group.add_argument(
        "--groupby",
        type=_keywords,
        metavar="KEYWORD,...",
        help="combine the files of each combination of values of these header keywords "
        "into one; OUT is a directory, or a name such as "
        "'master_{filter}_{exptime}.fits'",
    )
    group.add_argument(
        "--where",
        action="append",
        type=values.keyword_value,
        metavar="KEYWORD=VALUE",
        help="only files with this value in the header; may be repeated",
    )


def _keywords(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[A-Za-z0-9_-]+", word) for word in words):
        raise argparse.ArgumentTypeError(
            f"header keywords such as filter,exptime are expected, not {text!r}"
        )
    return words


def check_groups(options: argparse.Namespace) -> None:
    """
    Find filters that are given twice.

    Raises
    ------
    ValueError
        Naming the keyword.
    """
    names = [name.lower() for name, _ in options.where or ()]
    for name in set(names):
        if names.count(name) > 1:
            raise ValueError(f"--where {name}: given {names.count(name)} times")


def run_groups(
    files: Sequence[str], keywords: dict[str, Any], options: argparse.Namespace
) -> dict[Any, Any]:
    """
    Combine each group of files.

    Returns
    -------
    dict
        The results by the values of the keywords; with --hdu all also by the name of
        the extension.
    """
    from ccdproc import ImageFileCollection

    results = imcombiners_astro.combine_collection(
        ImageFileCollection(filenames=list(files)),
        options.groupby,
        options.output,
        overwrite_output=bool(options.overwrite),
        progress_bar=progress_bar(options, "combining"),
        filters=dict(options.where or ()),
        **keywords,
    )
    if keywords.get("hdu") != "all":
        return results
    return {
        (*group, extension): result
        for group, extensions in results.items()
        for extension, result in extensions.items()
    }


def count_frames(results: Mapping[Any, Any], keywords: Mapping[str, Any]) -> int:
    """
    Count the files that were combined, of those that were looked at.

    Parameters
    ----------
    results : mapping
        As of `run_groups`.
    keywords : mapping
        Those of the combinations.

    Returns
    -------
    int
        With --hdu all a file counts once.
    """
    if keywords.get("hdu") == "all":
        results = {key[:-1]: result for key, result in results.items()}
    return sum(result.header["NCOMBINE"] for result in results.values())
