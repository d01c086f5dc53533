# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files of several images, combined extension by extension.

The images of a file are known by EXTNAME and EXTVER, those without a name by their
number. All files must have the same ones, of the same shapes.
"""

import contextlib
import os
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData

from imcombiners_astro.atomic import replacing
from imcombiners_astro.ccd import check_alike, combine_frames
from imcombiners_astro.companions import companion_of
from imcombiners_astro.diagnostics import Derived
from imcombiners_astro.files import fits as files_fits
from imcombiners_astro.files.hdus import AstropyFile, BorrowedHDUs, RemoteFile
from imcombiners_astro.files.inputs import COMPANIONS
from imcombiners_astro.files.layout import NoImageError, has_image
from imcombiners_astro.files.options import ReadOptions
from imcombiners_astro.files.paths import at_home, is_url, split_hdu
from imcombiners_astro.files.rawfile import open_bytes
from imcombiners_astro.files.scan import all_entries
from imcombiners_astro.products import NotedCube
from imcombiners_astro.provenance import write_header
from imcombiners_astro.result import DIAGNOSTICS, CombinedCCDData

__all__ = ["ALL", "combine_extensions", "is_all"]

# The value of hdu= that means every image.
ALL = "all"

# fpack gives this name to an image that had none.
_NO_NAMES = ("", "COMPRESSED_IMAGE")
_OF_STRUCTURE = ("CHECKSUM", "DATASUM", "NEXTEND")


def is_all(ccdkwargs):
    """
    Tell whether every image of the files is asked for.

    Parameters
    ----------
    ccdkwargs : dict
        Keywords for the reader of files.

    Returns
    -------
    bool
    """
    hdu = ccdkwargs.get("hdu")
    return isinstance(hdu, str) and hdu == ALL


class Part(NamedTuple):
    """
    An HDU of a file.

    Attributes
    ----------
    number : int
        Its number.
    name : str
        EXTNAME, or an empty text.
    version : int
        EXTVER.
    shape : tuple of int or None
        Shape of the image; None if it has none.
    bunit : str or None
        BUNIT.
    """

    number: int
    name: str
    version: int
    shape: tuple[int, ...] | None
    bunit: Any


class ManyImages:
    """
    A FITS file of which every image is combined with those of other files.

    Parameters
    ----------
    item : str, HDUList or file object
        The file.
    name : str
        What it is called in messages if it is no path.
    options : ReadOptions
        How to read.

    Attributes
    ----------
    name : str
        Path, or `name`.
    parts : dict
        `Part` of every image that is to be combined, in the order of the file, by
        EXTNAME, by (EXTNAME, EXTVER) where several have that name, or by number where
        it has none or another one has both.

    Raises
    ------
    TypeError
        If it is no file.
    ValueError
        If there is no image in it, or it is not clear what belongs to which of them.
    OSError
        If it cannot be read.
    """

    def __init__(self, item, name, options):
        self.name, self._entries, self._source = name, None, None
        if isinstance(item, str):
            self.name = at_home(item)
            if is_url(self.name) or options.for_open.get("use_fsspec"):
                options = files_fits.options_of_address(self.name, options)
                self._source = RemoteFile(self.name, options)
            else:
                self._check_path(options)
                # it is opened again when something is read
                with contextlib.closing(open_bytes(self.name)) as file:
                    if options.plain:
                        self._entries = all_entries(file)
                self._source = AstropyFile(file, options)
        elif isinstance(item, fits.HDUList):
            self._source = BorrowedHDUs(item)
        elif hasattr(item, "read") and not isinstance(item, NDData):
            hdus = files_fits.hdus_of_object(item, name, options)
            self._source = BorrowedHDUs(hdus)
        else:
            raise TypeError(
                f"hdu={ALL!r} combines the images of files, found {name}, which is one "
                f"image ({type(item).__name__})."
            )
        self._options = options
        try:
            self.all_parts = self._find_parts()
            self.parts = self._choose()
            self._check_companions()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close the file, if it was opened here."""
        self._source.close()

    def _check_path(self, options):
        _, hdu = split_hdu(self.name)
        if hdu is not None:
            raise ValueError(
                f"{self.name}: the HDU {hdu!r} was asked for, and hdu={ALL!r}; "
                "expected one of both."
            )
        if options.format not in (None, "fits"):
            raise ValueError(
                f"format={options.format!r}: hdu={ALL!r} is for FITS files."
            )

    def hdus(self):
        """Give a context manager for the HDUs, as astropy reads them."""
        return self._source

    def _find_parts(self):
        if self._entries is not None:
            found = [
                Part(
                    entry.number,
                    entry.name,
                    entry.version,
                    entry.shape if entry.kind == "IMAGE" and entry.size else None,
                    entry.cards.get("BUNIT"),
                )
                for entry in self._entries
            ]
        else:
            with self.hdus() as hdus:
                found = [
                    Part(
                        number,
                        hdu.name.upper(),
                        hdu.ver,
                        hdu.shape if has_image(hdu) else None,
                        hdu.header.get("BUNIT"),
                    )
                    for number, hdu in enumerate(hdus)
                ]
        if found and found[0].name == "":
            found[0] = found[0]._replace(name="PRIMARY")
        return [
            part._replace(name="" if part.name in _NO_NAMES else part.name)
            for part in found
        ]

    def _choose(self):
        images = [
            part
            for part in self.all_parts
            if part.shape is not None and not self.is_companion(part)
        ]
        if not images:
            raise NoImageError(f"{self.name} has no image.")
        names = Counter(part.name for part in images)
        both = Counter((part.name, part.version) for part in images)

        def key(part):
            if not part.name or both[part.name, part.version] > 1:
                return part.number
            return part.name if names[part.name] == 1 else (part.name, part.version)

        return {key(part): part for part in images}

    def is_companion(self, part):
        """
        Tell whether an HDU belongs to an image.

        Parameters
        ----------
        part : Part
            The HDU.

        Returns
        -------
        bool
            By its name. Those of diagnostics count beside the table of frames that is
            written with them.
        """
        own = {"FRAMES", *(diagnostic.extname for diagnostic in DIAGNOSTICS.values())}
        owners = {x for p in self.all_parts for x in (p.name, str(p.number)) if x}
        tables = {"FRAMES", *(f"{owner}_FRAMES" for owner in owners)}
        is_ours = any(p.name in tables and p.shape is None for p in self.all_parts)
        names = {*COMPANIONS, *self._options.companions, *(own if is_ours else ())}
        owner, _, name = part.name.rpartition("_")
        return part.name in names or (name in names and owner in owners)

    def _check_companions(self):
        """Make sure that of what is read along with the images each has its own."""
        options = self._options
        used = [options.hdu_mask, options.hdu_uncertainty, *options.hdus_of_flags]
        wrong = [hdu for hdu in used if not isinstance(hdu, str | None)]
        if wrong:
            raise ValueError(
                f"hdu={ALL!r}: the mask, uncertainty and flags of several images are "
                f"told by the name of their extension, found {wrong[0]!r}."
            )
        if len(self.parts) == 1:
            return
        used = {name.strip().upper() for name in used if name is not None}
        versions = Counter(part.version for part in self.parts.values())
        found = Counter(
            (part.name, part.version) for part in self.all_parts if part.name in used
        )
        for (name, version), count in found.items():
            if count > 1 or versions[version] > 1:
                raise ValueError(
                    f"{self.name}: {versions[version]} images and {count} extensions "
                    f"{name} have EXTVER {version}; each image must have its own. "
                    "(With hdu_mask=None masks are not used.)"
                )

    def _companion(self, name, part):
        """Name and version of what belongs to an image, if there is such a thing."""
        found = [(other.name, other.version) for other in self.all_parts]
        own = companion_of(found, [name.strip().upper()], part[:3], only_same=True)
        return own or (name, part.version)

    def label(self, key):
        """
        Name an image in messages and headers.

        Parameters
        ----------
        key : int, str or tuple
            Of `parts`.

        Returns
        -------
        str
            ``file[EXTNAME,EXTVER]``.
        """
        text = ",".join(map(str, key)) if isinstance(key, tuple) else str(key)
        return f"{self.name}[{text}]"

    def open_frame(self, key, is_first):
        """
        Open one of the images.

        Parameters
        ----------
        key : int, str or tuple
            Of `parts`.
        is_first : bool
            Whether it is the first of its stack, so that its ``template()`` is needed.

        Returns
        -------
        Frame
            To be closed by the caller.

        Raises
        ------
        OSError, ValueError, TypeError
            As `~imcombiners_astro.files.fits.open_frame`.
        """
        part, options = self.parts[key], self._options
        keywords = {**options.keywords, "hdu": part.number}
        of_many = len(self.parts) > 1
        if is_first:
            bunit = part.bunit or self.all_parts[0].bunit
            keywords["unit"] = options.unit_of(bunit, self.label(key))
            keywords["hdu_mask"] = None  # that of the result is another one
            if of_many:
                for which, default in (
                    ("hdu_uncertainty", "UNCERT"),
                    ("hdu_psf", "PSFIMAGE"),
                    ("hdu_flags", None),
                ):
                    name = keywords.get(which, default)
                    if name is not None:
                        keywords[which] = self._companion(name, part)
        options = replace(
            options,
            hdu=part.number,
            keywords=keywords,
            of_many=of_many,
            inherits_unit=True,
        )
        if self._entries is not None:
            frame = files_fits.open_item(self.name, "", options, self._entries)
        else:
            frame = files_fits.open_lent(self._source, self.name, options)
        frame.name = self.label(key)
        return frame


def combine_extensions(items, options, ccdkwargs, wanted, output=None, tally=None):
    """
    Combine files of several images, extension by extension.

    Parameters
    ----------
    items : list of str, HDUList or file object
        The files.
    options : Options
        What to do with every extension.
    ccdkwargs : dict
        Keywords of ``CCDData.read``.
    wanted : dict
        Keywords ``want_uncertainty`` and ``want_flags`` of
        `~imcombiners_astro.files.fits.open_frames`.
    output : `~imcombiners_astro.files.output.Output`, optional
        File to write.
    tally : Tally, optional
        To be added to.

    Returns
    -------
    dict
        Combined images, by EXTNAME, (EXTNAME, EXTVER) or number.

    Raises
    ------
    ValueError
        If the files do not have the same images, or it is not clear what belongs to
        them; before anything is combined, as all that is wrong with an image.
    TypeError
        If an item is no file, or units cannot be converted.
    OSError
        If a file cannot be read or written.
    """
    base = ReadOptions.parse({**ccdkwargs, "hdu": 0}, **wanted)
    with contextlib.ExitStack() as stack:
        files = []
        for k, item in enumerate(items):
            files.append(ManyImages(item, f"img_list[{k}]", base))
            stack.callback(files[-1].close)
        return _combine_files(files, options, output, tally)


def _combine_files(files, options, output, tally):
    first = files[0]
    same_shape = options.extras.offsets is None
    for file in files[1:]:
        _check_structure(first, file, same_shape)
    with_primary = any(part.number == 0 for part in first.parts.values())
    if output is not None and output.compression is not None and with_primary:
        raise ValueError(
            f"output_compression={output.compression!r}: {first.name} has an image in "
            "its primary HDU, which cannot be compressed where it is."
        )
    primary = None
    for key in first.parts:
        with _opened(files, key) as frames:
            check_alike(frames, same_shape)
            if primary is None:
                primary = _primary_header(first, frames, options)
    results, held = {}, 0
    for key in first.parts:
        with _opened(files, key) as frames:
            # What is done already takes its share of the memory.
            room = max(options.mem_limit - held, options.mem_limit / 2)
            results[key] = _combine_one(
                frames, options._replace(mem_limit=room), output, tally
            )
        held += _nbytes(results[key])
    if output is not None:
        _write(results, first, primary, output)
    return results


def _combine_one(frames, options, output, tally):
    """Combine one extension; what does not fit in memory goes to a file of its own."""
    scratch = () if output is None else (output.scratch(),)
    return combine_frames(frames, frames[0].outline(), options, tally, *scratch)


@contextlib.contextmanager
def _opened(files, key):
    """Give the frames of one extension; errors tell which it is."""
    with contextlib.ExitStack() as stack:
        try:
            frames = []
            for k, file in enumerate(files):
                frames.append(file.open_frame(key, is_first=k == 0))
                stack.callback(frames[-1].close)
            yield frames
        except Exception as error:
            error.add_note(f"(extension {key!r} of {len(files)} files)")
            raise


def _check_structure(first, file, same_shape):
    """Compare the images of a file with those of the first one."""
    for one, other in ((first, file), (file, first)):
        for key, part in one.parts.items():
            if key not in other.parts:
                raise ValueError(
                    f"{other.name} has no image {key!r} ({one.name} has it); "
                    f"hdu={ALL!r} needs files of the same structure."
                )
            shape = other.parts[key].shape
            if same_shape and shape != part.shape:
                raise ValueError(
                    f"{other.label(key)} has the shape {shape}, {one.label(key)} "
                    f"{part.shape}; hdu={ALL!r} needs files of the same structure."
                )


def _nbytes(result):
    arrays = [result.data, result.mask, getattr(result.uncertainty, "array", None)]
    if isinstance(result, CombinedCCDData):
        kept = [result._kept(name) for name in DIAGNOSTICS]
        # The mask that is made when it is written is as large as the flags.
        flags = result._kept("sample_flags")
        arrays += [flags if isinstance(x, Derived) else x for x in kept]
    # what is read-only is in files
    return sum(
        x.nbytes
        for x in arrays
        if isinstance(x, NotedCube) or (isinstance(x, np.ndarray) and x.flags.writeable)
    )


def _primary_header(file, frames, options):
    """Header of the first file, and what was combined."""
    with file.hdus() as hdus:
        header = hdus[0].header.copy()
    for keyword in _OF_STRUCTURE:
        header.remove(keyword, ignore_missing=True)
    write_header(
        header,
        frames,
        options=options.described,
        exposure=options.extras.exposure,
    )
    for k in range(1, min(len(frames), 999) + 1):
        # the files, not their extensions
        name = os.path.basename(header[f"IMCMB{k:03d}"])
        header[f"IMCMB{k:03d}"] = name.rpartition("[")[0] or name
    return header


def _write(results, file, primary, output):
    """
    Write an MEF like that of the first file.

    Its HDUs keep their place: images are replaced by the combined ones, tables and
    HDUs without data are copied. What belongs to the images follows at the end.
    """
    keys = {part.number: key for key, part in file.parts.items()}
    prefixes = _prefixes(file.parts)
    hdus, companions = fits.HDUList(), []
    with file.hdus() as old_hdus:
        for part in file.all_parts:
            number = part.number
            if number in keys:
                key = keys[number]
                new, *others = output.hdus(_combined(results[key]), in_mef=number)
                if len(keys) > 1:
                    for hdu in others:
                        hdu.name = prefixes[key] + hdu.name
                        hdu.ver = part.version
                hdus.append(new)
                companions += others
            elif number == 0:
                hdus.append(fits.PrimaryHDU(header=primary))
            elif not file.is_companion(part):
                hdus.append(old_hdus[number].copy())
        hdus.extend(companions)
        with replacing(*output.replacement()) as new_path:
            hdus.writeto(new_path, checksum=output.checksum)


def _combined(result):
    """Return a CombinedCCDData, which writes all digits of its header."""
    is_one = isinstance(result, CombinedCCDData)
    return result if is_one else CombinedCCDData.from_ccd(result)


def _prefixes(parts):
    """
    Begin the names of what belongs to an image, so that EXTVER tells what it is.

    Nothing is needed where every image has an EXTVER of its own, else its name or the
    number of the HDU, as `~imcombiners_astro.companions.companion_of` knows them.
    """
    if len({part.version for part in parts.values()}) == len(parts):
        return dict.fromkeys(parts, "")
    return {
        key: f"{part.number if key == part.number else part.name}_"
        for key, part in parts.items()
    }
