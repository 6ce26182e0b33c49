"""Write a sample set's observations in the published layout of TimeSen2Crop: one CSV a sample."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.session import make_session
from eespark.spark.timesen2crop import TimeSen2CropSettings, export_timesen2crop


def work(settings: TimeSen2CropSettings) -> dict[str, Any]:
    """Write the files."""
    spark = make_session("export_timesen2crop")
    try:
        return export_timesen2crop(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("export_timesen2crop", TimeSen2CropSettings, work)
