# Licensed under a 3-clause BSD style license - see LICENSE
"""Options from a file."""

from pathlib import Path

import pytest

import imcombiners_astro as imc
from imcombiners_astro.cli import main
from imcombiners_astro.cli.combine import make_parser, parse
from imcombiners_astro.cli.options import make_keywords


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="night.toml"):
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


EXAMPLE = """
# A night of flats.
files = ["flat_*.fits", "@more.txt"]
output = "flat.fits"
overwrite = true
progress = false
sigma-clip = [4, 3]
center = "mean"
scale = "inv_median"
minmax = ["none", 6e4]
mem-limit = "2G"
threads = 2
gain = [1.5, 1.6]
zero = -3.5
clip-scaled = false
reader = ["ignore_blank=true", "uint=false"]
"""


def test_example(config):
    options = parse(["--config", config(EXAMPLE)])
    assert options.files == ["flat_*.fits", "@more.txt"]
    assert options.output == "flat.fits"
    assert options.overwrite is True
    assert options.progress is False
    keywords = make_keywords(options)
    del keywords["scale"]  # a function
    assert keywords == {
        "sigma_clip": True,
        "sigma_clip_low_thresh": 4,
        "sigma_clip_high_thresh": 3,
        "sigma_clip_func": "mean",
        "sigma_clip_dev_func": "mad_std",
        "minmax_clip": True,
        "minmax_clip_min": None,
        "minmax_clip_max": 6e4,
        "mem_limit": 2e9,
        "n_threads": 2,
        "gain": [1.5, 1.6],
        "zero": -3.5,
        "clip_scaled": False,
        "ignore_blank": True,
        "uint": False,
    }


def test_the_command_line_wins(config):
    name = config(
        EXAMPLE.replace("reader", "reject = ['minmax', 'sigclip:sigma=4']\nreader")
    )
    words = ["a.fits", "-o", "b.fits", "--no-overwrite", "--threads", "5"]
    words += ["--reader", "uint=true", "--reject", "ccdclip"]
    options = parse([f"--config={name}", *words])
    assert (options.files, options.output) == (["a.fits"], "b.fits")
    assert options.overwrite is False
    keywords = make_keywords(options)
    assert keywords["n_threads"] == 5
    assert keywords["rejectors"] == [imc.CcdClip()]
    assert keywords["uint"] is True and "ignore_blank" not in keywords


def test_several_rejectors(config):
    name = config("reject = ['minmax', 'sigclip:sigma=4,2']")
    keywords = make_keywords(parse(["a.fits", "-o", "b.fits", "--config", name]))
    assert keywords["rejectors"] == [imc.MinMaxClip(), imc.SigClip((4, 2))]


def test_every_option_can_be_in_a_file(config, capsys):
    with pytest.raises(SystemExit):
        parse(["a", "-o", "b", "--config", config("nonsense = true")])
    assert "there is no option" in capsys.readouterr().err
    for action in make_parser()._actions:
        for option in action.option_strings:
            if option in ("-h", "--config", "--help", "--version"):
                continue
            if not option.startswith("--"):
                continue
            value = "true" if action.nargs == 0 else "'nonsense'"
            if isinstance(action.nargs, int) and action.nargs:
                value = "['x', 'y']"
            try:
                parse(["a", "-o", "b", "--config", config(f"{option[2:]} = {value}")])
            except SystemExit:
                # The value makes no sense for most; the option is known.
                assert "there is no option" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mem_limit = '2G'", "no option 'mem_limit'; did you mean 'mem-limit'?"),
        ("sigma = 3", "no option 'sigma'"),
        ("file = 'a.fits'", "did you mean 'files'?"),
        ("config = 'b.toml'", "no option 'config'"),
        ("[combine]\nscale = 'mean'", "combine: a text, a number or a list"),
        ("[night]\nscale = 'mean'", "no option 'night'"),
        ("threads = 0", "--threads: 1 or more is expected"),
        ("overwrite = 'yes'", "overwrite: true or false is expected, found 'yes'"),
        ("minmax = 5", "minmax: 2 values are expected"),
        ("scale = {a = 1}", "scale: a text, a number or a list is expected"),
        ("files = [1]", "files: names of files are expected"),
        ("scale = ", "not a TOML file"),
        ('scale = "mean', "not a TOML file"),
    ],
)
def test_wrong_files(config, text, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "b.fits", "--config", config(text)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("imcombine: error: night.toml: ")
    assert error.count("\n") == 1
    assert message in error


def test_missing_file(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        parse(["a.fits", "-o", "b.fits", "--config", str(tmp_path / "no.toml")])
    assert stop.value.code == 2
    assert "no.toml: No such file or directory" in capsys.readouterr().err


def test_combines(frames, config):
    name = config("files = 'frame_*.fits'\noutput = 'a.fits'\nclip-extrema = [1, 1]\n")
    assert main(["--config", name]) == 0
    assert main([*frames, "-o", "b.fits", "--clip-extrema", "1", "1"]) == 0
    first, second = (imc.CombinedCCDData.read(f"{x}.fits") for x in "ab")
    assert (first.data == second.data).all()
