"""Training that is killed in the middle goes on from its last epoch, and ends with the weights of an undisturbed run, bit by bit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper


def weights(bundle: Path) -> list[bytes]:
    """The constants of the ONNX model, whose names are drawn anew by each export."""
    model = onnx.load(str(bundle / "model.onnx"))
    return sorted(numpy_helper.to_array(one).tobytes() for one in model.graph.initializer)


def curves(bundle: Path) -> list[dict[str, float]]:
    found = json.loads((bundle / "metrics.json").read_text())["curves"]
    return [{name: value for name, value in epoch.items() if name not in ("seconds", "rows_per_s")} for epoch in found]


def novelty(bundle: Path) -> dict[str, bytes]:
    with np.load(bundle / "novelty.npz") as found:
        return {name: found[name].tobytes() for name in found.files}


def kill_and_go_on(jobs, training, reference, after=2):
    run = jobs.start("train", training)
    run.wait_until(lambda: f"epoch {after} of 8" in run.log())
    run.kill()
    run.wait_until_nothing_is_left()
    bundle = Path(training.bundle)
    assert not bundle.exists()
    assert (bundle.parent / f"{bundle.name}.checkpoint" / "state.npz").is_file()

    again = jobs.run("train", training)
    (epoch,) = re.findall(r"resuming after epoch (\d)", again.log())
    assert after - 1 <= int(epoch) < 8
    assert f"epoch {int(epoch) + 1} of 8" in again.log()
    assert f"epoch {epoch} of 8" not in again.log()
    assert again.summary()["epochs"] == 8
    assert weights(bundle) == weights(reference)
    assert novelty(bundle) == novelty(reference)
    assert curves(bundle) == curves(reference)
    assert sorted(one.name for one in bundle.parent.iterdir()) == [bundle.name, "summary.json"]


def test_that_training_in_one_process_goes_on_from_its_last_epoch(jobs, reference, tmp_path):
    kill_and_go_on(jobs, reference.at(tmp_path / "here"), reference.bundle)


def test_that_training_in_two_processes_goes_on_from_its_last_epoch(jobs, reference, tmp_path):
    pytest.importorskip("horovod.spark", reason="Horovod is not built here; make setup builds it where a C++ compiler is")
    undisturbed = reference.at(tmp_path / "undisturbed", processes=2)
    jobs.run("train", undisturbed)
    training = reference.at(tmp_path / "here", processes=2)
    # Horovod takes signals for itself, and must not keep them: first the gentle one.
    run = jobs.start("train", training)
    run.wait_until(lambda: "epoch 1 of 8" in run.log())
    run.process.terminate()
    assert run.wait(60) == 143
    run.wait_until_nothing_is_left()
    assert "SIGTERM" in run.summary()["error"]
    kill_and_go_on(jobs, training, Path(undisturbed.bundle), after=4)
