# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejections with growth, which come before the last call of the kernel."""

from dataclasses import dataclass, fields

import numpy as np

from imcombiners_astro.flags import OutputFlags, SampleFlags, mark_unused
from imcombiners_astro.planes import combine_planes, grow_mask

__all__ = ["Past", "run_stages"]

# A flag is an integer of its own kind, with which bytes would become 64-bit integers.
REJECTED = np.uint8(SampleFlags.ALGORITHM)
GROWN = np.uint8(SampleFlags.GROW)
MASKED = np.uint8(SampleFlags.INPUT_MASK)
HAS_GROWN = np.uint8(OutputFlags.GROW)
PREMASKED = np.uint8(OutputFlags.PREMASKED)


@dataclass(slots=True)
class Past:
    """
    What the stages of a rejection have done to a piece so far.

    Attributes
    ----------
    sample_flags : uint8 `~numpy.ndarray` (N, rows, columns)
        Bits of `~imcombiners_astro.SampleFlags`.
    output_flags, nit : uint8 `~numpy.ndarray` (rows, columns)
        As the products of `combine_planes`.
    n_rejected_low, n_rejected_high : uint16 `~numpy.ndarray` (rows, columns)
        Without what growth has rejected.
    sample_sides : uint8 `~numpy.ndarray` (N, rows, columns) or None
        At which side a sample was rejected, if that is to be told.
    std : `~numpy.ndarray` (rows, columns) or None
        Spread of the latest clipping.
    low, upp : `~numpy.ndarray` (rows, columns) or None
        Limits of the latest linear clipping.
    """

    sample_flags: np.ndarray
    output_flags: np.ndarray
    nit: np.ndarray
    n_rejected_low: np.ndarray
    n_rejected_high: np.ndarray
    sample_sides: np.ndarray | None = None
    std: np.ndarray | None = None
    low: np.ndarray | None = None
    upp: np.ndarray | None = None

    def add(self, found, stage):
        """Put the products of the next stage on top, in place."""
        # What was out of use before looks masked to it.
        self.sample_flags |= found["sample_flags"] & ~MASKED
        self.output_flags |= found["output_flags"] & ~PREMASKED
        # Every count of passes begins with 1.
        passes = self.nit.astype(np.uint16) + found["nit"] - 1
        self.nit[...] = np.minimum(passes, 255)
        self.n_rejected_low += found["n_rejected_low"]
        self.n_rejected_high += found["n_rejected_high"]
        if "sample_sides" in found:  # the last call counts them itself
            self.sample_sides |= found["sample_sides"]
        self.keep_limits(found, stage)

    def keep_limits(self, found, stage):
        """Keep spread and limits, if the stage has them."""
        if stage.clips:
            self.std = found["std"]
        if stage.has_limits:
            self.low, self.upp = found["low"], found["upp"]

    def inner(self, core):
        """Return what there is of the inner part of the piece."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return Past(
            **{
                name: None if array is None else array[(..., *core)]
                for name, array in arrays.items()
            }
        )


def run_stages(piece, stages, transform, image_shape, dtype, n_threads, with_sides):
    """
    Reject stage by stage, growing after each.

    Parameters
    ----------
    piece : Piece
        With as many neighbours as all the growth reaches.
    stages : sequence of Stage
        What to do.
    transform : Transform
        Zero and scale.
    image_shape : tuple of int
        Shape of the whole image, along all axes of which the distance is measured.
    dtype : `~numpy.dtype`
        Type of spreads and limits.
    n_threads : int or None
        Threads.
    with_sides : bool
        Whether the sides are to be told.

    Returns
    -------
    piece : Piece
        Its inner part, with masks of all that is not used.
    past : Past
        What has happened to it.
    """
    past, core = None, piece.core
    for stage in stages:
        found = _run(piece, stage.plan, transform, dtype, n_threads, with_sides)
        flags = found["sample_flags"]
        unused = mark_unused(flags)
        if stage.radius:
            # Pieces are of whole rows: along the first axis they may be cut.
            turned = len(image_shape) == 1
            shape = (1, -1) if turned else (-1, *image_shape[1:])
            seeds = ((flags & REJECTED) != 0).reshape(len(flags), *shape)
            grown = grow_mask(seeds, stage.radius, n_threads).reshape(flags.shape)
            grown &= ~unused
            flags[grown] |= GROWN
            found["output_flags"][grown.any(axis=0)] |= HAS_GROWN
            unused |= grown
        if past is None:
            names = ("sample_flags", "output_flags", "nit")
            names += ("n_rejected_low", "n_rejected_high")
            past = Past(**{name: found[name] for name in names})
            past.sample_sides = found.get("sample_sides")
            past.keep_limits(found, stage)
        else:
            past.add(found, stage)
        piece = piece.with_masks(unused)
    if core is not None:
        past = past.inner(core)
    return piece.inner(), past


def _run(piece, plan, transform, dtype, n_threads, with_sides):
    """Return all that the kernel tells about a rejection."""
    cube = (len(piece.pixels), *piece.shape)
    outputs = {"sample_flags": np.empty(cube, np.uint8)}
    if with_sides:
        outputs["sample_sides"] = np.empty(cube, np.uint8)
    for name, kind in (
        ("output_flags", np.uint8),
        ("nit", np.uint8),
        ("n_rejected_low", np.uint16),
        ("n_rejected_high", np.uint16),
        ("std", dtype),
        ("low", dtype),
        ("upp", dtype),
    ):
        outputs[name] = np.empty(piece.shape, kind)
    combine_planes(
        **piece.arguments(),
        plan=plan,
        outputs=outputs,
        n_threads=n_threads,
        **transform.values(),
    )
    return outputs
