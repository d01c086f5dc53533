# Licensed under a 3-clause BSD style license - see LICENSE
"""What the subcommands share: the parser, messages, the progress bar, memory."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from astropy import log
from astropy.io.registry import IORegistryError

import imcombiners_astro

__all__ = [
    "ENVIRONMENT",
    "EXIT_CODES",
    "FORESEEN",
    "Help",
    "Parser",
    "Switch",
    "add_messages",
    "add_threads",
    "format_rows",
    "format_size",
    "in_words_of_the_shell",
    "one_line",
    "peak_memory",
    "plain_messages",
    "progress_bar",
    "say",
]

#: What the library raises with a message for its user.
FORESEEN = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    IORegistryError,
    ImportError,
)

EXIT_CODES = """\
exit codes:
  0    done
  1    failed: one line on standard error says why, and OUT is as it was
  2    wrong usage
  130  interrupted (Ctrl-C)
  141  the reader of standard output has gone, as in `imcombine demo | head -1`
"""

ENVIRONMENT = """\
environment:
  RAYON_NUM_THREADS   threads, where --threads is not given
  IMCOMBINERS_SIMD    base, avx2 or avx512: instructions to use (default: the
                      best there are; the result does not depend on it)
  COLUMNS             width of this text and of the progress bar
"""

#: What the parameters of the library are called here.
WORDS = {
    "clip_extrema": "--clip-extrema",
    "clip_scaled": "--clip-scaled",
    "diagnostics": "--diagnostics",
    "dtype": "--dtype",
    "effective_noise": "--effective-noise",
    "exposure": "--exposure",
    "footprint": "--footprint",
    "gain": "--gain",
    "groupby": "--groupby",
    "hdu": "--hdu",
    "hdu_flags": "--hdu-flags",
    "hdu_mask": "--hdu-mask",
    "hdu_uncertainty": "--hdu-uncertainty",
    "ignore_flags": "--ignore-flags",
    "least_bad": "--least-bad",
    "mem_limit": "--mem-limit",
    "method": "--method",
    "minmax_clip": "--minmax",
    "minmax_clip_max": "MAX",
    "minmax_clip_min": "MIN",
    "n_threads": "--threads",
    "nhigh": "NHIGH",
    "nlow": "NLOW",
    "offsets": "--offsets",
    "output_checksum": "--output-checksum",
    "output_compression": "--output-compression",
    "output_dtype": "--output-dtype",
    "output_file": "--output",
    "overwrite_output": "--overwrite",
    "readnoise": "--readnoise",
    "rejectors": "--reject",
    "scale": "--scale",
    "sigma_clip": "--sigma-clip",
    "sigma_clip_dev_func": "--spread",
    "sigma_clip_func": "--center",
    "sigma_clip_high_thresh": "HIGH",
    "sigma_clip_low_thresh": "LOW",
    "snoise": "--snoise",
    "statsample": "--statsample",
    "statsec": "--statsec",
    "thresholds": "--thresholds",
    "uncertainty": "--uncertainty",
    "unit": "--unit",
    "weights": "--weights",
    "zero": "--zero",
}
# Those that no other word of a message looks like.
_NO_OTHER_WORD = frozenset(
    name
    for name in WORDS
    if "_" in name or name in ("readnoise", "rejectors", "snoise", "statsec")
)


def in_words_of_the_shell(text: str) -> str:
    """Put a message of the library into one line and into options of the command."""

    def option(match):
        name, sign = match.groups()
        # "scale" without "=" is no parameter but a word; "gain: found" is one.
        if sign is None and name not in _NO_OTHER_WORD:
            return name
        after = match.string[match.end() :][:1]
        between = "" if after in ",;.)" else " "
        return WORDS[name] + {"=": between, ":": ":"}.get(sign, "")

    names = "|".join(sorted(WORDS, key=len, reverse=True))
    text = re.sub(rf"^({names})\b(:)", option, text)
    pattern = rf"(?<!-)\b({names})\b(=True\b|=(?!\s)|=)?"
    return " ".join(re.sub(pattern, option, text).split())


def one_line(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    # str() of a KeyError has quotes.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = " ".join([text, *getattr(error, "__notes__", ())])
    if isinstance(error, FORESEEN) and " " in text:
        return in_words_of_the_shell(text)
    name = type(error).__name__
    return f"{name}: {' '.join(text.split())} (--debug shows where)"


def say(text: str) -> None:
    """Print a line about what happens."""
    print(f"imcombine: {text}", file=sys.stderr)


@contextmanager
def plain_messages(options: argparse.Namespace) -> Iterator[None]:
    """
    Show every warning once and in one line, and no log of astropy.

    All of them are kept in ``options.warnings``. With ``--debug`` everything is shown
    as Python does it; with ``--quiet`` nothing is.
    """
    options.warnings = kept = []
    # They are part of what the subcommand prints itself.
    held = getattr(options, "holds_warnings", False)
    as_python_does = warnings.showwarning

    def show(message, category, filename, lineno, file=None, line=None):
        text = in_words_of_the_shell(str(message))
        if options.debug:
            as_python_does(message, category, filename, lineno, file, line)
        elif not (options.quiet or held or text in kept):
            say(f"warning: {text}")
        if text not in kept:
            kept.append(text)

    level = log.level
    if not options.debug:
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


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that looks the same in every version of Python."""

    def __init__(self, prog, indent_increment=2, max_help_position=26, width=None):
        if width is None:
            columns = os.environ.get("COLUMNS", "")
            width = int(columns) if columns.isdecimal() else _width_of_terminal()
            width = min(max(width, 50), 88) - 2
        super().__init__(prog, indent_increment, max_help_position, width)

    def _fill_text(self, text, width, indent):
        # One line is a paragraph to be wrapped, several are as they shall be.
        if "\n" not in text.strip():
            return argparse.HelpFormatter._fill_text(self, text, width, indent)
        return super()._fill_text(text, width, indent)

    def _split_lines(self, text, width):
        return textwrap.wrap(
            " ".join(text.split()),
            width,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _format_action_invocation(self, action):
        # "-o, --output OUT" as from Python 3.13 on.
        if isinstance(action, Switch):
            *short, name = action.shown
            return ", ".join([*short, name.replace("--", "--[no-]", 1)])
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        values = self._format_args(action, action.dest.upper())
        return f"{', '.join(action.option_strings)} {values}"


def _width_of_terminal():
    try:
        # Some terminals do not know their size and say 0.
        return os.get_terminal_size().columns or 80
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """
    A parser whose errors take one line.

    Attributes
    ----------
    source : str
        The file that the words come from, for errors; "" for the command line.
    """

    def __init__(self, **keywords):
        super().__init__(formatter_class=Help, allow_abbrev=False, **keywords)
        self.source = ""

    def error(self, message):
        """End the program with exit code 2."""
        message = message.replace("argument ", "", 1) if self.source else message
        if message.startswith("unrecognized arguments: -"):
            message += self._suggestion(message.split()[2])
        where = f"{self.source}: " if self.source else ""
        self.exit(2, f"imcombine: error: {where}{message} (see {self.prog} --help)\n")

    def _suggestion(self, word):
        """Name an option like this one, if there is one."""
        option = word.partition("=")[0]
        near = difflib.get_close_matches(option, self._option_string_actions, 1, 0.7)
        return f"; did you mean {near[0]}?" if near else ""

    def _print_message(self, message, file=None):
        # argparse would hide that nobody reads it.
        if message:
            (file or sys.stderr).write(message)


def add_threads(group: argparse._ActionsContainer) -> None:
    """Add the option --threads."""
    group.add_argument(
        "--threads",
        dest="n_threads",
        type=_threads,
        metavar="N",
        help="threads (default: all cores); the result does not depend on it",
    )


def add_messages(parser: Parser) -> argparse._ArgumentGroup:
    """Add the options that all subcommands have: what is printed."""
    group = parser.add_argument_group("messages")
    group.add_argument("-q", "--quiet", action=Switch, help="print nothing but errors")
    group.add_argument(
        "--progress",
        action=Switch,
        help="a progress bar (default: on a terminal, if tqdm is installed)",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        help="show where in the program an error arose, and warnings as Python does",
    )
    group.add_argument(
        "--version",
        action="version",
        version=f"imcombine {imcombiners_astro.__version__}",
        help="print the version and exit",
    )
    group.add_argument("-h", "--help", action="help", help="print this and exit")
    return group


class Switch(argparse.Action):
    """An option without a value, and its opposite with ``--no-``."""

    def __init__(self, option_strings, dest, help=None, default=None):
        self.shown = list(option_strings)
        opposite = [f"--no-{o[2:]}" for o in option_strings if o.startswith("--")]
        super().__init__([*option_strings, *opposite], dest, 0, default=default)
        self.help = help

    def __call__(self, parser, namespace, values, option_string=None):
        """Set it."""
        setattr(namespace, self.dest, not option_string.startswith("--no-"))

    def format_usage(self):
        """Write it for the usage."""
        return self.shown[0]


def _threads(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"1 or more is expected, not {text!r}")
    return int(text)


def progress_bar(options: argparse.Namespace, what: str) -> Callable | None:
    """
    Return a wrapper for iterables, or None if no bar is to be shown.

    Raises
    ------
    ImportError
        If one is asked for, and tqdm is not installed.
    """
    wanted = options.progress
    if wanted is None:
        wanted = not options.quiet and sys.stderr.isatty()
    if not wanted:
        return None
    try:
        from tqdm import tqdm
    except ImportError as error:
        if options.progress:
            raise ImportError(
                "--progress needs tqdm, which is not installed: "
                'pip install "imcombiners_astro[all]"'
            ) from error
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


def format_rows(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns: names and values."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def format_size(nbytes: float) -> str:
    """Bytes in the largest unit that leaves a number of 1 or more."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if nbytes >= 0.9995 * 10**power:
            number = nbytes / 10**power
            digits = max(0, 2 - int(math.log10(max(number, 1))))
            return f"{number:.{digits}f} {unit}"
    return f"{nbytes:.0f} bytes"
