"""Find icebergs in HV at a constant rate of false alarms, and tell how they agree with those that analysts drew."""

from __future__ import annotations

from eespark.spark.icebergs import IcebergSettings, detect_icebergs
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("detect_icebergs", IcebergSettings, detect_icebergs)
