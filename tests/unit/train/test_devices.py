"""GPUs are checked before anything starts; no GPU is needed here, TensorFlow's answers are given."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from eespark.errors import CapacityError
from eespark.spark.session import read_properties
from eespark.train import devices

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the GPUs that the process is let see, of a machine with two."""
    gpus, told = [SimpleNamespace(name=f"/physical_device:GPU:{n}") for n in range(2)], []
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(devices.tf.config, "set_visible_devices", lambda chosen, kind: told.extend(one.name for one in chosen))
    monkeypatch.setattr(devices.tf.config.experimental, "set_memory_growth", lambda gpu, grow: None)
    return told


@pytest.mark.parametrize(("addresses", "rank", "expected"), [(["1"], 0, 1), (["0", "1"], 5, 0), ([], 1, 1)])
def test_that_a_process_sees_the_gpu_that_spark_dealt_it_else_that_of_its_rank(
    seen: list[str], addresses: list[str], rank: int, expected: int
) -> None:
    assert devices.use_gpu(addresses, rank) == f"/physical_device:GPU:{expected}"
    assert seen == [f"/physical_device:GPU:{expected}"]


def test_that_a_gpu_that_is_not_there_says_what_to_do(seen: list[str]) -> None:
    with pytest.raises(CapacityError, match=r"needs GPU 2 on this machine, found 2; start Spark with deploy/conf/spark-gpu.conf"):
        devices.use_gpu([], 2)
    assert seen == []


def test_that_the_tensorflow_of_cpus_is_refused_and_what_to_do_is_told() -> None:
    assert not devices.tf.test.is_built_with_cuda()
    with pytest.raises(CapacityError, match="needs TensorFlow built with CUDA, found the one for CPUs; run make setup GPU=1"):
        devices.check_gpus(1)


def test_that_several_processes_need_nccl_too(monkeypatch: pytest.MonkeyPatch) -> None:
    hvd = pytest.importorskip("horovod.tensorflow", reason="Horovod is not built here")
    monkeypatch.setattr(devices.tf.test, "is_built_with_cuda", lambda: True)
    devices.check_gpus(1)
    with pytest.raises(CapacityError, match="needs Horovod built with NCCL"):
        devices.check_gpus(2)
    monkeypatch.setattr(hvd, "nccl_built", lambda: 1)
    devices.check_gpus(2)


def test_that_the_script_tells_spark_of_the_gpus_of_a_node(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    told = subprocess.run(
        ["bash", str(ROOT / "deploy" / "gpus.sh")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout) == {"name": "gpu", "addresses": ["0", "1", "2"]}


def test_that_the_profile_gives_each_task_all_cores_and_the_gpu_of_its_executor() -> None:
    told = read_properties(ROOT / "deploy" / "conf" / "spark-gpu.conf")
    assert told["spark.task.cpus"] == told["spark.executor.cores"]
    assert told["spark.task.resource.gpu.amount"] == told["spark.executor.resource.gpu.amount"] == "1"
