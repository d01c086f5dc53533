# Licensed under a 3-clause BSD style license - see LICENSE
"""Writing the result: all of it or nothing."""

import io
import os
import warnings
from copy import copy
from math import prod

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError, identify_format
from astropy.nddata import CCDData

from imcombiners_astro import arguments as args
from imcombiners_astro.atomic import check_free, replacing
from imcombiners_astro.errors import UnusedOptionWarning, warn
from imcombiners_astro.files.stream import FileStore
from imcombiners_astro.products import of_type
from imcombiners_astro.result import CombinedCCDData
from imcombiners_astro.result_fits import tile_shape

__all__ = ["KEYWORD", "OUTPUT_KEYWORDS", "Output", "check_output", "write_output"]

# What combine() calls the argument `overwrite`.
KEYWORD = "overwrite_output"
# Its arguments that are about the output file alone.
OUTPUT_KEYWORDS = (
    *("output_file", KEYWORD),
    *("output_dtype", "output_compression", "output_checksum"),
)

_COMPRESSIONS = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1")

# What FITS has types for, some of them by an offset (BZERO).
_FITS_TYPES = frozenset("i1 u1 i2 u2 i4 u4 i8 u8 f4 f8".split())


def check_output(path, overwrite=False):
    """
    Check before the work that its result can be written.

    Parameters
    ----------
    path : str or `~os.PathLike`
        The file to be written; ``~`` is the home directory.
    overwrite : bool, optional
        Whether the file may exist. An empty file may in any case, as for astropy.

    Returns
    -------
    str
        The path.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or `overwrite` is a word.
    OSError
        If it exists, has a name that is too long, or its directory does not exist or
        cannot be written to.
    IORegistryError
        If astropy does not know the format by the suffix.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"output_file must be a path, found {type(path).__name__}.")
    path = os.path.expanduser(os.fsdecode(path))
    if "\0" in path:
        raise ValueError(f"output_file {path!r}: a path has no null character.")
    if not identify_format("write", CCDData, path, None, [path], {}):
        raise IORegistryError(
            f"output_file {path!r}: the format cannot be told from the name, which "
            "should end with .fits, .fit, .fts or one of these and .gz."
        )
    if overwrite not in (0, 1, None):  # "no" would replace the file
        args.switch(KEYWORD, overwrite)
    check_free(path, overwrite, KEYWORD)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # such as a name that is too long
        raise OSError(error.errno, f"output_file: {error.strerror}", path) from error
    directory = os.path.dirname(path) or os.curdir
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"output_file {path!r}: no directory {directory!r}.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(
            f"output_file {path!r}: directory {directory!r} cannot be written to."
        )
    return path


def write_output(ccd, path, overwrite=False):
    """
    Write an image so that other programs see the old file, or all of the new one.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image. Its ``write`` method is used: with a file beside the final one, which
        is renamed when it is complete and on disk. A `CombinedCCDData` does so by
        itself, and writes its diagnostics as well.
    path : str or `~os.PathLike`
        The file to be written.
    overwrite : bool, optional
        Whether the file may exist.

    Raises
    ------
    TypeError, OSError, IORegistryError
        As `check_output`; OSError also if it cannot be written, for example if the disk
        is full. A file that existed is as it was then, and nothing else is left.
    """
    path = check_output(path, overwrite)
    if isinstance(ccd, CombinedCCDData):
        ccd.write(path, overwrite=overwrite)
        return
    with replacing(path, overwrite, KEYWORD) as part:
        ccd.write(part)


class Output:
    """
    The file that a result goes to.

    Parameters
    ----------
    path : str or `~os.PathLike`
        The file.
    overwrite : bool, optional
        Whether it may exist.
    dtype : `~numpy.dtype` or str, optional
        Type of the image in the file; by default that of the result.
    compression : str, optional
        Algorithm for image and uncertainty, see ``output_compression`` of
        `imcombiners_astro.combine`.
    checksum : bool, optional
        Whether every HDU gets CHECKSUM and DATASUM.
    result_dtype : `~numpy.dtype`, optional
        Type of the result.

    Attributes
    ----------
    path : str
        The file.
    is_written : bool
        Whether the result is there.
    is_scratch : bool
        Whether it is never put there: the result is in arrays only, see `scratch`.

    Raises
    ------
    TypeError, ValueError, OSError
        If it cannot be written, as far as this is known before there is a result.
    """

    def __init__(
        self,
        path,
        overwrite=False,
        *,
        dtype=None,
        compression=None,
        checksum=False,
        result_dtype=None,
    ):
        self.path = check_output(path, overwrite)
        self.overwrite, self.is_written, self.is_scratch = bool(overwrite), False, False
        self.dtype = self.compression = None
        if dtype is not None:
            try:
                self.dtype = np.dtype(dtype).newbyteorder("=")
            except TypeError as error:
                raise TypeError(f"output_dtype={dtype!r} is not a type.") from error
        if compression is not None:
            self.compression = str(compression).strip().upper()
            if self.compression not in _COMPRESSIONS:
                raise ValueError(
                    f"output_compression: found {compression!r}, expected None or one "
                    f"of {', '.join(_COMPRESSIONS)}."
                )
        self.checksum = args.switch("output_checksum", checksum)
        # The uncertainty is of the type of the result in any case.
        types = {"dtype": result_dtype, "output_dtype": self.dtype}
        for name, kind in types.items():
            if kind is not None:
                self._check_type(np.dtype(kind), name)

    @classmethod
    def of(cls, path, overwrite, result_dtype, **options):
        """
        Make an `Output` of the arguments of `imcombiners_astro.combine`.

        Parameters
        ----------
        path : str, `~os.PathLike` or None
            None: there is no file, about which unused `options` warn.
        overwrite, result_dtype, **options
            As for the class.

        Returns
        -------
        Output or None
        """
        if path is not None:
            return cls(path, overwrite, result_dtype=result_dtype, **options)
        unused = [f"output_{name}" for name, value in options.items() if value]
        if unused:
            warn(
                f"{' and '.join(unused)} {'have' if len(unused) > 1 else 'has'} no "
                "effect without output_file.",
                UnusedOptionWarning,
            )
        return None

    def scratch(self):
        """
        Give a place for a part of the result that does not fit in memory.

        Returns
        -------
        Output
            It is streamed to as this one, uncompressed and of the type of the result;
            the file has no name any more when the arrays, maps of it, are there.
        """
        other = copy(self)
        other.dtype = other.compression = None
        other.checksum, other.is_scratch = False, True
        return other

    def _check_type(self, dtype, name):
        """Refuse what FITS has no type for."""
        if dtype.str[1:] not in _FITS_TYPES:
            raise TypeError(
                f"{name}={dtype}: FITS files, and so output_file, hold integers of 8 "
                "to 64 bits, float32 and float64."
            )
        if name == "dtype" and self.dtype is not None:
            return
        narrow = self.compression in ("RICE_1", "HCOMPRESS_1")
        if narrow and dtype.kind in "iu" and dtype.itemsize == 8:
            raise TypeError(
                f"output_compression={self.compression!r} is for integers of up to 32 "
                f"bits, found {name}={dtype}; GZIP_2 takes all."
            )

    @property
    def can_stream(self):
        """Whether the file can be written piece by piece."""
        return self.is_scratch or not self.path.lower().endswith(".gz")

    def hdus(self, ccd, in_mef=None):
        """
        Make the HDUs of an image.

        Parameters
        ----------
        ccd : `~astropy.nddata.CCDData`
            The image.
        in_mef : int, optional
            Number of its HDU in a file of several images.

        Returns
        -------
        `~astropy.io.fits.HDUList`
            As they are written; of one of several images, without a primary HDU before
            it.
        """
        if self.dtype is not None and self.dtype != ccd.data.dtype:
            values = of_type(ccd.data, self.dtype, "output_dtype")
            ccd = copy(ccd)
            ccd.data = values
        if self.compression is None:
            return ccd.to_hdu(as_image_hdu=bool(in_mef))
        if self.compression == "HCOMPRESS_1" and (
            ccd.data.ndim < 2 or min(ccd.data.shape[-2:]) < 4
        ):
            raise ValueError(
                "output_compression='HCOMPRESS_1' is for images of at least 4 rows and "
                f"4 columns, found the shape {ccd.data.shape}."
            )
        image, *others = ccd.to_hdu(as_image_hdu=True)
        others = [self._tiled(hdu, hdu.name == "UNCERT") for hdu in others]
        if in_mef:
            return fits.HDUList([self._tiled(image, True), *others])
        return fits.HDUList([fits.PrimaryHDU(), self._tiled(image, True), *others])

    def _tiled(self, hdu, is_value):
        """Compress an image; only the values may be changed by that."""
        if type(hdu) is not fits.ImageHDU or hdu.data is None:
            return hdu
        kind, size = hdu.data.dtype.kind, hdu.data.dtype.itemsize
        lossless = "GZIP_2" if kind == "f" or size == 8 else "RICE_1"
        algorithm = self.compression if is_value else lossless
        is_gzip = algorithm.startswith("GZIP")
        tiles = tile_shape(
            hdu.data.shape, min_rows=4 if algorithm == "HCOMPRESS_1" else 1
        )
        return fits.CompImageHDU(
            hdu.data,
            hdu.header,
            compression_type=algorithm,
            tile_shape=tiles,
            **({"quantize_level": 0.0} if is_gzip else {}),
        )

    def rehearse(self, small):
        """
        Write a small image like the result, to see whether the result can be.

        Parameters
        ----------
        small : `~astropy.nddata.CCDData`
            With everything that the result will have, but of a few pixels whose values
            do not matter.

        Raises
        ------
        ValueError, TypeError
            If it cannot be written, naming the file.
        """
        small.data[...] = 0  # of any type
        try:
            # Warnings come when it is written; this is once, from memory or piecewise.
            with warnings.catch_warnings(record=True) as self._warnings:
                hdus = self.hdus(small)
                hdus.writeto(io.BytesIO(), checksum=self.checksum)
        except (ValueError, TypeError, KeyError, fits.VerifyError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"output_file {self.path}: {error}") from error
        self._small_hdus = hdus

    def writing_nbytes(self, products, shape, n_frames):
        """
        Estimate the memory that writing takes, beside the result.

        Parameters
        ----------
        products : list of Product
            The result.
        shape : tuple of int
            Shape of the image.
        n_frames : int
            Number of frames.
        """
        n_pixels, sizes = prod(shape), [0]
        for product in products:
            whole = product.nbytes(n_pixels, n_frames)
            is_tiled = product.is_cube or self.compression is not None
            is_offset = product.dtype.kind in "iu" and product.dtype != np.uint8
            if is_tiled or is_offset:
                # Twice: astropy collects the tiles, or moves the values by an offset.
                sizes.append(2 * whole)
        of_image = 0 if self.dtype is None else self.dtype.itemsize
        # The mask as numbers, and the image in its type, live until all is written.
        return n_pixels * (1 + of_image) + max(sizes)

    def stream(self, products, shape, n_frames, shown):
        """
        Write the result piece by piece.

        Parameters
        ----------
        products, shape, n_frames
            As for `writing_nbytes`.
        shown : `~astropy.nddata.CCDData`
            What the result will be but for its products; its PSF and flags are written.

        Returns
        -------
        FileStore
            A context manager.
        """
        for found in self._warnings:
            warn(str(found.message), found.category)
        return FileStore(self, self._small_hdus, products, shape, n_frames, shown)

    def write(self, ccd):
        """
        Write the result as a whole.

        Parameters
        ----------
        ccd : `~astropy.nddata.CCDData`
            The result.
        """
        if self.dtype is None and self.compression is None and not self.checksum:
            write_output(ccd, self.path, self.overwrite)
        else:
            with replacing(self.path, self.overwrite, KEYWORD) as part:
                self.hdus(ccd).writeto(part, checksum=self.checksum)
        self.is_written = True

    def replacement(self):
        """Return the arguments of a `~imcombiners_astro.atomic.Replacement`."""
        return self.path, self.overwrite, KEYWORD
