# Licensed under a 3-clause BSD style license - see LICENSE
"""The public `combine`: images in files or in memory, of any number, into one."""

import difflib
import functools
import inspect

import numpy as np
from astropy.nddata import CCDData

from imcombiners_astro.ccd import Tally, combine_frames, needs_variances
from imcombiners_astro.errors import UnknownKeywordWarning, UnusedOptionWarning, warn
from imcombiners_astro.files.fits import opened_frames
from imcombiners_astro.files.handover import belongs_to_ccdproc, hand_over
from imcombiners_astro.files.inputs import expand_inputs
from imcombiners_astro.files.mef import combine_extensions, is_all
from imcombiners_astro.files.options import READER_KEYWORDS
from imcombiners_astro.files.output import OUTPUT_KEYWORDS, Output
from imcombiners_astro.options import check_method, check_options
from imcombiners_astro.provenance import describe

__all__ = ["combine", "combine_and_count", "described", "known_keywords"]


def combine(
    img_list,
    output_file=None,
    method="average",
    weights=None,
    scale=None,
    mem_limit=16e9,
    clip_extrema=False,
    nlow=1,
    nhigh=1,
    minmax_clip=False,
    minmax_clip_min=None,
    minmax_clip_max=None,
    sigma_clip=False,
    sigma_clip_low_thresh=3,
    sigma_clip_high_thresh=3,
    sigma_clip_func=np.ma.mean,
    sigma_clip_dev_func=np.ma.std,
    dtype=None,
    combine_uncertainty_function=None,
    overwrite_output=False,
    array_package=None,
    *,
    n_threads=None,
    progress_bar=None,
    blank=None,
    rejectors=None,
    zero=None,
    statsec=None,
    thresholds=None,
    uncertainty="empirical",
    diagnostics=None,
    gain=None,
    readnoise=None,
    snoise=None,
    ignore_flags=None,
    least_bad=None,
    clip_scaled=None,
    exposure="keep",
    effective_noise=False,
    offsets=None,
    footprint="union",
    statsample=None,
    output_dtype=None,
    output_compression=None,
    output_checksum=False,
    **ccdkwargs,
):
    """
    Combine images into one, with the parameters and results of ``ccdproc.combine``.

    Parameters that ccdproc does not have are keywords only.

    Parameters
    ----------
    img_list : iterable of str, path, `~astropy.nddata.CCDData` or HDU, or str
        The N images, of one shape (any number of dimensions) and of units that can be
        converted to that of the first one. A mixture is allowed, and so are NDData,
        masked arrays and Quantity arrays, plain arrays (with ``unit=``), binary file
        objects, URLs, an ``ImageFileCollection``, names separated by commas, one path,
        one pattern such as ``"bias-*.fits"``, or ``"@list"``, a text file with a path
        in each line. ``"name.fits[SCI,2]"`` is one HDU of a file. Frames larger than
        the first one are cut to its shape from pixel [0, 0] with a warning (2-D images
        only).
    output_file : str or path, optional
        FITS file for the result, with the extensions MASK and UNCERT, and those of the
        diagnostics. It appears only when it is complete. A result that does not fit in
        ``mem_limit`` is written there piece by piece (not to ``.gz``).
    method : {'average', 'median', 'sum'}, optional
        Statistic of the samples that are left at each pixel. The sum is not rescaled
        for samples left out.
    weights : `numpy.ndarray` of shape (N,) or (N, *shape), or str, optional
        ``sum(w * x) / sum(w)`` for the average and ``sum(w * x)`` for the sum, both
        over the samples that are left. No effect on the median and on the empirical
        uncertainty. "ivar" weights every sample of an average by the inverse of its
        variance, from the uncertainties of the images (a sample without a positive
        finite one is not used); "exposure" weights the images by exposure time, and a
        header keyword (in capitals, or after "!") by its value.
    scale : callable, sequence of N numbers or str, optional
        Factors that multiply the images *after* the rejection (see ``clip_scaled``) and
        before they are combined. A function is called with the whole data array of each
        image, masks ignored. By name the images are *divided* by a number relative to
        that of the first one: "mean", "median" or "mode" of the image, "exposure", or a
        header keyword.
    mem_limit : float, optional
        Bytes to work in. Files are read in strips of rows so that pixels and result,
        with its diagnostics, fit. A result that alone takes more needs an
        ``output_file``, unless it is smaller than 16 MiB. It is the same for any limit.
    clip_extrema : bool, optional
        Reject the ``nlow`` lowest and ``nhigh`` highest of the N samples of each pixel;
        masked samples count, and NaN counts as highest.
    nlow, nhigh : int or None, optional
        Their sum must be less than N.
    minmax_clip : bool, optional
        Reject samples below ``minmax_clip_min`` or above ``minmax_clip_max``.
    minmax_clip_min, minmax_clip_max : float or None, optional
        In the unit of the unscaled images.
    sigma_clip : bool, optional
        Reject, in one pass, samples below ``center - low * spread`` or above
        ``center + high * spread``.
    sigma_clip_low_thresh, sigma_clip_high_thresh : float or None, optional
        ``low`` and ``high``. None and 0 stand for 3, with a warning; `numpy.inf`
        switches a side off.
    sigma_clip_func : {'mean', 'median'}, callable or None, optional
        Center, over all samples of the pixel, masked ones included.
    sigma_clip_dev_func : {'std', 'mad_std'}, callable or None, optional
        Spread, likewise. The usual functions of NumPy, ``numpy.ma``, bottleneck and
        `astropy.stats` are recognised and run at full speed; they keep what they do at
        a pixel with a NaN (see Notes). Any other function is called as
        `astropy.stats.sigma_clip` calls it. None is the mean and standard deviation of
        NumPy.
    dtype : str or `numpy.dtype`, optional
        Type of the combined data, float64 by default. The computation does not depend
        on it: sums and all that follows from them are in float64. Integers are
        truncated.
    combine_uncertainty_function : callable, optional
        Scatter of the samples, called as ``f(stack, axis=0)`` with NaN for samples left
        out; divided by ``sqrt(n)``. By default the standard deviation (average and sum)
        or 1.4826 times the median absolute deviation (median) of the n samples left;
        for the sum it is multiplied by n.
    overwrite_output : bool, optional
        Replace an existing ``output_file``.
    array_package : module, optional
        Array library for the computation. Anything but NumPy is left to ccdproc, as are
        images that hold arrays of another library.
    n_threads : int, optional
        Number of threads; by default one for each core. The result does not depend on
        it.
    progress_bar : callable, optional
        Called with an iterable over the strips, for instance `tqdm.tqdm`.
    blank : float, optional
        Value of pixels where no sample is left, instead of NaN (0 for the sum).
    rejectors : rejector or sequence of them, optional
        `~imcombiners_astro.SigClip`, `~imcombiners_astro.CcdClip`,
        `~imcombiners_astro.CrReject`, `~imcombiners_astro.AvSigClip`,
        `~imcombiners_astro.LinearClip`, `~imcombiners_astro.MinMaxClip` or
        `~imcombiners_astro.PClip`, one after the other: each judges the samples that
        those before have left, after ``zero`` and ``scale``. They take the place of
        ``clip_extrema``, ``minmax_clip`` and ``sigma_clip``.
    zero : str, callable, number or sequence of N numbers, optional
        To subtract: "mean", "median" or "mode" of each image, a header keyword or a
        function of the masked data, all less that of the first image; or numbers.
    statsec : str or tuple of slice, optional
        Section of the images for these statistics: "[x1:x2,y1:y2]" as in IRAF and FITS
        (the first pixel is 1, ends are included), or slices as of NumPy.
    thresholds : (float, float), optional
        Lowest and highest value to use, each a number, a Quantity, or None for no
        limit. Samples outside, before ``zero`` and ``scale``, count as missing.
    uncertainty : {"empirical", "scatter", "propagate", "noise", None}, optional
        From the scatter of the samples, as ccdproc, which is too small for few samples,
        or unbiased; from the uncertainties of the images; from gain and read noise; or
        none. See Notes.
    diagnostics : {None, "simple", "full"}, optional
        Whether to return a `~imcombiners_astro.CombinedCCDData`, which tells of every
        pixel and image what was rejected; with "full" also of every sample why.
    gain, readnoise : number, Quantity, header keyword or N of these, optional
        Electrons per unit of the image, and electrons, of CcdClip and CrReject that
        have none of their own, and of ``uncertainty="noise"``. By default the usual
        header keywords are looked up.
    snoise : number, header keyword or N of these, optional
        Sensitivity noise, a fraction of the signal; by default 0.
    ignore_flags : int, str or sequence, optional
        Data-quality flags that do not make a sample bad, as in `astropy.nddata.bitmask`
        (0: all others do). Names need a pair ``(flags, name_map)`` with a
        `~astropy.nddata.BitFlagNameMap`, or images that bring their names. Flags are
        ``flags`` or an integer ``mask`` of images in memory, and the extensions DQ or
        FLAGS of files. By default only an integer mask marks bad pixels, with any bit.
        The ``flags`` of the result are those of the samples used, combined with OR.
    least_bad : sequence, optional
        Flags of samples that are used where there is no good one, the mildest first.
    clip_scaled : bool, optional
        Whether ``zero`` and ``scale`` are applied before the rejection instead of
        after it; by default with ``rejectors`` only.
    exposure : {"keep", "sum", "mean"}, optional
        Exposure time in the header of the result.
    effective_noise : bool, optional
        Whether gain and read noise in the header become those of the result.
    offsets : integer array_like (N, ndim), "wcs", "physical" or keywords, optional
        Where the first pixel of each image is, relative to that of the first one: in
        pixels and in NumPy's order of axes (y, x). "wcs" finds it by the coordinates on
        the sky and "physical" by LTV, rounded to whole pixels; a tuple such as
        ``("XOFF", "YOFF")`` has header keywords in the order of FITS (x, y). Images may
        then have different shapes. No pixel is interpolated. A sample that an image
        does not cover counts as missing; ``statsec`` and weights per sample are about
        the pixels of each image.
    footprint : {"union", "intersection", "first"}, optional
        What the result shows: every pixel that some image covers, those that all cover,
        or those of the first image. Its WCS is that of the first image, shifted.
    statsample : int, optional
        Pixels of each image, at most, that the statistics of ``zero`` and ``scale`` are
        taken of: rows at equal distances, always the same ones. The statistics then
        have errors: of n pixels with the standard deviation s, that of a mean is
        ``s / sqrt(n)``, that of a median 1.25 times as much. By default they are
        exact, of all pixels.
    output_dtype : str or `numpy.dtype`, optional
        Type of the image in ``output_file``, if not that of the result, which must fit
        into it. Integers are truncated, and hold no NaN (see ``blank``).
    output_compression : {"RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"}, optional
        How image and uncertainty are compressed in ``output_file``, in tiles. RICE_1
        and HCOMPRESS_1 round all but integers to a sixteenth of their noise; GZIP keeps
        every bit. Mask and diagnostics are compressed as well and keep all bits.
    output_checksum : bool, optional
        Whether the headers of ``output_file`` get CHECKSUM and DATASUM.
    **ccdkwargs
        For ``CCDData.read`` and `astropy.io.fits.open`, such as ``unit`` and ``hdu``.
        They do not apply to images in memory. Other names are ignored with a warning.
        ``hdu="all"`` combines files of the same structure extension by extension. Mask,
        uncertainty and flags of an image are those of its EXTVER, if there are several.

    Returns
    -------
    `~astropy.nddata.CCDData`
        Of the class of the first image (with ``diagnostics`` a
        `~imcombiners_astro.CombinedCCDData`), with a copy of its header, WCS, unit, PSF
        and flags, and ``NCOMBINE`` in the header. With any keyword that ccdproc does
        not have the header also tells the images, their dates and, in HISTORY, all
        that was asked for. ``mask`` is True where no sample is left. ``uncertainty``
        has the class of that of the first image and its own conversion of the standard
        deviation. All arrays are writable and independent of the input; but if the
        result does not fit in ``mem_limit``, they are read-only maps of files. With
        ``hdu="all"`` a dict of such images by extension: by EXTNAME, by
        (EXTNAME, EXTVER) where several have one name, or by number where there is none;
        ``output_file`` is then a file of the structure of the first one.

    Raises
    ------
    ValueError
        Unknown method, no image, no unit, a scale factor that is 0 or NaN, a result
        that does not fit in ``mem_limit`` without ``output_file``, and
        other values that cannot be meant; before any file is opened where possible.
    TypeError
        Images of units that cannot be converted, or smaller than the first one;
        arguments of a wrong type.
    OSError
        A file that is missing, truncated or not FITS, or an output that exists or
        cannot be written; known before the work starts.

    Notes
    -----
    The rejections of ccdproc are independent of each other: each sees the unscaled
    samples of all frames, and a sample is left out when any of them rejects it. Samples
    that are NaN or infinite are never used. At a pixel with such a sample, clipping
    goes on with the others when the functions ignore NaN (strings, ``numpy.nan*``,
    bottleneck's ``nan*``); functions that return NaN there (`numpy.mean`,
    ``numpy.ma.median``, `~astropy.stats.mad_std`) reject nothing else;
    ``numpy.ma.std``, which is the default, rejects every sample.

    A sample enters as ``(value - zero) * factor / scale``, where factors are what
    ``scale`` gives as numbers. The standard error of n samples with variances v (those
    of the images, or of the noise model at the level of the result, times
    ``(factor / scale)**2``) is ``sqrt(sum(v))`` for the sum and ``sqrt(sum(v)) / n``
    for the average, with weights ``sqrt(sum(w**2 * v)) / sum(w)``. That of the median
    is ``sqrt(u * pi / (2 * (n + c)))`` with ``c = pi / 2 - 1`` for odd and ``pi - 2``
    for even n and the variance u of a typical sample, ``((n - 1) * h**2 + m) / n``,
    where ``m = sum(v) / n`` and ``h = n / sum(1 / sqrt(v))``; for n = 1 and 2 it is
    that of the average. Errors of zero levels, scales and weights do not enter.

    From the scatter, with the standard deviation s of the n samples used, divided by
    n - 1 ("scatter"), the standard error is ``s / sqrt(n)`` for the average,
    ``s * sqrt(n)`` for the sum and ``s * sqrt(pi / (2 * (n + c)))`` for the median; NaN
    where one sample is left. "empirical" divides by n instead, and takes 1.4826 times
    the median absolute deviation for the median.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro import combine
    >>> images = [CCDData(np.full((2, 3), level), unit="adu") for level in (1., 2., 6.)]
    >>> master = combine(images, method="median")
    >>> master.data
    array([[2., 2., 2.],
           [2., 2., 2.]])
    >>> master.header["NCOMBINE"]
    3

    With a rejector, the errors of the images and diagnostics:

    >>> from astropy.nddata import StdDevUncertainty
    >>> from imcombiners_astro import SigClip
    >>> for image in images:
    ...     image.uncertainty = StdDevUncertainty(np.full((2, 3), 0.2))
    >>> master = combine(
    ...     images,
    ...     rejectors=SigClip(sigma=2, stdfunc="mad"),
    ...     uncertainty="propagate",
    ...     diagnostics="simple",
    ... )
    >>> master.data[0], master.uncertainty.array[0]
    (array([1.5, 1.5, 1.5]), array([0.14142136, 0.14142136, 0.14142136]))
    >>> master.n_used[0], master.n_rejected_high[0]
    (array([2, 2, 2], dtype=uint16), array([1, 1, 1], dtype=uint16))
    >>> master.frames["name", "rejected_high"].pprint()
        name    rejected_high
    ----------- -------------
    img_list[0]           0.0
    img_list[1]           0.0
    img_list[2]         100.0
    """
    arguments = {
        name: value
        for name, value in locals().items()
        if name not in ("img_list", "ccdkwargs")
    }
    return _combine(img_list, arguments, ccdkwargs)


def combine_and_count(img_list, *args, **keywords):
    """
    Combine like `combine`, and count what was rejected.

    Parameters
    ----------
    img_list, *args, **keywords
        As for `combine`.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The result of `combine`.
    Tally
        Numbers of samples, all 0 if ccdproc had to do the work.
    """
    bound = inspect.signature(combine).bind(img_list, *args, **keywords)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    ccdkwargs = arguments.pop("ccdkwargs")
    tally = Tally()
    return _combine(arguments.pop("img_list"), arguments, ccdkwargs, tally), tally


def _combine(img_list, arguments, ccdkwargs, tally=None):
    check_method(arguments["method"])
    items = expand_inputs(img_list, unit=ccdkwargs.get("unit"))
    ccdkwargs = known_keywords(ccdkwargs)
    if belongs_to_ccdproc(items, arguments["array_package"]):
        return hand_over(items, arguments, ccdkwargs, combine)

    output = {name: arguments.pop(name) for name in OUTPUT_KEYWORDS}
    arguments.pop("array_package")
    options = check_options(**arguments, n_frames=len(items))
    options = options._replace(described=described(arguments))
    output = Output.of(
        output["output_file"],
        output["overwrite_output"],
        options.dtype,
        dtype=output["output_dtype"],
        compression=output["output_compression"],
        checksum=output["output_checksum"],
    )

    wanted = {
        "want_uncertainty": bool(needs_variances(options)),
        "want_flags": options.extras.wants_flags,
    }
    if is_all(ccdkwargs):
        return combine_extensions(items, options, ccdkwargs, wanted, output, tally)
    with opened_frames(items, **wanted, **ccdkwargs) as frames:
        _warn_about_unit(items, frames, ccdkwargs.get("unit"))
        result = combine_frames(frames, frames[0].outline(), options, tally, output)
    if output is not None and not output.is_written:
        output.write(result)
    return result


@functools.cache
def _parameters():
    """Return the parameters of `combine` by name."""
    return inspect.signature(combine).parameters


def described(arguments):
    """
    Tell which parameters are not at their default, and the method.

    Parameters
    ----------
    arguments : dict
        Parameters of `combine` and their values.

    Returns
    -------
    tuple of str
        A text for each, for a header.
    """
    parameters = _parameters()
    silent = ("mem_limit", "n_threads", "progress_bar")
    return tuple(
        f"{name}={describe(value)}"
        for name, value in arguments.items()
        if name == "method"
        or (
            value is not parameters[name].default
            and name not in silent
            and not (isinstance(value, list | tuple) and not value)  # no rejectors
        )
    )


def known_keywords(ccdkwargs):
    """
    Warn about keywords that nothing here takes, and leave them out.

    Parameters
    ----------
    ccdkwargs : dict
        Keywords for the reader of files.

    Returns
    -------
    dict
        Those that the reader knows.
    """
    parameters = [
        name
        for name, parameter in _parameters().items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    known = {}
    for name, value in ccdkwargs.items():
        if name in READER_KEYWORDS:
            known[name] = value
            continue
        nearest = difflib.get_close_matches(name, [*parameters, *READER_KEYWORDS], 1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        warn(
            f"combine() does not know the keyword {name!r}; it has no effect.{hint}",
            UnknownKeywordWarning,
        )
    return known


def _warn_about_unit(items, frames, unit):
    if unit is None:
        return
    other = [
        frame
        for item, frame in zip(items, frames, strict=True)
        if isinstance(item, CCDData) and frame.unit != unit
    ]
    if other:
        warn(
            f"unit={str(unit)!r} is for files only: {other[0].name} stays in "
            f"{other[0].unit}.",
            UnusedOptionWarning,
        )
