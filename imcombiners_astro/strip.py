# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a frame is: one input image, wherever its pixels are.

Its image is looked at as *folded*: ``(prod(shape[:-1]), shape[-1])``, so that any image
is a sequence of rows and a *strip* is a run of neighbouring rows (see `fold`).
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
from astropy import units as u
from astropy.nddata import BitFlagNameMap, CCDData

from imcombiners_astro.planes import FitsScaling
from imcombiners_astro.variances import VarianceRule, unit_ratio

__all__ = ["BaseFrame", "Frame", "Strip", "check_crop", "fold", "folded_rows"]


class Strip(NamedTuple):
    """
    Some folded rows of one frame.

    Attributes
    ----------
    pixels : `~numpy.ndarray`, shape (n_rows, n_columns)
        Pixel values, or the raw (usually big-endian) values of a FITS file.
        It may be a view of a buffer that is used again for a later strip.
    mask : `~numpy.ndarray` of bool, shape (n_rows, n_columns), or `None`
        `True` marks a bad pixel.
    fits : `~imcombiners_astro.planes.FitsScaling` or `None`
        How ``pixels`` become values; `None` means that they are values.
    uncertainty : `~numpy.ndarray`, shape (n_rows, n_columns), or `None`
        Uncertainties as the image has them, of the class and unit they have there.
        They are values, in either byte order; see `errors`.
    flags : `~numpy.ndarray` of int, shape (n_rows, n_columns), or `None`
        Data-quality bits; integers of 8, 16 or 32 bits in the order of the machine.
    rule : `~imcombiners_astro.variances.VarianceRule` or `None`
        How ``uncertainty`` becomes a variance.
    room : `~numpy.ndarray` of float64, shape (n_rows, n_columns), or `None`
        Memory for uncertainties of a type that the kernel does not read, part of the
        buffer of the strip.
    place : `~imcombiners_astro.places.Place` or `None`
        Where these rows and columns are in a strip of the result, if they are not all
        of it.
    weights : `~numpy.ndarray`, shape (n_rows, n_columns), or `None`
        Weights of the samples of a placed frame.
    """

    pixels: np.ndarray
    mask: np.ndarray | None = None
    fits: FitsScaling | None = None
    uncertainty: np.ndarray | None = None
    flags: np.ndarray | None = None
    rule: VarianceRule | None = None
    room: np.ndarray | None = None
    place: "tuple | None" = None
    weights: np.ndarray | None = None

    def rows(self, rows):
        """
        Take some of the rows.

        Parameters
        ----------
        rows : slice
            The rows, counted from the first one of the strip; of a placed one, from the
            first one of its place.

        Returns
        -------
        Strip
            Views of everything this strip has.
        """
        if self.place is None:
            return self._part(rows)
        core = (rows, slice(None))
        place, index = self.place.cut(self.pixels.shape, core)
        return self._part(index)._replace(place=place)

    def columns(self, columns):
        """
        Take some of the columns.

        Parameters
        ----------
        columns : slice
            The columns.

        Returns
        -------
        Strip
            Views of everything this strip has.
        """
        return self._part((slice(None), columns))

    def _part(self, index):
        arrays = ("pixels", "mask", "uncertainty", "flags", "room", "weights")
        each = {name: getattr(self, name) for name in arrays}
        return self._replace(
            **{n: None if array is None else array[index] for n, array in each.items()}
        )

    def variance(self):
        """
        Variances in the square of the frame's unit, that of the values in `pixels`.

        Returns
        -------
        `~numpy.ndarray` of float64, shape (n_rows, n_columns), or `None`
            ``std**2``, the variance, or ``1 / ivar`` (infinite where that is 0), with
            the unit of the uncertainty converted. `None` if there is no uncertainty.

        Raises
        ------
        TypeError
            If the uncertainty is of unknown type; the frame is named.
        ValueError
            If it is negative at a pixel that ``mask`` does not exclude. Give the final
            mask first: ``strip._replace(mask=mask).variance()``.
        """
        if self.uncertainty is None:
            return None
        return self.rule.variance(self.uncertainty, self.mask)

    def errors(self):
        """
        Uncertainties as the kernel reads them; ``rule`` tells how.

        Returns
        -------
        `~numpy.ndarray` of float32 or float64, shape (n_rows, n_columns)
            ``uncertainty`` itself, or ``room`` with a copy of it.
        """
        if self.room is None:
            return self.uncertainty
        self.room[...] = self.uncertainty
        return self.room

    def values(self):
        """
        Pixel values as a plain array, what `astropy.io.fits` would have read.

        Returns
        -------
        `~numpy.ndarray`, shape (n_rows, n_columns)
            ``pixels`` itself where they are values already, else a new array.
        """
        raw, scaling = self.pixels, self.fits
        if scaling is None:
            return raw
        kind, size = raw.dtype.kind, raw.dtype.itemsize
        if scaling.unsigned:
            # Adding half the range modulo the range is flipping the top bit.
            if size == 1:
                return (raw ^ np.uint8(0x80)).view(np.int8)
            native = np.dtype(f"u{size}")
            flipped = raw.view(native.newbyteorder(raw.dtype.byteorder))
            return (flipped ^ native.type(1 << (8 * size - 1))).astype(native)
        if kind == "f":
            values = raw.copy()
        else:
            values = raw.astype(np.float32 if size <= 2 else np.float64)
        if scaling.bscale != 1:
            values *= scaling.bscale
        if scaling.bzero != 0:
            values += scaling.bzero
        if scaling.blank is not None and kind != "f":
            values[raw == scaling.blank] = np.nan
        return values


class Frame(Protocol):
    """
    One input image of a stack.

    Attributes
    ----------
    name : str
        The path, or the place in the input such as ``img_list[3]``; for messages.
    shape : tuple of int
        Shape of the image, as NumPy orders it.
    dtype : `~numpy.dtype`
        Type of the data that ``CCDData.read`` gives for this image.
    unit : `~astropy.units.UnitBase`
        Unit of the values that ``read`` gives; it stays when they are converted.
    unit_factor : float
        What the values have to be multiplied by, to be in the unit that ``to_unit`` was
        given; 1 before that.
    header : mapping
        Header of the image (`~astropy.io.fits.Header` or dict), not to be changed;
        empty if there is none. Of a file, it is read when it is first asked for, and
        keywords that only the primary HDU has are found too.
    uncertainty_type : {'std', 'var', 'ivar', 'unknown'} or `None`
        What the uncertainty that is read with the pixels is; `None` if there is none,
        or if it was not asked for.
    has_flags : bool
        Whether data-quality flags are read with the pixels.
    flags_are_mask : bool
        Whether these were given in place of a mask, so that they mark bad pixels unless
        it is said which flags to ignore.
    flag_names : `~astropy.nddata.BitFlagNameMap` or `None`
        Names of the flags, if the image has them.
    exact16 : bool
        Whether the values are integers of at most 16 bits (then float32 is exact).
    row_nbytes : int
        Bytes of memory that one folded row needs while it is in use: pixels, mask,
        uncertainties and flags. 0 if everything is in memory as it
        will be used.
    buffer_nbytes : int
        How many of these ``read`` finds room for in a buffer given to it; 0 if it makes
        no use of one.
    moment_nbytes : int
        Bytes that one folded row needs besides, only while it is read.
    kept_nbytes : int
        Bytes that the frame holds between reads, whatever their height.
    row_step : int
        Folded rows that can only be read together: strips that begin at multiples of it
        read nothing twice.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    unit: u.UnitBase
    unit_factor: float
    header: Mapping
    uncertainty_type: str | None
    has_flags: bool
    flags_are_mask: bool
    flag_names: type[BitFlagNameMap] | None
    exact16: bool
    row_nbytes: int
    buffer_nbytes: int
    moment_nbytes: int
    kept_nbytes: int
    row_step: int

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> Strip:
        """
        Read folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            Folded rows, ``0 <= start < stop``.
        buffer : `~numpy.ndarray` of uint8, shape (n,), optional
            At least ``(stop - start) * buffer_nbytes`` bytes that the strip may live
            in.

        Returns
        -------
        Strip
            The rows.
        """
        ...

    def expect_overlap(self, n_rows: int) -> None:
        """
        Be ready to read the last rows of a strip once more, at the top of the next one.

        Parameters
        ----------
        n_rows : int
            Folded rows.
        """
        ...

    def data(self) -> np.ndarray:
        """
        Whole image, never cropped, as ``CCDData.read(...).data`` has it.

        Returns
        -------
        `~numpy.ndarray`
            The values in ``dtype``.
        """
        ...

    def template(self) -> CCDData:
        """
        Independent `~astropy.nddata.CCDData` of the whole image.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With the header, unit, WCS, mask and uncertainty of this image.
        """
        ...

    def outline(self) -> CCDData:
        """
        Give what a result is begun with: as `template`, but not to be changed.

        Returns
        -------
        `~astropy.nddata.CCDData`
            Of an image in a file, without pixels and what belongs to each of them.
        """
        ...

    def crop_to(self, shape: tuple[int, ...]) -> None:
        """
        Use only the part of a larger 2-D image that begins at pixel [0, 0].

        Parameters
        ----------
        shape : tuple of int
            The new shape.
        """
        ...

    def to_unit(self, unit: u.UnitBase, like: str | None = None) -> None:
        """
        Find the factor that converts the values to another unit.

        Parameters
        ----------
        unit : `~astropy.units.UnitBase`
            The unit.
        like : str, optional
            The frame that has it, for the message.

        Raises
        ------
        TypeError
            If there is no such factor.
        """
        ...

    def close(self) -> None:
        """Give back what the frame holds open."""
        ...


class BaseFrame:
    """
    What frames of every kind share.

    Parameters
    ----------
    name : str
        For messages.
    shape : tuple of int
        Shape of the image.
    dtype : `~numpy.dtype`
        Type of its values.
    unit : `~astropy.units.UnitBase`
        Their unit.
    """

    row_nbytes = 0
    buffer_nbytes = 0
    moment_nbytes = 0
    kept_nbytes = 0
    row_step = 1
    unit_factor = 1.0
    uncertainty_type = None
    has_flags = False
    flags_are_mask = False
    flag_names = None

    def __init__(self, name, shape, dtype, unit):
        self.name = name
        self.shape = self._full = tuple(shape)
        self.dtype = dtype
        self.unit = unit
        self.exact16 = dtype.kind in "biu" and dtype.itemsize <= 2

    def expect_overlap(self, n_rows):
        """
        Do nothing: most frames can be read anywhere.

        Parameters
        ----------
        n_rows : int
            Folded rows.
        """

    def crop_to(self, shape):
        """
        Use only the part of a larger 2-D image that begins at pixel [0, 0].

        Parameters
        ----------
        shape : tuple of int
            The new shape.

        Raises
        ------
        ValueError
            If the image has no such part.
        """
        check_crop(self.name, self._full, shape)
        self.shape = tuple(shape)

    def to_unit(self, unit, like=None):
        """
        Find the factor that converts the values to another unit.

        Parameters
        ----------
        unit : `~astropy.units.UnitBase`
            The unit.
        like : str, optional
            The frame that has it, for the message.

        Raises
        ------
        TypeError
            If there is no such factor. Only what is proportional can be converted: a
            magnitude has no factor to a flux.
        """
        if self.unit == unit:
            self.unit_factor = 1.0
            return
        try:
            self.unit_factor = unit_ratio(self.unit, unit)
        except u.UnitConversionError as error:
            wanted = f"{like} is in {_named(unit)}" if like else f"not {_named(unit)}"
            raise TypeError(
                "CCDData objects don't have the same unit: "
                f"{wanted}, {self.name} in {_named(self.unit)}."
            ) from error


def _named(unit):
    return str(unit or "") or "no unit (dimensionless)"


def fold(shape):
    """
    Fold an image: how many rows and columns it then has.

    Parameters
    ----------
    shape : tuple of int
        Shape of an image of at least one dimension.

    Returns
    -------
    n_rows, n_columns : int
        ``(prod(shape[:-1]), shape[-1])``, but ``(n, 1)`` for an image of one dimension,
        so that it can be cut as well. C-contiguous arrays are folded by
        ``array.reshape(fold(array.shape))`` without a copy.

    Examples
    --------
    >>> from imcombiners_astro.frames import fold
    >>> fold((3, 4, 5))
    (12, 5)
    >>> fold((7,))
    (7, 1)
    """
    if len(shape) == 1:
        return shape[0], 1
    return prod(shape[:-1]), shape[-1]


def folded_rows(array, shape, start, stop):
    """
    Folded rows of something that can be sliced like an image.

    Parameters
    ----------
    array : `~numpy.ndarray` or section of a FITS HDU
        Image of shape ``shape``; need not be contiguous.
    shape : tuple of int
        Shape of the image.
    start, stop : int
        The rows.

    Returns
    -------
    `~numpy.ndarray`, shape (stop - start, n_columns)
        A view of ``array`` where one exists.
    """
    if len(shape) == 1:
        return array[start:stop][:, np.newaxis]
    if len(shape) == 2:
        return array[start:stop]
    if isinstance(array, np.ndarray) and array.flags.c_contiguous:
        return array.reshape(fold(shape))[start:stop]
    height, blocks = shape[-2], []
    while start < stop:
        block, first = divmod(start, height)
        last = min(height, first + stop - start)
        place = tuple(int(i) for i in np.unravel_index(block, shape[:-2]))
        blocks.append(array[(*place, slice(first, last))])
        start += last - first
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def check_crop(name, full, shape):
    """
    Check that an image can be cropped to a shape.

    Parameters
    ----------
    name : str
        The image, for the message.
    full, shape : tuple of int
        Shapes of the image and of the wanted part.

    Raises
    ------
    ValueError
        If the images do not both have two dimensions, or the part is no part.
    """
    if (
        len(full) != 2
        or len(shape) != 2
        or any(part > whole for part, whole in zip(shape, full, strict=True))
    ):
        raise ValueError(f"{name}: an image of shape {full} has no part {shape}.")
