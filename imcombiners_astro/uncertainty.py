# Licensed under a 3-clause BSD style license - see LICENSE
"""The scatter of the samples of a combination, and the uncertainty made of it."""

from typing import NamedTuple

import numpy as np
from astropy.nddata import StdDevUncertainty

from imcombiners_astro import clipfuncs

__all__ = [
    "KnownUncertainty",
    "call_uncertainty",
    "known_uncertainty",
    "median_variance",
    "scatter_uncertainty",
    "side_by_side",
    "uncertainty_like",
]


class KnownUncertainty(NamedTuple):
    """
    An uncertainty that the kernel computes.

    Attributes
    ----------
    name : str or None
        Its name in the plan; None: there is to be none.
    nan : bool
        Whether it is NaN at every pixel where not all samples are used.
    times_n : bool
        Whether the error of the mean is still to be multiplied by the number used.
    unbiased : {"mean", "median"} or None
        Whether it is still to become the unbiased one, and of which statistic.
    """

    name: str | None
    nan: bool = False
    times_n: bool = False
    unbiased: str | None = None

    @property
    def needs_n_used(self):
        """Whether `finish` needs the number of samples used."""
        return self.nan or self.times_n or self.unbiased is not None

    def finish(self, sigma, n_used, n_frames):
        """Apply, in place, what the kernel leaves to do."""
        if self.times_n:
            sigma *= n_used
        if self.nan:
            sigma[n_used < n_frames] = np.nan
        if self.unbiased is not None:
            n = n_used.astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                square = n / (n - 1)
                if self.unbiased == "median":
                    square *= median_variance(n)
                sigma *= np.sqrt(square)


def median_variance(n):
    """
    Variance of the median of n normal samples, that of their mean being 1.

    Parameters
    ----------
    n : array_like of float
        Numbers of samples.

    Returns
    -------
    float64 `~numpy.ndarray` of the shape of `n`
        ``pi n / (2 (n + c))`` with c = pi/2 - 1 for odd and pi - 2 for even n (the rule
        of SWarp), and 1 for n < 3.
    """
    n = np.asarray(n, np.float64)
    c = np.where(n % 2 == 1, np.pi / 2 - 1, np.pi - 2)
    return np.where(n < 3, 1.0, np.pi * n / (2 * (n + c)))


def scatter_uncertainty(method):
    """Return what the kernel does for the unbiased error from the scatter."""
    name = "std_sum" if method == "sum" else "std_error"
    return KnownUncertainty(name, unbiased="median" if method == "median" else "mean")


def known_uncertainty(options):
    """Find the scatter in the kernel's list; None when it has to be called."""
    func, method = options.uncertainty_function, options.method
    std = "std_sum" if method == "sum" else "std_error"
    if func is None:
        default = "mad_error" if method == "median" else std
        return KnownUncertainty(default, nan=False, times_n=False)
    statistic = clipfuncs.recognise(func)
    if statistic is None:
        return None
    # The function gets NaN in place of what is masked or rejected.
    nan = statistic.nan != "ignore"
    if statistic.name == "std" and statistic.ddof == 0:
        return KnownUncertainty(std, nan, times_n=False)
    if statistic.name == "mad" and statistic.factor == clipfuncs.MAD_TO_STD:
        # ccdproc's own default for the median: there it is told to ignore NaN.
        if method == "median" and getattr(func, "__name__", "") == "sigma_func":
            nan = False
        return KnownUncertainty("mad_error", nan, times_n=method == "sum")
    return None


def call_uncertainty(stack, rejected, transform, options):
    """
    Scatter of the samples by a function of the caller, as ccdproc calls it.

    The function gets the scaled samples with NaN where one is masked or rejected, and
    ``axis=0``; what it returns is divided by the square root of the number of samples
    used, and for a sum multiplied by that number.
    """
    if transform is not None:
        stack = transform.applied(stack)
    stack[rejected] = np.nan
    n_used = len(stack) - np.isnan(stack).sum(axis=0)
    columns = side_by_side(stack)
    scatter = options.uncertainty_function(columns, axis=0)
    if np.ma.isMaskedArray(scatter):
        scatter = np.ma.filled(scatter.astype(float), np.nan)
    scatter = np.asarray(scatter, dtype=float)
    if scatter.shape != columns.shape[1:]:
        raise ValueError(
            "combine_uncertainty_function must reduce axis 0: for an array of shape "
            f"{columns.shape} it returned the shape {scatter.shape} instead of "
            f"{columns.shape[1:]}."
        )
    scatter = scatter[:, : stack.shape[2]]
    with np.errstate(divide="ignore", invalid="ignore"):
        scatter = scatter / np.sqrt(n_used)
        return scatter * n_used if options.method == "sum" else scatter


def side_by_side(stack):
    """
    Return a stack (N, rows, columns) of at least two columns.

    NumPy adds up a single column in another order than many, so that a pixel on its own
    would have another result than in a larger piece; so it comes twice.
    """
    return np.repeat(stack, 2, axis=2) if stack[0].size == 1 else stack


def uncertainty_like(example, std, parent):
    """
    Turn standard deviations into an uncertainty of the class of `example`.

    A variance or an inverse variance is converted to (ccdproc would fill it with the
    standard deviation); a class that knows no conversion gets the standard deviation.
    """
    cls = StdDevUncertainty if example is None else type(example)
    if cls is StdDevUncertainty:
        return cls(std, copy=False)
    if issubclass(cls, StdDevUncertainty):
        return cls(std)
    made = StdDevUncertainty(std, copy=False)
    made.parent_nddata = parent
    try:
        with np.errstate(divide="ignore", over="ignore"):
            return made.represent_as(cls)
    except TypeError:
        return cls(std)
