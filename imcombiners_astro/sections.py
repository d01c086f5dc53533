# Licensed under a 3-clause BSD style license - see LICENSE
"""
Sections of images: what ``statsec`` means, and reading no more rows than it needs.

A section is kept as one slice for each axis, in NumPy's order of the axes, with
``0 <= start < stop <= size`` and a positive step.
"""

import re
from itertools import product
from math import prod

import numpy as np

from imcombiners_astro.dq import bad_samples
from imcombiners_astro.frames import STRIP_NBYTES, fold

__all__ = ["parse_section", "read_section", "section_shape", "section_text"]

_RANGE = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_WHOLE = re.compile(r"-?\*(?::(\d+))?")


def parse_section(section, shape, name="statsec"):
    """
    Return the slices of a section of an image.

    Parameters
    ----------
    section : None, str, slice or tuple of slice and int
        - None: the whole image.
        - str: as in IRAF and in FITS headers (TRIMSEC, DATASEC), ``"[x1:x2,y1:y2]"``.
          Pixels count from 1, the last one is included, the first axis is NAXIS1 (x).
          ``*`` is all of an axis, ``x1:x2:step`` takes every step-th pixel; ``x2`` may
          be less than ``x1``.
        - slices: as NumPy indexes the array, ``(rows, columns)``, counted from 0, the
          last one not included, negative from the end (`numpy.s_` writes them). Axes
          that are left out are taken whole.
    shape : tuple of int
        Shape of the image.
    name : str, optional
        The argument, for messages.

    Returns
    -------
    tuple of slice
        One for each axis, in NumPy's order.

    Raises
    ------
    ValueError
        If the section reaches outside the image, is empty or cannot be understood.
    TypeError
        If it is something else.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.sections import parse_section
    >>> parse_section("[1:20,5:10]", (100, 200))
    (slice(4, 10, 1), slice(0, 20, 1))
    >>> parse_section(np.s_[4:10, :20], (100, 200))
    (slice(4, 10, 1), slice(0, 20, 1))
    """
    if section is None:
        return tuple(slice(0, size, 1) for size in shape)
    if isinstance(section, str):
        ranges = _from_text(section, shape, name)
    else:
        ranges = _from_slices(section, shape, name)
    for slice_ in ranges:
        if slice_ is None or slice_.start >= slice_.stop:
            _refuse(section, shape, name)
    return tuple(ranges)


def _refuse(section, shape, name):
    sizes = ", ".join(
        f"NAXIS{i} = {size}" for i, size in enumerate(reversed(shape), start=1)
    )
    raise ValueError(
        f"{name}={_shown(section)} is empty or reaches outside of the images, which "
        f"have the shape {tuple(shape)} ({sizes})."
    )


def _shown(section):
    """Write slices the way they are typed."""
    if isinstance(section, str):
        return repr(section)
    parts = section if isinstance(section, tuple) else (section,)
    texts = [
        str(part)
        if not isinstance(part, slice)
        else ":".join(
            "" if x is None else str(x)
            for x in (part.start, part.stop, part.step)[: 2 + (part.step is not None)]
        )
        for part in parts
    ]
    return f"({', '.join(texts)})"


def _from_text(section, shape, name):
    """Return slices, None for one outside of the image."""
    text = "".join(section.split())
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(
            f"{name}={section!r}: expected a section such as '[x1:x2,y1:y2]', counted "
            "from 1 with x first, or slices in NumPy's order."
        )
    parts = text[1:-1].split(",")
    if len(parts) != len(shape):
        raise ValueError(
            f"{name}={section!r} has {len(parts)} ranges, the images have "
            f"{len(shape)} axes."
        )
    ranges = []
    for part, size in zip(reversed(parts), shape, strict=True):
        if found := _WHOLE.fullmatch(part):
            first, last, step = 1, size, int(found[1] or 1)
        elif found := _RANGE.fullmatch(part):
            first, step = int(found[1]), int(found[3] or 1)
            last = int(found[2] or first)
        else:
            raise ValueError(
                f"{name}={section!r}: {part!r} is no range; expected 'first:last', "
                "'first:last:step', one number or '*'."
            )
        if not (1 <= first <= size and 1 <= last <= size and step >= 1):
            ranges.append(None)
        elif first <= last:
            ranges.append(slice(first - 1, last, step))
        else:  # the same pixels, from the other end
            ranges.append(slice(first - 1 - (first - last) // step * step, first, step))
    return ranges


def _from_slices(section, shape, name):
    """Return slices, None for one outside of the image."""
    parts = section if isinstance(section, tuple) else (section,)
    if len(parts) > len(shape):
        raise ValueError(
            f"{name}={_shown(section)} has {len(parts)} slices, the images have "
            f"{len(shape)} axes."
        )
    ranges = []
    for part, size in zip(parts, shape, strict=False):
        if isinstance(part, slice):
            ends = [end for end in (part.start, part.stop) if end is not None]
            try:
                inside = all(-size <= end <= size for end in ends)
                indices = range(size)[part]
            except (TypeError, ValueError) as err:
                raise TypeError(f"{name}={_shown(section)}: {err}.") from None
        elif isinstance(part, int | np.integer) and not isinstance(part, bool):
            inside = -size <= part < size
            indices = range(size)[part : part + 1 or None]
        else:
            raise TypeError(
                f"{name}: found {section!r}, expected a text such as '[x1:x2,y1:y2]' "
                "or a tuple of slices."
            )
        if not (inside and len(indices)):
            ranges.append(None)
            continue
        indices = indices if indices.step > 0 else indices[::-1]
        ranges.append(slice(indices.start, indices[-1] + 1, indices.step))
    return [*ranges, *(slice(0, size, 1) for size in shape[len(parts) :])]


def section_text(slices):
    """
    Write a section as IRAF and FITS headers do.

    Parameters
    ----------
    slices : tuple of slice
        As `parse_section` returns them.

    Returns
    -------
    str
        The section.

    Examples
    --------
    >>> from imcombiners_astro.sections import section_text
    >>> section_text((slice(4, 10, 1), slice(0, 20, 2)))
    '[1:20:2,5:10]'
    """
    parts = [
        f"{s.start + 1}:{s.stop}{f':{s.step}' if s.step > 1 else ''}"
        for s in reversed(slices)
    ]
    return f"[{','.join(parts)}]"


def section_shape(slices):
    """
    Return the shape that a section has as an array.

    Parameters
    ----------
    slices : tuple of slice
        As `parse_section` returns them.

    Returns
    -------
    tuple of int
        The shape.

    Examples
    --------
    >>> from imcombiners_astro.sections import section_shape
    >>> section_shape((slice(4, 10, 1), slice(0, 20, 3)))
    (6, 7)
    """
    return tuple(len(range(s.start, s.stop, s.step)) for s in slices)


def read_section(frame, slices, ignored=None, thresholds=None):
    """
    Read a section of a frame, a few rows at a time.

    Parameters
    ----------
    frame : `~imcombiners_astro.frames.Frame`
        The image.
    slices : tuple of slice
        As `parse_section` returns them for the shape of the frame.
    ignored : int, optional
        Flags that do not make a pixel bad, see `imcombiners_astro.dq.bad_samples`.
    thresholds : (float, float), optional
        Values outside are bad.

    Returns
    -------
    values : `~numpy.ndarray`
        The values in native byte order, in the unit that ``frame.to_unit`` was given.
        Of the file only the rows from the first to the last one of the section are read
        (for each plane of a cube), and besides the section itself never more than some
        MiB of them are held.
    bad : bool `~numpy.ndarray`
        True where a value is masked, not finite or outside the thresholds.

    Raises
    ------
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.frames import CCDFrame
    >>> from imcombiners_astro.sections import parse_section, read_section
    >>> frame = CCDFrame(CCDData([[1, 2, 3], [4, np.nan, 6]], unit="adu"), "a")
    >>> values, bad = read_section(frame, parse_section("[1:2,*]", frame.shape))
    >>> values[~bad]
    array([1., 2., 4.])
    """
    shape = frame.shape
    _, n_columns = fold(shape)
    if len(shape) == 1:  # every pixel is a row
        rows, columns = slices[0], slice(0, 1)
        blocks = [(0, rows)]
    else:
        rows, columns = slices[-2], slices[-1]
        places = product(*(range(s.start, s.stop, s.step) for s in slices[:-2]))
        blocks = [
            (int(np.ravel_multi_index((*place, 0), shape[:-1])), rows)
            for place in places
        ]
    height = max(1, STRIP_NBYTES // (8 * n_columns) // rows.step) * rows.step
    values, bad, done = None, None, 0
    result_shape = section_shape(slices)
    for base, rows in blocks:
        for start in range(rows.start, rows.stop, height):
            stop = min(start + height, rows.stop)
            strip = frame.read(base + start, base + stop)
            mask = bad_samples(frame, strip, ignored)
            pixels = strip.pixels[:: rows.step, columns]
            piece = strip._replace(pixels=pixels).values()
            if frame.unit_factor != 1:
                piece = np.multiply(piece, frame.unit_factor, dtype=np.float64)
            if values is None:
                values = np.empty(prod(result_shape), piece.dtype.newbyteorder("="))
                bad = np.empty(values.shape, bool)
            place = slice(done, done + piece.size)
            values[place] = piece.ravel()
            out = bad[place].reshape(piece.shape)
            np.logical_not(np.isfinite(piece), out=out)
            if mask is not None:
                out |= mask[:: rows.step, columns]
            if thresholds is not None:
                low, high = thresholds
                out |= (piece < low) | (piece > high)
            done += piece.size
    return values.reshape(result_shape), bad.reshape(result_shape)
