# Licensed under a 3-clause BSD style license - see LICENSE
"""
What is kept of a combination beside the image: its diagnostics.

The kernel writes it, unless something has been done to the samples before that it does
not know of: then it writes maps, and the flags of the samples, of which everything else
about single samples follows.
"""

import numpy as np

from imcombiners_astro.flags import OutputFlags, SampleFlags, mark_unused
from imcombiners_astro.pieces import Transform
from imcombiners_astro.planes import Plan, combine_planes
from imcombiners_astro.products import Product, blank_array
from imcombiners_astro.strip import Strip

__all__ = ["Record", "count_sides"]

REJECTED = np.uint8(SampleFlags.ALGORITHM)
INPUT_MASK = np.uint8(SampleFlags.INPUT_MASK)
OUTSIDE = np.uint8(SampleFlags.INPUT_MASK | SampleFlags.THRESHOLD)
PREMASKED = np.uint8(OutputFlags.PREMASKED)

# What the kernel counts of every frame.
_COUNTS = ("frame_used", "frame_rejected_low", "frame_rejected_high")

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
    n_threads : int or None
        Threads of the kernel.
    workers : Workers
        Those for the rest.

    Attributes
    ----------
    n_used, n_low, n_high : int64 `~numpy.ndarray` (N,)
        Samples of each frame that are used, and those rejected on either side.
    with_mask : bool
        Whether ``mask_rej`` is kept; the flags of the samples tell it as well.
    """

    def __init__(self, level, n_frames, *, by_kernel, n_threads, workers):
        self.level, self.by_kernel = level, by_kernel
        self.n_threads, self.workers = n_threads, workers
        self.n_used, self.n_low, self.n_high = np.zeros((3, n_frames), np.int64)
        self.with_mask = True

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
        dict of str to `~numpy.ndarray`
            Outputs for `~imcombiners_astro.planes.combine_planes`.
        """
        found, n_frames = {}, len(piece.pixels)
        if self.by_kernel:
            if self.with_mask:
                found["mask_rej"] = store.room("mask_rej", piece)
            found |= {name: blank_array(n_frames, np.int64) for name in _COUNTS}
        if self.level == "full":
            found["sample_flags"] = store.room("sample_flags", piece)
        elif not self.by_kernel:
            found["sample_flags"] = blank_array((n_frames, *piece.shape), np.uint8)
        return found

    def complete(self, piece, outputs, past, called, plans, transform, store):
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
        transform : Transform
            Zero and scale.
        store : MemoryStore
            Where the cubes are kept.
        """
        if self.by_kernel:
            for total, name in zip(
                (self.n_used, self.n_low, self.n_high), _COUNTS, strict=True
            ):
                total += outputs[name]
            return
        if past is not None:
            _add_past(outputs, past, plans)
        flags = outputs["sample_flags"]
        seen = (piece, outputs, plans, transform)
        lows, highs = count_sides(*seen, self.n_threads, self.workers)
        self.n_low += lows
        self.n_high += highs
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
        if self.with_mask:
            rooms = outputs["mask_rej"] = store.room("mask_rej", piece)
        self.n_used += self.workers.map(_count_used, flags, rooms)


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


def count_sides(piece, outputs, plans, transform, n_threads, workers):
    """
    Count for every frame the samples rejected below and above.

    Parameters
    ----------
    piece : Piece
        The samples.
    outputs : dict of str to `~numpy.ndarray`
        ``sample_flags``, ``n_rejected_low``, ``n_rejected_high``, ``low`` and ``upp``.
    plans : Plans
        What was done.
    transform : Transform
        Zero and scale.
    n_threads : int or None
        Threads of the kernel.
    workers : Workers
        Those for the rest.

    Returns
    -------
    n_low, n_high : int64 `~numpy.ndarray` (N,)
        So many samples of each frame.

    Notes
    -----
    Where samples are rejected on one side only, the numbers at the pixel say which.
    Elsewhere those are low that are nearer to the smallest sample used than to the
    largest one; if this is not what the numbers say (ties; no sample used), so many
    of the smallest rejected ones are.
    """
    flags = outputs["sample_flags"]
    n_low = outputs["n_rejected_low"].ravel()
    has_low, has_high = n_low != 0, outputs["n_rejected_high"].ravel() != 0
    # The bit of a rejected sample, where all of them are low.
    only_low = (has_low & ~has_high) * REJECTED
    both = np.flatnonzero(has_low & has_high)
    mixed = both.size > 0
    seen = Transform() if plans.last.transform_after else transform
    if mixed:
        middle = _middle(piece, outputs, plans, transform, n_threads)

    def count(k):
        plane = flags[k].ravel()
        n_all = np.count_nonzero(plane & REJECTED)
        low = np.count_nonzero(plane & only_low)
        if not mixed:
            return low, n_all - low, None
        at = both[(plane[both] & REJECTED) != 0]
        at = at[_values(piece, k, at, seen) < middle[at]]
        return low + at.size, n_all - low - at.size, at

    found = workers.map(count, range(len(flags)))
    lows, highs = (np.array([one[i] for one in found], np.int64) for i in (0, 1))
    if not mixed:
        return lows, highs
    n_below = np.zeros(n_low.size, np.uint16)
    for _, _, below in found:
        n_below[below] += 1
    odd = both[n_below[both] != n_low[both]]
    if odd.size:
        rejected = (flags.reshape(len(flags), -1)[:, odd] & REJECTED) != 0
        values = np.array([_values(piece, k, odd, seen) for k in range(len(flags))])
        below = rejected & (values < middle[odd])
        values[~rejected] = np.inf
        order = np.argsort(values, axis=0, kind="stable")
        rank = np.argsort(order, axis=0, kind="stable")
        first = rejected & (rank < n_low[odd])
        moved = first.sum(axis=1) - below.sum(axis=1)
        lows += moved
        highs -= moved
    return lows, highs


def _middle(piece, outputs, plans, transform, n_threads):
    """Return what separates low from high, in the values the rejection has seen."""
    low, upp = outputs["low"], outputs["upp"]
    if plans.last.transform_after and not transform.is_plain:
        low, upp = np.empty((2, *piece.shape))
        unused = mark_unused(outputs["sample_flags"])
        combine_planes(
            **piece.with_masks(unused).arguments(),
            plan=Plan(statistic="mean"),
            outputs={"low": low, "upp": upp},
            n_threads=n_threads,
        )
    return (low / 2 + upp / 2).ravel()


def _values(piece, k, at, transform):
    """Return samples of frame `k` as the rejection has seen them, NaN if not there."""
    raw, covered = piece.at(k, at)
    values = Strip(raw, fits=piece.fits and piece.fits[k]).values().astype(np.float64)
    if covered is not None:
        found, values = values, np.full(at.shape, np.nan)
        values[covered] = found
    return transform.of_frame(k).applied(values[np.newaxis])[0]
