# Licensed under a 3-clause BSD style license - see LICENSE
"""The result is written as a whole, or the old file stays."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import CCDData, StdDevUncertainty

from imcombiners_astro.files.output import check_output, write_output

posix = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX systems")


def image(value=1.0, shape=(20, 30)):
    return CCDData(
        np.full(shape, value),
        unit="adu",
        mask=np.zeros(shape, bool),
        uncertainty=StdDevUncertainty(np.ones(shape)),
    )


@pytest.mark.parametrize("name", ["a.fits", "a.fit", "a.fts", "A.FITS", "a.fits.gz"])
def test_same_as_ccddata(tmp_path, name):
    path = tmp_path / name
    assert check_output(path) == str(path)
    write_output(image(), path)
    assert os.listdir(tmp_path) == [name]
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "UNCERT"]
    if not name.endswith("gz"):
        image().write(tmp_path / "b.fits")
        assert path.read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_relative_path_and_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_output(image(), "a.fits")
    write_output(image(), "~/b.fits")
    assert sorted(os.listdir()) == ["a.fits", "b.fits"]


def test_existing_file(tmp_path):
    path = tmp_path / "fake.fits"
    write_output(image(1), path)
    before = path.read_bytes()
    for function in (lambda: check_output(path), lambda: write_output(image(2), path)):
        with pytest.raises(OSError, match=r"^File .*fake\.fits already exists"):
            function()
        assert path.read_bytes() == before
    assert check_output(path, overwrite=True) == str(path)
    write_output(image(2), path, overwrite=True)
    assert CCDData.read(path).data[0, 0] == 2
    assert os.listdir(tmp_path) == ["fake.fits"]


def test_empty_file_may_be_replaced(tmp_path):
    (tmp_path / "a.fits").touch()
    write_output(image(), tmp_path / "a.fits")
    assert CCDData.read(tmp_path / "a.fits").data[0, 0] == 1


def test_file_that_comes_meanwhile(tmp_path):
    path = tmp_path / "a.fits"

    class Slow(CCDData):
        def write(self, name):
            super().write(name)
            path.write_bytes(b"of somebody else")

    with pytest.raises(OSError, match="already exists"):
        write_output(Slow(image()), path)
    assert path.read_bytes() == b"of somebody else"
    assert os.listdir(tmp_path) == ["a.fits"]


@pytest.mark.parametrize("name", ["a.foo", "a", "a.fits.bz2", "a.txt"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(IORegistryError, match=name):
        check_output(tmp_path / name)


def test_no_path():
    with pytest.raises(TypeError, match="output_file must be a path, found int"):
        check_output(3)


def test_names_that_no_file_can_have(tmp_path):
    with pytest.raises(ValueError, match=r"output_file 'a\\x00b\.fits'"):
        check_output("a\0b.fits")
    with pytest.raises(OSError, match=r"output_file: .*xxx\.fits"):
        check_output(tmp_path / ("x" * 300 + ".fits"))


def test_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="no directory"):
        check_output(tmp_path / "nowhere" / "a.fits")
    (tmp_path / "d.fits").mkdir()
    with pytest.raises(IsADirectoryError, match=r"d\.fits"):
        check_output(tmp_path / "d.fits", overwrite=True)


def test_directory_without_permission(tmp_path, monkeypatch):
    # by a patch: the tests may be run by root, who may do anything
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        check_output(tmp_path / "a.fits")


class Broken(CCDData):
    """Fails after some bytes."""

    error = OSError(28, "No space left on device")

    def write(self, name):
        Path(name).write_bytes(b"something")
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left"), OSError("other"), KeyboardInterrupt(), ValueError()],
    ids=repr,
)
def test_failure(tmp_path, error):
    path = tmp_path / "a.fits"
    write_output(image(1), path)
    before = path.read_bytes()
    broken = Broken(image(2))
    broken.error = error
    with pytest.raises(type(error)) as info:
        write_output(broken, path, overwrite=True)
    if isinstance(error, OSError):
        assert info.value.errno == error.errno
        assert str(path) in str(info.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.fits"]


def test_failure_of_the_rename(tmp_path, monkeypatch):
    def no_replace(old, new):
        raise PermissionError(13, "Permission denied", old)

    monkeypatch.setattr(os, "replace", no_replace)
    with pytest.raises(PermissionError, match=r"a\.fits'"):
        write_output(image(), tmp_path / "a.fits")
    assert os.listdir(tmp_path) == []


def run(code, *args):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@posix
def test_disk_full(tmp_path):
    path = tmp_path / "a.fits"
    write_output(image(1), path)
    before = path.read_bytes()
    code = """
        import resource, sys
        import numpy as np
        from astropy.nddata import CCDData
        from imcombiners_astro.files.output import write_output
        ccd = CCDData(np.zeros((500, 500)), unit="adu")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_output(ccd, sys.argv[1], overwrite=True)
        except OSError as error:
            print("OSError:", error)
    """
    result = run(code, path)
    assert "OSError: " in result.stdout, result.stderr
    assert "a.fits" in result.stdout
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.fits"]


@posix
def test_permissions_are_those_of_any_new_file(tmp_path):
    code = """
        import os, sys
        import numpy as np
        from astropy.nddata import CCDData
        from imcombiners_astro.files.output import write_output
        os.umask(0o027)
        write_output(CCDData(np.zeros((2, 2)), unit="adu"), sys.argv[1])
        print(oct(os.stat(sys.argv[1]).st_mode & 0o777))
    """
    assert run(code, tmp_path / "a.fits").stdout.strip() == "0o640"
