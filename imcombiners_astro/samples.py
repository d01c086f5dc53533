# Licensed under a 3-clause BSD style license - see LICENSE
"""What goes into a combination: a stack with its options, and the statistic wanted."""

from typing import NamedTuple

import numpy as np

from imcombiners_astro import arguments as args

__all__ = [
    "Samples",
    "Statistic",
    "as_mask",
    "as_raw",
    "common_interval",
    "interval",
    "join",
    "parse_diagnostics",
    "percentages",
    "work_dtype",
]

_METHODS = {
    "mean": ("mean", "average", "avg"),
    "median": ("median", "med"),
    "lmedian": ("lmedian", "lmed"),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "variance": ("variance", "var"),
    "std": ("std",),
    "percentile": ("percentile",),
    "quadrature": ("quadrature",),
    "nmodel": ("nmodel",),
}
NOISE = ("gain", "rdnoise", "snoise")
METHODS = {alias: name for name, aliases in _METHODS.items() for alias in aliases}


def work_dtype(dtype, name="arr"):
    """
    Return the type in which samples of type ``dtype`` are worked on.

    Parameters
    ----------
    dtype : `~numpy.dtype`
        Type of an array.
    name : str
        What the array is called in an error.

    Returns
    -------
    `~numpy.dtype`
        float32 where that holds every sample exactly, else float64.

    Raises
    ------
    TypeError
        If the type is none that the kernels read.
    """
    if dtype.kind in "iu":
        return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return dtype.newbyteorder("=")
    raise TypeError(
        f"{name}: found dtype {dtype}, "
        "expected integers of 8 to 64 bits, float32 or float64"
    )


class Samples(NamedTuple):
    """
    A stack, and with which values its samples enter.

    Attributes
    ----------
    stack : `~numpy.ndarray` (N, *spatial)
        As the caller gave it.
    mask : bool `~numpy.ndarray` (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    thresholds : (float, float), optional
        Raw values outside are not to be used.
    zero, scale : float64 `~numpy.ndarray` (N,), optional
        Value = (raw - zero) / scale.
    applied : (`~numpy.ndarray`, `~numpy.ndarray`), optional
        Zero and scale that the raw values have behind them.
    """

    stack: np.ndarray
    mask: np.ndarray | None = None
    thresholds: tuple[float, float] | None = None
    zero: np.ndarray | None = None
    scale: np.ndarray | None = None
    applied: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, arr, mask=None, validate=True):
        """Return the samples of arrays that a caller gave, checked if ``validate``."""
        if isinstance(arr, np.ma.MaskedArray):
            hidden = np.ma.getmaskarray(arr)
            arr, mask = arr.data, join(as_mask(mask, arr.shape), hidden)
        if not validate:
            return cls(arr, mask)
        if not isinstance(arr, np.ndarray):
            raise TypeError(
                f"arr: found {type(arr).__name__}, "
                "expected a NumPy array of shape (N, *spatial)"
            )
        if arr.ndim < 2:
            raise ValueError(
                "arr must have at least 2 dimensions, (N, *spatial); "
                f"found shape {arr.shape}"
            )
        if len(arr) == 0:
            raise ValueError(f"arr: found shape {arr.shape}, expected at least 1 frame")
        work_dtype(arr.dtype)
        return cls(arr, as_mask(mask, arr.shape))

    @property
    def dtype(self):
        """Type of the workspace."""
        return work_dtype(self.stack.dtype)

    @property
    def counts(self):
        """Zero and scale of all frames: counts = scale * value + zero."""
        if self.zero is None and self.scale is None and self.applied is None:
            return None
        n_frames = len(self.stack)
        zero = np.zeros(n_frames) if self.zero is None else self.zero
        scale = np.ones(n_frames) if self.scale is None else self.scale
        if self.applied is None:
            return zero, scale
        earlier_zero, earlier_scale = self.applied
        return earlier_zero + earlier_scale * zero, earlier_scale * scale

    def settled(self):
        """Return the samples with zero and scale behind them."""
        if self.zero is None and self.scale is None:
            return self
        # As the kernel does it: in double precision, rounded once.
        values = np.empty(self.stack.shape, self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for k, plane in enumerate(self.stack):
                value = plane.astype(np.float64)
                if self.zero is not None:
                    value -= self.zero[k]
                if self.scale is not None:
                    value /= self.scale[k]
                values[k] = value
        return Samples(values, self.mask, applied=self.counts)


def as_mask(mask, shape):
    """Return a mask as booleans of the shape of the stack, or of one frame."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape not in (shape, shape[1:]):
        flat = (shape[0], int(np.prod(shape[1:])), 1)
        if mask.shape != flat or len(shape) == 3:
            raise ValueError(
                f"mask shape {mask.shape} does not match arr: "
                f"expected {shape} or {shape[1:]}"
            )
        mask = mask.reshape(shape)
    return mask.astype(bool, copy=False)


def join(mask, other):
    """Return the union of two masks, either of which may be None or of one frame."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask | other


def interval(thresholds):
    """Return (low, upp) as floats with ``low <= upp``."""
    low, upp = args.pair("thresholds", thresholds, "a pair (low, upp)")
    if not low <= upp:
        raise ValueError(
            f"thresholds: found ({low}, {upp}), expected low <= upp, neither NaN"
        )
    return low, upp


def parse_diagnostics(diagnostics, full=False):
    """Return None, "simple" or "full" for the two spellings there are."""
    if full:
        if diagnostics is not None:
            raise ValueError("give either diagnostics or full, not both")
        return "simple"
    known = isinstance(diagnostics, str) and diagnostics in ("simple", "full")
    if diagnostics is not None and not known:
        raise ValueError(
            f"diagnostics: found {diagnostics!r}, expected None, 'simple' or 'full'"
        )
    return diagnostics


class Statistic(NamedTuple):
    """
    What a column becomes.

    Attributes
    ----------
    name : str
        The kernel's name.
    q : float or tuple of float, optional
        Percentages.
    ddof : int
        Delta degrees of freedom of "variance" and "std".
    weights : `~numpy.ndarray` (N,) or (N, *spatial), optional
        Weights of "wmean", "quadrature" and "nmodel".
    noise : dict, optional
        ``gain``, ``rdnoise`` and ``snoise`` of "nmodel".
    """

    name: str
    q: float | tuple[float, ...] | None = None
    ddof: int = 0
    weights: np.ndarray | None = None
    noise: dict | None = None

    @classmethod
    def of(cls, method, shape, *, q=None, ddof=0, weight=None, noise=None):
        """Return the statistic that a caller asked for, checked for a stack."""
        name = args.choice("combine", method, METHODS, "combine method")
        if (q is None) is (name == "percentile"):
            raise ValueError(
                "combine='percentile' needs q"
                if q is None
                else f"q: found {q!r} with combine={method!r}, expected 'percentile'"
            )
        if q is not None:
            q = percentages(q)
        if weight is not None:
            if name not in ("mean", "quadrature", "nmodel"):
                raise ValueError(
                    f"weight: found with combine={method!r}, "
                    "expected 'mean', 'quadrature' or 'nmodel'"
                )
            name = "wmean" if name == "mean" else name
            weight = as_weights(weight, shape)
        if name == "nmodel":
            noise = checked_noise(noise or {}, shape[0])
        elif noise is not None:
            raise ValueError(f"noise: found with combine={method!r}, expected 'nmodel'")
        return cls(name, q, args.integer("ddof", ddof), weight, noise)


def checked_noise(noise, n_frames):
    """Return the noise of "nmodel" as the kernel reads it."""
    unknown = [key for key in noise if key not in NOISE]
    if unknown:
        raise ValueError(
            f"noise: unknown key {unknown[0]!r}; expected some of {', '.join(NOISE)}"
        )
    return args.noise_options(noise, n_frames)


def percentages(q):
    """Return one percentage, or a tuple of them."""
    expected = "a percentage between 0 and 100, or a 1-D sequence of them"
    if np.ndim(q) == 0:
        return args.real("q", q, expected, lambda number: 0 <= number <= 100)
    if np.ndim(q) > 1:
        raise ValueError(f"q: found {np.ndim(q)} dimensions, expected {expected}")
    return tuple(percentages(number) for number in q)


def as_weights(weight, shape):
    """Return weights of the frames or of the samples as the kernel reads them."""
    if np.ndim(weight) <= 1:
        return args.vector("weight", weight, shape[0])
    weight = np.asarray(weight)
    if weight.shape != shape:
        raise ValueError(
            f"weight: found shape {weight.shape}, expected ({shape[0]},) or {shape}"
        )
    if weight.dtype.kind not in "iuf":
        raise TypeError(f"weight: found dtype {weight.dtype}, expected numbers")
    if weight.dtype.kind != "f" or weight.dtype.itemsize not in (4, 8):
        weight = weight.astype(np.float64)
    if not np.isfinite(weight).all():
        raise ValueError("weight: found NaN or infinity, expected finite values")
    return weight


def as_raw(image, dtype):
    """Return an image of values of a stack in the type of the stack, if exact."""
    exact = dtype.kind == "f" or dtype.itemsize <= 4
    return image.astype(dtype.newbyteorder("=")) if exact else image


def common_interval(thresholds):
    """Return what one pair of thresholds, or several of them, have in common."""
    try:
        several = np.ndim(thresholds) == 2
    except ValueError:
        several = True
    pairs = [interval(pair) for pair in (thresholds if several else [thresholds])]
    low = max((pair[0] for pair in pairs), default=-np.inf)
    upp = min((pair[1] for pair in pairs), default=np.inf)
    # Nothing in common: no sample is at infinity.
    return (low, upp) if low <= upp else (np.inf, np.inf)
