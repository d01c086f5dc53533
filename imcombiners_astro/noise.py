# Licensed under a 3-clause BSD style license - see LICENSE
"""
Gain and read noise of frames: given, or found in their headers.

The noise model of a detector, in the unit of its image, is
``variance = (readnoise / gain)**2 + value / gain + (snoise * value)**2``.
"""

import math
from typing import NamedTuple

import numpy as np
from astropy import units as u

from imcombiners_astro.errors import UnusedOptionWarning, warn
from imcombiners_astro.headers import header_number, keyword_of
from imcombiners_astro.uncertainty import median_variance

__all__ = [
    "GAIN_KEYWORDS",
    "READNOISE_KEYWORDS",
    "EffectiveNoise",
    "Noise",
    "effective_noise",
    "resolve_noise",
]

GAIN_KEYWORDS = ("EGAIN", "GAIN", "CCDGAIN", "ESO DET OUT1 CONAD")
"""Where gains are looked for, electrons per ADU, in this order.

EGAIN is first: programs that write it (MaxIm DL, N.I.N.A.) use GAIN for the setting of
the camera, which is no number of electrons. ESO's ``DET OUT1 GAIN`` is its inverse.
"""

READNOISE_KEYWORDS = (
    "RDNOISE",
    "READNOIS",
    "READNOISE",
    "ENOISE",
    "RON",
    "ESO DET OUT1 RON",
)
"""Where read noises are looked for, electrons, in this order."""

# Units that numbers of an analog-to-digital converter go by.
_COUNTS = (u.adu, u.DN, u.ct, u.dimensionless_unscaled)


class Noise(NamedTuple):
    """
    Parameters of the noise of N frames.

    Attributes
    ----------
    gain : float64 `~numpy.ndarray` (N,)
        Electrons per unit of the image: the unit that the frame itself has, before it
        is converted to that of the first one.
    readnoise : float64 `~numpy.ndarray` (N,)
        Electrons.
    snoise : float64 `~numpy.ndarray` (N,)
        Fraction of the signal.
    gain_source, readnoise_source : list of N str
        Where the numbers come from.
    """

    gain: np.ndarray
    readnoise: np.ndarray
    snoise: np.ndarray
    gain_source: list[str]
    readnoise_source: list[str]


class EffectiveNoise(NamedTuple):
    """
    Gain and read noise with which the noise model holds for a combined image.

    Attributes
    ----------
    gain : float
        Electrons per unit of the image.
    readnoise : float
        Electrons.
    """

    gain: float
    readnoise: float


def resolve_noise(frames, gain=None, readnoise=None, snoise=None, *, purpose):
    """
    Find the parameters of the noise of every frame.

    Parameters
    ----------
    frames : sequence of Frame
        The images, N of them.
    gain : number, Quantity, str, sequence of N of these, or None
        Electrons per unit of the image. A Quantity must be in such a unit; a text is
        the header keyword to read, which has electrons per ADU. None looks for
        `GAIN_KEYWORDS`. Images in electrons have their gain applied: the gain is that
        of the unit (1), whatever a number or keyword says; only a Quantity in electrons
        per electron, as an average of such images has, changes it.
    readnoise : number, Quantity, str, sequence of N of these, or None
        Electrons. A Quantity may be in electrons or in the unit of the image. None
        looks for `READNOISE_KEYWORDS`.
    snoise : number, str, sequence of N of these, or None
        Sensitivity noise, a fraction of the signal; None is 0.
    purpose : str
        What needs them, for messages, such as ``uncertainty="noise"``.

    Returns
    -------
    Noise
        The parameters and where they come from.

    Raises
    ------
    ValueError
        If a keyword is missing or has no number, a gain is not positive, a noise is
        negative, or there are not N of them. The message has the frame.
    TypeError
        If a Quantity has the wrong unit, or what is given is no number.

    Warns
    -----
    UnusedOptionWarning
        Where a gain is given for images in electrons.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.frames import CCDFrame
    >>> from imcombiners_astro.noise import resolve_noise
    >>> header = {"GAIN": 1.6, "RDNOISE": 4.5}
    >>> frame = CCDFrame(CCDData(np.ones((2, 2)), unit="adu", meta=header), "bias.fits")
    >>> noise = resolve_noise([frame], readnoise=5, purpose="uncertainty='noise'")
    >>> noise.gain, noise.readnoise
    (array([1.6]), array([5.]))
    >>> noise.gain_source, noise.readnoise_source
    (['GAIN of the header'], ['as given'])
    """
    n = len(frames)
    gains = [
        _gain(frame, request, purpose)
        for frame, request in zip(frames, _requests("gain", gain, n), strict=True)
    ]
    if unused := [request for *_, request in gains if request is not None]:
        warn(
            f"gain={unused[0]!r} has no effect on images in electrons: their gain is "
            "applied.",
            UnusedOptionWarning,
        )
    noises = [
        _readnoise(frame, request, one[0], purpose)
        for frame, request, one in zip(
            frames, _requests("readnoise", readnoise, n), gains, strict=True
        )
    ]
    fractions = [
        _snoise(frame, request)
        for frame, request in zip(frames, _requests("snoise", snoise, n), strict=True)
    ]
    return Noise(
        np.array([value for value, *_ in gains]),
        np.array([value for value, _ in noises]),
        np.array(fractions),
        [source for _, source, _ in gains],
        [source for _, source in noises],
    )


def _requests(name, value, n_frames):
    """Return what is asked for of each frame."""
    is_one = value is None or isinstance(value, str) or not np.iterable(value)
    requests = [value] * n_frames if is_one else list(value)
    if len(requests) != n_frames or np.ndim(requests[0]) > 0:
        raise ValueError(
            f"{name}: found {len(requests)} values for {n_frames} images, expected one "
            "number, or one for each image."
        )
    return requests


def _gain(frame, request, purpose):
    """Return the gain, its source, and what was asked for in vain."""
    unit = frame.unit or u.dimensionless_unscaled
    expected = (u.electron / unit).to_string()
    if isinstance(request, u.Quantity):
        value = _in_unit(request, unit)
        if value is None:
            applied = " (the gain of images in electrons is applied)"
            raise TypeError(
                f"gain: {frame.name} needs {expected}, found {request}"
                f"{applied if unit.is_equivalent(u.electron) else ''}."
            )
        source, unused = "as given", None
    elif unit.is_equivalent(u.electron):
        value, source, unused = unit.to(u.electron), f"applied, data in {unit}", request
    elif request is None or isinstance(request, str):
        keywords = GAIN_KEYWORDS if request is None else [keyword_of(request)]
        hint = (
            f"it is needed for {purpose}. Give gain= as a number ({expected}), a "
            "Quantity or a header keyword, or one for each image"
        )
        per_adu = next((x for x in _COUNTS if unit.is_equivalent(x)), None)
        if per_adu is None:
            raise ValueError(
                f"gain: {frame.name} is in {unit}, for which keywords of the header do "
                f"not hold; {hint}."
            )
        value, keyword = header_number(
            frame, keywords, "gain", "gain", unit=u.electron / per_adu, hint=hint
        )
        value *= unit.to(per_adu)
        source, unused = f"{keyword} of the header", None
    else:
        value, source, unused = _number("gain", request, frame), "as given", None
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"gain: found {value:g} ({source}) for {frame.name}, expected a positive "
            f"number, {expected}."
        )
    return float(value), source, unused


def _in_unit(gain, unit):
    """Return a gain in electrons per unit, None if it is none."""
    names = _COUNTS if unit in _COUNTS else (unit,)
    for name in (unit, *names):
        try:
            return gain.to_value(u.electron / name)
        except u.UnitConversionError:
            pass
    return None


def _readnoise(frame, request, gain, purpose):
    unit = frame.unit or u.dimensionless_unscaled
    if isinstance(request, u.Quantity):
        source = "as given"
        if request.unit.is_equivalent(u.electron):
            value = request.to_value(u.electron)
        elif request.unit.is_equivalent(unit):
            value = request.to_value(unit) * gain
        else:
            raise TypeError(
                f"readnoise: {frame.name} needs electron or {unit}, found {request}."
            )
    elif request is None or isinstance(request, str):
        keywords = READNOISE_KEYWORDS if request is None else [keyword_of(request)]
        hint = (
            f"it is needed for {purpose}. Give readnoise= as a number (electron), a "
            "Quantity or a header keyword, or one for each image"
        )
        value, keyword = header_number(
            frame, keywords, "readnoise", "read noise", unit=u.electron, hint=hint
        )
        source = f"{keyword} of the header"
    else:
        value, source = _number("readnoise", request, frame), "as given"
    _check_not_negative("readnoise", value, frame)
    return float(value), source


def _snoise(frame, request):
    if request is None:
        return 0.0
    if isinstance(request, str):
        keyword = keyword_of(request)
        value, _ = header_number(frame, [keyword], "snoise", "sensitivity noise")
    elif isinstance(request, u.Quantity):
        try:
            value = request.to_value(u.dimensionless_unscaled)
        except u.UnitConversionError:
            raise TypeError(
                f"snoise: found {request} for {frame.name}, expected a fraction."
            ) from None
    else:
        value = _number("snoise", request, frame)
    _check_not_negative("snoise", value, frame)
    return float(value)


def _number(name, value, frame):
    if not isinstance(value, bool | np.bool_):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise TypeError(
        f"{name}: found {value!r} for {frame.name}, expected a number, a Quantity or a "
        "header keyword."
    )


def _check_not_negative(name, value, frame):
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(
            f"{name}: found {value:g} for {frame.name}, expected a finite number >= 0."
        )


def effective_noise(noise, method, normalization=None, unit_factors=None):
    r"""
    Gain and read noise of a combined image.

    Parameters
    ----------
    noise : Noise
        Parameters of the N frames.
    method : {"average", "median", "sum"}
        How they are combined.
    normalization : `~imcombiners_astro.normalization.Normalization`, optional
        Zero levels, scales and weights.
    unit_factors : array-like (N,), optional
        What the values of frames are multiplied by, for the unit of the first frame.

    Returns
    -------
    EffectiveNoise
        The numbers, for a pixel of which all N samples are used. What is masked or
        rejected makes them too good.

    Raises
    ------
    ValueError
        If the weights differ from pixel to pixel ("ivar", or an array of weights of all
        samples), so that there is no such number.

    Notes
    -----
    The image is :math:`M = \sum_k a_k (v_k - z_k)`, with :math:`a_k = p_k f_k` of the
    scale factors f and the weights p, which have the sum P (1 for averages, N for plain
    sums). The sample of frame k is expected at :math:`v_k = M / (P f_k) + z_k`, so that
    the noise model of every frame gives

    .. math:: \mathrm{var}(M) = \sum_k a_k^2 (R_k / g_k)^2 + a_k^2 z_k / g_k
              + \frac{M}{P} \sum_k p_k^2 f_k / g_k .

    This is the model of one image: the factor of M is 1 / gain, the rest
    (readnoise / gain)\ :sup:`2`. For N equal frames the gain of an average is N g,
    that of a sum g, and both have a read noise of :math:`\sqrt N` R (as in IRAF's
    ``noao.nproto.findthresh``). The variance of a median is that of the average times
    :math:`\pi n / (2 (n + c))`, see `~imcombiners_astro.planes.Plan`, so that its
    effective number of frames is :math:`2 (n + c) / \pi`. Sensitivity noise is left
    out.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.noise import Noise, effective_noise
    >>> four = Noise(np.full(4, 1.5), np.full(4, 6.0), np.zeros(4), [], [])
    >>> effective_noise(four, "average")
    EffectiveNoise(gain=6.0, readnoise=12.0)
    >>> effective_noise(four, "sum")
    EffectiveNoise(gain=1.5, readnoise=12.0)
    """
    n = len(noise.gain)
    gain, zero, factor, weights = noise.gain, 0.0, np.ones(n), np.ones(n)
    if unit_factors is not None:
        gain = gain / np.asarray(unit_factors)
    if normalization is not None:
        if normalization.zero is not None:
            zero = normalization.zero
        if normalization.divisor is not None:
            factor = 1 / normalization.divisor
        if normalization.weights is not None and method != "median":
            weights = normalization.weights
            if isinstance(weights, str) or np.ndim(weights) > 1:
                raise ValueError(
                    "effective_noise: there is no one gain and read noise of an image "
                    "whose weights differ from pixel to pixel."
                )
    if method != "sum":
        weights = weights / np.sum(weights)
    total = np.sum(weights)
    share = (weights * factor) ** 2
    per_level = np.sum(weights**2 * factor / gain) / total
    constant = np.sum(share * ((noise.readnoise / gain) ** 2 + zero / gain))
    if method == "median":
        spread = float(median_variance(n))
        per_level, constant = per_level * spread, constant * spread
    effective = 1 / per_level
    return EffectiveNoise(
        float(effective), float(effective * math.sqrt(max(constant, 0.0)))
    )
