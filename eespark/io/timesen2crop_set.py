"""A training set made of the published layout of TimeSen2Crop, so that whoever has its 1.2 million files can train on them."""

from __future__ import annotations

import hashlib
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
from eespark.bands import BANDS, REFLECTANCE_SCALE, Flag
from eespark.errors import FormatError, MissingError, SettingsError
from eespark.io.parquet_sets import finish_part
from eespark.io.storage import join_url, open_filesystem, publish_folder, remove_tree, write_manifest
from eespark.io.timesen2crop import ClassFolder, list_timesen2crop, read_dates, read_samples, read_series
from eespark.kernels.sampling import hash_text, hash_uint64
from eespark.kernels.series import band_sums, mean_and_std
from eespark.legend import load_legend
from eespark.manifest import build_manifest
from eespark.schema import SPLITS, TRAINING

LITERATURE_SPLITS: Final = {"33TWN": "validation", "33UVP": "test", "2019_33UVP": "unseen"}
"""The split of the literature; tiles that are not named are for training. `unseen` is the year after."""
_ARROW: Final = {
    "bigint": pa.int64(), "int": pa.int32(), "smallint": pa.int16(), "double": pa.float64(), "string": pa.string(),
    "array<int>": pa.list_(pa.int32()), "array<smallint>": pa.list_(pa.int16()),
}  # fmt: skip
_SCHEMA: Final = pa.schema([(c.name, _ARROW[c.dtype]) for c in TRAINING.columns])
_SEASON_START: Final = (9, 1)


@dataclass(frozen=True)
class _Source:
    """The tile folders below a root."""

    root: str
    dates: Mapping[str, list[date]]
    samples: Mapping[str, dict[tuple[int, int], dict[str, Any]] | None]
    """Rows of samples.csv by class and number; None where there is no such file."""

    @property
    def times(self) -> int:
        return max(len(dates) for dates in self.dates.values())


def timesen2crop_to_training_set(
    root: str, url: str, splits: Mapping[str, str], min_clear: int = 5, rows_per_group: int = 2048, min_row_groups: int = 8, seed: int = 1
) -> dict[str, int]:
    """Write a training set as `build_training_set` does; the rows of each part.

    Samples are spread over the row groups by a hash, and one row group is held in memory at a time.

    Args:
        root: Folder with the tile folders.
        url: Folder of the training set to write, whole or not at all.
        splits: Tile folder -> train, validation, test, unseen; those not named are for training. See `LITERATURE_SPLITS`.
        min_clear: Samples with fewer clear dates are left out, and counted.
        rows_per_group: Rows of a row group.
        min_row_groups: Row groups of a part at least.
        seed: Of the order of samples.

    Raises:
        SettingsError: A tile or a part that does not exist.
        MissingError: No samples to train on.
        FormatError: A file of another layout.
    """
    folders = list_timesen2crop(root)
    tiles = sorted({folder.tile for folder in folders})
    unknown = sorted((set(splits) - set(tiles)) | (set(splits.values()) - set(SPLITS)))
    if unknown:
        raise SettingsError(f"needed tiles of {', '.join(tiles)} and parts of {', '.join(SPLITS)}, found {', '.join(unknown)}")
    known = {c.class_id for c in load_legend("timesen2crop").classes}
    odd = sorted({f"{folder.tile}/{folder.class_id}" for folder in folders if folder.class_id not in known})
    if odd:
        raise FormatError(f"{root}: needed class folders {min(known)} to {max(known)}, found {', '.join(odd)}")
    source = _Source(root, {t: read_dates(root, t) for t in tiles}, {t: _by_number(read_samples(root, t)) for t in tiles})
    building = url.rstrip("/") + ".building"
    remove_tree(building)
    told: dict[str, Any] = {"parts": {}, "sums": [], "hash": 0, "few": 0}
    for part in SPLITS:
        own = [folder for folder in folders if splits.get(folder.tile, "train") == part]
        if sum(len(folder.numbers) for folder in own):
            _write_part(source, own, part, building, (min_clear, rows_per_group, min_row_groups, seed), told)
    if "train" not in told["parts"]:
        raise MissingError(f"needed training samples with {min_clear} clear dates below {root}, found none; name other splits")
    settings = {"root": root, "splits": dict(splits), "min_clear": min_clear, "rows_per_group": rows_per_group, "seed": seed}
    write_manifest(building, build_manifest("training_set", _content(source, told, settings), __version__))
    publish_folder(building, url)
    return {part: int(one["rows"]) for part, one in told["parts"].items()}


def _by_number(table: pd.DataFrame | None) -> dict[tuple[int, int], dict[str, Any]] | None:
    if table is None:
        return None
    rows: list[dict[str, Any]] = table.drop(columns="crs").to_dict("records")  # type: ignore[assignment]
    return {(int(row["class_id"]), int(row["number"])): dict(row) for row in rows}


def _write_part(
    source: _Source, folders: Sequence[ClassFolder], part: str, building: str, how: tuple[int, int, int, int], told: dict[str, Any]
) -> None:
    min_clear, rows_per_group, min_row_groups, seed = how
    which = np.repeat(np.arange(len(folders)), [len(folder.numbers) for folder in folders])
    numbers = np.concatenate([np.asarray(folder.numbers, np.int64) for folder in folders])
    places = np.array([hash_text(f"{folder.tile}/{folder.class_id}") for folder in folders], np.int64)
    order = np.argsort(hash_uint64(seed, places[which], numbers), kind="stable")
    groups = max(math.ceil(len(order) / rows_per_group), min(min_row_groups, len(order)))
    rows, by_class, written = 0, np.zeros(256, np.int64), 0
    filesystem, path = open_filesystem(join_url(building, part))
    for members in np.array_split(order, groups):
        table = _rows(source, [(folders[int(which[i])], int(numbers[i])) for i in members])
        enough = np.asarray(table["clear"]) >= min_clear
        told["few"] += int((~enough).sum())
        table = table.filter(pa.array(enough))
        if not table.num_rows:
            continue
        filesystem.makedirs(path, exist_ok=True)
        with filesystem.open(f"{path}/part-{written:05d}.parquet", "wb") as stream:
            pq.write_table(table, stream, row_group_size=table.num_rows, compression="zstd")
        rows, written = rows + table.num_rows, written + 1
        by_class += np.bincount(np.asarray(table["class_id"]), minlength=256)
        _add(told, table, source.times, part)
    if rows:
        counts = {str(int(c)): int(by_class[c]) for c in np.flatnonzero(by_class)}
        told["parts"][part] = {"rows": rows, "rows_by_class": counts, **finish_part(join_url(building, part))}


def _add(told: dict[str, Any], table: pa.Table, times: int, part: str) -> None:
    reflectance = table["reflectance"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    if part == "train":
        valid = table["valid"].combine_chunks().flatten().to_numpy().reshape(-1, times) > 0
        told["sums"].append(band_sums(reflectance.reshape(-1, times, len(BANDS)), valid))
    for sample_id, one in zip(table["sample_id"].to_pylist(), reflectance, strict=True):
        told["hash"] += int.from_bytes(hashlib.sha256(f"{sample_id}".encode() + one.tobytes()).digest()[:8], "little")


def _rows(source: _Source, members: Sequence[tuple[ClassFolder, int]]) -> pa.Table:
    """Rows of `TRAINING` of single files, sorted by nothing but chance."""
    count, times = len(members), source.times
    reflectance, valid = np.zeros((count, times, len(BANDS)), np.int16), np.zeros((count, times), np.int16)
    day = np.zeros((count, times), np.int16)
    places = []
    for row, (folder, number) in enumerate(members):
        dates = source.dates[folder.tile]
        one = read_series(source.root, ClassFolder(folder.tile, folder.class_id, (number,)), len(dates))
        # Zeros in all bands are no data whatever the flag says.
        clear = (one.flag[0] == Flag.CLEAR) & one.reflectance[0].any(axis=1)
        reflectance[row, : len(dates)] = np.where(clear[:, None], one.reflectance[0], 0)
        valid[row, : len(dates)] = clear
        day[row, : len(dates)] = _days(dates)
        places.append(_place(source, folder, number))
    columns: dict[str, Any] = {name: [one[name] for one in places] for name in places[0]} if places else {}
    columns |= {"clear": valid.sum(axis=1).astype(np.int16), "class_ids": [None] * count}
    columns |= {"reflectance": list(reflectance.reshape(count, -1)), "valid": list(valid), "day": list(day)}
    return pa.table([pa.array(columns[field.name], field.type) for field in _SCHEMA], schema=_SCHEMA)


def _days(dates: Sequence[date]) -> npt.NDArray[np.int16]:
    """Days since the first day of the crop year, which is the last 1 September before (or on) the first date."""
    if not dates:
        return np.zeros(0, np.int16)
    start = date(dates[0].year, *_SEASON_START)
    start = start if dates[0] >= start else date(dates[0].year - 1, *_SEASON_START)
    return np.array([(one - start).days for one in dates], np.int16)


def _place(source: _Source, folder: ClassFolder, number: int) -> dict[str, Any]:
    """The columns that tell who the sample is; null where the published set does not say."""
    name = f"{folder.tile}/{folder.class_id}/{number}"
    unknown = dict.fromkeys(("row", "col", "x", "y", "point_x", "point_y"))
    told: dict[str, Any] = {"sample_id": hash_text(name), "label_id": name, "tile": folder.tile, **unknown}
    told |= {"class_id": folder.class_id, "inclusion_probability": 1.0, "weight": 1.0}
    table = source.samples[folder.tile]
    if table is None:
        return told
    row = table.get((folder.class_id, number))
    if row is None:
        raise MissingError(f"{source.root}/{folder.tile}/samples.csv: needed a row of the sample {name}, found none")
    return told | {key: value for key, value in row.items() if key in told}


def _content(source: _Source, told: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    legend = load_legend("timesen2crop")
    trained = told["parts"]["train"]["rows_by_class"]
    total, squares = (np.sum([one[i] for one in told["sums"]], axis=0) for i in (0, 1))
    mean, std = mean_and_std(total, squares, sum(one[2] for one in told["sums"]), REFLECTANCE_SCALE)
    return {
        "sample_set": "TimeSen2Crop",
        "legend": legend.key,
        "classes": [{"id": c.class_id, "name": c.name, "colour": c.colour} for c in legend.classes if trained.get(str(c.class_id))],
        "bands": list(BANDS),
        "scale": REFLECTANCE_SCALE,
        "times": source.times,
        "statistics": {"mean": mean, "std": std},
        "parts": told["parts"],
        "grid": {"kind": "as_acquired"},
        "settings": settings,
        "tables": {},
        "dropped": {"too_few_clear_dates": told["few"]},
        "content_hash": f"{told['hash'] % 2**64:016x}",
    }
