# Licensed under a 3-clause BSD style license - see LICENSE
"""Threads for what NumPy does frame by frame, beside the kernel."""

from concurrent.futures import ThreadPoolExecutor

from imcombiners_astro.planes import default_threads

__all__ = ["Workers"]


class Workers:
    """
    Some threads, among which lists are divided.

    Use it in a ``with`` statement.

    Parameters
    ----------
    n_threads : int or None
        How many; None: as many as the kernel takes.

    Examples
    --------
    >>> from imcombiners_astro.workers import Workers
    >>> with Workers(2) as workers:
    ...     workers.map(max, [1, 5, 3], [4, 2, 6])
    [4, 5, 6]
    """

    def __init__(self, n_threads=None):
        self._n = default_threads() if n_threads is None else n_threads
        self._pool = None
        if self._n > 1:
            self._pool = ThreadPoolExecutor(self._n - 1, "imcombiners-frames")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._pool is not None:
            self._pool.shutdown()

    def map(self, function, *lists):
        """
        Call a function for the items of lists of one length.

        Parameters
        ----------
        function : callable
            Takes one item of each list; releases the interpreter while it works.
        *lists : list
            The items.

        Returns
        -------
        list
            What the calls return, in order.
        """
        items = list(zip(*lists, strict=True))
        step = -(-len(items) // self._n)

        def part(start):
            return [function(*item) for item in items[start : start + step]]

        if self._pool is None or step == 0:
            return part(0) if step else []
        others = [
            self._pool.submit(part, start) for start in range(step, len(items), step)
        ]
        found = part(0)
        for other in others:
            found += other.result()
        return found
