# Licensed under a 3-clause BSD style license - see LICENSE
"""Names of files on the command line, and what their headers say of the unit."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Sequence

from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro.files.fits import open_frame
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.options import reading_of
from imcombiners_astro.files.paths import paths_of_lines

__all__ = ["assume_unit", "check_names", "expand_names", "files_in", "plain_path"]

#: Files of a directory that are images, by the end of their names.
IMAGES = re.compile(r"\.(fits?|fts)(\.(fz|gz|bz2))?$", re.IGNORECASE)

#: Unit of files that have none.
DEFAULT_UNIT = "adu"


def expand_names(names: Sequence[str], output: str | None = None) -> list[str]:
    """
    Replace lists, directories and patterns by the names of files.

    Parameters
    ----------
    names : sequence of str
        As they stand on the command line: what
        `~imcombiners_astro.files.inputs.expand_inputs` takes, directories, and ``@-``,
        the list on standard input.
    output : str, optional
        The file to be written: in a directory it is not one of the inputs.

    Returns
    -------
    list of str
        Files of directories and patterns are sorted by name.

    Raises
    ------
    FileNotFoundError
        If a list cannot be found, no file matches a pattern, or a directory has no
        image.
    ValueError
        If a list is empty.
    """
    files = []
    for name in names:
        if name == "@-":
            entries = paths_of_lines(sys.stdin.read().splitlines(), "standard input")
        else:
            entries = expand_inputs(name)
        for entry in entries:
            files += _files_of(entry, output) if os.path.isdir(entry) else [entry]
    return files


def _files_of(folder, output):
    found = files_in(folder, output)
    if not found:
        raise FileNotFoundError(
            f"{folder}: no FITS file in this directory (*.fits, *.fit, *.fts, also "
            "with .fz, .gz or .bz2)"
        )
    return found


def files_in(folder: str, output: str | None = None) -> list[str]:
    """Return the FITS files of a directory by name, without hidden ones and OUT."""
    own = None if output is None else os.path.realpath(output)
    found = [
        os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if IMAGES.search(name) and not name.startswith(".")
    ]
    return [
        path for path in found if os.path.isfile(path) and os.path.realpath(path) != own
    ]


def check_names(files: Sequence[str], output: str | None) -> None:
    """Find the two slips of the shell: the output as an input, and a file twice."""
    places = Counter(os.path.realpath(file) for file in files)
    whole = {os.path.realpath(plain_path(file)) for file in files}
    if output is not None and os.path.realpath(output) in whole:
        raise ValueError(f"{output}: the output is also one of the files to combine")
    for place, times in places.items():
        if times > 1:
            warnings.warn(
                f"{place}: given {times} times, and used as often",
                AstropyUserWarning,
                stacklevel=2,
            )


def plain_path(name: str) -> str:
    """Return a name without an HDU in brackets, such as a.fits[1]."""
    return name if os.path.lexists(name) else re.sub(r"\[[^\[\]]*\]$", "", name)


def assume_unit(files: Sequence[str], keywords: dict) -> str | None:
    """
    Find out whether a unit has to be assumed.

    Parameters
    ----------
    files : sequence of str
        The images.
    keywords : dict
        Keywords of the combination.

    Returns
    -------
    str or None
        `DEFAULT_UNIT` if no file has a unit and none was given, else None: then the
        library looks.

    Raises
    ------
    ValueError
        If some have a unit and the first one does not.
    """
    if keywords.get("unit") is not None:
        return None
    reading = reading_of(keywords)
    if reading.get("hdu") == "all":
        del reading["hdu"]
    if _unit(files[0], reading) is not None:
        return None
    for file in files[1:]:
        if unit := _unit(file, reading):
            raise ValueError(
                f"{files[0]} has no BUNIT in its header, and {file} is in {unit}; give "
                "the unit of the pixels with --unit."
            )
    return DEFAULT_UNIT


def _unit(file, reading):
    """Return the unit of an image, None if it has none."""
    try:
        frame = open_frame(file, **reading)
    except Exception as error:
        # What else is wrong with it, the combination says better.
        return None if "a unit for CCDData must be specified" in str(error) else "?"
    frame.close()
    return str(frame.unit) or "dimensionless"
