"""Draw a sample set from label polygons: where to look, split without leaks, frozen as a version."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.draw_settings import DrawSettings
from eespark.spark.samples import draw_samples
from eespark.spark.session import make_session


def work(settings: DrawSettings) -> dict[str, Any]:
    """Draw, audit, write."""
    spark = make_session("draw_samples")
    try:
        return draw_samples(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("draw_samples", DrawSettings, work)
