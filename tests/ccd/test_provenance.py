# Licensed under a 3-clause BSD style license - see LICENSE
"""The header of a combined image, and the table of the images it is made of."""

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS

from imcombiners_astro.files.fits import open_frame
from imcombiners_astro.frames import CCDFrame
from imcombiners_astro.noise import EffectiveNoise, Noise, resolve_noise
from imcombiners_astro.normalization import Normalization, frame_numbers_by_name
from imcombiners_astro.obstimes import header_times
from imcombiners_astro.provenance import describe, frames_table, write_header

KINDS = pytest.mark.parametrize("kind", [fits.Header, dict])


def frame(header=None, name="img_list[0]", kind=fits.Header, unit="adu"):
    header = kind(header or {})
    return CCDFrame(CCDData(np.ones((2, 3)), unit=unit, meta=header), name)


def written(frames, header=None, **options):
    """A copy of the first header, or another one, written to."""
    first = frames[0].header if header is None else header
    header = first.copy()
    write_header(header, frames, **options)
    return header


def through_fits(header):
    """What a file with this header gives back."""
    with io.BytesIO() as file:
        hdu = CCDData(np.ones((2, 2)), unit="adu", meta=header).to_hdu()
        hdu.writeto(file, output_verify="exception")
        file.seek(0)
        with fits.open(file) as hdus:
            hdus.verify("exception")
            return hdus[0].header.copy()


def history(header):
    return list(through_fits(header)["HISTORY"])


@KINDS
def test_number_of_images(kind):
    counts = [{"NCOMBINE": 5}, {}, {"NCOMBINE": "3"}, {"NCOMBINE": "many"}]
    frames = [frame(header, kind=kind) for header in counts]
    assert written(frames)["NCOMBINE"] == 5 + 1 + 3 + 1
    assert written(frames, n_combined=4)["NCOMBINE"] == 4


@KINDS
def test_names_of_images(kind):
    old = {"IMCMB001": "old1", "IMCMB002": "old2", "IMCMB003": "old3", "IMCMBX": 1}
    frames = [frame(old, "/data/night 1/a.fits", kind), frame(name="img_list[1]")]
    header = through_fits(written(frames))
    names = {key: value for key, value in header.items() if key.startswith("IMCMB")}
    assert names == {"IMCMB001": "a.fits", "IMCMB002": "img_list[1]", "IMCMBX": 1}


@KINDS
def test_odd_names_are_legal(kind):
    long = "x" * 250 + ".fits"
    names = ["été.fits", "a\nb.fits", "it's.fits", long, "\udcff.fits", "folder/"]
    header = through_fits(written([frame(name=name, kind=kind) for name in names]))
    found = [header[f"IMCMB{k:03d}"] for k in range(1, 7)]
    expected = [r"\xe9t\xe9.fits", r"a\nb.fits", "it's.fits", long, r"\udcff.fits"]
    assert found == [*expected, "folder/"]


def test_more_names_than_keywords():
    frames = [frame(name=f"{k}.fits") for k in range(1200)]
    header = written(frames)
    assert header["IMCMB999"] == "998.fits"
    assert not any(key.startswith("IMCMB1") and len(key) > 8 for key in header)
    text = " ".join(history(header))
    assert "IMCMB keywords name the first 999 of 1200 images" in text
    assert len(frames_table(frames)) == 1200
    assert "first" not in " ".join(history(written(frames[:999])))


@KINDS
@pytest.mark.parametrize(
    ("policy", "expected"), [("keep", 10.0), ("sum", 60.0), ("mean", 20.0)]
)
def test_exposure(policy, expected, kind):
    times = [10.0, 20.0, 30.0]
    headers = [{"EXPTIME": t, "EXPOSURE": t, "ITIME": 2.0} for t in times]
    frames = [frame(header, kind=kind) for header in headers]
    header = through_fits(written(frames, exposure=policy))
    assert header["EXPTIME"] == header["EXPOSURE"] == expected
    assert header["ITIME"] == 2  # of one of several readings
    told = f"exposure time: {policy} of 3 images" in list(header["HISTORY"])
    assert told == (policy != "keep")


def test_exposure_from_the_keyword_that_has_it():
    frames = [frame({"ITIME": 5}), frame({"EXPOSURE": 7.0}), frame({"EXPTIME": "8"})]
    assert written(frames, exposure="sum")["ITIME"] == 20
    quantity = frame({"EXPTIME": 1 * u.min}, kind=dict)
    assert written([quantity], exposure="sum")["EXPTIME"] == 60


def test_exposure_that_is_missing():
    frames = [frame({"EXPTIME": 5}), frame(name="b.fits")]
    before = frames[0].header.copy()
    header = frames[0].header.copy()
    with pytest.raises(ValueError, match=r"exposure='mean': the header of b.fits has"):
        write_header(header, frames, exposure="mean")
    assert header == before
    assert written(frames)["EXPTIME"] == 5
    with pytest.raises(ValueError, match="unknown exposure 'last'; expected one of"):
        write_header(header, frames, exposure="last")


STARTS = ["2021-03-04T23:59:00.25", "2021-03-04T22:00:00", "2021-03-05T00:30:00"]


@KINDS
def test_times(kind):
    frames = [
        frame({"DATE-OBS": start, "EXPTIME": seconds}, kind=kind)
        for start, seconds in zip(STARTS, [60, 120.0, 20], strict=True)
    ]
    header = through_fits(written(frames))
    assert header["DATE-OBS"] == "2021-03-04T22:00:00"
    assert header["DATE-END"] == "2021-03-05T00:30:20"
    # 60 s about 23:59:30.25, 120 s about 22:01:00, 20 s about 00:30:10
    seconds = (60 * 7170.25 + 120 * 60 + 20 * 9010) / 200
    middle = Time("2021-03-04T22:00:00", scale="utc") + seconds * u.s
    assert abs(Time(header["DATE-AVG"], scale="utc") - middle) < 1 * u.ms
    assert header["MJD-AVG"] == pytest.approx(middle.mjd, abs=1e-8)
    assert "MJD-OBS" not in header
    assert "TELAPSE" not in header


def test_times_that_are_there_are_kept_up_to_date():
    old = {"DATE-OBS": STARTS[0], "MJD-OBS": 59277.9, "TIME-OBS": "23:59:00.25"}
    old |= {"DATE-BEG": "x", "MJD-END": 1.0, "TELAPSE": 2.0, "EXPTIME": 60.0}
    frames = [frame(old), frame({"DATE-OBS": STARTS[1], "EXPTIME": 60.0})]
    header = written(frames)
    assert header["DATE-BEG"] == header["DATE-OBS"] == STARTS[1]
    assert header["TIME-OBS"] == "22:00:00"
    assert header["MJD-OBS"] == pytest.approx(Time(STARTS[1]).mjd, abs=1e-9)
    assert header["MJD-END"] == pytest.approx(Time("2021-03-05").mjd + 0.25 / 86400)
    assert header["TELAPSE"] == pytest.approx(7200.25)


@pytest.mark.parametrize(
    "header",
    [
        {"DATE-OBS": "2021-03-04T22:00:00.000"},
        {"DATE-OBS": "2021-03-04 22:00:00"},
        {"DATE-OBS": "2021-03-04T22:00:00Z"},
        {"DATE-OBS": "2021-03-04", "TIME-OBS": "22:00:00"},
        {"DATE-OBS": "2021-03-04", "UT": "22:00:00.0"},
        {"DATE-OBS": "2021-03-04", "MJD-OBS": 59277 + 22 / 24},
        {"DATE-OBS": "yesterday", "MJD-OBS": "59277.91666666666666"},
        {"DATE-BEG": "2021-03-04T22:00:00"},
        {"DATE-OBS": "2021-03-04T22:00:00", "TIMESYS": "UTC"},
        {"DATE-OBS": "2021-03-04T22:00:37", "TIMESYS": "TAI"},
        {"DATE-OBS": "2021-03-04T22:01:09.184", "TIMESYS": "TT"},
    ],
)
def test_start_is_understood(header):
    first = {"DATE-OBS": "2021-03-04T23:00:00", "TIMESYS": "UTC"}
    times, note = header_times([frame(first), frame(header)])
    assert times.start.scale == "utc"
    assert abs(times.start - Time(STARTS[1], scale="utc")) < 1 * u.ms
    assert note == "not all images have an exposure time: no DATE-END"


def test_old_dates_and_leap_seconds():
    header = {"DATE-OBS": "31/12/98", "UT": "23:59:00", "EXPTIME": 120.0}
    times, _ = header_times([frame(header)])
    assert times.start.isot == "1998-12-31T23:59:00.000"
    assert times.end.isot == "1999-01-01T00:00:59.000"
    times, _ = header_times([frame(header | {"TIMESYS": "GPS"})])
    assert times.end.isot == "1999-01-01T00:01:00.000"


def test_given_ends_and_middles_count():
    first = {"DATE-OBS": STARTS[0], "DATE-END": STARTS[2], "EXPTIME": 60.0}
    second = {"DATE-OBS": STARTS[1], "DATE-AVG": STARTS[0], "EXPTIME": 60.0}
    times, _ = header_times([frame(first), frame(second)])
    assert times.end.isot == "2021-03-05T00:30:00.000"
    middle = Time(STARTS[0]) + (Time(STARTS[2]) - Time(STARTS[0])) / 4
    assert abs(times.middle - middle) < 1 * u.ms


def test_bias_frames_have_a_middle_too():
    frames = [frame({"DATE-OBS": start, "EXPTIME": 0.0}) for start in STARTS[1:]]
    times, _ = header_times(frames)
    assert times.middle.isot == "2021-03-04T23:15:00.000"


def test_times_of_some_images_only():
    stale = {"DATE-OBS": STARTS[1], "DATE-END": STARTS[1], "EXPTIME": 60.0}
    frames = [frame(stale), frame(name="b.fits")]
    header = written(frames)
    assert header["DATE-OBS"] == header["DATE-END"] == STARTS[1]
    text = " ".join(line.strip() for line in history(header))
    assert "times are those of the first image: 1 of 2" in text
    assert "b.fits" in text
    # an end of one is none of both
    frames = [frame(stale), frame({"DATE-OBS": STARTS[0]})]
    header = written(frames)
    assert header["DATE-OBS"] == STARTS[1]
    assert "DATE-END" not in header
    assert "DATE-AVG" not in header
    # none: nothing to tell
    header = written([frame(), frame()])
    assert "DATE-OBS" not in header
    assert "time" not in " ".join(history(header))
    frames = [frame(stale | {"TIMESYS": "LOCAL"}), frame(stale)]
    assert header_times(frames)[1].endswith("TIMESYS differs")


def test_dates_far_ahead_do_not_warn():
    frames = [frame({"DATE-OBS": "2071-01-01T00:00:00", "EXPTIME": 9.5})]
    assert written(frames)["DATE-END"] == "2071-01-01T00:00:09.5"


def image_of(path, start, seconds):
    header = fits.Header({"DATE-OBS": start, "EXPTIME": seconds})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.1})
    header.update({"CDELT2": 0.1, "CRVAL1": 10.0, "CRVAL2": 20.0})
    header.update({"MJD-OBS": Time(start).mjd, "DATE-AVG": start, "DATE-END": start})
    fits.PrimaryHDU(np.ones((4, 5), "f4"), header).writeto(path)


@pytest.mark.filterwarnings("ignore:'datfix' made")
@pytest.mark.parametrize("with_wcs", [True, False])
def test_dates_of_the_wcs_do_not_win(tmp_path, with_wcs):
    """A WCS has dates of its own, which CCDData writes over those of the header."""
    for k, start in enumerate(STARTS):
        image_of(tmp_path / f"{k}.fits", start, 60.0)
    frames = [
        open_frame(str(tmp_path / f"{k}.fits"), f"{k}.fits", unit="adu")
        for k in range(3)
    ]
    result = frames[0].template()
    if not with_wcs:
        result.wcs = None
    write_header(result.header, frames, wcs=result.wcs)
    for one in frames:
        one.close()
    result.write(tmp_path / "result.fits")
    header = fits.getheader(tmp_path / "result.fits")
    assert header["DATE-OBS"] == STARTS[1]
    assert header["MJD-OBS"] == pytest.approx(Time(STARTS[1]).mjd, abs=1e-9)
    assert header["DATE-END"] == STARTS[2]
    middle = np.mean([Time(start).mjd for start in STARTS])
    assert Time(header["DATE-AVG"]).mjd == pytest.approx(middle, abs=1e-8)
    assert header["MJD-AVG"] == pytest.approx(middle, abs=1e-8)
    assert header["IMCMB003"] == "2.fits"
    if with_wcs:
        assert header["CRVAL1"] == 10
        assert WCS(header).wcs.dateobs == STARTS[1]


@KINDS
def test_effective_noise(kind):
    effective = EffectiveNoise(6.0, 12.0)
    for old, gain, readnoise in (
        ({}, "GAIN", "RDNOISE"),
        ({"EGAIN": 1.5, "GAIN": 120, "READNOIS": 3.0}, "EGAIN", "READNOIS"),
    ):
        frames = [frame(old, kind=kind)]
        header = through_fits(written(frames, effective_noise=effective))
        assert header[gain] == 6
        assert header[readnoise] == 12
        assert header.get("GAIN") == (120 if old else 6)
        again = resolve_noise([frame(header)], purpose="test")
        assert (again.gain[0], again.readnoise[0]) == (6, 12)
    header = written([frame({"GAIN": 1.5, "RDNOISE": 3.0}, kind=kind)])
    assert (header["GAIN"], header["RDNOISE"]) == (1.5, 3)


def test_effective_noise_of_eso():
    header = fits.Header({"HIERARCH ESO DET OUT1 CONAD": 1.9})
    header = written([frame(header)], effective_noise=EffectiveNoise(3.8, 2.0))
    assert through_fits(header)["ESO DET OUT1 CONAD"] == 3.8
    assert "GAIN" not in header


@KINDS
def test_history(kind):
    old = {"HISTORY": "bias subtracted"}
    frames = [frame(old, f"{k}.fits", kind) for k in range(3)]
    noise = Noise(
        np.array([1.5, 1.6, 1.5]), np.full(3, 4.0), np.zeros(3), ["GAIN"] * 3, ["x"] * 3
    )
    normalization = Normalization(
        zero=np.array([0.0, 1.5, -2.25]),
        scale=np.ones(3),
        weights=np.ones((3, 2, 3)),
        description=["zero: median of the frame"],
    )
    header = written(
        frames,
        options={
            "method": "average",
            "sigma_clip_func": np.ma.median,
            "größe": "lang\nund breit",
            "scale": list(range(60)),
        },
        noise=noise,
        normalization=normalization,
    )
    lines = history(header)
    assert lines[0] == "bias subtracted"
    assert lines[1].startswith("imcombiners_astro ")
    assert lines[1].endswith(": 3 images combined")
    for line in (
        "method=average",
        "sigma_clip_func=numpy.ma.median",
        r"gr\xf6\xdfe=lang\nund breit",
        "zero: median of the frame",
        "subtracted: 0, 1.5, -2.25",
        "divided by: 1",
        "weights: array of shape (3, 2, 3), 1 to 1",
        "gain: 1.5, 1.6, 1.5 (GAIN)",
        "read noise: 4 (x)",
    ):
        assert line in lines
    assert max(map(len, lines)) <= 72
    start = next(k for k, line in enumerate(lines) if line.startswith("scale=[0, 1"))
    rest = "".join(line.strip() + " " for line in lines[start:])
    assert ", ".join(map(str, range(60))) in rest


def test_options_as_lines_and_long_words():
    word = "w" * 500
    header = written([frame()], options=["one line", f"path={word}"])
    lines = history(header)
    assert "one line" in lines
    assert "".join(line.strip() for line in lines[2:]) == f"path={word}"


def test_history_in_a_list_stays_a_list():
    header = written([frame()], {"HISTORY": ["before"]}, options=["after"])
    assert header["HISTORY"][0] == "before"
    assert header["HISTORY"][-1] == "after"
    cards = fits.Header([("HISTORY", "one"), ("HISTORY", "two")])
    header = written([frame()], dict(cards), options=["after"])
    assert history(header)[:2] == ["one", "two"]
    assert history(header)[-1] == "after"


def test_numbers_of_many_images_are_told_by_their_range():
    frames = [frame()] * 500
    normalization = Normalization(zero=np.arange(500.0))
    lines = history(written(frames, normalization=normalization))
    assert "subtracted: 0 to 499" in lines


def test_input_header_is_not_changed():
    frames = [frame({"EXPTIME": 3.0, "NCOMBINE": 2}), frame({"EXPTIME": 3.0})]
    before = [one.header.copy() for one in frames]
    written(frames, exposure="sum", options=["x"])
    assert [one.header for one in frames] == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("median", "median"),
        (3.5, "3.5"),
        (np.std, "numpy.std"),
        (len, "len"),
        (fits.Header, "astropy.io.fits.header.Header"),
        ([1, "a", None], "[1, a, None]"),
        (np.array([1.5, 2]), "[1.5, 2.0]"),
        (np.array(2.0), "2.0"),
        (np.zeros((0, 3)), "array of shape (0, 3)"),
        (np.full((2, 2), np.nan), "array of shape (2, 2), nan to nan"),
        (list(range(1000)), "list of 1000"),
        (2 * u.electron, "2.0 electron"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


def test_table(tmp_path):
    headers = [{"EXPTIME": 10.0}, {}, {"EXPTIME": 30.0}]
    names = ["/data/a.fits", "é.fits", "img_list[2]"]
    frames = [frame(h, n) for h, n in zip(headers, names, strict=True)]
    noise = resolve_noise(frames, [1.5, 1.6, 1.7], 4.0, purpose="test")
    normalization = Normalization(
        zero=np.array([0.0, 1, 2]),
        factor=np.array([1.0, 2, 4]),
        weights=np.array([1, 2, 3]),
    )
    table = frames_table(
        frames,
        normalization=normalization,
        noise=noise,
        n_used_per_frame=[6, 5, 4],
        rejected_low_per_frame=[0, 1 / 6, 0],
        rejected_high_per_frame=[0, 0, 0.5],
    )
    assert table.colnames == [
        *("name", "exposure", "zero", "scale", "weight", "gain", "readnoise"),
        *("n_used", "rejected_low", "rejected_high"),
    ]
    assert list(table["name"]) == ["/data/a.fits", r"\xe9.fits", "img_list[2]"]
    assert np.array_equal(table["exposure"], [10, np.nan, 30], equal_nan=True)
    assert table["zero"].tolist() == [0, 1, 2]
    assert table["scale"].tolist() == [1, 0.5, 0.25]
    assert table["weight"].tolist() == [1, 2, 3]
    assert table["gain"].tolist() == [1.5, 1.6, 1.7]
    assert table["n_used"].tolist() == [6, 5, 4]
    assert table["rejected_low"] == pytest.approx([0, 100 / 6, 0])
    assert table["rejected_high"].tolist() == [0, 0, 50]
    assert table["exposure"].unit == u.s
    assert table["zero"].unit == u.adu
    # no warning of units on the way to a file and back
    table.write(tmp_path / "t.fits")
    again = Table.read(tmp_path / "t.fits")
    assert again.colnames == table.colnames
    for name in table.colnames:
        assert again[name].unit == table[name].unit
        same = again[name].tolist() == table[name].tolist()
        assert same or name == "exposure"


@pytest.mark.parametrize("unit", ["electron", "DN", "1000 adu", "electron / s"])
def test_table_of_any_unit_goes_to_a_file(tmp_path, unit):
    table = frames_table([frame(unit=unit)] * 2)
    table.write(tmp_path / "t.fits")
    assert len(Table.read(tmp_path / "t.fits")) == 2


def test_table_of_unknown_numbers():
    table = frames_table([frame(unit="")] * 2)
    assert table["zero"].tolist() == [0, 0]
    assert table["zero"].unit is None
    assert table["weight"].tolist() == table["scale"].tolist() == [1, 1]
    assert np.isnan(table["gain"]).all()
    assert table["n_used"].tolist() == [-1, -1]
    for weights in ("ivar", np.ones((2, 2, 3))):
        table = frames_table(
            [frame()] * 2, normalization=Normalization(weights=weights)
        )
        assert np.isnan(table["weight"]).all()


def test_files_have_their_own_headers(tmp_path):
    frames = []
    for k in range(3):
        header = fits.Header({"EXPTIME": 10.0 + k, "GAIN": 1.5 + k, "SKY": 7.0 * k})
        fits.PrimaryHDU(np.ones((4, 5), "i2"), header).writeto(tmp_path / f"{k}.fits")
        frames.append(open_frame(str(tmp_path / f"{k}.fits"), f"{k}.fits", unit="adu"))
    noise = resolve_noise(frames, readnoise=2, purpose="test")
    assert noise.gain.tolist() == [1.5, 2.5, 3.5]
    found = frame_numbers_by_name(frames, zero="SKY", weights="exposure")
    assert found.zero.tolist() == [0, 7, 14]
    assert found.weights.tolist() == [10, 11, 12]
    assert frames_table(frames)["exposure"].tolist() == [10, 11, 12]
    for one in frames:
        one.close()
