# Licensed under a 3-clause BSD style license - see LICENSE
"""Paths as text: lists of them, patterns, URLs, and the HDU in brackets."""

import glob
import os
import re
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["at_home", "is_url", "paths_of_lines", "paths_of_text", "split_hdu"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BRACKETS = re.compile(r"(.+?)\[([^\[\]]*)\]", re.DOTALL)
_COMMA = re.compile(r",(?![^\[\]]*\])")  # not the one of name[SCI,1]
_COMMENT = re.compile(r"(^|\s)#.*")


def is_url(text):
    """
    Tell a URL from a path.

    Parameters
    ----------
    text : str
        Either of them.

    Returns
    -------
    bool
        Whether it begins with a scheme of at least two letters and ``://``.
    """
    return _URL.match(text) is not None


def at_home(text):
    """
    Put the home directory in the place of ``~``, and a path in that of ``file://``.

    Parameters
    ----------
    text : str
        A path or URL.

    Returns
    -------
    str
        The path, or another URL as it is.
    """
    if text[:7].lower() == "file://":
        return url2pathname(urlsplit(text).path)
    return text if is_url(text) else os.path.expanduser(text)


def split_hdu(path):
    """
    Split a path from the HDU in brackets at its end.

    Parameters
    ----------
    path : str
        A path. If there is a file of this very name, the brackets belong to the name.

    Returns
    -------
    path : str
        The path of the file.
    hdu : int, str, (str, int) or None
        The HDU: ``[2]`` is its number, 0 is the primary one, ``[SCI]`` its EXTNAME,
        ``[SCI,2]`` EXTNAME and EXTVER. None without brackets.

    Raises
    ------
    ValueError
        If there is something else in the brackets, for instance a section.

    Examples
    --------
    >>> from imcombiners_astro.files.paths import split_hdu
    >>> split_hdu("flat.fits[2]"), split_hdu("flat.fits[SCI,2]"), split_hdu("flat.fits")
    (('flat.fits', 2), ('flat.fits', ('SCI', 2)), ('flat.fits', None))
    """
    match = None if is_url(path) else _BRACKETS.fullmatch(path)
    if match is None or os.path.lexists(path):
        return path, None
    file, text = match.groups()
    if re.fullmatch(r"\s*\d+\s*", text):
        return file, int(text)
    name, comma, version = (part.strip() for part in text.partition(","))
    if name and not re.search(r"[:*,]", text.replace(",", "", 1)):
        if not comma:
            return file, name
        if version.isdecimal():
            return file, (name, int(version))
    raise ValueError(
        f"{path}: [{text}] must be the number, the name or name,version of an HDU. "
        "Sections of images are not read."
    )


def paths_of_text(text, commas=True):
    """
    Find the files that a text stands for.

    Parameters
    ----------
    text : str
        Paths, patterns and ``@lists``, see
        `~imcombiners_astro.files.inputs.expand_inputs`.
    commas : bool, optional
        Whether commas separate them.

    Returns
    -------
    list of str
        Paths, each with its brackets if it has some.

    Raises
    ------
    FileNotFoundError
        If nothing matches a pattern, or there is no such list.
    ValueError
        If a list is empty or contains itself.
    """
    if not text.strip():
        return []
    if not commas or "," not in text or os.path.exists(os.path.expanduser(text)):
        return _matches(text)
    names = [name.strip() for name in _COMMA.split(text)]
    return [match for name in names if name for match in _matches(name)]


def _matches(text, beside="", within=()):
    """
    Return the path, or the files of a list or pattern if there is no such file.

    `beside` is the folder of the list that the text is in, `within` that list and
    those it is in itself.
    """
    path = at_home(text)
    if is_url(path) or os.path.lexists(path):
        return [path]
    if path.startswith("@"):
        return _paths_in_list(at_home(path[1:]), beside, within)
    for place in (path, os.path.join(beside, path)):
        # name[2] is the third HDU of name, unless this is a pattern that matches
        match = _BRACKETS.fullmatch(place)
        if os.path.lexists(place) or (match and os.path.lexists(match[1])):
            return [place]
        found = _glob(place)
        if found:
            return found
        if match:
            found = _glob(match[1])
            if found:
                return [f"{name}[{match[2]}]" for name in found]
    file, _ = split_hdu(path)
    if glob.has_magic(file):
        raise FileNotFoundError(f"no file matches {text!r}.")
    return [path]


def _glob(pattern):
    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else []


def _paths_in_list(name, beside, within):
    if not os.path.exists(name) and os.path.exists(os.path.join(beside, name)):
        name = os.path.join(beside, name)
    identity = os.path.realpath(name)
    if identity in within:
        raise ValueError(f"the list {name} contains itself.")
    try:
        with open(name, "rb") as file:
            lines = os.fsdecode(file.read()).removeprefix("\ufeff").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no list of files {name!r}.") from error
    return paths_of_lines(lines, name, os.path.dirname(name), (*within, identity))


def paths_of_lines(lines, name, beside="", within=()):
    """
    Find the files that the lines of a list stand for.

    Parameters
    ----------
    lines : list of str
        A path, pattern or ``@list`` in each, and comments.
    name : str
        What errors call the list.
    beside : str, optional
        Folder of the list, where names are looked for that are not in the current one.
    within : tuple of str, optional
        The real paths of the list and of those it is in.

    Returns
    -------
    list of str
        As of `paths_of_text`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `paths_of_text`, and if there is no name.

    Examples
    --------
    >>> from imcombiners_astro.files.paths import paths_of_lines
    >>> paths_of_lines(["# darks", "d1.fits", "", "d2.fits[1]  # late"], "darks.txt")
    ['d1.fits', 'd2.fits[1]']
    """
    texts = [_COMMENT.sub("", line).strip() for line in lines]
    found = [path for text in texts if text for path in _matches(text, beside, within)]
    if not found:
        raise ValueError(f"the list {name} has no names of files.")
    return found
