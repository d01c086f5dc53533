# Licensed under a 3-clause BSD style license - see LICENSE
"""How the image of a lazy combination is cut into chunks, and what is cut alike."""

import operator
from itertools import accumulate
from math import prod

import dask.array as da
import numpy as np

from imcombiners_astro.distributed.parts import Place
from imcombiners_astro.strip import fold

__all__ = ["Cutter", "choose_chunks", "frame_key", "keys_of", "places"]


def choose_chunks(asked, shape, nbytes, limit, *, previous, halo, whole, runs):
    """
    Choose the chunks of an image.

    Parameters
    ----------
    asked : int, tuple, "auto" or None
        What the caller wants.
    shape : tuple of int
        Shape of the image.
    nbytes : int
        Bytes that a pixel takes in a task.
    limit : float
        Bytes that a chunk may take, where it is not said how large it is to be.
    previous : tuple of tuple of int or None
        Chunks that the image has.
    halo : int
        Rows that chunks share; no chunk of several may have fewer.
    whole : dict of int to str
        Axes that must not be cut, and why.
    runs : bool
        Whether a chunk must be a run of folded rows, because files are read so.

    Returns
    -------
    tuple of tuple of int
        The chunks along each axis.

    Raises
    ------
    ValueError
        If what is asked for is not possible.

    Examples
    --------
    >>> from imcombiners_astro.distributed.chunks import choose_chunks
    >>> options = {"previous": None, "halo": 0, "whole": {}, "runs": True}
    >>> choose_chunks(None, (6, 100), nbytes=1000, limit=4e5, **options)
    ((4, 2), (100,))
    """
    n_axes = len(shape)
    free = asked is None or isinstance(asked, str)
    one = not isinstance(asked, tuple | list)
    if free:
        wanted = ["auto" if asked is None else asked] * n_axes
    elif one:
        wanted = [asked] + [-1 if runs else asked] * (n_axes - 1)
    else:
        wanted = list(asked)
        if len(wanted) != n_axes:
            raise ValueError(
                f"chunks: found {asked!r} for images of {n_axes} axes; the axis of the "
                "images is always whole and has no chunks."
            )
    if free and runs:
        # As many of the leading axes are cut to pieces of 1 as it takes.
        first = 0
        while first < n_axes - 2 and nbytes * prod(shape[first + 1 :]) > limit:
            first += 1
        wanted[:first] = [1] * first
        wanted[first + 1 :] = [-1] * (n_axes - 1 - first)
    for axis in whole:
        if free or (one and n_axes > 1):
            wanted[axis] = -1
    try:
        chunks = da.core.normalize_chunks(
            tuple(wanted),
            shape=shape,
            limit=limit,
            dtype=np.dtype(f"V{nbytes}"),
            previous_chunks=previous,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"chunks: found {asked!r} for {shape}: {error}") from error
    for axis, reason in whole.items():
        if len(chunks[axis]) > 1:
            raise ValueError(
                f"chunks: found {asked!r}, which cuts axis {axis} of the image; that "
                f"must be whole (-1), because {reason}."
            )
    if runs and not _are_runs(chunks, shape):
        raise ValueError(
            f"chunks: found {asked!r}; files are read in whole rows: cut them along "
            f"the first axis only, such as {(max(chunks[0]), *(-1,) * (n_axes - 1))}."
        )
    rows = chunks[0]
    if len(rows) > 1 and rows[-1] < halo:  # what is left over
        rows = (*rows[:-2], rows[-2] + rows[-1])
    if len(rows) > 1 and min(rows) < halo:
        if not free:
            raise ValueError(
                f"chunks: found {asked!r}, but rejectors grow over up to {halo} rows; "
                "chunks must have at least as many."
            )
        starts = range(0, max(1, shape[0] - halo + 1), halo)
        rows = tuple(np.diff([*starts, shape[0]]).tolist())
    chunks = (rows, *chunks[1:])
    return chunks


def _are_runs(chunks, shape):
    """Whether every chunk is one run of folded rows."""
    cut = [axis for axis, sizes in enumerate(chunks) if len(sizes) > 1]
    if not cut:
        return True
    last = cut[-1]
    rows = len(shape) == 1 or last < len(shape) - 1
    return rows and all(max(sizes) == 1 for sizes in chunks[:last])


def places(chunks, halo):
    """
    Find where chunks are.

    Parameters
    ----------
    chunks : tuple of tuple of int
        How the image is cut.
    halo : int
        Rows of its neighbours that a chunk needs, along the first axis.

    Returns
    -------
    dict of tuple of int to Place
        For the index of every chunk.

    Examples
    --------
    >>> from imcombiners_astro.distributed.chunks import places
    >>> places(((4, 2), (100,)), halo=1)[1, 0]
    Place(start=3, stop=6, shape=(3, 100), before=1, after=0)
    """
    shape = tuple(map(sum, chunks))
    begins = [[0, *accumulate(sizes)] for sizes in chunks]
    row = prod(shape[1:-1])
    found = {}
    for index in np.ndindex(*map(len, chunks)):
        begin = [b[i] for b, i in zip(begins, index, strict=True)]
        sizes = [c[i] for c, i in zip(chunks, index, strict=True)]
        before = min(halo, begin[0])
        after = min(halo, shape[0] - begin[0] - sizes[0])
        sizes[0] += before + after
        n_leading = max(1, len(shape) - 1)  # axes that are folded into rows
        start = int(np.ravel_multi_index(begin[:n_leading], shape[:n_leading]))
        start -= before * row
        stop = start + fold(sizes)[0]
        found[index] = Place(start, stop, tuple(sizes), before, after)
    return found


class Cutter:
    """
    Cuts arrays into the same chunks.

    Parameters
    ----------
    chunks : tuple of tuple of int
        Those of the image.
    halo : int, optional
        Rows of its neighbours that a chunk needs, along the first axis.
    frames : int, optional
        Chunks of the axis of the frames: of so many, by default of all.

    Attributes
    ----------
    arrays : dict of str to `~dask.array.Array`
        All that have been cut, by the names they had.
    """

    def __init__(self, chunks, halo=0, frames=-1):
        self.chunks, self.halo, self.frames = chunks, halo, frames
        self.arrays = {}

    def cut(self, stack):
        """
        Cut a stack.

        Parameters
        ----------
        stack : `~dask.array.Array` (N, *shape), list, or None
            A list is of arrays and None. Arrays that are larger than the image are
            cut to its shape.

        Returns
        -------
        `~dask.array.Array`, list or None
            The same in chunks.
        """
        if stack is None:
            return None
        if isinstance(stack, list):
            return [None if one is None else self._cut(one, 0) for one in stack]
        return self._cut(stack, 1)

    def _cut(self, array, n_leading):
        name = array.name
        if name not in self.arrays:
            array = array[(..., *(slice(sum(sizes)) for sizes in self.chunks))]
            array = array.rechunk((self.frames,) * n_leading + self.chunks)
            if self.halo and len(self.chunks[0]) > 1:
                array = da.overlap.overlap(
                    array,
                    depth={n_leading: self.halo},
                    boundary={n_leading: "none"},
                    allow_rechunk=False,
                )
            self.arrays[name] = array
        return self.arrays[name]


def keys_of(stack, index):
    """
    Give what a task gets of a stack that was cut.

    Parameters
    ----------
    stack : `~dask.array.Array`, list or None
        As `Cutter.cut` returns it.
    index : tuple of int
        Index of a chunk.

    Returns
    -------
    tuple, list or None
        Keys of the graph.
    """
    if isinstance(stack, list):
        return [None if one is None else (one.name, *index) for one in stack]
    return None if stack is None else (stack.name, 0, *index)


def frame_key(stack, k):
    """
    Give what a task gets of one frame of a stack of which every frame is a chunk.

    Parameters
    ----------
    stack : `~dask.array.Array`, list or None
        As `Cutter.cut` returns it.
    k : int
        The frame.

    Returns
    -------
    tuple or None
        A key of the graph, or a task.
    """
    if isinstance(stack, list):
        one = stack[k]
        return None if one is None else (one.name, *(0,) * one.ndim)
    if stack is None:
        return None
    return (operator.itemgetter(0), (stack.name, k, *(0,) * (stack.ndim - 1)))
