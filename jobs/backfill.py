"""Read the products of some days again into a sample set's observations."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.upkeep import BackfillSettings, backfill

if __name__ == "__main__":
    run_spark_job("backfill", BackfillSettings, backfill)
