"""Parts of a training set as Parquet: rows in an order that a seed sets, one row group a file, counted for Petastorm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from eespark.io.parquet_sets import finish_part
from eespark.io.storage import join_url
from eespark.schema import SPLITS, Table
from eespark.spark.contents import sum_of_hashes
from eespark.spark.tables import jvm_url
from eespark.spark.tasks import one_partition_each

_FEW_A_GROUP: Final = 32


def with_order(rows: DataFrame, seed: int, key: str) -> DataFrame:
    """The rows with `_order`, a hash that shuffles them."""
    return rows.withColumn("_order", F.xxhash64(F.lit(seed), F.col(key)))


def write_parts(rows: DataFrame, table: Table, building: str, rows_per_group: int, min_row_groups: int) -> dict[str, Any]:
    """Write the parts of a set; of each its rows, rows_by_class, files, row_groups and row_group_rows.

    Args:
        rows: Columns of the table, split and `_order`; persisted, for they are read more than once.
        table: Columns to write.
        building: Folder of the set.
        rows_per_group: Of a row group.
        min_row_groups: Of each part at least, while there are rows.
    """
    rows.sparkSession.sparkContext.setJobDescription("write the parts of the training set")
    counts = {row["split"]: int(row["n"]) for row in rows.groupBy("split").agg(F.count("*").alias("n")).collect()}
    parts = {}
    for split in (s for s in SPLITS if s in counts):
        groups = max(math.ceil(counts[split] / rows_per_group), min(min_row_groups, counts[split]))
        url, own = join_url(building, split), rows.where(F.col("split") == split)
        part = _grouped(own, counts[split], groups, table.names[0])
        part = one_partition_each(part, "_group", groups).sortWithinPartitions("_order").select(*table.names)
        # One row group a file: what Petastorm shuffles and shards.
        part.write.option("parquet.block.size", 1 << 30).parquet(jvm_url(url))
        by_class = own.groupBy("class_id").agg(F.count("*").alias("n")).collect()
        parts[split] = {"rows": counts[split], "rows_by_class": {str(r["class_id"]): int(r["n"]) for r in by_class}, **finish_part(url)}
    return parts


def content_hash(spark: SparkSession, table: Table, building: str, parts: Iterable[str]) -> str:
    """A hash of all rows of all parts, whatever their order."""
    hashed = sum_of_hashes(F.xxhash64(*table.names))
    total = sum(int(spark.read.parquet(jvm_url(join_url(building, part))).agg(hashed).head()[0]) for part in parts)
    return f"{total % 2**64:016x}"


def _grouped(part: DataFrame, count: int, groups: int, key: str) -> DataFrame:
    """The rows with `_group`, the number of their row group: by their hash, or one in turn where chance would leave groups empty."""
    number = F.col("_order")
    if count < _FEW_A_GROUP * groups:
        number = F.row_number().over(Window.orderBy("_order", key))
    return part.withColumn("_group", F.pmod(number, F.lit(groups)))
