"""Read the observations of a sample set from every current product of its tiles that was not read yet."""

from __future__ import annotations

from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.observations import extract_series
from eespark.spark.plans import plan_series
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("extract_series", ExtractSettings, extract_series, plan=plan_series)
