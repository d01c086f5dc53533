# Licensed under a 3-clause BSD style license - see LICENSE
"""HDUs that astropy reads, of files that are open only while they are in use."""

import contextlib

from astropy.io import fits
from astropy.nddata import CCDData

from imcombiners_astro.files.parking import Parkable

__all__ = [
    "AstropyFile",
    "BorrowedHDUs",
    "Lent",
    "RemoteFile",
    "open_fits",
    "pixels_of",
    "read_hdu",
]


class AstropyFile:
    """
    A file that astropy reads, through an object that needs no descriptor of its own.

    Its headers are read once, however often the file is closed in between.

    Parameters
    ----------
    file : RawFile or PackedFile
        The file; it is closed with this.
    options : ReadOptions
        How to open it.
    """

    def __init__(self, file, options):
        self.name = file.name
        self.kept_nbytes = file.kept_nbytes
        self._file = file
        self._options = options
        self._hdus = None

    def __enter__(self):
        """Give the HDUs; the file stays open while they are in use."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._file.raw)
            if self._hdus is None:
                stream = self._file.stream()
                self._hdus = open_fits(stream, self._options, self.name)
            stack.pop_all()
        return self._hdus

    def __exit__(self, *error):
        self._file.raw.__exit__(*error)

    def close(self):
        """Close the file."""
        hdus, self._hdus = self._hdus, None
        if hdus is not None:
            hdus.close()
        self._file.close()


class RemoteFile(Parkable):
    """
    A file that astropy finds by its address.

    Parameters
    ----------
    name : str
        The address.
    options : ReadOptions
        How to open it.
    """

    kept_nbytes = 0

    def __init__(self, name, options):
        super().__init__(name)
        self._options = options

    def _open(self):
        return open_fits(self.name, self._options)


def open_fits(file, options, name=None):
    """
    Open a file with astropy.

    Parameters
    ----------
    file : str or file object
        Path of the file, or what reads it.
    options : ReadOptions
        How to open it.
    name : str, optional
        Its name for messages, by default `file`.

    Returns
    -------
    `~astropy.io.fits.HDUList`
        To be closed by the caller.

    Raises
    ------
    OSError
        If it cannot be opened; it is named.
    """
    name = file if name is None else name
    try:
        return fits.open(file, **options.for_open)
    except OSError as error:
        # an error of the system names the file
        if error.errno is not None or name in str(error):
            raise
        raise OSError(f"{name} cannot be read: {error}") from error


def read_hdu(name, options, index, unit):
    """
    Read an image that ``CCDData.read`` does not find by itself.

    Parameters
    ----------
    name : str
        Path of the file.
    options : ReadOptions
        How to read it.
    index : int
        Number of the HDU.
    unit : `~astropy.units.UnitBase`
        Its unit.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The image, with the keywords of the primary HDU.
    """
    ccd = CCDData.read(name, **{**options.keywords, "hdu": index, "unit": unit})
    with open_fits(name, options) as hdus:
        ccd.header.extend(hdus[0].header, strip=True, unique=True)
    return ccd


class BorrowedHDUs:
    """
    HDUs that belong to the caller: they are not closed.

    Parameters
    ----------
    hdus : sequence of HDU
        The HDUs.
    """

    kept_nbytes = 0

    def __init__(self, hdus):
        self._hdus = hdus

    def __enter__(self):
        """Give the HDUs."""
        return self._hdus

    def __exit__(self, *error):
        pass

    def close(self):
        """Do nothing."""


class Lent:
    """
    Something that is open, for one who must not close it.

    Parameters
    ----------
    source : context manager
        What gives HDUs.
    """

    def __init__(self, source):
        self._source = source
        self.kept_nbytes = source.kept_nbytes

    def __enter__(self):
        """Give the HDUs."""
        return self._source.__enter__()

    def __exit__(self, *error):
        return self._source.__exit__(*error)

    def close(self):
        """Do nothing."""


def pixels_of(hdu):
    """
    Give the pixels of an HDU, to be read when they are asked for.

    Parameters
    ----------
    hdu : HDU
        An image.

    Returns
    -------
    `~numpy.ndarray` or section
        What can be sliced: data that are in memory already, or a section.
    """
    if hdu.fileinfo() is None or "data" in vars(hdu):
        return hdu.data
    return hdu.section
