# Licensed under a 3-clause BSD style license - see LICENSE
"""The arrays that a combination makes, and where they are kept: here, in memory."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imcombiners_astro.errors import IntegerResultError

__all__ = [
    "MemoryStore",
    "NotedCube",
    "Product",
    "blank_array",
    "empty_pixels",
    "of_type",
    "total_nbytes",
]

# NumPy asks for huge pages for arrays of at least 4 MiB, but they begin anywhere: up to
# 2 MiB at their ends then come in pages of 4 KiB, one at every first touch, which took
# as long as all the others. What is not touched takes no memory.
_LARGE, _HUGE_PAGE = 1 << 22, 1 << 21


class Product(NamedTuple):
    """
    One of the arrays of a result.

    Attributes
    ----------
    name : str
        As the kernel calls it.
    work : `~numpy.dtype`
        Type that the kernel writes.
    dtype : `~numpy.dtype`
        Type that is kept.
    is_cube : bool
        Whether there is a value for each sample instead of one for each pixel.
    convert : callable or None
        Makes the values that are kept of those of the kernel; None: they are the same.
    is_noted : bool
        Whether a cube is kept in memory as a `NotedCube`.
    """

    name: str
    work: np.dtype
    dtype: np.dtype
    is_cube: bool = False
    convert: Callable[[np.ndarray], np.ndarray] | None = None
    is_noted: bool = False

    def nbytes(self, n_pixels, n_frames):
        """Bytes of the whole array."""
        return self.dtype.itemsize * n_pixels * (n_frames if self.is_cube else 1)


def total_nbytes(products, n_pixels, n_frames):
    """Bytes of several products."""
    return sum(product.nbytes(n_pixels, n_frames) for product in products)


def blank_array(shape, dtype):
    """
    Make an array for the kernel to write.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : `~numpy.dtype`
        Its type.

    Returns
    -------
    `~numpy.ndarray`
        Of zeros, if they are not floats: where nothing happens to a sample the kernel
        then need not write any (``zeroed`` of `combine_planes`). A large one begins
        where a huge page of the memory does.
    """
    dtype = np.dtype(dtype)
    make = np.empty if dtype.kind == "f" else np.zeros
    nbytes = int(np.prod(shape)) * dtype.itemsize
    if nbytes < _LARGE:
        return make(shape, dtype)
    room = make(nbytes + _HUGE_PAGE, np.uint8)
    first = -room.ctypes.data % _HUGE_PAGE
    return room[first : first + nbytes].view(dtype).reshape(shape)


def of_type(values, dtype, argument):
    """
    Convert an image to another type, if that can hold it.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The image or a part of it.
    dtype : `~numpy.dtype`
        The type. Integers are truncated.
    argument : str
        What the caller named the type by.

    Returns
    -------
    `~numpy.ndarray`

    Raises
    ------
    IntegerResultError
        If it is an integer type, and there are values outside of its range, or NaN.
    """
    if dtype.kind in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(dtype)
        outside = ~((values > limits.min - 1.0) & (values < limits.max + 1.0))
        if outside.any():
            found = values[outside][0]
            if np.isnan(found):
                raise empty_pixels(argument, dtype)
            raise IntegerResultError(
                f"{argument}={dtype} holds values from {limits.min} to {limits.max}, "
                f"the combined image has {found:g}."
            )
    if dtype.kind == "f" and argument == "output_dtype":
        with np.errstate(over="ignore"):
            narrow = values.astype(dtype, copy=False)
        lost = np.isinf(narrow) & np.isfinite(values)
        if lost.any():
            raise IntegerResultError(
                f"{argument}={dtype} cannot hold {values[lost][0]:g}, which is in the "
                "combined image."
            )
        return narrow
    return values.astype(dtype, copy=False)


def empty_pixels(argument, dtype):
    """Make the error of NaN in an integer image."""
    return IntegerResultError(
        f"{argument}={dtype} cannot hold the NaN of pixels where no sample is left "
        "(masked, not finite or rejected in every frame). Use a floating-point dtype, "
        "or give their value with blank=."
    )


class NotedCube:
    """
    A cube of bytes of which few are not 0, until somebody needs it.

    It is as large as the images, or a quarter of that: to touch so much memory takes
    longer than to note the few bytes.

    Parameters
    ----------
    cube : uint8 `~numpy.ndarray`
        The cube without them, as `blank_array` makes it.
    notes : list of int64 `~numpy.ndarray` (n,)
        ``sample << 8 | byte`` of those to be written, where samples are counted through
        the cube.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.products import NotedCube
    >>> notes = np.array([2 << 8 | 64, 5 << 8 | 1])
    >>> NotedCube(np.zeros((2, 3), np.uint8), [notes]).whole()
    array([[ 0,  0, 64],
           [ 0,  0,  1]], dtype=uint8)
    """

    def __init__(self, cube, notes):
        self._cube, self._notes = cube, notes

    def __len__(self):
        return len(self._cube)

    @property
    def shape(self):
        """Shape of the cube."""
        return self._cube.shape

    @property
    def dtype(self):
        """Type of the cube."""
        return self._cube.dtype

    @property
    def nbytes(self):
        """Bytes of the cube."""
        return self._cube.nbytes

    def whole(self):
        """
        Write what has been noted.

        Returns
        -------
        uint8 `~numpy.ndarray`
            The same each time.
        """
        flat = self._cube.reshape(-1)
        for notes in self._notes:
            flat[notes >> 8] = notes.astype(np.uint8)
        self._notes = []
        return self._cube


class MemoryStore:
    """
    The arrays of a result in memory.

    Parameters
    ----------
    products : list of Product
        What is kept.
    shape : tuple of int
        Shape of the image.
    n_frames : int
        Number of frames.
    """

    def __init__(self, products, shape, n_frames):
        self._products = {product.name: product for product in products}
        self._shape = tuple(shape)
        self._n_pixels = int(np.prod(shape))
        self._arrays = {
            p.name: blank_array(
                (n_frames, self._n_pixels) if p.is_cube else self._n_pixels, p.dtype
            )
            for p in products
        }
        self._notes = {p.name: [] for p in products if p.is_noted}

    def keeps(self, name):
        """Whether a product is kept."""
        return name in self._products

    def takes_notes(self, name):
        """Whether few bytes of a cube may be noted instead of written."""
        return name in self._notes

    def note(self, name, piece, notes):
        """
        Keep notes of a cube.

        Parameters
        ----------
        name, piece
            As for `room`.
        notes : int64 `~numpy.ndarray` (n,)
            As `~imcombiners_astro.planes.combine_planes` gives them.
        """
        n_pixels = int(np.prod(piece.shape))
        if n_pixels != self._n_pixels:
            frame, pixel = np.divmod(notes >> 8, n_pixels)
            sample = frame * self._n_pixels + piece.place.start + pixel
            notes = sample << 8 | notes & 255
        self._notes[name].append(notes)

    def room(self, name, piece):
        """
        Give an array for what the kernel writes.

        Parameters
        ----------
        name : str
            The product.
        piece : Piece
            The part of the image.

        Returns
        -------
        `~numpy.ndarray`, of the shape of the piece; of a cube (N, *shape)
            Where the values are kept, if they are kept as they are; as `blank_array`
            makes it.
        """
        product = self._products[name]
        if product.convert is None:
            return self._place(name, piece)
        return blank_array(piece.shape, product.work)

    def keep(self, name, piece, values):
        """
        Keep part of a product.

        Parameters
        ----------
        name, piece
            As for `room`.
        values : `~numpy.ndarray`, of the shape that `room` gives
            As the kernel has written them.
        """
        place, convert = self._place(name, piece), self._products[name].convert
        if convert is not None:
            place[...] = convert(values)
        elif not np.may_share_memory(place, values):
            place[...] = values

    def _place(self, name, piece):
        part = self._arrays[name][..., piece.place]
        return part.reshape(*part.shape[:-1], *piece.shape)

    def finish(self, frames=None):
        """
        Give what was kept.

        Parameters
        ----------
        frames : `~astropy.table.Table` or None
            What is told of the frames; it is in memory already.

        Returns
        -------
        dict of str to `~numpy.ndarray` or NotedCube
            The products, of the shape of the image or (N, *shape).
        """
        shape, found = self._shape, {}
        for name, array in self._arrays.items():
            found[name] = array.reshape((-1, *shape) if array.ndim > 1 else shape)
        for name, notes in self._notes.items():
            found[name] = NotedCube(found[name], notes)
        return found
