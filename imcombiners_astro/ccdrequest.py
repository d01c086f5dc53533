# Licensed under a 3-clause BSD style license - see LICENSE
"""
One call of a combining method of a `~imcombiners_astro.CCDCombiner`.

Such a call may bring functions of the caller. Where they compute what the kernels
compute, the kernels do it; the others are called.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from astropy.stats import mad_std

from imcombiners_astro import clipfuncs
from imcombiners_astro.errors import IntegerResultError
from imcombiners_astro.planes import Plan, combine_planes
from imcombiners_astro.uncertainty import known_uncertainty

__all__ = [
    "DEFAULTS",
    "Request",
    "Samples",
    "by_kernels",
    "called_scatter",
    "check_weights",
    "converted",
    "quiet",
    "samples_of",
]

_STATISTICS = {"average": "mean", "median": "median", "sum": "sum"}

# What does the work where the kernels do not.
DEFAULTS = {"average": np.nanmean, "median": np.nanmedian, "sum": np.nansum}
_SCATTER = {
    "average": np.nanstd,
    "median": partial(mad_std, ignore_nan=True),
    "sum": np.nanstd,
}

# These leave out the masked samples of a masked array; the others that are recognised
# look below the mask.
_MIND_MASKS = (
    *(np.mean, np.average, np.sum),
    *(np.ma.mean, np.ma.average, np.ma.median, np.ma.sum),
)


class Request(NamedTuple):
    """
    What is to be computed.

    Attributes
    ----------
    method : {'average', 'median', 'sum'}
        The statistic.
    func : callable or None
        Function of the caller for it.
    uncertainty_function : callable or None
        Function of the caller for the scatter.
    sum_func : callable or None
        Function of the caller for the sums of a weighted average.
    weights : `~numpy.ndarray` or None
        Of shape (N,) or (N, *shape).
    dtype : `~numpy.dtype`
        Type of the image.
    """

    method: str
    func: Callable[..., Any] | None
    uncertainty_function: Callable[..., Any] | None
    sum_func: Callable[..., Any] | None
    weights: np.ndarray | None
    dtype: np.dtype

    @property
    def known_uncertainty(self):
        """The scatter if the kernels compute it."""
        func = self.uncertainty_function
        if self.method == "median" and getattr(func, "__name__", "") == "sigma_func":
            if clipfuncs.recognise(func) is not None:
                # ccdproc's default, which it tells to ignore NaN.
                return known_uncertainty(self._replace(uncertainty_function=None))
        known = known_uncertainty(self)
        if known is not None and known.nan and self.func is not None:
            return None  # called with a masked array, in which nothing is NaN
        return known

    def known_image(self, masked):
        """
        Tell whether the kernels compute the image.

        Parameters
        ----------
        masked : bool
            Whether any sample is masked.

        Returns
        -------
        knows : bool
            Whether they do.
        needs_all : bool
            Whether only if every sample that is not masked is finite.
        """
        func = self.func
        weighted_average = self.weights is not None and self.method == "average"
        if weighted_average:
            if func is not None:
                return False, False
            func = self.sum_func
        if func is None:
            return True, False
        if weighted_average or self.method == "sum":
            sums = [np.sum, np.ma.sum, np.nansum]
            bottleneck = sys.modules.get("bottleneck")
            if bottleneck is not None:
                sums.append(bottleneck.nansum)
            same = any(func is known for known in sums)
        else:
            found = clipfuncs.recognise(func)
            same = found is not None and found.name == _STATISTICS[self.method]
        if weighted_average:  # called with NaN for what is masked
            skips = func is not np.sum and func is not np.ma.sum
            return same and (skips or not masked), not skips
        minds = any(func is known for known in _MIND_MASKS)
        return same and (minds or not masked), True


class Samples(NamedTuple):
    """
    What goes into a combination.

    Attributes
    ----------
    values : `~numpy.ndarray` of shape (N, *shape)
        The samples.
    mask : bool `~numpy.ndarray` of shape (N, *shape), or None
        True for bad ones.
    factors : `~numpy.ndarray` of shape (N,), or None
        Multiply the images.
    work : {'f4', 'f8'}
        Workspace in which the products are exact enough.
    dtype : type
        Floating-point type of the products for the user.
    """

    values: np.ndarray
    mask: np.ndarray | None
    factors: np.ndarray | None
    work: str
    dtype: type


def samples_of(stack, scale, scaled):
    """
    Take the samples of a stack and a scale.

    Parameters
    ----------
    stack : `~imcombiners_astro.ccdstack.CCDStack`
        The samples.
    scale : None, float or array_like
        Multiplies them.
    scaled : callable
        Gives the product as a masked array, for a scale that is not one number for
        each image.

    Returns
    -------
    Samples
    """
    if scale is None:
        dtype = _floating(stack.dtype)
        return Samples(stack.samples, stack.mask, None, stack.work(), dtype)
    # numpy.ma takes a number for an array of float64.
    dtype = _floating(np.result_type(stack.dtype, np.asarray(scale)))
    n_frames, *shape = stack.shape
    if np.ndim(scale) == 0 or np.shape(scale) == (n_frames, *(1 for _ in shape)):
        factors = np.broadcast_to(np.ravel(scale), (n_frames,))
        if factors.dtype.kind in "biuf" and np.isfinite(factors).all():
            factors = factors.astype(np.float64)
            return Samples(stack.samples, stack.mask, factors, "f8", dtype)
    product = np.ma.asarray(scaled())
    mask = np.ma.getmask(product)
    mask = None if mask is np.ma.nomask else mask
    return Samples(product.data, mask, None, "f8", dtype)


def _floating(dtype):
    """Type of a mean of samples of a type."""
    return np.float32 if dtype == np.float32 else np.float64


def by_kernels(request, samples):
    """
    Compute what the kernels can.

    Parameters
    ----------
    request : Request
    samples : Samples

    Returns
    -------
    image : `~numpy.ndarray` or None
        None where a function must be called.
    sigma : `~numpy.ndarray` or None
        Standard deviation of the image; None where a function must be called.
    empty : bool `~numpy.ndarray` or None
        True where there is no sample; None if both others are.
    """
    values, mask, factors, work, dtype = samples
    known = request.known_uncertainty
    knows_image, needs_all = request.known_image(mask is not None)
    if not knows_image and known is None:
        return None, None, None
    weights = request.weights if knows_image else None
    n_used = np.empty(values.shape[1:], np.uint16)
    outputs = {"n_used": n_used}
    if knows_image:
        narrow = dtype is np.float32 and request.dtype == np.float32
        outputs["image"] = np.empty(n_used.shape, "f4" if narrow else "f8")
    if known is not None:
        outputs["uncertainty"] = np.empty(n_used.shape, dtype)
    plan = Plan(
        statistic=("" if weights is None else "w") + _STATISTICS[request.method],
        work=work if weights is None else "f8",
        independent=True,
        transform_after=True,
        uncertainty=None if known is None else known.name,
    )
    combine_planes(
        values,
        plan,
        outputs,
        masks=mask,
        weights=None if weights is None else _plain_weights(weights, values.shape),
        factor=factors,
    )
    image, sigma = outputs.get("image"), outputs.get("uncertainty")
    if known is not None:
        known.finish(sigma, n_used, len(values))
    empty = n_used == 0
    if request.func is not None:
        # As in ccdproc, only the mask makes a sample useless to a function of the user.
        empty = np.zeros_like(empty) if mask is None else mask.all(axis=0)
    if image is not None and needs_all:
        n_good = values.size - (0 if mask is None else np.count_nonzero(mask))
        if n_used.sum(dtype=np.int64) < n_good:
            image = None  # what the function makes of NaN, only itself can say
        elif request.func is not None:
            image[empty] = 0  # what numpy.ma leaves below the mask
    return image, sigma, empty


def check_weights(weights, shape):
    """
    Check the shape of weights.

    Parameters
    ----------
    weights : `~numpy.ndarray`
        The weights.
    shape : tuple of int
        (N, *shape of an image).

    Raises
    ------
    ValueError
        It is neither (N,) nor that of the stack.
    """
    if weights.shape == shape:
        return
    if weights.ndim != 1:
        raise ValueError(
            "1D weights expected when shapes of the data and weights differ: they "
            f"have the shape {weights.shape}, the data {shape}."
        )
    if len(weights) != shape[0]:
        raise ValueError(
            "Length of weights not compatible with specified axis: there are "
            f"{len(weights)} for {shape[0]} images."
        )


def _plain_weights(weights, shape):
    """Weights as the kernels take them; a masked or NaN one is 0."""
    check_weights(weights, shape)
    weights = np.ma.filled(weights, 0)
    if weights.dtype.str[1:] not in ("f4", "f8"):
        weights = weights.astype(np.float64)
    unknown = np.isnan(weights)
    return np.where(unknown, 0, weights) if unknown.any() else weights


def called_scatter(request, data, n_used):
    """
    Let a function compute the scatter, and make an uncertainty of it as ccdproc does.

    Parameters
    ----------
    request : Request
    data : `~numpy.ndarray` or `~numpy.ma.MaskedArray` of shape (N, *shape)
        What the function gets.
    n_used : int `~numpy.ndarray`
        Samples used.

    Returns
    -------
    `~numpy.ndarray`
        Scatter over the square root of ``n_used``, for a sum times ``n_used``.

    Raises
    ------
    ValueError
        The function returns something of a shape that does not fit.
    """
    func = request.uncertainty_function
    with quiet(func is None):
        scatter = (_SCATTER[request.method] if func is None else func)(data, axis=0)
    if np.ma.isMaskedArray(scatter):
        scatter = np.ma.filled(scatter + 0.0, np.nan)
    scatter = np.asarray(scatter)
    dtype = scatter.dtype if scatter.dtype.kind == "f" else np.float64
    with np.errstate(divide="ignore", invalid="ignore"):
        try:
            scatter = np.broadcast_to(scatter, n_used.shape) / np.sqrt(n_used)
        except ValueError as err:
            raise ValueError(
                "uncertainty_func must reduce axis 0: for an array of shape "
                f"{data.shape} it returned one of shape {scatter.shape}."
            ) from err
        if request.method == "sum":
            scatter = scatter * n_used
    return scatter.astype(dtype, copy=False)


def converted(image, dtype):
    """
    Convert an image to the type of the result.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Of any type.
    dtype : `~numpy.dtype`
        Integers are truncated.

    Returns
    -------
    `~numpy.ndarray`
        ``image`` itself where it has the type.

    Raises
    ------
    IntegerResultError
        A value is NaN or outside the range of an integer type.
    """
    if dtype.kind in "iu" and image.dtype.kind == "f":
        limits = np.iinfo(dtype)
        outside = ~((image > limits.min - 1.0) & (image < limits.max + 1.0))
        if outside.any():
            raise IntegerResultError(
                f"dtype={dtype} holds values from {limits.min} to {limits.max}, the "
                f"combined image has {image[outside][0]:g}. It is NaN where no sample "
                "is left."
            )
    return image.astype(dtype, copy=False)


@contextlib.contextmanager
def quiet(default):
    """Keep NumPy's functions quiet about empty pixels; not those of the caller."""
    if not default:
        yield
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
