"""What every benchmark does around its measurement: sizes from the command line, facts of the machine, one JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import rasterio
from pyspark.sql import SparkSession

from eespark.io.storage import write_json
from eespark.spark.session import make_session

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
_PACKAGES = (
    "pyspark",
    "apache-sedona",
    "delta-spark",
    "rasterio",
    "numpy",
    "pyarrow",
    "petastorm",
    "tensorflow-cpu",
    "horovod",
    "onnxruntime",
)
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How often each side runs: counted laps, and laps before them that do not count."""

    runs: int = 5
    warm_up: int = 1


@dataclass(frozen=True, kw_only=True)
class TileSizes(Repeats):
    """px of the side of a tile at 10 m, and of its JPEG 2000 tiles at 10 m and 20 m; these are the agency's."""

    size_px: int = 10_980
    block_px: tuple[int, int] = (1024, 640)


# What a run needs so that it only shows that all works.
TINY_TILE: dict[str, Any] = {"size_px": 256, "block_px": (64, 40), "runs": 1, "warm_up": 0}


def main(name: str, full: S, tiny: S, measure: Callable[[S, Path], dict[str, Any]]) -> None:
    """Measure with the sizes of the command line and write `build/bench/<name>.json`.

    Args:
        name: Of the benchmark.
        full: Sizes that count: a frozen dataclass of numbers and tuples of numbers.
        tiny: Sizes that only show that it runs; `--tiny` takes them, and writes `<name>.tiny.json`.
        measure: Takes the sizes and a folder for inputs and scratch, and gives the results.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", argument_default=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    for field in fields(full):  # type: ignore[arg-type]
        value = getattr(full, field.name)
        many = isinstance(value, tuple)
        kind = type(value[0] if many else value)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, nargs="+" if many else None, help=f"default {value}")
    told = vars(parser.parse_args())
    is_tiny = told.pop("tiny", False)
    base = asdict(tiny if is_tiny else full)  # type: ignore[call-overload]
    sizes = type(full)(**base | {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()})
    before = machine()
    results = measure(sizes, BUILD)
    content = {"benchmark": name, "sizes": asdict(sizes), "machine": {**before, "load_after": load()}, "results": results}  # type: ignore[call-overload]
    target = BUILD / f"{name}{'.tiny' if is_tiny else ''}.json"
    write_json(str(target), content)
    print(f"bench: {target}")


def session(name: str) -> SparkSession:
    """A session as for long jobs: the JVM compiles what runs for minutes, as on the executors of a cluster."""
    return make_session(f"bench {name}", os.environ.get("EESPARK_SPARK_CONF", ROOT / "deploy" / "conf" / "spark-machine.conf"))


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, memory, versions, commit, and how busy the machine is."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "versions": {name: _version(name) for name in _PACKAGES},
        "load_before": load(),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> float:
    """Load average of the last minute: what else ran shows in it."""
    return round(os.getloadavg()[0], 2)


def _commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def _line(file: str, key: str) -> str:
    lines = (line.partition(":") for line in Path(file).read_text(encoding="utf-8").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
