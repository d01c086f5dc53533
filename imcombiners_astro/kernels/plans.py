# Licensed under a 3-clause BSD style license - see LICENSE
"""
The way of a single column of samples to the kernel and back, as short as possible.

What a call asks for is turned into a plan once and remembered, in the form that the
kernel understands. The kernel checks the arrays: that costs nothing there.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from imcombiners_astro import planes
from imcombiners_astro.rejectors import LinearClip
from imcombiners_astro.samples import Statistic, join, work_dtype

__all__ = [
    "ColumnPlan",
    "combine_column",
    "diagnose_column",
    "mask_column",
    "plan_of",
    "prepared",
]

DIAGNOSE, REDUCE, PERCENTILES = planes.COLUMN_KERNELS

BOOL = np.dtype(bool)

# To look one up takes a tenth of the time that it takes to make one.
UINT8 = tuple(np.arange(256, dtype=np.uint8))


class ColumnPlan(NamedTuple):
    """
    How to treat columns of one type and length.

    Attributes
    ----------
    recipe : object
        The `~imcombiners_astro.planes.Plan` as the kernel understands it.
    is_idle : bool
        Whether the rejector has nothing to do.
    """

    recipe: object
    is_idle: bool = False


def plan_of(dtype, n, rejector, options, method="mean", q=None, ddof=0):
    """
    Return the plan for a column.

    Parameters
    ----------
    dtype : `~numpy.dtype`
        Type of the samples.
    n : int
        Number of them.
    rejector : type or None
        Class of the rejector.
    options : tuple
        Its arguments.
    method, q, ddof
        As in `~imcombiners_astro.Combiner.combine`.

    Returns
    -------
    ColumnPlan
        Remembered for the next call.

    Raises
    ------
    ValueError, TypeError
        Naming the option that makes no sense.
    """
    try:
        return _remembered(dtype, n, rejector, options, method, q, ddof)
    except TypeError:
        pass  # an option that cannot be hashed, or that is wrong and says so here
    return _make(dtype, n, rejector, options, method, q, ddof)


def _make(dtype, n, rejector, options, method, q, ddof):
    statistic = Statistic.of(method, (n,), q=q, ddof=ddof)
    step = rejector(*options).step(n) if rejector else None
    plan = planes.Plan(
        statistic.name,
        () if step is None else (step,),
        work_dtype(dtype, "values").str[1:],
        q=statistic.q,
        ddof=statistic.ddof,
        noise=statistic.noise,
    )
    return ColumnPlan(plan.recipe, rejector is not None and step is None)


_remembered = lru_cache(maxsize=512)(_make)


def prepared(values, mask, validate):
    """Return samples and mask as arrays; a mask of booleans if ``validate``."""
    if type(values) is not np.ndarray:
        if isinstance(values, np.ma.MaskedArray):
            mask = join(mask, np.ma.getmaskarray(values))
        values = np.asarray(values)
    if validate and mask is not None:
        if type(mask) is not np.ndarray or mask.dtype is not BOOL:
            mask = np.asarray(mask).astype(bool)
    return values, mask


def diagnose_column(values, mask, validate, rejector, options):
    """Return the six products of a rejection in one column."""
    if type(values) is not np.ndarray or mask is not None:
        values, mask = prepared(values, mask, validate)
    recipe, is_idle = plan_of(values.dtype, values.size, rejector, options)
    rejected, std, low, upp, nit, flags = DIAGNOSE(values, recipe, mask)
    if is_idle:
        low = upp = type(low)(np.nan)
        nit = 0
    if mask is not None and rejector is LinearClip:
        rejected &= ~mask
    if not rejector.has_std:
        std = None
    return rejected, std, low, upp, UINT8[nit], UINT8[flags]


def mask_column(values, mask, validate, rejector, options):
    """Return where samples of one column are not used."""
    if type(values) is not np.ndarray or mask is not None:
        values, mask = prepared(values, mask, validate)
    recipe = plan_of(values.dtype, values.size, rejector, options).recipe
    rejected = DIAGNOSE(values, recipe, mask)[0]
    if rejector is LinearClip and mask is not None:
        rejected &= ~mask
    return rejected


def combine_column(values, mask, validate, rejector, options, method, q=None, ddof=0):
    """Return the combination of what a rejector leaves of one column."""
    if type(values) is not np.ndarray or mask is not None:
        values, mask = prepared(values, mask, validate)
    recipe, _ = plan_of(values.dtype, values.size, rejector, options, method, q, ddof)
    return REDUCE(values, recipe, mask)
