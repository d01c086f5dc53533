# Licensed under a 3-clause BSD style license - see LICENSE
"""`combine` for dask: the graph of a combination."""

import inspect

import dask.array as da
import numpy as np
from astropy.nddata import CCDData

from imcombiners_astro.ccd import needs_variances, prepare
from imcombiners_astro.distributed.chunks import (
    Cutter,
    choose_chunks,
    keys_of,
    places,
)
from imcombiners_astro.distributed.graphs import computed, graph_of, new_name
from imcombiners_astro.distributed.lazy import Finish, Known, LazyCombination
from imcombiners_astro.distributed.sources import source_of
from imcombiners_astro.files import combine as local
from imcombiners_astro.files.mef import is_all
from imcombiners_astro.files.output import OUTPUT_KEYWORDS
from imcombiners_astro.options import check_method, check_options
from imcombiners_astro.products import total_nbytes
from imcombiners_astro.task import Task
from imcombiners_astro.workers import Workers

__all__ = ["combine"]

# Bytes of one task, if nothing is said. Small enough for several tasks on every worker
# of a usual cluster (2 GB for each core), large beside the work to open the files.
_TASK_NBYTES = 256e6
_MEM_LIMIT = inspect.signature(local.combine).parameters["mem_limit"].default

# Arguments of the other `combine` that have a meaning here.
_SUPPORTED = frozenset(
    """
    method weights scale mem_limit clip_extrema nlow nhigh minmax_clip minmax_clip_min
    minmax_clip_max sigma_clip sigma_clip_low_thresh sigma_clip_high_thresh
    sigma_clip_func sigma_clip_dev_func dtype combine_uncertainty_function n_threads
    blank rejectors zero statsec statsample thresholds uncertainty diagnostics gain
    readnoise snoise ignore_flags least_bad clip_scaled exposure effective_noise
    """.split()
)
# What to do about those that have none.
_INSTEAD = {
    "output_file": "call write(path) of the result",
    "overwrite_output": "it is an argument of write() of the result",
    "output_dtype": "write(path) of the result has the type of the result, dtype=",
    "array_package": "chunks are NumPy arrays",
    "progress_bar": "use dask.diagnostics.ProgressBar, or the dashboard of the cluster",
}
# Those that are not options of a combination.
_NOT_OPTIONS = (*OUTPUT_KEYWORDS, "array_package")


def combine(
    img_list, method="average", *, chunks=None, mask=None, mem_limit=None, **keywords
):
    """
    Combine images by dask, when the result is computed.

    The image is cut into chunks; a task combines a chunk of all images. The result is,
    bit for bit, that of `imcombiners_astro.combine`.

    Parameters
    ----------
    img_list : `~dask.array.Array`, list, str or path
        The N images:

        - a dask array of shape (N, *spatial);
        - a list of dask arrays of one shape, or of `~astropy.nddata.NDData` that hold
          dask arrays (data, mask and uncertainty), with header and WCS;
        - files: whatever stands for files in `imcombiners_astro.combine` (a list of
          paths, a pattern, an ``ImageFileCollection``). All workers must see them by
          the same absolute paths, and so must the process that makes the graph.
    method : {'average', 'median', 'sum'}, optional
        Statistic of the samples that are left at each pixel.
    chunks : int, tuple, "auto" or None, optional
        How to cut the image, as for dask arrays; the axis of the images is always
        whole. None is "auto": as many pixels as ``mem_limit`` allows, along the
        boundaries of the dask arrays where that is possible. Files are cut into whole
        rows only, and so are images in which rejectors grow (along the first axis).
    mask : `~dask.array.Array` or sequence of N, optional
        For dask arrays: True where a sample is bad, of shape (N, *spatial), or
        (*spatial) for all images. It adds to the masks that the images have (masked
        arrays included).
    mem_limit : float, optional
        Bytes of memory for one task, by default 256 MB, of which samples and results
        take up to half. A worker of n threads needs n times as much.
    **keywords
        All others of `imcombiners_astro.combine`, but for ``offsets`` and
        ``footprint``, ``output_file`` and what is about it, ``progress_bar``,
        ``array_package`` and ``hdu="all"``. ``n_threads`` are those of one task, by
        default 1. Functions must be of a kind that can be
        pickled by cloudpickle.

    Returns
    -------
    LazyCombination
        With dask arrays ``image``, ``mask``, ``uncertainty``, and of the diagnostics;
        ``compute()`` gives what `imcombiners_astro.combine` returns.

    Raises
    ------
    TypeError
        A keyword that has no meaning here, or an image that is in memory; with what to
        do instead.
    ValueError, OSError
        As `imcombiners_astro.combine`; and chunks that are not possible.

    Notes
    -----
    Everything that can be known without the pixels is checked when this is called;
    headers are read then. ``zero`` and ``scale`` by statistics of the images need a
    pass over the pixels of their own: that is computed when this is called, by the
    scheduler in force then, with a task for each image, which must fit into the memory
    of a worker. A stack that is cut through all images is turned round for this, and
    needs the memory of all workers together.

    Rejectors that grow need neighbours: chunks overlap by as many rows as the growth
    of all rejectors reaches.

    Examples
    --------
    >>> import dask.array as da
    >>> from imcombiners_astro import SigClip
    >>> from imcombiners_astro.distributed import combine
    >>> stack = da.random.default_rng(1).normal(
    ...     100, 5, size=(9, 400, 600), chunks=(9, 100, 600)
    ... )
    >>> master = combine(stack, unit="adu", rejectors=SigClip(3, stdfunc="mad"))
    >>> master.image
    dask.array<image-imcombine, shape=(400, 600), dtype=float64, ...>
    >>> bool(abs(master.compute().data.mean() - 100) < 0.1)
    True
    """
    check_method(method)
    given = dict(keywords, mem_limit=_MEM_LIMIT if mem_limit is None else mem_limit)
    bound = inspect.signature(local.combine).bind(img_list, method=method, **given)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    del arguments["img_list"]
    ccdkwargs = local.known_keywords(arguments.pop("ccdkwargs"))
    _refuse(arguments, ccdkwargs)

    source = source_of(img_list, mask, ccdkwargs.get("unit"))
    options = check_options(**arguments, n_frames=source.n_frames)
    options = options._replace(
        described=local.described(arguments), n_threads=options.n_threads or 1
    )
    wanted = {
        "want_uncertainty": bool(needs_variances(options)),
        "want_flags": options.extras.wants_flags,
    }
    with source.opened(wanted, ccdkwargs) as frames:
        prepared = prepare(frames, source.template(), options, _measure(source))
        known = _known(frames, options)
        task = Task(prepared.inputs, options, Workers(1), prepared.shown)
        limit = (_TASK_NBYTES if mem_limit is None else options.mem_limit) / 2
        chunks = _cut(chunks, source, task, limit)
        return _lazy(source, prepared, task, chunks, known)


def _refuse(arguments, ccdkwargs):
    """Refuse what has no meaning here; leave options of a combination."""
    if is_all(ccdkwargs):
        raise TypeError(
            "hdu='all' is not for a lazy combination: make one for each extension."
        )
    parameters = inspect.signature(local.combine).parameters
    for name in arguments.keys() - _SUPPORTED:
        if arguments[name] is not parameters[name].default:
            instead = _INSTEAD.get(name, "use imcombiners_astro.combine")
            raise TypeError(f"{name}= is not for a lazy combination: {instead}.")
    for name in _NOT_OPTIONS:
        del arguments[name]


def _measure(source):
    """Return a function that takes the statistics of the frames by dask."""

    def measure(measurement):
        tasks, arrays = source.measurements(measurement, name := new_name("levels"))
        found = computed(graph_of(name, tasks, arrays), list(tasks))
        joined = {}
        for name, first in found[0].items():
            values = [value for one in found for value in one[name]]
            joined[name] = np.array(values) if isinstance(first, np.ndarray) else values
        return joined

    return measure


def _known(frames, options):
    """Keep what the table of the frames needs, if there is to be one."""
    wants_table = options.extras.diagnostics is not None
    return [
        Known(frame.name, frame.unit, frame.header if wants_table else {})
        for frame in frames
    ]


def _cut(asked, source, task, limit):
    """Return how to cut the image, of which this task would be the whole."""
    plans, shape, whole = task.plans, task.shape, {}
    if plans.halo:
        reason = "growth is measured along all axes, and chunks share rows of the first"
        whole = dict.fromkeys(range(1, len(shape)), reason)
    if plans.pools_rows:
        whole[len(shape) - 1] = "AvSigClip measures the noise along whole rows"
    return choose_chunks(
        asked,
        shape,
        source.sample_nbytes() + _more_nbytes(task),
        limit,
        previous=source.previous_chunks,
        halo=plans.halo,
        whole=whole,
        runs=source.whole_rows,
    )


def _more_nbytes(task):
    """Bytes that a pixel takes beside its samples: products, and what work needs."""
    frames, options = task.inputs.frames, task.options
    n_frames = len(frames)
    nbytes = total_nbytes(task.products, 1, n_frames)
    if task.record is not None:
        nbytes += n_frames
    nbytes += task.past_nbytes * n_frames
    if options.clips_by_call or options.uncertainty_function is not None:
        nbytes += 32 * n_frames
    return nbytes + sum(16 for frame in frames if frame.unit_factor != 1)


def _lazy(source, prepared, task, chunks, known):
    """Make the graph."""
    inputs, options, halo = prepared.inputs, task.options, task.plans.halo
    dtypes = {
        "output_dq" if product.name == "dq" else product.name: product.dtype
        for product in task.products
    }
    cutter = Cutter(chunks, halo)
    stacks = [cutter.cut(stack) for stack in source.stacks]
    weights, transform = inputs.transform.weights, inputs.transform
    if weights is not None and weights.ndim > 1:
        transform = transform._replace(weights=None)
        weights = cutter.cut(da.from_array(weights, chunks=-1))
    else:
        weights = None
    # What the tasks do not need may be large.
    kept = options.weights if isinstance(options.weights, str) else None
    extras = options.extras._replace(zero=None)
    inputs = inputs._replace(frames=None, transform=transform)
    shown = prepared.shown
    shown.mask = None
    if shown.uncertainty is not None:  # of which the class is wanted
        shown.uncertainty = type(shown.uncertainty)(np.empty((0,) * len(chunks)))
    shown.data = np.empty((0,) * len(chunks))
    image = CCDData(shown.data, unit=shown.unit, uncertainty=shown.uncertainty)
    options_of_tasks = options._replace(weights=kept, scale=None, extras=extras)
    part = source.part(inputs, options_of_tasks, image)
    name = new_name("imcombine")
    layer = {
        (name, *index): (
            part,
            place,
            keys_of(weights, index),
            *(keys_of(stack, index) for stack in stacks),
        )
        for index, place in places(chunks, halo).items()
    }
    graph = graph_of(name, layer, cutter.arrays.values())
    prepared = prepared._replace(shown=shown, inputs=inputs)
    return LazyCombination(
        graph, name, Finish(prepared, known, options, chunks), dtypes
    )
