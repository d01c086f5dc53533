# Licensed under a 3-clause BSD style license - see LICENSE
"""Which extension of a FITS file belongs to which of its images."""

__all__ = ["companion_of"]


def companion_of(found, names, image, only_same=False):
    """
    Choose what belongs to an image.

    Parameters
    ----------
    found : iterable of (str, int)
        Names and versions of HDUs, in order.
    names : sequence of str
        Names that it may have, the best first.
    image : (int, str, int)
        Number, name and version of the HDU of the image.
    only_same : bool, optional
        Whether it must have the version of the image.

    Returns
    -------
    (str, int) or `None`
        Of the best name that there is: the one of the version of the image, or else the
        first. The name may begin with name or number of the image: CHIP2_MASK, 2_MASK.
    """
    found = list(found)
    number, own, version = image
    for name in names:
        for begin in (f"{own}_", f"{number}_", ""):
            if (begin + name, version) in found:
                return begin + name, version
        same = [key for key in found if key[0] == name]
        if same and not only_same:
            return same[0]
    return None
