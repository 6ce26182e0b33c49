"""Icebergs: those that analysts drew and those that a detector finds, one scene a task, and how the two agree."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import shapely
from pydantic import Field
from pyspark.sql import SparkSession

from eespark.errors import EESparkError, TooManyFailuresError
from eespark.io.guard import call_within
from eespark.io.ice_labels import IceSource, list_ice_files, time_of
from eespark.io.icebergs import Bergs, detect, read_drawn, some_of
from eespark.io.members import Candidate
from eespark.io.sar_scene import open_scene
from eespark.job import JobSettings
from eespark.kernels.cfar import CfarOptions, match_points
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.schema_polar import ICEBERGS
from eespark.settings import Share, Url
from eespark.spark.patches import read_land
from eespark.spark.scenes import current_scenes
from eespark.spark.tables import conform, ensure_table, jvm_url, retry_conflicts, sql_text
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)

Row = dict[str, Any]
DETECTED: Final = "cfar"
_TASK: Final = ", ".join([*(f"{c.name} {c.dtype}" for c in ICEBERGS.columns), "failed string"])
_TYPES: Final = {"string": pa.string(), "double": pa.float64(), "binary": pa.binary(), "timestamp": pa.timestamp("us", tz="UTC")}
_ARROW: Final = pa.schema([*((c.name, _TYPES[c.dtype]) for c in ICEBERGS.columns), ("failed", pa.string())])


class IcebergSettings(JobSettings):
    """Settings of `detect_icebergs`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    icebergs: Annotated[Url, Field(description="Delta table to write")]
    drawn: Annotated[list[IceSource], Field(description="sources of drawn icebergs, a file a scene; kind and legend are not used")] = []
    scenes: Annotated[list[str] | None, Field(description="scenes, as product_id or its beginning; null: all current ones")] = None
    crs: Annotated[str, Field(description="polar CRS of the table")] = POLAR_CRS
    land: Annotated[Url | None, Field(description="vector file of land, where none is looked for")] = None
    band: Annotated[str, Field(description="polarisation to look in")] = "HV"
    guard_px: Annotated[int, Field(ge=1, description="px; half the side of the square that a target may fill")] = 8
    ring_px: Annotated[int, Field(ge=2, description="px; half the side of the square whose rest is the surroundings")] = 20
    false_alarms: Annotated[float, Field(gt=0.0, lt=0.1, description="share of pixels of gamma distributed surroundings")] = 1e-7
    looks: Annotated[float, Field(ge=1.0, description="equivalent number of looks of the scenes")] = 10.7
    least_db: Annotated[float, Field(description="dB; surroundings darker than this count as this: the noise floor")] = -28.0
    least_px: Annotated[int, Field(ge=1, description="px of a target")] = 2
    match_m: Annotated[float, Field(gt=0.0, description="m within which a detected and a drawn iceberg are the same")] = 300.0
    scene_seconds: Annotated[float, Field(gt=0, description="s after which a scene is given up")] = 1800.0
    max_failed_share: Annotated[Share, Field(description="share of failed scenes above which the job fails")] = 0.1
    scratch: Annotated[Url, Field(description="local folder where zipped sources are unpacked")] = "/tmp/eespark-scratch"  # noqa: S108


def detect_icebergs(spark: SparkSession, settings: IcebergSettings) -> dict[str, Any]:
    """Read what was drawn and detect, in the place of what the table held of these scenes; counts, precision and recall.

    Raises:
        TooManyFailuresError: More than `max_failed_share` of the scenes failed; the others are written.
    """
    ensure_table(spark, settings.icebergs, ICEBERGS)
    scenes = _scenes(spark, settings)
    files = files_by_scene(settings, scenes)
    told = settings.model_dump_json()

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        chosen = IcebergSettings.model_validate_json(told)
        for batch in batches:
            for scene in batch.to_pylist():
                yield pa.RecordBatch.from_pylist(_guarded(scene, files.get(scene["product_id"], []), chosen), schema=_ARROW)

    spark.sparkContext.setJobDescription(f"detect_icebergs: {len(scenes)} scenes")
    columns = "product_id string, url string, kind string, sensing_time timestamp, footprint binary"
    rows = one_task_each(spark.createDataFrame(scenes, columns), "product_id").mapInArrow(work, _TASK).persist()
    failed = {row["scene"]: row["failed"] for row in rows.where("failed IS NOT NULL").select("scene", "failed").collect()}
    found = conform(rows.where("failed IS NULL AND iceberg_id IS NOT NULL").drop("failed"), ICEBERGS).persist()
    done = ", ".join(sql_text(scene[0]) for scene in scenes if scene[0] not in failed)

    def write() -> None:
        found.write.format("delta").mode("overwrite").option("replaceWhere", f"scene IN ({done})").save(jvm_url(settings.icebergs))

    if done:
        retry_conflicts(write, "writing icebergs")
    summary = _summarise(found.toPandas(), settings, len(scenes), failed)
    for frame in (found, rows):
        frame.unpersist()
    if len(failed) > settings.max_failed_share * max(len(scenes), 1):
        raise TooManyFailuresError(f"{len(failed)} of {len(scenes)} scenes failed; failed_reasons says why", summary)
    return summary


def _scenes(spark: SparkSession, settings: IcebergSettings) -> list[tuple[Any, ...]]:
    rows = current_scenes(spark, settings.products, settings.scenes)
    columns = ("product_id", "url", "kind", "sensing_time", "footprint")
    return [tuple(row) for row in rows.select(*columns).orderBy("product_id").collect()]


def files_by_scene(settings: IcebergSettings, scenes: list[tuple[Any, ...]]) -> dict[str, list[tuple[str, str, str | None]]]:
    """Scene -> source, file and CRS of what was drawn on it: the scene nearest to the time in a file's name, within `max_gap_s`.

    Args:
        settings: Of the job.
        scenes: product_id, url, kind, sensing_time, footprint.
    """
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    for source in settings.drawn:
        for url in list_ice_files(source):
            when = time_of(source, url)
            if when is None:
                continue  # of another kind: points and outlines may lie side by side
            gaps = [(abs((scene[3] - when.replace(tzinfo=None)).total_seconds()), scene[0]) for scene in scenes]
            gap, name = min(gaps, default=(np.inf, ""))
            if gap <= source.max_gap_s:
                found.setdefault(name, []).append((source.name, url, source.crs))
    return found


def _guarded(scene: Row, files: list[tuple[str, str, str | None]], settings: IcebergSettings) -> list[Row]:
    empty: Row = dict.fromkeys(_ARROW.names)
    try:
        return call_within(settings.scene_seconds, scene["product_id"], _of_scene, scene, files, settings) or [empty]
    except EESparkError as error:
        return [{**empty, "scene": scene["product_id"], "failed": f"{type(error).__name__}: {error}"}]


def _of_scene(scene: Row, files: list[tuple[str, str, str | None]], settings: IcebergSettings) -> list[Row]:
    (outline,) = to_polar([shapely.from_wkb(bytes(scene["footprint"]))], "EPSG:4326", settings.crs)
    options = CfarOptions(
        settings.guard_px, settings.ring_px, settings.false_alarms, settings.looks, 10 ** (settings.least_db / 10), settings.least_px
    )
    with open_scene(Candidate(scene["product_id"], scene["url"], scene["kind"])) as opened:
        found = detect(opened, settings.band, read_land(settings.land, settings.crs, outline), settings.crs, options)
    rows, places = _rows(scene, DETECTED, found, settings.crs), np.column_stack([found.x, found.y])
    for source, url, crs in files:
        drawn = read_drawn(url, crs, settings.crs, settings.scratch)
        drawn = some_of(drawn, shapely.contains_xy(outline, drawn.x, drawn.y))
        partners = match_points(places, np.column_stack([drawn.x, drawn.y]), settings.match_m)
        own = _rows(scene, source, drawn, settings.crs)
        for place, partner in enumerate(partners):
            if partner >= 0:
                own[partner]["partner"] = rows[place]["iceberg_id"]
                # Points and outlines of the same iceberg are two sources: the first is told.
                rows[place]["partner"] = rows[place]["partner"] or own[partner]["iceberg_id"]
        rows += own
    return rows


def _rows(scene: Row, source: str, bergs: Bergs, crs: str) -> list[Row]:
    name, when = scene["product_id"], scene["sensing_time"]
    told = zip(shapely.to_wkb(bergs.shapes), bergs.x, bergs.y, bergs.area_m2, bergs.contrast_db, strict=True)
    return [
        {
            "iceberg_id": f"{source}:{name}:{number}", "source": source, "scene": name, "observed": when, "geometry": shape,
            "crs": crs, "x": float(x), "y": float(y), "area_m2": None if np.isnan(area) else float(area),
            "contrast_db": None if np.isnan(contrast) else float(contrast), "partner": None, "failed": None,
        }
        for number, (shape, x, y, area, contrast) in enumerate(told)
    ]  # fmt: skip


def _summarise(table: Any, settings: IcebergSettings, scenes: int, failed: dict[str, str]) -> dict[str, Any]:
    """Precision: detected ones with a drawn partner, of the scenes that were drawn on. Recall: drawn ones that were detected."""
    detected = table[table["source"] == DETECTED]
    summary: dict[str, Any] = {"scenes": scenes, "scenes_failed": len(failed), "detected": len(detected), "drawn": {}}
    for source in settings.drawn:
        own = table[table["source"] == source.name]
        seen = detected[detected["scene"].isin(own["scene"])]
        hits = int(own["partner"].notna().sum())
        summary["drawn"][source.name] = {
            "icebergs": len(own), "scenes": int(own["scene"].nunique()), "detected": hits,
            "recall": hits / len(own) if len(own) else None, "precision": hits / len(seen) if len(seen) else None,
        }  # fmt: skip
        logger.info("detect_icebergs: %s: %s", source.name, summary["drawn"][source.name])
    for name, reason in failed.items():
        logger.warning("detect_icebergs: %s: %s", name, reason)
    return {**summary, "failed_reasons": failed, "table": settings.icebergs}
