# Licensed under a 3-clause BSD style license - see LICENSE
"""
From the options of a combination to plans of the kernel.

The switches of ccdproc judge the samples as they are in the images, each on its own.
Rejectors judge one after the other what is left. Where one of them grows, the
combination is done in stages, because growth needs a look at whole frames.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from imcombiners_astro import clipfuncs
from imcombiners_astro.extras import asks_for_noise
from imcombiners_astro.planes import Plan
from imcombiners_astro.stacks import radius_of

__all__ = ["Plans", "Stage", "make_plans"]


class Stage(NamedTuple):
    """
    A rejection before the last one.

    Attributes
    ----------
    plan : Plan
        How to reject.
    radius : float
        Radius of the growth that follows; 0 for none.
    """

    plan: Plan
    radius: float

    @property
    def clips(self):
        """Whether it measures a spread."""
        return any(name in _WITH_SPREAD for name, _ in self.plan.steps)

    @property
    def has_limits(self):
        """Whether it reports limits in place of the extremes of what is left."""
        return any(name == "linearclip" for name, _ in self.plan.steps)


_WITH_SPREAD = ("sigclip", "ccdclip", "avsigclip", "linearclip")


class Plans(NamedTuple):
    """
    The plans of a combination.

    Attributes
    ----------
    stages : tuple of Stage
        Rejections with growth, and what comes before them.
    last : Plan
        What follows, with the statistic.
    """

    stages: tuple[Stage, ...]
    last: Plan

    @property
    def last_stage(self):
        """The last plan as a stage."""
        return Stage(self.last, 0.0)

    @property
    def halo(self):
        """How far the growth of all stages reaches, in pixels."""
        return sum(int(stage.radius) for stage in self.stages)

    @property
    def pools_rows(self):
        """Whether something is measured along whole rows."""
        plans = [stage.plan for stage in self.stages] + [self.last]
        return any(name == "avsigclip" for plan in plans for name, _ in plan.steps)


def make_plans(options, frames, transform, thresholds, uncertainty, noise):
    """
    Write the options down as plans of the kernel.

    Parameters
    ----------
    options : Options
        What to do.
    frames : list of Frame
        The images.
    transform : Transform
        Zero, scale and weights.
    thresholds : (float, float) or None
        In the unit of the first frame.
    uncertainty : str or None
        The kernel's name of the uncertainty.
    noise : (`~numpy.ndarray`, `~numpy.ndarray`, `~numpy.ndarray`) or None
        Gain, read noise and sensitivity noise of every frame, for rejectors and
        uncertainties that ask for them; in the unit of the first frame.

    Returns
    -------
    Plans
        The plans.
    """
    extras = options.extras
    statistic = {"average": "mean", "median": "median", "sum": "sum"}[options.method]
    by_variance = isinstance(options.weights, str) and options.weights == "ivar"
    weighted = transform.weights is not None or by_variance
    if weighted and options.method != "median":
        statistic = "w" + statistic
    # Values of at most 16 bits and single floats are exact in float32, and so is every
    # comparison of them; everything computed is in float64. Scaled values are not.
    narrow = all(
        frame.exact16 or np.dtype(frame.dtype).str[1:] == "f4" for frame in frames
    )
    converted = any(frame.unit_factor != 1 for frame in frames)
    plain = transform.is_plain and not converted
    common = {
        "work": "f4" if plain and narrow else "f8",
        "thresholds": thresholds,
        "independent": not extras.rejectors,
        "transform_after": not extras.clip_scaled,
    }
    counts = transform.counts() if extras.clip_scaled else None
    stages, steps = rejector_stages(extras.rejectors, len(frames), counts, noise)
    last = {"uncertainty": uncertainty}
    if by_variance:
        last["ivar"] = True
    if uncertainty == "noise":
        last["noise"] = noise
    return Plans(
        tuple(Stage(Plan(steps=s, **common), radius) for s, radius in stages),
        Plan(
            statistic=statistic,
            steps=(*switch_steps(options), *steps),
            blank=np.nan if options.blank is None else options.blank,
            **common,
            **last,
        ),
    )


def switch_steps(options):
    """Return the steps for the switches of ccdproc."""
    steps = []
    if options.extrema is not None:
        low, high = options.extrema
        steps.append(("extrema", {"low": low, "high": high, "rule": "count"}))
    if options.limits is not None:
        low, high = options.limits
        steps.append(("range", {"low": low, "high": high}))
    if options.clip is not None and not options.clips_by_call:
        center, spread = options.clip.pair
        steps.append(
            (
                "sigclip",
                {
                    "low": options.clip.low,
                    "high": options.clip.high,
                    "center": center.name,
                    "spread": spread.name,
                    # numpy's std is about the mean, the MAD about the median,
                    # whatever the center of the clipping is.
                    "spread_center": "mean" if spread.name == "std" else "median",
                    "mad_factor": spread.factor,
                    "ddof": spread.ddof,
                    "maxiters": 1,
                    "nan_rule": clipfuncs.nan_rule(center, spread),
                },
            )
        )
    return steps


def rejector_stages(rejectors, n_frames, counts, noise):
    """
    Distribute rejectors over stages.

    Returns
    -------
    list of (tuple of step, float)
        Steps of each stage, and the radius of the growth after it.
    tuple of step
        Those after the last growth.
    """
    stages, steps = [], []
    for rejector in rejectors:
        if asks_for_noise(rejector):
            gain, rdnoise, snoise = noise
            rejector = replace(rejector, gain=gain, rdnoise=rdnoise)
            if snoise.any():
                rejector = replace(rejector, snoise=snoise)
        step = rejector.step(n_frames, counts)
        radius = radius_of(rejector.grow)
        if step is None:
            continue
        if radius < 1:  # there is no pixel as near as that
            steps.append(step)
            continue
        # What grows is what this one rejects, not what those before it have.
        if steps:
            stages.append((tuple(steps), 0.0))
        stages.append(((step,), radius))
        steps = []
    return stages, tuple(steps)
