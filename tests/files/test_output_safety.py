# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whatever happens to a combination, its output file is the old or the new one.

``IMCOMBINERS_TEST_KILLS`` is the number of times that one is killed; 5 by default.
"""

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from astropy.io import fits

from imcombiners_astro import combine
from imcombiners_astro.atomic import Replacement, fcntl, replacing

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
locks = pytest.mark.skipif(fcntl is None, reason="no locks of files")

N_KILLS = int(os.environ.get("IMCOMBINERS_TEST_KILLS", "5"))
OLD = b"the result of last night"
PART = re.compile(r"\.[0-9a-f]{8}\.part\.out\.fits")

# Without the limit the result is written from memory.
CODE = """
    import resource, sys
    import numpy as np
    from imcombiners_astro import SigClip, combine

    *files, output, mem_limit = sys.argv[1:]
    print("ready", flush=True)
    CALL(
        files, output, overwrite_output=True, mem_limit=float(mem_limit),
        rejectors=SigClip(3, stdfunc="mad"), diagnostics="full", n_threads=2,
    )
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    names = []
    for k in range(4):
        data = rng.normal(1000, 10, (400, 500)).astype("f4")
        names.append(folder / f"{k}.fits")
        fits.writeto(names[-1], data, fits.Header({"BUNIT": "adu"}))
    return names


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "out.fits"
    path.write_bytes(OLD)
    return path


def code(call="combine", setup=""):
    text = textwrap.dedent(CODE).replace("CALL", call)
    return text.replace('print("ready"', textwrap.dedent(setup) + '\nprint("ready"', 1)


def start(text, files, output, mem_limit):
    command = [sys.executable, "-c", text, *map(str, files), str(output)]
    return subprocess.Popen(
        [*command, str(mem_limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(text, files, output, mem_limit):
    process = start(text, files, output, mem_limit)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def call(files, path, mem_limit):
    from imcombiners_astro import SigClip

    combine(
        files,
        path,
        overwrite_output=True,
        mem_limit=mem_limit,
        rejectors=SigClip(3, stdfunc="mad"),
        diagnostics="full",
    )
    return path.read_bytes()


@posix
@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
def test_killed(files, old, mem_limit):
    new = call(files, old.with_name("new.fits"), mem_limit)
    old.with_name("new.fits").unlink()
    names = [os.path.basename(file) for file in files]
    rng = random.Random(1)
    # How long one takes.
    begin = time.perf_counter()
    process = start(code(), files, old, mem_limit)
    assert process.stdout.readline() == "ready\n"
    ready = time.perf_counter()
    assert process.stdout.readline() == "done\n"
    duration = time.perf_counter() - ready
    process.communicate(timeout=120)
    assert old.read_bytes() == new, names
    outcomes = {"old": 0, "new": 0, "parts": 0}
    for _ in range(N_KILLS):
        old.write_bytes(OLD)
        process = start(code(), files, old, mem_limit)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        found = old.read_bytes()
        assert found in (OLD, new)
        outcomes["old" if found == OLD else "new"] += 1
        left = [name for name in os.listdir(old.parent) if name != "out.fits"]
        assert all(PART.fullmatch(name) for name in left)
        outcomes["parts"] += len(left) > 0
        if fcntl is not None:
            assert len(left) <= 1  # that of the run before is gone
    assert outcomes["old"]
    print(f"{N_KILLS} kills in {time.perf_counter() - begin:.0f} s: {outcomes}")
    # The next run that writes the file removes what is left.
    assert call(files, old, mem_limit) == new
    if fcntl is not None:
        assert os.listdir(old.parent) == ["out.fits"]


@posix
@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
def test_ctrl_c(files, old, mem_limit):
    """While it works, by a progress bar that interrupts in the middle of it."""
    setup = """
        import os, signal
        # Shells make what they start in the background deaf to it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def bar(strips):
            for k, strip in enumerate(strips):
                if k == len(strips) // 2:
                    os.kill(os.getpid(), signal.SIGINT)
                yield strip
        from functools import partial
        combine = partial(combine, progress_bar=bar)
    """
    status, out, err = run(code(setup=setup), files, old, mem_limit)
    assert "KeyboardInterrupt" in err
    assert "done" not in out
    assert status != 0
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["out.fits"]


FULL = """
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
    def combine(*args, combine=combine, **keywords):
        try:
            combine(*args, **keywords)
        except OSError as error:
            print("OSError:", error.errno, error)
            raise SystemExit(1)
"""


@posix
@pytest.mark.parametrize("size", [5000, 6_000_000])
@pytest.mark.parametrize(
    "mem_limit, reserved", [(1e6, True), (1e6, False), (16e9, True)]
)
def test_disk_full(files, old, mem_limit, size, reserved):
    setup = FULL.format(size=size)
    if not reserved:
        setup += "\n    import os\n    vars(os).pop('posix_fallocate', None)"
    status, out, err = run(code(setup=setup), files, old, mem_limit)
    assert status == 1, err
    assert "done" not in out
    assert "OSError: " in out
    assert "cannot be written" in out
    assert "out.fits" in out
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["out.fits"]


@posix
def test_space_is_reserved_before_the_work(files, old):
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("space cannot be reserved here")
    setup = FULL.format(size=1_000_000) + (
        "\n    from functools import partial"
        "\n    combine = partial(combine, progress_bar=lambda x: print('work') or x)"
    )
    _, out, err = run(code(setup=setup), files, old, 1e6)
    assert "OSError: 27" in out, err
    assert "work" not in out


@posix
@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
def test_small_file_system(files, tmp_path, mem_limit):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        done = None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted")
    try:
        path = folder / "out.fits"
        path.write_bytes(OLD)
        with pytest.raises(OSError, match=r"(?i)(?=.*out\.fits).*space") as error:
            call(files, path, mem_limit)
        assert "cannot be written" in str(error.value)
        del error
        assert path.read_bytes() == OLD
        assert os.listdir(folder) == ["out.fits"]
        assert os.statvfs(folder).f_bfree * os.statvfs(folder).f_frsize > 2.9e6
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@posix
@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
def test_directory_that_cannot_be_written_to(files, old, mem_limit, monkeypatch):
    # By a patch: the tests may be run by root, who may do anything.
    real = os.open

    def no_new_file(path, flags, *args, **keywords):
        if flags & os.O_CREAT and os.fspath(path).startswith(str(old.parent)):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **keywords)

    monkeypatch.setattr(os, "open", no_new_file)
    with pytest.raises(PermissionError, match=r"cannot be written.*out\.fits"):
        call(files, old, mem_limit)
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        call(files, old, mem_limit)
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["out.fits"]


@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
def test_input_that_is_too_short(files, old, tmp_path, mem_limit):
    """The message is about the input, not about the output."""
    short = tmp_path / "short.fits"
    short.write_bytes(files[0].read_bytes()[:100_000])
    with pytest.raises(OSError, match=r"short\.fits") as error:
        call([*files, short], old, mem_limit)
    assert "out.fits" not in str(error.value)
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["out.fits"]


@pytest.mark.parametrize("mem_limit", [1e6, 16e9], ids=["pieces", "memory"])
@pytest.mark.parametrize("argument", ["dtype", "output_dtype"])
def test_values_that_do_not_fit(files, old, mem_limit, argument):
    with pytest.raises(ValueError, match="dtype=uint8 holds values from 0 to 255"):
        combine(
            files,
            old,
            overwrite_output=True,
            mem_limit=mem_limit,
            **{argument: "uint8"},
        )
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["out.fits"]


@locks
def test_what_a_killed_process_has_left(tmp_path):
    path = tmp_path / "a.fits"
    left = [".0123abcd.part.a.fits", ".ffffffff.part.a.fits"]
    others = [".0123abcd.part.b.fits", ".0123abc.part.a.fits", "0123abcd.part.a.fits"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half of it")
    with Replacement(path) as busy:
        with replacing(path) as part:
            # Another process is still writing.
            assert os.path.exists(busy.part)
            with open(part, "w") as file:
                file.write("all")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a.fits"])


def test_long_name(tmp_path):
    path = tmp_path / ("x" * 240 + ".fits")
    for _ in range(2):
        with replacing(path, overwrite=True) as part:
            assert part.endswith("x.fits")
            with open(part, "w") as file:
                file.write("all")
    assert os.listdir(tmp_path) == [path.name]
