# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection in stacks, with all diagnostics."""

from imcombiners_astro.rejectors import (
    AvSigClip,
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    SigClip,
)

__all__ = [
    "avsigclip",
    "ccdclip",
    "crreject",
    "linearclip",
    "minmax",
    "pclip",
    "sigclip",
]


def sigclip(
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
    Reject by iterative sigma clipping.

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
    mask_rej : bool `~numpy.ndarray` (N, *spatial)
        True where a sample is not used: rejected, masked, NaN or infinite.
    std : float32 or float64 `~numpy.ndarray` ``spatial``
        Spread in the last pass; NaN if there was none.
    low, upp : float32 or float64 `~numpy.ndarray` ``spatial``
        Smallest and largest sample left, before growth; NaN if none is.
    nit : uint8 `~numpy.ndarray` ``spatial``
        One more than the passes that rejected something, at most 255.
    output_flags : uint8 `~numpy.ndarray` ``spatial``
        Bits of `~imcombiners_astro.OutputFlags`.

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
    >>> mask_rej, *_ = imck.sigclip(stack, sigma=2)
    >>> mask_rej[:, 0].astype(int)
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
    return rejector.apply(arr, mask, validate=validate)


def ccdclip(
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
    Reject iteratively by the noise of a CCD.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`; ``std`` is the noise at the center, that of the first
        frame if they differ.

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
    >>> mask_rej, *_ = imck.ccdclip(stack, sigma=3, rdnoise=5, gain=2)
    >>> mask_rej[:, 0].astype(int)
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
    return rejector.apply(arr, mask, validate=validate)


def linearclip(
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
    Reject what is beyond linear functions of the center.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`; ``std`` is None, ``low`` and ``upp`` are the limits
        last used, ``nit`` counts the passes run, and ``mask_rej`` does not
        contain the samples masked before.

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
    >>> mask_rej, *_ = imck.linearclip(stack, low=1, upp=2)
    >>> mask_rej[:, 0].astype(int)
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
    return rejector.apply(arr, mask, validate=validate)


def minmax(
    arr,
    *,
    mask=None,
    n_min=1,
    n_max=1,
    grow=None,
    validate=True,
):
    """
    Reject the smallest and largest samples.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`; ``std`` is None and ``nit`` is 1.

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
    >>> mask_rej, *_ = imck.minmax(stack, n_min=1, n_max=2)
    >>> mask_rej[:, 0].astype(int)
    array([1, 0, 0, 1, 1])
    """
    rejector = MinMaxClip(n_min, n_max, grow)
    return rejector.apply(arr, mask, validate=validate)


def pclip(
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
    Reject by percentile clipping as in IRAF.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`; ``std`` is None and ``nit`` is 1.

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
    >>> mask_rej, *_ = imck.pclip(stack, frac=0.25)
    >>> mask_rej[:, 0].astype(int)
    array([1, 0, 0, 0, 0, 0, 1])
    """
    rejector = PClip(frac, sigma, nkeep, grow)
    return rejector.apply(arr, mask, validate=validate)


def avsigclip(
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
    Reject by a noise averaged along rows, as in IRAF.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`.

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
    >>> mask_rej, *_ = imck.avsigclip(stack)
    >>> bool(mask_rej[3, 2, 10])
    True
    """
    rejector = AvSigClip(sigma, cenfunc, nkeep, maxrej, revert_on_nkeep, grow)
    return rejector.apply(arr, mask, validate=validate)


def crreject(
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
    Reject cosmic rays by the noise of a CCD, as in IRAF.

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
    mask_rej, std, low, upp, nit, output_flags
        As in `sigclip`; ``std`` is the noise at the center, that of the first
        frame if they differ.

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
    >>> mask_rej, *_ = imck.crreject(stack, rdnoise=5, gain=2)
    >>> mask_rej[:, 0].astype(int)
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
    return rejector.apply(arr, mask, validate=validate)
