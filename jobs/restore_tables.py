"""Set tables back to what they were at a time."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.upkeep import RestoreSettings, restore_tables

if __name__ == "__main__":
    run_spark_job("restore_tables", RestoreSettings, restore_tables)
