# Licensed under a 3-clause BSD style license - see LICENSE
"""
The limit: how long does it take only to read a stack?

A few lines of C, compiled when they are needed, add up the 64-bit words of the stack in
8 accumulators of 64 bytes, from its first byte to its last. Threads are made once and
wait for work in a loop, so that neither making them nor waking them counts; the
quickest of many reads is taken. A prefetch 2 KiB ahead makes it quicker on some
processors. Without a compiler numpy does what it can, and says so.
"""

import ctypes
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

SOURCE = r"""
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MAX_THREADS 256

typedef uint64_t words __attribute__((vector_size(64), aligned(8)));

typedef struct {
    const char *start;
    size_t bytes;
    int prefetch;
    uint64_t total;
} part;

static atomic_int turn, n_done;

#define PLAIN(k) a##k += q[i + k];
#define AHEAD(k) __builtin_prefetch((const char *)(q + i + k) + 2048); a##k += q[i + k];
#define LOOP(ADD)                                            \
    for (size_t i = 0; i < whole; i += 8) {                  \
        ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7) \
    }

static void read_part(part *p)
{
    words a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
    const words *q = (const words *)p->start;
    size_t whole = p->bytes / 512 * 8;
    if (p->prefetch) { LOOP(AHEAD) } else { LOOP(PLAIN) }
    words sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
    uint64_t total = 0;
    for (int k = 0; k < 8; k++) total += sum[k];
    for (size_t i = whole * 8; i < p->bytes / 8; i++)
        total += ((const uint64_t *)p->start)[i];
    p->total = total;
}

static void *work(void *argument)
{
    for (int done = 0, now; ; done = now) {
        while ((now = atomic_load(&turn)) == done) {}
        if (now < 0) return NULL;
        read_part(argument);
        atomic_fetch_add(&n_done, 1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Seconds of the quickest of at least n_reads reads, which take at least so many
   seconds together; -1 if there are no such threads. */
double quickest_read(const char *start, size_t bytes, int n_threads, int prefetch,
                     int n_reads, double seconds, uint64_t *total)
{
    part parts[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    if (n_threads < 1 || n_threads > MAX_THREADS) return -1;
    size_t each = bytes / n_threads / 512 * 512;
    for (int k = 0; k < n_threads; k++) {
        size_t length = k < n_threads - 1 ? each : bytes - k * each;
        parts[k] = (part){start + k * each, length, prefetch, 0};
    }
    turn = 0;
    int n_made = 1;
    while (n_made < n_threads
           && !pthread_create(&threads[n_made], NULL, work, &parts[n_made]))
        n_made++;
    double best = -1, begin = now();
    if (n_made == n_threads)
        for (int k = 1; k <= n_reads || now() < begin + seconds; k++) {
            double before = now();
            n_done = 0;
            atomic_store(&turn, k);
            read_part(&parts[0]);
            while (atomic_load(&n_done) < n_threads - 1) {}
            double took = now() - before;
            if (best < 0 || took < best) best = took;
        }
    atomic_store(&turn, -1);
    *total = 0;
    for (int k = 0; k < n_made; k++) *total += parts[k].total;
    for (int k = 1; k < n_made; k++) pthread_join(threads[k], NULL);
    return best;
}
"""
FLAGS = ["-O3", "-shared", "-fPIC", "-pthread"]


@cache
def compiled():
    """Return the function written in C; None where it cannot be compiled."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler or os.name == "nt":
        return None
    with TemporaryDirectory() as folder:
        source, library = Path(folder) / "read.c", Path(folder) / "read.so"
        source.write_text(SOURCE, encoding="ascii")
        for native in (["-march=native"], []):
            words = [compiler, *FLAGS, *native, source, "-o", library]
            if not subprocess.run(words, capture_output=True, check=False).returncode:
                function = ctypes.CDLL(library).quickest_read
                break
        else:
            return None
    function.restype = ctypes.c_double
    function.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_double,
        ctypes.POINTER(ctypes.c_uint64),
    ]
    return function


def reader():
    """Name what reads."""
    return "numpy.add.reduce" if compiled() is None else "C, 8 sums of 64 bytes"


def quickest_read(stack, n_threads=1, prefetch=False, n_reads=1, seconds=0.0):
    """
    Read a stack, again and again.

    Parameters
    ----------
    stack : `~numpy.ndarray`
        C-contiguous; up to 7 bytes at its end may be left out.
    n_threads : int
        Each reads a part of the same length.
    prefetch : bool
        Whether to ask for the memory ahead of time (in C only).
    n_reads : int
        How often, at least.
    seconds : float
        How long to go on, at least.

    Returns
    -------
    seconds : float
        Time of the quickest.
    total : int
        Sum of the 64-bit words, modulo 2**64.
    """
    if not stack.flags.c_contiguous:
        raise ValueError("stack: found gaps, expected a C-contiguous array")
    function = compiled()
    if function is None:
        return quickest_with_numpy(stack, n_threads, n_reads, seconds)
    total = ctypes.c_uint64()
    best = function(
        stack.ctypes.data, stack.nbytes, n_threads, prefetch, n_reads, seconds, total
    )
    if best < 0:
        raise RuntimeError(f"found no {n_threads} threads to read with")
    return best, total.value


def quickest_with_numpy(stack, n_threads, n_reads, seconds):
    """Read a stack with `numpy.add.reduce`."""
    values = stack.reshape(-1).view(np.uint8)
    values = values[: values.size // 8 * 8].view(np.uint64)
    parts = np.array_split(values, n_threads)
    times = []
    begin = time.perf_counter()
    with ThreadPoolExecutor(n_threads) as pool:
        while len(times) < n_reads or time.perf_counter() < begin + seconds:
            start = time.perf_counter()
            totals = list(pool.map(np.add.reduce, parts))
            times.append(time.perf_counter() - start)
    return min(times), sum(map(int, totals)) % 2**64
