# Licensed under a 3-clause BSD style license - see LICENSE
"""Zero levels, scales and weights by name."""

import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning

from imcombiners_astro.errors import UnusedOptionWarning
from imcombiners_astro.files.fits import open_frame
from imcombiners_astro.frames import CCDFrame
from imcombiners_astro.normalization import frame_numbers_by_name
from imcombiners_astro.planes import Plan, combine_planes
from imcombiners_astro.zeroscale import mode

SHAPE = (30, 45)
LEVELS = [1000.0, 1300.0, 800.0, 950.0]


def sky(k, level, dtype="f8"):
    rng = np.random.default_rng(k)
    data = rng.normal(level, 20, SHAPE)
    data[rng.random(SHAPE) < 0.01] += 5000
    return data.astype(dtype)


def stack(dtype="f8", unit="adu", **headers):
    """Frames with outliers, the headers of which have N values for each keyword."""
    frames = []
    for k, level in enumerate(LEVELS):
        meta = {key: values[k] for key, values in headers.items()}
        ccd = CCDData(sky(k, level, dtype), unit=unit, meta=meta)
        frames.append(CCDFrame(ccd, f"img_list[{k}]"))
    return frames


def clip(values, sigma=3.0, maxiters=5):
    """Clip about the median until nothing changes; samples may come back."""
    values = kept = np.asarray(values, float).ravel()
    low, high = np.broadcast_to(sigma, 2)
    for _ in range(maxiters):
        center = np.median(kept)
        std = np.sqrt(np.mean((kept - center) ** 2))
        kept = values[(values >= center - low * std) & (values <= center + high * std)]
    return kept


def slow_mode(ordered):
    """Slide IRAF's window along sorted values, a step at a time."""
    n = len(ordered)
    if n < 10:
        return np.median(ordered)
    first, last = 3 * n // 20, 17 * n // 20
    width = ordered[last] - ordered[first]
    if width == 0:
        return ordered[first]
    best, answer, low = -1, None, ordered[first] - 0.01 * width
    end = first
    while end < last:
        low += 0.01 * width
        begin = next((i for i in range(first, last) if ordered[i] >= low), last)
        high = low + 0.1 * width
        end = next((i for i in range(first, last) if ordered[i] >= high), last)
        if end - begin > best:
            best, answer = end - begin, ordered[(begin + end) // 2]
    return answer


STATISTICS = {
    "mean": np.mean,
    "median": np.median,
    "mode": lambda kept: slow_mode(np.sort(kept)),
}


@pytest.mark.parametrize("dtype", ["f8", "f4", "u2", "i4"])
@pytest.mark.parametrize("word", STATISTICS)
def test_statistics(word, dtype):
    frames = stack(dtype)
    levels = [STATISTICS[word](clip(frame.data())) for frame in frames]
    found = frame_numbers_by_name(frames, zero=word)
    assert found.zero == pytest.approx(np.subtract(levels, levels[0]), rel=1e-12)
    assert found.scale is found.factor is found.weights is None
    found = frame_numbers_by_name(frames, scale=word.upper())
    assert found.scale == pytest.approx(np.divide(levels, levels[0]), rel=1e-12)
    assert found.scale[0] == 1
    assert found.zero is found.factor is None


def test_clipping_is_as_asked():
    frames = stack()
    for options in ({"sigma": 2.0}, {"sigma": (4, 1.5), "maxiters": 2}):
        levels = [clip(f.data(), **options).mean() for f in frames]
        found = frame_numbers_by_name(frames, zero="mean", **options)
        assert found.zero == pytest.approx(np.subtract(levels, levels[0]))
    assert "(4/1.5-sigma clipped)" in found.description[0]


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 100, 1001])
def test_mode_slides_a_window(size):
    rng = np.random.default_rng(size)
    ordered = np.sort(rng.exponential(50, size))
    assert mode(ordered) == slow_mode(ordered)
    assert mode(np.full(size, 3.5)) == 3.5


def test_mode_counts_windows():
    ordered = np.sort(np.random.default_rng(5).gamma(2, 30, 4000))
    n = len(ordered)
    first, last = int(0.15 * n), int(0.85 * n)
    low, width = ordered[first], ordered[last] - ordered[first]
    counts = [
        np.sum(
            (ordered >= low + 0.01 * i * width)
            & (ordered < low + (0.1 + 0.01 * i) * width)
        )
        for i in range(90)
    ]
    best = low + 0.01 * int(np.argmax(counts)) * width
    assert best <= mode(ordered) <= best + 0.1 * width


def test_masked_pixels_sections_and_thresholds():
    frames, levels = [], []
    slices = np.s_[5:25, 10:40]
    for k, level in enumerate(LEVELS):
        data = sky(k, level)
        data[5, 10:20] = np.nan
        mask = np.random.default_rng(99 + k).random(SHAPE) < 0.2
        data[mask] = 1e6
        good = np.isfinite(data) & ~mask & (data >= 750) & (data <= 4000)
        levels.append(np.median(clip(data[slices][good[slices]])))
        frames.append(CCDFrame(CCDData(data, unit="adu", mask=mask), f"img_list[{k}]"))
    for statsec in ("[11:40,6:25]", slices):
        found = frame_numbers_by_name(
            frames, zero="median", statsec=statsec, thresholds=(750, 4000)
        )
        assert found.zero == pytest.approx(np.subtract(levels, levels[0]))
        assert "median of [11:40,6:25]" in found.description[0]


@pytest.mark.parametrize("scale", [None, "mean", "!SCALE", [1.0, 0.5, 2.0, 1.5]])
def test_levels_come_to_that_of_the_first(scale):
    """What the kernel makes of the numbers has the level of the first frame."""
    frames = stack(SCALE=[2.0, 1.0, 4.0, 3.0])
    found = frame_numbers_by_name(frames, zero="median", scale=scale)
    first = np.median(clip(frames[0].data()))
    for k, frame in enumerate(frames):
        image = np.empty(SHAPE)
        numbers = {
            name: None if values is None else values[k : k + 1]
            for name, values in found._asdict().items()
            if name in ("zero", "factor", "scale")
        }
        combine_planes([frame.data()], Plan("mean"), {"image": image}, **numbers)
        assert np.median(clip(image)) == pytest.approx(first)
    assert found.zero[0] == 0


def test_one_statistic_for_both_scales_only():
    found = frame_numbers_by_name(stack(), zero="median", scale="median")
    assert found.zero == pytest.approx(np.zeros(4), abs=1e-9)
    assert (found.scale != 1).sum() == 3


def test_exposures_and_keywords():
    frames = stack(
        EXPTIME=[10.0, 20.0, 40.0, 5.0], SKY=[3.0, 5.0, 4.0, 9.0], seeing=[1, 2, 3, 4]
    )
    found = frame_numbers_by_name(
        frames, zero="SKY", scale="exposure", weights="!Seeing"
    )
    scale = np.array([1, 2, 4, 0.5])
    assert np.array_equal(found.scale, scale)
    assert np.array_equal(found.zero, [0, 5 - 2 * 3, 4 - 4 * 3, 9 - 0.5 * 3])
    assert np.array_equal(found.weights, [1, 2, 3, 4])
    assert found.description == [
        "zero: keyword SKY, less that of the first frame",
        "scale: exposure time, over the first's",
        "weights: keyword Seeing",
    ]
    found = frame_numbers_by_name(frames, weights="exposure")
    assert np.array_equal(found.weights, [10, 20, 40, 5])


def test_a_mark_tells_a_keyword_from_a_name():
    frames = stack(MEDIAN=[1.0, 2, 4, 8], EXPOSURE=[2.0, 2, 2, 6])
    found = frame_numbers_by_name(frames, scale="!median")
    assert np.array_equal(found.scale, [1, 2, 4, 8])
    found = frame_numbers_by_name(frames, scale="!EXPOSURE")
    assert np.array_equal(found.scale, [1, 1, 1, 3])


def test_numbers_are_used_as_they_are():
    frames = stack()
    found = frame_numbers_by_name(
        frames, zero=[1, 2, 3, 4], scale=[2, 1, 1, 0.5], weights=[0, 1, 1, 2]
    )
    assert np.array_equal(found.zero, [1, 2, 3, 4])
    assert np.array_equal(found.factor, [2, 1, 1, 0.5])
    assert np.array_equal(found.weights, [0, 1, 1, 2])
    assert found.scale is None
    assert np.array_equal(found.divisor, [0.5, 1, 1, 2])
    found = frame_numbers_by_name(frames, zero=100)
    assert np.array_equal(found.zero, [100] * 4)
    cube = np.ones((4, *SHAPE))
    assert frame_numbers_by_name(frames, weights=cube).weights is cube
    assert frame_numbers_by_name(frames, weights="ivar").weights == "ivar"


def test_quantities_of_zero():
    frames = stack(unit="kJy")
    found = frame_numbers_by_name(frames, zero=[1, 2, 3, 4] * u.Jy)
    assert found.zero == pytest.approx([0.001, 0.002, 0.003, 0.004])
    with pytest.raises(TypeError, match=r"zero: found .*img_list\[0\]"):
        frame_numbers_by_name(frames, zero=5 * u.s)


def test_functions():
    frames = stack()
    seen = []

    def level(data):
        seen.append(data)
        return np.ma.max(data)

    found = frame_numbers_by_name(frames, zero=level, statsec="[1:3,1:2]")
    tops = np.array([frame.data()[:2, :3].max() for frame in frames])
    assert np.array_equal(found.zero, tops - tops[0])
    assert all(isinstance(data, np.ma.MaskedArray) for data in seen)
    assert "function level of [1:3,1:2]" in found.description[0]
    # as in ccdproc: the plain image, and a factor
    found = frame_numbers_by_name(frames, scale=lambda data: 1 / data.max())
    assert np.array_equal(found.factor, [1 / frame.data().max() for frame in frames])
    found = frame_numbers_by_name(
        frames, scale=lambda data: 1 / data.max(), statsec="[1:3,1:2]"
    )
    assert np.array_equal(found.factor, 1 / tops)


def test_units_that_differ():
    frames = [
        CCDFrame(CCDData(sky(0, 1000), unit="Jy"), "a"),
        CCDFrame(CCDData(sky(1, 1300) / 1000, unit="kJy", meta={"Z": 1.0}), "b"),
    ]
    for frame in frames:
        frame.to_unit(frames[0].unit)
    levels = [np.median(clip(sky(0, 1000))), np.median(clip(sky(1, 1300)))]
    found = frame_numbers_by_name(frames, zero="median")
    assert found.zero == pytest.approx([0, levels[1] - levels[0]])
    limits = (990, 1310)
    levels = [
        clip(data[(data >= limits[0]) & (data <= limits[1])]).mean()
        for data in (sky(0, 1000), sky(1, 1300))
    ]
    found = frame_numbers_by_name(frames, zero="mean", thresholds=limits)
    assert found.zero == pytest.approx([0, levels[1] - levels[0]])
    found = frame_numbers_by_name(frames, scale=lambda data: 1 / np.median(data))
    assert found.factor == pytest.approx(
        [1 / np.median(sky(0, 1000)), 1 / np.median(sky(1, 1300))]
    )


def test_files_are_like_memory(tmp_path):
    frames = []
    for k, level in enumerate(LEVELS):
        path = tmp_path / f"{k}.fits"
        header = fits.Header({"EXPTIME": 10.0 + k})
        fits.PrimaryHDU(sky(k, level, "u2"), header).writeto(path)
        frames.append(open_frame(str(path), path.name, unit="adu"))
    request = {"zero": "mode", "scale": "exposure", "statsec": "[2:40,3:29]"}
    found = frame_numbers_by_name(frames, **request)
    expected = frame_numbers_by_name(stack("u2", EXPTIME=[10, 11, 12, 13]), **request)
    assert np.array_equal(found.zero, expected.zero)
    assert np.array_equal(found.scale, expected.scale)
    for frame in frames:
        frame.close()


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_do_not_change_anything(n_threads):
    one = frame_numbers_by_name(stack(), zero="mode", scale="mean", n_threads=1)
    more = frame_numbers_by_name(
        stack(), zero="mode", scale="mean", n_threads=n_threads
    )
    assert np.array_equal(one.zero, more.zero)
    assert np.array_equal(one.scale, more.scale)


def test_too_little_memory_thins_what_a_function_sees():
    frames = stack()
    limit = 32 * 300
    with pytest.warns(AstropyUserWarning, match="every 3th pixel along each axis"):
        found = frame_numbers_by_name(frames, zero=np.ma.mean, mem_limit=limit)
    levels = [frame.data()[::3, ::3].mean() for frame in frames]
    assert found.zero == pytest.approx(np.subtract(levels, levels[0]))


@pytest.mark.parametrize("dtype", ["f8", "f4", "u2", "i4"])
def test_memory_does_not_change_anything(dtype):
    request = {"zero": "mode", "scale": "mean", "statsec": "[2:40,3:29]"}
    found = frame_numbers_by_name(stack(dtype), **request)
    for limit in (0, 1, 21e6, 50e6):
        again = frame_numbers_by_name(stack(dtype), **request, mem_limit=limit)
        assert np.array_equal(again.zero, found.zero)
        assert np.array_equal(again.scale, found.scale)
        assert again.description == found.description


def test_a_sample_of_rows():
    frames = stack()
    n_rows, n_columns = frames[0].shape
    found = frame_numbers_by_name(frames, zero="median", statsample=5 * n_columns)
    step = -(-n_rows // 5)
    left = -(-n_rows // step)
    first = (n_rows - 1 - step * (left - 1)) // 2
    levels = [np.median(clip(frame.data()[first::step])) for frame in frames]
    assert np.array_equal(found.zero, np.subtract(levels, levels[0]))
    assert (
        f", {left * n_columns} pixels of [1:{n_columns},1:{n_rows}]"
        in (found.description[0])
    )
    # as many as there are, or more, are all
    every = frame_numbers_by_name(frames, zero="median")
    for n in (n_rows * n_columns, 10**9):
        found = frame_numbers_by_name(frames, zero="median", statsample=n)
        assert np.array_equal(found.zero, every.zero)
        assert found.description == every.description


def test_a_function_sees_the_sample():
    frames, seen = stack(), []

    def size(section):
        seen.append(section.shape)
        return section.mean()

    frame_numbers_by_name(frames, zero=size, statsample=100)
    assert len(set(seen)) == 1
    assert 0 < np.prod(seen[0]) <= 100


def test_the_error_of_a_sample():
    rng = np.random.default_rng(3)
    frames = [
        CCDFrame(CCDData(rng.normal(0, 10, (500, 400)), unit="adu"), "a")
        for _ in range(40)
    ]
    n = 20_000
    for word, more in (("mean", 1.0), ("median", 1.25)):
        sampled = frame_numbers_by_name(frames, zero=word, statsample=n).zero
        exact = frame_numbers_by_name(frames, zero=word).zero
        # two levels each, less what they have in common with the whole frame
        sigma = more * 10 * np.sqrt(2 * (1 / n - 1 / 200_000))
        assert 0.6 * sigma < np.std(sampled - exact) < 1.5 * sigma


@pytest.mark.slow
def test_memory_is_that_of_one_frame(tmp_path):
    shape, frames = (1500, 1000), []
    for k in range(6):
        path = tmp_path / f"{k}.fits"
        fits.PrimaryHDU(np.full(shape, 3 + k, "f8")).writeto(path)
        frames.append(open_frame(str(path), path.name, unit="adu"))
    whole = 16 * shape[0] * shape[1]

    def peak(**options):
        tracemalloc.start()
        frame_numbers_by_name(frames, zero="median", **options)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(mem_limit=whole + 22e6) < whole + 22e6
    # read again for every pass
    assert peak(mem_limit=1) < 16e6
    assert peak(statsec="[*,1:10]") < 4e6
    for frame in frames:
        frame.close()


BAD = [
    (
        {"zero": "medain"},
        "the header of img_list\\[0\\] has no such keyword .*medain.*mean, median",
    ),
    (
        {"zero": "exposure"},
        "zero: found 'exposure', expected one of mean, median, mode",
    ),
    ({"weights": "median"}, "weights: found 'median', expected one of ivar, exposure"),
    ({"scale": ""}, "scale: found ''"),
    ({"zero": [1, 2]}, "zero: found an array of shape \\(2,\\)"),
    ({"zero": [1, 2, 3, np.nan]}, "zero: found NaN"),
    ({"scale": [1, 2]}, "scale: found 2 values for 4 images"),
    ({"scale": [1, 2, 3, 0]}, "img_list\\[3\\] is 0"),
    ({"scale": "exposure"}, "scale='exposure': EXPTIME of img_list\\[2\\] is 'long'"),
    ({"scale": "!ZERO"}, "scale: the ZERO of img_list\\[1\\] is 0"),
    ({"weights": "NEG"}, "weights: NEG of img_list\\[3\\] is -1"),
    ({"weights": "NONE"}, "weights: NONE is 0 in all frames"),
    ({"weights": "PART"}, "weights: PART of img_list\\[1\\] is nan"),
    ({"zero": "FLAG"}, "zero: FLAG of img_list\\[0\\] is True, expected a number"),
    ({"weights": [1, 1, np.nan, 1]}, "weights must be finite"),
    ({"zero": "mean", "statsec": "[1:99,1:2]"}, "statsec='\\[1:99,1:2\\]'"),
    (
        {"zero": "mean", "thresholds": (1e8, 1e9)},
        "zero='mean': img_list\\[0\\] has no finite",
    ),
    ({"zero": "mean", "sigma": -1}, "sigma"),
    ({"zero": lambda data: np.nan}, "zero: found nan.*img_list\\[0\\]"),
]


@pytest.mark.filterwarnings("ignore:statsec")
@pytest.mark.parametrize(("request_", "message"), BAD)
def test_bad_requests(request_, message):
    frames = stack(
        EXPTIME=[1, 2, "long", 3],
        ZERO=[1, 0, 1, 1],
        NEG=[1, 1, 1, -1],
        NONE=[0, 0, 0, 0],
        PART=[1.0, np.nan, 1, 1],
        FLAG=[True] * 4,
    )
    with pytest.raises(ValueError, match=message):
        frame_numbers_by_name(frames, **request_)


@pytest.mark.parametrize("name", ["zero", "scale"])
def test_function_that_gives_no_number(name):
    with pytest.raises(TypeError, match=r"found 'high'|'high'$"):
        frame_numbers_by_name(stack(), **{name: lambda data: "high"})
    with pytest.raises(TypeError, match="weights: found the function"):
        frame_numbers_by_name(stack(), weights=np.mean)


def test_level_that_is_not_positive_is_named():
    frames = stack()
    frames[2] = CCDFrame(CCDData(sky(2, -50.0), unit="adu"), "bias.fits")
    with pytest.raises(ValueError, match=r"scale: the median of bias.fits is -"):
        frame_numbers_by_name(frames, scale="median")


def test_statsec_without_statistics_warns():
    with pytest.warns(UnusedOptionWarning, match="has no effect"):
        frame_numbers_by_name(stack(), zero=3, statsec="[1:2,1:2]")


def test_headers_are_checked_before_pixels_are_read():
    frames = stack()

    def read(*_):
        raise AssertionError("read")

    for frame in frames:
        frame.read = read
    with pytest.raises(ValueError, match="no exposure time"):
        frame_numbers_by_name(frames, zero="median", scale="exposure")
