"""A fit from a training set to a bundle, in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from eespark.errors import FormatError, MissingError, SettingsError
from eespark.io.storage import read_manifest
from eespark.predict import load_bundle
from eespark.train.data import Arrays, Shape, petastorm_chunks, read_part, shape_of
from eespark.train.export import compare_onnx, save_onnx, serving_function
from eespark.train.fit import check_training_set, fit
from eespark.train.kinds import kind_of
from eespark.train.loop import make_infer
from eespark.train.models import MODELS, build_model
from eespark.train.settings import AugmentSettings, FitSettings, ModelSettings, TrainSettings
from eespark.train.shuffle import epoch_seed

TINY = ModelSettings(name="cnn1d", units=8, layers=1, features=8, kernel=3, dropout=0.2)


def _settings(**changes: Any) -> FitSettings:
    augment = AugmentSettings(temporal_dropout=0.1, mixup=0.2)
    plain: dict[str, Any] = {"model": TINY, "augment": augment, "epochs": 4, "batch": 16, "learning_rate": 0.01}
    return FitSettings(**(plain | changes))


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of training alone: writing a bundle takes longer than training one so small."""
    monkeypatch.setattr("eespark.train.fit.export_bundle", lambda *_: {})


@pytest.fixture(scope="module")
def trained(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    bundle = tmp_path_factory.mktemp("fit") / "bundle"
    settings = _settings(epochs=12, model=TINY.model_copy(update={"units": 24, "layers": 2}), early_stopping_patience=None)
    return fit(settings, str(training_set), str(bundle)), bundle


def test_that_a_fit_learns(trained: tuple[dict[str, Any], Path]) -> None:
    metrics, _ = trained
    assert metrics["validation"]["overall_accuracy"] > 0.6  # one in three by chance
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]


def test_that_a_bundle_is_whole_and_leaves_no_checkpoint(trained: tuple[dict[str, Any], Path]) -> None:
    _, bundle = trained
    names = {"saved_model", "model.onnx", "manifest.json", "metrics.json", "novelty.npz", "model_card.md"}
    assert {one.name for one in bundle.iterdir()} == names
    assert [one.name for one in bundle.parent.iterdir()] == ["bundle"]


def test_that_metrics_hold_a_curve_a_figure(trained: tuple[dict[str, Any], Path]) -> None:
    _, bundle = trained
    metrics = json.loads((bundle / "metrics.json").read_text())
    assert [one["epoch"] for one in metrics["curves"]] == list(range(1, 13))
    assert metrics["best_epoch"] == 1 + int(np.argmax([one["validation_macro_f1"] for one in metrics["curves"]]))
    assert metrics["validation"]["macro_f1"] == max(one["validation_macro_f1"] for one in metrics["curves"])


def test_that_the_manifest_of_a_bundle_says_what_it_was_trained_on(trained: tuple[dict[str, Any], Path], training_set: Path) -> None:
    manifest, source = read_manifest(str(trained[1]), "bundle"), read_manifest(str(training_set), "training_set")
    assert all(manifest[name] == source[name] for name in ("legend", "classes", "bands", "scale", "times", "statistics", "grid"))
    assert manifest["training_set"]["sample_set"] == "fake@1"
    assert sum(manifest["priors"]) == pytest.approx(1)


def test_that_a_bundle_predicts_what_was_validated(trained: tuple[dict[str, Any], Path], training_set: Path) -> None:
    metrics, url = trained
    shape = shape_of(read_manifest(str(training_set), "training_set"))
    rows = read_part(str(training_set), "validation", shape)
    found = load_bundle(str(url)).predict(rows["reflectance"], rows["valid"], rows["day"])
    assert float(np.mean(found.class_ids == rows["class_id"])) == pytest.approx(metrics["validation"]["overall_accuracy"])


def test_that_the_saved_model_gives_what_onnx_gives(trained: tuple[dict[str, Any], Path], training_set: Path) -> None:
    shape = shape_of(read_manifest(str(training_set), "training_set"))
    rows = read_part(str(training_set), "test", shape)
    serve = tf.saved_model.load(str(trained[1] / "saved_model")).signatures["serving_default"]
    logits = serve(**{name: tf.constant(rows[name], tf.float32) for name in ("reflectance", "valid", "day")})["logits"].numpy()
    temperature = trained[0]["temperature"]
    expected = tf.nn.softmax(logits / temperature).numpy()
    found = load_bundle(str(trained[1])).predict(rows["reflectance"], rows["valid"], rows["day"]).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.usefixtures("no_export")
def test_that_a_run_that_is_killed_and_resumed_ends_like_an_undisturbed_one(training_set: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: int) -> None:
        if epoch == 2:
            raise KilledError

    undisturbed = fit(_settings(), str(training_set), str(tmp_path / "undisturbed"))
    with pytest.raises(KilledError):
        fit(_settings(), str(training_set), str(tmp_path / "killed"), after_epoch=kill)
    assert not (tmp_path / "killed").exists()
    epochs: list[int] = []
    resumed = fit(_settings(), str(training_set), str(tmp_path / "killed"), after_epoch=epochs.append)
    assert epochs == [3, 4]
    assert resumed["weights_sha256"] == undisturbed["weights_sha256"]
    for one, other in zip(resumed["history"], undisturbed["history"], strict=True):
        assert {k: v for k, v in one.items() if k not in ("seconds", "rows_per_s")} == {
            k: v for k, v in other.items() if k not in ("seconds", "rows_per_s")
        }


@pytest.mark.usefixtures("no_export")
def test_that_each_epoch_has_an_order_of_its_own(training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def record(url: str, shape: Shape, shard: int, shards: int, seed: int) -> Generator[Arrays, None, None]:
        seeds.append(seed)
        yield from petastorm_chunks(url, shape, shard, shards, seed)

    monkeypatch.setattr("eespark.train.fit.petastorm_chunks", record)
    fit(_settings(epochs=3, seed=5), str(training_set), str(tmp_path / "bundle"))
    assert seeds == [epoch_seed(5, 0), epoch_seed(5, 1), epoch_seed(5, 2)]


@pytest.mark.usefixtures("no_export")
def test_that_dropout_is_drawn_anew_by_seed_and_layer(training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[Any] = []
    monkeypatch.setattr("eespark.train.kinds.build_model", lambda *given: models.append(build_model(*given)) or models[-1])
    fit(_settings(epochs=1), str(training_set), str(tmp_path / "bundle"))
    seeds = [tuple(one.numpy()) for one in models[0].non_trainable_variables]
    assert len(set(seeds)) == len(seeds) == 2
    assert all(seed[0] != 0 for seed in seeds)


@pytest.mark.usefixtures("no_export")
def test_that_another_seed_gives_other_weights(training_set: Path, tmp_path: Path) -> None:
    one, other = (fit(_settings(epochs=1, seed=seed), str(training_set), str(tmp_path / str(seed))) for seed in (1, 2))
    assert one["weights_sha256"] != other["weights_sha256"]


@pytest.mark.usefixtures("no_export")
def test_that_training_stops_when_macro_f1_no_longer_rises(training_set: Path, tmp_path: Path) -> None:
    # A rate this small changes no decision, so the second and third epoch are no better than the first.
    settings = _settings(epochs=9, learning_rate=1e-12, early_stopping_patience=2)
    metrics = fit(settings, str(training_set), str(tmp_path / "bundle"))
    assert (metrics["stopped_by"], metrics["best_epoch"], len(metrics["history"])) == ("early stopping", 1, 3)


@pytest.mark.usefixtures("no_export")
def test_that_a_time_limit_ends_training_after_an_epoch(training_set: Path, tmp_path: Path) -> None:
    metrics = fit(_settings(time_limit_s=1e-6), str(training_set), str(tmp_path / "bundle"))
    assert (metrics["stopped_by"], len(metrics["history"])) == ("time limit", 1)


def test_that_a_loss_that_is_no_number_ends_training(training_set: Path, tmp_path: Path) -> None:
    settings = _settings(learning_rate=1e30, gradient_clip=1e30, warmup_epochs=0.0)
    with pytest.raises(SettingsError, match="finite loss"):
        fit(settings, str(training_set), str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("no_export")
def test_that_rank_0_logs_its_figures_to_mlflow(training_set: Path, tmp_path: Path) -> None:
    fit(_settings(epochs=2, tracking=str(tmp_path / "mlruns")), str(training_set), str(tmp_path / "bundle"))
    curves = list((tmp_path / "mlruns").rglob("metrics/validation_macro_f1"))
    assert len(curves) == 1
    assert len(curves[0].read_text().splitlines()) == 2


@pytest.mark.parametrize("name", sorted(MODELS))
def test_that_onnx_gives_what_keras_gives(name: str, training_set: Path, tmp_path: Path) -> None:
    settings = ModelSettings(name=name, units=8, layers=1, features=6, heads=2, kernel=3)
    manifest = read_manifest(str(training_set), "training_set")
    kind = kind_of(manifest)
    model = kind.build(FitSettings(model=settings))
    rows = read_part(str(training_set), "validation", shape_of(manifest))
    save_onnx(serving_function(model), tmp_path / "model.onnx")
    assert compare_onnx(tmp_path / "model.onnx", make_infer(model, kind), rows, 1e-4) < 1e-4
    model.layers[-1].set_weights([one + 1 for one in model.layers[-1].get_weights()])
    with pytest.raises(FormatError, match="of Keras, found"):
        compare_onnx(tmp_path / "model.onnx", make_infer(model, kind), rows, 1e-4)


def test_that_a_training_set_without_validation_rows_is_refused(training_set: Path, tmp_path: Path) -> None:
    manifest = json.loads((training_set / "manifest.json").read_text())
    del manifest["parts"]["validation"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingError, match="validation"):
        check_training_set(TrainSettings(training_set=str(tmp_path), bundle="x", summary="y"))


def test_that_predicting_imports_no_tensorflow_and_no_spark(trained: tuple[dict[str, Any], Path]) -> None:
    code = (
        "import sys; from eespark.predict import load_bundle; load_bundle(sys.argv[1]); "
        "print(sorted(m for m in ('tensorflow', 'keras', 'pyspark') if m in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(trained[1])], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
