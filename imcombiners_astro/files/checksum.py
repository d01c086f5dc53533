# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checksums of FITS HDUs of which only a part is in memory at a time.

The FITS Standard 4.0, section 4.4.2.7 and appendix J: DATASUM is the ones' complement
sum of the data as 32-bit big-endian integers, CHECKSUM makes that of the HDU -0.
"""

from datetime import datetime

import numpy as np

__all__ = ["DataSum", "set_checksum"]

_FULL = 0xFFFFFFFF


class DataSum:
    """
    The sum of data that come in pieces, in any order.

    Attributes
    ----------
    total : int
        The sum so far.

    Examples
    --------
    >>> from imcombiners_astro.files.checksum import DataSum
    >>> one, other = DataSum(), DataSum()
    >>> one.add(b"abcdefg")
    >>> other.add(b"fg", 5)
    >>> other.add(b"abcde", 0)
    >>> one.total == other.total
    True
    """

    def __init__(self):
        self.total = 0

    def add(self, data, start=0):
        """
        Add a piece.

        Parameters
        ----------
        data : bytes-like
            The piece.
        start : int, optional
            Where it begins in the data.
        """
        data = memoryview(data).cast("B")
        first = -start % 4
        head, rest = data[:first], data[first:]
        whole = len(rest) - len(rest) % 4
        total = int(np.frombuffer(rest[:whole], ">u4").sum(dtype=np.uint64))
        # What does not fill an integer is filled up by the neighbours, or zeros.
        total += int.from_bytes(bytes(rest[whole:]).ljust(4, b"\0"), "big")
        if first:
            word = (bytes(start % 4) + bytes(head)).ljust(4, b"\0")
            total += int.from_bytes(word, "big")
        self.total = _folded(self.total + total)


def _folded(total):
    while total > _FULL:
        total = (total & _FULL) + (total >> 32)
    return total


def set_checksum(header, datasum):
    """
    Set CHECKSUM and DATASUM in a header that has both.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Complete but for these; it is changed.
    datasum : int
        The sum of the data.
    """
    now = datetime.now().isoformat(timespec="seconds")
    header["CHECKSUM"] = ("0" * 16, f"HDU checksum updated {now}")
    header["DATASUM"] = (str(datasum), f"data unit checksum updated {now}")
    whole = DataSum()
    whole.add(header.tostring().encode("ascii"))
    header["CHECKSUM"] = _encoded(~_folded(whole.total + datasum) & _FULL)


def _encoded(value):
    """Write a number as 16 letters and digits (appendix J.2 of the standard)."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        quotient, remainder = divmod(byte, 4)
        # Four characters that add up to the byte and four times "0".
        codes = [quotient + 48] * 4
        codes[0] += remainder
        while any(_is_punctuation(code) for code in codes):
            for k in (0, 2):
                if _is_punctuation(codes[k]) or _is_punctuation(codes[k + 1]):
                    codes[k] += 1
                    codes[k + 1] -= 1
        columns.append(codes)
    text = "".join(chr(columns[k][row]) for row in range(4) for k in range(4))
    return text[-1] + text[:-1]


def _is_punctuation(code):
    return 0x3A <= code <= 0x40 or 0x5B <= code <= 0x60
