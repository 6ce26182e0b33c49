"""What the DAG decides, without Airflow."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from eespark.settings import load_settings
from eespark.spark.catalog import ScanSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "airflow"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nights", FOLDER / "nights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nights"] = module  # as the DAG's folder on the path would; dataclasses ask for it
    spec.loader.exec_module(module)
    return module


nights = _load()


def _night(folder: Path, **changes: Any) -> Any:
    told = yaml.safe_load((FOLDER / "nightly.yaml").read_text()) | {"repository": str(folder), "python": sys.executable, "state": "state"}
    (folder / "night.yaml").write_text(yaml.safe_dump(told | changes))
    return nights.read_night(folder / "night.yaml")


def test_that_the_example_can_be_used_and_names_settings_that_exist() -> None:
    night = nights.read_night(FOLDER / "nightly.yaml")
    files = (night.scan, *night.imports, *night.extracts, *night.builds, *night.trains, *night.validates, *night.reports)
    assert all((ROOT / file).is_file() for file in files)
    assert load_settings(ROOT / night.scan, ScanSettings).archive


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weekdya": 3}, "unknown keys: weekdya; missing: none"),
        ({"weekday": 7}, "needed a weekday from 0"),
        ({"weekday": "sunday"}, r"needed other kinds of values for weekday \(int\)"),
        ({"command": "python"}, r"needed other kinds of values for command \(tuple"),
        ({"retries": True}, r"retries \(int\)"),
        ({"trains": ["a/train.yaml", "b/train.yaml"]}, "trains: needed files whose names differ .*, found train$"),
        ({"extracts": ["my series.yaml"]}, "extracts: needed files whose names .*, found my series$"),
    ],
)
def test_that_settings_that_cannot_be_used_are_told(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(nights.NightError, match=expected):
        _night(tmp_path, **changes)


def test_that_the_first_day_may_be_written_as_a_date(tmp_path: Path) -> None:
    assert _night(tmp_path, start=date(2026, 3, 1)).start == "2026-03-01"


def test_that_missing_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(nights.NightError, match="found no file"):
        nights.read_night(tmp_path / "none.yaml")
    (tmp_path / "few.yaml").write_text("repository: /x\n")
    with pytest.raises(nights.NightError, match="missing: command, extracts, python, scan, state"):
        nights.read_night(tmp_path / "few.yaml")


@pytest.mark.parametrize(
    ("code", "taken"), [(0, "done"), (1, "retry"), (2, "fail"), (3, "fail"), (4, "retry"), (5, "retry"), (137, "retry"), (-9, "retry")]
)
def test_that_each_exit_code_is_taken_as_it_is_meant(code: int, taken: str) -> None:
    assert nights.ending(code) == taken


def test_that_a_job_is_run_with_its_settings_in_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "scan_archive.py").write_text("import os, sys\nprint('at', os.getcwd(), sys.argv[1])\nsys.exit(4)\n")
    assert nights.run_job(_night(tmp_path, command=[sys.executable]), "scan_archive", "a b.yaml") == 4
    assert capsys.readouterr().out == f"at {tmp_path} a b.yaml\n"


def test_that_a_job_runs_under_the_lease_where_one_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "deploy").symlink_to(FOLDER.parent)
    (tmp_path / "jobs" / "train.py").write_text("import pathlib, sys\nprint(pathlib.Path('a.lease').exists())\nsys.exit(3)\n")
    night = _night(tmp_path, command=[sys.executable], lease=str(tmp_path / "a.lease"))
    assert nights.run_job(night, "train", "x.yaml") == 3
    assert capfd.readouterr().out == "True\n"
    assert not (tmp_path / "a.lease").exists()


def test_that_a_log_in_another_encoding_does_not_end_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "train.py").write_text("import sys\nsys.stdout.buffer.write(b'caf\\xe9\\n')\n")
    assert nights.run_job(_night(tmp_path, command=[sys.executable]), "train", "x.yaml") == 0
    assert capsys.readouterr().out == "caf\ufffd\n"


def test_that_new_products_are_new_until_a_scan_is_done(synthetic_archive: Path, tmp_path: Path) -> None:
    told = {"archive": str(synthetic_archive), "products": str(tmp_path / "products"), "summary": str(tmp_path / "s.json")}
    (tmp_path / "scan.yaml").write_text(yaml.safe_dump(told))
    night = _night(tmp_path, scan="scan.yaml")
    assert nights.is_new(night, "archive", "scan.yaml")
    nights.remember(night, "archive", "scan.yaml", nights.look(night, "archive", "scan.yaml"))
    assert not nights.is_new(night, "archive", "scan.yaml")
    (synthetic_archive / "S2A_MSIL2A_20180801T100031_N0208_R122_T33TVN_20180801T131313.SAFE").mkdir()
    assert nights.is_new(night, "archive", "scan.yaml")


def test_that_a_quarantined_product_is_new_when_its_files_change(synthetic_archive: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.yaml"
    scan.write_text(yaml.safe_dump({"archive": str(synthetic_archive), "products": "p", "summary": str(tmp_path / "s.json")}))
    broken, good = sorted(synthetic_archive.iterdir())
    (tmp_path / "s.json").write_text(json.dumps({"quarantined": 1, "quarantined_reasons": {broken.stem: "FormatError: half a file"}}))
    night = _night(tmp_path)
    first = nights.look(night, "archive", "scan.yaml")
    (good / "manifest.safe").write_text("whole")
    assert nights.look(night, "archive", "scan.yaml") == first
    (broken / "manifest.safe").write_text("whole")
    assert nights.look(night, "archive", "scan.yaml") != first


def test_that_the_count_of_quarantined_is_the_summarys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    (tmp_path / "scan.yaml").write_text("archive: a\nproducts: p\nsummary: ${OUT}/s.json\n")
    night = _night(tmp_path)
    with pytest.raises(RuntimeError, match=r"could not look at the quarantined of scan\.yaml: .*s\.json"):
        nights.look(night, "quarantined", "scan.yaml")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.json").write_text(json.dumps({"quarantined": 3}))
    assert nights.look(night, "quarantined", "scan.yaml") == "3"


def test_that_labels_are_new_when_a_file_or_the_settings_change(tmp_path: Path) -> None:
    for name in ("a.gpkg", "b.csv"):
        (tmp_path / name).write_text("x")
    polygons = {"name": "a", "url": str(tmp_path / "a.gpkg"), "year": 2018, "key": "k", "code": "c", "codes": "snar"}
    told = {
        "products": "p",
        "labels": "l",
        "summary": "s",
        "polygons": [polygons],
        "points": [{"name": "b", "url": str(tmp_path / "b.csv")}],
    }
    (tmp_path / "import.yaml").write_text(yaml.safe_dump(told))
    night = _night(tmp_path)
    first = nights.look(night, "labels", "import.yaml")
    assert nights.look(night, "labels", "import.yaml") == first
    os.utime(tmp_path / "b.csv", (time.time(), time.time() + 60))
    second = nights.look(night, "labels", "import.yaml")
    assert second != first
    (tmp_path / "import.yaml").write_text(yaml.safe_dump(told | {"erode_m": 7.5}))
    assert nights.look(night, "labels", "import.yaml") != second


def test_that_a_look_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"could not look at the archive of none\.yaml: .*needed a settings file"):
        nights.look(_night(tmp_path), "archive", "none.yaml")


def test_that_the_alarm_is_of_growth_since_the_night_before(tmp_path: Path) -> None:
    night = _night(tmp_path, alarm_above=5)
    for day, count in (("2024-05-01", 40), ("2024-05-02", 45), ("2024-05-04", 51)):
        nights.note_quarantined(night, day, count)
    assert nights.alarm(night, "2024-05-01") is None  # there is none before it
    assert nights.alarm(night, "2024-05-02") is None  # five more, and no more than that
    text = nights.alarm(night, "2024-05-04")
    assert text == "6 more products are quarantined than on 2024-05-02: 51; the scan's summary has the reasons"
    assert nights.alarm(night, "2024-05-05") is None  # a night without a scan
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["quarantined.json"]


def test_that_the_alarm_reaches_a_command(tmp_path: Path) -> None:
    out = tmp_path / "told"
    night = _night(tmp_path, alarm_command=[sys.executable, "-c", f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"])
    nights.tell(night, "grün")
    assert out.read_text() == "grün"
    nights.tell(_night(tmp_path, alarm_command=[]), "nobody")


@pytest.fixture
def synthetic_archive(tmp_path: Path) -> Path:
    """Two products by their names."""
    folder = tmp_path / "archive"
    for day in (1, 11):
        (folder / f"S2A_MSIL2A_201807{day:02d}T100031_N0208_R122_T33TVN_201807{day:02d}T131313.SAFE").mkdir(parents=True)
    return folder
