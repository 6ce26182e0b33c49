"""Map tiles with a trained bundle: class, probability, clear dates and novelty as COGs."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.session import make_session


def work(settings: MapSettings) -> dict[str, Any]:
    """Predict the blocks that are missing, then put the tiles together."""
    spark = make_session("predict_map")
    try:
        return predict_map(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("predict_map", MapSettings, work)
