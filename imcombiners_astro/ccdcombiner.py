# Licensed under a 3-clause BSD style license - see LICENSE
"""`CCDCombiner`: the class ``ccdproc.Combiner`` on the kernels of this package."""

import inspect
import operator
import sys
import warnings

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.stats import sigma_clip
from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning

from imcombiners_astro import clipfuncs
from imcombiners_astro.ccdrequest import (
    DEFAULTS,
    Request,
    by_kernels,
    called_scatter,
    check_weights,
    converted,
    quiet,
    samples_of,
)
from imcombiners_astro.ccdstack import CCDStack, are_ours, check_images
from imcombiners_astro.errors import warn

__all__ = ["CCDCombiner"]

_HELPERS = (
    "_get_scaled_data",
    "_get_nan_substituted_data",
    "_combination_setup",
    "_weighted_sum",
)


class CCDCombiner:
    """
    Combine images step by step, with the interface of ``ccdproc.Combiner``.

    Parameters
    ----------
    ccd_iter : iterable of `~astropy.nddata.CCDData`
        The N images, of one shape (any number of dimensions) and one unit. They are
        copied.
    dtype : str or `numpy.dtype`, optional
        Type of the samples and of the results; float64 by default.
    xp : module, optional
        Array library. With anything but NumPy, with images that hold arrays of
        another library, and with a ``dtype`` that is not a real number of at most 64
        bits (or is float16), the object becomes a ``ccdproc.Combiner``.

    Attributes
    ----------
    data_arr : `~numpy.ma.MaskedArray` of shape (N, *shape)
        The samples and their mask, as in ccdproc 2.5.
    data, mask : `~numpy.ndarray` of shape (N, *shape)
        The two parts of ``data_arr``, as in later versions, where they are also called
        ``_data_arr`` and ``_data_arr_mask``. True in the mask marks a bad sample.
    weights : None or `~numpy.ndarray` of shape (N,) or (N, *shape)
        Weights for the average and the sum. NaN counts as 0.
    scaling : None or `~numpy.ndarray` of shape (N, 1, ...)
        Factors that multiply the images before they are combined (after the
        rejections). Takes N numbers, or a function of one image as a masked array.
    ccd_list : list of `~astropy.nddata.CCDData`
        The images as they came.
    unit : `~astropy.units.UnitBase`
        Their unit.
    dtype : `numpy.dtype` or numpy scalar type
        Type of the results.

    Raises
    ------
    TypeError
        Something that is not a CCDData, images of different shapes or units, or no
        image.

    Notes
    -----
    All of ``data_arr``, ``data``, ``mask``, ``weights`` and ``scaling`` may be written
    to, in place or by assignment, at any time; the next method sees it.

    A method of rejection judges the unscaled samples, the masked ones included, and
    adds to the mask. A method of combination uses the samples that are neither masked
    nor NaN nor infinite; where none is left the result is NaN (for a sum 0) and masked.

    Functions that are recognised (see :ref:`callables`) and the defaults are computed
    by the kernels. Any other is called with a masked array and ``axis=0``, for
    `sigma_clipping` with what `astropy.stats.sigma_clip` hands over.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro import CCDCombiner
    >>> images = [CCDData(np.full((1, 2), level), unit="adu")
    ...           for level in (1.0, 2.0, 3.0, 90.0)]
    >>> combiner = CCDCombiner(images)
    >>> combiner.sigma_clipping(func="median", dev_func="mad_std")
    >>> combiner.mask[0, 0, 1] = True
    >>> combiner.average_combine().data
    array([[2. , 2.5]])
    """

    # The class in whose place `accelerate_ccdproc` has put this one.
    _replaced = None

    def __init__(self, ccd_iter, dtype=None, xp=None):
        if ccd_iter is None:
            raise TypeError(
                "ccd_iter should be a list or a generator of CCDData objects, not None."
            )
        images = list(ccd_iter)
        check_images(images)
        wanted = np.float64 if dtype is None else dtype
        if not _is_numpy(xp) or not are_ours(images, wanted):
            self._become_one_of_ccdproc(images, dtype, xp)
            return
        self.ccd_list = images
        self.unit = images[0].unit
        # As given, or such that it equals every way to write it.
        scalar = isinstance(wanted, type) and issubclass(wanted, np.generic)
        self._dtype = wanted if scalar else np.dtype(wanted)
        self._weights = None
        self._scaling = None
        self._stack = CCDStack(images, np.dtype(wanted))

    def _become_one_of_ccdproc(self, images, dtype, xp):
        if type(self) is not CCDCombiner:
            raise TypeError(
                f"{type(self).__name__} is derived from CCDCombiner, which combines "
                "NumPy arrays of real numbers only."
            )
        import ccdproc.combiner

        theirs = ccdproc.combiner.Combiner
        if theirs is CCDCombiner:
            theirs = self._replaced
        if theirs is None:
            raise TypeError(
                "ccdproc.Combiner has been replaced by CCDCombiner, which combines "
                "NumPy arrays of real numbers only; use accelerate_ccdproc() for that."
            )
        options = {} if xp is None else {"xp": xp}
        if options and "xp" not in inspect.signature(theirs).parameters:
            version = getattr(sys.modules["ccdproc"], "__version__", "installed")
            raise TypeError(
                f"xp={xp!r}: ccdproc {version}, which combines arrays of other "
                "libraries than NumPy, has no such parameter."
            )
        self.__class__ = theirs
        self.__init__(images, dtype, **options)

    @property
    def dtype(self):
        """Type of the results."""
        return self._dtype

    @property
    def data_arr(self):
        """
        Samples and mask, `~numpy.ma.MaskedArray` of shape (N, *shape).

        The name of ccdproc 2.5. May be written to and assigned.
        """
        return self._stack.array

    @data_arr.setter
    def data_arr(self, value):
        self._stack.array = value

    @property
    def data(self):
        """
        Samples, `~numpy.ndarray` of shape (N, *shape): ``data_arr.data``.

        May be written to and assigned.
        """
        return self._stack.array.data

    @data.setter
    def data(self, value):
        self._stack.array = np.ma.MaskedArray(np.asarray(value), mask=self.mask)

    _data_arr = data

    @property
    def mask(self):
        """
        True for bad samples, bool `~numpy.ndarray` of shape (N, *shape).

        It is ``data_arr.mask``. May be written to and assigned.
        """
        return self._stack.writable_mask()

    @mask.setter
    def mask(self, value):
        self.mask[...] = value

    _data_arr_mask = mask

    @property
    def weights(self):
        """
        Weights of the images, (N,), or of the samples, (N, *shape), or None.

        For the average and the sum; NaN counts as 0, and so does a masked weight.
        """
        return self._weights

    @weights.setter
    def weights(self, value):
        if value is not None:
            if not isinstance(value, np.ndarray):
                raise TypeError(
                    f"weights must be a numpy.ndarray, not {type(value).__name__}."
                )
            check_weights(value, self._stack.shape)
        self._weights = value

    @property
    def scaling(self):
        """
        Factors of the images, of shape (N, 1, ...), or None.

        They multiply the images before they are combined, after the rejections. Takes N
        numbers, or a function that is called with each image as a masked array.
        """
        return self._scaling

    @scaling.setter
    def scaling(self, value):
        if value is None:
            self._scaling = None
            return
        shape = self._stack.shape
        if callable(value):
            value = [value(self._stack.image(k)) for k in range(shape[0])]
        wanted = (
            "scaling must be a function or an array the same length as the number of "
            f"images, which is {shape[0]}"
        )
        try:
            length = len(value)
        except TypeError as err:
            raise TypeError(f"{wanted}, not {value!r}.") from err
        if length != shape[0]:
            raise ValueError(f"{wanted}; it has {length}.")
        factors = np.array(value)
        rest = factors.shape[1:]
        self._scaling = factors.reshape(shape[0], *(1 for _ in shape[1:]), *rest)

    def clip_extrema(self, nlow=0, nhigh=0):
        """
        Mask the lowest and the highest samples of each pixel.

        Parameters
        ----------
        nlow, nhigh : int or None, optional
            How many. All N samples are ranked, masked ones too, with NaN as the
            highest; among equal ones the first images are the lower ones.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 9.0)]
        >>> combiner = CCDCombiner(images)
        >>> combiner.clip_extrema(nlow=1, nhigh=1)
        >>> combiner.mask[:, 0]
        array([False,  True,  True])
        """
        low, high = (max(0, operator.index(n or 0)) for n in (nlow, nhigh))
        stack = self._stack
        if low + high >= stack.shape[0]:
            stack.writable_mask()[...] = True
        elif low or high:
            if stack.readable and stack.all_finite():
                options = {"low": low, "high": high, "rule": "count"}
                stack.reject(("extrema", options))
                return
            # The kernels have no rank for an infinity.
            samples, mask = stack.samples, stack.writable_mask()
            for rows in stack.parts():
                order = np.argsort(samples[:, rows], axis=0, kind="stable")
                ends = np.concatenate([order[:low], order[len(order) - high :]])
                rejected = np.zeros(order.shape, bool)
                np.put_along_axis(rejected, ends, True, axis=0)
                mask[:, rows] |= rejected

    def minmax_clipping(self, min_clip=None, max_clip=None):
        """
        Mask the samples below one value and those above another.

        Parameters
        ----------
        min_clip, max_clip : float or None, optional
            Samples equal to them stay, and so do NaN.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 9.0)]
        >>> combiner = CCDCombiner(images)
        >>> combiner.minmax_clipping(min_clip=2)
        >>> combiner.mask[:, 0]
        array([False,  True, False])
        """
        for limit, outside in ((min_clip, np.less), (max_clip, np.greater)):
            if limit is None:
                continue
            mask = self._stack.writable_mask()
            # As an array a number has a type of its own: float32 samples are compared
            # in float64, as numpy.ma does.
            mask |= outside(self._stack.samples, np.asarray(limit))

    def sigma_clipping(
        self, low_thresh=3, high_thresh=3, func="mean", dev_func="std", **kwd
    ):
        """
        Mask the samples far from the others of the same pixel, in one pass.

        Parameters
        ----------
        low_thresh, high_thresh : float or None, optional
            A sample is masked that is below ``center - low_thresh * deviation`` or
            above ``center + high_thresh * deviation``. None and 0 stand for 3;
            `numpy.inf` switches a side off.
        func : {'mean', 'median'} or callable, optional
            The center.
        dev_func : {'std', 'mad_std'} or callable, optional
            The deviation; ``'std'`` is about the mean whatever the center is.
        **kwd
            For `astropy.stats.sigma_clip`, which then does the work; ``sigma`` alone
            replaces the 3 above.

        Raises
        ------
        ValueError
            A string that names no statistic.

        Notes
        -----
        Samples that are not finite are masked, with an
        `~astropy.utils.exceptions.AstropyUserWarning`. At such a pixel the other
        samples are judged without them, if the functions ignore NaN (as the strings
        do).

        Every call judges all samples, those too that an earlier call masked. Calling
        it again therefore masks nothing more; see
        `~imcombiners_astro.Combiner` and ``rejectors`` for iterative clipping.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 4.0, 70.0)]
        >>> combiner = CCDCombiner(images)
        >>> combiner.sigma_clipping(5, 5, func="median", dev_func="mad_std")
        >>> combiner.mask[:, 0]
        array([False, False, False,  True])
        """
        if "use_astropy" in kwd:
            del kwd["use_astropy"]
            warnings.warn(
                "use_astropy has no effect any more: clipping is always that of "
                "astropy.",
                AstropyDeprecationWarning,
                stacklevel=2,
            )
        low, high = (
            limit or kwd.get("sigma", 3) for limit in (low_thresh, high_thresh)
        )
        center, spread = clipfuncs.recognise(func), clipfuncs.recognise(dev_func)
        known = (
            center is not None
            and spread is not None
            and center.name in ("mean", "median")
            and spread.name in ("std", "mad")
            and not kwd.keys() - {"sigma"}
            and self._stack.readable
            and np.ndim(low) == np.ndim(high) == 0
            # Against negative thresholds and NaN everything is an outlier.
            and low > 0
            and high > 0
        )
        if not known:
            self._sigma_clipping_by_astropy(low, high, func, dev_func, kwd)
            return
        if not self._stack.all_finite():
            warn(
                "Input data contains invalid values (NaNs or infs), which were "
                "automatically clipped.",
                AstropyUserWarning,
            )
        options = {
            "low": low,
            "high": high,
            "center": center.name,
            "spread": spread.name,
            # About what NumPy and astropy compute it, whatever the center is.
            "spread_center": "mean" if spread.name == "std" else "median",
            "mad_factor": spread.factor,
            "ddof": spread.ddof,
            "maxiters": 1,
            "nan_rule": clipfuncs.nan_rule(center, spread),
        }
        self._stack.reject(("sigclip", options))

    def _sigma_clipping_by_astropy(self, low, high, func, dev_func, kwd):
        options = {"axis": 0, "copy": False, "maxiters": 1, "masked": True} | kwd
        clipped = sigma_clip(
            self.data,
            sigma_lower=low,
            sigma_upper=high,
            cenfunc=clipfuncs.without_bottleneck(func),
            stdfunc=clipfuncs.without_bottleneck(dev_func),
            **options,
        )
        mask = self.mask
        mask |= np.ma.getmaskarray(clipped)

    def median_combine(self, median_func=None, scale_to=None, uncertainty_func=None):
        """
        Combine the images by their median.

        Parameters
        ----------
        median_func : callable, optional
            Called as ``f(masked_array, axis=0)`` for the median.
        scale_to : float or array_like, optional
            Multiplies the samples, instead of `scaling`.
        uncertainty_func : callable, optional
            Called as ``f(array, axis=0)`` for the scatter of the samples, with NaN for
            those that are masked (with a masked array if ``median_func`` is given). It
            is divided by the square root of the number of samples used. By default
            1.4826 times the median absolute deviation.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With mask, standard deviation and the number of images as ``NCOMBINE``, but
            without WCS and without the headers of the images.

        Raises
        ------
        IntegerResultError
            An integer `dtype` cannot hold the result.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 9.0)]
        >>> CCDCombiner(images).median_combine().data
        array([5.])
        """
        return self._combine("median", median_func, scale_to, uncertainty_func)

    def average_combine(
        self, scale_func=None, scale_to=None, uncertainty_func=None, sum_func=None
    ):
        """
        Combine the images by their average, weighted if there are `weights`.

        Parameters
        ----------
        scale_func : callable, optional
            Called as ``f(masked_array, axis=0)`` for the average. With `weights` it is
            not called; as in ccdproc, masked samples then count.
        scale_to : float or array_like, optional
            Multiplies the samples, instead of `scaling`.
        uncertainty_func : callable, optional
            As for `median_combine`; by default the standard deviation.
        sum_func : callable, optional
            Called as ``f(array, axis=0)`` for the sums of a weighted average.

        Returns
        -------
        `~astropy.nddata.CCDData`
            As from `median_combine`.

        Raises
        ------
        IntegerResultError
            An integer `dtype` cannot hold the result.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 9.0)]
        >>> combiner = CCDCombiner(images)
        >>> combiner.weights = np.array([2.0, 1.0, 1.0])
        >>> combiner.average_combine(scale_to=10).data
        array([50.])
        """
        return self._combine(
            "average", scale_func, scale_to, uncertainty_func, sum_func
        )

    def sum_combine(self, sum_func=None, scale_to=None, uncertainty_func=None):
        """
        Combine the images by their sum, weighted if there are `weights`.

        Parameters
        ----------
        sum_func : callable, optional
            Called as ``f(masked_array, axis=0)`` for the sum.
        scale_to : float or array_like, optional
            Multiplies the samples, instead of `scaling`.
        uncertainty_func : callable, optional
            As for `median_combine`, by default the standard deviation; it is also
            multiplied by the number of samples used.

        Returns
        -------
        `~astropy.nddata.CCDData`
            As from `median_combine`. Masked samples are missing in the sum, which is
            not rescaled.

        Raises
        ------
        IntegerResultError
            An integer `dtype` cannot hold the result.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CCDCombiner
        >>> images = [CCDData([level], unit="adu") for level in (5.0, 1.0, 9.0)]
        >>> CCDCombiner(images).sum_combine().data
        array([15.])
        """
        return self._combine("sum", sum_func, scale_to, uncertainty_func)

    def _combine(self, method, func, scale_to, uncertainty_func, sum_func=None):
        stack = self._stack
        weights = None if method == "median" else self.weights
        dtype = np.dtype(self.dtype)
        request = Request(method, func, uncertainty_func, sum_func, weights, dtype)
        image = sigma = empty = None
        if stack.readable and not self._has_helpers_of_its_own():
            scale = self.scaling if scale_to is None else scale_to
            samples = samples_of(stack, scale, lambda: self._get_scaled_data(scale_to))
            image, sigma, empty = by_kernels(request, samples)
        if image is None or sigma is None:
            data, n_masked, func_used = self._combination_setup(
                func, DEFAULTS[method], scale_to
            )
            if image is None:
                empty = n_masked == stack.shape[0]
                with quiet(func is None):
                    image = np.array(self._called_image(request, func_used, data))
            if sigma is None:
                sigma = called_scatter(request, data, stack.shape[0] - n_masked)
        combined = CCDData(
            converted(image, dtype),
            mask=empty,
            unit=self.unit,
            uncertainty=StdDevUncertainty(sigma),
        )
        combined.meta["NCOMBINE"] = stack.shape[0]
        return combined

    def _called_image(self, request, func_used, data):
        if request.weights is None:
            return func_used(data, axis=0)
        if request.method == "sum":
            return self._weighted_sum(data, func_used)[0]
        add = np.nansum if request.sum_func is None else request.sum_func
        if request.func is not None:
            data = np.asarray(data)  # below the mask, too
        total, weights = self._weighted_sum(data, add)
        if request.func is None:
            weights = np.where(np.isnan(data), 0, weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total / add(weights, axis=0)

    # What follows has the names and the results it has in ccdproc, for classes derived
    # from this one.

    def _has_helpers_of_its_own(self):
        return any(
            getattr(type(self), name) is not getattr(CCDCombiner, name)
            for name in _HELPERS
        )

    def _get_scaled_data(self, scale_arg):
        """Multiply the samples by the scale; gives a masked array."""
        scale = self.scaling if scale_arg is None else scale_arg
        return self.data_arr if scale is None else self.data_arr * scale

    def _get_nan_substituted_data(self, data):
        """Give a plain array with NaN for what is masked."""
        if np.any(np.ma.getmask(self.data_arr)):
            return np.ma.filled(data, np.nan)
        return np.asarray(data)

    def _combination_setup(self, user_func, default_func, scale_to):
        """Scaled samples, how many are masked at each pixel, and the function to use.

        Masked are the NaN of a plain array for the default function, and what the mask
        of the masked array for a function of the user says.
        """
        data = self._get_scaled_data(scale_to)
        if user_func is not None:
            return data, np.ma.getmaskarray(self.data_arr).sum(axis=0), user_func
        data = self._get_nan_substituted_data(data)
        return data, np.isnan(data).sum(axis=0), default_func

    def _weighted_sum(self, data, sum_func):
        """Sum of the samples times their weights, and the weights."""
        weights = self.weights.astype(np.float64)
        if weights.shape != data.shape:
            weights = weights.reshape(-1, *(1 for _ in data.shape[1:]))
        return sum_func(data * weights, axis=0), weights


def _is_numpy(xp):
    name = getattr(xp, "__name__", None)
    return xp is None or name in ("numpy", "array_api_compat.numpy")
