"""Where the synthetic archive lies: three true tiles, cropped, and the dates of their orbits.

33TUN and 33TVN meet at easting 400 km; their crops overlap on the ground as the true tiles do. 32TQT is their neighbour in the
next UTM zone. All three occur in TimeSen2Crop. The labelled ground of the default size lies within 13.58..16.17 E,
46.64..47.84 N, the area of use of the 0.5 m datum operation between MGI and WGS 84. Landscape and crops are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from eespark.grid import TileGrid, square_bounds, tile_epsg

FULL_SIZE_PX: Final = 10_980
WORLD_EPSG: Final = 32633
"""Frame of the landscape: one plane for all tiles."""
TILES: Final = ("33TUN", "33TVN", "32TQT")
UNLABELLED: Final = "32TQT"
_NEAR_NORTHING: Final = 5_250_000.0
_OVERLAP: Final = 0.3  # share of a crop's width that the first tile's crop reaches beyond the 100 km line

_CYCLE_DAYS: Final = 10
_ORBITS_PER_CYCLE: Final = 143
# S2A flew relative orbit 51 at 10:54:41 on 2018-01-01 as absolute orbit 13204 (a real product of tile 31TDH);
# S2B flew relative orbit 25 on 2022-04-13 as 26649 (a real product of tile 33XWJ).
_ANCHOR: Final = {"S2A": (datetime(2018, 1, 1, 10, 54, 41), 51, 13204), "S2B": (datetime(2022, 4, 13, 15, 7, 59), 25, 26649)}


@dataclass(frozen=True)
class Orbit:
    """The relative orbit that sees a tile, and the time of day of its products."""

    relative: int
    time_of_day: str


ORBITS: Final = {"33TUN": Orbit(22, "101021"), "33TVN": Orbit(122, "100031"), "32TQT": Orbit(65, "102021")}


@dataclass(frozen=True)
class Pass:
    """One overflight of a tile."""

    mission: str
    sensing: datetime
    absolute_orbit: int


def crop_grid(tile: str, size_px: int) -> TileGrid:
    """The 10 m grid of a tile's crop, on the grid of the true tile.

    True tiles are 109.8 km wide and start at the multiple of 60 m at or west of their square, and at or north of it.
    """
    left, _, _, top = square_bounds(tile, _NEAR_NORTHING)
    x_origin, y_origin = left // 60 * 60, -(-top // 60) * 60
    spare = FULL_SIZE_PX - size_px
    wanted = {
        "33TUN": 10_000 - size_px + int(_OVERLAP * size_px),
        "33TVN": 0,
        "32TQT": 1_700,
    }[tile]
    col = max(min(wanted, spare), 0) // 2 * 2
    row = min(5_000, spare) // 2 * 2
    return TileGrid(tile, f"EPSG:{tile_epsg(tile)}", x_origin + col * 10.0, y_origin - row * 10.0, size_px, size_px)


def passes(tile: str, first: date, last: date) -> list[Pass]:
    """Overflights of a tile in its one relative orbit: every 5 days, the two satellites in turn."""
    orbit = ORBITS[tile]
    clock = datetime.strptime(orbit.time_of_day, "%H%M%S").time()
    found = []
    for mission, (anchor, relative, absolute) in _ANCHOR.items():
        steps = orbit.relative - relative
        moment = anchor + timedelta(days=_CYCLE_DAYS * steps / _ORBITS_PER_CYCLE)
        if mission == "S2B":
            # The anchor ascends at 80 N; a descending pass at 47 N comes about 20 minutes later in its orbit.
            moment += timedelta(minutes=20)
        cycles = (datetime.combine(first, clock) - moment).days // _CYCLE_DAYS
        for cycle in range(cycles - 1, cycles + (last - first).days // _CYCLE_DAYS + 4):
            day = (moment + timedelta(days=_CYCLE_DAYS * cycle)).date()
            if first <= day <= last:
                found.append(Pass(mission, datetime.combine(day, clock), absolute + steps + _ORBITS_PER_CYCLE * cycle))
    return sorted(found, key=lambda p: p.sensing)
