"""Plans of the polar jobs beside what these then do."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from eespark.spark.ice_maps import predict_ice_map
from eespark.spark.patches import extract_patches
from eespark.spark.plans import plan_ice_maps, plan_patches
from tests.ice.chain import Ice, TrainedIce


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_that_the_scenes_that_are_left_are_planned_and_nothing_is_written(labelled_ice: Ice, tmp_path: Path) -> None:
    for name in ("products", "ice_labels"):
        shutil.copytree(labelled_ice.root / name, tmp_path / name)
    ice = dataclasses.replace(labelled_ice, root=tmp_path)
    # The files of labels are read by the import alone.
    settings = labelled_ice.cutting(**{name: str(tmp_path / name) for name in ("products", "patches", "labels") if name != "labels"})
    settings = settings.model_copy(update={"extractions": str(tmp_path / "patch_extractions"), "labels": str(tmp_path / "ice_labels")})
    before = _tree(tmp_path)
    plan = plan_patches(ice.spark, settings)
    assert _tree(tmp_path) == before
    done = extract_patches(ice.spark, settings)
    assert (plan.tasks, sorted(plan.by_place)) == (done["products_read"], sorted(scene.product_id for scene in ice.scenes))
    # Whole scenes are counted; the job reads the strips and columns that hold a patch.
    assert plan.work == pytest.approx(6 * 2 * 288 * 288 / 1e6)
    assert 0 < done["pixels_decoded"] / 1e6 <= plan.work
    after = plan_patches(ice.spark, settings)
    assert (after.tasks, after.work) == (0, 0.0)
    assert after.rate_from == "6 products of the ledger"


def test_that_the_strips_that_are_left_are_planned_and_nothing_is_removed(trained_ice: TrainedIce, tmp_path: Path) -> None:
    settings = trained_ice.mapping(tmp_path)
    (tmp_path / "maps" / "_parts" / settings.scenes[0]).mkdir(parents=True)
    before = _tree(tmp_path)
    plan = plan_ice_maps(trained_ice.ice.spark, settings)
    assert _tree(tmp_path) == before
    assert (plan.more["scenes"], sorted(plan.by_place)) == (2, sorted(settings.scenes))
    assert plan.tasks == sum(plan.by_place.values()) > 2
    predict_ice_map(trained_ice.ice.spark, settings)
    assert plan_ice_maps(trained_ice.ice.spark, settings).tasks == 0
