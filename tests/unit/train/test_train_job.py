"""The job `train` where Horovod is not installed, which is where there is no C++ compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
# As if Horovod was not there: finding it finds nothing, importing it fails.
WITHOUT_HOROVOD = (
    "import runpy, sys; sys.modules['horovod'] = None; sys.path.insert(0, 'jobs'); runpy.run_path('jobs/train.py', run_name='__main__')"
)


def train(tmp_path: Path, training_set: Path, **changes: object) -> tuple[int, str, dict[str, object]]:
    """Exit code, log and summary of the job in a process of its own."""
    model = {"name": "cnn1d", "units": 8, "layers": 1, "features": 8, "kernel": 3}
    settings = {"training_set": str(training_set), "bundle": str(tmp_path / "bundle"), "summary": str(tmp_path / "summary.json")}
    settings |= {"processes": 2, "threads_per_process": 1, "fit": {"model": model, "epochs": 1, "batch": 16}, **changes}
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-c", WITHOUT_HOROVOD, str(file)]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return told.returncode, told.stderr, json.loads((tmp_path / "summary.json").read_text())


def test_that_training_falls_back_to_one_process_and_says_so(training_set: Path, tmp_path: Path) -> None:
    code, log, summary = train(tmp_path, training_set, fall_back=True)
    assert code == 0, log
    assert "training in one process instead of 2" in log
    assert (summary["status"], summary["processes"], summary["epochs"]) == ("done", 1, 1)
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_that_without_leave_to_fall_back_the_job_ends_and_says_what_to_do(training_set: Path, tmp_path: Path) -> None:
    code, _, summary = train(tmp_path, training_set)
    assert code == 4
    assert summary["error"] == ("2 processes need Horovod, which is not installed; run make setup with a C++ compiler, or set processes: 1")
