# Licensed under a 3-clause BSD style license - see LICENSE
"""
Draw the figures of the documentation with the code of its pages.

The examples of a page are run in order. Whatever name of theirs ends in ``_figure`` is
written beside this file: ``a_figure`` of ``page.rst`` as ``page_a.png``.

    python docs/figures/draw.py
"""

import doctest
import io
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PAGES = ("diagnostics_tutorial", "reduction_guide")
DPI, COLOURS = 80, 256


def run(path):
    """
    Run the examples of a page.

    Parameters
    ----------
    path : Path
        The page.

    Returns
    -------
    dict
        The names that the examples have defined.
    """
    names = {}
    text = path.read_text(encoding="utf-8")
    for example in doctest.DocTestParser().get_examples(text):
        code = compile(example.source, f"{path.name}:{example.lineno + 1}", "single")
        exec(code, names)
    return names


def save(figure, path):
    """
    Write a figure as a small PNG file.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        The figure.
    path : Path
        The file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    image = Image.open(buffer).convert("RGB")
    # Rare colours count: single pixels of a map.
    method, no = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    image.quantize(COLOURS, method, dither=no).save(path, optimize=True)


def main(pages):
    """Draw the figures of some pages."""
    for page in pages:
        names = run(HERE.parent / f"{page}.rst")
        for name, value in names.items():
            if name.endswith("_figure"):
                path = HERE / f"{page}_{name.removesuffix('_figure')}.png"
                save(value, path)
                print(f"{path.stat().st_size:7d} bytes  {path.name}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:] or PAGES)
