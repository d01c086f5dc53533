# Licensed under a 3-clause BSD style license - see LICENSE
"""The keywords of ``CCDData.read``, which say how files are read."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

__all__ = ["ReadOptions"]

# Keywords of CCDData.read that are not passed on to fits.open.
_OF_CCDDATA = (
    *("hdu", "unit", "hdu_uncertainty", "hdu_mask", "hdu_flags"),
    *("key_uncertainty_type", "hdu_psf", "format", "cache"),
)
# Keywords of fits.open that change how headers are found or read.
_ODD = (
    *("ignore_missing_end", "ignore_missing_simple", "checksum"),
    *("disable_image_compression", "use_fsspec"),
)
_WRITING_MODES = ("update", "append", "ostream")


@dataclass(frozen=True)
class ReadOptions:
    """
    Keywords of ``CCDData.read``, looked at once for all files.

    Attributes
    ----------
    keywords : dict
        The keywords as they were given.
    hdu : int, str or tuple
        The HDU of the image.
    hdu_mask : str or `None`
        The HDU of the mask.
    unit : `~astropy.units.UnitBase` or `None`
        A unit that is used whatever BUNIT says.
    format : str or `None`
        Format by name; `None` and "fits" are read here.
    uint, ignore_blank : bool
        As in `astropy.io.fits.open`.
    for_open : dict
        Keywords for `astropy.io.fits.open`.
    """

    keywords: dict[str, Any]
    hdu: Any
    hdu_mask: Any
    unit: u.UnitBase | None
    format: str | None
    uint: bool
    ignore_blank: bool
    for_open: dict[str, Any]

    @classmethod
    def parse(cls, keywords):
        """
        Look at keywords.

        Parameters
        ----------
        keywords : dict
            Keywords of ``CCDData.read``; unknown ones are ignored, as there.

        Returns
        -------
        ReadOptions
            The options.

        Raises
        ------
        TypeError
            If scaling is to be switched off, as in ``CCDData.read``.
        ValueError
            If the files are to be opened for writing, or the unit is no unit.
        """
        for key in ("do_not_scale_image_data", "scale_back"):
            if key in keywords:
                raise TypeError(
                    f"unsupported keyword: {key}. Images are always read as scaled "
                    "values."
                )
        if keywords.get("mode") in _WRITING_MODES:
            raise ValueError(
                f"mode={keywords['mode']!r}: images to combine are only read, the mode "
                "must be 'readonly'."
            )
        unit = keywords.get("unit")
        for_open = {k: v for k, v in keywords.items() if k not in _OF_CCDDATA}
        # A file may be truncated while it is read: not a map, unless asked for.
        for_open.setdefault("memmap", False)
        return cls(
            keywords=dict(keywords),
            hdu=keywords.get("hdu", 0),
            hdu_mask=keywords.get("hdu_mask", "MASK"),
            unit=u.Unit(unit) if unit else None,
            format=keywords.get("format"),
            uint=bool(keywords.get("uint", fits.conf.enable_uint)),
            ignore_blank=bool(keywords.get("ignore_blank", False)),
            for_open=for_open,
        )

    @property
    def plain(self):
        """Whether a plain file can be read without asking astropy."""
        return not (
            any(self.for_open.get(key) for key in _ODD)
            or fits.conf.extension_name_case_sensitive
        )

    def unit_of(self, bunit, name):
        """
        Find the unit of an image.

        Parameters
        ----------
        bunit : str or `None`
            Value of BUNIT in its header.
        name : str
            The image, for messages.

        Returns
        -------
        `~astropy.units.UnitBase`
            The unit that was given, or else BUNIT.

        Raises
        ------
        ValueError
            If there is none, or BUNIT is no unit.
        """
        if self.unit is not None:
            return self.unit
        if not isinstance(bunit, str) or not bunit:
            raise ValueError(
                f"a unit for CCDData must be specified: {name} has no BUNIT in its "
                "header, and no unit= was given."
            )
        try:
            return _parse_unit(bunit)
        except ValueError as error:
            raise ValueError(
                f"The Header value for the key BUNIT ({bunit}) in {name} is not a "
                "valid unit; give the unit of the images with unit=."
            ) from error


@lru_cache(256)
def _parse_unit(text):
    if text.strip().lower() == "adu":
        text = text.lower()
    return u.Unit(CCDData.known_invalid_fits_unit_strings.get(text, text))
