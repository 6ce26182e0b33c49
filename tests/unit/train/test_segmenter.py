"""Dense networks on crops that are labelled look by look: what is learnt, what is left out, how far a network sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from eespark.errors import SettingsError
from eespark.io.storage import read_manifest
from eespark.predict import load_bundle, predict_looks
from eespark.predict_ice import Plan, plan_of, predict_strip
from eespark.train.data import petastorm_chunks, read_part, shape_of
from eespark.train.fit import _share_moving_means, fit
from eespark.train.image_models import Decibels, build_image_model, receptive_looks
from eespark.train.kinds import kind_of
from eespark.train.loop import _losses, make_infer, make_scored, train_batches
from eespark.train.segmenter import OUTPUT_STRIDE
from eespark.train.settings import FitSettings, ImageModelSettings
from tests.unit.test_predict_ice import CLASSES, NOTHING
from tests.unit.train.patch_sets import make_crop_set, make_patch_set

SIZE = 16
SEGMENTER = {"name": "ice_segmenter", "width": 0.05, "features": 8, "dropout": 0.0, "rates": [1, 2]}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_crop_set(tmp_path_factory.mktemp("crops") / "set", size=SIZE)


def _settings(**changes: Any) -> FitSettings:
    plain = {"model": SEGMENTER, "epochs": 3, "batch": 8, "learning_rate": 0.01, "seed": 3, "onnx_tolerance": 1e-3, "class_weights": "none"}
    return FitSettings.model_validate(plain | changes)


def _model(rates: list[int], classes: int = 3) -> Any:
    tf.keras.utils.set_random_seed(0)
    decibels = Decibels((-15.0, -22.0), (5.0, 4.0), (4.0, 4.0), (-0.2, -0.1), (33.0, 6.0))
    return build_image_model(ImageModelSettings.model_validate(SEGMENTER | {"rates": rates}), decibels, SIZE, classes)


def test_that_a_segmenter_says_something_of_every_look_and_sees_no_further_than_it_says() -> None:
    model, rng = _model([1]), np.random.default_rng(0)
    reach = receptive_looks(ImageModelSettings.model_validate(SEGMENTER | {"rates": [1]}), SIZE) // 2
    sigma = rng.gamma(5, 0.01, (1, 32, 1_200, 2)).astype(np.float32)
    angle = np.full((1, 1_200), 30, np.float32)
    before = np.asarray(model({"sigma": sigma, "incidence": angle})["logits"])[0]
    assert before.shape == (32, 1_200, 3)
    changed = sigma.copy()
    changed[0, :, 601:604] = 3.0
    moved = np.abs(np.asarray(model({"sigma": changed, "incidence": angle})["logits"])[0] - before).max(axis=(0, 2)) > 0
    cols = np.flatnonzero(moved)
    assert 601 - reach <= cols.min() < 560
    assert 650 < cols.max() <= 604 + reach
    # Told by hand: 7 and 3 of the stem, four stages, a pyramid of rate 1, two cells for a look.
    assert 2 * reach + 1 == 1 + 6 + 4 + 4 * 8 + (8 + 3 * 16) + 4 * 32 + 4 * 64 + 16 + 16


def test_that_blocks_of_a_segmenter_show_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eespark.predict_ice._LEAST_BLOCK", 16)
    model, rng, shape = _model([1]), np.random.default_rng(1), (36, 1_210)
    reach = receptive_looks(ImageModelSettings.model_validate(SEGMENTER | {"rates": [1]}), SIZE)
    sigma = rng.gamma(5, 0.01, (*shape, 2)).astype(np.float32)
    incidence = np.linspace(25, 40, shape[1]).astype(np.float32)
    widths = []

    def looks(window: Any, _: int) -> Any:
        widths.append(window.cols)
        part = np.s_[window.row : window.row + window.rows, window.col : window.col + window.cols]
        valid = np.ones((window.rows, window.cols), bool)
        power = {"HH": sigma[part][..., 0], "HV": sigma[part][..., 1]}
        return SimpleNamespace(power=power, valid={"HH": valid, "HV": valid}, incidence=np.broadcast_to(incidence, shape)[part])

    def run(power: Any, angle: Any) -> Any:
        assert power.shape[1] % OUTPUT_STRIDE == power.shape[2] % OUTPUT_STRIDE == 0
        told = model({"sigma": power, "incidence": angle})
        return np.asarray(told["logits"]), np.asarray(told["features"])

    scene = SimpleNamespace(product_id="S1A", bands=("HH", "HV"), shape=shape, looks=looks)
    bundle: Any = SimpleNamespace(class_ids=CLASSES, manifest={"temperature": 1.0}, run=run)
    plan = Plan(1, reach, 1, True, ("HH", "HV"), OUTPUT_STRIDE)
    found = np.concatenate([predict_strip(scene, bundle, plan, NOTHING, one)["probability"] for one in ((0, 20), (20, 16))])
    padded = np.pad(sigma, ((0, 4), (0, 6), (0, 0)), constant_values=np.nan)[None], np.pad(incidence, (0, 6), mode="edge")[None]
    logits = run(*padded)[0][0][: shape[0], : shape[1]]
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert len(widths) > 2
    assert max(widths) < shape[1]
    assert np.abs(found.astype(int) - np.rint(100 * shares.max(axis=-1))).max() <= 1


def test_that_looks_without_a_class_weigh_nothing(crops: Path) -> None:
    manifest = read_manifest(str(crops), "training_set")
    kind = kind_of(manifest)
    assert kind.shape.fed == ("sigma", "incidence", "classes", "class_id", "inclusion_probability")
    chunk = next(iter(petastorm_chunks(str(crops / "train"), kind.shape, 0, 1, 5)))
    weights = np.array([1.0, 2.0, 4.0], np.float32)
    (batch,) = train_batches([chunk], kind, _settings(), weights, np.random.default_rng(0))
    assert batch.target.shape == (16, SIZE, SIZE, 3)
    expected = np.select([chunk["classes"] == one["id"] for one in manifest["classes"]], weights, 0.0)
    np.testing.assert_array_equal(batch.weight, expected)
    assert (batch.weight == 0).any()
    ids = np.array([one["id"] for one in manifest["classes"]])
    known = batch.weight > 0
    np.testing.assert_array_equal(ids[batch.target.argmax(axis=-1)][known], chunk["classes"][known])


def test_that_the_loss_of_looks_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32), rng.integers(0, 5, (2, 3, 4))
    share = np.take_along_axis(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True), label[..., None], axis=-1)[..., 0]
    target = tf.constant(np.eye(5, dtype=np.float32)[label])
    np.testing.assert_allclose(_losses(target, tf.constant(logits), 0.0), -np.log(share), rtol=1e-4)
    np.testing.assert_allclose(_losses(target, tf.constant(logits), 2.0), -((1 - share) ** 2) * np.log(share), rtol=1e-4)


@pytest.mark.parametrize("name", ["ice_segmenter", "vgg16_nopool"])
def test_that_a_dense_network_learns_the_classes_of_looks(name: str, crops: Path, tmp_path: Path) -> None:
    model = SEGMENTER | {"width": 0.25} if name == "ice_segmenter" else {"name": name, "width": 0.06, "features": 12, "dropout": 0.0}
    metrics = fit(_settings(model=model, epochs=25, early_stopping_patience=None), str(crops), str(tmp_path / "bundle"))
    bundle = load_bundle(str(tmp_path / "bundle"))
    rows = read_part(str(crops), "test", shape_of(bundle.manifest))
    best, sure = predict_looks(bundle, rows["sigma"], rows["incidence"])
    known = rows["classes"] < 255
    right = (best == rows["classes"])[known].mean()
    assert right > (0.8 if name == "vgg16_nopool" else 0.7)
    assert ((sure > 1 / 3 - 1e-3) & (sure <= 1)).all()
    # What is judged is a grid of looks that have a class.
    grid = np.s_[:, 2::4, 2::4]
    judged = read_part(str(crops), "validation", shape_of(bundle.manifest))["classes"][grid]
    assert metrics["validation"]["rows"] == int((judged < 255).sum())
    assert metrics["onnx_largest_difference"] < 1e-3
    plan = plan_of(bundle.manifest, None)
    assert (plan.align, plan.step, plan.looks) == (8 if name == "ice_segmenter" else 1, 1, 2)


def test_that_judging_skips_what_has_no_class(crops: Path) -> None:
    manifest = read_manifest(str(crops), "training_set")
    kind = kind_of(manifest)
    model = kind.build(_settings())
    rows = read_part(str(crops), "validation", kind.shape)
    logits, label = make_scored(model, kind, make_infer(model, kind))(rows)
    whole = np.asarray(model({name: rows[name] for name in kind.inputs})["logits"])[:, 2::4, 2::4]
    grid = rows["classes"][:, 2::4, 2::4]
    np.testing.assert_allclose(logits, whole[grid < 255], atol=1e-5)
    np.testing.assert_array_equal(np.array([0, 4, 5])[label], grid[grid < 255])


def test_that_a_run_that_was_killed_goes_on_with_the_same_normalisation(crops: Path, tmp_path: Path) -> None:
    whole = fit(_settings(), str(crops), str(tmp_path / "whole"))

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(_settings(), str(crops), str(tmp_path / "killed"), after_epoch=stop)
    again = fit(_settings(), str(crops), str(tmp_path / "killed"))
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert [one["validation_loss"] for one in again["history"]] == [one["validation_loss"] for one in whole["history"]]
    rows = read_part(str(crops), "test", shape_of(read_manifest(str(crops), "training_set")))
    one, other = (load_bundle(str(tmp_path / name)).run(rows["sigma"], rows["incidence"])[0] for name in ("whole", "killed"))
    np.testing.assert_array_equal(one, other)


def test_that_ranks_share_what_their_normalisations_saw() -> None:
    model = _model([1])
    layer = model.get_layer("conv1_norm")
    layer.moving_mean.assign(np.arange(layer.moving_mean.shape[0], dtype=np.float32))

    class Two:
        """Another rank saw three times as much."""

        size = 2

        def total(self, values: Any) -> Any:
            return values + 3 * values

    run: Any = SimpleNamespace(model=model, backend=Two())
    _share_moving_means(run)
    np.testing.assert_allclose(layer.moving_mean, 2 * np.arange(layer.moving_mean.shape[0]))
    np.testing.assert_allclose(layer.moving_variance, 2.0)


def test_that_networks_and_labels_that_do_not_go_together_are_refused(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"needed a dense model .*ice_segmenter.*found ice_cnn"):
        fit(_settings(model={"name": "ice_cnn"}), str(crops), str(tmp_path / "bundle"))
    with pytest.raises(SettingsError, match="multiple of 8 looks for ice_segmenter, found 12"):
        fit(_settings(), str(make_patch_set(tmp_path / "set", groups=1, rows_per_group=8, size=12)), str(tmp_path / "bundle"))
