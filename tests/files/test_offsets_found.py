# Licensed under a 3-clause BSD style license - see LICENSE
"""Where images are: by numbers, header keywords, physical coordinates and the sky."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.wcs import WCS, DistortionLookupTable, Sip
from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS
from shifted import FOOTPRINTS, assert_same, draw, written

from imcombiners_astro import (
    combine,
)
from imcombiners_astro.errors import SubpixelOffsetWarning, UnusedOptionWarning

# ------------------------------------------------------------------- what is given


def test_header_keywords():
    rng = np.random.default_rng(23)
    images, offsets = draw(rng)
    expected = combine(images, offsets=offsets)
    for image, (y, x) in zip(images, offsets, strict=True):
        image.header = {"xoff": x + 5.0, "yoff": str(y)}
    assert_same(combine(images, offsets=("XOFF", "YOFF")), expected)
    assert_same(combine(images, offsets=["!XOFF", "!YOFF"]), expected)
    del images[3].header["xoff"]
    with pytest.raises(ValueError, match=r"offsets: the header of img_list\[3\]"):
        combine(images, offsets=("XOFF", "YOFF"))
    with pytest.raises(ValueError, match="found 3 keywords, expected 2"):
        combine(images, offsets=("XOFF", "YOFF", "ZOFF"))


def test_keywords_with_parts_of_pixels():
    images, offsets = draw(np.random.default_rng(24), n=3)
    for image, (y, x) in zip(images, offsets, strict=True):
        image.header = {"X": x, "Y": y}
    expected = combine(images, offsets=offsets)
    images[1].header["X"] += 0.09
    assert_same(combine(images, offsets=("X", "Y")), expected)
    images[1].header["X"] += 0.3
    with pytest.warns(SubpixelOffsetWarning, match=r"\[1\] is up to 0.39 pixels off"):
        assert_same(combine(images, offsets=("X", "Y")), expected)


def test_physical_coordinates():
    rng = np.random.default_rng(25)
    sky = rng.normal(100, 5, (40, 50))
    cuts = [(5, 7), (0, 0), (12, 3)]
    images = [
        CCDData(sky[y : y + 20, x : x + 25], unit="adu", meta=fits.Header())
        for y, x in cuts
    ]
    for image, (y, x) in zip(images, cuts, strict=True):
        if (y, x) != (0, 0):  # a whole image has none
            image.header["LTV1"], image.header["LTV2"] = -x, -float(y)
            image.header["LTM1_1"] = image.header["LTM2_2"] = 1.0
    got = combine(images, offsets="physical")
    np.testing.assert_allclose(
        got.data[~got.mask], sky[:32, :32][~got.mask], rtol=1e-15
    )
    assert got.shape == (32, 32)
    assert (got.header["LTV1"], got.header["LTV2"]) == (0, 0)
    inner = combine(images, offsets="physical", footprint="intersection")
    np.testing.assert_allclose(inner.data, sky[12:20, 7:25], rtol=1e-15)
    assert (inner.header["LTV1"], inner.header["LTV2"]) == (-7, -12)
    # The result has a place among the images.
    again = combine([images[1], inner], offsets="physical", footprint="first")
    np.testing.assert_allclose(again.data, sky[:20, :25], rtol=1e-15)
    images[2].header["LTM1_1"] = 0.5
    with pytest.raises(ValueError, match=r"LTM of img_list\[2\] is \[\[0.5, "):
        combine(images, offsets="physical")
    for image in images:
        image.header = fits.Header()
    with pytest.raises(ValueError, match="no image has physical coordinates"):
        combine(images, offsets="physical")


@pytest.mark.parametrize(
    ("offsets", "error", "message"),
    [
        ("sky", ValueError, "found 'sky', expected 'wcs', 'physical', a tuple"),
        ([(0, 0)], ValueError, r"found shape \(1, 2\), expected .* shape \(3, number"),
        ([0, 1, 2], ValueError, r"found shape \(3,\)"),
        ([(0, 0), (0, 0.5), (1, 1)], TypeError, "dtype float64, expected integers"),
        ([(0, 0), (0,), (1, 1)], ValueError, "offsets: "),
        ([(0, 0, 0)] * 3, ValueError, "found 3 numbers for each image, expected 2"),
        (("X", 3), ValueError, "offsets: found"),
        (("X", ""), ValueError, "offsets: found"),
        ("wcs", ValueError, r"offsets='wcs': img_list\[0\] has no WCS"),
    ],
)
def test_offsets_that_are_none(offsets, error, message):
    images, _ = draw(np.random.default_rng(26), n=3)
    with pytest.raises(error, match=message):
        combine(images, offsets=offsets)


def test_footprint():
    images, offsets = draw(np.random.default_rng(27), n=3, same=True)
    with pytest.raises(ValueError, match="footprint: found 'all', expected one of"):
        combine(images, offsets=offsets, footprint="all")
    with pytest.warns(UnusedOptionWarning, match="'first' has no effect without"):
        combine(images, footprint="first")


def test_images_with_other_numbers_of_axes():
    images = [CCDData(np.ones((4, 4)), unit="adu"), CCDData(np.ones(4), unit="adu")]
    with pytest.raises(TypeError, match="not the same size"):
        combine(images, offsets=[(0, 0), (0, 0)])


# ---------------------------------------------------------------------- the sky


def header_of_sky(kind="TAN", **changes):
    """A header with a WCS of a small field, turned by 33 degrees."""
    scale, angle = 0.3 / 3600, np.deg2rad(33)
    header = fits.Header(
        {
            "CTYPE1": f"RA---{kind}",
            "CTYPE2": f"DEC--{kind}",
            "CRVAL1": 150.1,
            "CRVAL2": 32.3,
            "CRPIX1": 30.25,
            "CRPIX2": -12.5,
            "CD1_1": -scale * np.cos(angle),
            "CD1_2": scale * np.sin(angle),
            "CD2_1": scale * np.sin(angle),
            "CD2_2": scale * np.cos(angle),
            **changes,
        }
    )
    if kind.endswith("SIP"):
        header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-7, "B_1_1": -2e-7})
        header.update({"AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": -3e-7, "BP_1_1": 2e-7})
    if kind == "TPV":
        header.update({"PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": 1e-3, "PV2_6": -2e-3})
    return header


def shifted(header, y, x):
    """The header of the part that begins at a pixel."""
    header = header.copy()
    header["CRPIX1"] -= x
    header["CRPIX2"] -= y
    return header


def skies(kind, cuts, **changes):
    images = []
    header = header_of_sky(kind, **changes)
    for k, (y, x) in enumerate(cuts):
        own = shifted(header, y, x)
        data = np.full((40 + k, 50 - k), 1.0 + k)
        images.append(CCDData(data, unit="adu", wcs=WCS(own)))
    return images


@pytest.mark.parametrize("footprint", FOOTPRINTS)
@pytest.mark.parametrize("kind", ["TAN", "TAN-SIP", "TPV", "SIN", "CAR"])
def test_a_star_stays_where_it_is(kind, footprint, tmp_path):
    cuts = [(0, 0), (7, -3), (-12, 9)]
    images = skies(kind, cuts)
    got = combine(images, offsets="wcs", footprint=footprint, diagnostics="simple")
    position = got.frames["offset"]
    np.testing.assert_array_equal(position - position[0], cuts)
    assert_same(got, combine(images, offsets=cuts, footprint=footprint))
    got.write(tmp_path / "a.fits")
    paths = written(images, tmp_path)
    of_files = combine(paths, offsets="wcs", footprint=footprint)
    read = CCDData.read(tmp_path / "a.fits")
    for k, image in enumerate(images):
        y, x = np.indices(image.shape).reshape(2, -1)[:, ::97].astype(float)
        sky = np.array(image.wcs.all_pix2world(x, y, 0))
        for result in (got, of_files, read):
            dy, dx = position[k]
            there = np.array(result.wcs.all_pix2world(x + dx, y + dy, 0))
            assert np.abs(there - sky).max() < 1e-9
    if got.wcs.sip is not None:
        assert isinstance(got.wcs.sip, Sip)
        y, x = position[0]
        first = images[0].wcs
        np.testing.assert_array_equal(
            got.wcs.sip.crpix, first.sip.crpix + np.array([x, y])
        )


def test_the_shape_of_the_wcs():
    images = skies("TAN", [(0, 0), (3, 5)])
    images[0].wcs.pixel_shape = (50, 40)
    images[0].wcs.pixel_bounds = [(-0.5, 49.5), (-0.5, 39.5)]
    got = combine(images, offsets="wcs")
    assert got.wcs.array_shape == got.shape == (44, 54)
    moved = combine(images, offsets=[(0, 0), (-3, -5)])
    assert moved.wcs.pixel_bounds == [(4.5, 54.5), (2.5, 42.5)]
    assert images[0].wcs.pixel_shape == (50, 40)


def test_reference_pixels_of_the_header():
    header = fits.Header({"CRPIX1": 3.0, "CRPIX2A": 5, "CRPIX3": 1.0, "LTV2": 4.0})
    header["CRPIX1"] = (3.0, "a comment")
    images = [CCDData(np.ones((3, 3)), unit="adu", meta=header) for _ in range(2)]
    got = combine(images, offsets=[(0, 0), (-2, -7)])
    found = [got.header[key] for key in ("CRPIX1", "CRPIX2A", "CRPIX3")]
    assert found == [10.0, 7.0, 1.0]
    assert (got.header["LTV1"], got.header["LTV2"]) == (7.0, 6.0)
    assert got.header.comments["CRPIX1"] == "a comment"
    assert images[0].header["CRPIX1"] == 3.0


def test_tables_of_distortion():
    def table():
        values = np.linspace(0, 1, 81, dtype="f4").reshape(9, 9)
        return DistortionLookupTable(values, (1, 1), (1, 1), (8, 8))

    wcs = WCS(header_of_sky())
    distorted = WCS(header_of_sky())
    distorted.cpdis1, distorted.cpdis2 = table(), table()
    images = [
        CCDData(np.ones((40, 40)), unit="adu", wcs=distorted),
        CCDData(np.ones((40, 40)), unit="adu", wcs=wcs),
    ]
    got = combine(images, offsets=[(0, 0), (-4, -6)])
    points = np.random.default_rng(1).uniform(0, 39, (20, 2))
    sky = distorted.all_pix2world(points, 0)
    there = got.wcs.all_pix2world(points + np.array([6, 4]), 0)
    assert np.abs(there - sky).max() < 1e-9
    assert np.abs(wcs.all_pix2world(points, 0) - sky).max() > 1e-6


def test_a_cube_with_a_spectral_axis():
    header = header_of_sky()
    header.update({"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6})
    header.update({"CRPIX3": 2.0, "CD3_3": 1e6, "CUNIT3": "Hz"})
    images = []
    for shift in ((0, 0, 0), (2, -3, 4)):
        own = header.copy()
        for axis, step in enumerate(reversed(shift), start=1):
            own[f"CRPIX{axis}"] -= step
        images.append(CCDData(np.ones((5, 8, 9)), unit="adu", wcs=WCS(own)))
    got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 3, 0], [2, 0, 4]]
    a = images[0].wcs.all_pix2world([[1.0, 2.0, 3.0]], 0)
    b = got.wcs.all_pix2world([[1.0, 5.0, 3.0]], 0)
    np.testing.assert_allclose(a, b, rtol=1e-14)


def test_parts_of_pixels_on_the_sky():
    images = skies("TAN", [(0, 0), (3, 5), (1, 1)])
    images[1].wcs.wcs.crpix += [0.05, -0.05]
    combine(images, offsets="wcs")
    images[1].wcs.wcs.crpix += [0.35, 0.0]
    with pytest.warns(SubpixelOffsetWarning, match=r"up to 0.40 .* and 1 of 3 images"):
        got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [3, 5], [1, 1]]


def test_other_frames_of_the_sky():
    images = skies("TAN", [(0, 0), (3, 5)])
    fk5 = WCS(shifted(header_of_sky(RADESYS="FK5", EQUINOX=2000.0), 3, 5))
    images[1].wcs = fk5
    got = combine(images, offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [3, 5]]


@pytest.mark.parametrize(
    "change",
    [
        lambda wcs: wcs.wcs.cd.__imul__(1.06),
        lambda wcs: wcs.wcs.cd.__setitem__(0, -wcs.wcs.cd[0]),
        lambda wcs: setattr(
            wcs.wcs, "cd", wcs.wcs.cd @ [[0.998, 0.06], [-0.06, 0.998]]
        ),
        lambda wcs: setattr(wcs.wcs, "crval", [330.0, -32.3]),
    ],
    ids=["scale", "flip", "rotation", "elsewhere"],
)
def test_other_scales_and_rotations(change):
    images = skies("TAN", [(0, 0), (3, 5)])
    change(images[1].wcs)
    images[1].wcs.wcs.set()
    with pytest.raises(
        ValueError, match=r"img_list\[1\] is not a shifted img_list\[0\]"
    ):
        combine(images, offsets="wcs")


def test_images_without_a_sky(tmp_path):
    images = skies("TAN", [(0, 0), (3, 5)])
    images[1].wcs = None
    with pytest.raises(ValueError, match=r"img_list\[1\] has no WCS"):
        combine(images, offsets="wcs")
    paths = written(images, tmp_path)
    with pytest.raises(ValueError, match=r"1\.fits has no WCS"):
        combine(paths, offsets="wcs")
    fits.setval(paths[1], "CTYPE1", value="RA---TAN")
    fits.setval(paths[1], "CTYPE2", value="GLAT-SIN")
    with pytest.raises(ValueError, match=r"1\.fits has a WCS that cannot be used"):
        combine(paths, offsets="wcs")
    images[1].wcs = WCS(naxis=3)
    with pytest.raises(ValueError, match="is for 3 axes, the image has 2"):
        combine(images, offsets="wcs")


def test_a_wcs_of_another_kind():
    images = skies("TAN", [(0, 0), (3, 5)])
    part = SlicedLowLevelWCS(images[1].wcs, (slice(2, 40), slice(1, 49)))
    other = NDData(
        images[1].data[2:40, 1:49], unit="adu", wcs=HighLevelWCSWrapper(part)
    )
    got = combine([images[0], other], offsets="wcs", diagnostics="simple")
    assert got.frames["offset"].tolist() == [[0, 0], [5, 6]]
