# Licensed under a 3-clause BSD style license - see LICENSE
"""
How a stack of frames is read strip by strip.

What a frame and a strip are is in `imcombiners_astro.strip`, frames in memory are in
`imcombiners_astro.memory_frames`; their names are found here as well.
"""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import lcm
from typing import NamedTuple

import numpy as np

from imcombiners_astro.memory_frames import CCDFrame
from imcombiners_astro.strip import Frame, Strip, check_crop, fold, folded_rows

__all__ = [
    "STRIP_NBYTES",
    "CCDFrame",
    "Frame",
    "Strip",
    "StripPlan",
    "check_crop",
    "fold",
    "folded_rows",
    "plan_strips",
    "read_strips",
    "strips",
]

# Bytes of one strip of all frames together. What was just read should still be in the
# shared cache (32 MiB is common) when it is combined, beside the strip that is read
# meanwhile; and a strip must be long enough that the work per strip and frame (some
# microseconds) is small beside the copying of its bytes. Measured with 20 frames of
# 2048 x 2048 pixels: 6 and 8 MiB are read fastest, 2 and 32 MiB a quarter slower.
STRIP_NBYTES = 8 * 2**20
# But no less than this of every file: of 200 files 40 KiB each take three times the
# time of the processor that 256 KiB take, and 512 KiB take hardly less.
READ_NBYTES = 2**18

# Planes begin on a cache line, and three lines further than in the plane before: with
# rows of 2**k pixels all planes would otherwise fall into one set of the cache.
_LINE = 64
_STAGGER = 3 * _LINE


class StripPlan(NamedTuple):
    """
    How a stack is cut into strips.

    Attributes
    ----------
    height : int
        Rows of a strip; the last strip may have fewer.
    n_strips : int
        Number of strips.
    n_buffers : int
        Sets of buffers: one more than strips that are read ahead.
    nbytes : int
        Bytes of all buffers.
    """

    height: int
    n_strips: int
    n_buffers: int
    nbytes: int


def plan_strips(
    frames, mem_limit, fixed_nbytes=0, n_ahead=1, target=None, most_rows=None
):
    """
    Choose the height of strips.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one shape.
    mem_limit : float
        Bytes that the whole combination may use.
    fixed_nbytes : int, optional
        Bytes of it that are used for something else (results, workspaces).
    n_ahead : int, optional
        Strips that are read while one is in work.
    target : int, optional
        Bytes of a strip of all frames that are aimed at; by default `STRIP_NBYTES`, or
        `READ_NBYTES` of every frame if that is more.
    most_rows : int, optional
        Rows that a strip of frames in memory may have.

    Returns
    -------
    StripPlan
        Frames that are all in memory make one strip, without ``most_rows``. There is at
        least one row in a strip, even if that needs more than the limit. Where the
        memory allows, strips cut no tile of a frame.
    """
    n_rows, _ = fold(frames[0].shape)
    if target is None:
        n_read = sum(frame.row_nbytes > 0 for frame in frames)
        target = max(STRIP_NBYTES, n_read * READ_NBYTES)
    row = sum(frame.row_nbytes for frame in frames)
    row += max(frame.moment_nbytes for frame in frames)  # one is read at a time
    padding = _LINE + sum(_LINE + _STAGGER for frame in frames if frame.row_nbytes)
    room = mem_limit - fixed_nbytes - sum(frame.kept_nbytes for frame in frames)
    if n_rows == 0:
        return StripPlan(0, 0, 0, 0)
    if row == 0:
        height = n_rows if most_rows is None else min(most_rows, n_rows)
        return StripPlan(height, -(-n_rows // height), 0, 0)
    whole = n_rows * row + padding
    if n_rows * row <= target and whole <= room:
        return StripPlan(n_rows, 1, 1, whole)
    most = max(1, min(int((room // (n_ahead + 1) - padding) // row), n_rows))
    step = lcm(*{frame.row_step for frame in frames})
    step = step if step <= most else 1
    height = max(step, min(target // row, most) // step * step)
    # strips of equal height: a last one of few rows would cost as much as the others
    n_strips = -(-n_rows // height)
    height = -(-n_rows // (n_strips * step)) * step
    n_buffers = min(n_ahead + 1, n_strips)
    return StripPlan(
        height, -(-n_rows // height), n_buffers, n_buffers * (height * row + padding)
    )


def strips(
    frames: Sequence[Frame],
    mem_limit: float,
    fixed_nbytes: int = 0,
    n_ahead: int = 1,
    target: int | None = None,
    most_rows: int | None = None,
) -> Iterator[tuple[int, int, list[Strip]]]:
    """
    Read a stack strip by strip, the next strip while the caller works on this one.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one shape (see `Frame.crop_to`).
    mem_limit : float
        Bytes that the whole combination may use.
    fixed_nbytes : int, optional
        Bytes of it that are used for something else (results, workspaces).
    n_ahead : int, optional
        Strips that a thread in the background reads while one is in work.
    target : int, optional
        Bytes of a strip of all frames that are aimed at; by default `STRIP_NBYTES`, or
        `READ_NBYTES` of every frame if that is more.
    most_rows : int, optional
        Rows that a strip of frames in memory may have.

    Yields
    ------
    start, stop : int
        Folded rows of this strip (see `fold`).
    planes : list of Strip
        One for each frame. They are valid until the next strip is asked for: then
        their memory is used again.

    Raises
    ------
    ValueError
        If the shapes differ.
    OSError
        If a file cannot be read to the end; it is named.
    """
    for frame in frames:
        if frame.shape != frames[0].shape:
            raise ValueError(
                f"{frame.name} has shape {frame.shape}, {frames[0].name} has "
                f"{frames[0].shape}; they must be equal."
            )
    plan = plan_strips(frames, mem_limit, fixed_nbytes, n_ahead, target, most_rows)
    n_rows, _ = fold(frames[0].shape)
    step = plan.height or 1
    bounds = [(k, min(k + step, n_rows)) for k in range(0, n_rows, step)]
    with contextlib.closing(read_strips(frames, bounds, plan.n_buffers)) as found:
        for (start, stop), planes in zip(bounds, found, strict=True):
            yield start, stop, planes


def read_strips(
    frames: Sequence[Frame], bounds: Sequence[tuple[int, int]], n_buffers: int = 2
) -> Iterator[list[Strip]]:
    """
    Read certain strips of a stack, ahead of the caller where there are buffers.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one shape.
    bounds : sequence of (int, int)
        Folded rows from and to (exclusive) of every strip.
    n_buffers : int, optional
        Sets of buffers; with fewer than 2 nothing is read ahead.

    Yields
    ------
    planes : list of Strip
        One for each frame, valid until the next strip is asked for.

    Raises
    ------
    OSError
        If a file cannot be read to the end; it is named.
    """
    height = max((stop - start for start, stop in bounds), default=0)
    if n_buffers < 2:
        buffers = _buffers(frames, height)
        for start, stop in bounds:
            yield _read(frames, start, stop, buffers)
        return

    ring = [_buffers(frames, height) for _ in range(n_buffers)]
    running = deque()
    sent = 0
    with ThreadPoolExecutor(1, thread_name_prefix="imcombiners-read") as reader:
        try:
            for k in range(len(bounds)):
                # Asking for strip k means that strip k - 1 and its buffers are free.
                while sent < min(k + n_buffers, len(bounds)):
                    buffers = ring[sent % n_buffers]
                    job = reader.submit(_read, frames, *bounds[sent], buffers)
                    running.append(job)
                    sent += 1
                yield running.popleft().result()
        finally:
            for job in running:
                job.cancel()


def _read(frames, start, stop, buffers):
    return [
        frame.read(start, stop, buffer)
        for frame, buffer in zip(frames, buffers, strict=True)
    ]


def _buffers(frames, height):
    """Give every frame its piece of one block of memory for `height` rows."""
    sizes = [height * frame.buffer_nbytes for frame in frames]
    total = sum(size + _LINE + _STAGGER for size in sizes if size) + _LINE
    block = np.empty(total, np.uint8)
    place = -block.ctypes.data % _LINE
    buffers = []
    for size in sizes:
        buffers.append(block[place : place + size] if size else None)
        if size:
            place += -(-size // _LINE) * _LINE + _STAGGER
    return buffers
