"""Read the observations of a sample set from every current product of its tiles that was not read yet."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.observations import ExtractSettings, extract_series
from eespark.spark.session import make_session


def work(settings: ExtractSettings) -> dict[str, Any]:
    """Extract in chunks, each committed once."""
    spark = make_session("extract_series")
    try:
        return extract_series(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("extract_series", ExtractSettings, work)
