"""What a training is going to cost, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eespark.io.storage import read_manifest
from eespark.train.checkpoint import State, checkpoint_url, run_key, save_state
from eespark.train.fit import fit
from eespark.train.plan import plan_training
from eespark.train.settings import FitSettings, ModelSettings, TrainSettings


def _settings(training_set: Path, folder: Path, **changes: Any) -> TrainSettings:
    fit_settings = FitSettings(model=ModelSettings(name="lstm", units=8, layers=1, features=8), epochs=3, batch=16)
    told = {"training_set": str(training_set), "bundle": str(folder / "bundle"), "summary": "unused", "fit": fit_settings}
    return TrainSettings.model_validate(told | {"threads_per_process": 1} | changes)


def test_that_all_rows_of_all_epochs_are_counted_and_nothing_is_written(training_set: Path, tmp_path: Path) -> None:
    rows = read_manifest(str(training_set), "training_set")["parts"]["train"]["rows"]
    told = plan_training(_settings(training_set, tmp_path))
    assert told["steps_an_epoch"] == rows // 16
    assert told["work"] == 3 * 16 * (rows // 16)
    assert (told["epochs"], told["tasks"], told["cores"]) == (3, 1, 1)
    assert told["seconds"] == pytest.approx(20 + told["work"] / 500, abs=0.1)
    assert list(tmp_path.iterdir()) == []


def test_that_processes_share_the_rows(training_set: Path, tmp_path: Path) -> None:
    one, two = (plan_training(_settings(training_set, tmp_path, processes=n)) for n in (1, 2))
    assert two["tasks"] == 2
    assert two["seconds"] - 20 == pytest.approx((one["seconds"] - 20) / 2, rel=0.3)


def test_that_epochs_that_are_done_are_left_out(training_set: Path, tmp_path: Path) -> None:
    settings = _settings(training_set, tmp_path)
    manifest = read_manifest(str(training_set), "training_set")
    key = run_key(settings.fit, manifest, 1)
    save_state(checkpoint_url(settings.bundle), State(key, [], [], [], epoch=2))
    assert plan_training(settings)["epochs"] == 1
    fresh = settings.model_copy(update={"fit": settings.fit.model_copy(update={"resume": False})})
    assert plan_training(fresh)["epochs"] == 3


def test_that_the_rate_is_that_of_a_bundle_of_the_same_network(training_set: Path, tmp_path: Path) -> None:
    settings = _settings(training_set, tmp_path)
    curves = fit(settings.fit, settings.training_set, settings.bundle)["curves"]
    told = plan_training(settings)
    assert told["rate_per_core_s"] == pytest.approx(sorted(one["rows_per_s"] for one in curves)[1], abs=0.1)
    assert told["rate_from"].startswith("3 epochs of ")
    other = settings.model_copy(update={"fit": settings.fit.model_copy(update={"model": ModelSettings(name="cnn1d", units=8, layers=1)})})
    assert plan_training(other)["rate_from"].startswith("a default")
