# Licensed under a 3-clause BSD style license - see LICENSE
"""
The keywords of `imcombiners_astro.combine` that ccdproc does not have, checked.

What needs an image to be judged (units, header keywords, shapes) is left to the
modules that use it; everything else is refused here, before a file is opened.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from astropy.units import Quantity

from imcombiners_astro import arguments as args
from imcombiners_astro import dq
from imcombiners_astro.errors import ThresholdWarning, UnusedOptionWarning, warn
from imcombiners_astro.headers import keyword_of
from imcombiners_astro.padding import relative_offsets
from imcombiners_astro.rejectors import (
    CcdClip,
    CrReject,
    KernelRejector,
    MinMaxClip,
    Rejector,
    SigClip,
)
from imcombiners_astro.samples import interval, parse_diagnostics
from imcombiners_astro.stacks import radius_of

__all__ = [
    "Extras",
    "asks_for_noise",
    "check_extras",
    "is_name",
    "values_by_name",
]

UNCERTAINTIES = ("empirical", "scatter", "propagate", "noise", None)
EXPOSURES = ("keep", "sum", "mean")
FOOTPRINTS = ("union", "intersection", "first")

# Words that the arguments take; any other text is a header keyword.
NAMES = {
    "zero": ("mean", "median", "mode"),
    "scale": ("mean", "median", "mode", "exposure"),
    "weights": ("ivar", "exposure"),
}


class Extras(NamedTuple):
    """
    Keywords of `imcombiners_astro.combine` that ccdproc does not have.

    Attributes
    ----------
    rejectors : tuple of KernelRejector
        Empty if there are none.
    zero, statsec, statsample, gain, readnoise, snoise, exposure, effective_noise
        As the caller gave them.
    uncertainty, diagnostics
        Likewise.
    thresholds : (float or Quantity, float or Quantity) or None
        Lowest and highest value to use; infinite on an open side.
    ignore_flags, least_bad
        Likewise; see `imcombiners_astro.dq`.
    clip_scaled : bool
        Whether zero and scale are applied before the rejection.
    offsets : "wcs", "physical", tuple of str, list of N tuple of int, or None
        Where the images are; keywords of headers in the order of FITS, numbers in that
        of NumPy.
    footprint : {"union", "intersection", "first"}
        What of them the result shows.
    given : tuple of str
        Names of the keywords that are not at their default.
    """

    rejectors: tuple = ()
    zero: Any = None
    statsec: Any = None
    thresholds: tuple | None = None
    uncertainty: str | None = "empirical"
    diagnostics: str | None = None
    gain: Any = None
    readnoise: Any = None
    snoise: Any = None
    ignore_flags: Any = None
    least_bad: Any = None
    clip_scaled: bool = False
    exposure: str = "keep"
    effective_noise: bool = False
    offsets: Any = None
    footprint: str = "union"
    statsample: int | None = None
    given: tuple = ()

    @property
    def wants_flags(self):
        """Whether flags of the images are of use, to decide or to be passed on."""
        return self.judges_flags or self.diagnostics is not None

    @property
    def judges_flags(self):
        """Whether flags decide on samples; the result has those of the samples used."""
        return self.ignore_flags is not None or self.least_bad is not None

    @property
    def noise_purpose(self):
        """What needs the noise of the detectors, in words; None if nothing does."""
        for rejector in self.rejectors:
            if asks_for_noise(rejector):
                return f"the rejector {type(rejector).__name__}"
        if self.uncertainty == "noise":
            return "uncertainty='noise'"
        return "effective_noise=True" if self.effective_noise else None


def asks_for_noise(rejector):
    """Whether a rejector needs a noise of the detector that it does not bring."""
    is_model = isinstance(rejector, CcdClip | CrReject)
    return is_model and _is_default(rejector, "gain", "rdnoise")


def _is_default(rejector, *names):
    return all(
        np.ndim(getattr(rejector, name)) == 0
        and getattr(rejector, name) == getattr(type(rejector), name)
        for name in names
    )


def check_extras(options, keywords, n_frames):
    """
    Check the keywords that ccdproc does not have.

    Parameters
    ----------
    options : Options
        The others, checked.
    keywords : dict
        Every one of the keywords by name.
    n_frames : int
        Number of images.

    Returns
    -------
    Extras
        The keywords as they are used.

    Raises
    ------
    ValueError, TypeError
        Naming the keyword, what was found and what it may be.
    """
    defaults = Extras._field_defaults | {"rejectors": None, "clip_scaled": None}
    given = tuple(
        name
        for name, value in keywords.items()
        if not (value is defaults[name] or _same_text(value, defaults[name]))
    )
    extras = Extras(
        rejectors=_checked_rejectors(keywords["rejectors"], n_frames),
        zero=_checked_zero(keywords["zero"], n_frames),
        statsec=keywords["statsec"],
        thresholds=_checked_thresholds(keywords["thresholds"]),
        uncertainty=_one_of("uncertainty", keywords["uncertainty"], UNCERTAINTIES),
        diagnostics=parse_diagnostics(keywords["diagnostics"]),
        gain=keywords["gain"],
        readnoise=keywords["readnoise"],
        snoise=keywords["snoise"],
        ignore_flags=keywords["ignore_flags"],
        least_bad=keywords["least_bad"],
        exposure=_one_of("exposure", keywords["exposure"], EXPOSURES),
        effective_noise=args.switch("effective_noise", keywords["effective_noise"]),
        offsets=_checked_offsets(keywords["offsets"], n_frames),
        footprint=_one_of("footprint", keywords["footprint"], FOOTPRINTS),
        statsample=_checked_statsample(keywords["statsample"]),
        given=given,
    )
    if extras.offsets is None and extras.footprint != "union":
        warn(
            f"footprint={extras.footprint!r} has no effect without offsets=.",
            UnusedOptionWarning,
        )
    _check_flags(extras)
    _check_rejection(options, extras, n_frames)
    _check_noise(extras)
    _check_uncertainty(options, extras)
    clip_scaled = _checked_clip_scaled(keywords["clip_scaled"], options, extras)
    return extras._replace(clip_scaled=clip_scaled)


def _same_text(value, default):
    return isinstance(value, str) and value == default


def _one_of(name, value, known):
    for one in known:
        if value is one or _same_text(value, one):
            return one
    raise ValueError(
        f"{name}: found {value!r}, expected one of {', '.join(map(repr, known))}."
    )


def _checked_offsets(offsets, n_frames):
    """Return a name, keywords, or integers, of which the least are 0."""
    expected = (
        "'wcs', 'physical', a tuple of header keywords such as ('XOFF', 'YOFF'), or "
        f"integers of shape ({n_frames}, number of axes)"
    )
    if offsets is None or _same_text(offsets, "wcs") or _same_text(offsets, "physical"):
        return offsets
    if isinstance(offsets, str):
        raise ValueError(f"offsets: found {offsets!r}, expected {expected}.")
    if isinstance(offsets, tuple | list) and any(isinstance(x, str) for x in offsets):
        keywords = tuple(keyword_of(x) for x in offsets if isinstance(x, str))
        if len(keywords) != len(offsets) or not all(keywords):
            raise ValueError(f"offsets: found {offsets!r}, expected {expected}.")
        return keywords
    try:
        array = np.asarray(offsets)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"offsets: {error}; expected {expected}.") from error
    if array.ndim != 2 or len(array) != n_frames:
        raise ValueError(f"offsets: found shape {array.shape}, expected {expected}.")
    try:
        return relative_offsets(array, *array.shape)
    except ValueError as error:  # differences beyond 64 bits
        raise ValueError(f"offsets: {error}.") from error


# ------------------------------------------------------------------ rejection


def _checked_rejectors(rejectors, n_frames):
    """Return the rejectors in a tuple; each has tried its options."""
    if rejectors is None:
        return ()
    several = isinstance(rejectors, Iterable) and not isinstance(rejectors, str)
    found = tuple(rejectors) if several else (rejectors,)
    for k, rejector in enumerate(found):
        name = f"rejectors[{k}]" if several else "rejectors"
        if not isinstance(rejector, Rejector):
            hint = "; call the class" if isinstance(rejector, type) else ""
            raise TypeError(
                f"{name}: found {rejector!r}, expected a rejector such as "
                f"SigClip(sigma=3){hint}."
            )
        if not (isinstance(rejector, KernelRejector) and rejector.fusible):
            raise TypeError(
                f"{name}: {type(rejector).__name__} rejects by a method of its own, "
                "which has to see whole stacks of arrays. Images are combined in "
                "strips: use one of the rejectors of imcombiners_astro, or "
                "imcombiners_astro.Combiner with the stack."
            )
        try:
            rejector.step(n_frames)
            radius_of(rejector.grow)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}, {type(rejector).__name__}: {error}") from error
    return found


def _check_rejection(options, extras, n_frames):
    if not extras.rejectors:
        return
    switches = [
        switch
        for switch, value in (
            ("clip_extrema", options.extrema),
            ("minmax_clip", options.limits),
            ("sigma_clip", options.clip),
        )
        if value is not None
    ]
    if switches:
        raise ValueError(
            f"rejectors cannot be mixed with {' and '.join(switches)}: those judge "
            "each sample on its own, rejectors one after the other what is left. "
            "Give all as rejectors, for instance [MinMaxClip(1, 1), SigClip(3)], and "
            "limits as thresholds=."
        )
    first = extras.rejectors[0]
    if isinstance(first, MinMaxClip):
        _, counts = first.step(n_frames)
        if counts["low"] + counts["high"] >= n_frames:
            raise ValueError(
                f"MinMaxClip(n_min={first.n_min}, n_max={first.n_max}) rejects all of "
                f"the {n_frames} images."
            )
    if isinstance(first, SigClip):
        _warn_powerless(first, n_frames)


def _warn_powerless(clip, n_frames):
    """Warn when a single outlier cannot be as far off as the thresholds ask for."""
    _, step = clip.step(n_frames)
    about = step["spread_center"] or step["center"]
    if step["spread"] != "std" or n_frames < 2 or n_frames <= step["ddof"]:
        return
    # One frame off by d among n equal ones: the mean is off by d/n, the median by
    # nothing. The sum of squares is d**2 about the median, d**2 (n-1)/n about the mean.
    n = n_frames
    square = (n - 1) / n if about == "mean" else 1.0
    distance = (n - 1) / n if step["center"] == "mean" else 1.0
    limit = distance / math.sqrt(square / (n - step["ddof"]))
    nearest = min(step["low"], step["high"])
    if limit <= nearest:
        warn(
            f"With {n} images a single outlier is at most {limit:.2f} standard "
            f"deviations from the {step['center']}, so that SigClip(sigma={nearest:g}) "
            "cannot reject it. Use stdfunc='mad', or lower thresholds.",
            ThresholdWarning,
        )


def _checked_thresholds(thresholds):
    """Return the lower and upper limit, infinite on an open side."""
    if thresholds is None:
        return None
    expected = "a pair (low, upp) of numbers; None on a side without limit"
    try:
        if isinstance(thresholds, str | bytes):
            raise TypeError
        low, upp = thresholds
    except (TypeError, ValueError):
        raise ValueError(
            f"thresholds: found {thresholds!r}, expected {expected}."
        ) from None
    pair = []
    for limit, default in ((low, -math.inf), (upp, math.inf)):
        limit = default if limit is None else limit
        if isinstance(limit, str | bytes | bool) or np.ndim(limit) > 0:
            raise TypeError(f"thresholds: found {thresholds!r}, expected {expected}.")
        pair.append(limit)
    if not any(isinstance(limit, Quantity) for limit in pair):
        return interval(pair)
    for limit in pair:
        if math.isnan(getattr(limit, "value", limit)):
            raise ValueError(f"thresholds: found {thresholds!r}, expected no NaN.")
    return tuple(pair)


def _checked_clip_scaled(clip_scaled, options, extras):
    """Return whether zero and scale come before the rejection."""
    if clip_scaled is None:
        return bool(extras.rejectors)
    clip_scaled = args.switch("clip_scaled", clip_scaled)
    rejects = extras.rejectors or options.extrema or options.limits or options.clip
    if not rejects or (options.scale is None and extras.zero is None):
        warn(
            "clip_scaled has no effect without both a rejection and zero= or scale=.",
            UnusedOptionWarning,
        )
    return clip_scaled


# ---------------------------------------------------------------------- names


def is_name(argument, text):
    """
    Tell whether a text can be a value of an argument.

    Parameters
    ----------
    argument : {"zero", "scale", "weights"}
        The argument.
    text : str
        What it is given.

    Returns
    -------
    bool
        True for the names there are and for header keywords, which are in capitals or
        after an exclamation mark: a name that is misspelled is no keyword.
    """
    text = text.strip()
    if text.lower() in NAMES[argument]:
        return True
    return len(text) > text.startswith("!") and (text[0] == "!" or text.isupper())


def values_by_name(argument):
    """Say in words which texts an argument takes."""
    names = ", ".join(map(repr, NAMES[argument]))
    return f"{names}, a header keyword in capitals or after '!'"


def _checked_zero(zero, n_frames):
    if isinstance(zero, str):
        if not is_name("zero", zero):
            raise ValueError(
                f"zero={zero!r}: expected {values_by_name('zero')}, a function or "
                f"{n_frames} numbers."
            )
        return zero
    if zero is not None and not callable(zero) and np.ndim(zero):
        if len(zero) != n_frames:
            raise ValueError(f"zero: found {len(zero)} values for {n_frames} images.")
    return zero


def _checked_statsample(statsample):
    if statsample is None:
        return None
    if isinstance(statsample, bool) or not isinstance(statsample, int | np.integer):
        raise TypeError(
            f"statsample: found {statsample!r}, expected a number of pixels, or None "
            "for all."
        )
    if statsample < 1:
        raise ValueError(f"statsample: found {statsample}, expected at least 1.")
    return int(statsample)


# ----------------------------------------------------------------------- flags


def _check_flags(extras):
    """Refuse flags that mean nothing, unless it takes the images to know."""
    if not _has_names(extras.ignore_flags):
        dq.ignored_bits(extras.ignore_flags)
    classes = extras.least_bad
    if classes is not None and (isinstance(classes, str) or not _has_names(classes)):
        dq.class_bits(classes)


def _has_names(flags):
    """Whether there are names whose meaning only the images may tell."""
    if isinstance(flags, str):
        return any(letter.isalpha() for letter in flags)
    if isinstance(flags, tuple) and len(flags) == 2 and isinstance(flags[1], type):
        return False
    return isinstance(flags, list | tuple | set) and any(map(_has_names, flags))


# ----------------------------------------------------------- noise, uncertainty


def _check_noise(extras):
    """Refuse a noise that is given twice; warn about one that nothing uses."""
    given = [
        name
        for name, value in (
            ("gain", extras.gain),
            ("readnoise", extras.readnoise),
            ("snoise", extras.snoise),
        )
        if value is not None
    ]
    if not given:
        return
    models = [r for r in extras.rejectors if isinstance(r, CcdClip | CrReject)]
    for rejector in models:
        own = [
            name
            for name in ("gain", "rdnoise", "snoise")
            if not _is_default(rejector, name)
        ]
        if own:
            raise ValueError(
                f"the noise of the detector is given twice: {', '.join(given)} of "
                f"combine() and {', '.join(own)} of {type(rejector).__name__}. Give it "
                "in one place."
            )
    if extras.noise_purpose is None:
        warn(
            f"{' and '.join(given)} {'have' if len(given) > 1 else 'has'} no effect: "
            "neither CcdClip, CrReject, uncertainty='noise' nor effective_noise=True "
            "is asked for.",
            UnusedOptionWarning,
        )


def _check_uncertainty(options, extras):
    if options.uncertainty_function is not None and extras.uncertainty != "empirical":
        raise ValueError(
            "combine_uncertainty_function is the scatter of "
            f"uncertainty='empirical'; found uncertainty={extras.uncertainty!r}."
        )
    ivar = isinstance(options.weights, str) and options.weights == "ivar"
    if ivar and options.method != "average":
        raise ValueError(
            f"weights='ivar' weights an average by inverse variances; found "
            f"method={options.method!r}."
        )
