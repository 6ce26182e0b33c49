"""Scenes of Sentinel-1 through patches to a set: what a task of each job holds, what a patch weighs, what is shuffled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.inputs import SEED
from benchmarks.scale_steps import Steps
from benchmarks.tables import parquet_bytes
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.ice_labels import IceImportSettings, import_ice_labels
from eespark.spark.patch_sets import PatchSetSettings, build_patch_set
from eespark.spark.patches import PatchSettings, extract_patches
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings

_SET = "scale@1"


def measure_scenes(steps: Steps, size_px: int, root: Path, folder: Path) -> dict[str, Any]:
    """Two scenes of so many lines and samples, their polygons cut into patches of 20 px, and these into a training set."""
    made = root / "input" / f"polar-{size_px}"
    plan = {"output": str(made), "summary": "unused", "seed": SEED, "size_px": size_px, "dates": 2, "polygons_a_kind": 24, "faults": False}
    make_polar_archive(PolarSettings.model_validate(plan))
    urls = {name: str(folder / name) for name in ("products", "labels", "patches")}
    scan_archive(steps.spark, ScanSettings(archive=str(made / "archive"), products=urls["products"], summary="unused"))
    source = {"name": "uit", "url": str(made / "labels" / "uit.gpkg"), "kind": "class", "class_column": "class", "scene_column": "scene"}
    both = {"products": urls["products"], "labels": urls["labels"], "summary": "unused"}
    import_ice_labels(steps.spark, IceImportSettings.model_validate(both | {"sources": [source | {"legend": "seaice_uit"}]}))
    cutting = both | {"patches": urls["patches"], "extractions": str(folder / "extractions"), "patch_set": _SET, "sources": ["uit"]}
    cutting |= {"size": 20, "stride": 10, "looks": 1, "purity": 1.0}
    steps.run("extract patches", lambda: extract_patches(steps.spark, PatchSettings.model_validate(cutting)))
    building = {"products": urls["products"], "patches": urls["patches"], "patch_set": _SET, "legend": "seaice_uit", "split_by": "block"}
    building |= {"block_m": 10_000, "training_set": str(folder / "patch_set"), "summary": "unused", "guard_m": 1_200}
    told = steps.run("build patch set", lambda: build_patch_set(steps.spark, PatchSetSettings.model_validate(building)))
    return {
        "scenes": 2, "size_px": size_px, "patches": sum(told["parts"].values()), "patch_bytes": parquet_bytes(folder / "patches"),
        "set_bytes": parquet_bytes(folder / "patch_set"),
    }  # fmt: skip
