# Licensed under a 3-clause BSD style license - see LICENSE
"""
Bits that say what happened to a sample and to an output pixel.

The values are those of the arrays ``sample_flags`` and ``output_flags``, which are of
type uint8. ``SAMPLE_FLAG_MAP`` and ``OUTPUT_FLAG_MAP`` hold the same names in the form
that `astropy.nddata.bitmask` takes:

    >>> import numpy as np
    >>> from astropy.nddata.bitmask import bitfield_to_boolean_mask
    >>> from imcombiners_astro import SAMPLE_FLAG_MAP
    >>> flags = np.array([0, 8, 3], dtype=np.uint8)
    >>> bitfield_to_boolean_mask(
    ...     flags, ignore_flags="~ALGORITHM,GROW", flag_name_map=SAMPLE_FLAG_MAP)
    array([False,  True, False])
"""

from enum import IntFlag

import numpy as np

__all__ = [
    "OUTPUT_FLAG_MAP",
    "SAMPLE_FLAG_MAP",
    "OutputFlags",
    "SampleFlags",
    "mark_unused",
]


class SampleFlags(IntFlag):
    """
    Why a sample is not used, or that it was put back.

    A sample without any bit was used. ``INPUT_MASK`` and ``THRESHOLD`` are told apart
    by `~imcombiners_astro.ndcombine`; in a chain of steps both are ``PREVIOUS``, as
    is everything an earlier step rejected.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import SampleFlags
    >>> flags = np.array([0, 8, 2], dtype=np.uint8)
    >>> (flags & SampleFlags.ALGORITHM) != 0
    array([False,  True, False])
    """

    INPUT_MASK = 1
    """Masked on input."""
    NONFINITE = 2
    """NaN or infinite, or where a shifted image has no pixel."""
    THRESHOLD = 4
    """Outside the thresholds."""
    ALGORITHM = 8
    """Rejected by the algorithm."""
    GROW = 16
    """Rejected only because it is near a sample that the algorithm rejected."""
    PREVIOUS = 32
    """Out of use before this step."""
    RESTORED_NKEEP = 64
    """Rejected, then put back to keep enough samples."""
    RESTORED_MAXREJ = 128
    """Rejected, then put back not to reject too many."""


# Side at which a sample was rejected.
LOW, HIGH = np.uint8(1), np.uint8(2)

NOT_USED = np.uint8(
    SampleFlags.INPUT_MASK
    | SampleFlags.NONFINITE
    | SampleFlags.THRESHOLD
    | SampleFlags.ALGORITHM
    | SampleFlags.GROW
)


def mark_unused(flags, out=None):
    """
    Mark the samples that are not used.

    Parameters
    ----------
    flags : uint8 `~numpy.ndarray`
        Bits of `SampleFlags`.
    out : bool `~numpy.ndarray` of the shape of `flags`, optional
        Where the marks go.

    Returns
    -------
    bool `~numpy.ndarray` of the shape of `flags`

    Examples
    --------
    >>> mark_unused(np.array([0, 8, 64], dtype=np.uint8))
    array([False,  True, False])
    """
    return np.not_equal(flags & NOT_USED, 0, out=out)


class OutputFlags(IntFlag):
    """
    What happened at an output pixel.

    Examples
    --------
    >>> from imcombiners_astro import OutputFlags
    >>> OutputFlags(6)
    <OutputFlags.MAXITERS|NKEEP: 6>
    """

    PREMASKED = 1
    """Some sample was masked or outside the thresholds to begin with."""
    MAXITERS = 2
    """The last permitted pass still rejected something."""
    NKEEP = 4
    """The limit ``nkeep`` held samples back."""
    MAXREJ = 8
    """The limit ``maxrej`` held samples back."""
    GROW = 16
    """Growth rejected at least one sample more."""


SAMPLE_FLAG_MAP: type
OUTPUT_FLAG_MAP: type
_MAPS = {"SAMPLE_FLAG_MAP": SampleFlags, "OUTPUT_FLAG_MAP": OutputFlags}


def __getattr__(name):
    # Made when first used: astropy.nddata takes long to import, and the array API can
    # do without.
    if name not in _MAPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from astropy.nddata.bitmask import extend_bit_flag_map

    flags = _MAPS[name]
    found = extend_bit_flag_map(name, **{flag.name: flag.value for flag in flags})
    globals()[name] = found
    return found
