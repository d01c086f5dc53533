# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection in the samples of a single pixel: only which are not used."""

from imcombiners_astro.kernels.plans import mask_column
from imcombiners_astro.rejectors import (
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)

__all__ = [
    "ccdclip_mask_1d",
    "crreject_mask_1d",
    "linearclip_mask_1d",
    "minmax_mask_1d",
    "pclip_mask_1d",
    "sigclip_mask_1d",
]


def sigclip_mask_1d(
    values,
    *,
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
    validate=True,
):
    """
    Return only where `sigclip_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen, stdfunc : optional
        As in `~imcombiners_astro.SigClip`.
    revert_on_nkeep : optional
        As in `~imcombiners_astro.SigClip`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.sigclip_mask_1d(column, sigma=2).astype(int)
    array([1, 0, 0, 0, 0, 0, 0])
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
    return mask_column(values, mask, validate, SigClip, options)


def ccdclip_mask_1d(
    values,
    *,
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
    validate=True,
):
    """
    Return only where `ccdclip_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen : optional
        As in `~imcombiners_astro.CcdClip`.
    revert_on_nkeep, rdnoise, gain, snoise, scale_ref, zero_ref, scales : optional
        As in `~imcombiners_astro.CcdClip`.
    zeros : optional
        As in `~imcombiners_astro.CcdClip`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.ccdclip_mask_1d(column, sigma=3, rdnoise=5, gain=2).astype(int)
    array([0, 0, 0, 1])
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
    return mask_column(values, mask, validate, CcdClip, options)


def linearclip_mask_1d(
    values,
    *,
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
    validate=True,
):
    """
    Return only where `linearclip_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    low_scale, low, upp_scale, upp, maxiters, nkeep, maxrej, cenfunc : optional
        As in `~imcombiners_astro.LinearClip`.
    revert_on_nkeep : optional
        As in `~imcombiners_astro.LinearClip`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.linearclip_mask_1d(column, low=1, upp=2).astype(int)
    array([1, 0, 0, 0, 1])
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
    return mask_column(values, mask, validate, LinearClip, options)


def minmax_mask_1d(
    values,
    *,
    mask=None,
    n_min=1,
    n_max=1,
    validate=True,
):
    """
    Return only where `minmax_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    n_min, n_max : optional
        As in `~imcombiners_astro.MinMaxClip`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.minmax_mask_1d(column, n_min=1, n_max=2).astype(int)
    array([1, 0, 0, 1, 1])
    """
    options = (n_min, n_max)
    return mask_column(values, mask, validate, MinMaxClip, options)


def pclip_mask_1d(
    values,
    *,
    mask=None,
    frac=-0.5,
    sigma=3.0,
    nkeep=1,
    validate=True,
):
    """
    Return only where `pclip_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    frac, sigma, nkeep : optional
        As in `~imcombiners_astro.PClip`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.pclip_mask_1d(column, frac=0.25).astype(int)
    array([1, 0, 0, 0, 0, 0, 1])
    """
    options = (frac, sigma, nkeep)
    return mask_column(values, mask, validate, PClip, options)


def crreject_mask_1d(
    values,
    *,
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
    validate=True,
):
    """
    Return only where `crreject_1d` leaves samples unused.

    Parameters
    ----------
    values : array-like (n,)
        The samples.
    mask : bool array-like (n,), optional
        True where a sample is not to be used.
    sigma, maxiters, nkeep, maxrej, cenfunc, clip_cen, revert_on_nkeep : optional
        As in `~imcombiners_astro.CrReject`.
    rdnoise, gain, snoise, scales, zeros : optional
        As in `~imcombiners_astro.CrReject`.
    validate : bool
        Whether to check the samples and the mask.

    Returns
    -------
    bool `~numpy.ndarray` (n,)
        True where a sample is not used.

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
    >>> imck.crreject_mask_1d(column, rdnoise=5, gain=2).astype(int)
    array([0, 0, 0, 0, 1])
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
    return mask_column(values, mask, validate, CrReject, options)
