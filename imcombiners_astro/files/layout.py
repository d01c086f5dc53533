# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where the pixels of a FITS file are, and what they mean.

Two ways lead to the same `FileLayout`: that of `imcombiners_astro.files.scan`, which
knows plain headers only and takes a tenth of the time, and `from_hdus`, which lets
`astropy.io.fits` read them. The HDU is chosen as `astropy.nddata.CCDData.read` does.
"""

from math import prod
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError

from imcombiners_astro.companions import companion_of
from imcombiners_astro.files.blocks import padded
from imcombiners_astro.planes import FitsScaling

__all__ = [
    "Choice",
    "FileLayout",
    "ImageLayout",
    "NoImageError",
    "NotFITSError",
    "UncertaintyNote",
    "check_end",
    "check_sizes",
    "choose_hdus",
    "from_hdus",
    "has_image",
    "header_of",
    "make_image",
]

_OF_IMAGE = ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "BSCALE", "BZERO", "BLANK")
TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


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


class UncertaintyNote(NamedTuple):
    """
    What the header of uncertainties says about them.

    Attributes
    ----------
    kind : {'std', 'var', 'ivar', 'unknown'}
        What they are.
    bunit : str or `None`
        Value of BUNIT.
    """

    kind: str
    bunit: str | None

    @classmethod
    def of(cls, utype, extname, bunit):
        """
        Read the values of keywords.

        Parameters
        ----------
        utype : str or `None`
            Name of the class of the uncertainties.
        extname : str
            Name of the HDU.
        bunit : str or `None`
            Value of BUNIT.

        Returns
        -------
        UncertaintyNote
            Without a class, an HDU of the name VAR or VARIANCE has variances, one of
            the name IVAR or INVVAR their inverse, and any other standard deviations
            (``CCDData.read`` takes all of them for the last).
        """
        if utype is None:
            return cls(_KIND_OF_NAME.get(extname.upper(), "std"), bunit)
        return cls(_KIND_OF_CLASS.get(str(utype), "unknown"), bunit)


_KIND_OF_CLASS = {
    "StdDevUncertainty": "std",
    "VarianceUncertainty": "var",
    "InverseVariance": "ivar",
}
_KIND_OF_NAME = {"VAR": "var", "VARIANCE": "var", "IVAR": "ivar", "INVVAR": "ivar"}


class FileLayout(NamedTuple):
    """
    The image of a FITS file and what belongs to it.

    Attributes
    ----------
    image : ImageLayout
        The image.
    mask : ImageLayout or `None`
        The mask, bad where it is not zero.
    bunit : str or `None`
        Value of BUNIT.
    uncertainty : ImageLayout or `None`
        The uncertainties.
    flags : ImageLayout or `None`
        The data-quality flags.
    note : UncertaintyNote or `None`
        What the uncertainties are.
    own_choice : bool
        As in `Choice`.
    """

    image: ImageLayout
    mask: ImageLayout | None
    bunit: str | None
    uncertainty: ImageLayout | None = None
    flags: ImageLayout | None = None
    note: UncertaintyNote | None = None
    own_choice: bool = False


class Choice(NamedTuple):
    """
    Numbers of the HDUs that belong to an image.

    Attributes
    ----------
    index : int
        The image. If HDU 0 is wanted and has no data: the first image extension with
        data, or else the first one that is compressed; those that are known to belong
        to another image only if there is nothing else.
    mask : int or `None`
        Its mask.
    bunit : str or `None`
        Value of BUNIT.
    uncertainty : int or `None`
        Its uncertainties.
    flags : int or `None`
        Its data-quality flags.
    note : UncertaintyNote or `None`
        What the uncertainties are.
    own_choice : bool
        Whether ``CCDData.read`` would take another image: it knows none that is
        compressed, and takes a mask if this is the first one.
    """

    index: int
    mask: int | None
    bunit: str | None
    uncertainty: int | None = None
    flags: int | None = None
    note: UncertaintyNote | None = None
    own_choice: bool = False


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
    raw = np.dtype(TYPES[bitpix])
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


def check_sizes(file, layout):
    """
    Check that a file is long enough for an image and what belongs to it.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.
    layout : FileLayout
        Where they should be.

    Raises
    ------
    OSError
        If it is not. The filling up of the last block may be missing.
    """
    parts = (layout.image, layout.mask, layout.uncertainty, layout.flags)
    check_end(file, max(part.offset + part.nbytes for part in parts if part))


def check_end(file, end):
    """
    Check that a file is as long as its headers say.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file.
    end : int
        Bytes that it has to have.

    Raises
    ------
    OSError
        If it has fewer.
    """
    if file.size is not None:
        if file.size < end:
            raise OSError(
                f"{file.name} is truncated: its header needs {end} bytes, found "
                f"{file.size}."
            )
    elif not file.ends_at(padded(end)) and not file.read_at(end - 1, 1):
        # it had to be unpacked, only to look
        raise OSError(
            f"{file.name} is truncated: its header needs {end} bytes once "
            "unpacked, the file has fewer."
        )


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
    Choice
        Numbers of the HDUs, and what their headers say.

    Raises
    ------
    IndexError, KeyError
        If there is no such HDU.
    NoImageError
        If the HDU has no image.
    """
    index = _index_of(hdus, options.hdu, name)
    hdu = hdus[index]
    bunit = hdu.header.get("BUNIT")
    own_choice = False
    if index == 0 and not has_image(hdu):
        found = [k for k, hdu in enumerate(hdus) if k and has_image(hdu)]
        if not found:
            raise NoImageError(f"{name} has no image, only {_names(hdus)}.")
        plain = [k for k in found if not isinstance(hdus[k], fits.CompImageHDU)]
        others = options.companions
        alone = [k for k in plain + found if hdus[k].name.upper() not in others]
        index = (alone or plain or found)[0]
        own_choice = index not in plain[:1]
        hdu = hdus[index]
        bunit = hdu.header.get("BUNIT", bunit)
    elif not has_image(hdu):
        raise NoImageError(f"{name}: HDU {options.hdu!r} has no image ({_label(hdu)}).")
    if bunit is None and options.inherits_unit:
        bunit = hdus[0].header.get("BUNIT")
    mask = _optional(hdus, options.hdu_mask, index, options, name, "mask")
    uncertainty = _optional(
        hdus, options.hdu_uncertainty, index, options, name, "uncertainty"
    )
    flags = _hdu_of_flags(hdus, index, options)
    flags = _optional(hdus, flags, index, options, name, "flags")
    if flags is None and options.hdus_of_flags and options.flags_required:
        _index_of(hdus, options.hdus_of_flags[0], name)
    note = None
    if uncertainty is not None:
        header = hdus[uncertainty].header
        note = UncertaintyNote.of(
            header.get(options.utype), hdus[uncertainty].name, header.get("BUNIT")
        )
    return Choice(index, mask, bunit, uncertainty, flags, note, own_choice)


def _index_of(hdus, hdu, name):
    try:
        index = hdus.index_of(hdu)
        hdus[index]  # a number may be too large
    except (IndexError, KeyError) as error:
        raise type(error)(f"{name} has no HDU {hdu!r}, only {_names(hdus)}.") from error
    return index


def _optional(hdus, hdu, image, options, name, what):
    """Find an HDU that belongs to the image, if there is one."""
    if hdu is None:
        return None
    if isinstance(hdu, int):  # such a number means an HDU that is there
        index = _index_of(hdus, hdu, name)
    elif isinstance(hdu, str):
        index = _by_name(hdus, [hdu], image, options.of_many)
    else:
        index = hdus.index_of(hdu) if hdu in hdus else None
    if index is not None and not has_image(hdus[index]):
        raise NoImageError(f"{name}: HDU {hdu!r} is no image, it cannot be the {what}.")
    return index


def _by_name(hdus, names, image, only_same, unless=lambda number, hdu: False):
    """Find the HDU of one of the names that belongs to an image, or `None`."""
    found = {}
    for number, hdu in enumerate(hdus):
        if not unless(number, hdu):
            found.setdefault((hdu.name.upper(), hdu.ver), number)
    names = [name.strip().upper() for name in names]
    image = image, hdus[image].name.upper(), hdus[image].ver
    return found.get(companion_of(found, names, image, only_same))


def _hdu_of_flags(hdus, image, options):
    wanted = options.hdus_of_flags
    if not all(isinstance(hdu, str) for hdu in wanted):
        return wanted[0]

    def unless(number, hdu):
        # a table of that name is something else, unless it was asked for
        return number == image or not (options.flags_required or has_image(hdu))

    return _by_name(hdus, wanted, image, options.of_many, unless)


def header_of(hdus, index):
    """
    Header of an image and, for keywords it does not have, that of the file.

    Parameters
    ----------
    hdus : sequence of HDU
        The HDUs.
    index : int
        Number of the image.

    Returns
    -------
    `~astropy.io.fits.Header`
        A copy.
    """
    header = hdus[index].header.copy()
    if index:
        header.extend(hdus[0].header, strip=True, unique=True)
    return header


def has_image(hdu):
    """
    Tell whether an HDU has an image.

    Parameters
    ----------
    hdu : HDU
        Any HDU.

    Returns
    -------
    bool
        Whether it is an image, compressed or not, with at least one pixel.
    """
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


def from_hdus(hdus, choice, options):
    """
    Layout of a file that astropy has opened.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs; their data must not have been touched.
    choice : Choice
        From `choose_hdus`.
    options : ReadOptions
        How to read.

    Returns
    -------
    FileLayout or `None`
        `None` if the pixels cannot be read as they are.
    """
    parts = {}
    for part in ("image", "mask", "uncertainty", "flags"):
        number = choice.index if part == "image" else getattr(choice, part)
        if number is not None:
            parts[part] = _plain_image(hdus, number, options)
            if parts[part] is None:
                return None
            if part in ("mask", "uncertainty") and parts[part].scaling is not None:
                return None
    return FileLayout(
        parts["image"],
        parts.get("mask"),
        choice.bunit,
        parts.get("uncertainty"),
        parts.get("flags"),
        choice.note,
        choice.own_choice,
    )


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
