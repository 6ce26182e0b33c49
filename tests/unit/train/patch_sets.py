"""A small training set of patches as the builder writes it, for tests of training and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eespark import __version__
from eespark.io.parquet_sets import finish_part
from eespark.io.storage import write_manifest
from eespark.kernels.backscatter import moments_of, statistics_of
from eespark.manifest import build_manifest

CLASSES = ({"id": 0, "name": "Open water", "colour": "#5b9bd5"}, {"id": 4, "name": "First-year ice", "colour": "#8fd16f"},
           {"id": 5, "name": "Thick ice", "colour": "#b5562e"})  # fmt: skip
SIZE = 8


def make_patches(rng: np.random.Generator, rows: int, size: int = SIZE) -> dict[str, np.ndarray]:
    """Patches of three classes: dark, bright, and as bright but grained, so that single pixels do not tell the last two apart."""
    label = rng.integers(0, 3, rows)
    level = np.array([0.01, 0.08, 0.08])[label][:, None, None, None] * np.array([1.0, 0.15])
    grain = np.where(label == 2, 1.0, 0.0)[:, None, None, None] * rng.choice([-0.7, 0.7], (rows, size, size, 1))
    sigma = level * (1 + grain) * rng.gamma(10, 0.1, (rows, size, size, 2))
    incidence = rng.uniform(20, 44, (rows, 1)) + 0.02 * np.arange(size)
    class_id = np.array([one["id"] for one in CLASSES])[label]
    return {"sigma": sigma.astype("<f4"), "incidence": incidence.astype(np.float32), "class_id": class_id.astype(np.int32)}


def make_patch_set(folder: Path, seed: int = 0, groups: int = 6, rows_per_group: int = 64, size: int = SIZE) -> Path:
    """A set with the parts train, validation, test and unseen."""
    rng, parts, sums = np.random.default_rng(seed), {}, {}
    for part, count in (("train", groups), ("validation", 1), ("test", 1), ("unseen", 1)):
        (folder / part).mkdir(parents=True)
        by_class: dict[str, int] = {}
        for number in range(count):
            arrays = make_patches(rng, rows_per_group, size)
            pq.write_table(_table(rng, arrays, number), folder / part / f"part-{number:05d}.parquet")
            for one in np.unique(arrays["class_id"]):
                mine = arrays["class_id"] == one
                by_class[str(one)] = by_class.get(str(one), 0) + int(mine.sum())
                if part == "train":
                    angle = np.broadcast_to(arrays["incidence"][mine][:, None, :], (int(mine.sum()), size, size)).ravel()
                    found = moments_of(arrays["sigma"][mine].reshape(-1, 2), angle)
                    sums[one] = sums[one] + found if one in sums else found
        parts[part] = {"rows": count * rows_per_group, "rows_by_class": by_class, **finish_part(str(folder / part))}
    content = {
        "sample_set": "fake@1", "legend": "seaice_uit@1", "classes": list(CLASSES), "bands": ["HH", "HV"], "size": size, "looks": 1,
        "inputs": "patches", "statistics": statistics_of([sums[one] for one in sorted(sums)]), "parts": parts, "settings": {}, "tables": {},
    }  # fmt: skip
    write_manifest(str(folder), build_manifest("training_set", content, __version__))
    return folder


def make_crop_set(folder: Path, seed: int = 0, size: int = 16, rows_per_group: int = 16) -> Path:
    """A set labelled by look: the left of each crop is of one class, the right of another, and where they meet nothing is known."""
    rng, parts, sums = np.random.default_rng(seed), {}, {}
    for part, groups in (("train", 6), ("validation", 1), ("test", 1)):
        (folder / part).mkdir(parents=True)
        by_class: dict[str, int] = {}
        for number in range(groups):
            left, right = (make_patches(rng, rows_per_group, size) for _ in range(2))
            edge = rng.integers(4, size - 4, rows_per_group)[:, None, None]
            place = np.broadcast_to(np.arange(size)[None, None, :], (rows_per_group, size, size))
            classes = np.where(place < edge, left["class_id"][:, None, None], right["class_id"][:, None, None])
            classes = np.where(np.abs(place - edge) < 1, 255, classes).astype(np.uint8)
            arrays = {**left, "sigma": np.where((place < edge)[..., None], left["sigma"], right["sigma"])}
            known = [np.bincount(one[one < 255], minlength=6) for one in classes]
            arrays["class_id"] = np.array([one.argmax() for one in known], np.int32)
            table = _table(rng, arrays, number).append_column("classes", pa.array([one.tobytes() for one in classes], pa.binary()))
            pq.write_table(table, folder / part / f"part-{number:05d}.parquet")
            for one in np.unique(classes[classes < 255]):
                mine = classes == one
                by_class[str(one)] = by_class.get(str(one), 0) + int(mine.sum())
                if part == "train":
                    angle = np.broadcast_to(arrays["incidence"][:, None, :], classes.shape)
                    found = moments_of(arrays["sigma"][mine], angle[mine])
                    sums[one] = sums[one] + found if one in sums else found
        rows = {"rows": groups * rows_per_group, "rows_by_class": {}}
        parts[part] = {**rows, "looks_by_class": by_class, **finish_part(str(folder / part))}
    content = {
        "sample_set": "fake@1", "legend": "seaice_uit@1", "classes": list(CLASSES), "bands": ["HH", "HV"], "size": size, "looks": 2,
        "inputs": "patches", "labels": "looks", "statistics": statistics_of([sums[one] for one in sorted(sums)]), "parts": parts,
        "settings": {}, "tables": {},
    }  # fmt: skip
    write_manifest(str(folder), build_manifest("training_set", content, __version__))
    return folder


def _table(rng: np.random.Generator, arrays: dict[str, np.ndarray], number: int) -> pa.Table:
    rows = len(arrays["class_id"])
    scenes = [f"S1A_EW_GRDM_1SDH_2018011{k}T081420" for k in rng.integers(0, 4, rows)]
    return pa.table(
        {
            "sample_id": pa.array(rng.integers(0, 2**60, rows), pa.int64()),
            "label_id": pa.array([f"uit:{number}"] * rows),
            "product_id": pa.array(scenes),
            "season": pa.array(["2017/18"] * rows),
            "x": pa.array(rng.uniform(0, 9e4, rows)),
            "y": pa.array(rng.uniform(0, 9e4, rows)),
            "class_id": pa.array(arrays["class_id"]),
            "inclusion_probability": pa.array(np.ones(rows)),
            "incidence": pa.array(list(arrays["incidence"]), pa.list_(pa.float32())),
            "sigma": pa.array([one.tobytes() for one in arrays["sigma"]], pa.binary()),
        }
    )
