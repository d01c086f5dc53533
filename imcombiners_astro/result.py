# Licensed under a 3-clause BSD style license - see LICENSE
"""A combined image that says what happened to every sample and pixel."""

from copy import copy, deepcopy

import numpy as np
from astropy.io import fits, registry
from astropy.nddata import CCDData
from astropy.table import Table

from imcombiners_astro.atomic import replacing
from imcombiners_astro.diagnostics import (
    DIAGNOSTICS,
    Derived,
    Diagnostic,
    checked_array,
    take,
)
from imcombiners_astro.flags import mark_unused
from imcombiners_astro.products import NotedCube
from imcombiners_astro.result_fits import (
    diagnostic_hdus,
    finish_image_header,
    flag_hdus,
    read_ccd_and_diagnostics,
    without_scaling,
)
from imcombiners_astro.result_info import describe

__all__ = ["DIAGNOSTICS", "CombinedCCDData", "Diagnostic"]


class _Attribute:
    """A diagnostic of an image: None, or an array checked when it is set."""

    def __set_name__(self, owner, name):
        self.name = name
        self.__doc__ = f"{DIAGNOSTICS[name].description.capitalize()}, or None."

    def __get__(self, instance, owner=None):
        return self if instance is None else instance._kept(self.name)

    def __set__(self, instance, value):
        value = checked_array(self.name, value, instance.shape)
        if isinstance(value, np.ndarray) and DIAGNOSTICS[self.name].is_cube:
            instance._check_n_frames(self.name, len(value))
        instance.__dict__["_" + self.name] = value


class _Mask(_Attribute):
    """The mask of samples not used, made of their flags when it is first needed."""

    def __get__(self, instance, owner=None):
        value = super().__get__(instance, owner)
        if value is not Derived.FROM_FLAGS:
            return value
        flags = instance.sample_flags
        mask = np.empty(flags.shape, bool)
        for plane, unused in zip(flags, mask, strict=True):
            mark_unused(plane, out=unused)
        instance.__dict__["_mask_rej"] = mask
        return mask


class _Flags(_Attribute):
    """
    The flags of the samples, all made of a few when they are first needed.

    With new ones the mask stays that of the old ones.
    """

    def __get__(self, instance, owner=None):
        value = super().__get__(instance, owner)
        if isinstance(value, NotedCube):
            value = instance.__dict__["_sample_flags"] = value.whole()
        return value

    def __set__(self, instance, value):
        if instance._kept(self.name) is not None:
            instance.mask_rej  # noqa: B018 (it is made now)
        super().__set__(instance, value)


class CombinedCCDData(CCDData):
    """
    A combined image with the diagnostics of its combination.

    It is a `~astropy.nddata.CCDData` in all that it does. Diagnostics that were not
    asked for are None.

    Parameters
    ----------
    *args, **kwargs
        As for `~astropy.nddata.CCDData`: data, unit, mask, uncertainty, header and so
        on. The diagnostics of a `CombinedCCDData` given as data are taken over.
    copy : bool, optional
        Whether to copy the arrays, those of the diagnostics included.
    mask_rej : ndarray of bool, shape (N, *shape), optional
        True where a sample is not used, whatever the reason.
    low, upp : ndarray of float, optional
        Smallest and largest sample left by the rejection, in the unit of the image.
    std : ndarray of float, optional
        Spread in the last pass of the rejection, in the unit of the image.
    nit : ndarray of uint8, optional
        Number of passes.
    output_flags : ndarray of uint8, optional
        What happened at each pixel: bits of `OutputFlags`.
    sample_flags : ndarray of uint8, shape (N, *shape), optional
        What happened to each sample: bits of `SampleFlags`.
    n_used : ndarray of uint16, optional
        Number of samples used.
    n_rejected_low, n_rejected_high : ndarray of uint16, optional
        Number of samples rejected as too low and as too high.
    output_dq : ndarray of uint32, optional
        Data quality: the flags that came with the samples used, combined with OR.
    frames : `~astropy.table.Table`, optional
        A row for each of the N frames. It is about the whole combination, also in a
        part cut out of the image.

    Raises
    ------
    TypeError, ValueError
        If a diagnostic is of another type or shape, now or when it is set later.

    Notes
    -----
    *Slicing* cuts the diagnostics as well; cubes keep all their frames.

    *Arithmetic* with a number or a scalar quantity, and ``convert_unit_to``, keep what
    describes the samples (masks, flags, counts, frames) and drop what is in the old
    unit and scale (``low``, ``upp``, ``std``). With another image the result is about
    more than this combination: all diagnostics are None. The same holds for ``sum``,
    ``mean``, ``min`` and ``max``, and if the number is the first operand.

    *Cubes* of a combination with ``diagnostics="full"`` in memory are made when they
    are first used: ``sample_flags`` of notes of the samples to which something
    happened, as long as these are few, and ``mask_rej`` of ``sample_flags``. Most are
    never used, and each takes a byte for every sample. To change flags in place and
    keep the mask of the combination, use ``mask_rej`` first: what is changed in them
    before shows in it. Setting ``sample_flags`` to another array leaves the mask as it
    was.

    ``write`` puts each diagnostic in a FITS extension, and the file appears only when
    it is complete; ``CombinedCCDData.read`` brings all back, ``CCDData.read`` the image
    alone.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro import CombinedCCDData
    >>> used = np.array([[3, 2, 3], [3, 3, 0]], dtype=np.uint16)
    >>> result = CombinedCCDData(np.ones((2, 3)), unit="adu", n_used=used)
    >>> result[:, 1:].n_used
    array([[2, 3],
           [3, 0]], dtype=uint16)
    >>> result.multiply(2.).n_used is used
    True
    >>> result.subtract(result).n_used is None
    True
    """

    mask_rej = _Mask()
    low = _Attribute()
    upp = _Attribute()
    std = _Attribute()
    nit = _Attribute()
    output_flags = _Attribute()
    sample_flags = _Flags()
    n_used = _Attribute()
    n_rejected_low = _Attribute()
    n_rejected_high = _Attribute()
    output_dq = _Attribute()

    def __init__(self, *args, frames=None, **kwargs):
        given = {name: kwargs.pop(name, None) for name in DIAGNOSTICS}
        given["frames"] = frames
        super().__init__(*args, **kwargs)
        source = args[0] if args else kwargs.get("data")
        if isinstance(source, CombinedCCDData):
            given = {
                name: source._kept(name) if value is None else value
                for name, value in given.items()
            }
        for name, value in given.items():
            setattr(self, name, deepcopy(value) if kwargs.get("copy") else value)

    @classmethod
    def from_ccd(cls, ccd, **diagnostics):
        """
        Add diagnostics to an image.

        Parameters
        ----------
        ccd : `~astropy.nddata.CCDData`
            The image; its arrays and its header are shared. Diagnostics that it has
            are not taken over.
        **diagnostics
            Those of the class.

        Returns
        -------
        CombinedCCDData

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import CCDData
        >>> from imcombiners_astro import CombinedCCDData
        >>> image = CCDData(np.ones((2, 3)), unit="adu")
        >>> result = CombinedCCDData.from_ccd(image, nit=np.ones((2, 3), np.uint8))
        >>> result.data is image.data
        True
        """
        result = cls(ccd)
        result.frames = None
        for name in DIAGNOSTICS:
            setattr(result, name, None)
        for name, value in diagnostics.items():
            if name not in DIAGNOSTICS and name != "frames":
                raise TypeError(
                    f"there is no diagnostic {name!r}; there are frames, "
                    f"{', '.join(DIAGNOSTICS)}."
                )
            setattr(result, name, value)
        return result

    @property
    def frames(self):
        """Table of the frames that were combined, a row for each, or None."""
        return self.__dict__.get("_frames")

    @frames.setter
    def frames(self, value):
        if value is not None:
            if not isinstance(value, Table):
                raise TypeError(
                    f"frames must be an astropy Table, found {type(value).__name__}."
                )
            self._check_n_frames("frames", len(value))
        self.__dict__["_frames"] = value

    @property
    def n_frames(self):
        """Number of frames that were combined; None if no diagnostic tells it."""
        return self._n_frames_but_for(None)

    def _n_frames_but_for(self, name):
        for other in ("frames", "mask_rej", "sample_flags"):
            value = self._kept(other)
            if other != name and isinstance(value, np.ndarray | NotedCube | Table):
                return len(value)
        return None

    def _kept(self, name):
        """Return a diagnostic without making it of another, or of notes."""
        return self.__dict__.get("_" + name)

    def _unused_planes(self):
        """Masks of samples not used, frame by frame; no cube is made for them."""
        if self._kept("mask_rej") is Derived.FROM_FLAGS:
            return map(mark_unused, self.sample_flags)
        return iter(self.mask_rej)

    def _check_n_frames(self, name, number):
        expected = self._n_frames_but_for(name)
        if expected not in (None, number):
            raise ValueError(
                f"{name} is of {number} frames, the other diagnostics are of "
                f"{expected}."
            )

    def _slice(self, item):
        kwargs = super()._slice(item)
        self.sample_flags  # noqa: B018 (made now: parts of it are views)
        for name in DIAGNOSTICS:
            kwargs[name] = take(name, self._kept(name), item)
        return {**kwargs, "frames": self.frames}

    def _arithmetic(self, operation, operand, *args, **kwargs):
        result, attributes = super()._arithmetic(operation, operand, *args, **kwargs)
        if operand is not None and np.ndim(operand.data) == 0 and self.ndim > 0:
            attributes.update(self._about_samples())
        return result, attributes

    def convert_unit_to(self, unit, equivalencies=()):
        """
        Convert to another unit, as ``CCDData.convert_unit_to``.

        Parameters
        ----------
        unit : `~astropy.units.Unit` or str
            The new unit.
        equivalencies : list of tuple, optional
            As for `~astropy.units.Unit.to`.

        Returns
        -------
        CombinedCCDData
            Without ``low``, ``upp`` and ``std``.
        """
        result = super().convert_unit_to(unit, list(equivalencies))
        for name, value in self._about_samples().items():
            setattr(result, name, value)
        return result

    def _about_samples(self):
        """Diagnostics that stay true when the values are scaled or shifted."""
        kept = {
            name: self._kept(name)
            for name, diagnostic in DIAGNOSTICS.items()
            if not diagnostic.is_value
        }
        return {**kept, "frames": self.frames}

    def __repr__(self):
        text = super().__repr__().removesuffix(")")
        n_frames = "" if self.n_frames is None else f", n_frames={self.n_frames}"
        return f"{text}{n_frames}, diagnostics={self._names()})"

    def _names(self):
        """Names of what is not None."""
        return [n for n in (*DIAGNOSTICS, "frames") if self._kept(n) is not None]

    def info(self):
        """
        Tell what happened in the combination, in about ten lines.

        Returns
        -------
        str
            To be printed. What the diagnostics do not tell has no line. Numbers are of
            the pixels here, but those of the worst frame are of the whole combination,
            if they come from `frames`.

        Examples
        --------
        >>> import numpy as np
        >>> from imcombiners_astro import CombinedCCDData
        >>> result = CombinedCCDData(
        ...     np.ones((2, 2)), unit="adu", n_used=np.array([[3, 3], [2, 0]], "u2"),
        ...     output_flags=np.array([[0, 0], [4, 1]], np.uint8))
        >>> print(result.info())
        CombinedCCDData of shape (2, 2), float64, in adu
        n_used       0 to 3 per pixel, median 2.5; 0 at 1 of 4 pixels
        restored     samples put back at pixels: NKEEP 1
        pixel flags  PREMASKED 1, NKEEP 1
        uncertainty  none
        diagnostics  output_flags, n_used
        """
        return describe(self, self._names())

    def to_hdu(
        self,
        hdu_mask="MASK",
        hdu_uncertainty="UNCERT",
        hdu_flags="FLAGS",
        wcs_relax=True,
        key_uncertainty_type="UTYPE",
        as_image_hdu=False,
        hdu_psf="PSFIMAGE",
    ):
        """
        Make the HDUs of image and diagnostics.

        Parameters
        ----------
        hdu_mask, hdu_uncertainty, hdu_flags, hdu_psf : str or None, optional
            Names of the extensions; None leaves one out. Flags are written, which
            ``CCDData.to_hdu`` does only when told to.
        wcs_relax, key_uncertainty_type, as_image_hdu
            As for ``CCDData.to_hdu``.

        Returns
        -------
        `~astropy.io.fits.HDUList`
            The image, then as far as they are there MASK, UNCERT, PSFIMAGE, FLAGS,
            the diagnostics (MASKREJ, LOW, UPP, STD, NIT, OUTFLAGS, SMPFLAGS, NUSED,
            NREJLOW, NREJUPP, OUTDQ) and FRAMES.

        Raises
        ------
        ValueError
            As ``CCDData.to_hdu``, and if the shape of a diagnostic is no longer that of
            the image.
        """
        for name in DIAGNOSTICS:
            checked_array(name, getattr(self, name), self.shape)
        plain = copy(self)
        plain.meta = without_scaling(self.meta)
        hdus = super(CombinedCCDData, plain).to_hdu(
            hdu_mask=hdu_mask,
            hdu_uncertainty=hdu_uncertainty,
            wcs_relax=wcs_relax,
            key_uncertainty_type=key_uncertainty_type,
            as_image_hdu=as_image_hdu,
            hdu_psf=hdu_psf,
        )
        finish_image_header(hdus[0].header, self)
        for hdu in (*flag_hdus(self.flags, hdu_flags), *diagnostic_hdus(self)):
            hdus.append(hdu)
        return hdus


def read_fits(filename, *args, **keywords):
    """
    Read a combined image with all its diagnostics.

    This is what ``CombinedCCDData.read`` calls.

    Parameters
    ----------
    filename : str, path or file object
        A FITS file. One that was not written by a `CombinedCCDData` gives diagnostics
        that are None.
    *args, **keywords
        As for `~astropy.nddata.fits_ccddata_reader`. Without a unit in the file or as
        argument the image is dimensionless.

    Returns
    -------
    CombinedCCDData

    Raises
    ------
    ValueError, TypeError
        If the file has an extension with the name of a diagnostic and something else in
        it.
    """
    ccd, diagnostics = read_ccd_and_diagnostics(filename, *args, **keywords)
    try:
        return CombinedCCDData(ccd, **diagnostics)
    except (TypeError, ValueError) as error:
        name = getattr(filename, "name", filename)
        raise type(error)(f"{name}: {error}") from error


def write_fits(
    result,
    filename,
    overwrite=False,
    checksum=False,
    output_verify="exception",
    **layout,
):
    """
    Write a combined image with all its diagnostics, as a whole or not at all.

    This is what ``CombinedCCDData.write`` calls.

    Parameters
    ----------
    result : CombinedCCDData
        What is to be written.
    filename : str, path or file object
        The file; one with a name appears when it is complete.
    overwrite : bool, optional
        Whether it may exist.
    checksum, output_verify
        As for `astropy.io.fits.HDUList.writeto`.
    **layout
        As for `CombinedCCDData.to_hdu`.

    Raises
    ------
    OSError
        If the file exists or cannot be written. Nothing is left then but the file that
        was there.
    """
    hdus = result.to_hdu(**layout)
    if layout.get("as_image_hdu", False):
        hdus.insert(0, fits.PrimaryHDU())
    options = {"checksum": checksum, "output_verify": output_verify}
    if hasattr(filename, "write"):
        hdus.writeto(filename, overwrite=overwrite, **options)
        return
    with replacing(filename, overwrite) as part:
        hdus.writeto(part, **options)


with registry.delay_doc_updates(CombinedCCDData):
    registry.register_reader("fits", CombinedCCDData, read_fits)
    registry.register_writer("fits", CombinedCCDData, write_fits)
    registry.register_identifier("fits", CombinedCCDData, fits.connect.is_fits)
