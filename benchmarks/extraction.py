"""Extraction beside bare decoding: `extract_series` from table to table, and GDAL on the very tiles that it decodes."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from benchmarks.baselines.decode import Job, decode_products
from benchmarks.inputs import TileInput, draw_pixels, prepare
from benchmarks.running import TINY_TILE, TileSizes, cores, main, session
from benchmarks.tables import Work, extraction, tile_names, write_tables
from benchmarks.timing import Lap, compare, interleave, timed
from eespark.bands import BANDS
from eespark.io import rasters
from eespark.spark.observations import extract_series


@dataclass(frozen=True)
class Sizes(TileSizes):
    """How much is read: pixels a tile of each comparison, and products of the tile."""

    pixels: tuple[int, ...] = (1_000, 65_000, 1_000_000)
    products: int = 2


FULL = Sizes()
TINY = Sizes(pixels=(50, 2_000), **TINY_TILE)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates in decoded megapixels a second, by pixels a tile.

    Densities that touch the same JPEG 2000 tiles, as the larger ones do, share the laps that only decode them.
    """
    tile = prepare(root / "input", sizes.size_px, sizes.block_px)
    spark = session("extraction")
    folder = root / "scratch" / "extraction"
    works = {pixels: Work(tile_names(1), sizes.products, 0.0, *draw_pixels(tile.grid, pixels, pixels)) for pixels in sizes.pixels}
    for pixels, work in works.items():
        write_tables(spark, folder / str(pixels), tile, work)
    alike: dict[tuple[Job, ...], list[int]] = {}
    for pixels, work in works.items():
        alike.setdefault(tuple(wanted_tiles(tile, work)), []).append(pixels)
    results: dict[str, Any] = {}
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        for jobs, members in alike.items():
            print(f"{members} pixels a tile")
            results |= _compare(spark, pool, [list(jobs)] * sizes.products, {str(n): folder / str(n) for n in members}, sizes)
    shutil.rmtree(folder)
    return {"bits_per_pixel": tile.bits_per_pixel, "by_pixels": results}


def _compare(spark: SparkSession, pool: Any, jobs: list[list[Job]], folders: dict[str, Path], sizes: Sizes) -> dict[str, Any]:
    # A lambda for each folder, not for the last one.
    sides = {name: (lambda folder=folder: extract(spark, folder)) for name, folder in folders.items()}
    laps = interleave({**sides, "decode_only": lambda: _decode(pool, jobs)}, sizes.runs, sizes.warm_up)
    named = {name: {"extract_series": laps[name], "decode_only": laps["decode_only"]} for name in folders}
    return {name: compare(one, "extract_series", "decode_only", "Mpx decoded") for name, one in named.items()}


def extract(spark: SparkSession, folder: Path) -> Lap:
    """One run of the job's work into new tables; the time holds all of it, from packing the points to the last commit."""
    settings = extraction(folder, "run")
    shutil.rmtree(folder / "run", ignore_errors=True)
    seconds, told = timed(lambda: extract_series(spark, settings))
    return Lap(seconds, told["pixels_decoded"] / 1e6, {"pixels_decoded": told["pixels_decoded"]})


def _decode(pool: Any, jobs: list[list[Job]]) -> Lap:
    seconds, pixels = timed(lambda: decode_products(pool, jobs))
    return Lap(seconds, pixels / 1e6, {"pixels_decoded": pixels})


def wanted_tiles(tile: TileInput, work: Work) -> list[Job]:
    """The internal tiles that hold a pixel of a product without cloud, by band."""
    jobs: list[Job] = []
    for band in ("SCL", *BANDS):
        path = tile.product["bands"][band]
        info = rasters.raster_info(path)
        rows, cols = (
            rasters.companion_pixels(places, side, own) // block
            for places, side, own, block in zip((work.rows, work.cols), tile.product["shape"], info.shape, info.block, strict=True)
        )
        windows = []
        for row, col in np.unique(np.stack([rows, cols], axis=1), axis=0).tolist():
            top, left = row * info.block[0], col * info.block[1]
            windows.append((top, left, min(info.block[0], info.shape[0] - top), min(info.block[1], info.shape[1] - left)))
        jobs.append((path, tuple(windows)))
    return jobs


if __name__ == "__main__":
    main("extraction", FULL, TINY, measure)
