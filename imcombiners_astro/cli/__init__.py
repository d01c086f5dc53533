# Licensed under a 3-clause BSD style license - see LICENSE
"""The ``imcombine`` command.

Each subcommand is a module of this package with two functions: ``parse(words)``
turns the words of the command line into options (wrong usage ends the program with
exit code 2), and ``run(options)`` does the work. ``combine`` is the subcommand when
none is named. Only this package prints.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from astropy import log
from astropy.io.registry import IORegistryError

import imcombiners_astro

__all__ = ["main"]

SUBCOMMANDS = ("combine", "demo")

#: What the parameters of the library are called here.
WORDS = {
    "clip_extrema": "--clip-extrema",
    "dtype": "--dtype",
    "hdu": "--hdu",
    "mem_limit": "--mem-limit",
    "method": "--method",
    "minmax_clip": "--minmax",
    "minmax_clip_max": "MAX",
    "minmax_clip_min": "MIN",
    "n_threads": "--threads",
    "nhigh": "NHIGH",
    "nlow": "NLOW",
    "output_file": "--output",
    "overwrite_output": "--overwrite",
    "scale": "--scale",
    "sigma_clip": "--sigma-clip",
    "sigma_clip_dev_func": "--spread",
    "sigma_clip_func": "--center",
    "sigma_clip_high_thresh": "HIGH",
    "sigma_clip_low_thresh": "LOW",
    "unit": "--unit",
    "weights": "--weights",
}

#: What the library raises with a message for its user.
FORESEEN = (OSError, ValueError, TypeError, LookupError, IORegistryError)

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
        The exit code: 0 done, 1 failed, 130 interrupted.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version`` (code 0), and if the usage is wrong
        (code 2).
    """
    words = list(sys.argv[1:] if words is None else words)
    subcommand = words.pop(0) if words and words[0] in SUBCOMMANDS else "combine"
    try:
        module = import_module(f"{__name__}.{subcommand}")
        options = module.parse(words)
        with _plain_messages(options):
            module.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `imcombine demo | head -1`.
        # Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if "--debug" in words:
            raise
        _say(f"error: {_one_line(error)}")
        return FAILED
    return 0


def _say(text: str) -> None:
    print(f"imcombine: {text}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    # str() of a KeyError has quotes.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if isinstance(error, FORESEEN) and " " in text:
        return _in_words_of_the_shell(text)
    name = type(error).__name__
    return f"{name}: {' '.join(text.split())} (--debug shows where)"


def _in_words_of_the_shell(text: str) -> str:
    """Put a message of the library into one line and into options of the command."""

    def option(match):
        name, sign = match.groups()
        # "scale" without "=" is no parameter but a word.
        if sign is None and name in (
            "dtype",
            "hdu",
            "method",
            "scale",
            "unit",
            "weights",
        ):
            return name
        return WORDS[name] + (" " if sign == "=" else "")

    pattern = rf"\b({'|'.join(WORDS)})\b(=True\b|=(?!\s)|=)?"
    return " ".join(re.sub(pattern, option, text).split())


@contextmanager
def _plain_messages(options: argparse.Namespace) -> Iterator[None]:
    """Show every warning once and in one line, and no log of astropy.

    With ``--debug`` everything is shown as Python does it; with ``--quiet``
    nothing is.
    """
    if options.debug:
        yield
        return

    shown = set()

    def show(message, category, filename, lineno, file=None, line=None):
        text = _in_words_of_the_shell(str(message))
        if not options.quiet and text not in shown:
            shown.add(text)
            _say(f"warning: {text}")

    level = log.level
    log.setLevel("ERROR" if options.quiet else "WARNING")
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("default")
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", PendingDeprecationWarning)
            warnings.showwarning = show
            yield
    finally:
        log.setLevel(level)


# What the subcommands share.


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message):
        """End the program with exit code 2."""
        self.exit(2, f"imcombine: error: {message} (see {self.prog} --help)\n")


def add_threads(group: argparse._ActionsContainer) -> None:
    """Add the option --threads."""
    group.add_argument(
        "--threads", type=_threads, metavar="N", help="threads (default: all cores)"
    )


def add_messages(parser: Parser) -> argparse._ArgumentGroup:
    """Add the options that all subcommands have: what is printed."""
    group = parser.add_argument_group("messages")
    group.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing but errors"
    )
    group.add_argument("--no-progress", action="store_true", help="no progress bar")
    group.add_argument(
        "--debug", action="store_true", help="show where in the program an error arose"
    )
    group.add_argument(
        "--version",
        action="version",
        version=f"imcombine {imcombiners_astro.__version__}",
        help="print the version and exit",
    )
    return group


def _threads(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"1 or more is expected, not {text!r}")
    return int(text)


def progress_bar(options: argparse.Namespace, what: str) -> Callable | None:
    """Return a wrapper for iterables, or None if no bar is to be shown."""
    if options.quiet or options.no_progress or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return partial(tqdm, desc=what, leave=False, file=sys.stderr)


def peak_memory() -> int | None:
    """Largest memory that this process has had so far [bytes], None if unknown."""
    try:
        # Linux hands ru_maxrss of the parent on to its child; this is our own.
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
