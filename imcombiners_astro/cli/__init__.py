# Licensed under a 3-clause BSD style license - see LICENSE
"""The ``imcombine`` command.

Each subcommand is a module of this package with two functions: ``parse(words)``
turns the words of the command line into options (wrong usage ends the program with
exit code 2), and ``run(options)`` does the work. ``combine`` is the subcommand when
none is named. Only this package prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from imcombiners_astro.cli.common import (
    one_line,
    peak_memory,
    plain_messages,
    say,
)

__all__ = ["main", "peak_memory"]

SUBCOMMANDS = ("combine", "plan", "inspect", "demo")

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(words: Sequence[str] | None = None) -> int:
    """Run the command ``imcombine``.

    Parameters
    ----------
    words : sequence of str, optional
        The words after the name of the command; None takes those of this process.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 130 interrupted, 141 the reader of standard
        output has gone.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version`` (code 0), and if the usage is wrong
        (code 2).
    """
    words = list(sys.argv[1:] if words is None else words)
    subcommand = words.pop(0) if words and words[0] in SUBCOMMANDS else "combine"
    options = None
    try:
        try:
            module = import_module(f"{__name__}.{subcommand}")
            options = module.parse(words)
            with plain_messages(options):
                code = module.run(options)
        finally:
            # Also after --help: here it can still be told from a failure.
            sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if "--debug" in words or getattr(options, "debug", False):
            raise
        say(f"error: {one_line(error)}")
        return FAILED
    return code or 0
