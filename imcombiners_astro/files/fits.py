# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames whose pixels are in FITS files.

`open_frames` makes a frame of anything that holds an image. Uncompressed images are
read as the bytes they are (`FitsFrame`), everything else through `astropy.io.fits`
(`SectionFrame`).
"""

import io
import os
import re

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, NDData

from imcombiners_astro.files.layout import (
    NotFITSError,
    check_size,
    choose_hdus,
    from_hdus,
    scan,
)
from imcombiners_astro.files.options import ReadOptions
from imcombiners_astro.files.rawfile import Parkable, open_bytes
from imcombiners_astro.frames import (
    CCDFrame,
    Strip,
    check_crop,
    fold,
    folded_rows,
)

__all__ = ["FitsFrame", "SectionFrame", "open_frame", "open_frames"]

# The first card of every FITS file, by which CCDData.read knows one.
_SIGNATURE = b"SIMPLE  =                    T"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class _FileFrame:
    """What `FitsFrame` and `SectionFrame` share: shape, cropping and names."""

    buffered = False

    def __init__(self, name, shape, dtype, unit, mask_shape):
        self.name = name
        self.shape = self._full = tuple(shape)
        self.dtype = dtype
        self.unit = unit
        self.exact16 = dtype.kind in "iu" and dtype.itemsize <= 2
        if mask_shape is not None and tuple(mask_shape) != self.shape:
            raise ValueError(
                f"{name}: the mask has shape {tuple(mask_shape)}, the data "
                f"{self.shape}; they must be equal."
            )

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
    ValueError
        If there is no unit, or the mask has a wrong shape.
    """

    buffered = True

    def __init__(self, file, layout, options):
        image, mask, bunit = layout
        super().__init__(
            file.name,
            image.shape,
            image.dtype,
            options.unit_of(bunit, file.name),
            None if mask is None else mask.shape,
        )
        self._file = file
        self._image = image
        self._mask = mask
        self._options = options
        self._n_columns = fold(image.shape)[1]
        self._image_row = self._n_columns * image.raw.itemsize
        self._mask_row = 0 if mask is None else self._n_columns * mask.raw.itemsize
        self.row_nbytes = self._image_row + self._mask_row

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
        """
        n_rows = stop - start
        if buffer is None:
            buffer = np.empty(n_rows * self.row_nbytes, np.uint8)
        n_bytes = n_rows * self._image_row
        pixels = self._fill(buffer[:n_bytes], self._image, start * self._image_row)
        mask = None
        if self._mask is not None:
            rest = buffer[n_bytes : n_bytes + n_rows * self._mask_row]
            mask = self._fill(rest, self._mask, start * self._mask_row)
            if mask.dtype.itemsize == 1:
                mask = np.not_equal(mask, 0, out=mask.view(bool))
            else:
                mask = mask != 0
        return Strip(pixels, mask, self._image.scaling)

    def _fill(self, buffer, image, offset):
        self._file.readinto(buffer, image.offset + offset)
        rows = buffer.view(image.raw).reshape(-1, self._n_columns)
        wanted = fold(self.shape)[1]
        return rows if wanted == self._n_columns else rows[:, :wanted]

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
        return CCDData.read(self.name, **self._options.keywords)

    def close(self):
        """Close the file."""
        self._file.close()


class _AstropyFile(Parkable):
    """A file that astropy opens."""

    def __init__(self, name, options):
        super().__init__(name)
        self._options = options

    def _open(self):
        return _open_fits(self.name, self._options)


def _open_fits(name, options):
    try:
        return fits.open(name, **options.for_open)
    except OSError as error:
        if error.errno is not None:  # an error of the system names the file
            raise
        raise OSError(f"{name} cannot be read: {error}") from error


class _Borrowed:
    """HDUs that belong to the caller: they are not closed."""

    def __init__(self, hdus):
        self._hdus = hdus

    def __enter__(self):
        return self._hdus

    def __exit__(self, *error):
        pass

    def close(self):
        pass


class SectionFrame(_FileFrame):
    """
    An image that astropy reads: tile-compressed, remote, or an HDU given as an object.

    Parameters
    ----------
    name : str
        Path, or place in the input.
    source : context manager
        Gives the sequence of HDUs, and has a ``close`` method.
    chosen : tuple
        Numbers of the image HDU and of the mask HDU (or `None`), and BUNIT; as from
        `~imcombiners_astro.files.layout.choose_hdus`.
    options : ReadOptions
        How to read.
    template : callable
        Gives the CCDData of the whole image.

    Raises
    ------
    OSError
        If the image cannot be read.
    ValueError
        If there is no unit, or the mask has a wrong shape.
    """

    def __init__(self, name, source, chosen, options, template):
        self._source = source
        self._index, self._mask_index, bunit = chosen
        self._make_template = template
        unit = options.unit_of(bunit, name)
        with source as hdus:
            image = hdus[self._index]
            shape, mask_shape, mask_size = image.shape, None, 0
            if self._mask_index is not None:
                mask_shape = hdus[self._mask_index].shape
                mask_size = 8
            in_memory = isinstance(_pixels(image), np.ndarray)
            try:
                dtype = folded_rows(_pixels(image), shape, 0, 1).dtype
            except Exception as error:  # whatever a damaged file leads to
                raise _cannot_read(name, error) from error
        super().__init__(name, shape, dtype, unit, mask_shape)
        # unpacked tiles and their values, one after the other
        n_bytes = fold(shape)[1] * (2 * dtype.itemsize + mask_size)
        self.row_nbytes = 0 if in_memory else n_bytes

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
        """
        mask = None
        wanted = fold(self.shape)[1]
        try:
            with self._source as hdus:
                image = _pixels(hdus[self._index])
                pixels = folded_rows(image, self._full, start, stop)[:, :wanted]
                if self._mask_index is not None:
                    image = _pixels(hdus[self._mask_index])
                    mask = folded_rows(image, self._full, start, stop)[:, :wanted]
                    mask = mask.astype(bool)
        except Exception as error:  # whatever a damaged file leads to
            raise _cannot_read(self.name, error) from error
        return Strip(pixels, mask)

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


def open_frames(items, **ccdkwargs):
    """
    Open a stack of images.

    Parameters
    ----------
    items : sequence
        Of str, `~os.PathLike`, `~astropy.nddata.NDData`, HDU,
        `~astropy.io.fits.HDUList` or binary file objects.
    **ccdkwargs
        Keywords of ``CCDData.read``, for all that is not an NDData.

    Returns
    -------
    list of Frame
        To be closed by the caller. At most 64 files stay open.

    Raises
    ------
    OSError, ValueError, TypeError, IndexError, KeyError
        As `open_frame`; nothing stays open then.
    """
    options = ReadOptions.parse(ccdkwargs)
    frames = []
    try:
        for k, item in enumerate(items):
            frames.append(_open(item, f"img_list[{k}]", options))
    except BaseException:
        for frame in frames:
            frame.close()
        raise
    return frames


def open_frame(item, name="image", **ccdkwargs):
    """
    Open one image.

    Parameters
    ----------
    item : str, `~os.PathLike`, NDData, HDU, HDUList or binary file object
        The image. A file object is read to its end.
    name : str, optional
        What an item that is no path is called in messages.
    **ccdkwargs
        Keywords of ``CCDData.read``: ``hdu``, ``hdu_mask``, ``unit`` and those of
        `astropy.io.fits.open`.

    Returns
    -------
    Frame
        To be closed by the caller.

    Raises
    ------
    OSError
        No such file, no FITS file, or a truncated one; it is named.
    IndexError, KeyError
        No such HDU.
    ValueError
        No image in the HDU, no unit, or a mask of a wrong shape.
    TypeError
        An item that is no image.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from imcombiners_astro.files.fits import open_frame
    >>> hdu = fits.PrimaryHDU(np.arange(6, dtype=np.uint16).reshape(2, 3))
    >>> frame = open_frame(hdu, unit="adu")
    >>> frame.shape
    (2, 3)
    >>> frame.read(1, 2).pixels
    array([[3, 4, 5]], dtype=uint16)
    """
    return _open(item, name, ReadOptions.parse(ccdkwargs))


def _open(item, name, options):
    if isinstance(item, NDData):
        return CCDFrame(item, name)
    if isinstance(item, str | bytes | os.PathLike):
        return _open_path(os.fsdecode(item), options)
    if hasattr(item, "fileinfo") and not isinstance(item, list):
        return _open_hdu(item, name, options)
    if hasattr(item, "read"):
        return _open_object(item, name, options)
    if isinstance(item, fits.HDUList):
        return _open_hdus(item, name, options)
    raise TypeError(
        f"{name} must be a path, a CCDData, an HDU or an HDUList, found "
        f"{type(item).__name__}."
    )


def _open_path(text, options):
    if _URL.match(text) or options.for_open.get("use_fsspec"):
        return _open_by_astropy(text, options, {"format": "fits"})
    path = os.path.expanduser(text)
    if options.format not in (None, "fits"):
        return CCDFrame(CCDData.read(path, **options.keywords), path)
    file = open_bytes(path)
    try:
        layout = scan(file, options) if options.plain else None
        if layout is not None:
            return FitsFrame(file, layout, options)
        if options.format is None and file.read_at(0, 30) != _SIGNATURE:
            file.close()
            return _open_unknown(path, options)
        with _open_fits(path, options) as hdus:
            chosen = choose_hdus(hdus, options, path)
            layout = from_hdus(hdus, *chosen, options)
        if layout is not None:
            check_size(file, layout.image)
            if layout.mask is not None:
                check_size(file, layout.mask)
            return FitsFrame(file, layout, options)
    except BaseException:
        file.close()
        raise
    file.close()
    return _open_by_astropy(path, options, {})


def _open_unknown(path, options):
    """Read a file that is not FITS, in case another format is known to CCDData."""
    try:
        return CCDFrame(CCDData.read(path, **options.keywords), path)
    except IORegistryError as error:
        raise NotFITSError(
            f"{path} is not a FITS file ({os.path.getsize(path)} bytes): it does not "
            f"begin with {_SIGNATURE.decode()!r}."
        ) from error


def _open_by_astropy(path, options, more):
    source = _AstropyFile(path, options)
    try:
        with source as hdus:
            chosen = choose_hdus(hdus, options, path)
        keywords = {**options.keywords, **more}

        def template():
            if options.hdu != 0 or chosen[0] == 0:
                return CCDData.read(path, **keywords)
            # CCDData.read does not find a compressed image by itself.
            ccd = CCDData.read(path, **{**keywords, "hdu": chosen[0]})
            with source as hdus:
                ccd.header.extend(hdus[0].header, strip=True, unique=True)
            return ccd

        return SectionFrame(path, source, chosen, options, template)
    except BaseException:
        source.close()
        raise


def _open_hdu(hdu, name, options):
    def template():
        # An extension alone is written after an empty primary HDU.
        index = 0 if isinstance(hdu, fits.PrimaryHDU) else 1
        return _as_ccd(hdu.copy(), options, index)

    if not getattr(hdu, "is_image", False) or not hdu.shape:
        raise TypeError(f"{name} is an HDU without an image ({type(hdu).__name__}).")
    chosen = 0, None, hdu.header.get("BUNIT")
    return SectionFrame(name, _Borrowed([hdu]), chosen, options, template)


def _open_hdus(hdus, name, options):
    chosen = choose_hdus(hdus, options, name)

    def template():
        return _as_ccd(fits.HDUList([hdu.copy() for hdu in hdus]), options, chosen[0])

    return SectionFrame(name, _Borrowed(hdus), chosen, options, template)


def _open_object(file, name, options):
    known = getattr(file, "name", None)
    if isinstance(known, str) and os.path.isfile(known):
        return _open_path(known, options)
    # Not a file with a name: its bytes are kept, since astropy would close it.
    hdus = fits.open(io.BytesIO(file.read()), **options.for_open)
    return _open_hdus(hdus, name, options)


def _as_ccd(hdus, options, index):
    """Let CCDData.read read HDUs, so that header, unit and WCS follow its rules."""
    memory = io.BytesIO()
    hdus.writeto(memory)
    memory.seek(0)
    keywords = {**options.keywords, "format": "fits", "hdu": index}
    return CCDData.read(memory, **keywords)
