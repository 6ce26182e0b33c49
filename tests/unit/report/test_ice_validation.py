"""Accuracy of ice by part, scene, season, region and angle, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from eespark.report.ice_validation import summarise_ice

CLASSES = [{"id": 0, "name": "Open water"}, {"id": 3, "name": "Young ice"}, {"id": 4, "name": "First-year ice"}]


def _rows(model: str, right: float, seed: int) -> pd.DataFrame:
    rng, count = np.random.default_rng(seed), 900
    true = rng.choice([0, 3, 4], count, p=[0.3, 0.2, 0.5])
    # Some scenes are harder than others, which is what the intervals must tell.
    scene = rng.integers(0, 6, count)
    share = right - 0.05 * scene
    predicted = np.where(rng.random(count) < share, true, rng.choice([0, 3, 4], count))
    return pd.DataFrame({
        "sample_id": np.arange(count), "product_id": [f"S{k}" for k in scene], "season": np.where(scene < 3, "2017/18", "2018/19"),
        "region": np.where(rng.random(count) < 0.5, "0_0", "0_1"), "split": np.where(scene % 2 == 0, "unseen", "test"), "class_id": true,
        "predicted": predicted, "incidence": rng.uniform(20, 45, count), "model": model,
    })  # fmt: skip


TABLE = pd.concat([_rows("cnn", 0.95, 1), _rows("forest", 0.75, 2), _rows("cnn", 0.9, 3).assign(split="train")], ignore_index=True)


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, dict[str, object]]]:
    return summarise_ice(TABLE, CLASSES, 0, 1)


def test_that_parts_and_models_are_told_apart(told: dict) -> None:
    assert {part: sorted(models) for part, models in told.items()} == {"test": ["cnn", "forest"], "unseen": ["cnn", "forest"]}


def test_that_figures_are_those_of_scikit_learn(told: dict) -> None:
    rows = TABLE[(TABLE["split"] == "unseen") & (TABLE["model"] == "cnn")]
    found = told["unseen"]["cnn"]
    ids = [0, 3, 4]
    for name in ("macro", "weighted"):
        expected = f1_score(rows["class_id"], rows["predicted"], average=name, labels=ids)
        assert found[f"{name}_f1"]["estimate"] == pytest.approx(expected)
    by_class = f1_score(rows["class_id"], rows["predicted"], average=None, labels=ids)
    assert [found["by_class"][str(c)]["f1"]["estimate"] for c in ids] == pytest.approx(list(by_class))
    two = f1_score(rows["class_id"] != 0, rows["predicted"] != 0, average="weighted")
    assert found["ice_water"]["weighted_f1"]["estimate"] == pytest.approx(two)
    assert np.asarray(found["confusion"]).sum() == len(rows)


def test_that_groups_are_figures_of_their_own_rows(told: dict) -> None:
    rows = TABLE[(TABLE["split"] == "test") & (TABLE["model"] == "forest")]
    found = told["test"]["forest"]
    for key, column in (("by_scene", "product_id"), ("by_season", "season"), ("by_region", "region")):
        assert set(found[key]) == set(rows[column])
        for name, own in rows.groupby(column):
            assert found[key][name]["overall_accuracy"] == pytest.approx((own["class_id"] == own["predicted"]).mean())
    low = np.floor(rows["incidence"] / 2) * 2
    for one in found["by_incidence"]:
        own = rows[low == one["from_deg"]]
        assert one["patches"] == len(own)
        assert one["overall_accuracy"] == pytest.approx((own["class_id"] == own["predicted"]).mean())


def test_that_intervals_come_from_whole_scenes(told: dict) -> None:
    found = told["unseen"]["cnn"]["overall_accuracy"]
    rows = TABLE[(TABLE["split"] == "unseen") & (TABLE["model"] == "cnn")]
    by_scene = rows.assign(right=rows["class_id"] == rows["predicted"]).groupby("product_id")["right"]
    # Three scenes: no draw can be better than the best scene or worse than the worst.
    assert by_scene.mean().min() <= found["lower"] < found["estimate"] < found["upper"] <= by_scene.mean().max()


def test_that_a_legend_without_water_has_no_such_figure() -> None:
    assert "ice_water" not in summarise_ice(TABLE, CLASSES, None, 1)["test"]["cnn"]
