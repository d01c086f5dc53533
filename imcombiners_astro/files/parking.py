# Licensed under a 3-clause BSD style license - see LICENSE
"""
Few files are open at any time, and little is kept to go on reading them.

What there is no room for is closed after each use, and opened again.
"""

import os
import threading
from abc import ABC, abstractmethod

try:
    import resource
except ImportError:  # Windows
    resource = None

__all__ = ["KEPT", "MAX_KEPT", "MAX_OPEN", "SLOTS", "Parkable"]

# More descriptors than this gain nothing, and are the user's to have.
MAX_OPEN = 64
# Bytes of what is kept of packed files, so that reading them goes on where it ended.
MAX_KEPT = 128 * 2**20


class _Share:
    """
    Counts what is taken of something there is not enough of.

    Parameters
    ----------
    limit : callable
        Gives how much there is; asked when nothing of it is taken.
    """

    def __init__(self, limit):
        # the collector of garbage may give something back at any moment
        self._lock = threading.RLock()
        self._taken = self._most = 0
        self.limit = limit

    def take(self, n=1):
        """Return whether there is as much left; it is taken then."""
        with self._lock:
            if not self._taken:
                self._most = self.limit()
            is_left = self._taken + n <= self._most
            self._taken += n * is_left
        return is_left

    def give(self, n=1):
        """Give back what was taken."""
        with self._lock:
            self._taken -= n


def _free_descriptors():
    """Descriptors that files may keep: half of those that are left, and not many."""
    if resource is None:
        return MAX_OPEN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_OPEN
    try:
        n_open = len(os.listdir("/dev/fd"))
    except OSError:  # not even one is left to look; or nobody can tell
        n_open = soft
    return min(MAX_OPEN, max(0, soft - n_open) // 2)


# Descriptors, and bytes.
SLOTS = _Share(_free_descriptors)
KEPT = _Share(lambda: MAX_KEPT)


class Parkable(ABC):
    """
    Something that is kept open between uses if there is room, else opened for each.

    Parameters
    ----------
    name : str
        Path of the file.
    """

    _share = SLOTS
    _cost = 1

    def __init__(self, name):
        self.name = name
        self._file = None
        self._has_room = False
        self._depth = 0

    @abstractmethod
    def _open(self):
        """Open it; return an object with a ``close`` method."""

    def __enter__(self):
        """Give the open file; uses may be nested."""
        if self._file is None:
            self._file = self._open()
        self._depth += 1
        return self._file

    def __exit__(self, *error):
        self._depth -= 1
        self.park()

    def reserve(self):
        """Take some of the room if there is any, and close the file if there is not."""
        if not self._has_room and not self._depth:
            self._has_room = self._share.take(self._cost)
            if not self._has_room:
                self._drop()

    def park(self):
        """Close the file, unless it is in use, or has or gets some of the room."""
        if self._file is not None:
            self.reserve()

    def close(self):
        """Close the file and give its room back."""
        self._drop()
        if self._has_room:
            self._has_room = False
            self._share.give(self._cost)

    def __del__(self):
        # forgotten to close: the file itself warns of that
        if self._has_room:
            self._share.give(self._cost)

    def _drop(self):
        file, self._file = self._file, None
        if file is not None:
            file.close()
