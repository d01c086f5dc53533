# Licensed under a 3-clause BSD style license - see LICENSE
"""Reports for programs: ``--json FILE``."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import astropy
import numpy as np

import imcombiners_astro
from imcombiners_astro.atomic import check_free, replacing
from imcombiners_astro.cli.common import peak_memory
from imcombiners_astro.cli.names import plain_path
from imcombiners_astro.files.combine import combine
from imcombiners_astro.provenance import describe

#: Bytes that a combination may use if nothing is said.
DEFAULT_LIMIT = inspect.signature(combine).parameters["mem_limit"].default

__all__ = [
    "DEFAULT_LIMIT",
    "begin_report",
    "check_report",
    "frame_rows",
    "write_report",
]


def check_report(options: argparse.Namespace, others: Sequence[str]) -> None:
    """
    Check before the work that the report can be written.

    Parameters
    ----------
    options : argparse.Namespace
        With ``json`` and ``overwrite``.
    others : sequence of str
        Files that it must not replace.

    Raises
    ------
    ValueError, OSError
        If it is one of them, exists, or has no directory.
    """
    path = options.json
    if path in (None, "-"):
        return
    if os.path.realpath(path) in map(os.path.realpath, others):
        raise ValueError(f"--json {path}: this is one of the images")
    check_free(path, options.overwrite, "overwrite_output")
    directory = os.path.dirname(path) or os.curdir
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"--json {path}: no directory {directory!r}")


def begin_report(
    options: argparse.Namespace, files: Sequence[str], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is known before the work."""
    return {
        "program": "imcombine",
        "command": options.command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "failed",
        "error": None,
        "versions": {
            "imcombiners_astro": imcombiners_astro.__version__,
            "astropy": astropy.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "inputs": [{"name": name, "bytes": _size_of(name)} for name in files],
        "output": options.output,
        "options": {name: _value(value) for name, value in keywords.items()},
    }


def _size_of(name):
    try:
        return os.path.getsize(plain_path(name))
    except OSError:
        return None


def frame_rows(table) -> list[dict[str, Any]] | None:
    """Return the rows of the table of frames; None if there is none."""
    if table is None:
        return None
    return [{name: _value(row[name]) for name in table.colnames} for row in table]


def write_report(report: dict[str, Any], options: argparse.Namespace) -> None:
    """Add what happened, and write the report if one was asked for."""
    if options.json is None:
        return
    report["memory"] = {
        "limit": options.mem_limit or DEFAULT_LIMIT,
        "peak": peak_memory(),
        **report.get("memory", {}),
    }
    report["warnings"] = list(options.warnings)
    report["notes"] = list(options.notes)
    text = json.dumps(_finite(report), indent=2, ensure_ascii=False) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
        return
    with (
        replacing(options.json, options.overwrite) as name,
        open(name, "w", encoding="utf-8") as file,
    ):
        file.write(text)


def _value(value):
    """Return something JSON has a form for."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 10_000 else describe(value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return describe(value)


def _finite(value):
    """Return it without NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
