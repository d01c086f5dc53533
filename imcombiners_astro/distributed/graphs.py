# Licensed under a 3-clause BSD style license - see LICENSE
"""Graphs of dask."""

import uuid

import dask
from dask.array.optimization import optimize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

__all__ = ["computed", "graph_of", "new_name"]


def new_name(what):
    """
    Make a name for tasks that no others have.

    Parameters
    ----------
    what : str
        What they do.

    Returns
    -------
    str
        The name.
    """
    return f"{what}-{uuid.uuid4().hex}"


def graph_of(name, tasks, arrays=()):
    """
    Make a graph of tasks.

    Parameters
    ----------
    name : str
        Their name.
    tasks : dict
        The tasks by their keys, ``(name, ...)``.
    arrays : sequence of `~dask.array.Array`, optional
        Collections that they depend on.

    Returns
    -------
    `~dask.highlevelgraph.HighLevelGraph`
        The graph.
    """
    return HighLevelGraph.from_collections(name, tasks, list(arrays))


def computed(graph, keys, **keywords):
    """
    Compute tasks; what each of them gives comes to this process as it is.

    Parameters
    ----------
    graph : `~dask.highlevelgraph.HighLevelGraph`
        The graph.
    keys : list of tuple
        Keys of tasks.
    **keywords
        For ``dask.compute``.

    Returns
    -------
    tuple
        What they give.

    Examples
    --------
    >>> from imcombiners_astro.distributed.graphs import computed, graph_of
    >>> tasks = {("largest", k): (max, [1, k]) for k in (0, 5)}
    >>> computed(graph_of("largest", tasks), list(tasks))
    (1, 5)
    """
    if keywords.get("optimize_graph", True):
        # as arrays, which keeps tasks together; the others would be told apart
        graph = optimize(graph, keys)
    name = new_name("imcombine-all")
    graph = graph_of(name, dict(graph))
    parts = [Delayed(key, graph, layer=name) for key in keys]
    return dask.compute(*parts, traverse=False, **keywords)
