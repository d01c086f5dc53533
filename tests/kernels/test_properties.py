# Licensed under a 3-clause BSD style license - see LICENSE
"""The kernel against the oracle on random stacks: equal to the last bit.

Sums have a defined order and decisions a defined arithmetic, so nothing is
compared with a tolerance: masks, counts, flags, images and uncertainties must be
those of the oracle (NaN equal to NaN, 0.0 to -0.0).
"""

from dataclasses import fields

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import cases, knife_edges

from imcombiners_astro import planes

TALLY = {"cases": 0, "columns": 0, "mismatches": 0}


class Summary:
    """Prints how much was compared at the end of the run."""

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.write_line(
            "kernel against oracle: {cases} cases, {columns} columns compared, "
            "{mismatches} mismatches".format(**TALLY)
        )


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    request.config.pluginmanager.register(Summary(), "oracle-summary")


def run_kernel(case, names, n_threads=None):
    """The named outputs of the kernel for this case."""
    plan = planes.Plan(
        **{f.name: getattr(case.plan, f.name) for f in fields(case.plan)}
    )
    arguments = case.arguments
    if case.fits is not None:
        arguments["fits"] = [
            scaling and planes.FitsScaling(**vars(scaling)) for scaling in case.fits
        ]
    outputs = {}
    for name, dtype in oracle.output_types(case.output_dtype).items():
        if name in names:
            cube = name in ("mask_rej", "mask_thresh", "sample_flags")
            shape = (len(case.pixels), *case.shape) if cube else case.shape
            outputs[name] = np.full(shape, 77, dtype)
    planes.combine_planes(case.pixels, plan, outputs, n_threads=n_threads, **arguments)
    return outputs


def describe(case, truth, got, name):
    """The first differing column, in full."""
    differ = ~np.isclose(got[name], truth[name], rtol=0, atol=0, equal_nan=True)
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
    for key, values in got.items():
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
    TALLY["cases"] += 1
    TALLY["columns"] += int(np.prod(case.shape))
    # What is asked for decides which code runs, so ask in more than one way.
    for names in (everything, ["image"], [n for n in everything if n in some]):
        got = run_kernel(case, names)
        for name, values in got.items():
            if not np.array_equal(
                values, truth[name], equal_nan=values.dtype.kind == "f"
            ):
                TALLY["mismatches"] += 1
                raise AssertionError(
                    f"asked for {names}\n" + describe(case, truth, got, name)
                )


def compared(max_examples, strategy=cases, **options):
    """Decorator: so many random cases, drawn with these options."""

    def decorate(function):
        wanted = st.sets(st.sampled_from(list(oracle.output_types())), max_size=4)
        return settings(
            max_examples=max_examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )(given(case=strategy(**options), some=wanted)(function))

    return decorate


@compared(450)
def test_statistics(case, some):
    check(case, some)


@compared(200, plain=True)
def test_plain_cubes(case, some):
    check(case, some)


@compared(450, steps="sigclip")
def test_sigma_clipping(case, some):
    check(case, some)


@compared(350, steps="sigclip", plain=True)
def test_sigma_clipping_of_plain_cubes(case, some):
    check(case, some)


@compared(150, strategy=knife_edges)
def test_samples_at_the_bounds_of_the_clip(case, some):
    check(case, some)


@compared(300, steps="limits")
def test_limits_of_sigma_clipping(case, some):
    check(case, some)


@compared(250, steps="extrema")
def test_extrema(case, some):
    check(case, some)


@compared(80, steps="range")
def test_range(case, some):
    check(case, some)


@compared(300, steps="chain")
def test_chains_of_steps(case, some):
    check(case, some)


@compared(200, raw_fits=True)
def test_raw_fits_values(case, some):
    check(case, some)


@compared(100, raw_fits=True, steps="sigclip")
def test_clipping_of_raw_fits_values(case, some):
    check(case, some)
