"""Ways to do one thing, timed in turn in one run: warm-up, then A B A B ..., medians with their spread, ratios pair by pair."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Lap:
    """One timed run of one side.

    Attributes:
        seconds: It took.
        work: Done in that time, in the comparison's unit.
        result: JSON that must be the same on all sides and in all laps; None where nothing can be compared.
    """

    seconds: float
    work: float
    result: Any = None


Laps = dict[str, list[Lap]]


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a call took, and what it gave."""
    started = time.perf_counter()
    value = function()
    return time.perf_counter() - started, value


def interleave(sides: Mapping[str, Callable[[], Lap]], runs: int, warm_up: int) -> Laps:
    """Laps of all sides, one of each in turn, the first `warm_up` of each not counted.

    Raises:
        ValueError: The sides gave different results, in the warm-up or later.
    """
    laps: Laps = {name: [] for name in sides}
    results: dict[str, str] = {}
    for number in range(warm_up + runs):
        for name, side in sides.items():
            lap = side()
            if lap.result is not None:
                results[json.dumps(lap.result, sort_keys=True)] = name
            if len(results) > 1:
                raise ValueError(f"needed one result on all sides, found {results}")
            if number >= warm_up:
                laps[name].append(lap)
            print(f"  {number:2d} {name}: {lap.seconds:.3f} s", flush=True)
    return laps


def compare(laps: Laps, ours: str, baseline: str, unit: str) -> dict[str, Any]:
    """Rates of two sides and how many times the baseline's rate ours is, lap by lap.

    Args:
        laps: Of `interleave`.
        ours: Name of the side of the project.
        baseline: Name of the other.
        unit: Of the work.
    """
    pairs = [(a.work / a.seconds) / (b.work / b.seconds) for a, b in zip(laps[ours], laps[baseline], strict=True)]
    results = [lap.result for lap in laps[ours] if lap.result is not None]
    return {
        "ours": ours,
        "baseline": baseline,
        "unit": unit,
        "rates": {name: spread(lap.work / lap.seconds for lap in laps[name]) for name in (ours, baseline)},
        "seconds": {name: [round(lap.seconds, 3) for lap in laps[name]] for name in (ours, baseline)},
        "work": {name: laps[name][0].work for name in (ours, baseline)},
        "ratio": spread(pairs),
        "result": results[0] if results else None,
    }


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Median, least and largest of some values, and the values."""
    known = [float(f"{value:.4g}") for value in values]
    return {"median": float(f"{statistics.median(known):.4g}"), "min": min(known), "max": max(known), "all": known}
