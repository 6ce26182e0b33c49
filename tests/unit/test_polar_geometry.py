"""Outlines around the pole and across the antimeridian, against circles and areas by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from eespark.polar_geometry import POLAR_CRS, to_polar

WGS84 = Geod(ellps="WGS84")


def polar(longitude: float, latitude: float) -> shapely.Point:
    return shapely.Point(*Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(longitude, latitude))


def test_that_a_box_around_the_globe_contains_the_pole() -> None:
    (cap,) = to_polar([shapely.box(-180, 80, 180, 90)], "EPSG:4326")
    assert cap.is_valid
    assert cap.contains(shapely.Point(0, 0))
    radius = shapely.Point(0, 0).distance(polar(0, 80))
    assert cap.area == pytest.approx(np.pi * radius**2, rel=1e-4)
    assert all(cap.contains(polar(longitude, 80.01)) for longitude in range(-180, 180, 7))


def test_that_a_ring_of_points_around_the_pole_contains_it() -> None:
    longitudes = np.arange(-180, 180, 20)
    (ring,) = to_polar([shapely.Polygon([(lon, 82.0) for lon in longitudes])], "EPSG:4326")
    assert ring.contains(shapely.Point(0, 0))
    assert ring.contains(polar(-170, 82.1))
    assert not ring.contains(polar(-170, 81.9))


@pytest.mark.parametrize("west", [178.0, -182.0])
def test_that_a_polygon_across_the_antimeridian_is_small(west: float) -> None:
    # Its western corners as they come in files: at 178, or beyond -180.
    polygon = shapely.Polygon([(west, 75), (-178, 75), (-178, 76), (west, 76)])
    (moved,) = to_polar([polygon], "EPSG:4326")
    assert moved.contains(polar(180, 75.5))
    assert moved.contains(polar(-179, 75.2))
    assert not moved.contains(polar(0, 75.5))
    width, _ = WGS84.geometry_area_perimeter(shapely.box(-2, 75, 2, 76))
    # The stereographic scale at 75.5 degrees differs from that at 70 by a few per cent.
    assert moved.area == pytest.approx(abs(width), rel=0.06)


def test_that_edges_along_a_parallel_are_followed() -> None:
    (moved,) = to_polar([shapely.box(0, 75, 40, 78)], "EPSG:4326")
    # The middle of the southern edge lies on the parallel, not on the chord.
    assert moved.contains(polar(20, 75.01))
    assert not moved.contains(polar(20, 74.99))


def test_that_holes_parts_and_other_kinds_come_along() -> None:
    holed = shapely.Polygon([(0, 75), (4, 75), (4, 77), (0, 77)], [[(1, 75.5), (2, 75.5), (2, 76), (1, 76)]])
    both = shapely.MultiPolygon([holed, shapely.box(170, 80, 175, 81)])
    moved = to_polar([both, shapely.Point(10, 80), None, shapely.Polygon(), shapely.LineString([(179, 80), (-179, 80)])], "EPSG:4326")
    assert not moved[0].contains(polar(1.5, 75.7))
    assert moved[0].contains(polar(172, 80.5))
    assert moved[1].equals(polar(10, 80))
    assert moved[2] is None
    assert moved[3].is_empty
    assert moved[4].length < 50_000


def test_that_projected_shapes_are_only_moved() -> None:
    square = shapely.box(400_000, 8_700_000, 401_000, 8_701_000)
    (moved,) = to_polar([square], "EPSG:32633")
    assert shapely.get_num_coordinates(moved) == 5
    assert moved.area == pytest.approx(1e6, rel=0.05)


def test_that_a_crossing_polygon_is_mended() -> None:
    (moved,) = to_polar([shapely.Polygon([(0, 75), (1, 76), (1, 75), (0, 76)])], "EPSG:4326")
    assert moved.is_valid
    assert moved.geom_type == "MultiPolygon"
