# Licensed under a 3-clause BSD style license - see LICENSE
"""
Zero levels, scales and weights of frames, by name.

A sample enters a combination as ``(value - zero) * factor / scale``. What is *measured*
on the frames or read from their headers makes the frames like the first one: its zero
is 0 and its scale is 1. What is given as *numbers* is used as it is.
"""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from astropy.units import Quantity, UnitConversionError

from imcombiners_astro import arguments as args
from imcombiners_astro.errors import UnusedOptionWarning, warn
from imcombiners_astro.extras import NAMES
from imcombiners_astro.headers import exposures, header_number, keyword_of
from imcombiners_astro.levels import LEVELS, clipped_levels
from imcombiners_astro.options import checked_scale, checked_weights
from imcombiners_astro.planes import default_threads
from imcombiners_astro.sections import (
    parse_section,
    read_section,
    section_chunks,
    section_shape,
    section_text,
    thin_section,
)

__all__ = ["Normalization", "frame_numbers_by_name"]

# Bytes of memory for each pixel of a section that a function of the caller looks at:
# its value, its badness, and what the function makes of them.
_PIXEL_NBYTES = 32
# Bytes that looking through the values of one frame takes, for the chunk at hand and
# for counts.
_PASS_NBYTES = 20 * 2**20


class Normalization(NamedTuple):
    """
    How every frame enters, ``(value - zero) * factor / scale``, and how much it counts.

    Attributes
    ----------
    zero, factor, scale : float64 `~numpy.ndarray` (N,) or None
        To subtract (in the unit of the frames), to multiply by and to divide by; None
        where nothing was asked for.
    weights : `~numpy.ndarray` (N,) or (N, *shape), "ivar" or None
        Weights.
    description : list of str
        What the numbers are, one line for each kind.

    Notes
    -----
    Where the frames have different but convertible units, all numbers are for values
    that are converted already.
    """

    zero: np.ndarray | None = None
    factor: np.ndarray | None = None
    scale: np.ndarray | None = None
    weights: Any = None
    description: tuple[str, ...] | list[str] = ()

    @property
    def divisor(self):
        """
        What samples are divided by, scales and factors together.

        Returns
        -------
        float64 `~numpy.ndarray` (N,) or None
            ``scale / factor``.
        """
        if self.factor is None:
            return self.scale
        return (1.0 if self.scale is None else self.scale) / self.factor


_RESERVED = {word for words in NAMES.values() for word in words}


class _Request(NamedTuple):
    """What an argument asks for: its kind, and the word, keyword, function, numbers."""

    kind: str
    what: Any


def _request(name, value, frames):
    """Understand an argument."""
    if isinstance(value, str):
        word, words = value.strip().lower(), NAMES[name]
        if word in words:
            return _Request("level" if word in LEVELS else word, word)
        keyword = keyword_of(value)
        if not keyword or (word in _RESERVED and not value.strip().startswith("!")):
            raise ValueError(
                f"{name}: found {value!r}, expected one of {', '.join(words)}, or a "
                f"header keyword such as '!{word.upper() or 'KEYWORD'}'."
            )
        return _Request("keyword", keyword)
    if callable(value):
        if name == "weights":
            raise TypeError(
                f"weights: found the function {value!r}, expected a name or numbers."
            )
        return _Request("call", value)
    if name == "weights":
        shape = tuple(frames[0].shape)
        if any(tuple(frame.shape) != shape for frame in frames):
            shape = None  # one number for each frame, then
        return _Request("numbers", checked_weights(value, len(frames), shape))
    if name == "scale":
        if np.shape(value) != (len(frames),):
            found = f"{len(value)} values" if np.ndim(value) else repr(value)
            raise ValueError(
                f"scale: found {found} for {len(frames)} images, expected one number "
                "for each image, a name or a function."
            )
        return _Request("numbers", checked_scale(value, frames))
    if isinstance(value, Quantity):
        try:
            value = value.to_value(frames[0].unit or "")
        except UnitConversionError as err:
            raise TypeError(f"zero: found {value!r}; {frames[0].name}: {err}") from err
    if np.ndim(value) == 0:
        value = [value] * len(frames)
    return _Request("numbers", args.vector(name, value, len(frames)))


def frame_numbers_by_name(
    frames,
    zero=None,
    scale=None,
    weights=None,
    statsec=None,
    *,
    statsample=None,
    sigma=3.0,
    maxiters=5,
    thresholds=None,
    ignored=None,
    mem_limit=16e9,
    n_threads=None,
    measure=None,
):
    """
    Find the zero levels, scales and weights of frames.

    Parameters
    ----------
    frames : sequence of Frame
        The images, N of them, of one unit.
    zero : str, callable, number or sequence of N numbers, optional
        - "mean", "median" or "mode": that statistic of the frame.
        - a header keyword, such as "SKYLEVEL" or "!SKYLEVEL" (the mark tells a keyword
          from the names above): its value.
        - a function of a masked array, the section of the frame, that returns a number.
        - numbers, which may have a unit.

        The levels of the first three are brought to that of the first frame; numbers
        are subtracted as they are.
    scale : str, callable or sequence of N numbers, optional
        - "mean", "median", "mode" or a header keyword, as above; "exposure": the
          exposure time. Frames are divided by the ratio to the first frame.
        - numbers: frames are multiplied by them.
        - a function: frames are multiplied by its value. Without ``statsec`` it gets
          the whole image as a plain array, as in ccdproc, with ``statsec`` the masked
          section.
    weights : str or array-like (N,) or (N, *shape), optional
        "exposure", a header keyword, or numbers; "ivar" is passed on.
    statsec : str, or tuple of slice, optional
        The section of which statistics are taken, in the pixels of each frame, see
        `~imcombiners_astro.sections.parse_section`.
    statsample : int, optional
        Pixels of each frame, at most, of which statistics are taken: rows of the
        section at equal distances, see `~imcombiners_astro.sections.thin_section`. By
        default it is all of them.
    sigma, maxiters : float or (float, float), int, optional
        Statistics are of values clipped at so many standard deviations about the
        median, with at most so many passes.
    thresholds : (float, float), optional
        Values outside do not enter statistics, nor do masked and not finite ones.
    ignored : int, optional
        Flags that do not make a pixel bad, see `imcombiners_astro.dq.bad_samples`.
    mem_limit : float, optional
        Bytes of memory, besides some MiB. One frame is read at a time, and of it the
        rows of the section; it is read again for every pass where the section is too
        large to be kept. The result does not depend on it, but for a function of a
        section that is too large for it (32 bytes for each pixel): that gets every j-th
        pixel along each axis, with a warning.
    n_threads : int, optional
        Most frames whose statistics are taken at the same time. The result does not
        depend on it.
    measure : callable, optional
        To have the statistics taken elsewhere. It is called, if there are any to take,
        with a function that can be pickled. That takes a list of frames (in the unit of
        the first of all) and returns a dict of sequences, a number for each of them;
        ``measure`` returns the same of all frames.

    Returns
    -------
    Normalization
        The numbers and what they are.

    Raises
    ------
    ValueError
        If a name is unknown, a keyword is missing, a level to divide by is not
        positive, a section has no good pixel or reaches outside of the images, or
        there are not N numbers. The message has the argument and the frame.
    TypeError
        If a function or a list gives no numbers.

    Warns
    -----
    CombineWarning
        Where a section is thinned for want of memory, or ``statsec`` or ``statsample``
        has no effect.

    Notes
    -----
    With levels l and scales s (1 without scaling) the zero of frame k is
    ``l[k] - s[k] * l[0]``: whatever the scales are, ``(value - zero) / scale`` takes
    the level of every frame to ``l[0]``. IRAF's imcombine does the same with its
    statistics; its numbers and keywords it adds (zero) or multiplies by (scale).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.frames import CCDFrame
    >>> from imcombiners_astro.normalization import frame_numbers_by_name
    >>> sky = np.arange(20.0).reshape(4, 5)
    >>> frames = [
    ...     CCDFrame(CCDData(level + sky, unit="adu"), f"img_list[{k}]")
    ...     for k, level in enumerate([100, 120, 90])
    ... ]
    >>> found = frame_numbers_by_name(frames, zero="median", statsec="[1:3,*]")
    >>> found.zero
    array([  0.,  20., -10.])
    >>> found.description
    ['zero: median of [1:3,1:4] (3-sigma clipped), less that of the first frame']
    """
    given = {"zero": zero, "scale": scale, "weights": weights}
    requests = {
        name: _request(name, value, frames)
        for name, value in given.items()
        if value is not None
    }
    slices, note = parse_section(statsec, frames[0].shape), ""
    first, sections = tuple(frames[0].shape), [slices]
    if any(tuple(frame.shape) != first for frame in frames):
        sections = [_section_of(frame, statsec) for frame in frames]
    # As in ccdproc; only a section makes it different.
    whole = statsec is None and callable(scale)
    measured = {
        name: request
        for name, request in requests.items()
        if request.kind == "level"
        or (request.kind == "call" and not (whole and name == "scale"))
    }
    for name, value in (("statsec", statsec), ("statsample", statsample)):
        if value is not None and not measured:
            warn(
                f"{name}={value!r} has no effect: neither zero nor scale is a "
                "statistic of the frames.",
                UnusedOptionWarning,
            )
    clip = {
        "sigma": args.sigma_pair(sigma),
        "maxiters": args.integer("maxiters", maxiters),
    }
    # The headers, before the first pixel is read.
    numbers = {
        name: request.what
        if request.kind in ("numbers", "ivar")
        else _from_headers(name, request, frames)
        for name, request in requests.items()
        if request.kind not in ("level", "call")
    }
    if measured:
        if statsample is not None:
            section, slices = slices, thin_section(slices, statsample)
            sections = [thin_section(section, statsample) for section in sections]
            if slices != section:
                n_pixels = math.prod(section_shape(slices))
                note = f", {n_pixels} pixels of {section_text(section)}"
        if any(request.kind == "call" for request in measured.values()):
            largest = max(sections, key=lambda s: math.prod(section_shape(s)))
            step, thinned = _thinned(largest, mem_limit)
            slices = _every(slices, step)
            sections = [_every(section, step) for section in sections]
            note += thinned
    if measured or whole:
        measurement = partial(
            _measured,
            requests=measured,
            whole=scale if whole else None,
            reading=(sections, ignored, thresholds),
            clip=clip,
            mem_limit=mem_limit,
            n_threads=n_threads,
        )
        numbers |= measurement(frames) if measure is None else measure(measurement)
    if "scale" in requests and requests["scale"].kind == "call":
        numbers["scale"] = checked_scale(numbers["scale"], frames)
    elif "scale" in requests and requests["scale"].kind != "numbers":
        _check_positive(requests["scale"].what, numbers["scale"], frames)
    texts = [
        f"{name}: {_described(name, request, slices, clip, note)}"
        for name, request in requests.items()
    ]
    return _put_together(requests, numbers, texts)


def _from_headers(name, request, frames):
    """Return a number from every header; weights are checked."""
    if request.kind == "exposure":
        return exposures(frames, f"{name}='exposure'")
    hint = f"other values of {name} are {', '.join(NAMES[name])}"
    values = []
    for frame in frames:
        unit = frame.unit if name == "zero" else None
        value, _ = header_number(
            frame, [request.what], name, "such keyword", unit=unit, hint=hint
        )
        values.append(value * frame.unit_factor if name == "zero" else value)
        if name == "weights" and value < 0:
            raise ValueError(
                f"weights: {request.what} of {frame.name} is {value:g}, expected a "
                "number >= 0."
            )
    if name == "weights" and not any(values):
        raise ValueError(f"weights: {request.what} is 0 in all frames.")
    return np.array(values)


def _check_positive(what, values, frames):
    for frame, value in zip(frames, values, strict=True):
        if not value > 0:
            raise ValueError(
                f"scale: the {what} of {frame.name} is {value:g}; expected a positive "
                "number, to divide by."
            )


def _section_of(frame, statsec):
    """Return the section of a frame, which is named if it has none."""
    try:
        return parse_section(statsec, frame.shape)
    except ValueError as error:
        raise ValueError(f"{frame.name}: {error}") from error


def _every(slices, step):
    """Return every so many pixels of a section, along each axis."""
    return tuple(slice(s.start, s.stop, s.step * step) for s in slices)


def _thinned(slices, mem_limit):
    """Return a step that leaves as many pixels as the memory allows, and say so."""
    most = max(1, mem_limit // _PIXEL_NBYTES)
    step, thinned = 1, slices
    while (pixels := math.prod(section_shape(thinned))) > most and pixels > 1:
        step += 1
        thinned = _every(slices, step)
    if step == 1:
        return 1, ""
    warn(
        f"mem_limit={mem_limit:g} is too little for statistics of the section "
        f"{section_text(slices)}: every {step}th pixel along each axis is used."
    )
    return step, f", every {step}th pixel of each axis"


def _measured(frames, *, requests, whole, reading, clip, mem_limit, n_threads):
    """
    Measure every frame once, whatever was asked for.

    Returns
    -------
    dict of str to sequence
        Levels for each of the requests, in the unit of the first frame: float64, of
        shape (N,). What ``whole``, a function of whole images, says is in a list.
    """
    levels = {}
    if requests:
        levels = _levels(frames, requests, reading, clip, mem_limit, n_threads)
    if whole is not None:
        levels["scale"] = [whole(_converted(frame)) for frame in frames]
    return levels


def _levels(frames, requests, reading, clip, mem_limit, n_threads):
    """Return what is asked for of a section of every frame; one may serve for all."""
    sections, *rest = reading
    n_pixels = max(math.prod(section_shape(section)) for section in sections)
    if len(sections) == 1:
        sections = sections * len(frames)
    itemsize = max(_bytes_of_value(frame) for frame in frames)
    room = int(mem_limit // (itemsize * n_pixels + _PASS_NBYTES))
    n_workers = min(len(frames), default_threads() if n_threads is None else n_threads)
    words = {name: r.what for name, r in requests.items() if r.kind == "level"}
    levels = {name: np.empty(len(frames)) for name in requests}
    running = deque()

    def finish(k, found):
        if words and not found:
            name, word = next(iter(words.items()))
            raise ValueError(
                f"{name}={word!r}: {frames[k].name} has no finite, unmasked pixel "
                f"in the section {section_text(sections[k])}."
            )
        for name, level in found.items():
            levels[name][k] = level

    with ThreadPoolExecutor(n_workers, "imcombiners-levels") as pool:
        for k, frame in enumerate(frames):
            reading = (sections[k], *rest)
            # Functions of the caller stay in the thread of the caller.
            for name in requests.keys() - words.keys():
                values, bad = read_section(frame, *reading)
                data = np.ma.MaskedArray(values, mask=bad)
                levels[name][k] = args.real(
                    name,
                    requests[name].what(data),
                    f"a finite number from the function for {frame.name}",
                )
                del data, values, bad
            if not words:
                continue
            if not room:  # it is read for every pass
                chunks = partial(_good_values, frame, reading)
                finish(k, clipped_levels(chunks, words, **clip, sort=False))
                continue
            if len(running) == min(n_workers, room):
                number, task = running.popleft()
                finish(number, task.result())
            chunks = _Once(list(_good_values(frame, reading)))
            running.append((k, pool.submit(clipped_levels, chunks, words, **clip)))
            del chunks
        for number, task in running:
            finish(number, task.result())
    return levels


def _bytes_of_value(frame):
    """Bytes that a value takes; those that are not counted are sorted."""
    itemsize = 8 if frame.unit_factor != 1 else frame.dtype.itemsize
    return itemsize if frame.dtype.kind in "iu" and itemsize <= 2 else 16


class _Once(list):
    """Chunks that are kept: what a call gives."""

    def __call__(self):
        return self


def _good_values(frame, reading):
    """Yield the good values of a section, chunk by chunk."""
    for values, bad in section_chunks(frame, *reading):
        yield values[~bad]


def _converted(frame):
    """Return a whole image in the unit of the first frame."""
    data = frame.data()
    return data if frame.unit_factor == 1 else data * frame.unit_factor


def _described(name, request, slices, clip, note):
    """Say where numbers come from."""
    relative = "less that of the first frame" if name == "zero" else "over the first's"
    if request.kind == "level":
        low, high = clip["sigma"]
        sigma = f"{low:g}" if low == high else f"{low:g}/{high:g}"
        return (
            f"{request.what} of {section_text(slices)}{note} ({sigma}-sigma clipped), "
            f"{relative}"
        )
    if request.kind == "call":
        function = getattr(request.what, "__name__", type(request.what).__name__)
        if name == "scale":
            return f"factors from the function {function}"
        return f"function {function} of {section_text(slices)}, {relative}"
    if request.kind == "numbers":
        return "factors as given" if name == "scale" else "as given"
    if request.kind == "ivar":
        return "inverse variance of every sample"
    what = "exposure time" if request.kind == "exposure" else f"keyword {request.what}"
    return what if name == "weights" else f"{what}, {relative}"


def _put_together(requests, numbers, texts):
    """Make what is measured relative to the first frame."""
    zero, scale, factor = numbers.get("zero"), numbers.get("scale"), None
    if scale is not None:
        if requests["scale"].kind in ("numbers", "call"):
            scale, factor = None, scale
        else:
            scale = scale / scale[0]
    result = Normalization(zero, factor, scale, numbers.get("weights"), texts)
    if zero is not None and requests["zero"].kind != "numbers":
        divisor = np.ones(len(zero)) if result.divisor is None else result.divisor
        result = result._replace(zero=zero - zero[0] * (divisor / divisor[0]))
    return result
