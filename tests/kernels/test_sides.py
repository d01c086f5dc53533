# Licensed under a 3-clause BSD style license - see LICENSE
"""At which side a sample was rejected, where its value does not tell."""

import numpy as np
import oracle
import pytest

from imcombiners_astro import planes

# Frame 1 has little noise and is too high for the center of the first pass, -113.
# Frame 2 has more and is too low for that of the second pass, 78, though it is higher.
COLUMN = [-1000.0, 10.0, 12.0, 100.0, 100.0, 100.0]
STEP = (
    "ccdclip",
    {
        "center": "mean",
        "low": 1.0,
        "high": 10.0,
        "rdnoise": [25.0, 1.0, 25.0, 25.0, 25.0, 25.0],
    },
)
LOW, HIGH = [1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]


@pytest.fixture
def stack():
    """The column between others where nothing happens."""
    stack = np.full((len(COLUMN), 3, 100), 100.0)
    stack[:, 1, 7] = COLUMN
    return stack


def kernel(stack, plan, **arguments):
    n_frames = len(stack)
    outputs = {
        "n_rejected_low": np.zeros(stack.shape[1:], np.uint16),
        "n_rejected_high": np.zeros(stack.shape[1:], np.uint16),
        "frame_rejected_low": np.zeros(n_frames, np.int64),
        "frame_rejected_high": np.zeros(n_frames, np.int64),
        "sample_sides": np.full(stack.shape, 77, np.uint8),
    }
    planes.combine_planes(stack, plan, outputs, **arguments)
    return outputs


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("work", ["f4", "f8"])
def test_a_higher_sample_rejected_as_low(stack, work, n_threads):
    stack = stack.astype(work)
    plan = oracle.Plan("mean", (STEP,), work=work)
    truth = oracle.combine(stack, plan)
    found = kernel(stack, planes.Plan("mean", (STEP,), work=work), n_threads=n_threads)
    for outputs in (truth, found):
        assert (outputs["n_rejected_low"][1, 7], outputs["n_rejected_high"][1, 7]) == (
            (2, 1)
        )
        assert outputs["frame_rejected_low"].tolist() == LOW
        assert outputs["frame_rejected_high"].tolist() == HIGH
        sides = outputs["sample_sides"]
        assert sides[:, 1, 7].tolist() == [1, 2, 1, 0, 0, 0]
        assert sides.sum() == 4


def test_a_lower_sample_put_back_and_rejected_as_high():
    # Both limits of the first step are above the center, 100: 109 is too low. 100 is as
    # well, but put back, being the nearest; the second step finds it too high.
    linear = {"low_scale": 1.1, "low": 0.0, "upp_scale": 1.2, "upp": 0.0}
    steps = (
        ("linearclip", linear | {"maxiters": 1, "nkeep": 1, "revert": "closest"}),
        ("range", {"low": 0.0, "high": 99.0}),
    )
    stack = np.array([60.0, 95.0, 100.0, 109.0, 150.0])[:, np.newaxis]
    found = kernel(stack, planes.Plan("mean", steps))
    truth = oracle.combine(stack, oracle.Plan("mean", steps))
    for outputs in (truth, found):
        assert outputs["sample_sides"][:, 0].tolist() == [1, 1, 2, 1, 2]
        assert outputs["frame_rejected_low"].tolist() == [1, 1, 0, 1, 0]
        assert outputs["frame_rejected_high"].tolist() == [0, 0, 1, 0, 1]
