# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection and combination of stacks in one go: only the image."""

from imcombiners_astro import stacks
from imcombiners_astro.rejectors import (
    AvSigClip,
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)
from imcombiners_astro.samples import Samples, Statistic

__all__ = [
    "avsigclip_combine",
    "ccdclip_combine",
    "crreject_combine",
    "linearclip_combine",
    "minmax_combine",
    "pclip_combine",
    "sigclip_combine",
]


def combined(rejector, arr, mask, validate, method, **options):
    """Return the combination of the samples that a rejector leaves."""
    samples = Samples.of(arr, mask, validate)
    statistic = Statistic.of(method, samples.stack.shape, **options)
    return stacks.reduce(samples, statistic, [rejector])


def sigclip_combine(
    arr,
    *,
    combine,
    mask=None,
    sigma=(3.0, 3.0),
    maxiters=5,
    ddof=0,
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    clip_cen=None,
    stdfunc="std",
    revert_on_nkeep=True,
    grow=None,
    weight=None,
    q=None,
    validate=True,
):
    """
    Return only the combination of what `sigclip` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen, stdfunc : optional
        As in `~imcombiners_astro.SigClip`.
    revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.SigClip`.
        ``ddof`` is as well that of ``combine="variance"``.
    weight, q : optional
        See ``combine``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([970, 1002, 1004, 1006, 1008, 1010, 1012], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.sigclip_combine(stack, sigma=2, combine="median")
    array([1007.], dtype=float32)
    """
    rejector = SigClip(
        sigma,
        maxiters,
        cenfunc,
        clip_cen,
        stdfunc,
        ddof,
        nkeep,
        maxrej,
        revert_on_nkeep,
        grow,
    )
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def ccdclip_combine(
    arr,
    *,
    combine,
    mask=None,
    sigma=(3.0, 3.0),
    maxiters=5,
    ddof=0,
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    clip_cen=None,
    revert_on_nkeep=True,
    rdnoise=0.0,
    gain=1.0,
    snoise=0.0,
    scale_ref=1.0,
    zero_ref=0.0,
    scales=None,
    zeros=None,
    grow=None,
    weight=None,
    q=None,
    validate=True,
):
    """
    Return only the combination of what `ccdclip` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen : optional
        As in `~imcombiners_astro.CcdClip`.
    revert_on_nkeep, rdnoise, gain, snoise, scale_ref, zero_ref, scales : optional
        As in `~imcombiners_astro.CcdClip`.
    zeros, grow : optional
        As in `~imcombiners_astro.CcdClip`.
        ``ddof`` is as well that of ``combine="variance"``.
    weight, q : optional
        See ``combine``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([995, 1000, 1005, 1700], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.ccdclip_combine(stack, sigma=3, rdnoise=5, gain=2, combine="median")
    array([1000.], dtype=float32)
    """
    rejector = CcdClip(
        sigma,
        maxiters,
        cenfunc,
        clip_cen,
        ddof,
        nkeep,
        maxrej,
        revert_on_nkeep,
        rdnoise,
        gain,
        snoise,
        scale_ref,
        zero_ref,
        grow,
        scales,
        zeros,
    )
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def linearclip_combine(
    arr,
    *,
    combine,
    mask=None,
    low_scale=1.0,
    low=0.0,
    upp_scale=1.0,
    upp=0.0,
    maxiters=1,
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    revert_on_nkeep=True,
    grow=None,
    weight=None,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Return only the combination of what `linearclip` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    low_scale, low, upp_scale, upp, maxiters, nkeep, maxrej, cenfunc : optional
        As in `~imcombiners_astro.LinearClip`.
    revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.LinearClip`.
    weight, q : optional
        See ``combine``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([1, 10, 11, 12, 30], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.linearclip_combine(stack, low=1, upp=2, combine="median")
    array([11.], dtype=float32)
    """
    rejector = LinearClip(
        low_scale,
        low,
        upp_scale,
        upp,
        maxiters,
        cenfunc,
        nkeep,
        maxrej,
        revert_on_nkeep,
        grow,
    )
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def minmax_combine(
    arr,
    *,
    combine,
    mask=None,
    n_min=1,
    n_max=1,
    grow=None,
    weight=None,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Return only the combination of what `minmax` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    n_min, n_max, grow : optional
        As in `~imcombiners_astro.MinMaxClip`.
    weight, q : optional
        See ``combine``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([0, 1, 2, 3, 4], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.minmax_combine(stack, n_min=1, n_max=2, combine="median")
    array([1.5], dtype=float32)
    """
    rejector = MinMaxClip(n_min, n_max, grow)
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def pclip_combine(
    arr,
    *,
    combine,
    mask=None,
    frac=-0.5,
    sigma=3.0,
    nkeep=1,
    grow=None,
    weight=None,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Return only the combination of what `pclip` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    frac, sigma, nkeep, grow : optional
        As in `~imcombiners_astro.PClip`.
    weight, q : optional
        See ``combine``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([970, 1002, 1004, 1006, 1008, 1010, 1012], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.pclip_combine(stack, frac=0.25, combine="median")
    array([1006.], dtype=float32)
    """
    rejector = PClip(frac, sigma, nkeep, grow)
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def avsigclip_combine(
    arr,
    *,
    combine,
    mask=None,
    sigma=(3.0, 3.0),
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    revert_on_nkeep="closest",
    grow=None,
    weight=None,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Return only the combination of what `avsigclip` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, nkeep, maxrej, cenfunc, revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.AvSigClip`.
    weight, q : optional
        See ``combine``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> stack = np.random.default_rng(1).poisson(100, (9, 4, 50)).astype("f4")
    >>> stack[3, 2, 10] = 500
    >>> bool(imck.avsigclip_combine(stack, combine="max")[2, 10] < 200)
    True
    """
    rejector = AvSigClip(sigma, cenfunc, nkeep, maxrej, revert_on_nkeep, grow)
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )


def crreject_combine(
    arr,
    *,
    combine,
    mask=None,
    sigma=3.0,
    maxiters=5,
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    clip_cen=None,
    revert_on_nkeep=True,
    rdnoise=0.0,
    gain=1.0,
    snoise=0.0,
    scales=None,
    zeros=None,
    grow=None,
    weight=None,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Return only the combination of what `crreject` leaves.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`, as are
        ``weight`` and ``q``.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, nkeep, maxrej, cenfunc, clip_cen, revert_on_nkeep : optional
        As in `~imcombiners_astro.CrReject`.
    rdnoise, gain, snoise, scales, zeros, grow : optional
        As in `~imcombiners_astro.CrReject`.
    weight, q : optional
        See ``combine``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image, float32 or float64 as the stack is worked on.

    Raises
    ------
    ValueError
        If an option makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro.kernels as imck
    >>> column = np.array([100, 20, 110, 105, 900], dtype=np.float32)
    >>> stack = column[:, np.newaxis]
    >>> imck.crreject_combine(stack, rdnoise=5, gain=2, combine="median")
    array([102.5], dtype=float32)
    """
    rejector = CrReject(
        sigma,
        maxiters,
        cenfunc,
        clip_cen,
        nkeep,
        maxrej,
        revert_on_nkeep,
        rdnoise,
        gain,
        snoise,
        grow,
        scales,
        zeros,
    )
    return combined(
        rejector, arr, mask, validate, combine, weight=weight, q=q, ddof=ddof
    )
