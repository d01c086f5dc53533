# Licensed under a 3-clause BSD style license - see LICENSE
"""``imcombine demo``: combine simulated frames whose true image is known."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.io import fits

import imcombiners_astro
from imcombiners_astro.cli.common import (
    EXIT_CODES,
    Parser,
    add_messages,
    add_threads,
    peak_memory,
    progress_bar,
)
from imcombiners_astro.simulate import SimulatedField

__all__ = ["parse", "run"]

DESCRIPTION = """\
Simulate exposures of one star field (bias level, read noise, gain, sky, stars,
hot pixels, cosmic rays), write them as FITS files into a temporary directory,
combine them with sigma clipping, and print how far the result is from the true
image, beside a plain average and a plain median of the same files.
"""

EPILOG = f"""\
files:
  demo_master.fits in the current directory is the demonstration's own and is
  replaced by each run. A name given with -o, and frames in the directory of
  --keep-frames, are replaced only with --overwrite.

{EXIT_CODES}"""

MASTER = "demo_master.fits"
#: In a directory of its own: what combines all files beside it does not take it.
TRUTH = os.path.join("truth", "truth.fits")

CLIP = {
    "sigma_clip": True,
    "sigma_clip_low_thresh": 3,
    "sigma_clip_high_thresh": 3,
    "sigma_clip_func": "median",
    "sigma_clip_dev_func": "mad_std",
}

#: A cosmic ray counts as bright if it adds this many times the noise of a frame,
BRIGHT = 25
#: and as left if the result is further than this many times the noise of a perfect
#: average from the truth. (In an average of n frames, a bright one is at least
#: BRIGHT/sqrt(n) above the truth.)
LEFT = 5


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``imcombine demo``."""
    parser = Parser(
        prog="imcombine demo",
        usage="imcombine demo [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        add_help=False,
    )
    parser.add_argument(
        "--frames",
        type=_at_least(3),
        default=20,
        metavar="N",
        help="number of exposures (default: 20)",
    )
    parser.add_argument(
        "--size",
        type=_at_least(32),
        default=1024,
        metavar="N",
        help="rows and columns of an exposure (default: 1024)",
    )
    parser.add_argument(
        "--seed",
        type=_at_least(0),
        default=1,
        metavar="N",
        help="another number gives other frames (default: 1)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"where to write the combined image (default: {MASTER})",
    )
    parser.add_argument(
        "--keep-frames",
        type=Path,
        metavar="DIR",
        help="write the frames, and truth/truth.fits, into DIR and leave them there",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that exist"
    )
    add_threads(parser)
    add_messages(parser)
    return parser.parse_args(words)


def run(options: argparse.Namespace) -> None:
    """Simulate, combine, compare with the truth and print it."""
    output = options.output or MASTER
    overwrite = options.overwrite or options.output is None
    names = _names_of_frames(options)
    _check_free([] if overwrite else [Path(output)])
    if options.keep_frames and not options.overwrite:
        _check_free([options.keep_frames / name for name in [*names, TRUTH]])

    field = SimulatedField(shape=(options.size, options.size), seed=options.seed)
    with _folder(options.keep_frames) as folder:
        files = [str(folder / name) for name in names]
        brightest = _write_frames(field, files, options)

        def combine(**keywords):
            return imcombiners_astro.combine(
                files,
                n_threads=options.n_threads,
                progress_bar=progress_bar(options, "combining"),
                **keywords,
            )

        start = time.perf_counter()
        clipped = combine(output_file=output, overwrite_output=overwrite, **CLIP)
        seconds = time.perf_counter() - start
        memory = peak_memory()
        images = [("sigma-clipped mean", clipped.data)]
        if not options.quiet:
            images.append(("plain mean", combine(method="average").data))
            images.append(("plain median", combine(method="median").data))
        if options.keep_frames:
            for parent in folder, options.keep_frames:
                (parent / TRUTH).parent.mkdir(exist_ok=True)
            fits.writeto(folder / TRUTH, field.truth, _header(field))
            for name in [*names, TRUTH]:
                os.replace(folder / name, options.keep_frames / name)
    if options.quiet:
        return
    print(_describe(field, options))
    print()
    print(_compare(field, images, brightest, options.frames))
    print()
    print(
        "Sigma clipping (3 sigma about the median, by the MAD), "
        f"from {options.frames} files to one:\n"
        f"{seconds:.2f} s, {options.frames / seconds:.0f} frames/s"
        + (f", peak memory {memory / 1e6:.0f} MB." if memory else ".")
    )
    print(f"The sigma-clipped mean is in {output}, {_where_frames_are(options)}")


def _names_of_frames(options: argparse.Namespace) -> list[str]:
    width = max(3, len(str(options.frames)))
    return [f"frame_{k:0{width}}.fits" for k in range(1, options.frames + 1)]


def _check_free(files: Sequence[Path]) -> None:
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists; --overwrite replaces it")


@contextmanager
def _folder(keep_frames: Path | None) -> Iterator[Path]:
    """Make a temporary directory, inside ``keep_frames`` if there is one.

    Files to be kept are moved up when all is done; else nothing is left behind.
    """
    new = keep_frames is not None and not keep_frames.exists()
    if new:
        keep_frames.mkdir()
    try:
        with TemporaryDirectory(prefix="imcombine-demo-", dir=keep_frames) as folder:
            yield Path(folder)
    except BaseException:
        if new:
            keep_frames.rmdir()
        raise


def _header(field: SimulatedField) -> fits.Header:
    header = fits.Header()
    header["BUNIT"] = "adu"
    header["OBJECT"] = "simulated field"
    header["EXPTIME"] = (60.0, "[s]")
    header["GAIN"] = (field.gain, "[electron/adu]")
    header["RDNOISE"] = (field.read_noise, "[electron]")
    header["SEED"] = (field.seed, "seed of the simulation")
    return header


def _write_frames(
    field: SimulatedField, files: Sequence[str], options: argparse.Namespace
) -> np.ndarray:
    """Write exposures.

    Returns
    -------
    ndarray
        The brightest cosmic ray at each pixel, in units of the noise of a frame.
    """
    noise = field.noise
    brightest = np.zeros(field.shape, dtype=np.float32)
    wrap = progress_bar(options, "simulating") or iter
    for index, file in enumerate(wrap(files)):
        data, cosmic_rays = field.expose(index)
        fits.writeto(file, data, _header(field))
        np.maximum(brightest, cosmic_rays / noise, out=brightest)
    return brightest


def _describe(field: SimulatedField, options: argparse.Namespace) -> str:
    rows, columns = field.shape
    return (
        f"{options.frames} simulated frames of {columns} x {rows} pixels, 16 bit:\n"
        f"  bias {field.bias:g} adu, gain {field.gain:g} e-/adu, read noise "
        f"{field.read_noise:g} e-, sky {field.sky:g} e-,\n"
        f"  {field.n_stars} stars, {field.n_hot_pixels} hot pixels, about "
        f"{field.cosmic_rays * rows * columns / 1e6:.0f} cosmic rays per frame"
    )


def _compare(field, images, brightest, n_frames) -> str:
    """Tabulate the errors of ``images`` [(name, pixels)]."""
    truth, noise = field.truth, field.noise / np.sqrt(n_frames)
    bright = brightest > BRIGHT
    lines = [
        f"{'image - truth [adu]':<22}{'mean':>9}{'rms':>9}{'worst':>10}"
        f"{'cosmic-ray pixels left':>26}"
    ]
    for name, image in images:
        error = image - truth
        worst = error.flat[np.argmax(np.abs(error))]
        n_left = np.count_nonzero(np.abs(error[bright]) > LEFT * noise[bright])
        share = f"({100 * n_left / max(1, np.count_nonzero(bright)):.1f} %)"
        lines.append(
            f"{name:<22}{np.mean(error):>+9.3f}{_rms(error):>9.3f}{worst:>+10.1f}"
            f"{n_left:>16}{share:>10}"
        )
    lines.append(f"{'noise alone':<22}{'0':>9}{_rms(noise):>9.3f}{'':>10}{'0':>16}")
    lines += [
        "",
        f"Cosmic rays have raised {np.count_nonzero(bright)} pixels by more than "
        f"{BRIGHT} times the noise of a frame;",
        f"left are those further than {LEFT} times the noise of a perfect mean from "
        "the truth.",
    ]
    return "\n".join(lines)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def _where_frames_are(options: argparse.Namespace) -> str:
    if not options.keep_frames:
        return "the frames\nhave been removed (--keep-frames DIR keeps them)."
    pattern = options.keep_frames / "frame_*.fits"
    return (
        f"the frames are in {options.keep_frames}.\nTry, for example:\n"
        f"  imcombine '{pattern}' -o master.fits --sigma-clip 3"
    )


def _at_least(minimum: int):
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(
                f"an integer of {minimum} or more is expected, not {text!r}"
            )
        return int(text)

    return integer
