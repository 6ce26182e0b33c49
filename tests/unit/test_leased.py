"""A command under a lease: its exit code, nothing beside another holder, the lease free afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eespark.io.lease import held_lease

ROOT = Path(__file__).resolve().parents[2]


def _command(lease: Path, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, str(ROOT / "deploy" / "leased.py"), str(lease), *options, "--", *words]


def _run(lease: Path, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(lease, *words, options=options), capture_output=True, text=True, check=False)


def test_that_a_command_runs_under_the_lease_and_its_code_is_told(tmp_path: Path) -> None:
    lease = tmp_path / "one.lease"
    done = _run(lease, "sh", "-c", f"cat {lease}; exit 3")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["holder"].startswith("leased ")
    assert not lease.exists()


def test_that_a_command_does_not_run_beside_another_holder(tmp_path: Path) -> None:
    with held_lease(str(tmp_path / "one.lease"), "first"):
        done = _run(tmp_path / "one.lease", "touch", str(tmp_path / "ran"))
    assert done.returncode == 5
    assert "held by first" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert _run(tmp_path / "one.lease", "touch", str(tmp_path / "ran")).returncode == 0
    assert (tmp_path / "ran").exists()


def test_that_a_command_is_ended_where_the_lease_is_lost(tmp_path: Path) -> None:
    lease = tmp_path / "one.lease"
    words = _command(lease, "sh", "-c", f"touch {tmp_path}/began; exec sleep 100", options=("--seconds", "3"))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 60
        while not (tmp_path / "began").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        lease.write_text(json.dumps({"holder": "another", "until": time.time() + 100}))
        _, told = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "lost to another" in told
    assert json.loads(lease.read_text())["holder"] == "another"


@pytest.mark.parametrize("words", [[], ["--"]])
def test_that_a_command_is_needed(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "deploy/leased.py", str(tmp_path / "x"), *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "needed `--` and a command behind it" in done.stderr
