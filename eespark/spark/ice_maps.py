"""Maps of scenes: strips predicted in the geometry of the image, one task each, then brought to a polar grid, one task a scene."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import shapely
from pydantic import Field
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.errors import EESparkError, MissingError, StorageFullError, TooManyFailuresError
from eespark.grid import Block, TileGrid
from eespark.ice_legend import load_ice_legend
from eespark.io.guard import call_within
from eespark.io.ice_maps import brightness, burn_classes, chart_of, geocode, polar_grid, write_chart, write_scene_item
from eespark.io.mapfiles import part_url, read_part, write_layers, write_part
from eespark.io.members import Candidate
from eespark.io.patches import place_in_image
from eespark.io.sar_scene import open_scene
from eespark.io.storage import (
    join_url,
    list_files,
    new_folder,
    read_bytes,
    read_manifest,
    remove_tree,
    url_exists,
    write_manifest,
)
from eespark.job import JobSettings
from eespark.manifest import FILE_NAME, build_manifest, manifest_hash
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.predict import check_bundle, classes_of, load_bundle
from eespark.predict_ice import LAYERS, Plan, plan_of, predict_strip
from eespark.schema_polar import ICE_LABELS
from eespark.settings import Share, Url
from eespark.spark.patches import read_land
from eespark.spark.scenes import current_scenes
from eespark.spark.tables import open_table
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_RESULT: Final = "key string, product_id string, status string, cells bigint, reason string, seconds double"
_ARROW: Final = pa.schema(
    [("key", pa.string()), ("product_id", pa.string()), ("status", pa.string()), ("cells", pa.int64()), ("reason", pa.string()),
     ("seconds", pa.float64())]
)  # fmt: skip
_SCENE: Final = ("product_id", "url", "kind", "fingerprint", "sensing_time", "footprint", "shape")
_NOT_CONTENT: Final = {"summary", "log_level", "scenes", "strip_seconds", "max_failed_share", "maps", "products", "bundle"}


class IceMapSettings(JobSettings):
    """Settings of `predict_ice_map`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    bundle: Annotated[Url, Field(description="folder of the trained bundle")]
    maps: Annotated[Url, Field(description="folder to write: one folder a scene")]
    scenes: Annotated[list[str] | None, Field(description="scenes to map, as product_id or its beginning; all current ones by default")] = (
        None
    )
    crs: Annotated[str, Field(description="polar CRS of the maps")] = POLAR_CRS
    pixel_m: Annotated[float | None, Field(gt=0, description="m; side of a map's pixel; null: that of a cell")] = None
    stride: Annotated[int | None, Field(ge=1, description="looks from patch to patch; null: half a patch; none for dense networks")] = None
    strip: Annotated[int, Field(ge=1, description="cells of the rows that one task predicts")] = 256
    land: Annotated[Url | None, Field(description="vector file of land, which gets no class")] = None
    labels: Annotated[Url | None, Field(description="Delta table of labels of ice, to show beside the map what analysts drew")] = None
    sources: Annotated[list[str], Field(description="sources of these labels")] = []
    least_area_m2: Annotated[float, Field(ge=0, description="m2; smaller areas of the chart become part of a neighbour")] = 1e6
    strip_seconds: Annotated[float, Field(gt=0, description="s after which a strip, or a scene's assembly, is given up")] = 3600.0
    max_failed_share: Annotated[Share, Field(description="share of failed scenes above which the job fails")] = 0.1


@dataclass(frozen=True)
class SceneWork:
    """One scene that has no whole map yet.

    Attributes:
        scene: Its row of the catalog.
        run: Names all that its map depends on.
        parts: Folder of its strips.
        strips: First row and rows of cells of each.
        missing: Those without a part when the job began.
    """

    scene: Row
    run: str
    parts: str
    strips: tuple[Block, ...]
    missing: tuple[Block, ...]


def predict_ice_map(spark: SparkSession, settings: IceMapSettings) -> dict[str, Any]:
    """Map every scene that has no whole map of this bundle yet; the counts of the summary.

    Raises:
        MissingError: No scene of the settings is in the catalog.
        ManifestError: The bundle is not one of patches.
        TooManyFailuresError: More than `max_failed_share` of the scenes failed; the other maps are written.
    """
    bundle = check_bundle(read_manifest(settings.bundle, "bundle"), settings.bundle)
    plan = plan_of(bundle, settings.stride)
    scenes = _scenes(spark, settings)
    drawn = _drawn(spark, settings, [scene["product_id"] for scene in scenes])
    works = _works(settings, scenes, drawn, (bundle, plan))
    for name in {scene["product_id"] for scene in scenes} - {work.scene["product_id"] for work in works}:
        remove_tree(join_url(settings.maps, "_parts", name))  # of a run that was killed after it had published
    logger.info("predict_ice_map: %d of %d scenes to map", len(works), len(scenes))
    strips = _run(spark, works, {f"{w.scene['product_id']} {s.row}": (w, s) for w in works for s in w.missing}, strip_task(settings, plan))
    failed = {row["product_id"]: row["reason"] for row in strips if row["status"] == "failed"}
    left = [work for work in works if work.scene["product_id"] not in failed]
    whole = {work.scene["product_id"]: (work, drawn.get(work.scene["product_id"], [])) for work in left}
    maps = _run(spark, works, whole, scene_task(settings, bundle, plan))
    failed |= {row["product_id"]: row["reason"] for row in maps if row["status"] == "failed"}
    return _summarise(settings, scenes, works, [*strips, *maps], failed)


def scenes_left(spark: SparkSession, settings: IceMapSettings) -> list[SceneWork]:
    """The scenes that `predict_ice_map` would map now, each with the strips that are missing; nothing is changed.

    Raises:
        MissingError: No scene of the settings is in the catalog, or there is no bundle.
    """
    bundle = check_bundle(read_manifest(settings.bundle, "bundle"), settings.bundle)
    scenes = _scenes(spark, settings)
    drawn = _drawn(spark, settings, [scene["product_id"] for scene in scenes])
    return _works(settings, scenes, drawn, (bundle, plan_of(bundle, settings.stride)))


def _scenes(spark: SparkSession, settings: IceMapSettings) -> list[Row]:
    rows = current_scenes(spark, settings.products, settings.scenes)
    found = [row.asDict() for row in rows.select(*_SCENE).orderBy("sensing_time", "product_id").collect()]
    if not found:
        raise MissingError(f"needed current GRD scenes {settings.scenes or ''} in {settings.products}, found none; run scan_archive")
    return found


def _drawn(spark: SparkSession, settings: IceMapSettings, names: list[str]) -> dict[str, list[Row]]:
    """Scene -> usable polygons of the sources: class_id, geometry, crs."""
    if settings.labels is None or not names:
        return {}
    usable = open_table(spark, settings.labels, ICE_LABELS).where("usable").where(F.col("source").isin(settings.sources))
    rows = usable.where(F.col("scene").isin(names)).select("scene", "label_id", "class_id", "geometry", "crs").orderBy("label_id").collect()
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["scene"], []).append(row.asDict())
    return found


def _works(
    settings: IceMapSettings, scenes: list[Row], drawn: Mapping[str, list[Row]], told: tuple[dict[str, Any], Plan]
) -> list[SceneWork]:
    """Scenes without a whole map of this run, each with the strips that have no part yet: what a killed run wrote stays."""
    bundle, plan = told
    onnx = hashlib.sha256(read_bytes(join_url(settings.bundle, bundle["onnx"]))).hexdigest()
    land = None if settings.land is None else hashlib.sha256(read_bytes(settings.land)).hexdigest()
    same: Row = {"bundle": manifest_hash(bundle), "onnx": onnx, "land": land, "eespark_version": __version__}
    same |= {"settings": settings.model_dump(mode="json", exclude=_NOT_CONTENT)}
    works = []
    for scene in scenes:
        name = scene["product_id"]
        labels = [[one["label_id"], one["class_id"], hashlib.sha256(bytes(one["geometry"])).hexdigest()] for one in drawn.get(name, [])]
        run = manifest_hash({**same, "scene": [name, scene["fingerprint"]], "labels": labels})
        url, parts = join_url(settings.maps, name), join_url(settings.maps, "_parts", name, run)
        older = read_manifest(url, "map") if url_exists(join_url(url, FILE_NAME)) else None
        if older is not None and older["run"] == run:
            continue
        rows, cols = plan.cells(tuple(scene["shape"]))
        strips = tuple(Block(row, 0, min(settings.strip, rows - row), cols) for row in range(0, rows, settings.strip))
        there = {one.rsplit("/", 1)[-1] for one in list_files(parts, ".part")} if url_exists(parts) else set()
        missing = tuple(s for s in strips if part_url("", s).rsplit("/", 1)[-1] not in there)
        works.append(SceneWork(scene, run, parts, strips, missing))
    return works


def _run(spark: SparkSession, works: list[SceneWork], items: Mapping[str, Any], task: Any) -> list[Row]:
    """Each item in a task of its own; what became of them."""
    if not items:
        return []
    keys = spark.createDataFrame([(key,) for key in items], "key string")
    spark.sparkContext.setJobDescription(f"predict_ice_map: {len(items)} tasks of {len(works)} scenes")

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for key in batch.column("key").to_pylist():
                yield pa.RecordBatch.from_pylist([_guarded(key, items[key], task)], schema=_ARROW)

    return [row.asDict() for row in one_task_each(keys, "key").mapInArrow(work, _RESULT).collect()]


def _guarded(key: str, item: tuple[SceneWork, Any], task: Any) -> Row:
    started = time.monotonic()
    told: Row = {"key": key, "product_id": item[0].scene["product_id"], "status": "failed", "cells": 0, "reason": None}
    try:
        told |= {"cells": task(*item), "status": "done"}
    except StorageFullError:
        raise
    except EESparkError as error:
        told["reason"] = f"{type(error).__name__}: {error}"
    return {**told, "seconds": time.monotonic() - started}


def strip_task(settings: IceMapSettings, plan: Plan) -> Any:
    """What predicts one strip and writes its part; the cells that have a class."""

    def task(work: SceneWork, strip: Block) -> int:
        layers = call_within(settings.strip_seconds, work.scene["product_id"], _strip, work.scene, strip, settings, plan)
        write_part(part_url(work.parts, strip), layers)
        return int((layers["class"] != LAYERS["class"]).sum())

    return task


def _strip(scene: Row, strip: Block, settings: IceMapSettings, plan: Plan) -> dict[str, Any]:
    with open_scene(Candidate(scene["product_id"], scene["url"], scene["kind"])) as opened:
        ground = to_polar([shapely.from_wkb(bytes(scene["footprint"]))], "EPSG:4326", settings.crs)[0]
        land = place_in_image(opened.geometry, read_land(settings.land, settings.crs, ground), settings.crs, plan.looks)
        return predict_strip(opened, load_bundle(settings.bundle), plan, land, (strip.row, strip.rows))


def scene_task(settings: IceMapSettings, bundle: dict[str, Any], plan: Plan) -> Any:
    """What puts the strips of a scene together on the polar grid and publishes its map; the pixels that have a class."""

    def task(work: SceneWork, drawn: list[Row]) -> int:
        return call_within(settings.strip_seconds, work.scene["product_id"], _assemble, work, drawn, (settings, bundle, plan))

    return task


def _assemble(work: SceneWork, drawn: list[Row], told: tuple[IceMapSettings, dict[str, Any], Plan]) -> int:
    (settings, bundle, plan), scene = told, work.scene
    name, classes = scene["product_id"], classes_of(bundle)
    strips = [read_part(part_url(work.parts, strip), strip, tuple(LAYERS)) for strip in work.strips]
    cells = {layer: np.concatenate([one[layer] for one in strips]) for layer in LAYERS}
    with open_scene(Candidate(name, scene["url"], scene["kind"])) as opened:
        geometry = opened.geometry
        cells["backscatter"] = brightness(opened, plan.bands[0], plan.cell_px)
    grid = polar_grid(name, geometry, settings.crs, settings.pixel_m or geometry.sample_spacing_m * plan.cell_px)
    layers = geocode(cells, geometry, grid, plan.cell_px)
    if drawn:
        polygons = to_polar([shapely.from_wkb(bytes(one["geometry"])) for one in drawn], drawn[0]["crs"], settings.crs)
        layers["analyst"] = burn_classes(polygons, np.array([one["class_id"] for one in drawn]), grid)
    content = {
        "bundle": manifest_hash(bundle), "legend": bundle["legend"], "tile": name, "settings": settings.model_dump(mode="json"),
        "classes": [{"id": c, "name": text, "colour": colour} for c, (text, colour) in sorted(classes.items())],
        "run": work.run, "model": bundle["model"], "sensing_time": scene["sensing_time"].isoformat(),
        "product": {"product_id": name, "fingerprint": scene["fingerprint"]}, "cell_px": plan.cell_px,
    }  # fmt: skip
    with new_folder(join_url(settings.maps, name)) as building:
        counts = write_layers(building, grid, layers, classes) | _write_chart(settings, bundle, layers, grid, building)
        write_scene_item(building, grid, (shapely.from_wkb(bytes(scene["footprint"])), scene["sensing_time"]), layers, classes)
        write_manifest(building, build_manifest("map", {**content, "counts": counts}, __version__))
    remove_tree(join_url(settings.maps, "_parts", name))
    return int(counts["pixels"])


def _write_chart(settings: IceMapSettings, bundle: dict[str, Any], layers: Any, grid: TileGrid, building: str) -> dict[str, Any]:
    polygons, edge = chart_of(layers, grid, load_ice_legend(str(bundle["legend"]).split("@")[0]), settings.least_area_m2)
    write_chart(building, polygons, edge)
    return {"polygons": len(polygons), "ice_edge_km": round(float(edge.geometry.length.sum()) / 1e3, 1)}


def _summarise(
    settings: IceMapSettings, scenes: list[Row], works: list[SceneWork], rows: list[Row], failed: dict[str, str]
) -> dict[str, Any]:
    summary = {
        "scenes": len(scenes),
        "scenes_mapped": len(works) - len(failed),
        "scenes_failed": len(failed),
        "pixels": sum(row["cells"] for row in rows if row["key"] == row["product_id"]),
        "core_seconds": round(sum(row["seconds"] for row in rows), 1),
        "failed_reasons": dict(sorted(failed.items())[:100]),
        "maps": settings.maps,
    }
    for name, reason in summary["failed_reasons"].items():
        logger.warning("could not map %s: %s", name, reason)
    if len(failed) > settings.max_failed_share * max(len(scenes), 1):
        raise TooManyFailuresError(
            f"{len(failed)} of {len(scenes)} scenes failed, more than max_failed_share={settings.max_failed_share}; see failed_reasons",
            summary,
        )
    return summary
