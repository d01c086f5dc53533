# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames of anything that holds an image.

FITS files become a `FitsFrame` where their bytes can be read as they are, or else a
`SectionFrame`; see `imcombiners_astro.files.fitsframes`.
"""

import io
import os
import re

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, NDData

from imcombiners_astro.files.fitsframes import (
    AstropyFile,
    BorrowedHDUs,
    FitsFrame,
    RemoteFile,
    SectionFrame,
    read_hdu,
)
from imcombiners_astro.files.layout import (
    Choice,
    NotFITSError,
    check_sizes,
    choose_hdus,
    from_hdus,
    header_of,
)
from imcombiners_astro.files.options import ReadOptions
from imcombiners_astro.files.rawfile import open_bytes
from imcombiners_astro.files.scan import scan
from imcombiners_astro.memory_frames import CCDFrame, image_of_array

__all__ = ["FitsFrame", "SectionFrame", "open_frame", "open_frames"]

# The first card of every FITS file, by which CCDData.read knows one.
_SIGNATURE = b"SIMPLE  =                    T"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_frames(
    items, *, want_uncertainty=False, want_flags=False, flags_hdu=None, **ccdkwargs
):
    """
    Open a stack of images.

    Parameters
    ----------
    items : sequence
        Of str, `~os.PathLike`, `~astropy.nddata.NDData`, HDU,
        `~astropy.io.fits.HDUList`, binary file objects, and arrays of numbers
        (`~numpy.ndarray`, masked arrays, `~astropy.units.Quantity`).
    want_uncertainty : bool, optional
        Read the uncertainties with the pixels: of files, the HDU that
        ``hdu_uncertainty`` names (UNCERT).
    want_flags : bool, optional
        Read the data-quality flags with the pixels.
    flags_hdu : str, int or tuple, optional
        The HDU of the flags of files, which then must be there; by default the
        ``hdu_flags`` of `ccdkwargs`, or else DQ or FLAGS in files that have it. Of
        several HDUs of one name it is the one whose EXTVER is that of the image.
    **ccdkwargs
        Keywords of ``CCDData.read``, for all that is read. ``unit`` is also the unit of
        arrays and NDData that have none.

    Returns
    -------
    list of Frame
        To be closed by the caller. At most 64 files stay open.

    Raises
    ------
    OSError, ValueError, TypeError, IndexError, KeyError
        As `open_frame`; nothing stays open then.
    """
    wanted = {
        "want_uncertainty": want_uncertainty,
        "want_flags": want_flags,
        "flags_hdu": flags_hdu,
    }
    options = ReadOptions.parse(ccdkwargs, **wanted)
    frames = []
    try:
        for k, item in enumerate(items):
            frames.append(_open(item, f"img_list[{k}]", options))
    except BaseException:
        for frame in frames:
            frame.close()
        raise
    return frames


def open_frame(
    item,
    name="image",
    *,
    want_uncertainty=False,
    want_flags=False,
    flags_hdu=None,
    **ccdkwargs,
):
    """
    Open one image.

    Parameters
    ----------
    item : str, `~os.PathLike`, NDData, HDU, HDUList, binary file object or array
        The image. A file object is read to its end.
    name : str, optional
        What an item that is no path is called in messages.
    want_uncertainty, want_flags, flags_hdu
        As for `open_frames`.
    **ccdkwargs
        Keywords of ``CCDData.read``: ``hdu``, ``hdu_mask``, ``hdu_uncertainty``,
        ``unit`` and those of `astropy.io.fits.open`.

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
        No image in the HDU, no unit, or a mask, uncertainties or flags of a wrong
        shape.
    TypeError
        An item that is no image, flags that are not integers, or an uncertainty whose
        unit does not fit that of the image.

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
    wanted = {
        "want_uncertainty": want_uncertainty,
        "want_flags": want_flags,
        "flags_hdu": flags_hdu,
    }
    return _open(item, name, ReadOptions.parse(ccdkwargs, **wanted))


def _open(item, name, options):
    if isinstance(item, np.ndarray):
        item = image_of_array(item, name, options.unit_of_arrays)
    if isinstance(item, NDData):
        return _in_memory(item, name, options)
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


def _in_memory(image, name, options):
    if image.unit is None and options.unit_of_arrays is None:
        raise ValueError(
            f"a unit for CCDData must be specified: {name} has none, and no unit= was "
            "given."
        )
    return CCDFrame(
        image,
        name,
        unit=options.unit_of_arrays,
        want_uncertainty=options.want_uncertainty,
        want_flags=options.want_flags,
    )


def _open_path(text, options):
    if _URL.match(text) or options.for_open.get("use_fsspec"):
        return _open_address(text, options)
    path = os.path.expanduser(text)
    if options.format not in (None, "fits"):
        return _in_memory(CCDData.read(path, **options.keywords), path, options)
    file = open_bytes(path)
    try:
        layout = scan(file, options) if options.plain else None
        if layout is not None:
            return FitsFrame(file, layout, options)
        if options.format is None and file.read_at(0, 30) != _SIGNATURE:
            file.close()
            return _open_unknown(path, options)
        source = AstropyFile(file, options)
        with source as hdus:
            chosen = choose_hdus(hdus, options, path)
            layout = from_hdus(hdus, chosen, options)
            if layout is None:
                return _section_frame(source, chosen, options, {})
            header = header_of(hdus, layout.image.hdu)
            hdus.close()
        check_sizes(file, layout)
        frame = FitsFrame(file, layout, options)
        frame.header = header  # it need not be read again
        return frame
    except BaseException:
        file.close()
        raise


def _open_unknown(path, options):
    """Read a file that is not FITS, in case another format is known to CCDData."""
    try:
        return _in_memory(CCDData.read(path, **options.keywords), path, options)
    except IORegistryError as error:
        raise NotFITSError(
            f"{path} is not a FITS file ({os.path.getsize(path)} bytes): it does not "
            f"begin with {_SIGNATURE.decode()!r}."
        ) from error


def _open_address(text, options):
    source = RemoteFile(text, options)
    try:
        with source as hdus:
            chosen = choose_hdus(hdus, options, text)
        return _section_frame(source, chosen, options, {"format": "fits"})
    except BaseException:
        source.close()
        raise


def _section_frame(source, chosen, options, more):
    path, keywords = source.name, {**options.keywords, **more}

    def template():
        if not chosen.own_choice:
            return CCDData.read(path, **keywords)
        unit = options.unit_of(chosen.bunit, path)
        return read_hdu(path, options, chosen.index, unit)

    return SectionFrame(path, source, chosen, options, template)


def _open_hdu(hdu, name, options):
    def template():
        # An extension alone is written after an empty primary HDU.
        index = 0 if isinstance(hdu, fits.PrimaryHDU) else 1
        return _as_ccd(hdu.copy(), options, index)

    if not getattr(hdu, "is_image", False) or not hdu.shape:
        raise TypeError(f"{name} is an HDU without an image ({type(hdu).__name__}).")
    chosen = Choice(0, None, hdu.header.get("BUNIT"))
    return SectionFrame(name, BorrowedHDUs([hdu]), chosen, options, template)


def _open_hdus(hdus, name, options):
    chosen = choose_hdus(hdus, options, name)

    def template():
        return _as_ccd(
            fits.HDUList([hdu.copy() for hdu in hdus]), options, chosen.index
        )

    return SectionFrame(name, BorrowedHDUs(hdus), chosen, options, template)


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
