# Licensed under a 3-clause BSD style license - see LICENSE
"""The benchmarks start, refuse wrong arguments, and make calls that exist."""

import csv
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import imcombiners_astro
from imcombiners_astro.planes import simd_levels

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = ["vs_ccdproc.py", "vs_imcombiners.py"]
TABLES = ["limit", "extras", "peers_arrays", "peers_fits", "scaling", "memory"]
OTHERS = ["suite.py", "benchmark_threads.py", "instruction_counts.py", "night.py"]
if not FOLDER.is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)


def run(script, *words):
    return subprocess.run(
        [sys.executable, FOLDER / script, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("script", [*SCRIPTS, *(f"{t}.py" for t in TABLES), *OTHERS])
def test_help_and_readme_name_every_option(script):
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    names = [script, "suite.py"] if script.removesuffix(".py") in TABLES else [script]
    section = "".join(
        readme.partition(f"## `{name}`")[2].partition("\n## ")[0] for name in names
    )
    options = set(re.findall(r"--[a-z-]+", done.stdout))
    for option in options - {"--help"}:
        assert f"`{option}" in section
    assert "--worker" not in options


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        (SCRIPTS[0], ["--cases", "mode"], "invalid choice: 'mode'"),
        (SCRIPTS[0], ["--frames", "0"], "--frames: found '0', expected an integer"),
        (SCRIPTS[1], ["--cases", "mode"], "invalid choice: 'mode'"),
        (SCRIPTS[1], ["--threads", "1", "0"], "--threads: found '0', expected"),
        (SCRIPTS[1], ["--repeats", "few"], "--repeats: found 'few', expected"),
        ("limit.py", ["--levels", "neon"], "--levels: found 'neon', expected what"),
        ("limit.py", ["--large", "-1"], "--large: found '-1', expected an integer"),
        ("suite.py", ["--tables", "speed"], "invalid choice: 'speed'"),
        ("memory.py", ["--threads", "1", "2"], "unrecognized arguments: 2"),
        ("night.py", ["--size", "0"], "--size: found '0', expected an integer"),
        (OTHERS[1], ["--tie-tolerance", "2"], "found '2', expected a number 0 to 1"),
        (OTHERS[2], ["--tolerance", "0"], "found 0, expected between 0 and 100"),
        (OTHERS[2], ["--pixels", "64"], "--pixels: found 64, expected more than 64"),
    ],
)
def test_wrong_arguments(script, words, message):
    done = run(script, *words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def vs_imcombiners(load):
    return load("vs_imcombiners")


def test_columns_of_the_table_are_unique(vs_imcombiners, tmp_path):
    rows = [{"seconds": 1}, {"seconds": 2}]
    path = tmp_path / "table.csv"
    vs_imcombiners.write_csv(path, rows, {"numpy": "2"})
    assert path.read_text(encoding="utf-8").split() == ["seconds,numpy", "1,2", "2,2"]
    with pytest.raises(ValueError, match=r"columns \['seconds'\] would be there twice"):
        vs_imcombiners.write_csv(path, rows, {"seconds": 3})


def test_calls_and_products(vs_imcombiners):
    cases = vs_imcombiners.workloads(32, 24)
    for case in chain.from_iterable(cases.values()):
        products = vs_imcombiners.named_products(
            vs_imcombiners.bind(imcombiners_astro.__name__, case)()
        )
        expected = {
            "simple": {"image", *vs_imcombiners.REJECTION},
            "full": {"image", *vs_imcombiners.REJECTION, "sample_flags"},
            "sigclip_1d": set(vs_imcombiners.REJECTION),
        }
        assert set(products) == expected.get(case.route, {"image"})
        if case.size and "mask_rej" in products:
            assert products["mask_rej"].shape == (case.depth, case.size, case.size)
            # One image in five cannot be 3 standard deviations from the median.
            assert products["mask_rej"].any() == (case.depth > 9)
        if "image" in products:
            assert np.isfinite(products["image"]).all()


def test_worker_answers_over_the_pipe(vs_imcombiners, tmp_path):
    name = imcombiners_astro.__name__
    case = vs_imcombiners.workloads(8, 8)["output"][0]
    with vs_imcombiners.Worker(name, sys.executable, 1) as worker:
        assert worker.ask("describe")[name] == imcombiners_astro.__version__
        assert isinstance(worker.ask("bind", **case._asdict()), int)
        worker.ask("save", path=str(tmp_path / "products.npz"))
        assert worker.ask("time", warm=True) > 0
    assert worker.process.returncode == 0
    with np.load(tmp_path / "products.npz") as products:
        np.testing.assert_allclose(
            products["image"], vs_imcombiners.bind(name, case)(), rtol=0
        )


def test_different_results_are_told(vs_imcombiners, tmp_path):
    class Stub:
        def __init__(self, **products):
            self.products = products

        def ask(self, do, path):
            np.savez(path, **self.products)

    image, mask = np.ones((150, 150)), np.zeros((2, 3), bool)
    other_mask = mask.copy()
    other_mask[1, 2] = True
    other = image.copy()
    other[7, 3] += 1e-4
    names = vs_imcombiners.CONTESTANTS
    stubs = Stub(image=image, mask_rej=mask), Stub(image=other, mask_rej=other_mask)
    found = vs_imcombiners.difference(tmp_path, dict(zip(names, stubs, strict=True)))
    assert found == {
        "image": (1, "first at (7, 3): 1.0 and 1.0001"),
        "mask_rej": (1, "first at (1, 2): False and True"),
    }
    stubs = Stub(image=image), Stub(image=image + 1)
    with pytest.raises(RuntimeError, match="the image differs at 22500 pixels"):
        vs_imcombiners.difference(tmp_path, dict(zip(names, stubs, strict=True)))


# ------------------------------------------------------------------ the suite


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("table", "words", "contestants"),
    [
        ("limit", ["--levels", "base", "--threads", "1"], None),
        ("extras", [], None),
        ("peers_arrays", ["--without-imcombiners"], {"numpy", "astropy", "ccdproc"}),
        ("peers_fits", ["--operations", "median"], {"ccdproc"}),
        ("scaling", [], None),
        ("memory", [], {"numpy", "astropy", "ccdproc"}),
    ],
)
def test_quick_table(table, words, contestants, tmp_path):
    done = run(f"{table}.py", "--quick", "--out", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "out" / f"{table}.csv")
    assert {row["imcombiners_astro"] for row in rows} == {imcombiners_astro.__version__}
    assert {row["instructions"] for row in rows} <= set(simd_levels())
    if contestants:
        assert contestants < {row["contestant"] for row in rows}
    figures = [name for name in ("ratio", "ns_per_sample") if name in rows[0]]
    assert all(float(row[name]) >= 0 for row in rows for name in figures)
    # Nothing so small is judged.
    assert not any(row.get("met") for row in rows)
    text = (tmp_path / "out" / f"{table}.rst").read_text(encoding="utf-8")
    assert re.search(r"^=+  =+", text, re.MULTILINE)
    assert f"imcombiners_astro {imcombiners_astro.__version__}" in text
    has_matplotlib = importlib.util.find_spec("matplotlib") is not None
    assert (tmp_path / "out" / f"{table}.png").exists() == has_matplotlib


def test_quick_images_with_uncertainties(tmp_path):
    done = run("extras.py", "--ccd", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "extras_ccd.csv")
    assert [row["call"] for row in rows] == ["output only", "full + propagate"]
    assert float(rows[0]["ratio"]) == 1
    assert float(rows[1]["ratio"]) > 0
    assert not any(row["met"] for row in rows)
    assert re.search(r"^=+  =+", (tmp_path / "extras_ccd.rst").read_text(), re.M)


@pytest.mark.parametrize("words", [[], ["--cold"]])
def test_quick_night(words, tmp_path):
    if words and not hasattr(os, "posix_fadvise"):
        pytest.skip("the system cannot be asked to forget files")
    words = ["--quick", "--dir", tmp_path, "--out", tmp_path / "out", *words]
    done = run("night.py", *words)
    assert done.returncode == 0, done.stderr
    assert "the same bits with every limit of memory" in done.stdout
    rows = read_csv(tmp_path / "out" / f"night{'_cold' * (len(words) > 5)}.csv")
    assert [row["case"] for row in rows][:2] == ["cat", "mean"]
    assert all(float(row["peak_mb"]) > 20 for row in rows[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_limit_measures_every_instruction_set(tmp_path):
    done = run("limit.py", "--quick", "--out", tmp_path, "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "limit.csv")
    assert {row["level"] for row in rows} == set(simd_levels())
    for row in rows:
        if row["operation"] == "read":
            assert float(row["ratio"]) == 1


def test_suite(load, tmp_path):
    done = run("suite.py", "--quick", "--tables", "scaling", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.iterdir()} == {"scaling"}
    rows = "operation,n,ratio,asked,met\nmedian,31,1.9,<= 1.8,no\nmean,31,1.2,,\n"
    (tmp_path / "limit.csv").write_text(rows, encoding="utf-8")
    asked = load("suite").targets(tmp_path, ["limit", "memory"])
    found = {"found": "1.9", "asked": "<= 1.8", "met": "no"}
    assert asked == [{"table": "limit", "case": "31 median", **found}]


def test_suite_tells_what_failed(tmp_path):
    (tmp_path / "out").touch()
    done = run("suite.py", "--quick", "--tables", "scaling", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "scaling failed" in done.stderr


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_every_byte_is_read(load, n_threads, monkeypatch):
    module = load("_read")
    words = np.arange(3000, dtype=np.uint64) ** 5
    total = int(np.add.reduce(words))
    for prefetch in (False, True):
        seconds, found = module.quickest_read(words, n_threads, prefetch, 3)
        assert seconds > 0
        assert found == total
    with pytest.raises(ValueError, match="found gaps"):
        module.quickest_read(words[::2])
    monkeypatch.setattr(module, "compiled", lambda: None)
    assert module.quickest_read(words, n_threads, seconds=1e-3)[1] == total
    assert module.reader() == "numpy.add.reduce"


def test_stacks(load):
    module = load("_stacks")
    native = module.make_stack(20, 4096, "u16")
    assert native.shape == (20, 4, 1024)
    fits = module.make_stack(20, 4096, "u16 fits")
    np.testing.assert_array_equal(fits.astype(int) + 2**15, native)
    floats = module.make_stack(20, 4096, "f32").reshape(20, -1)
    good = np.abs(floats - module.LEVEL) < 10 * module.NOISE
    assert 0 < np.mean(~good) < 3e-3
    # Samples of a pixel have nothing to do with each other.
    between = np.corrcoef(np.where(good, floats, module.LEVEL)) - np.eye(20)
    assert np.abs(between).max() < 0.1
    with pytest.raises(ValueError, match="100 images of 4 pixels: too few pixels"):
        module.make_stack(100, 4)


def test_bound_calls_combine(load):
    module = load("_stacks")
    stack = module.make_stack(31, 1024, "f32")
    masks = np.zeros(stack.shape, bool)
    masks[3] = True
    for operation in module.OPERATIONS:
        call = module.bind(stack, "f32", operation, 1, "full", masks)
        call()
        products = call.args[2]
        assert np.abs(products["image"] - module.LEVEL).max() < 400
        assert products["mask_rej"][3].all()
        assert products["sample_flags"].any()


def test_targets(load):
    module = load("_targets")
    assert module.to_reading("avx512", "f32", 31, "median") == 1.8
    assert module.to_reading("avx2", "f32", 31, "median") == 2.5
    assert module.to_reading("avx512", "f32", 3, "median") is None
    assert module.verdict(1.7, at_most=1.8) == {"asked": "<= 1.8", "met": "yes"}
    assert module.verdict(1.9, at_least=2) == {"asked": ">= 2", "met": "no"}
    assert module.verdict(1.9) == {"asked": "", "met": ""}


def test_sweep_of_threads(load, tmp_path):
    path = tmp_path / "threads.csv"
    words = ["--quick", "--op", "mean", "--n", "5", "--threads", "2", "3", "2"]
    done = run("benchmark_threads.py", *words, "--csv", path)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("recommended: RAYON_NUM_THREADS=[123]", done.stdout)) == 1
    rows = read_csv(path)
    assert [row["threads"] for row in rows] == ["0", "2", "3"]
    assert [row["recommended"] for row in rows].count("True") == 1


def test_recommended_threads(load):
    module = load("benchmark_threads")
    results = [
        module.Result(threads, seconds, seconds, seconds)
        for threads, seconds in ((0, 4.0), (2, 2.08), (4, 2.0), (8, 3.0))
    ]
    assert module.recommend(results, 0.05).threads == 2
    assert module.recommend(results, 0.01).threads == 4
    assert module.recommend(results, 1).threads == 0
    assert module.candidates(1, False) == []
    assert module.candidates(4, False) == [2, 3, 4]
    assert module.candidates(48, False) == []
    assert module.candidates(48, True) == [2, 4, 8, 16, 32, 48]
    assert module.candidates(64, True) == [2, 4, 8, 16, 32, 64]


def test_counts_are_compared(load):
    module = load("instruction_counts")
    keys = [("mean", "f32", n, 4096) for n in (5, 31, 100, 200)]
    counts = dict(zip(keys, (1000, 1050, 900, 10), strict=True))
    rows = module.compare(counts, dict.fromkeys(keys[:3], 1000), 0.03)
    found = ["ok", "MORE", "fewer", "not in file"]
    assert [row["verdict"] for row in rows] == found
    stored = module.read_file(module.FILE)
    assert set(stored) == {
        (operation, dtype, n, module.PIXELS)
        for operation in module.OPERATIONS
        for dtype in module.TYPES
        for n in module.DEPTHS
    }


@pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("cc") and "avx2" in simd_levels()),
    reason="needs valgrind, a C compiler and AVX2",
)
def test_instructions_are_counted(tmp_path):
    path = tmp_path / "counts.csv"
    words = ["--file", path, "--operations", "median", "--dtypes", "f32"]
    words += ["--depths", "5", "--pixels", "4096"]
    done = run("instruction_counts.py", *words)
    assert done.returncode == 2
    assert "no such file; make it with --update" in done.stderr
    done = run("instruction_counts.py", *words, "--update")
    assert done.returncode == 0, done.stderr
    (row,) = read_csv(path)
    # A sample costs a part of an instruction at least, with any vectors.
    assert int(row["instructions"]) > 5 * 4000 / 16
    row["instructions"] = int(row["instructions"]) // 2
    line = ",".join(map(str, row.values()))
    path.write_text(f"{','.join(row)}\n{line}\n", encoding="utf-8")
    done = run("instruction_counts.py", *words)
    assert done.returncode == 1
    assert "MORE" in done.stdout
