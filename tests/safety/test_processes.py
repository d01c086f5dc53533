# Licensed under a 3-clause BSD style license - see LICENSE
"""What must not go wrong around a combination: forks, threads, panics."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

from imcombiners_astro.planes import Plan, combine_planes

STACK = np.random.default_rng(3).normal(1000, 10, (9, 200, 300))
CLIP = Plan("mean", (("sigclip", {"low": 2.0, "high": 2.0}),))


def combined(n_threads=2):
    outputs = {"image": np.empty(STACK.shape[1:])}
    combine_planes(STACK, CLIP, outputs, n_threads=n_threads)
    return outputs["image"]


def put(queue):
    queue.put(combined())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    expected = combined()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=put, args=(queue,), daemon=True)
    child.start()
    try:
        np.testing.assert_array_equal(queue.get(timeout=60), expected)
    finally:
        child.kill()
        child.join()


def test_many_threads_at_once_get_the_same_bits():
    expected = combined(1)
    found = [None] * 8

    def work(k):
        found[k] = combined(1 + k % 3)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for image in found:
        np.testing.assert_array_equal(image, expected)


def test_another_thread_runs_meanwhile():
    """The interpreter is released while the kernels work."""
    stop, ticks = threading.Event(), []

    def tick():
        while not stop.wait(0.001):
            ticks.append(None)

    clock = threading.Thread(target=tick)
    clock.start()
    try:
        big = np.broadcast_to(STACK[:, None], (9, 20, 200, 300))
        outputs = {"image": np.empty(big.shape[1:])}
        before = len(ticks)
        combine_planes(list(big), CLIP, outputs, n_threads=1)
        during = len(ticks) - before
    finally:
        stop.set()
        clock.join()
    assert during > 0
