"""Build a training set: series by sample, statistics of train, Parquet with a manifest."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.dataset import BuildSettings, build_training_set
from eespark.spark.session import make_session


def work(settings: BuildSettings) -> dict[str, Any]:
    """Build under a temporary name, publish whole."""
    spark = make_session("build_training_set")
    try:
        return build_training_set(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("build_training_set", BuildSettings, work)
