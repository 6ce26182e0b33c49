"""One undisturbed run of the whole chain that all slow tests look at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("eespark", "jobs", "deploy")


def _is_current(summary: Path) -> bool:
    if not summary.is_file():
        return False
    written = summary.stat().st_mtime
    files = (file for folder in SOURCES for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".yaml", ".conf"))
    return all(file.stat().st_mtime < written for file in files)


@pytest.fixture(scope="session")
def demo() -> Path:
    """Folder of the finished demo; run once, and again when a source is newer."""
    folder = ROOT / "build" / "demo"
    if not _is_current(folder / "summary.json"):
        told = subprocess.run([sys.executable, "deploy/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout[-2_000:] + told.stderr[-4_000:]
    return folder


@pytest.fixture(scope="session")
def summary(demo: Path) -> dict[str, Any]:
    """What the demo says of itself."""
    return dict(json.loads((demo / "summary.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def truth(demo: Path) -> dict[str, Any]:
    """What the generator planted."""
    return dict(json.loads((demo / "input" / "truth" / "manifest.json").read_text(encoding="utf-8")))


def read_table(folder: Path, columns: list[str] | None = None) -> Any:
    """A Delta table of the demo as pandas, by the files that its log says are live: no Spark."""
    import pandas as pd

    live: dict[str, None] = {}
    checkpoint = sorted(folder.glob("_delta_log/*.checkpoint.parquet"))
    assert not checkpoint, "read_table knows logs without checkpoints"
    for log in sorted(folder.glob("_delta_log/*.json")):
        for line in log.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = None
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
    from urllib.parse import unquote

    frames = []
    for path in live:
        frame = pd.read_parquet(folder / unquote(path), columns=None)
        for part in unquote(path).split("/")[:-1]:
            name, _, value = part.partition("=")
            frame[name] = value
        frames.append(frame[columns] if columns else frame)
    return pd.concat(frames, ignore_index=True)
