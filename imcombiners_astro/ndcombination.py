# Licensed under a 3-clause BSD style license - see LICENSE
"""`ndcombine`: one call from a stack of images to their combination."""

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro import stacks
from imcombiners_astro.rejectors import CcdClip, MinMaxClip, PClip, SigClip
from imcombiners_astro.samples import (
    Samples,
    Statistic,
    as_raw,
    interval,
    parse_diagnostics,
)
from imcombiners_astro.zeroscale import with_zero_scale

__all__ = ["ndcombine"]

REJECTORS = ("sigclip", "ccdclip", "minmax", "pclip")


def ndcombine(
    arr,
    mask=None,
    thresholds=None,
    combine="mean",
    reject=None,
    sigma=(3.0, 3.0),
    cenfunc="median",
    clip_cen=None,
    maxiters=5,
    ddof=0,
    nkeep=1,
    maxrej=None,
    n_minmax=(1, 1),
    rdnoise=0.0,
    gain=1.0,
    snoise=0.0,
    pclip=-0.5,
    zero=None,
    scale=None,
    zero_to_0th=True,
    scale_to_0th=True,
    zero_sigclip_kwargs=None,
    scale_sigclip_kwargs=None,
    weight=None,
    revert_on_nkeep=True,
    grow=None,
    full=False,
    diagnostics=None,
    scale_ref=1.0,
    zero_ref=0.0,
    validate=True,
    *,
    q=None,
    sigscale=0.1,
):
    """
    Combine a stack of images along its first axis.

    In this order: thresholds on the raw values, zero and scale, rejection, growth,
    combination.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; see `~imcombiners_astro.Combiner`.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    thresholds : (float, float), optional
        Smallest and largest value to use.
    combine : str
        As in `Combiner.combine <imcombiners_astro.Combiner.combine>`.
    reject : {None, "sigclip", "ccdclip", "minmax", "pclip"}
        Algorithm.
    sigma, cenfunc, clip_cen, maxiters, ddof, nkeep, maxrej, revert_on_nkeep
        Options of `~imcombiners_astro.SigClip` and `~imcombiners_astro.CcdClip`;
        ``sigma`` and ``nkeep`` also of `~imcombiners_astro.PClip`. ``ddof`` is as well
        that of ``combine="variance"``.
    n_minmax : (float, float)
        ``n_min`` and ``n_max`` of `~imcombiners_astro.MinMaxClip`.
    rdnoise, gain, snoise, scale_ref, zero_ref, sigscale
        Options of `~imcombiners_astro.CcdClip`; the first three are as well the noise
        of ``combine="nmodel"``.
    pclip : float
        ``frac`` of `~imcombiners_astro.PClip`.
    zero, scale, zero_to_0th, scale_to_0th, zero_sigclip_kwargs, scale_sigclip_kwargs
        As in `Combiner.zero_scale <imcombiners_astro.Combiner.zero_scale>`.
    weight : array-like (N,) or (N, *spatial), optional
        Finite weights, as there.
    grow : float, optional
        Radius of growth, in pixels, of what the algorithm rejects.
    full : bool
        The same as ``diagnostics="simple"``.
    diagnostics : {None, "simple", "full"}
        What to return besides the image.
    validate : bool
        Whether to check the arrays.
    q : float or sequence of float, optional
        Percentages of ``combine="percentile"``.

    Returns
    -------
    image : `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        Of the type the stack is worked on, float32 or float64. If nothing but
        ``combine`` is asked of integers: float64, and for "min", "max" and "lmedian"
        of up to 32 bits the type of the stack.
    mask_rej, mask_thresh, std, low, upp, nit, output_flags
        With ``diagnostics`` only; None where it does not apply. ``mask_thresh`` is
        where raw values are outside the thresholds; for the rest see
        `~imcombiners_astro.kernels.sigclip`.
    sample_flags : uint8 `~numpy.ndarray` (N, *spatial)
        With ``diagnostics="full"`` only: bits of `~imcombiners_astro.SampleFlags`.

    Raises
    ------
    ValueError
        If an option is unknown or makes no sense, or shapes do not agree.
    TypeError
        If an argument is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import ndcombine
    >>> stack = np.array([[10.0, 20], [11, 21], [12, 22], [500, 23]])
    >>> ndcombine(stack, combine="median", reject="sigclip", sigma=1.5)
    array([11. , 21.5])
    >>> image, mask_rej, *_ = ndcombine(
    ...     stack, reject="minmax", n_minmax=(0, 1), diagnostics="simple"
    ... )
    >>> image
    array([11., 21.])
    """
    diagnostics = parse_diagnostics(diagnostics, full)
    samples = Samples.of(arr, mask, validate)
    dtype = samples.stack.dtype
    noise = {"gain": gain, "rdnoise": rdnoise, "snoise": snoise}
    statistic = Statistic.of(
        combine,
        samples.stack.shape,
        q=q,
        ddof=ddof,
        weight=weight,
        noise=noise if combine == "nmodel" else None,
    )
    if reject is not None:
        reject = args.choice("reject", reject, {name: name for name in REJECTORS})
    clip = {
        "sigma": sigma,
        "maxiters": maxiters,
        "cenfunc": cenfunc,
        "clip_cen": clip_cen,
        "ddof": ddof,
        "nkeep": nkeep,
        "maxrej": maxrej,
        "revert_on_nkeep": revert_on_nkeep,
    }
    rejector = None
    if reject == "sigclip":
        rejector = SigClip(**clip)
    elif reject == "ccdclip":
        rejector = CcdClip(
            **clip,
            **noise,
            scale_ref=scale_ref,
            zero_ref=zero_ref,
            sigscale=sigscale,
        )
    elif reject == "minmax":
        rejector = MinMaxClip(*args.pair("n_minmax", n_minmax))
    elif reject == "pclip":
        rejector = PClip(pclip, sigma, nkeep)
    stacks.radius_of(grow)
    if thresholds is not None:
        samples = samples._replace(thresholds=interval(thresholds))
    is_pure = all(
        option is None
        for option in (reject, samples.mask, thresholds, zero, scale, weight, grow)
    )
    if zero is not None or scale is not None:
        samples = with_zero_scale(
            samples,
            zero,
            scale,
            (zero_to_0th, scale_to_0th),
            (zero_sigclip_kwargs, scale_sigclip_kwargs),
        )
    if diagnostics and rejector:
        diagnosis = stacks.diagnose(
            samples, rejector, grow, full=diagnostics == "full", statistic=statistic
        )
        mask_rej, *rest = diagnosis.rejection
        products = [diagnosis.image, mask_rej, diagnosis.mask_thresh, *rest]
        flags = diagnosis.sample_flags
    else:
        if rejector and grow is not None:
            mask = stacks.rejection_mask(samples, rejector, grow)
            image = stacks.reduce(samples._replace(mask=mask), statistic)
        else:
            image = stacks.reduce(
                samples,
                statistic,
                [rejector] if rejector else [],
                np.float64 if is_pure and dtype.kind in "iu" else None,
            )
        if is_pure and statistic.name in ("min", "max", "lmedian"):
            image = as_raw(image, dtype)
        if not diagnostics:
            return image
        mask_thresh = stacks.mask_threshold(samples)
        products = [image, None, mask_thresh, *[None] * 5]
        flags = None
        if diagnostics == "full":
            flags = stacks.run(samples, ["sample_flags"])["sample_flags"]
    return (*products, flags) if diagnostics == "full" else tuple(products)
