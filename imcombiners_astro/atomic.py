# Licensed under a 3-clause BSD style license - see LICENSE
"""Files that are written as a whole or not at all."""

import os
import re
import secrets
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

__all__ = ["Replacement", "check_free", "naming", "replacing"]


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


class Replacement:
    """
    A file that takes the place of another when it is complete.

    Parameters
    ----------
    path : str or `~os.PathLike`
        The file to be written.
    overwrite, keyword
        As for `check_free`.

    Attributes
    ----------
    path : str
        The file to be written.
    part : str
        Where to write: an empty file beside the final one, with its suffix, called
        ``.XXXXXXXX.part.NAME`` with eight hexadecimal digits.

    Raises
    ------
    OSError
        As `check_free`, or if there cannot be a file, naming the one to be written.

    Notes
    -----
    A process that is killed leaves its part behind. On systems with locks of files
    (`fcntl`) parts are locked while they are written, and those that nobody has locked
    are removed by the next `Replacement` of the same file.
    """

    def __init__(self, path, overwrite=False, keyword="overwrite"):
        self.path = path = os.path.expanduser(os.fsdecode(path))
        self._free = path, overwrite, keyword
        check_free(*self._free)
        directory, name = os.path.split(path)
        self._directory = directory or os.curdir
        self._lock = None
        with naming(path):
            self._remove_left_over(name[-64:])
            # The suffix says how to write; the dot in front hides it from patterns.
            while True:
                part = f".{secrets.token_hex(4)}.part.{name[-64:]}"
                self.part = os.path.join(directory, part)
                if self._create():
                    break

    def _create(self):
        """Make and lock the part; another process may have taken it for left over."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        place = os.open(self.part, flags, 0o666)
        if fcntl is None:
            os.close(place)
            return True
        _lock(place)
        if not _is_at(place, self.part):
            os.close(place)
            return False
        self._lock = place
        return True

    def _remove_left_over(self, name):
        """Remove what killed processes have left of this file."""
        if fcntl is None:
            return
        form = re.compile(r"\.[0-9a-f]{8}\.part\." + re.escape(name))
        for other in filter(form.fullmatch, os.listdir(self._directory)):
            other = os.path.join(self._directory, other)
            try:
                place = os.open(other, os.O_RDWR)
            except OSError:
                continue  # gone meanwhile, or of somebody else
            try:
                if _lock(place) and _is_at(place, other):
                    os.unlink(other)
            finally:
                os.close(place)

    def commit(self):
        """
        Put the part, which is complete, in the place of the file.

        Raises
        ------
        OSError
            If it does not reach the disk, or a file has come meanwhile.
        """
        with naming(self.path):
            with open(self.part, "rb+") as file:
                os.fsync(file.fileno())
        check_free(*self._free)  # again: it may have come meanwhile
        with naming(self.path):
            os.replace(self.part, self.path)
        _sync_directory(self._directory)

    def close(self):
        """Remove the part, unless it has become the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if os.path.exists(self.part):
            os.unlink(self.part)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


@contextmanager
def naming(path):
    """
    Name the file to be written in every `OSError`.

    Parameters
    ----------
    path : str
        The file.

    Examples
    --------
    >>> from imcombiners_astro.atomic import naming
    >>> with naming("a.fits"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] The result cannot be written: No space left on device: 'a.fits'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{path} cannot be written: {error}") from error
        text = f"The result cannot be written: {error.strerror}"
        raise OSError(error.errno, text, path) from error


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
        Name to write to: an empty file beside the final one, with its suffix. It is
        renamed when the block ends, complete and on disk.

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
    with Replacement(path, overwrite, keyword) as new:
        with naming(new.path):
            yield new.part
        new.commit()


def _lock(place):
    """Lock an open file; return whether this can be done and nobody else has."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(place, path):
    """Whether an open file has this name."""
    try:
        return os.path.samestat(os.fstat(place), os.stat(path))
    except OSError:
        return False


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
