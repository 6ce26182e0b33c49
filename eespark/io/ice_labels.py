"""Polygons of analysts and ice charts as rows, placed in a legend: one file a scene, a file of many scenes, or a chart of a day."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import numpy as np
import shapely
from pydantic import Field, field_validator

from eespark.errors import EESparkError, FormatError, MissingError
from eespark.geometry import repair
from eespark.ice_legend import IceLegend, IcePlacement, load_ice_legend, place_class, place_codes
from eespark.io.storage import open_filesystem
from eespark.io.vectors import SourceRecord, SourceSettings, column_names, count_features, read_chunk
from eespark.polar_geometry import to_polar
from eespark.settings import Settings, Share, Url
from eespark.sigrid import FAST_FORM, IceCodes, codes_of

_SUFFIXES: Final = (".shp", ".gpkg", ".parquet", ".geoparquet", ".zip")
_GRID_SUFFIXES: Final = (".csv",)
_CODE_COLUMNS: Final = ("poly_type", "ct", "ca", "cb", "cc", "sa", "sb", "sc", "fa", "fb", "fc")
_AT_ONCE: Final = 5_000


class IceSource(Settings):
    """One source of polygons of ice."""

    name: str = Field(min_length=1, description="name of the source in tables, e.g. danmarkshavn_v2")
    url: Url = Field(description="a file, or a folder of files")
    kind: Literal["sigrid", "type", "class", "grid"] = Field(
        description="columns of SIGRID-3 codes; poly_type alone; a class of the source's own; or CSV files with the classes of tiles"
    )
    legend: str = Field("seaice_types", description="legend of eespark/legends")
    class_column: str = Field("class", description="kinds class and grid: column of the class")
    grid_px: int = Field(256, ge=1, description="kind grid: px; side of a tile, whose number of row and column stand in row and col")
    whole_chart: bool = Field(False, description="a chart of a region: polygons are of every scene in max_gap_s that they meet, cut to it")
    scene_column: str | None = Field(None, description="column of the scene's product name, where the file tells it")
    time_pattern: str = Field(r"(\d{8}T\d{6})", description="where the time of a file stands in its name, as YYYYMMDDThhmmss or YYYYMMDD")
    valid_time: datetime | None = Field(None, description="UTC; of all polygons, where names tell no time (a chart)")
    max_gap_s: float = Field(120.0, ge=0, description="s between that time and a scene's start")
    least_share: Annotated[Share, Field(description="of a polygon's ice that a class must have to be its class")] = 0.75
    layer: str | None = Field(None, description="layer of a GeoPackage; default its only one")
    crs: str | None = Field(None, description="CRS as EPSG:n, used only where a file states none")
    max_bytes: int = Field(1 << 30, gt=0, description="bytes; largest size of a file once unpacked to scratch")

    @field_validator("time_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"needed a regular expression, found {pattern!r}: {error}") from error
        if groups != 1:
            raise ValueError(f"needed one group in time_pattern, found {groups}")
        return pattern


def list_ice_files(source: IceSource) -> list[str]:
    """The files of a source, sorted.

    Raises:
        MissingError: There is none.
    """
    filesystem, path = open_filesystem(source.url)
    if not filesystem.exists(path):
        raise MissingError(f"needed polygons of {source.name} at {source.url}, found nothing there; check the path")
    if filesystem.isfile(path):
        return [source.url]
    suffixes = _GRID_SUFFIXES if source.kind == "grid" else _SUFFIXES
    found = sorted(str(one) for one in filesystem.find(path) if str(one).endswith(suffixes))
    if not found:
        raise MissingError(f"needed files of labels ({', '.join(suffixes)}) in {source.url}, found none; check the path")
    return found if "file" in filesystem.protocol else [str(filesystem.unstrip_protocol(one)) for one in found]


def time_of(source: IceSource, url: str) -> datetime | None:
    """Time of a file: as set, or as its name tells; None where neither does.

    Raises:
        FormatError: What the pattern finds is no time.
    """
    if source.valid_time is not None:
        return source.valid_time.replace(tzinfo=UTC) if source.valid_time.tzinfo is None else source.valid_time.astimezone(UTC)
    match = re.search(source.time_pattern, posixpath.basename(url))
    if match is None:
        return None
    form = "%Y%m%dT%H%M%S" if "T" in match[1] else "%Y%m%d"
    try:
        return datetime.strptime(match[1], form).replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError(f"{url}: needed a time as YYYYMMDDThhmmss in its name, found {match[1]!r}; correct time_pattern") from error


def read_ice_file(source: IceSource, url: str, polar_crs: str, scratch: str) -> Iterator[dict[str, Any]]:
    """The polygons of a file as columns of `ice_labels`, all but the scene where the file does not tell it.

    Args:
        source: Whose file it is.
        url: Of the file.
        polar_crs: CRS to bring them to.
        scratch: Local folder for what is fetched and unpacked.

    Raises:
        MissingError: No such file, layer or column.
        FormatError: No file of polygons.
    """
    plain = {"name": source.name, "url": url, "layer": source.layer, "crs": source.crs, "max_bytes": source.max_bytes}
    existing = column_names(SourceSettings(**plain, year=2000, codes="none"), scratch)
    columns = _columns(source, existing, url)
    settings = SourceSettings(**plain, year=2000, codes="none", attributes=tuple(columns.values()))
    legend, when = load_ice_legend(source.legend), time_of(source, url)
    for first in range(0, count_features(settings, scratch), _AT_ONCE):
        for record in read_chunk(settings, first, _AT_ONCE, scratch):
            told = {wanted: record.attributes.get(name) for wanted, name in columns.items()}
            row = _row(record, told, source, posixpath.basename(url), legend)
            yield row | {"observed": when, "scene": _scene(told.get("scene")), **_shape(record, polar_crs)}


def _columns(source: IceSource, existing: list[str], url: str) -> dict[str, str]:
    """What is wanted -> column of the file, whatever the case of its name.

    Raises:
        MissingError: A column that must be there is not.
    """
    folded = {name.lower(): name for name in existing}
    needed = {"sigrid": ("ct", "sa"), "type": ("poly_type",), "class": (source.class_column.lower(),)}[source.kind]
    wanted = {name: name for name in _CODE_COLUMNS} if source.kind == "sigrid" else {}
    wanted |= {"type": {"poly_type": "poly_type"}, "class": {"class": source.class_column.lower()}}.get(source.kind, {})
    if source.scene_column is not None:
        wanted["scene"], needed = source.scene_column.lower(), (*needed, source.scene_column.lower())
    absent = [name for name in needed if name not in folded]
    if absent:
        raise MissingError(
            f"{url}: needed the columns {', '.join(needed)}, found {', '.join(existing) or 'none'}; correct source {source.name!r}"
        )
    return {key: folded[name] for key, name in wanted.items() if name in folded}


def base_row(source: IceSource, key: str, legend: IceLegend) -> dict[str, Any]:
    """Columns of a label that all kinds of sources have; without codes."""
    return {
        "label_id": f"{source.name}:{key}",
        "source": source.name,
        "source_key": key,
        "legend": legend.legend.key,
        "carried_from": None,
        "poly_type": None,
        "fast": False,
        **dict.fromkeys(_CODE_COLUMNS[1:]),
    }


def _row(record: SourceRecord, told: dict[str, str | None], source: IceSource, file: str, legend: IceLegend) -> dict[str, Any]:
    row = base_row(source, f"{file}:{record.source_key}", legend) | {"poly_type": told.get("poly_type")}
    try:
        if source.kind == "class":
            placed = place_class(told.get("class"), legend)
        else:
            codes = codes_of({name: told.get(name) for name in _CODE_COLUMNS})
            row |= _told(codes)
            placed = place_codes(codes, legend, source.least_share)
    except FormatError:
        placed = IcePlacement(None, reason="unknown_code")
    row |= {"class_id": placed.class_id, "second_class_id": placed.second, "share": placed.share, "concentration": placed.concentration}
    return {**row, "reason": record.reason or placed.reason}


def _told(codes: IceCodes) -> dict[str, Any]:
    columns: dict[str, Any] = {"ct": codes.total}
    for letter, partial, stage, form in zip("abc", codes.partial, codes.stage, codes.form, strict=True):
        columns |= {f"c{letter}": partial, f"s{letter}": stage, f"f{letter}": form}
    forms = [form for stage, form in zip(codes.stage, codes.form, strict=True) if stage is not None]
    return {**columns, "fast": bool(forms) and all(form == FAST_FORM for form in forms)}


def _scene(name: str | None) -> str | None:
    return None if name is None else name.strip().removesuffix(".zip").removesuffix(".SAFE")


def _shape(record: SourceRecord, polar_crs: str) -> dict[str, Any]:
    """Geometry, CRS and area; a reason where it has none, which goes before others."""
    empty = {"geometry": None, "crs": polar_crs, "area_m2": None}
    if record.geometry is None or record.crs is None:
        return empty
    (read,) = shapely.from_wkb(np.array([record.geometry], dtype=object), on_invalid="ignore")
    if read is None or not np.isfinite(shapely.get_coordinates(read)).all():
        return {**empty, "reason": "invalid"}
    try:
        (placed,) = to_polar([read], record.crs, polar_crs)
    except EESparkError:
        return {**empty, "reason": "no_crs"}
    # Mended where it lies: in longitude and latitude what goes round the pole crosses itself.
    mended, reason = repair(placed)
    if mended is None:
        return {**empty, "reason": reason}
    return {"geometry": bytes(shapely.to_wkb(mended)), "crs": polar_crs, "area_m2": float(mended.area)}
