"""How work is cut into tasks."""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame

_MAX_TASKS: Final = 20_000


def one_task_each(rows: DataFrame, key: str, max_tasks: int = _MAX_TASKS) -> DataFrame:
    """The rows spread by a unique key so that each is a task of its own (up to `max_tasks`, then evenly).

    Hashing keys into as many partitions leaves some empty and some with three rows; ranges leave one in each. The rows are
    read twice (Spark samples the keys first), so pass small rows and join what is large afterwards.
    """
    return rows.repartitionByRange(max(1, min(rows.count(), max_tasks)), key)
