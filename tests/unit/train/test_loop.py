"""Rates, weights, scores, checkpoints: the parts of a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from eespark.errors import FormatError, ManifestError, SettingsError
from eespark.train.checkpoint import State, load_state, run_key, save_state, state_from_bytes, state_to_bytes
from eespark.train.loop import class_weights, learning_rate, need_finite, run_epoch
from eespark.train.score import confusion, f1_by_class, macro_f1, overall_accuracy
from eespark.train.settings import FitSettings


def test_that_the_rate_rises_to_the_scaled_one_and_falls_as_a_cosine() -> None:
    settings = FitSettings(learning_rate=0.1, epochs=5, warmup_epochs=1, schedule="cosine")
    rates = [learning_rate(settings, 4, step, 10) for step in range(50)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[9] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.2)  # halfway down: 10 of 10 + 40 / 2
    assert rates[49] < 0.01


def test_that_a_constant_rate_stays() -> None:
    settings = FitSettings(learning_rate=0.1, warmup_epochs=0, schedule="constant")
    assert {learning_rate(settings, 2, step, 10) for step in range(30)} == {0.2}


def _manifest(rows: dict[str, int]) -> dict[str, object]:
    return {"classes": [{"id": int(i)} for i in rows], "parts": {"train": {"rows_by_class": rows}}}


@pytest.mark.parametrize(("kind", "expected"), [("none", [1, 1]), ("balanced", [50 / 90, 50 / 10]), ("sqrt", [100 / 120, 3 * 100 / 120])])
def test_that_class_weights_have_a_mean_of_one(kind: str, expected: list[float]) -> None:
    # sqrt: 90 / sqrt(90) + 10 / sqrt(10) = 4 sqrt(10); the rarer class weighs three times the other.
    assert class_weights(kind, _manifest({"3": 90, "7": 10})) == pytest.approx(expected, rel=1e-6)


def test_that_a_class_without_training_rows_is_refused() -> None:
    with pytest.raises(ManifestError, match="every class"):
        class_weights("none", _manifest({"3": 90, "7": 0}))


def test_that_too_few_batches_are_an_error() -> None:
    with pytest.raises(ManifestError, match="needed 3 batches"):
        run_epoch(lambda _batch, _rate: 0.0, iter([None, None]), [0.1] * 3)  # type: ignore[list-item]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_that_a_loss_that_is_no_number_is_an_error(loss: float) -> None:
    with pytest.raises(SettingsError, match="learning_rate"):
        need_finite(loss, 3, FitSettings())


def test_that_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 300)
    predicted = np.where(rng.random(300) < 0.6, true, rng.integers(0, 5, 300))
    matrix = confusion(true, predicted, 5)
    assert overall_accuracy(matrix) == pytest.approx(accuracy_score(true, predicted))
    assert f1_by_class(matrix)[:4] == pytest.approx(f1_score(true, predicted, average=None, labels=range(4)))
    assert macro_f1(matrix) == pytest.approx(f1_score(true, predicted, average="macro", labels=range(4)))
    assert np.isnan(f1_by_class(matrix)[4])


def test_that_rows_of_other_classes_are_not_counted() -> None:
    assert confusion(np.array([-1, 0]), np.array([1, 0]), 2).tolist() == [[1, 0], [0, 0]]


def _state() -> State:
    arrays = [np.arange(3.0), np.array(7, np.int64)]
    return State("key", arrays, arrays[::-1], arrays, 4, 2, 0.5, 1, "", "run", [{"epoch": 1, "loss": 0.25}])


def test_that_a_state_comes_back_as_it_was() -> None:
    before, after = _state(), state_from_bytes(state_to_bytes(_state()), "here")
    assert {k: v for k, v in vars(after).items() if not isinstance(v, list)} == {
        k: v for k, v in vars(before).items() if not isinstance(v, list)
    }
    assert after.history == before.history
    for name in ("weights", "optimizer", "best"):
        for one, other in zip(getattr(before, name), getattr(after, name), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_that_a_state_of_another_run_is_left_alone(tmp_path: Path) -> None:
    url = str(tmp_path / "state.npz")
    save_state(url, _state())
    assert load_state(url, "other key") is None
    assert load_state(url, "key") is not None


def test_that_no_state_is_none(tmp_path: Path) -> None:
    assert load_state(str(tmp_path / "state.npz"), "key") is None


def test_that_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.npz").write_bytes(b"not a checkpoint")
    with pytest.raises(FormatError, match="resume: false"):
        load_state(str(tmp_path / "state.npz"), "key")


def test_that_the_run_key_follows_what_decides_the_course() -> None:
    key = run_key(FitSettings(), {"a": 1}, 2)
    assert key == run_key(FitSettings(resume=False, tracking="elsewhere"), {"a": 1}, 2)
    others = [run_key(FitSettings(seed=1), {"a": 1}, 2), run_key(FitSettings(), {"a": 2}, 2), run_key(FitSettings(), {"a": 1}, 1)]
    assert len({key, *others}) == 4
