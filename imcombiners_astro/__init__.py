# Licensed under a 3-clause BSD style license - see LICENSE
"""
Fast combination of stacks of astronomical images.

`combine` takes the parameters of ``ccdproc.combine`` and gives its results. `Combiner`
and `ndcombine` do the same for plain arrays, with more ways to reject and diagnostics;
`imcombiners_astro.kernels` has the single operations.
"""

from importlib.metadata import version

from imcombiners_astro import kernels
from imcombiners_astro.combiner import Combiner
from imcombiners_astro.files.combine import combine
from imcombiners_astro.flags import OutputFlags, SampleFlags
from imcombiners_astro.kernels import (
    ccdclip,
    grow_mask,
    linearclip,
    minmax,
    nanaverage,
    pclip,
    sigclip,
)
from imcombiners_astro.ndcombine import ndcombine
from imcombiners_astro.padding import place_into_padded
from imcombiners_astro.rejectors import (
    AvSigClip,
    CcdClip,
    CrReject,
    LinearClip,
    MinMaxClip,
    PClip,
    Rejector,
    SigClip,
)
from imcombiners_astro.threads import (
    get_minmax_1d_parallel_threshold,
    get_parallel_threshold,
    get_rayon_num_threads,
    set_minmax_1d_parallel_threshold,
    set_parallel_threshold,
    set_rayon_num_threads,
)
from imcombiners_astro.zeroscale import resolve_zero_scale

__all__ = [
    "AvSigClip",
    "CcdClip",
    "Combiner",
    "CrReject",
    "LinearClip",
    "MinMaxClip",
    "OutputFlags",
    "PClip",
    "Rejector",
    "SampleFlags",
    "SigClip",
    "__version__",
    "ccdclip",
    "combine",
    "get_minmax_1d_parallel_threshold",
    "get_parallel_threshold",
    "get_rayon_num_threads",
    "grow_mask",
    "kernels",
    "linearclip",
    "minmax",
    "nanaverage",
    "ndcombine",
    "pclip",
    "place_into_padded",
    "resolve_zero_scale",
    "set_minmax_1d_parallel_threshold",
    "set_parallel_threshold",
    "set_rayon_num_threads",
    "sigclip",
]

__version__ = version("imcombiners_astro")
