"""Write a sample set's observations in the published layout of TimeSen2Crop: one CSV a sample."""

from __future__ import annotations

from eespark.spark.session import run_spark_job
from eespark.spark.timesen2crop import TimeSen2CropSettings, export_timesen2crop

if __name__ == "__main__":
    run_spark_job("export_timesen2crop", TimeSen2CropSettings, export_timesen2crop)
