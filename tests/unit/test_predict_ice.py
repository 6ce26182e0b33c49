"""Prediction over a scene: strips, halos and blended patches against plain loops over the whole image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely

from eespark.errors import ManifestError, MissingError
from eespark.io.sar_scene import Looks
from eespark.kernels.sar_tables import Window
from eespark.predict_ice import Plan, plan_of, predict_strip

SHAPE = (45, 37)
CLASSES = np.array([0, 4, 5], np.int32)
NOTHING = np.zeros(0, dtype=object)


class Scene:
    """A scene in memory: HH tells its place, HV is half of it; a border of two columns is not valid."""

    product_id = "S1A_EW_GRDM_1SDH_20180110T081420"
    bands = ("HH", "HV")
    shape = SHAPE

    def __init__(self) -> None:
        self.power = np.random.default_rng(0).uniform(0.01, 0.2, SHAPE).astype(np.float32)
        self.valid = np.ones(SHAPE, bool)
        self.valid[:, :2] = False
        self.read: list[Window] = []

    def looks(self, window: Window, factor: int) -> Looks:
        assert factor == 1
        assert window.row >= 0
        assert window.row + window.rows <= SHAPE[0]
        self.read.append(window)
        part = np.s_[window.row : window.row + window.rows, window.col : window.col + window.cols]
        degrees = np.broadcast_to(30 + 0.1 * np.arange(SHAPE[1]), SHAPE)[part].astype(np.float32)
        return Looks({"HH": self.power[part], "HV": self.power[part] / 2}, {"HH": self.valid[part], "HV": self.valid[part]}, degrees)


def _bundle(run: Any) -> Any:
    return SimpleNamespace(class_ids=CLASSES, manifest={"temperature": 1.0}, run=run)


def _in_strips(scene: Any, run: Any, plan: Plan, land: np.ndarray, strip: int) -> dict[str, np.ndarray]:
    rows = plan.cells(SHAPE)[0]
    firsts = range(0, rows, strip)
    parts = [predict_strip(scene, _bundle(run), plan, land, (first, min(strip, rows - first))) for first in firsts]
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}


def _patch_logits(sigma: np.ndarray, incidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each patch its mean, its first look, and the angle."""
    told = np.stack([20 * sigma[..., 0].mean(axis=(1, 2)), 15 * sigma[:, 0, 0, 0], incidence.mean(axis=1) / 20], axis=-1)
    return told.astype(np.float32), told.astype(np.float32)


def _shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def _blended_by_hand(scene: Scene, land: np.ndarray, size: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of cells: each patch is laid on the cells that it covers, with a tent's weight."""
    rows, cols = SHAPE[0] // step, SHAPE[1] // step
    total, weight = np.zeros((rows, cols, 3)), np.zeros((rows, cols))
    reach = size // step
    usable = scene.valid & ~land
    for row in range(0, SHAPE[0] - size + 1, step):
        for col in range(0, SHAPE[1] - size + 1, step):
            part = np.s_[row : row + size, col : col + size]
            if not usable[part].all():
                continue
            sigma = np.stack([scene.power[part], scene.power[part] / 2], axis=-1)[None]
            share = _shares(_patch_logits(sigma, (30 + 0.1 * np.arange(col, col + size))[None])[0])[0]
            for down in range(reach):
                for right in range(reach):
                    i, j = row // step + down, col // step + right
                    if i < rows and j < cols:
                        own = min(down + 1, reach - down) * min(right + 1, reach - right)
                        total[i, j] += own * share
                        weight[i, j] += own
    known = weight > 0
    mean = total / np.maximum(weight, 1)[..., None]
    return np.where(known, CLASSES[mean.argmax(axis=-1)], 255), np.where(known, np.rint(100 * mean.max(axis=-1)), 255)


@pytest.mark.parametrize(("size", "step"), [(8, 4), (9, 3), (6, 6), (10, 4)])
@pytest.mark.parametrize("strip", [1, 3, 100])
def test_that_cells_have_the_weighted_mean_of_the_patches_over_them(size: int, step: int, strip: int) -> None:
    scene, plan = Scene(), Plan(1, size, step, False, ("HH", "HV"))
    island = np.array([shapely.box(20.2, 30.2, 23.8, 32.8)], dtype=object)
    land = np.zeros(SHAPE, bool)
    land[30:33, 20:24] = True
    rows = plan.cells(SHAPE)[0]
    parts = [
        predict_strip(scene, _bundle(_patch_logits), plan, island, (first, min(strip, rows - first))) for first in range(0, rows, strip)
    ]  # type: ignore[arg-type]
    found = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
    classes, probability = _blended_by_hand(scene, land, size, step)
    np.testing.assert_array_equal(found["class"], classes)
    assert np.abs(found["probability"].astype(int) - probability).max() <= 1
    assert (found["class"] == 255).any()
    assert len(np.unique(classes)) >= 3


def _dense_logits(sigma: np.ndarray, incidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network whose looks see five by five of their neighbours; what is missing counts as nothing."""
    filled = np.pad(np.nan_to_num(sigma[0, ..., 0]), 2)
    windows = np.lib.stride_tricks.sliding_window_view(filled, (5, 5))
    level = windows.mean(axis=(2, 3))
    told = np.stack([40 * level, 30 * windows.max(axis=(2, 3)), np.broadcast_to(incidence[0] / 9, level.shape)], axis=-1)[None]
    return told.astype(np.float32), told.astype(np.float32)


@pytest.mark.parametrize("strip", [4, 17, 100])
def test_that_strips_and_blocks_of_a_dense_network_show_no_seams(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eespark.predict_ice._LEAST_BLOCK", 10)
    scene, plan = Scene(), Plan(1, 5, 1, True, ("HH", "HV"))
    rows = SHAPE[0]
    parts = [
        predict_strip(scene, _bundle(_dense_logits), plan, NOTHING, (first, min(strip, rows - first))) for first in range(0, rows, strip)
    ]  # type: ignore[arg-type]
    found = np.concatenate([one["class"] for one in parts])
    sigma = np.where(scene.valid, scene.power, np.nan)[None, ..., None]
    whole = CLASSES[_dense_logits(sigma, (30 + 0.1 * np.arange(SHAPE[1]))[None])[0][0].argmax(axis=-1)]
    np.testing.assert_array_equal(found, np.where(scene.valid, whole, 255))
    assert max(window.cols for window in scene.read) == 10 + 2 * 2


def test_that_a_scene_without_a_band_is_told() -> None:
    scene = Scene()
    scene.bands = ("HH",)
    with pytest.raises(MissingError, match="needed HH, HV, found HH"):
        predict_strip(scene, _bundle(_patch_logits), Plan(1, 8, 4, False, ("HH", "HV")), NOTHING, (0, 2))  # type: ignore[arg-type]


def test_that_the_plan_follows_the_bundle() -> None:
    manifest = {"inputs": "patches", "receptive_looks": 20, "dense": False, "looks": 2, "bands": ["HH", "HV"]}
    assert plan_of(manifest, None) == Plan(2, 20, 10, False, ("HH", "HV"))
    assert plan_of(manifest, 5).cells((1_001, 999)) == (100, 99)
    assert plan_of(manifest | {"dense": True, "receptive_looks": 27}, 5).step == 1
    with pytest.raises(ManifestError, match="at most the patch's 20 looks, found 21"):
        plan_of(manifest, 21)
    with pytest.raises(ManifestError, match="needs dense, looks"):
        plan_of({"inputs": "patches", "receptive_looks": 20, "bands": ["HH"]}, 5)
    with pytest.raises(ManifestError, match="found one of series"):
        plan_of({"bands": []}, None)
