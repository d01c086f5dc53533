# Licensed under a 3-clause BSD style license - see LICENSE
"""
A piece of a stack: the same pixels of every frame, as the kernel takes them.

Units are converted and flags judged here.
"""

from typing import NamedTuple

import numpy as np

from imcombiners_astro import dq
from imcombiners_astro.places import PlacedFrame
from imcombiners_astro.planes import Plan, combine_planes
from imcombiners_astro.strip import fold

__all__ = ["FlagRule", "Piece", "PieceMaker", "Transform"]


class Transform(NamedTuple):
    """
    How samples enter: ``(raw - zero) * factor / scale``, and their weights.

    Attributes
    ----------
    zero, factor, scale : float64 `~numpy.ndarray` (N,) or None
        None changes nothing.
    weights : `~numpy.ndarray` (N,) or (N, *shape), or None
        For weighted statistics.
    """

    zero: np.ndarray | None = None
    factor: np.ndarray | None = None
    scale: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def is_plain(self):
        """Whether samples enter as they are."""
        return self.zero is None and self.factor is None and self.scale is None

    def values(self):
        """Arguments of `combine_planes` that change the values."""
        return {"zero": self.zero, "factor": self.factor, "scale": self.scale}

    def of_frame(self, k):
        """Return that of frame `k` alone, without weights."""
        return Transform(
            **{
                name: None if vector is None else vector[k : k + 1]
                for name, vector in self.values().items()
            }
        )

    def applied(self, stack):
        """Return a stack (N, ...) of raw values as they enter."""
        column = (slice(None), *[np.newaxis] * (stack.ndim - 1))
        if self.zero is not None:
            stack = stack - self.zero[column]
        if self.factor is not None:
            stack = stack * self.factor[column]
        if self.scale is not None:
            stack = stack / self.scale[column]
        return stack

    def counts(self):
        """
        Zero and scale of every frame: raw = scale * value + zero.

        Returns
        -------
        (`~numpy.ndarray`, `~numpy.ndarray`) or None
            None if samples enter as they are.
        """
        if self.is_plain:
            return None
        given = [v for v in self.values().values() if v is not None]
        zero = np.zeros(len(given[0])) if self.zero is None else self.zero
        scale = np.ones(len(given[0])) if self.scale is None else self.scale
        return zero, scale if self.factor is None else scale / self.factor


class Piece(NamedTuple):
    """
    The same pixels of every frame.

    Attributes
    ----------
    place : slice
        Where the inner part of it is in the flattened image.
    pixels, masks, fits, variances, errors, flags : list of N
        Arguments of `combine_planes`; a list without anything in it is None.
    core : (slice, slice) or None
        Index of the inner part; the rest are neighbours. None: there are none.
    places : list of N `~imcombiners_astro.places.Place` or None
        Where the planes are in the piece, if they do not all cover it.
    weights : list of N or None
        Weights of the samples of placed planes.
    """

    place: slice
    pixels: list
    masks: list | None = None
    fits: list | None = None
    variances: list | None = None
    errors: list | None = None
    flags: list | None = None
    core: tuple | None = None
    places: list | None = None
    weights: list | None = None

    @property
    def shape(self):
        """Rows and columns."""
        return self.pixels[0].shape if self.places is None else self.places[0].shape

    @property
    def n_samples(self):
        """Number of samples that there are."""
        return sum(plane.size for plane in self.pixels)

    def arguments(self):
        """Give what `combine_planes` takes, for a choice of samples."""
        arguments = {"pixels": self.pixels, "masks": self.masks, "fits": self.fits}
        if self.places is not None:
            places = [(place.row, place.column) for place in self.places]
            arguments["places"] = (self.shape, places)
        return arguments

    def with_masks(self, masks):
        """Return this piece with other masks, of the shape of the piece."""
        return self._replace(masks=self.covered(masks))

    def covered(self, images):
        """Return what the planes cover of images that have the shape of the piece."""
        if self.places is None:
            return list(images)
        each = zip(images, self.places, self.pixels, strict=True)
        return [place.of(image, plane.shape) for image, place, plane in each]

    def check_errors(self, negative, masks):
        """
        Refuse negative uncertainties.

        Parameters
        ----------
        negative : int `~numpy.ndarray` (N,)
            Which frames have some, masked or not.
        masks : list of N or None
            The masks of the frames, without what has been rejected.

        Raises
        ------
        ValueError
            If a sample that is not masked has one; the frame is named.
        """
        for k in np.flatnonzero(negative):
            self.errors[k].check(self.variances[k], masks and masks[k])

    def whole(self, planes, fill):
        """Return planes filled up to the shape of the piece; what is None stays so."""
        if self.places is None:
            return planes
        return [
            None if plane is None else place.pad(plane, fill)
            for plane, place in zip(planes, self.places, strict=True)
        ]

    def inner(self):
        """Return the piece without neighbours."""
        if self.core is None:
            return self
        places, parts = self.places, [self.core] * len(self.pixels)
        if places is not None:
            each = zip(places, self.pixels, strict=True)
            cuts = [place.cut(plane.shape, self.core) for place, plane in each]
            places, parts = map(list, zip(*cuts, strict=True))

        def cut(planes):
            if planes is None:
                return None
            return [
                None if plane is None else plane[part]
                for plane, part in zip(planes, parts, strict=True)
            ]

        lists = ("pixels", "masks", "variances", "flags", "weights")
        cut_lists = {name: cut(getattr(self, name)) for name in lists}
        return self._replace(core=None, places=places, **cut_lists)

    def frame(self, k):
        """Return the pixels of frame `k` alone."""
        fits = None if self.fits is None else self.fits[k : k + 1]
        places = None if self.places is None else self.places[k : k + 1]
        return Piece(self.place, self.pixels[k : k + 1], fits=fits, places=places)

    def stack(self, dtype, n_threads, transform=None, thresholds=None):
        """
        All samples, masked or not, in an array of shape (N, rows, columns).

        Parameters
        ----------
        dtype : `~numpy.dtype`
            Its type.
        n_threads : int or None
            Threads.
        transform : Transform, optional
            What to apply.
        thresholds : (float, float), optional
            Samples with raw values outside become NaN, as all that are not finite.
        """
        load = Plan(statistic="mean", work="f8", thresholds=thresholds)
        out = np.empty((len(self.pixels), *self.shape), dtype)
        for k, image in enumerate(out):
            values = {} if transform is None else transform.of_frame(k).values()
            one = self.frame(k).arguments()
            combine_planes(
                plan=load,
                outputs={"image": image},
                n_threads=n_threads,
                **one,
                **values,
            )
        return out


class FlagRule(NamedTuple):
    """
    What flags do.

    Attributes
    ----------
    ignored : int or None
        Bits that do not make a sample bad; None: no flag does, unless flags were given
        in place of a mask.
    classes : list of int or None
        Bits of samples that are used where there is no good one, mildest first.
    """

    ignored: int | None = None
    classes: list | None = None

    @classmethod
    def of(cls, extras, frames):
        """Find what the caller asks for, with the names that the images bring."""
        if not extras.judges_flags:
            return cls()
        names = dq.flag_names(frames)
        ignored = dq.ignored_bits(extras.ignore_flags, names)
        if extras.least_bad is None:
            return cls(ignored)
        return cls(ignored or 0, dq.class_bits(extras.least_bad, names))


class PieceMaker:
    """
    Makes pieces of strips.

    Parameters
    ----------
    frames : list of Frame
        Where the strips come from.
    flag_rule : FlagRule
        Which flags make a sample bad.
    thresholds : (float, float) or None
        What is outside is absent, which matters for the least bad samples.
    with_variances : bool
        Whether variances are needed.
    keep_rows : bool
        Whether rows have to stay rows, because something is done along them.
    n_threads : int or None
        Threads of the kernel.
    workers : Workers
        Those for the rest.
    """

    def __init__(
        self,
        frames,
        flag_rule,
        thresholds,
        *,
        with_variances,
        keep_rows,
        n_threads,
        workers,
    ):
        self.factors = [frame.unit_factor for frame in frames]
        self.frames = frames
        self.flag_rule = flag_rule
        self.thresholds = thresholds
        self.with_variances = with_variances
        self.n_threads = n_threads
        self.workers = workers
        self.with_flags = any(frame.has_flags for frame in frames)
        n_columns = fold(frames[0].shape)[1]
        # An image of one dimension: one long row is better than many short ones.
        ndim = len(frames[0].shape)
        self.turns = n_columns == 1 and (ndim == 1 or not keep_rows)
        if ndim > 2 and isinstance(frames[0], PlacedFrame):
            self.turns = False  # rows of theirs need not follow each other
        self.n_columns = n_columns
        # Samples of other units in double precision, and masks made of flags.
        n_converted = sum(factor != 1 for factor in self.factors)
        self.converts = n_converted > 0
        sample = 8 * n_converted
        if self.with_flags:
            sample += (10 if flag_rule.classes else 1) * len(frames)
        self.row_nbytes = n_columns * sample

    def make(self, start, stop, strips, first=None):
        """
        Make a piece of strips.

        Parameters
        ----------
        start, stop : int
            Folded rows of the image that the piece stands for.
        strips : list of Strip
            One for each frame.
        first : int, optional
            First folded row of the strips, if they have neighbouring rows as well.
        """
        if self.converts:
            strips = self.workers.map(_in_unit, strips, self.factors)
        flags = None
        if self.with_flags:
            flags = [strip.flags for strip in strips]
            strips = self._judged(strips, flags)
        variances = errors = None
        if self.with_variances:
            variances = [_errors(strip) for strip in strips]
            each = zip(strips, self.factors, strict=True)
            errors = [s.rule and s.rule.in_unit(factor) for s, factor in each]
        piece = Piece(
            slice(start * self.n_columns, stop * self.n_columns),
            [self._turned(strip.pixels) for strip in strips],
            self._planes([strip.mask for strip in strips]),
            _something([strip.fits for strip in strips]),
            self._planes(variances),
            errors,
            self._planes(flags),
            places=self._places(strips),
            weights=self._planes([strip.weights for strip in strips]),
        )
        if first is None:
            return piece
        core = (slice(start - first, stop - first), slice(None))
        return piece._replace(core=core[::-1] if self.turns else core)

    def _judged(self, strips, flags):
        """Return the strips with what their flags say in the masks."""
        rule = self.flag_rule
        if rule.classes is None:
            ignored = [rule.ignored] * len(strips)
            masks = self.workers.map(dq.bad_samples, self.frames, strips, ignored)
        else:
            fits, places = (
                [getattr(strip, name) for strip in strips] for name in ("fits", "place")
            )
            piece = Piece(
                None,
                [strip.pixels for strip in strips],
                fits=fits,
                places=_something(places),
            )
            stack = piece.stack(np.float64, self.n_threads, None, self.thresholds)
            masks = piece.whole([strip.mask for strip in strips], False)
            flags = piece.whole(flags, 0)
            masks = dq.least_bad(flags, masks, rule.classes, rule.ignored, stack)
            masks = piece.covered(masks)
        return [
            strip._replace(mask=mask) for strip, mask in zip(strips, masks, strict=True)
        ]

    def _places(self, strips):
        """Return where the strips are, if they do not all cover the piece."""
        places = _something([strip.place for strip in strips])
        if places is None:
            return None
        each = zip(places, strips, strict=True)
        if all(place.is_whole(strip.pixels.shape) for place, strip in each):
            return None
        return [place.turned() for place in places] if self.turns else places

    def _planes(self, arrays):
        arrays = _something(arrays)
        return arrays and [None if a is None else self._turned(a) for a in arrays]

    def _turned(self, array):
        return array.T if self.turns else array


def _something(things):
    """Return the list, or None if there is nothing in it."""
    if things is None or all(thing is None for thing in things):
        return None
    return things


def _in_unit(strip, factor):
    if factor == 1:
        return strip
    values = np.multiply(strip.values(), factor, dtype=np.float64)
    return strip._replace(pixels=values, fits=None)


def _errors(strip):
    if not strip.pixels.size:  # a placed frame that is elsewhere
        return np.empty(strip.pixels.shape)
    return strip.errors()
