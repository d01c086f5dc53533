# Licensed under a 3-clause BSD style license - see LICENSE
"""Names of files on the command line, and what their headers say of the unit."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro.cli.values import read_list
from imcombiners_astro.files.layout import NotFITSError

__all__ = ["assume_unit", "check_names", "expand_names", "files_in"]

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
        As they stand on the command line.
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
        if name.startswith("@"):
            entries = read_list(name[1:])
            if not entries:
                raise ValueError(f"{name[1:]}: no names of files in it")
        else:
            entries = [name]
        for entry in entries:
            files += _match(entry, output)
    return files


def _match(name, output):
    name = os.path.expanduser(name)
    if os.path.isdir(name):
        found = files_in(name, output)
        if not found:
            raise FileNotFoundError(
                f"{name}: no FITS file in this directory (*.fits, *.fit, *.fts, also "
                "with .fz, .gz or .bz2)"
            )
        return found
    if os.path.exists(name) or not glob.has_magic(name):
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise FileNotFoundError(f"no file matches {name!r}")
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
    if output is not None and os.path.realpath(output) in places:
        raise ValueError(f"{output}: the output is also one of the files to combine")
    for place, times in places.items():
        if times > 1:
            warnings.warn(
                f"{place}: given {times} times, and used as often",
                AstropyUserWarning,
                stacklevel=2,
            )


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
        `DEFAULT_UNIT` if no file has BUNIT and no unit was given, else None: then the
        library looks.

    Raises
    ------
    ValueError
        If some have BUNIT and the first one does not.
    """
    if keywords.get("unit") is not None or keywords.get("format", "fits") != "fits":
        return None
    if _bunit(files[0]):
        return None
    for file in files[1:]:
        if unit := _bunit(file):
            raise ValueError(
                f"{files[0]} has no BUNIT in its header, and {file} is in {unit}; give "
                "the unit of the pixels with --unit."
            )
    return DEFAULT_UNIT


def _bunit(file):
    """Return the first BUNIT of the headers of a file, "" if there is none."""
    try:
        # memmap=False: a file may shrink while others are looked at.
        with fits.open(file, memmap=False) as hdus:
            units = [hdu.header.get("BUNIT") for hdu in hdus]
    except (OSError, NotFITSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        return "unknown"  # what is wrong with it, the library says better
    return next((str(unit) for unit in units if unit), "")
