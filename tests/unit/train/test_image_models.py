"""What every classifier of patches promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from eespark.errors import FormatError, ManifestError, MissingError
from eespark.train.export import save_onnx, serving_function
from eespark.train.image_models import MODELS, Decibels, build_image_model, decibels_of, pools_of, receptive_looks
from eespark.train.settings import FitSettings, ImageModelSettings
from tests.unit.train.patch_sets import SIZE

DECIBELS = Decibels((-14.0, -26.0), (4.0, 5.0), (3.0, 4.5), (-0.3, -0.15), (32.0, 6.0))
# The segmenter takes sides of a multiple of 8 looks: `test_segmenter` has it.
PLAIN = sorted(set(MODELS) - {"vgg16_transfer", "ice_segmenter"})


def _build(name: str, size: int = SIZE, **changes: Any) -> Any:
    tf.keras.utils.set_random_seed(1)
    return build_image_model(ImageModelSettings(name=name, width=0.0625, features=6, **changes), DECIBELS, size, 3)


def _inputs(rows: int = 4, size: int = SIZE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sigma = rng.gamma(10, 0.1, (rows, size, size, 2)) * [0.05, 0.004] - [0.0, 0.003]
    return {"sigma": sigma.astype(np.float32), "incidence": (rng.uniform(20, 44, (rows, 1)) + 0.1 * np.arange(size)).astype(np.float32)}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("size", [10, 20, 32])
def test_that_outputs_have_the_sizes_asked_for(name: str, size: int) -> None:
    outputs = _build(name, size)(_inputs(2, size))
    place = (size, size) if name == "vgg16_nopool" else ()
    assert (outputs["logits"].shape, outputs["features"].shape) == ((2, *place, 3), (2, *place, 6))
    assert np.isfinite(outputs["logits"]).all()


def test_that_pools_are_cut_as_the_size_allows() -> None:
    assert [pools_of("vgg16_scratch", size) for size in (10, 20, 32, 64)] == [3, 4, 5, 5]
    assert [pools_of("ice_cnn", size) for size in (4, 10, 32)] == [2, 3, 3]
    found = [layer.name for layer in _build("vgg16_scratch", 20).layers if "pool" in layer.name]
    assert len(found) == 4
    assert not any("pool" in layer.name for layer in _build("vgg16_nopool").layers)


@pytest.mark.parametrize("incidence", ["channel", "slope", "none"])
def test_that_networks_see_normalised_decibels_and_the_angle_as_asked(incidence: str) -> None:
    model = _build("ice_cnn", incidence=incidence)
    first = next(layer for layer in model.layers if layer.name == "conv1")
    inputs = _inputs()
    seen = tf.keras.Model(model.input, first.input)(inputs).numpy()
    decibels = 10 * np.log10(np.maximum(inputs["sigma"], 1e-4))
    angle = (inputs["incidence"] - 32.0)[:, None, :, None]
    std = np.array([3.0, 4.5] if incidence == "slope" else [4.0, 5.0])
    expected = (decibels - (angle * np.array([-0.3, -0.15]) if incidence == "slope" else 0) - np.array([-14.0, -26.0])) / std
    np.testing.assert_allclose(seen[..., :2], expected, atol=1e-4)
    assert seen.shape[-1] == (3 if incidence == "channel" else 2)
    if incidence == "channel":
        np.testing.assert_allclose(seen[..., 2:], np.broadcast_to(angle / 6.0, (*seen.shape[:3], 1)), atol=1e-5)


def test_that_a_network_without_the_angle_does_not_see_it() -> None:
    model, inputs = _build("ice_cnn", incidence="none"), _inputs()
    moved = inputs | {"incidence": inputs["incidence"] + 5}
    np.testing.assert_array_equal(model(inputs)["logits"], model(moved)["logits"])
    assert not np.allclose(_build("ice_cnn")(inputs)["logits"], _build("ice_cnn")(moved)["logits"])


def test_that_a_look_without_a_value_is_as_one_of_the_mean() -> None:
    model, inputs = _build("vgg16_nopool", incidence="channel"), _inputs(1, 12)
    holed = inputs["sigma"].copy()
    holed[0, 5, 5] = np.nan
    filled = inputs["sigma"].copy()
    filled[0, 5, 5] = 10 ** (np.array([-14.0, -26.0]) / 10)
    np.testing.assert_allclose(
        model({"sigma": holed, "incidence": inputs["incidence"]})["logits"],
        model({"sigma": filled, "incidence": inputs["incidence"]})["logits"], atol=1e-4,
    )  # fmt: skip


def test_that_a_dense_network_reaches_as_far_as_it_says() -> None:
    reach = receptive_looks(ImageModelSettings(name="vgg16_nopool"), 32) // 2
    assert reach == 13
    model, inputs = _build("vgg16_nopool"), _inputs(1, 40)
    changed = inputs["sigma"].copy()
    changed[0, 20, 20] = 1.0
    before, after = (np.asarray(model({**inputs, "sigma": one})["logits"])[0] for one in (inputs["sigma"], changed))
    moved = np.abs(after - before).max(axis=-1) > 0
    rows, cols = np.nonzero(moved)
    assert max(np.abs(rows - 20).max(), np.abs(cols - 20).max()) <= reach
    assert np.abs(cols - 20).max() > 3


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("incidence", ["channel", "slope"])
def test_that_onnx_gives_what_keras_gives(name: str, incidence: str, tmp_path: Path) -> None:
    import onnxruntime

    model, inputs = _build(name, incidence=incidence), _inputs(5)
    inputs["sigma"][0, :3] = np.nan
    save_onnx(serving_function(model), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == {"sigma", "incidence"}
    logits, features = session.run(["logits", "features"], inputs)
    np.testing.assert_allclose(logits, model(inputs)["logits"], atol=1e-4)
    np.testing.assert_allclose(features, model(inputs)["features"], atol=1e-4)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A file as Keras' own VGG-16 writes it, of weights that are not ImageNet's, and that network."""
    tf.keras.utils.set_random_seed(7)
    network = tf.keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    for layer in network.layers:
        layer.set_weights([one if one.ndim == 4 else one + 0.01 * np.arange(one.size) / one.size for one in layer.get_weights()])
    file = tmp_path_factory.mktemp("vgg") / "vgg16_notop.h5"
    network.save_weights(str(file))
    return file, network


def _transfer(file: Path | str, **changes: Any) -> Any:
    settings = ImageModelSettings(name="vgg16_transfer", weights=str(file), features=6, **changes)
    return build_image_model(settings, DECIBELS, 32, 3)


def test_that_a_file_of_imagenet_weights_is_taken_over_and_its_first_layers_frozen(imagenet: tuple[Path, Any]) -> None:
    model = _transfer(imagenet[0], rgb="filters", frozen_layers=5)
    layers = [layer for layer in model.layers if "_conv" in layer.name]
    assert len(layers) == 13
    for layer in layers:
        for own, theirs in zip(layer.get_weights(), imagenet[1].get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, theirs)
    assert [layer.trainable for layer in layers] == [False] * 5 + [True] * 8
    # And the network is Keras' own up to its last pooling: on what it sees after normalisation.
    inputs = _inputs(2, 32)
    seen = tf.keras.Model(model.input, layers[0].input)(inputs)
    last = [layer for layer in model.layers if "pool" in layer.name][-1]
    np.testing.assert_allclose(tf.keras.Model(model.input, last.output)(inputs), imagenet[1](seen), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("incidence", "channels"), [("channel", 3), ("slope", 2)])
def test_that_filters_are_the_mean_over_colours_for_any_number_of_channels(
    imagenet: tuple[Path, Any], incidence: str, channels: int
) -> None:
    kernel = _transfer(imagenet[0], incidence=incidence).get_layer("block1_conv1").get_weights()[0]
    theirs = imagenet[1].get_layer("block1_conv1").get_weights()[0]
    assert kernel.shape == (3, 3, channels, 64)
    # A grey picture gives the same as in the network of the file.
    np.testing.assert_allclose(kernel.sum(axis=2), theirs.sum(axis=2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kernel, np.broadcast_to(kernel[:, :, :1], kernel.shape), rtol=1e-6)


def test_that_a_file_that_is_absent_or_another_is_told(tmp_path: Path, imagenet: tuple[Path, Any]) -> None:
    with pytest.raises(MissingError, match=r"needed the weights of VGG-16 at .*name it in fit\.model\.weights"):
        _transfer(tmp_path / "nowhere.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(FormatError, match="needed an HDF5 file of weights"):
        _transfer(tmp_path / "text.h5")
    other = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(2,))])
    other.save_weights(str(tmp_path / "other.h5"))
    with pytest.raises(FormatError, match="needed weights of block1_conv1, found none"):
        _transfer(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "needs weights"),
        ({"weights": "x.h5", "width": 0.5}, "needs width 1.0"),
        ({"weights": "x.h5", "rgb": "filters", "incidence": "none"}, "three channels"),
    ],
)
def test_that_transfer_settings_that_cannot_work_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ImageModelSettings(name="vgg16_transfer", **changes)


def test_that_settings_find_the_model_by_its_name() -> None:
    assert isinstance(FitSettings.model_validate({"model": {"name": "ice_cnn", "width": 0.5}}).model, ImageModelSettings)
    with pytest.raises(ValueError, match="layers"):
        FitSettings.model_validate({"model": {"name": "ice_cnn", "layers": 3}})


@pytest.mark.parametrize(
    "change", [{"mean": [1.0]}, {"std": [1.0, 0.0]}, {"slope": [float("nan"), 0.0]}, {"incidence_std": 0.0}, {"flat_std": None}]
)
def test_that_statistics_that_cannot_be_used_are_refused(change: dict[str, Any]) -> None:
    good = {"mean": [-14, -26], "std": [4, 5], "flat_std": [3, 4], "slope": [-0.3, -0.1], "incidence_mean": 32, "incidence_std": 6}
    assert decibels_of({"bands": ["HH", "HV"], "statistics": good}).std == (4.0, 5.0)
    with pytest.raises(ManifestError, match="rebuild the training set"):
        decibels_of({"bands": ["HH", "HV"], "statistics": good | change})
