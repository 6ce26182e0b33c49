"""The true state of the sea off a coast on each date: land, fast ice that stays, floes that drift, leads, brash at the edge, open water.

All is a function of ground coordinates (metres, polar stereographic, EPSG:3413) and of the seed: every scene of a date sees the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.spatial import cKDTree

from eespark.synthetic.noise import normal, rough_field, smooth_field, subseed, uniform
from eespark.synthetic.polar.backscatter import BRASH, DEFORMED, FIRST_YEAR, LAND, NEW_ICE, OPEN_WATER, YOUNG_ICE

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.uint8]

CRS: Final = "EPSG:3413"
FLOE_M: Final = 2_600.0
FAST_FLOE_M: Final = 4_200.0
COAST_ROUGH_M: Final = 3_500.0
FAST_ROUGH_M: Final = 1_500.0
EDGE_ROUGH_M: Final = 3_500.0
BRASH_M: Final = (2_500.0, 6_000.0)
POLYNYA_M: Final = (-1_000.0, 6_000.0)
LEAD_M: Final = 170.0
LEAD_SHARE: Final = 0.45
DRIFT_M: Final = 14_000.0
BERG_LATTICE_M: Final = 5_000.0
BERG_SHARE: Final = 0.3
BERG_RADIUS_M: Final = (40.0, 220.0)
# Where things begin, as shares of the extent east of the western edge: coast, fast ice in its two seasons, the ice edge at its two ends.
COAST_SHARE, EDGE_SHARE = 0.2, (0.62, 0.9)
FAST_SHARE: Final = {"winter": 0.24, "freeze_up": 0.12}


@dataclass(frozen=True)
class Sea:
    """A piece of coast.

    Attributes:
        longitude: Degrees, of its middle.
        latitude: Degrees.
        extent_m: Side of the square that is populated as described; beyond it the same goes on.
        seed: Of everything in it.
    """

    longitude: float
    latitude: float
    extent_m: float
    seed: int

    @property
    def middle(self) -> tuple[float, float]:
        """X and y (metres) in `CRS`."""
        x, y = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(self.longitude, self.latitude)
        return float(x), float(y)

    @property
    def east(self) -> tuple[float, float]:
        """Unit vector to the east, in `CRS`."""
        turn = math.radians(self.longitude + 45.0)
        return math.cos(turn), math.sin(turn)


@dataclass(frozen=True)
class Truth:
    """What is there on a date, on a grid of ground coordinates.

    Attributes:
        kind: (rows, cols) index into `KINDS`.
        floe: (rows, cols) uint64 key of the floe, 0 where there is none.
        fast: (rows, cols) whether the ice is land-fast.
        drift: Metres east and north in `CRS` that the pack has moved since the first date.
    """

    kind: Kinds
    floe: npt.NDArray[np.uint64]
    fast: npt.NDArray[np.bool_]
    drift: tuple[float, float]


@dataclass(frozen=True)
class Bergs:
    """Icebergs of a date.

    Attributes:
        x: (n,) metres.
        y: (n,) metres.
        radius_m: (n,)
    """

    x: Floats
    y: Floats
    radius_m: Floats


def season_of(day: date) -> str:
    """Winter from January to June, freeze_up from October to December."""
    return "winter" if day.month <= 6 else "freeze_up"


def state_of(sea: Sea, day: date, x: Floats, y: Floats) -> Truth:
    """The truth of a date.

    Args:
        sea: Where.
        day: When.
        x: (cols,) metres in `CRS`.
        y: (rows,) metres in `CRS`.
    """
    number = day.toordinal()
    off = offshore(sea, x, y)
    fast_edge = _fast_edge(sea, day, x, y)
    ice_edge = _ice_edge(sea, day, x, y)
    moved = drift(sea, day)
    floe, lead = _floes(subseed(sea.seed, 2), x - moved[0], y - moved[1], FLOE_M)
    kind = _floe_kinds(floe, sea.seed)
    kind = np.where(lead > 0, _lead_kinds(lead, number), kind)
    fast_floe, _ = _floes(subseed(sea.seed, 3, len(season_of(day))), x, y, FAST_FLOE_M)
    fast = (off >= 0) & (off < fast_edge)
    kind = np.where(fast, np.where(uniform(fast_floe, 11).reshape(kind.shape) < 0.25, DEFORMED, FIRST_YEAR), kind).astype(np.uint8)
    opened = float(np.interp(uniform(sea.seed, number, 5)[0], [0, 1], POLYNYA_M))
    kind[(off >= fast_edge) & (off < fast_edge + opened)] = NEW_ICE
    width = float(np.interp(uniform(sea.seed, number, 6)[0], [0, 1], BRASH_M))
    kind[(off >= ice_edge - width) & (off < ice_edge)] = BRASH
    kind[off >= ice_edge] = OPEN_WATER
    kind[off < 0] = LAND
    floe = np.where(fast, fast_floe, floe)
    floe[(kind == LAND) | (kind == OPEN_WATER)] = 0
    return Truth(kind, floe, fast, moved)


def offshore(sea: Sea, x: Floats, y: Floats) -> Floats:
    """(rows, cols) metres east of the coast, about; below zero on land. The same on all dates."""
    (x0, y0), (east_x, east_y) = sea.middle, sea.east
    eastwards = (x[None, :] - x0) * east_x + (y[:, None] - y0) * east_y
    rough = rough_field(subseed(sea.seed, 1), x - x0, y - y0, sea.extent_m / 4, 7)
    return np.asarray(eastwards + (0.5 - COAST_SHARE) * sea.extent_m + COAST_ROUGH_M * rough)


def drift(sea: Sea, day: date) -> tuple[float, float]:
    """Metres that the pack has moved, from date to date in no order: another pack passes by."""
    number = day.toordinal()
    return tuple(float(DRIFT_M * normal(sea.seed, number, axis)[0]) for axis in (1, 2))  # type: ignore[return-value]


def bergs_of(sea: Sea, day: date, bounds: tuple[float, float, float, float]) -> Bergs:
    """Icebergs within bounds (metres in `CRS`): those in fast ice and near it stay where they are, others drift with the pack."""
    moved = drift(sea, day)
    grounded = _bergs(subseed(sea.seed, 7), bounds)
    drifting = _bergs(subseed(sea.seed, 8), (bounds[0] - moved[0], bounds[1] - moved[1], bounds[2] - moved[0], bounds[3] - moved[1]))
    x = np.concatenate([grounded.x, drifting.x + moved[0]])
    y = np.concatenate([grounded.y, drifting.y + moved[1]])
    radius = np.concatenate([grounded.radius_m, drifting.radius_m])
    off = np.array([float(offshore(sea, np.array([a]), np.array([b]))[0, 0]) for a, b in zip(x, y, strict=True)])
    near = off < 0.4 * sea.extent_m
    first = np.arange(len(x)) < len(grounded.x)
    kept = (off > 400.0) & (first == near) & (off < EDGE_SHARE[1] * sea.extent_m)
    return Bergs(x[kept], y[kept], radius[kept])


def _bergs(seed: int, bounds: tuple[float, float, float, float]) -> Bergs:
    columns = np.arange(math.floor(bounds[0] / BERG_LATTICE_M), math.ceil(bounds[2] / BERG_LATTICE_M))
    rows = np.arange(math.floor(bounds[1] / BERG_LATTICE_M), math.ceil(bounds[3] / BERG_LATTICE_M))
    col, row = (one.ravel() for one in np.meshgrid(columns, rows))
    there = uniform(seed, row, col, 0) < BERG_SHARE
    row, col = row[there], col[there]
    small, large = BERG_RADIUS_M
    radius = small * (large / small) ** uniform(seed, row, col, 3)
    return Bergs((col + uniform(seed, row, col, 1)) * BERG_LATTICE_M, (row + uniform(seed, row, col, 2)) * BERG_LATTICE_M, radius)


def _fast_edge(sea: Sea, day: date, x: Floats, y: Floats) -> Floats:
    season = season_of(day)
    rough = rough_field(subseed(sea.seed, 4, len(season)), x, y, sea.extent_m / 5, 5)
    return np.asarray(FAST_SHARE[season] * sea.extent_m + FAST_ROUGH_M * rough)


def _ice_edge(sea: Sea, day: date, x: Floats, y: Floats) -> Floats:
    number = day.toordinal()
    share = float(np.interp(uniform(sea.seed, number, 4)[0], [0, 1], EDGE_SHARE)) - COAST_SHARE
    rough = rough_field(subseed(sea.seed, 5, number), x, y, sea.extent_m / 4, 5)
    return np.asarray(share * sea.extent_m + EDGE_ROUGH_M * rough)


def _floes(seed: int, x: Floats, y: Floats, size_m: float) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Key of the floe at each place of a grid, and key of the lead between two floes, 0 where the place lies in none.

    Floes are the places nearest to one of the points of a lattice, each moved within its square.
    """
    columns = np.arange(math.floor(x.min() / size_m) - 2, math.ceil(x.max() / size_m) + 3)
    rows = np.arange(math.floor(y.min() / size_m) - 2, math.ceil(y.max() / size_m) + 3)
    col, row = (one.ravel() for one in np.meshgrid(columns, rows))
    points = np.stack([(col + uniform(seed, row, col, 1)) * size_m, (row + uniform(seed, row, col, 2)) * size_m], axis=-1)
    keys = (uniform(seed, row, col, 3) * 2.0**52).astype(np.uint64) + np.uint64(1)
    tree = cKDTree(points)
    shape = (len(y), len(x))
    floe, lead = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    # Ragged edges: places are asked a little beside where they are.
    shift_x, shift_y = (150.0 * rough_field(subseed(seed, axis), x, y, 1_200.0, 3) for axis in (4, 5))
    width = LEAD_M * (1 + 0.6 * smooth_field(subseed(seed, 6), x, y, 4_000.0))
    for start in range(0, len(y), 256):
        part = slice(start, start + 256)
        grid_x, grid_y = np.broadcast_arrays(x[None, :] + shift_x[part], y[part, None] + shift_y[part])
        distance, index = tree.query(np.stack([grid_x, grid_y], axis=-1), k=2)
        floe[part] = keys[index[..., 0]]
        pair = keys[index[..., 0]] ^ keys[index[..., 1]]
        parted = ((distance[..., 1] - distance[..., 0]) / 2 < width[part]) & (uniform(pair, 9).reshape(pair.shape) < LEAD_SHARE)
        lead[part] = np.where(parted, pair, np.uint64(0))
    return floe, lead


def _floe_kinds(floe: npt.NDArray[np.uint64], seed: int) -> Kinds:
    chance = uniform(floe, seed, 10).reshape(floe.shape)
    return np.select([chance < 0.34, chance < 0.52], [DEFORMED, YOUNG_ICE], FIRST_YEAR).astype(np.uint8)


def _lead_kinds(lead: npt.NDArray[np.uint64], number: int) -> Kinds:
    chance = uniform(lead, number, 12).reshape(lead.shape)
    return np.select([chance < 0.45, chance < 0.7], [NEW_ICE, OPEN_WATER], YOUNG_ICE).astype(np.uint8)
