# Licensed under a 3-clause BSD style license - see LICENSE
"""
The images of a lazy combination: dask arrays, or files.

Both kinds of sources give frames, by which everything is checked before there is a
graph, and then the tasks: of chunks, and of the frames whose statistics are wanted.
"""

import contextlib
import os
from collections.abc import Iterator

import dask.array as da
import numpy as np
from astropy.nddata import CCDData, NDData

from imcombiners_astro.distributed.chunks import Cutter, frame_key
from imcombiners_astro.distributed.parts import (
    ArrayMeasure,
    ArrayPart,
    FilePart,
    Given,
    frame_of,
)
from imcombiners_astro.files.fits import opened_frames
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.paths import is_url
from imcombiners_astro.strip import fold
from imcombiners_astro.variances import are_readable

__all__ = ["ArraySource", "FileSource", "source_of"]


def source_of(img_list, mask, unit):
    """
    Find out what images are given.

    Parameters
    ----------
    img_list : object
        See `~imcombiners_astro.distributed.combine`.
    mask : `~dask.array.Array`, sequence or None
        More of a mask, of arrays.
    unit : str or `~astropy.units.UnitBase` or None
        Unit of arrays that have none.

    Returns
    -------
    ArraySource or FileSource

    Raises
    ------
    TypeError, ValueError
        If they cannot be combined by dask.
    """
    if isinstance(img_list, Iterator):
        img_list = list(img_list)
    if isinstance(img_list, da.Array) and len(img_list):
        if img_list.ndim < 3:
            raise ValueError(
                "img_list: one dask array must have the shape (N, *spatial), found "
                f"{img_list.shape}; give a list of arrays for images of one dimension."
            )
        return ArraySource(img_list, mask, unit)
    several = isinstance(img_list, list | tuple)
    if several and any(isinstance(item, da.Array | NDData) for item in img_list):
        return ArraySource(list(img_list), mask, unit)
    if isinstance(img_list, da.Array):
        img_list = []  # there is none in it
    if mask is not None:
        raise TypeError(
            "mask= is for dask arrays; the masks of files are their extensions MASK "
            "(hdu_mask=)."
        )
    return FileSource(expand_inputs(img_list, unit=unit))


def _in_memory(k, found):
    return TypeError(
        f"img_list[{k}] must be a dask array, an NDData that holds one, or a path like "
        f"all others, found {found}. Images in memory are combined at once by "
        "imcombiners_astro.combine; dask.array.from_array makes a dask array."
    )


def _stand_in(stack, k):
    """Return zeros for the k-th image of a stack, which take no memory."""
    if stack is None:
        return None
    one = stack[k] if isinstance(stack, list) else stack
    if one is None:
        return None
    shape = one.shape if isinstance(stack, list) else one.shape[1:]
    if any(np.isnan(n) for n in shape):
        raise ValueError(
            f"img_list[{k}] has chunks of unknown size; call its method "
            "compute_chunk_sizes()."
        )
    return np.broadcast_to(np.zeros((), one.dtype), shape)


class ArraySource:
    """
    Images that are dask arrays.

    Parameters
    ----------
    images : `~dask.array.Array` (N, *shape) or list
        The stack, or a list of dask arrays and of NDData that hold one.
    mask : `~dask.array.Array` (N, *shape) or (*shape), sequence of N, or None
        True where a sample is bad.
    unit : str or `~astropy.units.UnitBase` or None
        Unit of arrays that have none.

    Attributes
    ----------
    given : list of Given
        What belongs to each.
    stacks : list
        Pixels, masks, uncertainties and flags: each a dask array of shape (N, *shape),
        a list of N arrays and None, or None.
    """

    whole_rows = False

    def __init__(self, images, mask, unit):
        self.n_frames, self._first = len(images), images[0]
        names = [f"img_list[{k}]" for k in range(self.n_frames)]
        if isinstance(images, da.Array):
            self.given = [Given(name, unit) for name in names]
            self.stacks = [images, None, None, None]
            self._headers = [None] * self.n_frames
        else:
            self._take_images(images, names, unit)
        if mask is not None:
            self._take_mask(mask)

    def _take_images(self, images, names, unit):
        self.given, self._headers, columns = [], [], []
        for k, (image, name) in enumerate(zip(images, names, strict=True)):
            if isinstance(image, da.Array):
                self.given.append(Given(name, unit))
                self._headers.append(None)
                columns.append((image, None, None, None))
                continue
            if not (isinstance(image, NDData) and isinstance(image.data, da.Array)):
                found = type(image).__name__
                if isinstance(image, NDData):
                    found += f" of {type(image.data).__name__}"
                raise _in_memory(k, found)
            uncertainty, array = image.uncertainty, None
            if uncertainty is not None and uncertainty.array is not None:
                array = uncertainty.array
            kind = () if array is None else (type(uncertainty), uncertainty.unit)
            own = image.unit if image.unit is not None else unit
            if own is None:
                raise ValueError(
                    f"a unit for CCDData must be specified: {name} has none, and no "
                    "unit= was given."
                )
            self.given.append(Given(name, own, *kind))
            self._headers.append(image.meta)
            parts = image.mask, array, getattr(image, "flags", None)
            columns.append(
                (image.data, *(_as_dask(part, image.data.shape) for part in parts))
            )
        lists = (list(column) for column in zip(*columns, strict=True))
        self.stacks = [
            None if all(one is None for one in arrays) else arrays for arrays in lists
        ]

    def _take_mask(self, mask):
        """Combine masks with what the images have of one."""
        shape, n = self._shape, self.n_frames
        if isinstance(mask, list | tuple):
            masks = [_as_dask(one, shape) for one in mask]
        else:
            mask = da.asarray(mask)
            masks = [mask] * n if mask.shape == shape else mask
        found = f"{len(masks)} masks"
        for one in masks:
            if one is not None and (one.dtype != bool or one.shape != shape):
                found = f"{one.dtype} of shape {one.shape}"
                break
        else:
            if len(masks) == n:
                found = ""
        if found:
            raise ValueError(
                f"mask: found {found}, expected bool of shape {shape} or {(n, *shape)},"
                f" or {n} of the former."
            )
        own = self.stacks[1]
        if own is not None:
            masks = [
                a if b is None else b if a is None else a | (b != 0)
                for a, b in zip(masks, own, strict=True)
            ]
        self.stacks[1] = masks

    @property
    def _shape(self):
        images = self.stacks[0]
        return tuple(images[0].shape if isinstance(images, list) else images.shape[1:])

    @property
    def previous_chunks(self):
        """How the first image is cut now."""
        images = self.stacks[0]
        return images[0].chunks if isinstance(images, list) else images.chunks[1:]

    @contextlib.contextmanager
    def opened(self, wanted, ccdkwargs):
        """Give frames that have everything but the values of the pixels."""
        self.wanted = wanted
        self.frames = []
        for k, given in enumerate(self.given):
            arrays = [_stand_in(stack, k) for stack in self.stacks]
            frame = frame_of(given, arrays, **wanted)
            if self._headers[k] is not None:
                frame.ccd.meta = self._headers[k]
            self.frames.append(frame)
        yield self.frames

    def template(self):
        """Return the first image; it is not to be changed."""
        first, unit = self._first, self.given[0].unit
        if isinstance(first, CCDData):
            return first
        empty = np.empty((0,) * len(self._shape))
        if not isinstance(first, NDData):
            return CCDData(empty, unit=self.frames[0].unit)
        kind = self.given[0].uncertainty
        return CCDData(
            empty,
            unit=unit,
            meta=first.meta,
            wcs=first.wcs,
            psf=first.psf,
            uncertainty=None if kind is None else kind(empty),
        )

    @property
    def factors(self):
        """What brings every image to the unit of the first."""
        return [frame.unit_factor for frame in self.frames]

    def measurements(self, measurement, name):
        """
        Make a task for every frame, which takes its statistics.

        Parameters
        ----------
        measurement : callable
            Takes a list of frames.
        name : str
            Name of the tasks.

        Returns
        -------
        tasks : dict
            By their keys, in the order of the frames.
        arrays : list of `~dask.array.Array`
            What they depend on.
        """
        measured = ArrayMeasure(
            measurement, self.given, self.factors, self.wanted["want_flags"]
        )
        # Every image in one chunk.
        cutter = Cutter(tuple((n,) for n in self.frames[0].shape), 0, frames=1)
        pixels, masks, _, flags = self.stacks
        stacks = [cutter.cut(stack) for stack in (pixels, masks, flags)]
        keys = [[frame_key(stack, k) for stack in stacks] for k in range(self.n_frames)]
        tasks = {(name, k): (measured, k, *one) for k, one in enumerate(keys)}
        return tasks, list(cutter.arrays.values())

    def sample_nbytes(self):
        """Bytes of all samples of a pixel, with what belongs to them."""
        dtypes = [_dtypes(stack, self.n_frames) for stack in self.stacks]
        nbytes = sum(dtype.itemsize for each in dtypes for dtype in each)
        if self.wanted["want_uncertainty"]:
            # Errors that the kernel does not read are converted.
            errors = [np.empty(1, dtype) for dtype in dtypes[2]]
            nbytes += 8 * sum(not are_readable(one) for one in errors)
        return nbytes

    def part(self, inputs, options, image):
        """Return what combines a chunk."""
        return ArrayPart(inputs, options, image, self.given, self.factors, self.wanted)


def _dtypes(stack, n_frames):
    """Return the types of what the images have of one kind."""
    if isinstance(stack, list):
        return [one.dtype for one in stack if one is not None]
    return [] if stack is None else [stack.dtype] * n_frames


def _as_dask(array, shape):
    """Return what belongs to an image as a dask array of its shape."""
    if array is None:
        return None
    if np.ndim(array) == 0 and not isinstance(array, da.Array):
        # a mask or an error may be one value for all
        return da.full(shape, array)
    return da.asarray(array)


class FileSource:
    """
    Images that are files.

    Parameters
    ----------
    items : list of str
        Their paths.
    """

    whole_rows = True
    previous_chunks = None
    stacks = ()

    def __init__(self, items):
        for k, item in enumerate(items):
            if not isinstance(item, str):
                raise _in_memory(k, type(item).__name__)
        self.items, self.n_frames = items, len(items)

    @contextlib.contextmanager
    def opened(self, wanted, ccdkwargs):
        """Open the files here, for their headers."""
        self.reading = {**wanted, **ccdkwargs}
        with opened_frames(self.items, **self.reading) as self.frames:
            yield self.frames

    def template(self):
        """Return the first image, without its pixels."""
        return self.frames[0].outline()

    def sample_nbytes(self):
        """Bytes of all samples of a pixel, with what belongs to them."""
        n_columns = max(1, fold(self.frames[0].shape)[1])
        return sum(frame.row_nbytes for frame in self.frames) // n_columns

    def part(self, inputs, options, image):
        """Return what combines a chunk."""
        first = self.frames[0]
        # Workers need not be in this folder.
        paths = [p if is_url(p) else os.path.abspath(p) for p in self.items]
        return FilePart(
            inputs, options, image, paths, self.reading, first.unit, tuple(first.shape)
        )

    def measurements(self, measurement, name):
        """Make a task for every frame, as those of `ArraySource`."""
        part = self.part(None, None, None)
        return {
            (name, k): (part.measured, measurement, path)
            for k, path in enumerate(part.paths)
        }, []
