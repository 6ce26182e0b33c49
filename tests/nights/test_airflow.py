"""Airflow's nights with the jobs themselves, on the demo's archive: `make test-nights`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.airflow.running import Airflow
from tests.environments import python_with
from tests.nights.demo import settings_file

ROOT = Path(__file__).resolve().parents[2]


def _job(name: str, settings: Path) -> None:
    done = subprocess.run([sys.executable, f"jobs/{name}.py", str(settings)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]


@pytest.fixture
def airflow(tmp_path: Path) -> Airflow:
    """The demo's archive, scanned, its samples drawn, as docs/airflow.md asks for before the first night."""
    one = Airflow(python_with("airflow"), tmp_path)
    files = {
        name: settings_file(name, tmp_path)
        for name in (
            "make_demo_archive", "scan_archive", "import_labels", "draw_samples", "extract_series", "build_training_set", "validate",
            "report",
        )
    }  # fmt: skip
    told = yaml.safe_load(settings_file("train", tmp_path).read_text())
    files["train"] = settings_file("train", tmp_path, fit={**told["fit"], "epochs": 2})
    for name in ("make_demo_archive", "scan_archive", "import_labels", "draw_samples"):
        _job(name, files[name])
    night = {
        "repository": str(ROOT), "python": sys.executable, "command": [sys.executable], "state": str(tmp_path / "state"),
        "scan": str(files["scan_archive"]), "imports": [str(files["import_labels"])], "extracts": [str(files["extract_series"])],
        "builds": [str(files["build_training_set"])], "trains": [str(files["train"])], "validates": [str(files["validate"])],
        "reports": [str(files["report"])], "weekday": 6, "wait_s": 1, "poke_s": 1, "retries": 0, "alarm_above": 0,
        "lease": str(tmp_path / "tables" / "nightly.lease"),
    }  # fmt: skip
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(night))
    shutil.copytree(ROOT / "deploy" / "airflow", tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    one.call("-m", "airflow", "db", "migrate")
    return one


def _summary(airflow: Airflow, job: str) -> dict[str, object]:
    return dict(json.loads((airflow.folder / "summaries" / f"{job}.json").read_text()))


def test_that_nights_do_what_is_new_and_sundays_end_in_a_report(airflow: Airflow) -> None:
    states = airflow.night("2024-06-02")  # a Sunday, and the first night
    assert {state for state, _ in states.values()} == {"success"}, states
    assert (airflow.folder / "report.html").stat().st_size > 100_000
    observations = _summary(airflow, "extract_series")["observations"]
    assert int(str(observations)) > 100_000
    product = sorted((airflow.folder / "input" / "archive").glob("*.SAFE"))[0]
    broken = product.with_name(product.name.replace("_N0", "_N9"))
    shutil.copytree(product, broken)
    (broken / "manifest.safe").unlink()
    states = airflow.night("2024-06-03")
    assert states["scan"][0] == "success"
    assert states["quarantine_alarm"][0] == "failed", "one more is broken"
    assert states["labels_changed.import_labels"][0] == "success"
    assert states["import_labels.import_labels"][0] == "skipped"
    assert states["extract_series.extract_series"][0] == "success"
    assert states["train.train"][0] == "skipped"
    assert int(str(_summary(airflow, "extract_series")["observations"])) == 0
    assert not (airflow.folder / "tables" / "nightly.lease").exists()
