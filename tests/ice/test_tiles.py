"""Whole scenes cut into tiles: in the table, as a set labelled by look, in a segmenter, on a map and in its accuracy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eespark.errors import LeakError, SettingsError
from eespark.io.storage import read_manifest
from eespark.schema_polar import PATCHES
from eespark.spark.ice_maps import IceMapSettings, predict_ice_map
from eespark.spark.ice_validation import IceValidateSettings, validate_ice
from eespark.spark.patch_sets import PatchSetSettings, build_patch_set
from eespark.spark.patch_splits import SplitRule, audit, drop_leaks
from eespark.spark.patches import PatchSettings, extract_patches
from eespark.spark.tables import open_table
from eespark.train.data import read_part, shape_of
from eespark.train.fit import fit
from eespark.train.settings import FitSettings
from tests.ice.chain import Ice

SIZE = 32
MODEL = {"name": "ice_segmenter", "width": 0.06, "features": 8, "dropout": 0.0, "rates": [1, 2]}


@dataclasses.dataclass(frozen=True)
class Tiled:
    """The tiny archive with tiles in a folder of its own."""

    ice: Ice
    folder: Path
    summary: dict[str, Any]

    def table(self) -> pd.DataFrame:
        return open_table(self.ice.spark, str(self.folder / "patches"), PATCHES).toPandas()

    def building(self, target: Path, **changes: Any) -> PatchSetSettings:
        told = {"products": str(self.ice.root / "products"), "patches": str(self.folder / "patches"), "training_set": str(target)}
        told |= {"patch_set": "tiles@1", "legend": "seaice_types", "split_by": "scene", "by_season": True, "guard_m": 3_700}
        told |= {"guard_days": 3, "shares": {"train": 0.6, "validation": 0.4}}
        held_out = [self.ice.scenes[2].product_id]
        return PatchSetSettings.model_validate(told | {"unseen_scenes": held_out, "rows_per_group": 8, "summary": "unused"} | changes)


@pytest.fixture(scope="module")
def tiled(labelled_ice: Ice, tmp_path_factory: pytest.TempPathFactory) -> Tiled:
    folder, ice = tmp_path_factory.mktemp("tiled"), labelled_ice
    told = {"products": str(ice.root / "products"), "labels": str(ice.root / "ice_labels"), "patches": str(folder / "patches")}
    told |= {"extractions": str(folder / "extractions"), "patch_set": "tiles@1", "sources": ["v2"], "mode": "tiles", "size": SIZE}
    told |= {"looks": 2, "least_labelled": 0.05, "land": str(ice.drawn / "coastline.gpkg"), "summary": "unused"}
    return Tiled(ice, folder, extract_patches(ice.spark, PatchSettings.model_validate(told)))


@pytest.fixture(scope="module")
def tile_set(tiled: Tiled, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tile_set") / "set"
    return folder, build_patch_set(tiled.ice.spark, tiled.building(folder))


def test_that_rows_tell_the_classes_of_their_looks(tiled: Tiled) -> None:
    table, labels = tiled.table(), tiled.ice.table("ice_labels").toPandas().set_index("label_id")
    assert len(table) == tiled.summary["patches"] > 40
    assert table["patch_id"].is_unique
    assert ((table["row"] % SIZE == 0) & (table["col"] % SIZE == 0)).all()
    for row in table.sample(12, random_state=1).itertuples():
        classes = np.frombuffer(row.classes, np.uint8).reshape(SIZE, SIZE)
        sigma = np.frombuffer(row.sigma, "<f4").reshape(2, SIZE, SIZE)
        cells = np.frombuffer(row.cells, np.uint8).reshape(SIZE // 4, SIZE // 4)
        known = classes != 255
        assert row.purity == pytest.approx(known.mean())
        assert row.purity >= 0.05
        assert row.class_id == np.bincount(classes[known]).argmax()
        assert np.isfinite(sigma[:, known]).all()
        np.testing.assert_array_equal(cells == 1, np.isfinite(sigma[0]).reshape(8, 4, 8, 4).all(axis=(1, 3)))
        assert row.digital is None
        drawn = labels.loc[labels["scene"].eq(row.product_id) & labels["usable"] & labels["source"].eq("v2")]
        assert set(np.unique(classes[known])) <= set(drawn["class_id"])
        assert set(row.label_roots) <= set(drawn.index)
        assert row.label_root in row.label_roots


def test_that_tiles_need_no_labels(labelled_ice: Ice, tmp_path: Path) -> None:
    told = {"products": str(labelled_ice.root / "products"), "patches": str(tmp_path / "patches"), "summary": "unused"}
    told |= {"extractions": str(tmp_path / "extractions"), "patch_set": "documents@1", "mode": "tiles", "size": 256, "digital": True}
    summary = extract_patches(labelled_ice.spark, PatchSettings.model_validate(told))
    table = open_table(labelled_ice.spark, str(tmp_path / "patches"), PATCHES).toPandas()
    assert summary["patches"] == len(table) == 6  # one of 256 looks in each scene of 288
    assert summary["patches_by_class"] == {}
    assert table["class_id"].isna().all()
    assert set(map(len, table["digital"])) == {2 * 256 * 256 * 2}
    assert set(map(len, table["cells"])) == {64 * 64}


def test_that_a_set_is_labelled_by_look_and_its_parts_share_no_polygon(tiled: Tiled, tile_set: tuple[Path, dict[str, Any]]) -> None:
    url, summary = str(tile_set[0]), tile_set[1]
    manifest = read_manifest(url, "training_set")
    assert manifest["labels"] == "looks"
    shape = shape_of(manifest)
    table = tiled.table().set_index("patch_id")
    seen: dict[str, set[str]] = {}
    for part, told in manifest["parts"].items():
        rows = read_part(url, part, shape, (*shape.fed, "sample_id"))
        assert len(rows["label"]) == summary["parts"][part]
        classes, counts = np.unique(rows["classes"][rows["classes"] != 255], return_counts=True)
        assert told["looks_by_class"] == {str(c): int(n) for c, n in zip(classes, counts, strict=True)}
        for k, name in enumerate(rows["sample_id"]):
            assert rows["classes"][k].tobytes() == table.loc[name, "classes"]
            sigma = np.frombuffer(table.loc[name, "sigma"], "<f4").reshape(2, SIZE, SIZE).transpose(1, 2, 0)
            np.testing.assert_array_equal(rows["sigma"][k], sigma)
        seen[part] = set().union(*(table.loc[name, "label_roots"] for name in rows["sample_id"]))
    for one, polygons in seen.items():
        assert all(not polygons & others for other, others in seen.items() if other != one)
    train = read_part(url, "train", shape)
    values = 10 * np.log10(np.maximum(train["sigma"][train["classes"] != 255].astype(float), 1e-4))
    np.testing.assert_allclose(manifest["statistics"]["mean"], values.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(manifest["statistics"]["std"], values.std(axis=0), atol=1e-3)


def test_that_a_guard_within_a_tile_and_a_split_by_polygon_are_refused(tiled: Tiled, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"at least the diagonal of a patch, 3\d\d\d m, found 3000"):
        build_patch_set(tiled.ice.spark, tiled.building(tmp_path / "set", guard_m=3_000))
    with pytest.raises(SettingsError, match="needed split_by block or scene for tiles"):
        build_patch_set(tiled.ice.spark, tiled.building(tmp_path / "set", split_by="polygon"))


def test_that_a_polygon_of_many_tiles_is_on_one_side(tiled: Tiled) -> None:
    rule = SplitRule("block", 1.0, False, {"train": 1.0}, (), (), 1.0, None, 1)
    columns = "sample_id bigint, label_root string, label_roots array<string>, product_id string, class_id int, x double, y double"
    rows = [(1, "a", ["a", "b"], "s", 0, 0.0, 0.0), (2, "b", ["b"], "s", 0, 9.0, 0.0), (3, "c", ["c"], "s", 0, 99.0, 0.0)]
    frame = tiled.ice.spark.createDataFrame(rows, columns).selectExpr(
        "*", "'2017/18' AS season", "false AS fast", "timestamp'2018-01-10' AS sensing_time", "IF(sample_id = 2, 'test', 'train') AS split"
    )
    with pytest.raises(LeakError, match="1 polygons in two parts"):
        audit(frame, rule)
    assert sorted(row["sample_id"] for row in drop_leaks(frame, rule).collect()) == [2, 3]


def test_that_a_segmenter_is_trained_mapped_and_validated(tiled: Tiled, tile_set: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    url = str(tile_set[0])
    fitted = {"model": MODEL, "epochs": 3, "batch": 8, "learning_rate": 0.01, "onnx_tolerance": 1e-2}
    fit(FitSettings.model_validate(fitted), url, str(tmp_path / "bundle"))
    scene = tiled.ice.scenes[2].product_id
    told = {"products": str(tiled.ice.root / "products"), "bundle": str(tmp_path / "bundle"), "maps": str(tmp_path / "maps")}
    told |= {"scenes": [scene], "land": str(tiled.ice.drawn / "coastline.gpkg"), "least_area_m2": 0, "strip": 100, "summary": "unused"}
    summary = predict_ice_map(tiled.ice.spark, IceMapSettings.model_validate(told))
    assert summary["scenes_mapped"] == 1
    assert summary["pixels"] > 10_000  # of 144 x 144 looks, but for land
    told = {"training_set": url, "bundles": {"segmenter": str(tmp_path / "bundle")}, "look_step": 4, "forest_trees": 10}
    validate_ice(tiled.ice.spark, IceValidateSettings.model_validate(told | {"validation": str(tmp_path / "told"), "summary": "unused"}))
    found = read_manifest(str(tmp_path / "told"), "validation")["protocols"]["unseen"]
    judged = read_part(url, "unseen", shape_of(read_manifest(url, "training_set")))["classes"][:, 2::4, 2::4]
    names = ("segmenter", "pixel_bayes_slopes", "pixel_forest")
    assert {name: one["patches"] for name, one in found.items()} == dict.fromkeys(names, int((judged != 255).sum()))
    assert list(found["segmenter"]["by_scene"]) == [scene]
