"""Fitting patches by the same code as series: feed, loss, sampling, bundle, prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from eespark.errors import FormatError, ManifestError, SettingsError
from eespark.io.storage import read_manifest
from eespark.predict import load_bundle, predict_patches
from eespark.train.data import petastorm_chunks, read_part, shape_of
from eespark.train.fit import fit
from eespark.train.loop import _losses
from eespark.train.score import confusion, macro_f1, weighted_f1
from eespark.train.settings import FitSettings
from eespark.train.shuffle import shuffled_batches
from tests.unit.train.patch_sets import SIZE, make_patch_set


@pytest.fixture(scope="module")
def patch_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_patch_set(tmp_path_factory.mktemp("patches") / "set")


def _settings(**changes: Any) -> FitSettings:
    model = {"name": "ice_cnn", "width": 0.25, "features": 12, "dropout": 0.1}
    plain = {"model": model, "epochs": 8, "batch": 32, "learning_rate": 0.01, "warmup_epochs": 0.5, "seed": 3, "onnx_tolerance": 1e-3}
    return FitSettings.model_validate(plain | changes)


@pytest.fixture(scope="module")
def trained(patch_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    bundle = tmp_path_factory.mktemp("bundle") / "ice"
    augment = {"flip_azimuth": True, "noise_floor": 1e-4, "incidence_deg": 0.5, "speckle_looks": 50, "mixup": 0.1}
    return fit(_settings(augment_sar=augment, sampling="balanced", loss="focal", class_weights="none"), str(patch_set), str(bundle)), bundle


def test_that_patches_are_read_as_they_were_written(patch_set: Path) -> None:
    shape = shape_of(read_manifest(str(patch_set), "training_set"))
    rows = read_part(str(patch_set), "train", shape)
    table = pq.read_table(sorted((patch_set / "train").glob("*.parquet"))[1])
    assert rows["sigma"].shape == (384, SIZE, SIZE, 2)
    assert rows["sigma"][64 + 5].tobytes() == table["sigma"][5].as_py()
    assert rows["incidence"][64 + 5].tolist() == table["incidence"][5].as_py()
    chunks = list(petastorm_chunks(str(patch_set / "train"), shape, 1, 2, 9))
    assert {chunk["sigma"].shape for chunk in chunks} == {(64, SIZE, SIZE, 2)}
    own = np.concatenate([chunk["sigma"] for chunk in chunks])
    assert sorted(own.sum(axis=(1, 2, 3)).tolist()) == sorted(
        rows["sigma"].reshape(6, 64, SIZE, SIZE, 2)[1::2].sum(axis=(2, 3, 4)).ravel().tolist()
    )


def test_that_bytes_of_another_length_are_refused(patch_set: Path) -> None:
    shape = shape_of(read_manifest(str(patch_set), "training_set") | {"size": SIZE + 1})
    with pytest.raises(FormatError, match="rebuild the training set"):
        read_part(str(patch_set), "train", shape)
    with pytest.raises(FormatError, match="rebuild the training set"):
        list(petastorm_chunks(str(patch_set / "train"), shape, 0, 1, 3))


def test_that_a_network_learns_what_single_pixels_do_not_tell(trained: tuple[dict[str, Any], Path], patch_set: Path) -> None:
    bundle = load_bundle(str(trained[1]))
    rows = read_part(str(patch_set), "test", shape_of(bundle.manifest))
    found = predict_patches(bundle, rows["sigma"], rows["incidence"])
    assert (found.class_ids == rows["class_id"]).mean() > 0.9
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert trained[0]["validation"]["weighted_f1"] > 0.9
    with pytest.raises(FormatError, match="needed sigma"):
        predict_patches(bundle, rows["sigma"][..., :1], rows["incidence"])


def test_that_the_bundle_tells_what_it_is(trained: tuple[dict[str, Any], Path]) -> None:
    manifest = json.loads((trained[1] / "manifest.json").read_text())
    assert {k: manifest[k] for k in ("inputs", "size", "looks", "dense", "receptive_looks", "poolings")} == {
        "inputs": "patches", "size": SIZE, "looks": 1, "dense": False, "receptive_looks": SIZE, "poolings": 3,
    }  # fmt: skip
    # Balanced sampling showed all classes alike.
    assert manifest["priors"] == pytest.approx([1 / 3] * 3)
    assert "3 poolings" in (trained[1] / "model_card.md").read_text()


def test_that_a_dense_network_is_trained_and_told_by_the_mean_of_its_places(patch_set: Path, tmp_path: Path) -> None:
    model = {"name": "vgg16_nopool", "width": 0.03, "features": 8, "dropout": 0.0}
    metrics = fit(_settings(model=model, epochs=2, learning_rate=0.003), str(patch_set), str(tmp_path / "dense"))
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]
    bundle = load_bundle(str(tmp_path / "dense"))
    assert bundle.manifest["dense"] is True
    rows = read_part(str(patch_set), "test", shape_of(bundle.manifest))
    logits, _ = bundle.run(rows["sigma"], rows["incidence"])
    assert logits.shape == (64, SIZE, SIZE, 3)
    found = predict_patches(bundle, rows["sigma"], rows["incidence"], batch=13)
    assert (found.class_ids == bundle.class_ids[logits.mean(axis=(1, 2)).argmax(axis=1)]).all()


def test_that_a_model_of_series_is_refused(patch_set: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"needed a model of patches .*ice_cnn.*found bilstm"):
        fit(FitSettings(), str(patch_set), str(tmp_path / "bundle"))


def test_that_a_set_of_unknown_inputs_is_refused(patch_set: Path, tmp_path: Path) -> None:
    manifest = json.loads((patch_set / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"inputs": "words"}))
    with pytest.raises(ManifestError, match="needed inputs series or patches, found words"):
        read_manifest(str(tmp_path), "training_set")
    del manifest["size"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ManifestError, match="needs size"):
        read_manifest(str(tmp_path), "training_set")


def test_that_balanced_sampling_shows_every_class_alike() -> None:
    label = np.repeat([0, 1, 2], [800, 150, 50])
    batches = shuffled_batches([{"label": label, "row": np.arange(1000)}], 100, 2_000, np.random.default_rng(0), balanced=True)
    seen = list(batches)
    assert len(seen) == 10
    shares = np.bincount(np.concatenate([one["label"] for one in seen])) / 1000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)


def test_that_focal_loss_is_that_of_its_equation() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(0, 2, (20, 4)).astype(np.float32), rng.integers(0, 4, 20)
    target = np.eye(4, dtype=np.float32)[label]
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = share[np.arange(20), label]
    np.testing.assert_allclose(_losses(target, tf.constant(logits), 2.0), -((1 - own) ** 2) * np.log(own), rtol=1e-4)
    np.testing.assert_allclose(_losses(target, tf.constant(logits), 0.0), -np.log(own), rtol=1e-4)
    dense = np.broadcast_to(logits[:, None, None], (20, 2, 3, 4)).copy()
    dense[:, 1] = logits[::-1, None]
    expected = (np.log(share)[np.arange(20), label] + np.log(share)[::-1][np.arange(20), label]) / -2
    np.testing.assert_allclose(_losses(target, tf.constant(dense), 0.0), expected, rtol=1e-4)


def test_that_weighted_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.6, true, rng.integers(0, 4, 200))
    matrix = confusion(true, predicted, 4)
    assert weighted_f1(matrix) == pytest.approx(f1_score(true, predicted, average="weighted", labels=range(4)))
    assert weighted_f1(matrix) != pytest.approx(macro_f1(matrix), abs=1e-3)
