"""Settings of the synthetic archive."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import Field, model_validator

from eespark.job import JobSettings
from eespark.settings import Share, Url


class ArchiveSettings(JobSettings):
    """What the archive is made of; two archives with equal settings are equal."""

    output: Annotated[Url, Field(description="local folder that will hold archive/, labels/ and truth/; it appears whole or not at all")]
    seed: Annotated[int, Field(ge=0, description="of everything that is drawn")]
    size_px: Annotated[
        int, Field(ge=64, le=10_980, multiple_of=2, description="px at 10 m of each tile's crop; 10980 is the whole true tile")
    ] = 768
    jp2_block_px: Annotated[
        tuple[int, int], Field(description="px of the internal JP2 tiles at 10 m and at 20 m; the agency's are 1024 and 640")
    ] = (256, 256)
    first_date: Annotated[date, Field(description="first day of the crop year")] = date(2017, 9, 1)
    last_date: Annotated[date, Field(description="last day of the crop year")] = date(2018, 8, 31)
    dates_per_tile: Annotated[int, Field(ge=3, le=73, description="dates of each tile; the cloudiest are left out first")] = 28
    baseline_change: Annotated[date, Field(description="sensing date from which products carry baseline 04.00, before it 02.14")] = date(
        2018, 3, 15
    )
    parcel_median_ha: Annotated[float, Field(gt=0.1, le=20, description="ha; median size of the parcels")] = 1.2
    wrong_share: Annotated[Share, Field(description="share of declared parcels whose declared class is not the true one")] = 0.05
    lucas_spacing_m: Annotated[float, Field(ge=50, description="m between survey points; the real survey's grid is 2000")] = 250.0
    faults: Annotated[bool, Field(description="plant the faults: duplicate, halves, truncated, missing, empty, zip, L1C")] = True
    workers: Annotated[int, Field(ge=1, description="processes that render and encode products")] = 2

    @model_validator(mode="after")
    def _check_dates(self) -> Self:
        if (self.last_date - self.first_date).days < 15:
            raise ValueError("last_date must lie at least 15 days after first_date: every tile needs three dates of its orbit")
        if not 16 <= min(self.jp2_block_px) <= max(self.jp2_block_px) <= 4096:
            raise ValueError("jp2_block_px must lie between 16 and 4096")
        return self
