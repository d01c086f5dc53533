# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where images are relative to each other, in whole pixels.

Of the sky, of physical coordinates (LTV) or of header keywords, what is found is
rounded to the nearest pixel; what that loses is told in a warning.
"""

import re
import warnings
from itertools import product
from numbers import Real

import numpy as np
from astropy.wcs import WCS, FITSFixedWarning, NoConvergence, Sip

from imcombiners_astro.errors import SubpixelOffsetWarning, warn
from imcombiners_astro.headers import header_number, lookup

__all__ = ["MISFIT", "ROUNDING", "find_offsets", "shift_coordinates"]

ROUNDING = 0.1
"""Parts of a pixel that may be lost without a warning."""

MISFIT = 1.0
"""Most pixels by which scale and rotation may displace the corners of an image."""

# More frames than this are told by the range of their offsets.
_MOST_NUMBERS = 100
_RESAMPLE = (
    "images are only shifted by whole pixels; to resample them use the package "
    "reproject"
)
_REFERENCE = re.compile(r"CRPIX([1-9]\d*)[A-Z]?|LTV([1-9]\d*)")
_LTM = 1e-6  # differences of LTM that mean nothing


def find_offsets(frames, offsets):
    """
    Find the offsets of images.

    Parameters
    ----------
    frames : list of Frame
        The images, N of them, with as many axes each.
    offsets : "wcs", "physical", tuple of str, or sequence of N sequence of int
        As in `~imcombiners_astro.extras.Extras`.

    Returns
    -------
    offsets : list of N tuple of int
        Position of the first pixel of each image relative to that of the first one, in
        NumPy's order of axes.
    lines : list of str
        The numbers, for a header, if they were not given.

    Raises
    ------
    ValueError
        If an image has no such coordinates, or its scale or rotation is not that of the
        first one; it is named. If there is not a number for each axis.

    Warns
    -----
    SubpixelOffsetWarning
        If more than `ROUNDING` of a pixel is lost.

    Notes
    -----
    By "wcs" the shift is that of the center of the first image: the pixel of the first
    image less that of the other one with the same coordinates on the sky. (IRAF takes
    the reference point of the first image, which may be far outside of it.) At the
    corners of the first image the shift may differ by up to `MISFIT` pixels.

    By "physical" it is the difference of LTV, if LTM is the same.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from imcombiners_astro.offsets import find_offsets
    >>> frames = [
    ...     SimpleNamespace(name="", shape=(4, 4), header={"XOFF": x, "YOFF": 0})
    ...     for x in (10, 12)
    ... ]
    >>> find_offsets(frames, ("XOFF", "YOFF"))
    ([(0, 0), (0, 2)], ['offsets found: (0, 0), (0, 2)'])
    """
    ndim = len(frames[0].shape)
    if not isinstance(offsets, str) and not isinstance(offsets[0], str):
        if len(offsets[0]) != ndim:
            raise ValueError(
                f"offsets: found {len(offsets[0])} numbers for each image, expected "
                f"{ndim} as images have axes."
            )
        first = offsets[0]
        rows = [zip(row, first, strict=True) for row in offsets]
        return [tuple(at - start for at, start in row) for row in rows], []
    if isinstance(offsets, str) and offsets == "wcs":
        found, misfits = _by_wcs(frames)
    else:
        find = _by_physical if isinstance(offsets, str) else _by_keywords
        found, misfits = find(frames, offsets), np.zeros(len(frames))
    whole = np.rint(found)
    lost = np.maximum(np.abs(found - whole).max(axis=1, initial=0), misfits)
    if lost.max() > ROUNDING:
        k = int(lost.argmax())
        warn(
            f"offsets={offsets!r}: shifted by whole pixels, {frames[k].name} is up to "
            f"{lost[k]:.2f} pixels off, and {np.count_nonzero(lost > ROUNDING)} of "
            f"{len(frames)} images are by more than {ROUNDING}; {_RESAMPLE}.",
            SubpixelOffsetWarning,
        )
    # From here on in the order of NumPy.
    found = [tuple(map(int, row)) for row in whole[:, ::-1]]
    return found, [f"offsets found: {_shown(found)}"]


def _shown(offsets):
    if len(offsets) <= _MOST_NUMBERS:
        return ", ".join(map(str, offsets))
    low, high = np.min(offsets, axis=0), np.max(offsets, axis=0)
    return f"{tuple(low.tolist())} to {tuple(high.tolist())}"


# -------------------------------------------------------------------- the sky


def _by_wcs(frames):
    """Return shifts (N, ndim) in the order of FITS, and how much they vary (N,)."""
    from astropy.wcs.utils import pixel_to_pixel  # which brings coordinates along

    first = _wcs_of(frames[0])
    shape = frames[0].shape[::-1]
    center = [(n - 1) / 2 for n in shape]
    corners = product(*[(0, n - 1) for n in shape])
    points = np.array([center, *corners]).T
    shifts, misfits = np.zeros((len(frames), len(shape))), np.zeros(len(frames))
    for k, frame in enumerate(frames[1:], start=1):
        wcs = _wcs_of(frame)
        try:
            there = np.array(pixel_to_pixel(first, wcs, *points))
        except NoConvergence:
            there = np.full(points.shape, np.nan)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"offsets='wcs': the coordinates of {frame.name} cannot be compared "
                f"with those of {frames[0].name}: {error}"
            ) from error
        moved = points - there
        shifts[k] = moved[:, 0]
        misfits[k] = np.abs(moved.T - moved[:, 0]).max()
        if not misfits[k] <= MISFIT:
            raise ValueError(
                f"offsets='wcs': {frame.name} is not a shifted {frames[0].name}: its "
                "scale, rotation, projection or distortion displaces the corners by "
                f"{misfits[k]:.3g} pixels beside the shift, expected at most "
                f"{MISFIT:g}; {_RESAMPLE}."
            )
    return shifts, misfits


def _wcs_of(frame):
    """Return the WCS of a frame, as ``CCDData.read`` would find it."""
    ccd = getattr(frame, "ccd", None)
    if ccd is not None:
        wcs = ccd.wcs
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FITSFixedWarning)
                wcs = WCS(frame.header)
        except (ValueError, TypeError) as error:  # those of the library of WCS, too
            raise ValueError(
                f"offsets='wcs': {frame.name} has a WCS that cannot be used: {error}"
            ) from error
        wcs = wcs if any(wcs.wcs.ctype) else None
    if wcs is None:
        raise ValueError(f"offsets='wcs': {frame.name} has no WCS.")
    n_axes = getattr(wcs, "low_level_wcs", wcs).pixel_n_dim
    if n_axes != len(frame.shape):
        raise ValueError(
            f"offsets='wcs': the WCS of {frame.name} is for {n_axes} axes, the image "
            f"has {len(frame.shape)}."
        )
    return wcs


# ----------------------------------------------------------------- the header


def _by_physical(frames, _):
    """Return shifts (N, ndim) in the order of FITS."""
    ndim = len(frames[0].shape)
    axes = range(1, ndim + 1)
    if not any(lookup(f.header, [f"LTV{i}" for i in axes]) for f in frames):
        raise ValueError(
            "offsets='physical': no image has physical coordinates (LTV1, LTV2, ...)."
        )
    vectors, matrices = [], []
    for frame in frames:
        vectors.append([_number(frame, f"LTV{i}", 0.0) for i in axes])
        matrices.append(
            [[_number(frame, f"LTM{i}_{j}", float(i == j)) for j in axes] for i in axes]
        )
        if np.abs(np.subtract(matrices[-1], matrices[0])).max() > _LTM:
            raise ValueError(
                f"offsets='physical': LTM of {frame.name} is {matrices[-1]}, that of "
                f"{frames[0].name} {matrices[0]}; they must be the same."
            )
    return np.subtract(vectors[0], vectors)


def _number(frame, keyword, default):
    if lookup(frame.header, [keyword]) is None:
        return default
    return header_number(frame, [keyword], "offsets", "such keyword")[0]


def _by_keywords(frames, keywords):
    """Return shifts (N, ndim) in the order of FITS."""
    ndim = len(frames[0].shape)
    if len(keywords) != ndim:
        raise ValueError(
            f"offsets: found {len(keywords)} keywords, expected {ndim} as images have "
            "axes."
        )
    shifts = [
        [header_number(frame, [key], "offsets", "such keyword")[0] for key in keywords]
        for frame in frames
    ]
    return np.subtract(shifts, shifts[0])


# ----------------------------------------------------------------- the result


def shift_coordinates(result, placement):
    """
    Make the coordinates of the first image those of the result.

    Parameters
    ----------
    result : `~astropy.nddata.CCDData`
        With the header and WCS of the first image, which are changed: CRPIX, what
        distortions refer to, and LTV, if there are physical coordinates.
    placement : Placement
        Where it is in the result.
    """
    moved = placement.positions[0][::-1]  # the order of FITS
    if result.wcs is not None:
        _shift_wcs(result.wcs, moved, placement.shape)
    header = result.meta
    known = {str(key).upper(): key for key in header}
    is_physical = any(re.fullmatch(r"LT[VM]\d.*", keyword) for keyword in known)
    for i, n in enumerate(moved, start=1) if is_physical else ():
        if n and f"LTV{i}" not in known:
            header[f"LTV{i}"] = 0.0
            known[f"LTV{i}"] = f"LTV{i}"
    for keyword, key in known.items():
        match = _REFERENCE.fullmatch(keyword)
        axis = int(match[1] or match[2]) if match else 0
        if 0 < axis <= len(moved) and isinstance(header[key], Real):
            header[key] += float(moved[axis - 1])


def _shift_wcs(wcs, moved, shape):
    n_axes = min(len(moved), wcs.naxis)
    if any(moved):
        wcs.wcs.crpix[:n_axes] += moved[:n_axes]
        if wcs.sip is not None:
            sip = wcs.sip
            crpix = sip.crpix + moved[:2]
            wcs.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, crpix)
        # Tables of distortions have their reference point in pixels of the image.
        for table in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2):
            if table is not None:
                table.crval = np.asarray(table.crval) + moved[:2]
        if wcs.pixel_bounds is not None:
            each = zip(wcs.pixel_bounds, moved, strict=False)
            wcs.pixel_bounds = [b and (b[0] + n, b[1] + n) for b, n in each]
    if wcs.pixel_shape is not None and len(shape) == wcs.naxis:
        wcs.pixel_shape = shape[::-1]
