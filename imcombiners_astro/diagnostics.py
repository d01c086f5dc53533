# Licensed under a 3-clause BSD style license - see LICENSE
"""The arrays that say what happened to samples and pixels: names, types and checks."""

from enum import Enum
from typing import NamedTuple

import numpy as np

from imcombiners_astro.products import NotedCube

__all__ = ["DIAGNOSTICS", "Derived", "Diagnostic", "checked_array", "take"]


class Derived(Enum):
    """
    Stands for a diagnostic that is made of another one when somebody asks for it.

    Most never do, and a cube costs more time than it takes to combine some images.
    """

    FROM_FLAGS = "mask_rej, made of sample_flags"


class Diagnostic(NamedTuple):
    """
    An array that comes with a combined image.

    Attributes
    ----------
    dtype : str
        Its type: ``"?"`` (bool), ``"u1"``, ``"u2"``, ``"u4"``, or ``"f"`` for float32
        or float64.
    is_cube : bool
        Whether it has the shape (N, *shape), a value for each sample, instead of
        (*shape), a value for each pixel.
    extname : str
        Name of its FITS extension.
    description : str
        What it is, in a few words.
    """

    dtype: str
    is_cube: bool
    extname: str
    description: str

    @property
    def is_value(self):
        """Whether it holds values in the unit of the image."""
        return self.dtype == "f"

    def accepts(self, dtype):
        """Whether an array may be of this type."""
        if self.is_value:
            return dtype.kind == "f" and dtype.itemsize in (4, 8)
        return dtype == np.dtype(self.dtype)


DIAGNOSTICS = {
    "mask_rej": Diagnostic("?", True, "MASKREJ", "True where a sample is not used"),
    "low": Diagnostic("f", False, "LOW", "smallest sample left by the rejection"),
    "upp": Diagnostic("f", False, "UPP", "largest sample left by the rejection"),
    "std": Diagnostic("f", False, "STD", "spread in the last pass of the rejection"),
    "nit": Diagnostic("u1", False, "NIT", "number of passes of the rejection"),
    "output_flags": Diagnostic("u1", False, "OUTFLAGS", "what happened at a pixel"),
    "sample_flags": Diagnostic("u1", True, "SMPFLAGS", "what happened to a sample"),
    "n_used": Diagnostic("u2", False, "NUSED", "number of samples used"),
    "n_rejected_low": Diagnostic("u2", False, "NREJLOW", "samples rejected as too low"),
    "n_rejected_high": Diagnostic(
        "u2", False, "NREJUPP", "samples rejected as too high"
    ),
    "output_dq": Diagnostic("u4", False, "OUTDQ", "flags of the samples used, or-ed"),
}
"""The arrays of a `~imcombiners_astro.CombinedCCDData`: their `Diagnostic` by name."""


def checked_array(name, value, shape):
    """
    Check type and shape of a diagnostic.

    Parameters
    ----------
    name : str
        A key of `DIAGNOSTICS`.
    value : array-like, NotedCube or None
        The array; it is not copied.
    shape : tuple of int
        Shape of the image it belongs to.

    Returns
    -------
    ndarray, NotedCube or None
        A `Derived` and a `~imcombiners_astro.products.NotedCube` stay as they are.

    Raises
    ------
    TypeError
        If it is of another type.
    ValueError
        If its shape does not fit the image.
    """
    if value is None or isinstance(value, Derived):
        return value
    diagnostic = DIAGNOSTICS[name]
    array = value if isinstance(value, NotedCube) else np.asarray(value)
    if not diagnostic.accepts(array.dtype):
        expected = np.dtype(diagnostic.dtype).name
        if diagnostic.is_value:
            expected = "float32 or float64"
        raise TypeError(f"{name} must be of type {expected}, found {array.dtype}.")
    found = array.shape[1:] if diagnostic.is_cube else array.shape
    if found != tuple(shape) or len(array.shape) != len(shape) + diagnostic.is_cube:
        expected = ", ".join(map(str, shape))
        if diagnostic.is_cube:
            expected = f"N, {expected}"
        raise ValueError(
            f"{name} must have the shape ({expected}) for an image of the shape "
            f"{tuple(shape)}, found {array.shape}."
        )
    return array


def take(name, array, item):
    """
    Index a diagnostic as its image is indexed.

    Parameters
    ----------
    name : str
        A key of `DIAGNOSTICS`.
    array : ndarray, Derived or None
        The diagnostic.
    item : int, slice, ndarray, Ellipsis or tuple of these
        The index of the image; all frames of a cube are kept.

    Returns
    -------
    ndarray or None
        A view where the index allows it.
    """
    if array is None or isinstance(array, Derived):
        return array
    if not DIAGNOSTICS[name].is_cube:
        return np.asarray(array[item])
    parts = item if isinstance(item, tuple) else (item,)
    if all(
        isinstance(part, slice | int | np.integer | None | type(Ellipsis))
        and not isinstance(part, bool)
        for part in parts
    ):
        return array[:, *parts]
    # Arrays in an index may move axes about: frame by frame they cannot take the axis
    # of the frames with them.
    return np.stack([plane[item] for plane in array])
