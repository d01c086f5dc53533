# Licensed under a 3-clause BSD style license - see LICENSE
"""All that is known of one pixel of a combination, put together from its images."""

import inspect
import os
import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from astropy import units as u

from imcombiners_astro import arguments as args
from imcombiners_astro.extras import asks_for_noise
from imcombiners_astro.files.combine import combine
from imcombiners_astro.files.fits import opened_frames
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.options import reading_of
from imcombiners_astro.files.output import OUTPUT_KEYWORDS
from imcombiners_astro.flags import OutputFlags, SampleFlags
from imcombiners_astro.frames import fold
from imcombiners_astro.options import check_options
from imcombiners_astro.planes import Plan, reduce_column
from imcombiners_astro.rejectors import CcdClip, CrReject, LinearClip, SigClip
from imcombiners_astro.result import CombinedCCDData
from imcombiners_astro.variances import variance_rule

__all__ = ["Pixel", "lacking", "pixel_of"]

# A sample with one of these was out of use before it could be rejected.
_BEFORE = SampleFlags.INPUT_MASK | SampleFlags.NONFINITE | SampleFlags.THRESHOLD
_HELD_BACK = OutputFlags.NKEEP | OutputFlags.MAXREJ
# The kernel counts up to here.
_MOST_PASSES = 255


class Pixel(NamedTuple):
    """
    What happened at one pixel.

    Attributes
    ----------
    index : tuple of int
        The pixel.
    unit : `~astropy.units.UnitBase`
        Unit of the result, and of all values here.
    names : list of str
        The N images.
    values : float64 `~numpy.ndarray` (N,)
        Their samples as they enter the result: after zero and scale.
    errors : float64 `~numpy.ndarray` (N,)
        Their standard deviations, by the uncertainties of the images; NaN where there
        is none.
    flags : uint8 `~numpy.ndarray` (N,) or None
        Bits of `~imcombiners_astro.SampleFlags`; None if the result does not have them.
    used : bool `~numpy.ndarray` (N,)
        Whether a sample is used.
    value, error : float
        The result, and its standard deviation; NaN if it has none.
    low, upp, std : float
        Smallest and largest sample left by the rejection, and its spread.
    nit, output_flags, output_dq : int
        Passes of the rejection, what happened, and the data quality; 0 if not known.
    noise : (float, float) or None
        Gain and read noise that were used, if they are the same for all images.
    limits : dict of str to float64 `~numpy.ndarray` (2, N)
        Lower and upper limits for each sample, in the same sense as the values, by what
        they are limits of: "thresholds", "minmax_clip", "sigma_clip" or the name of a
        rejector. Those that are not known, or do not exist, are not there.
    is_scaled : bool
        Whether zero and scale have changed a sample.
    saw_scaled : bool
        Whether the rejection was by values like these.
    """

    index: tuple
    unit: u.UnitBase
    names: list
    values: np.ndarray
    errors: np.ndarray
    flags: np.ndarray | None
    used: np.ndarray
    value: float
    error: float
    low: float
    upp: float
    std: float
    nit: int
    output_flags: int
    output_dq: int
    noise: tuple | None
    limits: dict
    is_scaled: bool
    saw_scaled: bool


def pixel_of(source, index, images=None, keywords=None):
    """
    Collect what happened at one pixel.

    Parameters
    ----------
    source : CombinedCCDData, or images
        A result with diagnostics; or the images, which are then combined.
    index : tuple of int
        The pixel.
    images : as for `~imcombiners_astro.combine`, optional
        The images of the result; by default the files that its ``frames`` name.
    keywords : dict, optional
        Keywords of `~imcombiners_astro.combine`. Those of the result, if that is given.

    Returns
    -------
    Pixel

    Raises
    ------
    IndexError
        If there is no such pixel.
    ValueError
        If the result has no diagnostics or not those of these images.
    TypeError
        If the unit of an image does not fit the result.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro import SigClip
    >>> from imcombiners_astro.pixel import pixel_of
    >>> levels = (10.0, 11.0, 12.0, 13.0, 80.0)
    >>> images = [CCDData(np.full((2, 3), level), unit="adu") for level in levels]
    >>> keywords = {"rejectors": SigClip(sigma=5, stdfunc="mad")}
    >>> pixel = pixel_of(images, (1, 2), keywords=keywords)
    >>> pixel.used
    array([ True,  True,  True,  True, False])
    >>> pixel.limits["SigClip"][:, 0]
    array([ 4.08698913, 18.91301087])
    """
    keywords = dict(keywords or {})
    if not isinstance(source, CombinedCCDData):
        if images is not None:
            raise ValueError(
                "images= goes with a result; found images as the first argument, too."
            )
        images = expand_inputs(source)
        source = combine(images, **keywords | {"diagnostics": "full"})
    else:
        _check_result(source)
        images = _files_of(source) if images is None else expand_inputs(images)
        if len(images) != source.n_frames:
            raise ValueError(
                f"images: found {len(images)} images; the result is of "
                f"{source.n_frames}."
            )
    index = _checked_index(index, source.shape)
    options, reading = _options(keywords, len(images))
    raw, errors = _samples(images, index, source, reading)
    zero, scale = (np.asarray(source.frames[name], float) for name in ("zero", "scale"))
    flags, at = source.sample_flags, (slice(None), *index)
    pixel = Pixel(
        index=index,
        unit=source.unit or u.dimensionless_unscaled,
        names=[str(name) for name in source.frames["name"]],
        values=(raw - zero) / scale,
        errors=errors / np.abs(scale),
        flags=None if flags is None else flags[at],
        used=~source.mask_rej[at],
        value=float(source.data[index]),
        error=_error(source, index),
        **_numbers(source, index, float, np.nan, "low", "upp", "std"),
        **_numbers(source, index, int, 0, "nit", "output_flags", "output_dq"),
        noise=_one_noise(source.frames),
        limits={},
        is_scaled=bool(zero.any() or (scale != 1).any()),
        saw_scaled=options.extras.clip_scaled,
    )
    _check_samples(pixel)
    return pixel._replace(limits=_limits(pixel, raw, zero, scale, options))


def lacking(result):
    """
    Find out which diagnostics a result has not, of those that a pixel needs.

    Parameters
    ----------
    result : CombinedCCDData
        The result.

    Returns
    -------
    list of str
        Their names; empty if all are there.

    Examples
    --------
    >>> from imcombiners_astro import CombinedCCDData
    >>> from imcombiners_astro.pixel import lacking
    >>> lacking(CombinedCCDData([[1.0]], unit="adu"))
    ['mask_rej', 'frames', 'low', 'upp']
    """
    names = ("mask_rej", "frames", "low", "upp")
    return [name for name in names if getattr(result, name) is None]


def _check_result(result):
    if names := lacking(result):
        raise ValueError(
            f"the result has no {', '.join(names)}; it must be as combine(..., "
            'diagnostics="full") has made it. (Arithmetic drops low and upp.)'
        )


def _files_of(result):
    names = [str(name) for name in result.frames["name"]]
    lost = [name for name in names if not os.path.isfile(name)]
    if lost:
        raise ValueError(
            "the result does not hold its samples, and there is no file "
            f"{lost[0]!r}; give the images that were combined as images=."
        )
    return names


def _checked_index(index, shape):
    if len(index) != len(shape):
        raise IndexError(
            f"found {len(index)} indices of a pixel, {index}; the image has the shape "
            f"{shape}."
        )
    index = tuple(args.integer("index of the pixel", k, None) for k in index)
    if any(not -n <= k < n for k, n in zip(index, shape, strict=True)):
        raise IndexError(f"there is no pixel {index}; the image has the shape {shape}.")
    return tuple(k % n for k, n in zip(index, shape, strict=True))


def _numbers(result, index, kind, missing, *names):
    """Return numbers of one pixel of the maps that a result has, by name."""
    maps = {name: getattr(result, name) for name in names}
    return {
        name: missing if array is None else kind(array[index])
        for name, array in maps.items()
    }


def _error(result, index):
    """Return the standard deviation of one pixel of a result."""
    uncertainty = result.uncertainty
    if uncertainty is None or uncertainty.array is None:
        return np.nan
    kind, unit = uncertainty.uncertainty_type, uncertainty.unit
    rule = variance_rule("the result", kind, unit, result.unit)
    if rule.kind == "unknown":
        return np.nan
    array = np.array([uncertainty.array[index]])
    return float(np.sqrt(rule.variance(array)[0]))


def _one_noise(frames):
    """Return gain and read noise of a table, if all its frames have the same."""
    noise = [np.unique(frames[name]) for name in ("gain", "readnoise")]
    if any(numbers.size != 1 or np.isnan(numbers[0]) for numbers in noise):
        return None
    return tuple(float(numbers[0]) for numbers in noise)


def _options(keywords, n_frames):
    """Return the options of a combination, and the keywords for reading images."""
    bound = inspect.signature(combine).bind([], **keywords)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    ccdkwargs = arguments.pop("ccdkwargs", {})
    for name in ("img_list", *OUTPUT_KEYWORDS, "array_package"):
        del arguments[name]
    with warnings.catch_warnings():
        # The combination has given them.
        warnings.simplefilter("ignore")
        options = check_options(**arguments, n_frames=n_frames)
    reading = reading_of(ccdkwargs)
    return options, reading


def _samples(images, index, result, reading):
    """Return one pixel of every image in the unit of the result, and its error."""
    values, errors = np.full((2, len(images)), np.nan)
    offsets = None
    if "offset" in result.frames.colnames:
        offsets = np.asarray(result.frames["offset"])
    with opened_frames(images, want_uncertainty=True, **reading) as frames:
        for k, frame in enumerate(frames):
            frame.to_unit(result.unit or u.dimensionless_unscaled, "the result")
            own = index
            if offsets is not None:
                own = tuple((np.array(index) - offsets[k]).tolist())
                pairs = zip(own, frame.shape, strict=True)
                if not all(0 <= at < n for at, n in pairs):
                    continue  # the image does not cover the pixel
            elif tuple(frame.shape) != result.shape:
                if k == 0:
                    raise ValueError(
                        f"{frame.name} has the shape {tuple(frame.shape)}, the result "
                        f"{result.shape}; a part of a result needs the same part of "
                        "the images."
                    )
                frame.crop_to(result.shape)
            place = np.ravel_multi_index(own, frame.shape)
            row, column = np.unravel_index(place, fold(frame.shape))
            column = slice(column, column + 1)
            strip = frame.read(row, row + 1)
            strip = strip._replace(pixels=strip.pixels[:, column], room=None)
            values[k] = strip.values()[0, 0] * frame.unit_factor
            if frame.uncertainty_type in (None, "unknown"):
                continue
            strip = strip._replace(
                uncertainty=strip.uncertainty[:, column],
                mask=np.ones((1, 1), bool),  # nothing is wrong with an unused sample
            )
            with np.errstate(invalid="ignore"):
                errors[k] = np.sqrt(strip.variance()[0, 0]) * abs(frame.unit_factor)
    return values, errors


def _check_samples(pixel):
    """Refuse samples that cannot be those of the result."""
    used = pixel.values[pixel.used]
    low, upp = pixel.low, pixel.upp
    if not used.size or not np.isfinite([low, upp]).all():
        return
    # Maps may be of single precision, and with growth more than low and upp are left.
    slack = 1e-5 * np.abs([low, upp, *used]).max()
    if not (used.min() >= low - slack and used.max() <= upp + slack):
        raise ValueError(
            f"at pixel {pixel.index} the samples used are {used.min():.7g} to "
            f"{used.max():.7g}, but the result says {low:.7g} to {upp:.7g}; images= "
            "must be what was combined, in this order."
        )


def _limits(pixel, raw, zero, scale, options):
    """Return the limits of all that has limits."""
    extras = options.extras

    def entering(low, upp):
        return np.sort([(low - zero) / scale, (upp - zero) / scale], axis=0)

    limits = {}
    if extras.thresholds is not None:
        pair = (
            x.to_value(pixel.unit) if isinstance(x, u.Quantity) else x
            for x in extras.thresholds
        )
        limits["thresholds"] = entering(*pair)
    if options.limits is not None:
        limits["minmax_clip"] = entering(*options.limits)
    seen = pixel.values if extras.clip_scaled else raw
    name, pair = None, None
    if options.clip is not None:
        there = np.isfinite(seen)
        if extras.thresholds is not None:
            low, upp = limits["thresholds"]
            there &= (low <= pixel.values) & (pixel.values <= upp)
        pair = _of_sigma_clip(pixel, seen, there, options.clip)
        name = "sigma_clip"
    elif len(extras.rejectors) == 1 and pixel.flags is not None:
        rejector = extras.rejectors[0]
        name = type(rejector).__name__
        pair = _of_rejector(pixel, seen, rejector, scale, extras.snoise)
    if pair is not None and np.isfinite(pair).any():
        is_raw = not extras.clip_scaled
        limits[name] = entering(*pair) if is_raw else np.repeat([pair], len(raw), 0).T
    return limits


def _of_sigma_clip(pixel, seen, there, clip):
    """Return the limits of ccdproc's clipping, which looks at masked samples, too."""
    if clip.pair is None or min(clip.low, clip.high) < 0:
        return None
    center, spread = clip.pair
    if not np.isfinite(seen).all() and {center.nan, spread.nan} != {"ignore"}:
        return None
    return _around(seen, there, center.name, pixel.std, clip.low, clip.high)


def _of_rejector(pixel, seen, rejector, scale, snoise):
    """Return the limits of the last pass of a rejector; None if they are not known."""
    if isinstance(rejector, LinearClip):
        return pixel.low, pixel.upp
    if not isinstance(rejector, SigClip | CcdClip | CrReject):
        return None
    n_passes, happened = pixel.nit, pixel.output_flags
    closest = rejector.revert_on_nkeep == "closest" and happened & _HELD_BACK
    if closest or n_passes == _MOST_PASSES:
        return None
    if not isinstance(rejector, SigClip):
        rejector = _with_one_noise(rejector, pixel, scale, snoise)
        if rejector is None:
            return None
    before = (pixel.flags & _BEFORE) != 0
    judged = ~before & ((pixel.flags & SampleFlags.ALGORITHM) == 0)
    if happened & OutputFlags.MAXITERS:
        if n_passes < 2:
            return None  # no pass was made
        # What the last pass has rejected was judged by it.
        shorter = replace(rejector, maxiters=n_passes - 2, grow=None)
        judged = ~shorter.apply(seen[:, np.newaxis], before[:, np.newaxis])[0][:, 0]
    low, high = args.sigma_pair(rejector.sigma)
    if isinstance(rejector, CrReject):
        low = np.inf
    center = args.center(rejector.cenfunc)
    return _around(seen, judged, center, pixel.std, low, high)


def _with_one_noise(rejector, pixel, scale, snoise):
    """Give a rejector the noise it has used; None if that is not one for all frames."""
    _, step = rejector.step(len(scale), (np.zeros(len(scale)), scale))
    if "scales" in step:
        return None
    own = (rejector.gain, rejector.rdnoise, rejector.snoise)
    if not asks_for_noise(rejector):
        return rejector if all(np.unique(x).size == 1 for x in own) else None
    if pixel.noise is None or snoise is not None:
        return None
    gain, rdnoise = pixel.noise
    return replace(rejector, gain=gain, rdnoise=rdnoise)


def _around(seen, judged, center, spread, low, high):
    """Return limits in units of a spread around a center of some samples."""
    middle = reduce_column(seen, Plan(center), ~judged)
    return (
        middle - low * spread if np.isfinite(low) else -np.inf,
        middle + high * spread if np.isfinite(high) else np.inf,
    )
