# Licensed under a 3-clause BSD style license - see LICENSE
"""
What is kept of a combination beside the image: its diagnostics.

The kernel writes it, unless something has been done to the samples before that it
does not know of: then it writes maps, and the flags of the samples. At which side a
sample is rejected tells who rejects it.
"""

from functools import partial

import numpy as np

from imcombiners_astro.flags import HIGH, LOW, OutputFlags, SampleFlags, mark_unused
from imcombiners_astro.products import Product, blank_array

__all__ = ["Record"]

REJECTED = np.uint8(SampleFlags.ALGORITHM)
INPUT_MASK = np.uint8(SampleFlags.INPUT_MASK)
OUTSIDE = np.uint8(SampleFlags.INPUT_MASK | SampleFlags.THRESHOLD)
PREMASKED = np.uint8(OutputFlags.PREMASKED)

# What the kernel counts of every frame: who it rejects, and who is used.
_REJECTED = ("frame_rejected_low", "frame_rejected_high")
_USED = "frame_used"

# Types of the maps; None is that of the image.
_MAPS = {
    "low": None,
    "upp": None,
    "std": None,
    "nit": np.uint8,
    "output_flags": np.uint8,
    "n_used": np.uint16,
    "n_rejected_low": np.uint16,
    "n_rejected_high": np.uint16,
}


class Record:
    """
    The diagnostics of a combination.

    Parameters
    ----------
    level : {"simple", "full"}
        Whether the flags of all samples are kept.
    n_frames : int
        Number of frames, N.
    by_kernel : bool
        Whether the last call of the kernel sees all that happens to a sample: there
        are no calls before it, and no thresholds.
    workers : Workers
        Threads for what the kernel does not do.

    Attributes
    ----------
    n_used, n_low, n_high : int64 `~numpy.ndarray` (N,)
        Samples of each frame that are used, and those rejected on either side.
    """

    def __init__(self, level, n_frames, *, by_kernel, workers):
        self.level, self.by_kernel, self.workers = level, by_kernel, workers
        self.n_used, self.n_low, self.n_high = np.zeros((3, n_frames), np.int64)

    def products(self, dtype):
        """
        List what is kept.

        Parameters
        ----------
        dtype : `~numpy.dtype`
            Type of the maps of values.

        Returns
        -------
        list of Product
        """
        kinds = {name: np.dtype(kind or dtype) for name, kind in _MAPS.items()}
        found = [Product(name, kind, kind) for name, kind in kinds.items()]
        cubes = [("mask_rej", np.dtype(bool))]
        if self.level == "full":
            cubes.append(("sample_flags", np.dtype("u1")))
        return found + [Product(name, kind, kind, True) for name, kind in cubes]

    def outputs(self, piece, store):
        """
        List what the kernel is to write beside the maps.

        Parameters
        ----------
        piece : Piece
            A piece.
        store : MemoryStore
            Where the cubes are kept.

        Returns
        -------
        dict of str to `~numpy.ndarray` or None
            Outputs for `~imcombiners_astro.planes.combine_planes`.
        """
        n_frames = len(piece.pixels)
        counts = (*_REJECTED, _USED) if self.by_kernel else _REJECTED
        found = {name: blank_array(n_frames, np.int64) for name in counts}
        if self.by_kernel and store.keeps("mask_rej"):
            found["mask_rej"] = store.room("mask_rej", piece)
        if self.level == "full":
            found["sample_flags"] = store.room("sample_flags", piece)
            if store.takes_notes("sample_flags"):
                found["sample_notes"] = None
        elif not self.by_kernel:
            found["sample_flags"] = blank_array((n_frames, *piece.shape), np.uint8)
        return found

    def complete(self, piece, outputs, past, called, plans, store):
        """
        Add to what the kernel has found out about a piece.

        Parameters
        ----------
        piece : Piece
            The piece, without neighbours.
        outputs : dict of str to `~numpy.ndarray`
            Maps, and what `outputs` lists, written by the kernel; they are changed.
        past : Past or None
            What rejections before have done.
        called : (`~numpy.ndarray`, `~numpy.ndarray`) or None
            Samples that functions of the caller reject below and above.
        plans : Plans
            What was done.
        store : MemoryStore
            Where the cubes are kept.
        """
        for total, name in zip((self.n_low, self.n_high), _REJECTED, strict=True):
            total += outputs[name]
        if self.by_kernel:
            self.n_used += outputs[_USED]
            if "sample_notes" in outputs:
                store.note("sample_flags", piece, outputs["sample_notes"])
            return
        if past is not None:
            _add_past(outputs, past, plans)
            for total, side in ((self.n_low, LOW), (self.n_high, HIGH)):
                total += self.workers.map(partial(_count, side), past.sample_sides)
        flags = outputs["sample_flags"]
        if called is not None:
            for name, count, mask in zip(
                ("n_rejected_low", "n_rejected_high"),
                (self.n_low, self.n_high),
                called,
                strict=True,
            ):
                outputs[name] += mask.sum(axis=0, dtype=np.uint16)
                count += mask.sum(axis=(1, 2))
                # To the kernel they were masked.
                flags[mask] = (flags[mask] & ~INPUT_MASK) | REJECTED
        if called is not None or plans.last.thresholds is not None:
            # The kernel tells of masks only, and of those of functions too.
            premasked = ((flags & OUTSIDE) != 0).any(axis=0)
            outputs["output_flags"][premasked] |= PREMASKED
            outputs["output_flags"][~premasked] &= ~PREMASKED
        rooms = [None] * len(flags)
        if store.keeps("mask_rej"):
            rooms = outputs["mask_rej"] = store.room("mask_rej", piece)
        self.n_used += self.workers.map(_count_used, flags, rooms)


def _count(side, sides):
    """Count the samples of a frame rejected at a side."""
    return np.count_nonzero(sides == side)


def _count_used(flags, room):
    """Mark the samples of a frame that are not used; return how many are."""
    unused = mark_unused(flags, out=room)
    return unused.size - np.count_nonzero(unused)


def _add_past(outputs, past, plans):
    """Put what the kernel has found out last on top of what happened before."""
    last = plans.last_stage
    past.add(outputs, last)
    for name in ("sample_flags", "output_flags", "nit"):
        outputs[name][...] = getattr(past, name)
    for name in ("n_rejected_low", "n_rejected_high"):
        outputs[name][...] = getattr(past, name)
    for name in ("std", "low", "upp"):
        array = getattr(past, name)
        if array is not None:
            outputs[name][...] = array
