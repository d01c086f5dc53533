# Licensed under a 3-clause BSD style license - see LICENSE
"""
How a combination would go: what it warns about, its strips, time and memory.

It is begun as it would be done, and stopped after some strips: what the library says
about files, options and headers is then what it would say, and the time of a strip is
that of this machine and these disks.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.files.combine import combine
from imcombiners_astro.files.fits import open_frame, opened_frames
from imcombiners_astro.files.options import reading_of
from imcombiners_astro.levels import LEVELS
from imcombiners_astro.offsets import find_offsets
from imcombiners_astro.places import footprint_of

__all__ = [
    "Estimate",
    "Frame",
    "estimate",
    "first_frame",
    "measured_levels",
    "result_nbytes",
    "shape_of_result",
]

# Seconds, and strips after the first one, to try.
_LONGEST, _MOST = 1.0, 8
# Frames of which statistics are tried.
_FRAMES = 2


class Frame(NamedTuple):
    """
    The first frame, which the others are like.

    Attributes
    ----------
    shape : tuple of int
        As NumPy orders it.
    dtype : str
        Type of the pixels.
    unit : str
        Their unit.
    nbytes : int
        Bytes that are read of it, with mask, flags and uncertainties as far as they
        are used.
    """

    shape: tuple[int, ...]
    dtype: str
    unit: str
    nbytes: int


class Estimate(NamedTuple):
    """
    What a combination will take.

    Attributes
    ----------
    n_strips : int
        Number of strips.
    n_tried : int
        Strips that were combined to know the rest.
    opening, statistics, combining : float
        Seconds for headers, for zero levels and scales, and for all strips.
    """

    n_strips: int
    n_tried: int
    opening: float
    statistics: float
    combining: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.opening + self.statistics + self.combining


class _Enough(Exception):
    """All that was to be known is known."""


class _Probe:
    """A progress bar that looks at the clock, and stops the work."""

    def __init__(self, n_strips: int, longest: float):
        self.n_strips, self.longest = n_strips, longest
        self.total, self.times = 0, []

    def __call__(self, strips):
        """Hand strips on until there is enough."""
        self.total = len(strips)
        self.times.append(time.perf_counter())
        for strip in strips:
            if self.n_strips == 0:
                raise _Enough
            yield strip
            self.times.append(time.perf_counter())
            done = len(self.times) - 1
            late = self.times[-1] - self.times[0] > self.longest
            if done > self.n_strips or (late and done > 1):
                raise _Enough


def first_frame(file: str, keywords: Mapping[str, Any]) -> Frame:
    """
    Look at the first frame.

    Raises
    ------
    OSError, ValueError, TypeError, LookupError
        As `imcombiners_astro.combine`.
    """
    reading = reading_of(keywords)
    weights = keywords.get("weights")
    by_variance = isinstance(weights, str) and weights == "ivar"
    frame = open_frame(
        file,
        want_uncertainty=keywords.get("uncertainty") == "propagate" or by_variance,
        want_flags=any(
            keywords.get(name) is not None
            for name in ("ignore_flags", "least_bad", "diagnostics")
        ),
        **reading,
    )
    try:
        n_rows = prod(frame.shape[:-1])
        return Frame(
            tuple(frame.shape),
            np.dtype(frame.dtype).newbyteorder("=").name,
            str(frame.unit) or "none",
            n_rows * frame.row_nbytes,
        )
    finally:
        frame.close()


def shape_of_result(
    files: Sequence[str], keywords: Mapping[str, Any]
) -> tuple[int, ...]:
    """
    Return the shape of the result of shifted frames.

    Parameters
    ----------
    files : sequence of str
        The frames.
    keywords : dict
        Keywords of `imcombiners_astro.combine`, with ``offsets``.

    Returns
    -------
    tuple of int
        As NumPy orders it.
    """
    with (
        opened_frames(files, **reading_of(keywords)) as frames,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the combination warns as well
        offsets, _ = find_offsets(frames, keywords["offsets"])
        footprint = keywords.get("footprint", "union")
        return footprint_of(frames, offsets, footprint).shape


def result_nbytes(
    shape: Sequence[int], n_frames: int, keywords: Mapping[str, Any]
) -> int:
    """Return the bytes of a result with its diagnostics in memory."""
    size = np.dtype(keywords.get("dtype") or "f8").itemsize
    pixel = 1 + size * (1 if keywords.get("uncertainty", "") is None else 2)
    level = keywords.get("diagnostics")
    for name, diagnostic in DIAGNOSTICS.items():
        if level is None or (name == "sample_flags" and level != "full"):
            continue
        if name == "output_dq" and keywords.get("ignore_flags") is None:
            continue
        own = size if diagnostic.is_value else np.dtype(diagnostic.dtype).itemsize
        pixel += own * (n_frames if diagnostic.is_cube else 1)
    return pixel * prod(shape)


def measured_levels(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """
    Choose the zero level and the scale that are measured on the frames.

    Parameters
    ----------
    keywords : dict
        Keywords of `imcombiners_astro.combine`.

    Returns
    -------
    dict
        Those of ``zero`` and ``scale`` that are a function or name a statistic; not
        numbers, header keywords and exposure times.

    Examples
    --------
    >>> from imcombiners_astro.cli.estimate import measured_levels
    >>> measured_levels({"zero": "median", "scale": [1.0, 2.0]})
    {'zero': 'median'}
    """
    found = {name: keywords.get(name) for name in ("zero", "scale")}
    return {
        name: value
        for name, value in found.items()
        if callable(value)
        or (isinstance(value, str) and value.strip().lower() in LEVELS)
    }


def estimate(
    files: Sequence[str],
    keywords: Mapping[str, Any],
    output: str | None = None,
) -> Estimate:
    """
    Begin a combination, and estimate the rest.

    Parameters
    ----------
    files : sequence of str
        The frames.
    keywords : dict
        Keywords of `imcombiners_astro.combine`.
    output : str, optional
        The output, where the library needs one; nothing is left of it.

    Returns
    -------
    Estimate
        The estimate.

    Raises
    ------
    OSError, ValueError, TypeError, LookupError
        What the combination would raise.
    """
    keywords = dict(keywords)
    measured = measured_levels(keywords)
    statistics = 0.0
    if measured:
        # The library checks words and sections with two frames, too.
        few = files[:_FRAMES]
        reading = reading_of(keywords)
        names = ("statsec", "statsample", "thresholds", "ignore_flags", "n_threads")
        reading |= {name: keywords[name] for name in names if name in keywords}
        # Twice: the first time there is more to import.
        for _ in range(2):
            plain = _begin(few, reading, _Probe(0, 0), without=names[:2])
        with_them = _begin(few, reading | measured, _Probe(0, 0))
        statistics = max(0.0, with_them - plain) * len(files) / len(few)
        for name in measured:
            keywords[name] = [float(name == "scale")] * len(files)
        for name in ("statsec", "statsample"):
            keywords.pop(name, None)
    if output is not None:
        keywords |= {"output_file": output, "overwrite_output": True}
    probe = _Probe(_MOST, _LONGEST)
    opening = _begin(files, keywords, probe)
    steps = np.diff(probe.times)
    # The first strip has threads to start and caches to warm.
    later = steps[1:] if len(steps) > 2 else steps
    combining = steps.sum() + (probe.total - len(steps)) * later.mean()
    return Estimate(probe.total, len(steps), opening, statistics, float(combining))


def _begin(files, keywords, probe, without=()):
    """Begin a combination; return the seconds until its first strip."""
    keywords = {k: v for k, v in keywords.items() if k not in without}
    start = time.perf_counter()
    try:
        combine(files, progress_bar=probe, **keywords)
    except _Enough:
        pass
    return probe.times[0] - start
