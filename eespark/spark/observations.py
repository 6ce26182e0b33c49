"""Observations of a sample set: one product is one task, each is read once, and what is committed is committed once."""

from __future__ import annotations

import hashlib
import io
import logging
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import MissingError
from eespark.io.storage import join_url, url_exists, write_bytes
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.spark.carry_over import CarryOver
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.extract_tasks import OUTPUT, Pack, product_reader
from eespark.spark.ledger import Ledger, Planned, limit_failures, summarise
from eespark.spark.tables import open_table
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)


def extract_series(spark: SparkSession, settings: ExtractSettings) -> dict[str, Any]:
    """Read every current product of the sample set's tiles that was not read yet; the counts of the summary.

    What an older version of the set observed is copied, and only the other samples are read.

    Raises:
        MissingError: The sample set has no samples.
        TooManyFailuresError: More than `max_failed_share` of the products failed; the others are written.
    """
    name, retry = settings.sample_set, settings.retry_failed
    books = Ledger(spark, "extract_series", settings.extractions, settings.observations, OBSERVATIONS, "sample_id", name, retry)
    carry = CarryOver.of(spark, settings)
    packs = _pack_samples(spark, settings, carry)
    # Kept: every chunk takes its rows from it, and they must be those that were planned.
    products = wanted_products(spark, settings, list(packs)).persist()
    books.open()
    retracted = books.retract(products)
    missing, wanted = books.missing(products), products.count()
    known = carry.products(missing)
    logger.info(
        "extract_series: %d products to read of %d, %d samples in %d tiles",
        len(missing), wanted, sum(pack.samples for pack in packs.values()), len(packs),
    )  # fmt: skip
    if known:
        logger.info("extract_series: %d of them have observations of %s, which are copied", len(known), carry.older)
    reading = _Reading(carry, products, packs, known)
    ledger = books.read_all(missing, settings.products_per_commit, reading.chunk)
    products.unpersist()
    summary = _summarise(ledger, reading)
    summary |= {"table": settings.observations, "products_wanted": wanted, "products_retracted": retracted}
    summary["samples_by_tile"] = {tile: pack.samples for tile, pack in packs.items()}
    limit_failures(summary, settings.max_failed_share)
    return summary


class _Reading(NamedTuple):
    """What all chunks of a run share.

    Attributes:
        carry: From which version is copied.
        products: Catalog's rows of those that are wanted.
        packs: By tile.
        known: Products that the older version observed.
    """

    carry: CarryOver
    products: DataFrame
    packs: dict[str, Pack]
    known: frozenset[str]

    def chunk(self, chunk: list[Planned]) -> DataFrame:
        """What reads the products of a chunk: rows of observations, and the ledger's."""
        settings = self.carry.settings
        attempts = {product: attempt for product, _, attempt in chunk}
        rows = self.products.where(F.col("product_id").isin(list(attempts)))
        known = sorted(self.known & set(attempts))
        reader = product_reader(settings.sample_set, settings.product_seconds, attempts, self.packs, frozenset(known))
        columns = ("product_id", "fingerprint", "tile", "sensing_time", "bands", "offsets", "scale", "transform", "shape")
        read = one_task_each(rows.select(*columns), "product_id").mapInArrow(reader, OUTPUT)
        if not known:
            return read
        copied = self.carry.observations(rows.where(F.col("product_id").isin(known)), self.carry.samples())
        return read.unionByName(copied, allowMissingColumns=True)


def _summarise(ledger: list[dict[str, Any]], reading: _Reading) -> dict[str, Any]:
    """Counts of what was read, and of what was copied: products of which nothing was left to read, observations."""
    summary = summarise(ledger)
    copied = [reading.packs[row["tile"]] for row in ledger if row["status"] == "done" and row["product_id"] in reading.known]
    whole = sum(pack.rest == 0 for pack in copied)
    summary["products_read"] -= whole
    return summary | {
        "observations": summary.pop("rows"), "products_copied": whole, "observations_copied": sum(p.samples - p.rest for p in copied),
    }  # fmt: skip


def _pack_samples(spark: SparkSession, settings: ExtractSettings, carry: CarryOver) -> dict[str, Pack]:
    """Write each tile's points as one file that all its tasks read, and those that no older version has as another; by tile."""
    spark.sparkContext.setJobDescription("extract_series: points of each tile")
    folder = join_url(settings.packs, settings.sample_set)

    def pack(rows: pd.DataFrame) -> pd.DataFrame:
        tile, rows = str(rows["tile"].iloc[0]), rows.sort_values("sample_id")
        rest = rows[~rows["known"]]
        url = _write_pack(folder, tile, rows)
        rest_url = url if len(rest) == len(rows) else _write_pack(folder, tile, rest)
        return pd.DataFrame({"tile": [tile], "url": [url], "samples": [len(rows)], "rest_url": [rest_url], "rest": [len(rest)]})

    points = carry.samples().select("tile", "sample_id", "x", "y", "known")
    schema = "tile string, url string, samples bigint, rest_url string, rest bigint"
    packed = points.groupBy("tile").applyInPandas(pack, schema).collect()
    if not packed:
        raise MissingError(f"needed samples of the set {settings.sample_set} in {settings.samples}, found none; run draw_samples first")
    return {row["tile"]: Pack(*row[1:]) for row in sorted(packed)}


def _write_pack(folder: str, tile: str, rows: pd.DataFrame) -> str:
    """Write points unless they are there; the URL."""
    columns = {name: rows[name].to_numpy() for name in ("sample_id", "x", "y")}
    # Named by its content: what an older draw of the same name left behind is never read.
    content = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()[:16]
    url = join_url(folder, f"{tile}-{content}.npz")
    if not url_exists(url):
        buffer = io.BytesIO()
        np.savez(buffer, **columns)
        write_bytes(url, buffer.getvalue())
    return url


def wanted_products(spark: SparkSession, settings: ExtractSettings, tiles: list[str]) -> DataFrame:
    """The current products of some tiles within the crop year of the sample set."""
    season = open_table(spark, settings.samples, SAMPLES).where(F.col("sample_set") == settings.sample_set)
    season = season.agg(F.min("valid_from").alias("_from"), F.date_add(F.max("valid_to"), 1).alias("_to"))
    products = open_table(spark, settings.products, PRODUCTS).where((F.col("status") == "current") & (F.col("level") == settings.level))
    inside = (F.col("sensing_time") >= F.col("_from")) & (F.col("sensing_time") < F.col("_to"))
    return products.where(F.col("tile").isin(tiles)).crossJoin(F.broadcast(season)).where(inside).drop("_from", "_to")
