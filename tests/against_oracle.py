# Licensed under a 3-clause BSD style license - see LICENSE
"""The kernel beside the oracle: run both, compare to the last bit, count the cases.

Sums have a defined order and decisions a defined arithmetic, so nothing is
compared with a tolerance: masks, counts, flags, images and uncertainties must be
those of the oracle (NaN equal to NaN, 0.0 to -0.0).
"""

from dataclasses import fields

import numpy as np
import oracle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import cases

from imcombiners_astro import planes

#: Random cases compared in this run, by what they are compared with.
TALLY = {
    "kernel against oracle": {"cases": 0, "columns": 0, "mismatches": 0},
    "routes against routes and oracle": {"cases": 0, "columns": 0, "mismatches": 0},
}


class Summary:
    """Prints how much was compared at the end of the run."""

    def pytest_terminal_summary(self, terminalreporter):
        for name, counts in TALLY.items():
            terminalreporter.write_line(
                f"{name}: {counts['cases']} cases, {counts['columns']} columns "
                f"compared, {counts['mismatches']} mismatches"
            )


def show_tally(config):
    """Have the counts printed at the end of the run."""
    if not config.pluginmanager.hasplugin("oracle-summary"):
        config.pluginmanager.register(Summary(), "oracle-summary")


def kernel_plan(case):
    """The plan of a case for the kernel."""
    return planes.Plan(
        **{f.name: getattr(case.plan, f.name) for f in fields(case.plan)}
    )


def run_kernel(case, names, n_threads=None, zeroed=False):
    """The named outputs of the kernel for this case, from what is in them before."""
    plan = kernel_plan(case)
    arguments = case.arguments
    if case.fits is not None:
        arguments["fits"] = [
            scaling and planes.FitsScaling(**vars(scaling)) for scaling in case.fits
        ]
    outputs = {}
    types = oracle.output_types(case.output_dtype, dq=case.flags is not None)
    for name, dtype in types.items():
        if name in names:
            cube = name in oracle.CUBES
            shape = (len(case.pixels), *case.shape) if cube else case.shape
            before = 0 if zeroed and dtype.kind != "f" else 77
            outputs[name] = np.full(shape, before, dtype)
    for name in oracle.PER_FRAME:
        if name in names:
            outputs[name] = np.full(len(case.pixels), 77, np.int64)
    if not (plan.ivar or "uncertainty" in outputs):
        outputs.pop("frame_negative", None)  # no variances are read
    arguments |= {"n_threads": n_threads, "zeroed": zeroed}
    planes.combine_planes(case.pixels, plan, outputs, **arguments)
    return outputs


def describe(case, truth, got, name):
    """The first differing column, in full."""
    differ = ~np.isclose(got[name], truth[name], rtol=0, atol=0, equal_nan=True)
    if name in oracle.PER_FRAME:
        return f"{name}: kernel {got[name]}, oracle {truth[name]}\n{case!r}"
    where = tuple(int(i) for i in np.argwhere(differ)[0])
    pixel = where if truth[name].shape == case.shape else where[1:]
    lines = [f"{name} differs in {differ.sum()} of {differ.size} places", repr(case)]
    raw = [
        oracle.load_plane(plane, case.fits and case.fits[k])[pixel]
        for k, plane in enumerate(case.pixels)
    ]
    lines.append(f"pixel {pixel}, column {[float(x) for x in raw]}")
    if case.masks is not None:
        lines.append(f"mask_rej {truth['mask_rej'][(slice(None), *pixel)].tolist()}")
        flags = truth["sample_flags"][(slice(None), *pixel)]
        lines.append(f"input mask {(flags & oracle.INPUT_MASK).tolist()}")
    for key in ("zero", "factor", "scale"):
        if getattr(case, key) is not None:
            lines.append(f"{key} {getattr(case, key).tolist()}")
    if case.weights is not None:
        weights = [np.broadcast_to(w, case.shape)[pixel] for w in case.weights]
        lines.append(f"weights {[float(w) for w in weights]}")
    if case.variances is not None:
        variances = [float(plane[pixel]) for plane in case.variances]
        lines.append(f"variances {variances}")
    for key, values in got.items():
        if key in oracle.PER_FRAME:
            continue
        at = pixel if values.shape == case.shape else (slice(None), *pixel)
        a, b = values[at].tolist(), truth[key][at].tolist()
        lines.append(f"  {key}: kernel {a!r}, oracle {b!r}")
    return "\n".join(lines)


def check(case, some):
    """Compare every output, then the image alone, then some of the outputs."""
    truth = oracle.combine(
        case.pixels, case.plan, output_dtype=case.output_dtype, **case.arguments
    )
    everything = [n for n in truth if n != "uncertainty" or case.plan.uncertainty]
    tally = TALLY["kernel against oracle"]
    tally["cases"] += 1
    tally["columns"] += int(np.prod(case.shape))
    # What is asked for decides which code runs, so ask in more than one way.
    for names in (everything, ["image"], [n for n in everything if n in some]):
        got = run_kernel(case, names, zeroed=len(some) % 2 == 1)
        for name, values in got.items():
            if not np.array_equal(
                values, truth[name], equal_nan=values.dtype.kind == "f"
            ):
                tally["mismatches"] += 1
                raise AssertionError(
                    f"asked for {names}\n" + describe(case, truth, got, name)
                )
    try:
        check_column(case, truth)
    except AssertionError:
        tally["mismatches"] += 1
        raise


def check_column(case, truth):
    """Compare the code for single columns, where it can do what the case asks for."""
    numbers = (case.weights, case.zero, case.factor, case.scale, case.fits)
    weighted = case.plan.statistic in ("wmean", "wsum")
    by_rows = any(name == "avsigclip" for name, _ in case.plan.steps)
    one_type = len({plane.dtype for plane in case.pixels}) == 1
    if weighted or by_rows or not one_type or any(x is not None for x in numbers):
        return
    pixel = tuple(n // 2 for n in case.shape)
    everywhere = (slice(None), *pixel)
    column = np.array([plane[pixel] for plane in case.pixels])
    bad = (truth["sample_flags"][everywhere] & oracle.INPUT_MASK) != 0
    found = planes.combine_column(column, kernel_plan(case), bad)
    names = ("image", "mask_rej", "std", "low", "upp", "nit", "output_flags")
    for name, value in zip(names, found, strict=True):
        expected = truth[name][everywhere if name == "mask_rej" else pixel]
        with np.errstate(over="ignore"):
            value = np.asarray(value).astype(expected.dtype)
        assert np.array_equal(value, expected, equal_nan=name != "mask_rej"), (
            f"{case!r}\nfull column {column.tolist()}, mask {bad.tolist()}\n"
            f"{name}: single column {value}, oracle {expected}"
        )


def compared(max_examples, strategy=cases, **options):
    """Decorator: so many random cases, drawn with these options."""

    def decorate(function):
        names = [*oracle.output_types(dq=True), *oracle.PER_FRAME]
        wanted = st.sets(st.sampled_from(names), max_size=4)
        return settings(
            max_examples=max_examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )(given(case=strategy(**options), some=wanted)(function))

    return decorate
