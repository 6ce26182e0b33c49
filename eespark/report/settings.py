"""Settings of `report`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from eespark.job import JobSettings
from eespark.settings import Url


class ReportSettings(JobSettings):
    """Settings of `report`: what it reads, all of which may be absent, and the page that it writes."""

    title: Annotated[str, Field(min_length=1, description="of the page")] = "Crop map: how it was made and how good it is"
    summaries: Annotated[Url, Field(description="folder of the jobs' JSON summaries")]
    sets: Annotated[Url, Field(description="folder of the sample sets' manifests")]
    training_set: Annotated[Url, Field(description="folder of the training set")]
    bundle: Annotated[Url, Field(description="folder of the trained bundle")]
    validation: Annotated[Url, Field(description="folder that validate wrote")]
    maps: Annotated[Url, Field(description="folder of the maps, one folder a tile")]
    truth: Annotated[Url | None, Field(description="folder of rasters of the true class, their names holding the tile; null for none")] = (
        None
    )
    first_day: Annotated[date | None, Field(description="first day of the crop year, to name months; null to count days")] = None
    remarks: Annotated[list[str], Field(description="sentences for the summary, such as why one model does better")] = []
    map_px: Annotated[int, Field(ge=64, le=4096, description="px; longest side of a map's picture")] = 640
    most_tiles: Annotated[int, Field(ge=1, description="tiles whose maps are shown")] = 6
    most_rows: Annotated[int, Field(ge=1, description="rows of each part that are read for sample map and class series")] = 20_000
    output: Annotated[Url, Field(description="HTML file to write")]


class IceReportSettings(JobSettings):
    """Settings of `report_ice`: what it reads, all of which may be absent, and the page that it writes."""

    title: Annotated[str, Field(min_length=1, description="of the page")] = "Sea-ice map: how it was made and how good it is"
    summaries: Annotated[Url, Field(description="folder of the jobs' JSON summaries")]
    training_set: Annotated[Url, Field(description="folder of the training set of patches")]
    validation: Annotated[Url, Field(description="folder that validate_ice wrote")]
    maps: Annotated[Url, Field(description="folder of the maps, one folder a scene")]
    map_px: Annotated[int, Field(ge=64, le=4096, description="px; longest side of a map's picture")] = 560
    most_scenes: Annotated[int, Field(ge=1, description="scenes whose maps are shown")] = 4
    output: Annotated[Url, Field(description="HTML file to write")]
