"""The cloud mask of a synthetic L1C product: what is extracted by it is what lies under its clouds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest

from eespark.bands import Flag
from eespark.grid import TileGrid
from eespark.io.archive import Candidate, ScanOptions, scan_product
from eespark.io.extract import extract_product
from eespark.synthetic.cloud_mask import cloud_layers
from eespark.synthetic.footprint import product_facts
from eespark.synthetic.names import ProductName
from eespark.synthetic.phenology import draw_traits
from eespark.synthetic.render import Scene, render
from eespark.synthetic.safe import write_product
from eespark.synthetic.weather import Weather, has_data, veil_of

START = datetime(2018, 5, 7, 10, 0, 31, tzinfo=UTC)
NAME = ProductName("S2A", "L1C", "33TUN", 122, 15_000, START, START - timedelta(seconds=2), START + timedelta(hours=3), "02.06")
SIZE = 512  # 85 and a third pixels of 60 m
GRID = TileGrid("33TUN", "EPSG:32633", 400_020, 5_250_000, SIZE, SIZE)
# Half under opaque cloud, some cirrus, and the swath ends in the east.
WEATHER = Weather(11, 0.5, 0.3, 0.3, 0.0, (-800.0, 1_500.0), (-1.0, -0.2, -0.9), (1.0,) * 9)
SCENE = Scene(GRID, 250.0, 3, 4, WEATHER, 0, "L1C")


def write(folder: Path, scene: Scene) -> tuple[Path, dict[str, Any]]:
    traits = draw_traits(3, np.arange(2).astype(np.uint64), np.array([1, 2], np.int16))
    images, _ = render(scene, traits, np.ones((SIZE, SIZE), np.int32))
    images["CLOUDS"] = cloud_layers(scene)
    facts = product_facts(scene, images)
    return write_product(folder, NAME, GRID, images, facts, (256, 128)), facts


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return write(tmp_path_factory.mktemp("l1c"), SCENE)


def opacity(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cols) of opaque cloud and of cirrus."""
    veil = veil_of(WEATHER, x, y)
    return veil.cloud, veil.cirrus


def flags(folder: Path) -> np.ndarray:
    row = scan_product(Candidate(NAME.product_id, str(folder), "safe"), ScanOptions())
    rows, cols = (index.ravel() for index in np.indices((SIZE, SIZE)))
    return extract_product(row, *GRID.centres(rows, cols)).flag.reshape(SIZE, SIZE)


def test_that_extracted_flags_are_the_truth_at_the_middle_of_each_60_m_pixel(product: tuple[Path, dict[str, Any]]) -> None:
    found = flags(product[0])
    # The middle of the last one, of which 20 m lie in the grid, would lie beyond: the last 10 m pixel's counts.
    middles = np.append(np.arange(85) * 60.0 + 30.0, 5_115.0)
    cloud, cirrus = opacity(400_020 + middles, 5_250_000 - middles)
    where = (np.arange(SIZE) + 0.5) / SIZE
    data = has_data(WEATHER.edge, middles / 5_120, middles / 5_120)
    covered = np.repeat(np.repeat(((cloud > 0.3) | (cirrus > 0.15)) & data, 6, axis=0), 6, axis=1)[:SIZE, :SIZE]
    # A 20 m cell across the edge of the swath has no data, which only the bands know.
    empty = ~has_data(WEATHER.edge, where, where).reshape(SIZE // 2, 2, SIZE // 2, 2).all(axis=(1, 3))
    empty = np.repeat(np.repeat(empty, 2, axis=0), 2, axis=1)
    expected = np.where(covered, Flag.CLOUD, np.where(empty, Flag.NO_DATA, Flag.CLEAR))
    np.testing.assert_array_equal(found, expected)
    assert {int(flag) for flag in np.unique(found)} == {Flag.CLEAR, Flag.CLOUD, Flag.NO_DATA}


def test_that_the_mask_is_right_for_most_of_the_10_m_pixels(product: tuple[Path, dict[str, Any]]) -> None:
    found = flags(product[0])
    cloud, cirrus = opacity(*GRID.centres(np.arange(SIZE), np.arange(SIZE)))
    seen = found != Flag.NO_DATA
    truth = (cloud > 0.3) | (cirrus > 0.15)
    assert (found == Flag.CLOUD)[seen & truth].mean() > 0.95
    assert (found == Flag.CLEAR)[seen & ~truth].mean() > 0.95


def test_that_gdal_reads_the_same_polygons_with_their_holes(product: tuple[Path, dict[str, Any]]) -> None:
    (file,) = product[0].glob("GRANULE/*/QI_DATA/MSK_CLOUDS_B00.gml")
    table = pyogrio.read_dataframe(file)
    file.with_suffix(".gfs").unlink()  # GDAL leaves a schema beside the files that it reads
    assert table.crs.to_epsg() == 32633
    layers = cloud_layers(SCENE)
    # Pixels of the last row and column of 60 m are cut at a third by the grid's edge.
    share = np.ones(86)
    share[-1] = 1 / 3
    for number, kind in ((1, "OPAQUE"), (2, "CIRRUS")):
        area = float(((layers == number) * np.outer(share, share)).sum()) * 3_600
        assert table.loc[table["maskType"] == kind].area.sum() == pytest.approx(area, rel=1e-9)
    assert sum(len(polygon.interiors) for polygon in table.geometry) > 0


def test_that_the_metadata_state_the_masks_share(product: tuple[Path, dict[str, Any]]) -> None:
    found = flags(product[0])
    # Of the pixels with data, but for the rim of the mask's coarse pixels at the swath's edge.
    assert product[1]["cloud"] == pytest.approx(100.0 * (found == Flag.CLOUD).sum() / (found != Flag.NO_DATA).sum(), abs=1.0)


def test_that_a_mask_without_clouds_has_no_features(tmp_path: Path) -> None:
    folder, _ = write(tmp_path, replace(SCENE, weather=replace(WEATHER, cloud_share=0.0, cirrus=0.0)))
    (file,) = folder.glob("GRANULE/*/QI_DATA/MSK_CLOUDS_B00.gml")
    assert "<eop:maskMembers/>" in file.read_text()
    assert Flag.CLOUD not in flags(folder)


def test_that_nothing_acquired_has_no_cloud() -> None:
    assert not cloud_layers(replace(SCENE, empty=True)).any()
    assert not cloud_layers(replace(SCENE, rows_with_data=(0.0, 0.5)))[43:].any()
