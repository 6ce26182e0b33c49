"""Label sources as records: INVEKOS, LPIS, BRP, RPG from GeoPackage, shapefile or (Geo)Parquet, in ranges.

A source is declared by `SourceSettings`; `count_features` and `read_chunk` let Spark tasks read ranges of it, so that two
million polygons never lie in one place. Zipped sources are unpacked to scratch first: reading a zipped GeoPackage in place
inflates it anew for every page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
import pyogrio
import pyogrio.errors
import pyogrio.raw
from pydantic import Field
from pyproj import CRS
from pyproj.exceptions import CRSError

from eespark.errors import FormatError, MissingError
from eespark.io import geoparquet
from eespark.io.unpack import local_copy, unpack_zip
from eespark.settings import Settings, Url

_SUFFIXES: Final = {".gpkg": "gpkg", ".shp": "shapefile", ".parquet": "parquet", ".geoparquet": "parquet", ".pq": "parquet"}


class SourceSettings(Settings):
    """One label source: where it lies and what its columns are called."""

    name: str = Field(min_length=1, description="name of the source in tables, e.g. invekos_2018")
    url: Url
    format: Literal["auto", "gpkg", "shapefile", "parquet"] = Field("auto", description="auto: by the name of the file, within a zip too")
    layer: str | None = Field(None, description="layer of a GeoPackage; default its only one")
    key: str | None = Field(None, description="column that is unique, e.g. GEO_ID; default the feature's number in the file")
    code: str | None = Field(None, description="column of the crop code, e.g. SNAR_CODE")
    label: str | None = Field(None, description="column of the crop name, used where the code is absent or unknown")
    geometry: str = Field("geometry", description="geometry column of a Parquet file without GeoParquet metadata (WKB)")
    aliases: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="other names of a column in files of other years or formats, e.g. SNAR_BEZEICHNUNG: [SNAR_BEZEI]"
    )
    attributes: tuple[str, ...] = Field((), description="columns kept as attributes of the label")
    crs: str | None = Field(None, description="CRS as EPSG:n, used only where the file states none")
    year: int = Field(ge=1990, le=2100, description="declaration year: the year in which the crop year ends")
    codes: str = Field(description="code list of eespark/legends, e.g. snar")
    encoding: str | None = Field(None, description="of a shapefile without .cpg, e.g. cp1252")
    max_bytes: int = Field(16 << 30, gt=0, description="bytes; largest size of the source once unpacked to scratch")


@dataclass(frozen=True)
class SourceRecord:
    """One record of a label source, as it stands there.

    Attributes:
        source_key: Key in its source.
        code: Crop code as declared.
        name: Crop name as declared.
        attributes: Columns kept.
        geometry: WKB in `crs`, two dimensions; None where the file has none.
        crs: As EPSG:n (or OGC:CRS84, longitude first), WKT where it has no number; None when unknown.
        reason: Why the record may not be used, known from the file alone: empty, no_crs, not_observed, imprecise; else None.
        weight: Survey weight.
        observed: Day of the observation, for surveys.
    """

    source_key: str
    code: str | None
    name: str | None
    attributes: dict[str, str] = field(default_factory=dict)
    geometry: bytes | None = None
    crs: str | None = None
    reason: str | None = None
    weight: float = 1.0
    observed: date | None = None


def count_features(source: SourceSettings, scratch: str) -> int:
    """Number of records of a source.

    Raises:
        MissingError: Nothing at the URL, no such layer or column (those that exist are listed).
        FormatError: Not of its format.
        CapacityError: Larger than `max_bytes` once unpacked.
    """
    path, kind = prepare_source(source, scratch)
    if kind == "parquet":
        return geoparquet.count_rows(path)
    info = _read_info(path, source)
    columns_of(source, [str(name) for name in info["fields"]])
    return int(info["features"])


def column_names(source: SourceSettings, scratch: str) -> list[str]:
    """Names of the columns of a source; errors as of `count_features`."""
    path, kind = prepare_source(source, scratch)
    return geoparquet.column_names(path) if kind == "parquet" else [str(name) for name in _read_info(path, source)["fields"]]


def read_chunk(source: SourceSettings, first: int, count: int, scratch: str) -> Iterator[SourceRecord]:
    """Records `first` to `first + count - 1` of a source, in the order of the file.

    Args:
        source: The source.
        first: Number of the first record, from 0.
        count: How many; fewer come at the end.
        scratch: Local folder for unpacked and fetched sources; kept, so that the next range finds them.

    Raises:
        MissingError: Nothing at the URL, no such layer or column (those that exist are listed).
        FormatError: Not of its format.
        CapacityError: Larger than `max_bytes` once unpacked.
    """
    path, kind = prepare_source(source, scratch)
    if kind == "parquet":
        columns = columns_of(source, geoparquet.column_names(path))
        wanted = sorted(set(columns.values()))
        found, shapes, crs = geoparquet.read_rows(path, wanted, source.geometry, first, count)
        numbers = range(first, first + len(shapes))
    else:
        columns = columns_of(source, [str(name) for name in _read_info(path, source)["fields"]])
        found, shapes, crs, numbers = _read_ogr(path, source, sorted(set(columns.values())), first, count)
    known_crs = _short_crs(crs or source.crs)
    for i, number in enumerate(numbers):
        yield _record({wanted: found[name][i] for wanted, name in columns.items()}, shapes[i], known_crs, source, int(number))


def columns_of(source: SourceSettings, existing: list[str]) -> dict[str, str]:
    """Columns that the settings ask for -> their names in the file, by alias where the first name is absent.

    Raises:
        MissingError: A column is there under none of its names.
    """
    asked = [name for name in (source.key, source.code, source.label, *source.attributes) if name is not None]
    found = {}
    for name in asked:
        names = (name, *source.aliases.get(name, ()))
        match = next((one for one in names if one in existing), None)
        if match is None:
            raise MissingError(
                f"{source.url}: needed the column {' or '.join(names)}, found {', '.join(existing) or 'none'}; correct the settings of "
                f"source {source.name!r} or add the name to its aliases"
            )
        found[name] = match
    return found


def prepare_source(source: SourceSettings, scratch: str) -> tuple[str, str]:
    """Local path of a source, fetched and unpacked to scratch where needed, and its format.

    Raises:
        MissingError: Nothing there, or nothing readable in the zip.
        FormatError: A broken zip, one with members outside its folder, or an unknown format.
        CapacityError: Larger than `max_bytes`.
    """
    path = local_copy(source.url, scratch, source.max_bytes)
    if path.suffix.lower() == ".zip":
        folder = unpack_zip(path, scratch, source.max_bytes)
        inside = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and source.format in ("auto", _SUFFIXES[p.suffix.lower()])
        )
        if len(inside) != 1:
            found = ", ".join(p.name for p in inside) or ", ".join(sorted(p.name for p in folder.rglob("*"))) or "nothing"
            raise MissingError(f"{source.url}: needed one GeoPackage, shapefile or Parquet file in the zip, found {found}")
        path = inside[0]
    kind = _SUFFIXES.get(path.suffix.lower()) if source.format == "auto" else source.format
    if kind is None:
        raise FormatError(f"{source.url}: needed one of {', '.join(_SUFFIXES)}, found {path.suffix or 'no suffix'!r}; state the format")
    return str(path), kind


def _layer_of(path: str, source: SourceSettings) -> str:
    layers = [str(name) for name, kind in _ogr(path, pyogrio.list_layers, path) if kind is not None]  # None: a table without geometry
    if source.layer is not None and source.layer in layers:
        return source.layer
    if source.layer is None and len(layers) == 1:
        return layers[0]
    needed = "one layer" if source.layer is None else f"the layer {source.layer!r}"
    raise MissingError(f"{source.url}: needed {needed}, found {', '.join(layers) or 'none'}; state 'layer'")


def _read_info(path: str, source: SourceSettings) -> dict[str, Any]:
    options = {"layer": _layer_of(path, source), "encoding": source.encoding, "force_feature_count": True}
    info: dict[str, Any] = _ogr(path, pyogrio.read_info, path, **options)
    return info


def _read_ogr(path: str, source: SourceSettings, columns: list[str], first: int, count: int) -> tuple[dict[str, Any], Any, str | None, Any]:
    layer = _layer_of(path, source)
    read = {"layer": layer, "encoding": source.encoding, "columns": columns, "force_2d": True, "return_fids": True}
    meta, numbers, shapes, data = _ogr(path, pyogrio.raw.read, path, skip_features=first, max_features=count, **read)
    found = dict(zip((str(name) for name in meta["fields"]), data, strict=True))
    return found, shapes, meta["crs"], numbers


def _ogr(path: str, function: Any, *args: Any, **options: Any) -> Any:
    try:
        return function(*args, **options)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        raise FormatError(f"{path}: needed a file that GDAL reads as vectors, found one that it does not: {error}") from error


def _record(values: dict[str, Any], shape: Any, crs: str | None, source: SourceSettings, number: int) -> SourceRecord:
    text = {name: _text(value) for name, value in values.items()}
    key = text[source.key] if source.key is not None else f"#{number}"
    wkb = bytes(shape) if shape is not None and len(shape) else None
    reason = "empty" if wkb is None else "no_crs" if crs is None else None
    return SourceRecord(
        key if key is not None else f"#{number}",
        text[source.code] if source.code is not None else None,
        text[source.label] if source.label is not None else None,
        {name: value for name in source.attributes if (value := text[name]) is not None},
        wkb,
        crs,
        reason,
    )


def _text(value: Any) -> str | None:
    """A cell as text: whole floats without their point (keys come as 106806035.0), None for nulls and blanks."""
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else str(int(value)) if float(value).is_integer() else repr(float(value))
    if value is None or (isinstance(value, np.datetime64) and np.isnat(value)):
        return None
    return str(value).strip() or None


@lru_cache(maxsize=64)
def _short_crs(crs: str | None) -> str | None:
    if crs is None:
        return None
    try:
        known = CRS.from_user_input(json.loads(crs) if crs.lstrip().startswith("{") else crs)
    except (CRSError, json.JSONDecodeError) as error:
        raise FormatError(f"needed a coordinate reference system, found {crs[:80]!r}: {error}") from error
    authority = known.to_authority()
    return ":".join(authority) if authority is not None else str(known.to_wkt())
