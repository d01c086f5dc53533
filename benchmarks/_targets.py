# Licensed under a 3-clause BSD style license - see LICENSE
"""What is aimed at; the tables say next to every figure whether it is reached."""

# Ratio to reading the stack, by instruction set and type of the samples, with the
# depths it is for. A clip about the median by the MAD sorts distances once more.
FEW, MANY = range(5, 26), range(100, 501)


def _limits(clip, median, mean=None, mad=None):
    limits = {
        "mean": mean,
        "median": median,
        "sigclip median/std": clip,
        "sigclip mean/std": clip,
        "sigclip median/mad": mad,
    }
    return {name: limit for name, limit in limits.items() if limit is not None}


TO_READING = {
    ("avx512", "f32"): (
        (FEW, _limits(3.2, 1.8, mean=1.5, mad=9)),
        ((31,), _limits(3.0, 1.8, mean=1.5, mad=5)),
        ((50,), _limits(4, 2)),
        (MANY, _limits(10, 5)),
    ),
    ("avx512", "u16"): (((31,), _limits(4.2, 1.8)),),
    ("avx512", "u16 fits"): (((31,), _limits(4.2, 1.8)),),
    ("avx512", "f64"): (((31,), _limits(4, 2)),),
    ("avx2", "f32"): (((31,), _limits(7, 2.5)),),
    ("base", "f32"): (((31,), _limits(12, 6)),),
}

# Ratio to the clip about the median at the same depth.
TO_CLIP = dict.fromkeys(("minmax", "pclip", "ccdclip", "linearclip"), 1.5)

# Ratio to the same call without it.
EXTRAS = {
    "mask": 1.2,
    "NaN": 1.2,
    "big-endian": 1.25,
    "simple": 1.5,
    "full": 2.0,
}

# The same for images with uncertainties.
FULL_AND_PROPAGATE = 2.5

# Times faster than the released imcombiners, by operation and depth, with 1 thread and
# with more.
FASTER_THAN_IMCOMBINERS = {
    ("median", 31): (50, 30),
    ("median", 5): (20, 20),
    ("sigclip median/std", 31): (50, 30),
    ("sigclip median/std", 5): (20, 20),
    ("sigclip mean/std", 31): (15, 15),
    ("sigclip, simple", 31): (20, 20),
    ("sigclip, full", 31): (20, 20),
}

# Times faster than other programs, from files to a file.
FASTER_THAN_PROGRAMS = {
    ("IRAF", "sigclip"): 8,
    ("gnuastro", "sigclip"): 6,
    ("ccdproc", "sigclip"): 15,
    ("ccdproc", "median"): 20,
}


def to_reading(level, dtype, n, operation):
    """Return the largest ratio to reading that is aimed at; None if there is none."""
    for depths, limits in TO_READING.get((level, dtype), ()):
        if n in depths:
            return limits.get(operation)
    return None


def verdict(ratio, at_most=None, at_least=None):
    """Return the columns ``asked`` and ``met`` of a ratio."""
    if at_most is not None:
        return {
            "asked": f"<= {at_most:.3g}",
            "met": "yes" if ratio <= at_most else "no",
        }
    if at_least is not None:
        return {
            "asked": f">= {at_least:.3g}",
            "met": "yes" if ratio >= at_least else "no",
        }
    return {"asked": "", "met": ""}
