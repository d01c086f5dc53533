# Licensed under a 3-clause BSD style license - see LICENSE
"""Settings of the documentation."""

import datetime
import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

from sphinx_astropy.conf.v3 import *
from sphinx_astropy.conf.v3 import (
    exclude_patterns,
    extensions,
    intersphinx_mapping,
)

_pyproject = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]

# -- Project -----------------------------------------------------------------
project = _pyproject["name"]
author = _pyproject["authors"][0]["name"]
copyright = f"{datetime.datetime.now(tz=datetime.UTC).year}, {author}"
release = metadata.version(project)
version = ".".join(release.split(".")[:2])

# -- Reading the sources -----------------------------------------------------
needs_sphinx = "7.2"
highlight_language = "python3"
exclude_patterns += ["_build", "api/_build"]
# Tables that pages include.
exclude_patterns += ["performance/*", "uncertainty/*"]
intersphinx_mapping["ccdproc"] = (
    "https://ccdproc.readthedocs.io/en/stable/",
    None,
)
intersphinx_mapping["dask"] = ("https://docs.dask.org/en/stable/", None)

# Missing references are errors, except where no inventory can be fetched
# (-D disable_intersphinx=1 -D nitpicky=0).
nitpicky = True

# The classes are flat; the diagrams would only ask for graphviz.
automodapi_inheritance_diagram = False
automodapi_toctreedirnm = "api"
numpydoc_show_class_members = False

# -- HTML --------------------------------------------------------------------
html_title = f"{project} {release}"
html_theme_options = {}
if os.environ.get("READTHEDOCS") != "True":
    # The social cards of sphinxext-opengraph want the address of the site.
    extensions = [e for e in extensions if e != "sphinxext.opengraph"]


def _escape_stars(app, what, name, obj, options, lines):
    r"""Let "(N, *shape)" in a docstring be a shape, not the start of an emphasis."""
    lines[:] = [
        re.sub(r"(?<![`*\\])\*(shape|spatial)\b", r"\\*\1", line) for line in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", _escape_stars)
