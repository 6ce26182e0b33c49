"""Settings of `predict_map`."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eespark.burn import Rule
from eespark.job import JobSettings
from eespark.settings import Share, Url


class MapSettings(JobSettings):
    """Settings of `predict_map`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    bundle: Annotated[Url, Field(description="folder of the trained bundle")]
    maps: Annotated[Url, Field(description="folder to write: one folder a tile")]
    mode: Annotated[
        Literal["pixels", "parcels"], Field(description="pixels: each on its own; parcels: one prediction a declared parcel")
    ] = "pixels"
    tiles: Annotated[list[str] | None, Field(description="tiles to map; all of the catalog by default")] = None
    level: Annotated[Literal["L1C", "L2A"], Field(description="processing level to map from; that of the training set")] = "L2A"
    first_day: Annotated[date, Field(description="first day of the crop year")]
    last_day: Annotated[date, Field(description="last day of the crop year")]
    max_cloud_share: Annotated[Share, Field(description="products with more cloud are left out")] = 0.8
    min_clear: Annotated[int, Field(ge=1, description="clear dates that a pixel or parcel needs for a class")] = 5
    block_px: Annotated[
        int,
        Field(
            ge=64,
            multiple_of=2,
            description="px; block that one task predicts; of smaller ones than the bands' tiles, tiles are decoded often",
        ),
    ] = 1024
    labels: Annotated[Url | None, Field(description="Delta table of labels, where only declared parcels are to be mapped")] = None
    mask_sources: Annotated[list[str], Field(description="label sources whose parcels are mapped")] = []
    purity: Annotated[Rule, Field(description="of a parcel's pixels, as in draw_samples: cell or centre")] = "cell"
    erode_m: Annotated[float, Field(ge=0, description="m by which parcels are drawn in for their pure pixels")] = 5.0
    parcel_clear_share: Annotated[Share, Field(description="a date counts for a parcel where this share of its pixels is clear")] = 0.5
    reach_px: Annotated[
        int, Field(ge=0, multiple_of=2, description="px beyond its block that a parcel is read; what lies farther does not count")
    ] = 256
    shift_priors: Annotated[bool, Field(description="estimate the class shares of each tile, and predict under them")] = False
    prior_blocks: Annotated[int, Field(ge=1, description="blocks of a tile from which its class shares are estimated")] = 8
    prior_samples: Annotated[int, Field(ge=100, le=20_000, description="pixels or parcels in all of these blocks")] = 2_000
    max_prior_move: Annotated[
        Share, Field(description="shares farther (total variation) from the mean of the network's probabilities are not used")
    ] = 0.25
    seed: Annotated[int, Field(description="of the hash that chooses these blocks")] = 1
    block_seconds: Annotated[float, Field(gt=0, description="s after which a block is given up")] = 3600.0
    max_failed_share: Annotated[Share, Field(description="share of failed blocks above which the job fails")] = 0.05

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.mode == "parcels" and self.labels is None:
            raise ValueError("mode parcels needs labels, the Delta table that holds the parcels")
        if self.labels is not None and not self.mask_sources:
            raise ValueError("labels needs mask_sources, the sources whose parcels are mapped")
        if self.last_day <= self.first_day:
            raise ValueError(f"last_day must lie after first_day, found {self.first_day} to {self.last_day}")
        return self
