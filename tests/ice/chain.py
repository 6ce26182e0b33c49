"""One tiny polar archive in a catalog, for the Spark tests of the polar chain."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from eespark.schema import PRODUCTS
from eespark.schema_polar import ICE_LABELS, ICEBERGS, PATCHES
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.ice_labels import IceImportSettings, import_ice_labels
from eespark.spark.ice_maps import IceMapSettings
from eespark.spark.ice_validation import IceValidateSettings
from eespark.spark.patch_sets import PatchSetSettings, build_patch_set
from eespark.spark.patches import PatchSettings, extract_patches
from eespark.spark.tables import open_table
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.labels import file_name
from eespark.synthetic.polar.plan import Scene, plan_scenes
from eespark.synthetic.polar.settings import PolarSettings
from eespark.train.fit import fit
from eespark.train.settings import FitSettings

_TABLES = {one.name: one for one in (PRODUCTS, ICE_LABELS, PATCHES, ICEBERGS)}


@dataclasses.dataclass(frozen=True)
class Ice:
    """Where the stages of the polar chain lie, and the settings of each."""

    spark: SparkSession
    root: Path
    planned: PolarSettings

    @property
    def scenes(self) -> list[Scene]:
        """The scenes that are whole."""
        return [scene for scene in plan_scenes(self.planned) if not scene.fault]

    @property
    def drawn(self) -> Path:
        """Folder of the labels' files."""
        return self.root / "input" / "labels"

    def table(self, name: str) -> DataFrame:
        return open_table(self.spark, str(self.root / name), _TABLES[name])

    def importing(self, **changes: Any) -> IceImportSettings:
        sources = [
            {"name": "uit", "url": str(self.drawn / "uit.gpkg"), "kind": "class", "scene_column": "scene", "legend": "seaice_uit"},
            {"name": "v2", "url": str(self.drawn / "metno_v2"), "kind": "sigrid"},
            {"name": "v1", "url": str(self.drawn / "metno_v1"), "kind": "type", "legend": "ice_water"},
        ]
        base = {"labels": str(self.root / "ice_labels"), "products": str(self.root / "products"), "scratch": str(self.root / "scratch")}
        return IceImportSettings.model_validate(base | {"summary": "unused", "sources": sources, "max_failed_share": 0.5} | changes)

    def cutting(self, **changes: Any) -> PatchSettings:
        base = {name: str(self.root / name) for name in ("products", "patches")}
        base |= {"labels": str(self.root / "ice_labels"), "extractions": str(self.root / "patch_extractions"), "summary": "unused"}
        told = {"patch_set": "uit@1", "sources": ["uit"], "size": 8, "stride": 4, "strip": 96, "products_per_commit": 4}
        return PatchSettings.model_validate(base | told | changes)


@pytest.fixture(scope="session")
def ice(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ice:
    """The archive in a catalog; among its charts one file of no scene and one that is none."""
    root = tmp_path_factory.mktemp("ice")
    planned = PolarSettings(output=str(root / "input"), summary="unused", seed=5, size_px=288, dates=6, workers=2)
    make_polar_archive(planned)
    scan_archive(spark, ScanSettings(archive=str(root / "input" / "archive"), products=str(root / "products"), summary="unused"))
    chain = Ice(spark, root, planned)
    charts = chain.drawn / "metno_v2"
    for path in sorted(charts.glob(f"{file_name(chain.scenes[0].first)}.*")):
        shutil.copy(path, charts / f"seaice_s1_20180601T081420{path.suffix}")
    (charts / "seaice_s1_20180602T081420.shp").write_bytes(b"")
    return chain


@pytest.fixture(scope="session")
def ice_summary(ice: Ice) -> dict[str, Any]:
    """What the import of its labels says."""
    return import_ice_labels(ice.spark, ice.importing())


@pytest.fixture(scope="session")
def labelled_ice(ice: Ice, ice_summary: dict[str, Any]) -> Ice:
    """And its labels imported."""
    assert ice_summary["scenes"] == 6
    return ice


MODEL = {"name": "ice_cnn", "width": 0.25, "features": 12, "dropout": 0.1}


@dataclasses.dataclass(frozen=True)
class TrainedIce:
    """The tiny archive with a set and a bundle in a folder of its own."""

    ice: Ice
    folder: Path

    def mapping(self, root: Path, **changes: Any) -> IceMapSettings:
        told = {"products": str(self.ice.root / "products"), "labels": str(self.ice.root / "ice_labels"), "sources": ["uit"]}
        told |= {"bundle": str(self.folder / "bundle"), "maps": str(root / "maps"), "summary": "unused", "stride": 4, "strip": 16}
        told |= {
            "land": str(self.ice.drawn / "coastline.gpkg"),
            "scenes": [one.product_id for one in self.ice.scenes[:2]],
            "least_area_m2": 0,
        }
        return IceMapSettings.model_validate(told | changes)

    def validating(self, root: Path, **changes: Any) -> IceValidateSettings:
        told = {"training_set": str(self.folder / "set"), "bundles": {"ice_cnn": str(self.folder / "bundle")}}
        told |= {"validation": str(root / "validation"), "summary": "unused", "region_m": 5_000, "forest_trees": 20}
        return IceValidateSettings.model_validate(told | changes)


@pytest.fixture(scope="session")
def trained_ice(labelled_ice: Ice, tmp_path_factory: pytest.TempPathFactory) -> TrainedIce:
    """And a network trained on its patches."""
    folder = tmp_path_factory.mktemp("trained")
    ice = labelled_ice
    patches = {"patches": str(folder / "patches"), "extractions": str(folder / "extractions")}
    extract_patches(ice.spark, ice.cutting(patch_set="chain@1", **patches))
    told = {"products": str(ice.root / "products"), "patches": patches["patches"], "training_set": str(folder / "set"), "summary": "unused"}
    told |= {"patch_set": "chain@1", "legend": "seaice_uit", "block_m": 3_000, "by_season": True, "guard_m": 460, "rows_per_group": 64}
    build_patch_set(ice.spark, PatchSetSettings.model_validate(told | {"unseen_scenes": [one.product_id for one in ice.scenes[2::3]]}))
    settings = {"model": MODEL, "epochs": 4, "batch": 32, "learning_rate": 0.005, "seed": 1, "onnx_tolerance": 1e-3}
    fit(FitSettings.model_validate(settings), str(folder / "set"), str(folder / "bundle"))
    return TrainedIce(ice, folder)
