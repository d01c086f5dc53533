# Licensed under a 3-clause BSD style license - see LICENSE
"""The architecture, read from the sources: who may import whom, and what."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "imcombiners_astro"
LICENCE = "# Licensed under a 3-clause BSD style license - see LICENSE"

# A module imports only from its own room and from those above it in this list.
# A new module gets its place here first.  "files" and "cli" are packages.
ROOMS = [
    {"errors", "flags", "arguments", "atomic"},
    {"planes"},
    {"threads", "samples", "stacks", "rejectors", "zeroscale", "padding"},
    {"kernels"},
    {"combiner", "ndcombination"},
    {
        *("variances", "dq", "strip", "memory_frames", "frames", "places"),
        *("headers", "sections", "noise", "levels", "normalization"),
        *("obstimes", "provenance"),
        *("clipfuncs", "extras", "options", "uncertainty", "offsets"),
        *("pieces", "cutting", "planning", "stages", "products", "records"),
        *("workers", "task"),
        "ccd",
        *("companions", "diagnostics", "result", "result_fits", "result_info"),
        *("ccdstack", "ccdrequest", "ccdcombiner"),
    },
    {"files"},
    {
        *("iraf", "iraf_frames", "cli", "distributed", "plots", "simulate"),
        *("patching", "pixel", "pixelplot"),
    },
]
ROOM_OF = {name: number for number, room in enumerate(ROOMS) for name in room}

ARRAY_ROOMS = set.union(*ROOMS[:5])
# The result writes its products into FITS extensions and reads them back.
FITS_ROOMS = {"result", "result_fits", "files", "iraf", "cli"}
SHELL_ROOMS = {"cli"}

SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
if not SOURCES:
    pytest.skip("no source folder beside the tests", allow_module_level=True)


def relative(path):
    return path.relative_to(ROOT).as_posix()


def room(path):
    """Return the name the module has in ROOMS ("" for the package itself)."""
    top = path.relative_to(ROOT / PACKAGE).parts[0]
    return "" if top == "__init__.py" else top.removesuffix(".py")


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path):
    """Yield (line, absolute dotted name) of everything the module imports.

    ``from a import b`` gives "a.b", because b may be a module.
    """
    package = (PACKAGE, *path.relative_to(ROOT / PACKAGE).parts[:-1])
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [*package[: len(package) - node.level + 1], *base]
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def own_imports(path):
    """Yield (line, name in ROOMS) of what the module imports of the package."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == PACKAGE:
            yield line, parts[1] if len(parts) > 1 else ""


def is_below(name, *packages):
    return any(name == p or name.startswith(p + ".") for p in packages)


@pytest.fixture(params=SOURCES, ids=relative)
def source(request):
    return request.param


def test_the_modules_have_a_room():
    homeless = {room(path) for path in SOURCES} - set(ROOM_OF) - {""}
    assert not homeless, f"give these modules a room in {relative(Path(__file__))}"


def test_the_rooms_are_those_of_the_page():
    assert set(ROOM_OF) == {room(path) for path in SOURCES} - {"", "_core"}
    page = (ROOT / "docs" / "development" / "architecture.rst").read_text("utf-8")
    names = set(re.findall(r"``(\w+)``", page.partition("Rooms of the Python")[2]))
    files = {path.stem for path in SOURCES if room(path) == "files"} - {"__init__"}
    assert not ((set(ROOM_OF) | files) - names)


def test_imports_go_up_only(source):
    if room(source) == "":
        return  # the package itself shows what all the rooms offer
    here = ROOM_OF[room(source)]
    wrong = []
    for line, name in own_imports(source):
        if name == "_core":
            continue  # has a test of its own
        # What is not a room is a name of the package itself, which shows
        # everything up to the files; only the last room stands above it.
        if ROOM_OF.get(name, len(ROOMS) - 1) > here:
            wrong.append(f"{relative(source)}:{line} imports {name or PACKAGE}")
    assert not wrong


def test_only_planes_imports_the_extension(source):
    wrong = [
        f"{relative(source)}:{line}"
        for line, name in own_imports(source)
        if name == "_core" and room(source) != "planes"
    ]
    assert not wrong


def test_array_rooms_know_no_astronomy(source):
    if room(source) not in ARRAY_ROOMS:
        return
    wrong = [
        f"{relative(source)}:{line} imports {name}"
        for line, name in imports(source)
        if is_below(name, "astropy", "ccdproc")
        # bit flags and warnings are no astronomy
        and not is_below(name, "astropy.nddata.bitmask", "astropy.utils")
    ]
    assert not wrong


def test_fits_stays_in_its_rooms(source):
    if room(source) in FITS_ROOMS:
        return
    wrong = [
        f"{relative(source)}:{line} imports {name}"
        for line, name in imports(source)
        if is_below(name, "astropy.io")
    ]
    assert not wrong


def test_only_the_shell_talks(source):
    if room(source) in SHELL_ROOMS:
        return
    wrong = [
        f"{relative(source)}:{line} imports {name}"
        for line, name in imports(source)
        if is_below(name, "argparse")
    ]
    wrong += [
        f"{relative(source)}:{node.lineno} prints"
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not wrong


def test_public_modules_have_all(source):
    if source.name.startswith("_") and source.name != "__init__.py":
        return
    body = parse(source).body
    if all(isinstance(node, ast.Expr) for node in body):
        return  # a docstring only: nothing is public
    names = {
        target.id
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in getattr(node, "targets", None) or [node.target]
        if isinstance(target, ast.Name)
    }
    assert "__all__" in names


def test_kernels_know_nothing_of_python():
    manifest = ROOT / "rust" / "kernels" / "Cargo.toml"
    forbidden = {"pyo3", "numpy", "ndarray"}

    def dependencies(table):
        for key, value in table.items():
            if key.endswith("dependencies"):
                for name, spec in value.items():
                    yield name
                    if isinstance(spec, dict):
                        yield spec.get("package", name)
            elif isinstance(value, dict):
                yield from dependencies(value)

    found = set(dependencies(tomllib.loads(manifest.read_text(encoding="utf-8"))))
    assert not found & forbidden


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in (PACKAGE, "tests", "docs", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"_build", "api"} & set(path.parts)
    ],
    ids=relative,
)
def test_licence_line(path):
    with path.open(encoding="utf-8") as file:
        first = file.readline()
        if first.startswith("#!"):
            first = file.readline()
    assert first.rstrip("\n") == LICENCE
