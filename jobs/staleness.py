"""Tell what depends on products that were reprocessed or labels that changed; with --rebuild make just that anew."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.staleness import StalenessSettings, check_staleness, staleness

if __name__ == "__main__":
    run_spark_job("staleness", StalenessSettings, staleness, check_staleness)
