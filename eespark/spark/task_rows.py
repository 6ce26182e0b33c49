"""The rows that tasks of an extraction give: those of a table, and behind them the ledger's, as Spark and as Arrow describe them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from eespark.schema import Table

_LEDGER: Final = (
    ("attempt", "int"), ("status", "string"), ("rows", "bigint"), ("reason", "string"), ("seconds", "double"), ("pixels_decoded", "bigint"),
)  # fmt: skip
_ARROW: Final = {
    "string": pa.string(), "tinyint": pa.int8(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "binary": pa.binary(),
    "boolean": pa.bool_(), "timestamp": pa.timestamp("us", tz="UTC"), "array<smallint>": pa.list_(pa.int16()),
    "array<string>": pa.list_(pa.string()),
}  # fmt: skip


def task_schema(table: Table) -> tuple[str, pa.Schema]:
    """Columns of a table and of the ledger, all of which may be null: as DDL and as Arrow's schema."""
    columns = (*((column.name, column.dtype) for column in table.columns), *_LEDGER)
    return ", ".join(f"{name} {dtype}" for name, dtype in columns), pa.schema([(name, _ARROW[dtype]) for name, dtype in columns])
