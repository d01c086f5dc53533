# Licensed under a 3-clause BSD style license - see LICENSE
"""
A stack cut into pieces.

A piece is a strip as it is read, or a part of one where the work on it needs memory of
its own; where neighbours matter, it is a strip with some more rows on both sides.
"""

import contextlib
from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from imcombiners_astro.frames import fold, plan_strips, read_strips, strips

__all__ = ["Cut", "cut_into_pieces"]

# Bytes of what the work on one piece needs beside the strips and the result.
_WORK_NBYTES = 32 * 2**20


class Cut(NamedTuple):
    """
    How a stack is to be cut.

    Attributes
    ----------
    mem_limit : float
        Bytes that the combination may use.
    done : float
        Bytes of them that the result takes.
    row_nbytes : int
        Bytes that the work on one folded row of all frames needs.
    halo : int
        Neighbours that a piece needs at both ends, along the first axis of the image.
    whole : bool
        Whether the image cannot be cut.
    """

    mem_limit: float
    done: float = 0
    row_nbytes: int = 0
    halo: int = 0
    whole: bool = False

    @property
    def room(self):
        """Bytes for the work on one piece."""
        if not self.row_nbytes:
            return 0
        return min(_WORK_NBYTES, (self.mem_limit - self.done) / 4)


def cut_into_pieces(frames, maker, cut, progress_bar=None):
    """
    Yield the pieces of a stack in order.

    Parameters
    ----------
    frames : list of Frame
        The stack.
    maker : PieceMaker
        Makes them.
    cut : Cut
        How large they may be.
    progress_bar : callable, optional
        Called with an iterable over the strips.

    Raises
    ------
    ValueError
        An image that cannot be cut does not fit into the memory.
    """
    work = _with_halo if cut.halo else _without
    work = work(frames, cut, progress_bar is not None)
    n_strips = next(work)
    # Closed here, not by the collector of garbage: the thread that reads ahead must end
    # before the caller closes the frames, also if an error is on its way.
    with contextlib.closing(work):
        shown = work
        if progress_bar is not None:
            shown = _shown(progress_bar, work, n_strips)
        for start, stop, first, planes in shown:
            if first is not None:
                yield maker.make(start, stop, planes, first)
                continue
            step = stop - start
            if cut.row_nbytes and not cut.whole:
                step = max(1, int(cut.room / max(cut.row_nbytes, 1)))
            for top in range(start, stop, step):
                end = min(top + step, stop)
                rows = slice(top - start, end - start)
                yield maker.make(top, end, [strip.rows(rows) for strip in planes])


def _without(frames, cut, is_watched):
    """Yield the number of strips, then strips without neighbours."""
    options = {}
    if cut.whole:
        n_rows = fold(frames[0].shape)[0]
        nbytes = n_rows * (cut.row_nbytes + sum(frame.row_nbytes for frame in frames))
        if nbytes > cut.mem_limit - cut.done:
            raise ValueError(
                "AvSigClip measures the noise along whole rows, and images of one "
                f"dimension are one row: {nbytes / 1e6:.0f} MB are needed beside the "
                f"result, more than mem_limit={cut.mem_limit:g} leaves."
            )
        options = {"n_ahead": 0, "target": nbytes + 1}
    elif cut.row_nbytes:
        options = {"most_rows": max(1, int(cut.room / cut.row_nbytes))}
    elif is_watched:
        # Images in memory need no strips, but who looks on wants to see some.
        row = fold(frames[0].shape)[1] * sum(f.dtype.itemsize for f in frames)
        options = {"most_rows": max(1, _WORK_NBYTES // max(row, 1))}
    limits = (cut.mem_limit, cut.done + cut.room)
    yield plan_strips(frames, *limits, **options).n_strips
    for start, stop, planes in strips(frames, *limits, **options):
        yield start, stop, None, planes


def _with_halo(frames, cut, is_watched):
    """Yield the number of strips, then strips with their neighbours."""
    shape = frames[0].shape
    # What is next to each other along the first axis is so many folded rows apart.
    n_rows = prod(shape[1:-1])
    for frame in frames:
        frame.expect_overlap(2 * cut.halo * n_rows)
    reading = sum(frame.row_nbytes for frame in frames)
    reading += max(frame.moment_nbytes for frame in frames)
    room = cut.mem_limit - cut.done - sum(frame.kept_nbytes for frame in frames)
    # Two sets of buffers; what they have in common is read twice, which should be
    # little of them.
    most = room / max((2 * reading + cut.row_nbytes) * n_rows, 1)
    wanted = _WORK_NBYTES / max((reading + cut.row_nbytes) * n_rows, 1)
    wanted = max(wanted, 8 * cut.halo)
    height = max(1, int(min(most, wanted)) - 2 * cut.halo)
    starts = range(0, shape[0], height)
    yield len(starts)
    stops = [min(start + height, shape[0]) for start in starts]
    bounds = [
        (max(0, start - cut.halo) * n_rows, min(stop + cut.halo, shape[0]) * n_rows)
        for start, stop in zip(starts, stops, strict=True)
    ]
    n_buffers = min(2, len(bounds)) if reading else 0
    with contextlib.closing(read_strips(frames, bounds, n_buffers)) as found:
        for start, stop, (first, _), planes in zip(
            starts, stops, bounds, found, strict=True
        ):
            yield start * n_rows, stop * n_rows, first, planes


def _shown(progress_bar, work, n_strips):
    """Yield the strips as they come from the progress bar; none may be missing."""
    shown = progress_bar(_Sized(work, n_strips))
    if not isinstance(shown, Iterable):
        raise TypeError(
            "progress_bar must return an iterable over what it is called with, found "
            f"{type(shown).__name__}."
        )
    n_shown = 0
    for strip in shown:
        n_shown += 1
        yield strip
    if n_shown != n_strips:
        raise ValueError(
            f"progress_bar: it gave {n_shown} of the {n_strips} strips it was called "
            "with, expected all of them."
        )


class _Sized:
    """An iterable with the length that a progress bar wants to know."""

    def __init__(self, iterable, length):
        self.iterable, self.length = iterable, length

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.iterable)
