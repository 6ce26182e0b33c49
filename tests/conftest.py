"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real observations; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("EESPARK_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real observations at {folder}; set EESPARK_REAL_DATA to their folder")
    return folder
