"""How work is cut into tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

_MAX_TASKS: Final = 20_000
_BATCH_PROPERTY: Final = "spark.sql.execution.arrow.maxRecordsPerBatch"


def one_task_each(rows: DataFrame, key: str, max_tasks: int = _MAX_TASKS) -> DataFrame:
    """The rows spread by a unique key so that each is a task of its own (up to `max_tasks`, then evenly).

    Hashing keys into as many partitions leaves some empty and some with three rows; ranges leave one in each. The rows are
    read twice (Spark samples the keys first), so pass small rows and join what is large afterwards.
    """
    return rows.repartitionByRange(max(1, min(rows.count(), max_tasks)), key)


def one_partition_each(rows: DataFrame, group: str, groups: int) -> DataFrame:
    """The rows in `groups` partitions, each holding one whole group.

    Spark places rows by the hash of their key, so that a plain `repartition` of the group numbers leaves partitions empty and
    others with several groups, and ranges are guessed from a sample. Here each group has a key whose hash is its partition.

    Args:
        rows: With the column `group`.
        group: Column of whole numbers from 0 to `groups` - 1.
        groups: How many there are.
    """
    # Of n (ln n + 12) keys, all n partitions are met but for a chance of e^-12; the loop is for that.
    candidates = int(groups * (math.log(groups) + 12)) + 1
    while True:
        keys = rows.sparkSession.range(candidates).groupBy(F.pmod(F.hash("id"), F.lit(groups)).alias("place")).agg(F.min("id").alias("key"))
        found = {int(row["place"]): int(row["key"]) for row in keys.collect()}
        if len(found) == groups:
            break
        candidates *= 2
    key = F.element_at(F.lit([found[place] for place in range(groups)]), F.col(group).cast("int") + 1)
    return rows.repartition(groups, key.cast("bigint"))


@contextmanager
def arrow_batches(spark: SparkSession, rows: int) -> Iterator[None]:
    """Batches of so many rows between Spark and Python in what is planned within, for wide rows: batches bound a task's memory."""
    before = spark.conf.get(_BATCH_PROPERTY, None)
    spark.conf.set(_BATCH_PROPERTY, rows)
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(_BATCH_PROPERTY)
        else:
            spark.conf.set(_BATCH_PROPERTY, before)
