"""Map sea ice on scenes by a trained bundle: COGs in a polar projection, a chart and the ice edge a scene."""

from __future__ import annotations

from eespark.spark.ice_maps import IceMapSettings, predict_ice_map
from eespark.spark.plans import plan_ice_maps
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("predict_ice_map", IceMapSettings, predict_ice_map, plan=plan_ice_maps)
