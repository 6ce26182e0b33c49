"""Cloud masks of L1C products: GML and JPEG 2000 written by hand, flags counted by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eespark.bands import Flag
from eespark.errors import FormatError, MissingError
from eespark.io import cloud_mask
from eespark.io.cloud_mask import check_mask, covered, mask_flags, parse_cloud_polygons, read_cloud_polygons
from eespark.io.rasters import RasterInfo

WEST, NORTH = 600_000, 5_400_000
# The 10 m grid of 8 x 8 pixels; its rows are counted from the north.
FINEST = RasterInfo((8, 8), (8, 8), (10.0, 0.0, WEST, 0.0, -10.0, NORTH), "EPSG:32633", "uint16", 1)


def ring(*corners: tuple[float, float]) -> str:
    """Positions of a closed ring; corners in metres east and south of the grid's corner."""
    return " ".join(f"{WEST + x} {NORTH - y}" for x, y in (*corners, corners[0]))


def box(left: float, top: float, right: float, bottom: float) -> str:
    return ring((left, top), (right, top), (right, bottom), (left, bottom))


def feature(outer: str, *inner: str, kind: str = "OPAQUE", dimension: int = 2) -> str:
    def part(tag: str, positions: str) -> str:
        return f'<gml:{tag}><gml:LinearRing><gml:posList srsDimension="{dimension}">{positions}</gml:posList></gml:LinearRing></gml:{tag}>'

    rings = part("exterior", outer) + "".join(part("interior", one) for one in inner)
    return (
        f'<eop:MaskFeature gml:id="X.0"><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{kind}</eop:maskType>'
        f'<eop:extentOf><gml:Polygon gml:id="X.0_Polygon">{rings}</gml:Polygon></eop:extentOf></eop:MaskFeature>'
    )


BOUNDS = '<gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:32633"/></gml:boundedBy>'


def gml(*features: str, bounds: str = BOUNDS) -> str:
    members = f"<eop:maskMembers>{''.join(features)}</eop:maskMembers>" if features else "<eop:maskMembers/>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" '
        f'xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="M"><gml:name>M</gml:name>{bounds}{members}</eop:Mask>'
    )


def flags(folder: Path, text: str) -> np.ndarray:
    """(8, 8) flags of the whole grid."""
    file = folder / "MSK_CLOUDS_B00.gml"
    file.write_text(text)
    rows, cols = np.indices((8, 8))
    product = {"bands": {"CLOUDS": str(file)}, "shape": [8, 8], "transform": list(FINEST.transform)}
    found, decoded = mask_flags(product, rows.ravel(), cols.ravel())
    assert (found.dtype, decoded) == (np.uint8, 0)
    return found.reshape(8, 8)


def cloudy(folder: Path, *features: str) -> set[tuple[int, int]]:
    found = flags(folder, gml(*features))
    assert set(np.unique(found)) <= {Flag.CLEAR, Flag.CLOUD}
    return {(int(row), int(col)) for row, col in np.argwhere(found == Flag.CLOUD)}


def test_that_a_pixel_is_cloud_where_its_centre_is(tmp_path: Path) -> None:
    # Centres lie at 5, 15, 25, ... m: from 14 to 36 east those of columns 1, 2, 3, from 16 to 24 south none, from 6 to 26 rows 1, 2.
    assert cloudy(tmp_path, feature(box(14, 6, 36, 26))) == {(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)}
    assert cloudy(tmp_path, feature(box(14, 16, 36, 24))) == set()


def test_that_holes_are_clear(tmp_path: Path) -> None:
    around = {(row, col) for row in range(5) for col in range(5)} - {(1, 1), (3, 2), (3, 3)}
    assert cloudy(tmp_path, feature(box(0, 0, 50, 50), box(10, 10, 20, 20), box(20, 30, 40, 40))) == around


def test_that_cirrus_is_cloud_too(tmp_path: Path) -> None:
    assert cloudy(tmp_path, feature(box(0, 0, 10, 10)), feature(box(70, 70, 80, 80), kind="CIRRUS")) == {(0, 0), (7, 7)}


def test_that_polygons_may_overlap(tmp_path: Path) -> None:
    assert cloudy(tmp_path, feature(box(0, 0, 20, 10)), feature(box(10, 0, 30, 10), kind="CIRRUS")) == {(0, 0), (0, 1), (0, 2)}


def test_that_a_cloud_in_the_hole_of_another_is_cloud(tmp_path: Path) -> None:
    assert (2, 2) in cloudy(tmp_path, feature(box(0, 0, 50, 50), box(10, 10, 40, 40)), feature(box(20, 20, 30, 30)))


def test_that_a_ring_that_touches_itself_keeps_both_its_parts(tmp_path: Path) -> None:
    # Two pixels that meet at a corner, in one ring, as polygons made from pixels may have them.
    touching = ring((0, 0), (10, 0), (10, 10), (20, 10), (20, 20), (10, 20), (10, 10), (0, 10))
    assert cloudy(tmp_path, feature(touching)) == {(0, 0), (1, 1)}


def test_that_heights_are_dropped(tmp_path: Path) -> None:
    corners = " ".join(f"{WEST + x} {NORTH - y} 77" for x, y in ((0, 0), (20, 0), (20, 10), (0, 10), (0, 0)))
    assert cloudy(tmp_path, feature(corners, dimension=3)) == {(0, 0), (0, 1)}


@pytest.mark.parametrize("bounds", ["", BOUNDS])
def test_that_a_mask_without_features_means_no_cloud(tmp_path: Path, bounds: str) -> None:
    assert (flags(tmp_path, gml(bounds=bounds)) == Flag.CLEAR).all()
    assert (flags(tmp_path, gml(bounds=bounds).replace("<eop:maskMembers/>", "")) == Flag.CLEAR).all()


ATTACKS = {
    "external entity": '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    "exponential entities": '<!DOCTYPE d [<!ENTITY a "1 1 "><!ENTITY b "&a;&a;&a;&a;"><!ENTITY x "&b;&b;&b;&b;">]>',
    "external DTD": '<!DOCTYPE d SYSTEM "http://example.invalid/d.dtd">',
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_that_xml_that_attacks_its_reader_is_refused(tmp_path: Path, attack: str) -> None:
    hostile = gml(feature("&x;")).replace("?>\n", "?>\n" + ATTACKS[attack])
    with pytest.raises(FormatError, match=r"MSK_CLOUDS_B00\.gml: needed plain XML"):
        flags(tmp_path, hostile)


def test_that_a_mask_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_mask, "MAX_XML_BYTES", 400)
    with pytest.raises(FormatError, match="needed a file of at most 400 bytes, found more"):
        flags(tmp_path, gml(feature(box(0, 0, 10, 10))))


FAULTS = {
    "other kind": (gml(feature(box(0, 0, 9, 9), kind="SHADOW")), "needed a maskType of CIRRUS or OPAQUE, found 'SHADOW'"),
    "no kind": (gml(feature(box(0, 0, 9, 9))).replace("maskType", "kind"), "needed a maskType of CIRRUS or OPAQUE, found ''"),
    "other file": ("<Metadata/>", r"needed a mask \(eop:Mask\), found <Metadata>"),
    "no XML": ("", "needed plain XML, found ParseError"),
    "cut short": (gml(feature(box(0, 0, 9, 9)))[:-30], "needed plain XML, found ParseError"),
    "not a number": (gml(feature("1 2 3 x 5 6 1 2")), "needed numbers in posList"),
    "infinite": (gml(feature("1 2 inf 4 5 6 1 2")), "needed finite coordinates of 2 or 3 dimensions"),
    "odd count": (gml(feature("1 2 3 4 5 6 1")), "needed finite coordinates of 2 or 3 dimensions"),
    "four dimensions": (gml(feature(box(0, 0, 9, 9), dimension=4)), "needed finite coordinates of 2 or 3 dimensions"),
    "two points": (gml(feature("1 2 3 4")), "needed polygons, found a ring that is none"),
    "no ring": (gml(feature(box(0, 0, 9, 9)).replace("exterior", "outside")), "needed polygons with one exterior, found 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_that_what_is_no_such_mask_is_refused_with_the_reason(fault: str) -> None:
    text, reason = FAULTS[fault]
    with pytest.raises(FormatError, match=f"MSK: {reason}"):
        parse_cloud_polygons(text.encode(), "MSK")


def test_that_a_mask_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.gml"):
        read_cloud_polygons(str(tmp_path / "absent.gml"))


def check(folder: Path, text: str, crs: str = "EPSG:32633") -> None:
    file = folder / "MSK_CLOUDS_B00.gml"
    file.write_text(text)
    check_mask(str(file), crs, FINEST, pixels=True)


def test_that_a_mask_of_another_system_is_refused(tmp_path: Path) -> None:
    check(tmp_path, gml(feature(box(0, 0, 9, 9))))
    check(tmp_path, gml(feature(box(0, 0, 9, 9)), bounds=""), "EPSG:32634")  # it says none
    with pytest.raises(FormatError, match=r"MSK_CLOUDS_B00\.gml: metadata says EPSG:32634, the mask says EPSG:32633"):
        check(tmp_path, gml(feature(box(0, 0, 9, 9))), "EPSG:32634")


def test_that_clouds_of_another_place_are_refused(tmp_path: Path) -> None:
    check(tmp_path, gml(feature(box(-50, -50, 5, 5))))
    with pytest.raises(FormatError, match="needed clouds on the product's ground, found all elsewhere"):
        check(tmp_path, gml(feature(box(81, 0, 200, 80))))


def write_classification(file: Path, layers: np.ndarray) -> str:
    file.parent.mkdir(exist_ok=True)
    transform = rasterio.Affine(60, 0, WEST, 0, -60, NORTH)
    profile = {
        "driver": "JP2OpenJPEG",
        "crs": "EPSG:32633",
        "count": layers.shape[0],
        "height": layers.shape[1],
        "width": layers.shape[2],
        "dtype": "uint8",
    }
    more = {"REVERSIBLE": "YES", "QUALITY": "100", "tiled": True, "BLOCKXSIZE": 32, "BLOCKYSIZE": 32}
    with rasterio.open(file, "w", transform=transform, **profile, **more) as dataset:
        dataset.write(layers)
    return str(file)


def classification() -> np.ndarray:
    """64 x 64 pixels of 60 m: clear but for one opaque, one cirrus, one snow, one of opaque cloud over snow."""
    layers = np.zeros((3, 64, 64), np.uint8)
    layers[0, 0, 0] = layers[1, 0, 1] = layers[2, 1, 0] = 1
    layers[0, 63, 63] = layers[2, 63, 63] = 1
    return layers


def test_that_a_raster_tells_cloud_and_snow_and_cloud_goes_before_snow(tmp_path: Path) -> None:
    product: dict[str, Any] = {
        "bands": {"CLOUDS": write_classification(tmp_path / "MSK_CLASSI_B00.jp2", classification())}, "shape": [384, 384],
        "transform": [10, 0, WEST, 0, -10, NORTH],
    }  # fmt: skip
    # Six 10 m pixels lie in one of 60 m.
    rows, cols = np.array([0, 5, 0, 6, 6, 12, 383]), np.array([0, 5, 6, 0, 6, 12, 383])
    found, decoded = mask_flags(product, rows, cols)
    assert [Flag(one).name for one in found] == ["CLOUD", "CLOUD", "CLOUD", "SNOW", "CLEAR", "CLEAR", "CLOUD"]
    # Of four tiles of 32 x 32, two hold a pixel.
    assert decoded == 2 * 1024


def test_that_a_raster_of_other_layers_ground_or_system_is_refused(tmp_path: Path) -> None:
    finest = RasterInfo((384, 384), (64, 64), FINEST.transform, "EPSG:32633", "uint16", 1)
    whole = write_classification(tmp_path / "MSK_CLASSI_B00.jp2", classification())
    check_mask(whole, "EPSG:32633", finest, pixels=True)
    with pytest.raises(FormatError, match=r"MSK_CLASSI_B00\.jp2: metadata says EPSG:32634, the mask says EPSG:32633"):
        check_mask(whole, "EPSG:32634", finest, pixels=False)
    one = write_classification(tmp_path / "one" / "MSK_CLASSI_B00.jp2", classification()[:1])
    with pytest.raises(FormatError, match=r"MSK_CLASSI_B00\.jp2: needed 3 layers, found 1"):
        check_mask(one, "EPSG:32633", finest, pixels=False)
    small = write_classification(tmp_path / "small" / "MSK_CLASSI_B00.jp2", classification()[:, :32])
    with pytest.raises(FormatError, match=r"MSK_CLASSI_B00\.jp2: needed about \(64\.0, 64\.0\) pixels"):
        check_mask(small, "EPSG:32633", finest, pixels=False)


def test_that_a_raster_cut_short_is_refused(tmp_path: Path) -> None:
    finest = RasterInfo((384, 384), (64, 64), FINEST.transform, "EPSG:32633", "uint16", 1)
    layers = np.random.default_rng(2).integers(0, 2, (3, 64, 64)).astype(np.uint8)
    file = Path(write_classification(tmp_path / "MSK_CLASSI_B00.jp2", layers))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.7)])
    with pytest.raises(FormatError, match="needed a readable raster"):
        check_mask(str(file), "EPSG:32633", finest, pixels=True)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_that_points_are_covered_where_they_lie_in_the_union(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centres, x, y = rng.uniform(0, 100, (count, 2)), rng.uniform(-20, 120, 300), rng.uniform(-20, 120, 300)
    discs = shapely.buffer(shapely.points(centres), rng.uniform(5, 40, count))
    rings = np.array([shapely.difference(disc, shapely.buffer(shapely.centroid(disc), 4)) for disc in discs], dtype=object)
    expected = shapely.contains_xy(shapely.union_all(rings), x, y)
    np.testing.assert_array_equal(covered(rings, x, y), expected)
