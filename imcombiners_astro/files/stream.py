# Licensed under a 3-clause BSD style license - see LICENSE
"""
A result that is never in memory as a whole: it goes to its file piece by piece.

Where everything is in the file is known before the work, but for what comes after the
first compressed extension. So the pieces are written to their place there, and of those
others to a temporary file without a name, from which they are copied, or compressed,
when all are there. Headers come last, and are those that astropy has made for an image
of a few pixels.
"""

import errno
import io
import mmap
import os
import tempfile
from functools import partial
from math import prod
from threading import Lock
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from imcombiners_astro.atomic import Replacement, naming
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.files.blocks import padded
from imcombiners_astro.files.checksum import DataSum, set_checksum
from imcombiners_astro.files.tiles import compress
from imcombiners_astro.products import blank_array, of_type
from imcombiners_astro.result_fits import flag_hdus, frames_hdu, tile_shape

__all__ = ["FileStore"]

_CHUNK = 2**20  # pixels that are copied at a time
_PAGE = 4096

_NAMES = {"MASK": "mask", "UNCERT": "uncertainty", "OUTDQ": "dq"} | {
    diagnostic.extname: name
    for name, diagnostic in DIAGNOSTICS.items()
    if name != "output_dq"
}
_CUBES = {name for name, diagnostic in DIAGNOSTICS.items() if diagnostic.is_cube}


class FileStore:
    """
    The arrays of a result, in a file.

    It is a context manager; the file appears when `finish` has been called, and nothing
    is left otherwise.

    Parameters
    ----------
    output : `~imcombiners_astro.files.output.Output`
        The file.
    hdus : `~astropy.io.fits.HDUList`
        Those of a small image with all that the result has, but for the frames.
    products : list of Product
        What is kept.
    shape : tuple of int
        Shape of the image.
    n_frames : int
        Number of frames.
    shown : `~astropy.nddata.CCDData`
        Its PSF and flags, if there are any, are written with the result.
    """

    def __init__(self, output, hdus, products, shape, n_frames, shown):
        self._output = output
        self._products = {product.name: product for product in products}
        self._shape, self._n_frames = tuple(shape), n_frames
        arrays = {hdu.name: hdu.data for hdu in flag_hdus(shown.flags, "FLAGS")}
        if shown.psf is not None:
            arrays["PSFIMAGE"] = shown.psf
        names = dict(_NAMES)
        if "FLAGS" not in arrays:
            names["FLAGS"] = "dq"
        first = next(hdu for hdu in hdus if hdu.data is not None)
        self._blocks = [
            self._block(hdu, "image" if hdu is first else names.get(hdu.name), arrays)
            for hdu in hdus
        ]
        self._place()

    def _block(self, hdu, name, arrays):
        """Find what goes to an HDU."""
        if hdu.data is None:
            return _Block(hdu)
        if name is None and hdu.name in arrays:
            array = arrays[hdu.name]
            return _Block(hdu, array.shape, array=array.reshape(-1))
        if name not in self._products:
            raise ValueError(
                f"output_file {self._output.path}: the extension {hdu.name} is none of "
                "those that are written piece by piece; a larger mem_limit is needed."
            )
        return _Block(hdu, self._shape_of(name), name)

    def _shape_of(self, name):
        is_cube = self._products[name].is_cube
        return (self._n_frames, *self._shape) if is_cube else self._shape

    def _place(self):
        """Find the places of all products, in the file or beside it."""
        self._targets = {name: [] for name in self._products}
        self._mapped, self._spooled = {}, {}
        self._direct_end = 0
        is_known = True
        for block in self._blocks:
            is_known &= not isinstance(block.hdu, fits.CompImageHDU)
            if not is_known:
                break
            block.is_direct = True
            block.start = self._direct_end
            block.data_start = block.start + len(block.header().tostring())
            self._direct_end = block.data_start + padded(block.nbytes)
        for block in self._blocks:
            if block.name is None:
                continue
            if block.is_direct:
                self._targets[block.name].append(block)
                if _is_mappable(block.dtype):
                    self._mapped[block.name, block.dtype] = block
            else:
                block.source = self._spool_place(block.name, block.dtype)
        for product in self._products.values():
            key = product.name, _plain(product.dtype)
            if key not in self._mapped:
                self._mapped[key] = self._spool_place(*key)

    def _spool_place(self, name, dtype):
        """Find the place of a product in the temporary file, with values of a type."""
        if (name, dtype) not in self._spooled:
            place = _Spooled(dtype, self._shape_of(name), self._spool_end)
            self._spooled[name, dtype] = place
            self._targets[name].append(place)
        return self._spooled[name, dtype]

    @property
    def _spool_end(self):
        return max((place.end for place in self._spooled.values()), default=0)

    # -------------------------------------------------------------------- work

    def __enter__(self):
        path = self._output.path
        self._replacement = Replacement(*self._output.replacement())
        self._disks = []
        try:
            with naming(path):
                directory = os.path.dirname(path) or os.curdir
                file = open(self._replacement.part, "rb+", buffering=0)
                self._file = _Disk(file, path, self._direct_end)
                self._disks.append(self._file)
                spool = tempfile.TemporaryFile(dir=directory, buffering=0)
                self._spool = _Disk(spool, path, self._spool_end)
                self._disks.append(self._spool)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for disk in self._disks:
            disk.file.close()
        self._replacement.close()

    def keeps(self, name):
        """Whether a product is kept."""
        return name in self._products

    def takes_notes(self, name):
        """Whether few bytes of a cube may be noted; here all are written."""
        return False

    def room(self, name, piece):
        """Give an array for what the kernel writes; see `MemoryStore`."""
        product = self._products[name]
        shape = (self._n_frames, *piece.shape) if product.is_cube else piece.shape
        return blank_array(shape, product.work)

    def keep(self, name, piece, values):
        """Write part of a product; see `MemoryStore`."""
        product, first = self._products[name], piece.place.start
        if product.is_cube:
            for k, plane in enumerate(values):
                self._write(name, plane, k * prod(self._shape) + first)
            return
        if product.convert is not None:
            values = product.convert(values)
        self._write(name, values, first)

    def _write(self, name, values, first):
        """Write values to where they belong, from pixel `first` on."""
        values = np.ascontiguousarray(values).reshape(-1)
        for target in self._targets[name]:
            wanted = values
            if target.dtype != _plain(values.dtype):
                wanted = of_type(values, target.dtype, "output_dtype")
            disk = self._file if isinstance(target, _Block) else self._spool
            target.write(disk, first, wanted)

    def finish(self, frames=None):
        """
        Write what is left, and put the file in its place if it is to have one.

        Parameters
        ----------
        frames : `~astropy.table.Table` or None
            What is told of the frames.

        Returns
        -------
        dict of str to `~numpy.ndarray`
            The products, of the shape of the image or (N, *shape): read-only maps of
            the file, or of the temporary file if they are not in the file as they are.
        """
        end = 0
        for block in self._blocks:
            end = self._finish_block(block, end)
        if frames is not None:
            small = io.BytesIO()
            hdus = fits.HDUList([fits.PrimaryHDU(), frames_hdu(frames)])
            hdus.writeto(small, checksum=self._output.checksum)
            data = small.getvalue()[len(hdus[0].header.tostring()) :]
            self._file.write(end, data)
            end += len(data)
        self._file.resize(end)
        # Whatever fails leaves the old file; but Windows renames no file with a map.
        spool_map, path = self._spool.map(self._spool_end), self._replacement.part
        file_map = None if os.name == "nt" else self._file.map(end)
        for disk in self._disks:
            disk.file.close()
        if not self._output.is_scratch:
            self._replacement.commit()
            self._output.is_written, path = True, self._output.path
        if file_map is None:
            with open(path, "rb") as file:
                file_map = _Disk(file, path).map(end)
        maps = file_map, spool_map
        return {
            name: self._array(self._mapped[name, _plain(product.dtype)], product, maps)
            for name, product in self._products.items()
        }

    def _array(self, place, product, maps):
        file_map, spool_map = maps
        shape, dtype = self._shape_of(product.name), product.dtype
        if not isinstance(place, _Block):
            return np.ndarray(shape, dtype, spool_map, place.start)
        if dtype.kind != "b":
            dtype = dtype.newbyteorder(">")
        return np.ndarray(shape, dtype, file_map, place.data_start)

    def _finish_block(self, block, start):
        """Write the rest of an HDU; return where it ends."""
        if isinstance(block.hdu, fits.CompImageHDU):
            return self._finish_tiled(block, start)
        header = block.header()
        block.start, block.data_start = start, start + len(header.tostring())
        if block.dtype is not None and not (block.is_direct and block.name):
            n_pixels = prod(block.shape)
            for first in range(0, n_pixels, _CHUNK):
                n = min(_CHUNK, n_pixels - first)
                block.write(self._file, first, self._values(block, first, (n,)))
        self._file.resize_at_least(block.data_start + padded(block.nbytes))
        self._write_header(header, start, block.sum)
        return block.data_start + padded(block.nbytes)

    def _finish_tiled(self, block, start):
        heap_start, heap_end, heap_sum = self._spool_end, self._spool_end, DataSum()

        def write_heap(data):
            nonlocal heap_end
            self._spool.write(heap_end, data)
            heap_end += len(data)

        tiles = block.tiles()
        table = compress(
            partial(self._values, block),
            partial(block.compressed, tiles),
            block.shape,
            tiles,
            block.dtype,
            write_heap,
            self._output.checksum,
        )
        rows = table.rows.tobytes()
        end = start + len(table.header.tostring())
        heap_sum.add(rows)
        self._file.write(end, rows)
        place = len(rows)
        for first in range(heap_start, heap_end, _CHUNK):
            data = self._spool.read(first, min(_CHUNK, heap_end - first))
            self._file.write(end + place, data)
            heap_sum.add(data, place)
            place += len(data)
        self._file.resize_at_least(end + padded(place))
        self._write_header(table.header, start, heap_sum)
        return end + padded(place)

    def _write_header(self, header, start, data_sum):
        if self._output.checksum:
            set_checksum(header, data_sum.total)
        self._file.write(start, header.tostring().encode("ascii"))

    def _values(self, block, first, shape):
        """Read what goes to an HDU, from pixel `first` on."""
        n = prod(shape)
        if block.array is not None:
            return block.array[first : first + n].reshape(shape)
        place = block.source
        size = place.dtype.itemsize
        data = self._spool.read(place.start + first * size, n * size)
        return np.frombuffer(data, place.dtype).reshape(shape)


class _Spooled(NamedTuple):
    """Place of a product in the temporary file, as it is in memory."""

    dtype: np.dtype
    shape: tuple
    start: int

    @property
    def end(self):
        end = self.start + prod(self.shape) * self.dtype.itemsize
        return -(-end // _PAGE) * _PAGE

    def write(self, disk, first, values):
        disk.write(self.start + first * self.dtype.itemsize, values.view(self.dtype))


class _Block:
    """
    An HDU of the file.

    Parameters
    ----------
    hdu : HDU
        That of the small image.
    shape : tuple of int
        Shape of its data.
    name : str, optional
        The product it holds.
    array : `~numpy.ndarray`, optional
        Or the data, flattened.
    """

    def __init__(self, hdu, shape=(), name=None, array=None):
        self.hdu, self.shape, self.name, self.array = hdu, shape, name, array
        self.dtype = None if hdu.data is None else hdu.data.dtype.newbyteorder("=")
        self.is_direct, self.source = False, None
        self.start = self.data_start = 0
        self.sum = DataSum()

    @property
    def nbytes(self):
        """Bytes of the data."""
        return 0 if self.dtype is None else prod(self.shape) * self.dtype.itemsize

    def header(self):
        """Make the header, with CHECKSUM and DATASUM yet to be set."""
        header = self.hdu.header.copy()
        for k, n in enumerate(reversed(self.shape), start=1):
            header[f"NAXIS{k}"] = n
        return header

    def write(self, disk, first, values):
        """Write values from pixel `first` on."""
        data = _stored(values)
        place = first * data.dtype.itemsize
        disk.write(self.data_start + place, data)
        if "CHECKSUM" in self.hdu.header:
            self.sum.add(data.view(np.uint8), place)

    def tiles(self):
        """Shape of the tiles."""
        few_rows = 4 if self.hdu.compression_type == "HCOMPRESS_1" else 1
        is_cube = self.name in _CUBES
        return tile_shape(self.shape, 2 if is_cube else 1, few_rows)

    def compressed(self, tiles, values):
        """Compress values as those of the small image were."""
        return fits.CompImageHDU(
            values,
            self.hdu.header,
            compression_type=self.hdu.compression_type,
            tile_shape=tiles,
            quantize_level=self.hdu.quantize_level,
        )


class _Disk:
    """
    A file that is written and read at any place, by several threads.

    Parameters
    ----------
    file : file object
        The file, without a buffer.
    path : str
        What errors call it.
    nbytes : int, optional
        Bytes that it will need at least. They are reserved where that can be done, so
        that a full disk is known before the work.
    """

    def __init__(self, file, path, nbytes=0):
        self.file, self._path, self._lock = file, path, Lock()
        if nbytes and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, nbytes)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    file.close()
                    raise

    def write(self, place, data):
        """Write bytes."""
        with naming(self._path), self._lock:
            data = memoryview(data).cast("B")
            self.file.seek(place)
            while data:
                data = data[self.file.write(data) :]

    def read(self, place, nbytes):
        """Read bytes."""
        data = bytearray(nbytes)
        with naming(self._path), self._lock:
            rest = memoryview(data)
            self.file.seek(place)
            while rest:
                n = self.file.readinto(rest)
                if not n:
                    raise OSError(errno.EIO, "the temporary file is too short")
                rest = rest[n:]
        return data

    def resize(self, nbytes):
        """Cut the file, or fill it up with zeros."""
        with naming(self._path), self._lock:
            self.file.truncate(nbytes)

    def resize_at_least(self, nbytes):
        """Fill the file up with zeros."""
        if os.fstat(self.file.fileno()).st_size < nbytes:
            self.resize(nbytes)

    def map(self, nbytes):
        """Map the file, read-only; it stays while there is an array of it."""
        if not nbytes:
            return None
        return mmap.mmap(self.file.fileno(), nbytes, access=mmap.ACCESS_READ)


def _plain(dtype):
    """Type of values in a file: booleans are bytes there."""
    return np.dtype("u1") if dtype.kind == "b" else dtype


def _is_offset(dtype):
    """Whether FITS has the type by an offset (BZERO) of half its range."""
    return dtype.kind == ("i" if dtype.itemsize == 1 else "u") and dtype != np.uint8


def _is_mappable(dtype):
    return not _is_offset(dtype)


def _stored(values):
    """Return values as FITS stores them."""
    values = values.view(_plain(values.dtype))
    if _is_offset(values.dtype):
        size = values.dtype.itemsize
        top = np.array(1 << (8 * size - 1), f"u{size}")
        values = (values.view(top.dtype) ^ top).view("u1" if size == 1 else f"i{size}")
    return values.astype(values.dtype.newbyteorder(">"), copy=False)
