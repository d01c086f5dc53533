# Licensed under a 3-clause BSD style license - see LICENSE
"""Statistics of stacks along their first axis."""

import numpy as np

from imcombiners_astro import stacks
from imcombiners_astro.samples import Samples, Statistic, as_raw

__all__ = [
    "lmedian",
    "maximum",
    "mean",
    "median",
    "minimum",
    "nanaverage",
    "percentiles",
    "summation",
    "variance",
    "weighted_average",
]


def reduced(arr, validate, method, *, keeps_dtype=False, **options):
    """Return a statistic of a stack without rejection."""
    samples = Samples.of(arr, None, validate)
    stack = samples.stack
    statistic = Statistic.of(method, stack.shape, **options)
    if keeps_dtype and stack.dtype.kind in "iu":
        return as_raw(
            stacks.reduce(samples, statistic, image_dtype=np.float64), stack.dtype
        )
    return stacks.reduce(samples, statistic)


def mean(arr, *, validate=True):
    """
    Return the mean along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        Mean; NaN where no sample is finite.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1.0, 5], [2, np.nan], [6, 9]])
    >>> imck.mean(stack)
    array([3., 7.])
    """
    return reduced(arr, validate, "mean")


def median(arr, *, validate=True):
    """
    Return the median along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        Median; NaN where no sample is finite.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1.0, 5], [2, np.nan], [6, 9]])
    >>> imck.median(stack)
    array([2., 7.])
    """
    return reduced(arr, validate, "median")


def lmedian(arr, *, validate=True):
    """
    Return the lower median along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``
        The lower of the two middle samples where their number is even; NaN where no
        sample is finite. Integers of up to 32 bits keep their type.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1.0, 5], [2, np.nan], [6, 9]])
    >>> imck.lmedian(stack)
    array([2., 5.])
    """
    return reduced(arr, validate, "lmedian", keeps_dtype=True)


def summation(arr, *, validate=True):
    """
    Return the sum along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        Sum; 0 where no sample is finite.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1.0, 5], [2, np.nan], [6, 9]])
    >>> imck.summation(stack)
    array([ 9., 14.])
    """
    return reduced(arr, validate, "sum")


def minimum(arr, *, validate=True):
    """
    Return the minimum along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``
        Minimum; NaN where no sample is finite. Integers of up to 32 bits keep their
        type.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1, 5], [2, 7], [6, 9]])
    >>> imck.minimum(stack.astype(np.uint16))
    array([1, 5], dtype=uint16)
    """
    return reduced(arr, validate, "min", keeps_dtype=True)


def maximum(arr, *, validate=True):
    """
    Return the maximum along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``
        Maximum; NaN where no sample is finite. Integers of up to 32 bits keep their
        type.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1, 5], [2, 7], [6, 9]])
    >>> imck.maximum(stack.astype(np.uint16))
    array([6, 9], dtype=uint16)
    """
    return reduced(arr, validate, "max", keeps_dtype=True)


def variance(arr, *, ddof=0, validate=True):
    """
    Return the variance along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    ddof : int
        Delta degrees of freedom: the sum of squares is divided by ``n - ddof``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        Variance; NaN where ``n <= ddof``.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame, or ``ddof`` is negative.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.array([[1.0, 5], [2, np.nan], [6, 9]])
    >>> imck.variance(stack, ddof=1)
    array([7., 8.])
    """
    return reduced(arr, validate, "variance", ddof=ddof)


def percentiles(arr, q, *, validate=True):
    """
    Return percentiles along the first axis, interpolated linearly.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    q : float or sequence of float
        Percentages between 0 and 100.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``, or (len(q), *spatial)
        Percentiles; NaN where no sample is finite.

    Raises
    ------
    ValueError
        If a percentage is not between 0 and 100, or the stack has fewer than two
        dimensions or no frame.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.percentiles(np.array([[1.0], [2], [6]]), [0, 25])
    array([[1. ],
           [1.5]])
    """
    return reduced(arr, validate, "percentile", q=q)


def weighted_average(arr, weights, *, validate=True):
    """
    Return the weighted mean along the first axis.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`. NaN and infinite samples are
        not used.
    weights : array-like (N,) or (N, *spatial)
        Finite weights of the frames, or of the samples.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        ``sum(w * x) / sum(w)`` over the finite samples; NaN where ``sum(w)`` is 0.

    Raises
    ------
    ValueError
        If the weights are not finite or not N, or the stack has fewer than two
        dimensions or no frame.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.weighted_average(np.array([[10.0], [20], [30]]), [1, 1, 2])
    array([22.5])
    """
    return reduced(arr, validate, "mean", weight=weights)


def nanaverage(arr, weights, *, validate=True):
    """
    Return the weighted mean along the first axis: `weighted_average`.

    Parameters
    ----------
    arr, weights, validate
        As in `weighted_average`.

    Returns
    -------
    float32 or float64 `~numpy.ndarray` ``spatial``
        The weighted mean.

    Raises
    ------
    ValueError, TypeError
        As `weighted_average`.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import nanaverage
    >>> nanaverage(np.array([[10.0, np.nan], [20, 5], [30, 5]]), [1, 1, 2])
    array([22.5,  5. ])
    """
    return weighted_average(arr, weights, validate=validate)
