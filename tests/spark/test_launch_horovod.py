"""Two ranks of Horovod on Spark train one network."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import pytest

from eespark.errors import CapacityError, SettingsError
from eespark.launch import launch
from eespark.train.settings import FitSettings, ModelSettings, TrainSettings

pytest.importorskip("horovod.spark", reason="Horovod is not built here; make setup builds it where a C++ compiler is")


def _make_set(folder: Path) -> Path:
    file = Path(__file__).parents[1] / "unit" / "train" / "conftest.py"
    spec = importlib.util.spec_from_file_location("training_fixture", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.make_set(folder)
    return made


@pytest.mark.slow
def test_that_two_ranks_end_with_the_same_weights(spark: Any, tmp_path: Path) -> None:
    from eespark.train.fit import fit_rank

    settings = TrainSettings(
        training_set=str(_make_set(tmp_path / "training_set")),
        bundle=str(tmp_path / "bundle"),
        summary=str(tmp_path / "summary.json"),
        processes=2,
        fit=FitSettings(model=ModelSettings(name="lstm", units=8, layers=1, features=8), epochs=2, batch=16, warmup_epochs=0),
    )
    ranks = launch(fit_rank, 2, (settings.model_dump_json(),), spark, threads_per_process=1)
    assert ranks[0]["weights_sha256"] == ranks[1]["weights_sha256"]
    assert [one["loss"] for one in ranks[0]["history"]] == [one["loss"] for one in ranks[1]["history"]]
    assert all(math.isfinite(value) for one in ranks[0]["history"] for value in one.values())
    assert math.isfinite(ranks[0]["validation"]["macro_f1"])
    assert (tmp_path / "bundle" / "manifest.json").is_file()


@pytest.mark.slow
def test_that_too_few_slots_do_not_wait_for_the_start_timeout(spark: Any) -> None:
    with pytest.raises(CapacityError, match="fewer processes"):
        launch(os.getpid, 1000, spark=spark, start_timeout_s=3600)


@pytest.mark.slow
def test_that_what_a_rank_raises_comes_out_as_it_was(spark: Any) -> None:
    def fail_in_rank_0() -> float:
        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        if hvd.rank() == 0:
            raise SettingsError("needed a finite loss, found nan; lower the rate")
        return float(hvd.allreduce(tf.constant(1.0)).numpy())

    with pytest.raises(SettingsError, match=r"^needed a finite loss, found nan; lower the rate$"):
        launch(fail_in_rank_0, 2, spark=spark, threads_per_process=1)


@pytest.mark.slow
def test_that_a_rank_that_is_killed_is_told_as_lost(spark: Any) -> None:
    def die_in_rank_1() -> float:
        import signal

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        if hvd.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        # As in training: in a graph the error has other words.
        return float(tf.function(hvd.allreduce)(tf.constant(1.0)).numpy())

    with pytest.raises(CapacityError, match=r"^a process that trains was lost: killed, .* run the job again"):
        launch(die_in_rank_1, 2, spark=spark, threads_per_process=1)
