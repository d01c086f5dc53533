# Licensed under a 3-clause BSD style license - see LICENSE
"""Arguments checked one by one; every error names the argument and what was found."""

import math
import operator

import numpy as np

__all__ = [
    "center",
    "choice",
    "integer",
    "limits",
    "noise_options",
    "pair",
    "passes",
    "per_frame",
    "real",
    "sigma_pair",
    "signal_options",
    "spread",
    "spread_center",
    "switch",
    "tail_count",
    "vector",
]

_CENTERS = {
    "mean": ("mean", "average", "avg"),
    "median": ("median", "med"),
    "lmedian": ("lmedian", "lmed", "lower_median", "lower-median", "lower median"),
}
CENTERS = {alias: name for name, aliases in _CENTERS.items() for alias in aliases}
# The spread is measured about the centre of the limits.
SAME_CENTER = ("center", "cenfunc", "clipping_center", "clipcenter")
_SPREADS = {
    "std": ("std", "standard_deviation", "standard-deviation", "standard deviation"),
    "mad": (
        "mad",
        "median_absolute_deviation",
        "median-absolute-deviation",
        "median absolute deviation",
    ),
}
SPREADS = {alias: name for name, aliases in _SPREADS.items() for alias in aliases}

REVERT = {True: "undo", False: "ignore", "closest": "closest"}


def choice(name, value, names, what=None):
    """Return what the name ``value`` stands for in the table ``names``."""
    try:
        return names[value.strip().lower()]
    except (AttributeError, KeyError):
        known = ", ".join(dict.fromkeys(names))
        raise ValueError(
            f"unknown {what or name} {value!r}; expected one of: {known}"
        ) from None


def center(cenfunc):
    """Return the kernel's name of a centre."""
    return choice("cenfunc", cenfunc, CENTERS)


def spread_center(clip_cen):
    """Return the kernel's name of the centre of a spread; None: that of the limits."""
    if clip_cen is None or (isinstance(clip_cen, str) and clip_cen in SAME_CENTER):
        return None
    return choice("clip_cen", clip_cen, CENTERS)


def spread(stdfunc):
    """Return the kernel's name of a spread."""
    return choice("stdfunc", stdfunc, SPREADS)


def integer(name, value, least=0):
    """Return ``value`` as an integer; floats without a fraction count as such."""
    try:
        number = operator.index(value)
    except TypeError:
        if not isinstance(value, (float, np.floating)) or value != value // 1:
            found = f"{name}: found {value!r}, expected an integer"
            raise TypeError(found) from None
        number = int(value)
    if least is not None and number < least:
        raise ValueError(f"{name}: found {number}, expected an integer >= {least}")
    return number


def real(name, value, expected="a finite number", accept=lambda number: True):
    """Return ``value`` as a finite float that ``accept`` accepts."""
    if isinstance(value, (str, bytes)) or np.ndim(value) > 0:
        raise TypeError(f"{name}: found {value!r}, expected {expected}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: found {value!r}, expected {expected}") from None
    if not (math.isfinite(number) and accept(number)):
        raise ValueError(f"{name}: found {value}, expected {expected}")
    return number


def pair(name, value, expected="a pair of numbers"):
    """Return two floats."""
    try:
        first, second = value
        if any(isinstance(x, str | bytes) for x in (value, first, second)):
            raise TypeError
        return float(first), float(second)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: found {value!r}, expected {expected}") from None


def switch(name, value):
    """Return True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: found {value!r}, expected True or False.")
    return bool(value)


def sigma_pair(sigma):
    """Return (lower, upper) of one number or two."""
    is_one = np.ndim(sigma) == 0 and hasattr(sigma, "__float__")
    both = (sigma, sigma) if is_one else sigma
    numbers = pair("sigma", both, "a number or a pair (lower, upper)")
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(
            f"sigma thresholds must be finite and non-negative; found sigma={sigma!r}"
        )
    return numbers


def vector(name, values, n_frames):
    """Return ``values`` as n_frames finite floats."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = f"{name}: found {values!r}, expected {n_frames} numbers"
        raise TypeError(found) from None
    if numbers.shape != (n_frames,):
        raise ValueError(
            f"{name}: found an array of shape {numbers.shape}, "
            f"expected {n_frames} values, one for each frame"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: found NaN or infinity, expected finite values")
    return numbers


def per_frame(name, value, n_frames, expected, accept):
    """Return one float, or a list of one for each frame, that ``accept`` accepts."""
    if np.ndim(value) == 0:
        return real(name, value, expected, accept)
    numbers = vector(name, value, n_frames).tolist()
    for number in numbers:
        real(name, number, expected, accept)
    return numbers


def limits(nkeep, maxrej, revert_on_nkeep):
    """Return the options of the kernel for how much may be rejected."""
    nkeep = integer("nkeep", nkeep, least=None)
    maxrej = None if maxrej is None else integer("maxrej", maxrej)
    if nkeep < 0:  # at most so many may be rejected
        maxrej = -nkeep if maxrej is None else min(maxrej, -nkeep)
        nkeep = 0
    try:
        revert = REVERT[revert_on_nkeep]
    except (KeyError, TypeError):
        raise ValueError(
            f"revert_on_nkeep: found {revert_on_nkeep!r}, "
            "expected True, False or 'closest'"
        ) from None
    return {"nkeep": nkeep, "maxrej": maxrej, "revert": revert}


def passes(maxiters):
    """Return the number of passes; None means until nothing changes."""
    return None if maxiters is None else integer("maxiters", maxiters)


def tail_count(name, request, n_frames):
    """Return how many of n_frames samples a count or a fraction means."""
    number = real(name, request, "a non-negative number", lambda x: x >= 0)
    return int(number) if number >= 1 else int(n_frames * number + 0.001)


def noise_options(options, n_frames):
    """Return the noise of a CCD as the kernel reads it."""
    not_negative = ("finite and not negative", lambda number: number >= 0)
    positive = ("finite and > 0", lambda number: number > 0)
    rules = {"gain": positive, "rdnoise": not_negative, "snoise": not_negative}
    return {
        name: per_frame(name, options[name], n_frames, *rule)
        for name, rule in rules.items()
        if name in options
    }


def signal_options(rejector, n_frames, counts):
    """Return the options of the kernel for what a value was in counts."""
    positive = ("a positive number", lambda number: number > 0)
    tolerance = real(
        "sigscale", rejector.sigscale, "a non-negative number", lambda x: x >= 0
    )
    scale = real("scale_ref", rejector.scale_ref, *positive)
    zero = real("zero_ref", rejector.zero_ref)
    given = rejector.scales is not None or rejector.zeros is not None
    if given or (scale, zero) != (1, 0):
        scales = scale if rejector.scales is None else rejector.scales
        zeros = zero if rejector.zeros is None else rejector.zeros
        if np.ndim(scales) == 0:
            scales = [scales] * n_frames
        if np.ndim(zeros) == 0:
            zeros = [zeros] * n_frames
        return {
            "scales": per_frame("scales", scales, n_frames, *positive),
            "zeros": vector("zeros", zeros, n_frames).tolist(),
        }
    if counts is None:
        return {}
    zeros, scales = counts
    if (scales > 0).all() and (np.abs(scales - 1) > tolerance).any():
        return {"scales": scales.tolist(), "zeros": (zeros / scales).tolist()}
    return {}
