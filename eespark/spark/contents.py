"""Hashes of what rows hold, whatever their order: equal where the rows are."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def sum_of_hashes(hashes: Column) -> Column:
    """Aggregates hashes of rows, such as `xxhash64` gives; a sum so wide that no number of rows overflows it."""
    return F.sum(hashes.cast("decimal(38,0)"))


def hash_of_rows(rows: DataFrame, hashes: Column) -> str:
    """The hash of all rows by the hashes of each, and how many rows there are."""
    return _text(rows.agg(*_told(hashes)).head())


def hashes_by(rows: DataFrame, key: str, hashes: Column) -> dict[str, str]:
    """The same of the rows of each value of a column."""
    return {row[key]: _text(row) for row in rows.groupBy(key).agg(*_told(hashes)).orderBy(key).collect()}


def _told(hashes: Column) -> list[Column]:
    return [sum_of_hashes(hashes).alias("total"), F.count("*").alias("rows")]


def _text(row: Any) -> str:
    return f"{int(row['total'] or 0) % 2**64:016x}:{row['rows']}"
