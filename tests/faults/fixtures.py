"""A runner of jobs and a hash of frames, for all tests that kill what they started."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.faults.running import Runner


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Runner]:
    """Starts jobs, and ends what a failed test left of them."""
    runner = Runner(tmp_path / "jobs")
    yield runner
    runner.end()


@pytest.fixture(scope="session")
def digest(content: Callable[..., Any]) -> Callable[..., str]:
    """A hash of a frame's rows, in whatever order, without some columns."""

    def of(frame: pd.DataFrame, *without: str) -> str:
        return hashlib.sha256(repr(content(frame, *without)).encode()).hexdigest()

    return of
