# Licensed under a 3-clause BSD style license - see LICENSE
"""Files that are written as a whole or not at all."""

import os
import secrets
from contextlib import contextmanager

__all__ = ["check_free", "replacing"]


def check_free(path, overwrite=False, keyword="overwrite"):
    """
    Check that a file may be written.

    Parameters
    ----------
    path : str
        The file.
    overwrite : bool, optional
        Whether it may exist. An empty file may in any case, as for astropy.
    keyword : str, optional
        What the error calls the argument `overwrite`.

    Raises
    ------
    OSError
        If the path is a directory, or a file that exists and must not.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a directory; a file is to be written.")
    if not overwrite and os.path.exists(path) and os.path.getsize(path):
        raise OSError(
            f"File {path} already exists. If it is to be replaced, use "
            f'"{keyword}=True".'
        )


@contextmanager
def replacing(path, overwrite=False, keyword="overwrite"):
    """
    Write a file so that others see the old one, or all of the new one.

    Parameters
    ----------
    path : str or `~os.PathLike`
        The file to be written.
    overwrite, keyword
        As for `check_free`.

    Yields
    ------
    str
        Name to write to: a file beside the final one, with its suffix. It is renamed
        when the block ends, complete and on disk.

    Raises
    ------
    OSError
        As `check_free`, or if the file cannot be written, for example because the disk
        is full. A file that existed is as it was then, and nothing else is left.

    Examples
    --------
    >>> import os, tempfile
    >>> from imcombiners_astro.atomic import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(os.path.join(folder, "a.txt")) as name:
    ...         with open(name, "w") as file:
    ...             n_characters = file.write("all of it")
    ...     os.listdir(folder)
    ['a.txt']
    """
    path = os.path.expanduser(os.fsdecode(path))
    check_free(path, overwrite, keyword)
    directory, name = os.path.split(path)
    # The suffix says how to write; the dot in front hides the file from patterns.
    part = os.path.join(directory, f".{secrets.token_hex(4)}.part.{name[-64:]}")
    try:
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno is None:
                raise OSError(f"{path} cannot be written: {error}") from error
            text = f"The result cannot be written: {error.strerror}"
            raise OSError(error.errno, text, path) from error
        check_free(path, overwrite, keyword)  # again: it may have come meanwhile
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
