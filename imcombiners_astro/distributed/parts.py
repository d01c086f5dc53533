# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the tasks of a graph do: combine one chunk, or measure one frame.

Everything here can be pickled, and needs nothing of the process that made the graph but
this package, and the files.
"""

import contextlib
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import NDData

from imcombiners_astro.ccd import counts_of
from imcombiners_astro.files.fits import opened_frames
from imcombiners_astro.memory_frames import CCDFrame, image_of_array
from imcombiners_astro.products import MemoryStore
from imcombiners_astro.strip import fold
from imcombiners_astro.task import Inputs, Task
from imcombiners_astro.workers import Workers

__all__ = [
    "ArrayMeasure",
    "ArrayPart",
    "FilePart",
    "Found",
    "Given",
    "Place",
    "Window",
    "frame_of",
]


class Given(NamedTuple):
    """
    What belongs to an image beside its arrays.

    Attributes
    ----------
    name : str
        For messages.
    unit : `~astropy.units.UnitBase` or None
        Unit of its values.
    uncertainty : type or None
        Class of its uncertainty.
    uncertainty_unit : `~astropy.units.UnitBase` or None
        Unit of that.
    """

    name: str
    unit: u.UnitBase | None
    uncertainty: type | None = None
    uncertainty_unit: u.UnitBase | None = None


class Found(NamedTuple):
    """
    What a task has found out about a chunk.

    Attributes
    ----------
    arrays : dict of str to `~numpy.ndarray`
        As `~imcombiners_astro.ccd.assemble` takes them.
    counts : int64 `~numpy.ndarray` (3, N) or None
        Samples of each frame that are used, and rejected below and above.
    """

    arrays: dict
    counts: np.ndarray | None


def frame_of(given, arrays, *, want_uncertainty=False, want_flags=False):
    """
    Make a frame of arrays.

    Parameters
    ----------
    given : Given
        What it is.
    arrays : tuple of `~numpy.ndarray` or None
        Pixels (which may be a masked array), more of a mask, uncertainty and flags.
    want_uncertainty, want_flags : bool, optional
        Whether these are of use.

    Returns
    -------
    CCDFrame
        The frame.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.distributed.parts import Given, frame_of
    >>> arrays = np.ma.masked_equal([[1, 2]], 2), np.array([[True, False]]), None, None
    >>> frame_of(Given("a block", "adu"), arrays).read(0, 1).mask
    array([[ True,  True]])
    """
    pixels, mask, uncertainty, flags = arrays
    image = image_of_array(pixels, given.name, given.unit)
    if mask is None:
        mask = image.mask
    elif image.mask is not None:
        mask = image.mask | (mask != 0)
    if uncertainty is not None:
        uncertainty = given.uncertainty(uncertainty, unit=given.uncertainty_unit)
    image = NDData(image.data, mask=mask, unit=image.unit, uncertainty=uncertainty)
    image.flags = flags
    return CCDFrame(
        image, given.name, want_uncertainty=want_uncertainty, want_flags=want_flags
    )


@dataclass(frozen=True)
class Place:
    """
    Where a chunk is in the image.

    Attributes
    ----------
    start, stop : int
        Its folded rows with those of its neighbours.
    shape : tuple of int
        Its shape with them.
    before, after : int
        How many of it, along the first axis, are those of its neighbours.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    before: int = 0
    after: int = 0


class Window:
    """
    Some folded rows of a frame as a frame.

    Parameters
    ----------
    frame : Frame
        The whole.
    place : Place
        The rows.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.distributed.parts import Place, Window
    >>> from imcombiners_astro.frames import CCDFrame
    >>> frame = CCDFrame(CCDData(np.arange(8).reshape(4, 2), unit="adu"), "a")
    >>> Window(frame, Place(1, 3, (2, 2))).read(1, 2).pixels
    array([[4, 5]])
    """

    def __init__(self, frame, place):
        self.frame, self.first, self.shape = frame, place.start, place.shape

    def __getattr__(self, name):
        if name == "frame":  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.frame, name)

    def read(self, start, stop, buffer=None):
        """Read folded rows, counted from the first one here."""
        return self.frame.read(self.first + start, self.first + stop, buffer)


@dataclass(frozen=True, eq=False)
class _Part:
    """
    The combination of chunks.

    Parameters
    ----------
    inputs : Inputs
        How frames enter; without the frames.
    options : Options
        What to do.
    image : `~astropy.nddata.CCDData`
        Unit of the result, and class of its uncertainty.
    """

    inputs: Inputs
    options: Any
    image: Any

    def _combined(self, frames, place, weights):
        """Combine frames of a chunk and its neighbours; return what is without them."""
        options, transform = self.options, self.inputs.transform
        if weights is not None:
            transform = transform._replace(weights=weights)
        inputs = self.inputs._replace(frames=frames, transform=transform)
        with Workers(options.n_threads) as workers:
            task = Task(inputs, options, workers, self.image)
            store = MemoryStore(task.products, place.shape, len(frames))
            if place.before or place.after:
                n_rows, height = fold(place.shape)[0], place.shape[0]
                # folded rows next to each other on the first axis
                row = prod(place.shape[1:-1])
                start, stop = place.before * row, (height - place.after) * row
                planes = [frame.read(0, n_rows) for frame in frames]
                task.combine(task.maker.make(start, stop, planes, 0), store)
            else:
                task.run(store)
        counts = None if task.record is None else counts_of(task)
        rows = slice(place.before, place.shape[0] - place.after)
        inner = (..., rows, *[slice(None)] * (len(place.shape) - 1))
        arrays = store.finish()
        return Found({name: array[inner] for name, array in arrays.items()}, counts)


@dataclass(frozen=True, eq=False)
class ArrayPart(_Part):
    """
    The combination of blocks of arrays.

    Parameters
    ----------
    inputs, options, image
        As for every part.
    given : list of Given
        The N images.
    factors : list of float
        What their values are multiplied by, to be in the unit of the first.

    wanted : dict
        Which of the keywords of `frame_of` are True.
    """

    given: list
    factors: list
    wanted: dict

    def frames(self, *arrays):
        """Return the frames of N blocks of pixels, masks, uncertainties and flags."""
        blocks = [[None] * len(self.given) if a is None else a for a in arrays]
        frames = []
        for given, factor, *one in zip(self.given, self.factors, *blocks, strict=True):
            frame = frame_of(given, one, **self.wanted)
            frame.unit_factor = factor
            frames.append(frame)
        return frames

    def __call__(self, place, weights, *arrays):
        """
        Combine one chunk.

        Parameters
        ----------
        place : Place
            Where it is.
        weights : `~numpy.ndarray` (N, *shape of the chunk) or None
            Weights of single samples.
        *arrays : sequence of N arrays, or None
            Pixels, masks, uncertainties and flags.

        Returns
        -------
        Found
            What it holds, without neighbours.
        """
        return self._combined(self.frames(*arrays), place, weights)


@dataclass(frozen=True, eq=False)
class FilePart(_Part):
    """
    The combination of rows of files, or the measurement of one of them.

    Parameters
    ----------
    inputs, options, image
        As for every part.
    paths : list of str
        The N files.
    reading : dict
        Arguments of `~imcombiners_astro.files.fits.open_frames`.
    unit : `~astropy.units.UnitBase`
        Unit of the first image.
    shape : tuple of int
        Its shape.
    """

    paths: list
    reading: dict
    unit: Any
    shape: tuple

    @contextlib.contextmanager
    def frames(self, paths):
        """Open files."""
        with opened_frames(paths, **self.reading) as frames:
            for frame in frames:
                frame.to_unit(self.unit)
                if tuple(frame.shape) != self.shape:
                    frame.crop_to(self.shape)
            yield frames

    def __call__(self, place, weights):
        """
        Combine one chunk.

        Parameters
        ----------
        place : Place
            Where it is.
        weights : `~numpy.ndarray` (N, *shape of the chunk) or None
            Weights of single samples.

        Returns
        -------
        Found
            What it holds, without neighbours.
        """
        with self.frames(self.paths) as frames:
            windows = [Window(frame, place) for frame in frames]
            return self._combined(windows, place, weights)

    def measured(self, measurement, path):
        """Return what a measurement says of one file."""
        with self.frames([path]) as frames:
            return measurement(frames)


@dataclass(frozen=True, eq=False)
class ArrayMeasure:
    """
    The measurement of frames of arrays.

    Parameters
    ----------
    measurement : callable
        Takes a list of frames.
    given : list of Given
        The N images.
    factors : list of float
        What their values are multiplied by, to be in the unit of the first.
    want_flags : bool
        Whether their flags are of use.
    """

    measurement: Any
    given: list
    factors: list
    want_flags: bool

    def __call__(self, k, pixels, mask, flags):
        """
        Measure one frame.

        Parameters
        ----------
        k : int
            Which one.
        pixels, mask, flags : `~numpy.ndarray` or None
            Its arrays.

        Returns
        -------
        dict
            What the measurement says.
        """
        arrays = [pixels, mask, None, flags]
        frame = frame_of(self.given[k], arrays, want_flags=self.want_flags)
        frame.unit_factor = self.factors[k]
        return self.measurement([frame])
