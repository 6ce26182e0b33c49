"""Settings of `extract_series`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eespark.job import JobSettings
from eespark.settings import Share, Url


class ExtractSettings(JobSettings):
    """Settings of `extract_series`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    samples: Annotated[Url, Field(description="Delta table of the samples")]
    observations: Annotated[Url, Field(description="Delta table to write")]
    extractions: Annotated[Url, Field(description="Delta table of what was read: the ledger")]
    packs: Annotated[Url, Field(description="folder for the sample points of each tile, read by every task")]
    sample_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version")]
    level: Annotated[str, Field(pattern="^(L1C|L2A)$", description="processing level; never mixed in a set")] = "L2A"
    carry_over: Annotated[bool, Field(description="copy what an older version of the set has observed, and read only the rest")] = True
    products_per_commit: Annotated[int, Field(ge=1, description="products in one transaction")] = 64
    product_seconds: Annotated[float, Field(gt=0, description="s after which a product is given up")] = 1800.0
    retry_failed: Annotated[bool, Field(description="read again products that failed and did not change")] = True
    max_failed_share: Annotated[Share, Field(description="share of failed products above which the job fails")] = 0.1
