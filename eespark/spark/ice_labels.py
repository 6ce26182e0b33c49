"""Labels of ice: polygons read on executors, one file a task, and joined with the scenes that they were drawn on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import EESparkError, FormatError, TooManyFailuresError
from eespark.ice_legend import load_ice_legend
from eespark.io.ice_grid import read_grid_file
from eespark.io.ice_labels import IceSource, list_ice_files, read_ice_file
from eespark.io.members import Candidate
from eespark.job import JobSettings
from eespark.polar_geometry import POLAR_CRS
from eespark.schema import PRODUCTS
from eespark.schema_polar import ICE_LABELS
from eespark.settings import Share, Url
from eespark.spark.ice_scenes import carry_fast, match_scenes, scene_outlines
from eespark.spark.scenes import current_scenes
from eespark.spark.tables import conform, ensure_table, jvm_url, open_table, retry_conflicts, sql_text, table_schema
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
    drawn = match_scenes(read.where("label_id IS NOT NULL"), scenes, settings.sources, settings.min_overlap_share)
    labels = conform(drawn, ICE_LABELS).persist()
    if settings.carry_fast_days:
        labels = labels.unionByName(conform(carry_fast(labels, scenes, settings.carry_fast_days), ICE_LABELS)).persist()
    names = ", ".join(sql_text(source.name) for source in settings.sources)

    def write() -> None:
        labels.write.format("delta").mode("overwrite").option("replaceWhere", f"source IN ({names})").save(jvm_url(settings.labels))

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
    # Tiles of scenes are told by their numbers of row and column: their ground follows from the scene.
    gridded = any(source.kind == "grid" for source in settings.sources)
    candidates = _candidates(spark, settings.products) if gridded else {}
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
                    found = list(_records(source, str(row["url"]), crs, scratch, candidates))
                except (EESparkError, OSError) as error:
                    found = [{"source": source.name, "source_key": row["url"], "reason": f"{type(error).__name__}: {error}"}]
                yield _frame(found, columns)

    return one_task_each(rows, "key").mapInPandas(read, table_schema(_nullable()))


def _records(source: IceSource, url: str, crs: str, scratch: str, candidates: dict[str, Candidate]) -> Iterator[dict[str, Any]]:
    return read_grid_file(source, url, crs, candidates) if source.kind == "grid" else read_ice_file(source, url, crs, scratch)


def _candidates(spark: SparkSession, products: str) -> dict[str, Candidate]:
    rows = current_scenes(spark, products).select("product_id", "url", "kind").collect()
    return {row["product_id"]: Candidate(row["product_id"], row["url"], row["kind"]) for row in rows}


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
    regional = F.col("source").isin([source.name for source in settings.sources if source.whole_chart])
    copies = labels.where("carried_from IS NOT NULL").groupBy(regional.alias("cut")).agg(F.count("*").alias("n")).collect()
    told = {row["cut"]: int(row["n"]) for row in copies}
    scenes = labels.where("usable").select("scene").distinct().count()
    counts = {"scenes": scenes, "carried": told.get(False, 0), "cut_to_scenes": told.get(True, 0)}
    return {"sources": sources, **counts, "failed_files": failed, "table": settings.labels}


def check_ice_import(settings: IceImportSettings) -> None:
    """Checks of `--check` that need no Spark.

    Raises:
        MissingError: A source has no file, or its legend does not exist.
    """
    for source in settings.sources:
        list_ice_files(source)
        load_ice_legend(source.legend)
