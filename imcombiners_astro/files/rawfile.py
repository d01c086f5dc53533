# Licensed under a 3-clause BSD style license - see LICENSE
"""
Bytes of files at given places, with few files open at any time.

Nothing is mapped into memory: the truncation of a mapped file kills the process that
looks at it, whereas a read that ends too early is an ordinary error.
"""

import bz2
import gzip
import lzma
import os
import stat
import threading
import zlib

try:
    import resource
except ImportError:  # Windows
    resource = None

__all__ = ["MAX_OPEN", "PackedFile", "RawFile", "open_bytes"]

# More descriptors than this gain nothing, and are the user's to have.
MAX_OPEN = 64
# Where the process may have few, most of them are left to the rest of the program.
_SHARE_OF_LIMIT = 8

_PACKED = {
    b"\x1f\x8b\x08": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_UNPACK_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class _Slots:
    """Counts the files that are kept open."""

    def __init__(self):
        self._lock = threading.Lock()
        self._taken = 0

    @staticmethod
    def limit():
        if resource is None:
            return MAX_OPEN
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return MAX_OPEN
        return min(MAX_OPEN, soft // _SHARE_OF_LIMIT)

    def take(self):
        with self._lock:
            free = self._taken < self.limit()
            self._taken += free
        return free

    def give(self):
        with self._lock:
            self._taken -= 1


SLOTS = _Slots()


class Parkable:
    """
    Something behind a file that is kept open if a slot is free, else opened per use.

    Subclasses have ``_open()``, which gives an object with a ``close`` method.

    Parameters
    ----------
    name : str
        Path of the file.
    """

    def __init__(self, name):
        self.name = name
        self._file = None
        self._has_slot = False

    def _open(self):
        raise NotImplementedError

    def __enter__(self):
        """Give the open file."""
        if self._file is None:
            self._file = self._open()
        return self._file

    def __exit__(self, *error):
        self.park()

    def park(self):
        """Close the file, unless it has or gets one of the slots."""
        if self._file is not None and not self._has_slot:
            self._has_slot = SLOTS.take()
            if not self._has_slot:
                self._drop()

    def close(self):
        """Close the file and give its slot back."""
        self._drop()
        if self._has_slot:
            self._has_slot = False
            SLOTS.give()

    def __del__(self):
        # forgotten to close: the file itself warns of that
        if self._has_slot:
            SLOTS.give()

    def _drop(self):
        file, self._file = self._file, None
        if file is not None:
            file.close()


class RawFile(Parkable):
    """
    An ordinary file, read as it is.

    Parameters
    ----------
    name : str
        Path of the file; the file is opened and stays open until ``park()``.

    Raises
    ------
    OSError
        As from `open`: no such file, a directory, no permission. Also if it is neither
        file nor link to a file.
    """

    def __init__(self, name):
        super().__init__(name)
        self.size = None
        self._identity = None
        self._file = self._open()

    def _open(self):
        file = open(self.name, "rb", buffering=0)
        status = os.fstat(file.fileno())
        identity = status.st_dev, status.st_ino, status.st_size
        if self._identity is None:
            if not stat.S_ISREG(status.st_mode):
                file.close()
                raise OSError(f"{self.name} is not a regular file.")
            self.size, self._identity = status.st_size, identity
        elif identity != self._identity:
            file.close()
            raise OSError(
                f"{self.name} was replaced or changed its size while it was in use."
            )
        return file

    def read_at(self, offset, n_bytes):
        """
        Bytes from a place in the file.

        Parameters
        ----------
        offset, n_bytes : int
            Where, and how many.

        Returns
        -------
        bytearray
            Fewer bytes where the file ends before.
        """
        buffer = bytearray(n_bytes)
        with memoryview(buffer) as view:
            found = self._fill(view, offset)
        del buffer[found:]
        return buffer

    def readinto(self, view, offset):
        """
        Fill a buffer from a place in the file.

        Parameters
        ----------
        view : `~numpy.ndarray` of uint8, shape (n,)
            The buffer.
        offset : int
            Where in the file.

        Raises
        ------
        OSError
            If the file ends before the buffer is full, naming the file.
        """
        with memoryview(view) as bytes_:
            found = self._fill(bytes_, offset)
        if found < len(view):
            raise OSError(
                f"{self.name} is truncated: {offset + len(view)} bytes were expected, "
                f"found {offset + found} (it got shorter while it was in use)."
            )

    def _fill(self, view, offset):
        with self as file:
            found = 0
            while found < len(view):
                n = self._read_some(file, view[found:], offset + found)
                if not n:
                    break
                found += n
            return found

    if hasattr(os, "preadv"):

        def _read_some(self, file, view, offset):
            try:
                return os.preadv(file.fileno(), [view], offset)
            except OSError as error:
                error.filename = self.name
                raise

    else:  # Windows

        def _read_some(self, file, view, offset):
            file.seek(offset)
            return file.readinto(view)


class PackedFile(Parkable):
    """
    A file packed as a whole by gzip, bzip2 or xz, read as what it was before.

    Reading forwards is quick; reading backwards, or without a slot, unpacks from the
    beginning.

    Parameters
    ----------
    name : str
        Path of the file.
    opener : callable
        One of the classes of `gzip`, `bz2` and `lzma`.
    """

    size = None

    def __init__(self, name, opener):
        super().__init__(name)
        self._opener = opener

    def _open(self):
        return self._opener(self.name)

    def read_at(self, offset, n_bytes):
        """
        Bytes from a place in the unpacked file.

        Parameters
        ----------
        offset, n_bytes : int
            Where, and how many.

        Returns
        -------
        bytes
            Fewer bytes where the file ends before.

        Raises
        ------
        OSError
            If the file is damaged, naming it.
        """
        try:
            with self as file:
                file.seek(offset)
                return file.read(n_bytes)
        except _UNPACK_ERRORS as error:
            raise OSError(f"{self.name} cannot be unpacked: {error}") from error

    def readinto(self, view, offset):
        """
        Fill a buffer from a place in the unpacked file.

        Parameters
        ----------
        view : `~numpy.ndarray` of uint8, shape (n,)
            The buffer.
        offset : int
            Where in the file.

        Raises
        ------
        OSError
            If the file is damaged or too short, naming it.
        """
        found = 0
        try:
            with self as file, memoryview(view) as bytes_:
                file.seek(offset)
                while found < len(bytes_):
                    n = file.readinto(bytes_[found:])
                    if not n:
                        break
                    found += n
        except _UNPACK_ERRORS as error:
            raise OSError(f"{self.name} cannot be unpacked: {error}") from error
        if found < len(view):
            raise OSError(
                f"{self.name} is truncated: {offset + len(view)} bytes were expected "
                f"once unpacked, found {offset + found}."
            )


def open_bytes(name):
    """
    Open a file, packed or not, for reading its bytes.

    Parameters
    ----------
    name : str
        Path of the file.

    Returns
    -------
    RawFile or PackedFile
        Open; the caller parks or closes it.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    raw = RawFile(name)
    try:
        magic = bytes(raw.read_at(0, 6))
    except BaseException:
        raw.close()
        raise
    for start, opener in _PACKED.items():
        if magic.startswith(start):
            raw.close()
            return PackedFile(name, opener)
    return raw
