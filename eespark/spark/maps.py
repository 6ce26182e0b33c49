"""Crop maps: blocks of a tile predicted on executors from all dates, put together as COGs and, where asked for, parcels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.errors import SettingsError, TooManyFailuresError
from eespark.grid import Block, TileGrid
from eespark.io.mapfiles import part_url
from eespark.io.storage import join_url, list_files, read_bytes, read_manifest, remove_tree, url_exists
from eespark.manifest import FILE_NAME, inputs_of, manifest_hash
from eespark.predict import check_bundle
from eespark.schema import LABELS, PRODUCTS
from eespark.spark.blocks import tile_grids
from eespark.spark.contents import sum_of_hashes
from eespark.spark.map_assembly import TileWork, assemble_tiles
from eespark.spark.map_blocks import block_frame, tile_dates
from eespark.spark.map_priors import choose_blocks, filled_blocks, read_priors, tile_priors, write_priors
from eespark.spark.map_settings import MapSettings
from eespark.spark.map_tasks import predict_row
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
_ROUND_BLOCKS: Final = 4_096  # blocks between two times that finished tiles are published and progress is told
_NOT_CONTENT: Final = frozenset(
    {"summary", "log_level", "tiles", "block_seconds", "max_failed_share", "maps", "products", "bundle", "labels"}
)


@dataclass(frozen=True)
class _Inputs:
    """What all rounds read."""

    dates: DataFrame
    """tile, dates: its products as an array in the order of days."""
    labels: DataFrame | None
    bundle: dict[str, Any]


def predict_map(spark: SparkSession, settings: MapSettings) -> dict[str, Any]:
    """Map every tile that has no whole map of this bundle and these products yet; the counts of the summary.

    Raises:
        SettingsError: The bundle was trained on another processing level.
        TooManyFailuresError: More than `max_failed_share` of the blocks failed; the maps are written with holes.
    """
    bundle = check_bundle(read_manifest(settings.bundle, "bundle"), settings.bundle)
    if inputs_of(bundle) != "series":
        raise SettingsError(f"needed a bundle trained on series, found {settings.bundle} of {inputs_of(bundle)}; run predict_ice_map")
    if bundle.get("level", settings.level) != settings.level:
        raise SettingsError(
            f"needed a bundle trained on {settings.level}, found {settings.bundle} of {bundle['level']}; set level, or train"
        )
    grids, inputs = _inputs(spark, settings, bundle)
    works = _works(settings, grids, _run_keys(settings, inputs))
    for tile in {grid.tile for grid in grids} - {work.grid.tile for work in works}:
        remove_tree(join_url(settings.maps, "_parts", tile))  # of a run that was killed after it had published
    logger.info("predict_map: %d of %d tiles to map", len(works), len(grids))
    found: list[dict[str, Any]] = []
    tiles: dict[str, Any] = {}
    for some in _rounds(works):
        found += _predict(spark, settings, inputs, some)
        tiles |= assemble_tiles(spark, settings, some, bundle, found)
        logger.info("predict_map: %d of %d tiles done", len(tiles), len(works))
    return _summarise(settings, works, tiles, found)


def tiles_left(spark: SparkSession, settings: MapSettings) -> list[TileWork]:
    """The tiles that `predict_map` would map now, each with the blocks that are missing; nothing is changed.

    Raises:
        MissingError: There is no bundle, or no catalog.
    """
    bundle = check_bundle(read_manifest(settings.bundle, "bundle"), settings.bundle)
    grids, inputs = _inputs(spark, settings, bundle)
    return _works(settings, grids, _run_keys(settings, inputs))


def _inputs(spark: SparkSession, settings: MapSettings, bundle: dict[str, Any]) -> tuple[list[TileGrid], _Inputs]:
    products = open_table(spark, settings.products, PRODUCTS)
    grids = tile_grids(products, settings.level, settings.tiles)
    return grids, _Inputs(tile_dates(products, settings), _parcels(spark, settings), bundle)


def stale_tiles(spark: SparkSession, settings: MapSettings) -> dict[str, str]:
    """Tiles that `predict_map` would map, each with the reason; nothing is changed.

    Raises:
        MissingError: There is no bundle, or no catalog.
    """
    bundle = check_bundle(read_manifest(settings.bundle, "bundle"), settings.bundle)
    grids, inputs = _inputs(spark, settings, bundle)
    keys, told = _run_keys(settings, inputs), {}
    for grid in grids:
        older = _whole_map(settings, grid.tile)
        if older is None:
            told[grid.tile] = "no map"
        elif older["bundle"] != manifest_hash(bundle):
            told[grid.tile] = "another bundle"
        elif older["failed_blocks"]:
            told[grid.tile] = f"{len(older['failed_blocks'])} holes"
        elif older["run"] != keys.get(grid.tile, _empty_key(settings)):
            told[grid.tile] = "other products, parcels or settings"
    return told


def _whole_map(settings: MapSettings, tile: str) -> dict[str, Any] | None:
    """The manifest of a tile's map; None where there is none."""
    url = join_url(settings.maps, tile)
    return read_manifest(url, "map") if url_exists(join_url(url, FILE_NAME)) else None


def _empty_key(settings: MapSettings) -> str:
    """Of a tile without a product in the season, which has a map too, of no data."""
    return manifest_hash({"products": None, **settings.model_dump(mode="json", exclude=set(_NOT_CONTENT))})


def _parcels(spark: SparkSession, settings: MapSettings) -> DataFrame | None:
    if settings.labels is None:
        return None
    labels = open_table(spark, settings.labels, LABELS)
    return labels.where(F.col("source").isin(settings.mask_sources) & F.col("geometry").isNotNull() & (F.col("area_m2") > 0))


def _run_keys(settings: MapSettings, inputs: _Inputs) -> dict[str, str]:
    """Tile -> name of all that its map depends on; parts of another run are never taken for this one's."""
    names = F.transform("dates", lambda d: F.concat_ws(":", d["product_id"], d["fingerprint"]))
    products = {row["tile"]: row["key"] for row in inputs.dates.select("tile", F.sha2(F.concat_ws(",", names), 256).alias("key")).collect()}
    labels = None
    if inputs.labels is not None:
        hashed = sum_of_hashes(F.xxhash64("label_id", "class_id", "tile", "geometry"))
        labels = str(inputs.labels.agg(hashed).head()[0])
    files = {name: hashlib.sha256(read_bytes(join_url(settings.bundle, inputs.bundle[name]))).hexdigest() for name in ("onnx", "novelty")}
    same = {
        "bundle": manifest_hash(inputs.bundle),
        "files": files,
        "labels": labels,
        "eespark_version": __version__,
        "settings": settings.model_dump(mode="json", exclude=set(_NOT_CONTENT)),
    }
    return {tile: manifest_hash({**same, "products": key}) for tile, key in products.items()}


def _works(settings: MapSettings, grids: list[TileGrid], keys: Mapping[str, str]) -> list[TileWork]:
    """Tiles without a whole map of this run, each with the blocks that have no part yet: what a killed run wrote stays."""
    works = []
    for grid in grids:
        run = keys.get(grid.tile, _empty_key(settings))
        parts = join_url(settings.maps, "_parts", grid.tile, run)
        older = _whole_map(settings, grid.tile)
        if older is not None and older["run"] == run and not older["failed_blocks"]:
            continue
        blocks = tuple(grid.blocks(settings.block_px))
        there = {name.rsplit("/", 1)[-1] for name in list_files(parts, ".part")} if url_exists(parts) else set()
        missing = tuple(b for b in blocks if part_url("", b).rsplit("/", 1)[-1] not in there)
        works.append(TileWork(grid, run, parts, blocks, missing))
    return works


def _rounds(works: list[TileWork]) -> Iterator[list[TileWork]]:
    some: list[TileWork] = []
    for work in works:
        some.append(work)
        if sum(len(one.missing) for one in some) >= _ROUND_BLOCKS:
            yield some
            some = []
    if some:
        yield some


def _predict(spark: SparkSession, settings: MapSettings, inputs: _Inputs, works: list[TileWork]) -> list[dict[str, Any]]:
    rows = [(work.grid.tile, block.row, block.col) for work in works for block in work.missing]
    if not rows:
        return []
    shares = _shares(spark, settings, inputs, works) if settings.shift_priors else {}
    logger.info("predict_map: %d blocks of %d tiles", len(rows), len(works))
    spark.sparkContext.setJobDescription(f"predict_map: {len(rows)} blocks of {len(works)} tiles")
    frame = block_frame(spark, settings, inputs.dates, inputs.labels, {work.grid: work.missing for work in works})
    folders = {work.grid.tile: work.parts for work in works}
    return [row.asDict() for row in frame.mapInArrow(_predictor(settings, folders, shares), _RESULT).collect()]


def _shares(spark: SparkSession, settings: MapSettings, inputs: _Inputs, works: list[TileWork]) -> dict[str, dict[int, float]]:
    """Tile -> class id -> share, for tiles where it could be estimated."""
    told = {work.grid.tile: read_priors(work.parts) for work in works}
    new = [work for work in works if told[work.grid.tile] is None]
    if new:
        logger.info("predict_map: class shares of %d tiles", len(new))
        spark.sparkContext.setJobDescription(f"predict_map: class shares of {len(new)} tiles")
        everywhere = {work.grid: work.blocks for work in new}
        if inputs.labels is not None:
            everywhere = filled_blocks(block_frame(spark, settings, inputs.dates, inputs.labels, everywhere), settings, everywhere)
        chosen = choose_blocks(everywhere, settings)
        found = tile_priors(block_frame(spark, settings, inputs.dates, inputs.labels, chosen), settings, inputs.bundle) if chosen else {}
        for work in new:
            told[work.grid.tile] = found.get(work.grid.tile, {"shares": None, "reason": "no block to sample"})
            write_priors(work.parts, told[work.grid.tile] or {})
    return {tile: {int(c): s for c, s in one["shares"].items()} for tile, one in told.items() if one and one["shares"]}


def _predictor(settings: MapSettings, folders: Mapping[str, str], shares: Mapping[str, Mapping[int, float]]) -> Any:
    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                block = Block(row["block_row"], row["block_col"], row["block_rows"], row["block_cols"])
                told = predict_row(row, settings, part_url(folders[row["tile"]], block), shares.get(row["tile"]))
                yield pa.RecordBatch.from_pylist([told], schema=_ARROW)

    return predict


def _summarise(settings: MapSettings, works: list[TileWork], tiles: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [row for row in found if row["status"] == "failed"]
    summary = {
        "tiles": {tile: told["counts"] for tile, told in tiles.items() if told["counts"] is not None},
        "tiles_without_map": {tile: told["reason"] for tile, told in tiles.items() if told["counts"] is None},
        "blocks": len(found),
        "blocks_failed": len(failed),
        "pixels": sum(row["pixels"] for row in found),
        "core_seconds": round(sum(row["seconds"] for row in found), 1),
        "failed_reasons": {f"{row['tile']} {row['block_row']},{row['block_col']}": row["reason"] for row in failed[:100]},
        "maps": settings.maps,
    }
    for name, reason in summary["failed_reasons"].items():
        logger.warning("could not map block %s: %s", name, reason)
    for tile, reason in summary["tiles_without_map"].items():
        logger.warning("no map of tile %s: %s", tile, reason)
    total = sum(len(work.blocks) for work in works)
    if len(failed) > settings.max_failed_share * max(total, 1):
        raise TooManyFailuresError(
            f"{len(failed)} of {total} blocks failed, more than max_failed_share={settings.max_failed_share}",
            summary,
        )
    return summary
