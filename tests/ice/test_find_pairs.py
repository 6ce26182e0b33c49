"""Pairs of SAR scenes and optical products: who sees what when, and the pictures of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio import Affine

from eespark.io.stac_item import load_item
from eespark.polar_geometry import to_polar
from eespark.schema_polar import PAIRS
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.pairs import PairSettings, find_pairs
from eespark.spark.tables import open_table
from tests.ice.chain import Ice
from tests.unit.io.test_stac_optical import write_item

# Hours after the first scene, and the part of its ground that is seen: all, the western half, none.
PRODUCTS = {
    "LC08_L1GT_002007_20180110_20201016_02_T2": (0.5, 1.0),
    "S3A_OL_1_EFR____20180110T140000_20180110T140300": (3.0, 0.5),
    "LC09_L1GT_002007_20180111_20201016_02_T2": (30.0, 1.0),
    "S3B_OL_1_EFR____20180110T120000_20180110T120300": (1.0, 0.0),
}


def _optical(folder: Path, scene: Any) -> None:
    """Items around the ground of a scene; their rasters are bright where the scene's eastern half lies."""
    outline = shapely.from_wkb(bytes(scene["footprint"]))
    west, south, east, north = outline.bounds
    (ground,) = to_polar([outline], "EPSG:4326")
    left, bottom, right, top = ground.bounds
    for name, (hours, share) in PRODUCTS.items():
        box = shapely.box(west, south, west + (east - west) * share, north) if share else shapely.box(west + 20, south, east + 20, north)
        when = (pd.Timestamp(scene["sensing_time"]) + pd.Timedelta(hours=hours)).isoformat() + "Z"
        geometry = shapely.geometry.mapping(shapely.segmentize(box, 0.05))
        write_item(folder / name, name, {"visual": "picture.tif"}, geometry=geometry, properties={"datetime": when, "eo:cloud_cover": 10})
        values = np.full((3, 60, 60), 40, np.uint8)
        values[:, :, 30:] = 200
        profile = {"driver": "GTiff", "width": 60, "height": 60, "count": 3, "dtype": "uint8", "crs": "EPSG:3413"}
        transform = Affine((right - left) / 60, 0, left, 0, -(top - bottom) / 60, top)
        with rasterio.open(folder / name / "picture.tif", "w", transform=transform, **profile) as target:
            target.write(values)
        assert load_item(str(folder / name / f"{name}.json"))["id"] == name


@pytest.fixture(scope="module")
def paired(ice: Ice, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    root = tmp_path_factory.mktemp("pairs")
    (scene,) = ice.table("products").where(f"product_id = '{ice.scenes[0].product_id}'").collect()
    _optical(root / "optical", scene)
    products = str(root / "products")
    for archive in (str(ice.root / "input" / "archive"), str(root / "optical")):
        scan_archive(ice.spark, ScanSettings(archive=archive, products=products, summary="unused", max_failed_share=1.0))
    told = {"products": products, "pairs": str(root / "pairs"), "summary": "unused", "hours": 6, "quicklooks": str(root / "looks")}
    settings = PairSettings.model_validate(told | {"quicklook_px": 120})
    return root, find_pairs(ice.spark, settings), scene


def test_that_products_of_the_same_ground_and_time_are_pairs(ice: Ice, paired: tuple[Path, dict[str, Any], Any]) -> None:
    root, summary, scene = paired
    table = open_table(ice.spark, str(root / "pairs"), PAIRS).toPandas().set_index("mission")
    assert summary["pairs"] == len(table) == 2
    assert set(table.index) == {"LC08", "S3A"}
    assert set(table["scene"]) == {scene["product_id"]}
    assert table["gap_h"].to_dict() == pytest.approx({"LC08": 0.5, "S3A": 3.0}, abs=1e-3)
    # 0.5 h x 720 m/h is below the limit of 500 m, 3 h is above.
    assert table["drift_m"].to_dict() == pytest.approx({"LC08": 360.0, "S3A": 2_160.0}, abs=1)
    assert table["drifted"].to_dict() == {"LC08": False, "S3A": True}
    assert table.loc["LC08", "overlap_share"] == pytest.approx(1.0, abs=0.01)
    (ground,) = to_polar([shapely.from_wkb(bytes(scene["footprint"]))], "EPSG:4326")
    overlap = shapely.from_wkb(bytes(table.loc["S3A", "overlap"]))
    assert table.loc["S3A", "overlap_share"] == pytest.approx(overlap.area / ground.area)
    assert 0.3 < table.loc["S3A", "overlap_share"] < 0.7


def test_that_pictures_show_both_on_one_grid(ice: Ice, paired: tuple[Path, dict[str, Any], Any]) -> None:
    root, summary, _ = paired
    assert (summary["quicklooks"], summary["failed_quicklooks"]) == (2, {})
    table = open_table(ice.spark, str(root / "pairs"), PAIRS).toPandas().set_index("mission")
    with rasterio.open(table.loc["LC08", "quicklook"]) as picture:
        image = picture.read()
    assert image.shape[0] == 3
    width = (image.shape[2] - 8) // 2
    assert max(width, image.shape[1]) == 120
    sar, optical = image[:, :, :width], image[:, :, -width:]
    assert (sar[0] == sar[1]).all()
    assert len(np.unique(sar)) > 50
    # The eastern half of the ground is bright.
    assert (
        optical[0, :, int(width * 0.6) : int(width * 0.95)].mean() > 200 > 60 > optical[0, :, int(width * 0.05) : int(width * 0.4)].mean()
    )


def test_that_a_picture_that_cannot_be_read_costs_only_itself(ice: Ice, paired: tuple[Path, dict[str, Any], Any], tmp_path: Path) -> None:
    root, *_ = paired
    broken = next(iter(PRODUCTS))
    kept = (root / "optical" / broken / "picture.tif").read_bytes()
    told = {"products": str(root / "products"), "pairs": str(tmp_path / "pairs"), "summary": "unused", "hours": 6}
    settings = PairSettings.model_validate(told | {"quicklooks": str(tmp_path / "looks"), "quicklook_px": 120})
    (root / "optical" / broken / "picture.tif").write_bytes(b"no picture")
    try:
        summary = find_pairs(ice.spark, settings)
    finally:
        (root / "optical" / broken / "picture.tif").write_bytes(kept)
    assert (summary["pairs"], summary["quicklooks"]) == (2, 1)
    (reason,) = summary["failed_quicklooks"].values()
    assert "needed a readable raster" in reason
