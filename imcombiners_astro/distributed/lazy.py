# Licensed under a 3-clause BSD style license - see LICENSE
"""The result of a combination that has not been done yet."""

import copy
from itertools import product
from typing import Any, NamedTuple

import dask.array as da
import dask.threaded
import numpy as np
from dask.array.optimization import optimize
from dask.base import DaskMethodsMixin
from dask.highlevelgraph import HighLevelGraph

from imcombiners_astro.ccd import assemble, frames_table_of
from imcombiners_astro.diagnostics import DIAGNOSTICS
from imcombiners_astro.distributed.graphs import computed, graph_of
from imcombiners_astro.files.output import check_output, write_output

__all__ = ["Finish", "Known", "LazyCombination"]

_PRODUCTS = ("image", "mask", "uncertainty", *DIAGNOSTICS)


class Known(NamedTuple):
    """
    What is kept of a frame for the table of the frames.

    Attributes
    ----------
    name : str
        Its name.
    unit : `~astropy.units.UnitBase`
        Unit of the image.
    header : mapping
        Its header.
    """

    name: str
    unit: Any
    header: Any


class Finish(NamedTuple):
    """
    How the parts of a combination are put together.

    Attributes
    ----------
    prepared : Prepared
        What is known beside the pixels; its image has no data.
    frames : list of Known
        The images.
    options : Options
        What was done.
    chunks : tuple of tuple of int
        How the image is cut, as dask tells it.
    """

    prepared: Any
    frames: list
    options: Any
    chunks: tuple

    def __call__(self, parts):
        """Return the combined image of its parts, in order."""
        arrays = {
            name: self._joined([part.arrays[name] for part in parts])
            for name in parts[0].arrays
        }
        table, n_pixels = None, arrays["mask"].size
        if parts[0].counts is not None:
            counts = sum(part.counts for part in parts)
            table = frames_table_of(self.prepared, self.frames, n_pixels, counts)
        shown = copy.deepcopy(self.prepared.shown)
        return assemble(shown, arrays, self.options, table)

    def _joined(self, blocks):
        shape = tuple(map(sum, self.chunks))
        leading = blocks[0].shape[: blocks[0].ndim - len(shape)]
        whole = np.empty((*leading, *shape), blocks[0].dtype)
        places = product(*map(_slices, self.chunks))
        for place, block in zip(places, blocks, strict=True):
            whole[(..., *place)] = block
        return whole


def _slices(sizes):
    stops = np.cumsum(sizes).tolist()
    return [slice(b - n, b) for n, b in zip(sizes, stops, strict=True)]


def _taken(part, name):
    """Take one array out of what a task has found."""
    return part.arrays["dq" if name == "output_dq" else name]


def _is_cube(name):
    return name in DIAGNOSTICS and DIAGNOSTICS[name].is_cube


class LazyCombination(DaskMethodsMixin):
    """
    A combination that is done when it is computed.

    `~imcombiners_astro.distributed.combine` makes it. It is a collection of dask, like
    a dask array: it has ``compute``, ``persist`` and ``visualize``, and can be given to
    ``dask.compute`` and to the ``compute`` of a ``distributed.Client``.

    Parameters
    ----------
    graph : `~dask.highlevelgraph.HighLevelGraph`
        The tasks.
    name : str
        Name of the parts.
    finish : Finish
        Puts them together.
    dtypes : dict of str to `~numpy.dtype`
        Names of the products that there are, and their types.

    Attributes
    ----------
    image : `~dask.array.Array`
        The combined image.
    mask : `~dask.array.Array` of bool
        True where no sample is left.
    uncertainty : `~dask.array.Array` or None
        Its uncertainty, of the class of that of the first image.
    output_dq, n_used, n_rejected_low, n_rejected_high, mask_rej, low, upp, std, nit
    output_flags, sample_flags : `~dask.array.Array` or None
        The diagnostics of `~imcombiners_astro.CombinedCCDData`, as far as they were
        asked for.
    shape, dtype, chunks, numblocks
        Those of `image`.
    header, wcs, unit
        Those of the result.

    Examples
    --------
    >>> import dask.array as da
    >>> from imcombiners_astro.distributed import combine
    >>> stack = da.ones((5, 40, 60), chunks=(5, 20, 30))
    >>> lazy = combine(stack, "median", unit="adu", chunks=(20, 30))
    >>> lazy
    <LazyCombination of 5 images: shape (40, 60), float64, 2 x 2 chunks>
    >>> lazy.image[:10, 0].sum().compute()
    np.float64(10.0)
    >>> lazy.compute().unit
    Unit("adu")
    """

    def __init__(self, graph, name, finish, dtypes):
        self._graph, self._name, self._finish = graph, name, finish
        self._dtypes = dtypes
        for product_name in _PRODUCTS:
            array = self._array(product_name) if product_name in dtypes else None
            setattr(self, product_name, array)

    def _array(self, name):
        """Return one of the products as a dask array."""
        leading = ((len(self._finish.frames),),) if _is_cube(name) else ()
        own = f"{name}-{self._name}"
        layer = {
            (own, *(0 for _ in leading), *key[1:]): (_taken, key, name)
            for key in self.__dask_keys__()
        }
        graph = graph_of(own, layer, [self])
        return da.Array(graph, own, leading + self.chunks, self._dtypes[name])

    chunks = property(lambda self: self._finish.chunks)
    numblocks = property(lambda self: tuple(map(len, self.chunks)))
    shape = property(lambda self: tuple(map(sum, self.chunks)))
    dtype = property(lambda self: self._dtypes["image"])
    header = property(lambda self: self._finish.prepared.shown.header)
    wcs = property(lambda self: self._finish.prepared.shown.wcs)
    unit = property(lambda self: self._finish.prepared.shown.unit)

    def __dask_graph__(self):
        return self._graph

    def __dask_keys__(self):
        return [(self._name, *index) for index in np.ndindex(self.numblocks)]

    def __dask_layers__(self):
        return (self._name,)

    def __dask_tokenize__(self):
        return self._name

    __dask_optimize__ = staticmethod(optimize)
    __dask_scheduler__ = staticmethod(dask.threaded.get)

    def __dask_postcompute__(self):
        return self._finish, ()

    def __dask_postpersist__(self):
        return _persisted, (self._name, self._finish, self._dtypes)

    def __repr__(self):
        n_chunks = " x ".join(map(str, self.numblocks))
        return (
            f"<LazyCombination of {len(self._finish.frames)} images: shape "
            f"{self.shape}, {self.dtype}, {n_chunks} chunks>"
        )

    def compute(self, **keywords):
        """
        Combine the images.

        Parameters
        ----------
        **keywords
            For ``dask.compute``, such as ``scheduler``.

        Returns
        -------
        `~astropy.nddata.CCDData`
            What `imcombiners_astro.combine` returns. It is put together here, not by a
            worker, which need not have the memory for it.
        """
        parts = computed(self._graph, self.__dask_keys__(), **keywords)
        return self._finish(parts)

    def write(self, output_file, overwrite_output=False, **keywords):
        """
        Compute, and write the result as `imcombiners_astro.combine` does.

        Parameters
        ----------
        output_file : str or path
            FITS file; it appears when it is complete, where this is called.
        overwrite_output : bool, optional
            Replace an existing file.
        **keywords
            For ``compute``, such as ``scheduler``.

        Returns
        -------
        `~astropy.nddata.CCDData`
            What was written.

        Raises
        ------
        OSError
            The file exists or cannot be written, known before the work starts.
        """
        check_output(output_file, overwrite_output)
        result = self.compute(**keywords)
        write_output(result, output_file, overwrite_output)
        return result


def _persisted(graph, name, finish, dtypes, *, rename=None):
    """Make a combination of parts that are computed."""
    name = (rename or {}).get(name, name)
    if not isinstance(graph, HighLevelGraph):
        graph = graph_of(name, dict(graph))
    return LazyCombination(graph, name, finish, dtypes)
