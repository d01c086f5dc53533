# Licensed under a 3-clause BSD style license - see LICENSE
"""Pictures of a combination: what is on the axes, where, and in what words."""

import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

import imcombiners_astro as imc
from imcombiners_astro import SampleFlags, combine, plots
from imcombiners_astro.pixel import pixel_of
from imcombiners_astro.pixelplot import _with_error, draw_pixel, kinds_of

pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

N, SHAPE, PIXEL = 10, (6, 7), (2, 3)
CLIP = {"rejectors": imc.SigClip(sigma=3, stdfunc="mad")}


def make_images(errors=True):
    """Images of noise 2 about 100 with one pixel in which much happens."""
    rng = np.random.default_rng(8)
    images = []
    for k in range(N):
        ccd = CCDData(rng.normal(100, 2, SHAPE), unit="adu")
        ccd.mask = np.zeros(SHAPE, bool)
        if errors:
            ccd.uncertainty = StdDevUncertainty(np.full(SHAPE, 2.0 + k / 10))
        images.append(ccd)
    images[1].data[PIXEL] = 5000.0  # far out
    images[2].data[PIXEL] = 89.0  # near
    images[3].data[PIXEL] = np.nan
    images[4].mask[PIXEL] = True
    images[5].data[PIXEL] = 70000.0  # above the thresholds
    return images


@pytest.fixture
def images():
    return make_images()


THRESHOLDS = {"thresholds": (0, 6e4)}


def samples(ax):
    """Frames and heights of the samples drawn, by the words of the legend."""
    return {
        container.get_label(): np.array(container[0].get_xydata())
        for container in ax.containers
    }


def frames_of(ax, kind):
    """Frames whose samples are drawn as of one kind."""
    found = [xy for label, xy in samples(ax).items() if label.startswith(f"{kind} (")]
    return found[0][:, 0].astype(int).tolist() if found else []


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def limits_of(ax, name):
    """Levels of the lines of limits, below and above."""
    lines = [c for c in ax.collections if c.get_label() == name]
    return [np.array(line.get_segments())[:, 0, 1] for line in lines]


def test_every_sample_is_where_it_belongs(images):
    keywords = CLIP | THRESHOLDS | {"uncertainty": "propagate"}
    result = combine(images, diagnostics="full", **keywords)
    figure = plots.plot_pixel(result, *PIXEL, images=images, **keywords)
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    column = np.array([image.data[PIXEL] for image in images])
    used = np.flatnonzero(~result.mask_rej[:, *PIXEL]).tolist()
    assert used == [0, 6, 7, 8, 9]
    assert frames_of(ax, "used") == used
    assert frames_of(ax, "rejected, too high") == [1]
    assert frames_of(ax, "rejected, too low") == [2]
    assert frames_of(ax, "not finite") == [3]
    assert frames_of(ax, "masked") == [4]
    assert frames_of(ax, "outside thresholds") == [5]
    drawn = samples(ax)
    np.testing.assert_array_equal(drawn["used (5)"][:, 1], column[used])
    for label, frame in (("rejected, too low (1)", 2), ("masked (1)", 4)):
        assert drawn[label][0, 1] == column[frame]
    # What is far away or has no value is at an edge, with its value.
    bottom, top = ax.get_ylim()
    texts = {text.get_text(): text.xy for text in ax.texts}
    assert set(texts) == {"5000", "70000", "nan"}
    for text, frame, kind in (
        ("5000", 1, "rejected, too high (1)"),
        ("70000", 5, "outside thresholds (1)"),
        ("nan", 3, "not finite (1)"),
    ):
        assert texts[text] == tuple(drawn[kind][0])
        assert texts[text][0] == frame
        distance = (texts[text][1] - bottom) / (top - bottom)
        assert distance == pytest.approx(0.05 if text == "nan" else 0.95)
    # The samples used fill a good part of the axis.
    assert np.ptp(column[used]) > 0.15 * (top - bottom)
    left, right = ax.get_xlim()
    assert left < 0 and right > N - 1


def test_result_range_limits_and_spread(images):
    keywords = CLIP | THRESHOLDS | {"uncertainty": "propagate"}
    result = combine(images, diagnostics="full", **keywords)
    ax = plots.plot_pixel(result, *PIXEL, images=images, **keywords).axes[0]
    value, error = result.data[PIXEL], result.uncertainty.array[PIXEL]
    (line,) = [line for line in ax.lines if line.get_label() == "result"]
    np.testing.assert_array_equal(line.get_ydata(), value)
    spans = {patch.get_label(): patch.get_bbox().intervaly for patch in ax.patches}
    np.testing.assert_allclose(spans["its uncertainty"], [value - error, value + error])
    ends = result.low[PIXEL], result.upp[PIXEL]
    np.testing.assert_allclose(spans["range of the samples left"], ends)
    column = np.array([images[k].data[PIXEL] for k in (0, 6, 7, 8, 9)])
    center, reach = np.median(column), 3 * result.std[PIXEL]
    low, upp = limits_of(ax, "limits of SigClip")
    np.testing.assert_allclose(low, np.full(N, center - reach))
    np.testing.assert_allclose(upp, np.full(N, center + reach))
    (right,) = ax.child_axes
    assert right.get_ylabel() == f"distance / spread ({result.std[PIXEL]:.3g} adu)"
    ax.figure.draw_without_rendering()
    scaled = (np.array(ax.get_ylim()) - value) / result.std[PIXEL]
    np.testing.assert_allclose(right.get_ylim(), scaled)
    # Error bars as the images have them.
    (bars,) = [c for c in ax.containers if c.get_label() == "used (5)"]
    ends = np.array([np.ptp(s[:, 1]) for s in bars[2][0].get_segments()])
    np.testing.assert_allclose(ends, 2 * (2.0 + np.array([0, 6, 7, 8, 9]) / 10))


def test_words(images):
    keywords = CLIP | THRESHOLDS
    result = combine(images, diagnostics="full", **keywords)
    ax = plots.plot_pixel(result, *PIXEL, images=images, **keywords).axes[0]
    value, error = result.data[PIXEL], result.uncertainty.array[PIXEL]
    assert ax.get_title("left") == (
        "pixel y = 2, x = 3 (FITS x = 4, y = 3)\n"
        f"{value:.2f} ± {error:.2f} adu, from 5 of 10 samples; PREMASKED"
    )
    assert ax.get_ylabel() == "sample [adu]"
    assert ax.get_xlabel() == "frame"
    assert legend_of(ax) == [
        "result",
        "its uncertainty",
        "range of the samples left",
        "thresholds",
        "limits of SigClip",
        "used (5)",
        "rejected, too high (1)",
        "rejected, too low (1)",
        "outside thresholds (1)",
        "masked (1)",
        "not finite (1)",
    ]
    assert all(tick == int(tick) for tick in ax.get_xticks())


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1234.5678, 0.0567, "1234.568 ± 0.057"),
        (1234.5678, 12.3, "1235 ± 12"),
        (1234.5678, 123.4, "1235 ± 123"),
        (1234.5678, np.nan, "1234.568"),
        (1234.5678, 0.0, "1234.568"),
        (3.21e-17, 4.5e-19, "3.21e-17 ± 4.5e-19"),
        (2.5e20, 1e18, "2.5e+20 ± 1e+18"),
    ],
)
def test_numbers_with_their_errors(value, error, text):
    assert _with_error(value, error) == text


def test_growth_and_samples_put_back(images):
    keywords = {"rejectors": imc.SigClip(sigma=3, stdfunc="mad", grow=1)}
    ax = plots.plot_pixel(images, 2, 4, **keywords).axes[0]
    assert {1, 2} <= set(frames_of(ax, "rejected by growth"))
    keywords = {"rejectors": imc.SigClip(sigma=1, stdfunc="mad", nkeep=8)}
    result = combine(images, diagnostics="full", **keywords)
    back = (result.sample_flags[:, *PIXEL] & SampleFlags.RESTORED_NKEEP) != 0
    assert back.any()
    ax = plots.plot_pixel(result, *PIXEL, images=images, **keywords).axes[0]
    assert frames_of(ax, "used, put back") == np.flatnonzero(back).tolist()
    assert "NKEEP" in ax.get_title("left")


def test_simple_diagnostics_do_not_say_why(images):
    result = combine(images, diagnostics="simple", **CLIP)
    ax = plots.plot_pixel(result, *PIXEL, images=images, **CLIP).axes[0]
    assert frames_of(ax, "not used") == [1, 2, 4, 5]
    assert frames_of(ax, "not finite") == [3]
    assert frames_of(ax, "used") == [0, 6, 7, 8, 9]
    assert not any("limits" in label for label in legend_of(ax))


def test_a_sample_that_is_just_inside_the_axes_is_not_moved(images):
    pixel = pixel_of(images[:5], (0, 0))._replace(
        values=np.array([95.0, 100.0, 105.0, 114.9, 119.0]),
        used=np.array([True, True, True, False, False]),
        flags=np.array([0, 0, 0, 8, 8], np.uint8),
        errors=np.full(5, np.nan),
        value=100.0,
        error=np.nan,
        low=95.0,
        upp=105.0,
        limits={},
    )
    ax = Figure().add_subplot()
    draw_pixel(ax, pixel)
    assert 119 < ax.get_ylim()[1] < 120
    heights = samples(ax)["rejected, too high (2)"][:, 1]
    np.testing.assert_array_equal(heights, [114.9, 119.0])
    assert not ax.texts


def test_values_scaled_after_the_rejection_have_no_common_spread(images):
    keywords = {"sigma_clip": True, "scale": np.linspace(1, 2, N)}
    keywords |= {"sigma_clip_func": "median", "sigma_clip_dev_func": "mad_std"}
    ax = plots.plot_pixel(images, *PIXEL, **keywords).axes[0]
    assert ax.get_ylabel() == "sample, after zero and scale [adu]"
    assert ax.child_axes == []
    low, _ = limits_of(ax, "limits of sigma_clip")
    np.testing.assert_allclose(low / low[0], np.linspace(1, 2, N))


def test_a_pixel_without_samples_is_drawn_nevertheless(images):
    for image in images:
        image.mask[0, 0] = True
    figure = plots.plot_pixel(images, 0, 0)
    ax = figure.axes[0]
    title = ax.get_title("left")
    assert title.endswith("no value, from 0 of 10 samples; PREMASKED")
    assert frames_of(ax, "masked") == list(range(N))
    bottom, top = ax.get_ylim()
    assert all(bottom < image.data[0, 0] < top for image in images)
    figure.draw_without_rendering()


@pytest.mark.parametrize("value", [7.0, 0.0])
def test_equal_samples(value):
    images = [CCDData(np.full((2, 2), value), unit="") for _ in range(3)]
    ax = plots.plot_pixel(images, 0, 1).axes[0]
    bottom, top = ax.get_ylim()
    assert bottom < value < top
    assert ax.get_ylabel() == "sample"
    assert ax.get_title("left").splitlines()[1] == f"{value:g}, from 3 of 3 samples"
    ax.figure.draw_without_rendering()


def test_on_axes_of_the_caller(images):
    figure = Figure()
    first, second = figure.subplots(1, 2)
    assert plots.plot_pixel(images, *PIXEL, ax=second) is figure
    assert figure.axes == [first, second]
    assert not first.containers and second.containers
    part = figure.subfigures(1, 2)[0]
    assert plots.plot_pixel(images, *PIXEL, ax=part.add_subplot()) is part


def test_other_numbers_of_axes(images):
    spectra = [CCDData(image.data[2], unit="adu") for image in images]
    title = plots.plot_pixel(spectra, 3).axes[0].get_title("left")
    assert title.startswith("pixel (3,)\n")
    cubes = [CCDData(image.data.reshape(3, 2, 7), unit="adu") for image in images]
    ax = plots.plot_pixel(cubes, (1, 0, 3)).axes[0]
    assert ax.get_title("left").startswith("pixel (1, 0, 3)\n")
    assert len(ax.get_title("left")) < 100
    with pytest.raises(IndexError, match="found 2 indices"):
        plots.plot_pixel(cubes, 1, 0)


def write(images, folder):
    paths = [folder / f"light_{k}.fits" for k in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.write(path)
    return paths


def test_names_of_files(images, tmp_path):
    paths = write(images, tmp_path)
    result = combine(paths, diagnostics="full", **CLIP)
    names = [path.name for path in paths]
    pixel = plots.plot_pixel(result, *PIXEL, **CLIP).axes[0]
    assert frames_of(pixel, "rejected, too low") == [2]
    summary = plots.plot_summary(result).axes[-1]
    for ax in (pixel, summary):
        assert [label.get_text() for label in ax.get_xticklabels()] == names
        assert ax.get_xticks().tolist() == list(range(N))


def test_kinds_of_samples_without_a_result(images):
    pixel = pixel_of(images, PIXEL, keywords=CLIP)
    pixel = pixel._replace(value=np.nan, used=np.zeros(N, bool))
    kinds = kinds_of(pixel).tolist()
    assert kinds[1:3] == ["rejected, too high", "rejected, too low"]
    assert kinds[3:5] == ["not finite", "masked"]


def by_label(figure):
    return {ax.get_label(): ax for ax in figure.axes}


def test_summary(images):
    result = combine(images, diagnostics="simple", **CLIP)
    figure = plots.plot_summary(result)
    axes = by_label(figure)
    assert list(axes) == ["image", "error", "used", "low", "high", "frames"]
    for name, expected in (
        ("image", result.data),
        ("error", result.uncertainty.array),
        ("used", result.n_used),
        ("low", result.n_rejected_low),
        ("high", result.n_rejected_high),
    ):
        (shown,) = axes[name].images
        np.testing.assert_array_equal(shown.get_array(), expected)
        assert shown.origin == "lower"
        assert shown.get_extent() == [-0.5, 6.5, -0.5, 5.5]
        assert axes[name].get_xlabel() == "x [pixel]"
    titles = {name: ax.get_title() for name, ax in axes.items()}
    assert titles == {
        "image": "image [adu]",
        "error": "StdDevUncertainty [adu]",
        "used": "samples used",
        "low": "rejected as too low",
        "high": "rejected as too high",
        "frames": "rejected of each frame",
    }
    heights = {}
    for bars in axes["frames"].containers:
        heights[bars.get_label()] = [bar.get_height() for bar in bars]
    np.testing.assert_allclose(heights["too low"], result.frames["rejected_low"])
    np.testing.assert_allclose(heights["too high"], result.frames["rejected_high"])
    tops = [bar.get_y() + bar.get_height() for bar in axes["frames"].containers[1]]
    both = result.frames["rejected_low"] + result.frames["rejected_high"]
    np.testing.assert_allclose(tops, both)
    low = 100 * result.n_rejected_low.sum() / (N * result.size)
    assert f"of all samples {low:.3g} % rejected" in figure.get_suptitle()
    assert re.match(r"6 x 7 pixels of 10 frames;.*; 0 pixels", figure.get_suptitle())
    figure.draw_without_rendering()


def colour_at(ax, row, column):
    (image,) = ax.images
    value = image.get_array()[row, column]
    return to_rgb(image.cmap(image.norm(value)))


def test_colours_of_a_summary(images):
    for image in images:
        image.mask[0, 0] = True
    result = combine(images, diagnostics="simple", **CLIP)
    axes = by_label(plots.plot_summary(result))
    red = to_rgb("#cc0000")
    assert colour_at(axes["used"], 0, 0) == red != colour_at(axes["used"], 1, 1)
    assert axes["image"].images[0].get_array().mask.tolist() == result.mask.tolist()
    assert to_rgb(axes["image"].images[0].cmap.get_bad()) == red
    assert colour_at(axes["high"], 0, 0) == (1, 1, 1)
    assert min(colour_at(axes["high"], *PIXEL)) < 0.6
    # Every number has a colour of its own.
    for ax in (axes["used"], axes["low"], axes["high"]):
        (image,) = ax.images
        numbers = np.unique(image.get_array())
        colours = {to_rgb(image.cmap(image.norm(n))) for n in numbers}
        assert len(colours) == len(numbers)


@pytest.mark.parametrize("shape", [(900, 401), (1234, 7), (400, 400)])
def test_single_pixels_are_seen_in_large_maps(shape):
    rng = np.random.default_rng(4)
    counts = np.zeros(shape, np.uint16)
    rows = [rng.integers(0, n, 12) for n in shape]
    rows[0][:2], rows[1][:2] = (0, shape[0] - 1), (0, shape[1] - 1)
    counts[*rows] = 1
    counts[rows[0][0], rows[1][0]] = 3
    result = imc.CombinedCCDData(
        np.ones(shape),
        unit="adu",
        n_used=9 - counts,
        n_rejected_low=np.zeros(shape, np.uint16),
        n_rejected_high=counts,
    )
    axes = by_label(plots.plot_summary(result))
    assert list(axes) == ["image", "low", "used", "high"]
    height, width = (-(-n // 400) for n in shape)
    aspect = "auto" if max(shape) > 4 * min(shape) else 1
    for name in ("high", "used"):
        (image,) = axes[name].images
        shown = image.get_array()
        assert max(shown.shape) <= 400
        for row, column in zip(*rows, strict=True):
            seen = shown[row // height, column // width]
            assert seen >= 1 if name == "high" else seen <= 8
        extreme = shown.max() if name == "high" else shown.min()
        assert extreme == (3 if name == "high" else 6)
        # A block lies where its pixels are.
        left, right, bottom, top = image.get_extent()
        assert right - left == width * shown.shape[1]
        assert top - bottom == height * shown.shape[0]
        assert axes[name].get_xlim() == (-0.5, shape[1] - 0.5)
        assert axes[name].get_ylim() == (-0.5, shape[0] - 0.5)
        word = "most" if name == "high" else "fewest"
        note = f"({word} of {height} x {width} pixels)"
        assert (note in axes[name].get_title()) == (height * width > 1)
        assert axes[name].get_aspect() == aspect


def test_what_a_summary_leaves_out(images):
    result = combine(images, diagnostics="simple", uncertainty=None)
    axes = by_label(plots.plot_summary(result))
    assert set(axes) == {"image", "used", "low", "high", "frames"}
    result.frames = None
    result.uncertainty = StdDevUncertainty(np.ones(SHAPE))
    axes = by_label(plots.plot_summary(result))
    assert set(axes) == {"image", "error", "used", "low", "high"}


def test_a_summary_without_any_value(images):
    for image in images:
        image.mask[:] = True
    figure = plots.plot_summary(combine(images, diagnostics="simple"))
    assert "; 42 pixels without any sample" in figure.get_suptitle()
    figure.draw_without_rendering()


def test_a_summary_on_a_figure_of_the_caller(images):
    result = combine(images, diagnostics="simple")
    figure = Figure()
    assert plots.plot_summary(result, figure=figure) is figure
    part = Figure().subfigures(1, 2)[1]
    assert plots.plot_summary(result, figure=part) is part
    assert len(part.axes) == 6


def test_what_cannot_be_drawn(images):
    with pytest.raises(TypeError, match="must be a CombinedCCDData, found CCDData"):
        plots.plot_summary(images[0])
    bare = imc.CombinedCCDData(images[0])
    with pytest.raises(
        ValueError, match="has no n_used, n_rejected_low, n_rejected_hi"
    ):
        plots.plot_summary(bare)
    result = combine(images, diagnostics="simple")
    with pytest.raises(ValueError, match=r"two axes, found the shape \(7,\)"):
        plots.plot_summary(result[2])


def test_without_matplotlib(images, monkeypatch):
    result = combine(images, diagnostics="simple")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (
        lambda: plots.plot_summary(result),
        lambda: plots.plot_pixel([], 0, 0),
    ):
        with pytest.raises(
            ImportError, match=r"pip install .imcombiners_astro\[plots\]"
        ):
            call()


SCRIPT = """
import sys
import numpy as np
from astropy.nddata import CCDData
import imcombiners_astro
assert "matplotlib" not in sys.modules
plots = imcombiners_astro.plots
assert "matplotlib" not in sys.modules
images = [CCDData(np.full((3, 4), float(k)), unit="adu") for k in range(5)]
result = imcombiners_astro.combine(images, diagnostics="full")
plots.plot_pixel(result, 1, 2, images=images).savefig(sys.argv[1])
plots.plot_summary(result).savefig(sys.argv[2])
assert "matplotlib.pyplot" not in sys.modules
"""


def test_no_display_is_needed_and_pyplot_is_left_alone(tmp_path):
    paths = [tmp_path / "pixel.png", tmp_path / "summary.png"]
    environment = {"MPLBACKEND": "TkAgg", "PATH": "", "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT, *paths], check=True, env=environment)
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
