# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames whose pixels are in FITS files.

Uncompressed images are read as the bytes they are (`FitsFrame`), everything else
through `astropy.io.fits` (`SectionFrame`).
"""

from functools import cached_property

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.dq import check_flags, plain_flags
from imcombiners_astro.files.layout import header_of
from imcombiners_astro.files.rawfile import Parkable
from imcombiners_astro.strip import BaseFrame, Strip, fold, folded_rows
from imcombiners_astro.variances import variance_rule

__all__ = [
    "AstropyFile",
    "BorrowedHDUs",
    "FitsFrame",
    "SectionFrame",
    "open_fits",
    "read_hdu",
]


class _FileFrame(BaseFrame):
    """What `FitsFrame` and `SectionFrame` share: the checks of what belongs to them."""

    _rule = None

    def __init__(self, name, shape, dtype, unit, shapes):
        super().__init__(name, shape, dtype, unit)
        for what, other in shapes.items():
            if tuple(other) != self.shape:
                have = "have" if what == "flags" else "has"
                raise ValueError(
                    f"{name}: the {what} {have} shape {tuple(other)}, the data "
                    f"{self.shape}; they must be equal."
                )

    def _take_uncertainty(self, note, options):
        unit = options.unit_of_uncertainty(note, self.unit, self.name)
        self._rule = variance_rule(self.name, note.kind, unit, self.unit)
        self.uncertainty_type = self._rule.kind

    def _take_flags(self, dtype):
        check_flags(dtype, self.name)
        self.has_flags = True


class FitsFrame(_FileFrame):
    """
    An uncompressed image of a FITS file, read as the bytes it is.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file; the frame closes it.
    layout : FileLayout
        Where the image is in it.
    options : ReadOptions
        How to read.

    Raises
    ------
    TypeError
        If flags are not integers, or the unit of the uncertainty does not fit.
    ValueError
        If there is no unit, or what belongs to the image has another shape.
    """

    def __init__(self, file, layout, options):
        image = layout.image
        parts = {
            "image": image,
            "uncertainty": layout.uncertainty,
            "flags": layout.flags,
            "mask": layout.mask,
        }
        parts = {what: part for what, part in parts.items() if part is not None}
        super().__init__(
            file.name,
            image.shape,
            image.dtype,
            options.unit_of(layout.bunit, file.name),
            {what: part.shape for what, part in parts.items()},
        )
        self._file = file
        self._image = image
        self._mask = layout.mask
        self._own_choice = layout.own_choice
        self._options = options
        self._n_columns = fold(image.shape)[1]
        sizes = {what: part.raw.itemsize for what, part in parts.items()}
        extra = 0
        if layout.uncertainty is not None:
            self._take_uncertainty(layout.note, options)
            if self._rule.converts(layout.uncertainty.raw.newbyteorder("=")):
                sizes["room"] = 8
        if layout.flags is not None:
            self._take_flags(layout.flags.dtype)
            self._flags_are_unsigned = layout.flags.scaling is not None
            # the mask that is made of them, and a copy of those of 64 bits
            extra = 5 if sizes["flags"] == 8 else 1
        # Bytes of a pixel. One part follows the other in the buffer; the widest numbers
        # come first, so that all are aligned.
        self._places, place = {}, 0
        for what, size in sorted(sizes.items(), key=lambda item: -item[1]):
            self._places[what] = place, place + size
            place += size
        self.buffer_nbytes = self._n_columns * place
        self.row_nbytes = self._n_columns * (place + extra)
        # read in the order of the file: one that is packed cannot go back
        self._parts = sorted(parts.items(), key=lambda item: item[1].offset)

    @cached_property
    def header(self):
        """Header of the image, and keywords that only the primary HDU has."""
        with open_fits(self.name, self._options) as hdus:
            return header_of(hdus, self._image.hdu)

    def read(self, start, stop, buffer=None):
        """
        Read folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            The rows.
        buffer : `~numpy.ndarray` of uint8, shape (n,), optional
            Memory for the rows; new memory by default.

        Returns
        -------
        Strip
            Raw big-endian pixels and how they become values.

        Raises
        ------
        OSError
            If the file is too short or cannot be read, naming it.
        ValueError
            If flags need more than 32 bits.
        """
        n_pixels = (stop - start) * self._n_columns
        if buffer is None:
            buffer = np.empty((stop - start) * self.buffer_nbytes, np.uint8)
        found = {}
        for what, part in self._parts:
            raw = self._piece(buffer, what, n_pixels)
            first = start * self._n_columns * part.raw.itemsize
            self._file.readinto(raw, part.offset + first)
            found[what] = raw.view(part.raw)
        if "mask" in found:
            found["mask"] = _as_mask(found["mask"])
        if "uncertainty" in found:
            found["uncertainty"] = _native(found["uncertainty"])
        if "room" in self._places:
            found["room"] = self._piece(buffer, "room", n_pixels).view(np.float64)
        if "flags" in found:
            flags = _native(found["flags"])
            if self._flags_are_unsigned:
                flags = _flip_top_bit(flags)
            found["flags"] = plain_flags(flags, self.name)
        wanted = fold(self.shape)[1]
        for what, values in found.items():
            rows = values.reshape(-1, self._n_columns)
            found[what] = rows if wanted == self._n_columns else rows[:, :wanted]
        return Strip(
            found.pop("image"), fits=self._image.scaling, rule=self._rule, **found
        )

    def _piece(self, buffer, what, n_pixels):
        begin, end = self._places[what]
        return buffer[n_pixels * begin : n_pixels * end]

    def data(self):
        """
        Whole image, never cropped.

        Returns
        -------
        `~numpy.ndarray`
            The values that ``CCDData.read(...).data`` has.
        """
        raw = np.empty(self._image.nbytes, np.uint8)
        self._file.readinto(raw, self._image.offset)
        pixels = raw.view(self._image.raw).reshape(self._full)
        return Strip(pixels, None, self._image.scaling).values()

    def template(self):
        """
        Whole image as ``CCDData.read`` reads it.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With header, unit, WCS, mask and uncertainty.
        """
        if not self._own_choice:
            return CCDData.read(self.name, **self._options.keywords)
        return read_hdu(self.name, self._options, self._image.hdu, self.unit)

    def close(self):
        """Close the file."""
        self._file.close()


def _as_mask(raw):
    if raw.dtype.itemsize == 1:
        return np.not_equal(raw, 0, out=raw.view(bool))
    return raw != 0


def _native(raw):
    """Turn the bytes of numbers round, where they are."""
    if raw.dtype.isnative:
        return raw
    return raw.byteswap(inplace=True).view(raw.dtype.newbyteorder("="))


def _flip_top_bit(raw):
    """Add half the range, modulo the range, to integers where they are."""
    size = raw.dtype.itemsize
    values = raw.view(f"u{size}")
    values ^= values.dtype.type(1 << (8 * size - 1))
    return values


class AstropyFile(Parkable):
    """
    A file that astropy opens.

    Parameters
    ----------
    name : str
        Path of the file.
    options : ReadOptions
        How to open it.
    """

    def __init__(self, name, options):
        super().__init__(name)
        self._options = options

    def _open(self):
        return open_fits(self.name, self._options)


def open_fits(name, options):
    """
    Open a file with astropy.

    Parameters
    ----------
    name : str
        Path of the file.
    options : ReadOptions
        How to open it.

    Returns
    -------
    `~astropy.io.fits.HDUList`
        To be closed by the caller.

    Raises
    ------
    OSError
        If it cannot be opened; it is named.
    """
    try:
        return fits.open(name, **options.for_open)
    except OSError as error:
        if error.errno is not None:  # an error of the system names the file
            raise
        raise OSError(f"{name} cannot be read: {error}") from error


def read_hdu(name, options, index, unit):
    """
    Read an image that ``CCDData.read`` does not find by itself.

    Parameters
    ----------
    name : str
        Path of the file.
    options : ReadOptions
        How to read it.
    index : int
        Number of the HDU.
    unit : `~astropy.units.UnitBase`
        Its unit.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The image, with the keywords of the primary HDU.
    """
    ccd = CCDData.read(name, **{**options.keywords, "hdu": index, "unit": unit})
    with open_fits(name, options) as hdus:
        ccd.header.extend(hdus[0].header, strip=True, unique=True)
    return ccd


class BorrowedHDUs:
    """
    HDUs that belong to the caller: they are not closed.

    Parameters
    ----------
    hdus : sequence of HDU
        The HDUs.
    """

    def __init__(self, hdus):
        self._hdus = hdus

    def __enter__(self):
        """Give the HDUs."""
        return self._hdus

    def __exit__(self, *error):
        pass

    def close(self):
        """Do nothing."""


class SectionFrame(_FileFrame):
    """
    An image that astropy reads: tile-compressed, remote, or an HDU given as an object.

    Parameters
    ----------
    name : str
        Path, or place in the input.
    source : context manager
        Gives the sequence of HDUs, and has a ``close`` method.
    choice : Choice
        Which HDUs, as from `~imcombiners_astro.files.layout.choose_hdus`.
    options : ReadOptions
        How to read.
    template : callable
        Gives the CCDData of the whole image.

    Raises
    ------
    OSError
        If the image cannot be read.
    TypeError
        If flags are not integers, or the unit of the uncertainty does not fit.
    ValueError
        If there is no unit, or what belongs to the image has another shape.
    """

    def __init__(self, name, source, choice, options, template):
        self._source = source
        self._make_template = template
        self._index = choice.index
        numbers = {
            "image": choice.index,
            "uncertainty": choice.uncertainty,
            "flags": choice.flags,
            "mask": choice.mask,
        }
        self._parts = {what: k for what, k in numbers.items() if k is not None}
        unit = options.unit_of(choice.bunit, name)
        with source as hdus:
            image = hdus[choice.index]
            shapes = {what: hdus[k].shape for what, k in self._parts.items()}
            in_memory = isinstance(_pixels(image), np.ndarray)
            try:
                dtypes = {
                    what: folded_rows(_pixels(hdus[k]), shapes[what], 0, 1).dtype
                    for what, k in self._parts.items()
                    if what != "mask"
                }
            except Exception as error:  # whatever a damaged file leads to
                raise _cannot_read(name, error) from error
        super().__init__(name, image.shape, dtypes["image"], unit, shapes)
        # unpacked tiles and their values, one after the other
        sizes = {what: 2 * dtype.itemsize for what, dtype in dtypes.items()}
        sizes["mask"] = 8
        if in_memory:
            sizes["image"] = sizes["mask"] = 0
        if "uncertainty" in self._parts:
            self._take_uncertainty(choice.note, options)
            if self._rule.converts(dtypes["uncertainty"]):
                sizes["variance"] = 8
        if "flags" in self._parts:
            self._take_flags(dtypes["flags"])
            sizes["mask of flags"] = 1
        if "mask" not in self._parts:
            del sizes["mask"]
        self.row_nbytes = fold(image.shape)[1] * sum(sizes.values())

    @cached_property
    def header(self):
        """Header of the image, and keywords that only the primary HDU has."""
        with self._source as hdus:
            return header_of(hdus, self._index)

    def read(self, start, stop, buffer=None):
        """
        Read folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            The rows.
        buffer : `~numpy.ndarray`, optional
            Not used: astropy has its own.

        Returns
        -------
        Strip
            Values.

        Raises
        ------
        OSError
            If they cannot be read, naming the file.
        ValueError
            If flags need more than 32 bits.
        """
        wanted = fold(self.shape)[1]
        found = {}
        try:
            with self._source as hdus:
                for what, number in self._parts.items():
                    rows = folded_rows(_pixels(hdus[number]), self._full, start, stop)
                    found[what] = rows[:, :wanted]
        except Exception as error:  # whatever a damaged file leads to
            raise _cannot_read(self.name, error) from error
        if "mask" in found:
            found["mask"] = found["mask"].astype(bool)
        if "flags" in found:
            found["flags"] = plain_flags(found["flags"], self.name)
        return Strip(found.pop("image"), rule=self._rule, **found)

    def data(self):
        """
        Whole image, never cropped.

        Returns
        -------
        `~numpy.ndarray`
            The values that ``CCDData.read(...).data`` has.

        Raises
        ------
        OSError
            If they cannot be read, naming the file.
        """
        try:
            with self._source as hdus:
                return _pixels(hdus[self._index])[...]
        except Exception as error:
            raise _cannot_read(self.name, error) from error

    def template(self):
        """
        Whole image as ``CCDData.read`` reads it.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With header, unit, WCS, mask and uncertainty.
        """
        return self._make_template()

    def close(self):
        """Close the file, if it was opened here."""
        self._source.close()


def _pixels(hdu):
    """Give what can be sliced: data that are in memory already, or a section."""
    if hdu.fileinfo() is None or "data" in vars(hdu):
        return hdu.data
    return hdu.section


def _cannot_read(name, error):
    return OSError(f"{name} cannot be read: {type(error).__name__}: {error}")
