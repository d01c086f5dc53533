# Licensed under a 3-clause BSD style license - see LICENSE
"""
Numbers out of the headers of frames, and text that may go into a FITS header.

A header is an `astropy.io.fits.Header` or any other mapping. Keywords of a mapping are
found in upper and lower case, as those of a FITS header are.
"""

import math
from numbers import Real

import numpy as np
from astropy.units import Quantity, UnitConversionError

__all__ = [
    "EXPOSURE_KEYWORDS",
    "exposure_of",
    "exposures",
    "fits_text",
    "header_number",
    "keyword_of",
    "lookup",
]

EXPOSURE_KEYWORDS = ("EXPTIME", "EXPOSURE", "XPOSURE", "ITIME")
"""Where exposure times are looked for, s; XPOSURE is the FITS standard's own."""


def lookup(header, keywords):
    """
    Find the first keyword that is there and has a value.

    Parameters
    ----------
    header : `~collections.abc.Mapping`
        FITS header or dict.
    keywords : sequence of str
        Keywords in the order of preference.

    Returns
    -------
    (str, object) or None
        The keyword and its value. Empty strings and undefined values are no values.

    Examples
    --------
    >>> from imcombiners_astro.headers import lookup
    >>> lookup({"exptime": 30.0, "ITIME": 5.0}, ["EXPOSURE", "EXPTIME"])
    ('EXPTIME', 30.0)
    """
    is_fits = hasattr(header, "cards")
    if not is_fits:
        header = {str(key).upper(): header[key] for key in reversed(list(header))}
    for keyword in keywords:
        if (key := keyword if is_fits else keyword.upper()) in header:
            value = header[key]
            if isinstance(value, str):
                value = value.strip()
            if isinstance(value, Quantity | Real | np.generic) or (
                isinstance(value, str) and value
            ):
                return keyword, value
    return None


def keyword_of(text):
    """
    Return the keyword that a text names.

    Parameters
    ----------
    text : str
        Such as ``"!GAIN"`` or ``"GAIN"``.

    Returns
    -------
    str
        The keyword, without IRAF's mark.

    Examples
    --------
    >>> from imcombiners_astro.headers import keyword_of
    >>> keyword_of("!GAIN"), keyword_of(" GAIN ")
    ('GAIN', 'GAIN')
    """
    return text.strip().removeprefix("!").strip()


def header_number(frame, keywords, name, what, *, unit=None, hint=""):
    """
    Read a number from the header of a frame.

    Parameters
    ----------
    frame : `~imcombiners_astro.frames.Frame`
        The image, with its ``header``.
    keywords : sequence of str
        Keywords in the order of preference.
    name, what : str
        Argument that needs the number and what the number is, for messages.
    unit : `~astropy.units.UnitBase`, optional
        Values with a unit (in metadata that are no FITS header) are converted to it.
    hint : str, optional
        What else the caller can do, for the message.

    Returns
    -------
    float, str
        The number, which is finite, and the keyword that has it.

    Raises
    ------
    ValueError
        If no keyword is there, or its value is no number.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.headers import header_number
    >>> frame = SimpleNamespace(name="flat7.fits", header={"GAIN": "1.4"})
    >>> header_number(frame, ["EGAIN", "GAIN"], "gain", "gain")
    (1.4, 'GAIN')
    """
    found = lookup(frame.header, keywords)
    if found is None:
        raise ValueError(
            f"{name}: the header of {frame.name} has no {what} (looked for "
            f"{', '.join(keywords)}){hint and '; ' + hint}."
        )
    keyword, value = found
    expected = f"{name}: {keyword} of {frame.name} is {value!r}, expected a"
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{expected} number.")
    try:
        if isinstance(value, Quantity) and unit is not None:
            value = value.to_value(unit)
        number = float(getattr(value, "value", value))
    except UnitConversionError:
        raise ValueError(f"{expected} number in {unit}.") from None
    except (TypeError, ValueError):
        raise ValueError(f"{expected} number.") from None
    if not math.isfinite(number):
        raise ValueError(f"{expected} finite number.")
    return number, keyword


def exposure_of(frame, name, hint=""):
    """
    Exposure time of a frame and the keyword that has it.

    Parameters
    ----------
    frame : `~imcombiners_astro.frames.Frame`
        The image.
    name, hint : str
        As in `header_number`.

    Returns
    -------
    float, str
        Time in s, not negative, and keyword.

    Raises
    ------
    ValueError
        If there is none, or it is no number or negative.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.headers import exposure_of
    >>> frame = SimpleNamespace(name="dark.fits", header={"EXPOSURE": 30})
    >>> exposure_of(frame, "scale='exposure'")
    (30.0, 'EXPOSURE')
    """
    time, keyword = header_number(
        frame, EXPOSURE_KEYWORDS, name, "exposure time", unit="s", hint=hint
    )
    if time < 0:
        raise ValueError(
            f"{name}: {keyword} of {frame.name} is {time:g}, expected a time >= 0."
        )
    return time, keyword


def exposures(frames, name=None):
    """
    Exposure times of frames.

    Parameters
    ----------
    frames : sequence of Frame
        The images, N of them.
    name : str, optional
        Argument that needs the times, for messages. Without it a missing time is no
        error.

    Returns
    -------
    float64 `~numpy.ndarray` (N,)
        Times in s; NaN where there is none.

    Raises
    ------
    ValueError
        As `exposure_of`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.headers import exposures
    >>> headers = [{"EXPTIME": 30.0}, {"ITIME": 5}, {}]
    >>> exposures([SimpleNamespace(name="", header=header) for header in headers])
    array([30.,  5., nan])
    """
    return np.array(
        [
            math.nan
            if name is None and lookup(frame.header, EXPOSURE_KEYWORDS) is None
            else exposure_of(frame, name or "exposure")[0]
            for frame in frames
        ]
    )


def fits_text(text):
    r"""
    Text with nothing in it that a FITS header cannot hold.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Printable ASCII; other characters are escaped as in Python.

    Examples
    --------
    >>> from imcombiners_astro.headers import fits_text
    >>> print(fits_text("Étoile\n.fits"))
    \xc9toile\n.fits
    """
    return "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
