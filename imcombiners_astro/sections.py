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
from imcombiners_astro.strip import fold

__all__ = [
    "parse_section",
    "read_section",
    "section_chunks",
    "section_shape",
    "section_text",
    "thin_section",
]

# Pixels that are read at a time: it takes about 40 bytes for each to judge them.
_CHUNK = 2**17
# Rows of a section with more steps from one to the next are not read as one piece.
_FAR_APART = 3

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
    result_shape = section_shape(slices)
    values, bad, done = None, None, 0
    for piece, out in section_chunks(frame, slices, ignored, thresholds):
        if values is None:
            values = np.empty(prod(result_shape), piece.dtype)
            bad = np.empty(values.shape, bool)
        values[done : done + piece.size] = piece.ravel()
        bad[done : done + piece.size] = out.ravel()
        done += piece.size
    return values.reshape(result_shape), bad.reshape(result_shape)


def section_chunks(frame, slices, ignored=None, thresholds=None):
    """
    Yield the rows of a section of a frame, a few at a time.

    Parameters
    ----------
    frame, slices, ignored, thresholds
        As for `read_section`.

    Yields
    ------
    values : `~numpy.ndarray` (rows, columns)
        The next rows of the section.
    bad : bool `~numpy.ndarray` (rows, columns)
        True where a value is bad. How many rows there are depends on nothing but the
        shape of the frame and the section.
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
    # Rows that are far apart are read one by one.
    few = rows.step > _FAR_APART and len(shape) > 1
    height = 1 if few else max(1, _CHUNK // n_columns // rows.step)
    # Of tiles that are higher than a chunk, several chunks are read together.
    n_together = 1 if few else -(-2 * (frame.row_step - 1) // (height * rows.step)) or 1
    for base, rows in blocks:
        places = range(rows.start, rows.stop, rows.step)
        for first in range(0, len(places), height * n_together):
            several = places[first : first + height * n_together]
            strip = frame.read(base + several[0], base + several[-1] + 1)
            mask = bad_samples(frame, strip, ignored)
            for top in range(0, len(several), height):
                end = min(top + height, len(several))
                index = slice(top * rows.step, (end - 1) * rows.step + 1, rows.step)
                piece = strip._replace(pixels=strip.pixels[index, columns]).values()
                if frame.unit_factor != 1:
                    piece = np.multiply(piece, frame.unit_factor, dtype=np.float64)
                piece = piece.astype(piece.dtype.newbyteorder("="), copy=False)
                bad = ~np.isfinite(piece)
                if mask is not None:
                    bad |= mask[index, columns]
                if thresholds is not None:
                    low, high = thresholds
                    bad |= (piece < low) | (piece > high)
                yield piece, bad


def thin_section(slices, most):
    """
    Take rows of a section at equal distances, so that few pixels are left.

    Parameters
    ----------
    slices : tuple of slice
        As `parse_section` returns them.
    most : int
        Pixels that may be left.

    Returns
    -------
    tuple of slice
        Of the next to last axis of the images (rows) as many as possible; if that is
        one, then fewer along the axes before, and of the last axis (columns) only if
        one row is too much. They lie about the middle.

    Examples
    --------
    >>> from imcombiners_astro.sections import parse_section, thin_section
    >>> thin_section(parse_section(None, (100, 200)), 5000)
    (slice(1, 98, 4), slice(0, 200, 1))
    """
    thinned = list(slices)
    axes = [*range(len(slices) - 2, -1, -1), len(slices) - 1]
    for axis in axes:
        sizes = section_shape(thinned)
        others = prod(sizes) // sizes[axis]
        step = -(-sizes[axis] // max(1, most // others))
        left = -(-sizes[axis] // step)
        first = (sizes[axis] - 1 - step * (left - 1)) // 2
        old = thinned[axis]
        start = old.start + first * old.step
        last = start + step * (left - 1) * old.step
        thinned[axis] = slice(start, last + 1, step * old.step)
    return tuple(thinned)
