"""A training set as arrays: a whole part at once, or shuffled batches of one rank's shard by Petastorm.

A reader of Petastorm 0.13 shuffles its row groups once, so each epoch has a reader and a seed of its own. It would
unpickle a schema found beside the data: a part that carries one is refused before Petastorm sees it.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
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
from eespark.manifest import inputs_of, labels_of

logger = logging.getLogger(__name__)

PICKLED_SCHEMA_KEY = b"dataset-toolkit.unischema.v1"
ALWAYS_FED = ("class_id", "inclusion_probability")
# Columns that hold the bytes of an array, not a list.
_BYTES = {"sigma": "<f4", "classes": "|u1"}
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Shape:
    """What one row of a training set means."""

    fields: Mapping[str, tuple[int, ...]]
    """What a network is given, by column: the shape of one row."""
    class_ids: tuple[int, ...]
    look_labels: tuple[int, ...] | None = None
    """Shape of `classes`, a class for every look, of sets that have one; None where a row is of one class."""

    @property
    def arrays(self) -> Mapping[str, tuple[int, ...]]:
        """All columns that hold arrays: the shape of one row."""
        return self.fields if self.look_labels is None else {**self.fields, "classes": self.look_labels}

    @property
    def fed(self) -> tuple[str, ...]:
        """Columns that training reads."""
        return (*self.arrays, *ALWAYS_FED)

    @property
    def row_bytes(self) -> int:
        """Of one row's arrays, at four bytes a value."""
        return 4 * sum(math.prod(one) for one in self.arrays.values())

    def index_of(self, class_id: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Position of each legend id in the manifest's classes, -1 where it is none of them."""
        known = np.asarray(self.class_ids, np.int64)
        place = np.searchsorted(known, class_id).clip(0, known.size - 1)
        return np.where(known[place] == class_id, place, -1)


def shape_of(manifest: Mapping[str, Any]) -> Shape:
    """The shape that the manifest of a training set states: of series, or of patches.

    Raises:
        ManifestError: Classes that are none, unsorted or repeated.
    """
    ids = tuple(int(one["id"]) for one in manifest["classes"])
    if not ids or list(ids) != sorted(set(ids)):
        raise ManifestError(f"needed classes sorted by id, found {list(ids)}; rebuild the training set")
    bands = len(manifest["bands"])
    if inputs_of(manifest) == "patches":
        size = int(manifest["size"])
        by_look = (size, size) if labels_of(manifest) == "looks" else None
        return Shape({"sigma": (size, size, bands), "incidence": (size,)}, ids, by_look)
    return series_shape(int(manifest["times"]), bands, ids)


def series_shape(times: int, bands: int, class_ids: tuple[int, ...]) -> Shape:
    """The shape of series: reflectance by date and band, which dates count, and their days."""
    return Shape({"reflectance": (times, bands), "valid": (times,), "day": (times,)}, class_ids)


def read_part(url: str, part: str, shape: Shape, columns: Sequence[str] | None = None, enough_rows: int | None = None) -> Arrays:
    """The rows of one part in memory, all or the first row groups of it.

    Args:
        url: Training set.
        part: train, validation, test, unseen or points.
        shape: Of its rows.
        columns: To read; None for those that training reads.
        enough_rows: Stop after the row group that reaches so many; rows are shuffled over the row groups, so it is a fair sample.

    Returns:
        The columns as arrays of n rows: those of series are reflectance (n, time, bands) int16, valid and day (n, time) int16, those of
        patches sigma (n, size, size, bands) and incidence (n, size) float32; with class_id also `label` (n,) int64, the position in the
        manifest's classes, -1 where there is no class or no such one; sets labelled by look have classes (n, size, size) uint8, legend ids.

    Raises:
        MissingError: The training set has no such part or column.
        FormatError: Its arrays have other sizes than the manifest says, or it carries a pickled schema.
    """
    columns = shape.fed if columns is None else columns
    tables: list[pa.Table] = []
    rows = 0
    for table in row_groups(url, part, columns):
        tables.append(table)
        rows += table.num_rows
        if enough_rows is not None and rows >= enough_rows:
            break
    return table_to_arrays(pa.concat_tables(tables), shape, f"{url}/{part}")


def row_groups(url: str, part: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The row groups of one part, one after the other.

    Raises:
        MissingError: The training set has no such part or column.
        FormatError: A file is not whole, or it carries a pickled schema.
    """
    filesystem, _ = open_filesystem(url)
    for file in part_files(url, part):
        with _whole(file), filesystem.open(file, "rb") as stream:
            parquet = pq.ParquetFile(stream)
            absent = sorted(set(columns) - set(parquet.schema_arrow.names))
            if absent:
                raise MissingError(f"{file}: needed columns {', '.join(absent)}, found {', '.join(parquet.schema_arrow.names)}")
            for number in range(parquet.num_row_groups):
                yield parquet.read_row_group(number, columns=list(columns))


def part_columns(url: str, part: str) -> list[str]:
    """Names of the columns of one part."""
    file, (filesystem, _) = part_files(url, part)[0], open_filesystem(url)
    with _whole(file), filesystem.open(file, "rb") as stream:
        return list(pq.read_schema(stream).names)


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
    """The columns of a training table as arrays, lists and bytes in the manifest's shape.

    Raises:
        FormatError: Lists or bytes of other lengths.
    """
    arrays: Arrays = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        if name in shape.arrays:
            arrays[name] = _bytes_in(column, name, where) if name in _BYTES else _lists_in(column, name, shape, where)
        elif name == "class_id":
            arrays[name] = column.fill_null(-1).to_numpy(zero_copy_only=False)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return _finish(arrays, shape, where)


def _lists_in(column: Any, name: str, shape: Shape, where: str) -> npt.NDArray[Any]:
    flat, width = column.flatten().to_numpy(zero_copy_only=False), math.prod(shape.fields[name])
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if column.null_count or np.any(lengths != width):
        raise FormatError(f"{where}: needed {width} values in each {name}, found {np.unique(lengths).tolist()}; rebuild the training set")
    return np.asarray(flat)


def _bytes_in(column: Any, name: str, where: str) -> npt.NDArray[Any]:
    if column.null_count:
        raise FormatError(f"{where}: needed bytes in each {name}, found nulls; rebuild the training set")
    return _array_of(column.to_numpy(zero_copy_only=False), name, where)


def _array_of(values: npt.NDArray[np.object_], name: str, where: str) -> npt.NDArray[Any]:
    content = b"".join(values)
    if len({len(one) for one in values}) > 1 or len(content) % np.dtype(_BYTES[name]).itemsize:
        raise FormatError(f"{where}: needed as many bytes in each {name}, found others; rebuild the training set")
    return np.frombuffer(content, _BYTES[name])


def _finish(arrays: Arrays, shape: Shape, where: str) -> Arrays:
    for name in arrays.keys() & shape.arrays.keys():
        if arrays[name].size % math.prod(shape.arrays[name]) == 0:
            arrays[name] = arrays[name].reshape(-1, *shape.arrays[name])
    if len({len(one) for one in arrays.values()}) > 1:
        found = {name: one.shape for name, one in arrays.items()}
        raise FormatError(f"{where}: needed rows of {dict(shape.arrays)}, found {found}; rebuild the training set")
    if "class_id" in arrays:
        arrays["label"] = shape.index_of(arrays["class_id"])
    return arrays


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
            Path(local_path(url)).as_uri(), schema_fields=list(shape.fed), workers_count=1, results_queue_size=4,
            shuffle_row_groups=True, seed=seed, num_epochs=1, cur_shard=shard, shard_count=shards,
        )  # fmt: skip
        try:
            # Petastorm's pool may find its workers idle just before the last row groups reach them, and its ventilator done just after:
            # it then ends early. By that time all row groups are counted, so a second pass gives what the first one missed.
            for _ in range(2):
                for group in reader:
                    yield _finish(_fed(group, shape, url), shape, url)
        finally:
            reader.stop()
            reader.join()


def _fed(group: Any, shape: Shape, url: str) -> Arrays:
    arrays: Arrays = {}
    for name in shape.fed:
        values = getattr(group, name)
        if name in _BYTES:
            values = _array_of(values, name, url)
        elif name in shape.fields and values.shape[1:] != (math.prod(shape.fields[name]),):
            found = values.shape[1:]
            raise FormatError(
                f"{url}: needed {math.prod(shape.fields[name])} values in each {name}, found {found}; rebuild the training set"
            )
        arrays[name] = values
    return arrays
