"""From a set of patches to maps on the polar grid and their accuracy, by a network that is trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio

from eespark.errors import ManifestError, MissingError, TooManyFailuresError
from eespark.grid import Block
from eespark.io.mapfiles import part_url, read_part
from eespark.io.members import Candidate
from eespark.io.sar_scene import open_scene
from eespark.io.storage import read_manifest
from eespark.predict import load_bundle
from eespark.predict_ice import LAYERS, plan_of, predict_strip
from eespark.report.ice_page import read_ice_inputs, write_ice_report
from eespark.report.settings import IceReportSettings
from eespark.spark import ice_maps
from eespark.spark.ice_maps import predict_ice_map
from eespark.spark.ice_validation import validate_ice
from eespark.spark.tables import update_rows
from tests.ice.chain import TrainedIce


@pytest.fixture(scope="module")
def mapped(trained_ice: TrainedIce, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("mapped")
    return root, predict_ice_map(trained_ice.ice.spark, trained_ice.mapping(root))


def _layers(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            assert dataset.crs.to_epsg() == 3413
            found[path.stem] = dataset.read(1)
    return found


def test_that_a_scene_becomes_a_map_in_polar_projection(trained_ice: TrainedIce, mapped: tuple[Path, dict[str, Any]]) -> None:
    root, summary = mapped
    assert (summary["scenes"], summary["scenes_mapped"], summary["scenes_failed"]) == (2, 2, 0)
    name = trained_ice.ice.scenes[0].product_id
    folder = root / "maps" / name
    layers, manifest = _layers(folder), read_manifest(str(folder), "map")
    assert set(layers) == {"class", "probability", "backscatter", "analyst"}
    assert len({one.shape for one in layers.values()}) == 1
    known = layers["class"] != 255
    assert manifest["counts"]["pixels"] == int(known.sum()) > 500
    assert set(np.unique(layers["class"][known])) <= {one["id"] for one in manifest["classes"]}
    np.testing.assert_array_equal(known, layers["probability"] != 255)
    assert summary["pixels"] == sum(read_manifest(str(one), "map")["counts"]["pixels"] for one in (root / "maps").glob("S1*"))
    # What the analyst drew and what the map says are of the same ground: they agree far more often than by chance.
    both = known & (layers["analyst"] != 255)
    assert (layers["class"] == layers["analyst"])[both].mean() > 0.5
    item = json.loads((folder / "item.json").read_text())
    assert item["properties"]["proj:code"] == "EPSG:3413"
    chart = geopandas.read_file(folder / "chart.gpkg", layer="chart")
    assert chart.geometry.area.sum() == pytest.approx(known.sum() * (4 * 40.0) ** 2)
    assert {"CT", "CA", "SA", "FA", "poly_type"} <= set(chart.columns)


def test_that_no_land_gets_a_class(trained_ice: TrainedIce, mapped: tuple[Path, dict[str, Any]]) -> None:
    folder = mapped[0] / "maps" / trained_ice.ice.scenes[0].product_id
    land = geopandas.read_file(trained_ice.ice.drawn / "coastline.gpkg").to_crs(3413)
    with rasterio.open(folder / "class.tif") as dataset:
        rows, cols = np.nonzero(dataset.read(1) != 255)
        x, y = dataset.transform * (cols + 0.5, rows + 0.5)
    # Half a pixel of the map beside the shore is what nearest neighbours can move.
    inner = land.geometry.union_all().buffer(-160)
    assert inner.area > 1e6
    assert not any(inner.contains(point) for point in geopandas.points_from_xy(x, y))


def test_that_a_second_run_maps_nothing_and_another_bundle_maps_again(trained_ice: TrainedIce, mapped: tuple[Path, dict[str, Any]]) -> None:
    root, _ = mapped
    assert predict_ice_map(trained_ice.ice.spark, trained_ice.mapping(root))["scenes_mapped"] == 0
    again = predict_ice_map(trained_ice.ice.spark, trained_ice.mapping(root, stride=8, scenes=[trained_ice.ice.scenes[1].product_id]))
    assert again["scenes_mapped"] == 1


def test_that_strips_that_were_left_are_used_and_give_the_same_map(
    trained_ice: TrainedIce, mapped: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A driver that dies between the strips and the maps leaves strips.
    settings = trained_ice.mapping(tmp_path, scenes=[trained_ice.ice.scenes[0].product_id])
    with monkeypatch.context() as broken:

        def die(*_: Any) -> Any:
            raise KeyboardInterrupt

        broken.setattr(ice_maps, "scene_task", die)
        with pytest.raises(KeyboardInterrupt):
            predict_ice_map(trained_ice.ice.spark, settings)
    (parts,) = (tmp_path / "maps" / "_parts" / trained_ice.ice.scenes[0].product_id).iterdir()
    strips = sorted(parts.glob("*.part"))
    assert len(strips) == 288 // 4 // 16 + 1
    strips[0].unlink()
    seen: list[int] = []
    run = ice_maps._run

    def count(spark: Any, works: Any, items: Any, task: Any) -> Any:
        seen.append(len(items))
        return run(spark, works, items, task)

    monkeypatch.setattr(ice_maps, "_run", count)
    predict_ice_map(trained_ice.ice.spark, settings)
    assert seen == [1, 1]  # the strip that was gone, and the scene
    one, other = (_layers(root / "maps" / trained_ice.ice.scenes[0].product_id) for root in (tmp_path, mapped[0]))
    assert all(np.array_equal(one[name], other[name]) for name in other)
    assert not (tmp_path / "maps" / "_parts" / trained_ice.ice.scenes[0].product_id).exists()


def test_that_strips_are_what_the_network_says_of_the_scene(trained_ice: TrainedIce, tmp_path: Path) -> None:
    settings = trained_ice.mapping(tmp_path, land=None)
    bundle = load_bundle(settings.bundle)
    plan = plan_of(bundle.manifest, 4)
    (row,) = trained_ice.ice.table("products").where(f"product_id = '{trained_ice.ice.scenes[0].product_id}'").collect()
    work = ice_maps.SceneWork(row.asDict(), "run", str(tmp_path / "parts"), (), ())
    cells = ice_maps.strip_task(settings, plan)(work, Block(16, 0, 16, 72))
    found = read_part(part_url(work.parts, Block(16, 0, 16, 72)), Block(16, 0, 16, 72), tuple(LAYERS))
    with open_scene(Candidate(row["product_id"], row["url"], row["kind"])) as scene:
        expected = predict_strip(scene, bundle, plan, np.zeros(0, dtype=object), (16, 16))
    assert all(np.array_equal(found[name], expected[name]) for name in LAYERS)
    assert cells == int((found["class"] != 255).sum()) > 800


def test_that_a_broken_scene_costs_only_itself(trained_ice: TrainedIce, tmp_path: Path) -> None:
    shutil.copytree(trained_ice.ice.root / "products", tmp_path / "products")
    victim = trained_ice.ice.scenes[0].product_id
    update_rows(trained_ice.ice.spark, str(tmp_path / "products"), f"product_id = '{victim}'", {"url": f"'{tmp_path / 'nowhere.SAFE'}'"})
    settings = trained_ice.mapping(tmp_path, products=str(tmp_path / "products"), max_failed_share=0.1)
    with pytest.raises(TooManyFailuresError, match="1 of 2 scenes failed") as caught:
        predict_ice_map(trained_ice.ice.spark, settings)
    assert list(caught.value.summary["failed_reasons"]) == [victim]
    assert not (tmp_path / "maps" / victim).exists()
    assert (tmp_path / "maps" / trained_ice.ice.scenes[1].product_id / "class.tif").exists()


def test_that_scenes_that_are_not_there_are_told(trained_ice: TrainedIce, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="needed current GRD scenes"):
        predict_ice_map(trained_ice.ice.spark, trained_ice.mapping(tmp_path, scenes=["S1C"]))


def test_that_validation_counts_what_the_networks_say(trained_ice: TrainedIce, tmp_path: Path) -> None:
    summary = validate_ice(trained_ice.ice.spark, trained_ice.validating(tmp_path))
    told = read_manifest(str(tmp_path / "validation"), "validation")["protocols"]
    table = pd.read_parquet(tmp_path / "validation" / "predictions.parquet")
    assert set(table["model"]) == {"ice_cnn", "pixel_forest", "pixel_bayes_slopes"}
    for part, models in told.items():
        for model, found in models.items():
            rows = table[(table["split"] == part) & (table["model"] == model)]
            assert found["patches"] == len(rows)
            assert found["overall_accuracy"]["estimate"] == pytest.approx((rows["class_id"] == rows["predicted"]).mean())
            assert sum(one["patches"] for one in found["by_incidence"]) == len(rows)
            assert sum(one["patches"] for one in found["by_region"].values()) == len(rows)
            assert set(found["by_scene"]) == set(rows["product_id"])
    unseen = told["unseen"]["ice_cnn"]
    assert set(unseen["by_scene"]) == {one.product_id for one in trained_ice.ice.scenes[2::3]}
    assert unseen["weighted_f1"]["lower"] <= unseen["weighted_f1"]["estimate"] <= unseen["weighted_f1"]["upper"]
    assert summary["headline"]["unseen"]["ice_cnn"]["ice_water_weighted_f1"] == unseen["ice_water"]["weighted_f1"]["estimate"]


def test_that_a_bundle_of_another_set_is_refused(trained_ice: TrainedIce, tmp_path: Path) -> None:
    shutil.copytree(trained_ice.folder / "set", tmp_path / "set")
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest | {"content_hash": "other"}))
    with pytest.raises(ManifestError, match="was trained on another set"):
        validate_ice(trained_ice.ice.spark, trained_ice.validating(tmp_path, training_set=str(tmp_path / "set")))


def test_that_the_page_shows_scene_analyst_and_map(trained_ice: TrainedIce, mapped: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    validate_ice(trained_ice.ice.spark, trained_ice.validating(tmp_path, pixel_baselines=False))
    told = {
        "summaries": str(tmp_path / "none"),
        "training_set": str(trained_ice.folder / "set"),
        "validation": str(tmp_path / "validation"),
    }
    told |= {"maps": str(mapped[0] / "maps"), "output": str(tmp_path / "page.html"), "summary": "unused"}
    settings = IceReportSettings.model_validate(told)
    summary = write_ice_report(settings)
    assert set(summary["left_out"]) == {"summaries"}
    inputs = read_ice_inputs(settings)
    assert [str(told["tile"]) for told, _ in inputs.maps] == sorted(one.product_id for one in trained_ice.ice.scenes[:2])
    page = (tmp_path / "page.html").read_text()
    for text in ("HH backscatter", "Analyst&#x27;s polygons", "Scenes held out", "incidence angle", trained_ice.ice.scenes[0].product_id):
        assert text in page
    assert page.count("<img") >= 2 * 4 + 2 * 3
    nothing = settings.model_copy(update={name: str(tmp_path / "no") for name in ("maps", "validation", "training_set")})
    assert set(write_ice_report(nothing)["left_out"]) == {"summaries", "training_set", "validation", "maps"}
