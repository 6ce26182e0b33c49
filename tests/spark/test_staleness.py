"""What depends on changed products and labels is told by name, and made anew it equals a chain made from nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from eespark.errors import MissingError
from eespark.io.storage import read_manifest
from eespark.spark import staleness as stale
from eespark.spark.dataset import build_training_set
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.observations import extract_series
from eespark.spark.samples import draw_samples
from eespark.spark.staleness import StalenessSettings, check_staleness, staleness
from eespark.spark.tables import update_rows
from eespark.train.settings import FitSettings, ModelSettings, TrainSettings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Whole:
    """A chain down to maps, and its settings files."""

    chain: Any
    files: Path
    steps: dict[str, Any]

    def settings(self, **changes: Any) -> StalenessSettings:
        told = {name: str(self.files / f"{name}.yaml") for name in ("draw", "series")}
        lists = {name: [str(self.files / f"{name[:-1]}.yaml")] for name in ("builds", "trains", "maps")}
        return StalenessSettings.model_validate({**told, **lists, "summary": str(self.files / "staleness.json"), **changes})

    def train(self) -> None:
        command = [sys.executable, "jobs/train.py", str(self.files / "train.yaml")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3_000:]


def _whole(chain: Any, folder: Path, sample_set: str) -> Whole:
    model = ModelSettings(name="lstm", units=8, layers=1, features=8)
    training = {"training_set": str(folder / "set"), "bundle": str(folder / "bundle"), "summary": str(folder / "train.json")}
    mapping = {"products": chain.table("products"), "bundle": str(folder / "bundle"), "maps": str(folder / "maps"), "tiles": ["33TUN"]}
    mapping |= {"first_day": "2017-09-01", "last_day": "2018-08-31", "min_clear": 2, "summary": str(folder / "map.json")}
    steps = {
        "draw": chain.drawing(sample_set=sample_set), "series": chain.extracting(sample_set=sample_set),
        "build": chain.building("set", sample_set=sample_set, training_set=str(folder / "set")),
        "train": TrainSettings(**training, fit=FitSettings(model=model, epochs=2, batch=16), threads_per_process=1),
        "map": MapSettings.model_validate(mapping),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in steps.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(json.loads(settings.model_dump_json())))
    return Whole(chain, folder, steps)


@pytest.fixture
def whole(extracted: Any, tmp_path: Path) -> Whole:
    """The tiny chain with a training set, a bundle and a map."""
    chain = extracted.copied(tmp_path / "one", "products", "labels", "samples", "observations", "extractions")
    made = _whole(chain, tmp_path / "one", "tiny@1")
    build_training_set(chain.spark, made.steps["build"])
    made.train()
    predict_map(chain.spark, made.steps["map"])
    return made


def _change(whole: Whole) -> tuple[str, str, str]:
    """A product is gone, another has other pixels in other files, a label has another class; their names."""
    chain = whole.chain
    products = (
        chain.read("products")
        .query("status == 'current' and level == 'L2A' and tile == '33TUN' and kind == 'safe'")
        .sort_values("product_id")
    )
    gone, changed = products["product_id"].iloc[0], products["product_id"].iloc[1]
    update_rows(chain.spark, chain.table("products"), f"product_id = '{gone}'", {"status": "'superseded'"})
    other = dict(products.set_index("product_id").loc[gone, "bands"])["B04"]
    bands = f"transform_values(bands, (name, path) -> IF(name = 'B04', '{other}', path))"
    update_rows(chain.spark, chain.table("products"), f"product_id = '{changed}'", {"fingerprint": "'0123456789abcdef'", "bands": bands})
    samples = chain.read("samples").query("split == 'train'")
    label, most = samples["label_id"].iloc[0], int(samples["class_id"].mode().iloc[0])
    own = int(samples["class_id"].iloc[0])
    new = next(int(c) for c in sorted(samples["class_id"].unique()) if c not in (own, most))
    update_rows(chain.spark, chain.table("labels"), f"label_id = '{label}'", {"class_id": str(new)})
    return gone, changed, label


def test_that_what_is_made_anew_equals_a_chain_from_nothing(whole: Whole, tmp_path: Path, content: Any, monkeypatch: Any) -> None:
    chain = whole.chain
    assert staleness(chain.spark, whole.settings())["stale"] == {}
    label = _change(whole)[2]
    told = staleness(chain.spark, whole.settings())
    assert told["rebuilt"] == []
    assert told["stale"] == {
        "sample_set tiny@1": {"labels": [label], "labels_changed": 1},
        "observations tiny@1": {"sample_set": "tiny@1"},
        f"training_set {whole.files / 'set'}": {"observations": "tiny@1"},
        f"bundle {whole.files / 'bundle'}": {"training_set": str(whole.files / "set")},
        f"maps {whole.files / 'maps'}": {"bundle": str(whole.files / "bundle")},
    }
    with monkeypatch.context() as broken:

        def die(*_: Any) -> Any:
            raise KeyboardInterrupt

        broken.setattr(stale, "build_training_set", die)
        with pytest.raises(KeyboardInterrupt):
            staleness(chain.spark, whole.settings(rebuild=True))
    again = staleness(chain.spark, whole.settings(rebuild=True))
    assert again["sample_set"] == "tiny@2"
    assert "sample_set: tiny@2" in again["settings_to_change"]
    assert [one.split(" ")[0] for one in again["rebuilt"]] == ["training_set", "bundle", "maps"]
    assert staleness(chain.spark, whole.settings())["stale"] == {}

    fresh = chain.copied(tmp_path / "two", "products", "labels")
    shutil.rmtree(tmp_path / "two" / "sets")
    anew = _whole(fresh, tmp_path / "two", "tiny@2")
    draw_samples(fresh.spark, anew.steps["draw"])
    extract_series(fresh.spark, anew.steps["series"])
    build_training_set(fresh.spark, anew.steps["build"])
    anew.train()
    predict_map(fresh.spark, anew.steps["map"])
    for name in ("samples", "observations"):
        assert content(chain.read(name).query("sample_set == 'tiny@2'")) == content(fresh.read(name)), name
    hashes = [read_manifest(str(one.files / "set"), "training_set")["content_hash"] for one in (whole, anew)]
    assert hashes[0] == hashes[1]
    metrics = [json.loads((one.files / "bundle" / "metrics.json").read_text())["validation"] for one in (whole, anew)]
    assert metrics[0] == metrics[1]
    statistics = [np.load(one.files / "bundle" / "novelty.npz") for one in (whole, anew)]
    assert all(np.array_equal(statistics[0][name], statistics[1][name]) for name in statistics[0].files)
    for layer in ("class", "probability", "clear_dates", "novelty"):
        pixels = []
        for one in (whole, anew):
            with rasterio.open(one.files / "maps" / "33TUN" / f"{layer}.tif") as dataset:
                pixels.append(dataset.read(1))
        np.testing.assert_array_equal(*pixels)


def test_that_products_alone_leave_the_sample_set_and_are_told_by_name(whole: Whole) -> None:
    chain = whole.chain
    gone, changed, label = _change(whole)
    own = int(chain.read("samples").query("label_id == @label")["class_id"].iloc[0])
    update_rows(chain.spark, chain.table("labels"), f"label_id = '{label}'", {"class_id": str(own)})
    told = staleness(chain.spark, whole.settings())["stale"]
    assert f"sample_set {'tiny@1'}" not in told
    assert told["observations tiny@1"] == {"products_to_read": [changed], "products_gone": sorted([gone, changed])}
    assert list(told[f"maps {whole.files / 'maps'}"]) == ["bundle"]
    again = staleness(chain.spark, whole.settings(rebuild=True))
    assert [one.split(" ")[0] for one in again["rebuilt"]] == ["observations", "training_set", "bundle", "maps"]
    assert again["stale"][f"training_set {whole.files / 'set'}"] == {"products": sorted([gone, changed])}
    assert "settings_to_change" not in again
    assert staleness(chain.spark, whole.settings())["stale"] == {}


def test_that_settings_files_of_other_chains_are_refused(whole: Whole) -> None:
    check_staleness(whole.settings())
    (whole.files / "build.yaml").write_text((whole.files / "build.yaml").read_text().replace("tiny@1", "other@1"))
    with pytest.raises(MissingError, match="needed settings files of the sample set tiny@1, found others of other@1; name one chain"):
        check_staleness(whole.settings())
