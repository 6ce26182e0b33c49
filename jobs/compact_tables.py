"""Join small files of tables, and remove what no version of some weeks and no training set needs."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.upkeep import CompactSettings, compact_tables

if __name__ == "__main__":
    run_spark_job("compact_tables", CompactSettings, compact_tables)
