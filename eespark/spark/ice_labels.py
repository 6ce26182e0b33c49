"""Labels of ice: polygons read on executors, one file a task, and joined with the scenes that they were drawn on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import shapely
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from eespark.errors import EESparkError, FormatError, TooManyFailuresError
from eespark.ice_legend import load_ice_legend
from eespark.io.ice_labels import IceSource, list_ice_files, read_ice_file
from eespark.job import JobSettings
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.schema import PRODUCTS
from eespark.schema_polar import ICE_LABELS
from eespark.settings import Share, Url
from eespark.spark.tables import conform, ensure_table, open_table, retry_conflicts, sql_text, table_schema
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)


class IceImportSettings(JobSettings):
    """Settings of `import_ice_labels`."""

    labels: Annotated[Url, Field(description="Delta table to write")]
    products: Annotated[Url, Field(description="Delta table of the catalog: which scenes there are")]
    sources: Annotated[list[IceSource], Field(min_length=1, description="sources of polygons")]
    polar_crs: Annotated[str, Field(description="projected CRS that polygons and scenes meet in")] = POLAR_CRS
    min_overlap_share: Annotated[Share, Field(description="share of a polygon that must lie in its scene")] = 0.05
    carry_fast_days: Annotated[int, Field(ge=0, description="days over which land-fast ice is carried to other scenes; 0: never")] = 0
    max_failed_share: Annotated[Share, Field(description="share of files that cannot be read above which the job fails")] = 0.1
    scratch: Annotated[Url, Field(description="local folder where zipped sources are unpacked")] = "/tmp/eespark-scratch"  # noqa: S108


def import_ice_labels(spark: SparkSession, settings: IceImportSettings) -> dict[str, Any]:
    """Import every source whole, in the place of what was imported from it before; the counts of the summary.

    Raises:
        TooManyFailuresError: More than `max_failed_share` of the files could not be read; the others are written.
    """
    ensure_table(spark, settings.labels, ICE_LABELS)
    spark.sparkContext.setJobDescription("import_ice_labels: read, repair, place")
    read = _read_all(spark, settings).persist()
    failed = {row["source_key"]: row["reason"] for row in read.where("label_id IS NULL").select("source_key", "reason").collect()}
    spark.sparkContext.setJobDescription("import_ice_labels: scenes")
    scenes = scene_outlines(open_table(spark, settings.products, PRODUCTS), settings.polar_crs).persist()
    drawn = match_scenes(read.where("label_id IS NOT NULL"), scenes, settings)
    labels = conform(drawn, ICE_LABELS).persist()
    if settings.carry_fast_days:
        labels = labels.unionByName(conform(carry_fast(labels, scenes, settings.carry_fast_days), ICE_LABELS)).persist()
    names = ", ".join(sql_text(source.name) for source in settings.sources)

    def write() -> None:
        labels.write.format("delta").mode("overwrite").option("replaceWhere", f"source IN ({names})").save(settings.labels)

    retry_conflicts(write, "writing labels of ice")
    summary = _summarise(labels, failed, settings)
    for frame in (labels, scenes, read):
        frame.unpersist()
    files = sum(len(list_ice_files(source)) for source in settings.sources)
    if len(failed) > settings.max_failed_share * files:
        raise TooManyFailuresError(
            f"{len(failed)} of {files} files could not be read, more than max_failed_share={settings.max_failed_share}",
            summary,
        )
    return summary


def _read_all(spark: SparkSession, settings: IceImportSettings) -> DataFrame:
    """The polygons of all files; a file that cannot be read is a row without a label_id that says why."""
    tasks = []
    for source in settings.sources:
        files = list_ice_files(source)
        logger.info("import_ice_labels: %d file(s) of %s", len(files), source.name)
        tasks += [(f"{source.name}:{number:06d}", source.model_dump_json(), url) for number, url in enumerate(files)]
    names = [source.name for source in settings.sources]
    if len(set(names)) < len(names):
        raise FormatError(f"needed sources with names of their own, found {names}")
    rows = spark.createDataFrame(tasks, "key string, source string, url string")
    crs, scratch = settings.polar_crs, settings.scratch
    columns = [*ICE_LABELS.names]

    def read(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for row in batch.to_dict("records"):
                source = IceSource.model_validate_json(str(row["source"]))
                try:
                    found = list(read_ice_file(source, str(row["url"]), crs, scratch))
                except (EESparkError, OSError) as error:
                    found = [{"source": source.name, "source_key": row["url"], "reason": f"{type(error).__name__}: {error}"}]
                yield _frame(found, columns)

    return one_task_each(rows, "key").mapInPandas(read, table_schema(_nullable()))


def _nullable() -> Any:
    return replace(ICE_LABELS, columns=tuple(replace(column, nullable=True) for column in ICE_LABELS.columns))


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).reindex(columns=columns)
    whole = [column.name for column in ICE_LABELS.columns if column.dtype == "int"]
    frame[whole] = frame[whole].astype("Int32")
    frame["usable"] = frame["reason"].isna().astype("boolean")
    frame["fast"] = frame["fast"].astype("boolean")
    frame[["share", "concentration", "area_m2"]] = frame[["share", "concentration", "area_m2"]].astype("float64")
    frame["observed"] = pd.to_datetime(frame["observed"], utc=True).dt.tz_localize(None)
    return frame.astype(dict.fromkeys(("geometry", "scene", "carried_from", "reason", "poly_type"), object))


def scene_outlines(products: DataFrame, polar_crs: str) -> DataFrame:
    """Current scenes of Sentinel-1: scene, started, outline (WKB in `polar_crs`)."""

    def outline(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            shapes = to_polar(shapely.from_wkb(batch["footprint"].to_numpy()), "EPSG:4326", polar_crs)
            yield batch[["scene", "started"]].assign(outline=list(shapely.to_wkb(np.asarray(shapes, dtype=object))))

    scenes = products.where("status = 'current' AND level = 'GRD'").select(
        F.col("product_id").alias("scene"), F.col("sensing_time").alias("started"), "footprint"
    )
    return scenes.mapInPandas(outline, "scene string, started timestamp, outline binary")


def match_scenes(labels: DataFrame, scenes: DataFrame, settings: IceImportSettings) -> DataFrame:
    """The labels with the scene that each was drawn on; one without a scene is not usable, for the reason `no_scene`.

    A label that names its scene keeps it. Of the others, each takes the scene nearest in time, within `max_gap_s` of its source, that it
    lies in by `min_overlap_share`.
    """
    gaps = F.create_map(*(F.lit(one) for source in settings.sources for one in (source.name, source.max_gap_s)))
    left = labels.withColumn("_shape", F.expr("ST_GeomFromWKB(geometry)")).alias("l")
    right = F.broadcast(scenes.withColumn("_outline", F.expr("ST_GeomFromWKB(outline)"))).alias("s")
    near = left.where("geometry IS NOT NULL").join(right, F.expr("ST_Intersects(_outline, _shape)"), "inner")
    gap = F.abs(F.unix_timestamp("s.started") - F.unix_timestamp("l.observed"))
    named = F.col("l.scene").isNotNull()
    fits = F.when(named, F.col("l.scene") == F.col("s.scene")).otherwise(gap <= gaps[F.col("l.source")])
    inside = F.expr("ST_Area(ST_Intersection(_outline, _shape))") / F.col("area_m2")
    order = Window.partitionBy("label_id").orderBy(gap.asc_nulls_last(), F.desc("_inside"), "s.scene")
    found = near.where(fits).withColumn("_inside", inside).where(F.col("_inside") >= settings.min_overlap_share)
    best = found.withColumn("_rank", F.row_number().over(order)).where("_rank = 1")
    best = best.select("l.label_id", F.col("s.scene").alias("_scene"), F.col("s.started").alias("_started"))
    joined = labels.join(best, "label_id", "left")
    lost = F.col("_scene").isNull() & F.col("reason").isNull()
    return (
        joined.withColumn("reason", F.when(lost, F.lit("no_scene")).otherwise(F.col("reason")))
        .withColumn("usable", F.col("reason").isNull())
        .withColumn("scene", F.col("_scene"))
        .withColumn("observed", F.coalesce("observed", "_started"))
        .withColumn("fast", F.coalesce("fast", F.lit(False)))
        .drop("_scene", "_started")
    )


def carry_fast(labels: DataFrame, scenes: DataFrame, days: int) -> DataFrame:
    """Copies of the labels of land-fast ice for the other scenes of the same winter that see their ground, cut to those scenes.

    Land-fast ice does not move until it breaks up. A winter runs from October to June; copies are marked by `carried_from`, so that a split
    keeps them with what they came from.
    """
    # October to June, numbered by the year in which it ends; other months have none.
    winter = F.when(F.month("when") >= 10, F.year("when") + 1).when(F.month("when") <= 6, F.year("when"))
    still = labels.where("usable AND fast").withColumn("when", F.col("observed")).withColumn("_winter", winter)
    still = still.withColumn("_shape", F.expr("ST_GeomFromWKB(geometry)")).alias("l")
    seen = scenes.withColumn("when", F.col("started")).withColumn("_winter", winter)
    seen = F.broadcast(seen.withColumn("_outline", F.expr("ST_GeomFromWKB(outline)"))).alias("s")
    near = still.join(seen, F.expr("ST_Intersects(_outline, _shape)"), "inner")
    apart = F.abs(F.datediff("s.started", "l.observed"))
    near = near.where(F.expr("l._winter = s._winter AND l.scene <> s.scene")).where(apart <= days)
    cut = near.withColumn("_cut", F.expr("ST_CollectionExtract(ST_Intersection(_outline, _shape), 3)")).where("ST_Area(_cut) > 0")
    keep = [
        F.col(f"l.{name}").alias(name)
        for name in ICE_LABELS.names
        if name not in ("label_id", "geometry", "scene", "area_m2", "carried_from")
    ]
    return cut.select(
        *keep,
        F.concat(F.col("l.label_id"), F.lit("@"), F.col("s.scene")).alias("label_id"),
        F.expr("ST_AsBinary(_cut)").alias("geometry"),
        F.col("s.scene").alias("scene"),
        F.expr("ST_Area(_cut)").alias("area_m2"),
        F.col("l.label_id").alias("carried_from"),
    )


def _summarise(labels: DataFrame, failed: dict[str, str], settings: IceImportSettings) -> dict[str, Any]:
    by_reason = labels.groupBy("source", F.coalesce("reason", F.lit("usable")).alias("reason")).agg(F.count("*").alias("n")).collect()
    classes = labels.where("usable").groupBy("source", "class_id").agg(F.count("*").alias("n"), F.sum("area_m2").alias("m2")).collect()
    sources: dict[str, Any] = {source.name: {"by_reason": {}, "by_class": {}, "area_km2_by_class": {}} for source in settings.sources}
    for row in by_reason:
        sources[row["source"]]["by_reason"][row["reason"]] = int(row["n"])
    for row in classes:
        sources[row["source"]]["by_class"][str(row["class_id"])] = int(row["n"])
        sources[row["source"]]["area_km2_by_class"][str(row["class_id"])] = round(row["m2"] / 1e6, 3)
    for name, counts in sources.items():
        logger.info("import_ice_labels: %s: %s", name, dict(sorted(counts["by_reason"].items())))
    for url, reason in failed.items():
        logger.warning("import_ice_labels: %s: %s", url, reason)
    carried = labels.where("carried_from IS NOT NULL").count()
    scenes = labels.where("usable").select("scene").distinct().count()
    return {"sources": sources, "scenes": scenes, "carried": carried, "failed_files": failed, "table": settings.labels}


def check_ice_import(settings: IceImportSettings) -> None:
    """Checks of `--check` that need no Spark.

    Raises:
        MissingError: A source has no file, or its legend does not exist.
    """
    for source in settings.sources:
        list_ice_files(source)
        load_ice_legend(source.legend)
