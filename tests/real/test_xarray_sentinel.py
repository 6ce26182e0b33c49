"""Our reading of Sentinel-1 beside xarray-sentinel's: real annotation, and a synthetic scene whose rasters are there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eespark.io import s1_annotation, safe_xml
from eespark.io.archive import list_archive
from eespark.io.sar_scene import open_scene
from eespark.kernels.sar_tables import LookUpTable, Window, node_weights
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings
from tests.conftest import REPOSITORY
from tests.environments import python_with
from tests.real.test_sentinel1 import EW

READER = REPOSITORY / "tests" / "oracle" / "read_sentinel1.py"


@pytest.fixture(scope="module")
def oracle() -> Path:
    """Python of an environment with xarray-sentinel, made where it is absent; nothing of it is in ours."""
    return python_with("oracle")


def ask(oracle: Path, out: Path, *arguments: str) -> dict[str, np.ndarray]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GDAL", "PROJ"))}
    subprocess.run([str(oracle), str(READER), *arguments, str(out)], env=clean, capture_output=True, check=True)
    with np.load(out, allow_pickle=False) as found:
        return dict(found)


def interpolated(table: LookUpTable, lines: np.ndarray, samples: np.ndarray) -> np.ndarray:
    (rows, down), (cols, right) = (node_weights(nodes, at) for nodes, at in ((table.lines, lines), (table.samples, samples)))
    return np.asarray(down @ table.values[rows, cols] @ right.T)


@pytest.mark.parametrize("band", ["hh", "hv"])
def test_that_tables_of_a_real_scene_are_read_alike(oracle: Path, real_data: Path, band: str, tmp_path: Path) -> None:
    folder = real_data / "sentinel1" / EW / "annotation"
    files = folder / f"ew-{band}.xml", folder / "calibration" / f"calibration-ew-{band}.xml"
    told = ask(oracle, tmp_path / "told.npz", "tables", *map(str, files))
    annotation, calibration = (safe_xml.parse_xml(file.read_bytes(), file.name) for file in files)
    places = told["lines"], told["samples"]
    sigma = interpolated(s1_annotation.read_calibration(calibration, EW), *places)
    np.testing.assert_allclose(sigma, told["sigma"], rtol=1e-6)
    grid = s1_annotation.read_geometry(annotation, EW).grid
    for ours, theirs in (("latitude", "latitude"), ("longitude", "longitude"), ("incidence", "incidenceAngle"), ("height", "height")):
        np.testing.assert_allclose(getattr(grid, ours), told[theirs], rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(grid.lines, told["line"])
    np.testing.assert_array_equal(grid.samples, told["pixel"])


def test_that_a_synthetic_scene_is_calibrated_alike(oracle: Path, tmp_path: Path) -> None:
    root = tmp_path / "input"
    make_polar_archive(PolarSettings(output=str(root), summary="unused", seed=3, size_px=160, dates=6, faults=False, workers=1))
    candidate = next(one for one in list_archive(str(root / "archive")) if one.kind == "safe")
    with open_scene(candidate) as scene:
        for band in ("HH", "HV"):
            sigma, valid = scene.sigma(band, Window(0, 0, *scene.shape), denoise=False)
            name = f"*-{band.lower()}-*"
            files = [next(Path(candidate.url).glob(one)) for one in (f"measurement/{name}", f"annotation/calibration/calibration-{name}")]
            told = ask(oracle, tmp_path / f"{band}.npz", "scene", *map(str, files))["sigma"]
            assert valid.mean() > 0.8
            np.testing.assert_allclose(sigma[valid], told[valid], rtol=1e-5)
