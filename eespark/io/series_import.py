"""Finished time series of other projects as a training set: a long Parquet table, one row a sample and date.

For reference data that comes with its series (WorldCereal, EuroCropsML, ...): no archive and no Spark are needed. All of it is
held in memory, a few kB a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from eespark import __version__
from eespark.bands import BANDS, REFLECTANCE_SCALE
from eespark.errors import FormatError, MissingError
from eespark.geometry import accurate_transformer
from eespark.grid import tile_epsg
from eespark.io.parquet_sets import finish_part
from eespark.io.storage import join_url, open_filesystem, publish_folder, remove_tree, write_manifest
from eespark.kernels.sampling import hash_text
from eespark.kernels.series import band_sums, mean_and_std, pad_series
from eespark.legend import LegendClass
from eespark.manifest import build_manifest
from eespark.schema import TRAINING

Floats = npt.NDArray[np.float64]

_YEAR_DAYS: Final = 366
_LABEL_CRS: Final = "EPSG:3035"
_ARROW: Final = {
    "bigint": pa.int64(), "string": pa.string(), "int": pa.int32(), "double": pa.float64(), "smallint": pa.int16(),
    "array<int>": pa.list_(pa.int32()), "array<smallint>": pa.list_(pa.int16()),
}  # fmt: skip
SCHEMA: Final = pa.schema([(column.name, _ARROW[column.dtype]) for column in TRAINING.columns])
"""Columns of a training set as Arrow has them."""


@dataclass(frozen=True)
class SeriesLayout:
    """What the columns of a long table of series are called.

    Attributes:
        sample: Key of the sample.
        date: Date of the observation, or first day of its composite.
        code: Crop code of the sample.
        tile: MGRS tile without the leading T.
        lon: Degrees, of the sample.
        lat: Degrees.
        bands: Band of `eespark.bands.BANDS` -> column with reflectance x 10,000.
        nodata: Value of the bands where there is none.
        centre_days: Days from `date` to the middle of the composite; 0 for single acquisitions.
    """

    sample: str
    date: str
    code: str
    tile: str
    lon: str
    lat: str
    bands: Mapping[str, str]
    nodata: int
    centre_days: int = 0


@dataclass(frozen=True)
class Series:
    """Series of n samples over one crop year, padded to the same number of dates.

    Attributes:
        keys: (n,) of the samples.
        codes: (n,) crop codes as text.
        tiles: (n,) MGRS tiles.
        lon: (n,) degrees.
        lat: (n,) degrees.
        reflectance: (n, times, 9) int16, x 10,000; 0 where not valid.
        valid: (n, times).
        day: (n, times) int16, days since the first day of the crop year; padding is 0.
    """

    keys: npt.NDArray[Any]
    codes: npt.NDArray[Any]
    tiles: npt.NDArray[Any]
    lon: Floats
    lat: Floats
    reflectance: npt.NDArray[np.int16]
    valid: npt.NDArray[np.bool_]
    day: npt.NDArray[np.int16]


def read_series(url: str, layout: SeriesLayout, first_day: date) -> Series:
    """The series of a long Parquet table, cut to one crop year; samples in the order of their keys.

    Args:
        url: Parquet file.
        layout: Names of its columns.
        first_day: Of the crop year; observations before it, and from 366 days after it on, are left out.

    Raises:
        MissingError: A column or a band is absent, or no observation lies in the year.
        FormatError: A date that a sample has twice, or a sample with two codes or places.
    """
    table = _read_columns(url, layout)
    table["_day"] = (table[layout.date] - pd.Timestamp(first_day)).dt.days + layout.centre_days
    table = table[table["_day"].between(0, _YEAR_DAYS - 1)].sort_values([layout.sample, "_day"], kind="stable")
    if table.empty:
        raise MissingError(f"{url}: needed observations in the {_YEAR_DAYS} days from {first_day} on, found none; is it the right year?")
    twice = table.duplicated([layout.sample, "_day"])
    if twice.any():
        raise FormatError(f"{url}: needed one row a sample and date, found {int(twice.sum())} more; merge them first")
    own = [layout.code, layout.tile, layout.lon, layout.lat]
    grouped = table.groupby(layout.sample, sort=True, observed=True)
    several = (grouped[own].nunique(dropna=False) > 1).to_numpy().any(axis=1)
    if several.any():
        raise FormatError(f"{url}: needed one code and one place a sample, found {int(several.sum())} samples with several")
    first = grouped[own].first()
    lengths: npt.NDArray[np.int64] = np.asarray(grouped.size(), np.int64)
    values = table[[layout.bands[band] for band in BANDS]].to_numpy(np.float64)
    seen = np.isfinite(values).all(axis=1) & (values != layout.nodata).all(axis=1)
    stored = np.clip(np.rint(np.where(seen[:, None], values, 0)), -32_767, 32_767).astype(np.int16)
    times = int(lengths.max())
    padded = [pad_series(lengths, one, times) for one in (stored, seen, table["_day"].to_numpy(np.int16))]
    codes, tiles = (first[name].astype(str).to_numpy() for name in (layout.code, layout.tile))
    lon, lat = (first[name].to_numpy(np.float64) for name in (layout.lon, layout.lat))
    return Series(first.index.astype(str).to_numpy(), codes, tiles, lon, lat, padded[0], padded[1], padded[2])  # type: ignore[arg-type]


def training_table(series: Series, class_ids: Sequence[int], source: str) -> pa.Table:
    """The series as rows of a training set, in the order of the hashes of their keys: shuffled, and the same each time.

    Rows and columns of pixels are null: such series are of parcels or points. All inclusion probabilities and weights are 1.

    Args:
        series: Of n samples.
        class_ids: (n,) ids of the legend.
        source: Name that stands before each label_id.

    Returns:
        A table of `SCHEMA`.
    """
    sample_ids = [hash_text(f"{source}:{key}") for key in series.keys]
    x, y = _tile_coordinates(series)
    point_x, point_y = _project(series.lon, series.lat, _LABEL_CRS)
    count, ones = len(series.keys), np.ones(len(series.keys))
    columns: dict[str, Any] = {
        "sample_id": sample_ids, "label_id": [f"{source}:{key}" for key in series.keys], "tile": series.tiles.tolist(),
        "row": [None] * count, "col": [None] * count, "x": x, "y": y, "point_x": point_x, "point_y": point_y,
        "class_id": np.asarray(class_ids), "class_ids": [None] * count, "inclusion_probability": ones, "weight": ones,
        "clear": series.valid.sum(axis=1), "reflectance": list(series.reflectance.reshape(count, -1)),
        "valid": list(series.valid.astype(np.int16)), "day": list(series.day),
    }  # fmt: skip
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)
    return table.sort_by("sample_id")


def write_training_set(
    url: str, parts: Mapping[str, pa.Table], classes: Sequence[LegendClass], legend: str, name: str, rows_per_group: int = 2048
) -> dict[str, Any]:
    """Write parts as a training set, whole or not at all.

    Args:
        url: Folder that the set becomes, in the place of an older one.
        parts: train, and any of validation, test, unseen -> rows of `training_table`.
        classes: Of the legend; those without a row in train are left out.
        legend: name@version of the legend.
        name: name@version of the set, which takes the place of a sample set.
        rows_per_group: Rows of a row group, at most; each is a file.

    Returns:
        The manifest.

    Raises:
        MissingError: No training rows.
        FormatError: A label that is in two parts, or parts with other numbers of dates.
    """
    _check_parts(parts)
    building = url.rstrip("/") + ".building"
    remove_tree(building)
    told = {part: _write_part(join_url(building, part), table, rows_per_group) for part, table in parts.items() if table.num_rows}
    trained = told["train"]["rows_by_class"]
    times = _times(parts["train"])
    content = {
        "parts": told,
        "times": times,
        "sample_set": name,
        "legend": legend,
        "classes": [
            {"id": c.class_id, "name": c.name, "colour": c.colour}
            for c in sorted(classes, key=lambda c: c.class_id)
            if trained.get(str(c.class_id))
        ],
        "bands": list(BANDS),
        "scale": REFLECTANCE_SCALE,
        "statistics": _statistics(parts["train"], times),
        "grid": {"kind": "as_acquired"},
        "settings": {"imported": True, "rows_per_group": rows_per_group},
        "tables": {},
    }
    manifest = build_manifest("training_set", content, __version__)
    write_manifest(building, manifest)
    publish_folder(building, url)
    return manifest


def _read_columns(url: str, layout: SeriesLayout) -> pd.DataFrame:
    absent = [band for band in BANDS if band not in layout.bands]
    if absent:
        raise MissingError(f"needed a column for each of the bands {' '.join(BANDS)}, found none for {' '.join(absent)}")
    wanted = [layout.sample, layout.date, layout.code, layout.tile, layout.lon, layout.lat, *layout.bands.values()]
    filesystem, path = open_filesystem(url)
    try:
        with filesystem.open(path, "rb") as stream:
            file = pq.ParquetFile(stream)
            missing = [name for name in wanted if name not in file.schema_arrow.names]
            if missing:
                found = ", ".join(file.schema_arrow.names)
                raise MissingError(f"{url}: needed the columns {', '.join(missing)}, found {found}; correct the layout")
            table: pd.DataFrame = file.read(columns=list(dict.fromkeys(wanted))).to_pandas()
    except FileNotFoundError as error:
        raise MissingError(f"needed a table of series at {url}, found nothing there") from error
    except pa.ArrowInvalid as error:
        raise FormatError(f"{url}: needed Parquet, found another file: {error}") from error
    table[layout.date] = pd.to_datetime(table[layout.date])
    return table


def _tile_coordinates(series: Series) -> tuple[Floats, Floats]:
    x, y = np.zeros(len(series.lon)), np.zeros(len(series.lon))
    for tile in np.unique(series.tiles):
        here = series.tiles == tile
        x[here], y[here] = _project(series.lon[here], series.lat[here], f"EPSG:{tile_epsg(str(tile))}")
    return x, y


def _project(lon: Floats, lat: Floats, crs: str) -> tuple[Floats, Floats]:
    area = (float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max()))
    x, y = accurate_transformer("EPSG:4326", crs, area).transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _check_parts(parts: Mapping[str, pa.Table]) -> None:
    if "train" not in parts or not parts["train"].num_rows:
        raise MissingError(f"needed training rows, found the parts {', '.join(parts) or 'none'}")
    owner: dict[str, str] = {}
    for part, table in parts.items():
        if table.num_rows and _times(table) != _times(parts["train"]):
            raise FormatError(f"part {part}: needed {_times(parts['train'])} dates as in train, found {_times(table)}")
        for label in set(table["label_id"].to_pylist()):
            if owner.setdefault(label, part) != part:
                raise FormatError(f"label {label} is in {owner[label]} and in {part}; a parcel must be in one part")


def _times(table: pa.Table) -> int:
    return len(table["valid"][0])


def _write_part(url: str, table: pa.Table, rows_per_group: int) -> dict[str, Any]:
    filesystem, path = open_filesystem(url)
    filesystem.makedirs(path, exist_ok=True)
    for number in range(math.ceil(table.num_rows / rows_per_group)):
        rows = table.slice(number * rows_per_group, rows_per_group)
        with filesystem.open(f"{path}/part-{number:05d}.parquet", "wb") as stream:
            pq.write_table(rows, stream, row_group_size=rows_per_group)
    counts = table["class_id"].value_counts().to_pylist()
    return {"rows": table.num_rows, "rows_by_class": {str(c["values"]): int(c["counts"]) for c in counts}, **finish_part(url)}


def _statistics(train: pa.Table, times: int) -> dict[str, list[float]]:
    values = np.stack(train["reflectance"].to_numpy()).reshape(train.num_rows, times, len(BANDS))
    valid = np.stack(train["valid"].to_numpy()) > 0
    mean, std = mean_and_std(*band_sums(values, valid), REFLECTANCE_SCALE)
    return {"mean": mean, "std": std}
