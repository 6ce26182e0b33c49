"""Observations of a sample set: one product is one task, each is read once, and what is committed is committed once."""

from __future__ import annotations

import hashlib
import io
import logging
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import MissingError
from eespark.io.storage import join_url, url_exists, write_bytes
from eespark.job import JobSettings
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.settings import Share, Url
from eespark.spark.extract_tasks import OUTPUT, product_reader
from eespark.spark.ledger import Ledger, Planned, limit_failures, summarise
from eespark.spark.tables import open_table
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)


class ExtractSettings(JobSettings):
    """Settings of `extract_series`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    samples: Annotated[Url, Field(description="Delta table of the samples")]
    observations: Annotated[Url, Field(description="Delta table to write")]
    extractions: Annotated[Url, Field(description="Delta table of what was read: the ledger")]
    packs: Annotated[Url, Field(description="folder for the sample points of each tile, read by every task")]
    sample_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version")]
    level: Annotated[str, Field(pattern="^(L1C|L2A)$", description="processing level; never mixed in a set")] = "L2A"
    products_per_commit: Annotated[int, Field(ge=1, description="products in one transaction")] = 64
    product_seconds: Annotated[float, Field(gt=0, description="s after which a product is given up")] = 1800.0
    retry_failed: Annotated[bool, Field(description="read again products that failed and did not change")] = True
    max_failed_share: Annotated[Share, Field(description="share of failed products above which the job fails")] = 0.1


def extract_series(spark: SparkSession, settings: ExtractSettings) -> dict[str, Any]:
    """Read every current product of the sample set's tiles that was not read yet; the counts of the summary.

    Raises:
        MissingError: The sample set has no samples.
        TooManyFailuresError: More than `max_failed_share` of the products failed; the others are written.
    """
    name, retry = settings.sample_set, settings.retry_failed
    books = Ledger(spark, "extract_series", settings.extractions, settings.observations, OBSERVATIONS, "sample_id", name, retry)
    packs = _pack_samples(spark, settings)
    samples = sum(pack.samples for pack in packs.values())
    # Kept: every chunk takes its rows from it, and they must be those that were planned.
    products = wanted_products(spark, settings, list(packs)).persist()
    books.open()
    retracted = books.retract(products)
    missing, wanted = books.missing(products), products.count()
    logger.info("extract_series: %d products to read of %d, %d samples in %d tiles", len(missing), wanted, samples, len(packs))
    ledger = books.read_all(missing, settings.products_per_commit, lambda chunk: _read_chunk(settings, products, chunk, packs))
    products.unpersist()
    summary = summarise(ledger)
    summary["observations"] = summary.pop("rows")
    summary |= {"table": settings.observations, "products_wanted": wanted, "products_retracted": retracted}
    summary["samples_by_tile"] = {tile: pack.samples for tile, pack in packs.items()}
    limit_failures(summary, settings.max_failed_share)
    return summary


class _Pack(NamedTuple):
    url: str
    samples: int


def _pack_samples(spark: SparkSession, settings: ExtractSettings) -> dict[str, _Pack]:
    """Write each tile's points as one file that all its tasks read; by tile."""
    spark.sparkContext.setJobDescription("extract_series: points of each tile")
    samples = open_table(spark, settings.samples, SAMPLES).where(F.col("sample_set") == settings.sample_set)
    folder = join_url(settings.packs, settings.sample_set)

    def pack(rows: pd.DataFrame) -> pd.DataFrame:
        tile, rows = str(rows["tile"].iloc[0]), rows.sort_values("sample_id")
        columns = {name: rows[name].to_numpy() for name in ("sample_id", "x", "y")}
        # Named by its content: what an older draw of the same name left behind is never read.
        content = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()[:16]
        url = join_url(folder, f"{tile}-{content}.npz")
        if not url_exists(url):
            buffer = io.BytesIO()
            np.savez(buffer, **columns)
            write_bytes(url, buffer.getvalue())
        return pd.DataFrame({"tile": [tile], "url": [url], "samples": [len(rows)]})

    points = samples.select("tile", "sample_id", "x", "y")
    packed = points.groupBy("tile").applyInPandas(pack, "tile string, url string, samples bigint").collect()
    if not packed:
        raise MissingError(f"needed samples of the set {settings.sample_set} in {settings.samples}, found none; run draw_samples first")
    return {row["tile"]: _Pack(row["url"], int(row["samples"])) for row in sorted(packed)}


def wanted_products(spark: SparkSession, settings: ExtractSettings, tiles: list[str]) -> DataFrame:
    """The current products of some tiles within the crop year of the sample set."""
    season = open_table(spark, settings.samples, SAMPLES).where(F.col("sample_set") == settings.sample_set)
    season = season.agg(F.min("valid_from").alias("_from"), F.date_add(F.max("valid_to"), 1).alias("_to"))
    products = open_table(spark, settings.products, PRODUCTS).where((F.col("status") == "current") & (F.col("level") == settings.level))
    inside = (F.col("sensing_time") >= F.col("_from")) & (F.col("sensing_time") < F.col("_to"))
    return products.where(F.col("tile").isin(tiles)).crossJoin(F.broadcast(season)).where(inside).drop("_from", "_to")


def _read_chunk(settings: ExtractSettings, products: DataFrame, chunk: list[Planned], packs: dict[str, _Pack]) -> DataFrame:
    """What reads the products of a chunk: rows of observations, and the ledger's."""
    attempts = {product: attempt for product, _, attempt in chunk}
    rows = products.where(F.col("product_id").isin(list(attempts)))
    urls = {tile: pack.url for tile, pack in packs.items()}
    reader = product_reader(settings.sample_set, settings.product_seconds, attempts, urls)
    columns = ("product_id", "fingerprint", "tile", "sensing_time", "bands", "offsets", "scale", "transform", "shape")
    return one_task_each(rows.select(*columns), "product_id").mapInArrow(reader, OUTPUT)
