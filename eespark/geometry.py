"""Polygons: reproject, repair, erode. Pure functions on shapely geometries; nothing is opened here."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import CRSError, ProjError
from pyproj.transformer import TransformerGroup

from eespark.errors import FormatError

Geometry = Any
"""A shapely geometry (shapely ships no types)."""
Geometries = npt.NDArray[np.object_]

_POLYGON: Final = 3  # GEOS type id; those above are collections
_AREA_SLACK_DEG: Final = 0.1  # areas of use are published as rounded boxes


@lru_cache(maxsize=64)
def accurate_transformer(
    source: str, target: str, area: tuple[float, float, float, float] | None = None, max_error_m: float = 1.0
) -> Transformer:
    """The most accurate transformation between two CRS for an area, x before y.

    PROJ's own first choice is the one of the largest area, whatever its error. Taken here is the one of least stated error that
    covers the area; where none of these is within `max_error_m`, the only one within it that covers a part. That is the case
    for MGI (EPSG:31287): 1.5 m for all of Austria; 0.5 m, published for Styria, which Sedona takes everywhere. They differ by
    up to 0.9 m, and only the grid of the Austrian survey would tell which is nearer outside Styria.

    Args:
        source: CRS as EPSG:n or WKT.
        target: CRS as EPSG:n or WKT.
        area: West, south, east, north of the data, degrees; default is the area of use of the source CRS.
        max_error_m: Largest stated error that is accepted, metres.

    Raises:
        FormatError: Not a CRS; no operation of known accuracy within `max_error_m` (a ballpark one never counts); or several,
            each for a part of the area.
    """
    try:
        use = CRS.from_user_input(source).area_of_use
        CRS.from_user_input(target)
    except CRSError as error:
        raise FormatError(f"needed two coordinate reference systems, found {source!r} and {target!r}: {error}") from error
    box = area or ((use.west, use.south, use.east, use.north) if use is not None else None)
    with warnings.catch_warnings():
        # PROJ warns of grids that would have to be fetched; the accuracy that we check says all that matters.
        warnings.simplefilter("ignore", UserWarning)
        interest: Any = AreaOfInterest(*box) if box else None
        group = TransformerGroup(source, target, always_xy=True, area_of_interest=interest, allow_ballpark=False)
    known = sorted((t for t in group.transformers if t.accuracy is not None and t.accuracy >= 0), key=lambda t: t.accuracy)
    fit = [t for t in known if t.accuracy <= max_error_m]
    whole = [t for t in fit if _covers(t, box)]
    if whole:
        return whole[0]
    wish = f"needed a transformation from {source[:80]} to {target[:80]} within {max_error_m} m"
    if not fit:
        found = f"{known[0].accuracy} m at best" if known else "none of known accuracy"
        raise FormatError(f"{wish}, found {found}; install the PROJ grids of the country, or allow a larger error")
    if len(fit) > 1:
        parts = ", ".join(str(t.area_of_use.name) for t in fit if t.area_of_use is not None)
        raise FormatError(f"{wish}, found several, each for a part of the area ({parts}); state the area of the data")
    return fit[0]


def _covers(transformer: Transformer, box: tuple[float, float, float, float] | None) -> bool:
    area = transformer.area_of_use
    if area is None or box is None:
        return True
    slack = _AREA_SLACK_DEG
    west, south, east, north = box[0] + slack, box[1] + slack, box[2] - slack, box[3] - slack
    return bool(area.west <= west and area.south <= south and area.east >= east and area.north >= north)


def reproject(geometries: Geometries, transformer: Transformer) -> Geometries:
    """Geometries in another CRS; None where the projection has no answer for one of the points. Heights are dropped.

    Args:
        geometries: (n,) shapely geometries, None allowed.
        transformer: Of `accurate_transformer`.
    """

    def project(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = transformer.transform(points[:, 0], points[:, 1])
        return np.column_stack([x, y])

    before = np.asarray(geometries, dtype=object)
    try:
        after = np.asarray(shapely.transform(before, project), dtype=object)
    except ProjError as error:
        raise FormatError(f"geometries cannot be projected to {transformer.target_crs}: {error}") from error
    bad = ~np.isfinite(shapely.bounds(after)).all(axis=1) & ~shapely.is_empty(before)
    after[bad] = None
    return after


def repair(geometry: Geometry) -> tuple[Geometry, str | None]:
    """A valid polygon or multipolygon and None, or None and the reason why there is none.

    Self-crossing rings are split where they cross (both lobes of a bow tie stay), parts that are lines or points are dropped.

    Args:
        geometry: Any shapely geometry or None.

    Returns:
        The geometry in two dimensions with reason None, or None with `empty` (nothing there) or `invalid` (no area, or
        coordinates that are not numbers).
    """
    if geometry is None or shapely.is_empty(geometry):
        return None, "empty"
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return None, "invalid"
    flat = shapely.force_2d(geometry)
    if not shapely.is_valid(flat):
        flat = shapely.make_valid(flat, method="structure", keep_collapsed=False)
    polygons = _polygons(flat)
    if not polygons:
        return None, "invalid"
    merged = polygons[0] if len(polygons) == 1 else shapely.union_all(polygons)
    return (merged, None) if shapely.area(merged) > 0 else (None, "invalid")


def _polygons(geometry: Geometry) -> list[Geometry]:
    parts = list(shapely.get_parts(geometry))
    while any(shapely.get_type_id(part) > _POLYGON for part in parts):  # a collection may hold multipolygons
        parts = [one for part in parts for one in shapely.get_parts(part)]
    return [part for part in parts if shapely.get_type_id(part) == _POLYGON and not shapely.is_empty(part)]


def erode(geometries: Geometries, distance_m: float) -> Geometries:
    """Geometries shrunk inward by a distance, as Sen4CAP's inner buffer; empty where nothing is left.

    Args:
        geometries: (n,) polygons in a metric CRS.
        distance_m: Metres, 0 or more.

    Raises:
        FormatError: A negative distance.
    """
    if not distance_m >= 0:
        raise FormatError(f"needed a distance of 0 m or more to erode by, found {distance_m}")
    found = np.asarray(geometries, dtype=object)
    return found.copy() if distance_m == 0 else np.asarray(shapely.buffer(found, -distance_m), dtype=object)
