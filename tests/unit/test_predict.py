"""Prediction by a bundle whose network is written by hand: logits are sums that can be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eespark import __version__
from eespark.bands import BANDS
from eespark.errors import FormatError, ManifestError, MissingError
from eespark.io.storage import write_manifest
from eespark.manifest import build_manifest
from eespark.predict import estimate_priors, load_bundle, shift_priors

LN3 = float(np.log(3))


def _write_onnx(file: Path, inputs: tuple[str, ...] = ("reflectance", "valid", "day")) -> None:
    """Logits (n, 2): the sum over valid dates of bands 0 and 1; features: of bands 2 and 3."""
    shapes = {"reflectance": [None, None, 9], "valid": [None, None], "day": [None, None]}
    pick = np.zeros((9, 4), np.float32)
    pick[range(4), range(4)] = 1
    constants = [
        numpy_helper.from_array(pick, "pick"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "time"),
        numpy_helper.from_array(np.array([2, 2]), "halves"),
    ]
    nodes = [
        helper.make_node("Unsqueeze", [inputs[1], "last"], ["mask"]),
        helper.make_node("Mul", [inputs[0], "mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "time"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", [inputs[2]], ["days"], keepdims=0),
        helper.make_node("MatMul", ["total", "pick"], ["picked"]),
        helper.make_node("Split", ["picked", "halves"], ["logits", "features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[kind]) for name, kind in zip(inputs, shapes, strict=True)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("logits", "features")],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), str(file))


def _write_bundle(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    _write_onnx(folder / "model.onnx")
    np.savez(folder / "novelty.npz", means=np.zeros((1, 2)), factor=np.eye(2), quantiles=np.array([0.0, 1.0, 4.0]))
    content: dict[str, Any] = {
        "model": "hand",
        "legend": "fake@1",
        "classes": [{"id": 3, "name": "wheat", "colour": "#ffcc00"}, {"id": 8, "name": "rye", "colour": "#00ccff"}],
        "bands": list(BANDS),
        "scale": 10000,
        "times": 4,
        "statistics": {"mean": [0.1] * 9, "std": [0.1] * 9},
        "grid": {"kind": "as_acquired"},
        "settings": {},
        "training_set": {},
        "onnx": "model.onnx",
        "novelty": "novelty.npz",
        "temperature": 1.0,
        "priors": [0.5, 0.5],
    }
    write_manifest(str(folder), build_manifest("bundle", content | changes, __version__))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return _write_bundle(tmp_path / "bundle")


def _series(first: float, second: float = 0.0, features: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.full((1, 3, 9), 99.0)
    values[0, 1, :4] = [first, second, *features]
    return values, np.array([[0, 1, 0]]), np.array([[1, 2, 3]])


def test_that_probabilities_are_the_softmax_of_the_logits(bundle: Path) -> None:
    found = load_bundle(str(bundle)).predict(*_series(LN3))
    assert found.probabilities[0] == pytest.approx([0.75, 0.25])
    assert (found.class_ids.tolist(), found.confidence[0]) == ([3], pytest.approx(0.75))


def test_that_class_ids_are_those_of_the_legend(bundle: Path) -> None:
    assert load_bundle(str(bundle)).predict(*_series(0.0, 1.0)).class_ids.tolist() == [8]


def test_that_the_temperature_divides_the_logits(tmp_path: Path) -> None:
    loaded = load_bundle(str(_write_bundle(tmp_path / "warm", temperature=2.0)))
    assert loaded.predict(*_series(2 * LN3)).probabilities[0] == pytest.approx([0.75, 0.25])


def test_that_novelty_is_the_share_of_closer_validation_rows(bundle: Path) -> None:
    # Squared distance 1 + 1.5 = 2.5 is halfway between the quantiles 1 (0.5) and 4 (1.0).
    found = load_bundle(str(bundle)).predict(*_series(0.0, 0.0, (1.0, 1.5**0.5)))
    assert found.novelty[0] == pytest.approx(0.75)


def test_that_batches_change_nothing(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    series = rng.standard_normal((11, 5, 9)), rng.random((11, 5)) < 0.5, np.zeros((11, 5))
    loaded = load_bundle(str(bundle), threads=2)
    np.testing.assert_allclose(loaded.predict(*series, batch=3).probabilities, loaded.predict(*series).probabilities, atol=1e-6)


def test_that_no_series_give_no_rows(bundle: Path) -> None:
    found = load_bundle(str(bundle)).predict(np.zeros((0, 5, 9)), np.zeros((0, 5)), np.zeros((0, 5)))
    assert (found.probabilities.shape, found.class_ids.shape, found.novelty.shape) == ((0, 2), (0,), (0,))


def test_that_stored_integers_are_taken(bundle: Path) -> None:
    values, valid, day = _series(2.0, 1.0)
    found = load_bundle(str(bundle)).predict(values.astype(np.int16), valid.astype(np.int16), day.astype(np.int16))
    assert found.probabilities[0, 0] == pytest.approx(np.e / (1 + np.e))


def test_that_priors_can_be_shifted(bundle: Path) -> None:
    # 0.75 : 0.25 times 1 : 9 is 0.75 : 2.25.
    found = load_bundle(str(bundle)).predict(*_series(LN3), priors=np.array([0.1, 0.9]))
    assert found.probabilities[0] == pytest.approx([0.25, 0.75])
    assert (found.class_ids[0], found.confidence[0]) == (8, pytest.approx(0.75))


def test_that_a_shift_to_the_same_priors_changes_nothing() -> None:
    probabilities, priors = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0.3, 0.7])
    np.testing.assert_allclose(shift_priors(probabilities, priors, priors), probabilities)


def test_that_a_class_that_cannot_be_there_gets_nothing() -> None:
    assert shift_priors(np.array([[0.9, 0.1]]), np.array([0.5, 0.5]), np.array([0.0, 2.0])).tolist() == [[0.0, 1.0]]


def test_that_shares_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(FormatError, match="2 class shares"):
        shift_priors(np.array([[0.9, 0.1]]), np.array([0.5, 0.5]), np.array([1.0, 1.0, 1.0]))


def test_that_shares_are_estimated_from_unlabelled_series() -> None:
    # Two normal classes one deviation apart each side, learned at equal shares, met at 80 to 20.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 1, 8000), rng.normal(1, 1, 2000)])
    second = 1 / (1 + np.exp(-2 * x))
    found = estimate_priors(np.stack([1 - second, second], axis=1), np.array([0.5, 0.5]), rounds=1000)
    assert found == pytest.approx([0.8, 0.2], abs=0.02)


def test_that_no_series_estimate_the_old_shares() -> None:
    assert estimate_priors(np.zeros((0, 2)), np.array([0.3, 0.7])).tolist() == [0.3, 0.7]


def test_that_arrays_that_do_not_go_together_are_refused(bundle: Path) -> None:
    values, valid, day = _series(1.0)
    with pytest.raises(FormatError, match="time, 9"):
        load_bundle(str(bundle)).predict(values, valid[:, :2], day)


def test_that_a_bundle_is_read_from_afar(bundle: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{bundle}/", "/far/bundle", recursive=True)
    try:
        assert load_bundle("memory://far/bundle").predict(*_series(LN3)).class_ids.tolist() == [3]
    finally:
        memory.rm("/far", recursive=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bands": ["B02"]}, "needed bands"),
        ({"temperature": 0.0}, "temperature"),
        ({"priors": [1.0]}, "2 priors"),
        ({"onnx": "../model.onnx"}, "plain file names"),
    ],
)
def test_that_a_manifest_that_cannot_be_relied_on_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        load_bundle(str(_write_bundle(tmp_path / "odd", **change)))


def test_that_a_bundle_without_its_model_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    with pytest.raises(MissingError, match=r"model\.onnx"):
        load_bundle(str(bundle))


def test_that_a_model_that_is_none_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(FormatError, match="ONNX model"):
        load_bundle(str(bundle))


def test_that_a_model_that_is_too_large_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eespark.predict.LARGEST_ONNX_BYTES", 10)
    with pytest.raises(FormatError, match="at most 10 bytes"):
        load_bundle(str(bundle))


def test_that_a_model_of_other_inputs_is_refused(bundle: Path) -> None:
    _write_onnx(bundle / "model.onnx", ("pixels", "clouds", "date"))
    with pytest.raises(FormatError, match="pixels"):
        load_bundle(str(bundle))


def test_that_pickled_statistics_are_refused(bundle: Path) -> None:
    np.savez(bundle / "novelty.npz", means=np.array([{}], object), factor=np.eye(2), quantiles=np.zeros(3))
    with pytest.raises(FormatError, match="novelty statistics"):
        load_bundle(str(bundle))


def test_that_a_model_whose_weights_are_another_file_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(str(bundle / "model.onnx"))
    weights = next(one for one in model.graph.initializer if one.name == "pick")
    onnx.external_data_helper.set_external_data(weights, "weights.bin")
    onnx.save(model, str(bundle / "model.onnx"))
    assert (bundle / "weights.bin").is_file()
    monkeypatch.chdir(bundle)
    with pytest.raises(FormatError, match="ONNX model"):
        load_bundle(str(bundle))
