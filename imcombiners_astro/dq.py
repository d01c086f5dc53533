# Licensed under a 3-clause BSD style license - see LICENSE
"""
Data-quality flags: which bits make a sample bad.

Flags are integers with a meaning for every bit. The choice of bits follows
`astropy.nddata.bitmask`: ``ignore_flags`` are the bits that do *not* make a sample bad.
"""

import numpy as np
from astropy.nddata.bitmask import (
    BitFlagNameMap,
    bitfield_to_boolean_mask,
    interpret_bit_flags,
)

__all__ = [
    "are_plain",
    "bad_samples",
    "check_flags",
    "class_bits",
    "dq_mask",
    "flag_names",
    "ignored_bits",
    "least_bad",
    "plain_flags",
]

_ALL = 0xFFFFFFFF


def check_flags(dtype, name):
    """
    Check that flags are integers.

    Parameters
    ----------
    dtype : `~numpy.dtype`
        Their type.
    name : str
        What has them, for the message.

    Raises
    ------
    TypeError
        If they are not.
    """
    if dtype.kind not in "iu":
        hint = "; an array of booleans is a mask" if dtype.kind == "b" else ""
        raise TypeError(
            f"{name}: the flags must be integers, found dtype {dtype}{hint}."
        )


def plain_flags(flags, name, out=None):
    """
    Give flags as the combination takes them.

    Parameters
    ----------
    flags : `~numpy.ndarray` of int
        Of 8 to 64 bits, signed or not, in either byte order.
    name : str
        What has them, for the message.
    out : `~numpy.ndarray` of uint32, optional
        To be used for the result, where it needs memory.

    Returns
    -------
    `~numpy.ndarray` of uint8, uint16 or uint32
        The same bits; a view where possible. The sign of a signed integer is its
        highest bit.

    Raises
    ------
    ValueError
        If flags of 64 bits have a bit above the lowest 32.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.dq import plain_flags
    >>> plain_flags(np.array([1, -32768], dtype=np.int16), "a.fits")
    array([    1, 32768], dtype=uint16)
    """
    size = flags.dtype.itemsize
    if are_plain(flags.dtype):
        return flags.view(f"u{size}")
    if size < 8:
        flags = flags.view(np.dtype(f"u{size}").newbyteorder(flags.dtype.byteorder))
    elif flags.size:
        for value in (flags.min(), flags.max()):
            if not -(2**31) <= value <= _ALL:
                raise ValueError(
                    f"{name}: flags may have up to 32 bits, found {value}."
                )
    if out is None:
        return flags.astype(np.uint32)
    np.copyto(out, flags, casting="unsafe")
    return out


def are_plain(dtype):
    """
    Whether the combination takes flags of a type as they are.

    Parameters
    ----------
    dtype : `~numpy.dtype` of integers
        The type.

    Returns
    -------
    bool
        `False` for those that have to be copied.
    """
    return dtype.itemsize < 8 and dtype.isnative


def dq_mask(flags, ignore_flags=0, name_map=None):
    """
    Mask of the samples that flags make bad.

    Parameters
    ----------
    flags : `~numpy.ndarray` of int
        The flags.
    ignore_flags : int, str, sequence or None, optional
        Bits that do not make a sample bad; see `ignored_bits`. With `None` none does.
    name_map : `~astropy.nddata.BitFlagNameMap`, optional
        Names of the bits.

    Returns
    -------
    `~numpy.ndarray` of bool
        `True` where any other bit is set.

    Raises
    ------
    TypeError
        If the flags are not integers.
    ValueError
        If the choice of bits is none.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.dq import dq_mask
    >>> dq_mask(np.array([0, 1, 4, 5], dtype=np.uint8), "4")
    array([False,  True, False,  True])
    """
    flags = np.asarray(flags)
    check_flags(flags.dtype, "dq_mask")
    bits = ignored_bits(ignore_flags, name_map)
    return bitfield_to_boolean_mask(flags, ignore_flags=bits)


def ignored_bits(ignore_flags, name_map=None, argument="ignore_flags"):
    """
    Make one integer of a choice of flags.

    Parameters
    ----------
    ignore_flags : int, str, sequence or None
        As `astropy.nddata.bitmask.interpret_bit_flags` takes it: the bits as a number;
        numbers or names with commas between them, such as ``"4,8"`` or ``"CR,HOT"``; a
        sequence of these; all bits but some, such as ``"~CR"``. Or a pair of one of
        them and a `~astropy.nddata.BitFlagNameMap`.
    name_map : `~astropy.nddata.BitFlagNameMap`, optional
        Names of the bits, where no pair gives another map.
    argument : str, optional
        What the choice is called in messages.

    Returns
    -------
    int or None
        The bits; `None` if `ignore_flags` is, or is a text that says so.

    Raises
    ------
    TypeError
        If it is nothing of this kind.
    ValueError
        If a name is not known, or an item of a list is not a single bit.

    Examples
    --------
    >>> from astropy.nddata import extend_bit_flag_map
    >>> from imcombiners_astro.dq import ignored_bits
    >>> DQ = extend_bit_flag_map("DQ", BAD=1, SATURATED=4, CR=8)
    >>> ignored_bits(("SATURATED,CR", DQ))
    12
    >>> ignored_bits("~CR", DQ)
    -9
    """
    spec = ignore_flags
    if isinstance(spec, tuple) and len(spec) == 2 and _is_name_map(spec[1]):
        spec, name_map = spec
    if isinstance(spec, np.ndarray):
        spec = spec.tolist()
    if isinstance(spec, set | frozenset):
        spec = list(spec)
    try:
        return interpret_bit_flags(spec, flag_name_map=name_map)
    except AttributeError as error:  # the map does not know a name
        known = ", ".join(_names(name_map)) or "none"
        raise ValueError(
            f"{argument}={spec!r}: {error}; the names are {known}."
        ) from error
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        reason = str(error)
        if name_map is None and _has_names(spec):
            kind = ValueError
            reason = (
                "names of flags need a BitFlagNameMap; give the pair "
                f"{argument}=({spec!r}, name_map)"
            )
        elif kind is TypeError:
            reason = (
                f"found {type(spec).__name__}, expected an integer, names or numbers "
                f"in a text or in a list ({reason})"
            )
        raise kind(f"{argument}={spec!r}: {reason}") from error


def _is_name_map(thing):
    return isinstance(thing, type) and issubclass(thing, BitFlagNameMap)


def _names(name_map):
    return [
        name
        for cls in name_map.__mro__
        for name, value in vars(cls).items()
        if isinstance(value, int) and not name.startswith("_")
    ]


def _has_names(spec):
    words = [spec] if isinstance(spec, str) else spec
    if not hasattr(words, "__iter__"):
        return False
    return any(isinstance(w, str) and any(c.isalpha() for c in w) for w in words)


def class_bits(classes, name_map=None):
    """
    Classes of flags, mildest first, as integers.

    Parameters
    ----------
    classes : sequence
        Each item is a choice of flags as `ignored_bits` takes it. The sequence may be
        paired with a `~astropy.nddata.BitFlagNameMap`.
    name_map : `~astropy.nddata.BitFlagNameMap`, optional
        Names of the bits.

    Returns
    -------
    list of int
        Bits of each class.

    Raises
    ------
    TypeError, ValueError
        If an item is no choice of flags, or of none.

    Examples
    --------
    >>> from imcombiners_astro.dq import class_bits
    >>> class_bits(["2,4", 8])
    [6, 8]
    """
    if isinstance(classes, tuple) and len(classes) == 2 and _is_name_map(classes[1]):
        classes, name_map = classes
    if isinstance(classes, str | int) or not hasattr(classes, "__iter__"):
        raise TypeError(
            f"least_bad={classes!r}: expected a sequence of flags, mildest first."
        )
    found = []
    for k, item in enumerate(classes):
        bits = ignored_bits(item, name_map, f"least_bad[{k}]")
        if not bits:
            raise ValueError(f"least_bad[{k}]={item!r} has no flag.")
        found.append(bits)
    return found


def flag_names(frames):
    """
    Names of the flags that the images bring along.

    Parameters
    ----------
    frames : sequence of Frame
        The images.

    Returns
    -------
    `~astropy.nddata.BitFlagNameMap` or None
        `None` if no image has any.

    Raises
    ------
    ValueError
        If two images give different meanings to the bits; they are named.
    """
    named = [frame for frame in frames if frame.flag_names is not None]
    if not named:
        return None
    first = named[0]
    meaning = _meaning(first.flag_names)
    for frame in named[1:]:
        other = _meaning(frame.flag_names)
        if other != meaning:
            raise ValueError(
                f"the flags of {first.name} are {meaning}, those of {frame.name} "
                f"{other}; they must be the same."
            )
    return first.flag_names


def _meaning(name_map):
    return {name: int(name_map[name]) for name in _names(name_map)}


def bad_samples(frame, strip, ignored):
    """
    Mask of a strip and what its flags add to it.

    Parameters
    ----------
    frame : Frame
        The frame.
    strip : Strip
        Some of its rows.
    ignored : int or None
        Bits that do not make a sample bad, from `ignored_bits`. With `None` flags do
        not, unless they were given in place of a mask.

    Returns
    -------
    `~numpy.ndarray` of bool, or None
        `True` where a sample is bad. It may be the mask of the strip itself.
    """
    if ignored is None and frame.flags_are_mask:
        ignored = 0
    if strip.flags is None or ignored is None:
        return strip.mask
    mask = dq_mask(strip.flags, ignored)
    if strip.mask is not None:
        mask |= strip.mask
    return mask


def least_bad(flags, masks, classes, ignored=0, pixels=None):
    """
    Masks that leave the least bad samples where there is no good one.

    At a pixel without any good sample those are used whose flags are all of the first,
    mildest class; if there is none, those with flags of the first two, and so on. A
    sample with a flag of no class stays masked. (The idea is that of the hierarchy of
    data quality in DRAGONS, the pipeline of the Gemini Observatory.)

    Parameters
    ----------
    flags : list of N `~numpy.ndarray` of unsigned int, or None
        Flags of each image, or of a strip of it.
    masks : list of N `~numpy.ndarray` of bool, or None
        Samples that may not be used at all. What flags make bad is no part of it.
    classes : sequence of int
        Bits of each class, mildest first; see `class_bits`.
    ignored : int, optional
        Bits that do not make a sample bad; see `ignored_bits`.
    pixels : list of N `~numpy.ndarray`, optional
        Values: NaN and infinities are not good.

    Returns
    -------
    list of N `~numpy.ndarray` of bool, or None
        `True` where a sample is not to be used. New arrays, but for the masks of
        images without flags.

    Raises
    ------
    ValueError
        If the lists are not of one length.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.dq import least_bad
    >>> flags = [np.array([0, 2, 2], np.uint8), np.array([2, 2, 8], np.uint8)]
    >>> for mask in least_bad(flags, [None, None], classes=[2]):
    ...     print(mask)
    [False False False]
    [ True False  True]
    """
    pixels = [None] * len(flags) if pixels is None else pixels
    result, never = [], []
    for flag, mask, values in zip(flags, masks, pixels, strict=True):
        result.append(mask if flag is None else _either(dq_mask(flag, ignored), mask))
        never.append(_either(_absent(values), mask))
    hopeless = None
    for bad, absent in zip(result, never, strict=True):
        lost = _either(bad, absent)
        if lost is None:  # an image that is good everywhere
            return result
        hopeless = lost if hopeless is None else hopeless & lost
    place = np.nonzero([] if hopeless is None else hopeless)
    if not place[0].size:
        return result

    bits, banned = np.zeros((2, len(flags), place[0].size), np.uint32)
    for k, (flag, mask) in enumerate(zip(flags, never, strict=True)):
        if flag is not None:
            bits[k] = flag[place]
        if mask is not None:
            banned[k] = mask[place]
    allowed = ignored
    for more in classes:
        allowed |= more
        usable = ((bits & np.uint32(~allowed & _ALL)) | banned) == 0
        found = usable.any(axis=0)
        for k, flag in enumerate(flags):
            if flag is not None:
                result[k][tuple(axis[usable[k]] for axis in place)] = False
        bits, banned = bits[:, ~found], banned[:, ~found]
        place = tuple(axis[~found] for axis in place)
    return result


def _absent(values):
    if values is None or values.dtype.kind != "f":
        return None
    return ~np.isfinite(values)


def _either(one, other):
    if one is None or other is None:
        return other if one is None else one
    return one | other
