# Licensed under a 3-clause BSD style license - see LICENSE
"""
Bytes of files at given places, packed or not.

Nothing is mapped into memory: the truncation of a mapped file kills the process that
looks at it, whereas a read that ends too early is an ordinary error.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib

from imcombiners_astro.files.blocks import BLOCK
from imcombiners_astro.files.parking import KEPT, Parkable

__all__ = ["UNPACK_ERRORS", "PackedFile", "RawFile", "open_bytes", "unpacked"]

# What unpacks, and the bytes that it keeps to go on where it ended: what was unpacked
# last, tables, and input that was not needed yet (of gzip since Python 3.12). Measured;
# the numbers are a little larger.
_PACKED = {
    b"\x1f\x8b\x08": (gzip.GzipFile, 60_000 + getattr(gzip, "READ_BUFFER_SIZE", 0)),
    b"BZh": (bz2.BZ2File, 4_200_000),
    b"\xfd7zXZ": (lzma.LZMAFile, 9_500_000),
}
# What the modules that unpack raise if a file is damaged.
UNPACK_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class RawFile(Parkable):
    """
    An ordinary file, read as it is.

    Parameters
    ----------
    name : str
        Path of the file; the file is opened and stays open until ``park()``.
    like : RawFile, optional
        Another one of the same file: it must be the same still.

    Raises
    ------
    OSError
        As from `open`: no such file, a directory, no permission. Also if it is neither
        file nor link to a file.
    """

    def __init__(self, name, like=None):
        super().__init__(name)
        self.size = self._identity = None
        if like is not None:
            self.size, self._identity = like.size, like._identity
        self._file = self._open()

    kept_nbytes = 0
    overlap = 0

    @property
    def raw(self):
        """The file itself."""
        return self

    def again(self):
        """
        Return a reader for another part of the file.

        Returns
        -------
        RawFile
            This one: it reads anywhere.
        """
        return self

    def ends_at(self, size):
        """
        Tell whether the file has a certain size.

        Parameters
        ----------
        size : int
            The size in bytes.

        Returns
        -------
        bool
            Whether it is as long.
        """
        return self.size == size

    def stream(self):
        """
        Return the file as Python's libraries want one.

        Returns
        -------
        `io.RawIOBase`
            It has no descriptor of its own: it reads through this object.
        """
        return _Stream(self)

    def _open(self):
        file = open(self.name, "rb", buffering=0)
        if hasattr(os, "posix_fadvise"):
            # The system reads further ahead then, which is faster from a disk.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
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
            found = self.fill(view, offset)
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
            found = self.fill(bytes_, offset)
        if found < len(view):
            raise OSError(
                f"{self.name} is truncated: {offset + len(view)} bytes were expected, "
                f"found {offset + found} (it got shorter while it was in use)."
            )

    def fill(self, view, offset):
        """
        Fill a buffer as far as the file goes.

        Parameters
        ----------
        view : memoryview of bytes
            The buffer.
        offset : int
            Where in the file.

        Returns
        -------
        int
            Bytes found.
        """
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
            except OverflowError:  # beyond the end of any file
                return 0
            except OSError as error:
                error.filename = self.name
                raise

    else:  # Windows

        def _read_some(self, file, view, offset):
            file.seek(offset)
            return file.readinto(view)


class _Stream(io.RawIOBase):
    """A `RawFile` with a position in it."""

    def __init__(self, raw):
        super().__init__()
        self._raw = raw
        self._position = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        start = {os.SEEK_CUR: self._position, os.SEEK_END: self._raw.size}
        self._position = max(0, start.get(whence, 0) + offset)
        return self._position

    def tell(self):
        return self._position

    def readinto(self, view):
        found = self._raw.fill(memoryview(view).cast("B"), self._position)
        self._position += found
        return found


class PackedFile(Parkable):
    """
    A file packed as a whole by gzip, bzip2 or xz, read as what it was before.

    Reading goes on where it ended without unpacking anything twice, whether or not the
    file has a descriptor; reading backwards unpacks from the beginning. Of bzip2 and
    xz, which need megabytes to go on, few files can: others are unpacked from the
    beginning for every strip.

    Parameters
    ----------
    raw : RawFile
        The file.
    opener : callable
        One of the classes of `gzip`, `bz2` and `lzma`.
    kept_nbytes : int
        Memory that it takes to go on.

    Attributes
    ----------
    raw : RawFile
        The file itself.
    end : int or None
        Where reading will end: then what follows is read as well if it is short, since
        behind it is the checksum of a file.
    overlap : int
        Bytes at the end of a read that are kept, for the next read may begin with them.
    """

    _share = KEPT
    size = None
    end = None
    overlap = 0

    def __init__(self, raw, opener, kept_nbytes):
        super().__init__(raw.name)
        self._tail = 0, b""
        self.raw = raw
        self._opener = opener
        self._cost = kept_nbytes

    def again(self):
        """
        Return a reader for another part of the file.

        Returns
        -------
        PackedFile
            Another one, so that both can read forwards.
        """
        raw = RawFile(self.name, like=self.raw)
        raw.park()
        return PackedFile(raw, self._opener, self._cost)

    def stream(self):
        """
        Return the unpacked file as Python's libraries want one.

        Returns
        -------
        `io.BufferedIOBase`
            It has no descriptor of its own.
        """
        return self._open()

    def _open(self):
        return _unpacking(self._opener, self.raw.stream())

    @property
    def kept_nbytes(self):
        """Bytes that are kept between uses."""
        return self.overlap + (self._cost if self._has_room else 0)

    def reserve(self):
        """Keep open what there is room for."""
        super().reserve()
        self.raw.reserve()

    def close(self):
        """Close the file and give its room back."""
        super().close()
        self.raw.close()

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
            with self.raw, self as file:
                file.seek(offset)
                return file.read(n_bytes)
        except UNPACK_ERRORS as error:
            raise self._named(error) from error

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
        with memoryview(view) as bytes_:
            found = self._from_tail(bytes_, offset)
            try:
                with self.raw, self as file:
                    file.seek(offset + found)
                    while found < len(bytes_):
                        n = file.readinto(bytes_[found:])
                        if not n:
                            break
                        found += n
                    if offset + found == self.end:
                        file.read(BLOCK)
            except UNPACK_ERRORS as error:
                raise self._named(error) from error
            if found < len(bytes_):
                raise OSError(
                    f"{self.name} is truncated: {offset + len(bytes_)} bytes were "
                    f"expected once unpacked, found {offset + found}."
                )
            if self.overlap:
                self._tail = offset + found, bytes(bytes_[-self.overlap :])

    def _from_tail(self, view, offset):
        """Fill a buffer with what was kept; return how far."""
        end, tail = self._tail
        first = offset - (end - len(tail))
        if not 0 <= first < len(tail):
            return 0
        again = tail[first : first + len(view)]
        view[: len(again)] = again
        return len(again)

    def ends_at(self, size):
        """
        Tell whether a trailer says that the unpacked file has a certain size.

        Parameters
        ----------
        size : int
            The size in bytes.

        Returns
        -------
        bool
            Only gzip has such a trailer; False if nobody can tell.
        """
        if self._opener is not gzip.GzipFile:
            return False
        with self.raw:
            trailer = bytes(self.raw.read_at(max(0, self.raw.size - 4), 4))
        return trailer == (size % 2**32).to_bytes(4, "little")

    def _named(self, error):
        """Return an error that names the file."""
        if getattr(error, "filename", None) is not None or self.name in str(error):
            return error
        return OSError(f"{self.name} cannot be unpacked: {error}")


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
    how = _packing(magic)
    return raw if how is None else PackedFile(raw, *how)


def unpacked(file):
    """
    Unpack a file object at once, if it is packed.

    Parameters
    ----------
    file : file object
        It can seek, and is at its beginning.

    Returns
    -------
    file object
        The same one, or one in memory.
    """
    how = _packing(file.read(6))
    file.seek(0)
    if how is None:
        return file
    with _unpacking(how[0], file) as content:
        return io.BytesIO(content.read())


def _packing(magic):
    """Return what unpacks a file that begins so, and the bytes it keeps, or None."""
    return next(
        (how for start, how in _PACKED.items() if magic.startswith(start)), None
    )


def _unpacking(opener, file):
    if opener is gzip.GzipFile:
        return opener(fileobj=file, mode="rb")
    return opener(file)
