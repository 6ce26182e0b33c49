"""Settings of `predict_map`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from eespark.job import JobSettings
from eespark.settings import Share, Url


class MapSettings(JobSettings):
    """Settings of `predict_map`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    bundle: Annotated[Url, Field(description="folder of the trained bundle")]
    maps: Annotated[Url, Field(description="folder to write: one folder a tile")]
    tiles: Annotated[list[str] | None, Field(description="tiles to map; all of the catalog by default")] = None
    first_day: Annotated[date, Field(description="first day of the crop year")]
    last_day: Annotated[date, Field(description="last day of the crop year")]
    max_cloud_share: Annotated[Share, Field(description="products with more cloud are left out")] = 0.8
    min_clear: Annotated[int, Field(ge=1, description="clear dates that a pixel needs for a class")] = 5
    block_px: Annotated[int, Field(ge=64, description="px; block that one task predicts")] = 512
    labels: Annotated[Url | None, Field(description="Delta table of labels, where only declared parcels are to be mapped")] = None
    mask_sources: Annotated[list[str], Field(description="label sources whose parcels are mapped")] = []
    block_seconds: Annotated[float, Field(gt=0, description="s after which a block is given up")] = 3600.0
    max_failed_share: Annotated[Share, Field(description="share of failed blocks above which the job fails")] = 0.05
