# Licensed under a 3-clause BSD style license - see LICENSE
"""
Run a command and tell what it cost: seconds, processor seconds, peak memory [MB].

This runs in a small process of its own, because Linux counts the memory of the process
that starts a command as the command's.

    python -I -S _launch.py COMMAND ARGUMENT...
"""

import os
import sys
import time

start = time.perf_counter()
process = os.posix_spawnp(
    sys.argv[1],
    sys.argv[1:],
    os.environ,
    file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, 2, 1),
    ],
)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
processor = usage.ru_utime + usage.ru_stime
print(f"\n{seconds} {processor} {peak}")
sys.exit(os.waitstatus_to_exitcode(status) and 1)
