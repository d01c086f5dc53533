# Licensed under a 3-clause BSD style license - see LICENSE
"""Statistics of the samples of a single pixel."""

from functools import lru_cache

import numpy as np

from imcombiners_astro import planes
from imcombiners_astro.kernels.plans import (
    PERCENTILES,
    REDUCE,
    combine_column,
    prepared,
)
from imcombiners_astro.samples import percentages, work_dtype
from imcombiners_astro.threads import get_minmax_1d_parallel_threshold

__all__ = [
    "lmedian_1d",
    "max_1d",
    "mean_1d",
    "median_1d",
    "min_1d",
    "percentiles_1d",
    "sum_1d",
    "var_1d",
    "wvg_1d",
]


def mean_1d(values, *, validate=True):
    """
    Return the mean of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The mean; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.mean_1d([1.0, 2.0, np.nan, 63.0])
    22.0
    """
    return combine_column(values, None, validate, None, (), "mean")


def median_1d(values, *, validate=True):
    """
    Return the median of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The median; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.median_1d([1.0, 2.0, np.nan, 63.0])
    2.0
    """
    return combine_column(values, None, validate, None, (), "median")


def lmedian_1d(values, *, validate=True):
    """
    Return the lower median of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The lower median; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.lmedian_1d([1.0, 2.0, np.nan, 63.0])
    2.0
    """
    return combine_column(values, None, validate, None, (), "lmedian")


def sum_1d(values, *, validate=True):
    """
    Return the sum of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The sum; 0 if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.sum_1d([1.0, 2.0, np.nan, 63.0])
    66.0
    """
    return combine_column(values, None, validate, None, (), "sum")


def min_1d(values, *, validate=True):
    """
    Return the minimum of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The minimum; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.min_1d([1.0, 2.0, np.nan, 63.0])
    1.0
    """
    return extreme(values, validate, "min")


def max_1d(values, *, validate=True):
    """
    Return the maximum of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The maximum; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.max_1d([1.0, 2.0, np.nan, 63.0])
    63.0
    """
    return extreme(values, validate, "max")


def var_1d(values, *, ddof=0, validate=True):
    """
    Return the variance of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    ddof : int
        Delta degrees of freedom: the sum of squares is divided by ``n - ddof``.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        The variance; NaN if no value is finite.

    Raises
    ------
    ValueError
        If the values are not 1-D, or there are none.
    TypeError
        If they are of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> imck.var_1d([1.0, 2.0, np.nan, 63.0], ddof=1)
    1261.0
    """
    return combine_column(values, None, validate, None, (), "variance", None, ddof)


def extreme(values, validate, method):
    """Return the smallest or largest of the values; of many, with several threads."""
    values, mask = prepared(values, None, validate)
    rows = 64
    is_long = values.size >= max(get_minmax_1d_parallel_threshold(), rows)
    if is_long and values.ndim == 1 and mask is None:
        # The extremes of 64 pieces side by side, then the extreme of what that gives.
        length = values.size // rows
        image = np.empty(length, work_dtype(values.dtype))
        plan = planes.Plan(method, work=image.dtype.str[1:])
        pieces = values[: rows * length].reshape(rows, length)
        planes.combine_planes(pieces, plan, {"image": image})
        values = np.concatenate([image, values[rows * length :]], dtype=image.dtype)
    return combine_column(values, mask, False, None, (), method)


def percentiles_1d(values, q, *, validate=True):
    """
    Return percentiles of the finite values of a vector, interpolated linearly.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    q : float or sequence of float
        Percentages between 0 and 100.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float or float64 `~numpy.ndarray` (len(q),)
        Percentiles; NaN if no value is finite.

    Raises
    ------
    ValueError
        If a percentage is not between 0 and 100, or the values are not 1-D, or there
        are none.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import imcombiners_astro.kernels as imck
    >>> imck.percentiles_1d([1.0, 2.0, 6.0], 25)
    1.5
    """
    values, mask = prepared(values, None, validate)
    key = q.tolist() if isinstance(q, np.ndarray) else q
    try:
        ranks, is_one, single = _remembered(
            values.dtype, tuple(key) if type(key) is list else key
        )
    except TypeError:
        # Percentages that cannot be hashed, or that are wrong and say so here.
        ranks, is_one, single = _ranks(values.dtype, q)
    found = PERCENTILES(values, ranks, single, mask)
    return found.item() if is_one else found


def _ranks(dtype, q):
    """Return percentages, whether it is only one, and whether they are rounded."""
    single = work_dtype(dtype, "values") == np.float32
    q = percentages(q)
    return np.array(q, np.float64, ndmin=1), not isinstance(q, tuple), single


_remembered = lru_cache(maxsize=512)(_ranks)


def wvg_1d(values, weights, *, validate=True):
    """
    Return the weighted mean of the finite values of a vector.

    Parameters
    ----------
    values : array-like (n,)
        The samples. NaN and infinite ones are not used.
    weights : array-like (n,)
        Finite weights.
    validate : bool
        Whether to check the samples.

    Returns
    -------
    float
        ``sum(w * x) / sum(w)``; NaN if ``sum(w)`` is 0.

    Raises
    ------
    ValueError
        If the values are not 1-D or there are none, or the weights are not finite or
        not as many.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import imcombiners_astro.kernels as imck
    >>> imck.wvg_1d([10.0, 20.0, 30.0], [1, 1, 2])
    22.5
    """
    values, mask = prepared(values, None, validate)
    recipe = _weighted_mean(values.dtype)
    try:
        numbers = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        found = f"weight: found {weights!r}, expected {values.size} numbers"
        raise TypeError(found) from None
    return REDUCE(values, recipe, mask, numbers)


@lru_cache
def _weighted_mean(dtype):
    """Return the plan of the weighted mean, as the kernel understands it."""
    return planes.Plan("wmean", work=work_dtype(dtype, "values").str[1:]).recipe
