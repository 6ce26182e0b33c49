"""Samples from points: label points (LUCAS) on their pixel, and the point-wise join that the burn must equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import shapely
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.burn import Rule
from eespark.geometry import accurate_transformer
from eespark.grid import TileGrid
from eespark.spark.blocks import LABEL_CRS, eroded_polygons, owned

_GRID = ("tile", "crs", "x_min", "y_max", "tile_rows", "tile_cols", "pixel_m")


def place_points(spark: SparkSession, labels: DataFrame, grids: list[TileGrid], adopted: dict[str, str]) -> DataFrame:
    """The pixel of each point label: the label's columns with tile, crs, row, col, x, y of the tile that owns the point."""
    labels = labels.drop("tile", "crs")
    fields = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in labels.schema.fields)

    def place(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            points = shapely.from_wkb(batch["geometry"].to_numpy())
            for grid in grids:
                found = _on_grid(batch, points, grid, adopted)
                if len(found):
                    yield found

    return labels.mapInPandas(place, f"{fields}, tile string, crs string, row int, col int, x double, y double")


def _on_grid(batch: pd.DataFrame, points: Any, grid: TileGrid, adopted: dict[str, str]) -> pd.DataFrame:
    x, y = accurate_transformer(LABEL_CRS, grid.crs).transform(shapely.get_x(points), shapely.get_y(points))
    rows, cols = grid.pixels(np.asarray(x), np.asarray(y))
    inside = (rows >= 0) & (cols >= 0) & (rows < grid.rows) & (cols < grid.cols)
    inside[inside] = owned(grid, rows[inside], cols[inside], adopted)
    centre_x, centre_y = grid.centres(rows, cols)
    placed = batch.assign(tile=grid.tile, crs=grid.crs, row=rows.astype(np.int32), col=cols.astype(np.int32), x=centre_x, y=centre_y)
    return placed[inside]


def burn_by_points(spark: SparkSession, pairs: DataFrame, rule: Rule, erode_m: float, adopted: dict[str, str]) -> DataFrame:
    """The pure pixels of every label by Sedona's `ST_Contains` of each pixel centre or 20 m cell: tile, label_id, class_id, row, col.

    Args:
        spark: The session.
        pairs: Labels with blocks, of `label_blocks`.
        rule: cell or centre.
        erode_m: Metres.
        adopted: Square -> tile that owns its ground.
    """

    def erode(wkb: pd.Series, crs: pd.Series) -> pd.Series:
        return _eroded_wkb(wkb, crs, erode_m)

    erode_udf = F.pandas_udf(erode, "binary")
    labels = pairs.select("tile", "crs", "label_id", "class_id", "geometry").dropDuplicates(["tile", "label_id"])
    labels = labels.withColumn("_polygon", erode_udf("geometry", "crs"))
    labels = labels.select(F.col("tile").alias("_tile"), "label_id", "class_id", F.expr("ST_GeomFromWKB(_polygon)").alias("polygon"))
    cells = _cells(pairs, 2 if rule == "cell" else 1)
    joined = cells.join(labels, F.expr("ST_Contains(polygon, cell) AND tile = _tile"), "inner")
    if rule == "cell":
        offsets = F.explode(
            F.expr("array(struct(0 AS dr, 0 AS dc), struct(0 AS dr, 1 AS dc), struct(1 AS dr, 0 AS dc), struct(1 AS dr, 1 AS dc))")
        )
        joined = (
            joined.withColumn("_offset", offsets)
            .withColumn("row", F.col("row") + F.col("_offset.dr"))
            .withColumn("col", F.col("col") + F.col("_offset.dc"))
        )
        joined = joined.where("row < tile_rows AND col < tile_cols")
    once = joined.groupBy(*_GRID, "row", "col").agg(
        F.count("*").alias("n"), F.first("label_id").alias("label_id"), F.first("class_id").alias("class_id")
    )

    def own(*columns: pd.Series) -> pd.Series:
        return _owned(adopted, *columns)

    mine = F.pandas_udf(own, "boolean")
    return once.where("n = 1").where(mine(*_GRID, "row", "col")).select("tile", "label_id", "class_id", "row", "col")


def _cells(pairs: DataFrame, step: int) -> DataFrame:
    """Every cell of `step` x `step` pixels of the blocks, as a point (step 1) or a square, in the tile's CRS."""
    blocks = pairs.select(*_GRID, "block_row", "block_col", "block_rows", "block_cols").distinct()
    cells = blocks.withColumn("row", F.explode(F.expr(f"sequence(block_row, block_row + block_rows - 1, {step})")))
    cells = cells.withColumn("col", F.explode(F.expr(f"sequence(block_col, block_col + block_cols - 1, {step})")))
    left, top = "x_min + col * pixel_m", "y_max - row * pixel_m"
    if step == 1:
        shape = f"ST_Point({left} + pixel_m / 2, {top} - pixel_m / 2)"
    else:
        shape = f"ST_PolygonFromEnvelope({left}, {top} - {step} * pixel_m, {left} + {step} * pixel_m, {top})"
    return cells.select(*_GRID, F.col("row").cast("int"), F.col("col").cast("int"), F.expr(shape).alias("cell"))


def _eroded_wkb(wkb: pd.Series, crs: pd.Series, erode_m: float) -> pd.Series:
    result = pd.Series([None] * len(wkb), dtype=object)
    for name in crs.unique():
        members = np.flatnonzero((crs == name).to_numpy())
        for position, shape in zip(members, shapely.to_wkb(eroded_polygons(wkb.iloc[members], str(name), erode_m)), strict=True):
            result.iloc[position] = shape
    return result


def _owned(adopted: dict[str, str], *columns: pd.Series) -> pd.Series:
    frame = pd.DataFrame(dict(zip((*_GRID, "row", "col"), columns, strict=True)))
    result = np.zeros(len(frame), bool)
    for _, group in frame.groupby("tile"):
        first = group.iloc[0]
        grid = TileGrid(first.tile, first.crs, first.x_min, first.y_max, first.tile_rows, first.tile_cols, first.pixel_m)
        result[group.index.to_numpy()] = owned(grid, group["row"].to_numpy(np.int64), group["col"].to_numpy(np.int64), adopted)
    return pd.Series(result)
