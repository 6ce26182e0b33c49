"""What was read for a set, and what is still to be read: chunks that are committed once, however often a driver dies.

Contents (observations, patches) and the ledger are two tables. A chunk is a transaction on each, named by what it holds; the contents' own
commit carries the ledger's rows too, so that a ledger that was lost, or whose driver died between the two, is mended from it
(docs/decisions/0005).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import TooManyFailuresError
from eespark.schema import EXTRACTIONS, Table
from eespark.spark.tables import append_once, commits, conform, delete_rows, ensure_table, open_table, sql_text, update_rows

logger = logging.getLogger(__name__)

Planned = tuple[str, str, int]
"""Product, fingerprint, number of the attempt."""
_KEYS: Final = ("product_id", "fingerprint")
_TOLD: Final = ("product_id", "fingerprint", "attempt", "tile", "status", "rows", "reason", "seconds", "pixels_decoded")


@dataclass(frozen=True)
class Ledger:
    """The ledger of one set.

    Attributes:
        spark: The session.
        job: Name of the job, for messages.
        url: Of the table `extractions`.
        contents: Of the table that is filled.
        table: Its schema; its column `sample_set` names the set.
        row_key: Column that is null in the rows that are the ledger's.
        name: Of the set, name@version.
        retry_failed: Whether products that failed and did not change are read again.
    """

    spark: SparkSession
    job: str
    url: str
    contents: str
    table: Table
    row_key: str
    name: str
    retry_failed: bool

    def open(self) -> None:
        """Make the tables where they are absent, and add to the ledger what the contents' own commits tell and it lacks."""
        ensure_table(self.spark, self.contents, self.table)
        ensure_table(self.spark, self.url, EXTRACTIONS)
        known = {row["chunk"] for row in open_table(self.spark, self.url, EXTRACTIONS).select("chunk").distinct().collect()}
        told = [commit for commit in commits(self.spark, self.contents) if commit.get("sample_set") == self.name]
        lacking = [commit for commit in told if commit["transaction"] not in known]
        if not lacking:
            return
        # What was retracted since its commit is not there any more, and must not be told as done.
        contents = open_table(self.spark, self.contents, self.table).where(F.col("sample_set") == self.name)
        there = {(row["product_id"], row["fingerprint"]) for row in contents.select("product_id", "fingerprint").distinct().collect()}
        for commit in lacking:
            logger.info("%s: the ledger lacked the commit %s and has it now", self.job, commit["transaction"])
            rows = [
                {**row, "status": "retracted"} if row["rows"] and (row["product_id"], row["fingerprint"]) not in there else row
                for row in commit["ledger"]
            ]
            self._write(rows, commit["transaction"])

    def retract(self, products: DataFrame) -> int:
        """Delete what was read from products that are no longer current or whose files changed; how many products.

        The ledger keeps their rows, as `retracted`: a product that is current again is read as another attempt, thus under a name of
        transaction that was not used.

        Args:
            products: Those that are wanted now: product_id, fingerprint.
        """
        gone = self._retract(self._done().join(products.select(*_KEYS), list(_KEYS), "left_anti"))
        if gone:
            logger.info("%s: retracted what was read from %d products that are no longer current", self.job, gone)
        return gone

    def forget(self, products: DataFrame) -> int:
        """Delete what was read from some products, so that they are read again; how many there were.

        Args:
            products: product_id, fingerprint.
        """
        return self._retract(self._done().join(products.select(*_KEYS), list(_KEYS), "left_semi"))

    def _retract(self, rows: DataFrame) -> int:
        gone = [(row["product_id"], row["fingerprint"]) for row in rows.select(*_KEYS).distinct().collect()]
        for first in range(0, len(gone), 500):
            pairs = ", ".join(f"({sql_text(p)}, {sql_text(f)})" for p, f in gone[first : first + 500])
            condition = f"sample_set = {sql_text(self.name)} AND (product_id, fingerprint) IN ({pairs})"
            delete_rows(self.spark, self.contents, condition)
            update_rows(self.spark, self.url, condition, {"status": "'retracted'"})
        return len(gone)

    def missing(self, products: DataFrame) -> list[Planned]:
        """What is to be read, in the order of tiles and time.

        Args:
            products: Those that are wanted: product_id, fingerprint, tile, sensing_time.
        """
        ordered = left_to_read(products, self._rows(), self.retry_failed).orderBy("tile", "sensing_time", "product_id")
        rows = ordered.select("product_id", "fingerprint", F.coalesce("tried", F.lit(0)).alias("tried")).collect()
        return [(row["product_id"], row["fingerprint"], row["tried"] + 1) for row in rows]

    def read_all(self, missing: Sequence[Planned], per_commit: int, read: Callable[[list[Planned]], DataFrame]) -> list[dict[str, Any]]:
        """Read and commit what is missing, chunk by chunk; the ledger's rows.

        Args:
            missing: Of `missing`.
            per_commit: Products of a chunk.
            read: Gives what reads a chunk, as `commit` takes it.
        """
        rows: list[dict[str, Any]] = []
        for first in range(0, len(missing), per_commit):
            planned = missing[first : first + per_commit]
            done = self.done(planned)
            chunk = [one for one in planned if one[0] not in done]
            if chunk:
                rows += self.commit(read(chunk), chunk)
            logger.info("%s: %d of %d products", self.job, first + len(planned), len(missing))
        return rows

    def done(self, planned: Sequence[Planned]) -> set[str]:
        """Names of the planned products that the ledger has as done: another driver, with other chunks, was first."""
        names = [product for product, _, _ in planned]
        rows = self._rows().where(F.col("product_id").isin(names) & (F.col("status") == "done"))
        found = {(row["product_id"], row["fingerprint"]) for row in rows.select("product_id", "fingerprint").collect()}
        return {product for product, fingerprint, _ in planned if (product, fingerprint) in found}

    def commit(self, read: DataFrame, chunk: Sequence[Planned]) -> list[dict[str, Any]]:
        """Run what reads a chunk and write what comes out, once; the ledger's rows.

        Args:
            read: Rows of the contents, and behind them one row a product whose `row_key` is null: the ledger's.
            chunk: What is read.
        """
        transaction = f"{self.name}:{hashlib.sha256(repr(list(chunk)).encode()).hexdigest()[:32]}"
        self.spark.sparkContext.setJobDescription(f"{self.job}: {len(chunk)} products from {chunk[0][0]}")
        kept = read.persist(StorageLevel.DISK_ONLY)
        try:
            told = kept.where(F.col(self.row_key).isNull()).select(*_TOLD).orderBy("product_id").collect()
            # Asked again: another driver may have come between.
            done = self.done(chunk)
            rows = [row.asDict() for row in told if row["product_id"] not in done]
            # What a product gave before it failed is not kept: it is there whole or not at all.
            left_out = [*done, *(row["product_id"] for row in rows if row["status"] == "failed")]
            contents = conform(kept.where(F.col(self.row_key).isNotNull() & ~F.col("product_id").isin(left_out)), self.table)
            append_once(contents, self.contents, transaction, {"sample_set": self.name, "ledger": rows})
        finally:
            kept.unpersist()
        self._write(rows, transaction)
        for row in rows:
            if row["status"] == "failed":
                logger.warning("%s: could not read %s: %s", self.job, row["product_id"], row["reason"])
        return rows

    def _done(self) -> DataFrame:
        return self._rows().where("status = 'done'")

    def _rows(self) -> DataFrame:
        return open_table(self.spark, self.url, EXTRACTIONS).where(F.col("sample_set") == self.name)

    def _write(self, ledger: list[dict[str, Any]], transaction: str) -> None:
        rows = [{**row, "sample_set": self.name, "chunk": transaction} for row in ledger]
        schema = ", ".join(f"{c.name} {c.dtype}" for c in EXTRACTIONS.columns)
        frame = self.spark.createDataFrame([tuple(row[name] for name in EXTRACTIONS.names) for row in rows], schema)
        append_once(conform(frame, EXTRACTIONS), self.url, transaction, {"sample_set": self.name})


def left_to_read(products: DataFrame, ledger: DataFrame, retry_failed: bool) -> DataFrame:
    """The products without what their last attempt settled, with `tried`, how often they were read; null: never.

    Args:
        products: product_id, fingerprint, and more columns that stay.
        ledger: Rows of one set.
        retry_failed: Whether products that failed and did not change are read again.
    """
    last = F.max_by("status", "attempt").alias("last")
    tried = ledger.groupBy(*_KEYS).agg(F.max("attempt").alias("tried"), last)
    settled = ["done"] if retry_failed else ["done", "failed"]
    return products.join(tried, list(_KEYS), "left").where(F.col("last").isNull() | ~F.col("last").isin(settled)).drop("last")


def summarise(ledger: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of what was read."""
    failed = [row for row in ledger if row["status"] == "failed"]
    return {
        "products_read": len(ledger) - len(failed),
        "products_failed": len(failed),
        "rows": sum(row["rows"] for row in ledger),
        "pixels_decoded": sum(row["pixels_decoded"] for row in ledger),
        "core_seconds": round(sum(row["seconds"] for row in ledger), 1),
        "failed_reasons": {row["product_id"]: row["reason"] for row in failed[:100]},
    }


def limit_failures(summary: dict[str, Any], limit: float) -> None:
    """End a job whose products failed too often.

    Raises:
        TooManyFailuresError: With the summary.
    """
    # Of all that the set wants, not of what was left to read: a nightly run that tries one broken product again must not fail by it.
    failed, wanted = summary["products_failed"], summary["products_wanted"]
    if failed > limit * wanted:
        raise TooManyFailuresError(
            f"{failed} of {wanted} products failed, more than max_failed_share={limit}; failed_reasons says why",
            summary,
        )
