# Licensed under a 3-clause BSD style license - see LICENSE
"""
Fast combination of stacks of astronomical images.

`combine` takes the parameters of ``ccdproc.combine`` and gives its results. `Combiner`
and `ndcombine` do the same for plain arrays, with more ways to reject and diagnostics;
`imcombiners_astro.kernels` has the single operations and `imcombiners_astro.iraf` the
parameters of IRAF's imcombine. `CCDCombiner` is ccdproc's Combiner, and
`accelerate_ccdproc` puts it and `combine` in ccdproc's place. `imcombiners_astro.plots`
draws what happened.
"""

from importlib import import_module
from importlib.metadata import version

# Imported when first used: a script that combines files need not wait for the rest.
_MODULES = {
    "ccdcombiner": ("CCDCombiner",),
    "combiner": ("Combiner",),
    "files.collection": ("combine_collection",),
    "files.combine": ("combine",),
    "flags": ("OUTPUT_FLAG_MAP", "SAMPLE_FLAG_MAP", "OutputFlags", "SampleFlags"),
    "kernels": (
        "ccdclip",
        "grow_mask",
        "linearclip",
        "minmax",
        "nanaverage",
        "pclip",
        "sigclip",
    ),
    "ndcombination": ("ndcombine",),
    "padding": ("place_into_padded",),
    "patching": ("accelerate_ccdproc",),
    "rejectors": (
        "AvSigClip",
        "CcdClip",
        "CrReject",
        "LinearClip",
        "MinMaxClip",
        "PClip",
        "Rejector",
        "SigClip",
    ),
    "result": ("CombinedCCDData",),
    "threads": (
        "get_minmax_1d_parallel_threshold",
        "get_parallel_threshold",
        "get_rayon_num_threads",
        "set_minmax_1d_parallel_threshold",
        "set_parallel_threshold",
        "set_rayon_num_threads",
    ),
    "zeroscale": ("resolve_zero_scale",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
_SUBPACKAGES = ("iraf", "kernels", "plots")
_NEED_MORE = ("distributed",)  # than this package needs; not for "import *"

__all__ = ["__version__", *_SUBPACKAGES, *_MODULE_OF]

__version__ = version("imcombiners_astro")


def __getattr__(name):
    if name in _SUBPACKAGES + _NEED_MORE:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *__all__, *_NEED_MORE})
