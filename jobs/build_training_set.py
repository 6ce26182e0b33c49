"""Build a training set: series by sample, statistics of train, Parquet with a manifest."""

from __future__ import annotations

from eespark.spark.dataset import BuildSettings, build_training_set
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("build_training_set", BuildSettings, build_training_set)
