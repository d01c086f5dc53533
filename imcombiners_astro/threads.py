# Licensed under a 3-clause BSD style license - see LICENSE
"""
How many threads the kernels use, and from which size on.

Results never depend on any of this. Three environment variables set the defaults:
``RAYON_NUM_THREADS``, ``IMCOMBINERS_PARALLEL_THRESHOLD`` and
``IMCOMBINERS_MINMAX_1D_PARALLEL_THRESHOLD``; they are read when they are first needed.
"""

import operator
import os

from imcombiners_astro import planes

__all__ = [
    "get_minmax_1d_parallel_threshold",
    "get_parallel_threshold",
    "get_rayon_num_threads",
    "set_minmax_1d_parallel_threshold",
    "set_parallel_threshold",
    "set_rayon_num_threads",
    "threads_for",
]

PARALLEL = "IMCOMBINERS_PARALLEL_THRESHOLD"
MINMAX_1D = "IMCOMBINERS_MINMAX_1D_PARALLEL_THRESHOLD"

# Handing work to other threads costs about as much as combining this many pixels.
DEFAULTS = {PARALLEL: 10_000, MINMAX_1D: 65_536}

_chosen = {}


def positive(name, value):
    """Return ``value`` as a positive integer."""
    try:
        number = operator.index(value)
    except TypeError:
        found = f"{name}: found {value!r}, expected a positive integer"
        raise TypeError(found) from None
    if number < 1:
        raise ValueError(f"{name}: found {number}, expected a positive integer")
    return number


def threshold(variable):
    """Return what was chosen, else the environment variable, else the default."""
    if variable not in _chosen:
        text = os.environ.get(variable)
        try:
            number = DEFAULTS[variable] if text is None else int(text)
        except ValueError:
            found = f"environment variable {variable}: found {text!r}"
            raise ValueError(f"{found}, expected a positive integer") from None
        _chosen[variable] = positive(f"environment variable {variable}", number)
    return _chosen[variable]


def threads_for(n_pixels):
    """Return the ``n_threads`` of a kernel call that writes ``n_pixels`` pixels."""
    return 1 if n_pixels < threshold(PARALLEL) else None


def get_rayon_num_threads():
    """
    Return the number of threads that the kernels use.

    Returns
    -------
    int
        What `set_rayon_num_threads` was given, else ``RAYON_NUM_THREADS``, else the
        number of processors available.

    Examples
    --------
    >>> from imcombiners_astro import get_rayon_num_threads
    >>> get_rayon_num_threads() >= 1
    True
    """
    return planes.default_threads()


def set_rayon_num_threads(num_threads):
    """
    Set the number of threads that the kernels use.

    Parameters
    ----------
    num_threads : int
        At least 1. It may be changed at any time.

    Raises
    ------
    ValueError
        If ``num_threads`` is smaller than 1.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> from imcombiners_astro import get_rayon_num_threads, set_rayon_num_threads
    >>> before = get_rayon_num_threads()
    >>> set_rayon_num_threads(2)
    >>> get_rayon_num_threads()
    2
    >>> set_rayon_num_threads(before)
    """
    planes.set_default_threads(positive("num_threads", num_threads))


def get_parallel_threshold():
    """
    Return the number of output pixels from which on several threads are used.

    Returns
    -------
    int
        What `set_parallel_threshold` was given, else
        ``IMCOMBINERS_PARALLEL_THRESHOLD``, else 10000.

    Examples
    --------
    >>> from imcombiners_astro import get_parallel_threshold
    >>> get_parallel_threshold()
    10000
    """
    return threshold(PARALLEL)


def set_parallel_threshold(threshold):
    """
    Set the number of output pixels from which on several threads are used.

    Parameters
    ----------
    threshold : int
        At least 1. A stack (N, H, W) is compared by its H * W pixels.

    Raises
    ------
    ValueError
        If ``threshold`` is smaller than 1.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> from imcombiners_astro import get_parallel_threshold, set_parallel_threshold
    >>> set_parallel_threshold(5000)
    >>> get_parallel_threshold()
    5000
    >>> set_parallel_threshold(10000)
    """
    _chosen[PARALLEL] = positive("threshold", threshold)


def get_minmax_1d_parallel_threshold():
    """
    Return the length from which on 1-D minima and maxima use several threads.

    Returns
    -------
    int
        What `set_minmax_1d_parallel_threshold` was given, else
        ``IMCOMBINERS_MINMAX_1D_PARALLEL_THRESHOLD``, else 65536.

    Examples
    --------
    >>> from imcombiners_astro import get_minmax_1d_parallel_threshold
    >>> get_minmax_1d_parallel_threshold()
    65536
    """
    return threshold(MINMAX_1D)


def set_minmax_1d_parallel_threshold(threshold):
    """
    Set the length from which on 1-D minima and maxima use several threads.

    Parameters
    ----------
    threshold : int
        At least 1.

    Raises
    ------
    ValueError
        If ``threshold`` is smaller than 1.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> import imcombiners_astro as imc
    >>> imc.set_minmax_1d_parallel_threshold(100000)
    >>> imc.get_minmax_1d_parallel_threshold()
    100000
    >>> imc.set_minmax_1d_parallel_threshold(65536)
    """
    _chosen[MINMAX_1D] = positive("threshold", threshold)
