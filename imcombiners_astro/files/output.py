# Licensed under a 3-clause BSD style license - see LICENSE
"""Writing the result: all of it or nothing."""

import os
import secrets

from astropy.io.registry import IORegistryError, identify_format
from astropy.nddata import CCDData

__all__ = ["check_output", "write_output"]


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
    _check_free(path, overwrite)
    directory = os.path.dirname(path) or os.curdir
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"output_file {path!r}: no directory {directory!r}.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(
            f"output_file {path!r}: directory {directory!r} cannot be written to."
        )
    return path


def _check_free(path, overwrite):
    if os.path.isdir(path):
        raise IsADirectoryError(f"output_file {path!r} is a directory.")
    if not overwrite and os.path.exists(path) and os.path.getsize(path):
        raise OSError(
            f"File {path} already exists. If it is to be replaced, use "
            '"overwrite_output=True".'
        )


def write_output(ccd, path, overwrite=False):
    """
    Write an image so that other programs see the old file, or all of the new one.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image; its ``write`` method is used, with a file beside the final one, which
        is renamed when it is complete and on disk.
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
    directory, name = os.path.split(path)
    # The suffix says how to write; the dot in front hides the file from patterns.
    part = os.path.join(directory, f".{secrets.token_hex(4)}.part.{name[-64:]}")
    try:
        try:
            ccd.write(part)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno is None:
                raise OSError(f"{path} cannot be written: {error}") from error
            text = f"The result cannot be written: {error.strerror}"
            raise OSError(error.errno, text, path) from error
        _check_free(path, overwrite)  # again: it may have come meanwhile
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    _sync_directory(directory or os.curdir)


def _sync_directory(directory):
    """Make the new name last; not all systems can, and the file is complete anyway."""
    try:
        place = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(place)
    except OSError:
        pass
    finally:
        os.close(place)
