# Licensed under a 3-clause BSD style license - see LICENSE
"""FITS files are made of blocks of 2880 bytes."""

__all__ = ["BLOCK", "padded"]

BLOCK = 2880


def padded(nbytes):
    """
    Fill up the last block.

    Parameters
    ----------
    nbytes : int
        Bytes of a header or of data.

    Returns
    -------
    int
        Bytes that they take in a file.

    Examples
    --------
    >>> from imcombiners_astro.files.blocks import padded
    >>> padded(0), padded(1), padded(2880)
    (0, 2880, 2880)
    """
    return -(-nbytes // BLOCK) * BLOCK
