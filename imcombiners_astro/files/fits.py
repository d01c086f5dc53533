# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames of anything that holds an image.

FITS files become a `FitsFrame` where their bytes can be read as they are, or else a
`SectionFrame`; see `imcombiners_astro.files.fitsframes`.
"""

import contextlib
import importlib.util
import io
import os
from dataclasses import replace

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, NDData

from imcombiners_astro.files.fitsframes import FitsFrame, SectionFrame
from imcombiners_astro.files.hdus import (
    AstropyFile,
    BorrowedHDUs,
    Lent,
    RemoteFile,
    open_fits,
    pixels_of,
    read_hdu,
)
from imcombiners_astro.files.layout import (
    Choice,
    NotFITSError,
    check_sizes,
    choose_hdus,
    from_hdus,
    has_image,
    header_of,
)
from imcombiners_astro.files.options import ReadOptions
from imcombiners_astro.files.paths import at_home, is_url, split_hdu
from imcombiners_astro.files.rawfile import UNPACK_ERRORS, open_bytes, unpacked
from imcombiners_astro.files.scan import scan
from imcombiners_astro.memory_frames import CCDFrame, image_of_array

__all__ = [
    "FitsFrame",
    "SectionFrame",
    "hdus_of_object",
    "open_fits",
    "open_frame",
    "open_frames",
    "open_item",
    "open_lent",
    "opened_frames",
    "options_of_address",
]

# The first card of every FITS file, by which CCDData.read knows one.
_SIGNATURE = b"SIMPLE  =                    T"
# Addresses that astropy opens by itself; it reads a copy of the file.
_DOWNLOADED = ("http://", "https://", "ftp://")


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
            frames.append(open_item(item, f"img_list[{k}]", options))
    except BaseException:
        for frame in frames:
            frame.close()
        raise
    return frames


@contextlib.contextmanager
def opened_frames(items, **keywords):
    """
    Open a stack of images while they are in use.

    Parameters
    ----------
    items, **keywords
        As for `open_frames`.

    Yields
    ------
    list of Frame
        They are closed when the block ends.

    Raises
    ------
    OSError, ValueError, TypeError, IndexError, KeyError
        As `open_frames`.
    """
    frames = open_frames(items, **keywords)
    try:
        yield frames
    finally:
        for frame in frames:
            frame.close()


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
    return open_item(item, name, ReadOptions.parse(ccdkwargs, **wanted))


def open_item(item, name, options, entries=None):
    """
    Open one image, as `open_frame`.

    Parameters
    ----------
    item, name
        As for `open_frame`.
    options : ReadOptions
        How to read.
    entries : list of `~imcombiners_astro.files.scan.Entry`, optional
        The HDUs of the file, if they are known.

    Returns
    -------
    Frame
        To be closed by the caller.
    """
    if isinstance(item, np.ndarray):
        item = image_of_array(item, name, options.unit_of_arrays)
    if isinstance(item, NDData):
        return _in_memory(item, name, options)
    if isinstance(item, str | bytes | os.PathLike):
        return _open_path(os.fsdecode(item), options, entries)
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


def _open_path(text, options, entries=None):
    path = at_home(text)
    if is_url(path) or options.for_open.get("use_fsspec"):
        return _open_address(path, options_of_address(path, options))
    path, hdu = split_hdu(path)
    if hdu is None:
        return _open_file(path, options, entries)
    keywords = {**options.keywords, "hdu": hdu}
    frame = _open_file(path, replace(options, hdu=hdu, keywords=keywords), entries)
    frame.name = at_home(text)
    return frame


def options_of_address(address, options):
    """
    Let fsspec open what astropy does not open by itself.

    Parameters
    ----------
    address : str
        A URL, or a path that is to be opened by fsspec.
    options : ReadOptions
        How to open it.

    Returns
    -------
    ReadOptions
        With ``use_fsspec``, unless that was given or astropy needs no fsspec.

    Raises
    ------
    ImportError
        If fsspec is needed and not installed.
    """
    by_default = not address.lower().startswith(_DOWNLOADED)
    more = {"use_fsspec": options.for_open.get("use_fsspec", by_default)}
    if more["use_fsspec"] and importlib.util.find_spec("fsspec") is None:
        raise ImportError(
            f"{address} is opened with the package fsspec, which is not installed "
            "(pip install fsspec, and what it needs for this kind of address)."
        )
    return replace(
        options,
        keywords={**options.keywords, **more},
        for_open={**options.for_open, **more},
    )


def _open_file(path, options, entries):
    if options.format not in (None, "fits"):
        return _in_memory(CCDData.read(path, **options.keywords), path, options)
    file = open_bytes(path)
    try:
        layout = scan(file, options, entries) if options.plain else None
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
    path, keywords = source.name, {**options.with_mask(chosen.mask), **more}

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
    return open_lent(BorrowedHDUs(hdus), name, options)


def open_lent(source, name, options):
    """
    Open one image of HDUs that are used for others as well.

    Parameters
    ----------
    source : context manager
        Gives the HDUs; it is not closed.
    name : str
        What they are called in messages.
    options : ReadOptions
        How to read.

    Returns
    -------
    SectionFrame
        To be closed by the caller.
    """
    with source as hdus:
        chosen = choose_hdus(hdus, options, name)

    def template():
        pairs = [x for x in options.keywords.values() if isinstance(x, tuple)]
        with source as hdus:
            version = hdus[chosen.index].ver
            few = fits.HDUList()
            for number, hdu in enumerate(hdus):
                chosen_too = number in (chosen.index, chosen.mask, chosen.uncertainty)
                chosen_too |= (hdu.name, hdu.ver) in pairs
                by_name = hdu.name.upper() in options.companions
                is_other = not chosen_too and not (
                    by_name and (not options.of_many or hdu.ver == version)
                )
                few.append(_plain_hdu(hdu, number, without_data=is_other))
        return _as_ccd(few, options, chosen.index)

    return SectionFrame(name, Lent(source), chosen, options, template)


def _plain_hdu(hdu, number, without_data):
    """Copy of an HDU that is not compressed, or an empty one in its place."""
    kind = fits.ImageHDU if number else fits.PrimaryHDU
    if without_data or not has_image(hdu):
        return kind() if number else kind(header=hdu.header)
    return kind(pixels_of(hdu)[...], hdu.header)


def _open_object(file, name, options):
    known = getattr(file, "name", None)
    if isinstance(known, str) and os.path.isfile(known):
        return _open_file(known, options, None)
    return _open_hdus(hdus_of_object(file, name, options), name, options)


def hdus_of_object(file, name, options):
    """
    Open a file object that is no file with a name.

    Parameters
    ----------
    file : file object
        It is not closed. If it can seek, its pixels are read when they are needed. Else
        all its bytes are kept, and also if they are packed, or begin elsewhere.
    name : str
        What it is called in messages.
    options : ReadOptions
        How to open it.

    Returns
    -------
    `~astropy.io.fits.HDUList`
        The HDUs.

    Raises
    ------
    OSError
        If it is no FITS file, or damaged; it is named.
    """
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable() or file.tell() != 0:
        file = io.BytesIO(file.read())
    try:
        file = unpacked(file)
    except UNPACK_ERRORS as error:
        raise OSError(f"{name} cannot be unpacked: {error}") from error
    return open_fits(_Unclosed(file), options, name)


class _Unclosed:
    """A file object that astropy cannot close."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def close(self):
        pass


def _as_ccd(hdus, options, index):
    """Let CCDData.read read HDUs, so that header, unit and WCS follow its rules."""
    memory = io.BytesIO()
    hdus.writeto(memory)
    memory.seek(0)
    keywords = {**options.keywords, "format": "fits", "hdu": index}
    for keyword in ("use_fsspec", "fsspec_kwargs"):
        keywords.pop(keyword, None)
    return CCDData.read(memory, **keywords)
