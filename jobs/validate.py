"""Validate a bundle on parts that it never saw: disjoint areas, unseen tiles, LUCAS points."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.validation import ValidateSettings, validate

if __name__ == "__main__":
    run_spark_job("validate", ValidateSettings, validate)
