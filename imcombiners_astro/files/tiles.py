# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tile-compressed images of which only a part is in memory at a time.

astropy compresses one slab of whole tiles after the other; what is here puts together
the tables it makes. The result is, byte for byte, what astropy makes of the whole.
"""

import io
import re
from math import prod
from typing import NamedTuple

import numpy as np
from astropy.io import fits

__all__ = ["TiledTable", "compress", "rows_of_tiles", "slabs"]

# Pixels of a slab, at least one tile.
_SLAB_SIZE = 2**20

# The heap of a larger image is addressed by 64 bits, as astropy and CFITSIO decide.
_HUGE = 2**32


class TiledTable(NamedTuple):
    """
    A compressed image without its heap.

    Attributes
    ----------
    header : `~astropy.io.fits.Header`
        Of the binary table.
    rows : structured `~numpy.ndarray`
        The table, big-endian, of a row for each tile.
    heap_nbytes : int
        Bytes of the heap.
    """

    header: fits.Header
    rows: np.ndarray
    heap_nbytes: int


def rows_of_tiles(shape, tile_shape):
    """
    Folded rows that are unpacked together.

    Parameters
    ----------
    shape, tile_shape : tuple of int
        Shapes of an image and its tiles, in NumPy's order.

    Returns
    -------
    int
        Strips that begin at multiples of it cut no tile.

    Examples
    --------
    >>> from imcombiners_astro.files.tiles import rows_of_tiles
    >>> rows_of_tiles((4096, 2048), (16, 2048))
    16
    >>> rows_of_tiles((10, 60, 80), (1, 16, 16))  # the last tiles of 60 rows are lower
    60
    """
    for axis, (size, tile) in enumerate(zip(shape[:-1], tile_shape, strict=False)):
        if tile > 1:
            fits_in = axis == 0 or size % tile == 0
            return (tile if fits_in else size) * prod(shape[axis + 1 : -1])
    return 1 if len(shape) > 1 else tile_shape[0]


def slabs(shape, tile_shape):
    """
    Cut an image into slabs of whole tiles.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    tile_shape : tuple of int
        Shape of the tiles: whole rows of it, or parts of single rows.

    Yields
    ------
    start : int
        First pixel of the slab in the flattened image, in which it is contiguous.
    slab_shape : tuple of int
        Its shape, of as many dimensions as the image.

    Examples
    --------
    >>> from imcombiners_astro.files.tiles import slabs
    >>> list(slabs((2, 3, 1000), (1, 2, 1000)))
    [(0, (1, 3, 1000)), (3000, (1, 3, 1000))]
    """
    ones = (1,) * (len(shape) - 2)
    n_columns, n_rows = shape[-1], shape[-2] if len(shape) > 1 else 1
    height = tile_shape[-2] if len(shape) > 1 else 1
    for plane in range(prod(shape[:-2])):
        first = plane * n_rows * n_columns
        if tile_shape[-1] < n_columns:
            # Tiles of several rows are as wide as the image.
            step = max(1, _SLAB_SIZE // tile_shape[-1]) * tile_shape[-1]
            for row in range(n_rows):
                for column in range(0, n_columns, step):
                    width = min(step, n_columns - column)
                    slab = (*ones, 1, width)[-len(shape) :]
                    yield first + row * n_columns + column, slab
            continue
        step = max(1, _SLAB_SIZE // (height * n_columns)) * height
        for row in range(0, n_rows, step):
            slab = (*ones, min(step, n_rows - row), n_columns)[-len(shape) :]
            yield first + row * n_columns, slab


def compress(read, make, shape, tile_shape, dtype, write_heap, checksum=False):
    """
    Compress an image slab by slab.

    Parameters
    ----------
    read : callable
        Called with the first pixel and the shape of a slab; returns its values.
    make : callable
        Makes a `~astropy.io.fits.CompImageHDU` of values.
    shape, tile_shape : tuple of int
        Those of the image and of its tiles.
    dtype : `~numpy.dtype`
        Type of the values.
    write_heap : callable
        Called with the heap of each slab, in order.
    checksum : bool, optional
        Whether the header is to have CHECKSUM and DATASUM, which are yet to be set.

    Returns
    -------
    TiledTable
    """
    header, parts, end = None, [], 0
    for start, slab_shape in slabs(shape, tile_shape):
        found, rows, heap = _table(make(read(start, slab_shape)), checksum)
        if header is None or ("ZBLANK" in found and "ZBLANK" not in header):
            header = found
        for name in _descriptors(rows.dtype):
            # An empty array has its place at the beginning of the heap.
            used = rows[name][:, 0] > 0
            rows[name][used, 1] += end
        parts.append(rows)
        write_heap(heap)
        end += len(heap)
    kind = "Q" if prod(shape) * dtype.itemsize > _HUGE else "P"
    rows = np.concatenate(parts).astype(_row_type(header, kind))
    header["NAXIS1"], header["NAXIS2"] = rows.dtype.itemsize, len(rows)
    header["PCOUNT"] = end
    for k, n in enumerate(reversed(shape), start=1):
        header[f"ZNAXIS{k}"] = n
    for name in _descriptors(rows.dtype):
        header[f"TFORM{name[1:]}"] = f"1{kind}B({rows[name][:, 0].max()})"
    return TiledTable(header, rows, end)


def _table(hdu, checksum):
    """Return header, rows and heap of the table that astropy makes of an image."""
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file, checksum=checksum)
    data = file.getvalue()
    file.seek(0)
    with fits.open(file, disable_image_compression=True) as hdus:
        header, place = hdus[1].header.copy(), hdus[1].fileinfo()["datLoc"]
    rows = np.frombuffer(data, _row_type(header, "P"), header["NAXIS2"], place)
    rows = rows.astype(_row_type(header, "Q"))  # the places may become large
    heap = place + header["NAXIS1"] * header["NAXIS2"]
    return header, rows, data[heap : heap + header["PCOUNT"]]


def _row_type(header, kind):
    """Type of a row whose places in the heap are of 32 (P) or 64 (Q) bits."""
    place = (">i4" if kind == "P" else ">i8", (2,))
    is_array = [
        re.match(r"1?[PQ]", header[f"TFORM{k}"])
        for k in range(1, header["TFIELDS"] + 1)
    ]
    # The other columns are scale and zero, of double precision.
    return np.dtype(
        [
            (f"f{k}", *(place if array else (">f8",)))
            for k, array in enumerate(is_array, start=1)
        ]
    )


def _descriptors(dtype):
    """Names of the columns that say where arrays are in the heap."""
    return [name for name in dtype.names if dtype[name].shape]
