"""Pure pixels of parcels on a tile: the join of parcels with blocks and the burn, beside the join of parcels with every pixel or cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
import shapely
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.baselines.pointwise import pure_pixels_by_points
from benchmarks.inputs import prepare
from benchmarks.processes import peak_mb, spark_workers
from benchmarks.running import TINY_TILE, TileSizes, cores, main, session
from benchmarks.timing import Lap, compare, interleave, timed
from eespark.burn import Rule
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import TileGrid, square_bounds
from eespark.spark.blocks import LABEL_CRS, block_table, eroded_polygons, label_blocks, pure_pixels

ERODE_M = 5.0


@dataclass(frozen=True)
class Sizes(TileSizes):
    """Parcels of the comparison and of the look at memory, px of a block."""

    parcels: int = 60_000
    memory_parcels: tuple[int, ...] = (6_000, 60_000, 600_000)
    burn_px: int = 1024


FULL = Sizes()
TINY = Sizes(parcels=60, memory_parcels=(30, 60), burn_px=96, **TINY_TILE)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates in thousand parcels a second, and the peak memory of the Python workers by number of parcels."""
    tile = prepare(root / "input", sizes.size_px, sizes.block_px)
    inside = _inside(tile.parcels, tile.grid)
    spark = session("sampling")
    memory = {str(count): _memory(spark, inside, tile.grid, count, sizes.burn_px, root / "scratch") for count in sizes.memory_parcels}
    labels = _labels(spark, inside, sizes.parcels, root / "scratch")
    return {"memory_by_parcels": memory, "by_rule": {rule: _compare(spark, labels, tile.grid, sizes, rule) for rule in ("centre", "cell")}}


def _compare(spark: SparkSession, labels: DataFrame, grid: TileGrid, sizes: Sizes, rule: Rule) -> dict[str, Any]:
    print(f"{sizes.parcels} parcels, {rule}")
    sides = {
        "burn": lambda: _lap(burnt(spark, labels, grid, sizes.burn_px, rule), sizes.parcels),
        "points": lambda: _lap(by_points(spark, labels, grid, rule), sizes.parcels),
    }
    return compare(interleave(sides, sizes.runs, sizes.warm_up), "burn", "points", "thousand parcels")


def burnt(spark: SparkSession, labels: DataFrame, grid: TileGrid, burn_px: int, rule: Rule) -> DataFrame:
    """As `draw_samples` finds them: join of labels with blocks, then the burn of each block in a task."""
    return pure_pixels(label_blocks(labels, block_table(spark, [grid], burn_px)), rule, ERODE_M, {})


def by_points(spark: SparkSession, labels: DataFrame, grid: TileGrid, rule: Rule) -> DataFrame:
    """By the baseline, from the same parcels drawn in by the same function."""
    crs = grid.crs

    def draw_in(batches: Any) -> Any:
        for batch in batches:
            shapes = shapely.to_wkb(eroded_polygons(batch["geometry"], crs, ERODE_M))
            yield batch[["label_id", "class_id"]].assign(polygon=shapes)

    parcels = labels.mapInPandas(draw_in, "label_id string, class_id int, polygon binary")
    return pure_pixels_by_points(spark, parcels, grid, 2 if rule == "cell" else 1, 64 * cores())


def _lap(pixels: DataFrame, parcels: int) -> Lap:
    columns = ("label_id", "class_id", "row", "col")
    content = pixels.agg(F.count("*"), F.sum(F.xxhash64(*columns).bitwiseAND(0xFFFFFFFF)))
    seconds, row = timed(content.head)
    return Lap(seconds, parcels / 1e3, {"pixels": row[0], "hash": str(row[1])})


def _memory(spark: SparkSession, inside: geopandas.GeoDataFrame, grid: TileGrid, count: int, burn_px: int, scratch: Path) -> dict[str, Any]:
    """Peak of the largest worker so far; counts go up, so that a worker that stays as large has not grown by them."""
    known = min(count, len(inside))
    labels = _labels(spark, inside, known, scratch)
    seconds, pixels = timed(burnt(spark, labels, grid, burn_px, "cell").count)
    return {
        "parcels": known,
        "pixels": pixels,
        "seconds": round(seconds, 2),
        "peak_mb": round(max(map(peak_mb, spark_workers()), default=0.0), 1),
    }


def _inside(parcels: geopandas.GeoDataFrame, grid: TileGrid) -> geopandas.GeoDataFrame:
    """Parcels that lie wholly on the tile and in its square, in an order of chance: no rule of ownership takes part in the comparison."""
    local = parcels.to_crs(grid.crs)
    square = shapely.box(*square_bounds(grid.tile, (grid.bounds[1] + grid.bounds[3]) / 2)).intersection(shapely.box(*grid.bounds))
    kept = local[local.within(square)]
    return kept.iloc[np.random.default_rng(0).permutation(len(kept))].reset_index(drop=True)


def _labels(spark: SparkSession, inside: geopandas.GeoDataFrame, count: int, scratch: Path) -> DataFrame:
    """The first `count` parcels as `draw_samples` takes them from the table of labels."""
    some = inside.iloc[:count]
    crs = pyproj.CRS(inside.crs).to_string()
    shapes = shapely.to_wkb(reproject(some.geometry.to_numpy(), accurate_transformer(crs, LABEL_CRS)))
    frame = some[["class_id"]].assign(label_id=[f"parcel {key}" for key in some["key"]], geometry=shapes, home="33TUN")
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"labels-{count}.parquet"
    frame[["label_id", "class_id", "geometry", "home"]].astype({"class_id": "int32"}).to_parquet(file, index=False)
    return spark.read.parquet(str(file)).repartition(cores())


if __name__ == "__main__":
    main("sampling", FULL, TINY, measure)
