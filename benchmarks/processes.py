"""Memory of processes, from what Linux tells of them."""

from __future__ import annotations

import os
from pathlib import Path

from pyspark.sql import SparkSession


def peak_mb(pid: int) -> float:
    """Most memory that a process has held at once (MB); 0 when it is gone."""
    return _status_mb(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let the peak of a process of ours start again from what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def descendants(pid: int) -> list[int]:
    """Processes below a process, the oldest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = sorted(children.get(waiting.pop(), []))
        found += below
        waiting += below
    return found


def spark_workers() -> list[int]:
    """The Python workers of the sessions of this process."""
    return [pid for pid in descendants(os.getpid()) if b"pyspark.daemon" in _command(pid)]


def spark_jvms() -> list[int]:
    """The JVMs of the sessions of this process; in local mode the driver is one, and runs the tasks too."""
    return [pid for pid in descendants(os.getpid()) if b"org.apache.spark.deploy.SparkSubmit" in _command(pid)]


def spark_executors() -> list[int]:
    """The JVMs of executors of the sessions of this process, which `local-cluster` has and local mode has not."""
    return [pid for pid in descendants(os.getpid()) if b"org.apache.spark.executor.CoarseGrainedExecutorBackend" in _command(pid)]


def heap_kept_mb(spark: SparkSession, collections: int = 4) -> float:
    """Heap that the driver's JVM holds (MB): the least of several collections of garbage, for what one frees, the next can collect."""
    jvm = spark.sparkContext._jvm
    runtime, found = jvm.java.lang.Runtime.getRuntime(), []
    for _ in range(collections):
        jvm.java.lang.System.gc()
        found.append(float(runtime.totalMemory() - runtime.freeMemory()) / 1e6)
    return min(found)


def _status_mb(pid: int, key: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0.0
    return next((float(line.split()[1]) / 1000 for line in lines if line.startswith(f"{key}:")), 0.0)


def _parent(pid: int) -> int:
    try:
        # The name of the command, in brackets, may hold spaces.
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""
