# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the header of a combined image says of the images it is made of.

Everything here is known before a pixel is read: a header that cannot be written stops a
combination before its work is done.
"""

import os
import re
import textwrap
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro.headers import (
    EXPOSURE_KEYWORDS,
    exposure_of,
    exposures,
    fits_text,
    lookup,
)
from imcombiners_astro.noise import GAIN_KEYWORDS, READNOISE_KEYWORDS
from imcombiners_astro.obstimes import header_times, set_times

__all__ = ["describe", "frames_table", "write_header"]

_VERSION = version(__package__)

_POLICIES = {"keep": None, "sum": np.sum, "mean": np.mean}

# IMCMBnnn has room for three digits.
_MOST_NAMES = 999
_NAME = re.compile(r"IMCMB\d{3}", re.IGNORECASE)

# Characters of a HISTORY card.
_LINE = 72
# Numbers of more frames than this are told by their range.
_MOST_NUMBERS = 100


def write_header(
    header,
    frames,
    *,
    n_combined=None,
    options=(),
    exposure="keep",
    noise=None,
    normalization=None,
    effective_noise=None,
    wcs=None,
):
    """
    Write into a header what became of the images.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` or dict
        Header of the result, a copy of that of the first image. It is changed.
    frames : sequence of Frame
        The images, N of them.
    n_combined : int, optional
        NCOMBINE; by default the sum of NCOMBINE of the images, of which those without
        count 1.
    options : mapping, or sequence of str
        Parameters of the combination: name to value, or lines of text.
    exposure : {"keep", "sum", "mean"}
        Exposure time of the result: that of the first image, or the sum or mean of all.
    noise : `~imcombiners_astro.noise.Noise`, optional
        Gain and read noise that were used.
    normalization : `~imcombiners_astro.normalization.Normalization`, optional
        Zero levels, scales and weights that were used.
    effective_noise : `~imcombiners_astro.noise.EffectiveNoise`, optional
        To be written as gain and read noise of the result.
    wcs : `~astropy.wcs.WCS`, optional
        WCS of the result, which has dates of its own that would win over those of the
        header when a CCDData is written. It is changed too.

    Raises
    ------
    ValueError
        If ``exposure`` is unknown, or an image has no exposure time for it.

    Notes
    -----
    - NCOMBINE, and IMCMB001, ... IMCMB999 with the names of the images (without
      folders), as in IRAF. Those of the first image are removed. A HISTORY line tells
      of more images than 999; the table of `frames_table` has all names.
    - The exposure time goes to the keyword it was found in (`EXPTIME`, or else one of
      `~imcombiners_astro.headers.EXPOSURE_KEYWORDS`) and to the others of them that had
      the same value.
    - DATE-OBS (earliest start), DATE-END (latest end), DATE-AVG and MJD-AVG (mean of
      the middles of the exposures, weighted by exposure time), as far as all images
      have them, see `imcombiners_astro.obstimes`. MJD-OBS and their like are kept
      up to date if they are there.
    - HISTORY: version, parameters, and the numbers by which images were changed.
    - The gain goes to the keyword that `~imcombiners_astro.noise.resolve_noise` would
      look in, GAIN if there is none, and so does the read noise (RDNOISE).

    Text is reduced to what FITS allows, see `~imcombiners_astro.headers.fits_text`. In
    a dict, HISTORY is one text of lines padded to 72 characters: written to a FITS file
    it becomes these lines.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io.fits import Header
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.frames import CCDFrame
    >>> from imcombiners_astro.provenance import write_header
    >>> ccd = CCDData(np.ones((2, 2)), unit="adu", meta={"EXPTIME": 30.0})
    >>> header = Header(ccd.meta)
    >>> write_header(header, [CCDFrame(ccd, "a.fits")] * 2, exposure="sum",
    ...              options={"method": "sum"})
    >>> header["NCOMBINE"], header["EXPTIME"], header["IMCMB002"]
    (2, 60.0, 'a.fits')
    >>> print(header["HISTORY"][1:])
    method=sum
    exposure time: sum of 2 images
    """
    policy = args.choice("exposure", exposure, {word: word for word in _POLICIES})
    if n_combined is None:
        n_combined = sum(_n_combined(frame) for frame in frames)
    time = None
    if policy != "keep":
        times = exposures(frames, f"exposure={exposure!r}")
        time = float(_POLICIES[policy](times))
    lines = [f"imcombiners_astro {_VERSION}: {len(frames)} images combined"]
    lines += _texts(options)
    lines += _normalization_lines(normalization) + _noise_lines(noise)

    _put(header, "NCOMBINE", int(n_combined), "number of frames combined")
    lines += _put_names(header, frames)
    dates, note = header_times(frames)
    if time is not None:
        _put_exposure(header, frames[0], time)
        lines.append(f"exposure time: {policy} of {len(frames)} images")
    if note:
        lines.append(note)
    set_times(header, dates, wcs, _put)
    if effective_noise is not None:
        for names, default, value, comment in (
            (GAIN_KEYWORDS, "GAIN", effective_noise.gain, "effective gain, electrons"),
            (
                READNOISE_KEYWORDS,
                "RDNOISE",
                effective_noise.readnoise,
                "effective read noise, electrons",
            ),
        ):
            found = lookup(header, names)
            _put(header, found[0] if found else default, value, comment)
    _put_history(header, lines)


def _put(header, keyword, value, comment=None):
    """Set a keyword; the comment is for a FITS header that has none."""
    if not hasattr(header, "cards"):
        same = [key for key in header if str(key).upper() == keyword.upper()]
        header[same[0] if same else keyword] = value
    else:
        header[keyword] = (value, comment)


def _n_combined(frame):
    """NCOMBINE of an image, 1 if it says nothing of the kind."""
    found = lookup(frame.header, ["NCOMBINE"])
    try:
        return max(1, int(found[1]))
    except (TypeError, ValueError):
        return 1


def _put_names(header, frames):
    for key in [key for key in header if _NAME.fullmatch(str(key))]:
        del header[key]
    for k, frame in enumerate(frames[:_MOST_NAMES], start=1):
        name = fits_text(os.path.basename(frame.name) or frame.name)
        _put(header, f"IMCMB{k:03d}", name)
    if len(frames) <= _MOST_NAMES:
        return []
    return [
        f"IMCMB keywords name the first {_MOST_NAMES} of {len(frames)} images; the "
        "table of the frames (diagnostics) names all"
    ]


def _put_exposure(header, first, time):
    before, keyword = exposure_of(first, "exposure")
    for key in EXPOSURE_KEYWORDS:
        found = lookup(header, [key])
        if key == keyword or (found is not None and found[1] == before):
            _put(header, key, time, "[s] exposure time")


def _put_history(header, lines):
    cards = [
        card
        for line in lines
        for card in textwrap.wrap(
            fits_text(line), _LINE, subsequent_indent="  ", break_on_hyphens=False
        )
    ]
    if hasattr(header, "cards"):
        for card in cards:
            header.add_history(card)
        return
    key = next((key for key in header if str(key).upper() == "HISTORY"), "HISTORY")
    old = header.get(key, "")
    if isinstance(old, list):
        header[key] = [*old, *cards]
        return
    old = [old] if isinstance(old, str) else [str(line) for line in old]
    cards = [fits_text(line) for line in old if line] + cards
    header[key] = "".join(
        line.ljust(-(-len(line) // _LINE) * _LINE) for line in cards
    ).rstrip()


def describe(value):
    """
    Write the value of a parameter as a short text.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    str
        Functions and classes by their name; long arrays by their shape and range.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.provenance import describe
    >>> describe(np.ma.median), describe((3, None)), describe(np.arange(500.0))
    ('numpy.ma.median', '(3, None)', 'array of shape (500,), 0 to 499')
    """
    if isinstance(value, str):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        module = getattr(value, "__module__", None) or ""
        # np.ma.median says numpy.ma.extras
        module = re.sub(r"\.(extras|core|_.*)$", "", module)
        return f"{module}.{value.__qualname__}".removeprefix("builtins.").lstrip(".")
    if isinstance(value, np.ndarray) and value.ndim > 0:
        if value.size > _MOST_NUMBERS or value.ndim > 1:
            span = ""
            if value.size and value.dtype.kind in "biuf":
                span = f", {value.min():.7g} to {value.max():.7g}"
            return f"array of shape {value.shape}{span}"
        return f"[{', '.join(map(str, value.tolist()))}]"
    if isinstance(value, list | tuple):
        if len(value) > _MOST_NUMBERS:
            return f"{type(value).__name__} of {len(value)}"
        inner = ", ".join(describe(item) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return str(value)


def _texts(options):
    if isinstance(options, Mapping):
        return [f"{name}={describe(value)}" for name, value in options.items()]
    return list(options)


def _numbers(values):
    """Write numbers of frames."""
    values = np.asarray(values, dtype=float)
    if (values == values[0]).all():
        return f"{values[0]:.7g}"
    if len(values) > _MOST_NUMBERS:
        return f"{values.min():.7g} to {values.max():.7g}"
    return ", ".join(f"{value:.7g}" for value in values)


def _normalization_lines(normalization):
    if normalization is None:
        return []
    lines = list(normalization.description)
    named = {
        "subtracted": normalization.zero,
        "multiplied by": normalization.factor,
        "divided by": normalization.scale,
        "weights": normalization.weights,
    }
    return lines + [
        f"{name}: {_numbers(values) if np.ndim(values) == 1 else describe(values)}"
        for name, values in named.items()
        if values is not None and not isinstance(values, str)
    ]


def _noise_lines(noise):
    if noise is None:
        return []
    lines = []
    for name, values, sources in (
        ("gain", noise.gain, noise.gain_source),
        ("read noise", noise.readnoise, noise.readnoise_source),
    ):
        source = ", ".join(dict.fromkeys(sources))
        lines.append(f"{name}: {_numbers(values)} ({source})")
    if noise.snoise.any():
        lines.append(f"sensitivity noise: {_numbers(noise.snoise)}")
    return lines


def frames_table(
    frames,
    *,
    normalization=None,
    noise=None,
    n_used_per_frame=None,
    rejected_low_per_frame=None,
    rejected_high_per_frame=None,
    offsets=None,
):
    """
    Make the table of the images of a combination.

    Parameters
    ----------
    frames : sequence of Frame
        The images, N of them.
    normalization : `~imcombiners_astro.normalization.Normalization`, optional
        How they enter.
    noise : `~imcombiners_astro.noise.Noise`, optional
        Gain and read noise that were used.
    n_used_per_frame : int array-like (N,), optional
        Samples of each image that are in the result.
    rejected_low_per_frame, rejected_high_per_frame : array-like (N,), optional
        Fractions of the samples of each image that were rejected.
    offsets : int array-like (N, ndim), optional
        Where the first pixel of each image is in the result.

    Returns
    -------
    `~astropy.table.Table`
        One row for each image, with the columns

        - name: with its folder; only printable ASCII, others escaped
        - exposure: s
        - zero, scale: a sample enters as ``(value - zero) / scale``, 0 and 1 if nothing
          was asked for; factors count as 1 / scale
        - weight: 1 without weights
        - gain, readnoise: electrons per unit of the image, and electrons (no unit that
          a FITS table can have)
        - n_used: samples used
        - rejected_low, rejected_high: per cent
        - offset, if there are any: pixel of the result where the first pixel of the
          image is, from 0, in NumPy's order of axes

        Numbers that are unknown, or differ from pixel to pixel, are NaN (n_used: -1).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.frames import CCDFrame
    >>> from imcombiners_astro.provenance import frames_table
    >>> ccd = CCDData(np.ones((2, 2)), unit="adu", meta={"EXPTIME": 30.0})
    >>> table = frames_table(
    ...     [CCDFrame(ccd, "a.fits")], rejected_high_per_frame=[0.25]
    ... )
    >>> table["name", "exposure", "rejected_high"].pprint()
     name  exposure rejected_high
              s
    ------ -------- -------------
    a.fits     30.0          25.0
    """
    from astropy.table import Column, Table

    n, unit = len(frames), frames[0].unit
    unknown = np.full(n, np.nan)
    zero, scale, weight = np.zeros(n), np.ones(n), np.ones(n)
    if normalization is not None:
        if normalization.zero is not None:
            zero = normalization.zero
        if normalization.divisor is not None:
            scale = normalization.divisor
        if normalization.weights is not None:
            one_each = np.shape(normalization.weights) == (n,)
            weight = normalization.weights if one_each else unknown

    def per_cent(fractions):
        return unknown if fractions is None else 100 * np.asarray(fractions, float)

    used = np.full(n, -1) if n_used_per_frame is None else n_used_per_frame
    names = [fits_text(frame.name) for frame in frames]
    gain, readnoise = (noise.gain, noise.readnoise) if noise else (unknown, unknown)
    columns = [
        Column(names, "name", description="image"),
        Column(exposures(frames), "exposure", unit="s", description="exposure time"),
        Column(zero, "zero", float, unit=_fits_unit(unit), description="subtracted"),
        Column(scale, "scale", float, description="divided by"),
        Column(weight, "weight", float, description="weight"),
        Column(gain, "gain", description="electrons per unit of the image"),
        Column(readnoise, "readnoise", description="read noise, electrons"),
        Column(used, "n_used", np.int64, description="samples used"),
        Column(
            per_cent(rejected_low_per_frame),
            "rejected_low",
            description="samples rejected as too low, per cent",
        ),
        Column(
            per_cent(rejected_high_per_frame),
            "rejected_high",
            description="samples rejected as too high, per cent",
        ),
    ]
    if offsets is not None:
        text = "pixel of the result of the first pixel, (y, x)"
        columns.append(Column(offsets, "offset", np.int64, description=text))
    return Table(columns)


def _fits_unit(unit):
    """Return a unit that a FITS table can have, else None."""
    try:
        return unit if unit is not None and unit.to_string("fits") else None
    except ValueError:
        return None
