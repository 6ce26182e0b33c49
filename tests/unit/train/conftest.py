"""A small training set as the builder writes it, for all tests of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eespark import __version__
from eespark.bands import BANDS
from eespark.io.storage import write_manifest
from eespark.manifest import build_manifest

CLASS_IDS = (1, 4, 9)
TIMES = 10
MakeSet = Callable[..., Path]


def make_rows(rng: np.random.Generator, rows: int, class_ids: Sequence[int] = CLASS_IDS, times: int = TIMES) -> pa.Table:
    """Series whose class sets the day of their peak in all bands; days, gaps and noise are random."""
    classes = np.asarray(class_ids)[rng.integers(0, len(class_ids), rows)]
    day = np.sort(rng.integers(0, 360, (rows, times)), axis=1)
    peak = (np.searchsorted(CLASS_IDS, classes) + 1) * 80
    bump = np.exp(-(((day - peak[:, None]) / 40) ** 2))
    reflectance = 500 + 3000 * bump[:, :, None] * np.linspace(0.3, 1, 9) + rng.normal(0, 150, (rows, times, 9))
    valid = (rng.random((rows, times)) < 0.8).astype(np.int16)
    valid[:, -1] = 0
    reflectance = np.where(valid[:, :, None] > 0, reflectance, 0).astype(np.int16)
    keys = rng.integers(0, 2**60, rows)
    text = [f"label {k}" for k in keys]
    zeros = np.zeros(rows)
    return pa.table(
        {
            "sample_id": pa.array(keys, pa.int64()),
            "label_id": pa.array(text),
            "tile": pa.array(["33UVP"] * rows),
            "row": pa.array(zeros, pa.int32()),
            "col": pa.array(zeros, pa.int32()),
            **{name: pa.array(zeros, pa.float64()) for name in ("x", "y", "point_x", "point_y")},
            "class_id": pa.array(classes, pa.int32()),
            "class_ids": pa.array([None] * rows, pa.list_(pa.int32())),
            "inclusion_probability": pa.array(rng.uniform(0.2, 1, rows)),
            "weight": pa.array(zeros + 1),
            "clear": pa.array(valid.sum(axis=1), pa.int16()),
            "reflectance": pa.array(list(reflectance.reshape(rows, -1)), pa.list_(pa.int16())),
            "valid": pa.array(list(valid), pa.list_(pa.int16())),
            "day": pa.array(list(day.astype(np.int16)), pa.list_(pa.int16())),
        }
    )


def write_part(folder: Path, tables: Sequence[pa.Table], groups_a_file: int = 2) -> dict[str, object]:
    """Write one part, one row group a table, and give its entry in the manifest."""
    folder.mkdir(parents=True)
    counts = {}
    for number, start in enumerate(range(0, len(tables), groups_a_file)):
        name = f"part-{number:05d}.parquet"
        here = tables[start : start + groups_a_file]
        with pq.ParquetWriter(folder / name, here[0].schema) as writer:
            for table in here:
                writer.write_table(table, row_group_size=table.num_rows)
        counts[name] = len(here)
    key = {b"dataset-toolkit.num_row_groups_per_file.v1": json.dumps(counts).encode()}
    pq.write_metadata(tables[0].schema.with_metadata(key), folder / "_common_metadata")
    ids = np.concatenate([t["class_id"].to_numpy() for t in tables])
    return {
        "rows": len(ids),
        "row_groups": len(tables),
        "rows_by_class": {str(i): int((ids == i).sum()) for i in np.unique(ids)},
        "row_group_rows": [t.num_rows for t in tables],
    }


def make_set(
    folder: Path, seed: int = 0, groups: Sequence[int] = (40, 40, 40, 30, 40), class_ids: Sequence[int] = CLASS_IDS, times: int = TIMES
) -> Path:
    """A training set with the parts train, validation and test."""
    rng = np.random.default_rng(seed)
    train = [make_rows(rng, n, class_ids, times) for n in groups]
    parts = {"train": write_part(folder / "train", train)}
    for name in ("validation", "test"):
        parts[name] = write_part(folder / name, [make_rows(rng, 60, class_ids, times)])
    values = np.concatenate([np.stack(t["reflectance"].to_pylist()).reshape(-1, 9) for t in train]) / 10000
    clear = np.concatenate([np.stack(t["valid"].to_pylist()).ravel() for t in train]) > 0
    content = {
        "sample_set": "fake@1",
        "legend": "fake@1",
        "classes": [{"id": int(i), "name": f"class {i}", "colour": "#336699"} for i in class_ids],
        "bands": list(BANDS),
        "scale": 10000,
        "times": times,
        "statistics": {"mean": values[clear].mean(0).tolist(), "std": values[clear].std(0).tolist()},
        "parts": parts,
        "grid": {"kind": "as_acquired"},
        "settings": {},
        "tables": {},
    }
    write_manifest(str(folder), build_manifest("training_set", content, __version__))
    return folder


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training set that tests read and never change."""
    return make_set(tmp_path_factory.mktemp("fake") / "training_set")


@pytest.fixture(scope="session")
def build_set() -> MakeSet:
    """The maker of training sets, for tests that need another one."""
    return make_set
