"""Validate a bundle on parts that it never saw: disjoint areas, unseen tiles, LUCAS points."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.session import make_session
from eespark.spark.validation import ValidateSettings, validate


def work(settings: ValidateSettings) -> dict[str, Any]:
    """Predict, estimate, write."""
    spark = make_session("validate")
    try:
        return validate(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("validate", ValidateSettings, work)
