"""Polygons of ice in the table, joined with the scenes that they were drawn on; the scenes in the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from eespark.errors import TooManyFailuresError
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.schema import PRODUCTS
from eespark.schema_polar import ICE_LABELS, PATCHES
from eespark.spark.ice_labels import import_ice_labels
from eespark.spark.ice_scenes import carry_fast, match_scenes, scene_outlines
from eespark.spark.patches import extract_patches
from eespark.spark.tables import open_table, table_schema
from eespark.synthetic.polar.labels import file_name
from tests.ice.chain import Ice


@pytest.fixture(scope="module")
def table(labelled_ice: Ice) -> pd.DataFrame:
    return labelled_ice.table("ice_labels").toPandas()


def test_that_broken_scenes_are_quarantined_with_their_reasons(ice: Ice) -> None:
    products = ice.table("products").toPandas().set_index("product_id")
    told = " | ".join(sorted(products.loc[products["status"] == "quarantined", "reason"]))
    for part in ("differ from the manifest", "no noise of HV", "no measurement of HV", "geolocationGridPoint"):
        assert part in told
    assert products["status"].value_counts().to_dict() == {"current": 6, "quarantined": 4}
    assert set(products.loc[products["status"] == "current", "level"]) == {"GRD"}


def test_that_polygons_keep_their_scene_and_class(ice: Ice, table: pd.DataFrame) -> None:
    drawn = geopandas.read_file(ice.drawn / "uit.gpkg")
    ours = table[table["source"] == "uit"]
    assert len(ours) == len(drawn) > 50
    assert ours["usable"].all()
    assert ours.groupby(["scene", "class_id"]).size().to_dict() == drawn.groupby(["scene", drawn["class"] - 1]).size().to_dict()
    exact = drawn.to_crs(POLAR_CRS).geometry.area.sum()
    assert ours["area_m2"].sum() == pytest.approx(exact, rel=1e-6)


def test_that_charts_find_their_scene_by_time_and_ground(ice: Ice, table: pd.DataFrame) -> None:
    charts = table[table["source"] == "v2"]
    by_file = {file_name(scene.first): scene for scene in ice.scenes}
    for file, rows in charts.groupby(charts["source_key"].str.split(":").str[0].str.removesuffix(".shp")):
        scene = by_file.get(file)
        if scene is None:
            assert set(rows["reason"]) <= {"no_scene", "land", "mixed", "no_class"}
            assert not rows["usable"].any()
            continue
        assert set(rows["scene"].dropna()) == {scene.product_id}
        assert (rows["reason"] != "no_scene").all()
        # To the second: the shapefile's name has no more.
        assert (rows["observed"].dt.floor("s") == pd.Timestamp(scene.first).floor("s")).all()


def test_that_land_has_no_class_and_water_and_ice_have(table: pd.DataFrame) -> None:
    charts = table[(table["source"] == "v2") & table["scene"].notna()]
    kinds = dict(list(charts.groupby("poly_type")))
    assert set(kinds["L"]["reason"]) == {"land"}
    assert set(kinds["W"]["class_id"]) == {6}
    ice = kinds["I"]
    assert ice.loc[ice["usable"], "class_id"].notna().all()
    assert set(ice.loc[~ice["usable"], "reason"]) <= {"mixed", "no_class", "no_stage"}
    assert ice.loc[ice["usable"], "share"].min() >= 0.75
    assert ice["ct"].notna().all()
    simple = table[(table["source"] == "v1") & table["usable"]]
    assert set(simple["class_id"]) == {0, 1}
    assert set(simple.loc[simple["poly_type"] == "I", "class_id"]) == {1}


def test_that_a_file_that_is_none_costs_only_itself(ice_summary: dict[str, Any]) -> None:
    assert [Path(url).name for url in ice_summary["failed_files"]] == ["seaice_s1_20180602T081420.shp"]
    assert "FormatError" in next(iter(ice_summary["failed_files"].values()))
    assert ice_summary["sources"]["v2"]["by_reason"]["no_scene"] > 0


def test_that_too_many_broken_files_end_the_job_after_the_others_are_written(ice: Ice, table: pd.DataFrame) -> None:
    with pytest.raises(TooManyFailuresError, match="1 of 15 files"):
        import_ice_labels(ice.spark, ice.importing(max_failed_share=0.01))
    again = ice.table("ice_labels").toPandas()
    columns = [name for name in ICE_LABELS.names if name != "geometry"]
    order = again.sort_values("label_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(order[columns], table.sort_values("label_id").reset_index(drop=True)[columns])


def test_that_fast_ice_is_carried_within_its_winter_and_cut_to_the_scene(ice: Ice, table: pd.DataFrame) -> None:
    scenes = scene_outlines(ice.table("products"), POLAR_CRS)
    labels = ice.table("ice_labels").where("source = 'v2'")
    carried = carry_fast(labels, scenes, 40).toPandas()
    fast = table[(table["source"] == "v2") & table["usable"] & table["fast"]].set_index("label_id")
    assert len(fast) > 0
    assert set(carried["carried_from"]) <= set(fast.index)
    started = {scene.product_id: scene.first for scene in ice.scenes}
    outlines = {row["scene"]: shapely.from_wkb(row["outline"]) for row in scenes.toPandas().to_dict("records")}
    pairs = set()
    for row in carried.itertuples():
        origin = fast.loc[row.carried_from]
        assert row.scene != origin["scene"]
        days = abs((started[row.scene] - started[origin["scene"]]).days)
        assert days <= 40
        assert (started[row.scene].month <= 6) == (started[origin["scene"]].month <= 6)
        shape = shapely.from_wkb(row.geometry)
        assert outlines[row.scene].buffer(1).contains(shape)
        assert shapely.from_wkb(origin["geometry"]).buffer(1).contains(shape)
        assert row.label_id == f"{row.carried_from}@{row.scene}"
        pairs.add((origin["scene"], row.scene))
    # Three scenes a season, 12 days apart, all of one site: those with fast ice of one type give it to the two others.
    season = {name: first.month <= 6 for name, first in started.items()}
    assert pairs == {(one, other) for one in set(fast["scene"]) for other in started if other != one and season[one] == season[other]}
    assert len(pairs) > 4


@pytest.mark.parametrize(
    ("footprint", "polygon"),
    [
        # Beyond 180 in the catalog, at -179 in the file.
        (shapely.box(176, 74, 186, 77), shapely.Polygon([(179, 75), (-178, 75), (-178, 76), (179, 76)])),
        # A scene that holds the pole, and a polygon around it.
        (shapely.Polygon([(lon, 84.0) for lon in range(-180, 180, 15)]), shapely.Polygon([(lon, 88.0) for lon in range(-170, 190, 20)])),
    ],
    ids=["antimeridian", "pole"],
)
def test_that_outlines_meet_at_the_ends_of_the_map(ice: Ice, footprint: Any, polygon: Any) -> None:
    spark, when = ice.spark, datetime(2018, 3, 1, 12, tzinfo=UTC)
    row = dict.fromkeys(PRODUCTS.names) | {
        "product_id": "S1X", "url": "u", "kind": "safe", "level": "GRD", "status": "current", "size_bytes": 1, "modified": when,
        "fingerprint": "f", "ingested_at": when, "sensing_time": when, "footprint": bytes(shapely.to_wkb(footprint)),
    }  # fmt: skip
    products = spark.createDataFrame([tuple(row[name] for name in PRODUCTS.names)], table_schema(PRODUCTS))
    (shape,) = to_polar([polygon], "EPSG:4326")
    far = to_polar([shapely.box(10, 75, 12, 76)], "EPSG:4326")[0]
    rows = [
        dict.fromkeys(ICE_LABELS.names) | {
            "label_id": name, "source": "v2", "source_key": name, "legend": "l@1", "fast": False, "geometry": bytes(shapely.to_wkb(one)),
            "crs": POLAR_CRS, "observed": when, "area_m2": float(one.area), "usable": True,
        }
        for name, one in (("here", shape), ("elsewhere", far))
    ]  # fmt: skip
    labels = spark.createDataFrame([tuple(one[name] for name in ICE_LABELS.names) for one in rows], table_schema(ICE_LABELS))
    found = match_scenes(labels, scene_outlines(products, POLAR_CRS), ice.importing().sources, 0.05).toPandas().set_index("label_id")
    assert found["scene"].to_dict() == {"here": "S1X", "elsewhere": None}
    assert found.loc["elsewhere", "reason"] == "no_scene"
    assert np.isfinite(found["area_m2"]).all()


def test_that_files_of_other_coordinates_meet_and_odd_polygons_are_told(ice: Ice, tmp_path: Path) -> None:
    scene = ice.scenes[0]
    name, charts = file_name(scene.first), tmp_path / "charts"
    charts.mkdir()
    (row,) = ice.table("products").where(f"product_id = '{scene.product_id}'").collect()
    (ground,) = to_polar([shapely.from_wkb(bytes(row["footprint"]))], "EPSG:4326")
    middle = shapely.centroid(ground)
    square = shapely.box(middle.x - 1_500, middle.y - 1_500, middle.x + 1_500, middle.y + 1_500)
    for code in (3413, 4326, 32627):
        whole = geopandas.GeoDataFrame({"CT": [92], "SA": [86], "poly_type": ["I"]}, geometry=[shapely.segmentize(square, 100)], crs=3413)
        whole.to_crs(code).to_file(charts / f"{name}_{code}.gpkg")
    far = shapely.transform(square, lambda points: points + 400_000)
    odd = {"CT": [92, 92], "SA": [86, 12], "poly_type": ["I", "I"]}
    geopandas.GeoDataFrame(odd, geometry=[far, square], crs=3413).to_file(charts / f"{name}_odd.gpkg")
    nowhere = geopandas.GeoDataFrame({"CT": [92], "SA": [86], "poly_type": ["I"]}, geometry=[square])
    nowhere.to_file(charts / f"{name}_nowhere.shp")
    source = {"name": "mixed", "url": str(charts), "kind": "sigrid"}
    import_ice_labels(ice.spark, ice.importing(labels=str(tmp_path / "labels"), sources=[source]))
    found = open_table(ice.spark, str(tmp_path / "labels"), ICE_LABELS).toPandas().set_index("label_id").sort_index()
    assert found["reason"].value_counts().to_dict() == {"no_scene": 1, "unknown_code": 1, "no_crs": 1}
    same = found[found["usable"]]
    assert len(same) == 3
    assert set(same["scene"]) == {scene.product_id}
    shapes = shapely.from_wkb(same["geometry"].to_numpy())
    assert all(shapely.hausdorff_distance(shapes[0], other) < 0.5 for other in shapes)
    assert same["area_m2"].to_numpy() == pytest.approx([9e6] * 3, rel=1e-4)


def test_that_a_chart_of_a_region_goes_to_every_scene_of_its_days(ice: Ice, tmp_path: Path) -> None:
    first, second = ice.scenes[0], ice.scenes[1]
    grounds = {}
    for row in ice.table("products").where("status = 'current'").collect():
        (grounds[row["product_id"]],) = to_polar([shapely.from_wkb(bytes(row["footprint"]))], "EPSG:4326")
    middle = grounds[first.product_id].centroid
    west = shapely.box(middle.x - 200_000, middle.y - 200_000, middle.x, middle.y + 200_000)
    east = shapely.box(middle.x, middle.y - 200_000, middle.x + 200_000, middle.y + 200_000)
    far = shapely.transform(west, lambda points: points + 900_000)
    codes = {"CT": [92, 92, 92], "SA": [86, 95, 86], "FA": [99, 8, 99], "poly_type": ["I", "I", "I"]}
    geopandas.GeoDataFrame(codes, geometry=[west, east, far], crs=3413).to_file(tmp_path / "chart.gpkg")
    between = first.first + (second.first - first.first) / 2
    source = {"name": "national", "url": str(tmp_path / "chart.gpkg"), "kind": "sigrid", "whole_chart": True}
    source |= {"valid_time": between.isoformat(), "max_gap_s": 7 * 86_400}
    summary = import_ice_labels(ice.spark, ice.importing(labels=str(tmp_path / "labels"), sources=[source]))
    found = open_table(ice.spark, str(tmp_path / "labels"), ICE_LABELS).toPandas()
    pieces = found[found["usable"]]
    assert set(pieces["scene"]) == {first.product_id, second.product_id}
    assert summary["cut_to_scenes"] == len(pieces) == 4
    assert summary["carried"] == 0
    assert found.loc[~found["usable"], ["label_id", "reason"]].to_numpy().tolist() == [["national:chart.gpkg:#3", "no_scene"]]
    for row in pieces.itertuples():
        whole = {"national:chart.gpkg:#1": west, "national:chart.gpkg:#2": east}[row.carried_from]
        expected = whole.intersection(grounds[row.scene])
        assert shapely.symmetric_difference(shapely.from_wkb(row.geometry), expected).area < 1e-6 * expected.area
        assert row.label_id == f"{row.carried_from}@{row.scene}"
        assert row.fast == (whole is east)


def test_that_labels_of_tiles_lie_where_the_tiles_lie(ice: Ice, tmp_path: Path) -> None:
    scene = ice.scenes[0].product_id
    lines = [
        (f"{scene}.SAFE", 0, 1, "old_ice"),
        (scene, 1, 1, "water"),
        (scene, 2, 1, "rocks"),
        (scene, 3, 0, "water"),
        ("S1A_no", 0, 0, "water"),
    ]
    text = "\n".join(["scene,row,col,label", *(",".join(map(str, line)) for line in lines)])
    (tmp_path / "tiles.csv").write_text(text + "\n")
    source = {"name": "dlr", "url": str(tmp_path / "tiles.csv"), "kind": "grid", "class_column": "label", "grid_px": 96}
    source |= {"legend": "seaice_dlr"}
    import_ice_labels(ice.spark, ice.importing(labels=str(tmp_path / "labels"), sources=[source]))
    found = open_table(ice.spark, str(tmp_path / "labels"), ICE_LABELS).toPandas().set_index("source_key").sort_index()
    assert found["reason"].tolist() == [None, None, "unknown_code", "invalid", "no_scene"]
    assert found["class_id"].tolist()[:2] == [4, 0]
    # Patches of that size on that grid lie in their tiles, and nowhere else.
    told = {"labels": str(tmp_path / "labels"), "patches": str(tmp_path / "patches"), "extractions": str(tmp_path / "extractions")}
    extract_patches(ice.spark, ice.cutting(**told, sources=["dlr"], size=94, stride=1, patch_set="dlr@1"))
    patches = open_table(ice.spark, told["patches"], PATCHES).toPandas()
    corners = patches.groupby("class_id")[["row", "col"]].agg(["min", "max"])
    assert corners.loc[4].tolist() == pytest.approx([0, 2, 96, 98], abs=1)
    assert corners.loc[0].tolist() == pytest.approx([96, 98, 96, 98], abs=1)


def test_that_a_file_of_tiles_without_its_columns_is_told(ice: Ice, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("scene,row,class\nx,1,2\n")
    (tmp_path / "two.csv").write_text("scene,row,col,class\nx,1,b,2\n")
    source = {"name": "dlr", "url": str(tmp_path), "kind": "grid", "legend": "seaice_dlr"}
    summary = import_ice_labels(ice.spark, ice.importing(labels=str(tmp_path / "labels"), sources=[source], max_failed_share=1.0))
    reasons = sorted(summary["failed_files"].values())
    assert "needed whole numbers in row and col, found '1' and 'b'" in reasons[0]
    assert "needed the columns scene, row, col, class, found scene, row, class" in reasons[1]
