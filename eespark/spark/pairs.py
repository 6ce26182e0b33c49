"""Pairs of a SAR scene and an optical product that see the same ground within some hours, for the analyst who labels one by the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import EESparkError
from eespark.io.guard import call_within
from eespark.io.members import Candidate
from eespark.io.pair_look import overlap_grid, write_pair
from eespark.io.sar_scene import open_scene
from eespark.io.storage import join_url
from eespark.job import JobSettings
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.schema import PRODUCTS
from eespark.schema_polar import PAIRS
from eespark.settings import Share, Url
from eespark.spark.tables import conform, ensure_table, jvm_url, open_table, retry_conflicts
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)

_OUTLINED: Final = (
    "product_id string, mission string, level string, sensing_time timestamp, url string, kind string, "
    "bands map<string,string>, outline binary"
)
_LOOK: Final = "key string, quicklook string, reason string"
_LOOK_ARROW: Final = pa.schema([("key", pa.string()), ("quicklook", pa.string()), ("reason", pa.string())])


class PairSettings(JobSettings):
    """Settings of `find_pairs`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    pairs: Annotated[Url, Field(description="Delta table to write, anew each time")]
    hours: Annotated[float, Field(gt=0, description="h between scene and product at most")] = 6.0
    min_overlap_share: Annotated[Share, Field(description="share of the scene that the product must see")] = 0.05
    max_cloud_share: Annotated[Share, Field(description="products with more cloud, where it is known, are left out")] = 0.8
    crs: Annotated[str, Field(description="polar CRS that both are brought to")] = POLAR_CRS
    drift_m_per_h: Annotated[float, Field(ge=0, description="m an hour that ice may move: 0.2 m/s is 720")] = 720.0
    warn_drift_m: Annotated[float, Field(ge=0, description="m that ice may have moved between the two, above which a pair is marked")] = (
        500.0
    )
    quicklooks: Annotated[Url | None, Field(description="folder of PNGs of the pairs; null for none")] = None
    most_quicklooks: Annotated[int, Field(ge=0, description="PNGs of the pairs with the least gaps")] = 50
    quicklook_px: Annotated[int, Field(ge=64, le=4096, description="px; longest side of each half")] = 700
    pair_seconds: Annotated[float, Field(gt=0, description="s after which a PNG is given up")] = 600.0


def find_pairs(spark: SparkSession, settings: PairSettings) -> dict[str, Any]:
    """Find the pairs, write the table and the quick looks; counts of the summary."""
    ensure_table(spark, settings.pairs, PAIRS)
    products = open_table(spark, settings.products, PRODUCTS).where("status = 'current' AND footprint IS NOT NULL")
    products = products.where(F.coalesce("cloud_share", F.lit(0.0)) <= settings.max_cloud_share)
    outlined = _outlined(products, settings.crs).persist()
    spark.sparkContext.setJobDescription("find_pairs: join")
    pairs = _join(outlined, settings).persist()
    looks = _quicklooks(spark, pairs, outlined, settings) if settings.quicklooks is not None else []
    told = spark.createDataFrame([(one["key"], one["quicklook"]) for one in looks], "_key string, quicklook string")
    whole = pairs.drop("quicklook").join(F.broadcast(told), F.concat_ws("|", "scene", "product_id") == F.col("_key"), "left")
    table = conform(whole, PAIRS).persist()
    retry_conflicts(lambda: table.write.format("delta").mode("overwrite").save(jvm_url(settings.pairs)), "writing pairs")
    failed = {one["key"]: one["reason"] for one in looks if one["reason"]}
    for key, reason in failed.items():
        logger.warning("find_pairs: no quick look of %s: %s", key, reason)
    by_mission = {
        row["mission"]: int(row["n"]) for row in table.groupBy("mission").agg(F.count("*").alias("n")).orderBy("mission").collect()
    }
    row = table.agg(
        F.count("*").alias("pairs"), F.countDistinct("scene").alias("scenes"), F.sum(F.col("drifted").cast("int")).alias("drifted")
    ).head()
    for frame in (table, pairs, outlined):
        frame.unpersist()
    summary = {"pairs": row["pairs"], "scenes": row["scenes"], "may_have_drifted": int(row["drifted"] or 0), "by_mission": by_mission}
    logger.info("find_pairs: %s", summary)
    return {**summary, "quicklooks": len(looks) - len(failed), "failed_quicklooks": failed, "table": settings.pairs}


def _outlined(products: DataFrame, crs: str) -> DataFrame:
    """The products with their outlines (WKB) in a polar CRS."""

    def outline(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            shapes = to_polar(shapely.from_wkb(batch["footprint"].to_numpy()), "EPSG:4326", crs)
            yield batch.drop(columns="footprint").assign(outline=list(shapely.to_wkb(np.asarray(shapes, dtype=object))))

    columns = ("product_id", "mission", "level", "sensing_time", "url", "kind", "bands", "footprint")
    return products.select(*columns).mapInPandas(outline, _OUTLINED)


def _join(outlined: DataFrame, settings: PairSettings) -> DataFrame:
    shape = F.expr("ST_GeomFromWKB(outline)")
    scenes = outlined.where("level = 'GRD'").withColumn("_shape", shape).alias("s")
    optical = outlined.where("level <> 'GRD'").withColumn("_shape", shape).alias("o")
    near = scenes.join(optical, F.expr("ST_Intersects(s._shape, o._shape)"), "inner")
    gap_h = (F.unix_timestamp("o.sensing_time") - F.unix_timestamp("s.sensing_time")) / 3600.0
    common = F.expr("ST_Intersection(s._shape, o._shape)")
    found = near.where(F.abs(gap_h) <= settings.hours).select(
        F.col("s.product_id").alias("scene"), F.col("o.product_id").alias("product_id"), F.col("o.mission").alias("mission"),
        gap_h.alias("gap_h"), common.alias("_common"), F.expr("ST_Area(s._shape)").alias("_scene_m2"),
        F.expr("ST_Area(o._shape)").alias("_product_m2"),
    )  # fmt: skip
    area, drift = F.expr("ST_Area(_common)"), F.abs("gap_h") * settings.drift_m_per_h
    found = found.withColumn("overlap_share", area / F.col("_scene_m2")).withColumn("product_share", area / F.col("_product_m2"))
    found = found.where(F.col("overlap_share") >= settings.min_overlap_share)
    found = found.withColumn("drift_m", drift).withColumn("drifted", drift > settings.warn_drift_m).withColumn("crs", F.lit(settings.crs))
    return found.withColumn("overlap", F.expr("ST_AsBinary(_common)")).drop("_common", "_scene_m2", "_product_m2")


def _quicklooks(spark: SparkSession, pairs: DataFrame, outlined: DataFrame, settings: PairSettings) -> list[dict[str, Any]]:
    """What became of the quick looks of the pairs with the least gaps, one task each."""
    scenes = outlined.select(F.col("product_id").alias("scene"), F.col("url").alias("scene_url"), F.col("kind").alias("scene_kind"))
    products = outlined.select("product_id", F.col("bands").alias("optical"))
    chosen = pairs.orderBy(F.abs("gap_h"), "scene", "product_id").limit(settings.most_quicklooks)
    rows = chosen.join(scenes, "scene").join(products, "product_id")
    keyed = rows.select(F.concat_ws("|", "scene", "product_id").alias("key"), "scene", "scene_url", "scene_kind", "optical", "overlap")

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                yield pa.RecordBatch.from_pylist([_look(row, settings)], schema=_LOOK_ARROW)

    spark.sparkContext.setJobDescription("find_pairs: quick looks")
    return [row.asDict() for row in one_task_each(keyed, "key").mapInArrow(look, _LOOK).collect()]


def _look(row: dict[str, Any], settings: PairSettings) -> dict[str, Any]:
    url = join_url(str(settings.quicklooks), row["key"].replace("|", "--") + ".png")
    try:
        call_within(settings.pair_seconds, row["key"], _write_look, row, url, settings)
    except EESparkError as error:
        return {"key": row["key"], "quicklook": None, "reason": f"{type(error).__name__}: {error}"}
    return {"key": row["key"], "quicklook": url, "reason": None}


def _write_look(row: dict[str, Any], url: str, settings: PairSettings) -> float:
    grid = overlap_grid(shapely.from_wkb(bytes(row["overlap"])), settings.crs, settings.quicklook_px)
    with open_scene(Candidate(row["scene"], row["scene_url"], row["scene_kind"])) as scene:
        return write_pair(url, scene, dict(row["optical"]), grid)
