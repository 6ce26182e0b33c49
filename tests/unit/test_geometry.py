"""Reproject, repair, erode: by hand, against published parameters, and against real parcels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from eespark.errors import FormatError
from eespark.geometry import accurate_transformer, erode, repair, reproject


def test_that_a_bow_tie_keeps_both_lobes():
    mended, reason = repair(shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]))
    assert reason is None
    assert mended.is_valid
    assert mended.area == pytest.approx(2.0)  # two triangles of base 2 and height 1


def test_that_parts_that_overlap_become_one_area():
    mended, _ = repair(shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)]))
    assert mended.area == pytest.approx(7.0)  # 4 + 4 less the shared 1


def test_that_only_polygons_stay():
    mixed = shapely.GeometryCollection(
        [
            shapely.Point(0, 0),
            shapely.LineString([(0, 0), (9, 9)]),
            shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)]),
        ]
    )
    mended, reason = repair(mixed)
    assert (mended.geom_type, mended.area, reason) == ("MultiPolygon", 2.0, None)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (None, "empty"),
        (shapely.Polygon(), "empty"),
        (shapely.LineString([(0, 0), (1, 1)]), "invalid"),
        (shapely.Polygon([(0, 0), (1, 1), (2, 2)]), "invalid"),
        (shapely.Polygon([(0, 0), (1, np.nan), (2, 2)]), "invalid"),
    ],
    ids=["none", "empty", "line", "no area", "not a number"],
)
def test_that_what_has_no_area_is_refused_with_a_reason(shape, reason):
    assert repair(shape) == (None, reason)


def test_that_repair_drops_heights():
    mended, _ = repair(shapely.Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)]))
    assert not mended.has_z


def test_that_erosion_takes_the_distance_from_each_side():
    small, gone = erode(np.array([shapely.box(0, 0, 50, 40), shapely.box(0, 0, 19, 100)], dtype=object), 10.0)
    assert small.equals(shapely.box(10, 10, 40, 30))
    assert gone.is_empty


def test_that_erosion_by_a_negative_distance_is_refused():
    with pytest.raises(FormatError, match="found -1"):
        erode(np.array([shapely.box(0, 0, 1, 1)], dtype=object), -1)


def test_that_the_accurate_operation_is_taken_and_differs_from_the_default_by_most_of_a_metre():
    accurate = accurate_transformer("EPSG:31287", "EPSG:32633")
    assert accurate.accuracy == 0.5
    default = pyproj.Transformer.from_crs("EPSG:31287", "EPSG:32633", always_xy=True)
    places = [(200e3, 350e3), (400e3, 400e3), (600e3, 480e3)]
    shifts = [np.hypot(*np.subtract(accurate.transform(x, y), default.transform(x, y))) for x, y in places]
    assert 0.3 < min(shifts) < max(shifts) < 1.5


def test_that_the_operation_for_all_of_austria_is_taken_where_its_error_is_allowed():
    assert accurate_transformer("EPSG:31287", "EPSG:32633", max_error_m=1.5).accuracy == 1.5
    assert accurate_transformer("EPSG:31287", "EPSG:32633", (14.0, 46.8, 16.0, 47.8), 1.5).accuracy == 0.5  # within Styria


def test_that_operations_of_two_countries_are_not_mixed_up():
    with pytest.raises(FormatError, match=r"several, each for a part of the area \(Slovakia.*Czechia"):
        accurate_transformer("EPSG:5514", "EPSG:3035")
    assert accurate_transformer("EPSG:5514", "EPSG:3035", (14.0, 49.0, 16.0, 50.5)).area_of_use.name == "Czechia."


def test_that_the_datum_shift_follows_the_published_parameters():
    # MGI to WGS 84 (8) of the EPSG registry, spelled out in PROJ's primitives.
    by_hand = pyproj.Transformer.from_pipeline(
        "proj=pipeline step inv proj=lcc lat_0=47.5 lon_0=13.33333333333333 lat_1=49 lat_2=46 x_0=400000 y_0=400000 ellps=bessel "
        "step proj=cart ellps=bessel step proj=helmert x=601.705 y=84.263 z=485.227 rx=-4.7354 ry=-1.3145 rz=-5.393 s=-2.3887 "
        "convention=coordinate_frame step inv proj=cart ellps=WGS84 step proj=utm zone=33 ellps=WGS84"
    )
    found = accurate_transformer("EPSG:31287", "EPSG:32633").transform(525502.58, 483107.24)
    assert found == pytest.approx(by_hand.transform(525502.58, 483107.24), abs=0.01)


def test_that_a_transformation_of_unknown_accuracy_is_refused():
    with pytest.raises(FormatError, match=r"within 1.0 m, found none of known accuracy"):
        accurate_transformer("+proj=lcc +lat_1=46 +lat_2=49 +lat_0=47.5 +lon_0=13 +ellps=bessel +type=crs", "EPSG:3035")


def test_that_a_demand_beyond_the_best_operation_is_refused():
    with pytest.raises(FormatError, match=r"within 0.1 m, found 0.5 m at best"):
        accurate_transformer("EPSG:31287", "EPSG:32633", max_error_m=0.1)


def test_that_a_name_that_is_no_crs_is_refused():
    with pytest.raises(FormatError, match="needed two coordinate reference systems"):
        accurate_transformer("EPSG:0", "EPSG:3035")


def test_that_points_beyond_the_projection_become_none():
    transformer = accurate_transformer("EPSG:4326", "EPSG:3035")
    inside, beyond = reproject(np.array([shapely.Point(10.0, 52.0), shapely.Point(10.0, 1e6)], dtype=object), transformer)
    assert (inside.x, inside.y) == pytest.approx((4_321_000.0, 3_210_000.0))  # the projection's own origin
    assert beyond is None


@pytest.mark.real
def test_that_real_parcels_need_no_repair_and_keep_their_declared_area(austrian):
    mended = [repair(g) for g in austrian.geometry]
    assert {reason for _, reason in mended} == {None}
    area_ha = np.array([g.area for g, _ in mended]) / 1e4
    assert np.abs(area_ha - austrian["SL_FLAECHE_BRUTTO_HA"]).max() < 2e-6


@pytest.mark.real
def test_that_an_erosion_of_10_m_leaves_65_of_100_real_parcels(austrian):
    assert int((~shapely.is_empty(erode(austrian.geometry.to_numpy(), 10.0))).sum()) == 65


@pytest.mark.real
def test_that_dutch_parcels_reach_the_right_place(real_data: Path):
    dutch = pyogrio.read_dataframe(real_data / "invekos" / "brpgewaspercelen_definitief_2023.gpkg")
    transformer = accurate_transformer("EPSG:28992", "EPSG:3035")
    assert transformer.accuracy == 0.25
    there = reproject(dutch.geometry.to_numpy(), transformer)
    # EPSG:3035 keeps areas; RD New, a conformal projection, distorts them by less than 0.1 %.
    assert shapely.area(there) / dutch.geometry.area.to_numpy() == pytest.approx(1.0, abs=1e-3)
