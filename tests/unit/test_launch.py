"""The seam between one process and many."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from eespark.errors import CapacityError
from eespark.launch import count_slots, launch, thread_environment, usable_processes


def _spark(master: str, parallelism: int, **conf: str) -> Any:
    settings = {key.replace("_", "."): value for key, value in conf.items()}
    context = SimpleNamespace(master=master, defaultParallelism=parallelism, getConf=lambda: settings)
    return SimpleNamespace(sparkContext=context)


def test_that_one_process_runs_here() -> None:
    assert launch(lambda a, b: (a + b, os.getpid()), 1, (2, 3)) == [(5, os.getpid())]


def test_that_one_process_gets_its_threads_and_leaves_no_trace() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    assert launch(os.environ.get, 1, ("OMP_NUM_THREADS",), threads_per_process=3) == ["3"]
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_that_no_threads_asked_for_set_nothing() -> None:
    assert thread_environment(None) == {}


def test_that_many_processes_need_a_session() -> None:
    with pytest.raises(CapacityError, match="Spark session"):
        launch(os.getpid, 2)


def test_that_too_few_slots_are_an_error_before_the_start() -> None:
    with pytest.raises(CapacityError, match="3 processes need as many task slots at once, found 2"):
        launch(os.getpid, 3, spark=_spark("local[2]", 2))


def test_that_slots_count_the_cores_of_a_task() -> None:
    assert count_slots(_spark("yarn", 8, spark_task_cpus="4")) == 2


def test_that_executors_that_were_asked_for_count_before_they_have_come() -> None:
    assert count_slots(_spark("k8s://api", 2, spark_task_cpus="2", spark_executor_instances="3", spark_executor_cores="4")) == 6


def test_that_dynamic_executors_count_up_to_their_limit() -> None:
    conf = {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.maxExecutors": "5", "spark.executor.cores": "4"}
    spark = SimpleNamespace(sparkContext=SimpleNamespace(master="yarn", defaultParallelism=2, getConf=lambda: conf))
    assert count_slots(spark) == 20


def test_that_without_horovod_one_process_is_used_only_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eespark.launch.importlib.util.find_spec", lambda name: None)
    assert usable_processes(1, fall_back=False) == 1
    assert usable_processes(2, fall_back=True) == 1
    with pytest.raises(CapacityError, match="need Horovod"):
        usable_processes(2, fall_back=False)


def test_that_with_horovod_all_processes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eespark.launch.importlib.util.find_spec", lambda name: object())
    assert usable_processes(2, fall_back=True) == 2
