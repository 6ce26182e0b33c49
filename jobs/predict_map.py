"""Map tiles with a trained bundle: class, probability, clear dates and novelty as COGs."""

from __future__ import annotations

from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.plans import plan_maps
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("predict_map", MapSettings, predict_map, plan=plan_maps)
