"""What Spark's event log tells of the tasks of a step: how many, how long, how skewed, what they shuffled."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def steps_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Group of jobs -> tasks, seconds of the median and the longest task of its longest stage, GB shuffled, MB of the largest task's input.

    Args:
        folder: Where Spark wrote its event logs (`spark.eventLog.dir`).
    """
    group_of: dict[int, str] = {}
    tasks: dict[str, dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                if '"SparkListenerJobStart"' in line:
                    told = json.loads(line)
                    group = told.get("Properties", {}).get("spark.jobGroup.id")
                    group_of |= {stage: group for stage in told["Stage IDs"] if group}
                elif '"SparkListenerTaskEnd"' in line:
                    told = json.loads(line)
                    if told["Stage ID"] in group_of and told.get("Task Metrics"):
                        tasks[group_of[told["Stage ID"]]][told["Stage ID"]].append(_task(told))
    return {group: _step(stages) for group, stages in tasks.items()}


def _task(told: Mapping[str, Any]) -> dict[str, float]:
    info, metrics = told["Task Info"], told["Task Metrics"]
    read, written = metrics["Shuffle Read Metrics"], metrics["Shuffle Write Metrics"]
    shuffled = read["Remote Bytes Read"] + read["Local Bytes Read"]
    return {
        "seconds": (info["Finish Time"] - info["Launch Time"]) / 1e3, "input": shuffled + metrics["Input Metrics"]["Bytes Read"],
        "written": float(written["Shuffle Bytes Written"]), "memory": float(metrics["Peak Execution Memory"]),
    }  # fmt: skip


def _step(stages: Mapping[int, Iterable[Mapping[str, float]]]) -> dict[str, Any]:
    every = [task for stage in stages.values() for task in stage]
    longest = max(stages.values(), key=lambda stage: sum(task["seconds"] for task in stage))
    seconds = [task["seconds"] for task in longest]
    return {
        "tasks": len(every),
        "tasks_of_longest_stage": len(seconds),
        "median_task_s": round(statistics.median(seconds), 3),
        "longest_task_s": round(max(seconds), 3),
        "shuffle_gb": round(sum(task["written"] for task in every) / 1e9, 4),
        "largest_input_mb": round(max(task["input"] for task in every) / 1e6, 2),
        "largest_execution_mb": round(max(task["memory"] for task in every) / 1e6, 2),
    }
