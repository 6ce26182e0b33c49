"""Extraction under cloud: what reading the scene classes first saves, and the ratio to a script that reads each band whole."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
from pyspark.sql import SparkSession

from benchmarks.baselines.whole_bands import read_products
from benchmarks.inputs import SEED, TileInput, cloud_mask, draw_pixels, jp2_tiles, prepare
from benchmarks.running import TINY_TILE, TileSizes, cores, main, session
from benchmarks.tables import Work, content_hash, extraction, product_rows, tile_names, write_tables
from benchmarks.timing import Lap, compare, interleave, spread, timed
from eespark.bands import BANDS, RESOLUTION_M
from eespark.spark.observations import extract_series
from eespark.synthetic.noise import subseed


@dataclass(frozen=True)
class Sizes(TileSizes):
    """Pixels a tile of the counts and of the timed runs, products of the tile, cloud shares, masks a share."""

    counted_pixels: tuple[int, ...] = (1_000, 65_000, 1_000_000)
    timed_pixels: int = 65_000
    products: int = 2
    clouds: tuple[float, ...] = (0.4, 0.6)
    masks: int = 5


FULL = Sizes()
TINY = Sizes(counted_pixels=(50, 2_000), timed_pixels=500, clouds=(0.0, 0.4), masks=2, **TINY_TILE)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Shares of JPEG 2000 tiles and pixels that are not decoded, and rates in products a second, by cloud share."""
    tile = prepare(root / "input", sizes.size_px, sizes.block_px)
    saved = {str(share): saved_tiles(tile, sizes, share) for share in sizes.clouds if share}
    spark = session("clouds")
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        results = {str(share): _compare(spark, pool, tile, sizes, share, root / "scratch" / "clouds") for share in sizes.clouds}
    return {"saved": saved, "by_cloud": results}


def saved_tiles(tile: TileInput, sizes: Sizes, share: float) -> dict[str, Any]:
    """By pixels a tile: tiles that hold a pixel, and how many of them and of their pixels hold none that is free of cloud, by mask."""
    masks = [cloud_mask((tile.grid.rows // 2, tile.grid.cols // 2), share, subseed(SEED, number)) for number in range(sizes.masks)]
    told: dict[str, Any] = {}
    for pixels in sizes.counted_pixels:
        rows, cols = draw_pixels(tile.grid, pixels, pixels)
        everything = _tiles(rows, cols, sizes.block_px)
        fewer = [_tiles(rows[free], cols[free], sizes.block_px) for free in (~mask[rows // 2, cols // 2] for mask in masks)]
        told[str(pixels)] = {
            "tiles": everything,
            "saved_tiles": spread(everything - one for one in fewer),
            "saved_share": spread(1 - one / everything for one in fewer),
        }
    return told


def _tiles(rows: Any, cols: Any, block_px: tuple[int, int]) -> int:
    """Internal tiles of all nine bands that hold one of the pixels."""
    fine = sum(RESOLUTION_M[band] == 10 for band in BANDS)
    return fine * jp2_tiles(rows, cols, block_px[0]) + (len(BANDS) - fine) * jp2_tiles(rows // 2, cols // 2, block_px[1])


def _compare(spark: SparkSession, pool: Any, tile: TileInput, sizes: Sizes, share: float, folder: Path) -> dict[str, Any]:
    print(f"{round(100 * share)} % cloud")
    work = Work(tile_names(1), sizes.products, share, *draw_pixels(tile.grid, sizes.timed_pixels, sizes.timed_pixels))
    write_tables(spark, folder, tile, work)
    x, y = tile.grid.centres(work.rows, work.cols)
    points = geopandas.GeoDataFrame({"sample_id": np.arange(len(x))}, geometry=geopandas.points_from_xy(x, y), crs=tile.grid.crs)
    points.to_parquet(folder / "points_geo.parquet")
    decoded: dict[str, int] = {}

    def ours() -> Lap:
        shutil.rmtree(folder / "run", ignore_errors=True)
        settings = extraction(folder, "run")
        seconds, told = timed(lambda: extract_series(spark, settings))
        decoded["extract_series"] = told["pixels_decoded"]
        return Lap(seconds, sizes.products, content_hash(spark.read.format("delta").load(settings.observations)))

    def script() -> Lap:
        target = folder / "script"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        products = product_rows(tile, work)
        seconds, decoded["whole_bands"] = timed(lambda: read_products(pool, products, str(folder / "points_geo.parquet"), str(target)))
        return Lap(seconds, sizes.products, content_hash(spark.read.parquet(str(target))))

    laps = interleave({"extract_series": ours, "whole_bands": script}, sizes.runs, sizes.warm_up)
    shutil.rmtree(folder)
    return {**compare(laps, "extract_series", "whole_bands", "products"), "pixels_decoded": decoded}


if __name__ == "__main__":
    main("clouds", FULL, TINY, measure)
