"""Ranges of rows of GeoParquet files and of plain Parquet files with a WKB column."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from eespark.errors import FormatError, MissingError

_HEADER_BYTES = 5  # byte order, then the kind of geometry as a 32-bit number
_FIRST_KIND_WITH_HEIGHT = 1000  # ISO adds 1000 for heights, the older extension sets the top bits
_DEFAULT_CRS = "OGC:CRS84"  # what GeoParquet 1.x means when its metadata names none


def count_rows(path: str) -> int:
    """Number of rows.

    Raises:
        FormatError: Not Parquet.
    """
    with _open(path) as file:
        return int(file.metadata.num_rows)


def column_names(path: str) -> list[str]:
    """Names of the columns.

    Raises:
        FormatError: Not Parquet.
    """
    with _open(path) as file:
        return [str(name) for name in file.schema_arrow.names]


def read_rows(
    path: str, columns: list[str], geometry: str, first: int, count: int
) -> tuple[dict[str, list[Any]], npt.NDArray[np.object_], str | None]:
    """Columns, WKB geometries and CRS of the rows `first` to `first + count - 1`.

    Only the row groups that hold them are read.

    Args:
        path: Local file.
        columns: Columns to read.
        geometry: Geometry column where the file has no GeoParquet metadata.
        first: From 0.
        count: How many; fewer come at the end.

    Returns:
        Values by column; (n,) bytes without heights, or None; CRS as text, None where the file states none.

    Raises:
        MissingError: No geometry column.
        FormatError: Not Parquet, or geometries that are not WKB.
    """
    with _open(path) as file:
        column, crs = _geometry_of(file, geometry, path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        groups = [i for i in range(len(sizes)) if starts[i] < first + count and starts[i + 1] > first]
        if not groups:
            return {name: [] for name in columns}, np.zeros(0, dtype=object), crs
        table = file.read_row_groups(groups, columns=sorted({*columns, column})).slice(first - starts[groups[0]], count)
    shapes = np.empty(table.num_rows, dtype=object)
    shapes[:] = [_flat(wkb) for wkb in table.column(column).to_pylist()]
    return {name: table.column(name).to_pylist() for name in columns}, shapes, crs


def _flat(wkb: bytes | None) -> bytes | None:
    """WKB without heights."""
    if wkb is None or len(wkb) < _HEADER_BYTES:
        return None
    kind = int.from_bytes(wkb[1:_HEADER_BYTES], "little" if wkb[0] else "big")
    if kind < _FIRST_KIND_WITH_HEIGHT:
        return wkb
    return bytes(shapely.to_wkb(shapely.force_2d(shapely.from_wkb(wkb)), output_dimension=2))


def _geometry_of(file: Any, geometry: str, path: str) -> tuple[str, str | None]:
    metadata = (file.schema_arrow.metadata or {}).get(b"geo")
    crs: str | None = None
    if metadata is not None:
        try:
            geo = json.loads(metadata)
            geometry = str(geo["primary_column"])
            stated = geo["columns"][geometry]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise FormatError(f"{path}: needed GeoParquet metadata with a primary column, found none that can be read: {error}") from error
        if stated.get("encoding") != "WKB":
            raise FormatError(f"{path}: needed geometries as WKB, found {stated.get('encoding')!r}; write them as WKB")
        projjson = stated.get("crs", _DEFAULT_CRS)
        crs = projjson if isinstance(projjson, str) or projjson is None else json.dumps(projjson)
    names = file.schema_arrow.names
    if geometry not in names:
        raise MissingError(f"{path}: needed the geometry column {geometry!r}, found {', '.join(names)}; state 'geometry'")
    kind = file.schema_arrow.field(geometry).type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise FormatError(f"{path}: needed WKB in the column {geometry!r}, found {kind}")
    return geometry, crs


def _open(path: str) -> Any:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: needed a Parquet file, found something else: {error}") from error
