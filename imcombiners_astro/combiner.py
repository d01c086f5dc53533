# Licensed under a 3-clause BSD style license - see LICENSE
"""`Combiner`: a stack of images, combined in one call or step by step."""

import copy

import numpy as np

from imcombiners_astro import stacks
from imcombiners_astro.flags import SampleFlags
from imcombiners_astro.rejectors import Rejector
from imcombiners_astro.samples import (
    Samples,
    Statistic,
    as_mask,
    common_interval,
    interval,
    join,
    parse_diagnostics,
)
from imcombiners_astro.zeroscale import with_zero_scale

__all__ = ["Combiner"]

PREVIOUS = np.uint8(SampleFlags.PREVIOUS)


class Combiner:
    """
    A stack of images with a mask, to be combined along its first axis.

    Either `combine` does everything in one go and leaves the stack as it is, or
    `threshold`, `zero_scale` and `reject` are called first, in any order, and change
    it one after the other.

    Parameters
    ----------
    arr : `~numpy.ndarray` (N, *spatial)
        The stack; integers of 8 to 64 bits, float32 or float64, in either byte order.
        8 and 16-bit integers and float32 are worked on in float32, the rest in
        float64. NaN and infinite samples are never used.
    mask : bool array-like (N, *spatial) or ``spatial``, optional
        True where a sample is not to be used.
    copy : bool
        Whether to copy the arrays. Without, the caller must not change them meanwhile.
    validate : bool
        Whether to check the arrays.

    Attributes
    ----------
    last_reject : tuple or None
        ``(mask_rej, std, low, upp, nit, output_flags)`` of the latest rejection, as of
        `~imcombiners_astro.kernels.sigclip`; each is also an attribute of its own.
    last_sample_flags : uint8 `~numpy.ndarray` (N, *spatial) or None
        `~imcombiners_astro.SampleFlags` of the latest rejection, with
        ``diagnostics="full"``.
    reject_history : list of tuple
        Every ``last_reject`` there was.

    Raises
    ------
    ValueError
        If the stack has fewer than two dimensions or no frame, or the mask another
        shape.
    TypeError
        If ``arr`` is no array, or of a type that cannot be combined.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[10, 12], [11, 11], [99, 13], [12, 12]], dtype=np.uint16)
    >>> clip = imc.SigClip(sigma=1.5)
    >>> imc.Combiner(stack).combine("mean", rejectors=clip)
    array([11., 12.], dtype=float32)

    Step by step, with the products of the rejection:

    >>> chain = imc.Combiner(stack).reject(clip)
    >>> chain.mask_rej[2]
    array([ True, False])
    >>> chain.combine("mean")
    array([11., 12.], dtype=float32)
    """

    def __init__(self, arr, mask=None, *, copy=True, validate=True):
        samples = Samples.of(arr, mask, validate)
        if copy:
            mask = None if samples.mask is None else np.array(samples.mask)
            samples = samples._replace(stack=np.array(samples.stack), mask=mask)
        self._samples = samples
        # Whether the mask is also a product that has been given out.
        self._shares_mask = False
        self._mask_thresh = None
        self.last_reject = None
        self.last_sample_flags = None
        self.reject_history = []

    def __repr__(self):
        n_frames, *shape = self._samples.stack.shape
        size = f"shape={tuple(shape)}"
        if len(shape) == 2:
            size = f"H={shape[0]}, W={shape[1]}"
        return (
            f"Combiner(N={n_frames}, {size}, dtype={self._samples.dtype}, "
            f"n_masked={self.n_rejected})"
        )

    # ------------------------------------------------------------------- state

    @property
    def _inner_shape(self):
        """Shape of the public stack and mask: always three axes."""
        shape = self._samples.stack.shape
        return shape if len(shape) == 3 else (shape[0], int(np.prod(shape[1:])), 1)

    @property
    def arr(self):
        """The stack as it is now, as floats of shape (N, H, W) or (N, P, 1)."""
        self._settle()
        stack = self._samples.stack.astype(self._samples.dtype, copy=False)
        self._samples = self._samples._replace(stack=stack)
        return stack.reshape(self._inner_shape)

    @arr.setter
    def arr(self, values):
        values = Samples.of(np.asarray(values)).stack
        shape = self._samples.stack.shape
        if values.shape not in (shape, self._inner_shape):
            raise ValueError(f"arr: found shape {values.shape}, expected {shape}")
        self._samples = self._samples._replace(
            stack=values.reshape(shape), zero=None, scale=None
        )

    @property
    def mask(self):
        """Samples not to be used, of the shape of `arr`; None before there are any."""
        samples = self._samples
        if samples.mask is None:
            return None
        if samples.mask.shape != samples.stack.shape or self._shares_mask:
            mask = np.broadcast_to(samples.mask, samples.stack.shape).copy()
            self._samples = samples._replace(mask=mask)
            self._shares_mask = False
        return self._samples.mask.reshape(self._inner_shape)

    @mask.setter
    def mask(self, mask):
        mask = as_mask(mask, self._samples.stack.shape)
        self._samples = self._samples._replace(mask=mask)
        self._shares_mask = False

    @property
    def mask_thresh(self):
        """Samples outside thresholds so far, (N, *spatial); None without any."""
        return self._mask_thresh

    @property
    def mask_rej(self):
        """Samples not used after the latest rejection, (N, *spatial)."""
        return self._product("mask_rej")

    @property
    def std(self):
        """Spread in the last pass of the latest rejection, ``spatial``."""
        return self._product("std")

    @property
    def low(self):
        """Smallest sample left by the latest rejection, ``spatial``."""
        return self._product("low")

    @property
    def upp(self):
        """Largest sample left by the latest rejection, ``spatial``."""
        return self._product("upp")

    @property
    def nit(self):
        """Passes of the latest rejection, uint8 ``spatial``."""
        return self._product("nit")

    @property
    def output_flags(self):
        """Bits of `~imcombiners_astro.OutputFlags`, uint8 ``spatial``."""
        return self._product("output_flags")

    @property
    def sample_flags(self):
        """The same as ``last_sample_flags``."""
        return self.last_sample_flags

    def _product(self, name):
        return None if self.last_reject is None else getattr(self.last_reject, name)

    @property
    def n_rejected(self):
        """Number of samples masked for any reason."""
        mask = self._samples.mask
        if mask is None:
            return 0
        return int(np.broadcast_to(mask, self._samples.stack.shape).sum())

    def copy(self):
        """
        Return an independent copy.

        Returns
        -------
        Combiner
            With arrays of its own; products of rejections are shared.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> one = imc.Combiner(np.ones((3, 2)))
        >>> two = one.copy().threshold(upp=0)
        >>> one.n_rejected, two.n_rejected
        (0, 6)
        """
        other = copy.copy(self)
        own = {
            name: None if array is None else array.copy()
            for name, array in [
                ("stack", self._samples.stack),
                ("mask", self._samples.mask),
                ("thresh", self._mask_thresh),
            ]
        }
        other._mask_thresh = own.pop("thresh")
        other._samples = self._samples._replace(**own)
        other._shares_mask = False
        other.reject_history = list(self.reject_history)
        return other

    def _settle(self):
        """Do what `zero_scale` has put off, because something else comes before it."""
        if self._samples.zero is not None or self._samples.scale is not None:
            self._samples = self._samples.settled()

    # ------------------------------------------------------------------- steps

    def threshold(self, low=-np.inf, upp=np.inf):
        """
        Mask the samples below ``low`` or above ``upp``.

        Parameters
        ----------
        low, upp : float
            Smallest and largest value to use.

        Returns
        -------
        Combiner
            Itself.

        Raises
        ------
        ValueError
            If ``low > upp``, or one is NaN.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> stack = np.array([[1.0], [2], [60000]])
        >>> imc.Combiner(stack).threshold(upp=50000).combine("mean")
        array([1.5])
        """
        self._settle()
        samples = self._samples
        outside = stacks.mask_threshold(
            samples._replace(thresholds=interval((low, upp)))
        )
        self._mask_thresh = join(self._mask_thresh, outside)
        self._samples = samples._replace(mask=join(samples.mask, outside))
        self._shares_mask = samples.mask is None
        return self

    def zero_scale(
        self,
        zero=None,
        scale=None,
        *,
        zero_to_0th=True,
        scale_to_0th=True,
        zero_sigclip_kwargs=None,
        scale_sigclip_kwargs=None,
    ):
        """
        Turn every sample into ``(value - zero) / scale``.

        Parameters
        ----------
        zero, scale : float, array-like (N,), str or callable, optional
            See `~imcombiners_astro.resolve_zero_scale`. Statistics of both are those
            of the values before, without masked samples.
        zero_to_0th, scale_to_0th : bool
            Whether they are relative to those of the first frame; a single number is
            taken as it is.
        zero_sigclip_kwargs, scale_sigclip_kwargs : dict, optional
            Options of sigma clipped statistics.

        Returns
        -------
        Combiner
            Itself.

        Raises
        ------
        ValueError, TypeError
            See `~imcombiners_astro.resolve_zero_scale`.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> stack = np.array([[10.0, 11], [110, 111]])
        >>> imc.Combiner(stack).zero_scale(zero="median").combine("mean")
        array([10., 11.])
        """
        self._settle()
        self._samples = with_zero_scale(
            self._samples,
            zero,
            scale,
            (zero_to_0th, scale_to_0th),
            (zero_sigclip_kwargs, scale_sigclip_kwargs),
        )
        return self

    def reject(self, rejector, *, grow=None, diagnostics="simple"):
        """
        Reject samples, and keep what the rejection tells.

        Parameters
        ----------
        rejector : Rejector
            How to reject.
        grow : float, optional
            Radius of growth instead of that of the rejector.
        diagnostics : {"simple", "full", None}
            "full": ``last_sample_flags`` as well. None is the same as "simple".

        Returns
        -------
        Combiner
            Itself.

        Raises
        ------
        TypeError
            If ``rejector`` is none.
        ValueError
            If an option makes no sense.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> stack = np.array([[1.0], [2], [3], [90]])
        >>> chain = imc.Combiner(stack).reject(imc.MinMaxClip(0, 1))
        >>> chain.upp
        array([3.])
        """
        self._samples = self._rejection(self._samples, rejector, grow, diagnostics)[1]
        self._shares_mask = True
        return self

    def _rejection(self, samples, rejector, grow, diagnostics, statistic=None):
        """Reject, keep the products, return the diagnosis and what is left."""
        full = parse_diagnostics(diagnostics) == "full"
        check_rejector(rejector)
        diagnosis = stacks.diagnose(
            samples,
            rejector,
            rejector.grow if grow is None else grow,
            full=full,
            statistic=statistic,
        )
        rejection, flags = diagnosis.rejection, diagnosis.sample_flags
        if full:
            masked = (flags & stacks.MASKED) != 0
            flags[masked] = (flags[masked] & ~stacks.MASKED) | PREVIOUS
        self.last_reject = rejection
        self.last_sample_flags = flags
        self.reject_history.append(rejection)
        mask = rejection.mask_rej
        if not getattr(rejector, "marks_masked", False):
            mask = join(samples.mask, mask)
        return diagnosis, samples._replace(mask=mask)

    # ----------------------------------------------------------------- results

    def combine(
        self,
        method="mean",
        *,
        weight=None,
        ddof=0,
        zero=None,
        scale=None,
        zero_to_0th=True,
        scale_to_0th=True,
        zero_sigclip_kwargs=None,
        scale_sigclip_kwargs=None,
        thresholds=None,
        rejectors=None,
        full=False,
        diagnostics=None,
        q=None,
        noise=None,
    ):
        """
        Combine the samples in use into one image.

        What is asked for here is done in the order thresholds, zero and scale,
        rejection, combination, and does not change the stack.

        Parameters
        ----------
        method : str
            "mean" ("average", "avg"), "median" ("med"), "lmedian" (the lower of the two
            middle samples), "sum", "min", "max", "variance" ("var"), "std",
            "percentile", "quadrature" (the root of the sum of squares over n) or
            "nmodel" (the noise of the mean by the noise of a CCD).
        weight : array-like (N,) or (N, *spatial), optional
            Finite weights of "mean", "quadrature" and "nmodel".
        ddof : int
            Delta degrees of freedom of the variance and the standard deviation.
        zero, scale, zero_to_0th, scale_to_0th
            See `zero_scale`.
        zero_sigclip_kwargs, scale_sigclip_kwargs : dict, optional
            See `zero_scale`.
        thresholds : (float, float) or sequence of them, optional
            Smallest and largest value to use; see `threshold`.
        rejectors : Rejector or sequence of Rejector, optional
            In order; each sees what those before have left.
        full : bool
            The same as ``diagnostics="simple"``.
        diagnostics : {None, "simple", "full"}
            Whether to keep the products of the rejections, as `reject` does, and
            ``mask_thresh``.
        q : float or sequence of float, optional
            Percentages of "percentile", interpolated linearly.
        noise : dict, optional
            ``gain`` (1), ``rdnoise`` (0) and ``snoise`` (0) of "nmodel", each a number
            or one for each frame; see `~imcombiners_astro.CcdClip`.

        Returns
        -------
        `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
            float32 or float64 as the stack is worked on. Where no sample is left: NaN;
            sums: 0.

        Raises
        ------
        ValueError
            If an option is unknown or makes no sense.
        TypeError
            If ``rejectors`` are none, or an option is of a wrong type.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> stack = np.array([[1.0, 5], [2, np.nan], [3, 9]])
        >>> imc.Combiner(stack).combine("median")
        array([2., 7.])
        >>> imc.Combiner(stack).combine("mean", weight=[1, 1, 2])
        array([2.25      , 7.66666667])
        """
        diagnostics = parse_diagnostics(diagnostics, full)
        shape = self._samples.stack.shape
        statistic = Statistic.of(
            method, shape, q=q, ddof=ddof, weight=weight, noise=noise
        )
        rejectors = rejector_list(rejectors)
        if thresholds is not None or zero is not None or scale is not None:
            self._settle()
        samples = self._samples
        if thresholds is not None:
            samples = samples._replace(thresholds=common_interval(thresholds))
        if thresholds is not None and diagnostics:
            outside = stacks.mask_threshold(samples)
            self._mask_thresh = join(self._mask_thresh, outside)
            mask = join(samples.mask, outside)
            samples = samples._replace(mask=mask, thresholds=None)
        if zero is not None or scale is not None:
            samples = with_zero_scale(
                samples,
                zero,
                scale,
                (zero_to_0th, scale_to_0th),
                (zero_sigclip_kwargs, scale_sigclip_kwargs),
            )
        if not (diagnostics and rejectors):
            return stacks.reduce(samples, statistic, rejectors)
        for rejector in rejectors[:-1]:
            samples = self._rejection(samples, rejector, None, diagnostics)[1]
        diagnosis = self._rejection(
            samples, rejectors[-1], None, diagnostics, statistic
        )[0]
        return diagnosis.image

    def variance(self, *, ddof=1, return_mean=False):
        """
        Return the variance of the samples in use.

        Parameters
        ----------
        ddof : int
            Delta degrees of freedom: the sum of squares is divided by ``n - ddof``.
        return_mean : bool
            Whether to return the mean as well.

        Returns
        -------
        `~numpy.ndarray` ``spatial``, or (`~numpy.ndarray`, `~numpy.ndarray`)
            Variance, NaN where ``n <= ddof``, and mean.

        Raises
        ------
        ValueError
            If ``ddof`` is negative.

        Examples
        --------
        >>> import numpy as np
        >>> import imcombiners_astro as imc
        >>> imc.Combiner(np.array([[1.0], [3], [5]])).variance(return_mean=True)
        (array([4.]), array([3.]))
        """
        variance = self.combine("variance", ddof=ddof)
        return (variance, self.combine("mean")) if return_mean else variance


def check_rejector(rejector):
    """Refuse what is no rejector."""
    if not isinstance(rejector, Rejector):
        raise TypeError(f"rejector: found {rejector!r}, expected a Rejector")


def rejector_list(rejectors):
    """Return the rejectors in a list."""
    if rejectors is None:
        return []
    if isinstance(rejectors, Rejector):
        return [rejectors]
    try:
        rejectors = list(rejectors)
    except TypeError:
        check_rejector(rejectors)
    for rejector in rejectors:
        check_rejector(rejector)
    return rejectors
