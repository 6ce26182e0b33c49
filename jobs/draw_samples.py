"""Draw a sample set from label polygons: where to look, split without leaks, frozen as a version."""

from __future__ import annotations

from eespark.spark.draw_settings import DrawSettings
from eespark.spark.samples import draw_samples
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("draw_samples", DrawSettings, draw_samples)
