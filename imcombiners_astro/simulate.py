# Licensed under a 3-clause BSD style license - see LICENSE
"""Simulated CCD exposures about which everything is known.

They are what the demonstration and the examples combine: real frames would do,
but for real frames nobody knows the right answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = ["Exposure", "SimulatedField", "SimulatedNight"]

#: Charge that a cosmic ray leaves in a pixel: median [electrons] and the scatter
#: of its natural logarithm. Most hits are bright and some drown in the noise.
_HIT_MEDIAN, _HIT_SCATTER = 1500.0, 1.0
#: Mean length of the track of a cosmic ray [pixels].
_TRACK_LENGTH = 4.0
#: Dark charge of a hot pixel in one exposure: smallest and largest [electrons].
_HOT_RANGE = (500.0, 20_000.0)
#: Faintest and brightest star, as the charge in its central pixel [electrons].
_STAR_RANGE = (150.0, 30_000.0)
#: Largest value of a 16-bit converter [ADU].
_SATURATION = 65_535
#: Kinds of exposures of a night.
_KINDS = ("BIAS", "DARK", "FLAT", "LIGHT")
#: Begins the random numbers of a night; exposures of a field begin with theirs.
_NIGHT = 2**32 - 1


class Exposure(NamedTuple):
    """One simulated exposure.

    Attributes
    ----------
    data : ndarray
        The pixels as the camera delivers them: uint16, in ADU.
    cosmic_rays : ndarray
        What cosmic rays have added to each pixel: float32, in ADU, of the same
        shape, zero where none has hit.
    """

    data: np.ndarray
    cosmic_rays: np.ndarray


def _converted(adu: np.ndarray) -> np.ndarray:
    """Convert a signal [ADU] to 16 bits, as the electronics of a camera do."""
    return np.clip(np.rint(adu), 0, _SATURATION).astype(np.uint16)


def _random(seed: int, *stream: int) -> np.random.Generator:
    """Make random numbers, others for each stream."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


@dataclass(frozen=True)
class SimulatedField:
    """One star field that can be exposed again and again.

    A pixel that collects a mean charge of ``Q`` electrons from the sky, the stars
    and its dark current is read out as::

        (Poisson(Q) + Normal(0, read_noise) + cosmic ray) / gain + bias

    in ADU, rounded to an integer and limited to 0 ... 65535. Sky, stars and hot
    pixels are the same in all exposures; the noise and the cosmic rays are not.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns of the image.
    seed : int, optional
        The same seed gives the same field and the same exposures.
    bias : float, optional
        Bias level [ADU].
    gain : float, optional
        Gain [electrons per ADU].
    read_noise : float, optional
        Read noise [electrons].
    sky : float, optional
        Mean charge from the sky [electrons].
    fwhm : float, optional
        Full width at half maximum of a star [pixels].
    stars, hot_pixels, cosmic_rays : float, optional
        Number per million pixels; of cosmic rays, in each exposure.

    Examples
    --------
    >>> import numpy as np
    >>> from imcombiners_astro.simulate import SimulatedField
    >>> field = SimulatedField(shape=(64, 64), seed=3)
    >>> frames = [field.expose(k).data for k in range(5)]
    >>> frames[0].dtype, frames[0].shape
    (dtype('uint16'), (64, 64))
    >>> error = np.median(frames, axis=0) - field.truth
    >>> bool(abs(np.median(error)) < 1)
    True
    """

    shape: tuple[int, int] = (1024, 1024)
    seed: int = 1
    bias: float = 1000.0
    gain: float = 1.5
    read_noise: float = 6.0
    sky: float = 300.0
    fwhm: float = 3.0
    stars: float = 400.0
    hot_pixels: float = 100.0
    cosmic_rays: float = 200.0

    @property
    def truth(self) -> np.ndarray:
        """Expected value of every pixel without cosmic rays [ADU], float64."""
        return self.bias + self._charge / self.gain

    @property
    def noise(self) -> np.ndarray:
        """Standard deviation of every pixel of one exposure [ADU], float64.

        Poisson noise of the charge, read noise and the rounding to integers
        (variance 1/12).
        """
        return np.sqrt((self._charge + self.read_noise**2) / self.gain**2 + 1 / 12)

    @property
    def n_stars(self) -> int:
        """Number of stars in the field."""
        return self._number(self.stars)

    @property
    def n_hot_pixels(self) -> int:
        """Number of hot pixels of the camera."""
        return self._number(self.hot_pixels)

    def expose(self, index: int) -> Exposure:
        """Take exposure number ``index``.

        Exposures can be taken in any order, and again.

        Parameters
        ----------
        index : int
            Number of the exposure, from 0.

        Returns
        -------
        Exposure
            The pixels, and what cosmic rays have added to them.
        """
        rng = self._random(1 + index)
        charge = rng.poisson(self._charge).astype(np.float32)
        charge += np.float32(self.read_noise) * rng.standard_normal(
            self.shape, dtype=np.float32
        )
        hits = self._hits(rng)
        adu = (charge + hits) / np.float32(self.gain) + np.float32(self.bias)
        return Exposure(_converted(adu), hits / np.float32(self.gain))

    @cached_property
    def _charge(self) -> np.ndarray:
        """Mean charge of every pixel [electrons]."""
        rng = self._random(0)
        charge = np.full(self.shape, float(self.sky))
        self._add_stars(charge, rng)
        hot = rng.choice(charge.size, self.n_hot_pixels, replace=False)
        charge.flat[hot] += np.exp(rng.uniform(*np.log(_HOT_RANGE), hot.size))
        return charge

    def _add_stars(self, charge: np.ndarray, rng: np.random.Generator) -> None:
        """Add Gaussian stars; the number brighter than F falls as 1/F."""
        n_rows, n_columns = self.shape
        faintest, brightest = _STAR_RANGE
        peaks = faintest / rng.uniform(faintest / brightest, 1.0, self.n_stars)
        rows = rng.uniform(0, n_rows, self.n_stars)
        columns = rng.uniform(0, n_columns, self.n_stars)
        sigma = self.fwhm / np.sqrt(8 * np.log(2))
        reach = int(np.ceil(5 * sigma))
        for peak, row, column in zip(peaks, rows, columns, strict=True):
            y = np.arange(max(0, int(row) - reach), min(n_rows, int(row) + reach + 1))
            x = np.arange(
                max(0, int(column) - reach), min(n_columns, int(column) + reach + 1)
            )
            profile_y = np.exp(-0.5 * ((y - row) / sigma) ** 2)
            profile_x = np.exp(-0.5 * ((x - column) / sigma) ** 2)
            charge[y[0] : y[-1] + 1, x[0] : x[-1] + 1] += (
                peak * profile_y[:, np.newaxis] * profile_x
            )

    def _hits(self, rng: np.random.Generator) -> np.ndarray:
        """Charge [electrons] that cosmic rays leave: straight, broken tracks."""
        n_rows, n_columns = self.shape
        n_hits = rng.poisson(self.cosmic_rays * n_rows * n_columns / 1e6)
        length = rng.geometric(1 / _TRACK_LENGTH, n_hits)
        angle = rng.uniform(0, 2 * np.pi, n_hits)
        # One entry per step of every track.
        track = np.repeat(np.arange(n_hits), length)
        step = np.arange(track.size) - np.repeat(np.cumsum(length) - length, length)
        row = rng.uniform(0, n_rows, n_hits)[track] + step * np.sin(angle)[track]
        column = rng.uniform(0, n_columns, n_hits)[track] + step * np.cos(angle)[track]
        row, column = np.floor(row).astype(int), np.floor(column).astype(int)
        inside = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
        left = rng.lognormal(np.log(_HIT_MEDIAN), _HIT_SCATTER, track.size)
        hits = np.zeros(self.shape, dtype=np.float32)
        np.add.at(hits, (row[inside], column[inside]), left[inside])
        return hits

    def _number(self, per_million: float) -> int:
        return round(per_million * self.shape[0] * self.shape[1] / 1e6)

    def _random(self, stream: int) -> np.random.Generator:
        """Make the random numbers of the field (0) or of exposure ``stream - 1``."""
        return _random(self.seed, stream)


@dataclass(frozen=True)
class SimulatedNight:
    """A night with one camera: bias, dark, flat and science exposures.

    A pixel that collects a mean charge of ``Q`` electrons is read out as::

        (Poisson(Q) + Normal(0, read_noise) + cosmic ray) / gain + level + pattern

    in ADU, rounded to an integer and limited to 0 ... 65535. The ``level`` of the bias
    differs from exposure to exposure, its ``pattern`` does not. The ``overscan`` more
    columns at the right collect no charge.

    Light is weakened by a sensitivity that falls towards the corners, with shadows of
    dust and with pixels that differ by a per cent. One pixel in a thousand is hot.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns, without the overscan.
    overscan : int, optional
        Columns of the overscan.
    seed : int, optional
        The same seed gives the same exposures.
    level, level_scatter : float, optional
        Mean level of the bias, and its scatter from exposure to exposure [ADU].
    gain : float, optional
        Gain [electrons per ADU].
    read_noise : float, optional
        Read noise [electrons].
    dark_current : float, optional
        Dark current of a normal pixel [electrons per second].

    Examples
    --------
    >>> from imcombiners_astro.simulate import SimulatedNight
    >>> flat = SimulatedNight(shape=(100, 120)).flat(0)
    >>> flat.shape, flat.dtype, flat.unit
    ((100, 140), dtype('uint16'), Unit("adu"))
    >>> flat.header["IMAGETYP"], flat.header["EXPTIME"], flat.header["FILTER"]
    ('FLAT', 4.0, 'r')
    """

    shape: tuple[int, int] = (300, 400)
    overscan: int = 20
    seed: int = 1
    level: float = 1000.0
    level_scatter: float = 4.0
    gain: float = 1.5
    read_noise: float = 6.0
    dark_current: float = 0.1

    def bias(self, index: int) -> CCDData:
        """Take bias exposure number ``index``."""
        return self._expose("BIAS", index, 0.0, 0.0)

    def dark(self, index: int, seconds: float = 300.0) -> CCDData:
        """Take dark exposure number ``index``."""
        return self._expose("DARK", index, seconds, 0.0)

    def flat(self, index: int, seconds: float = 4.0) -> CCDData:
        """Take exposure number ``index`` of the evening sky, each fainter than before.

        The first one has 30000 electrons per pixel.
        """
        rate = 30_000.0 * 0.85**index / seconds
        return self._expose("FLAT", index, seconds, rate)

    def science(self, index: int, seconds: float = 120.0) -> CCDData:
        """Take exposure number ``index`` of a field of stars."""
        return self._expose("LIGHT", index, seconds, self._light)

    def perfect(self, seconds: float = 120.0) -> np.ndarray:
        """Return what a perfect reduction makes of a science exposure.

        Parameters
        ----------
        seconds : float, optional
            Exposure time.

        Returns
        -------
        ndarray
            Without bias, dark current and noise, and as if every pixel had the mean
            sensitivity: float64 [ADU].
        """
        return self._light * self.sensitivity.mean() * seconds / self.gain

    @cached_property
    def _light(self) -> np.ndarray:
        """Light of sky and stars [electrons per second at full sensitivity]."""
        seconds = 120.0
        field = SimulatedField(self.shape, self.seed, sky=400.0, hot_pixels=0.0)
        return field._charge / seconds

    @cached_property
    def sensitivity(self) -> np.ndarray:
        """Part of the light that each pixel turns into charge, float64."""
        rng = self._random(0)
        rows, columns = np.indices(self.shape)
        height, width = self.shape
        corner = np.hypot(rows / height - 0.5, columns / width - 0.5)
        sensitivity = 1 - 0.3 * corner**2
        for _ in range(6):
            row, column = rng.uniform(0, height), rng.uniform(0, width)
            away = np.hypot(rows - row, columns - column) / (0.04 * min(self.shape))
            sensitivity *= 1 - 0.06 * np.exp(-((away - 1) ** 2) / 0.08)
        return sensitivity * rng.normal(1, 0.01, self.shape)

    @cached_property
    def _dark(self) -> np.ndarray:
        """Dark current of every pixel [electrons per second]."""
        rng = self._random(1)
        dark = np.full(self.shape, self.dark_current)
        hot = rng.choice(dark.size, dark.size // 1000, replace=False)
        dark.flat[hot] = np.exp(rng.uniform(np.log(2), np.log(50), hot.size))
        return dark

    @cached_property
    def _pattern(self) -> np.ndarray:
        """Bias of every column, overscan included, less its level [ADU]."""
        columns = np.arange(self.shape[1] + self.overscan)
        return 4 * np.sin(columns / 25) + self._random(2).normal(0, 1.5, columns.size)

    def _expose(self, kind: str, index: int, seconds: float, light) -> CCDData:
        from astropy.nddata import CCDData

        rng = self._random(3 + _KINDS.index(kind), index)
        shape = (self.shape[0], self.shape[1] + self.overscan)
        charge = np.zeros(shape)
        collected = (light * self.sensitivity + self._dark) * seconds
        charge[:, : self.shape[1]] = rng.poisson(collected)
        charge += rng.normal(0, self.read_noise, shape)
        # Rays for the length of the exposure, and for some seconds to read it out.
        rays = SimulatedField(shape, cosmic_rays=2 * (seconds + 10))
        charge += rays._hits(rng)
        level = self.level + rng.normal(0, self.level_scatter)
        adu = charge / self.gain + level + self._pattern
        header = {
            "IMAGETYP": kind,
            "EXPTIME": seconds,
            "GAIN": self.gain,
            "RDNOISE": self.read_noise,
        }
        if kind in ("FLAT", "LIGHT"):
            header["FILTER"] = "r"
        return CCDData(_converted(adu), unit="adu", header=header)

    def _random(self, *stream: int) -> np.random.Generator:
        """Make the random numbers of a property, or of an exposure of some kind."""
        return _random(self.seed, _NIGHT, *stream)
