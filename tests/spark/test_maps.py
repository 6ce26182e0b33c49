"""Maps of two small tiles whose rasters, parcels and network are made by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import onnx
import pytest
import rasterio
import shapely
from onnx import TensorProto, helper, numpy_helper

from eespark import __version__
from eespark.bands import BANDS
from eespark.errors import SettingsError, TooManyFailuresError
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import Block, TileGrid
from eespark.io.storage import write_manifest
from eespark.kernels.novelty import fit_novelty
from eespark.manifest import build_manifest
from eespark.schema import LABELS, PRODUCTS
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.parcels import find_parcels
from eespark.spark.plans import plan_maps

FIRST = date(2017, 9, 1)
DAYS = (20, 80, 81, 150, 200, 260)
A = TileGrid("33UWP", "EPSG:32633", 560_000.0, 5_320_000.0, 128, 128)
B = TileGrid("33UXP", "EPSG:32633", 640_000.0, 5_320_000.0, 64, 64)
ODD = (slice(100, 110), slice(4, 14))  # ground unlike all that the network was shown
COARSE = {name: name not in ("B02", "B03", "B04") for name in (*BANDS, "SCL")}


@dataclass(frozen=True)
class World:
    folder: Path
    tables: Path
    images: dict[tuple[str, int], dict[str, np.ndarray]]

    def settings(self, maps: Path, **changes: Any) -> MapSettings:
        told = {"products": self.tables / "products", "bundle": self.folder / "bundle", "maps": maps, "summary": maps / "s.json"}
        same = {"first_day": FIRST, "last_day": "2018-08-31", "block_px": 64, "min_clear": 3, "tiles": [A.tile]}
        return MapSettings.model_validate({k: str(v) for k, v in told.items()} | same | changes)

    def band_file(self, tile: str, number: int, band: str) -> Path:
        return self.folder / f"{tile}_{number}_{band}.tif"

    def series(self, tile: str, row: int, col: int) -> tuple[np.ndarray, np.ndarray]:
        """(days, 9) reflectance and clear of one pixel, from what was written."""
        values, clear = np.zeros((len(DAYS), 9)), np.zeros(len(DAYS), bool)
        for number in range(len(DAYS)):
            image = self.images[tile, number]
            clear[number] = image["SCL"][row // 2, col // 2] in (4, 5, 6)
            dn = [int(image[b][row // 2, col // 2] if COARSE[b] else image[b][row, col]) for b in BANDS]
            values[number] = np.array(dn) - (1000 if number >= 3 else 0)
        return np.where(clear[:, None], values, 0), clear


def expected(values: np.ndarray, clear: np.ndarray, priors: np.ndarray | None = None, gain: float = 1e-4) -> tuple[int, float]:
    """Class and probability that the network of this file gives a series."""
    logits = (values[clear, :2] * gain).sum(axis=0)
    powers = np.exp(logits - logits.max()) * (1 if priors is None else priors / np.array([0.4, 0.6]))
    shares = powers / powers.sum()
    return (3, 8)[int(shares.argmax())], float(shares.max())


def write_bundle(folder: Path, gain: float = 1e-4) -> None:
    """Logits: sums of B02 and B03 over valid dates; features: those of B04 and B05."""
    folder.mkdir()
    pick = np.zeros((9, 4), np.float32)
    pick[range(4), range(4)] = gain
    constants = {"pick": pick, "last": np.array([2]), "time": np.array([1]), "halves": np.array([2, 2])}
    nodes = [
        helper.make_node("Unsqueeze", ["valid", "last"], ["mask"]),
        helper.make_node("Mul", ["reflectance", "mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "time"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["day"], ["days"], keepdims=0),
        helper.make_node("MatMul", ["total", "pick"], ["picked"]),
        helper.make_node("Split", ["picked", "halves"], ["logits", "features"], axis=1),
    ]
    shapes = {"reflectance": [None, None, 9], "valid": [None, None], "day": [None, None]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("logits", "features")]
    graph = helper.make_graph(nodes, "hand", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), str(folder / "model.onnx"))
    shown = np.random.default_rng(3).uniform(0.2, 1.6, (400, 2))
    known = fit_novelty(shown, np.zeros(400, int), shown)
    np.savez(folder / "novelty.npz", means=known.means, factor=known.factor, quantiles=known.quantiles)
    classes = [{"id": 3, "name": "wheat", "colour": "#ffcc00"}, {"id": 8, "name": "rye", "colour": "#00ccff"}]
    content = {"model": "hand", "legend": "fake@1", "classes": classes, "bands": list(BANDS), "scale": 10000, "times": 6}
    content |= {"statistics": {"mean": [0.1] * 9, "std": [0.1] * 9}, "grid": {"kind": "as_acquired"}, "settings": {}}
    content |= {
        "training_set": {},
        "level": "L2A",
        "onnx": "model.onnx",
        "novelty": "novelty.npz",
        "temperature": 1.0,
        "priors": [0.4, 0.6],
    }
    write_manifest(str(folder), build_manifest("bundle", content, __version__))


def make_image(rng: np.random.Generator, grid: TileGrid, number: int) -> dict[str, np.ndarray]:
    half = (grid.rows // 2, grid.cols // 2)
    image = {b: rng.integers(1100, 3600, half if COARSE[b] else (grid.rows, grid.cols)).astype(np.uint16) for b in BANDS}
    image["SCL"] = rng.choice([4, 5, 9, 3, 0], half, p=[0.5, 0.25, 0.15, 0.05, 0.05]).astype(np.uint8)
    image["SCL"][40:46, 40:46] = 9  # always under cloud
    if grid == A:
        image["B04"][ODD] = 9_000
    # The second and third date are one day's halves: their own ground each.
    if number in (1, 2):
        image["SCL"][:, half[1] // 2 :] = np.where(number == 1, 0, image["SCL"][:, half[1] // 2 :])
        image["SCL"][:, : half[1] // 2] = np.where(number == 2, 0, image["SCL"][:, : half[1] // 2])
    return image


def write_band(file: Path, values: np.ndarray, grid: TileGrid) -> None:
    pixel = grid.pixel_m * grid.rows / values.shape[0]
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": 1, "height": values.shape[0], "width": values.shape[1], "crs": grid.crs}
    profile |= {"transform": rasterio.Affine(pixel, 0, grid.x_min, 0, -pixel, grid.y_max), "tiled": True}
    with rasterio.open(file, "w", **profile, blockxsize=32, blockysize=32) as dataset:
        dataset.write(values, 1)


def product(world: World, grid: TileGrid, number: int) -> dict[str, Any]:
    day = DAYS[number] if number != 2 else DAYS[1]
    when = datetime(2017, 9, 1, 10, tzinfo=UTC) + timedelta(days=day)
    row = {"product_id": f"{grid.tile}_{number}", "url": "u", "kind": "safe", "mission": "S2A", "level": "L2A", "tile": grid.tile}
    row |= {"sensing_time": when, "crs": grid.crs, "transform": list(grid.transform), "shape": [grid.rows, grid.cols], "scale": 10000.0}
    row |= {"bands": {b: str(world.band_file(grid.tile, number, b)) for b in COARSE}, "cloud_share": 0.2, "status": "current"}
    row |= {"offsets": dict.fromkeys(BANDS, -1000.0 if number >= 3 else 0.0), "size_bytes": 1, "fingerprint": f"f{number}"}
    return row | {"modified": when, "ingested_at": when}


def label(name: str, box: tuple[float, float, float, float], home: str = A.tile, class_id: int = 3) -> dict[str, Any]:
    """A parcel from rows and columns of tile A: first row, first column, last row, last column."""
    top, left, bottom, right = box
    ground = shapely.box(A.x_min + left * 10, A.y_max - bottom * 10, A.x_min + right * 10, A.y_max - top * 10)
    polygon = reproject(np.array([shapely.segmentize(ground, 50)]), accurate_transformer(A.crs, "EPSG:3035"))[0]
    point = polygon.representative_point()
    row = {"label_id": name, "source": "parcels", "source_key": name, "legend": "fake@1", "class_id": class_id, "attributes": {}}
    row |= {"geometry": bytes(shapely.to_wkb(polygon)), "crs": "EPSG:3035", "valid_from": FIRST, "valid_to": date(2018, 8, 31)}
    row |= {"area_m2": polygon.area, "weight": 1.0, "usable": True, "tile": home, "point_x": point.x, "point_y": point.y}
    return row


PARCELS = {"whole": (10, 10, 30, 30), "across": (50, 40, 90, 79), "tiny": (34.2, 4.2, 35.7, 5.7), "cloudy": (82, 82, 90, 90)}


@pytest.fixture(scope="module")
def world(spark: Any, add_rows: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(8)
    images = {(grid.tile, number): make_image(rng, grid, number) for grid in (A, B) for number in range(len(DAYS))}
    made = World(folder, folder / "tables", images)
    for (tile, number), image in images.items():
        for band, values in image.items():
            write_band(made.band_file(tile, number, band), values, A if tile == A.tile else B)
    write_bundle(folder / "bundle")
    add_rows(made.tables / "products", PRODUCTS, [product(made, grid, n) for grid in (A, B) for n in range(len(DAYS))])
    labels = [label(name, box) for name, box in PARCELS.items()]
    add_rows(made.tables / "labels", LABELS, [*labels, label("elsewhere", (100, 100, 120, 120), home=B.tile)])
    return made


@pytest.fixture(scope="module")
def mapped(spark: Any, world: World) -> tuple[Path, dict[str, Any]]:
    maps = world.folder / "maps"
    return maps, predict_map(spark, world.settings(maps, tiles=None))


def read(folder: Path, layer: str = "class") -> np.ndarray:
    with rasterio.open(folder / f"{layer}.tif") as dataset:
        return dataset.read(1)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_that_a_pixel_has_the_class_that_the_network_gives_its_series(world: World, mapped: Any) -> None:
    folder = mapped[0] / A.tile
    layers = {name: read(folder, name) for name in ("class", "probability", "clear_dates")}
    for row, col in np.random.default_rng(1).integers(0, 128, (60, 2)):
        values, clear = world.series(A.tile, row, col)
        assert layers["clear_dates"][row, col] == clear.sum()
        if clear.sum() < 3:
            assert layers["class"][row, col] == layers["probability"][row, col] == 255
            continue
        class_id, probability = expected(values, clear)
        assert layers["class"][row, col] == class_id
        assert layers["probability"][row, col] == pytest.approx(100 * probability, abs=0.51)


def test_that_ground_unlike_the_training_set_is_shown_as_novel(mapped: Any) -> None:
    novelty, classes = read(mapped[0] / A.tile, "novelty"), read(mapped[0] / A.tile)
    odd = np.zeros(novelty.shape, bool)
    odd[ODD] = True
    assert np.all(novelty[odd & (classes != 255)] == 100)
    assert np.median(novelty[~odd & (classes != 255)]) < 75


def test_that_the_whole_map_is_counted_and_its_parts_are_gone(mapped: Any) -> None:
    maps, summary = mapped
    told = manifest(maps / A.tile)
    assert (summary["blocks"], summary["blocks_failed"], set(summary["tiles"])) == (5, 0, {A.tile, B.tile})
    assert (told["failed_blocks"], told["counts"]["holes"], told["priors"]) == ({}, 0, None)
    assert told["counts"]["pixels"] == int((read(maps / A.tile) != 255).sum()) == sum(told["counts"]["by_class"].values())
    assert not list((maps / "_parts").glob("*/*"))


def test_that_a_second_run_does_nothing_and_a_lost_tile_alone_is_made_again(spark: Any, world: World, mapped: Any) -> None:
    maps, before = mapped[0], read(mapped[0] / A.tile)
    assert predict_map(spark, world.settings(maps, tiles=None))["blocks"] == 0
    shutil.rmtree(maps / A.tile)
    assert predict_map(spark, world.settings(maps, tiles=None))["blocks"] == 4
    np.testing.assert_array_equal(read(maps / A.tile), before)


def test_that_a_broken_block_is_a_hole_with_a_reason_that_the_next_run_fills(spark: Any, world: World, mapped: Any, tmp_path: Path) -> None:
    file = world.band_file(A.tile, 4, "B12")
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    try:
        with pytest.raises(TooManyFailuresError, match="1 of 4 blocks failed") as caught:
            predict_map(spark, world.settings(tmp_path))
    finally:
        file.write_bytes(content)
    told = manifest(tmp_path / A.tile)
    assert list(told["failed_blocks"]) == ["64,64"]
    assert "B12" in told["failed_blocks"]["64,64"]
    assert caught.value.summary["blocks_failed"] == 1
    whole, holed = read(mapped[0] / A.tile), read(tmp_path / A.tile)
    assert np.all(holed[64:, 64:] == 255)
    np.testing.assert_array_equal(holed[:64], whole[:64])
    assert predict_map(spark, world.settings(tmp_path))["blocks"] == 1
    np.testing.assert_array_equal(read(tmp_path / A.tile), whole)
    assert manifest(tmp_path / A.tile)["failed_blocks"] == {}


def test_that_parts_of_another_bundle_are_not_taken_and_a_total_failure_leaves_the_older_map(
    spark: Any, world: World, mapped: Any, tmp_path: Path
) -> None:
    shutil.copytree(mapped[0] / B.tile, tmp_path / B.tile)
    write_bundle(tmp_path / "other", gain=-1e-4)  # an equal manifest, other weights
    settings = world.settings(tmp_path, tiles=[B.tile], bundle=str(tmp_path / "other"))
    file = world.band_file(B.tile, 0, "SCL")
    content = file.read_bytes()
    file.write_bytes(content[:200])
    try:
        with pytest.raises(TooManyFailuresError) as caught:
            predict_map(spark, settings)
    finally:
        file.write_bytes(content)
    assert "found none of 1" in caught.value.summary["tiles_without_map"][B.tile]
    before = read(tmp_path / B.tile)
    assert predict_map(spark, settings)["blocks"] == 1
    after = read(tmp_path / B.tile)
    # But for the odd tie of the two logits, weights of the other sign name the other class everywhere.
    assert np.mean(after[after != 255] != before[after != 255]) > 0.99


def test_that_a_bundle_of_another_level_is_refused(spark: Any, world: World, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"needed a bundle trained on L1C, found .* of L2A"):
        predict_map(spark, world.settings(tmp_path, level="L1C"))


def test_that_each_parcel_has_one_prediction_from_all_its_pure_pixels(spark: Any, world: World, tmp_path: Path) -> None:
    changes = {"mode": "parcels", "labels": str(world.tables / "labels"), "mask_sources": ["parcels"]}
    summary = predict_map(spark, world.settings(tmp_path, **changes))
    table = geopandas.read_parquet(tmp_path / A.tile / "parcels.parquet").set_index("label_id")
    assert table.crs == "EPSG:3035"
    assert set(table.index) == set(PARCELS)
    assert table["reason"].to_dict() == {"whole": None, "across": None, "tiny": "no_pure_pixels", "cloudy": "too_few_clear_dates"}
    assert table["predicted"].isna().to_dict() == {"whole": False, "across": False, "tiny": True, "cloudy": True}
    classes = read(tmp_path / A.tile)
    for name in ("whole", "across"):
        top, left, bottom, right = PARCELS[name]
        # Drawn in by 5 m, whole 20 m cells: the outermost ring of cells goes.
        rows, cols = range(top + 2, bottom - 2), range(left + 2, (right - 1) // 2 * 2)
        stack = [world.series(A.tile, r, c) for r in rows for c in cols]
        values, clear = np.array([v for v, _ in stack]), np.array([c for _, c in stack])
        # The two halves of one day are one date.
        values, clear = (
            np.delete(values + np.roll(values, -1, 1) * (np.arange(6) == 1)[:, None], 2, 1),
            np.delete(clear | (np.roll(clear, -1, 1) & (np.arange(6) == 1)), 2, 1),
        )
        counted = clear.mean(axis=0) >= 0.5
        median = np.array([np.rint(np.median(values[clear[:, d], d], axis=0)) if counted[d] else np.zeros(9) for d in range(5)])
        class_id, probability = expected(median, counted)
        row = table.loc[name]
        assert (row["pixels"], row["clear_dates"], row["predicted"], row["cut"]) == (len(stack), counted.sum(), class_id, False)
        assert row["probability"] == pytest.approx(probability, abs=1e-5)
        assert np.all(classes[top + 1 : bottom - 1, left + 1 : right - 1] == class_id)
    painted = np.zeros(classes.shape, bool)
    for name in ("whole", "across"):
        top, left, bottom, right = PARCELS[name]
        painted[top - 1 : bottom + 1, left - 1 : right + 1] = True
    assert np.all(classes[~painted] == 255)
    assert summary["tiles"][A.tile]["parcels_without_class"] == {"no_pure_pixels": 1, "too_few_clear_dates": 1}


def test_that_the_mask_keeps_the_map_to_declared_parcels(spark: Any, world: World, mapped: Any, tmp_path: Path) -> None:
    predict_map(spark, world.settings(tmp_path, labels=str(world.tables / "labels"), mask_sources=["parcels"]))
    whole, masked = read(mapped[0] / A.tile), read(tmp_path / A.tile)
    np.testing.assert_array_equal(masked[51:89, 41:78], whole[51:89, 41:78])
    assert np.all(masked[92:98] == 255)


def test_that_predictions_expect_the_class_shares_of_the_tile(spark: Any, world: World, tmp_path: Path) -> None:
    write_bundle(tmp_path / "sure", gain=1e-3)
    changes = {"bundle": str(tmp_path / "sure"), "shift_priors": True, "prior_blocks": 3, "prior_samples": 600}
    predict_map(spark, world.settings(tmp_path / "a", **changes))
    told = manifest(tmp_path / "a" / A.tile)["priors"]
    shares = np.array([told["shares"]["3"], told["shares"]["8"]])
    assert (300 < told["samples"] <= 600, told["blocks"], told["reason"]) == (True, 3, None)
    assert shares.sum() == pytest.approx(1)
    layers = {name: read(tmp_path / "a" / A.tile, name) for name in ("class", "probability")}
    moved = []
    for row, col in np.random.default_rng(2).integers(0, 128, (40, 2)):
        values, clear = world.series(A.tile, row, col)
        if clear.sum() >= 3:
            class_id, probability = expected(values, clear, shares, gain=1e-3)
            assert layers["class"][row, col] == class_id
            assert layers["probability"][row, col] == pytest.approx(100 * probability, abs=0.51)
            moved.append(abs(probability - expected(values, clear, gain=1e-3)[1]))
    assert max(moved) > 0.02
    predict_map(spark, world.settings(tmp_path / "b", **changes))
    assert manifest(tmp_path / "b" / A.tile)["priors"] == told


def test_that_shares_far_from_what_the_network_counts_are_told_and_not_used(spark: Any, world: World, mapped: Any, tmp_path: Path) -> None:
    changes = {"shift_priors": True, "prior_blocks": 1, "prior_samples": 200, "max_prior_move": 0.0}
    predict_map(spark, world.settings(tmp_path, **changes))
    told = manifest(tmp_path / A.tile)["priors"]
    assert told["shares"] is None
    assert "max_prior_move" in told["reason"]
    assert sum(told["estimated"].values()) == pytest.approx(1)
    np.testing.assert_array_equal(read(tmp_path / A.tile), read(mapped[0] / A.tile))


def test_that_a_parcel_is_read_no_farther_than_its_reach_and_says_so(world: World, tmp_path: Path) -> None:
    settings = world.settings(tmp_path, mode="parcels", labels=str(world.tables), mask_sources=["parcels"], reach_px=8)
    rows = [{**label(name, box), "home": A.tile} for name, box in (("across", (50, 40, 90, 60)), ("whole", (10, 10, 30, 30)))]
    table, place = find_parcels(rows, A, Block(64, 0, 64, 64), settings)
    assert table[["label_id", "cut", "reason"]].to_numpy().tolist() == [["across", True, "too_few_clear_dates"]]
    # Its point lies in the lower block, which reaches 8 rows up, to row 56; drawn in by 5 m it ends before row 90.
    assert place is not None
    assert (place.window, table["pixels"][0]) == (Block(56, 40, 34, 20), 32 * 16)
    assert (place.wanted.sum(), set(place.groups)) == (32 * 16, {0})


def test_that_a_plan_tells_the_blocks_that_are_missing_and_changes_nothing(spark, world, tmp_path):
    settings = world.settings(tmp_path / "maps", tiles=[A.tile, B.tile])
    (tmp_path / "maps" / "_parts" / A.tile / "old").mkdir(parents=True)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    plan = plan_maps(spark, settings)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert (plan.tasks, dict(plan.by_place)) == (5, {A.tile: 4, B.tile: 1})
    assert plan.work == pytest.approx((128 * 128 + 64 * 64) / 1e6)
    assert plan.largest == pytest.approx(64 * 64 / 1e6)
    assert plan.rate_from == "a default: no run was measured yet"
    summary = predict_map(spark, settings)
    (tmp_path / "maps" / "s.json").write_text(json.dumps(summary))
    again = plan_maps(spark, settings)
    assert (again.tasks, again.told(2)["seconds"]) == (0, 0.0)
    assert again.rate == pytest.approx(summary["pixels"] / 1e6 / summary["core_seconds"])
    assert again.rate_from == "the job's last run"
