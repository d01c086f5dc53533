# Licensed under a 3-clause BSD style license - see LICENSE
"""`accelerate_ccdproc`: this package in the place of two names of ccdproc."""

import functools
import sys
import threading
from importlib import import_module

from imcombiners_astro.ccdcombiner import CCDCombiner
from imcombiners_astro.errors import warn
from imcombiners_astro.files.combine import combine

__all__ = ["Acceleration", "accelerate_ccdproc"]

_PLACES = (
    ("ccdproc", "combine"),
    ("ccdproc", "Combiner"),
    ("ccdproc.combiner", "combine"),
    ("ccdproc.combiner", "Combiner"),
)

_lock = threading.RLock()
_active = set()
# (module, name) -> what ccdproc had there and what is there now.
_patched = {}


class Acceleration:
    """
    What `accelerate_ccdproc` returns: in force until `undo`, or the end of ``with``.

    Examples
    --------
    >>> import ccdproc
    >>> from imcombiners_astro import accelerate_ccdproc
    >>> acceleration = accelerate_ccdproc()
    >>> acceleration
    <Acceleration of ccdproc: in force>
    >>> acceleration.undo()
    >>> acceleration
    <Acceleration of ccdproc: undone>
    """

    def __init__(self):
        self._apply()

    def _apply(self):
        with _lock:
            if not _active:
                _patch()
            _active.add(self)

    def undo(self):
        """
        Give ccdproc back what it had.

        With several in force, the last one to be undone does it. Undoing twice is the
        same as once. A name to which somebody else has given another value meanwhile
        keeps that, with a warning.
        """
        with _lock:
            if self not in _active:
                return
            _active.remove(self)
            if not _active:
                _restore()

    def __enter__(self):
        self._apply()
        return self

    def __exit__(self, *_):
        self.undo()

    def __repr__(self):
        state = "in force" if self in _active else "undone"
        return f"<Acceleration of ccdproc: {state}>"


def accelerate_ccdproc():
    """
    Let ``ccdproc.combine`` and ``ccdproc.Combiner`` run on the kernels of this package.

    For pipelines that nobody can edit: `imcombiners_astro.combine` and
    `imcombiners_astro.CCDCombiner` take the place of ``ccdproc.combine``,
    ``ccdproc.Combiner``, ``ccdproc.combiner.combine`` and
    ``ccdproc.combiner.Combiner``, in the whole process and for all its threads.

    Returns
    -------
    Acceleration
        Its method ``undo()`` restores ccdproc. It is also a context manager, which
        does so at the end of the block.

    Notes
    -----
    Call it before the pipeline is imported. Where ``from ccdproc import Combiner`` was
    done before, the name keeps the class of ccdproc (and afterwards, where it was done
    meanwhile, the class of this package); so does a class derived from it.

    Calls may be nested. A process that is spawned starts with ccdproc as it is.

    Examples
    --------
    >>> import ccdproc
    >>> from imcombiners_astro import CCDCombiner, accelerate_ccdproc
    >>> with accelerate_ccdproc():
    ...     ccdproc.Combiner is CCDCombiner
    True
    >>> ccdproc.Combiner is CCDCombiner
    False

    or for the rest of the program:

    >>> acceleration = accelerate_ccdproc()
    >>> acceleration.undo()
    """
    return Acceleration()


def _patch():
    import_module("ccdproc.combiner")

    for module, name in _PLACES:
        theirs = getattr(sys.modules[module], name)
        ours = CCDCombiner if name == "Combiner" else _in_place_of(theirs)
        _patched[module, name] = theirs, ours
    CCDCombiner._replaced = _patched["ccdproc.combiner", "Combiner"][0]
    for (module, name), (_, ours) in _patched.items():
        setattr(sys.modules[module], name, ours)


def _restore():
    kept = []
    for (module, name), (theirs, ours) in _patched.items():
        if getattr(sys.modules[module], name, None) is ours:
            setattr(sys.modules[module], name, theirs)
        else:
            kept.append(f"{module}.{name}")
    _patched.clear()
    CCDCombiner._replaced = None
    if kept:
        warn(
            f"{' and '.join(kept)} got another value after accelerate_ccdproc() and "
            "keeps it."
        )


@functools.cache
def _in_place_of(theirs):
    """Our `combine`; what it leaves to ccdproc it looks up as ``__wrapped__``."""

    def accelerated(*args, **keywords):
        return combine(*args, **keywords)

    accelerated.__doc__ = combine.__doc__
    accelerated.__name__ = accelerated.__qualname__ = "combine"
    accelerated.__module__ = "ccdproc.combiner"
    accelerated.__wrapped__ = theirs
    return accelerated
