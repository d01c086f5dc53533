# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection and combination of the samples of a single pixel."""

from imcombiners_astro.kernels.plans import combine_column
from imcombiners_astro.rejectors import (
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)

__all__ = [
    "ccdclip_combine_1d",
    "crreject_combine_1d",
    "linearclip_combine_1d",
    "minmax_combine_1d",
    "pclip_combine_1d",
    "sigclip_combine_1d",
]


def sigclip_combine_1d(
    values,
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
    q=None,
    validate=True,
):
    """
    Combine the samples of a pixel that `sigclip_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen, stdfunc : optional
        As in `~imcombiners_astro.SigClip`.
    revert_on_nkeep : optional
        As in `~imcombiners_astro.SigClip`.
        ``ddof`` is as well that of ``combine="variance"``.
    q : float, optional
        Percentage of ``combine="percentile"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.sigclip_combine_1d(column, sigma=2, combine="median")
    1007.0
    """
    options = (
        sigma,
        maxiters,
        cenfunc,
        clip_cen,
        stdfunc,
        ddof,
        nkeep,
        maxrej,
        revert_on_nkeep,
    )
    return combine_column(values, mask, validate, SigClip, options, combine, q, ddof)


def ccdclip_combine_1d(
    values,
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
    q=None,
    validate=True,
):
    """
    Combine the samples of a pixel that `ccdclip_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen : optional
        As in `~imcombiners_astro.CcdClip`.
    revert_on_nkeep, rdnoise, gain, snoise, scale_ref, zero_ref, scales : optional
        As in `~imcombiners_astro.CcdClip`.
    zeros : optional
        As in `~imcombiners_astro.CcdClip`.
        ``ddof`` is as well that of ``combine="variance"``.
    q : float, optional
        Percentage of ``combine="percentile"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.ccdclip_combine_1d(column, sigma=3, rdnoise=5, gain=2, combine="median")
    1000.0
    """
    options = (
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
        None,
        scales,
        zeros,
    )
    return combine_column(values, mask, validate, CcdClip, options, combine, q, ddof)


def linearclip_combine_1d(
    values,
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
    q=None,
    ddof=0,
    validate=True,
):
    """
    Combine the samples of a pixel that `linearclip_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    low_scale, low, upp_scale, upp, maxiters, nkeep, maxrej, cenfunc : optional
        As in `~imcombiners_astro.LinearClip`.
    revert_on_nkeep : optional
        As in `~imcombiners_astro.LinearClip`.
    q : float, optional
        Percentage of ``combine="percentile"``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.linearclip_combine_1d(column, low=1, upp=2, combine="median")
    11.0
    """
    options = (
        low_scale,
        low,
        upp_scale,
        upp,
        maxiters,
        cenfunc,
        nkeep,
        maxrej,
        revert_on_nkeep,
    )
    return combine_column(values, mask, validate, LinearClip, options, combine, q, ddof)


def minmax_combine_1d(
    values,
    *,
    combine,
    mask=None,
    n_min=1,
    n_max=1,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Combine the samples of a pixel that `minmax_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    n_min, n_max : optional
        As in `~imcombiners_astro.MinMaxClip`.
    q : float, optional
        Percentage of ``combine="percentile"``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.minmax_combine_1d(column, n_min=1, n_max=2, combine="median")
    1.5
    """
    options = (n_min, n_max)
    return combine_column(values, mask, validate, MinMaxClip, options, combine, q, ddof)


def pclip_combine_1d(
    values,
    *,
    combine,
    mask=None,
    frac=-0.5,
    sigma=3.0,
    nkeep=1,
    q=None,
    ddof=0,
    validate=True,
):
    """
    Combine the samples of a pixel that `pclip_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    frac, sigma, nkeep : optional
        As in `~imcombiners_astro.PClip`.
    q : float, optional
        Percentage of ``combine="percentile"``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.pclip_combine_1d(column, frac=0.25, combine="median")
    1006.0
    """
    options = (frac, sigma, nkeep)
    return combine_column(values, mask, validate, PClip, options, combine, q, ddof)


def crreject_combine_1d(
    values,
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
    q=None,
    ddof=0,
    validate=True,
):
    """
    Combine the samples of a pixel that `crreject_1d` leaves.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, nkeep, maxrej, cenfunc, clip_cen, revert_on_nkeep : optional
        As in `~imcombiners_astro.CrReject`.
    rdnoise, gain, snoise, scales, zeros : optional
        As in `~imcombiners_astro.CrReject`.
    q : float, optional
        Percentage of ``combine="percentile"``.
    ddof : int
        Delta degrees of freedom of ``combine="variance"``.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    float
        The combination, rounded to float32 if the samples are worked on so.

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
    >>> imck.crreject_combine_1d(column, rdnoise=5, gain=2, combine="median")
    102.5
    """
    options = (
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
        None,
        scales,
        zeros,
    )
    return combine_column(values, mask, validate, CrReject, options, combine, q, ddof)
