"""The items that we write fit the extensions that they name, whatever the catalog knows of a product."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import shapely

from eespark.bands import BANDS
from eespark.io.stac_catalog import product_item, write_collection
from tests.unit.io.stac_rules import extension_faults
from tests.unit.io.test_stac import PRODUCT, core_faults

GML = "zip://X.SAFE/GRANULE/L1C/QI_DATA/MSK_CLOUDS_B00.gml::/archive/X.zip"
BARE = {band: f"/archive/{band}.jp2" for band in BANDS}
SCENE = {
    "product_id": "S1A_EW_GRDM_1SDH_20180110T081420_20180110T081422_020134_0B5DFE_D836", "mission": "S1A", "level": "GRD", "tile": None,
    "sensing_time": datetime(2018, 1, 10, 8, 14, 20), "relative_orbit": 112, "baseline": "03.52", "datastrip": "0B5DFE",
    "footprint": shapely.to_wkb(shapely.box(-20, 76, -17, 77)), "crs": None, "transform": None, "shape": [256, 240], "offsets": None,
    "scale": None, "cloud_share": None, "bands": {"HH": "/archive/hh.tiff", "HV": "/vsizip//archive/x.zip/hv.tiff"},
}  # fmt: skip
PRODUCTS: dict[str, dict[str, Any]] = {
    "an L2A product": PRODUCT,
    "one of COGs": PRODUCT | {"bands": {band: f"/archive/{band}.tif" for band in (*BANDS, "SCL")}, "offsets": dict.fromkeys(BANDS, 0.0)},
    "one without orbit and cloud share": PRODUCT | {"relative_orbit": None, "cloud_share": None, "mission": "S2"},
    "one wholly clouded": PRODUCT | {"cloud_share": 1.0},
    "a decimated copy": PRODUCT | {"shape": [439, 439], "transform": [109_800 / 439, 0.0, 6e5, 0.0, -109_800 / 439, 5.4e6]},
    "an L1C product": PRODUCT | {"level": "L1C", "bands": BARE},
    "an L1C product with a GML mask": PRODUCT | {"level": "L1C", "bands": BARE | {"CLOUDS": GML}},
    "a scene": SCENE,
    "a scene across the antimeridian": SCENE | {"footprint": shapely.to_wkb(shapely.box(178, 75, 184, 77))},
    "an L1C product with a raster mask": PRODUCT | {"level": "L1C", "bands": BARE | {"CLOUDS": "/archive/MSK_CLASSI_B00.jp2"}},
}


def written(product: dict[str, Any]) -> dict[str, Any]:
    """The item as it stands in its file."""
    content: dict[str, Any] = json.loads(json.dumps(product_item(product).to_dict(include_self_link=False)))
    return content


@pytest.mark.parametrize("name", PRODUCTS)
def test_that_an_item_fits_the_core_schema_and_its_extensions(name: str) -> None:
    item = written(PRODUCTS[name])
    assert core_faults(item, "item") == []
    assert extension_faults(item) == []


def test_that_the_three_extensions_that_users_ask_for_are_named_in_their_versions() -> None:
    for product in (one for one in PRODUCTS.values() if one["level"] != "GRD"):
        named = set(written(product)["stac_extensions"])
        assert {f"https://stac-extensions.github.io/{n}/schema.json" for n in ("eo/v1.1.0", "projection/v2.0.0", "mgrs/v1.0.0")} <= named


def test_that_an_extension_without_a_field_is_not_named() -> None:
    assert not any("/sat/" in url for url in written(PRODUCTS["one without orbit and cloud share"])["stac_extensions"])
    assert any("/sat/" in url for url in written(PRODUCT)["stac_extensions"])


FAULTS = {
    "common name": lambda i: i["assets"]["B05"]["eo:bands"][0].update(common_name="rededge071"),
    "cloud cover": lambda i: i["properties"].update({"eo:cloud_cover": 101}),
    "baseline": lambda i: i["properties"].update({"s2:processing_baseline": "4.0"}),
    "shape": lambda i: i["assets"]["B11"].update({"proj:shape": [1, 2.5]}),
    "not named": lambda i: i["stac_extensions"].remove("https://stac-extensions.github.io/raster/v1.1.0/schema.json"),
    "no square": lambda i: i["properties"].pop("mgrs:grid_square"),
    "old field": lambda i: i["properties"].update({"proj:epsg": 32633}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_that_the_rules_are_not_blind(fault: str) -> None:
    item = written(PRODUCT)
    FAULTS[fault](item)
    assert extension_faults(item) != []


def test_that_coarser_assets_have_their_own_grid() -> None:
    assets = written(PRODUCT)["assets"]
    assert "proj:shape" not in assets["B02"]
    assert (assets["B11"]["proj:shape"], assets["B11"]["proj:transform"]) == ([32, 32], [20, 0, 6e5, 0, -20, 5.4e6])
    assert assets["SCL"]["proj:shape"] == [32, 32]
    # 439 over 2 may have been rounded either way.
    assert "proj:shape" not in written(PRODUCTS["a decimated copy"])["assets"]["B11"]


def test_that_masks_are_told_from_images() -> None:
    gml = written(PRODUCTS["an L1C product with a GML mask"])["assets"]["CLOUDS"]
    assert gml == {"href": GML, "type": "application/gml+xml", "roles": ["cloud"]}
    raster = written(PRODUCTS["an L1C product with a raster mask"])["assets"]["CLOUDS"]
    assert raster == {"href": "/archive/MSK_CLASSI_B00.jp2", "type": "image/jp2", "roles": ["cloud", "snow-ice"], "gsd": 60}


@pytest.mark.parametrize(
    ("path", "href"),
    [
        ("/vsicurl/https://example.invalid/a/B02.jp2", "https://example.invalid/a/B02.jp2"),
        ("/vsis3/bucket/a/B02.jp2", "s3://bucket/a/B02.jp2"),
        ("/vsigs/bucket/a/B02.jp2", "gs://bucket/a/B02.jp2"),
        ("/vsizip//archive/X.zip/a/B02.jp2", "/vsizip//archive/X.zip/a/B02.jp2"),
        ("/archive/a/B02.jp2", "/archive/a/B02.jp2"),
    ],
)
def test_that_remote_assets_have_the_address_that_other_tools_know(path: str, href: str) -> None:
    assert written(PRODUCT | {"bands": dict(PRODUCT["bands"]) | {"B02": path}})["assets"]["B02"]["href"] == href


def test_that_the_collection_fits_the_core_schema_and_names_its_terms(tmp_path: Path) -> None:
    write_collection(str(tmp_path), PRODUCTS.values())
    content = json.loads((tmp_path / "collection.json").read_text())
    assert core_faults(content, "collection") == []
    # `other` is a licence that SPDX does not list; then the terms are linked.
    assert content["license"] == "other"
    assert [link["href"] for link in content["links"] if link["rel"] == "license"] == [
        "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
    ]


def test_that_a_scene_tells_how_it_was_taken() -> None:
    item = written(SCENE)
    wanted = {
        "constellation": "sentinel-1", "sar:instrument_mode": "EW", "sar:polarizations": ["HH", "HV"], "proj:code": None,
        "proj:shape": [256, 240], "processing:software": {"Sentinel-1 IPF": "03.52"},
    }  # fmt: skip
    assert {name: item["properties"][name] for name in wanted} == wanted
    assert item["assets"]["HV"]["sar:polarizations"] == ["HV"]


def test_that_an_outline_across_the_antimeridian_is_divided_there() -> None:
    item = written(PRODUCTS["a scene across the antimeridian"])
    parts = [shapely.Polygon(ring[0]).bounds for ring in item["geometry"]["coordinates"]]
    assert sorted(parts) == [(-180, 75, -176, 77), (178, 75, 180, 77)]
