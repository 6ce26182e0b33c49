"""The DAG in Airflow itself, in an environment of its own: imported, looked at, and run with jobs that only write their summaries."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.airflow.running import Airflow
from tests.environments import python_with

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "airflow"
JOBS = ("scan_archive", "import_labels", "extract_series", "build_training_set", "train", "validate", "report")
# Writes its name to a list, its summary beside its settings, and ends as a file of its own says.
JOB = """
import json, pathlib, sys
name, settings = pathlib.Path(sys.argv[0]).stem, pathlib.Path(sys.argv[1])
with open("ran.txt", "a") as ran:
    ran.write(name + "\\n")
told = json.loads(pathlib.Path("told.json").read_text()).get(name, {})
codes = pathlib.Path(name + ".codes")
left = codes.read_text().split() if codes.exists() else []
if left:
    codes.write_text(" ".join(left[1:]))
pathlib.Path(settings.stem + ".json").write_text(json.dumps(told))
sys.exit(int(left[0]) if left else 0)
"""
LOOK = """
import json, pathlib, sys
if sys.argv[1] == "quarantined":
    print(json.loads(pathlib.Path("scan_archive.json").read_text()).get("quarantined", 0))
else:
    print(pathlib.Path(sys.argv[1] + ".seen").read_text())
"""
STRUCTURE = """
import json, sys
from airflow.models import DagBag
bag = DagBag(sys.argv[1], include_examples=False)
dag = bag.get_dag("eespark_nightly")
tasks = {t.task_id: {"after": sorted(t.upstream_task_ids), "rule": str(t.trigger_rule), "retries": t.retries} for t in dag.tasks}
print("TOLD" + json.dumps({"errors": bag.import_errors, "tasks": tasks, "active": dag.max_active_runs, "catchup": dag.catchup}))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("airflow")


@pytest.fixture(scope="module")
def empty_home(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    one = Airflow(python, _repository(tmp_path_factory.mktemp("airflow")))
    one.call("-m", "airflow", "db", "migrate")
    return one.folder / "home"


def _repository(folder: Path) -> Path:
    (folder / "jobs").mkdir()
    for job in JOBS:
        (folder / "jobs" / f"{job}.py").write_text(JOB)
        (folder / f"{job}.yaml").write_text(f"summary: {job}.json\n")
    shutil.copytree(FOLDER, folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dags" / "look.py").write_text(LOOK)
    (folder / "archive.seen").write_text("a")
    (folder / "labels.seen").write_text("a")
    (folder / "told.json").write_text("{}")
    night = {
        "repository": str(folder), "python": sys.executable, "command": [sys.executable], "state": "state", "scan": "scan_archive.yaml",
        "imports": ["import_labels.yaml"], "extracts": ["extract_series.yaml"], "builds": ["build_training_set.yaml"],
        "trains": ["train.yaml"], "validates": ["validate.yaml"], "reports": ["report.yaml"], "weekday": 6, "wait_s": 1, "poke_s": 1,
        "retries": 1, "retry_delay_s": 0, "alarm_above": 2,
        "alarm_command": [sys.executable, "-c", "import sys; open('alarm.txt', 'a').write(sys.stdin.read() + '\\n')"],
    }  # fmt: skip
    (folder / "night.yaml").write_text(yaml.safe_dump(night))
    return folder


@pytest.fixture
def airflow(python: Path, empty_home: Path, tmp_path: Path) -> Airflow:
    return Airflow(python, _repository(tmp_path)).with_home_of(empty_home)


def _ran(airflow: Airflow) -> list[str]:
    """Jobs that ran, in order."""
    return (airflow.folder / "ran.txt").read_text().split()


def test_that_the_dag_is_imported_without_errors_and_its_tasks_follow_each_other(airflow: Airflow) -> None:
    told = airflow.ask(STRUCTURE, str(airflow.folder / "dags"))
    assert told["errors"] == {}
    assert (told["active"], told["catchup"]) == (1, False)
    after = {name: task["after"] for name, task in told["tasks"].items()}
    assert after == {
        "new_products": [], "scan": ["new_products"], "quarantine_alarm": ["scan"], "scanned_or_nothing_new": ["scan"],
        "labels_changed.import_labels": ["scanned_or_nothing_new"], "import_labels.import_labels": ["labels_changed.import_labels"],
        "extract_series.extract_series": ["import_labels.import_labels"], "weekly": ["extract_series.extract_series"],
        "build_training_set.build_training_set": ["weekly"], "train.train": ["build_training_set.build_training_set"],
        "validate.validate": ["train.train"], "report.report": ["validate.validate"],
    }  # fmt: skip
    assert told["tasks"]["scan"]["retries"] == 1
    assert (told["tasks"]["quarantine_alarm"]["retries"], told["tasks"]["quarantine_alarm"]["rule"]) == (0, "all_done")
    assert told["tasks"]["extract_series.extract_series"]["rule"] == "none_failed"


def test_that_what_lies_beside_the_dag_is_not_taken_for_one(airflow: Airflow) -> None:
    # Airflow imports each file that has these two words; what this one imports is not there.
    (airflow.folder / "dags" / "look.py").write_text((FOLDER / "look.py").read_text() + "# airflow dag\n")
    assert airflow.ask(STRUCTURE, str(airflow.folder / "dags"))["errors"] == {}


def test_that_a_weekly_night_does_all_and_one_without_news_only_reads_on(airflow: Airflow) -> None:
    states = airflow.night("2024-06-02")  # a Sunday
    assert {state for state, _ in states.values()} == {"success"}
    assert _ran(airflow) == list(JOBS)
    (airflow.folder / "ran.txt").unlink()
    states = airflow.night("2024-06-03")
    assert _ran(airflow) == ["extract_series"]
    skipped = sorted(name for name, (state, _) in states.items() if state == "skipped")
    assert skipped == [
        "build_training_set.build_training_set", "import_labels.import_labels", "new_products", "report.report", "scan", "train.train",
        "validate.validate",
    ]  # fmt: skip
    assert airflow.told == []


def test_that_changed_labels_are_imported_and_grown_quarantine_sounds_the_alarm(airflow: Airflow) -> None:
    airflow.night("2024-06-03")
    for name in ("labels.seen", "archive.seen"):
        (airflow.folder / name).write_text("b")
    (airflow.folder / "told.json").write_text(json.dumps({"scan_archive": {"quarantined": 3}}))
    (airflow.folder / "ran.txt").unlink()
    states = airflow.night("2024-06-04")
    assert _ran(airflow) == ["scan_archive", "import_labels", "extract_series"]
    assert states["quarantine_alarm"][0] == "failed"
    assert states["extract_series.extract_series"][0] == "success"
    assert airflow.told == [
        "eespark_nightly of 2024-06-04: quarantine_alarm failed: 3 more products are quarantined than on 2024-06-03: 3; "
        "the scan's summary has the reasons"
    ]


def test_that_the_alarm_sounds_also_where_more_are_broken_than_the_scan_allows(airflow: Airflow) -> None:
    (airflow.folder / "state").mkdir()
    (airflow.folder / "state" / "quarantined.json").write_text('{"2024-06-03": 0}')
    (airflow.folder / "told.json").write_text(json.dumps({"scan_archive": {"quarantined": 9}}))
    (airflow.folder / "scan_archive.codes").write_text("3")
    states = airflow.night("2024-06-04")
    assert _ran(airflow) == ["scan_archive"]
    assert (states["scan"][0], states["quarantine_alarm"][0]) == ("failed", "failed")
    scan, alarm = airflow.told
    assert scan.startswith("eespark_nightly of 2024-06-04: scan failed: scan_archive by scan_archive.yaml ended with code 3")
    assert "quarantine_alarm failed: 9 more products are quarantined" in alarm


def test_that_too_little_room_is_tried_again_and_bad_settings_are_not(airflow: Airflow) -> None:
    (airflow.folder / "scan_archive.codes").write_text("4")
    (airflow.folder / "extract_series.codes").write_text("2 0")
    states = airflow.night("2024-06-05")
    assert _ran(airflow) == ["scan_archive", "scan_archive", "import_labels", "extract_series"]
    assert states["scan"][0] == "success"
    assert states["extract_series.extract_series"][0] == "failed"
    assert states["weekly"][0] == "upstream_failed"
    (text,) = airflow.told  # of what failed for good, not of what was tried again
    assert text.startswith(
        "eespark_nightly of 2024-06-05: extract_series.extract_series failed: extract_series by extract_series.yaml ended"
    )
