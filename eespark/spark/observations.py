"""Observations of a sample set: one product is one task, each is read once, and what is committed is committed once."""

from __future__ import annotations

import hashlib
import io
import logging
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import MissingError, TooManyFailuresError
from eespark.io.storage import join_url, url_exists, write_bytes
from eespark.job import JobSettings
from eespark.schema import EXTRACTIONS, OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.settings import Share, Url
from eespark.spark.extract_tasks import OUTPUT, product_reader
from eespark.spark.tables import append_once, commits, conform, delete_rows, ensure_table, open_table, sql_text, update_rows
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)

_LEDGER: Final = ("product_id", "fingerprint", "attempt", "tile", "status", "rows", "reason", "seconds", "pixels_decoded")


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
    for url, table in ((settings.observations, OBSERVATIONS), (settings.extractions, EXTRACTIONS)):
        ensure_table(spark, url, table)
    packs = _pack_samples(spark, settings)
    samples = sum(pack.samples for pack in packs.values())
    # Kept: every chunk takes its rows from it, and they must be those that were planned.
    products = _wanted_products(spark, settings, list(packs)).persist()
    _mend_ledger(spark, settings)
    retracted = _retract(spark, settings, products)
    missing, wanted = _missing(spark, settings, products), products.count()
    logger.info("extract_series: %d products to read of %d, %d samples in %d tiles", len(missing), wanted, samples, len(packs))
    ledger: list[dict[str, Any]] = []
    for first in range(0, len(missing), settings.products_per_commit):
        planned = missing[first : first + settings.products_per_commit]
        done = _done(spark, settings, planned)
        chunk = [one for one in planned if one[0] not in done]
        if chunk:
            ledger += _extract_chunk(spark, settings, products, chunk, packs)
        logger.info("extract_series: %d of %d products", first + len(planned), len(missing))
    products.unpersist()
    summary = {**_summarise(settings, ledger), "products_wanted": wanted, "products_retracted": retracted}
    summary["samples_by_tile"] = {tile: pack.samples for tile, pack in packs.items()}
    _limit_failures(summary, settings.max_failed_share)
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


def _wanted_products(spark: SparkSession, settings: ExtractSettings, tiles: list[str]) -> DataFrame:
    season = open_table(spark, settings.samples, SAMPLES).where(F.col("sample_set") == settings.sample_set)
    season = season.agg(F.min("valid_from").alias("_from"), F.date_add(F.max("valid_to"), 1).alias("_to"))
    products = open_table(spark, settings.products, PRODUCTS).where((F.col("status") == "current") & (F.col("level") == settings.level))
    inside = (F.col("sensing_time") >= F.col("_from")) & (F.col("sensing_time") < F.col("_to"))
    return products.where(F.col("tile").isin(tiles)).crossJoin(F.broadcast(season)).where(inside).drop("_from", "_to")


def _mend_ledger(spark: SparkSession, settings: ExtractSettings) -> None:
    """Add to the ledger what the observations' own commits tell and it lacks (a driver died between the two, or it was lost)."""
    known = {row["chunk"] for row in open_table(spark, settings.extractions, EXTRACTIONS).select("chunk").distinct().collect()}
    told = [commit for commit in commits(spark, settings.observations) if commit.get("sample_set") == settings.sample_set]
    lacking = [commit for commit in told if commit["transaction"] not in known]
    if not lacking:
        return
    # What was retracted since its commit is not there any more, and must not be told as done.
    observed = open_table(spark, settings.observations, OBSERVATIONS).where(F.col("sample_set") == settings.sample_set)
    there = {(row["product_id"], row["fingerprint"]) for row in observed.select("product_id", "fingerprint").distinct().collect()}
    for commit in lacking:
        logger.info("extract_series: the ledger lacked the commit %s and has it now", commit["transaction"])
        ledger = [
            {**row, "status": "retracted"} if row["rows"] and (row["product_id"], row["fingerprint"]) not in there else row
            for row in commit["ledger"]
        ]
        _write_ledger(spark, settings, ledger, commit["transaction"])


def _retract(spark: SparkSession, settings: ExtractSettings, products: DataFrame) -> int:
    """Delete what was read from products that are no longer current or whose files changed; how many products.

    The ledger keeps their rows, as `retracted`: a product that is current again is read as another attempt, thus under a name of
    transaction that was not used.
    """
    ledger = open_table(spark, settings.extractions, EXTRACTIONS).where(F.col("sample_set") == settings.sample_set)
    stale = ledger.where("status = 'done'").join(products.select("product_id", "fingerprint"), ["product_id", "fingerprint"], "left_anti")
    gone = [(row["product_id"], row["fingerprint"]) for row in stale.select("product_id", "fingerprint").distinct().collect()]
    for first in range(0, len(gone), 500):
        pairs = ", ".join(f"({sql_text(p)}, {sql_text(f)})" for p, f in gone[first : first + 500])
        condition = f"sample_set = '{settings.sample_set}' AND (product_id, fingerprint) IN ({pairs})"
        delete_rows(spark, settings.observations, condition)
        update_rows(spark, settings.extractions, condition, {"status": "'retracted'"})
    if gone:
        logger.info("extract_series: retracted what was read from %d products that are no longer current", len(gone))
    return len(gone)


def _missing(spark: SparkSession, settings: ExtractSettings, products: DataFrame) -> list[tuple[str, str, int]]:
    """Product, fingerprint and attempt of what is to be read, in the order of tiles and time."""
    ledger = open_table(spark, settings.extractions, EXTRACTIONS).where(F.col("sample_set") == settings.sample_set)
    last = F.max_by("status", "attempt").alias("last")
    tried = ledger.groupBy("product_id", "fingerprint").agg(F.max("attempt").alias("tried"), last)
    left = products.join(tried, ["product_id", "fingerprint"], "left").where("last IS NULL OR last <> 'done'")
    if not settings.retry_failed:
        left = left.where("last IS NULL OR last <> 'failed'")
    rows = left.orderBy("tile", "sensing_time", "product_id").select(
        "product_id", "fingerprint", F.coalesce("tried", F.lit(0)).alias("tried")
    )
    return [(row["product_id"], row["fingerprint"], row["tried"] + 1) for row in rows.collect()]


def _done(spark: SparkSession, settings: ExtractSettings, planned: list[tuple[str, str, int]]) -> set[str]:
    """Names of the planned products that the ledger has as done: another driver, with other chunks, was first."""
    ledger = open_table(spark, settings.extractions, EXTRACTIONS).where(F.col("sample_set") == settings.sample_set)
    rows = ledger.where(F.col("product_id").isin([product for product, _, _ in planned]) & (F.col("status") == "done"))
    found = {(row["product_id"], row["fingerprint"]) for row in rows.select("product_id", "fingerprint").collect()}
    return {product for product, fingerprint, _ in planned if (product, fingerprint) in found}


def _extract_chunk(
    spark: SparkSession, settings: ExtractSettings, products: DataFrame, chunk: list[tuple[str, str, int]], packs: dict[str, _Pack]
) -> list[dict[str, Any]]:
    attempts = {product: attempt for product, _, attempt in chunk}
    transaction = f"{settings.sample_set}:{hashlib.sha256(repr(chunk).encode()).hexdigest()[:32]}"
    spark.sparkContext.setJobDescription(f"extract_series: {len(chunk)} products from {chunk[0][0]}")
    rows = products.where(F.col("product_id").isin(list(attempts)))
    urls = {tile: pack.url for tile, pack in packs.items()}
    reader = product_reader(settings.sample_set, settings.product_seconds, attempts, urls)
    columns = ("product_id", "fingerprint", "tile", "sensing_time", "bands", "offsets", "scale", "transform", "shape")
    extracted = one_task_each(rows.select(*columns), "product_id").mapInArrow(reader, OUTPUT)
    extracted = extracted.persist(StorageLevel.DISK_ONLY)
    try:
        told = extracted.where("sample_id IS NULL").select(*_LEDGER).orderBy("product_id").collect()
        done = _done(spark, settings, chunk)
        ledger = [row.asDict() for row in told if row["product_id"] not in done]
        observed = extracted.where(F.col("sample_id").isNotNull() & ~F.col("product_id").isin(list(done)))
        observed = conform(observed, OBSERVATIONS)
        append_once(observed, settings.observations, transaction, {"sample_set": settings.sample_set, "ledger": ledger})
    finally:
        extracted.unpersist()
    _write_ledger(spark, settings, ledger, transaction)
    for row in ledger:
        if row["status"] == "failed":
            logger.warning("could not extract %s: %s", row["product_id"], row["reason"])
    return ledger


def _write_ledger(spark: SparkSession, settings: ExtractSettings, ledger: list[dict[str, Any]], transaction: str) -> None:
    rows = [{**row, "sample_set": settings.sample_set, "chunk": transaction} for row in ledger]
    schema = ", ".join(f"{c.name} {c.dtype}" for c in EXTRACTIONS.columns)
    frame = spark.createDataFrame([tuple(row[name] for name in EXTRACTIONS.names) for row in rows], schema)
    append_once(conform(frame, EXTRACTIONS), settings.extractions, transaction, {"sample_set": settings.sample_set})


def _summarise(settings: ExtractSettings, ledger: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [row for row in ledger if row["status"] == "failed"]
    return {
        "products_read": len(ledger) - len(failed),
        "products_failed": len(failed),
        "observations": sum(row["rows"] for row in ledger),
        "pixels_decoded": sum(row["pixels_decoded"] for row in ledger),
        "core_seconds": round(sum(row["seconds"] for row in ledger), 1),
        "failed_reasons": {row["product_id"]: row["reason"] for row in failed[:100]},
        "table": settings.observations,
    }


def _limit_failures(summary: dict[str, Any], limit: float) -> None:
    # Of all that the set wants, not of what was left to read: a nightly run that tries one broken product again must not fail by it.
    failed, wanted = summary["products_failed"], summary["products_wanted"]
    if failed > limit * wanted:
        error = TooManyFailuresError(f"{failed} of {wanted} products failed, more than max_failed_share={limit}; failed_reasons says why")
        error.summary = summary  # type: ignore[attr-defined]
        raise error
