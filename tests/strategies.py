# Licensed under a 3-clause BSD style license - see LICENSE
"""Random stacks, plans and layouts for hypothesis.

Hypothesis draws the kind of every ingredient and one seed; NumPy's generator
fills the pixels from that seed.  So an example costs as little as its pixels do,
and still shrinks to few frames, few steps and the plainest layout.
"""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st
from oracle import MAD_TO_STD, Plan
from strategies_steps import noise_options, steps_by_name

__all__ = ["Case", "cases", "knife_edges", "lay_out", "make_values", "planes_of"]

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
DTYPES = ("f4", "f8", *INTEGERS)

#: How values are spread along and across the columns.
KINDS = (
    "noise",
    "ties",
    "outliers",
    "constant",
    "nearly constant",
    "offset",
    "signed zeros",
    "decades",
    "tiny",
    "huge",
    "limits",
)

STATISTICS = tuple(
    "mean median lmedian sum min max variance std wmean wsum percentile "
    "quadrature nmodel".split()
)
UNCERTAINTIES = (None, "std_error", "mad_error", "std_sum", "scatter")

SHAPES = ((7,), (), (3, 5), (2, 3, 4), (67,), (5, 33), (131,))

#: How an array of planes is handed over.
LAYOUTS = (
    "cube",
    "list",
    "big-endian",
    "list of cuts",
    "list of Fortran",
    "Fortran cube",
    "stack axis last",
    "every other pixel",
    "upside down",
    "mixed byte order",
    "unaligned",
    "read-only",
)


@dataclass
class Case:
    """All arguments of one combination."""

    pixels: object
    plan: Plan
    masks: object = None
    weights: object = None
    zero: object = None
    factor: object = None
    scale: object = None
    fits: object = None
    variances: object = None
    errors: object = None
    flags: object = None
    output_dtype: str = "f8"
    note: dict = field(default_factory=dict)

    @property
    def arguments(self):
        """What goes with the pixels and the plan, as keywords."""
        names = "masks weights zero factor scale fits variances errors flags".split()
        return {name: getattr(self, name) for name in names}

    @property
    def shape(self):
        return np.shape(self.pixels[0])

    def __repr__(self):
        return (
            f"Case(N={len(self.pixels)}, shape={self.shape}, {self.note}, {self.plan}, "
            f"output_dtype={self.output_dtype!r})"
        )

    def _repr_pretty_(self, printer, cycle):
        """What hypothesis prints: not the pixels, `note` says how to make them."""
        printer.text(repr(self))


# ----------------------------------------------------------------- the values


def make_values(rng, kind, dtype, shape, bad=0.0):
    """An array of the dtype whose columns (axis 0) look as ``kind`` says.

    ``bad`` is the fraction of NaN and infinite samples (float dtypes only).
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        return _integers(rng, kind, dtype, shape)
    info = np.finfo(dtype)
    noise = rng.standard_normal(shape)
    if kind == "ties":
        values = rng.integers(-3, 4, shape).astype(float)
    elif kind == "outliers":
        values = 1000 + 30 * noise
        hit = rng.random(shape)
        values = np.where(hit < 0.08, values + 10 ** (4 * rng.random(shape)), values)
        values = np.where(hit > 0.96, values - 10 ** (4 * rng.random(shape)), values)
    elif kind == "constant":
        values = np.broadcast_to(np.round(1000 * noise[:1], 1), shape)
    elif kind == "nearly constant":
        values = np.where(rng.random(shape) < 0.9, 0.1, 0.1 + 0.01 * noise)
    elif kind == "offset":
        values = 1e8 + noise
    elif kind == "signed zeros":
        values = rng.choice([0.0, -0.0, 0.0, -0.0, 1.0, -1.0], shape)
    elif kind == "decades":
        values = noise * 10.0 ** rng.integers(-6, 7, shape)
    elif kind == "tiny":
        values = noise * float(info.tiny) * 4
    elif kind == "huge":
        values = noise * (float(info.max) / 64)
    elif kind == "limits":
        choice = [
            0.0,
            info.max,
            info.min,
            info.tiny,
            -info.tiny,
            info.smallest_subnormal,
        ]
        values = rng.choice(np.array(choice, dtype=np.float64), shape)
    else:
        values = 1000 + 30 * noise
    with np.errstate(over="ignore", under="ignore"):
        values = np.array(values, dtype=dtype)
    if bad:
        absent = np.array([np.nan, np.nan, -np.nan, np.inf, -np.inf], dtype=dtype)
        values = np.where(rng.random(shape) < bad, rng.choice(absent, shape), values)
    return np.ascontiguousarray(values)


def _integers(rng, kind, dtype, shape):
    """As `make_values`; what does not fit the dtype is clipped."""
    info = np.iinfo(dtype)
    middle = (int(info.max) + int(info.min)) // 2 if dtype.itemsize == 1 else 1000
    if kind == "limits":
        choice = np.array([info.min, info.max, info.max - 1, info.min + 1], dtype=dtype)
        return rng.choice(choice, shape)
    if kind in ("huge", "decades", "tiny"):
        values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        if kind == "tiny":  # neighbours beyond the 53 bits of a double
            return (info.max - (values & dtype.type(7))).astype(dtype)
        return values
    if kind == "ties":
        values = rng.integers(middle - 3, middle + 4, shape).astype(float)
    elif kind == "constant":
        values = np.broadcast_to(middle + rng.integers(0, 50, (1, *shape[1:])), shape)
    elif kind == "nearly constant":
        values = np.where(rng.random(shape) < 0.9, middle, middle + 1)
    elif kind == "offset":
        values = 0.9 * float(info.max) + 3 * rng.standard_normal(shape)
    else:
        values = middle + 30 * rng.standard_normal(shape)
    if kind == "outliers":
        values = np.where(rng.random(shape) < 0.05, values + 3000, values)
    # The largest double below 2**63 or 2**64, not the limit itself: it rounds up.
    top = float(np.nextafter(float(info.max), 0)) if info.max >= 2**53 else info.max
    return np.clip(np.rint(values), info.min, top).astype(dtype)


def make_masks(rng, kind, shape):
    """Masks of a stack of that shape, as ``kind`` says."""
    n_frames, plane = shape[0], shape[1:]
    if kind is None:
        return None
    if kind == "plane":
        return np.asarray(rng.random(plane) < 0.3)
    cube = rng.random(shape) < rng.choice([0.02, 0.2, 0.6])
    cube[:, rng.random(plane) < 0.05] = True  # nothing left in these columns
    cube[rng.random(n_frames) < 0.1] = True
    if kind == "list":
        return [None if rng.random() < 0.3 else mask for mask in planes_of(cube)]
    if kind == "Fortran":
        return np.asfortranarray(cube)
    if kind == "cut" and plane:
        wide = np.ones((n_frames, *plane[:-1], plane[-1] + 5), bool)
        wide[..., 2:-3] = cube
        return wide[..., 2:-3]
    return cube


# ---------------------------------------------------------------- the layouts


def planes_of(cube):
    """The planes of a stack, 0-d arrays where they are single pixels."""
    return [cube[k, ...] for k in range(len(cube))]


def lay_out(cube, layout):
    """The same planes in another shape of memory."""
    n_frames, plane = cube.shape[0], cube.shape[1:]
    swapped = cube.dtype.newbyteorder(">")
    if layout == "list":
        return [p.copy() for p in planes_of(cube)]
    if layout == "big-endian":
        return cube.astype(swapped)
    if layout == "mixed byte order":
        return [np.array(p, [cube.dtype, swapped][k % 2]) for k, p in enumerate(cube)]
    if layout == "read-only":
        cube = cube.copy()
        cube.flags.writeable = False
        return cube
    if layout == "stack axis last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(cube, 0, -1)), -1, 0)
    if layout == "Fortran cube":
        return np.asfortranarray(cube)
    if layout == "list of Fortran":
        return [np.array(p, order="F") for p in planes_of(cube)]
    if layout == "unaligned":
        raw = np.frombuffer(b"\0" + cube.tobytes(), np.uint8)[1:]
        return raw.view(cube.dtype).reshape(cube.shape)
    if not plane:
        return cube
    if layout == "list of cuts":
        wide = np.zeros((n_frames, *(n + 3 for n in plane)), cube.dtype)
        inside = (slice(None), *(slice(1, 1 + n) for n in plane))
        wide[inside] = cube
        return planes_of(wide[inside])
    if layout == "every other pixel":
        wide = np.zeros((*cube.shape[:-1], 2 * cube.shape[-1]), cube.dtype)
        wide[..., ::2] = cube
        return wide[..., ::2]
    if layout == "upside down":  # negative strides, rows contiguous if there are any
        flipped = cube[::-1, ::-1].copy()
        return flipped[::-1, ::-1]
    return cube


# ------------------------------------------------------------------- the case

FEW = st.integers(1, 12)
SOME = st.sampled_from([13, 15, 16, 17, 20, 25, 31, 32])
MANY = st.sampled_from([33, 40, 47, 48, 49, 63, 64, 65, 66, 70])


def limits_of(rng, planes):
    """Two values of the stack, in order (for thresholds and ranges)."""
    flat = np.concatenate([np.ravel(p).astype(np.float64) for p in planes])
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return -1.0, 1.0
    low, high = np.sort(rng.choice(flat, 2))
    return float(min(low, np.quantile(flat, 0.3, method="lower"))), float(high)


@st.composite
def cases(draw, steps="none", raw_fits=False, statistics=None, plain=False):
    """Strategy for a `Case`.

    Parameters
    ----------
    steps : str
        "none", a name of `strategies_steps.steps_by_name`, or a "chain" of several.
    raw_fits : bool
        Planes of raw FITS values with their scaling.
    statistics : sequence of str, optional
        Among which to choose; default all.
    plain : bool
        One C-contiguous native cube, no transform: for the fastest paths.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_frames = draw(st.one_of(FEW, FEW, SOME, SOME, MANY), label="N")
    shape = draw(st.sampled_from(SHAPES), label="shape")
    kind = draw(st.sampled_from(KINDS), label="kind")
    full = (n_frames, *shape)
    note = {"kind": kind}
    fits = None

    if raw_fits:
        pixels, fits, note["dtype"] = draw(fits_planes(rng, kind, full))
        exact = all(p.dtype.itemsize <= 2 for p in pixels)
    else:
        mixed = not plain and draw(st.integers(0, 7), label="mixed") == 7
        names = DTYPES if not plain else ("f4", "u2", "f4", "f8", "i2", "u1")
        dtype = draw(st.sampled_from(names), label="dtype")
        bad = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]), label="bad")
        layout = "cube" if plain else draw(st.sampled_from(LAYOUTS), label="layout")
        note |= {"dtype": dtype, "layout": layout, "bad": bad}
        if mixed:
            note["dtype"] = "mixed"
            types = [rng.choice(DTYPES) for _ in range(n_frames)]
            pixels = [
                make_values(rng, kind, t, (1, *shape), bad)[0, ...] for t in types
            ]
            if layout in ("big-endian", "mixed byte order"):
                pixels = [p.astype(p.dtype.newbyteorder(">")) for p in pixels]
            exact = False
        else:
            cube = make_values(rng, kind, dtype, full, bad)
            exact = dtype in ("u1", "i1", "u2", "i2", "f4")
            pixels = lay_out(cube, layout)

    options = {
        "statistic": draw(
            st.sampled_from(statistics or STATISTICS),
            label="statistic",
        ),
        "ddof": draw(st.sampled_from([0, 1, 2]), label="ddof"),
        "uncertainty": draw(
            st.sampled_from(UNCERTAINTIES),
            label="uncertainty",
        ),
        # f4 mostly where it is exact, but rounding is defined for the others too.
        "work": "f4"
        if draw(st.integers(0, 7), label="work") < (5 if exact else 1)
        else "f8",
    }
    if options["statistic"] == "percentile":
        options["q"] = draw(st.sampled_from([50, 0, 100, 25, 84.134, 99.9]), label="q")
    if options["statistic"] == "nmodel":
        noise = st.fixed_dictionaries({}, optional=noise_options(n_frames))
        options["noise"] = draw(noise, label="noise")
    low_high = limits_of(rng, pixels)
    if draw(st.integers(0, 3), label="thresholds") == 3:
        options["thresholds"] = draw(
            st.sampled_from(
                [low_high, (low_high[0], math.inf), (-math.inf, low_high[1])]
            )
        )
    if draw(st.integers(0, 5), label="blank") == 5:
        options["blank"] = -7.5

    a_step = steps_by_name(n_frames, low_high)
    if "chain" in steps:
        chain = draw(st.lists(a_step[steps], min_size=2, max_size=4), label="steps")
        options["independent"] = draw(st.booleans(), label="independent")
    elif steps == "none":
        chain = []
    else:
        chain = [draw(a_step[steps], label="step")]
        options["independent"] = draw(st.integers(0, 3), label="independent") == 3
    options["steps"] = tuple(chain)

    mask_kinds = [None, "cube", "plane", "list", "Fortran", "cut"]
    mask_kind = draw(
        st.sampled_from(mask_kinds[:3] if plain else mask_kinds), label="mask"
    )
    case = Case(
        pixels,
        Plan(**options),
        masks=make_masks(rng, mask_kind, full),
        fits=fits,
        output_dtype=draw(st.sampled_from(["f8", "f4"]), label="output"),
        note=note | {"mask": mask_kind},
    )
    weighted = options["statistic"] in ("wmean", "wsum")
    if weighted or (
        options["statistic"] in ("quadrature", "nmodel") and draw(st.booleans())
    ):
        case.weights = draw(weightings(rng, full))
    if not plain:
        for name in ("zero", "factor", "scale"):
            if draw(st.integers(0, 3), label=name) == 3:
                setattr(case, name, make_numbers(rng, name, n_frames))
                note[name] = True
        case.plan.transform_after = draw(st.integers(0, 3), label="after") == 3
    return case


def make_numbers(rng, name, n_frames):
    """One number per frame; zeros of any size, positive factors near one."""
    if name == "zero":
        return rng.normal(0, 50, n_frames)
    numbers = rng.uniform(0.5, 2.0, n_frames)
    return np.where(rng.random(n_frames) < 0.3, 1.0, numbers)


@st.composite
def weightings(draw, rng, shape):
    """Weights of a stack, per frame or per sample."""
    kind = draw(st.sampled_from(["vector", "cube", "list", "zeros", "signed"]))
    if kind == "vector":
        return rng.uniform(0.1, 3, shape[0])
    if kind == "zeros":
        return np.where(rng.random(shape[0]) < 0.7, 0.0, 1.0)
    if kind == "signed":
        return rng.integers(-1, 2, shape[0]).astype(np.float64)
    cube = rng.uniform(0.0, 3, shape)
    return cube if kind == "cube" else planes_of(cube)


@st.composite
def fits_planes(draw, rng, kind, shape):
    """Raw planes as they lie in FITS files, with their scaling."""
    dtype = draw(st.sampled_from(["i2", "u1", "i4", "i8", "f4", "f8"]), label="BITPIX")
    cube = make_values(rng, kind, dtype, shape)
    raw = cube.astype(np.dtype(dtype).newbyteorder(">"))
    unsigned = dtype[0] != "f" and draw(st.booleans(), label="unsigned")
    scaled = draw(st.sampled_from([None, (0.1, 3.7), (1.0, 32768.0), (2.0, 0.0)]))
    blank = None
    if dtype[0] != "f" and not unsigned and draw(st.booleans(), label="BLANK"):
        blank = int(cube.flat[0])
    scaling = SimpleNamespace(unsigned=unsigned, bscale=1.0, bzero=0.0, blank=blank)
    if unsigned:
        bits = 8 * cube.dtype.itemsize
        scaling.bzero = -128.0 if bits == 8 else 2.0 ** (bits - 1)
    elif scaled:
        scaling.bscale, scaling.bzero = scaled
    fits = [scaling] * shape[0]
    if draw(st.integers(0, 3), label="some without scaling") == 3:
        fits = [None if rng.random() < 0.4 else scaling for _ in range(shape[0])]
    return planes_of(raw), fits, f"FITS {dtype} {vars(scaling)}"


# ------------------------------------------------------------------ knife edges


@st.composite
def knife_edges(draw):
    """Columns with one sample within a few ulps of the bound of the clip.

    Single precision cannot decide such samples, double precision must.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    sigma = draw(st.sampled_from([1.0, 1.5, 2.0, 3.0]), label="sigma")
    fewest = math.ceil(sigma**2) + 3
    n_frames = fewest + draw(
        st.sampled_from([0, 1, 2, 5, 9, 21, 22, 40, 55]), label="N"
    )
    dtype = draw(st.sampled_from(["f4", "f4", "f8"]), label="dtype")
    center = draw(st.sampled_from(["median", "mean"]), label="center")
    spread = draw(st.sampled_from(["std", "std", "mad"]), label="spread")
    level, noise = draw(
        st.sampled_from([(1000, 30), (60000, 1.3), (0, 1), (1e-3, 1e-5), (-3e7, 900)]),
        label="level",
    )
    with_outlier = draw(st.booleans(), label="outlier")

    shape = (n_frames, 131)
    pixels = (level + noise * rng.standard_normal(shape)).astype(dtype)
    # The last sample goes to the bound that the others, and itself, make; a gross
    # outlier before it is for the first pass, so that the bound is the second's.
    n = n_frames - with_outlier
    others = pixels[: n - 1].astype(np.float64)
    if center == "mean" and spread == "std":
        squares = ((others - others.mean(axis=0)) ** 2).sum(axis=0)
        distance = sigma * np.sqrt(squares * n / ((n - 1) * (n - 1 - sigma**2)))
        edge = others.mean(axis=0) + distance
    else:
        center = "median"
        top = np.concatenate([others, others.max(axis=0, keepdims=True)])
        c = np.median(top, axis=0)
        if spread == "mad":
            edge = c + sigma * (MAD_TO_STD * np.median(abs(top - c), axis=0))
        else:
            squares = ((others - c) ** 2).sum(axis=0)
            edge = c + sigma * np.sqrt(squares / (n - sigma**2))
    edge = edge.astype(dtype)
    pixels[n - 1] = edge + rng.integers(-2, 3, shape[1:]) * np.spacing(edge)
    if with_outlier:
        pixels[n] = level + 1000 * noise
    if draw(st.booleans(), label="low side"):
        pixels = -pixels
    pixels = rng.permuted(pixels, axis=0)
    clip = {"low": sigma, "high": sigma, "center": center, "spread": spread}
    clip["maxiters"] = draw(st.sampled_from([5, 1, 2, None]), label="maxiters")
    statistic = draw(st.sampled_from(["mean", "median"]), label="statistic")
    plan = Plan(statistic=statistic, work=dtype, steps=(("sigclip", clip),))
    return Case(pixels, plan, note={"kind": "knife edge", "dtype": dtype})
