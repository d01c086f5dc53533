# Licensed under a 3-clause BSD style license - see LICENSE
"""
Combination by dask: lazily, chunk by chunk, on a machine or on many.

`combine` takes dask arrays or files, and most of the keywords of
`imcombiners_astro.combine`; what it returns computes the same bits.
"""

try:
    import dask.array  # noqa: F401
except ImportError as error:
    raise ImportError(
        "imcombiners_astro.distributed needs dask, which is not installed: "
        'pip install "imcombiners_astro[all]".'
    ) from error

from imcombiners_astro.distributed.combine import combine
from imcombiners_astro.distributed.lazy import LazyCombination

__all__ = ["LazyCombination", "combine"]
