"""The catalog: an archive's products, scanned where they changed, superseded where a newer baseline exists."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import EESparkError, FormatError, MissingError, TooManyFailuresError
from eespark.io.archive import ScanOptions, fingerprint, list_archive, scan_product
from eespark.io.members import Candidate
from eespark.io.stac_catalog import write_collection
from eespark.job import JobSettings
from eespark.schema import PRODUCTS
from eespark.settings import Share, Url
from eespark.spark.session import slots
from eespark.spark.tables import conform, ensure_table, open_table, table_schema, upsert
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)


class ScanSettings(JobSettings):
    """Settings of `scan_archive`."""

    options: ClassVar[Mapping[str, str]] = {"stac": "DIR"}

    archive: Annotated[Url, Field(description="folder that holds SAFE folders, zips or STAC items")]
    products: Annotated[Url, Field(description="Delta table of the catalog")]
    check_sizes: Annotated[bool, Field(description="compare file sizes with manifest.safe")] = True
    check_pixels: Annotated[bool, Field(description="decode the last tile of every band")] = True
    retry_quarantined: Annotated[bool, Field(description="look again at quarantined products whose files did not change")] = True
    max_failed_share: Annotated[Share, Field(description="share of quarantined products above which the job fails")] = 0.5
    stac: Annotated[Url | None, Field(description="folder to write a STAC collection to")] = None


def scan_archive(spark: SparkSession, settings: ScanSettings) -> dict[str, Any]:
    """Bring the catalog up to date with the archive; the counts of the summary.

    Raises:
        MissingError: The archive holds no product.
        TooManyFailuresError: More than `max_failed_share` of its products are quarantined.
    """
    ensure_table(spark, settings.products, PRODUCTS)
    known = open_table(spark, settings.products, PRODUCTS)
    spark.sparkContext.setJobDescription("scan_archive: read new and changed products")
    candidates = _list_candidates(spark, settings.archive)
    options = ScanOptions(settings.check_sizes, settings.check_pixels)
    # Kept: every read of it would decode again, and the statuses below need it twice.
    scanned = _scan(spark, candidates, known, options, settings.retry_quarantined).persist()
    changed = scanned.count()
    spark.sparkContext.setJobDescription("scan_archive: statuses, MERGE")
    rest = known.join(scanned.select("product_id"), "product_id", "left_anti")
    rest = _mark_absent(rest, candidates, settings.archive)
    everything = settle(doubt_offsets(scanned.unionByName(conform(rest, PRODUCTS))))
    updates = _only_changes(everything, known).persist()
    updated = updates.count()
    if updated:
        upsert(spark, updates, settings.products, PRODUCTS)
    summary = _summarise(open_table(spark, settings.products, PRODUCTS), settings, changed, updated)
    if settings.stac is not None:
        current = open_table(spark, settings.products, PRODUCTS).where("status = 'current' AND level <> 'QUICKLOOK'").orderBy("product_id")
        summary["stac_items"] = write_collection(settings.stac, (row.asDict() for row in current.toLocalIterator()))
    updates.unpersist()
    scanned.unpersist()
    _limit_failures(summary, settings.max_failed_share)
    return summary


def settle(products: DataFrame) -> DataFrame:
    """The same rows with their status settled: of products of one ground and one sensing, the newest baseline is current.

    Two products are of one sensing when their datastrips start within 2 s of each other (the identifier's S..., which reprocessing
    keeps), or when they were sensed within a minute and share most of their footprint. Halves of a tile-date do neither.
    N9999 (processed outside the agency) never wins.
    """
    start = F.to_timestamp(F.regexp_extract("datastrip", r"_S(\d{8}T\d{6})", 1), "yyyyMMdd'T'HHmmss")
    agency = (F.col("baseline") != "99.99").cast("int")
    kind = F.when(F.col("kind") == "safe", 2).when(F.col("kind") == "zip", 1).otherwise(0)
    readable = products.where("status <> 'quarantined'").select(
        "mission", "level", "tile", "product_id", "sensing_time",
        F.to_date("sensing_time").alias("day"),
        F.coalesce(start, F.col("sensing_time")).alias("strip"),
        F.expr("ST_GeomFromWKB(footprint)").alias("ground"),
        F.struct(agency, "baseline", kind, "product_id").alias("order"),
    )  # fmt: skip
    same_strip = "abs(unix_timestamp(a.strip) - unix_timestamp(b.strip)) <= 2"
    shared = "ST_Area(ST_Intersection(a.ground, b.ground)) > 0.5 * ST_Area(ST_Union(a.ground, b.ground))"
    same_ground = f"abs(unix_timestamp(a.sensing_time) - unix_timestamp(b.sensing_time)) <= 60 AND {shared}"
    # Scenes of Sentinel-1 have no tile.
    keys = " AND ".join([*(f"a.{key} = b.{key}" for key in ("mission", "level", "day")), "a.tile <=> b.tile"])
    beaten = readable.alias("a").join(readable.alias("b"), F.expr(f"{keys} AND a.order < b.order"), "inner")
    beaten = beaten.where(F.expr(f"({same_strip}) OR ({same_ground})"))
    winners = beaten.groupBy("a.product_id").agg(F.max_by(F.col("b.product_id"), F.col("b.order")).alias("_winner"))
    joined = products.join(winners, "product_id", "left")
    kept = F.col("status") == "quarantined"
    settled = F.when(F.col("_winner").isNotNull(), "superseded").otherwise("current")
    told = F.when(F.col("_winner").isNotNull(), F.concat(F.lit("newer: "), F.col("_winner")))
    return conform(
        joined.withColumn("reason", F.when(kept, F.col("reason")).otherwise(told)).withColumn(
            "status", F.when(kept, F.col("status")).otherwise(settled)
        ),
        PRODUCTS,
    )


def doubt_offsets(products: DataFrame) -> DataFrame:
    """The same rows, STAC items whose radiometric offset cannot be right quarantined.

    Archives of COGs may have subtracted the offset already, and what they say of it is wrong at times (Element84/earth-search issues 66
    and 71). The darkest clear ground of a tile is nearly the same on every date, so a jump of about 0.1, the offset itself, gives it away;
    snow and haze jump otherwise. Told only where five items of the tile can be compared.
    """
    readable = products.where("status <> 'quarantined' AND dark_reflectance IS NOT NULL AND coalesce(cloud_share, 0) < 0.5")
    usual = readable.groupBy("tile").agg(F.expr("percentile(dark_reflectance, 0.5)").alias("_usual"), F.count("*").alias("_n"))
    jump = F.col("dark_reflectance") - F.col("_usual")
    doubtful = (F.col("status") != "quarantined") & (F.col("_n") >= 5) & F.abs(jump).between(0.07, 0.13)
    text = "FormatError: radiometric offset doubtful: darkest clear ground %.3f, usual in the tile %.3f; correct the item's offset"
    told = F.format_string(text, F.col("dark_reflectance"), F.col("_usual"))
    joined = products.join(F.broadcast(usual), "tile", "left").withColumn("_doubtful", F.coalesce(doubtful, F.lit(False)))
    marked = joined.withColumn("reason", F.when(F.col("_doubtful"), told).otherwise(F.col("reason")))
    return conform(marked.withColumn("status", F.when(F.col("_doubtful"), "quarantined").otherwise(F.col("status"))), PRODUCTS)


def _list_candidates(spark: SparkSession, archive: str) -> DataFrame:
    found = [(c.product_id, c.url, c.kind) for c in list_archive(archive)]
    if not found:
        raise _nothing_in(archive)
    twice = (
        sorted({p for p in (f[0] for f in found) if sum(1 for f in found if f[0] == p) > 1})
        if len({f[0] for f in found}) < len(found)
        else []
    )
    if twice:
        logger.warning("%d product(s) lie in the archive twice, the first found is taken: %s", len(twice), ", ".join(twice[:5]))
    logger.info("scan_archive: %d products in %s", len(found), archive)
    unique = {f[0]: f for f in reversed(found)}
    return spark.createDataFrame(sorted(unique.values()), "product_id string, url string, kind string")


def _scan(spark: SparkSession, candidates: DataFrame, known: DataFrame, options: ScanOptions, retry: bool) -> DataFrame:
    seen = known.select("product_id", F.col("fingerprint").alias("seen"), F.col("status").alias("seen_status"))
    rows = candidates.join(F.broadcast(seen), "product_id", "left")

    def scan(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for row in batch.itertuples(index=False):
                done = _scan_one(row, options, retry)
                if done is not None:
                    yield pd.DataFrame([done], columns=list(PRODUCTS.names)).astype({"relative_orbit": "Int32"})

    return one_task_each(rows, "product_id", 8 * slots(spark)).mapInPandas(scan, table_schema(PRODUCTS))


def _scan_one(row: Any, options: ScanOptions, retry: bool) -> dict[str, Any] | None:
    """One row of `products`, or None where the product is as it was when last seen."""
    candidate = Candidate(row.product_id, row.url, row.kind)
    empty = dict.fromkeys(PRODUCTS.names)
    common = {"product_id": row.product_id, "url": row.url, "kind": row.kind, "ingested_at": datetime.now(UTC)}
    # What stands where not even the files can be listed (a server that fails); no product has this fingerprint, so it is read again.
    common |= {"size_bytes": 0, "modified": datetime.fromtimestamp(0, UTC), "fingerprint": "unread"}
    try:
        found, size, modified = fingerprint(candidate)
        if found == row.seen and not (retry and row.seen_status == "quarantined"):
            return None
        common |= {"size_bytes": size, "modified": modified, "fingerprint": found}
        return {**empty, **scan_product(candidate, options), **common, "status": "current"}
    except (EESparkError, OSError, ValueError) as error:
        return {**empty, **common, "status": "quarantined", "reason": f"{type(error).__name__}: {error}"}


def _mark_absent(rest: DataFrame, candidates: DataFrame, archive: str) -> DataFrame:
    """Products of this archive that are no longer in it are quarantined; what was read from them is then retracted."""
    here = candidates.select("product_id", F.lit(True).alias("_here"))
    gone = F.col("_here").isNull() & F.col("url").startswith(archive)
    joined = rest.join(here, "product_id", "left")
    return joined.withColumn("status", F.when(gone, "quarantined").otherwise(F.col("status"))).withColumn(
        "reason", F.when(gone, "MissingError: no longer in the archive").otherwise(F.col("reason"))
    )


def _only_changes(everything: DataFrame, known: DataFrame) -> DataFrame:
    old = known.select("product_id", *(F.col(c).alias(f"_{c}") for c in ("fingerprint", "status", "reason")))
    same = (
        F.col("fingerprint").eqNullSafe(F.col("_fingerprint"))
        & F.col("status").eqNullSafe(F.col("_status"))
        & F.col("reason").eqNullSafe(F.col("_reason"))
    )
    return conform(everything.join(old, "product_id", "left").where(~F.coalesce(same, F.lit(False))), PRODUCTS)


def _summarise(products: DataFrame, settings: ScanSettings, changed: int, updated: int) -> dict[str, Any]:
    counts = {r["status"]: int(r["n"]) for r in products.groupBy("status").agg(F.count("*").alias("n")).collect()}
    faults = products.where("status = 'quarantined'").select("product_id", "reason").orderBy("product_id").limit(100).collect()
    for fault in faults:
        logger.warning("quarantined %s: %s", fault["product_id"], fault["reason"])
    logger.info("scan_archive: %d read, %d rows changed; now %s", changed, updated, counts)
    summary = {"read": changed, "rows_changed": updated, "products": sum(counts.values())}
    quarantined = {r["product_id"]: r["reason"] for r in faults}
    return {
        **summary,
        **{s: counts.get(s, 0) for s in ("current", "superseded")},
        "quarantined": counts.get("quarantined", 0),
        "quarantined_reasons": quarantined,
        "table": settings.products,
    }


def _limit_failures(summary: dict[str, Any], limit: float) -> None:
    share = summary["quarantined"] / max(summary["products"], 1)
    if share > limit:
        raise TooManyFailuresError(
            f"{summary['quarantined']} of {summary['products']} products are quarantined, more than max_failed_share={limit}; see why",
            summary,
        )


def check_scan(settings: ScanSettings) -> None:
    """Checks of `--check` that need no Spark.

    Raises:
        FormatError: The catalog or the STAC collection would lie inside the archive.
        MissingError: There is no archive, or no product in it.
    """
    for name, url in (("products", settings.products), ("stac", settings.stac)):
        if url is not None and f"{url}/".startswith(settings.archive.rstrip("/") + "/"):
            raise FormatError(f"{name} ({url}) must not lie inside the archive ({settings.archive}); archives stay as they are")
    if next(list_archive(settings.archive), None) is None:
        raise _nothing_in(settings.archive)


def _nothing_in(archive: str) -> MissingError:
    return MissingError(f"needed Sentinel products (.SAFE folders, S1*.zip, S2*.zip, S2*.json) in {archive}, found none; check the path")
