# Licensed under a 3-clause BSD style license - see LICENSE
"""
Rejectors: which samples of a column are not to be used.

Each is an immutable set of options. It rejects by `KernelRejector.apply`, or as part of
a combination, where all of them run in one go over the samples: `KernelRejector.step`
gives the kernel what it needs. The formulas are in the documentation, "Algorithms".
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro import stacks
from imcombiners_astro.samples import Samples

__all__ = [
    "AvSigClip",
    "CcdClip",
    "CrReject",
    "KernelRejector",
    "LinearClip",
    "MinMaxClip",
    "PClip",
    "Rejector",
    "SigClip",
]


class Rejector:
    """
    Base class of all rejectors.

    A class of your own implements `apply`; `~imcombiners_astro.Combiner` accepts it
    wherever it accepts the others.

    Attributes
    ----------
    grow : float or None
        Radius of growth, in pixels.
    fusible : bool
        Whether a kernel can take its part in a combination.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> class Negative(imc.Rejector):
    ...     def apply(self, arr, mask=None, *, validate=True):
    ...         low, upp = arr.min(axis=0), arr.max(axis=0)
    ...         zero = np.zeros(arr.shape[1:], np.uint8)
    ...         return arr < 0, None, low, upp, zero, zero
    >>> stack = np.array([[1.0, 2.0], [-5.0, 4.0], [3.0, 6.0]])
    >>> imc.Combiner(stack).combine("mean", rejectors=Negative())
    array([2., 4.])
    """

    grow = None
    fusible = False

    def apply(self, arr, mask=None, *, validate=True):
        """
        Decide which samples of a stack are not to be used.

        Parameters
        ----------
        arr : `~numpy.ndarray` (N, *spatial)
            The stack.
        mask : bool `~numpy.ndarray`, optional
            True where a sample is not to be used anyway.
        validate : bool
            Whether to check the arrays.

        Returns
        -------
        mask_rej, std, low, upp, nit, output_flags
            See `~imcombiners_astro.kernels.sigclip`.
        """
        raise NotImplementedError


class KernelRejector(Rejector):
    """
    A rejector that the kernels know.

    Attributes
    ----------
    has_std : bool
        Whether it measures a spread.
    marks_masked : bool
        Whether ``mask_rej`` contains the samples masked before.
    """

    has_std: ClassVar[bool] = True
    marks_masked: ClassVar[bool] = True

    @property
    def fusible(self):
        """Whether `step` tells all; not in a subclass with an `apply` of its own."""
        return type(self).apply is KernelRejector.apply

    def apply(self, arr, mask=None, *, validate=True):
        """
        Decide which samples of a stack are not to be used.

        Parameters
        ----------
        arr : `~numpy.ndarray` (N, *spatial)
            The stack.
        mask : bool `~numpy.ndarray` (N, *spatial) or ``spatial``, optional
            True where a sample is not to be used anyway.
        validate : bool
            Whether to check the arrays.

        Returns
        -------
        mask_rej, std, low, upp, nit, output_flags
            See `~imcombiners_astro.kernels.sigclip`.
        """
        samples = Samples.of(arr, mask, validate)
        return stacks.diagnose(samples, self, self.grow).rejection

    def step(self, n_frames, counts=None):
        """
        Return the step of the kernel that does this.

        Parameters
        ----------
        n_frames : int
            Depth N of the stack.
        counts : (`~numpy.ndarray`, `~numpy.ndarray`), optional
            Zero and scale of every frame: a sample stands for ``scale * value + zero``
            counts of its frame. Noise models ask for it.

        Returns
        -------
        (str, dict) or None
            Name and options of a step of `~imcombiners_astro.planes.Plan`; None if
            nothing is to be done.

        Raises
        ------
        ValueError, TypeError
            Naming the option that makes no sense.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SigClip(KernelRejector):
    """
    Iterative sigma clipping.

    A pass rejects the samples below ``center - sigma[0] * spread`` or above
    ``center + sigma[1] * spread``, where both come from the samples left; samples on
    a limit stay.

    Parameters
    ----------
    sigma : float or (float, float)
        Lower and upper limit in units of the spread.
    maxiters : int or None
        Largest number of passes; None: until nothing changes.
    cenfunc : {"median", "mean", "lmedian"}
        Center of the limits; "lmedian" is the lower of the two middle samples.
    clip_cen : {None, "median", "mean", "lmedian"}
        Center of the spread; None: that of the limits.
    stdfunc : {"std", "mad"}
        Spread: standard deviation, or 1.4826 times the median absolute deviation.
    ddof : int
        Delta degrees of freedom of the standard deviation.
    nkeep : int
        Fewest samples to keep in a column. ``-k``: reject at most ``k``.
    maxrej : int, optional
        Most samples that may be rejected in a column.
    revert_on_nkeep : {True, False, "closest"}
        What happens to a pass that leaves fewer than ``nkeep`` samples: it is undone,
        stands, or the samples nearest to the center are put back as IRAF does.
    grow : float, optional
        Samples of the same frame within this distance, in pixels, of a rejected one
        are rejected as well.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[970.0], [1002], [1004], [1006], [1008], [1010], [1012]])
    >>> mask_rej, std, low, upp, nit, flags = imc.SigClip(sigma=2).apply(stack)
    >>> mask_rej[:, 0]
    array([ True, False, False, False, False, False, False])
    """

    sigma: float | tuple[float, float] = (3.0, 3.0)
    maxiters: int | None = 5
    cenfunc: str = "median"
    clip_cen: str | None = None
    stdfunc: str = "std"
    ddof: int = 0
    nkeep: int = 1
    maxrej: int | None = None
    revert_on_nkeep: bool | str = True
    grow: float | None = None

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        low, high = args.sigma_pair(self.sigma)
        return "sigclip", {
            "low": low,
            "high": high,
            "center": args.center(self.cenfunc),
            "spread_center": args.spread_center(self.clip_cen),
            "spread": args.spread(self.stdfunc),
            "ddof": args.integer("ddof", self.ddof),
            "maxiters": args.passes(self.maxiters),
            **args.limits(self.nkeep, self.maxrej, self.revert_on_nkeep),
        }


@dataclass(frozen=True)
class CcdClip(KernelRejector):
    """
    Iterative clipping by the noise of a CCD.

    As `SigClip`, with the noise of IRAF's ``ccdclip`` for the spread::

        variance = (rdnoise / gain)**2 + c / gain + (snoise * c)**2

    in data units squared, where c is the center, or 0 if that is negative.

    Parameters
    ----------
    sigma : float or (float, float)
        Lower and upper limit in units of the noise.
    maxiters : int or None
        Largest number of passes; None: until nothing changes.
    cenfunc, clip_cen : str
        Centers of the limits and of the noise, as in `SigClip`.
    ddof : int
        Has no effect.
    nkeep, maxrej, revert_on_nkeep
        As in `SigClip`.
    rdnoise : float or sequence of float
        Read noise in electrons, of all frames or of each.
    gain : float or sequence of float
        Electrons per data unit.
    snoise : float or sequence of float
        Sensitivity noise, a fraction of the signal.
    scale_ref, zero_ref : float
        The signal was ``scale_ref * (value + zero_ref)`` counts in every frame.
    grow : float, optional
        As in `SigClip`.
    scales, zeros : sequence of float, optional
        The signal was ``scales[i] * (value + zeros[i])`` counts in frame i.
    sigscale : float
        If neither of the four is given, the ``zero`` and ``scale`` of the combination
        take their place, unless every scale is within ``sigscale`` of 1.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[9.0], [10], [11]])
    >>> imc.CcdClip(rdnoise=3).apply(stack)[1]
    array([4.35889894])
    """

    sigma: float | tuple[float, float] = (3.0, 3.0)
    maxiters: int | None = 5
    cenfunc: str = "median"
    clip_cen: str | None = None
    ddof: int = 0
    nkeep: int = 1
    maxrej: int | None = None
    revert_on_nkeep: bool | str = True
    rdnoise: float | tuple[float, ...] = 0.0
    gain: float | tuple[float, ...] = 1.0
    snoise: float | tuple[float, ...] = 0.0
    scale_ref: float = 1.0
    zero_ref: float = 0.0
    grow: float | None = None
    scales: tuple[float, ...] | None = None
    zeros: tuple[float, ...] | None = None
    sigscale: float = 0.1

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        low, high = args.sigma_pair(self.sigma)
        args.integer("ddof", self.ddof)
        return "ccdclip", {
            "low": low,
            "high": high,
            "center": args.center(self.cenfunc),
            "spread_center": args.spread_center(self.clip_cen),
            "maxiters": args.passes(self.maxiters),
            **args.limits(self.nkeep, self.maxrej, self.revert_on_nkeep),
            **args.noise_options(vars(self), n_frames),
            **args.signal_options(self, n_frames, counts),
        }


@dataclass(frozen=True)
class LinearClip(KernelRejector):
    """
    Clipping at linear functions of the center.

    A pass rejects the samples below ``low_scale * center - low`` or above
    ``upp_scale * center + upp``; samples on a limit stay. With the default options
    nothing is rejected.

    Parameters
    ----------
    low_scale, low, upp_scale, upp : float
        Finite and not negative.
    maxiters : int or None
        Largest number of passes; None: until nothing changes.
    cenfunc : {"median", "mean", "lmedian"}
        Center.
    nkeep, maxrej, revert_on_nkeep, grow
        As in `SigClip`.

    Notes
    -----
    The products differ from those of the other rejectors: ``low`` and ``upp`` are
    the limits last used, ``nit`` counts the passes run, and ``mask_rej`` does not
    contain the samples that were masked before.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[1.0], [10], [11], [12], [30]])
    >>> mask_rej, _, low, upp, _, _ = imc.LinearClip(low=1, upp=2).apply(stack)
    >>> mask_rej[:, 0]
    array([ True, False, False, False,  True])
    >>> low, upp
    (array([10.]), array([13.]))
    """

    low_scale: float = 1.0
    low: float = 0.0
    upp_scale: float = 1.0
    upp: float = 0.0
    maxiters: int | None = 1
    cenfunc: str = "median"
    nkeep: int = 1
    maxrej: int | None = None
    revert_on_nkeep: bool | str = True
    grow: float | None = None

    has_std: ClassVar[bool] = False
    marks_masked: ClassVar[bool] = False

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        bounds = {
            name: args.real(
                name,
                getattr(self, name),
                "finite and not negative",
                lambda number: number >= 0,
            )
            for name in ("low_scale", "low", "upp_scale", "upp")
        }
        options = {
            **bounds,
            "maxiters": args.passes(self.maxiters),
            "center": args.center(self.cenfunc),
            **args.limits(self.nkeep, self.maxrej, self.revert_on_nkeep),
        }
        if tuple(bounds.values()) == (1, 0, 1, 0):
            return None
        return "linearclip", options


@dataclass(frozen=True)
class MinMaxClip(KernelRejector):
    """
    Rejection of the smallest and largest samples.

    Parameters
    ----------
    n_min, n_max : float
        How many of N samples, or below 1 which fraction of them, are rejected at each
        end. Where only n of them are there, ``int(n * n_min / N + 0.001)`` go.
    grow : float, optional
        As in `SigClip`.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.arange(5.0).reshape(5, 1)
    >>> imc.MinMaxClip(1, 2).apply(stack)[0][:, 0]
    array([ True, False, False,  True,  True])
    """

    n_min: float = 1
    n_max: float = 1
    grow: float | None = None

    has_std: ClassVar[bool] = False

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        return "extrema", {
            "low": args.tail_count("n_min", self.n_min, n_frames),
            "high": args.tail_count("n_max", self.n_max, n_frames),
            "rule": "fraction",
        }


@dataclass(frozen=True)
class PClip(KernelRejector):
    """
    Percentile clipping as in IRAF.

    The distance of one sample from the median, some ranks away, stands for the
    spread. A sample on a limit is rejected.

    Parameters
    ----------
    frac : float
        Which sample: so many ranks above the median (below, if negative), or that
        fraction of half the frames if smaller than 1.
    sigma : float or (float, float)
        Lower and upper limit in units of that distance.
    nkeep : int
        Fewest samples to keep; the nearest are put back.
    grow : float, optional
        As in `SigClip`.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[970.0], [1002], [1004], [1006], [1008], [1010], [1012]])
    >>> imc.PClip(0.25).apply(stack)[0][:, 0]
    array([ True, False, False, False, False, False,  True])
    """

    frac: float = -0.5
    sigma: float | tuple[float, float] = 3.0
    nkeep: int = 1
    grow: float | None = None

    has_std: ClassVar[bool] = False

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        low, high = args.sigma_pair(self.sigma)
        return "pclip", {
            "frac": args.real(
                "pclip frac", self.frac, "finite and not 0", lambda frac: frac != 0
            ),
            "low": low,
            "high": high,
            "nkeep": args.integer("nkeep", self.nkeep),
        }


@dataclass(frozen=True)
class AvSigClip(KernelRejector):
    """
    Clipping by a noise averaged along a row, as in IRAF.

    The spread is proportional to the square root of the center; the factor is
    measured once for every row (last axis) of the image.

    Parameters
    ----------
    sigma : float or (float, float)
        Lower and upper limit in units of the spread.
    cenfunc : {"median", "mean", "lmedian"}
        Center.
    nkeep, maxrej, revert_on_nkeep, grow
        As in `SigClip`.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.random.default_rng(1).poisson(100, (9, 4, 50)).astype("f4")
    >>> stack[3, 2, 10] = 500
    >>> bool(imc.AvSigClip().apply(stack)[0][3, 2, 10])
    True
    """

    sigma: float | tuple[float, float] = (3.0, 3.0)
    cenfunc: str = "median"
    nkeep: int = 1
    maxrej: int | None = None
    revert_on_nkeep: bool | str = "closest"
    grow: float | None = None

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        low, high = args.sigma_pair(self.sigma)
        return "avsigclip", {
            "low": low,
            "high": high,
            "center": args.center(self.cenfunc),
            **args.limits(self.nkeep, self.maxrej, self.revert_on_nkeep),
        }


@dataclass(frozen=True)
class CrReject(KernelRejector):
    """
    Rejection of cosmic rays by the noise of a CCD, as in IRAF.

    `CcdClip` that rejects nothing below the center.

    Parameters
    ----------
    sigma : float
        Upper limit in units of the noise.
    maxiters : int or None
        Largest number of passes; None: until nothing changes.
    cenfunc, clip_cen, nkeep, maxrej, revert_on_nkeep
        As in `SigClip`.
    rdnoise, gain, snoise, scales, zeros, sigscale
        As in `CcdClip`.
    grow : float, optional
        As in `SigClip`.

    Examples
    --------
    >>> import numpy as np
    >>> import imcombiners_astro as imc
    >>> stack = np.array([[100.0], [20], [110], [105], [900]])
    >>> imc.CrReject(rdnoise=5, gain=2).apply(stack)[0][:, 0]
    array([False, False, False, False,  True])
    """

    sigma: float = 3.0
    maxiters: int | None = 5
    cenfunc: str = "median"
    clip_cen: str | None = None
    nkeep: int = 1
    maxrej: int | None = None
    revert_on_nkeep: bool | str = True
    rdnoise: float | tuple[float, ...] = 0.0
    gain: float | tuple[float, ...] = 1.0
    snoise: float | tuple[float, ...] = 0.0
    grow: float | None = None
    scales: tuple[float, ...] | None = None
    zeros: tuple[float, ...] | None = None
    sigscale: float = 0.1

    def step(self, n_frames, counts=None):
        """Return the step of the kernel that does this."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        name, step = CcdClip(**options).step(n_frames, counts)
        return name, step | {"low": np.inf}
