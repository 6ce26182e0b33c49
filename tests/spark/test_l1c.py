"""An L1C product through the jobs: its mask in the catalog, its flags in the observations, its clear pixels in a map's dates."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eespark.bands import Flag
from eespark.grid import Block
from eespark.io.cube import read_cube
from eespark.schema import PRODUCTS
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.map_blocks import tile_dates
from eespark.spark.map_settings import MapSettings
from eespark.spark.observations import extract_series
from eespark.spark.tables import open_table
from eespark.synthetic.cloud_mask import cloud_layers
from eespark.synthetic.footprint import product_facts
from eespark.synthetic.phenology import draw_traits
from eespark.synthetic.plan import Product, plan_products
from eespark.synthetic.render import render
from eespark.synthetic.safe import write_product
from eespark.synthetic.settings import ArchiveSettings
from tests.chain import Chain

SIZE = 192
SEED = 4  # of clouds that leave a third of the crop clear


@pytest.fixture(scope="module")
def planned(synthetic: Path) -> Product:
    """The archive's one L1C product, under other clouds: on its own date this small crop has none."""
    made = json.loads((synthetic / "truth" / "manifest.json").read_text())["settings"]
    plan = plan_products(ArchiveSettings.model_validate(made | {"output": "o", "summary": "s"}))
    (product,) = (one for one in plan if one.name.level == "L1C")
    start = product.name.start + timedelta(days=10)
    name = replace(product.name, start=start, datastrip_start=start - timedelta(seconds=5))
    weather = replace(product.scene.weather, seed=SEED, cloud_share=0.5, cirrus=0.25)
    return replace(product, name=name, scene=replace(product.scene, weather=weather))


@pytest.fixture(scope="module")
def chain(drawn: Chain, planned: Product, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A copy of the catalog and the samples, with the clouded product scanned from an archive of its own."""
    folder = tmp_path_factory.mktemp("clouded")
    traits = draw_traits(5, np.arange(2).astype(np.uint64), np.array([1, 2], np.int16))
    images, _ = render(planned.scene, traits, np.ones((SIZE, SIZE), np.int32))
    images["CLOUDS"] = cloud_layers(planned.scene)
    write_product(folder / "archive", planned.name, planned.scene.grid, images, product_facts(planned.scene, images), (64, 32))
    chain = drawn.copied(folder, "products", "samples")
    scan_archive(chain.spark, ScanSettings(archive=str(folder / "archive"), products=chain.table("products"), summary="unused"))
    return chain


@pytest.fixture(scope="module")
def clouded(planned: Product) -> np.ndarray:
    """(192, 192) at 10 m: what lies in a 60 m pixel under cloud."""
    found = np.repeat(np.repeat(cloud_layers(planned.scene) > 0, 6, axis=0), 6, axis=1)
    assert 0.2 < found.mean() < 0.8
    return found


def test_that_the_catalog_names_the_mask(chain: Chain, planned: Product) -> None:
    products = chain.read("products").set_index("product_id")
    row = products.loc[planned.name.product_id]
    assert (row["status"], row["level"]) == ("current", "L1C")
    assert dict(row["bands"])["CLOUDS"].endswith(f"/{planned.name.cloud_mask_file}")
    assert not any("CLOUDS" in dict(bands) for bands in products.loc[products["level"] == "L2A", "bands"])


def test_that_observations_have_the_flags_of_the_mask(chain: Chain, planned: Product, clouded: np.ndarray) -> None:
    extract_series(chain.spark, chain.extracting(level="L1C"))
    seen = chain.read("observations").merge(chain.read("samples")[["sample_id", "row", "col"]], on="sample_id")
    assert seen["product_id"].nunique() == 2
    seen = seen[seen["product_id"] == planned.name.product_id]
    cloud = clouded[seen["row"].to_numpy(), seen["col"].to_numpy()]
    flag = seen["flag"].to_numpy()
    np.testing.assert_array_equal(flag == Flag.CLOUD, cloud)
    # The rest is clear, or beyond the edge of the swath.
    assert set(np.unique(flag[~cloud])) <= {Flag.CLEAR, Flag.NO_DATA}
    assert (flag == Flag.CLEAR).any()
    assert cloud.any()


def test_that_a_map_of_level_l1c_reads_its_clear_pixels(chain: Chain, planned: Product, clouded: np.ndarray) -> None:
    given = dict.fromkeys(("summary", "bundle", "maps"), "unused") | {"products": chain.table("products"), "level": "L1C"}
    days = {"first_day": date(2017, 9, 1), "last_day": date(2018, 8, 31)}
    settings = MapSettings.model_validate(given | days | {"max_cloud_share": 1.0})
    (row,) = tile_dates(open_table(chain.spark, settings.products, PRODUCTS), settings).collect()
    (one,) = (each for each in row["dates"] if each["product_id"] == planned.name.product_id)
    assert one["day"] == (planned.name.start.date() - date(2017, 9, 1)).days
    product: dict[str, Any] = {**one.asDict(), "bands": json.loads(one["bands"]), "offsets": json.loads(one["offsets"])}
    cube = read_cube([product], Block(0, 0, SIZE, SIZE), np.ones((SIZE, SIZE), bool))
    clear = cube.clear.reshape(SIZE, SIZE)
    assert not clear[clouded].any()
    data = cube.reflectance.reshape(SIZE, SIZE, 9).any(axis=-1)
    np.testing.assert_array_equal(clear, data)
    assert clear.any()
