"""What came in, what is set aside, how long reading took: counted in the catalog and the ledgers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.report.quality import Night, gaps_of
from eespark.schema import EXTRACTIONS, PRODUCTS
from eespark.spark.tables import open_table, table_exists


def night_of(
    spark: SparkSession, title: str, steps: Sequence[Mapping[str, Any]], tables: tuple[str, Sequence[str]], days: int, gap_days: int
) -> Night:
    """The content of a night's page; nothing of it grows with pixels, samples or products but for those that are set aside.

    Args:
        spark: Session.
        title: Of the page.
        steps: What the night did.
        tables: Catalog, and ledgers of the sets that are kept up to date.
        days: Up to the newest product, of which products are told.
        gap_days: Days without a product that are a gap.
    """
    catalog, ledgers = tables
    products = open_table(spark, catalog, PRODUCTS).withColumn("place", _place()).withColumn("day", F.to_date("sensing_time"))
    newest = products.agg(F.max("day").alias("day")).head()["day"]
    if newest is not None:
        since = F.date_sub(F.lit(newest), days - 1)
        products = products.where(F.col("day").isNull() | (F.col("day") >= since))
    counted = _by_day(products).toPandas().astype({"day": "datetime64[ns]"})
    aside = products.where("status = 'quarantined'").orderBy(F.desc("ingested_at"), "product_id")
    set_aside = aside.select("product_id", F.coalesce("place", F.lit("")).alias("place"), F.col("day").cast("string"), "reason").toPandas()
    today = pd.Timestamp.min if newest is None else pd.Timestamp(newest)
    gaps = gaps_of(counted, gap_days, today)
    return Night(title, steps, counted, set_aside.fillna(""), _times(spark, ledgers), gaps, gap_days)


def _place() -> Column:
    """The tile; of scenes, which have none, mission and track."""
    return F.coalesce("tile", F.concat_ws(" ", "mission", F.lpad(F.col("relative_orbit").cast("string"), 3, "0")))


def _by_day(products: DataFrame) -> DataFrame:
    used = F.col("status") == "current"
    return (
        products.where("day IS NOT NULL AND place IS NOT NULL AND status <> 'superseded'")
        .groupBy("place", "day")
        .agg(
            F.sum(used.cast("int")).alias("current"),
            F.sum((F.col("status") == "quarantined").cast("int")).alias("quarantined"),
            F.avg(F.when(used, F.col("cloud_share"))).alias("cloud_share"),
        )
        .orderBy("place", "day")
    )


def _times(spark: SparkSession, ledgers: Sequence[str]) -> pd.DataFrame:
    columns = ["sample_set", "place", "products", "failed", "median_s", "longest_s"]
    frames = []
    for url in sorted(set(ledgers)):
        if not table_exists(spark, url):
            continue
        rows = open_table(spark, url, EXTRACTIONS).groupBy(
            "sample_set", F.when(F.col("tile") == "", "scenes").otherwise(F.col("tile")).alias("place")
        )
        counted = rows.agg(
            F.countDistinct("product_id").alias("products"),
            F.sum((F.col("status") == "failed").cast("int")).alias("failed"),
            F.expr("percentile(seconds, 0.5)").alias("median_s"),
            F.max("seconds").alias("longest_s"),
        )
        frames.append(counted.orderBy("sample_set", "place").toPandas())
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
