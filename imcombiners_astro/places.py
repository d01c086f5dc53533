# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames that cover a part of the result only.

No padded image is ever made: a frame gives the rows that it has, with the place where
they are, and the kernel takes every other sample of it for absent.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from imcombiners_astro.strip import Strip, fold

__all__ = ["Place", "PlacedFrame", "Placement", "footprint_of", "place_inside"]

_MOST_PIXELS = np.iinfo(np.intp).max // 8


class Place(NamedTuple):
    """
    Where the rows and columns of a plane are in a larger piece of an image.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the piece.
    row : int or int64 `~numpy.ndarray` (n_rows,)
        Row of the piece for the first row of the plane, the others following; or one
        for each of them, in ascending order.
    column : int
        Column of the piece for the first column of the plane.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.places import Place
    >>> place, plane = Place((2, 4), 0, 1), np.array([[1.0, 2.0]])
    >>> place.pad(plane, np.nan)
    array([[nan,  1.,  2., nan],
           [nan, nan, nan, nan]])
    >>> smaller, rows = place.cut(plane.shape, (slice(1, 2), slice(None)))
    >>> smaller.shape, plane[rows].shape
    ((1, 4), (0, 2))
    """

    shape: tuple[int, int]
    row: int | np.ndarray
    column: int

    def is_whole(self, shape):
        """Whether a plane of this shape is all of the piece."""
        return tuple(shape) == tuple(self.shape)

    def of(self, image, shape):
        """Return what a plane of this shape covers of an array of the piece."""
        return image[self._index(shape)]

    def pad(self, plane, fill):
        """Return an array of the piece with a plane in its place."""
        padded = np.full(self.shape, fill, plane.dtype)
        padded[self._index(plane.shape)] = plane
        return padded

    def _index(self, shape):
        """Rows and columns of the piece that a plane of this shape covers."""
        rows = self.row
        if not isinstance(rows, np.ndarray):
            rows = slice(rows, rows + shape[0])
        return rows, slice(self.column, self.column + shape[1])

    def cut(self, shape, core):
        """
        Cut a smaller piece out of the piece.

        Parameters
        ----------
        shape : (int, int)
            Shape of the plane.
        core : (slice, slice)
            What is left of the piece; slices without a step.

        Returns
        -------
        Place
            Where the rest of the plane is in the smaller piece.
        (slice, slice)
            The rest of the plane.
        """
        axes = zip((self.row, self.column), shape, self.shape, core, strict=True)
        (row, rows, height), (column, columns, width) = (_cut(*axis) for axis in axes)
        return Place((height, width), row, column), (rows, columns)

    def turned(self):
        """Return the place in the transposed piece; rows must follow each other."""
        return Place(self.shape[::-1], self.column, self.row)


def _cut(first, n, full, core):
    """Cut one axis: where the plane then begins, its part, and the size of the rest."""
    low, high, _ = core.indices(full)
    high = max(low, high)
    if isinstance(first, np.ndarray):
        begin, end = np.searchsorted(first, (low, high))
        return first[begin:end] - low, slice(int(begin), int(end)), high - low
    begin, end = (min(max(edge - first, 0), n) for edge in (low, high))
    return max(first - low, 0) if end > begin else 0, slice(begin, end), high - low


def place_inside(shape, part, position):
    """
    Find the place of an image that is all inside a larger one.

    Parameters
    ----------
    shape, part : tuple of int
        Shapes of the larger and the smaller image.
    position : sequence of int
        Pixel of the larger one where the first pixel of the smaller one is.

    Returns
    -------
    Place
        Of the folded smaller image in the folded larger one; an image of one dimension
        is one row here.

    Examples
    --------
    >>> from imcombiners_astro.places import place_inside
    >>> place_inside((2, 4, 9), (2, 2, 3), (0, 1, 5))
    Place(shape=(8, 9), row=array([1, 2, 5, 6]), column=5)
    """
    *outer, n_columns = shape
    axes = [np.arange(n) + at for n, at in zip(part[:-1], position[:-1], strict=True)]
    rows = np.zeros(1, np.int64)
    for size, axis in zip(outer, axes, strict=True):
        rows = np.add.outer(rows * size, axis).ravel()
    return Place((prod(outer), n_columns), rows, position[-1])


class PlacedFrame:
    """
    A frame as a part of a larger, smaller or shifted image.

    It has the attributes of the frame, but the shape of the result; a strip of it has
    the rows that are there and their `Place`.

    Parameters
    ----------
    frame : Frame
        The frame.
    position : sequence of int
        Pixel of the result where the first pixel of the frame is, in NumPy's order of
        axes; it may be outside.
    shape : tuple of int
        Shape of the result.
    weights : `~numpy.ndarray`, optional
        Weights of the pixels of the frame, of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.memory_frames import CCDFrame
    >>> from imcombiners_astro.places import PlacedFrame
    >>> frame = CCDFrame(CCDData(np.arange(6.0).reshape(2, 3), unit="adu"), "a.fits")
    >>> strip = PlacedFrame(frame, (1, -1), (4, 2)).read(0, 2)
    >>> strip.pixels, strip.place
    (array([[1., 2.]]), Place(shape=(2, 2), row=1, column=0))
    """

    def __init__(self, frame, position, shape, weights=None):
        self.frame = frame
        self.position = tuple(position)
        self.shape = tuple(shape)
        sizes = zip(self.position, frame.shape, self.shape, strict=True)
        # What is covered along each axis of the result.
        self._covered = [(max(0, at), min(at + n, size)) for at, n, size in sizes]
        self._weights = None if weights is None else weights.reshape(fold(frame.shape))
        first, last = self._covered[-1] if len(shape) > 1 else (0, 1)
        start = self.position[-1] if len(shape) > 1 else 0
        if first >= last:  # the frame is beside the result
            first = last = start = 0
        self._column = first
        self._columns = slice(first - start, last - start)

    def __getattr__(self, name):
        """Give what is not different from the frame."""
        if name == "frame":  # not yet there, while a copy is made
            raise AttributeError(name)
        return getattr(self.frame, name)

    @property
    def row_nbytes(self):
        """Bytes that a folded row needs; rows with gaps are put together in a copy."""
        copies = 2 if len(self.shape) > 2 else 1
        return copies * self.frame.row_nbytes

    @property
    def n_covered(self):
        """Number of pixels of the result that the frame covers."""
        return prod(max(0, last - first) for first, last in self._covered)

    def read(self, start, stop, buffer=None):
        """
        Read what there is of folded rows ``start`` to ``stop`` of the result.

        Parameters
        ----------
        start, stop, buffer
            As for a frame. A frame that has none of the rows is not read.

        Returns
        -------
        Strip
            The rows, with their ``place`` in the strip of the result.
        """
        rows, own = self._rows(start, stop)
        place = Place((stop - start, fold(self.shape)[1]), rows, self._column)
        runs = _runs(own) if self.n_covered else []
        if not runs:
            return self._nothing(place)
        if len(runs) == 1:
            strip = self.frame.read(*runs[0], buffer)
        else:
            # The buffer is for one reading.
            strip = _joined([self.frame.read(*run) for run in runs])
        strip = strip.columns(self._columns)
        weights = self._weights
        if weights is not None:
            weights = np.concatenate([weights[a:b, self._columns] for a, b in runs])
        return strip._replace(place=place, weights=weights)

    def _rows(self, start, stop):
        """Return rows of the strip and the folded rows of the frame that are there."""
        if len(self.shape) < 3:
            first, last = self._covered[0]
            first, last = max(first, start), min(last, stop)
            if first >= last:
                return 0, (0, 0)
            at = self.position[0]
            return first - start, (first - at, last - at)
        rows = np.arange(start, stop)
        there, own = np.ones(rows.size, bool), []
        outer = np.unravel_index(rows, self.shape[:-1])
        for axis, at, (first, last) in zip(
            outer, self.position[:-1], self._covered[:-1], strict=True
        ):
            there &= (axis >= first) & (axis < last)
            own.append(axis - at)
        own = [axis[there] for axis in own]
        return rows[there] - start, np.ravel_multi_index(own, self.frame.shape[:-1])

    def _nothing(self, place):
        empty = np.empty((0, self._columns.stop - self._columns.start), np.uint8)
        row = place.row
        if isinstance(row, np.ndarray):
            row = row[:0]
        flags = empty if self.frame.has_flags else None
        weights = None if self._weights is None else empty.astype(float)
        place = place._replace(row=row)
        return Strip(empty, flags=flags, place=place, weights=weights)


def _runs(own):
    """Return the first and the last (exclusive) of every run of rows."""
    if isinstance(own, tuple):
        return [own] if own[1] > own[0] else []
    if not own.size:
        return []
    ends = np.flatnonzero(np.diff(own) != 1)
    first = own[np.append(0, ends + 1)]
    last = own[np.append(ends, own.size - 1)] + 1
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _joined(strips):
    """Return strips of one frame as one."""
    first = strips[0]
    arrays = {
        name: np.concatenate([getattr(strip, name) for strip in strips])
        for name in ("pixels", "mask", "uncertainty", "flags", "room")
        if getattr(first, name) is not None
    }
    return first._replace(**arrays)


class Placement(NamedTuple):
    """
    Where the frames are in the result.

    Attributes
    ----------
    shape : tuple of int
        Shape of the result.
    positions : list of N tuple of int
        Pixel of the result where the first pixel of each frame is, in NumPy's order of
        axes.
    """

    shape: tuple[int, ...]
    positions: list[tuple[int, ...]]

    def place(self, frames, weights=None):
        """
        Return the frames in their places.

        Parameters
        ----------
        frames : list of Frame
            The frames, N of them.
        weights : `~numpy.ndarray`, optional
            Weights of all samples, (N, *shape of the frames).

        Returns
        -------
        list of PlacedFrame
        """
        weights = [None] * len(frames) if weights is None else weights
        each = zip(frames, self.positions, weights, strict=True)
        return [PlacedFrame(f, at, self.shape, weight) for f, at, weight in each]


def footprint_of(frames, offsets, footprint):
    """
    Find the shape of the result and the places of the frames in it.

    Parameters
    ----------
    frames : list of Frame
        The images, N of them, with as many axes each.
    offsets : list of N sequence of int
        Where the first pixel of each is, relative to any one point.
    footprint : {"union", "intersection", "first"}
        Every pixel that some frame covers, those that all cover, or those of the first
        frame; always a rectangle.

    Returns
    -------
    Placement
        Shape and positions.

    Raises
    ------
    ValueError
        If there is no pixel that all frames cover (two of them are named), or too many
        for an array.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.places import footprint_of
    >>> frames = [SimpleNamespace(name="", shape=(4, 5)) for _ in range(2)]
    >>> footprint_of(frames, [(0, 0), (-1, 2)], "union")
    Placement(shape=(5, 7), positions=[(1, 0), (0, 2)])
    >>> footprint_of(frames, [(0, 0), (-1, 2)], "intersection")
    Placement(shape=(3, 3), positions=[(0, -2), (-1, 0)])
    """
    lows = list(zip(*offsets, strict=True))
    highs = [
        [at + frame.shape[axis] for at, frame in zip(low, frames, strict=True)]
        for axis, low in enumerate(lows)
    ]
    if footprint == "first":
        origin, end = [low[0] for low in lows], [high[0] for high in highs]
    elif footprint == "union":
        origin, end = [min(low) for low in lows], [max(high) for high in highs]
    else:
        origin, end = [max(low) for low in lows], [min(high) for high in highs]
    for first, last, low, high in zip(origin, end, lows, highs, strict=True):
        if last <= first:
            left, right = frames[high.index(last)], frames[low.index(first)]
            raise ValueError(
                f"footprint='intersection': there is no pixel that all {len(frames)} "
                f"images cover; {left.name} and {right.name} have none in common."
            )
    positions = [
        tuple(at - zero for at, zero in zip(offset, origin, strict=True))
        for offset in offsets
    ]
    shape = tuple(last - first for first, last in zip(origin, end, strict=True))
    if prod(shape) > _MOST_PIXELS:
        raise ValueError(
            f"footprint={footprint!r}: the result would have the shape {shape}, which "
            "is more than an array can have; some of the offsets must be wrong."
        )
    return Placement(shape, positions)
