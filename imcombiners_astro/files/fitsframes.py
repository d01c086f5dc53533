# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames whose pixels are in FITS files.

Uncompressed images are read as the bytes they are (`FitsFrame`), everything else
through `astropy.io.fits` (`SectionFrame`).
"""

import contextlib
from functools import cached_property

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.dq import are_plain, check_flags, plain_flags
from imcombiners_astro.files.hdus import open_fits, pixels_of, read_hdu
from imcombiners_astro.files.layout import header_of
from imcombiners_astro.files.outline import outline_of_file, without_pixels
from imcombiners_astro.files.tiles import rows_of_tiles
from imcombiners_astro.strip import BaseFrame, Strip, fold, folded_rows
from imcombiners_astro.variances import are_readable, variance_rule

__all__ = ["FitsFrame", "SectionFrame"]


class _FileFrame(BaseFrame):
    """What `FitsFrame` and `SectionFrame` share about what belongs to an image."""

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

    def outline(self):
        """
        Image as ``CCDData.read`` reads it, without its pixels.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With header, unit, WCS and the class of the uncertainty.
        """
        return without_pixels(self.template())

    def _take_uncertainty(self, note, options):
        unit = options.unit_of_uncertainty(note, self.unit, self.name)
        self._rule = variance_rule(self.name, note.kind, unit, self.unit)
        self.uncertainty_type = self._rule.kind

    def _take_flags(self, dtype):
        check_flags(dtype, self.name)
        self.has_flags = True

    def _lay_out(self, sizes, extra):
        """Say where in the buffer the parts are, by their bytes of a pixel."""
        # One part follows the other; the widest numbers come first, so that all are
        # aligned.
        self._places, place = {}, 0
        for what, size in sorted(sizes.items(), key=lambda item: -item[1]):
            self._places[what] = place, place + size
            place += size
        self._n_columns = fold(self._full)[1]
        self.buffer_nbytes = self._n_columns * place
        self.row_nbytes = self._n_columns * (place + extra)

    def _piece(self, buffer, what, n_pixels):
        begin, end = self._places[what]
        return buffer[n_pixels * begin : n_pixels * end]


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
        self._opened = contextlib.ExitStack()
        self._image = image
        self._mask = layout.mask
        self._own_choice = layout.own_choice
        self._options = options
        sizes = {what: part.raw.itemsize for what, part in parts.items()}
        extra = 0
        if layout.uncertainty is not None:
            self._take_uncertainty(layout.note, options)
            if not are_readable(np.empty(0, layout.uncertainty.raw)):
                sizes["room"] = 8
        if layout.flags is not None:
            self._take_flags(layout.flags.dtype)
            self._flags_are_unsigned = layout.flags.scaling is not None
            # the mask that is made of them, and a copy of those of 64 bits
            extra = 5 if sizes["flags"] == 8 else 1
        self._lay_out(sizes, extra)
        # One that is packed cannot go back: a reader for each part.
        readers = [file] + [file.again() for _ in range(len(parts) - 1)]
        for reader in readers:
            self._opened.callback(reader.close)
            reader.reserve()
        self._parts = [
            (what, part, reader)
            for (what, part), reader in zip(parts.items(), readers, strict=True)
        ]
        if file.size is None:  # it is packed
            last = max(parts.values(), key=lambda part: part.offset)
            for _, part, reader in self._parts:
                if part is last:
                    reader.end = part.offset + part.nbytes

    @property
    def kept_nbytes(self):
        """Bytes that are kept between reads."""
        return sum(reader.kept_nbytes for _, _, reader in self._parts)

    def expect_overlap(self, n_rows):
        """
        Keep what a packed file cannot go back to.

        Parameters
        ----------
        n_rows : int
            Folded rows.
        """
        for _, part, reader in self._parts:
            reader.overlap = n_rows * self._n_columns * part.raw.itemsize

    @cached_property
    def header(self):
        """Header of the image, and keywords that only the primary HDU has."""
        with open_fits(self._file.name, self._options) as hdus:
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
        for what, part, reader in self._parts:
            raw = self._piece(buffer, what, n_pixels)
            first = start * self._n_columns * part.raw.itemsize
            reader.readinto(raw, part.offset + first)
            found[what] = raw.view(part.raw)
        if "mask" in found:
            found["mask"] = _as_mask(found["mask"])
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
            mask = None if self._mask is None else self._mask.hdu
            return CCDData.read(self._file.name, **self._options.with_mask(mask))
        return read_hdu(self._file.name, self._options, self._image.hdu, self.unit)

    def outline(self):
        """
        Image as ``CCDData.read`` reads it, without its pixels.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With header, unit, WCS and the class of the uncertainty.
        """
        odd = self._own_choice or "hdu_flags" in self._options.keywords
        if odd or not self._options.plain:
            return super().outline()
        with self._file.raw:
            stream = self._file.stream()
            with open_fits(stream, self._options, self.name) as hdus:
                if any(isinstance(hdu, fits.CompImageHDU) for hdu in hdus):
                    return super().outline()
                return outline_of_file(hdus, self._image.hdu, self._options)

    def close(self):
        """Close the file."""
        self._opened.close()


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
        self.kept_nbytes = source.kept_nbytes
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
            tile_shape = getattr(image, "tile_shape", None)
            shapes = {what: hdus[k].shape for what, k in self._parts.items()}
            in_memory = isinstance(pixels_of(image), np.ndarray)
            try:
                dtypes = {
                    what: folded_rows(pixels_of(hdus[k]), shapes[what], 0, 1).dtype
                    for what, k in self._parts.items()
                    if what != "mask"
                }
            except Exception as error:  # whatever a damaged file leads to
                raise _cannot_read(name, error) from error
            readable = True
            if "uncertainty" in self._parts:
                errors = pixels_of(hdus[self._parts["uncertainty"]])
                # strips of files are read into rows
                rows = errors if in_memory else np.empty(0, dtypes["uncertainty"])
                readable = are_readable(rows)
        super().__init__(name, image.shape, dtypes["image"], unit, shapes)
        sizes = {what: dtype.itemsize for what, dtype in dtypes.items()}
        sizes |= {"mask": 1} if "mask" in self._parts else {}
        extra = 0
        if in_memory:  # strips are views
            sizes = {}
        if "uncertainty" in self._parts:
            self._take_uncertainty(choice.note, options)
            if not readable:
                sizes["room"] = 8
        if "flags" in self._parts:
            self._take_flags(dtypes["flags"])
            # the mask that is made of them, and a copy of those that have to be one
            extra = 1 if are_plain(dtypes["flags"]) else 5
        if in_memory and "mask" in self._parts:
            extra += 1
        self._lay_out(sizes, extra)
        if not in_memory:
            # tiles and what is in them, before it is in the buffer
            widest = max(dtype.itemsize for dtype in dtypes.values())
            self.moment_nbytes = 2 * self._n_columns * widest
            if tile_shape is not None:
                self.row_step = rows_of_tiles(self._full, tile_shape)

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
        buffer : `~numpy.ndarray` of uint8, shape (n,), optional
            Memory for the rows; new memory by default.

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
        shape = stop - start, wanted
        n_pixels = (stop - start) * wanted
        if buffer is None:
            buffer = np.empty((stop - start) * self.buffer_nbytes, np.uint8)
        found = {}
        try:
            with self._source as hdus:
                for what, number in self._parts.items():
                    rows = folded_rows(pixels_of(hdus[number]), self._full, start, stop)
                    rows = rows[:, :wanted]
                    if what == "mask":
                        rows = rows != 0
                    if what in self._places:
                        # what astropy gives may be part of something larger
                        piece = self._piece(buffer, what, n_pixels).view(rows.dtype)
                        piece = piece.reshape(shape)
                        piece[...] = rows
                        rows = piece
                    found[what] = rows
        except Exception as error:  # whatever a damaged file leads to
            raise _cannot_read(self.name, error) from error
        if "room" in self._places:
            room = self._piece(buffer, "room", n_pixels).view(np.float64)
            found["room"] = room.reshape(shape)
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
                return pixels_of(hdus[self._index])[...]
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


def _cannot_read(name, error):
    if name in str(error):
        return error if isinstance(error, OSError) else OSError(str(error))
    return OSError(f"{name} cannot be read: {type(error).__name__}: {error}")
