# Licensed under a 3-clause BSD style license - see LICENSE
"""
Recognition of the functions people hand to a combination.

``combine(..., sigma_clip_func=np.ma.median, sigma_clip_dev_func=mad_std)`` names a
statistic by a Python function.  The usual ones are recognised here and computed by
the kernel; what is not recognised is left to the caller of this module, which calls
the function itself.

A recognised function keeps the one thing in which such functions differ: what they
give at a pixel where one of the samples is not finite.  `astropy.stats.sigma_clip`
compares the samples with ``center -/+ threshold * spread``; where a bound is NaN no
comparison holds and nothing is clipped, where it is masked every comparison counts
as true and all frames are clipped.
"""

import functools
import sys
from typing import NamedTuple

import numpy as np

__all__ = [
    "MAD_TO_STD",
    "Statistic",
    "center_and_spread",
    "nan_rule",
    "recognise",
    "without_bottleneck",
]

# 1 / scipy.stats.norm.ppf(0.75): standard deviation of a normal distribution in units
# of its median absolute deviation, with the digits astropy uses.
MAD_TO_STD = 1.482602218505602


class Statistic(NamedTuple):
    """
    A statistic along the stack that the kernel can compute.

    Attributes
    ----------
    name : str
        ``"mean"``, ``"median"``, ``"std"`` (about the mean) or ``"mad"`` (about the
        median).
    nan : str
        What the function gives at a pixel with a sample that is not finite: the
        statistic of the others (``"ignore"``), NaN (``"nan"``) or a masked value
        (``"masked"``).
    factor : float
        Multiplies the median absolute deviation.
    ddof : int
        Subtracted from the number of samples in the standard deviation.
    """

    name: str
    nan: str
    factor: float = 1.0
    ddof: int = 0


_STRINGS = {
    "mean": Statistic("mean", "ignore"),
    "median": Statistic("median", "ignore"),
    "std": Statistic("std", "ignore"),
    "mad_std": Statistic("mad", "ignore", MAD_TO_STD),
}

_NUMPY = {
    np.mean: Statistic("mean", "nan"),
    np.average: Statistic("mean", "nan"),
    np.nanmean: Statistic("mean", "ignore"),
    np.median: Statistic("median", "nan"),
    np.nanmedian: Statistic("median", "ignore"),
    np.std: Statistic("std", "nan"),
    np.nanstd: Statistic("std", "ignore"),
    np.ma.mean: Statistic("mean", "nan"),
    np.ma.average: Statistic("mean", "nan"),
    np.ma.median: Statistic("median", "nan"),
    # The square root of a masked array masks NaN: every frame is then clipped.
    np.ma.std: Statistic("std", "masked"),
}

# Functions of packages that may or may not be there: a function can only have been
# passed when its module has been imported, so nothing is imported for the comparison.
_ELSEWHERE = {
    "astropy.stats": {
        "mad_std": Statistic("mad", "nan", MAD_TO_STD),
        "median_absolute_deviation": Statistic("mad", "nan"),
    },
    "astropy.stats.nanfunctions": {
        "nanmean": _STRINGS["mean"],
        "nanmedian": _STRINGS["median"],
        "nanstd": _STRINGS["std"],
        "nanmadstd": _STRINGS["mad_std"],
    },
    "ccdproc.core": {"sigma_func": Statistic("mad", "nan", MAD_TO_STD)},
}

_BOTTLENECK = {
    "nanmean": np.nanmean,
    "nanmedian": np.nanmedian,
    "median": np.median,
    "nanstd": np.nanstd,
}


def without_bottleneck(func):
    """
    Replace a function of bottleneck by the one of NumPy that it stands for.

    Functions of bottleneck take no tuple as ``axis``, which is what
    `astropy.stats.sigma_clip` passes; anything else is returned as it is.
    """
    bottleneck = sys.modules.get("bottleneck")
    if bottleneck is not None:
        for name, plain in _BOTTLENECK.items():
            if func is getattr(bottleneck, name, None):
                return plain
    return func


def recognise(func):
    """
    Find the statistic that a function computes.

    Parameters
    ----------
    func : str or callable
        A name (``"mean"``, ``"median"``, ``"std"``, ``"mad_std"``); a mean, median,
        standard deviation or median absolute deviation of NumPy, ``numpy.ma``,
        bottleneck or `astropy.stats`; or a `functools.partial` of one of them that
        only sets ``ignore_nan`` or ``ddof``.

    Returns
    -------
    Statistic or None
        None when the function is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.clipfuncs import recognise
    >>> recognise(np.ma.median)
    Statistic(name='median', nan='nan', factor=1.0, ddof=0)
    >>> recognise(max) is None
    True
    """
    if isinstance(func, str):
        return _STRINGS.get(func)
    if isinstance(func, functools.partial):
        return _recognise_partial(func)
    func = without_bottleneck(func)
    # Identity, not a dictionary: a callable need not be hashable.
    for known, statistic in _NUMPY.items():
        if func is known:
            return statistic
    for module, names in _ELSEWHERE.items():
        found = sys.modules.get(module)
        for name, statistic in names.items() if found is not None else ():
            if func is getattr(found, name, None):
                return statistic
    return None


def _recognise_partial(func):
    """Find the statistic of a partial that sets ``ignore_nan`` or ``ddof`` only."""
    statistic = recognise(func.func)
    if statistic is None or func.args:
        return None
    options = dict(func.keywords)
    if statistic.name == "mad" and isinstance(options.get("ignore_nan"), bool):
        if options.pop("ignore_nan"):
            statistic = statistic._replace(nan="ignore")
    if statistic.name == "std" and statistic.nan != "masked":
        if type(options.get("ddof")) is int and options["ddof"] >= 0:
            statistic = statistic._replace(ddof=options.pop("ddof"))
    return None if options else statistic


def center_and_spread(center, spread):
    """
    Recognise the two functions of a sigma clipping.

    Parameters
    ----------
    center, spread : str, callable or None
        As in `astropy.stats.sigma_clip`; None is the mean and the standard deviation
        of NumPy.

    Returns
    -------
    (Statistic, Statistic) or None
        None unless both are known.

    Raises
    ------
    ValueError
        A string that names no statistic.
    TypeError
        Neither a string nor a callable.
    """
    pair = []
    for func, default, what, names in (
        (center, np.mean, "cenfunc", ("mean", "median")),
        (spread, np.std, "stdfunc", ("std", "mad_std")),
    ):
        func = default if func is None else func
        argument = "sigma_clip_func" if what == "cenfunc" else "sigma_clip_dev_func"
        if isinstance(func, str):
            if func not in names:
                raise ValueError(
                    f"{func} is an invalid {what}. {argument} takes "
                    f"{names[0]!r}, {names[1]!r} or a function."
                )
        elif not callable(func):
            raise TypeError(
                f"{argument} must be {names[0]!r}, {names[1]!r} or a function, "
                f"not {func!r}."
            )
        pair.append(recognise(func))
    center, spread = pair
    if center is None or spread is None:
        return None
    if center.name not in ("mean", "median") or spread.name not in ("std", "mad"):
        return None
    return center, spread


def nan_rule(center, spread):
    """
    Tell what a clipping does at a pixel with a non-finite sample.

    Parameters
    ----------
    center, spread : Statistic

    Returns
    -------
    str
        ``"ignore"``: the statistics are those of the other samples; ``"none"``: only
        the non-finite sample is rejected; ``"all"``: every sample is.
    """
    kinds = {center.nan, spread.nan}
    if "masked" in kinds:
        return "all"
    return "none" if "nan" in kinds else "ignore"
