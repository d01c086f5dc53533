# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of a combination: of one pixel, and of the whole.

They need matplotlib, and no display: nothing is shown, figures are returned.
"""

import numpy as np

from imcombiners_astro.pixel import pixel_of
from imcombiners_astro.pixelplot import (
    GREEN,
    VERMILION,
    draw_pixel,
    in_brackets,
    name_frames,
)
from imcombiners_astro.result import CombinedCCDData

__all__ = ["plot_pixel", "plot_summary"]

__doctest_requires__ = {"*": ["matplotlib"]}

# Maps have up to so many points along an axis, and square pixels if they are not longer
# than so many times their width.
_MAP_SIZE, _LONGEST = 400, 4
# What has no value, or no sample.
_RED = "#cc0000"
# Where the pictures of a summary are: with and without an uncertainty, and a table.
_MOSAICS = {
    (True, True): ["image error used", "low high frames"],
    (True, False): ["image error", "low high", "used ."],
    (False, True): ["image low frames", "used high frames"],
    (False, False): ["image low", "used high"],
}


def plot_pixel(source, y, x=None, *, images=None, ax=None, **keywords):
    """
    Draw the samples of one pixel, frame by frame, and what became of them.

    Parameters
    ----------
    source : CombinedCCDData, or what `~imcombiners_astro.combine` takes
        A result with diagnostics, as ``combine`` has made it; or images, which are then
        combined as a whole, with the keywords. To look at many pixels, combine once.
    y, x : int
        The pixel, as NumPy counts (from 0; row, column). Of an image that does not have
        two axes, ``y`` is the tuple of all indices, or the only one.
    images : as for `~imcombiners_astro.combine`, optional
        The images of the result, in which samples are looked up; by default the files
        that its ``frames`` name.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; by default on a figure of its own.
    **keywords
        Of `~imcombiners_astro.combine`. With a result, those it was made with: they are
        needed for the limits, and for files that are read with ``hdu`` or ``unit``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure (or subfigure) with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    IndexError
        If there is no such pixel.
    ValueError
        If the result has no diagnostics, or its samples cannot be found.

    Notes
    -----
    Samples are drawn as they enter the result, in its unit, after zero and scale; with
    error bars if the images have uncertainties. What lies far from the samples used is
    drawn at the edge, with its value beside it. The line is the result with its
    uncertainty, and the shaded range that of the samples left by the rejection. The
    scale on the right is in units of the spread measured by the rejection.

    Short dashed lines are the limits of the rejection: those of the last pass of a
    single `~imcombiners_astro.SigClip`, `~imcombiners_astro.CcdClip`,
    `~imcombiners_astro.CrReject` or `~imcombiners_astro.LinearClip` (noise models: if
    the noise is the same for all frames), and of ``sigma_clip``; dotted ones are those
    of ``minmax_clip`` and ``thresholds``.

    With ``diagnostics="simple"`` samples that are not used are drawn alike, as the
    result does not say why, and there are no limits of rejectors.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro import SigClip, combine, plots
    >>> levels = (10.0, 11.0, 12.0, 13.0, 80.0)
    >>> images = [CCDData(np.full((2, 3), level), unit="adu") for level in levels]
    >>> keywords = {"rejectors": SigClip(sigma=5, stdfunc="mad")}
    >>> result = combine(images, diagnostics="full", **keywords)
    >>> figure = plots.plot_pixel(result, 1, 2, images=images, **keywords)
    >>> print(figure.axes[0].get_title("left"))
    pixel y = 1, x = 2 (FITS x = 3, y = 2)
    11.5 ± 0.56 adu, from 4 of 5 samples
    """
    _need_matplotlib()
    index = tuple(np.atleast_1d(y)) if x is None else (y, x)
    pixel = pixel_of(source, index, images, keywords)
    if ax is None:
        ax = _new_figure((9, 4.5)).add_subplot()
    draw_pixel(ax, pixel)
    return ax.figure


def _need_matplotlib():
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "imcombiners_astro.plots needs matplotlib, which is not installed: "
            'pip install "imcombiners_astro[plots]"'
        ) from error


def _new_figure(size):
    """Make a figure that pyplot does not know of, so that it needs no closing."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def plot_summary(result, *, figure=None):
    """
    Draw a combination as a whole: the image, what was used, and what was rejected.

    Parameters
    ----------
    result : CombinedCCDData
        A result with diagnostics, of two axes.
    figure : `~matplotlib.figure.Figure` or `~matplotlib.figure.SubFigure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure. Its axes have the labels "image", "error" (the uncertainty, if there
        is one), "used", "low", "high", and "frames" (if the result has that table).

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If the result is an image without diagnostics.
    ValueError
        If the result has no numbers of samples, or not two axes.

    Notes
    -----
    Maps larger than the picture are reduced so that nothing gets lost: a point of the
    map of samples used is the smallest number of all its pixels, and of the maps of
    samples rejected it is the largest. Rejected pixels look larger than they are, then;
    the titles say so. Limits of image and uncertainty are those of
    `~astropy.visualization.ZScaleInterval`; masked pixels, and those without a sample,
    are red.

    The frames are those of the whole combination, also if the result is a part cut out
    of it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro import combine, plots
    >>> images = [CCDData(np.full((4, 6), x), unit="adu") for x in (1.0, 2.0, 9.0)]
    >>> result = combine(images, clip_extrema=True, nlow=0, diagnostics="simple")
    >>> figure = plots.plot_summary(result)
    >>> [ax.get_label() for ax in figure.axes]
    ['image', 'error', 'used', 'low', 'high', 'frames']
    """
    _need_matplotlib()
    _check_summary(result)
    if figure is None:
        figure = _new_figure((11, 6.4))
    uncertainty = result.uncertainty
    has_error = uncertainty is not None and uncertainty.array is not None
    mosaic = _MOSAICS[has_error, result.frames is not None]
    axes = figure.subplot_mosaic([row.split() for row in mosaic])
    mask = np.zeros(result.shape, bool) if result.mask is None else result.mask
    _draw_image(axes["image"], result.data, mask, "image", result.unit, "gray")
    if has_error:
        name, unit = type(uncertainty).__name__, uncertainty.unit
        _draw_image(axes["error"], uncertainty.array, mask, name, unit, "cividis")
    _draw_used(axes["used"], result.n_used)
    _draw_rejected(axes["low"], result.n_rejected_low, "too low", "Greens")
    _draw_rejected(axes["high"], result.n_rejected_high, "too high", "Oranges")
    if "frames" in axes:
        _draw_frames(axes["frames"], result.frames)
    figure.suptitle(_summary_of(result), fontsize=11)
    return figure


def _check_summary(result):
    if not isinstance(result, CombinedCCDData):
        raise TypeError(
            f"result must be a CombinedCCDData, found {type(result).__name__}; "
            'combine(..., diagnostics="simple") makes one.'
        )
    names = ("n_used", "n_rejected_low", "n_rejected_high")
    lacking = [name for name in names if getattr(result, name) is None]
    if lacking:
        raise ValueError(
            f"the result has no {', '.join(lacking)}; combine(..., "
            'diagnostics="simple") makes them.'
        )
    if result.ndim != 2 or not result.size:
        raise ValueError(
            f"the result must be an image of two axes, found the shape {result.shape}."
        )


def _draw_image(ax, values, mask, name, unit, colours):
    """Draw values between limits that suit most of them."""
    from astropy.visualization import ZScaleInterval
    from matplotlib import colormaps

    shown = np.ma.masked_where(mask | ~np.isfinite(values), values)
    low, upp = 0.0, 1.0
    if shown.count():
        low, upp = ZScaleInterval().get_limits(shown.compressed())
    colours = colormaps[colours].with_extremes(bad=_RED)
    image = ax.imshow(shown, origin="lower", cmap=colours, vmin=low, vmax=upp)
    _finish_map(ax, image, name + in_brackets(unit), extend="both")


def _draw_used(ax, counts):
    """Draw how many samples are used, so that no pixel with few of them gets lost."""
    from matplotlib import colormaps

    least, most = int(counts.min()), int(counts.max())
    colours = colormaps["viridis"](np.linspace(0, 1, max(most - least + 1, 2)))
    if least == 0:
        colours[0] = _rgba(_RED)
    _draw_counts(ax, counts, least, colours, "samples used", np.minimum, "fewest")


def _draw_rejected(ax, counts, side, colours):
    """Draw how many samples are rejected, so that no such pixel gets lost."""
    from matplotlib import colormaps

    steps = np.linspace(0.45, 1, max(int(counts.max()), 1))
    colours = [(1, 1, 1, 1), *colormaps[colours](steps)]
    _draw_counts(ax, counts, 0, colours, f"rejected as {side}", np.maximum, "most")


def _rgba(colour):
    from matplotlib.colors import to_rgba

    return to_rgba(colour)


def _draw_counts(ax, counts, least, colours, title, reduction, word):
    from matplotlib.colors import BoundaryNorm, ListedColormap

    shape = counts.shape
    steps = [max(1, -(-n // _MAP_SIZE)) for n in shape]
    if max(steps) > 1:
        title += f"\n({word} of {steps[0]} x {steps[1]} pixels)"
        for axis, (n, step) in enumerate(zip(shape, steps, strict=True)):
            counts = reduction.reduceat(counts, np.arange(0, n, step), axis=axis)
    top, right = (n * step - 0.5 for n, step in zip(counts.shape, steps, strict=True))
    bounds = least - 0.5 + np.arange(len(colours) + 1)
    image = ax.imshow(
        counts,
        origin="lower",
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(bounds, len(colours)),
        interpolation="nearest",
        extent=(-0.5, right, -0.5, top),
    )
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(-0.5, shape[0] - 0.5)
    _finish_map(ax, image, title)


def _finish_map(ax, image, title, extend="neither"):
    from matplotlib.ticker import MaxNLocator

    n_rows, n_columns = ax.images[0].get_array().shape
    if max(n_rows, n_columns) > _LONGEST * min(n_rows, n_columns):
        ax.set_aspect("auto")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ticks = None if extend == "both" else MaxNLocator(integer=True, nbins=6)
    beside = ax.inset_axes([1.03, 0, 0.05, 1])
    ax.figure.colorbar(image, cax=beside, extend=extend, ticks=ticks)
    ax.set_title(title, fontsize=10)
    ax.set_xlabel("x [pixel]")
    ax.set_ylabel("y [pixel]")


def _draw_frames(ax, frames):
    """Draw how much of each frame was rejected."""
    low, high = (
        np.nan_to_num(np.asarray(frames[f"rejected_{side}"], float))
        for side in ("low", "high")
    )
    places = np.arange(len(frames))
    width = 0.8 if len(frames) <= 60 else 1.0
    ax.bar(places, low, width, color=GREEN, label="too low")
    ax.bar(places, high, width, bottom=low, color=VERMILION, label="too high")
    name_frames(ax, [str(name) for name in frames["name"]])
    ax.set_ylabel("rejected [% of the pixels]")
    ax.set_title("rejected of each frame", fontsize=10)
    ax.set_ylim(0, 1.2 * (low + high).max() or 1)
    ax.legend(fontsize=9, frameon=False, ncols=2, loc="upper right")


def _summary_of(result):
    text = f"{result.shape[0]} x {result.shape[1]} pixels"
    if result.n_frames:
        low, high = (
            100 * counts.sum(dtype=np.int64) / (result.n_frames * result.size)
            for counts in (result.n_rejected_low, result.n_rejected_high)
        )
        text += (
            f" of {result.n_frames} frames; of all samples {low:.3g} % rejected as too "
            f"low, {high:.3g} % as too high"
        )
    n_empty = np.count_nonzero(result.n_used == 0)
    return f"{text}; {n_empty} pixels without any sample"
