# Licensed under a 3-clause BSD style license - see LICENSE
"""The benchmarks start, refuse wrong arguments, and make calls that exist."""

import importlib.util
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import imcombiners_astro

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = ["vs_ccdproc.py", "vs_imcombiners.py"]
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


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_readme_name_every_option(script):
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"## `{script}`")[2].partition("\n## ")[0]
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
    ],
)
def test_wrong_arguments(script, words, message):
    done = run(script, *words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.fixture
def vs_imcombiners(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    path = FOLDER / "vs_imcombiners.py"
    spec = importlib.util.spec_from_file_location("vs_imcombiners", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
