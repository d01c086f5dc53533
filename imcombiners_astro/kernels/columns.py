# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection in the samples of a single pixel, with all diagnostics."""

from imcombiners_astro.kernels.plans import diagnose_column
from imcombiners_astro.rejectors import (
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)

__all__ = [
    "ccdclip_1d",
    "crreject_1d",
    "linearclip_1d",
    "minmax_1d",
    "pclip_1d",
    "sigclip_1d",
]


def sigclip_1d(
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
    Reject samples of a pixel: `sigclip` for one column.

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
    mask_rej : bool `~numpy.ndarray` (n,)
        True where a sample is not used.
    std, low, upp : `~numpy.floating`
        Of the type the samples are worked on.
    nit, output_flags : `~numpy.uint8`
        All as in `sigclip`.

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
    >>> mask_rej, *_ = imck.sigclip_1d(column, sigma=2)
    >>> mask_rej.astype(int)
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
    return diagnose_column(values, mask, validate, SigClip, options)


def ccdclip_1d(
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
    Reject samples of a pixel: `ccdclip` for one column.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip_1d` and `ccdclip`.

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
    >>> mask_rej, *_ = imck.ccdclip_1d(column, sigma=3, rdnoise=5, gain=2)
    >>> mask_rej.astype(int)
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
    return diagnose_column(values, mask, validate, CcdClip, options)


def linearclip_1d(
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
    Reject samples of a pixel: `linearclip` for one column.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip_1d` and `linearclip`.

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
    >>> mask_rej, *_ = imck.linearclip_1d(column, low=1, upp=2)
    >>> mask_rej.astype(int)
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
    return diagnose_column(values, mask, validate, LinearClip, options)


def minmax_1d(
    values,
    *,
    mask=None,
    n_min=1,
    n_max=1,
    validate=True,
):
    """
    Reject samples of a pixel: `minmax` for one column.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip_1d` and `minmax`.

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
    >>> mask_rej, *_ = imck.minmax_1d(column, n_min=1, n_max=2)
    >>> mask_rej.astype(int)
    array([1, 0, 0, 1, 1])
    """
    options = (n_min, n_max)
    return diagnose_column(values, mask, validate, MinMaxClip, options)


def pclip_1d(
    values,
    *,
    mask=None,
    frac=-0.5,
    sigma=3.0,
    nkeep=1,
    validate=True,
):
    """
    Reject samples of a pixel: `pclip` for one column.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip_1d` and `pclip`.

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
    >>> mask_rej, *_ = imck.pclip_1d(column, frac=0.25)
    >>> mask_rej.astype(int)
    array([1, 0, 0, 0, 0, 0, 1])
    """
    options = (frac, sigma, nkeep)
    return diagnose_column(values, mask, validate, PClip, options)


def crreject_1d(
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
    Reject samples of a pixel: `crreject` for one column.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip_1d` and `crreject`.

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
    >>> mask_rej, *_ = imck.crreject_1d(column, rdnoise=5, gain=2)
    >>> mask_rej.astype(int)
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
    return diagnose_column(values, mask, validate, CrReject, options)
