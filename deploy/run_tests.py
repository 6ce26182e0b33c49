"""Run all tests in two halves at the same time: one waits for Spark's planning while the other computes.

python deploy/run_tests.py            both halves
python deploy/run_tests.py --in-turn  one after the other, for machines that are busy or have one core
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "build" / "tests"
# By what they share: the demo's run, then the polar chain's session; one Spark session with one tiny chain of crops.
HALVES = {
    "demo": ("tests/unit", "tests/real", "tests/airflow", "tests/e2e", "tests/ice"),
    "spark": ("tests/spark", "tests/faults"),
}
_TOLD_EVERY_S = 60.0


def main() -> int:
    """Run both halves, show what they printed; the larger exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-turn", action="store_true", help="one half after the other")
    in_turn = parser.parse_args().in_turn or (os.cpu_count() or 1) < 2
    LOGS.mkdir(parents=True, exist_ok=True)
    codes: dict[str, int] = {}
    for names in [[name] for name in HALVES] if in_turn else [list(HALVES)]:
        codes |= _run(names)
    for name in HALVES:
        print(f"tests: {name}: {' '.join(HALVES[name])}\n{(LOGS / f'{name}.log').read_text(encoding='utf-8', errors='replace')}")
    print("tests:", ", ".join(f"{name} {'passed' if code == 0 else f'failed with code {code}'}" for name, code in codes.items()))
    return max(codes.values())


def _run(names: list[str]) -> dict[str, int]:
    """Exit codes of halves that run at the same time; what they print goes to build/tests."""
    running: dict[str, Any] = {}
    try:
        for name in names:
            with (LOGS / f"{name}.log").open("w", encoding="utf-8") as log:
                command = [sys.executable, "-m", "pytest", *HALVES[name]]
                running[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        told = time.monotonic()
        while any(process.poll() is None for process in running.values()):
            time.sleep(0.5)
            if time.monotonic() - told > _TOLD_EVERY_S:
                told = time.monotonic()
                print("; ".join(f"tests: {name}: {_last_line(name)}" for name in names), flush=True)
    finally:
        for process in running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    return {name: int(process.wait()) for name, process in running.items()}


def _last_line(name: str) -> str:
    lines = (LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1][:100] if lines else "starting"


if __name__ == "__main__":
    sys.exit(main())
