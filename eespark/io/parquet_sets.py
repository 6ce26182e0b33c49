"""Parquet parts of a training set: Petastorm's row-group counts beside them, as JSON and never as a pickle."""

from __future__ import annotations

import io
import json
from typing import Any, Final

import pyarrow.parquet as pq

from eespark.errors import FormatError, MissingError
from eespark.io.storage import join_url, open_filesystem, write_bytes

ROW_GROUPS_KEY: Final = b"dataset-toolkit.num_row_groups_per_file.v1"
PICKLED_KEY: Final = b"dataset-toolkit.unischema.v1"


def finish_part(url: str) -> dict[str, Any]:
    """Write `_common_metadata` with the row groups of each file, and tell of them.

    Returns:
        files, row_groups, row_group_rows (rows of each group in the order of file names).

    Raises:
        MissingError: The folder has no Parquet file.
    """
    filesystem, root = open_filesystem(url)
    paths = sorted(p for p in filesystem.find(root) if p.endswith(".parquet"))
    if not paths:
        raise MissingError(f"needed Parquet files in {url}, found none")
    groups: dict[str, int] = {}
    rows: list[int] = []
    for path in paths:
        with filesystem.open(path, "rb") as stream:
            found = pq.ParquetFile(stream).metadata
            counts = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
        groups[path[len(root.rstrip("/")) + 1 :]] = len(counts)
        rows += counts
    with filesystem.open(paths[0], "rb") as stream:
        schema = pq.read_schema(stream)
    metadata = {**(schema.metadata or {}), ROW_GROUPS_KEY: json.dumps(groups).encode()}
    content = io.BytesIO()
    pq.write_metadata(schema.with_metadata(metadata), content)
    write_bytes(join_url(url, "_common_metadata"), content.getvalue())
    return {"files": len(paths), "row_groups": len(rows), "row_group_rows": rows}


def refuse_pickles(url: str) -> None:
    """Check that a set's metadata holds no pickled schema, which would run code when Petastorm reads it.

    Raises:
        FormatError: It does.
    """
    filesystem, root = open_filesystem(url)
    for name in ("_common_metadata", "_metadata"):
        path = f"{root.rstrip('/')}/{name}"
        if filesystem.exists(path):
            with filesystem.open(path, "rb") as stream:
                if PICKLED_KEY in (pq.read_schema(stream).metadata or {}):
                    raise FormatError(
                        f"{url}/{name}: needed row-group counts only, found a pickled schema, which could run code; build the set again"
                    )
