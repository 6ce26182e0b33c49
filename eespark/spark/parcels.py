"""Declared parcels on the map: which block predicts which parcel, its pure pixels, its median series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from eespark.burn import burn_labels
from eespark.geometry import accurate_transformer, erode
from eespark.grid import Block, TileGrid
from eespark.io.cube import Cube, median_series, read_cube
from eespark.io.mapfiles import parcel_table
from eespark.spark.blocks import LABEL_CRS, eroded_polygons
from eespark.spark.map_settings import MapSettings

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where the pure pixels of a block's parcels lie.

    Attributes:
        window: Part of the tile's grid to read: the block and what its parcels reach beyond it.
        wanted: (window rows, window cols) their pixels.
        groups: (n,) the parcel of each of these pixels, in row-major order.
    """

    window: Block
    wanted: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]


def parcels_of_blocks(labels: DataFrame, blocks: DataFrame, reach_m: float) -> DataFrame:
    """Each block with all parcels that come within reach of it, for a parcel is whole only with its neighbours: shared ground is no one's.

    Args:
        labels: label_id, class_id, geometry (WKB), tile, point_x, point_y.
        blocks: Of `block_table`.
        reach_m: How far beyond its block a parcel is read.
    """
    keys = ["tile", "block_row", "block_col"]
    # The join sees one column named tile: the parcel's owner is its home.
    left = labels.withColumnRenamed("tile", "home").withColumn("_label", F.expr("ST_GeomFromWKB(geometry)"))
    right = blocks.select(*keys, F.expr(f"ST_Buffer(ST_GeomFromWKB(footprint), {float(reach_m)})").alias("_window"))
    pairs = left.join(right, F.expr("ST_Intersects(_window, _label)"), "inner")
    one = F.struct("label_id", "class_id", "home", "point_x", "point_y", "geometry")
    gathered = pairs.groupBy(*keys).agg(F.collect_list(one).alias("parcels"))
    return blocks.join(gathered, keys, "left")


def find_parcels(near: Sequence[Row] | None, grid: TileGrid, block: Block, settings: MapSettings) -> tuple[pd.DataFrame, Place | None]:
    """The parcels that a block predicts, in the order of their ids, and where their pure pixels lie.

    A parcel belongs to the block of its owner tile that holds its point; to the nearest block where the tile's grid ends before it
    and holds some of the parcel.
    Pixels in two parcels are in none, as in `draw_samples`.

    Args:
        near: Of `parcels_of_blocks`.
        grid: Of the tile.
        block: Of the task.
        settings: purity, erode_m, reach_px.

    Returns:
        A table as `PARCEL_COLUMNS` with pixels, and reasons of those without; None where no parcel has a pure pixel.
    """
    rows = sorted(near or [], key=lambda one: str(one["label_id"]))
    whole = eroded_polygons([one["geometry"] for one in rows], grid.crs, 0.0)
    home = _at_home(rows, whole, grid, block)
    numbers = np.flatnonzero(home)
    own = [rows[i] for i in numbers]
    columns: dict[str, Any] = {"label_id": [one["label_id"] for one in own], "declared": [one["class_id"] for one in own]}
    columns |= {"geometry": [bytes(one["geometry"]) for one in own], "pixels": np.zeros(len(own), np.int32)}
    columns |= {"cut": np.zeros(len(own), bool), "reason": ["no_pure_pixels"] * len(own)}
    table = parcel_table(columns)
    polygons = erode(whole, settings.erode_m)
    window, cut = _window(shapely.bounds(polygons[numbers]), grid, block, settings.reach_px)
    table["cut"] = cut
    if window is None:
        return table, None
    burnt = burn_labels(polygons, grid, settings.purity, window)
    kept = home[burnt.index]
    number_of = np.cumsum(home) - 1
    groups = number_of[burnt.index[kept]].astype(np.int64)
    wanted = np.zeros((window.rows, window.cols), bool)
    wanted[burnt.rows[kept] - window.row, burnt.cols[kept] - window.col] = True
    counts = np.bincount(groups, minlength=len(own))
    table["pixels"] = pd.Series(counts, dtype="Int32")
    table.loc[counts > 0, "reason"] = "too_few_clear_dates"
    return table, Place(window, wanted, groups) if len(groups) else None


def _at_home(rows: Sequence[Row], polygons: npt.NDArray[np.object_], grid: TileGrid, block: Block) -> npt.NDArray[np.bool_]:
    if not rows:
        return np.zeros(0, bool)
    points = np.array([(one["point_x"], one["point_y"]) for one in rows], np.float64)
    x, y = accurate_transformer(LABEL_CRS, grid.crs).transform(points[:, 0], points[:, 1])
    row, col = grid.pixels(np.asarray(x), np.asarray(y))
    row, col = np.clip(row, 0, grid.rows - 1), np.clip(col, 0, grid.cols - 1)
    inside = (row >= block.row) & (row < block.row + block.rows) & (col >= block.col) & (col < block.col + block.cols)
    in_grid = shapely.intersects(polygons, shapely.box(*grid.bounds))
    return np.asarray(inside & in_grid & np.array([one["home"] == grid.tile for one in rows]))


def _window(bounds: npt.NDArray[np.float64], grid: TileGrid, block: Block, reach_px: int) -> tuple[Block | None, npt.NDArray[np.bool_]]:
    """The part of the grid that holds the boxes, no farther than `reach_px` from the block, and which boxes reach farther."""
    some = np.isfinite(bounds).all(axis=1)
    if not some.any():
        return None, np.zeros(len(bounds), bool)
    west, south, east, north = np.where(some[:, None], bounds, np.nan).T
    first_row, last_row = (grid.y_max - north) / grid.pixel_m, (grid.y_max - south) / grid.pixel_m
    first_col, last_col = (west - grid.x_min) / grid.pixel_m, (east - grid.x_min) / grid.pixel_m
    spans, cuts = [], np.zeros(len(bounds), bool)
    for first, last, start, length, end in (
        (first_row, last_row, block.row, block.rows, grid.rows),
        (first_col, last_col, block.col, block.cols, grid.cols),
    ):
        least, most = max(start - reach_px, 0), min(start + length + reach_px, end)
        cuts |= some & ((first < least) | (last > most))
        # Even edges cut no 20 m cell; those of the block, the grid and the reach are even.
        low = int(np.clip(np.floor(np.nanmin(first) / 2) * 2, least, most))
        high = int(np.clip(np.ceil(np.nanmax(last) / 2) * 2, least, most))
        spans.append((low, high))
    (top, bottom), (left, right) = spans
    if bottom <= top or right <= left:
        return None, cuts
    return Block(top, left, bottom - top, right - left), cuts


def parcel_series(dates: Sequence[Row], place: Place, count: int, min_clear_share: float) -> Cube:
    """The median series of `count` parcels."""
    cube = read_cube(dates, place.window, place.wanted)
    return median_series(cube, place.groups, count, min_clear_share)
