# Licensed under a 3-clause BSD style license - see LICENSE
"""The kernel against the oracle on random stacks: equal to the last bit."""

import pytest
from against_oracle import check, compared, show_tally
from strategies import knife_edges


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    show_tally(request.config)


@compared(720)
def test_statistics(case, some):
    check(case, some)


@compared(320, plain=True)
def test_plain_cubes(case, some):
    check(case, some)


@compared(720, steps="sigclip")
def test_sigma_clipping(case, some):
    check(case, some)


@compared(560, steps="sigclip", plain=True)
def test_sigma_clipping_of_plain_cubes(case, some):
    check(case, some)


@compared(240, strategy=knife_edges)
def test_samples_at_the_bounds_of_the_clip(case, some):
    check(case, some)


@compared(480, steps="limits")
def test_limits_of_sigma_clipping(case, some):
    check(case, some)


@compared(400, steps="extrema")
def test_extrema(case, some):
    check(case, some)


@compared(120, steps="range")
def test_range(case, some):
    check(case, some)


@compared(480, steps="chain")
def test_chains_of_steps(case, some):
    check(case, some)


@compared(320, raw_fits=True)
def test_raw_fits_values(case, some):
    check(case, some)


@compared(160, raw_fits=True, steps="sigclip")
def test_clipping_of_raw_fits_values(case, some):
    check(case, some)
