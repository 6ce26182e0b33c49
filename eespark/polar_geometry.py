"""Outlines near the poles: from longitude and latitude to a polar CRS, across the antimeridian and around the pole."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from eespark.geometry import Geometries, accurate_transformer

POLAR_CRS: Final = "EPSG:3413"
"""NSIDC sea ice polar stereographic north: the CRS that polar labels and scenes meet in by default."""
_STEP_DEG: Final = 0.25


def to_polar(shapes: Iterable[BaseGeometry | None], crs: str, polar_crs: str = POLAR_CRS) -> Geometries:
    """Polygons, lines and points in a polar CRS.

    In longitude and latitude an edge is a line of constant bearing at best: it is followed by points a quarter of a degree apart. An edge
    over more than half the globe crosses the antimeridian and goes the short way; one over the whole globe goes round the pole.

    Args:
        shapes: In `crs`; None stays None.
        crs: Of the shapes.
        polar_crs: Projected.

    Returns:
        (n,) valid geometries; coordinates that the CRS does not reach are infinite.
    """
    transformer = accurate_transformer(crs, polar_crs)
    geographic = CRS(crs).is_geographic

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = transformer.transform(points[:, 0], points[:, 1])
        return np.stack([x, y], axis=-1)

    found: list[Any] = []
    for shape in shapes:
        if shape is None or shape.is_empty:
            found.append(shape)
            continue
        flat = shapely.force_2d(shape)
        dense = _by_rings(flat, _follow) if geographic else flat
        placed = shapely.transform(dense, move)
        finite = bool(np.isfinite(shapely.get_coordinates(placed)).all())
        found.append(placed if not finite or shapely.is_valid(placed) else _polygons_of(shapely.make_valid(placed), flat))
    moved = np.empty(len(found), dtype=object)
    moved[:] = found
    return moved


def _by_rings(shape: BaseGeometry, change: Any) -> BaseGeometry:
    """The shape with its rings and lines changed; points stay."""
    kind = shape.geom_type
    if kind == "Polygon":
        return shapely.Polygon(change(shape.exterior.coords), [change(ring.coords) for ring in shape.interiors])
    if kind == "LineString":
        return shapely.LineString(change(shape.coords))
    if kind.startswith("Multi") and kind != "MultiPoint":
        return type(shape)([_by_rings(part, change) for part in shape.geoms])
    return shape


def _follow(coordinates: Any) -> npt.NDArray[np.float64]:
    points = np.asarray(coordinates, np.float64)[:, :2]
    rows = [points[:1]]
    for start, end in pairwise(points):
        step = end - start
        if 180.0 < abs(step[0]) < 360.0 - 1e-9:
            step[0] -= np.copysign(360.0, step[0])
        count = max(int(np.ceil(np.abs(step).max() / _STEP_DEG)), 1)
        rows.append(start + step * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(rows)


def _polygons_of(mended: BaseGeometry, before: BaseGeometry) -> BaseGeometry:
    """Of a mended polygon only the areas: a seam along a meridian to the pole and back is a line of no width."""
    if not before.geom_type.endswith("Polygon"):
        return mended
    parts = [part for part in shapely.get_parts(np.array([mended], dtype=object)) if part.geom_type.endswith("Polygon")]
    return shapely.union_all(np.array(parts, dtype=object)) if parts else shapely.Polygon()
