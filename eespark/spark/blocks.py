"""Labels meet the pixel grid: Sedona joins them with blocks of the tiles, executors burn them on their block.

The point-wise join (Sedona's `ST_Contains` of every pixel or cell) gives the same pixels at many times the cost; it stays as a method
and as the oracle of tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.burn import Rule, burn_labels
from eespark.errors import FormatError, MissingError
from eespark.geometry import accurate_transformer, erode, reproject
from eespark.grid import Block, TileGrid, square_bounds, square_key, utm_zones

LABEL_CRS: Final = "EPSG:3035"
# Blocks are straight in their UTM zone and slightly curved in the labels' CRS: this much more on every side covers the difference.
_MARGIN_M: Final = 50.0
_PIXELS: Final = "tile string, label_id string, class_id int, row int, col int"


def tile_grids(products: DataFrame, level: str, tiles: list[str] | None) -> list[TileGrid]:
    """The grid of each tile, from its current products.

    Raises:
        MissingError: The catalog has no current product of the level, or of a tile that was named.
        FormatError: The products of a tile differ in their grids.
    """
    rows = (
        products.where((F.col("status") == "current") & (F.col("level") == level))
        .select("tile", "crs", "transform", "shape")
        .distinct()
        .collect()
    )
    grids: dict[str, TileGrid] = {}
    for row in sorted(rows, key=lambda r: str(r["tile"])):
        if tiles is not None and row["tile"] not in tiles:
            continue
        a, _, c, _, _, f = row["transform"]
        grid = TileGrid(row["tile"], row["crs"], c, f, row["shape"][0], row["shape"][1], a)
        if grids.setdefault(grid.tile, grid) != grid:
            raise FormatError(
                f"tile {grid.tile}: needed one grid, found {grids[grid.tile]} and {grid}; quarantine what was cropped or decimated"
            )
    absent = sorted(set(tiles or ()) - grids.keys())
    if not grids or absent:
        raise MissingError(
            f"needed current {level} products{' of ' + ', '.join(absent) if absent else ''}, found tiles {sorted(grids)}; run scan_archive"
        )
    return list(grids.values())


def block_table(spark: SparkSession, grids: Iterable[TileGrid], block_px: int) -> DataFrame:
    """One row a block: its grid and its footprint in the labels' CRS (WKB)."""
    rows = []
    for grid in grids:
        blocks = list(grid.blocks(block_px))
        boxes = np.array([shapely.box(*grid.window(b).bounds) for b in blocks])
        dense = shapely.segmentize(boxes, grid.pixel_m * block_px / 4)
        outlines = shapely.buffer(reproject(dense, accurate_transformer(grid.crs, LABEL_CRS)), _MARGIN_M)
        for block, outline in zip(blocks, shapely.to_wkb(outlines), strict=True):
            rows.append(
                (
                    grid.tile,
                    grid.crs,
                    grid.x_min,
                    grid.y_max,
                    grid.rows,
                    grid.cols,
                    grid.pixel_m,
                    block.row,
                    block.col,
                    block.rows,
                    block.cols,
                    bytes(outline),
                )
            )
    names = (
        "tile string, crs string, x_min double, y_max double, tile_rows int, tile_cols int, pixel_m double, block_row int, block_col int"
    )
    return spark.createDataFrame(rows, names + ", block_rows int, block_cols int, footprint binary")


def label_blocks(labels: DataFrame, blocks: DataFrame) -> DataFrame:
    """Each label with each block that it may touch.

    Sedona's index of the blocks is broadcast and asked by each label where it lies: blocks are few (57,000 of 512 px on 118 tiles), so
    that no label is shuffled before it is known where it goes. A third of the cost of a range join, which partitions both sides by place.

    Args:
        labels: label_id, class_id, geometry (WKB in `LABEL_CRS`), home (its owner tile).
        blocks: Of `block_table`.
    """
    left = labels.select("label_id", "class_id", "geometry", "home").withColumn("_label", F.expr("ST_GeomFromWKB(geometry)"))
    right = blocks.withColumn("_block", F.expr("ST_GeomFromWKB(footprint)")).drop("footprint")
    return left.join(F.broadcast(right), F.expr("ST_Intersects(_block, _label)"), "inner").drop("_label", "_block")


def pure_pixels(pairs: DataFrame, rule: Rule, erode_m: float, adopted: dict[str, str]) -> DataFrame:
    """The pure pixels of every label: columns tile, label_id, class_id, row, col.

    Args:
        pairs: Of `label_blocks`.
        rule: cell (the whole 20 m cell inside the eroded polygon) or centre (the 10 m pixel's centre inside it).
        erode_m: How far polygons are drawn in first, metres.
        adopted: Square -> tile that owns its ground although it is not its own square (slivers at zone borders have no tile).
    """
    return _by_block(pairs, _burner(rule, erode_m, adopted, _pixels_of), _PIXELS)


def pure_counts(pairs: DataFrame, rule: Rule, erode_m: float, adopted: dict[str, str]) -> DataFrame:
    """How many pure pixels each label has in each block: columns tile, label_id, class_id, pixels, ambiguous.

    One row a block has no label: `ambiguous`, the pixels that lie in two labels or more.
    """
    schema = "tile string, label_id string, class_id int, pixels bigint, ambiguous bigint"
    return _by_block(pairs, _burner(rule, erode_m, adopted, _counts_of), schema)


def _by_block(pairs: DataFrame, function: Callable[[pd.DataFrame], pd.DataFrame], schema: str) -> DataFrame:
    return pairs.groupBy("tile", "block_row", "block_col").applyInPandas(function, schema)


def _burner(
    rule: Rule, erode_m: float, adopted: dict[str, str], shape: Callable[..., pd.DataFrame]
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def burn(rows: pd.DataFrame) -> pd.DataFrame:
        # The order of rows in a group is chance; that of the result must not be.
        rows = rows.sort_values("label_id").reset_index(drop=True)
        first = rows.iloc[0]
        tile = TileGrid(first.tile, first.crs, first.x_min, first.y_max, first.tile_rows, first.tile_cols, first.pixel_m)
        block = Block(first.block_row, first.block_col, first.block_rows, first.block_cols)
        polygons = eroded_polygons(rows["geometry"], tile.crs, erode_m)
        burnt = burn_labels(polygons, tile, rule, block)
        if owns_block(tile, block):
            return shape(rows, tile, burnt.rows, burnt.cols, burnt.index, burnt.ambiguous)
        kept = owned(tile, burnt.rows, burnt.cols, adopted)
        return shape(rows, tile, burnt.rows[kept], burnt.cols[kept], burnt.index[kept], burnt.ambiguous)

    return burn


def eroded_polygons(wkb: Iterable[bytes], crs: str, erode_m: float) -> npt.NDArray[np.object_]:
    """Label polygons in the CRS of a tile, drawn in by `erode_m` metres."""
    polygons = shapely.from_wkb(np.array(list(wkb), dtype=object))
    return erode(reproject(polygons, accurate_transformer(LABEL_CRS, crs)), erode_m)


def owned(tile: TileGrid, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], adopted: dict[str, str]) -> npt.NDArray[np.bool_]:
    """Whether the tile owns the ground of its pixels: their centres lie in its MGRS square, or in one that it adopted."""
    if not len(rows):
        return np.zeros(0, bool)
    x, y = tile.centres(rows, cols)
    squares = [square_key(tile.tile), *(square for square, owner in adopted.items() if owner == tile.tile)]
    lon, lat = accurate_transformer(tile.crs, "EPSG:4326").transform(x, y)
    zone = utm_zones(np.asarray(lon), np.asarray(lat))
    inside = np.zeros(len(rows), bool)
    for square in squares:
        name = f"{square[:2]}{tile.tile[2]}{square[3:]}"
        if int(square[:2]) == int(tile.tile[:2]):
            left, bottom, right, top = square_bounds(name, float(y.mean()))
            inside |= (x >= left) & (x < right) & (y >= bottom) & (y < top) & (zone == int(square[:2]))
        else:
            inside |= _in_square_of_other_zone(square, np.asarray(lon), np.asarray(lat), zone)
    return inside


def owns_block(tile: TileGrid, block: Block) -> bool:
    """Whether all pixels of a block surely lie in the tile's own square: they do where its corners do, moved out by `_MARGIN_M`.

    A square has straight sides in the CRS of the tile, and a zone nearly so: a meridian bends by 8 m over a whole tile.
    """
    margin = math.ceil(_MARGIN_M / tile.pixel_m)
    rows = np.array([block.row - margin, block.row + block.rows // 2, block.row + block.rows - 1 + margin])
    cols = np.array([block.col - margin, block.col + block.cols // 2, block.col + block.cols - 1 + margin])
    return bool(owned(tile, np.repeat(rows, len(cols)), np.tile(cols, len(rows)), {}).all())


def _in_square_of_other_zone(square: str, lon: Any, lat: Any, zone: Any) -> npt.NDArray[np.bool_]:
    number = int(square[:2])
    crs = f"EPSG:{(32600 if square[2] == 'N' else 32700) + number}"
    x, y = accurate_transformer("EPSG:4326", crs).transform(lon, lat)
    left, bottom, right, top = square_bounds(f"{square[:2]}{'N' if square[2] == 'N' else 'M'}{square[3:]}", float(np.mean(y)))
    return np.asarray((zone == number) & (x >= left) & (x < right) & (y >= bottom) & (y < top))


def _pixels_of(rows: pd.DataFrame, tile: TileGrid, row: Any, col: Any, index: Any, ambiguous: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tile": tile.tile,
            "label_id": rows["label_id"].to_numpy()[index],
            "class_id": rows["class_id"].to_numpy()[index],
            "row": row.astype(np.int32),
            "col": col.astype(np.int32),
        }
    )


def _counts_of(rows: pd.DataFrame, tile: TileGrid, row: Any, col: Any, index: Any, ambiguous: int) -> pd.DataFrame:
    counts = np.bincount(index, minlength=len(rows))
    some = np.flatnonzero(counts)
    # The ambiguous pixels are no label's: they stand in a row of their own, there even where no pure pixel is.
    return pd.DataFrame(
        {
            "tile": tile.tile,
            "label_id": [*rows["label_id"].to_numpy()[some], None],
            "class_id": pd.array([*rows["class_id"].to_numpy()[some], None], dtype="Int32"),
            "pixels": np.r_[counts[some], 0],
            "ambiguous": np.r_[np.zeros(len(some), np.int64), ambiguous],
        }
    )
