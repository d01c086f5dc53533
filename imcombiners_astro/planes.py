# Licensed under a 3-clause BSD style license - see LICENSE
"""
The one door to the compiled kernels: planes in, products out.

Everything the package does ends in `combine_planes`. It takes images as they
are (any numeric type, any byte order, slices of larger arrays), a `Plan`, and
arrays to write to. Users of arrays want `imcombiners_astro.kernels` or
`~imcombiners_astro.combine`; this module is for those who build on them.
"""

from collections.abc import Iterable, Sized
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

import numpy as np

from imcombiners_astro import _core

__all__ = [
    "ErrorScaling",
    "FitsScaling",
    "Plan",
    "combine_column",
    "combine_planes",
    "default_threads",
    "grow_mask",
    "reduce_column",
    "set_default_threads",
    "simd_level",
    "simd_levels",
]


# For those who hold the recipe of a plan themselves:
# - mask, spread and limits as numbers of the workspace type, passes and flags;
# - the statistic, with weights if need be, rounded to the workspace type;
# - percentiles, rounded to single precision if so told.
COLUMN_KERNELS = (
    _core.diagnose_column,
    _core.reduce_column,
    _core.percentiles_of_column,
)


class FitsScaling(NamedTuple):
    """
    How the raw values of a FITS image become physical ones.

    Attributes
    ----------
    unsigned : bool
        The convention for unsigned integers: BSCALE = 1, BZERO = 2**(bits-1)
        (for BITPIX = 8: signed bytes, BZERO = -128). The other fields are then
        ignored, but for ``blank``.
    bscale, bzero : float
        Physical value = ``bscale * raw + bzero``, in single precision for
        BITPIX 8, 16 and -32 and in double precision for the others, as astropy
        computes it.
    blank : int or None
        Raw integer that stands for an undefined value.
    """

    unsigned: bool = False
    bscale: float = 1.0
    bzero: float = 0.0
    blank: int | None = None


class ErrorScaling(NamedTuple):
    """
    How the errors of an image become variances.

    Attributes
    ----------
    kind : {"var", "std", "ivar"}
        What they are: variances, standard deviations (which are squared), or inverse
        variances (of which 0 becomes infinity); in double precision.
    factor : float
        Variances are multiplied by it; positive.
    """

    kind: str = "var"
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to do with every column of samples.

    A sample that is NaN or infinite, outside ``thresholds`` (raw values) or
    masked is absent. The rest is transformed, goes through ``steps`` and what
    is left becomes the ``statistic``.

    Parameters
    ----------
    statistic : str
        "mean", "median", "lmedian" (the lower of the two middle samples),
        "sum", "min", "max", "variance", "std", "wmean" (weighted mean), "wsum"
        (weighted sum), "percentile", "quadrature" or "nmodel".
    steps : tuple of (str, dict)
        Rejection: "sigclip", "ccdclip", "avsigclip", "linearclip", "pclip",
        "extrema" or "range", with its options.
    work : {"f8", "f4"}
        Workspace type. "f4" holds 8 and 16-bit integers and float32 samples
        exactly; sums, means, spreads and bounds are in double precision anyway.
    thresholds : (float, float), optional
        Raw values outside are absent.
    independent : bool
        Every step judges the whole column, masked samples included, and the
        union is rejected, as `ccdproc.Combiner` does. Otherwise a step sees
        what the steps before have left.
    transform_after : bool
        Zero, factor and scale are applied after the rejection (as ccdproc).
    uncertainty : str, optional
        From the scatter of the samples used: "std_error" (std/sqrt(n)),
        "mad_error" (1.4826 MAD/sqrt(n)), "std_sum" (std*sqrt(n)) or "scatter"
        (IRAF's sigma: ddof = 1, about the result). From what is known of them
        (see Notes): "propagate" (their variances) or "noise" (the noise model
        ``noise`` at the level of the result).
    q : float, optional
        Percentage for "percentile".
    ddof : int
        Delta degrees of freedom of "variance" and "std".
    blank : float
        Value where no sample is left; NaN stands for the default, which is NaN
        (for sums 0).
    noise : (gain, rdnoise, snoise), or dict of these, optional
        Numbers, or one for each frame, for the uncertainty "noise" and for the
        statistic "nmodel", which also knows ``scales`` and ``zeros``: electrons
        per data unit, electrons, and a fraction of the signal.
    ivar : bool
        "wmean" weights every sample with the inverse of its variance. A sample
        whose weight is not positive and finite counts as masked (its variance is
        0, negative, infinite or NaN).

    Notes
    -----
    With the variances v of the n samples used, ``v (factor/scale)**2`` after the
    transform, the uncertainties "propagate" and "noise" are

    =============== ==========================================================
    sum             ``sqrt(sum(v))``
    mean            ``sqrt(sum(v)) / n``
    wsum            ``sqrt(sum(w**2 v))``
    wmean           ``sqrt(sum(w**2 v)) / abs(sum(w))``; "propagate" with
                    ``ivar``: ``1 / sqrt(sum(w))``
    median, lmedian ``sqrt(u * f(n))``
    =============== ==========================================================

    and NaN where n is 0, or where any v of them is NaN or negative. They are not
    defined for other statistics. u is the variance of a typical sample: the mean
    ``m = sum(v) / n`` for n < 3, else ``((n - 1) h**2 + m) / n`` with the harmonic
    mean ``h = n / sum(1 / sqrt(v))`` of the errors. f(n) is the
    variance of the median of n normal samples, ``pi / (2 (n + c))`` with
    c = pi/2 - 1 for odd and pi - 2 for even n (the rule of SWarp; its root is
    within 3 % of the truth), and 1/n for n < 3.
    "lmedian" takes c = pi/2 - 1 for every n, and f(2) = 1 - 1/pi, the variance of
    the smaller of two samples.

    For "noise", v of frame k is ``(rdnoise/gain)**2 + S/gain + (snoise S)**2``,
    the noise model of a CCD (as in IRAF's ccdclip), at the signal
    ``S = max(0, image * (scale/factor) + zero)`` that the result means for that
    frame; of sums, the mean. So v does not follow the noise of its own sample.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.planes import Plan, combine_planes
    >>> stack, variances = np.array([[1.0], [2.0], [6.0]]), np.full((3, 1), 0.75)
    >>> image, sigma = np.empty(1), np.empty(1)
    >>> combine_planes(
    ...     stack,
    ...     Plan("mean", uncertainty="propagate"),
    ...     {"image": image, "uncertainty": sigma},
    ...     variances=variances,
    ... )
    >>> image, sigma
    (array([3.]), array([0.5]))
    >>> combine_planes(
    ...     stack,
    ...     Plan("mean", uncertainty="noise", noise=(2.0, 5.0, 0.0)),
    ...     {"uncertainty": sigma},
    ... )
    >>> bool(sigma[0] == np.sqrt((2.5**2 + 3 / 2) / 3))
    True
    """

    statistic: str = "mean"
    steps: tuple = ()
    work: str = "f8"
    thresholds: tuple[float, float] | None = None
    independent: bool = False
    transform_after: bool = False
    uncertainty: str | None = None
    q: float | None = None
    ddof: int = 0
    blank: float = nan
    noise: dict | tuple | None = None
    ivar: bool = False
    _recipe: object = field(default=None, init=False, repr=False, compare=False)

    @property
    def recipe(self):
        """The plan as the kernels understand it, made when it is first used."""
        if self._recipe is None:
            object.__setattr__(self, "_recipe", _core.Recipe(self))
        return self._recipe


def combine_planes(
    pixels,
    plan,
    outputs,
    *,
    masks=None,
    weights=None,
    zero=None,
    factor=None,
    scale=None,
    fits=None,
    variances=None,
    errors=None,
    flags=None,
    places=None,
    zeroed=False,
    n_threads=None,
):
    """
    Combine planes pixel by pixel.

    Parameters
    ----------
    pixels : `~numpy.ndarray` (N, *shape), or sequence of N of shape ``shape``
        Integers of 8 to 64 bits, float32 or float64, in either byte order. No
        plane is copied unless its last axis is not contiguous.
    plan : `Plan`
        What to do.
    outputs : dict of str to `~numpy.ndarray`
        C-contiguous arrays to write. Of shape ``shape``: "image",
        "uncertainty", "low", "upp", "std" (float32 or float64), "n_used",
        "n_rejected_low", "n_rejected_high" (uint16), "mask" (bool), "nit",
        "output_flags" (uint8), "dq" (uint32; all bits of the flags of the
        samples used). Of shape ``(N, *shape)``: "mask_rej",
        "mask_thresh" (bool), "sample_flags" and "sample_sides" (uint8; the side at
        which a sample was rejected: 1 low, 2 high, 0 neither); of these it is enough
        that every plane is contiguous. Of shape ``(N,)``, int64: "frame_used",
        "frame_rejected_low", "frame_rejected_high" (samples of every frame), and
        "frame_negative", which is 1 where any of the ``variances`` read is negative.
        With "sample_notes": None and ``zeroed``, few "sample_flags" are not written but
        noted: None becomes an int64 array of ``sample << 8 | flags``, in any order,
        where samples are counted through the cube.
    masks : bool `~numpy.ndarray` (N, *shape) or ``shape``, or sequence, optional
        True where a sample is bad. Items of a sequence may be None.
    weights : array-like (N,), `~numpy.ndarray` (N, *shape), or sequence, optional
        For "wmean" and "wsum".
    zero, factor, scale : array-like (N,), optional
        A sample enters as ``(raw - zero) * factor / scale``.
    fits : sequence of N `FitsScaling` or None, optional
        For planes of raw FITS values.
    variances : `~numpy.ndarray` (N, *shape), or sequence, optional
        Variances of the samples before zero, factor and scale, in the square of
        their unit, float32 or float64, for plans that need them (``uncertainty``
        "propagate", ``ivar``); they need those of every frame, others read none.
    errors : sequence of N `ErrorScaling` or None, optional
        For planes of ``variances`` that hold something else. A negative one stands
        for NaN, whatever it is.
    flags : `~numpy.ndarray` (N, *shape), or sequence, optional
        Integers of 8 to 32 bits for the output "dq"; bits of signed integers are
        taken as they are. Items of a sequence may be None. Flags do not mask.
    places : ((int, int), sequence of N (int or `~numpy.ndarray`, int)), optional
        For planes of two dimensions that cover a part of the products only: the
        ``shape`` of these, and for each plane the row and the column of its first
        pixel in them. In place of the row there may be an int64 array of the rows of
        all its rows, ascending. Planes may have different shapes, also without rows;
        what belongs to a plane (mask, weights, variances, flags) has its shape. A
        sample outside is absent, like one that is NaN (``SampleFlags.NONFINITE``); it
        does not spoil the statistics of a clipping as a NaN may.
    zeroed : bool, optional
        Whether all integers and booleans in the outputs are 0, as `numpy.zeros` makes
        them at no cost. Then those need not be written where nothing happens to a
        sample.
    n_threads : int, optional
        Threads; the result does not depend on it.

    Raises
    ------
    ValueError
        Shapes that do not agree, options that make no sense, or an output that
        is not contiguous (for a cube: each plane of it), not writable or shares memory
        with an input.
    TypeError
        Arrays of a type that cannot be read or written.

    Notes
    -----
    The interpreter is released while the kernels run. Another thread that
    writes to the inputs meanwhile makes the result unspecified.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.planes import Plan, combine_planes
    >>> stack = np.array([[1, 2], [3, 4], [5, 9]], dtype=">i2")
    >>> image = np.empty(2)
    >>> combine_planes(stack, Plan("median", work="f4"), {"image": image})
    >>> image
    array([3., 4.])

    Two planes of one row, of which the second is a column further to the right:

    >>> rows, image = [np.array([[1.0, 2.0]]), np.array([[4.0, 8.0]])], np.empty((1, 3))
    >>> places = ((1, 3), [(0, 0), (0, 1)])
    >>> combine_planes(rows, Plan("mean"), {"image": image}, places=places)
    >>> image
    array([[1., 3., 8.]])
    """
    _core.combine(
        _readable(pixels),
        plan.recipe,
        outputs,
        _readable(_one_mask_for_all(masks, pixels)),
        _readable(weights),
        zero,
        factor,
        scale,
        fits,
        _readable(variances),
        errors,
        _readable(flags),
        places,
        zeroed,
        n_threads,
    )


def _one_mask_for_all(masks, pixels):
    """Repeat a single mask for every plane, without copying it."""
    stacked = pixels.ndim > 0 if isinstance(pixels, np.ndarray) else True
    if not (isinstance(masks, np.ndarray) and stacked and isinstance(pixels, Sized)):
        return masks
    if not len(pixels):
        return masks
    image_shape = np.shape(pixels[0])
    one = masks.shape == image_shape
    return np.broadcast_to(masks, (len(pixels), *image_shape)) if one else masks


def _readable(planes):
    """Copy the planes whose last axis is not contiguous; the kernels read rows."""
    if isinstance(planes, np.ndarray):
        return planes if _has_rows(planes, 1) else np.ascontiguousarray(planes)
    if not isinstance(planes, Iterable):
        return planes
    return [
        plane
        if not isinstance(plane, np.ndarray) or _has_rows(plane, 0)
        else np.ascontiguousarray(plane)
        for plane in planes
    ]


def _has_rows(array, n_leading):
    return (
        array.ndim <= n_leading
        or array.shape[-1] <= 1
        or array.strides[-1] == array.itemsize
    )


def combine_column(values, plan, mask=None):
    """
    Combine one column of samples, with everything that is known about it.

    Parameters
    ----------
    values : `~numpy.ndarray` (N,)
        The samples.
    plan : `Plan`
        What to do. Using the same object again saves most of the time.
    mask : bool `~numpy.ndarray` (N,), optional
        True where a sample is bad.

    Returns
    -------
    image : float
        The statistic.
    mask_rej : bool `~numpy.ndarray` (N,)
        True for the samples not used.
    std, low, upp : float
        Spread of the last clipping pass; smallest and largest sample used.
    nit, output_flags : int
        As the products of `combine_planes`.

    Raises
    ------
    ValueError, TypeError
        As `combine_planes`.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.planes import Plan, combine_column
    >>> plan = Plan("mean", (("extrema", {"low": 0, "high": 1}),))
    >>> combine_column(np.array([1.0, 2.0, 9.0]), plan)[:2]
    (1.5, array([False, False,  True]))
    """
    return _core.combine_column(values, plan.recipe, mask)


def reduce_column(values, plan, mask=None):
    """
    Combine one column of samples to its statistic.

    Parameters
    ----------
    values, plan, mask
        As for `combine_column`.

    Returns
    -------
    float
        The statistic.

    Raises
    ------
    ValueError, TypeError
        As `combine_planes`.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.planes import Plan, reduce_column
    >>> reduce_column(np.array([1.0, 2.0, 9.0]), Plan("median"))
    2.0
    """
    return _core.combine_column(values, plan.recipe, mask)[0]


def grow_mask(mask, radius, n_threads=None):
    """
    Mark everything near a marked sample, frame by frame.

    Parameters
    ----------
    mask : bool `~numpy.ndarray` (N, *shape)
        The seeds.
    radius : float
        Euclidean radius in pixels, over all axes but the first; below 1 nothing
        is added.
    n_threads : int, optional
        Threads.

    Returns
    -------
    bool `~numpy.ndarray` (N, *shape)
        The seeds and their surroundings, clipped at the borders.

    Raises
    ------
    ValueError
        If ``radius`` is negative or not finite.
    TypeError
        If ``mask`` is not an array of booleans.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.planes import grow_mask
    >>> mask = np.zeros((1, 3, 3), bool)
    >>> mask[0, 1, 1] = True
    >>> grow_mask(mask, 1).astype(int)
    array([[[0, 1, 0],
            [1, 1, 1],
            [0, 1, 0]]])
    """
    return _core.grow_mask(mask, radius, n_threads)


def simd_level():
    """
    Return the instruction set in use: "base", "avx2" or "avx512".

    The environment variable ``IMCOMBINERS_SIMD`` forces one. Results are the
    same bit for bit.
    """
    return _core.simd_level()


def simd_levels():
    """Return the instruction sets that this processor has."""
    return _core.simd_levels()


def default_threads():
    """
    Return the number of threads used when a call does not say.

    It is what `set_default_threads` was given, else the environment variable
    ``RAYON_NUM_THREADS``, else the number of processors available.
    """
    return _core.default_threads()


def set_default_threads(n_threads):
    """
    Set the number of threads used when a call does not say.

    Parameters
    ----------
    n_threads : int
        At least 1.

    Raises
    ------
    ValueError
        If ``n_threads`` is 0.
    """
    _core.set_default_threads(n_threads)
