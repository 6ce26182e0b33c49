"""The forecast of an extraction, as a job of its own: its plan, on so many cores, by rates that may be set."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from pydantic import Field
from pyspark.sql import SparkSession

from eespark.job import JobSettings
from eespark.plan import FIXED_S
from eespark.settings import Url, load_settings
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.plans import DECODED_MPX, plan_series

logger = logging.getLogger(__name__)


class ForecastSettings(JobSettings):
    """Settings of `forecast`."""

    series: Annotated[Url, Field(description="settings file of extract_series")]
    cores: Annotated[int, Field(ge=1, description="task slots that it will run on")] = 2
    jp2_px: Annotated[
        tuple[int, int] | None, Field(description="px of the JPEG 2000 tiles at 10 m and 20 m; null: read from a product of the archive")
    ] = None
    mpx_per_core_s: Annotated[float, Field(gt=0, description="million pixels decoded a second and core, where no ledger tells it")] = (
        DECODED_MPX
    )
    fixed_s: Annotated[float, Field(ge=0, description="s a job takes besides its tasks")] = FIXED_S


def forecast(spark: SparkSession, settings: ForecastSettings) -> dict[str, Any]:
    """What `extract_series` would read by a settings file if it ran now, cloud not counted: tiles under cloud are not decoded.

    Raises:
        MissingError: No catalog, or no samples.
    """
    extract = load_settings(settings.series, ExtractSettings)
    found = plan_series(spark, extract, settings.jp2_px, settings.mpx_per_core_s).told(settings.cores, settings.fixed_s)
    logger.info(
        "forecast: %d tasks, %.1f core-hours, %.0f s on %d cores, %.1f GB to read", found["tasks"], found["core_hours"], found["seconds"],
        settings.cores, found["gb_to_read"],
    )  # fmt: skip
    return found
