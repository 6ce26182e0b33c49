"""Hashes of what rows hold, whatever their order: equal where the rows are."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def hash_of_rows(rows: DataFrame, *columns: str) -> str:
    """The hash of some columns of all rows, and how many rows there are."""
    return _text(rows.agg(*_sums(columns)).head())


def hashes_by(rows: DataFrame, key: str, *columns: str) -> dict[str, str]:
    """The same of the rows of each value of a column."""
    return {row[key]: _text(row) for row in rows.groupBy(key).agg(*_sums(columns)).orderBy(key).collect()}


def _sums(columns: tuple[str, ...]) -> list[Column]:
    return [F.sum(F.xxhash64(*columns).cast("decimal(38,0)")).alias("total"), F.count("*").alias("rows")]


def _text(row: Any) -> str:
    return f"{int(row['total'] or 0) % 2**64:016x}:{row['rows']}"
