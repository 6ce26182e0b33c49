"""Settings of `import_labels`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eespark.io.lucas import LucasSettings
from eespark.io.vectors import SourceSettings
from eespark.job import JobSettings
from eespark.settings import Share, Url


class ImportSettings(JobSettings):
    """Settings of `import_labels`."""

    labels: Annotated[Url, Field(description="Delta table to write")]
    products: Annotated[Url, Field(description="Delta table of the catalog: which tiles there are")]
    polygons: Annotated[list[SourceSettings], Field(description="sources of declared parcels")] = []
    points: Annotated[list[LucasSettings], Field(description="LUCAS micro-data")] = []
    legend: Annotated[str, Field(description="legend of eespark/legends")] = "timesen2crop"
    adopted_squares: Annotated[dict[str, str], Field(description="square without a tile of its own -> tile that owns its ground")] = {}
    crop_year_start: Annotated[
        str, Field(pattern=r"^\d{2}-\d{2}$", description="month-day of the first day, in the year before the declaration's")
    ] = "09-01"
    erode_m: Annotated[float, Field(ge=0, description="m by which parcels will be drawn in when sampled")] = 5.0
    min_eroded_m2: Annotated[float, Field(ge=0, description="m2 that must be left then; one 20 m cell is 400")] = 400.0
    max_overlap_share: Annotated[Share, Field(description="share of the smaller of two declarations above which both are unusable")] = 0.05
    rows_per_task: Annotated[int, Field(ge=1, description="records that one task reads")] = 20_000
    scratch: Annotated[Url, Field(description="local folder where zipped sources are unpacked")] = "/tmp/eespark-scratch"  # noqa: S108
