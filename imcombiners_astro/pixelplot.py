# Licensed under a 3-clause BSD style license - see LICENSE
"""
Drawing what is known of one pixel.

The colours are those of Okabe & Ito (2008), which people with any kind of colour vision
can tell apart; shapes tell the same.
"""

import os

import numpy as np

from imcombiners_astro.flags import OutputFlags, SampleFlags

__all__ = ["GREEN", "VERMILION", "draw_pixel", "in_brackets", "kinds_of", "name_frames"]

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE, GREY = "#E69F00", "#CC79A7", "#777777"

# Kinds of samples in the order of the legend: marker and colour.
_KINDS = {
    "used": ("o", BLUE),
    "used, put back": ("o", BLUE),
    "rejected, too high": ("^", VERMILION),
    "rejected, too low": ("v", GREEN),
    "rejected by growth": ("D", ORANGE),
    "outside thresholds": ("s", PURPLE),
    "masked": ("X", GREY),
    "not finite": ("*", GREY),
    "not used": ("P", VERMILION),
}
_RESTORED = SampleFlags.RESTORED_NKEEP | SampleFlags.RESTORED_MAXREJ
# Limits of plain values, which may be far from all samples.
_FIXED = ("thresholds", "minmax_clip")
# Names of so many files fit below an axis, and so many large markers beside each other.
_MOST_NAMES, _MANY = 24, 60
# Room beyond what is shown; more where the values of far samples are written; and
# what is left of that beyond the markers. Parts of the axis.
_ROOM, _ROOM_TO_WRITE, _EDGE = 0.1, 0.25, 0.05


def kinds_of(pixel):
    """
    Say what became of each sample.

    Parameters
    ----------
    pixel : `~imcombiners_astro.pixel.Pixel`
        The pixel.

    Returns
    -------
    `~numpy.ndarray` of str, shape (N,)
        In the words of the legend.
    """
    middle = pixel.value
    if not np.isfinite(middle):
        finite = pixel.values[np.isfinite(pixel.values)]
        middle = np.median(finite) if finite.size else np.nan
    kinds = []
    for k, value in enumerate(pixel.values):
        flags = SampleFlags(0 if pixel.flags is None else int(pixel.flags[k]))
        if pixel.used[k]:
            kind = "used, put back" if flags & _RESTORED else "used"
        elif not np.isfinite(value):
            kind = "not finite"
        elif SampleFlags.INPUT_MASK in flags:
            kind = "masked"
        elif SampleFlags.THRESHOLD in flags:
            kind = "outside thresholds"
        elif SampleFlags.GROW in flags:
            kind = "rejected by growth"
        elif SampleFlags.ALGORITHM in flags:
            kind = "rejected, too high" if value > middle else "rejected, too low"
        else:
            kind = "not used"
        kinds.append(kind)
    return np.array(kinds)


def draw_pixel(ax, pixel):
    """
    Draw the samples of a pixel by frame, with result, limits and legend.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Where to draw.
    pixel : `~imcombiners_astro.pixel.Pixel`
        What to draw.
    """
    kinds = kinds_of(pixel)
    ax.set_ylim(*_range_of(pixel))
    ax.set_xlim(-0.6, len(kinds) - 0.4)
    drawn = _draw_levels(ax, pixel)
    for kind in _KINDS:
        at = np.flatnonzero(kinds == kind)
        if at.size:
            drawn.append(_draw_samples(ax, pixel, at, kind))
    name_frames(ax, pixel.names)
    what = "sample, after zero and scale" if pixel.is_scaled else "sample"
    ax.set_ylabel(what + in_brackets(pixel.unit))
    ax.set_title(_title_of(pixel, kinds), fontsize=10, loc="left")
    # Of values changed only after the rejection its spread is another one.
    comparable = pixel.saw_scaled or not pixel.is_scaled
    has_spread = pixel.std > 0 and np.isfinite(pixel.value) and comparable
    if has_spread:
        _add_distance(ax, pixel)
    _put_legend(ax, drawn, 0.8 if has_spread else 0.15)


def in_brackets(unit):
    """
    Write a unit as the end of a label.

    Parameters
    ----------
    unit : `~astropy.units.UnitBase` or None
        The unit.

    Returns
    -------
    str
        Empty if there is none.
    """
    text = str(unit or "")
    return f" [{text}]" if text else ""


def name_frames(ax, names):
    """
    Label the horizontal axis with the names of files, or else with their numbers.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Axes on which frame k is at k.
    names : list of str
        Names of the frames.
    """
    from matplotlib.ticker import MaxNLocator

    if len(names) <= _MOST_NAMES and not names[0].startswith("img_list["):
        names = [os.path.basename(name) for name in names]
        ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
        return
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("frame")


def _range_of(pixel):
    """Choose what the vertical axis shows: the samples used, and what is near."""
    shown = [pixel.value, pixel.low, pixel.upp]
    if np.isfinite(pixel.error):
        shown += [pixel.value - pixel.error, pixel.value + pixel.error]
    for name, limits in pixel.limits.items():
        if name not in _FIXED:
            shown += list(limits.flat)
    errors = np.nan_to_num(pixel.errors)
    for ends in (pixel.values - errors, pixel.values + errors):
        shown += list(ends[pixel.used])
    shown = np.array(shown)[np.isfinite(shown)]
    others = np.concatenate([pixel.values, *pixel.limits.values()], axis=None)
    others = others[np.isfinite(others)]
    if not shown.size:
        shown = others if others.size else np.zeros(1)
    low, upp = shown.min(), shown.max()
    reach = (upp - low) or 0.05 * abs(upp) or 1.0
    near = others[(others > low - reach) & (others < upp + reach)]
    low, upp = min(low, *near, low), max(upp, *near, upp)
    values, span = pixel.values, max(upp - low, reach)
    above = (values > upp).any()
    below = (values < low).any() or np.isnan(values).any()
    return (
        low - span * (_ROOM_TO_WRITE if below else _ROOM),
        upp + span * (_ROOM_TO_WRITE if above else _ROOM),
    )


def _draw_levels(ax, pixel):
    """Draw the result, the range of the samples left, and the limits."""
    drawn = []
    if np.isfinite(pixel.value):
        style = {"color": BLUE, "lw": 1.2, "zorder": 1.5, "label": "result"}
        drawn.append(ax.axhline(pixel.value, **style))
    if np.isfinite(pixel.error):
        low, upp = pixel.value - pixel.error, pixel.value + pixel.error
        style = {"color": BLUE, "alpha": 0.25, "lw": 0, "label": "its uncertainty"}
        drawn.append(ax.axhspan(low, upp, zorder=1, **style))
    if pixel.upp > pixel.low:
        style = {"color": "#eeeeee", "label": "range of the samples left"}
        drawn.append(ax.axhspan(pixel.low, pixel.upp, zorder=0.5, **style))
    frames = np.arange(len(pixel.values))
    for name, limits in pixel.limits.items():
        is_fixed = name in _FIXED
        style = {
            "color": PURPLE if is_fixed else VERMILION,
            "ls": ":" if is_fixed else "--",
            "label": name if is_fixed else f"limits of {name}",
        }
        there = [levels for levels in limits if np.isfinite(levels).any()]
        for levels in there:
            line = ax.hlines(levels, frames - 0.5, frames + 0.5, lw=1.2, **style)
        drawn += [line] if there else []
    return drawn


def _draw_samples(ax, pixel, at, kind):
    """Draw samples of one kind; those outside the axes at its edge."""
    marker, colour = _KINDS[kind]
    bottom, top = ax.get_ylim()
    values = pixel.values[at]
    edge = _EDGE * (top - bottom)
    inside = (values >= bottom) & (values <= top)
    places = np.clip(np.nan_to_num(values, nan=-np.inf), bottom + edge, top - edge)
    places[inside] = values[inside]
    size = 7 if len(pixel.values) <= _MANY else 4
    style = {"fmt": marker, "color": colour, "markersize": size, "elinewidth": 1}
    if kind == "used, put back":
        style |= {"mfc": "white", "mew": 2}
    errors = np.where(inside, pixel.errors[at], np.nan)
    errors = errors if np.isfinite(errors).any() else None
    label = f"{kind} ({at.size})"
    drawn = ax.errorbar(at, places, yerr=errors, label=label, zorder=3, **style)
    for k in np.flatnonzero(~inside):
        above = values[k] > top
        ax.annotate(
            f"{values[k]:.5g}",
            (at[k], places[k]),
            xytext=(0, -8 if above else 8),
            textcoords="offset points",
            ha="center",
            va="top" if above else "bottom",
            rotation=90,
            fontsize=8,
            color=colour,
            bbox={"color": "white", "pad": 0.5},
        )
    return drawn


def _add_distance(ax, pixel):
    """Add an axis in units of the spread of the rejection."""
    right = ax.secondary_yaxis(
        "right",
        functions=(
            lambda value: (value - pixel.value) / pixel.std,
            lambda distance: pixel.value + distance * pixel.std,
        ),
    )
    right.set_ylabel(f"distance / spread ({pixel.std:.3g}{_after(pixel.unit)})")


def _put_legend(ax, drawn, inches):
    """Put a legend at the right of the axes, beyond the second axis."""
    from matplotlib.transforms import ScaledTranslation

    away = ScaledTranslation(inches, 0, ax.figure.dpi_scale_trans)
    ax.legend(
        handles=drawn,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        bbox_transform=ax.transAxes + away,
        borderaxespad=0,
        frameon=False,
        fontsize=9,
    )


def _title_of(pixel, kinds):
    title = f"pixel {pixel.index}"
    if len(pixel.index) == 2:
        y, x = pixel.index
        title = f"pixel y = {y}, x = {x} (FITS x = {x + 1}, y = {y + 1})"
    value = "no value"
    if np.isfinite(pixel.value):
        value = _with_error(pixel.value, pixel.error) + _after(pixel.unit)
    title += f"\n{value}, from {np.count_nonzero(pixel.used)} of {len(kinds)} samples"
    if pixel.output_flags:
        names = [f.name for f in OutputFlags if f & pixel.output_flags]
        title += f"; {', '.join(names)}"
    if pixel.output_dq:
        title += f"; data quality {pixel.output_dq}"
    return title


def _after(unit):
    text = str(unit)
    return f" {text}" if text else ""


def _with_error(value, error):
    """Write a number with two digits of its error."""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.7g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    if digits > 12 or abs(value) >= 1e12:
        return f"{value:.7g} ± {error:.2g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
