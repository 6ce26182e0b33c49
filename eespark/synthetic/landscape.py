"""An invented farmed landscape: blocks between roads, parcels in blocks, crops by farm.

Everything follows from the seed and from lattice indices of the ground, so a block is the same whichever tile asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import geopandas
import numpy as np
import numpy.typing as npt
import shapely
from shapely.affinity import rotate
from shapely.geometry import MultiPolygon, Polygon, box

from eespark.synthetic.crops import COVERS, CROPS
from eespark.synthetic.noise import generator, mix, normal, smooth_field, subseed, uniform
from eespark.synthetic.region import WORLD_EPSG

BLOCK_M: Final = 900.0
LATTICE_DEGREES: Final = 17.0
NODE_JITTER: Final = 0.27
ROAD_HALF_M: Final = (3.0, 6.5)  # lane, and main road on every third line
PARCEL_MARGIN_M: Final = 1.2
MIN_PARCEL_M2: Final = 350.0
SIZE_SIGMA: Final = 0.75  # of the logarithm of the size at which a parcel is no longer divided
SIZE_FACTOR: Final = 1.5  # wanted over resulting median: pieces are halves of what was too large
DIVIDE_OVER: Final = 1.45  # a piece larger than this multiple of the wanted size is divided
COVERS_OVER: Final = {"forest": 0.7, "settlement": 1.4, "water": 1.8}  # of a standard normal: 24, 8 and 4 %
COVER_M: Final = 1_500.0
FARM_SPECIALISATION: Final = 7.0  # concentration of the Dirichlet draw of a farm's crops; small is specialised
SUITABILITY_SD: Final = 0.7  # of the logarithm of a crop's regional weight
SUITABILITY_M: Final = 6_000.0
_EDGE_POINTS: Final = 6


@dataclass(frozen=True)
class Piece:
    """One patch of ground: a parcel or a block without crops."""

    key: int
    farm: int
    kind: int
    geometry: Polygon


def build_landscape(seed: int, extents: list[Polygon], median_ha: float) -> geopandas.GeoDataFrame:
    """All patches of ground that touch the extents.

    Args:
        seed: Of the archive.
        extents: Ground to cover, in the world frame.
        median_ha: Wanted median size of the parcels.

    Returns:
        Columns key (uint64), farm (uint64), kind (int, see `crops`), geometry (world frame); rows in a stable order.
    """
    pieces: list[Piece] = []
    for i, j in _blocks_near(extents):
        outline = block_outline(seed, i, j)
        if any(outline.intersects(extent) for extent in extents):
            pieces += _fill_block(seed, i, j, outline, median_ha)
    frame = {
        "key": np.array([p.key for p in pieces], np.uint64),
        "farm": np.array([p.farm for p in pieces], np.uint64),
        "kind": np.array([p.kind for p in pieces], np.int16),
    }
    return geopandas.GeoDataFrame(frame, geometry=[p.geometry for p in pieces], crs=f"EPSG:{WORLD_EPSG}")


def block_outline(seed: int, i: int, j: int) -> Polygon:
    """Outline of a block, roads included; neighbours share their edges exactly."""
    south, north = _edge(seed, i, j, 0), _edge(seed, i, j + 1, 0)
    west, east = _edge(seed, i, j, 1), _edge(seed, i + 1, j, 1)
    return Polygon(np.concatenate([south[:-1], east[:-1], north[::-1][:-1], west[::-1][:-1]]))


def _node(seed: int, i: int, j: int) -> npt.NDArray[np.float64]:
    shift = (uniform(seed, 11, i, j, np.arange(2)) - 0.5) * 2 * NODE_JITTER
    return _turn((np.array([i, j]) + shift) * BLOCK_M)


def _turn(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(LATTICE_DEGREES)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(matrix @ xy)


def _edge(seed: int, i: int, j: int, axis: int) -> npt.NDArray[np.float64]:
    # A line from node to node, bent: the displacement is nil at both ends and smooth between.
    start, end = _node(seed, i, j), _node(seed, i + (axis == 0), j + (axis == 1))
    share = np.linspace(0, 1, _EDGE_POINTS)
    along = start + share[:, None] * (end - start)
    across = np.array([-(end - start)[1], (end - start)[0]])
    bend = normal(seed, 12, i, j, axis, np.arange(_EDGE_POINTS)) * 0.018 + np.sin(np.pi * share) * normal(seed, 13, i, j, axis) * 0.05
    bend[[0, -1]] = 0.0
    return np.asarray(along + bend[:, None] * across)


def _blocks_near(extents: list[Polygon]) -> list[tuple[int, int]]:
    angle = np.deg2rad(-LATTICE_DEGREES)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = set()
    for extent in extents:
        lattice = np.asarray(extent.exterior.coords) @ matrix.T / BLOCK_M
        low, high = np.floor(lattice.min(axis=0)).astype(int) - 1, np.ceil(lattice.max(axis=0)).astype(int) + 1
        found |= {(i, j) for i in range(low[0], high[0] + 1) for j in range(low[1], high[1] + 1)}
    return sorted(found)


def _fill_block(seed: int, i: int, j: int, outline: Polygon, median_ha: float) -> list[Piece]:
    half = ROAD_HALF_M[1] if i % 3 == 0 or j % 3 == 0 else ROAD_HALF_M[0]
    inner = _largest(outline.buffer(-half, join_style="mitre"))
    block_key = int(mix(seed, 14, i, j)[0])
    if inner is None:
        return []
    cover = _cover(seed, inner)
    if cover is not None:
        return [Piece(block_key, block_key, len(CROPS) + COVERS.index(cover), inner)]
    rng = generator(seed, 15, i, j)
    angle = float(rng.normal(LATTICE_DEGREES, 12.0)) + 90.0 * float(rng.integers(2))
    pieces: list[Piece] = []
    farmland = _cut(inner, angle, 260_000.0, 1.4, rng)
    for number, ground in enumerate(farmland):
        farm = int(mix(seed, 16, i // 2, j // 2, int(rng.integers(5)))[0])
        weights = farm_weights(seed, farm, float(ground.centroid.x), float(ground.centroid.y))
        wanted = SIZE_FACTOR * median_ha * 1e4 * float(np.exp(rng.normal(0.0, 0.35)))
        strips = _cut(ground, angle + float(rng.normal(0, 2.0)), wanted, float(rng.uniform(2.5, 7.0)), rng, scatter=True)
        for index, strip in enumerate(strips):
            geometry = _largest(strip.buffer(-PARCEL_MARGIN_M, join_style="mitre"))
            if geometry is None or geometry.area < MIN_PARCEL_M2:
                continue
            key = int(mix(seed, 17, i, j, number * 100_000 + index)[0])
            pieces.append(Piece(key, farm, int(rng.choice(len(CROPS), p=weights)), geometry))
    return pieces


def _cover(seed: int, inner: Polygon) -> str | None:
    # Forest, settlement and water keep together: thresholds of smooth fields at the block's middle, plus a little chance.
    x, y = np.array([inner.centroid.x]), np.array([inner.centroid.y])
    for number, (name, limit) in enumerate(COVERS_OVER.items()):
        together = float(smooth_field(subseed(seed, 21, number), x, y, COVER_M)[0, 0])
        value = 0.7 * together + 0.714 * float(normal(seed, 22, number, int(x[0]), int(y[0]))[0])
        if value > limit:
            return name
    return None


def farm_weights(seed: int, farm: int, x: float, y: float) -> npt.NDArray[np.float64]:
    """Shares of the crops on a farm: the list's weights, the region's suitability, the farm's own mixture."""
    where = (np.array([x]), np.array([y]))
    base = np.array([crop.weight for crop in CROPS])
    region = np.array([float(smooth_field(subseed(seed, 41, k), *where, SUITABILITY_M)[0, 0]) for k in range(len(CROPS))])
    mean = base * np.exp(SUITABILITY_SD * region)
    mean /= mean.sum()
    own = generator(farm & 0x7FFFFFFFFFFFFFFF, 18).gamma(np.maximum(mean * FARM_SPECIALISATION, 1e-3)) + 1e-6 * mean
    # A tenth stays with the region, so that no crop is impossible on any farm.
    return np.asarray(0.9 * own / own.sum() + 0.1 * mean)


def _cut(
    ground: Polygon, angle: float, wanted_m2: float, elongation: float, rng: np.random.Generator, *, scatter: bool = False
) -> list[Polygon]:
    """Divide a polygon by lines along and across `angle` until its pieces are near the wanted size."""
    centre = ground.centroid
    open_pieces, done = [rotate(ground, -angle, origin=centre)], []
    while open_pieces:
        piece = open_pieces.pop()
        limit = wanted_m2 * (float(np.exp(rng.normal(0, SIZE_SIGMA))) if scatter else 1.0)
        if piece.area <= DIVIDE_OVER * limit or piece.area < 4 * MIN_PARCEL_M2:
            done.append(piece)
            continue
        left, bottom, right, top = piece.bounds
        share = float(rng.uniform(0.36, 0.64))
        if (right - left) > elongation * (top - bottom):
            x = left + share * (right - left)
            knives = (box(left, bottom, x, top), box(x, bottom, right, top))
        else:
            y = bottom + share * (top - bottom)
            knives = (box(left, bottom, right, y), box(left, y, right, top))
        parts = [p for knife in knives for p in _polygons(piece.intersection(knife))]
        if len(parts) < 2:
            done.append(piece)
        else:
            open_pieces += parts
    return [rotate(piece, angle, origin=centre) for piece in sorted(done, key=lambda p: (round(p.centroid.x, 3), round(p.centroid.y, 3)))]


def _polygons(geometry: shapely.Geometry) -> list[Polygon]:
    parts = geometry.geoms if hasattr(geometry, "geoms") else [geometry]
    return [p for p in parts if isinstance(p, Polygon) and p.area > 1.0]


def _largest(geometry: Polygon | MultiPolygon) -> Polygon | None:
    parts = _polygons(geometry)
    return max(parts, key=lambda p: p.area) if parts else None
