"""The rule of the real observations: skipped where they are absent, and never where they are present."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.real
def test_that_needs_the_folder(real_data): assert real_data.is_dir()

@pytest.mark.real
def test_that_skips_for_another_reason(real_data): pytest.skip("no file")

def test_that_is_not_real(): pytest.skip("no network")
"""


def run(folder: Path, data: Path) -> str:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = real: needs real files\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    told = subprocess.run(command, env={**os.environ, "EESPARK_REAL_DATA": str(data)}, capture_output=True, text=True, check=False)
    return told.stdout


def test_that_a_skip_beside_the_real_folder_is_a_failure(real_data: Path, tmp_path: Path) -> None:
    told = run(tmp_path, real_data)
    assert "1 failed, 1 passed, 1 skipped" in told
    assert "was skipped although" in told
    assert "real observations: 0 test(s) skipped for lack of them" in told


def test_that_tests_skip_and_are_counted_without_the_folder(real_data: Path, tmp_path: Path) -> None:
    told = run(tmp_path, tmp_path / "nowhere")
    assert "3 skipped" in told
    assert "failed" not in told
    assert "real observations: 2 test(s) skipped for lack of them" in told
