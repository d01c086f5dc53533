# Licensed under a 3-clause BSD style license - see LICENSE
"""What a user may give as a stack of images, made a list."""

import os

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData

from imcombiners_astro.errors import EmptyInputError
from imcombiners_astro.files.paths import at_home, paths_of_text

__all__ = ["COMPANIONS", "expand_inputs", "is_collection"]

# Extensions that CCDData writes beside an image, and those that flags are read from.
COMPANIONS = ("MASK", "UNCERT", "PSFIMAGE", "DQ", "FLAGS")


def expand_inputs(img_list, unit=None):
    """
    Make a list of images.

    Parameters
    ----------
    img_list : iterable, str, `~os.PathLike`, ImageFileCollection or HDU
        - Any iterable of paths, `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`,
          HDUs, HDU lists and binary file objects: its items, in order. One item is one
          image. Arrays of numbers are images too if they have a unit
          (`~astropy.units.Quantity`), or `unit` is given
          (`~numpy.ndarray`, `~numpy.ma.MaskedArray`).
        - One such array of at least 3 dimensions, ``(N, *shape)``: its planes.
        - A string of paths with commas between them.
        - One path. If no file has this name, a pattern such as ``"bias*.fits"``, which
          stands for the files that match, sorted by name; or ``"@name"``, which stands
          for the paths and patterns in a text file, one in a line. Empty lines and all
          from a ``#`` on, at the beginning of a line or after a space, do not count.
          Names are relative to the current directory, as in IRAF, or to that of the
          list where only there is such a file.
        - A ``ccdproc.ImageFileCollection``: its files.
        - One HDU, or one file object: that image.
        - One `~astropy.io.fits.HDUList`: its images; without the extensions MASK,
          UNCERT, PSFIMAGE, DQ and FLAGS, which belong to another image.

        In all paths ``~`` is the home directory, and one that ends with ``[2]``,
        ``[SCI]`` or ``[SCI,2]`` means that HDU of the file
        (see `imcombiners_astro.files.paths`).
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of arrays that have none.

    Returns
    -------
    list
        The images: str for paths, other objects as they are. Planes of an array are
        views of it.

    Raises
    ------
    EmptyInputError
        If there are none. It is a ValueError, and an IndexError.
    FileNotFoundError
        If nothing matches a pattern, or there is no such list.
    TypeError
        If an item is no image.
    ValueError
        If it is none of these: one CCDData, a number, `None`, one image as an array.
        Also for an ``[...]`` that is no HDU, an empty list and one that contains
        itself.

    Examples
    --------
    >>> from imcombiners_astro.files.inputs import expand_inputs
    >>> expand_inputs("dark1.fits, dark2.fits")
    ['dark1.fits', 'dark2.fits']
    """
    items = [
        _checked(item, f"img_list[{k}]", unit)
        for k, item in enumerate(_items(img_list, unit))
    ]
    if not items:
        raise EmptyInputError("img_list is empty: there is no image to combine.")
    return items


def _items(img_list, unit):
    if _is_array(img_list, unit):
        if img_list.ndim < 3:
            raise ValueError(
                "unrecognised input for list of images to combine. An array must have "
                f"the shape (N, *shape), found {img_list.shape}; give a list for one "
                "image."
            )
        return list(img_list)
    if isinstance(img_list, np.ndarray):
        img_list = img_list.tolist()  # Python strings; one string if it has no axes
    if isinstance(img_list, bytes):
        img_list = os.fsdecode(img_list)
    if isinstance(img_list, str):
        return paths_of_text(img_list)
    if isinstance(img_list, os.PathLike):
        return paths_of_text(os.fsdecode(img_list), commas=False)
    if is_collection(img_list):
        return img_list.files_filtered(include_path=True)
    if isinstance(img_list, fits.HDUList):
        return [hdu for hdu in img_list if _is_image(hdu)]
    if not isinstance(img_list, NDData):
        if _is_hdu(img_list) or hasattr(img_list, "read"):
            return [img_list]
        try:
            return list(img_list)
        except TypeError:
            pass
    raise ValueError(
        "unrecognised input for list of images to combine. It must be a list of paths "
        f"or CCDData, found one {type(img_list).__name__}."
    )


def _checked(item, name, unit):
    if isinstance(item, str | bytes | os.PathLike):
        text = os.fsdecode(item)
        if not text:
            raise ValueError(f"{name} is an empty path.")
        return at_home(str(text))
    if (
        isinstance(item, NDData | fits.HDUList)
        or _is_array(item, unit)
        or _is_hdu(item)
        or hasattr(item, "read")
    ):
        return item
    hint = ""
    if isinstance(item, np.ndarray):
        hint = "; give CCDData(array, unit=...) for an array, or unit= for all arrays"
    elif isinstance(item, tuple):
        hint = "; a generator with return_fname=True gives such pairs"
    raise TypeError(
        f"{name} must be a path, a CCDData, an HDU or an HDUList, found "
        f"{type(item).__name__}{hint}."
    )


def is_collection(thing):
    """
    Tell an ImageFileCollection of ccdproc, without importing ccdproc.

    Parameters
    ----------
    thing : object
        Anything.

    Returns
    -------
    bool
        Whether it is one, or of a subclass.
    """
    # by name: whoever has one has imported ccdproc, others need not
    return any(
        cls.__name__ == "ImageFileCollection" and cls.__module__.startswith("ccdproc")
        for cls in type(thing).__mro__
    )


def _is_array(thing, unit):
    """Whether it is an array of numbers with a unit."""
    return (
        isinstance(thing, np.ndarray)
        and thing.ndim > 0
        and thing.dtype.kind in "biufc"  # complex numbers are refused later, by name
        and (unit is not None or getattr(thing, "unit", None) is not None)
    )


def _is_hdu(thing):
    return hasattr(thing, "fileinfo") and hasattr(thing, "header")


def _is_image(hdu):
    return hdu.is_image and bool(hdu.shape) and hdu.name.upper() not in COMPANIONS
