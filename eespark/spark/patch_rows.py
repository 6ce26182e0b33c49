"""Patches and tiles of a scene as rows of the table of patches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from eespark.io.patches import Patches
from eespark.io.tiles import NO_CLASS, Tiles
from eespark.kernels.sampling import hash_uint64
from eespark.schema_polar import PATCHES
from eespark.spark.task_rows import task_schema

OUTPUT, ARROW = task_schema(PATCHES)
_MOST_BYTES: Final = 16 << 20
_NO_LABEL: Final = -1


def patch_batches(same: dict[str, Any], labels: pd.DataFrame, patches: Patches, looks: int) -> Iterator[pa.RecordBatch]:
    """Rows of patches that lie in one polygon each.

    Args:
        same: Columns that all have in common: sample_set, product_id, fingerprint, tile, sensing_time.
        labels: The scene's polygons: label_id, label_root, class_id, fast.
        patches: Of one strip.
        looks: Pixels of a look's side.
    """
    names = labels["label_id"].to_numpy()
    for part in _parts(patches.sigma):
        label = patches.label[part]
        columns = _places(same, patches, part, looks, label) | {
            "label_id": pa.array(names[label], pa.string()),
            "label_root": pa.array(labels["label_root"].to_numpy()[label], pa.string()),
            "class_id": pa.array(labels["class_id"].to_numpy()[label].astype(np.int32)),
            "fast": pa.array(labels["fast"].to_numpy()[label].astype(bool)),
            "purity": pa.array(patches.purity[part]),
        }
        yield _batch(columns, len(label))


def tile_batches(same: dict[str, Any], labels: pd.DataFrame, tiles: Tiles, looks: int) -> Iterator[pa.RecordBatch]:
    """Rows of squares of a whole scene, whose looks have classes of their own; that of a row is the most frequent one.

    Args:
        same: As for `patch_batches`.
        labels: As for `patch_batches`; may be none.
        tiles: Of one row of squares.
        looks: Pixels of a look's side.
    """
    names, roots, class_of, fast = (labels[name].to_numpy() if len(labels) else np.zeros(0, object) for name in _LABEL_COLUMNS)
    for part in _parts(tiles.sigma):
        drawn = tiles.label[part]
        count = len(drawn)
        classes = np.where(drawn >= 0, class_of[drawn].astype(np.int64), NO_CLASS) if len(class_of) else np.full(drawn.shape, NO_CLASS)
        main = [_most(one[one != NO_CLASS]) for one in classes]
        inside = [np.unique(one[one >= 0]) for one in drawn]
        # The polygon that stands for a square is the one with most of its looks.
        chief = [_most(one[one >= 0]) for one in drawn]
        columns = _places(same, tiles, part, looks, np.full(count, _NO_LABEL)) | {
            "label_id": pa.array([None if one is None else str(names[one]) for one in chief], pa.string()),
            "label_root": pa.array([None if one is None else str(roots[one]) for one in chief], pa.string()),
            "label_roots": pa.array([sorted({str(roots[k]) for k in one}) for one in inside], pa.list_(pa.string())),
            "class_id": pa.array(main, pa.int32()),
            "fast": pa.array([bool(fast[one].any()) for one in inside], pa.bool_()),
            "purity": pa.array((drawn >= 0).mean(axis=(1, 2))),
            "classes": _bytes(classes.astype(np.uint8)),
            "cells": _bytes(tiles.cells[part].astype(np.uint8)),
            "digital": pa.nulls(count, pa.binary()) if tiles.digital is None else _bytes(tiles.digital[part].astype("<u2")),
        }
        yield _batch(columns, count)


_LABEL_COLUMNS: Final = ("label_id", "label_root", "class_id", "fast")


def _parts(sigma: npt.NDArray[np.float32]) -> Iterator[slice]:
    """Slices of rows whose arrays are of moderate size together."""
    many = max(_MOST_BYTES // max(sigma[:1].nbytes, 1), 1)
    yield from (slice(first, first + many) for first in range(0, len(sigma), many))


def _places(same: dict[str, Any], found: Patches | Tiles, part: slice, looks: int, label: npt.NDArray[Any]) -> dict[str, Any]:
    """Columns that patches and tiles have alike."""
    rows, cols, size, count = found.rows[part], found.cols[part], found.sigma.shape[-1], len(label)
    name_key = pd.util.hash_array(np.array([same["product_id"]], dtype=object), categorize=False)
    keys = hash_uint64(name_key, rows, cols, size, looks, label)
    columns: dict[str, Any] = {name: pa.array([value] * count, ARROW.field(name).type) for name, value in same.items()}
    return columns | {
        "patch_id": pa.array(keys.view(np.int64)),
        "bands": pa.array([",".join(found.bands)] * count),
        "row": pa.array(rows.astype(np.int32)),
        "col": pa.array(cols.astype(np.int32)),
        "size": pa.array(np.full(count, size, np.int32)),
        "looks": pa.array(np.full(count, looks, np.int32)),
        "x": pa.array(found.x[part]),
        "y": pa.array(found.y[part]),
        "sigma": _bytes(found.sigma[part].astype("<f4")),
        "incidence": _bytes(found.incidence[part].astype("<f4")),
    }


def _bytes(values: npt.NDArray[Any]) -> pa.Array:
    return pa.array([one.tobytes() for one in values], pa.binary())


def _batch(columns: dict[str, Any], count: int) -> pa.RecordBatch:
    absent = {name: pa.nulls(count, ARROW.field(name).type) for name in ARROW.names if name not in columns}
    columns = columns | absent
    return pa.RecordBatch.from_arrays([columns[name] for name in ARROW.names], schema=ARROW)


def _most(values: npt.NDArray[Any]) -> int | None:
    """The most frequent one, the least of equals; None of none."""
    if not len(values):
        return None
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
