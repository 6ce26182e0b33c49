"""What analysts draw on the scenes: polygons of one kind, charts of whole scenes in SIGRID-3 codes, icebergs, and the coastline.

Polygons of one kind are drawn by eye within an area of that kind: their outlines run over its edge here and there, and a few bear the wrong
class. Charts are coarse: their zones hold several kinds, whose shares they tell in tenths.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import geopandas
import numpy as np
import numpy.typing as npt
import shapely
from rasterio import Affine
from rasterio.features import shapes
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from eespark.synthetic.noise import generator
from eespark.synthetic.polar.backscatter import BRASH, DEFORMED, FIRST_YEAR, LAND, NEW_ICE, OPEN_WATER, YOUNG_ICE
from eespark.synthetic.polar.ice import CRS, Floats
from eespark.synthetic.polar.render import GROUND_M, Ground

Geometries = npt.NDArray[np.object_]

DRAWN_KINDS: Final = (OPEN_WATER, NEW_ICE, BRASH, YOUNG_ICE, FIRST_YEAR, DEFORMED)
RADIUS_M: Final = (320.0, 2_200.0)
OVERSHOOT: Final = (0.75, 1.08)
"""Radius of a drawn polygon over the distance to the nearest other kind, least and most."""
WRONG_SHARE: Final = 0.02
ZONE_M: Final = 9_000.0
CHART_M: Final = 400.0
# Stage of development in SIGRID-3 of each kind of ice; brash has no stage of its own.
STAGE: Final = {NEW_ICE: 81, BRASH: 99, YOUNG_ICE: 83, FIRST_YEAR: 86, DEFORMED: 95}
_FAST_FORM, _UNKNOWN_FORM = 8, 99
_SINGLE: Final = -9


def coastline(ground: Ground) -> geopandas.GeoDataFrame:
    """Land as polygons."""
    step = 3
    return _polygons(ground, (ground.truth.kind == LAND)[::step, ::step].astype(np.int32), step, {1: {"name": "land"}})


def drawn_polygons(ground: Ground, footprint: shapely.Polygon, product_id: str, most_a_kind: int, seed: int) -> geopandas.GeoDataFrame:
    """Polygons of one kind each, as the university of Tromso's analysts draw them: scene, class 1 to 6, geometry in EPSG:4326.

    Args:
        ground: Of the scene's date.
        footprint: Of the scene, in `CRS`.
        product_id: Of the scene.
        most_a_kind: Polygons of a kind at most.
        seed: Of the drawing.
    """
    rng, rows = generator(seed), []
    step = 2
    kind = ground.truth.kind[::step, ::step]
    x, y = ground.x[::step], ground.y[::step]
    for number in DRAWN_KINDS:
        room = distance_transform_edt(kind == number) * step * GROUND_M
        for centre_row, centre_col in _spread(room, most_a_kind, rng):
            reach = min(float(room[centre_row, centre_col]), RADIUS_M[1])
            polygon = _star(float(x[centre_col]), float(y[centre_row]), reach, rng)
            if footprint.contains(polygon):
                wrong = rng.random() < WRONG_SHARE
                told = int(rng.choice([k for k in DRAWN_KINDS if k != number])) if wrong else number
                rows.append({"scene": product_id, "class": told + 1, "true_class": number + 1, "geometry": polygon})
    columns = ["scene", "class", "true_class", "geometry"]
    return geopandas.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=CRS).to_crs("EPSG:4326")


def chart(ground: Ground, footprint: shapely.Polygon, seed: int) -> geopandas.GeoDataFrame:
    """Zones of a whole scene with SIGRID-3 columns CT CA SA FA CB SB FB and poly_type, in `CRS`."""
    step = round(CHART_M / GROUND_M)
    zones = _zones(ground, step, seed)
    told = {}
    for zone in np.unique(zones):
        members = np.kron(zones == zone, np.ones((step, step), bool))[: ground.truth.kind.shape[0], : ground.truth.kind.shape[1]]
        told[int(zone)] = codes(ground.truth.kind[members], bool(ground.truth.fast[members].mean() > 0.5))
    frame = _polygons(ground, zones, step, told)
    frame["geometry"] = shapely.intersection(shapely.simplify(frame.geometry.to_numpy(), CHART_M / 2), footprint)
    frame = frame[~frame.geometry.is_empty & (frame.geometry.area > CHART_M**2)].explode(index_parts=False).reset_index(drop=True)
    frame = frame[frame.geometry.geom_type == "Polygon"].reset_index(drop=True)
    frame["id"], frame["area"], frame["perimeter"] = range(len(frame)), frame.geometry.area, frame.geometry.length
    return frame


def codes(kinds: npt.NDArray[np.uint8], fast: bool) -> dict[str, Any]:
    """SIGRID-3 codes of a zone: total concentration, then the two thickest stages with their shares, thickest first.

    Args:
        kinds: (n,) of its pixels.
        fast: Whether it is land-fast.
    """
    empty = dict.fromkeys(("CT", "CA", "SA", "FA", "CB", "SB", "FB"))
    shares = np.bincount(kinds, minlength=LAND + 1) / max(len(kinds), 1)
    if shares[LAND] > 0.5:
        return {**empty, "poly_type": "L"}
    total = 1 - (shares[OPEN_WATER] + shares[LAND])
    if total < 0.1:
        return {**empty, "poly_type": "W"}
    stages: dict[int, float] = {}
    for kind, stage in STAGE.items():
        stages[stage] = stages.get(stage, 0.0) + float(shares[kind])
    # 99 is no thickness: it is told where it is nearly all there is.
    thickness = {95: 4, 86: 3, 83: 2, 81: 1, 99: 0}
    kept = sorted((s for s, share in stages.items() if share >= 0.1), key=lambda s: (-thickness[s], s))[:2]
    form = _FAST_FORM if fast else _UNKNOWN_FORM
    first = {"SA": kept[0], "FA": form} if kept else {"SA": 99, "FA": form}
    if len(kept) < 2:
        return {**empty, "CT": tenths(total), "CA": _SINGLE, **first, "poly_type": "I"}
    second = {"CB": tenths(stages[kept[1]]), "SB": kept[1], "FB": form}
    return {**empty, "CT": tenths(total), "CA": tenths(stages[kept[0]]), **first, **second, "poly_type": "I"}


def tenths(share: float) -> int:
    """SIGRID-3 concentration of a share: 10 to 90, 91 for more than nine tenths, 92 for ten."""
    if share >= 0.97:
        return 92
    return 91 if share > 0.925 else int(np.clip(round(10 * share), 1, 9)) * 10


def iceberg_frames(ground: Ground, footprint: shapely.Polygon, seed: int) -> tuple[geopandas.GeoDataFrame, geopandas.GeoDataFrame]:
    """Icebergs as points and as outlines, in `CRS`."""
    rng = generator(seed)
    bergs = ground.bergs
    points = shapely.points(bergs.x, bergs.y)
    inside = shapely.contains(footprint, points)
    outlines = [_star(float(a), float(b), float(r), rng) for a, b, r in zip(bergs.x, bergs.y, bergs.radius_m, strict=True)]
    columns = {"id": np.arange(int(inside.sum()))}
    return (
        geopandas.GeoDataFrame(columns, geometry=points[inside], crs=CRS),
        geopandas.GeoDataFrame(columns, geometry=np.array(outlines, dtype=object)[inside], crs=CRS),
    )


def file_name(first: datetime) -> str:
    """Name of a scene's shapefile, without suffix: seaice_s1_<time of the first line>."""
    return f"seaice_s1_{first:%Y%m%dT%H%M%S}"


def _spread(room: Floats, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Places with room enough, the roomiest of some drawn at chance, far from one another."""
    rows, cols = np.nonzero(room >= RADIUS_M[0] * 1.1)
    if not len(rows):
        return []
    drawn = rng.choice(len(rows), min(400, len(rows)), replace=False)
    drawn = drawn[np.argsort(-room[rows[drawn], cols[drawn]] * rng.uniform(0.4, 1.0, len(drawn)), kind="stable")]
    taken: list[tuple[int, int]] = []
    for row, col in zip(rows[drawn].tolist(), cols[drawn].tolist(), strict=True):
        far = 2 * min(float(room[row, col]), RADIUS_M[1]) / (2 * GROUND_M)
        if all(np.hypot(row - r, col - c) > far for r, c in taken):
            taken.append((row, col))
        if len(taken) == most:
            break
    return taken


def _star(x: float, y: float, radius_m: float, rng: np.random.Generator) -> shapely.Polygon:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    wave = sum(rng.normal(0, 0.5 / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    share = np.interp(np.asarray(wave), [-1.2, 1.2], OVERSHOOT)
    return shapely.Polygon(np.stack([x + radius_m * share * np.cos(angles), y + radius_m * share * np.sin(angles)], axis=-1))


def _zones(ground: Ground, step: int, seed: int) -> npt.NDArray[np.int32]:
    """(rows, cols) number of the zone of each coarse cell: 1 land, 2 fast ice, 3 water, 4 brash, and from 10 on the pieces of the pack."""
    kind, fast = ground.truth.kind[::step, ::step], ground.truth.fast[::step, ::step]
    x, y = np.meshgrid(ground.x[::step], ground.y[::step])
    rng = generator(seed)
    count = max(int(np.ptp(ground.x) * np.ptp(ground.y) / ZONE_M**2), 1)
    seeds = np.stack([rng.uniform(x.min(), x.max(), count), rng.uniform(y.min(), y.max(), count)], axis=-1)
    _, piece = cKDTree(seeds).query(np.stack([x, y], axis=-1))
    return np.select([kind == LAND, fast, kind == OPEN_WATER, kind == BRASH], [1, 2, 3, 4], piece + 10).astype(np.int32)


def _polygons(ground: Ground, zones: npt.NDArray[np.int32], step: int, told: dict[int, dict[str, Any]]) -> geopandas.GeoDataFrame:
    """Connected areas of equal numbers that are told of, with what is told."""
    half = GROUND_M / 2
    # Rows of the grid go north, so that the step along them is positive.
    transform = Affine(step * GROUND_M, 0, ground.x[0] - half, 0, step * GROUND_M, ground.y[0] - half)
    found = [(shapely.geometry.shape(shape), int(zone)) for shape, zone in shapes(zones, transform=transform) if int(zone) in told]
    rows = [{**told[zone], "geometry": shapely.make_valid(polygon)} for polygon, zone in found]
    names = list(next(iter(told.values()))) if told else []
    return geopandas.GeoDataFrame(rows, columns=[*names, "geometry"], geometry="geometry", crs=CRS)


def write_shapefile(frame: geopandas.GeoDataFrame, path: Path) -> None:
    """An ESRI shapefile with its companions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_file(path, driver="ESRI Shapefile", engine="pyogrio")
