"""Tiles put together from the parts of their blocks, each in a task of its own: the driver holds no pixel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from eespark import __version__
from eespark.errors import EESparkError, FormatError, MissingError
from eespark.grid import Block, TileGrid
from eespark.io.mapfiles import (
    Layers,
    empty_layers,
    paint_parcels,
    parcel_table,
    part_url,
    read_parcel_part,
    read_part,
    write_item,
    write_layers,
    write_parcels,
)
from eespark.io.storage import join_url, new_folder, open_filesystem, remove_tree, url_exists, write_manifest
from eespark.manifest import build_manifest, manifest_hash
from eespark.predict import classes_of
from eespark.spark.map_priors import read_priors
from eespark.spark.map_settings import MapSettings

_NEVER_TRIED = "no part"


@dataclass(frozen=True)
class TileWork:
    """One tile that has no whole map yet.

    Attributes:
        grid: Of the tile.
        run: Names all that its map depends on.
        parts: Folder of the parts of this tile and run.
        blocks: That cover it.
        missing: Those without a part when the job began.
    """

    grid: TileGrid
    run: str
    parts: str
    blocks: tuple[Block, ...]
    missing: tuple[Block, ...]


def assemble_tiles(
    spark: SparkSession, settings: MapSettings, works: list[TileWork], bundle: dict[str, Any], found: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Publish the maps of tiles; by tile its counts, or none and the reason why there is no map.

    Args:
        spark: Session.
        settings: Of the job.
        works: Tiles.
        bundle: Its manifest.
        found: What became of the blocks that were tried.
    """
    failed: dict[str, dict[str, str]] = {work.grid.tile: {} for work in works}
    for row in found:
        if row["status"] == "failed" and row["tile"] in failed:
            failed[row["tile"]][f"{row['block_row']},{row['block_col']}"] = row["reason"]
    by_tile = {work.grid.tile: work for work in works}
    spark.sparkContext.setJobDescription(f"predict_map: put {len(works)} tiles together")

    def assemble(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for tile in batch["tile"]:
                told: dict[str, Any] = {"counts": None, "reason": None}
                try:
                    told["counts"] = _assemble(settings, by_tile[tile], bundle, failed[tile])
                except EESparkError as error:
                    told["reason"] = f"{type(error).__name__}: {error}"
                yield pd.DataFrame({"tile": [tile], "told": [json.dumps(told)]})

    tiles = spark.createDataFrame([(tile,) for tile in by_tile], "tile string").repartitionByRange(len(by_tile), "tile")
    done = tiles.mapInPandas(assemble, "tile string, told string").collect()
    return {row["tile"]: json.loads(row["told"]) for row in sorted(done)}


def _assemble(settings: MapSettings, work: TileWork, bundle: dict[str, Any], failed: Mapping[str, str]) -> dict[str, Any]:
    classes, holes = classes_of(bundle), dict(failed)
    parcels = _gather_parcels(work, holes) if settings.mode == "parcels" else None
    layers = paint_parcels(work.grid, parcels) if parcels is not None else _gather_layers(work, holes)
    if len(holes) == len(work.blocks):
        first = next(iter(holes.items()))
        raise MissingError(
            f"tile {work.grid.tile}: needed a predicted block, found none of {len(holes)}; block {first[0]}: {first[1]}. "
            "An older map, if there is one, stays"
        )
    with new_folder(join_url(settings.maps, work.grid.tile)) as building:
        counts = {**write_layers(building, work.grid, layers, classes), "holes": len(holes)}
        if parcels is not None:
            counts |= write_parcels(building, parcels)
        _describe(settings, work, bundle, building, {"counts": counts, "failed_blocks": holes})
    _clear_parts(settings, work, keep_own=bool(holes))
    return counts


def _gather_layers(work: TileWork, holes: dict[str, str]) -> Layers:
    layers = empty_layers(work.grid.rows, work.grid.cols)
    for block in work.blocks:
        part = _part_or_hole(work, block, holes, lambda url, block=block: read_part(url, block))
        for name, values in (part or {}).items():
            layers[name][block.row : block.row + block.rows, block.col : block.col + block.cols] = values
    return layers


def _gather_parcels(work: TileWork, holes: dict[str, str]) -> pd.DataFrame:
    parts = [_part_or_hole(work, block, holes, read_parcel_part) for block in work.blocks]
    some = [part for part in parts if part is not None and len(part)]
    if not some:
        return parcel_table({"label_id": []})
    whole: pd.DataFrame = pd.concat(some, ignore_index=True)
    return whole.sort_values("label_id", ignore_index=True)


def _part_or_hole(work: TileWork, block: Block, holes: dict[str, str], read: Any) -> Any:
    """The part of a block; where there is none, or none that can be read, None, and the reason among the holes."""
    url, name = part_url(work.parts, block), f"{block.row},{block.col}"
    try:
        return read(url)
    except MissingError:
        holes.setdefault(name, _NEVER_TRIED)
    except FormatError as error:
        holes[name] = f"{type(error).__name__}: {error}"
        remove_tree(url)  # so that the next run predicts the block again
    return None


def _describe(settings: MapSettings, work: TileWork, bundle: dict[str, Any], building: str, told: Mapping[str, Any]) -> None:
    season = (datetime.combine(settings.first_day, time(), UTC), datetime.combine(settings.last_day, time(23, 59, 59), UTC))
    names = {"eespark:bundle": manifest_hash(bundle), "eespark:legend": bundle["legend"], "eespark:mode": settings.mode}
    write_item(building, work.grid, season, names, classes_of(bundle), settings.mode == "parcels")
    content = {
        **told,
        "run": work.run,
        "bundle": manifest_hash(bundle),
        "tile": work.grid.tile,
        "legend": bundle["legend"],
        "classes": bundle["classes"],
        "priors": read_priors(work.parts),
        "settings": settings.model_dump(mode="json"),
    }
    write_manifest(building, build_manifest("map", content, __version__))


def _clear_parts(settings: MapSettings, work: TileWork, keep_own: bool) -> None:
    """Remove the tile's parts, those of older runs too; its own stay while there are holes, which the next run fills."""
    folder = join_url(settings.maps, "_parts", work.grid.tile)
    if not keep_own:
        remove_tree(folder)
        return
    filesystem, path = open_filesystem(folder)
    for entry in filesystem.ls(path, detail=False) if url_exists(folder) else []:
        if str(entry).rstrip("/").rsplit("/", 1)[-1] != work.run:
            filesystem.rm(entry, recursive=True)
