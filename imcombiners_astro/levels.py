# Licensed under a 3-clause BSD style license - see LICENSE
"""
Mean, median and mode of the clipped values of a frame, of whatever size it is.

The values come in chunks, which may be kept in memory or read again for each pass. What
is found is exact and the same in both cases: values of rank k are looked for digit by
digit, and sums are added up chunk by chunk.
"""

import math
from functools import cached_property

import numpy as np

from imcombiners_astro.zeroscale import mode, sorted_median

__all__ = ["LEVELS", "clipped_levels"]

# Values that may be sorted at a time, where they have digits in common.
_FEW = 2**18
_DIGITS = 16  # binary ones, of 64
_N_BINS = 2**_DIGITS


class _Values:
    """
    Numbers in ascending order that are nowhere in one array.

    Parameters
    ----------
    chunks : callable
        Gives an iterable of arrays (n,) of finite numbers, the same ones in each call.
    """

    def __init__(self, chunks):
        self._chunks = chunks
        self._known = {}  # what is known of numbers by their first digits

    @cached_property
    def size(self):
        """How many there are."""
        return sum(chunk.size for chunk in self._chunks())

    def __getitem__(self, rank):
        """Return the number of a rank from 0 to size - 1."""
        prefix, shift = 0, 64
        while shift:
            found = self._with_prefix(prefix, shift)
            if found.dtype == np.uint64:
                return _of_keys(found[rank])
            counts = found.cumsum()
            digit = int(counts.searchsorted(rank, "right"))
            rank -= int(counts[digit] - found[digit])
            prefix, shift = prefix << _DIGITS | digit, shift - _DIGITS
        return _of_keys(np.uint64(prefix))  # all 64 digits: equal numbers

    def _with_prefix(self, prefix, shift):
        """Return sorted keys that begin so, or how often each next digit occurs."""
        if (prefix, shift) in self._known:
            return self._known[prefix, shift]
        counts, few, n_few = np.zeros(_N_BINS, np.int64), [], 0
        for chunk in self._chunks():
            keys = _keys(chunk)
            if shift < 64:
                keys = keys[keys >> np.uint64(shift) == prefix]
            digits = keys >> np.uint64(shift - _DIGITS) & np.uint64(_N_BINS - 1)
            counts += np.bincount(digits.astype(np.intp), minlength=_N_BINS)
            n_few += keys.size
            if few is not None:
                few = [*few, keys] if n_few <= _FEW else None
        found = counts if few is None else np.sort(np.concatenate(few or [keys]))
        if len(self._known) > 8:
            self._known.clear()
        self._known[prefix, shift] = found
        return found

    def searchsorted(self, values, side="left"):
        """Count the numbers that are less than each value, or not greater."""
        counts = 0
        for chunk in self._chunks():
            counts = counts + np.sort(chunk).searchsorted(values, side)
        return counts

    def sum(self, low, high, about=None):
        """Sum the numbers from low to high, or their squares about a number."""
        parts = []
        for chunk in self._chunks():
            kept = chunk.astype(np.float64)
            if low > -np.inf or high < np.inf:
                kept = kept[(kept >= low) & (kept <= high)]
            if about is not None:
                kept -= about
                kept *= kept
            parts.append(float(kept.sum()))
        return math.fsum(parts)


def _keys(chunk):
    """Return integers in the order of the numbers."""
    # adding 0 makes -0 a 0
    bits = (chunk.astype(np.float64) + 0.0).view(np.uint64)
    negative = bits >> np.uint64(63) != 0
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


def _of_keys(key):
    """Return the number that has a key."""
    bits = int(key)
    bits = bits ^ (1 << 63) if bits >> 63 else bits ^ (2**64 - 1)
    return np.uint64(bits).view(np.float64)


class _Sorted(_Values):
    """Numbers that there is memory for: sorting them is quicker than many passes."""

    @cached_property
    def _ordered(self):
        # of one type with what is looked for, or it would be converted for each search
        return np.sort(np.concatenate([*self._chunks()])).astype(np.float64, copy=False)

    def __getitem__(self, rank):
        return self._ordered[rank]

    def searchsorted(self, values, side="left"):
        return self._ordered.searchsorted(values, side)


class _ShortIntegers(_Values):
    """Integers of 16 bits or less: how often each occurs says it all."""

    @cached_property
    def _counts(self):
        counts = np.zeros(_N_BINS, np.int64)
        for chunk in self._chunks():
            places = chunk.astype(np.intp) - self._first(chunk.dtype)
            counts += np.bincount(places, minlength=_N_BINS)
        self._numbers = np.arange(_N_BINS) + self._first(chunk.dtype)
        return counts

    @staticmethod
    def _first(dtype):
        return -(2**15) if dtype.kind == "i" else 0

    @cached_property
    def _ranks(self):
        return self._counts.cumsum()

    @property
    def size(self):
        return int(self._ranks[-1])

    def __getitem__(self, rank):
        place = self._ranks.searchsorted(rank, "right")
        return np.float64(self._numbers[place])

    def searchsorted(self, values, side="left"):
        ranks = np.concatenate([[0], self._ranks])
        return ranks[self._numbers.searchsorted(values, side)]

    def sum(self, low, high, about=None):
        kept = (self._numbers >= low) & (self._numbers <= high)
        counts, numbers = self._counts[kept], self._numbers[kept]
        if about is None:
            return float(counts @ numbers)
        return float((counts * (numbers - about) ** 2).sum())


class _Kept:
    """The values from one rank to another, as an array in ascending order."""

    def __init__(self, values):
        self.values = values
        self.start, self.stop = 0, values.size
        self.low, self.high = -np.inf, np.inf

    @property
    def size(self):
        return self.stop - self.start

    def __getitem__(self, rank):
        return self.values[self.start + rank]

    def searchsorted(self, edges):
        return np.clip(self.values.searchsorted(edges), self.start, self.stop) - (
            self.start
        )

    def clip(self, sigma, maxiters):
        """Keep what is near to the median; every pass looks at all again."""
        low, high = sigma
        for _ in range(maxiters):
            middle = sorted_median(self)
            squares = self.values.sum(self.low, self.high, about=middle)
            std = np.sqrt(squares / self.size)
            if std == 0:
                break
            before = self.start, self.stop
            self.low, self.high = middle - low * std, middle + high * std
            self.start = int(self.values.searchsorted(self.low, "left"))
            self.stop = int(self.values.searchsorted(self.high, "right"))
            if (self.start, self.stop) == before:
                break


def _mean(kept):
    return np.float64(kept.values.sum(kept.low, kept.high) / kept.size)


LEVELS = {"mean": _mean, "median": sorted_median, "mode": mode}


def clipped_levels(chunks, words, *, sigma=(3.0, 3.0), maxiters=5, sort=True):
    """
    Return statistics of the values of a frame that survive sigma clipping.

    Parameters
    ----------
    chunks : callable
        Gives an iterable of arrays (n,) of finite numbers in native byte order, all of
        one type. It is called for every pass; the order of the numbers matters for the
        last digits of a mean only.
    words : dict of str to {"mean", "median", "mode"}
        The statistics by name.
    sigma : (float, float)
        The values that are kept are at most so many standard deviations below and above
        the median. The deviations are about the median.
    maxiters : int
        Passes of clipping, at most.
    sort : bool
        Whether there is memory for all numbers, to sort them. It changes nothing but
        the time.

    Returns
    -------
    dict of str to float
        The statistics by name; none if there is no number.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.levels import clipped_levels
    >>> chunks = [np.array([3.0, 1, 2]), np.array([2.0, 90])]
    >>> clipped_levels(lambda: chunks, {"zero": "median"}, sigma=(1.5, 1.5))
    {'zero': 2.0}
    """
    dtype = next((chunk.dtype for chunk in chunks()), None)
    if dtype is None:
        return {}
    short = dtype.kind in "iu" and dtype.itemsize <= 2
    kind = _ShortIntegers if short else _Sorted if sort else _Values
    kept = _Kept(kind(chunks))
    if not kept.size:
        return {}
    kept.clip(sigma, maxiters)
    return {name: float(LEVELS[word](kept)) for name, word in words.items()}
