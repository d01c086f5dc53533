# Licensed under a 3-clause BSD style license - see LICENSE
"""
Plain FITS headers, read without astropy.

Only the few keywords that matter are looked at. Anything out of the ordinary is left
to astropy.
"""

import re
from math import prod
from typing import NamedTuple

from imcombiners_astro.companions import companion_of
from imcombiners_astro.files.blocks import BLOCK, padded
from imcombiners_astro.files.layout import (
    TYPES,
    FileLayout,
    UncertaintyNote,
    check_end,
    check_sizes,
    make_image,
)

__all__ = ["Entry", "all_entries", "scan"]

_CARD = 80
_FIRST_READ = 5 * BLOCK  # most headers of cameras are shorter than this
_LONGEST_HEADER = 4000 * BLOCK
_END = b"END" + 77 * b" "


class _UnusualError(Exception):
    """A header that `scan` leaves to astropy."""


class _EndOfFileError(_UnusualError):
    """A header that the end of the file cuts."""


_PRINTABLE = bytes(range(0x20, 0x7F))
_NEEDED = frozenset(
    key.ljust(8).encode()
    for key in [
        *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "PCOUNT", "GCOUNT", "GROUPS"),
        *("BSCALE", "BZERO", "BLANK", "BUNIT", "EXTNAME", "EXTVER", "ZIMAGE"),
        "UTYPE",
        *(f"NAXIS{k}" for k in range(1, 10)),
    ]
)
_VALUE = re.compile(
    rb"= *(?:'((?:[^']|'')*)'|([TF])|([+-]?\d+)"
    rb"|([+-]?(?:\d+\.\d*|\.\d+|\d+(?=E))(?:E[+-]?\d+)?)) *(?:/.*)?"
)


class Entry(NamedTuple):
    """
    One HDU.

    Attributes
    ----------
    number : int
        Its number.
    kind : {"IMAGE", "TABLE", "BINTABLE"}
        What it is.
    shape : tuple of int
        NAXISn, as NumPy orders them.
    size : int
        Bytes of the data.
    cards : dict
        Values of the keywords that matter.
    offset : int
        Byte of the file where the data begin.
    """

    number: int
    kind: str
    shape: tuple[int, ...]
    size: int
    cards: dict
    offset: int

    @property
    def name(self):
        """EXTNAME in capitals, or an empty text."""
        return self.cards.get("EXTNAME", "")

    @property
    def version(self):
        """EXTVER."""
        return self.cards.get("EXTVER", 1)


def all_entries(file):
    """
    Read the headers of all HDUs of a file.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.

    Returns
    -------
    list of Entry or `None`
        `None` if any header is out of the ordinary, or an image is compressed.

    Raises
    ------
    OSError
        If the file cannot be read, or is too short, naming it.
    """
    try:
        entries = list(_walk(file))
    except _EndOfFileError:
        raise OSError(f"{file.name} is truncated: it ends in a header.") from None
    except _UnusualError:
        return None
    end = max((entry.offset + entry.size for entry in entries if entry.size), default=0)
    if end:
        check_end(file, end)
    return None if any("ZIMAGE" in entry.cards for entry in entries) else entries


def _walk(file):
    """Yield the HDUs."""
    position = number = 0
    # To look behind the image means to unpack a packed one: not without need.
    while not file.ends_at(position):
        found = _read_cards(file, position)
        if found is None:
            return
        cards, offset = found
        kind, shape, size = _structure(cards, number)
        yield Entry(number, kind, tuple(shape), size, cards, offset)
        position = offset + padded(size)
        number += 1


def scan(file, options, entries=None):
    """
    Find the image of a file whose headers are plain.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.
    options : ReadOptions
        What to look for.
    entries : list of Entry, optional
        From `all_entries`, if the headers were read before.

    Returns
    -------
    FileLayout or `None`
        `None` if anything is out of the ordinary: the file may be read in other ways,
        or astropy has to say what is wrong with it.

    Raises
    ------
    OSError
        If the file is too short, naming it.
    """
    try:
        return _scan(file, options, _walk(file) if entries is None else entries)
    except _UnusualError:
        return None


def _scan(file, options, entries):
    wanted = options.hdu
    if type(wanted) is not int or wanted < 0:
        raise _UnusualError
    mask_name = _plain_name(options.hdu_mask)
    uncertainty_name = _plain_name(options.hdu_uncertainty)
    flag_names = [_plain_name(name) for name in options.hdus_of_flags]
    if uncertainty_name is not None and options.utype != "UTYPE":
        raise _UnusualError
    names = [name for name in (mask_name, uncertainty_name) if name is not None]
    image = bunit = primary_bunit = None
    found = {}  # what may belong to the image, by name and version
    for entry in entries:
        number, cards, name = entry.number, entry.cards, entry.name
        is_plain = entry.kind == "IMAGE" and entry.size > 0
        if number == 0:
            primary_bunit = cards.get("BUNIT")
            if entry.kind == "IMAGE" and not entry.shape and wanted == 0:
                wanted = None  # now it is the first image extension with data
        is_first = wanted is None and is_plain
        is_image = image is None and (number == wanted or is_first)
        if is_image and is_first and name in options.companions:
            raise _UnusualError
        # MASK, or CHIP2_MASK, which is that of CHIP2
        kinds = [
            kind
            for kind in (*names, *flag_names)
            if name == kind or name.endswith(f"_{kind}")
        ]
        n_roles = is_image + len(kinds)
        if n_roles > 1 or (n_roles and not is_plain):
            raise _UnusualError
        if n_roles:
            layout = _scanned_image(entry, options)
            if set(kinds) & set(names) and layout.scaling is not None:
                raise _UnusualError
        if is_image:
            image, version = layout, entry.version
            identity = number, name or ("PRIMARY" if number == 0 else ""), version
            bunit = cards.get("BUNIT")
            if (wanted is None or options.inherits_unit) and "BUNIT" not in cards:
                bunit = primary_bunit
        elif n_roles:
            note = UncertaintyNote.of(cards.get("UTYPE"), name, cards.get("BUNIT"))
            found.setdefault((name, entry.version), (layout, note))
        if (
            image is not None
            and not flag_names
            and all((name, version) in found for name in names)
        ):
            break  # nothing that comes later can matter
    if image is None:
        raise _UnusualError

    def belonging(names):
        key = companion_of(found, names, identity, options.of_many)
        return found.get(key, (None, None))

    flags, _ = belonging(flag_names)
    if options.flags_required and flag_names and flags is None:
        raise _UnusualError
    mask, _ = belonging([mask_name] if mask_name else [])
    uncertainty, note = belonging([uncertainty_name] if uncertainty_name else [])
    layout = FileLayout(image, mask, bunit, uncertainty, flags, note)
    check_sizes(file, layout)
    return layout


def _plain_name(name):
    if name is None:
        return None
    if not isinstance(name, str) or name.strip().upper() == "PRIMARY":
        raise _UnusualError
    return name.strip().upper()


def _scanned_image(entry, options):
    cards = entry.cards
    for key in ("BSCALE", "BZERO"):
        if type(cards.get(key, 0)) not in (int, float):
            raise _UnusualError
    if (
        type(cards.get("BLANK", 0)) is not int
        or type(cards.get("BUNIT", "")) is not str
    ):
        raise _UnusualError
    if "BLANK" in cards and cards["BITPIX"] < 0:
        raise _UnusualError  # astropy warns
    return make_image(
        entry.number,
        entry.offset,
        entry.shape,
        cards,
        uint=options.uint,
        ignore_blank=options.ignore_blank,
    )


def _read_cards(file, position):
    """Values of the needed keywords and the place of the data; None at the end."""
    text = file.read_at(position, _FIRST_READ)
    if not text:
        return None
    start = 0
    while True:
        end = text.find(_END, start)
        if end >= 0 and end % _CARD == 0:
            break
        if end >= 0:
            start = end + 1
            continue
        start = max(0, len(text) - _CARD)
        more = file.read_at(position + len(text), len(text))
        if len(text) > _LONGEST_HEADER or not _looks_like_header(text):
            raise _UnusualError
        if not more:
            raise _EndOfFileError
        text = text + more
    header = bytes(text[:end])
    if header.translate(None, _PRINTABLE):
        raise _UnusualError
    keys = [header[k : k + 8] for k in range(0, end, _CARD)]
    joined = b"".join(keys)
    if joined != joined.upper():
        raise _UnusualError
    cards = {}
    for k, key in enumerate(keys):
        if key in _NEEDED:
            name = key.decode().rstrip()
            match = _VALUE.fullmatch(header, k * _CARD + 8, (k + 1) * _CARD)
            if match is None or name in cards or header[k * _CARD + 9] != 0x20:
                raise _UnusualError
            cards[name] = _value(match)
        elif key == b"CONTINUE" and k and keys[k - 1] in _NEEDED:
            raise _UnusualError
    if keys and keys[0] not in (b"SIMPLE  ", b"XTENSION"):
        raise _UnusualError
    return cards, position + (end // BLOCK + 1) * BLOCK


def _looks_like_header(text):
    return text[:8] in (b"SIMPLE  ", b"XTENSION")


def _value(match):
    string, logical, integer, real = match.groups()
    if string is not None:
        text = string.decode().replace("''", "'").rstrip()
        if text.endswith("&"):  # goes on in the next card
            raise _UnusualError
        return text
    if logical is not None:
        return logical == b"T"
    return int(integer) if integer is not None else float(real)


def _structure(cards, number):
    """Kind, shape and bytes of the data of an HDU."""
    bitpix, n_axes = cards.get("BITPIX"), cards.get("NAXIS")
    if type(n_axes) is not int or not 0 <= n_axes <= 9:
        raise _UnusualError
    shape = [cards.get(f"NAXIS{k}") for k in range(n_axes, 0, -1)]
    extras = cards.get("PCOUNT", 0), cards.get("GCOUNT", 1)
    if (
        type(bitpix) is not int
        or bitpix not in TYPES
        or any(type(n) is not int or n < 0 for n in (*shape, *extras))
        or type(cards.get("EXTVER", 1)) is not int
        or cards.get("GROUPS", False) is not False
        or ("XTENSION" in cards) != (number > 0)
        or type(cards.get("EXTNAME", "")) is not str
    ):
        raise _UnusualError
    if "EXTNAME" in cards:
        cards["EXTNAME"] = cards["EXTNAME"].strip().upper()
    size = abs(bitpix) // 8 * extras[1] * (extras[0] + prod(shape)) if shape else 0
    if number == 0:
        if cards.get("SIMPLE") is not True:
            raise _UnusualError
        kind = "IMAGE"
    else:
        kind = cards["XTENSION"]
    if kind == "IMAGE" and extras != (0, 1):
        raise _UnusualError
    if kind not in ("IMAGE", "TABLE", "BINTABLE"):
        raise _UnusualError
    return kind, shape, size
