"""Training sets for the benchmarks of training and mapping: series of a crop year with gaps, as `build_training_set` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eespark import __version__
from eespark.bands import BANDS, REFLECTANCE_SCALE
from eespark.io.parquet_sets import finish_part
from eespark.io.storage import write_manifest
from eespark.kernels.series import band_sums, mean_and_std
from eespark.legend import load_legend
from eespark.manifest import build_manifest
from eespark.train.data import series_shape

CLEAR_SHARE = 0.55  # of the dates of a series: about what the demo's archive has
CLASSES = 15


def write_set(folder: Path, rows: int, rows_per_group: int, times: int) -> Path:
    """A training set with `rows` series in train and an eighth of them in validation, one row group a file; made anew.

    Args:
        folder: Of the set.
        rows: Of the part train.
        rows_per_group: Of a row group.
        times: Dates of a series.
    """
    rng, parts, sums = np.random.default_rng(20_180_831), {}, []
    for part, count in (("train", rows), ("validation", max(rows // 8, CLASSES))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        by_class = np.zeros(CLASSES, np.int64)
        for number, first in enumerate(range(0, count, rows_per_group)):
            arrays = _series(rng, min(rows_per_group, count - first), times)
            pq.write_table(_table(arrays), folder / part / f"part-{number:05d}.parquet", compression="zstd")
            by_class += np.bincount(arrays["class_id"], minlength=CLASSES)
            if part == "train":
                sums.append(band_sums(arrays["reflectance"], arrays["valid"] > 0))
        told = {"rows": count, "rows_by_class": {str(c): int(n) for c, n in enumerate(by_class)}}
        parts[part] = {**told, **finish_part(str(folder / part))}
    write_manifest(str(folder), build_manifest("training_set", _content(parts, sums, times), __version__))
    return folder


def _series(rng: np.random.Generator, rows: int, times: int) -> dict[str, npt.NDArray[Any]]:
    """Each class green up at its own time; every class occurs."""
    classes = rng.permutation(np.arange(rows) % CLASSES).astype(np.int32)
    day = np.sort(rng.integers(0, 365, (rows, times)), axis=1).astype(np.int16)
    green = np.exp(-(((day - 20.0 * classes[:, None] - 40) / 35) ** 2))
    values = 800 + 2_500 * green[:, :, None] * np.linspace(0.2, 1, len(BANDS)) + rng.normal(0, 120, (rows, times, len(BANDS)))
    valid = (rng.random((rows, times)) < CLEAR_SHARE).astype(np.int16)
    values = np.where(valid[:, :, None] > 0, values, 0).astype(np.int16)
    return {"reflectance": values, "valid": valid, "day": day, "class_id": classes, "inclusion_probability": np.ones(rows)}


def _table(arrays: dict[str, npt.NDArray[Any]]) -> pa.Table:
    columns = {}
    for name in series_shape(1, 1, ()).fed:
        flat = arrays[name].reshape(len(arrays[name]), -1)
        offsets = pa.array(np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1])
        one = arrays[name].ndim == 1
        columns[name] = pa.array(arrays[name]) if one else pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)))
    return pa.table(columns)


def _content(parts: dict[str, Any], sums: list[Any], times: int) -> dict[str, Any]:
    legend = load_legend("timesen2crop")
    total, squares = (np.sum([one[i] for one in sums], axis=0) for i in (0, 1))
    mean, std = mean_and_std(total, squares, sum(one[2] for one in sums), REFLECTANCE_SCALE)
    classes = [{"id": c.class_id, "name": c.name, "colour": c.colour} for c in legend.classes if c.class_id < CLASSES]
    told = {"sample_set": "bench@1", "legend": legend.key, "classes": classes, "bands": list(BANDS), "scale": REFLECTANCE_SCALE}
    told |= {"times": times, "statistics": {"mean": mean, "std": std}, "parts": parts, "grid": {"kind": "as_acquired"}}
    return {**told, "settings": {}, "tables": {}}
