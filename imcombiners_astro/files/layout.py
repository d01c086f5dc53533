# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where the pixels of a FITS file are, and what they mean.

Two ways lead to the same `FileLayout`: `scan`, which knows plain headers only and
takes a tenth of the time, and `from_hdus`, which lets `astropy.io.fits` read them. The
HDU is chosen as `astropy.nddata.CCDData.read` does.
"""

import re
from math import prod
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError

from imcombiners_astro.planes import FitsScaling

__all__ = [
    "FileLayout",
    "ImageLayout",
    "NoImageError",
    "NotFITSError",
    "choose_hdus",
    "from_hdus",
    "scan",
]

_BLOCK = 2880
_CARD = 80
_FIRST_READ = 5 * _BLOCK  # most headers of cameras are shorter than this
_LONGEST_HEADER = 4000 * _BLOCK
_END = b"END" + 77 * b" "
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class NotFITSError(OSError, IORegistryError):
    """A file is not a FITS file."""


class NoImageError(ValueError, TypeError):
    """A FITS file, or the chosen HDU of it, has no image."""


class ImageLayout(NamedTuple):
    """
    The pixels of one image HDU that is not compressed.

    Attributes
    ----------
    hdu : int
        Number of the HDU in its file.
    offset : int
        Byte of the file where the pixels begin.
    shape : tuple of int
        Shape of the image, as NumPy orders it.
    raw : `~numpy.dtype`
        Type of the pixels in the file.
    scaling : `~imcombiners_astro.planes.FitsScaling` or `None`
        How they become values; `None` if they are values.
    """

    hdu: int
    offset: int
    shape: tuple[int, ...]
    raw: np.dtype
    scaling: FitsScaling | None

    @property
    def nbytes(self):
        """Bytes of the pixels in the file."""
        return prod(self.shape) * self.raw.itemsize

    @property
    def dtype(self):
        """Type of the values that `astropy.io.fits` gives for the pixels."""
        kind, size = self.raw.kind, self.raw.itemsize
        if self.scaling is None or kind == "f":
            return self.raw
        if self.scaling.unsigned:
            return np.dtype("i1" if size == 1 else f"u{size}")
        return np.dtype(np.float32 if size <= 2 else np.float64)


class FileLayout(NamedTuple):
    """
    The image of a FITS file and its mask.

    Attributes
    ----------
    image : ImageLayout
        The image.
    mask : ImageLayout or `None`
        The mask, bad where it is not zero.
    bunit : str or `None`
        Value of BUNIT.
    """

    image: ImageLayout
    mask: ImageLayout | None
    bunit: str | None


def make_image(hdu, offset, shape, cards, *, uint, ignore_blank):
    """
    Layout of an image from its header.

    Parameters
    ----------
    hdu, offset, shape
        As in `ImageLayout`.
    cards : mapping
        The header: BITPIX and, where they exist, BSCALE, BZERO and BLANK.
    uint, ignore_blank : bool
        As in `astropy.io.fits.open`.

    Returns
    -------
    ImageLayout
        With the rules of astropy: only BZERO = 2**(bits - 1) and BSCALE = 1 make
        unsigned integers (then BLANK means nothing), BLANK = 0 means nothing, and a
        BLANK alone makes integers floating point.
    """
    bitpix = cards["BITPIX"]
    raw = np.dtype(_TYPES[bitpix])
    bscale, bzero = cards.get("BSCALE", 1), cards.get("BZERO", 0)
    blank = cards.get("BLANK")
    if ignore_blank or bitpix < 0 or type(blank) is not int:
        blank = None
    scaling = None
    if bscale == 1 and bzero == 0 and blank is None:
        pass
    elif (
        uint
        and bscale == 1
        and bzero == (-128 if bitpix == 8 else 1 << (abs(bitpix) - 1))
        and bitpix > 0
    ):
        scaling = FitsScaling(unsigned=True)
    else:
        if blank is not None:
            limits = np.iinfo(raw)
            if blank == 0 or not limits.min <= blank <= limits.max:
                blank = None
        scaling = FitsScaling(False, float(bscale), float(bzero), blank)
    return ImageLayout(hdu, offset, tuple(shape), raw, scaling)


# --- plain headers -------------------------------------------------------------------


class _UnusualError(Exception):
    """A header that `scan` leaves to astropy."""


_PRINTABLE = bytes(range(0x20, 0x7F))
_NEEDED = frozenset(
    key.ljust(8).encode()
    for key in [
        *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "PCOUNT", "GCOUNT", "GROUPS"),
        *("BSCALE", "BZERO", "BLANK", "BUNIT", "EXTNAME", "ZIMAGE"),
        *(f"NAXIS{k}" for k in range(1, 10)),
    ]
)
_OF_IMAGE = ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "BSCALE", "BZERO", "BLANK")
_VALUE = re.compile(
    rb"= *(?:'((?:[^']|'')*)'|([TF])|([+-]?\d+)"
    rb"|([+-]?(?:\d+\.\d*|\.\d+|\d+(?=E))(?:E[+-]?\d+)?)) *(?:/.*)?"
)


def scan(file, options):
    """
    Find the image of a file whose headers are plain.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.
    options : ReadOptions
        What to look for.

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
        return _scan(file, options)
    except _UnusualError:
        return None


def _scan(file, options):
    wanted, mask_name = options.hdu, options.hdu_mask
    if type(wanted) is not int or wanted < 0:
        raise _UnusualError
    if mask_name is not None:
        if not isinstance(mask_name, str):
            raise _UnusualError
        mask_name = mask_name.strip().upper()
        if mask_name == "PRIMARY":
            raise _UnusualError
    image = mask = bunit = primary_bunit = None
    position = number = 0
    while image is None or (mask_name is not None and mask is None):
        found = _read_cards(file, position)
        if found is None:
            break
        cards, offset = found
        kind, shape, size = _structure(cards, number)
        if number == 0:
            primary_bunit = cards.get("BUNIT")
            if kind == "IMAGE" and not shape and wanted == 0:
                wanted = None  # now it is the first image extension with data
        chosen = number == wanted or (wanted is None and kind == "IMAGE" and size > 0)
        is_mask = mask_name is not None and mask_name == cards.get("EXTNAME", "")
        if image is None and chosen:
            if kind != "IMAGE" or not size or is_mask:
                raise _UnusualError
            image = _scanned_image(file, cards, number, offset, shape, options)
            bunit = cards.get("BUNIT")
            if wanted is None and "BUNIT" not in cards:
                bunit = primary_bunit
        elif is_mask and mask is None:
            if kind != "IMAGE" or not size:
                raise _UnusualError
            mask = _scanned_image(file, cards, number, offset, shape, options)
            if mask.scaling is not None:
                raise _UnusualError
        position = offset + -(-size // _BLOCK) * _BLOCK
        number += 1
    if image is None:
        raise _UnusualError
    return FileLayout(image, mask, bunit)


def _scanned_image(file, cards, number, offset, shape, options):
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
    image = make_image(
        number,
        offset,
        shape,
        cards,
        uint=options.uint,
        ignore_blank=options.ignore_blank,
    )
    check_size(file, image)
    return image


def check_size(file, image):
    """
    Check that a file is long enough for an image of it.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.
    image : ImageLayout
        Where the image should be.

    Raises
    ------
    OSError
        If it is not. The filling up of the last block may be missing.
    """
    end = image.offset + image.nbytes
    if file.size is None:
        if image.nbytes and not file.read_at(end - 1, 1):
            raise OSError(
                f"{file.name} is truncated: its header needs {end} bytes once "
                "unpacked, the file has fewer."
            )
    elif file.size < end:
        raise OSError(
            f"{file.name} is truncated: its header needs {end} bytes, found "
            f"{file.size}."
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
        if not more or len(text) > _LONGEST_HEADER or not _looks_like_header(text):
            raise _UnusualError
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
    return cards, position + (end // _BLOCK + 1) * _BLOCK


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
        or bitpix not in _TYPES
        or any(type(n) is not int or n < 0 for n in (*shape, *extras))
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


# --- any header ----------------------------------------------------------------------


def choose_hdus(hdus, options, name):
    """
    Image, mask and unit of an HDU list, by the rules of ``CCDData.read``.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs.
    options : ReadOptions
        What to look for.
    name : str
        The file, for messages.

    Returns
    -------
    index : int
        Number of the image HDU. If HDU 0 is wanted and has no data: the first image
        extension with data, or else (where ``CCDData.read`` gives up) the first one
        that is compressed.
    mask : int or `None`
        Number of the HDU of the mask.
    bunit : str or `None`
        Value of BUNIT.

    Raises
    ------
    IndexError, KeyError
        If there is no such HDU.
    NoImageError
        If the HDU has no image.
    """
    try:
        index = hdus.index_of(options.hdu)
        hdu = hdus[index]
    except (IndexError, KeyError) as error:
        raise type(error)(
            f"{name} has no HDU {options.hdu!r}, only {_names(hdus)}."
        ) from error
    bunit = hdu.header.get("BUNIT")
    if index == 0 and not _has_image(hdu):
        found = [k for k, hdu in enumerate(hdus) if k and _has_image(hdu)]
        plain = [k for k in found if not isinstance(hdus[k], fits.CompImageHDU)]
        if not found:
            raise NoImageError(f"{name} has no image, only {_names(hdus)}.")
        index = (plain or found)[0]
        hdu = hdus[index]
        bunit = hdu.header.get("BUNIT", bunit)
    elif not _has_image(hdu):
        raise NoImageError(f"{name}: HDU {options.hdu!r} has no image ({_label(hdu)}).")
    mask = None
    if options.hdu_mask is not None and options.hdu_mask in hdus:
        mask = hdus.index_of(options.hdu_mask)
        if not _has_image(hdus[mask]):
            raise NoImageError(
                f"{name}: HDU {options.hdu_mask!r} is no image, it cannot be the mask."
            )
    return index, mask, bunit


def _has_image(hdu):
    return (
        getattr(hdu, "is_image", False)
        and not isinstance(hdu, fits.GroupsHDU)
        and bool(hdu.shape)
        and prod(hdu.shape) > 0
    )


def _label(hdu):
    return f"{hdu.name or 'unnamed'} {type(hdu).__name__}"


def _names(hdus):
    return ", ".join(f"{k} ({_label(hdu)})" for k, hdu in enumerate(hdus))


def from_hdus(hdus, index, mask, bunit, options):
    """
    Layout of a file that astropy has opened.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs; their data must not have been touched.
    index, mask, bunit
        As from `choose_hdus`.
    options : ReadOptions
        How to read.

    Returns
    -------
    FileLayout or `None`
        `None` if the pixels cannot be read as they are.
    """
    images = [_plain_image(hdus, k, options) for k in (index, mask) if k is not None]
    if None in images or (len(images) == 2 and images[1].scaling is not None):
        return None
    return FileLayout(images[0], images[1] if len(images) == 2 else None, bunit)


def _plain_image(hdus, index, options):
    hdu = hdus[index]
    if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU) or isinstance(
        hdu, fits.CompImageHDU
    ):
        return None
    cards = hdu.header
    if (
        any(type(cards.get(key, 0)) not in (int, float) for key in ("BSCALE", "BZERO"))
        # which of two cards counts is for astropy to say
        or any(cards.count(key) > 1 for key in _OF_IMAGE if key in cards)
        or (cards.get("PCOUNT", 0), cards.get("GCOUNT", 1)) != (0, 1)
    ):
        return None
    return make_image(
        index,
        hdu.fileinfo()["datLoc"],
        hdu.shape,
        cards,
        uint=options.uint,
        ignore_blank=options.ignore_blank,
    )
