# Licensed under a 3-clause BSD style license - see LICENSE
"""Writing the result: all of it or nothing."""

import os

from astropy.io.registry import IORegistryError, identify_format
from astropy.nddata import CCDData

from imcombiners_astro.atomic import check_free, replacing
from imcombiners_astro.result import CombinedCCDData

__all__ = ["check_output", "write_output"]

# What combine() calls the argument `overwrite`.
_KEYWORD = "overwrite_output"


def check_output(path, overwrite=False):
    """
    Check before the work that its result can be written.

    Parameters
    ----------
    path : str or `~os.PathLike`
        The file to be written; ``~`` is the home directory.
    overwrite : bool, optional
        Whether the file may exist. An empty file may in any case, as for astropy.

    Returns
    -------
    str
        The path.

    Raises
    ------
    TypeError
        If it is no path.
    OSError
        If it exists, or its directory does not or cannot be written to.
    IORegistryError
        If astropy does not know the format by the suffix.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"output_file must be a path, found {type(path).__name__}.")
    path = os.path.expanduser(os.fsdecode(path))
    if not identify_format("write", CCDData, path, None, [path], {}):
        raise IORegistryError(
            f"output_file {path!r}: the format cannot be told from the name, which "
            "should end with .fits, .fit, .fts or one of these and .gz."
        )
    check_free(path, overwrite, _KEYWORD)
    directory = os.path.dirname(path) or os.curdir
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"output_file {path!r}: no directory {directory!r}.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(
            f"output_file {path!r}: directory {directory!r} cannot be written to."
        )
    return path


def write_output(ccd, path, overwrite=False):
    """
    Write an image so that other programs see the old file, or all of the new one.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image. Its ``write`` method is used: with a file beside the final one, which
        is renamed when it is complete and on disk. A `CombinedCCDData` does so by
        itself, and writes its diagnostics as well.
    path : str or `~os.PathLike`
        The file to be written.
    overwrite : bool, optional
        Whether the file may exist.

    Raises
    ------
    TypeError, OSError, IORegistryError
        As `check_output`; OSError also if it cannot be written, for example if the disk
        is full. A file that existed is as it was then, and nothing else is left.
    """
    path = check_output(path, overwrite)
    if isinstance(ccd, CombinedCCDData):
        ccd.write(path, overwrite=overwrite)
        return
    with replacing(path, overwrite, _KEYWORD) as part:
        ccd.write(part)
