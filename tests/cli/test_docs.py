# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page on the command says what the command says.

``python tests/cli/test_docs.py`` writes the texts of ``--help`` into the page.
"""

import contextlib
import io
import os
import re
import tomllib
from pathlib import Path

import pytest

from imcombiners_astro.cli import main
from imcombiners_astro.cli.combine import parse
from imcombiners_astro.cli.irafwords import PARAMETERS

PAGE = Path(__file__).parents[2] / "docs" / "imcombine.rst"
BLOCK = re.compile(
    r"(?<=^\.\. help: )(?P<name>(?!end\b)\w+)\n(?P<text>.*?)(?=^\.\. help: end$)",
    re.M | re.S,
)


def help_of(name):
    """Text of --help of a subcommand, as the page has it."""
    text = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            main([name, "--help"])
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    text = text.getvalue()
    if name in ("plan", "inspect"):
        # The options of combine are shown once.
        first = {"plan": "files", "inspect": "combination"}[name]
        start = text.index(f"\n{first}:\n")
        end = text.index({"plan": "\ntime:\n", "inspect": "\nexamples:\n"}[name])
        text = text[:start] + text[end:]
    return text


def block(name):
    lines = [f"   {line}".rstrip() for line in help_of(name).splitlines()]
    return "\n.. code-block:: text\n\n" + "\n".join(lines) + "\n\n"


@pytest.fixture(scope="module")
def page():
    if not PAGE.exists():
        pytest.skip("no documentation beside the tests")
    return PAGE.read_text(encoding="utf-8")


def test_help(page):
    found = {match["name"]: match["text"] for match in BLOCK.finditer(page)}
    assert set(found) == {"combine", "plan", "inspect", "demo"}
    for name, text in found.items():
        # Versions of Python may break lines in other places.
        assert text.split() == block(name).split(), f"run {Path(__file__).name}"


def test_every_word_of_iraf_is_on_the_page(page):
    section = page.partition(".. _imcombine-iraf:")[2].partition("Reference\n---")[0]
    for name in PARAMETERS:
        assert f"``{name}``" in section


def test_example_of_a_file_of_options(page, tmp_path):
    text = page.partition(".. code-block:: toml\n")[2].partition(".. code-block")[0]
    path = tmp_path / "flat.toml"
    path.write_text(text.replace("\n   ", "\n"))
    table = tomllib.loads(path.read_text())
    options = parse(["--config", str(path)])
    assert options.files == table["files"]
    assert options.output == table["output"]
    assert options.sigma_clip == (4, 3)


def test_screens(page, frames, capsys):
    """The rows of the screens are those that are printed."""

    def names(text):
        return re.findall(r"^ +([a-z]+(?: [a-z]+)?)  +\S", text, re.MULTILINE)

    assert main([*frames, "-o", "out.fits", "--sigma-clip", "-v"]) == 0
    printed = names(capsys.readouterr().err)
    readme = PAGE.parents[1] / "README.md"
    for path, mark in (PAGE, "\n\n"), (readme, "```"):
        text = path.read_text(encoding="utf-8")
        screen = text.partition("$ imcombine night -o master.fits --sigma-clip\n")[2]
        assert names(screen.partition(mark)[0]) == printed


def write():
    text = PAGE.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda m: f"{m['name']}\n{block(m['name'])}", text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
