"""Measurements in processes of their own: a session each, whose memory nothing before it has grown; executors apart from the driver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyspark
from pyspark.sql import SparkSession

from benchmarks.running import ROOT
from eespark.spark.session import make_session, read_properties

FLAG = "--apart"
CONF = ROOT / "deploy" / "conf" / "spark-machine.conf"
"""Spark properties of all of them."""


def run_apart(module: str, told: Mapping[str, Any]) -> Any:
    """What `measure_apart` of a module gives for `told`, in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run([sys.executable, "-m", module, FLAG, json.dumps(told)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {told} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(measure_apart: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether this process was started by `run_apart`; then it prints what was asked for."""
    asked = sys.argv[1:2] == [FLAG]
    if asked:
        print(json.dumps(measure_apart(json.loads(sys.argv[2]))))
    return asked


@contextmanager
def session_apart(folder: Path, master: str, heap_mb: int, properties: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session of this master; executors of `local-cluster` are processes.

    Args:
        folder: For its properties.
        master: Of Spark.
        heap_mb: Of an executor.
        properties: More of Spark's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    conf = read_properties(CONF) | {
        "spark.master": master,
        "spark.executor.memory": f"{heap_mb}m",
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        **(properties or {}),
    }
    (folder / "spark.conf").write_text("".join(f"{key} {value}\n" for key, value in conf.items()))
    spark = make_session("bench", folder / "spark.conf")
    application = spark.sparkContext.applicationId
    try:
        yield spark
    finally:
        spark.stop()
        # Executors of `local-cluster` work below Spark's own folder, and leave copies of all jars there.
        shutil.rmtree(Path(pyspark.__file__).parent / "work" / application, ignore_errors=True)
