"""A training set as arrays: a whole part at once, or shuffled batches of one rank's shard by Petastorm.

A reader of Petastorm 0.13 shuffles its row groups once, so each epoch has a reader and a seed of its own. It would
unpickle a schema found beside the data: a part that carries one is refused before Petastorm sees it.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eespark.errors import FormatError, ManifestError, MissingError
from eespark.io.storage import join_url, local_path, open_filesystem, url_exists

logger = logging.getLogger(__name__)

PICKLED_SCHEMA_KEY = b"dataset-toolkit.unischema.v1"
FED = ("reflectance", "valid", "day", "class_id", "inclusion_probability")
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Shape:
    """What one row of a training set means."""

    times: int
    bands: int
    class_ids: tuple[int, ...]

    def index_of(self, class_id: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Position of each legend id in the manifest's classes, -1 where it is none of them."""
        known = np.asarray(self.class_ids, np.int64)
        place = np.searchsorted(known, class_id).clip(0, known.size - 1)
        return np.where(known[place] == class_id, place, -1)


def shape_of(manifest: Mapping[str, Any]) -> Shape:
    """The shape that the manifest of a training set states.

    Raises:
        ManifestError: Classes that are none, unsorted or repeated.
    """
    ids = tuple(int(one["id"]) for one in manifest["classes"])
    if not ids or list(ids) != sorted(set(ids)):
        raise ManifestError(f"needed classes sorted by id, found {list(ids)}; rebuild the training set")
    return Shape(int(manifest["times"]), len(manifest["bands"]), ids)


def read_part(url: str, part: str, shape: Shape, columns: Sequence[str] = FED, enough_rows: int | None = None) -> Arrays:
    """The rows of one part in memory, all or the first row groups of it.

    Args:
        url: Training set.
        part: train, validation, test, unseen or points.
        shape: Of its rows.
        columns: To read.
        enough_rows: Stop after the row group that reaches so many; rows are shuffled over the row groups, so it is a fair sample.

    Returns:
        The columns as arrays of n rows; reflectance (n, time, bands) int16, valid and day (n, time) int16; with class_id
        also `label` (n,) int64, the position in the manifest's classes, -1 where there is no class or no such one.

    Raises:
        MissingError: The training set has no such part or column.
        FormatError: Its lists have other lengths than the manifest says, or it carries a pickled schema.
    """
    tables: list[pa.Table] = []
    rows = 0
    for table in _row_groups(url, part, columns):
        tables.append(table)
        rows += table.num_rows
        if enough_rows is not None and rows >= enough_rows:
            break
    return table_to_arrays(pa.concat_tables(tables), shape, f"{url}/{part}")


def _row_groups(url: str, part: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    filesystem, _ = open_filesystem(url)
    for file in part_files(url, part):
        with _whole(file), filesystem.open(file, "rb") as stream:
            parquet = pq.ParquetFile(stream)
            absent = sorted(set(columns) - set(parquet.schema_arrow.names))
            if absent:
                raise MissingError(f"{file}: needed columns {', '.join(absent)}, found {', '.join(parquet.schema_arrow.names)}")
            for number in range(parquet.num_row_groups):
                yield parquet.read_row_group(number, columns=list(columns))


@contextmanager
def _whole(where: str) -> Iterator[None]:
    """Errors of Parquet files that are empty, cut short or damaged come out as ours."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{where}: needed a whole Parquet file, found none ({error}); build the training set again") from error


def part_files(url: str, part: str) -> list[str]:
    """Paths of the part's Parquet files in Petastorm's order, once it is sure that none carries a pickle.

    Raises:
        MissingError: The training set has no such part.
        FormatError: It carries a pickled schema.
    """
    folder = join_url(url, part)
    if not url_exists(folder):
        raise MissingError(f"needed the part {part} of a training set, found none at {folder}; it has no such samples")
    filesystem, path = open_filesystem(folder)
    for name in ("_common_metadata", "_metadata"):
        file = f"{path}/{name}"
        if filesystem.exists(file):
            with _whole(file), filesystem.open(file, "rb") as stream:
                kept = pq.read_schema(stream).metadata or {}
            if PICKLED_SCHEMA_KEY in kept:
                raise FormatError(f"{file} carries a pickled schema, which could run code; build the training set by eespark")
    files = [str(f) for f in filesystem.find(path) if f.endswith(".parquet")]
    if not files:
        raise MissingError(f"needed Parquet files of the part {part}, found none at {folder}; build the training set again")
    return sorted(files)


def table_to_arrays(table: pa.Table, shape: Shape, where: str) -> Arrays:
    """The columns of a training table as arrays, lists in the manifest's shape.

    Raises:
        FormatError: Lists of other lengths.
    """
    widths = {"reflectance": shape.times * shape.bands, "valid": shape.times, "day": shape.times}
    arrays: Arrays = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        if name in widths:
            flat = column.flatten().to_numpy(zero_copy_only=False)
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if column.null_count or np.any(lengths != widths[name]):
                raise FormatError(f"{where}: needed {widths[name]} values in each {name}, found {np.unique(lengths).tolist()}")
            arrays[name] = flat.reshape(table.num_rows, -1)
        elif name == "class_id":
            arrays[name] = column.fill_null(-1).to_numpy(zero_copy_only=False)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return _finish(arrays, shape)


def _finish(arrays: Arrays, shape: Shape) -> Arrays:
    if "reflectance" in arrays:
        arrays["reflectance"] = arrays["reflectance"].reshape(-1, shape.times, shape.bands)
    if "class_id" in arrays:
        arrays["label"] = shape.index_of(arrays["class_id"])
    return arrays


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A seed from 1 to 2**31 - 1 that follows from the arguments alone; 0 would mean unseeded to Petastorm."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{rank}".encode()).digest()
    return 1 + int.from_bytes(digest[:8], "little") % (2**31 - 2)


def shuffled_batches(chunks: Iterable[Arrays], batch: int, buffer_rows: int, rng: np.random.Generator) -> Iterator[Arrays]:
    """Batches of exactly `batch` rows from chunks of any size, drawn from a buffer; what remains is dropped.

    Args:
        chunks: Arrays with equal first axes.
        batch: Rows of each batch.
        buffer_rows: Rows that stay in the buffer while more may come.
        rng: Source of the order.
    """
    pool: Arrays = {}
    for chunk in chunks:
        pool = {name: np.concatenate([pool[name], chunk[name]]) for name in chunk} if pool else chunk
        if len(pool["label"]) < buffer_rows + batch:
            continue
        pool = _permuted(pool, rng)
        while len(pool["label"]) >= buffer_rows + batch:
            yield {name: values[:batch] for name, values in pool.items()}
            pool = {name: values[batch:] for name, values in pool.items()}
    if pool:
        pool = _permuted(pool, rng)
        for start in range(0, len(pool["label"]) - batch + 1, batch):
            yield {name: values[start : start + batch] for name, values in pool.items()}


def _permuted(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    order = rng.permutation(len(arrays["label"]))
    return {name: values[order] for name, values in arrays.items()}


def petastorm_chunks(url: str, shape: Shape, shard: int, shards: int, seed: int) -> Generator[Arrays, None, None]:
    """The row groups of one shard of a local part, each once, in the order of the seed.

    Args:
        url: Local folder of the part, checked by `part_files`.
        shape: Of its rows.
        shard: Number of the shard.
        shards: How many there are.
        seed: From `epoch_seed`.

    Raises:
        FormatError: Lists of other lengths than the manifest says, or a file that is not whole.
    """
    from petastorm.reader import make_batch_reader

    warnings.filterwarnings("ignore", module=r"petastorm\.")  # it uses what pyarrow 14 is about to drop, from its own threads too
    # One worker: the order is then that of the seed, and decoding goes on while the network trains.
    with _whole(url):
        reader = make_batch_reader(
            Path(local_path(url)).as_uri(), schema_fields=list(FED), workers_count=1, results_queue_size=4,
            shuffle_row_groups=True, seed=seed, num_epochs=1, cur_shard=shard, shard_count=shards,
        )  # fmt: skip
        try:
            # Petastorm's pool may find its workers idle just before the last row groups reach them, and its ventilator done just after:
            # it then ends early. By that time all row groups are counted, so a second pass gives what the first one missed.
            for _ in range(2):
                for group in reader:
                    arrays = {name: getattr(group, name) for name in FED}
                    if arrays["reflectance"].shape[1] != shape.times * shape.bands or arrays["valid"].shape[1] != shape.times:
                        told = f"{url}: needed {shape.times} dates of {shape.bands} bands, found others; rebuild the training set"
                        raise FormatError(told)
                    yield _finish(arrays, shape)
        finally:
            reader.stop()
            reader.join()
