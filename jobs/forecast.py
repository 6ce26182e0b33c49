"""Tell what an extraction will cost before it runs: tasks, core-hours, gigabytes, time."""

from __future__ import annotations

from eespark.spark.forecast import ForecastSettings, forecast
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("forecast", ForecastSettings, forecast)
