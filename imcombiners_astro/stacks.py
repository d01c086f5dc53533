# Licensed under a 3-clause BSD style license - see LICENSE
"""
The calls of the kernel that it takes to reject and combine.

Every function of stacks ends here: output only (`reduce`), which is one call of the
kernel unless something has to grow, or with diagnostics (`diagnose`).
"""

from typing import NamedTuple

import numpy as np

from imcombiners_astro import arguments as args
from imcombiners_astro import planes
from imcombiners_astro.flags import OutputFlags, SampleFlags
from imcombiners_astro.samples import Statistic, join
from imcombiners_astro.threads import threads_for

__all__ = [
    "Diagnosis",
    "Rejection",
    "diagnose",
    "mask_threshold",
    "radius_of",
    "reduce",
    "rejection_mask",
    "run",
]

# A flag is an integer of its own kind, with which bytes would become 64-bit integers.
REJECTED = np.uint8(SampleFlags.ALGORITHM)
BAD = np.uint8(SampleFlags.NONFINITE | SampleFlags.ALGORITHM)
MASKED = np.uint8(SampleFlags.INPUT_MASK | SampleFlags.THRESHOLD)
GROWN = np.uint8(SampleFlags.GROW)
HAS_GROWN = np.uint8(OutputFlags.GROW)
PREMASKED = np.uint8(OutputFlags.PREMASKED)

CUBES = {"mask_rej": np.bool_, "mask_thresh": np.bool_, "sample_flags": np.uint8}
MAPS = {"nit": np.uint8, "output_flags": np.uint8}


def run(samples, products, statistic=None, steps=(), image_dtype=None):
    """
    Call the kernel once.

    Parameters
    ----------
    samples : `Samples`
        What to combine.
    products : iterable of str
        Names of the outputs.
    statistic : `Statistic`, optional
        If "image" is among them.
    steps : sequence of (str, dict)
        Rejection.
    image_dtype : `~numpy.dtype`, optional
        Type of the image if not that of the workspace.

    Returns
    -------
    dict of str to `~numpy.ndarray`
        The outputs.
    """
    statistic = statistic or Statistic("mean")
    shape, dtype = samples.stack.shape, samples.dtype
    outputs = {
        name: np.empty(shape, CUBES[name])
        if name in CUBES
        else np.empty(shape[1:], MAPS.get(name, dtype))
        for name in products
    }
    if image_dtype is not None:
        outputs["image"] = np.empty(shape[1:], image_dtype)
    noise, counts = statistic.noise, samples.counts
    if noise is not None and counts is not None and (counts[1] > 0).all():
        zeros, scales = counts
        noise = noise | {"scales": scales.tolist(), "zeros": (zeros / scales).tolist()}
    plan = planes.Plan(
        statistic.name,
        tuple(steps),
        "f4" if dtype.itemsize == 4 else "f8",
        samples.thresholds,
        q=statistic.q,
        ddof=statistic.ddof,
        noise=noise,
    )
    planes.combine_planes(
        samples.stack,
        plan,
        outputs,
        masks=samples.mask,
        weights=statistic.weights,
        zero=samples.zero,
        scale=samples.scale,
        n_threads=threads_for(int(np.prod(shape[1:]))),
    )
    return outputs


def mask_threshold(samples):
    """Return where raw values are outside the thresholds; None without any."""
    if samples.thresholds is None:
        return None
    return run(samples, ["mask_thresh"])["mask_thresh"]


def reduce(samples, statistic, rejectors=(), image_dtype=None):
    """
    Reject and combine, and compute nothing else.

    Parameters
    ----------
    samples : `Samples`
        What to combine.
    statistic : `Statistic`
        What the columns become.
    rejectors : sequence of `~imcombiners_astro.Rejector`
        In order; each sees what those before have left.
    image_dtype : `~numpy.dtype`, optional
        Type of the image if not that of the workspace.

    Returns
    -------
    `~numpy.ndarray` ``spatial``, or (number of percentages, *spatial)
        The image.
    """
    steps = []
    for rejector in rejectors:
        if rejector.fusible and not radius_of(rejector.grow):
            step = rejector.step(len(samples.stack), samples.counts)
            steps += [] if step is None else [step]
            continue
        # This one needs a look at whole frames: what has gathered goes first.
        if steps:
            mask = run(samples, ["mask_rej"], steps=steps)["mask_rej"]
            samples, steps = samples._replace(mask=mask), []
        mask = rejection_mask(samples, rejector, rejector.grow)
        samples = samples._replace(mask=join(samples.mask, mask))

    def image(statistic):
        return run(samples, ["image"], statistic, steps, image_dtype)["image"]

    if isinstance(statistic.q, tuple):
        shape = (len(statistic.q), *samples.stack.shape[1:])
        images = [image(statistic._replace(q=q)) for q in statistic.q]
        return np.array(images, image_dtype or samples.dtype).reshape(shape)
    return image(statistic)


def radius_of(grow):
    """Return the radius of growth; None means 0."""
    if grow is None:
        return 0.0
    return args.real("grow", grow, "a finite radius >= 0", lambda r: r >= 0)


def grown(sample_flags, radius):
    """Return the samples that growth rejects as well."""
    seeds = (sample_flags & REJECTED) != 0
    threads = threads_for(seeds[:1].size)
    mask = planes.grow_mask(seeds, radius, n_threads=threads)
    mask &= (sample_flags & (BAD | MASKED)) == 0
    return mask


class Rejection(NamedTuple):
    """
    The products of a rejection.

    Attributes
    ----------
    mask_rej : bool `~numpy.ndarray` (N, *spatial)
        True where a sample is not used.
    std : `~numpy.ndarray` ``spatial`` or None
        Spread in the last pass.
    low, upp : `~numpy.ndarray` ``spatial``
        Smallest and largest sample left.
    nit : uint8 `~numpy.ndarray` ``spatial``
        Number of passes.
    output_flags : uint8 `~numpy.ndarray` ``spatial``
        Bits of `~imcombiners_astro.OutputFlags`.
    """

    mask_rej: np.ndarray
    std: np.ndarray | None
    low: np.ndarray
    upp: np.ndarray
    nit: np.ndarray
    output_flags: np.ndarray


class Diagnosis(NamedTuple):
    """
    A rejection, and what was asked for besides.

    Attributes
    ----------
    rejection : `Rejection`
        Its products.
    sample_flags : uint8 `~numpy.ndarray` (N, *spatial) or None
        Bits of `~imcombiners_astro.SampleFlags`.
    mask_thresh : bool `~numpy.ndarray` (N, *spatial) or None
        True where a raw value is outside the thresholds.
    image : `~numpy.ndarray` ``spatial`` or None
        The combination.
    """

    rejection: Rejection
    sample_flags: np.ndarray | None = None
    mask_thresh: np.ndarray | None = None
    image: np.ndarray | None = None


def rejection_mask(samples, rejector, grow):
    """Return where samples are not used, computing nothing else."""
    if not rejector.fusible:
        return diagnose(samples, rejector, grow).rejection.mask_rej
    radius = radius_of(grow)
    step = rejector.step(len(samples.stack), samples.counts)
    name = "sample_flags" if radius or not rejector.marks_masked else "mask_rej"
    product = run(samples, [name], steps=[] if step is None else [step])[name]
    if name == "mask_rej":
        return product
    mask = unused(product, rejector.marks_masked)
    if radius:
        mask |= grown(product, radius)
    return mask


def unused(sample_flags, with_masked=True):
    """Return where a sample is not used, with or without those masked before."""
    if with_masked:
        return (sample_flags & (BAD | MASKED)) != 0
    return ((sample_flags & BAD) != 0) & ((sample_flags & MASKED) == 0)


def diagnose(samples, rejector, grow=None, *, full=False, statistic=None):
    """
    Reject with all diagnostics.

    Parameters
    ----------
    samples : `Samples`
        What to look at.
    rejector : `~imcombiners_astro.Rejector`
        How.
    grow : float, optional
        Radius of growth.
    full : bool
        Whether to return ``sample_flags`` as well.
    statistic : `Statistic`, optional
        What the image is, if it is wanted as well.

    Returns
    -------
    Diagnosis
        The products.
    """
    radius = radius_of(grow)
    if rejector.fusible:
        diagnosis = by_kernel(samples, rejector, radius, full, statistic)
    else:
        diagnosis = by_apply(samples, rejector)
    rejection, flags, mask_thresh, image = diagnosis
    if mask_thresh is not None:
        outside = mask_thresh.any(axis=0)
        rejection.output_flags[outside] |= PREMASKED
    if radius:
        added = grown(flags, radius)
        flags[added] |= GROWN
        rejection.mask_rej[added] = True
        rejection.output_flags[added.any(axis=0)] |= HAS_GROWN
    if statistic is not None and image is None:
        mask = join(samples.mask, rejection.mask_rej)
        image = reduce(samples._replace(mask=mask), statistic)
    return Diagnosis(rejection, flags if full else None, mask_thresh, image)


def by_kernel(samples, rejector, radius, full, statistic):
    """Return the products of a rejector that the kernel knows, before growth."""
    step = rejector.step(len(samples.stack), samples.counts)
    with_flags = full or radius or not rejector.marks_masked
    with_image = statistic and not radius and not isinstance(statistic.q, tuple)
    wanted = {
        "mask_rej": rejector.marks_masked,
        "sample_flags": with_flags,
        "mask_thresh": samples.thresholds is not None,
        "std": rejector.has_std,
        "low": True,
        "upp": True,
        "nit": True,
        "output_flags": True,
        "image": with_image,
    }
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    steps = [] if step is None else [step]
    shown = statistic if with_image else None
    products = dict.fromkeys(wanted) | run(samples, names, shown, steps)
    if not rejector.marks_masked:
        products["mask_rej"] = unused(products["sample_flags"], with_masked=False)
    if step is None:  # there are no limits, and no pass was run
        products["low"][...] = products["upp"][...] = np.nan
        products["nit"][...] = 0
    return Diagnosis(
        Rejection(*(products[name] for name in Rejection._fields)),
        products["sample_flags"],
        products["mask_thresh"],
        products["image"],
    )


def by_apply(samples, rejector):
    """Return the products of a rejector of somebody else, before growth."""
    mask_thresh = mask_threshold(samples)
    values, mask = samples.settled().stack, join(samples.mask, mask_thresh)
    products = rejector.apply(values, mask)
    try:
        rejection = Rejection(*products)
        mask_rej = np.array(rejection.mask_rej, dtype=bool)
        if mask_rej.shape != values.shape:
            raise ValueError(f"mask_rej has shape {mask_rej.shape}")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(rejector).__name__}.apply: expected (mask_rej, std, low, upp, nit, "
            f"output_flags) with mask_rej of shape {values.shape}; {error}"
        ) from error
    flags = run(samples, ["sample_flags"])["sample_flags"]
    flags[mask_rej & ~unused(flags)] |= REJECTED
    rejection = rejection._replace(
        mask_rej=mask_rej, output_flags=np.array(rejection.output_flags, np.uint8)
    )
    return Diagnosis(rejection, flags, mask_thresh)
