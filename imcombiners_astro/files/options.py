# Licensed under a 3-clause BSD style license - see LICENSE
"""The keywords of ``CCDData.read``, which say how files are read."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

__all__ = ["READER_KEYWORDS", "ReadOptions", "reading_of"]

# What CCDData.read, its reader of FITS files and astropy.io.fits.open take.
READER_KEYWORDS = frozenset(
    """
    format unit hdu hdu_uncertainty hdu_mask hdu_flags key_uncertainty_type hdu_psf
    mode memmap save_backup cache lazy_load_hdus ignore_missing_simple use_fsspec
    fsspec_kwargs decompress_in_memory uint ignore_missing_end checksum
    disable_image_compression do_not_scale_image_data character_as_bytes ignore_blank
    scale_back output_verify
    """.split()
)
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
# Where flags are looked for if it is not said: DQ is the name that observatories use,
# FLAGS the one in the documentation of CCDData.
_FLAGS_HDUS = ("DQ", "FLAGS")


def reading_of(keywords):
    """
    Choose the keywords that say how files are read.

    Parameters
    ----------
    keywords : mapping
        Keywords of `imcombiners_astro.combine`.

    Returns
    -------
    dict
        Those of `READER_KEYWORDS`.

    Examples
    --------
    >>> from imcombiners_astro.files.options import reading_of
    >>> reading_of({"hdu": 1, "method": "median"})
    {'hdu': 1}
    """
    return {k: v for k, v in keywords.items() if k in READER_KEYWORDS}


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
    want_uncertainty, want_flags : bool
        Whether uncertainties and flags belong to the strips.
    hdu_uncertainty : str, int, tuple or `None`
        The HDU of the uncertainties; `None` if they are not wanted.
    hdus_of_flags : tuple
        HDUs in which flags may be, the best first; empty if they are not wanted.
    flags_required : bool
        Whether a file without such an HDU is an error.
    utype : str
        Keyword for the class of the uncertainties.
    unit : `~astropy.units.UnitBase` or `None`
        A unit that is used whatever BUNIT says.
    unit_of_arrays : `~astropy.units.UnitBase` or `None`
        Unit of images in memory that have none.
    format : str or `None`
        Format by name; `None` and "fits" are read here.
    uint, ignore_blank : bool
        As in `astropy.io.fits.open`.
    for_open : dict
        Keywords for `astropy.io.fits.open`.
    of_many : bool
        Whether the image is one of several of its file: what belongs to it has the same
        EXTVER.
    inherits_unit : bool
        Whether BUNIT may be in the primary HDU only.
    """

    keywords: dict[str, Any]
    hdu: Any
    hdu_mask: Any
    want_uncertainty: bool
    want_flags: bool
    hdu_uncertainty: Any
    hdus_of_flags: tuple
    flags_required: bool
    utype: str
    unit: u.UnitBase | None
    unit_of_arrays: u.UnitBase | None
    format: str | None
    uint: bool
    ignore_blank: bool
    for_open: dict[str, Any]
    of_many: bool = False
    inherits_unit: bool = False

    @classmethod
    def parse(
        cls, keywords, *, want_uncertainty=False, want_flags=False, flags_hdu=None
    ):
        """
        Look at keywords.

        Parameters
        ----------
        keywords : dict
            Keywords of ``CCDData.read``; unknown ones are ignored, as there.
        want_uncertainty, want_flags : bool, optional
            Whether uncertainties and flags belong to the strips.
        flags_hdu : str, int or tuple, optional
            The HDU of the flags; by default ``hdu_flags`` of the keywords, or else
            DQ or FLAGS where a file has one of them.

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
        if flags_hdu is None:
            flags_hdu = keywords.get("hdu_flags")
        flags_hdus = _FLAGS_HDUS if flags_hdu is None else (flags_hdu,)
        for_open = {k: v for k, v in keywords.items() if k not in _OF_CCDDATA}
        # A file may be truncated while it is read: not a map, unless asked for.
        for_open.setdefault("memmap", False)
        return cls(
            keywords=dict(keywords),
            hdu=keywords.get("hdu", 0),
            hdu_mask=keywords.get("hdu_mask", "MASK"),
            want_uncertainty=want_uncertainty,
            want_flags=want_flags,
            hdu_uncertainty=(
                keywords.get("hdu_uncertainty", "UNCERT") if want_uncertainty else None
            ),
            hdus_of_flags=flags_hdus if want_flags else (),
            flags_required=flags_hdu is not None,
            utype=keywords.get("key_uncertainty_type", "UTYPE"),
            unit=u.Unit(unit) if unit else None,
            unit_of_arrays=None if unit is None else u.Unit(unit),
            format=keywords.get("format"),
            uint=bool(keywords.get("uint", fits.conf.enable_uint)),
            ignore_blank=bool(keywords.get("ignore_blank", False)),
            for_open=for_open,
        )

    def with_mask(self, number):
        """
        Keywords of ``CCDData.read`` that name the mask.

        Parameters
        ----------
        number : int or `None`
            Number of its HDU, if it was found.

        Returns
        -------
        dict
            Of several of one name ``CCDData.read`` would take the first.
        """
        return self.keywords | ({} if number is None else {"hdu_mask": number})

    @property
    def companions(self):
        """Names of HDUs that belong to an image and are not looked at for one."""
        names = [
            *(self.hdu_mask, self.keywords.get("hdu_uncertainty", "UNCERT")),
            *(self.keywords.get("hdu_psf", "PSFIMAGE"), self.keywords.get("hdu_flags")),
            *_FLAGS_HDUS,
            *self.hdus_of_flags,
        ]
        return {name.strip().upper() for name in names if isinstance(name, str)}

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

    def unit_of_uncertainty(self, note, image_unit, name):
        """
        Find the unit of uncertainties.

        Parameters
        ----------
        note : UncertaintyNote
            What their header says.
        image_unit : `~astropy.units.UnitBase`
            Unit of the image.
        name : str
            The image, for messages.

        Returns
        -------
        `~astropy.units.UnitBase` or `None`
            BUNIT; `None`, for the unit that fits the image, if there is none, or the
            unit of the images was given, or BUNIT is the unit of the image, copied from
            there.

        Raises
        ------
        ValueError
            If BUNIT is no unit.
        """
        if self.unit is not None or not note.bunit:
            return None
        try:
            unit = _parse_unit(str(note.bunit))
        except ValueError as error:
            raise ValueError(
                f"BUNIT ({note.bunit}) of the uncertainty in {name} is not a valid "
                "unit; give the unit of the images with unit=."
            ) from error
        return None if unit == image_unit else unit


@lru_cache(256)
def _parse_unit(text):
    if text.strip().lower() == "adu":
        text = text.lower()
    return u.Unit(CCDData.known_invalid_fits_unit_strings.get(text, text))
