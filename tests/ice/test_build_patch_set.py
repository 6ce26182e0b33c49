"""Sets of patches: no polygon, ground or fast ice on two sides; statistics of train; the same set twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from eespark.errors import LeakError, MissingError
from eespark.io.storage import read_manifest
from eespark.spark.patch_sets import PatchSetSettings, build_patch_set
from eespark.spark.patch_splits import SplitRule, assign_parts, audit, drop_leaks, season_column
from eespark.spark.patches import extract_patches
from eespark.spark.tables import update_rows
from eespark.train.data import read_part, shape_of
from tests.ice.chain import Ice

RULE = SplitRule("block", 5_000.0, False, {"train": 0.6, "validation": 0.2, "test": 0.2}, (), (), 1_500.0, None, 1)


def _patches(spark: SparkSession, seed: int = 0, scenes: int = 8, polygons: int = 14) -> Any:
    """Patches of polygons of 1 km on 30 km of ground, eight scenes in two seasons; some polygons are fast ice that all scenes see."""
    rng, rows = np.random.default_rng(seed), []
    still = rng.uniform(0, 30_000, (6, 2))
    for number in range(scenes):
        day = datetime(2018, 1, 10) + timedelta(days=12 * number if number < scenes // 2 else 280 + 12 * number)
        places = [(f"p{number}-{k}", point, False) for k, point in enumerate(rng.uniform(0, 30_000, (polygons, 2)))]
        places += [(f"f{number}-{k}", point + rng.normal(0, 50, 2), True) for k, point in enumerate(still)]
        for label, (x, y), fast in places:
            for k in range(6):
                at = (x + 300.0 * (k % 3), y + 300.0 * (k // 3))
                rows.append((len(rows), label, f"S1A_{number}", day, *at, fast, int(rng.integers(0, 3))))
    columns = ["sample_id", "label_root", "product_id", "sensing_time", "x", "y", "fast", "class_id"]
    frame = spark.createDataFrame(pd.DataFrame(rows, columns=columns))
    return frame.withColumn("season", season_column(9)).withColumn("label_roots", F.lit(None).cast("array<string>"))


def _close_pairs(kept: pd.DataFrame, rule: SplitRule) -> int:
    """Pairs of two parts on ground that may show the same ice, by looking at all pairs."""
    count = 0
    for (_, one), (_, other) in combinations(kept.groupby("split"), 2):
        distance = np.hypot(*(one[axis].to_numpy()[:, None] - other[axis].to_numpy()[None] for axis in ("x", "y")))
        near = distance < rule.guard_m
        season = one["season"].to_numpy()[:, None] == other["season"].to_numpy()[None]
        if rule.by_season:
            near &= season
        if rule.guard_days is not None:
            days = [frame["sensing_time"].to_numpy().astype("datetime64[D]").astype(int) for frame in (one, other)]
            still = one["fast"].to_numpy()[:, None] & other["fast"].to_numpy()[None] & season
            near &= (np.abs(days[0][:, None] - days[1][None]) <= rule.guard_days) | still
        count += int(near.sum())
    return count


@pytest.mark.parametrize("by", ["block", "scene", "polygon"])
@pytest.mark.parametrize("changes", [{}, {"by_season": True}, {"guard_days": 3}, {"unseen_scenes": ("S1A_2",), "guard_days": 3}])
def test_that_parts_share_no_polygon_and_no_ground(spark: SparkSession, by: str, changes: dict[str, Any]) -> None:
    rule = dataclasses.replace(RULE, by=by, **changes)
    parted = assign_parts(_patches(spark), rule).persist()
    assert _close_pairs(parted.toPandas(), rule) > 0  # there was something to keep apart
    kept = drop_leaks(parted, rule).persist()
    found = kept.toPandas()
    assert _close_pairs(found, rule) == 0
    assert (found.groupby("label_root")["split"].nunique() == 1).all()
    assert {"train", "test"} <= set(found["split"])
    told = audit(kept, rule)
    assert told["shared_polygons"] == 0
    assert all(metres >= rule.guard_m for metres in told["nearest_m"].values())
    assert sum(one["patches"] for by_class in told["by_part"].values() for one in by_class.values()) == len(found)
    parted.unpersist()
    kept.unpersist()


def test_that_what_goes_as_a_whole_goes_as_a_whole(spark: SparkSession) -> None:
    scenes = assign_parts(_patches(spark), dataclasses.replace(RULE, by="scene")).toPandas()
    assert (scenes.groupby("product_id")["split"].nunique() == 1).all()
    blocks = assign_parts(_patches(spark), RULE).toPandas()
    assert (blocks.groupby("label_root")["split"].nunique() == 1).all()
    middle = blocks.groupby("label_root")[["x", "y"]].transform("mean") // 5_000
    assert (blocks["split"].groupby([middle["x"], middle["y"]]).nunique() == 1).all()
    seasons = assign_parts(_patches(spark), dataclasses.replace(RULE, by_season=True)).toPandas()
    assert not (seasons["split"].groupby([middle["x"], middle["y"]]).nunique() == 1).all()


def test_that_held_out_scenes_and_seasons_are_the_part_unseen(spark: SparkSession) -> None:
    rule = dataclasses.replace(RULE, unseen_scenes=("S1A_1",), unseen_seasons=("2018/19",), by_season=True)
    found = assign_parts(_patches(spark), rule).toPandas()
    held_out = (found["product_id"] == "S1A_1") | (found["season"] == "2018/19")
    assert (found["split"] == "unseen").equals(held_out)
    rule = dataclasses.replace(
        RULE, by="scene", unseen_scenes=("S1A_1",), scenes_of={"validation": ["S1A_2", "S1A_5"]}, shares={"train": 1.0}
    )
    parts = assign_parts(_patches(spark), rule).toPandas().groupby("product_id")["split"].agg(set).to_dict()
    named = {"S1A_1": {"unseen"}, "S1A_2": {"validation"}, "S1A_5": {"validation"}}
    assert parts == {f"S1A_{number}": {"train"} for number in range(8)} | named


def test_that_the_nearest_of_two_parts_leaves_the_one_that_is_learnt_from(spark: SparkSession) -> None:
    day = datetime(2018, 1, 10)
    rows = [(1, "a", "s", day, 0.0, 0.0, False, 0), (2, "b", "t", day, 500.0, 0.0, False, 0), (3, "c", "u", day, 5_000.0, 0.0, False, 0)]
    columns = ["sample_id", "label_root", "product_id", "sensing_time", "x", "y", "fast", "class_id"]
    frame = spark.createDataFrame(pd.DataFrame(rows, columns=columns)).withColumn("season", season_column(9))
    frame = frame.withColumn("label_roots", F.lit(None).cast("array<string>"))
    parted = frame.join(spark.createDataFrame([(1, "train"), (2, "test"), (3, "train")], ["sample_id", "split"]), "sample_id")
    assert sorted(row["sample_id"] for row in drop_leaks(parted, RULE).collect()) == [2, 3]
    with pytest.raises(LeakError, match=r"test-train only 500.0 m apart"):
        audit(parted, RULE)
    shared = parted.withColumn("label_root", parted["class_id"].cast("string"))
    with pytest.raises(LeakError, match="1 polygons in two parts"):
        audit(shared, dataclasses.replace(RULE, guard_m=1.0))


@pytest.mark.parametrize(("day", "season"), [("2018-08-31", "2017/18"), ("2018-09-01", "2018/19"), ("1999-12-01", "1999/00")])
def test_that_an_ice_season_begins_in_its_month(spark: SparkSession, day: str, season: str) -> None:
    row = spark.createDataFrame([(datetime.fromisoformat(day),)], ["sensing_time"]).select(season_column(9).alias("season")).head()
    assert row["season"] == season


@pytest.fixture(scope="module")
def cut(labelled_ice: Ice, tmp_path_factory: pytest.TempPathFactory) -> Ice:
    """Patches of the tiny archive, in tables of their own."""
    own = dataclasses.replace(labelled_ice, root=tmp_path_factory.mktemp("parted"))
    for name in ("products", "ice_labels"):
        shutil.copytree(labelled_ice.root / name, own.root / name)
    extract_patches(own.spark, own.cutting(patch_set="parted@1"))
    return own


def _settings(ice: Ice, root: Path, **changes: Any) -> PatchSetSettings:
    base = {name: str(ice.root / name) for name in ("products", "patches")}
    held_out = [ice.scenes[1].product_id[:25]]
    told = {"patch_set": "parted@1", "legend": "seaice_uit", "block_m": 3_000, "by_season": True, "guard_m": 460, "unseen_scenes": held_out}
    return PatchSetSettings.model_validate(
        base | told | {"training_set": str(root / "set"), "summary": "unused", "rows_per_group": 64} | changes
    )


def test_that_a_set_is_what_its_manifest_tells(cut: Ice, tmp_path: Path) -> None:
    summary = build_patch_set(cut.spark, _settings(cut, tmp_path))
    manifest = read_manifest(str(tmp_path / "set"), "training_set")
    assert {part: told["rows"] for part, told in manifest["parts"].items()} == summary["parts"]
    assert manifest["bands"] == ["HH", "HV"]
    assert (manifest["size"], manifest["looks"], manifest["inputs"]) == (8, 1, "patches")
    shape = shape_of(manifest)
    train = read_part(str(tmp_path / "set"), "train", shape, (*shape.fed, "sample_id", "product_id"))
    assert (train["label"] >= 0).all()
    # Statistics are those of train, looked at look by look.
    decibels = 10 * np.log10(np.maximum(train["sigma"].astype(float), 1e-4)).reshape(-1, 2)
    np.testing.assert_allclose(manifest["statistics"]["mean"], decibels.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(manifest["statistics"]["std"], decibels.std(axis=0), atol=1e-3)
    assert manifest["statistics"]["incidence_mean"] == pytest.approx(float(train["incidence"].mean()), abs=1e-3)
    # And its patches are those of the table.
    table = cut.table("patches").toPandas().set_index("patch_id")
    for place in (0, len(train["label"]) // 2):
        row = table.loc[train["sample_id"][place]]
        own = np.frombuffer(row["sigma"], "<f4").reshape(2, 8, 8)
        np.testing.assert_array_equal(train["sigma"][place], own.transpose(1, 2, 0))
        np.testing.assert_allclose(train["incidence"][place], np.frombuffer(row["incidence"], "<f4").reshape(8, 8).mean(axis=0), rtol=1e-6)
        assert row["class_id"] == train["class_id"][place]
    unseen = read_part(str(tmp_path / "set"), "unseen", shape, ("product_id",))["product_id"]
    assert set(unseen) == {cut.scenes[1].product_id}
    assert cut.scenes[1].product_id not in set(train["product_id"])


def test_that_two_builds_give_the_same_set(cut: Ice, tmp_path: Path) -> None:
    one, other = (build_patch_set(cut.spark, _settings(cut, tmp_path / name)) for name in ("a", "b"))
    assert one["content_hash"] == other["content_hash"]
    files = [sorted((tmp_path / name / "set" / "train").glob("*.parquet")) for name in ("a", "b")]
    assert len(files[0]) == len(files[1]) >= 8
    statistics = [json.loads((tmp_path / name / "set" / "manifest.json").read_text())["statistics"] for name in ("a", "b")]
    assert statistics[0] == statistics[1]
    moved = build_patch_set(cut.spark, _settings(cut, tmp_path / "c", seed=2))
    assert moved["content_hash"] != one["content_hash"]


def test_that_patches_of_scenes_that_are_no_longer_current_stay_out(cut: Ice, tmp_path: Path) -> None:
    gone, products = cut.scenes[0].product_id, str(cut.root / "products")
    update_rows(cut.spark, products, f"product_id = '{gone}'", {"status": "'superseded'"})
    try:
        build_patch_set(cut.spark, _settings(cut, tmp_path))
    finally:
        update_rows(cut.spark, products, f"product_id = '{gone}'", {"status": "'current'"})
    rows = pd.concat([pd.read_parquet(path, columns=["product_id"]) for path in (tmp_path / "set").rglob("*.parquet")])
    assert gone not in set(rows["product_id"])
    assert len(set(rows["product_id"])) == 5


def test_that_patches_of_two_sizes_or_none_are_refused(cut: Ice, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="needed patches of nobody@1 with a class, of one size"):
        build_patch_set(cut.spark, _settings(cut, tmp_path, patch_set="nobody@1"))
    with pytest.raises(MissingError, match="of the training part"):
        build_patch_set(cut.spark, _settings(cut, tmp_path, unseen_scenes=["S1"]))
    assert not (tmp_path / "set").exists()
