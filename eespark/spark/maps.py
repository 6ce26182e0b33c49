"""Crop maps: blocks of a tile predicted on executors from all dates, put together as COGs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.errors import EESparkError, TooManyFailuresError
from eespark.geometry import burn_labels
from eespark.grid import Block, TileGrid
from eespark.io.cube import Cube, read_cube
from eespark.io.guard import call_within
from eespark.io.mapfiles import LAYERS, Layers, part_url, write_item, write_part, write_tile
from eespark.io.storage import join_url, local_path, publish_folder, read_manifest, remove_tree, url_exists, write_manifest
from eespark.kernels.series import regular_series
from eespark.manifest import FILE_NAME, build_manifest, manifest_hash
from eespark.predict import Bundle, classes_of, load_bundle
from eespark.schema import LABELS, PRODUCTS
from eespark.spark.blocks import block_table, eroded_polygons, label_blocks, tile_grids
from eespark.spark.map_settings import MapSettings
from eespark.spark.tables import open_table

logger = logging.getLogger(__name__)
_RESULT: Final = "tile string, block_row int, block_col int, status string, pixels bigint, reason string, seconds double"
_ARROW: Final = pa.schema(
    [
        ("tile", pa.string()),
        ("block_row", pa.int32()),
        ("block_col", pa.int32()),
        ("status", pa.string()),
        ("pixels", pa.int64()),
        ("reason", pa.string()),
        ("seconds", pa.float64()),
    ]
)


def predict_map(spark: SparkSession, settings: MapSettings) -> dict[str, Any]:
    """Map every tile that has no map of this bundle yet; the counts of the summary.

    Raises:
        TooManyFailuresError: More than `max_failed_share` of the blocks failed; the maps are written with holes.
    """
    bundle = read_manifest(settings.bundle, "bundle")
    products = open_table(spark, settings.products, PRODUCTS)
    grids = [g for g in tile_grids(products, "L2A", settings.tiles) if not _finished(settings, g.tile, bundle)]
    run = _run_key(settings, bundle)
    rows = _block_rows(settings, grids, _parts(settings, run))
    spark.sparkContext.setJobDescription(f"predict_map: {len(rows)} blocks of {len(grids)} tiles")
    logger.info("predict_map: %d blocks of %d tiles", len(rows), len(grids))
    found: list[dict[str, Any]] = []
    if rows:
        frame = _with_products_and_mask(spark, settings, products, grids, rows)
        found = [r.asDict() for r in frame.mapInArrow(_predictor(settings, _parts(settings, run)), _RESULT).collect()]
    tiles = _assemble_all(spark, settings, grids, bundle, found)
    return _summarise(settings, tiles, found)


def _finished(settings: MapSettings, tile: str, bundle: dict[str, Any]) -> bool:
    url = join_url(settings.maps, tile)
    if not url_exists(join_url(url, FILE_NAME)):
        return False
    return bool(read_manifest(url, "map")["run"] == _run_key(settings, bundle))


def _run_key(settings: MapSettings, bundle: dict[str, Any]) -> str:
    """Names what a map depends on: the bundle and the settings; parts of another run are never taken for this one's."""
    return manifest_hash({"bundle": manifest_hash(bundle), **settings.model_dump(mode="json", exclude={"summary", "log_level", "tiles"})})


def _parts(settings: MapSettings, run: str) -> str:
    return join_url(settings.maps, "_parts", run)


def _block_rows(settings: MapSettings, grids: list[TileGrid], parts: str) -> list[tuple[str, int, int]]:
    """Blocks without a part yet: what a killed run wrote stays."""
    rows = []
    for grid in grids:
        for block in grid.blocks(settings.block_px):
            if not url_exists(part_url(parts, grid.tile, block)):
                rows.append((grid.tile, block.row, block.col))
    return rows


def _with_products_and_mask(
    spark: SparkSession, settings: MapSettings, products: DataFrame, grids: list[TileGrid], rows: list[tuple[str, int, int]]
) -> DataFrame:
    season = (F.to_date("sensing_time") >= F.lit(settings.first_day)) & (F.to_date("sensing_time") <= F.lit(settings.last_day))
    dates = products.where("status = 'current' AND level = 'L2A'").where(
        season & (F.coalesce("cloud_share", F.lit(0.0)) <= settings.max_cloud_share)
    )
    dates = dates.withColumn("day", F.datediff(F.to_date("sensing_time"), F.lit(settings.first_day)))
    date_row = F.struct("day", "product_id", F.to_json("bands").alias("bands"), F.to_json("offsets").alias("offsets"), "scale", "shape")
    by_tile = dates.groupBy("tile").agg(F.array_sort(F.collect_list(date_row)).alias("dates"))
    blocks = block_table(spark, grids, settings.block_px)
    wanted = blocks.join(
        F.broadcast(spark.createDataFrame(rows, "tile string, block_row int, block_col int")),
        ["tile", "block_row", "block_col"],
        "left_semi",
    )
    keys = ["tile", "block_row", "block_col"]
    if settings.labels is not None:
        labels = open_table(spark, settings.labels, LABELS).where(
            F.col("source").isin(settings.mask_sources) & F.col("geometry").isNotNull() & (F.col("area_m2") > 0)
        )
        pairs = label_blocks(labels.withColumn("home", F.col("tile")), wanted)
        mask = pairs.groupBy(*keys).agg(F.collect_list("geometry").alias("mask"))
        # Blocks without a parcel have nothing to map, and are written as no data without reading a pixel.
        wanted = wanted.join(mask, keys, "left").withColumn("mask", F.coalesce("mask", F.array().cast("array<binary>")))
    else:
        wanted = wanted.withColumn("mask", F.lit(None).cast("array<binary>"))
    spread = wanted.drop("footprint").repartitionByRange(max(1, len(rows)), *keys)
    return spread.join(F.broadcast(by_tile), "tile", "left")


def _predictor(settings: MapSettings, parts: str) -> Any:
    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                yield pa.RecordBatch.from_pylist([_predict_row(row, settings, parts)], schema=_ARROW)

    return predict


def _predict_row(row: dict[str, Any], settings: MapSettings, parts: str) -> dict[str, Any]:
    told = {
        "tile": row["tile"],
        "block_row": row["block_row"],
        "block_col": row["block_col"],
        "status": "failed",
        "pixels": 0,
        "reason": None,
    }
    started = datetime.now(UTC)
    try:
        told["pixels"] = call_within(
            settings.block_seconds, f"block {row['block_row']},{row['block_col']} of {row['tile']}", _predict_block, row, settings, parts
        )
        told["status"] = "done"
    except EESparkError as error:
        told["reason"] = f"{type(error).__name__}: {error}"
    return {**told, "seconds": (datetime.now(UTC) - started).total_seconds()}


def _predict_block(row: dict[str, Any], settings: MapSettings, parts: str) -> int:
    block = Block(row["block_row"], row["block_col"], row["block_rows"], row["block_cols"])
    grid = TileGrid(row["tile"], row["crs"], row["x_min"], row["y_max"], row["tile_rows"], row["tile_cols"], row["pixel_m"])
    wanted = _mask(row["mask"], grid, block)
    dates = [{**d, "bands": json.loads(d["bands"]), "offsets": json.loads(d["offsets"])} for d in row["dates"] or []]
    layers: Layers = {name: np.full((block.rows, block.cols), nodata, np.uint8) for name, nodata in LAYERS.items()}
    pixels = 0
    if wanted.any() and dates:
        cube = read_cube(dates, block)
        clear = cube.clear.sum(axis=0)
        layers["clear_dates"][wanted] = np.minimum(clear, 254)[wanted]
        wanted &= clear >= settings.min_clear
        pixels = int(wanted.sum())
        if pixels:
            _fill(layers, cube, wanted, _bundle(settings.bundle))
    write_part(part_url(parts, grid.tile, block), layers)
    return pixels


def _mask(polygons: list[bytes] | None, grid: TileGrid, block: Block) -> Any:
    wanted = np.ones((block.rows, block.cols), bool)
    if polygons is not None:
        wanted[:] = False
        if polygons:
            burnt = burn_labels(eroded_polygons(polygons, grid.crs, 0.0), grid, "centre", block)
            wanted[burnt.rows - block.row, burnt.cols - block.col] = True
    return wanted


def _fill(layers: Layers, cube: Cube, wanted: Any, bundle: Bundle) -> None:
    reflectance = np.moveaxis(cube.reflectance[:, wanted], 0, 1)
    clear = cube.clear[:, wanted].T
    day = np.broadcast_to(cube.days, clear.shape)
    if bundle.manifest["grid"]["kind"] == "regular":
        step = int(bundle.manifest["grid"]["step_days"])
        grid_days = np.arange(int(bundle.manifest["times"])) * step
        reflectance, clear = regular_series(
            day.astype(np.int64), reflectance, clear, grid_days, int(bundle.manifest["grid"].get("max_gap_days", 45))
        )
        day = np.broadcast_to(grid_days.astype(np.int16), clear.shape)
    valid = clear.astype(np.float32)
    found = bundle.predict(reflectance, valid, day * clear)
    layers["class"][wanted] = found.class_ids.astype(np.uint8)
    layers["probability"][wanted] = np.rint(100 * found.confidence).astype(np.uint8)
    layers["novelty"][wanted] = np.rint(100 * found.novelty).astype(np.uint8)


@lru_cache(maxsize=1)
def _bundle(url: str) -> Bundle:
    return load_bundle(url, threads=1)


def _assemble_all(
    spark: SparkSession, settings: MapSettings, grids: list[TileGrid], bundle: dict[str, Any], found: list[dict[str, Any]]
) -> dict[str, Any]:
    """Put each tile together in a task of its own: the driver holds no pixel."""
    if not grids:
        return {}
    spark.sparkContext.setJobDescription(f"predict_map: put {len(grids)} tiles together")
    failed = {
        g.tile: {f"{r['block_row']},{r['block_col']}": r["reason"] for r in found if r["tile"] == g.tile and r["status"] == "failed"}
        for g in grids
    }

    def assemble(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for tile in batch["tile"]:
                grid = next(g for g in grids if g.tile == tile)
                yield pd.DataFrame({"tile": [tile], "counts": [json.dumps(_assemble(settings, grid, bundle, failed[tile]))]})

    tiles = spark.createDataFrame([(g.tile,) for g in grids], "tile string").repartitionByRange(len(grids), "tile")
    done = tiles.mapInPandas(assemble, "tile string, counts string").collect()
    return {row["tile"]: json.loads(row["counts"]) for row in sorted(done)}


def _assemble(settings: MapSettings, grid: TileGrid, bundle: dict[str, Any], failed: dict[str, str]) -> dict[str, Any]:
    run = _run_key(settings, bundle)
    building = join_url(settings.maps, f"{grid.tile}.building")
    remove_tree(building)
    os.makedirs(local_path(building))
    counts = write_tile(building, grid, list(grid.blocks(settings.block_px)), _parts(settings, run), classes_of(bundle))
    season = (datetime.combine(settings.first_day, time(), UTC), datetime.combine(settings.last_day, time(23, 59, 59), UTC))
    write_item(building, grid, season, {"eespark:bundle": manifest_hash(bundle), "eespark:legend": bundle["legend"]})
    told = {"run": run, "bundle": manifest_hash(bundle), "tile": grid.tile, "counts": counts, "failed_blocks": failed}
    content = {**told, "legend": bundle["legend"], "classes": bundle["classes"], "settings": settings.model_dump(mode="json")}
    write_manifest(building, build_manifest("map", content, __version__))
    publish_folder(building, join_url(settings.maps, grid.tile))
    remove_tree(join_url(_parts(settings, run), grid.tile))
    return counts


def _summarise(settings: MapSettings, tiles: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [r for r in found if r["status"] == "failed"]
    summary = {
        "tiles": tiles,
        "blocks": len(found),
        "blocks_failed": len(failed),
        "pixels": sum(r["pixels"] for r in found),
        "core_seconds": round(sum(r["seconds"] for r in found), 1),
        "failed_reasons": {f"{r['tile']} {r['block_row']},{r['block_col']}": r["reason"] for r in failed[:100]},
        "maps": settings.maps,
    }
    for name, reason in summary["failed_reasons"].items():
        logger.warning("could not map block %s: %s", name, reason)
    if len(failed) > settings.max_failed_share * max(len(found), 1):
        error = TooManyFailuresError(f"{len(failed)} of {len(found)} blocks failed, more than max_failed_share={settings.max_failed_share}")
        error.summary = summary  # type: ignore[attr-defined]
        raise error
    return summary
