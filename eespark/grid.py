"""Pixel grids of MGRS tiles, their blocks, and the rule that gives each ground point one tile.

Sentinel-2 tiles of neighbouring squares overlap by about 10 km, across UTM zones too. A ground point belongs to the tile
named as the MGRS 100 km square that holds it, whatever lies in the archive, so no ground is sampled twice.

Source: NGA.STND.0037 (MGRS): zones, lettering of 100 km squares (sets of six zones, AA scheme of WGS 84).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from eespark.errors import FormatError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_COLUMN_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I, no O; eight a zone, three sets
_ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUV"  # twenty, repeating every 2,000 km
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"  # 8 degrees each from 80 S, X is 12
_SQUARE_M: Final = 100_000
_TILE_NAME: Final = re.compile(r"^(\d{2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])$")


@dataclass(frozen=True)
class Block:
    """A window of a tile's 10 m grid: first row and column, and how many of each."""

    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True)
class TileGrid:
    """A north-up pixel grid: the 10 m grid of one tile, or a crop of it.

    Attributes:
        tile: MGRS name without the leading T.
        crs: As EPSG:n.
        x_min: Western edge, metres.
        y_max: Northern edge, metres.
        rows: Number of rows.
        cols: Number of columns.
        pixel_m: Size of a pixel, metres.
    """

    tile: str
    crs: str
    x_min: float
    y_max: float
    rows: int
    cols: int
    pixel_m: float = 10.0

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients a b c d e f from (col, row) to (x, y)."""
        return (self.pixel_m, 0.0, self.x_min, 0.0, -self.pixel_m, self.y_max)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, metres."""
        return (self.x_min, self.y_max - self.rows * self.pixel_m, self.x_min + self.cols * self.pixel_m, self.y_max)

    def centres(self, rows: Ints, cols: Ints) -> tuple[Floats, Floats]:
        """X and y of the centres of pixels, metres."""
        return self.x_min + (cols + 0.5) * self.pixel_m, self.y_max - (rows + 0.5) * self.pixel_m

    def pixels(self, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """Row and column of the pixels that hold the points; may lie outside the grid."""
        rows = np.floor((self.y_max - y) / self.pixel_m).astype(np.int64)
        cols = np.floor((x - self.x_min) / self.pixel_m).astype(np.int64)
        return rows, cols

    def window(self, block: Block) -> TileGrid:
        """The grid of one block."""
        x_min, y_max = self.x_min + block.col * self.pixel_m, self.y_max - block.row * self.pixel_m
        return TileGrid(self.tile, self.crs, x_min, y_max, block.rows, block.cols, self.pixel_m)

    def blocks(self, size_px: int) -> Iterator[Block]:
        """Blocks that cover the grid, each pixel once; those at the south and east edge may be smaller.

        Raises:
            FormatError: The size is odd: a 20 m cell would be cut in two.
        """
        if size_px < 2 or size_px % 2:
            raise FormatError(f"needed an even block size of 2 px or more, found {size_px}")
        for row in range(0, self.rows, size_px):
            for col in range(0, self.cols, size_px):
                yield Block(row, col, min(size_px, self.rows - row), min(size_px, self.cols - col))


def tile_epsg(tile: str) -> int:
    """EPSG code of a tile's UTM zone.

    Raises:
        FormatError: Not the name of an MGRS tile.
    """
    zone, band, _, _ = _parse(tile)
    return (32600 if band >= "N" else 32700) + zone


def square_key(tile: str) -> str:
    """Zone and letters of a tile's square, without the latitude band.

    A square can lie in two latitude bands while only one of its two names is a tile (33TWP and 33UWP are one square).
    """
    zone, band, column, row = _parse(tile)
    return f"{zone:02d}{'N' if band >= 'N' else 'S'}{column}{row}"


def square_keys(lon: Floats, lat: Floats, easting: Floats, northing: Floats, zone: Ints) -> npt.NDArray[np.str_]:
    """`square_key` of the squares that hold the points.

    Args:
        lon: Degrees; only its sign of hemisphere matters here, see `utm_zones` for the zone.
        lat: Degrees.
        easting: Metres in the point's own zone.
        northing: Metres in the point's own zone (10,000 km added in the south).
        zone: Of `utm_zones`.
    """
    column = (zone - 1) % 3 * 8 + (easting // _SQUARE_M).astype(np.int64) - 1
    row = ((northing // _SQUARE_M).astype(np.int64) + np.where(zone % 2 == 0, 5, 0)) % 20
    columns, rows = np.array(list(_COLUMN_LETTERS)), np.array(list(_ROW_LETTERS))
    hemisphere = np.where(lat >= 0, "N", "S")
    parts = (np.char.zfill(zone.astype(str), 2), hemisphere, columns[column], rows[row])
    key = parts[0]
    for part in parts[1:]:
        key = np.char.add(key, part)
    return key


def utm_zones(lon: Floats, lat: Floats) -> Ints:
    """UTM zone 1..60 of each point, with the exceptions of Norway (32V) and Svalbard (31X..37X).

    Args:
        lon: Degrees, -180..180.
        lat: Degrees.
    """
    zone = (np.floor((lon + 180.0) / 6.0).astype(np.int64) % 60) + 1
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lat < 84) & (lon >= 0) & (lon < 42)
    wide = np.select([lon < 9, lon < 21, lon < 33], [31, 33, 35], 37)
    return np.where(svalbard, wide, zone)


def square_bounds(tile: str, near_northing: float) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a tile's 100 km square in its zone, metres.

    Args:
        tile: MGRS name.
        near_northing: Any northing of the tile; row letters repeat every 2,000 km and this says which is meant.
    """
    zone, _, column, row = _parse(tile)
    index = _COLUMN_LETTERS.index(column) - (zone - 1) % 3 * 8
    if not 0 <= index < 8:
        raise FormatError(f"{tile}: column letter {column} does not occur in zone {zone}")
    left = (index + 1) * _SQUARE_M
    base = ((_ROW_LETTERS.index(row) - (5 if zone % 2 == 0 else 0)) % 20) * _SQUARE_M
    cycle = round((near_northing - _SQUARE_M / 2 - base) / 2_000_000)
    bottom = base + cycle * 2_000_000
    return (float(left), float(bottom), float(left + _SQUARE_M), float(bottom + _SQUARE_M))


def mgrs_name(lat: float, key: str) -> str:
    """The full MGRS name of a square at a latitude."""
    band = _BANDS[min(int((lat + 80.0) // 8), len(_BANDS) - 1)]
    return f"{key[:2]}{band}{key[3:]}"


def _parse(tile: str) -> tuple[int, str, str, str]:
    match = _TILE_NAME.match(tile)
    if match is None:
        raise FormatError(f"needed the name of an MGRS tile such as 33UVP, found {tile!r}")
    return int(match.group(1)), match.group(2), match.group(3), match.group(4)
