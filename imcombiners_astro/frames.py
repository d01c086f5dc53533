# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a frame is, and how a stack of frames is read strip by strip.

A *frame* is one input image, wherever its pixels are. Its image is looked at as
*folded*: ``(prod(shape[:-1]), shape[-1])``, so that any image is a sequence of rows and
a *strip* is a run of neighbouring rows of every frame (see `fold`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
from astropy.nddata import CCDData, NDData
from astropy.units import UnitBase

from imcombiners_astro.planes import FitsScaling

__all__ = [
    "STRIP_NBYTES",
    "CCDFrame",
    "Frame",
    "Strip",
    "StripPlan",
    "check_crop",
    "fold",
    "folded_rows",
    "plan_strips",
    "strips",
]

# Bytes of one strip of all frames together. What was just read should still be in the
# shared cache (32 MiB is common) when it is combined, beside the strip that is read
# meanwhile; and a strip must be long enough that the work per strip and frame (some
# microseconds) is small beside the copying of its bytes. Measured with 20 frames of
# 2048 x 2048 pixels: 6 and 8 MiB are read fastest, 2 and 32 MiB a quarter slower.
STRIP_NBYTES = 8 * 2**20

# Planes begin on a cache line, and three lines further than in the plane before: with
# rows of 2**k pixels all planes would otherwise fall into one set of the cache.
_LINE = 64
_STAGGER = 3 * _LINE


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
    """

    pixels: np.ndarray
    mask: np.ndarray | None = None
    fits: FitsScaling | None = None

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
        Unit of the values.
    exact16 : bool
        Whether the values are integers of at most 16 bits (then float32 is exact).
    row_nbytes : int
        Bytes of memory that one folded row needs while it is being read, its mask
        included; 0 for a frame that is in memory.
    buffered : bool
        Whether ``read`` makes use of a buffer given to it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    unit: UnitBase
    exact16: bool
    row_nbytes: int
    buffered: bool

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> Strip:
        """
        Read folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            Folded rows, ``0 <= start < stop``.
        buffer : `~numpy.ndarray` of uint8, shape (n,), optional
            At least ``(stop - start) * row_nbytes`` bytes that the strip may live in.

        Returns
        -------
        Strip
            The rows.
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

    def crop_to(self, shape: tuple[int, ...]) -> None:
        """
        Use only the part of a larger 2-D image that begins at pixel [0, 0].

        Parameters
        ----------
        shape : tuple of int
            The new shape.
        """
        ...

    def close(self) -> None:
        """Give back what the frame holds open."""
        ...


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


class CCDFrame:
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

    Raises
    ------
    TypeError
        If the data are not real numbers.
    ValueError
        If the shape of the mask is not that of the data.
    """

    row_nbytes = 0
    buffered = False

    def __init__(self, ccd: NDData, name: str):
        data = ccd.data
        if not isinstance(data, np.ndarray):
            data = np.asarray(data)
        if data.dtype.kind not in "biuf":
            raise TypeError(
                f"{name}: the data must be real numbers, found dtype {data.dtype}."
            )
        if data.ndim == 0:
            raise ValueError(f"{name}: the data is one number, expected an image.")
        self.ccd = ccd
        self.name = name
        self.dtype = data.dtype
        self.unit = ccd.unit
        self.exact16 = data.dtype.kind in "biu" and data.dtype.itemsize <= 2
        self.shape = data.shape
        # bool has the bytes of uint8
        self._data = data.view(np.uint8) if data.dtype.kind == "b" else data
        self._mask = _mask_array(ccd.mask, data.shape, name)

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
        check_crop(self.name, self._data.shape, shape)
        self.shape = tuple(shape)

    def read(self, start, stop, buffer=None):
        """
        Folded rows ``start`` to ``stop`` (exclusive).

        Parameters
        ----------
        start, stop : int
            The rows.
        buffer : `~numpy.ndarray`, optional
            Not needed, not used.

        Returns
        -------
        Strip
            Views of the data and of the mask.
        """
        pixels = self._rows(self._data, start, stop)
        if pixels.dtype.kind == "f" and pixels.dtype.itemsize not in (4, 8):
            pixels = pixels.astype("f4" if pixels.dtype.itemsize == 2 else "f8")
        mask = self._mask
        if mask is not None:
            mask = self._rows(mask, start, stop)
            if mask.dtype != bool:
                mask = mask != 0
        return Strip(pixels, mask)

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
        if isinstance(self.ccd, CCDData):
            return self.ccd.copy()
        return CCDData(self.ccd, copy=True)

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


class StripPlan(NamedTuple):
    """
    How a stack is cut into strips.

    Attributes
    ----------
    height : int
        Rows of a strip; the last strip may have fewer.
    n_strips : int
        Number of strips.
    n_buffers : int
        Sets of buffers: one more than strips that are read ahead.
    nbytes : int
        Bytes of all buffers.
    """

    height: int
    n_strips: int
    n_buffers: int
    nbytes: int


def plan_strips(frames, mem_limit, fixed_nbytes=0, n_ahead=1, target=STRIP_NBYTES):
    """
    Choose the height of strips.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one shape.
    mem_limit : float
        Bytes that the whole combination may use.
    fixed_nbytes : int, optional
        Bytes of it that are used for something else (results, workspaces).
    n_ahead : int, optional
        Strips that are read while one is in work.
    target : int, optional
        Bytes of one strip of all frames that are aimed at.

    Returns
    -------
    StripPlan
        Frames that are all in memory make one strip. There is at least one row in a
        strip, even if that needs more than the limit.
    """
    n_rows, _ = fold(frames[0].shape)
    row = sum(frame.row_nbytes for frame in frames)
    padding = _LINE + sum(_LINE + _STAGGER for frame in frames if frame.row_nbytes)
    room = mem_limit - fixed_nbytes
    if n_rows == 0:
        return StripPlan(0, 0, 0, 0)
    if row == 0:
        return StripPlan(n_rows, 1, 0, 0)
    whole = n_rows * row + padding
    if n_rows * row <= target and whole <= room:
        return StripPlan(n_rows, 1, 1, whole)
    height = min(target // row, (room // (n_ahead + 1) - padding) // row, n_rows)
    height = max(1, int(height))
    # strips of equal height: a last one of few rows would cost as much as the others
    n_strips = -(-n_rows // height)
    height = -(-n_rows // n_strips)
    n_buffers = min(n_ahead + 1, n_strips)
    return StripPlan(
        height, -(-n_rows // height), n_buffers, n_buffers * (height * row + padding)
    )


def strips(
    frames: Sequence[Frame],
    mem_limit: float,
    fixed_nbytes: int = 0,
    n_ahead: int = 1,
    target: int = STRIP_NBYTES,
) -> Iterator[tuple[int, int, list[Strip]]]:
    """
    Read a stack strip by strip, the next strip while the caller works on this one.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one shape (see `Frame.crop_to`).
    mem_limit : float
        Bytes that the whole combination may use.
    fixed_nbytes : int, optional
        Bytes of it that are used for something else (results, workspaces).
    n_ahead : int, optional
        Strips that a thread in the background reads while one is in work.
    target : int, optional
        Bytes of one strip of all frames that are aimed at.

    Yields
    ------
    start, stop : int
        Folded rows of this strip (see `fold`).
    planes : list of Strip
        One for each frame. They are valid until the next strip is asked for: then
        their memory is used again.

    Raises
    ------
    ValueError
        If the shapes differ.
    OSError
        If a file cannot be read to the end; it is named.
    """
    for frame in frames:
        if frame.shape != frames[0].shape:
            raise ValueError(
                f"{frame.name} has shape {frame.shape}, {frames[0].name} has "
                f"{frames[0].shape}; they must be equal."
            )
    plan = plan_strips(frames, mem_limit, fixed_nbytes, n_ahead, target)
    n_rows, _ = fold(frames[0].shape)
    step = plan.height or 1
    bounds = [(k, min(k + step, n_rows)) for k in range(0, n_rows, step)]
    if plan.n_buffers < 2:
        buffers = _buffers(frames, plan.height)
        for start, stop in bounds:
            yield start, stop, _read(frames, start, stop, buffers)
        return

    ring = [_buffers(frames, plan.height) for _ in range(plan.n_buffers)]
    running = deque()
    sent = 0
    with ThreadPoolExecutor(1, thread_name_prefix="imcombiners-read") as reader:
        try:
            for k, (start, stop) in enumerate(bounds):
                # Asking for strip k means that strip k - 1 and its buffers are free.
                while sent < min(k + plan.n_buffers, len(bounds)):
                    buffers = ring[sent % plan.n_buffers]
                    job = reader.submit(_read, frames, *bounds[sent], buffers)
                    running.append(job)
                    sent += 1
                yield start, stop, running.popleft().result()
        finally:
            for job in running:
                job.cancel()


def _read(frames, start, stop, buffers):
    return [
        frame.read(start, stop, buffer)
        for frame, buffer in zip(frames, buffers, strict=True)
    ]


def _buffers(frames, height):
    """Give every frame its piece of one block of memory for `height` rows."""
    sizes = [height * f.row_nbytes if f.buffered else 0 for f in frames]
    total = sum(size + _LINE + _STAGGER for size in sizes if size) + _LINE
    block = np.empty(total, np.uint8)
    place = -block.ctypes.data % _LINE
    buffers = []
    for size in sizes:
        buffers.append(block[place : place + size] if size else None)
        if size:
            place += -(-size // _LINE) * _LINE + _STAGGER
    return buffers
