# Licensed under a 3-clause BSD style license - see LICENSE
"""
When images were taken, and the times of what is made of them.

Keywords are those of the FITS standard (version 4.0, section 9; Rots et al. 2015, A&A
574, A36): DATE-OBS or DATE-BEG is the start, DATE-END the end and DATE-AVG the middle
of an exposure, and MJD-OBS and so on are the same as Modified Julian Dates, on the time
scale TIMESYS (UTC if it is not there).
"""

import re
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from imcombiners_astro.headers import EXPOSURE_KEYWORDS, exposure_of, lookup

__all__ = ["Times", "header_times", "set_times"]

# Time scales that astropy converts without tables from the network. Others are taken
# as they are, with days of 86400 s.
_SCALES = ("utc", "tai", "tt", "tdb", "tcg", "tcb")
# The time of the day where DATE-OBS is a date only.
_CLOCKS = ("TIME-OBS", "UTC-OBS", "UTSTART", "UTC", "UT")
# Until 1997 dates were written DD/MM/YY.
_OLD_DATE = re.compile(r"(\d\d)/(\d\d)/(\d\d)")

_KEYWORDS = {
    "start": (("DATE-OBS", "DATE-BEG"), ("MJD-OBS", "MJD-BEG")),
    "end": (("DATE-END",), ("MJD-END",)),
    "middle": (("DATE-AVG",), ("MJD-AVG",)),
}
_COMMENTS = {
    "DATE-OBS": "earliest start of the images combined",
    "DATE-END": "latest end of the images combined",
    "DATE-AVG": "mean middle of the images combined",
    "MJD-AVG": "[d] MJD of DATE-AVG",
}


@contextmanager
def _future_years():
    """Do not warn of years whose leap seconds astropy does not know yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ERFA function", Warning)
        yield


class Times(NamedTuple):
    """
    Times of an exposure or a combination of them.

    Attributes
    ----------
    start, end, middle : `~astropy.time.Time` or None
        Known or not.
    """

    start: object
    end: object = None
    middle: object = None


def header_times(frames):
    """
    Find the times of a combination.

    Parameters
    ----------
    frames : sequence of Frame
        The images.

    Returns
    -------
    times : Times
        Earliest start, latest end and mean middle, weighted by the exposure times. Each
        is None where not every image has it. An end that the header does not have is
        the start and the exposure time, a middle is halfway between start and end.
    note : str
        What is missing, if only some of the images have it, or a time cannot be
        understood; else empty.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.obstimes import header_times
    >>> starts = ["2020-01-01T22:00:00", "2020-01-01T21:00:00"]
    >>> headers = [{"DATE-OBS": start, "EXPTIME": 60.0} for start in starts]
    >>> frames = [SimpleNamespace(name="", header=header) for header in headers]
    >>> times, _ = header_times(frames)
    >>> times.start.isot, times.end.isot, times.middle.isot
    ('2020-01-01T21:00:00.000', '2020-01-01T22:01:00.000', '2020-01-01T21:30:30.000')
    """
    with _future_years():
        found = [_times_of(frame) for frame in frames]
        known = [times for times, _ in found if times is not None]
        if len(known) < len(frames):
            missing = next(f for f, (t, _) in zip(frames, found, strict=True) if not t)
            if not known and lookup(missing.header, ["DATE-OBS"]) is None:
                return Times(None), ""
            return Times(None), (
                f"times are those of the first image: {len(frames) - len(known)} of "
                f"{len(frames)} have no time of start that is understood, such as "
                f"{missing.name}"
            )
        scales = {times.start.scale for times in known}
        if len(scales) > 1 and "local" in scales:
            return Times(None), "times are those of the first image: TIMESYS differs"
        scale = known[0].start.scale
        known = [Times(*(t and getattr(t, scale) for t in times)) for times in known]

        start = min(times.start for times in known)
        if any(times.end is None for times in known):
            return Times(start), "not all images have an exposure time: no DATE-END"
        weights = np.array([seconds for _, seconds in found])
        if not weights.any():
            weights[:] = 1.0
        after = [(times.middle - start).to_value("s") for times in known]
        middle = start + _seconds(np.average(after, weights=weights))
        return Times(start, max(times.end for times in known), middle), ""


def _times_of(frame):
    """Return the times of an image, None without a start, and its exposure time."""
    header, seconds = frame.header, 0.0
    given = {name: _first(header, *keys) for name, keys in _KEYWORDS.items()}
    start, end, middle = (given[name] for name in ("start", "end", "middle"))
    if start is None:
        return None, seconds
    # An end before the start is one of another exposure, or of nothing.
    end = None if end is None or end < start else end
    if lookup(header, EXPOSURE_KEYWORDS) is not None:
        seconds, _ = exposure_of(frame, "DATE-END")
        if end is None:
            end = start + _seconds(seconds)
    if end is not None and middle is None:
        middle = start + (end - start) * 0.5
    return Times(start, end, middle), seconds


def _first(header, dates, mjds):
    """Return the first of dates, or else of MJDs, that can be understood."""
    found = lookup(header, ["TIMESYS"])
    scale = str(found[1]).lower() if found else "utc"
    scale = scale if scale in _SCALES else "local"
    for keys, read in ((dates, _date), (mjds, _mjd)):
        for key in keys:
            found = lookup(header, [key])
            time = None if found is None else read(found[1], scale, header)
            if time is not None:
                return time
    return None


def _date(value, scale, header):
    from astropy.time import Time

    text = str(value).strip().rstrip("Zz").replace(" ", "T")
    if old := _OLD_DATE.fullmatch(text):
        day, month, year = old.groups()
        text = f"19{year}-{month}-{day}"
    if "T" not in text:
        clock = lookup(header, _CLOCKS)
        if clock is None or ":" not in str(clock[1]):
            return None
        text = f"{text}T{str(clock[1]).strip()}"
    try:
        return Time(text, format="isot", scale=scale)
    except ValueError:
        return None


def _mjd(value, scale, _):
    from astropy.time import Time

    try:
        return Time(float(value), format="mjd", scale=scale)
    except (TypeError, ValueError):
        return None


def _seconds(number):
    from astropy.time import TimeDelta

    return TimeDelta(number, format="sec")


def set_times(header, times, wcs, put):
    """
    Write the times of a combination.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` or dict
        Header of the result. DATE-OBS, DATE-END, DATE-AVG and MJD-AVG are written where
        the time is known, other keywords with these times where they are there.
    times : Times
        The times.
    wcs : `~astropy.wcs.WCS` or None
        WCS of the result, of which the times that it has are set.
    put : callable
        Sets keyword, value and comment in a header.
    """
    if times.start is None:
        return
    values = {}
    with _future_years():
        for name, (dates, mjds) in _KEYWORDS.items():
            time = getattr(times, name)
            # What is not known any more must not stay that of the first image.
            values |= dict.fromkeys(dates, None if time is None else _iso(time))
            values |= dict.fromkeys(mjds, None if time is None else float(time.mjd))
        values["TELAPSE"] = None
        if times.end is not None:
            values["TELAPSE"] = float((times.end - times.start).to_value("s"))
    if lookup(header, _CLOCKS[:1]) is not None:
        put(header, _CLOCKS[0], values["DATE-OBS"].partition("T")[2])
    for key, value in values.items():
        if value is None:
            for same in [k for k in header if str(k).upper() == key]:
                del header[same]
        elif key in _COMMENTS or lookup(header, [key]) is not None:
            put(header, key, value, _COMMENTS.get(key))
    _set_wcs(wcs, values)


def _iso(time):
    text = time.copy()
    text.precision = 6
    return text.isot.rstrip("0").removesuffix(".")


def _set_wcs(wcs, values):
    """Set the times that a WCS has; it writes them itself."""
    own = getattr(wcs, "wcs", None)
    for key, value in values.items():
        name = key.replace("-", "").lower()
        had = getattr(own, name, None)
        if isinstance(had, str) and had:
            setattr(own, name, value or "")
        elif isinstance(had, float) and not np.isnan(had):
            setattr(own, name, np.nan if value is None else value)
