"""Extraction of more and more tiles: seconds a tile, and what the driver holds. Bytes are there to project from."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.inputs import TileInput, draw_pixels, prepare
from benchmarks.processes import heap_kept_mb, peak_mb, reset_peak, spark_jvms
from benchmarks.running import TINY_TILE, TileSizes, main, session
from benchmarks.tables import Work, extraction, parquet_bytes, tile_names, write_tables
from benchmarks.timing import Lap, interleave, spread, timed
from eespark.spark.observations import extract_series


@dataclass(frozen=True)
class Sizes(TileSizes):
    """Numbers of tiles, products and pixels of each, and px of the square in each tile's corner where the pixels lie."""

    tiles: tuple[int, ...] = (1, 2, 4, 8)
    products: int = 2
    pixels: int = 65_000
    ground_px: int = 5_120


FULL = Sizes()
TINY = Sizes(tiles=(1, 2), pixels=500, ground_px=128, **TINY_TILE)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Seconds a tile and memory of the driver by number of tiles, and bytes of observations."""
    tile = prepare(root / "input", sizes.size_px, sizes.block_px)
    spark = session("scaling")
    told: dict[str, list[dict[str, float]]] = {str(count): [] for count in sizes.tiles}
    folders = {count: root / "scratch" / f"scaling-{count}" for count in sizes.tiles}
    for count, folder in folders.items():
        write_tables(spark, folder, tile, _work(tile, sizes, count))

    def side(count: int) -> Lap:
        lap, memory = _extract(spark, folders[count], count)
        told[str(count)].append(memory)
        return lap

    # A lambda for each count, not for the last one.
    laps = interleave({str(count): (lambda count=count: side(count)) for count in sizes.tiles}, sizes.runs, sizes.warm_up)
    results = {name: _summary(laps[name], told[name][-sizes.runs :]) for name in laps}
    for folder in folders.values():
        shutil.rmtree(folder)
    first = results[str(sizes.tiles[0])]["seconds_per_tile"]["median"]
    ratios = {name: round(one["seconds_per_tile"]["median"] / first, 4) for name, one in results.items()}
    told_once = {"products_per_tile": sizes.products, "product_bytes": _bytes(tile)}
    return {"by_tiles": results, "seconds_per_tile_over_first": ratios, **told_once}


def _work(tile: TileInput, sizes: Sizes, tiles: int) -> Work:
    ground = replace(tile.grid, rows=sizes.ground_px, cols=sizes.ground_px)
    return Work(tile_names(tiles), sizes.products, 0.0, *draw_pixels(ground, sizes.pixels, sizes.pixels))


def _extract(spark: SparkSession, folder: Path, tiles: int) -> tuple[Lap, dict[str, float]]:
    """One run, and what it held (MB): peak of the Python driver, heap that the JVM keeps after it, peak of the JVM with its tasks."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    settings = extraction(folder, "run")
    jvms = spark_jvms()
    for pid in (os.getpid(), *jvms):
        reset_peak(pid)
    seconds, summary = timed(lambda: extract_series(spark, settings))
    memory = {
        "python_peak_mb": peak_mb(os.getpid()),
        "jvm_peak_mb": max(map(peak_mb, jvms), default=0.0),
        "jvm_kept_mb": heap_kept_mb(spark),
    }
    memory |= {"core_seconds": summary["core_seconds"], "observation_bytes": parquet_bytes(Path(settings.observations))}
    return Lap(seconds, tiles), memory


def _bytes(tile: TileInput) -> int:
    return sum(Path(path).stat().st_size for path in tile.product["bands"].values())


def _summary(laps: list[Lap], told: list[dict[str, float]]) -> dict[str, Any]:
    memory = {name: spread(one[name] for one in told) for name in told[0]}
    return {"seconds": spread(lap.seconds for lap in laps), "seconds_per_tile": spread(lap.seconds / lap.work for lap in laps), **memory}


if __name__ == "__main__":
    main("scaling", FULL, TINY, measure)
