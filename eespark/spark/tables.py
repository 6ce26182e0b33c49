"""Delta tables by their schemas: made, opened and checked, appended to once, changed by MERGE."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType, _parse_datatype_string

from eespark.errors import FormatError, MissingError
from eespark.io.storage import is_local, local_path
from eespark.schema import Table

logger = logging.getLogger(__name__)
T = TypeVar("T")

VERSION_PROPERTY: Final = "eespark.schema_version"
"""Of a Delta table, in which its version is kept."""
# The ledger is rebuilt from the commits of the observations, and training sets pin versions: the log must not forget either.
_KEEP_LOG: Final = ("delta.logRetentionDuration", "interval 36500 days")
_CONFLICTS: Final = (
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "MetadataChangedException",
    "ConcurrentTransactionException",
    "ProtocolChangedException",
)
# Of a table whose log has no commit yet.
_HALF_MADE: Final = "DELTA_TABLE_NOT_FOUND"


def jvm_url(url: str) -> str:
    """The URL as Spark's JVM takes it: plain paths are local whatever the cluster's own file system is, and S3 goes by S3A."""
    if is_local(url):
        return f"file:{local_path(url)}"
    return f"s3a://{url.removeprefix('s3://')}" if url.startswith("s3://") else url


def sql_name(url: str) -> str:
    """The table at a URL as Spark's SQL names it."""
    escaped = jvm_url(url).replace("`", "``")
    return f"delta.`{escaped}`"


def table_version(spark: SparkSession, url: str) -> int | None:
    """The version of the schema that a table was written by; None where it is not of eespark."""
    # `detail()` would count the table's files, which costs five times as much at every opening.
    properties = spark.sql(f"SHOW TBLPROPERTIES {sql_name(url)}").collect()
    found = {row["key"]: row["value"] for row in properties}.get(VERSION_PROPERTY, "")
    return int(found) if found.isdigit() else None


def delta_table(spark: SparkSession, url: str) -> DeltaTable:
    """The Delta table at a URL, to be changed."""
    return DeltaTable.forPath(spark, jvm_url(url))


def table_schema(table: Table) -> StructType:
    """Spark's schema of a table; needs a running session, which parses it."""
    schema = _parse_datatype_string(table.ddl())
    if not isinstance(schema, StructType):
        raise FormatError(f"{table.name}: needed columns, found {schema.simpleString()}")
    return schema


def ensure_table(spark: SparkSession, url: str, table: Table) -> None:
    """Make the table where there is none; check it where there is one.

    Raises:
        FormatError: There is a table of another schema or version.
    """
    if not table_exists(spark, url):
        builder = DeltaTable.createIfNotExists(spark).location(jvm_url(url)).addColumns(table_schema(table))
        builder = builder.property(VERSION_PROPERTY, str(table.version)).property(*_KEEP_LOG)
        if table.partition_by:
            builder = builder.partitionedBy(*table.partition_by)
        # Two drivers may find none at the same moment; the second then finds the first one's, at times half made.
        retry_conflicts(builder.execute, f"making {table.name}", others=(_HALF_MADE,))
    _check(spark, url, table)


def open_table(spark: SparkSession, url: str, table: Table, version: int | None = None) -> DataFrame:
    """The table's rows, as of a version when one is given.

    Raises:
        MissingError: There is no such table.
        FormatError: Its schema or version is another.
    """
    if not table_exists(spark, url):
        raise MissingError(f"needed the table {table.name} at {url}, found none; run the job that writes it first")
    _check(spark, url, table)
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    rows = reader.load(jvm_url(url))
    # A version of before a migration lacks the columns that came by it, and all of those may be null.
    there = set(rows.columns)
    return rows.select(*(F.col(c.name) if c.name in there else F.lit(None).cast(c.dtype).alias(c.name) for c in table.columns))


def table_exists(spark: SparkSession, url: str) -> bool:
    """Whether there is a Delta table at the URL."""
    return bool(DeltaTable.isDeltaTable(spark, jvm_url(url)))


def current_version(spark: SparkSession, url: str) -> int:
    """The table's newest version."""
    return int(delta_table(spark, url).history(1).select("version").head()[0])


def conform(rows: DataFrame, table: Table) -> DataFrame:
    """The rows with exactly the table's columns, in order and type.

    Raises:
        MissingError: A column is absent.
    """
    absent = [name for name in table.names if name not in rows.columns]
    if absent:
        raise MissingError(f"table {table.name} needs the columns {', '.join(absent)}; the rows have {', '.join(rows.columns)}")
    return rows.select(*(F.col(c.name).cast(c.dtype).alias(c.name) for c in table.columns))


def append_once(rows: DataFrame, url: str, transaction: str, metadata: Mapping[str, Any]) -> None:
    """Append rows in one transaction that a repeat with the same name skips.

    Args:
        rows: With the table's columns.
        url: Of the table.
        transaction: Made from the contents of the chunk, so that who writes it again, writes nothing.
        metadata: JSON kept in the commit, found again by `commits`.
    """
    options = {"txnAppId": transaction, "txnVersion": "1", "userMetadata": json.dumps({"transaction": transaction, **metadata})}
    # Two drivers that write one chunk at the same moment conflict; the second try finds it there and writes nothing.
    retry_conflicts(lambda: rows.write.format("delta").mode("append").options(**options).save(jvm_url(url)), f"appending to {url}")


def commits(spark: SparkSession, url: str) -> list[dict[str, Any]]:
    """What `append_once` kept of each of its transactions, oldest first."""
    history = delta_table(spark, url).history().where("userMetadata IS NOT NULL").select("version", "userMetadata").orderBy("version")
    told = (json.loads(row.userMetadata) for row in history.collect())
    return [one for one in told if isinstance(one, dict) and "transaction" in one]


def upsert(spark: SparkSession, rows: DataFrame, url: str, table: Table) -> None:
    """Insert new keys and update those that exist, by MERGE, again when another driver came between."""
    condition = " AND ".join(f"old.{key} = new.{key}" for key in table.key)

    def merge() -> None:
        target = delta_table(spark, url).alias("old")
        target.merge(conform(rows, table).alias("new"), condition).whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

    retry_conflicts(merge, f"MERGE into {table.name}")


def delete_rows(spark: SparkSession, url: str, condition: str) -> None:
    """Delete the rows that a SQL condition names."""
    retry_conflicts(lambda: delta_table(spark, url).delete(condition), f"deleting rows of {url}")


def update_rows(spark: SparkSession, url: str, condition: str, values: Mapping[str, str]) -> None:
    """Set columns, each to a SQL expression, in the rows that a SQL condition names."""
    retry_conflicts(lambda: delta_table(spark, url).update(condition, dict(values)), f"updating rows of {url}")


def sql_text(text: str) -> str:
    """A text as a literal of Spark's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def retry_conflicts(action: Callable[[], T], what: str, attempts: int = 6, others: tuple[str, ...] = ()) -> T:
    """Do it; where another transaction came between, do it again after a growing, random wait.

    Args:
        action: What to do.
        what: That is, for the log.
        attempts: At most.
        others: Names of errors that tell of another writer here, beside those that always do.

    Raises:
        PySparkException: Any other failure, or the last conflict.
    """
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except PySparkException as error:
            told = f"{type(error).__name__}: {error}"
            if attempt == attempts or not any(name in told for name in (*_CONFLICTS, *others)):
                raise
            wait_s = random.uniform(0.2, 0.6) * 2**attempt  # noqa: S311
            logger.warning("%s met another writer; again in %.1f s (%d of %d)", what, wait_s, attempt, attempts)
            time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _check(spark: SparkSession, url: str, table: Table) -> None:
    found = table_version(spark, url)
    if found != table.version:
        told = "a table that is not of eespark" if found is None else f"version {found}"
        todo = "run migrate_tables" if found is not None and found < table.version else "name another folder"
        raise FormatError(f"{url}: needed {table.name} of schema version {table.version}, found {told}; {todo}")
    columns = set(spark.read.format("delta").load(jvm_url(url)).columns)
    absent = [name for name in table.names if name not in columns]
    if absent:
        raise FormatError(f"{url}: needed {table.name} with the columns {', '.join(absent)}, found {', '.join(sorted(columns))}")
