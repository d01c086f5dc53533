# Licensed under a 3-clause BSD style license - see LICENSE
"""
Variances of images, whatever uncertainty they come with.

A standard deviation, a variance and an inverse variance (the classes
`~astropy.nddata.StdDevUncertainty`, `~astropy.nddata.VarianceUncertainty` and
`~astropy.nddata.InverseVariance`) all become a variance in the square of the unit of
their image.
"""

from typing import NamedTuple

import numpy as np
from astropy import units as u

__all__ = [
    "VarianceRule",
    "are_readable",
    "require_variances",
    "unit_ratio",
    "variance_rule",
]

# Unit of an uncertainty of an image whose unit is `unit`.
_UNIT = {
    "std": lambda unit: unit,
    "var": lambda unit: unit**2,
    "ivar": lambda unit: unit**-2,
}


class VarianceRule(NamedTuple):
    """
    How an array of uncertainties becomes variances.

    The kernel takes it as an `~imcombiners_astro.planes.ErrorScaling`.

    Attributes
    ----------
    name : str
        The image, for messages.
    kind : {'std', 'var', 'ivar', 'unknown'}
        What the array holds, as `~astropy.nddata.NDUncertainty.uncertainty_type`.
    factor : float
        Variances are multiplied by it, to be in the square of the unit of the image.
    """

    name: str
    kind: str
    factor: float = 1.0

    def in_unit(self, factor):
        """
        Give the rule for an image whose values are converted to another unit.

        Parameters
        ----------
        factor : float
            What the values are multiplied by.

        Returns
        -------
        VarianceRule
            It gives variances in the square of that unit.

        Raises
        ------
        ValueError
            If the units are so far apart that double precision has no such variances.
        """
        return self._times(factor, 2)

    def _times(self, ratio, power):
        with np.errstate(over="ignore", under="ignore"):
            factor = float(self.factor * np.float64(ratio) ** power)
        if not 0 < factor < np.inf:
            raise ValueError(
                f"{self.name}: the units of image, uncertainty and result differ by a "
                f"factor of {ratio:g}, and variances by its square, for which double "
                "precision has no room."
            )
        return self._replace(factor=factor)

    def variance(self, array, mask=None):
        """
        Variances.

        Parameters
        ----------
        array : `~numpy.ndarray`
            Uncertainties.
        mask : `~numpy.ndarray` of bool, optional
            `True` where a sample will not be used, whatever its uncertainty is.

        Returns
        -------
        `~numpy.ndarray` of float64
            ``std**2``, the variance, or ``1 / ivar`` (infinite where that is 0). NaN
            stays NaN. Single precision has no room for squares: fluxes of 1e-17
            erg/s/cm2 may have errors of 1e-20, the square of which is below the
            smallest float32.

        Raises
        ------
        TypeError
            If it is not known what the uncertainties are.
        ValueError
            If a sample in use has a negative uncertainty.

        Examples
        --------
        >>> import numpy as np
        >>> from imcombiners_astro.variances import VarianceRule
        >>> VarianceRule("a.fits", "std").variance(np.array([1.0, 3.0]))
        array([1., 9.])
        >>> VarianceRule("a.fits", "ivar").variance(np.array([0.0, 4.0]))
        array([ inf, 0.25])
        """
        if self.kind not in _UNIT:
            raise _unknown(self.name)
        self.check(array, mask)
        values = array.astype(np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            if self.kind == "std":
                values *= values
            elif self.kind == "ivar":
                np.divide(1.0, values, out=values)
            values *= self.factor
        return values

    def check(self, array, mask=None):
        """
        Refuse negative uncertainties.

        Parameters
        ----------
        array, mask
            As of `variance`.

        Raises
        ------
        ValueError
            If a sample in use has one.
        """
        if not (array.size and np.fmin.reduce(array, axis=None) < 0):
            return
        bad = array < 0
        if mask is not None:
            bad &= ~mask
            if not bad.any():
                return
        kinds = {"std": "standard deviation", "var": "variance"}
        what = kinds.get(self.kind, "inverse variance")
        raise ValueError(
            f"{self.name}: found a negative {what}, {array[bad][0]:g}, at a pixel that "
            "is not masked; expected 0 or more, or NaN where it is not known."
        )


def are_readable(array):
    """
    Whether the kernel reads uncertainties as they are.

    Parameters
    ----------
    array : `~numpy.ndarray`
        The uncertainties.

    Returns
    -------
    bool
        `True` for single and double precision in rows whose pixels follow each other.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.variances import are_readable
    >>> errors = np.ones((2, 3), dtype=">f4")
    >>> are_readable(errors), are_readable(errors.T), are_readable(errors.astype(int))
    (True, False, False)
    """
    in_rows = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return array.dtype.str[1:] in ("f4", "f8") and in_rows


def variance_rule(name, kind, unit, image_unit):
    """
    Find how the uncertainties of an image become variances.

    Parameters
    ----------
    name : str
        The image, for messages.
    kind : str
        ``uncertainty_type`` of the uncertainty.
    unit : `~astropy.units.UnitBase` or `None`
        Unit of the uncertainty; `None` stands for the one that fits the image.
    image_unit : `~astropy.units.UnitBase` or `None`
        Unit of the image; `None` is dimensionless.

    Returns
    -------
    VarianceRule
        The rule; of kind "unknown" if the kind is none of those known.

    Raises
    ------
    TypeError
        If the unit does not fit the image.
    ValueError
        If it is so far from that of the image that there is no number for it.

    Examples
    --------
    >>> from astropy import units as u
    >>> from imcombiners_astro.variances import variance_rule
    >>> variance_rule("a.fits", "std", u.mJy, u.Jy).factor
    1e-06
    """
    if kind not in _UNIT:
        return VarianceRule(name, "unknown")
    image_unit = image_unit or u.dimensionless_unscaled
    expected = _UNIT[kind](image_unit)
    if unit is None or unit == expected:
        return VarianceRule(name, kind)
    try:
        factor = unit_ratio(unit, expected)
    except u.UnitConversionError as error:
        raise TypeError(
            f"{name}: the uncertainty (of type {kind!r}) is in {unit}, expected a unit "
            f"like {expected}, since the image is in {image_unit}."
        ) from error
    # units of "std" are squared, and those of "ivar" are upside down
    return VarianceRule(name, kind)._times(
        factor, {"std": 2, "var": 1, "ivar": -1}[kind]
    )


def unit_ratio(unit, other):
    """
    Size of a unit in another one.

    Parameters
    ----------
    unit, other : `~astropy.units.UnitBase`
        The units.

    Returns
    -------
    float
        What values in ``unit`` have to be multiplied by, to be in ``other``.

    Raises
    ------
    `~astropy.units.UnitConversionError`
        If there is no such number, as for a magnitude and a flux. Equivalencies do not
        count: they need not be proportional.

    Examples
    --------
    >>> from astropy import units as u
    >>> from imcombiners_astro.variances import unit_ratio
    >>> unit_ratio(u.mJy, u.Jy)
    0.001
    """
    if not isinstance(unit, u.UnitBase) or not isinstance(other, u.UnitBase):
        raise u.UnitConversionError(f"{unit} is not proportional to {other}")
    return float(unit.to(other, equivalencies=None))


def require_variances(frames, purpose):
    """
    Check that variances of all frames are known.

    Parameters
    ----------
    frames : sequence of Frame
        The frames.
    purpose : str
        What needs them, for the message, such as ``'weights="ivar"'``.

    Raises
    ------
    TypeError
        If the uncertainty of a frame is of unknown type; the frame is named.
    ValueError
        If a frame has no uncertainty.
    """
    for frame in frames:
        if frame.uncertainty_type is None:
            raise ValueError(
                f"{purpose} needs the uncertainty of every image, and {frame.name} has "
                "none."
            )
        if frame.uncertainty_type == "unknown":
            raise _unknown(frame.name, purpose)


def _unknown(name, purpose="a variance"):
    return TypeError(
        f"{name} has an uncertainty of unknown type, which cannot be used for "
        f"{purpose}; expected StdDevUncertainty, VarianceUncertainty or "
        "InverseVariance."
    )
