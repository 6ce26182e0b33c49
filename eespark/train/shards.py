"""Which row groups belong to which rank, and how many steps that allows.

Petastorm 0.13 gives row group i, in the order of file paths, to shard i mod shards, whatever the seed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq

from eespark.errors import CapacityError, ManifestError
from eespark.io.storage import is_local, join_url, local_path, open_filesystem
from eespark.train.data import part_files

logger = logging.getLogger(__name__)

ROW_GROUPS_KEY = b"dataset-toolkit.num_row_groups_per_file.v1"


def shard_rows(row_group_rows: Sequence[int], shards: int) -> list[int]:
    """Rows of each shard as Petastorm deals row groups: number i goes to shard i mod shards.

    Raises:
        CapacityError: Fewer row groups than shards.
    """
    if len(row_group_rows) < shards:
        raise CapacityError(
            f"{shards} processes need as many row groups in train, found {len(row_group_rows)}; "
            "build the training set with more row groups, or train with fewer processes"
        )
    return [sum(row_group_rows[shard::shards]) for shard in range(shards)]


def steps_an_epoch(manifest: Mapping[str, Any], shards: int, batch: int) -> tuple[int, int]:
    """Steps that every rank can do in an epoch, and the batch size, smaller where a shard is smaller than a batch.

    Raises:
        ManifestError: Row groups that do not add up to the rows.
        CapacityError: Fewer row groups than ranks.
    """
    train = manifest["parts"].get("train", {})
    rows = [int(n) for n in train.get("row_group_rows", [])]
    if not rows or min(rows) < 1 or sum(rows) != train.get("rows") or len(rows) != train.get("row_groups"):
        raise ManifestError(f"needed row groups in train that add up to {train.get('rows')} rows, found {rows}; rebuild the training set")
    smallest = min(shard_rows(rows, shards))
    size = min(batch, smallest)
    return smallest // size, size


def local_shard(url: str, part: str, own: tuple[int, int], columns: Sequence[str], scratch: str) -> tuple[str, int, int]:
    """Where this rank's row groups can be read by Petastorm: folder, shard and number of shards.

    A local part is read in place. Of any other the row groups of the shard are copied to `scratch`, once.

    Args:
        url: Training set.
        part: Of it.
        own: Number of the shard and number of shards.
        columns: That training reads.
        scratch: Local folder.

    Raises:
        MissingError: No such part.
        FormatError: A pickled schema beside it.
        CapacityError: Fewer row groups than shards.
    """
    files, (shard, shards) = part_files(url, part), own
    if is_local(url):
        return join_url(local_path(url), part), shard, shards
    filesystem, _ = open_filesystem(url)
    target = Path(scratch) / f"{part}-{shard}-of-{shards}"
    target.mkdir(parents=True, exist_ok=True)
    copied = _copy_row_groups(filesystem, files, own, columns, target / "part.parquet")
    schema = pq.read_schema(target / "part.parquet")
    counts = json.dumps({"part.parquet": copied}).encode()
    pq.write_metadata(schema.with_metadata({ROW_GROUPS_KEY: counts}), target / "_common_metadata")
    logger.info("copied %d row groups of %s to local scratch", copied, join_url(url, part))
    return str(target), 0, 1


def _copy_row_groups(
    filesystem: fsspec.AbstractFileSystem, files: Sequence[str], own: tuple[int, int], columns: Sequence[str], target: Path
) -> int:
    """Number of row groups copied: those with number i where i mod shards is the shard."""
    (shard, shards), number, copied, writer = own, 0, 0, None
    try:
        for file in files:
            with filesystem.open(file, "rb") as stream:
                parquet = pq.ParquetFile(stream)
                for group in range(parquet.num_row_groups):
                    if (number + group) % shards == shard:
                        table = parquet.read_row_group(group, columns=list(columns))
                        writer = writer or pq.ParquetWriter(target, table.schema)
                        writer.write_table(table, row_group_size=table.num_rows)
                        copied += 1
                number += parquet.num_row_groups
    finally:
        if writer is not None:
            writer.close()
    if not copied:
        raise CapacityError(f"{shards} processes need as many row groups, found {number}; train with fewer processes")
    return copied
