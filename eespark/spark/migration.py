"""Tables that an older eespark wrote, brought to today's schemas; what is in them stays."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from pydantic import Field
from pyspark.sql import SparkSession

from eespark.errors import FormatError, MissingError, SettingsError
from eespark.job import JobSettings
from eespark.schema import EXTRACTIONS, LABELS, OBSERVATIONS, PRODUCTS, SAMPLES, Table
from eespark.schema_polar import ICE_LABELS, ICEBERGS, PAIRS, PATCHES
from eespark.settings import Url
from eespark.spark.tables import VERSION_PROPERTY, jvm_url, sql_name, sql_text, table_exists, table_version

logger = logging.getLogger(__name__)

TABLES: Final = {one.name: one for one in (PRODUCTS, LABELS, SAMPLES, EXTRACTIONS, OBSERVATIONS, ICE_LABELS, PATCHES, PAIRS, ICEBERGS)}
"""Every Delta table by its name."""


class MigrateSettings(JobSettings):
    """Settings of `migrate_tables`."""

    tables: Annotated[
        dict[str, list[Url]], Field(min_length=1, description="name of a table (products, labels, ...) -> where there are such")
    ]


def check_migration(settings: MigrateSettings) -> None:
    """Check that all names are of tables.

    Raises:
        SettingsError: One is not.
    """
    strange = sorted(set(settings.tables) - set(TABLES))
    if strange:
        raise SettingsError(f"tables: needed names among {', '.join(sorted(TABLES))}, found {', '.join(strange)}")


def migrate_tables(spark: SparkSession, settings: MigrateSettings) -> dict[str, Any]:
    """Bring each table to today's schema; versions by table. Run again after it was broken off, it does what is missing.

    Raises:
        MissingError: There is no such table.
        FormatError: It is of a newer eespark, or not of eespark; or a change is needed that no migration makes. Nothing is changed then.
    """
    found = {url: (TABLES[name], _version(spark, url, TABLES[name])) for name, urls in settings.tables.items() for url in urls}
    told: dict[str, dict[str, Any]] = {}
    for url, (table, version) in found.items():
        if version < table.version:
            spark.sparkContext.setJobDescription(f"migrate_tables: {url}")
            migrate(spark, url, table)
        told[url] = {"table": table.name, "from_version": version, "to_version": table.version}
        logger.info("migrate_tables: %s: %s of version %d, was %d", url, table.name, table.version, version)
    return {"tables": told, "migrated": sum(version < table.version for table, version in found.values())}


def migrate(spark: SparkSession, url: str, table: Table) -> None:
    """Bring one table of an older version to today's.

    All changes so far are of one kind: columns that may be null came, and columns may be null that might not. Older rows have null
    in the new ones. Each step is a transaction, and the version is written last: what is broken off is done when it is run again.

    Raises:
        FormatError: A column is absent that may not be null, or has another type; the table is left as it is.
    """
    there = {field.name: field for field in spark.read.format("delta").load(jvm_url(url)).schema.fields}
    absent = [column for column in table.columns if column.name not in there]
    wrong = [c.name for c in absent if not c.nullable]
    wrong += [c.name for c in table.columns if c.name in there and there[c.name].dataType.simpleString() != c.dtype.replace(" ", "")]
    if wrong:
        raise FormatError(f"{url}: no migration gives the columns {', '.join(wrong)} of {table.name}; make the table anew by its job")
    name = sql_name(url)
    if absent:
        added = ", ".join(f"`{c.name}` {c.dtype} COMMENT {sql_text(c.meaning)}" for c in absent)
        spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({added})")
    # Delta keeps NOT NULL for the columns alone that were made so.
    for column in table.columns:
        if column.nullable and column.name in there and not there[column.name].nullable:
            spark.sql(f"ALTER TABLE {name} ALTER COLUMN `{column.name}` DROP NOT NULL")
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('{VERSION_PROPERTY}' = '{table.version}')")


def _version(spark: SparkSession, url: str, table: Table) -> int:
    if not table_exists(spark, url):
        raise MissingError(f"needed the table {table.name} at {url}, found none; correct tables")
    version = table_version(spark, url)
    if version is None or version > table.version:
        told = "a table that is not of eespark" if version is None else f"version {version}"
        raise FormatError(f"{url}: needed {table.name} of version {table.version} or older, found {told}; use the eespark that wrote it")
    return version
