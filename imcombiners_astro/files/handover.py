# Licensed under a 3-clause BSD style license - see LICENSE
"""Arrays of other libraries than NumPy, which ccdproc combines."""

import inspect
import sys

import numpy as np
from astropy.nddata import CCDData

from imcombiners_astro.errors import UnusedOptionWarning, warn
from imcombiners_astro.extras import Extras
from imcombiners_astro.files.mef import ALL, is_all
from imcombiners_astro.files.output import OUTPUT_KEYWORDS

__all__ = ["belongs_to_ccdproc", "hand_over"]


def belongs_to_ccdproc(items, array_package):
    """
    Tell whether the images are arrays of a library other than NumPy.

    Parameters
    ----------
    items : list
        The images.
    array_package : module or None
        What the caller says of them.

    Returns
    -------
    bool
    """
    if array_package is not None:
        name = getattr(array_package, "__name__", str(array_package))
        if name not in ("numpy", "array_api_compat.numpy"):
            return True
    return any(
        isinstance(item, CCDData) and not isinstance(item.data, np.ndarray)
        for item in items
    )


def hand_over(items, arguments, ccdkwargs, ours):
    """
    Let ccdproc combine arrays of other libraries.

    Parameters
    ----------
    items : list
        The images.
    arguments : dict
        All other parameters of `imcombiners_astro.combine`.
    ccdkwargs : dict
        Keywords for the reader of files.
    ours : callable
        `imcombiners_astro.combine`.

    Returns
    -------
    `~astropy.nddata.CCDData`
        As ccdproc gives it.

    Raises
    ------
    TypeError
        If ccdproc has no such parameter, or has been replaced by this package.
    """
    if is_all(ccdkwargs):
        raise TypeError(
            f"hdu={ALL!r} is for NumPy arrays; ccdproc, which combines those of other "
            "libraries, combines one extension at a time."
        )
    import ccdproc.combiner

    theirs = ccdproc.combiner.combine
    theirs = getattr(theirs, "__wrapped__", theirs)
    if theirs is ours:
        raise TypeError(
            "ccdproc.combine has been replaced by this function, which combines NumPy "
            "arrays only; convert the data of the images to NumPy."
        )
    defaults = inspect.signature(ours).parameters
    for name in (*Extras._fields, *OUTPUT_KEYWORDS[2:]):
        if name in arguments and arguments.pop(name) is not defaults[name].default:
            raise TypeError(
                f"{name}= is for images of NumPy arrays; ccdproc, which combines those "
                "of other libraries, has no such parameter."
            )
    names = ("n_threads", "progress_bar", "blank")
    unused = [name for name in names if arguments.pop(name) is not None]
    if unused:
        warn(
            f"{' and '.join(unused)} {'have' if len(unused) > 1 else 'has'} no effect "
            "on arrays of other libraries than NumPy, which ccdproc combines.",
            UnusedOptionWarning,
        )
    package = arguments.pop("array_package")
    if package is not None:
        if "array_package" not in inspect.signature(theirs).parameters:
            version = getattr(sys.modules["ccdproc"], "__version__", "installed")
            raise TypeError(
                f"array_package={package!r}: ccdproc {version}, which combines arrays "
                "of other libraries than NumPy, has no such parameter."
            )
        arguments["array_package"] = package
    # These two are the default in every version of ccdproc, under different names.
    for name, default in (
        ("sigma_clip_func", np.ma.mean),
        ("sigma_clip_dev_func", np.ma.std),
    ):
        if arguments[name] is default:
            del arguments[name]
    return theirs(items, **arguments, **ccdkwargs)
