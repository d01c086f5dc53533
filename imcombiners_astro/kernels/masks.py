# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection in stacks: only where samples are not used."""

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
from imcombiners_astro.samples import Samples

__all__ = [
    "avsigclip_mask",
    "ccdclip_mask",
    "crreject_mask",
    "linearclip_mask",
    "minmax_mask",
    "pclip_mask",
    "sigclip_mask",
]


def rejected(rejector, arr, mask, validate):
    """Return where samples are not used."""
    samples = Samples.of(arr, mask, validate)
    return stacks.rejection_mask(samples, rejector, rejector.grow)


def sigclip_mask(
    arr,
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
    grow=None,
    validate=True,
):
    """
    Return only the mask of `sigclip`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen, stdfunc : optional
        As in `~imcombiners_astro.SigClip`.
    revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.SigClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `sigclip`.

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
    >>> imck.sigclip_mask(stack, sigma=2)[:, 0].astype(int)
    array([1, 0, 0, 0, 0, 0, 0])
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
    return rejected(rejector, arr, mask, validate)


def ccdclip_mask(
    arr,
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
    grow=None,
    validate=True,
):
    """
    Return only the mask of `ccdclip`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, ddof, nkeep, maxrej, cenfunc, clip_cen : optional
        As in `~imcombiners_astro.CcdClip`.
    revert_on_nkeep, rdnoise, gain, snoise, scale_ref, zero_ref, scales : optional
        As in `~imcombiners_astro.CcdClip`.
    zeros, grow : optional
        As in `~imcombiners_astro.CcdClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `ccdclip`.

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
    >>> imck.ccdclip_mask(stack, sigma=3, rdnoise=5, gain=2)[:, 0].astype(int)
    array([0, 0, 0, 1])
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
    return rejected(rejector, arr, mask, validate)


def linearclip_mask(
    arr,
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
    grow=None,
    validate=True,
):
    """
    Return only the mask of `linearclip`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    low_scale, low, upp_scale, upp, maxiters, nkeep, maxrej, cenfunc : optional
        As in `~imcombiners_astro.LinearClip`.
    revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.LinearClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `linearclip`.

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
    >>> imck.linearclip_mask(stack, low=1, upp=2)[:, 0].astype(int)
    array([1, 0, 0, 0, 1])
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
    return rejected(rejector, arr, mask, validate)


def minmax_mask(
    arr,
    *,
    mask=None,
    n_min=1,
    n_max=1,
    grow=None,
    validate=True,
):
    """
    Return only the mask of `minmax`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    n_min, n_max, grow : optional
        As in `~imcombiners_astro.MinMaxClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `minmax`.

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
    >>> imck.minmax_mask(stack, n_min=1, n_max=2)[:, 0].astype(int)
    array([1, 0, 0, 1, 1])
    """
    rejector = MinMaxClip(n_min, n_max, grow)
    return rejected(rejector, arr, mask, validate)


def pclip_mask(
    arr,
    *,
    mask=None,
    frac=-0.5,
    sigma=3.0,
    nkeep=1,
    grow=None,
    validate=True,
):
    """
    Return only the mask of `pclip`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    frac, sigma, nkeep, grow : optional
        As in `~imcombiners_astro.PClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `pclip`.

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
    >>> imck.pclip_mask(stack, frac=0.25)[:, 0].astype(int)
    array([1, 0, 0, 0, 0, 0, 1])
    """
    rejector = PClip(frac, sigma, nkeep, grow)
    return rejected(rejector, arr, mask, validate)


def avsigclip_mask(
    arr,
    *,
    mask=None,
    sigma=(3.0, 3.0),
    nkeep=1,
    maxrej=None,
    cenfunc="median",
    revert_on_nkeep="closest",
    grow=None,
    validate=True,
):
    """
    Return only the mask of `avsigclip`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, nkeep, maxrej, cenfunc, revert_on_nkeep, grow : optional
        As in `~imcombiners_astro.AvSigClip`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `avsigclip`.

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
    >>> bool(imck.avsigclip_mask(stack)[3, 2, 10])
    True
    """
    rejector = AvSigClip(sigma, cenfunc, nkeep, maxrej, revert_on_nkeep, grow)
    return rejected(rejector, arr, mask, validate)


def crreject_mask(
    arr,
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
    grow=None,
    validate=True,
):
    """
    Return only the mask of `crreject`: where samples are not used.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    sigma, maxiters, nkeep, maxrej, cenfunc, clip_cen, revert_on_nkeep : optional
        As in `~imcombiners_astro.CrReject`.
    rdnoise, gain, snoise, scales, zeros, grow : optional
        As in `~imcombiners_astro.CrReject`.
    validate : bool
        Whether to check the arrays.

    Returns
    -------
    bool `~numpy.ndarray` (N, *spatial)
        ``mask_rej`` of `crreject`.

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
    >>> imck.crreject_mask(stack, rdnoise=5, gain=2)[:, 0].astype(int)
    array([0, 0, 0, 0, 1])
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
    return rejected(rejector, arr, mask, validate)
