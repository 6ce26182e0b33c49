"""Runs jobs as their users run them, one after another; shared by the demo and the study."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


def run_job(job: str, settings: Path, log: Path) -> dict[str, Any]:
    """Run one job with a settings file; its log goes to a file, its summary comes back with `wall_seconds`.

    Ends the program with the end of the log where the job fails.
    """
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, f"jobs/{job}.py", str(settings)]
        code = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-25:])
        sys.exit(f"\n{job} ended with {code}; the end of {log}:\n{tail}")
    told: dict[str, Any] = json.loads(summary_of(settings).read_text(encoding="utf-8"))
    return {**told, "wall_seconds": round(time.monotonic() - started, 1)}


def summary_of(settings: Path) -> Path:
    """Where a job with this settings file writes its summary."""
    return ROOT / str(yaml.safe_load(settings.read_text(encoding="utf-8"))["summary"])
