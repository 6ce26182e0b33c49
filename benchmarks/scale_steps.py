"""Steps that are timed one by one, with what the processes of the session hold during each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.processes import heap_kept_mb, peak_mb, reset_peak, spark_executors, spark_workers
from benchmarks.timing import timed
from eespark.schema import LABELS, PRODUCTS, Table
from eespark.spark.blocks import block_table, label_blocks, tile_grids
from eespark.spark.tables import conform, ensure_table, open_table

T = TypeVar("T")


class Steps:
    """Steps of one session.

    Attributes:
        spark: Session, whose executors are processes.
        told: Step -> seconds, heap that the driver's JVM keeps after it, peaks of an executor's JVM and of a Python worker (MB).
    """

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.told: dict[str, dict[str, Any]] = {}
        self._python_peak = 0.0

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Do a step; what it gave. Its jobs have its name as their group in the event log."""
        self.spark.sparkContext.setJobGroup(name, name)
        for pid in (os.getpid(), *spark_executors(), *spark_workers()):
            reset_peak(pid)
        seconds, found = timed(work)
        peaks = {"executor_peak_mb": spark_executors(), "worker_peak_mb": spark_workers()}
        self._python_peak = max(self._python_peak, peak_mb(os.getpid()))
        self.told[name] = {
            "seconds": round(seconds, 1),
            **{key: round(max(map(peak_mb, pids), default=0.0)) for key, pids in peaks.items()},
            "jvm_kept_mb": round(heap_kept_mb(self.spark)),
        }
        return found

    def write(self, name: str, rows: DataFrame, table: Table, url: str) -> None:
        """Write rows into a table as a step."""
        ensure_table(self.spark, url, table)
        self.run(name, lambda: conform(rows, table).write.format("delta").mode("append").save(url))

    def join(self, urls: Mapping[str, str], block_px: int) -> int:
        """Pairs of labels and blocks of all tiles, as `draw_samples` makes them."""
        labels = open_table(self.spark, urls["labels"], LABELS).where("usable")
        blocks = block_table(self.spark, tile_grids(open_table(self.spark, urls["products"], PRODUCTS), "L2A", None), block_px)
        pairs = label_blocks(labels.select("label_id", "class_id", "geometry", F.col("tile").alias("home")), blocks)
        # Every pair goes with its polygon where its block is burnt, as in the draw; kept, for a count alone would leave the polygons.
        moved = pairs.repartition("tile", "block_row", "block_col").persist(StorageLevel.DISK_ONLY)
        count = moved.count()
        moved.unpersist()
        return int(count)

    def python_peak_mb(self) -> int:
        """Most that the driver's Python held in a step."""
        return round(self._python_peak)
