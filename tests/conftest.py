"""Fixtures that every kind of test shares, and the rule of the real observations: where they are, they are used."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A machine that is busy is no fault of the code.
hypothesis.settings.register_profile("eespark", deadline=None)
hypothesis.settings.load_profile("eespark")

REPOSITORY = Path(__file__).resolve().parents[1]
_SKIPPED = pytest.StashKey[list[str]]()


def real_folder() -> Path:
    """Where the real observations are, if they are there."""
    return Path(os.environ.get("EESPARK_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real observations; tests that need it skip where it is absent."""
    folder = real_folder()
    if not folder.is_dir():
        pytest.skip(f"no real observations at {folder}; set EESPARK_REAL_DATA to their folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPPED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip of a `real` test is counted where the folder is absent, and a failure where it is present."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("real"):
        if real_folder().is_dir():
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped although {real_folder()} is there: {report.longrepr}"
        else:
            item.config.stash[_SKIPPED].append(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skipped = config.stash[_SKIPPED]
    where = real_folder()
    state = f"they are at {where}" if where.is_dir() else f"no folder {where}; set EESPARK_REAL_DATA to theirs"
    terminalreporter.write_line(f"real observations: {len(skipped)} test(s) skipped for lack of them ({state})")
