"""A small chain's outputs, made up, for a page to be built from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eespark.bands import BANDS
from eespark.io.rasters import write_cog
from eespark.io.storage import write_json, write_manifest
from eespark.manifest import build_manifest
from eespark.report.settings import ReportSettings
from eespark.report.validation import disjoint_areas, lucas, summarise_models, unseen_tiles

HOSTILE = "<script>alert('x')</script> & $\\frac{"
CLASSES = [
    {"id": 1, "name": "Grassland", "colour": "#bcfc99"},
    {"id": 2, "name": HOSTILE, "colour": "red;background:url(http://example.org/x)"},
    {"id": 12, "name": "Winter wheat", "colour": "#9b4b05"},
]
COARSE = [
    {"id": 0, "name": "Cereals", "colour": "#c49a3c"},
    {"id": 1, "name": "Maize", "colour": "#ffd92f"},
    {"id": 5, "name": "Grassland"},
]
CROSSWALK = {1: [5], 2: [1], 12: [0]}
# Lower left corners in EPSG:3035 of tiles whose rasters start at (300000, 5300040) in zones 33 and 34.
TILES = {"33UVP": (4_495_400, 2_741_200), "34UCU": (4_944_500, 2_772_900)}
TIMES = 12
VERSION = "0.0.test"


def predictions(rng: np.random.Generator, classes: Sequence[dict[str, Any]], model: str, skill: float, rows: int = 300) -> pd.DataFrame:
    """A table of predictions as `validate` makes it: parts test, unseen and points."""
    ids = np.array([one["id"] for one in classes])
    true = rng.choice(ids, rows)
    mapped = np.where(rng.random(rows) < skill, true, rng.choice(ids, rows))
    split = rng.choice(["test", "unseen", "points"], rows, p=[0.5, 0.3, 0.2])
    point = split == "points"
    return pd.DataFrame(
        {
            "sample_id": np.arange(rows), "label_id": [f"l{one // 4}" for one in range(rows)], "tile": "33UVP", "split": split,
            "class_id": pd.array(np.where(point, None, true), "Int64"),
            "class_ids": [[int(one)] if seen else None for one, seen in zip(true, point, strict=True)],
            "predicted": mapped, "confidence": rng.uniform(0.4, 1, rows), "novelty": rng.random(rows),
            "inclusion_probability": np.where(true == ids[0], 0.2, 0.5), "weight": np.where(point, 3.0, 1.0),
            "cluster": [f"b{one // 12}" for one in range(rows)], "x": 0.0, "y": 0.0, "model": model,
        }
    )  # fmt: skip


def training_part(rng: np.random.Generator, classes: Sequence[dict[str, Any]], rows: int, times: int) -> pa.Table:
    """Rows of a training set whose classes green up at different times."""
    ids = np.array([one["id"] for one in classes])
    class_id, tile = rng.choice(ids, rows), rng.choice(list(TILES), rows)
    day = np.tile(np.linspace(4, 360, times).astype(np.int16), (rows, 1))
    green = np.exp(-(((day - 120 - 12 * (class_id[:, None] % 12)) / 60) ** 2)) + rng.normal(0, 0.05, day.shape)
    reflectance = np.full((rows, times, len(BANDS)), 1500.0)
    reflectance[..., BANDS.index("B04")] = 1800 - 1400 * green
    reflectance[..., BANDS.index("B8A")] = 2000 + 1800 * green
    corner = np.array([TILES[one] for one in tile], float)
    flat = {
        "reflectance": np.clip(reflectance, 1, 9000).astype(np.int16),
        "valid": (rng.random(day.shape) < 0.7).astype(np.int16),
        "day": day,
    }
    return pa.table(
        {
            "tile": tile, "class_id": class_id.astype(np.int32),
            "point_x": corner[:, 0] + rng.uniform(300, 6_800, rows), "point_y": corner[:, 1] + rng.uniform(300, 6_800, rows),
            **{name: [one.reshape(-1) for one in values] for name, values in flat.items()},
        }
    )  # fmt: skip


def write_chain(root: Path, classes: Sequence[dict[str, Any]] = CLASSES, rows: int = 120, size: int = 48, seed: int = 1) -> ReportSettings:
    """Write all that a report reads below a folder; the settings to read it."""
    rng = np.random.default_rng(seed)
    listed = [dict(one) for one in classes]
    shape = {
        "legend": "timesen2crop@1",
        "classes": listed,
        "bands": list(BANDS),
        "scale": 10_000,
        "times": TIMES,
        "statistics": {},
        "grid": {"kind": "as_acquired"},
    }
    parts = {"train": rows, "validation": rows // 4, "test": rows // 2, "unseen": rows // 3}
    for part, count in parts.items():
        (root / "training_set" / part).mkdir(parents=True)
        pq.write_table(training_part(rng, classes, count, TIMES), root / "training_set" / part / "part-0.parquet")
    told = {
        "sample_set": "demo@1",
        "parts": {p: {"rows": n} for p, n in parts.items()},
        "tables": {"products": 3, "samples": 1},
        "settings": {"seed": 1},
    }
    write_manifest(str(root / "training_set"), build_manifest("training_set", {**shape, **told, "content_hash": "c0ffee"}, VERSION))
    _write_sample_set(root / "sample_sets" / "demo@1", classes)
    bundle = {**shape, "model": {"name": "bilstm", "units": 128}, "settings": {"epochs": 9}, "training_set": {"content_hash": "c0ffee"}}
    write_manifest(str(root / "bundle"), build_manifest("bundle", bundle, VERSION))
    curves = [
        {
            "epoch": e,
            "loss": 2 / e,
            "validation_loss": 2 / e + 0.1 * e**0.5,
            "validation_macro_f1": 1 - 0.9 / e,
            "validation_overall_accuracy": 1 - 0.7 / e,
        }
        for e in range(1, 10)
    ]
    write_json(str(root / "bundle" / "metrics.json"), {"curves": curves, "best_epoch": 7, "stopped_by": "early stopping"})
    table = pd.concat([predictions(rng, classes, "bilstm", 0.8), predictions(rng, classes, "random_forest", 0.75)], ignore_index=True)
    protocols = summarise_models(
        table,
        [(disjoint_areas("timesen2crop@1"), listed), (unseen_tiles("timesen2crop@1"), listed), (lucas("coarse@1", CROSSWALK), COARSE)],
    )
    write_manifest(str(root / "validation"), build_manifest("validation", {"bundle": "abc", "protocols": protocols}, VERSION))
    _write_map(root, rng, listed, size)
    _write_summaries(root / "summaries")
    names = {name: str(root / name) for name in ("summaries", "training_set", "bundle", "validation", "maps", "truth")}
    return ReportSettings(
        **names,
        sets=str(root / "sample_sets"),
        first_day="2017-09-01",
        output=str(root / "report.html"),
        summary=str(root / "summaries" / "report.json"),
    )


def _write_sample_set(folder: Path, classes: Sequence[dict[str, Any]]) -> None:
    by_part = {
        p: {str(one["id"]): {"samples": 40 + 3 * n, "labels": 9 + n} for n, one in enumerate(classes)}
        for p in ("train", "validation", "test", "unseen")
    }
    nearest = {"test-train": {"distance_m": 61.5, "overlapping": 0, "time_gap_days": 0}}
    audit = {
        "shared_labels": 0,
        "shared_pixels": 0,
        "searched_radius_m": 200.0,
        "guard_m": 60.0,
        "nearest": nearest,
        "classes_by_part": by_part,
    }
    content = {"sample_set": "demo@1", "legend": "timesen2crop@1", "settings": {"seed": 1}, "counts": {}, "audit": audit}
    write_manifest(str(folder), build_manifest("sample_set", content, VERSION))


def _write_map(root: Path, rng: np.random.Generator, classes: list[dict[str, Any]], size: int) -> None:
    ids = np.array([one["id"] for one in classes], np.uint8)
    fields = rng.choice(ids, (8, 8)).repeat(size // 8, axis=0).repeat(size // 8, axis=1)
    found = np.where(rng.random(fields.shape) < 0.85, fields, rng.choice(ids, fields.shape)).astype(np.uint8)
    found[:6] = 255
    profile = {"crs": "EPSG:32634", "transform": (10.0, 0.0, 300_000.0, 0.0, -10.0, 5_300_040.0), "nodata": 255}
    folder = root / "maps" / "34UCU"
    folder.mkdir(parents=True)
    (root / "truth").mkdir()
    noise = rng.integers(0, 100, found.shape).astype(np.uint8)
    layers = {"class": found, "probability": 100 - noise // 3, "novelty": noise, "clear_dates": (8 + noise // 9).astype(np.uint8)}
    for name, values in layers.items():
        write_cog(str(folder / f"{name}.tif"), values, profile)
    write_cog(str(root / "truth" / "class_34UCU.tif"), fields, profile)
    write_cog(str(root / "truth" / "class_33UVP.tif"), fields, {**profile, "crs": "EPSG:32633"})
    by_class = {str(c): int((found == c).sum()) for c in ids}
    content = {
        "bundle": "abc",
        "legend": "timesen2crop@1",
        "classes": classes,
        "tile": "34UCU",
        "settings": {},
        "counts": {"holes": 1, "by_class": by_class},
    }
    write_manifest(str(folder), build_manifest("map", content, VERSION))


def _write_summaries(folder: Path) -> None:
    scan = {
        "products": 84,
        "current": 78,
        "superseded": 3,
        "quarantined": 3,
        "quarantined_reasons": {"S2A_<b>x</b>": "B05: cut short at 61 % & no more"},
    }
    extract = {
        "products_read": 75,
        "products_failed": 1,
        "observations": 90_000,
        "observations_copied": 31_234,
        "pixels_decoded": 9.1e8,
        "core_seconds": 120.0,
        "failed_reasons": {"S2B_y": "hangs"},
    }
    jobs = {
        "scan_archive": scan,
        "extract_series": extract,
        "train": {"epochs": 9},
        "draw_samples": {"counts": {"samples": 900, "labels": 80}},
    }
    for place, (job, told) in enumerate(jobs.items()):
        write_json(str(folder / f"{job}.json"), {"job": job, "status": "done", "seconds": 12.5 + place, **told})


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> ReportSettings:
    """Settings of a report over a whole small chain."""
    return write_chain(tmp_path_factory.mktemp("chain"))
