# Licensed under a 3-clause BSD style license - see LICENSE
"""Frames that are in memory: CCDData, NDData, and arrays of every kind."""

from math import prod

import numpy as np
from astropy.nddata import CCDData, FlagCollection, NDData, extend_bit_flag_map
from astropy.units import Quantity, Unit
from astropy.utils.masked import Masked

from imcombiners_astro.dq import are_plain, check_flags, plain_flags
from imcombiners_astro.strip import BaseFrame, Strip, fold, folded_rows
from imcombiners_astro.variances import are_readable, variance_rule

__all__ = ["CCDFrame", "image_of_array"]


def image_of_array(array, name, unit=None):
    """
    Make an image of an array.

    Parameters
    ----------
    array : array of numbers
        `~numpy.ndarray`, `~numpy.ma.MaskedArray`, `~astropy.units.Quantity`, or
        a `~astropy.utils.masked.Masked` one of these. It is not copied.
    name : str
        For messages.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of arrays that have none; a Quantity keeps its own.

    Returns
    -------
    `~astropy.nddata.NDData`
        With its data, mask and unit.

    Raises
    ------
    TypeError
        If there is no unit.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.memory_frames import image_of_array
    >>> image_of_array(np.ma.masked_equal([1, 2, 3], 2), "dark", unit="adu").mask
    array([False,  True, False])
    """
    if getattr(array, "unit", None) is not None:
        unit = array.unit
    elif unit is None:
        raise TypeError(
            f"{name} must be an array with a unit, found {type(array).__name__} "
            "without one; give unit=, or CCDData(array, unit=...)."
        )
    if isinstance(array, Masked):
        array, mask = array.unmasked, array.mask
    else:
        mask = np.ma.getmask(array)
    if isinstance(array, Quantity):
        array = array.value
    mask = None if mask is np.ma.nomask else mask
    return NDData(np.asarray(np.ma.getdata(array)), mask=mask, unit=unit)


class CCDFrame(BaseFrame):
    """
    A frame in memory; strips are views of its arrays.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData` or `~astropy.nddata.NDData`
        The image. Values of a type that FITS does not know (bool, half and extended
        precision) are converted strip by strip. A mask that is not boolean marks the
        pixels where it is not zero.
    name : str
        For messages, such as ``img_list[3]``.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of an image that has none.
    want_uncertainty : bool, optional
        Whether uncertainties belong to the strips.
    want_flags : bool, optional
        Whether data-quality flags do: the attribute ``flags``, an array of integers or
        a `~astropy.nddata.FlagCollection` (whose n-th array, where it is not zero, is
        bit n). An image without this may have an integer mask, whose bits they then
        are.

    Raises
    ------
    TypeError
        If the data or the uncertainties are not real numbers, or flags are not
        integers, or a unit does not fit.
    ValueError
        If the shape of anything is not that of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData, StdDevUncertainty
    >>> from imcombiners_astro.frames import CCDFrame
    >>> ccd = CCDData(np.ones((2, 3)), unit="adu")
    >>> ccd.uncertainty = StdDevUncertainty(np.full((2, 3), 0.5))
    >>> frame = CCDFrame(ccd, "flat", want_uncertainty=True)
    >>> frame.read(0, 1).variance()
    array([[0.25, 0.25, 0.25]])
    """

    def __init__(
        self, ccd, name, *, unit=None, want_uncertainty=False, want_flags=False
    ):
        data = ccd.data
        if not isinstance(data, np.ndarray):
            data = np.asarray(data)
        if data.dtype.kind not in "biuf":
            raise TypeError(
                f"{name}: the data must be real numbers, found dtype {data.dtype}."
            )
        if data.ndim == 0:
            raise ValueError(f"{name}: the data is one number, expected an image.")
        if ccd.unit is not None:
            unit = ccd.unit
        elif unit is not None:
            unit = Unit(unit)
        super().__init__(name, data.shape, data.dtype, unit)
        self.ccd = ccd
        # bool has the bytes of uint8
        self._data = data.view(np.uint8) if data.dtype.kind == "b" else data
        self._mask = _mask_array(ccd.mask, data.shape, name)
        self._uncertainty = self._rule = None
        self._flags = None
        if want_uncertainty and ccd.uncertainty is not None:
            self._take_uncertainty(ccd.uncertainty)
        if want_flags:
            self._take_flags(getattr(ccd, "flags", None))
        # values and masks of other types are converted strip by strip
        self._kind = None
        if data.dtype.kind == "f" and data.dtype.itemsize not in (4, 8):
            self._kind = np.dtype("f4" if data.dtype.itemsize == 2 else "f8")
            self.buffer_nbytes += self._kind.itemsize * fold(self.shape)[1]
        if self._mask is not None and self._mask.dtype != bool:
            self.buffer_nbytes += fold(self.shape)[1]
        self.row_nbytes += self.buffer_nbytes

    def _take_uncertainty(self, uncertainty):
        array = uncertainty.array
        if array is None:
            return
        array = np.asarray(array)
        if array.dtype.kind not in "iuf":
            raise TypeError(
                f"{self.name}: the uncertainty must be real numbers, found dtype "
                f"{array.dtype}."
            )
        if array.ndim == 0:
            array = np.broadcast_to(array, self.shape)
        elif array.shape != self.shape:
            raise ValueError(
                f"{self.name}: the uncertainty has shape {array.shape}, the data "
                f"{self.shape}; they must be equal."
            )
        self._uncertainty = array
        self._rule = variance_rule(
            self.name, uncertainty.uncertainty_type, uncertainty.unit, self.unit
        )
        self.uncertainty_type = self._rule.kind
        self._copy_uncertainty = not are_readable(array)
        if self._copy_uncertainty:
            self.buffer_nbytes = 8 * fold(self.shape)[1]

    def _take_flags(self, flags):
        mask = self._mask
        if flags is None and mask is not None and mask.dtype.kind in "iu":
            flags, self._mask = mask, None
            self.flags_are_mask = True
        if flags is None:
            return
        if isinstance(flags, FlagCollection):
            self.flag_names = _names_of(flags, self.name)
            self._copy_flags = True
        else:
            flags = np.asarray(flags)
            check_flags(flags.dtype, self.name)
            if flags.shape != self.shape:
                raise ValueError(
                    f"{self.name}: the flags have shape {flags.shape}, the data "
                    f"{self.shape}; they must be equal."
                )
            self._copy_flags = not are_plain(flags.dtype)
        self._flags = flags
        self.has_flags = True
        self.row_nbytes = fold(self.shape)[1]  # the mask that is made of them
        if self._copy_flags:
            self.buffer_nbytes += 4 * fold(self.shape)[1]

    @property
    def header(self):
        """Header of the image, a mapping that is not to be changed."""
        return self.ccd.meta

    def read(self, start, stop, buffer=None):
        """
        Folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            The rows.
        buffer : `~numpy.ndarray`, optional
            Memory for what has to be converted.

        Returns
        -------
        Strip
            Views of the data and of what belongs to them.

        Raises
        ------
        ValueError
            If flags need more than 32 bits.
        """
        if buffer is None:
            buffer = np.empty((stop - start) * self.buffer_nbytes, np.uint8)
        shape, used = (stop - start, fold(self.shape)[1]), 0

        def memory(dtype):  # the widest are asked for first, so that all are aligned
            nonlocal used
            first, used = used, used + np.dtype(dtype).itemsize * prod(shape)
            return buffer[first:used].view(dtype).reshape(shape)

        uncertainty = room = flags = None
        if self._uncertainty is not None:
            uncertainty = self._rows(self._uncertainty, start, stop)
            if self._copy_uncertainty:
                room = memory(np.float64)
        pixels = self._rows(self._data, start, stop)
        if self._kind is not None:
            pixels, wider = memory(self._kind), pixels
            pixels[...] = wider
        if self._flags is not None:
            out = memory(np.uint32) if self._copy_flags else None
            flags = self._flag_rows(start, stop, out)
        mask = self._mask
        if mask is not None:
            mask = self._rows(mask, start, stop)
            if mask.dtype != bool:
                mask = np.not_equal(mask, 0, out=memory(bool))
        return Strip(pixels, mask, None, uncertainty, flags, self._rule, room)

    def _flag_rows(self, start, stop, out):
        if not isinstance(self._flags, FlagCollection):
            return plain_flags(self._rows(self._flags, start, stop), self.name, out)
        out[...] = 0
        for k, one in enumerate(self._flags.values()):
            out |= (self._rows(one, start, stop) != 0) * np.uint32(1 << k)
        return out

    def _rows(self, array, start, stop):
        rows = folded_rows(array, array.shape, start, stop)
        return rows[:, : fold(self.shape)[1]]

    def data(self):
        """
        Whole image.

        Returns
        -------
        `~numpy.ndarray`
            The array of the image itself, not a copy.
        """
        return self.ccd.data

    def template(self):
        """
        Independent copy of the image.

        Returns
        -------
        `~astropy.nddata.CCDData` or the class of the image
            A deep copy; an `~astropy.nddata.NDData` becomes a CCDData.
        """
        ccd = self.ccd
        if isinstance(ccd, CCDData):
            return ccd.copy()
        # a mask may be a single value here, which a CCDData does not take
        mask = _mask_array(ccd.mask, ccd.data.shape, self.name)
        return CCDData(
            np.asarray(ccd.data),
            uncertainty=ccd.uncertainty,
            mask=None if mask is None else mask != 0,
            meta=ccd.meta,
            unit=self.unit,
            wcs=ccd.wcs,
            psf=ccd.psf,
            flags=getattr(ccd, "flags", None),
            copy=True,
        )

    def outline(self):
        """
        Image itself, or what becomes of it as a CCDData.

        Returns
        -------
        `~astropy.nddata.CCDData`
            Not to be changed.
        """
        return self.ccd if isinstance(self.ccd, CCDData) else self.template()

    def close(self):
        """Do nothing: a frame in memory holds nothing open."""


def _mask_array(mask, shape, name):
    if mask is None or (np.ndim(mask) == 0 and not np.any(mask)):
        return None
    mask = np.asarray(mask)
    if mask.ndim == 0:
        return np.broadcast_to(mask, shape)
    if mask.shape != shape:
        raise ValueError(
            f"{name}: the mask has shape {mask.shape}, the data {shape}; they must "
            "be equal."
        )
    return mask


def _names_of(flags, name):
    if len(flags) > 32:
        raise ValueError(f"{name}: found {len(flags)} flags, there may be up to 32.")
    bits = {str(key): 1 << k for k, key in enumerate(flags)}
    return extend_bit_flag_map(f"flags of {name}", **bits)
