"""A night: scan the archive, read what is new into every set that is kept up to date, write a page on how it went."""

from __future__ import annotations

from eespark.spark.nightly import NightlySettings, check_nightly, nightly
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("nightly", NightlySettings, nightly, check_nightly)
