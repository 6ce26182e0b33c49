"""Icebergs in the table: drawn and detected, and how they agree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyspark.sql import SparkSession

from eespark.errors import TooManyFailuresError
from eespark.schema_polar import ICEBERGS
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.icebergs import IcebergSettings, detect_icebergs
from eespark.spark.tables import open_table, update_rows
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings
from tests.ice.chain import Ice


def _settings(ice: Ice, root: Path, **changes: Any) -> IcebergSettings:
    drawn = [
        {"name": kind, "url": str(ice.drawn / "icebergs"), "kind": "type", "time_pattern": rf"(\d{{8}}T\d{{6}})_{kind}"}
        for kind in ("points", "outlines")
    ]
    told = {"products": str(ice.root / "products"), "icebergs": str(root / "icebergs"), "drawn": drawn, "summary": "unused"}
    return IcebergSettings.model_validate(told | {"land": str(ice.drawn / "coastline.gpkg"), "scratch": str(root / "scratch")} | changes)


@pytest.fixture(scope="module")
def ice(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ice:
    """Two scenes of 28 km in a catalog: the tiny archive has next to no iceberg."""
    root = tmp_path_factory.mktemp("bergs")
    planned = PolarSettings(output=str(root / "input"), summary="unused", seed=5, size_px=704, dates=2, faults=False, workers=2)
    make_polar_archive(planned)
    scan_archive(spark, ScanSettings(archive=str(root / "input" / "archive"), products=str(root / "products"), summary="unused"))
    return Ice(spark, root, planned)


@pytest.fixture(scope="module")
def found(ice: Ice, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("icebergs")
    return root, detect_icebergs(ice.spark, _settings(ice, root))


def _table(ice: Ice, root: Path) -> Any:
    return open_table(ice.spark, str(root / "icebergs"), ICEBERGS).toPandas()


def test_that_drawn_icebergs_are_those_of_their_files(ice: Ice, found: tuple[Path, dict[str, Any]]) -> None:
    table = _table(ice, found[0])
    points, outlines = (table[table["source"] == kind] for kind in ("points", "outlines"))
    assert len(points) == len(outlines) == found[1]["drawn"]["points"]["icebergs"] > 10
    assert set(points["scene"]) <= {scene.product_id for scene in ice.scenes}
    # Outlines have areas of icebergs of 40 to 220 m, points have none, and both lie on the same places.
    assert points["area_m2"].isna().all()
    assert outlines["area_m2"].between(3_000, 200_000).all()
    for scene, own in points.groupby("scene"):
        other = outlines[outlines["scene"] == scene]
        distance = np.hypot(own["x"].to_numpy()[:, None] - other["x"].to_numpy(), own["y"].to_numpy()[:, None] - other["y"].to_numpy())
        assert distance.min(axis=1).max() < 60


def test_that_precision_and_recall_count_the_pairs(ice: Ice, found: tuple[Path, dict[str, Any]]) -> None:
    root, summary = found
    table = _table(ice, root)
    detected, points = table[table["source"] == "cfar"], table[table["source"] == "points"]
    told = summary["drawn"]["points"]
    pairs = points.dropna(subset="partner").merge(detected, left_on="partner", right_on="iceberg_id", suffixes=("", "_found"))
    assert len(pairs) == told["detected"]
    assert (np.hypot(pairs["x"] - pairs["x_found"], pairs["y"] - pairs["y_found"]) <= 300).all()
    assert (pairs["scene"] == pairs["scene_found"]).all()
    assert pairs["iceberg_id_found"].is_unique
    assert told["recall"] == pytest.approx(len(pairs) / len(points))
    assert told["precision"] == pytest.approx(len(pairs) / detected["scene"].isin(points["scene"]).sum())
    assert told["recall"] > 0.4
    assert (detected["contrast_db"] > 0).all()
    assert (shapely.get_x(shapely.from_wkb(detected["geometry"].to_numpy())) == detected["x"]).all()


def test_that_a_second_run_takes_the_place_of_the_first(ice: Ice, found: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(found[0] / "icebergs", tmp_path / "icebergs")
    victim = ice.scenes[0].product_id
    before = _table(ice, tmp_path)
    again = detect_icebergs(ice.spark, _settings(ice, tmp_path, scenes=[victim], false_alarms=1e-12))
    after = _table(ice, tmp_path)
    assert again["scenes"] == 1
    others = before["scene"] != victim
    assert sorted(after[after["scene"] != victim]["iceberg_id"]) == sorted(before[others]["iceberg_id"])
    area = [float(one["area_m2"][(one["scene"] == victim) & (one["source"] == "cfar")].sum()) for one in (before, after)]
    assert 0 < area[1] < area[0]


def test_that_a_broken_scene_costs_only_itself(ice: Ice, tmp_path: Path) -> None:
    shutil.copytree(ice.root / "products", tmp_path / "products")
    victim = ice.scenes[0].product_id
    update_rows(ice.spark, str(tmp_path / "products"), f"product_id = '{victim}'", {"url": "'/nowhere.SAFE'"})
    with pytest.raises(TooManyFailuresError, match="1 of 2 scenes failed") as caught:
        detect_icebergs(ice.spark, _settings(ice, tmp_path, products=str(tmp_path / "products"), max_failed_share=0.0))
    assert list(caught.value.summary["failed_reasons"]) == [victim]
    assert victim not in set(_table(ice, tmp_path)["scene"])
    assert set(_table(ice, tmp_path)["scene"]) == {ice.scenes[1].product_id}
