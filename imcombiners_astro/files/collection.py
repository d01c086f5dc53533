# Licensed under a 3-clause BSD style license - see LICENSE
"""The images of an ImageFileCollection, combined group by group."""

import difflib
import inspect
import os
import re
import string
from collections.abc import Mapping

import numpy as np

from imcombiners_astro.errors import EmptyInputError
from imcombiners_astro.files.combine import combine
from imcombiners_astro.files.inputs import is_collection
from imcombiners_astro.files.options import READER_KEYWORDS
from imcombiners_astro.files.output import check_output

__all__ = ["combine_collection"]

_OWN = ("img_list", "output_file", "overwrite_output", "progress_bar", "ccdkwargs")
_OF_COMBINE = {*inspect.signature(combine).parameters, *READER_KEYWORDS} - {*_OWN}
# What a file name may have; everything else becomes an underscore.
_ODD = re.compile(r"[^\w.+-]+")


def combine_collection(
    collection,
    groupby=None,
    output=None,
    *,
    filters=None,
    overwrite_output=False,
    progress_bar=None,
    **keywords,
):
    """
    Combine the images of a collection, those with the same header values into one.

    Parameters
    ----------
    collection : `ccdproc.ImageFileCollection`
        The files.
    groupby : str or sequence of str, optional
        Header keywords, in any case. Images of which all these have the same values
        are a group; those without a keyword, too. By default all images are one group.
    output : str or path, optional
        Where to write the results: a directory, in which the files are called
        ``combined_<value>_<value>.fits``, or a path with keywords in braces, such as
        ``"masters/flat_{filter}_{exptime:.0f}s.fits"``. These may be the keywords of
        `groupby`, and others of which all images of a group have the same value.
        Characters that do not belong in names of files become an underscore, and a
        value that is missing is "none".
    filters : mapping, optional
        Header keywords and values of the images that are used: for keywords that are no
        names in Python, or also names of parameters. As in
        ``ImageFileCollection.files_filtered``, case does not matter, ``"*"`` is any
        value and ``None`` none.
    overwrite_output : bool, optional
        Replace files that exist.
    progress_bar : callable, optional
        Called with the list of groups, for instance `tqdm.tqdm`; what it gives is
        iterated over.
    **keywords
        Parameters and keywords of `~imcombiners_astro.combine` for every group. All
        others are ``filters``, such as ``imagetyp="flat"``; ``regex_match=True`` makes
        their texts regular expressions.

    Returns
    -------
    dict
        What `~imcombiners_astro.combine` returns, by the tuple of values of the
        group in the order of `groupby`; `None` where a value is missing. The groups are
        sorted by these tuples, `None` at the end. All results are in memory.

    Raises
    ------
    TypeError
        If it is no such collection, or a parameter of `combine` is not for this.
    ValueError
        If no image is left, no image has one of the keywords, two groups have the
        same output, or a group has one that is an image of another group; nothing is
        combined then.
    OSError
        If one of the outputs exists or cannot be written, before anything is combined,
        or a file cannot be read. Outputs of groups that are complete are kept.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from ccdproc import ImageFileCollection
    >>> from imcombiners_astro import combine_collection
    >>> folder = tempfile.TemporaryDirectory()
    >>> for number, (band, level) in enumerate([("V", 1.0), ("B", 5.0), ("V", 3.0)]):
    ...     meta = {"IMAGETYP": "flat", "FILTER": band}
    ...     flat = CCDData(np.full((2, 2), level), unit="adu", meta=meta)
    ...     flat.write(f"{folder.name}/flat{number}.fits")
    >>> masters = combine_collection(
    ...     ImageFileCollection(folder.name),
    ...     groupby="filter",
    ...     imagetyp="flat",
    ...     output=os.path.join(folder.name, "master_{filter}.fits"),
    ...     method="median",
    ... )
    >>> list(masters), masters["V",].data[0]
    ([('B',), ('V',)], array([2., 2.]))
    >>> sorted(name for name in os.listdir(folder.name) if "master" in name)
    ['master_B.fits', 'master_V.fits']
    >>> folder.cleanup()
    """
    if not is_collection(collection):
        raise TypeError(
            "collection must be a ccdproc.ImageFileCollection, found "
            f"{type(collection).__name__}."
        )
    for name in ("img_list", "output_file"):
        if name in keywords:
            raise TypeError(
                f"combine_collection() takes no {name}=; it has collection and output."
            )
    groupby = _checked_groupby(groupby)
    if not isinstance(filters, Mapping | None):
        raise TypeError(
            "filters must be a mapping of header keywords to values, found "
            f"{type(filters).__name__}."
        )
    if not (progress_bar is None or callable(progress_bar)):
        raise TypeError(
            f"progress_bar must be a function or None, not {progress_bar!r}."
        )
    arguments = {k: keywords.pop(k) for k in [*keywords] if k in _OF_COMBINE}
    regex_match = keywords.pop("regex_match", False)
    filters = {**(filters or {}), **keywords}
    wrong = [k for k in filters if not isinstance(k, str)]
    if wrong:
        raise TypeError(f"filters: found the keyword {wrong[0]!r}, expected a str.")
    filters = {k.lower(): v for k, v in filters.items()}
    files = collection.files_filtered(
        include_path=True, regex_match=regex_match, **filters
    )
    fields = _fields(output)
    wanted = dict.fromkeys([*groupby, *fields, *filters])
    values = _values(collection, wanted, filters)
    if not len(files):
        shown = ", ".join(f"{k}={v!r}" for k, v in filters.items())
        raise EmptyInputError(
            f"the collection has no image with {shown}."
            if filters
            else "the collection is empty: there is no image to combine."
        )
    groups = {}
    for file in files:
        key = tuple(values[_identity(file)][keyword] for keyword in groupby)
        groups.setdefault(key, []).append(file)
    groups = {key: groups[key] for key in sorted(groups, key=_order)}
    outputs = dict.fromkeys(groups)
    if output is not None:
        outputs = _outputs(output, groupby, fields, groups, values)
        for path in outputs.values():
            check_output(path, overwrite_output)
        _check_inputs_last(groups, outputs, groupby)
    results = {}
    keys = list(groups)
    for key in keys if progress_bar is None else progress_bar(keys):
        try:
            results[key] = combine(
                groups[key],
                output_file=outputs[key],
                overwrite_output=overwrite_output,
                **arguments,
            )
        except Exception as error:
            error.add_note(f"(group {_shown(groupby, key)} of the collection)")
            raise
    return results


def _checked_groupby(groupby):
    """Return the keywords in lower case."""
    keywords = [groupby] if isinstance(groupby, str) else groupby
    try:
        keywords = list(() if keywords is None else keywords)
    except TypeError:
        keywords = [None]
    if not all(isinstance(keyword, str) and keyword for keyword in keywords):
        raise TypeError(
            f"groupby: found {groupby!r}, expected a header keyword or a sequence of "
            "header keywords."
        )
    return [keyword.lower() for keyword in keywords]


def _check_inputs_last(groups, outputs, groupby):
    """Refuse to replace a file of another group, which may be combined later."""
    owners = {_place(file): key for key, files in groups.items() for file in files}
    for key, path in outputs.items():
        owner = owners.get(_place(path), key)
        if owner != key:
            raise ValueError(
                f"output: {path!r} of the group {_shown(groupby, key)} is an image of "
                f"the group {_shown(groupby, owner)}."
            )


def _identity(file):
    return os.path.abspath(file)


def _values(collection, wanted, filters):
    """Header values of all files of a collection: a dict by file, of dicts."""
    if not collection.files:
        return {}
    names = [os.path.join(collection.location or "", f) for f in collection.files]
    known = {name.lower(): name for name in collection.summary.colnames}
    table = collection.summary
    if not set(wanted) <= set(known):
        table = type(collection)(
            filenames=names, keywords=list(wanted), ext=collection.ext
        ).summary
        known = {name.lower(): name for name in table.colnames}
    columns = {}
    for keyword in wanted:
        column = table[known[keyword]]
        columns[keyword] = [
            None if masked else _plain(value)
            for value, masked in zip(column, np.ma.getmaskarray(column), strict=True)
        ]
        may_be_absent = filters.get(keyword, "") is None
        if not may_be_absent and set(columns[keyword]) <= {None}:
            near = difflib.get_close_matches(keyword, _OF_COMBINE, 1)
            near = near if keyword in filters else None
            hint = f" Did you mean combine's {near[0]!r}?" if near else ""
            raise ValueError(
                f"no image of the collection has the keyword {keyword!r}.{hint}"
            )
    return {
        _identity(name): {keyword: columns[keyword][k] for keyword in wanted}
        for k, name in enumerate(names)
    }


def _plain(value):
    """Return a number or text of Python."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.strip() if isinstance(value, str) else value


def _order(key):
    """Sort numbers before texts before what is missing."""
    return tuple(
        (value is None, isinstance(value, str), 0 if value is None else value)
        for value in key
    )


def _fields(output):
    """Keywords in the braces of a template."""
    if output is None:
        return []
    if not isinstance(output, str | os.PathLike):
        raise TypeError(f"output must be a path, found {type(output).__name__}.")
    if "\0" in os.fsdecode(output):
        raise ValueError(f"output={output!r}: a path has no null character.")
    if _is_folder(output):
        return []
    try:
        parsed = list(string.Formatter().parse(os.fsdecode(output)))
    except ValueError as error:
        raise ValueError(f"output={output!r}: {error}.") from error
    fields = [field.lower() for _, field, _, _ in parsed if field is not None]
    if "" in fields or any(re.search(r"[.\[\]]", field) for field in fields):
        raise ValueError(
            f"output={output!r}: expected names of header keywords in the braces."
        )
    return fields


def _is_folder(output):
    path = os.path.expanduser(os.fsdecode(output))
    return os.path.isdir(path) or path.endswith(os.sep)


def _outputs(output, groupby, fields, groups, values):
    """Paths by group."""
    template = os.path.expanduser(os.fsdecode(output))
    if _is_folder(output):
        names = "".join(f"_{{{keyword}}}" for keyword in groupby)
        template = os.path.join(template.replace("{", "{{").replace("}", "}}"), "")
        template, fields = f"{template}combined{names}.fits", groupby
    outputs, owners = {}, {}
    for key, files in groups.items():
        numbers = {}
        for field in fields:
            found = {values[_identity(file)][field] for file in files}
            if len(found) > 1:
                raise ValueError(
                    f"output={output!r}: the images of the group "
                    f"{_shown(groupby, key)} differ in {field!r}; it must be one of "
                    f"groupby, which is {groupby}."
                )
            numbers[field] = found.pop()
        try:
            path = _Namer().vformat(template, (), numbers)
        except ValueError as error:
            raise ValueError(f"output={output!r}: {error}.") from error
        same = owners.setdefault(_place(path), key)
        if same != key:
            raise ValueError(
                f"output={output!r}: the groups {_shown(groupby, same)} and "
                f"{_shown(groupby, key)} would both be {path!r}. "
                f"Keywords in braces make names differ ({{{groupby[-1]}}}); a "
                f"directory exists already or ends with {os.sep!r}."
            )
        outputs[key] = path
    return outputs


def _place(path):
    return os.path.normcase(os.path.realpath(path))


class _Namer(string.Formatter):
    """Formats values so that they can be parts of names of files."""

    def get_field(self, field_name, args, kwargs):
        return kwargs[field_name.lower()], field_name

    def format_field(self, value, format_spec):
        if value is None:
            return "none"
        if isinstance(value, float) and not format_spec:
            value = repr(value).removesuffix(".0")
        return _ODD.sub("_", format(value, format_spec))


def _shown(groupby, key):
    return ", ".join(f"{k}={v!r}" for k, v in zip(groupby, key, strict=True)) or "()"
