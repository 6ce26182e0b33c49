"""What every architecture promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from eespark.bands import BANDS
from eespark.errors import ManifestError
from eespark.train.models import MODELS, Scaling, build_model, scaling_of, seed_dropout
from eespark.train.settings import ModelSettings

SCALING = Scaling((0.1,) * 9, (0.05,) * 9, 10_000.0)
Inputs = dict[str, np.ndarray]


@pytest.fixture(params=sorted(MODELS), scope="module")
def model(request: pytest.FixtureRequest) -> Any:
    tf.keras.utils.set_random_seed(1)
    return build_model(ModelSettings(name=request.param, units=8, layers=2, features=6, heads=2, kernel=3, dropout=0.3), SCALING, 4)


def _inputs(seed: int = 0, rows: int = 3, times: int = 7) -> Inputs:
    rng = np.random.default_rng(seed)
    valid = (rng.random((rows, times)) < 0.6).astype(np.float32)
    valid[:, 2] = 1
    valid[0] = 1  # a full series: its end meets the padding
    return {
        "reflectance": rng.integers(0, 5000, (rows, times, 9)).astype(np.float32),
        "valid": valid,
        "day": np.sort(rng.integers(0, 360, (rows, times)), axis=1).astype(np.float32),
    }


def _logits(model: Any, inputs: Inputs) -> np.ndarray:
    return np.asarray(model(inputs)["logits"])


def test_that_outputs_have_the_sizes_asked_for(model: Any) -> None:
    outputs = model(_inputs())
    assert (outputs["logits"].shape, outputs["features"].shape) == ((3, 4), (3, 6))


def test_that_reflectance_of_dates_that_are_not_valid_changes_nothing(model: Any) -> None:
    inputs = _inputs()
    hidden = inputs | {"reflectance": np.where(inputs["valid"][:, :, None] > 0, inputs["reflectance"], -32768).astype(np.float32)}
    np.testing.assert_allclose(_logits(model, hidden), _logits(model, inputs), atol=1e-6)


def test_that_no_number_under_dates_that_are_not_valid_comes_through(model: Any) -> None:
    inputs = _inputs()
    hidden = inputs | {"reflectance": np.where(inputs["valid"][:, :, None] > 0, inputs["reflectance"], np.nan).astype(np.float32)}
    np.testing.assert_allclose(_logits(model, hidden), _logits(model, inputs), atol=1e-6)


def test_that_the_day_of_dates_that_are_not_valid_changes_nothing(model: Any) -> None:
    inputs = _inputs()
    hidden = inputs | {"day": np.where(inputs["valid"] > 0, inputs["day"], 200).astype(np.float32)}
    np.testing.assert_allclose(_logits(model, hidden), _logits(model, inputs), atol=1e-6)


def test_that_the_length_of_the_padding_changes_nothing(model: Any) -> None:
    inputs = _inputs()
    longer = {name: np.concatenate([one, np.zeros((3, 5, *one.shape[2:]), np.float32)], axis=1) for name, one in inputs.items()}
    np.testing.assert_allclose(_logits(model, longer), _logits(model, inputs), atol=1e-6)


def test_that_a_valid_reflectance_changes_the_answer(model: Any) -> None:
    inputs = _inputs()
    moved = inputs["reflectance"].copy()
    moved[:, 2] += 2000
    assert np.abs(_logits(model, inputs | {"reflectance": moved}) - _logits(model, inputs)).min() > 0


def test_that_the_day_of_a_valid_date_changes_the_answer(model: Any) -> None:
    inputs = _inputs()
    assert np.abs(_logits(model, inputs | {"day": inputs["day"] + 90}) - _logits(model, inputs)).max(axis=1).min() > 1e-4


def test_that_a_series_without_a_valid_date_gets_a_finite_answer(model: Any) -> None:
    inputs = _inputs()
    assert np.all(np.isfinite(_logits(model, inputs | {"valid": np.zeros_like(inputs["valid"])})))


def test_that_a_row_does_not_depend_on_its_neighbours(model: Any) -> None:
    inputs = _inputs()
    np.testing.assert_allclose(_logits(model, {k: v[1:2] for k, v in inputs.items()}), _logits(model, inputs)[1:2], atol=1e-6)


def test_that_dropout_follows_its_seed(model: Any) -> None:
    def draw(seed: int) -> list[np.ndarray]:
        seed_dropout(model, seed)
        return [np.asarray(model(_inputs(), training=True)["logits"]) for _ in range(2)]

    first, again, other = draw(5), draw(5), draw(6)
    np.testing.assert_array_equal(first, again)
    assert np.any(first[0] != first[1])
    assert np.any(first[0] != other[0])


def test_that_a_backward_lstm_reads_the_valid_dates_backward() -> None:
    # A series and its mirror image, with the directions' weights exchanged, must meet in the same pooled values.
    model = build_model(ModelSettings(name="bilstm", units=3, layers=1, features=2, dropout=0.0), SCALING, 2)
    inputs = _inputs(rows=1)
    mirrored = {name: one[:, ::-1] for name, one in inputs.items()}
    taps = [layer.output for layer in model.layers if "lstm" in layer.name]
    ahead, behind = tf.keras.Model(model.input, taps)(inputs)
    for layers in (model.layers,):
        first, second = (layer for layer in layers if "lstm" in layer.name)
    weights = first.get_weights(), second.get_weights()
    first.set_weights(weights[1])
    second.set_weights(weights[0])
    mirrored_ahead, mirrored_behind = tf.keras.Model(model.input, taps)(mirrored)
    count = int(inputs["valid"].sum())
    np.testing.assert_allclose(mirrored_ahead[:, :count], behind[:, :count], atol=1e-6)
    np.testing.assert_allclose(mirrored_behind[:, :count], ahead[:, :count], atol=1e-6)


def test_that_statistics_of_zero_deviation_are_refused() -> None:
    manifest = {"bands": list(BANDS), "scale": 10000, "statistics": {"mean": [0.1] * 9, "std": [0.1] * 8 + [0.0]}}
    with pytest.raises(ManifestError, match="above 0"):
        scaling_of(manifest)


def test_that_statistics_of_too_few_bands_are_refused() -> None:
    with pytest.raises(ManifestError, match="9 bands"):
        scaling_of({"bands": list(BANDS), "scale": 10000, "statistics": {"mean": [0.1], "std": [0.1]}})


def test_that_heads_must_divide_units() -> None:
    with pytest.raises(ValueError, match="divide"):
        ModelSettings(name="transformer", units=10, heads=4)
