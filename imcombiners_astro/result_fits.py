# Licensed under a 3-clause BSD style license - see LICENSE
"""
A combined image with its diagnostics as FITS extensions, and back.

Image, MASK, UNCERT and PSFIMAGE are those of `~astropy.nddata.CCDData`, so that
``CCDData.read`` takes them. What is here adds the rest, and sees to it that what is
read is what was written, to the bit.
"""

import warnings

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import FlagCollection, fits_ccddata_reader
from astropy.table import Column, MaskedColumn, Table
from astropy.wcs import FITSFixedWarning

from imcombiners_astro.companions import companion_of
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.errors import warn
from imcombiners_astro.flags import OutputFlags, SampleFlags

__all__ = [
    "diagnostic_hdus",
    "finish_image_header",
    "flag_hdus",
    "frames_hdu",
    "read_ccd_and_diagnostics",
    "read_frames",
    "tile_shape",
    "without_scaling",
]

# Moments and durations, which `WCS.to_header` has copies of. Those of a combination
# are in its header; the WCS still has those of the first frame.
_TIMES = frozenset(
    """
    DATE-OBS DATE-BEG DATE-AVG DATE-END MJD-OBS MJD-BEG MJD-AVG MJD-END JEPOCH BEPOCH
    TSTART TSTOP XPOSURE TELAPSE
    """.split()
)

# How the integers of some file were to be read. Beside other pixels they spoil them.
_SCALING = ("BSCALE", "BZERO", "BLANK")

# Keywords of `CCDData.read` for what belongs to an image, and the names it looks for.
_OF_CCDDATA = {"hdu_mask": "MASK", "hdu_uncertainty": "UNCERT", "hdu_psf": "PSFIMAGE"}

# Pixels of one tile of a compressed cube: enough that the tiles do not cost more than
# their pixels, few enough to look at a part without decompressing all.
_TILE_SIZE = 2**18

# The column <name>.mask of the table of frames is True where <name> has no value.
_MASK_SUFFIX = ".mask"

_NAMES_OF_FLAGS = {"output_flags": OutputFlags, "sample_flags": SampleFlags}


def without_scaling(meta):
    """
    Copy a header without what was about the pixels of another file.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or mapping
        The header of an image.

    Returns
    -------
    `~astropy.io.fits.Header` or dict
        Without BSCALE, BZERO and BLANK.
    """
    if not isinstance(meta, fits.Header):
        return {k: v for k, v in meta.items() if k.upper() not in _SCALING}
    header = meta.copy()
    for keyword in _SCALING:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    return header


def finish_image_header(header, ccd):
    """
    Make exact what ``CCDData.to_hdu`` made of header, unit and WCS.

    The WCS keeps all digits of its numbers, times are those of the header, and no
    BUNIT is left over when there is no unit.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Of the HDU; it is changed.
    ccd : `~astropy.nddata.CCDData`
        What the HDU was made of.
    """
    if ccd.unit == u.dimensionless_unscaled:
        header.remove("BUNIT", ignore_missing=True)
    if ccd.wcs is not None:
        own = ccd.header
        if not isinstance(own, fits.Header):
            own = fits.Header({k: v for k, v in own.items() if k.upper() in _TIMES})
        for keyword in _TIMES & set(header):
            if keyword in own:
                header[keyword] = own[keyword]
                header.comments[keyword] = own.comments[keyword]
            else:
                header.remove(keyword)
        _set_wcs_numbers(header, ccd.wcs.wcs)
    for index, card in enumerate(header.cards):
        exact = _exact_card(card)
        if exact is not card:
            del header[index]
            header.insert(index, exact)


def _set_wcs_numbers(header, wcs):
    """Set the numbers, of which ``WCS.to_header`` has 14 digits, to their values."""
    alt = wcs.alt.strip()
    numbers = {f"LONPOLE{alt}": wcs.lonpole, f"LATPOLE{alt}": wcs.latpole}
    numbers |= {f"PV{i}_{m}{alt}": value for i, m, value in wcs.get_pv()}
    matrix, step = wcs.get_pc(), wcs.get_cdelt()
    for i in range(wcs.naxis):
        # The matrix is written as PC and CDELT, beside which no other form may be.
        header.remove(f"CROTA{i + 1}{alt}", ignore_missing=True)
        numbers[f"CRPIX{i + 1}{alt}"] = wcs.crpix[i]
        numbers[f"CRVAL{i + 1}{alt}"] = wcs.crval[i]
        numbers[f"CDELT{i + 1}{alt}"] = step[i]
        for j in range(wcs.naxis):
            header.remove(f"CD{i + 1}_{j + 1}{alt}", ignore_missing=True)
            keyword = f"PC{i + 1}_{j + 1}{alt}"
            if keyword not in header and matrix[i, j] != (i == j):
                header[keyword] = 0.0  # it was the default, to 14 digits
            numbers[keyword] = matrix[i, j]
    for keyword, value in numbers.items():
        if keyword in header and np.isfinite(value):
            header[keyword] = float(value)


def _exact_card(card):
    """Return a card with all digits; astropy writes at most 20 characters."""
    if not isinstance(card.value, float) or card.field_specifier is not None:
        return card
    if fits.Card.fromstring(str(card)).value == card.value:
        return card
    keyword = card.keyword
    keyword = f"{keyword:8}=" if len(keyword) <= 8 else f"HIERARCH {keyword} ="
    # repr has the fewest digits that give the number back.
    text = f"{keyword} {repr(float(card.value)).upper():>20}"
    if card.comment:
        text += f" / {card.comment}"
    return fits.Card.fromstring(text[: fits.Card.length])


def diagnostic_hdus(result):
    """
    Make the extensions of the diagnostics.

    Parameters
    ----------
    result : CombinedCCDData
        Diagnostics that are None have no extension.

    Returns
    -------
    list of HDU
        Images as `~astropy.io.fits.ImageHDU`, cubes as
        `~astropy.io.fits.CompImageHDU`, the frames as
        `~astropy.io.fits.BinTableHDU`. They hold the arrays themselves, no copies.
    """
    hdus = []
    for name, diagnostic in DIAGNOSTICS.items():
        array = getattr(result, name)
        if array is None:
            continue
        header = fits.Header()
        header["EXTNAME"] = diagnostic.extname
        header["COMMENT"] = f"{name}: {diagnostic.description}"
        if diagnostic.is_value and result.unit != u.dimensionless_unscaled:
            header["BUNIT"] = result.unit.to_string()
        for flag in _NAMES_OF_FLAGS.get(name, ()):
            header[f"FLAG{flag.value}"] = (flag.name, f"bit of value {flag.value}")
        hdus.append(_image_hdu(array, header, diagnostic.is_cube))
    if result.frames is not None:
        hdus.append(frames_hdu(result.frames))
    return hdus


def _image_hdu(array, header, is_cube):
    if array.dtype == bool:
        array = array.view(np.uint8)
    if not is_cube or array.size == 0:
        return fits.ImageHDU(array, header)
    return fits.CompImageHDU(
        array, header, compression_type="RICE_1", tile_shape=tile_shape(array.shape, 2)
    )


def tile_shape(shape, min_axes=1, min_rows=1):
    """
    Choose the tiles of a compressed image.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image or cube.
    min_axes : int, optional
        Tiles are of one or more rows if there are more dimensions than this, else of
        a single row: those of a cube of images of one dimension are of one image.
    min_rows : int, optional
        Least number of rows that the last tile may have.

    Returns
    -------
    tuple of int
        Whole rows of the image, or parts of a single row if it is very long.

    Examples
    --------
    >>> from imcombiners_astro.result_fits import tile_shape
    >>> tile_shape((20, 4096, 4096)), tile_shape((2 * 10**6,))
    ((1, 64, 4096), (262144,))
    """
    n_columns = min(shape[-1], _TILE_SIZE)
    tile = [1] * (len(shape) - 1) + [n_columns]
    if len(shape) > min_axes:
        height = min(shape[-2], max(1, _TILE_SIZE // n_columns, min_rows))
        while 0 < shape[-2] % height < min_rows:
            height += 1
        tile[-2] = height
    return tuple(tile)


def flag_hdus(flags, extname):
    """
    Make the extensions of the attribute ``flags`` of an image.

    Parameters
    ----------
    flags : ndarray, `~astropy.nddata.FlagCollection` or None
        Numbers or booleans; what FITS has no type for is left out with a warning.
    extname : str or None
        Name of the extension; those of a collection are ``{extname}_{key}``. None:
        nothing is written.

    Returns
    -------
    list of `~astropy.io.fits.ImageHDU`
    """
    if flags is None or extname is None:
        return []
    if not isinstance(flags, FlagCollection):
        flags = {None: flags}
    hdus = []
    for key, array in flags.items():
        name = extname if key is None else f"{extname}_{key}"
        if array.dtype.kind not in "biuf" or array.dtype.str[1:] in ("f2", "f16"):
            warn(
                f"flags of type {array.dtype} cannot be written to a FITS file; "
                f"there is no extension {name}."
            )
            continue
        header = fits.Header()
        if key is not None:
            header["FLAGNAME"] = key
        if array.dtype == bool:
            header["LOGICAL"] = (True, "1 is true, 0 is false")
        header["EXTNAME"] = name
        hdus.append(_image_hdu(array, header, is_cube=False))
    return hdus


def _index_of_image(hdus, hdu):
    """Return the number of the HDU that is read; 0 stands for the first image."""
    index = hdus.index_of(hdu)
    if index or hdus[0].header["NAXIS"] or len(hdus) == 1:
        return index
    if isinstance(hdus[1], fits.CompImageHDU):
        return 1
    plain = (k for k, x in enumerate(hdus) if type(x) is fits.ImageHDU and x.shape)
    return next(plain, 0)


def _belonging(hdus, name, image):
    """Return the HDU of a name that belongs to an image, or None."""
    found = {}
    for hdu in hdus:
        found.setdefault((hdu.name, hdu.ver), hdu)
    own = hdus[image]
    return found.get(companion_of(found, [name.upper()], (image, own.name, own.ver)))


def _read_flags(hdus, extname, image):
    if extname is None:
        return None
    own = _belonging(hdus, extname, image)
    if own is not None:
        return _read_image(own, own.header.get("LOGICAL", False))
    prefix = f"{extname}_".upper()
    found = {}
    for hdu in hdus:
        if hdu.name.startswith(prefix):
            array = _read_image(hdu, hdu.header.get("LOGICAL", False))
            key = hdu.name.removeprefix(prefix)
            found[hdu.header.get("FLAGNAME", key)] = array
    if not found:
        return None
    collection = FlagCollection(shape=next(iter(found.values())).shape)
    collection.update(found)
    return collection


def frames_hdu(frames):
    """
    Make the binary table of the frames.

    Masked columns have a second one of logical type, ``<name>.mask``; under the mask
    numbers are NaN or 0 and texts empty. Units are written as text (TUNIT),
    descriptions as TCOMM; texts with other than ASCII characters are escaped as in
    Python source (TESC is then T).

    Parameters
    ----------
    frames : `~astropy.table.Table`
        Columns of numbers, booleans and texts.

    Returns
    -------
    `~astropy.io.fits.BinTableHDU`
        With the name FRAMES.
    """
    plain, cards = Table(), {}
    for column in frames.itercols():
        values = np.ma.getdata(column)
        if isinstance(column, MaskedColumn):
            absent = np.ma.getmaskarray(column)
            values = values.copy()
            values[absent] = np.nan if values.dtype.kind == "f" else values.dtype.type()
        unit = column.info.unit
        extra = {"TUNIT": None if unit is None else unit.to_string()}
        extra["TCOMM"] = column.info.description
        if values.dtype.kind == "U" and not all(map(str.isascii, values.tolist())):
            values = np.char.encode(values, "unicode_escape")
            extra["TESC"] = True
        plain[column.info.name] = np.asarray(values)
        cards[column.info.name] = extra
        if isinstance(column, MaskedColumn):
            plain[column.info.name + _MASK_SUFFIX] = absent
    hdu = fits.table_to_hdu(plain)
    hdu.name = "FRAMES"
    for number, name in enumerate(plain.colnames, start=1):
        for keyword, value in cards.get(name, {}).items():
            if value is not None:
                hdu.header.set(f"{keyword}{number}", value, after=f"TFORM{number}")
    return hdu


def read_frames(hdu):
    """
    Read the table that `frames_hdu` made.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU`
        Any binary table.

    Returns
    -------
    `~astropy.table.Table`
    """
    table = Table()
    data, header = hdu.data, hdu.header
    names = data.names
    for number, name in enumerate(names, start=1):
        base = name.removesuffix(_MASK_SUFFIX)
        if base != name and base in names:
            continue
        values = _native(np.array(data[name]))
        if header.get(f"TESC{number}", False):
            values = np.char.decode(values.astype("S"), "unicode_escape")
        attributes = {
            "name": name,
            "unit": header.get(f"TUNIT{number}"),
            "description": header.get(f"TCOMM{number}"),
        }
        if name + _MASK_SUFFIX in names:
            mask = np.array(data[name + _MASK_SUFFIX])
            table[name] = MaskedColumn(values, mask=mask, **attributes)
        else:
            table[name] = Column(values, **attributes)
    return table


def _native(array):
    """Return the array in the byte order of the machine, changed in place if it can."""
    if array is None or array.dtype.isnative:
        return array
    if not array.flags.writeable:
        return array.astype(array.dtype.newbyteorder("="))
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def read_ccd_and_diagnostics(filename, hdu=0, unit=None, hdu_flags="FLAGS", **keywords):
    """
    Read a combined image and its diagnostics.

    Parameters
    ----------
    filename : str, path or file object
        A FITS file; extensions it does not have give None.
    hdu : int, str or tuple, optional
        Where the image is. Of several extensions of one name, that with the EXTVER of
        the image belongs to it, or one whose name begins with that of the image.
    unit : `~astropy.units.Unit` or str, optional
        Unit of the image, instead of BUNIT. Without either it is dimensionless.
    hdu_flags : str or None, optional
        Where its flags are.
    **keywords
        For ``CCDData.read``, such as ``hdu_mask``.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        Arrays are in memory, in the byte order of the machine. The header has the times
        that ``CCDData.read`` leaves to the WCS.
    diagnostics : dict
        Arrays by name, and the table ``frames``.
    """
    is_object = hasattr(filename, "read")
    start = filename.tell() if is_object else 0
    hdus = fits.open(filename, memmap=False)
    try:
        image = _index_of_image(hdus, hdu)
        found = {
            name: _read_image(own, diagnostic.dtype == "?")
            for name, diagnostic in DIAGNOSTICS.items()
            if (own := _belonging(hdus, diagnostic.extname, image)) is not None
        }
        frames = _belonging(hdus, "FRAMES", image)
        if frames is not None:
            found["frames"] = read_frames(frames)
        flags = _read_flags(hdus, hdu_flags, image)
        for keyword, default in _OF_CCDDATA.items():
            name = keywords.get(keyword, default)
            own = _belonging(hdus, name, image) if isinstance(name, str) else None
            if own is not None:
                keywords[keyword] = (own.name, own.ver)
        if hdu == 0 and isinstance(hdus[image], fits.CompImageHDU):
            hdu = image  # CCDData.read does not look for one
        header = _image_header(hdus, hdu)
    finally:
        # A file object belongs to the caller, and is read once more.
        if is_object:
            filename.seek(start)
        else:
            hdus.close()
    if unit is None and not header.get("BUNIT", ""):
        unit = u.dimensionless_unscaled
    with warnings.catch_warnings():
        # The WCS derives MJD-OBS from DATE-OBS and the like, and says so.
        warnings.filterwarnings("ignore", "'datfix' made the change", FITSFixedWarning)
        ccd = fits_ccddata_reader(filename, hdu, unit, memmap=False, **keywords)
    ccd.data = _native(ccd.data)
    ccd.psf = _native(ccd.psf)
    if ccd.uncertainty is not None:
        ccd.uncertainty.array = _native(ccd.uncertainty.array)
    ccd.flags = flags
    for keyword in set(header) - set(ccd.header) - _TIMES:
        header.remove(keyword)
    ccd.meta = header
    return ccd, found


def _image_header(hdus, hdu):
    """Return the header that ``CCDData.read`` starts from."""
    header = hdus[hdu].header.copy()
    if hdu == 0 and header["NAXIS"] == 0:
        for other in hdus[1:]:
            if type(other) is fits.ImageHDU and other.header["NAXIS"] > 0:
                combined = other.header.copy()
                combined.extend(header, unique=True)
                return combined
    return header


def _read_image(hdu, is_bool):
    array = _native(hdu.data)
    return array.view(bool) if is_bool and array.dtype == np.uint8 else array
