# Licensed under a 3-clause BSD style license - see LICENSE
"""
Warnings and errors of a combination.

All warnings derive from `~astropy.utils.exceptions.AstropyUserWarning`, the errors from
the built-in exceptions that fit them.
"""

import sys
import warnings

from astropy.utils.exceptions import AstropyUserWarning

__all__ = [
    "CombineWarning",
    "CroppedFrameWarning",
    "EmptyInputError",
    "IntegerResultError",
    "SubpixelOffsetWarning",
    "ThresholdWarning",
    "UnknownKeywordWarning",
    "UnusedOptionWarning",
]


class CombineWarning(AstropyUserWarning):
    """A combination does something other than its call seems to say."""


class UnknownKeywordWarning(CombineWarning):
    """A keyword that neither the combination nor the reader of files knows."""


class UnusedOptionWarning(CombineWarning):
    """An option that has no effect in this call."""


class ThresholdWarning(CombineWarning):
    """A clipping threshold that does not mean what it seems to."""


class CroppedFrameWarning(CombineWarning):
    """A frame larger than the first, of which only a part is used."""


class SubpixelOffsetWarning(CombineWarning):
    """Images are shifted by whole pixels, but are off by parts of a pixel."""


class EmptyInputError(ValueError, IndexError):
    """There is no image to combine."""


class IntegerResultError(ValueError, TypeError):
    """The result has values that its integer type cannot hold."""


def warn(message, category=CombineWarning):
    """Warn with the line outside this package that led here."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame is not None and (
        frame.f_globals.get("__name__", "").partition(".")[0] == package
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
