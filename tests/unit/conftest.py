"""What several unit tests look at."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyogrio
import pytest


@pytest.fixture(scope="session")
def austrian(real_data: Path, tmp_path_factory):
    """The hundred real Austrian parcels, as GDAL reads them."""
    folder = tmp_path_factory.mktemp("invekos")
    with zipfile.ZipFile(real_data / "invekos" / "inspire_schlaege_2025-1_polygon.gpkg.zip") as archive:
        archive.extractall(folder)
    return pyogrio.read_dataframe(next(folder.glob("*.gpkg")))
