"""Import declared parcels and survey points: repaired, reprojected, placed in a legend, marked where they may not be used."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.label_settings import ImportSettings
from eespark.spark.labels import import_labels
from eespark.spark.session import make_session


def work(settings: ImportSettings) -> dict[str, Any]:
    """Import every source in the place of what was imported from it before."""
    spark = make_session("import_labels")
    try:
        return import_labels(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("import_labels", ImportSettings, work)
