"""Declarations and survey points become labels; what may not be used says why."""

from __future__ import annotations

from datetime import date
from itertools import combinations

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from eespark.errors import FormatError
from eespark.schema import LABELS
from eespark.spark.labels import crop_year, import_labels, mark_overlaps, owner_tiles
from eespark.spark.tables import table_schema


@pytest.fixture(scope="module")
def declared(synthetic):
    return geopandas.read_file(synthetic / "labels" / "invekos_2018.gpkg")


@pytest.fixture(scope="module")
def truth(synthetic):
    return geopandas.read_file(synthetic / "truth" / "parcels.gpkg")


@pytest.fixture(scope="module")
def labels(labelled):
    return labelled.read("labels").set_index("source_key")


def test_that_nothing_is_dropped_on_the_way(labels, declared, synthetic):
    points = (synthetic / "labels" / "lucas_2018.csv").read_text().count("\n") - 1
    assert labels["source"].value_counts().to_dict() == {"invekos_2018": len(declared), "lucas_2018": points}
    assert (labels["usable"] == labels["reason"].isna()).all()


def _key(geo_id):
    return str(int(geo_id))


def test_that_each_planted_fault_has_its_reason(labels, truth, declared):
    planted = truth[~truth["fault"].isin(["", "not_declared"])]
    found = {fault: {labels.loc[_key(k), "reason"] for k in group["GEO_ID"]} for fault, group in planted.groupby("fault")}
    # A ring that crosses itself is mended: both lobes stay. Reasons that hold for itself go before those that a neighbour gives.
    assert found.pop("self_crossing") <= {None, "overlap"}
    assert found == {"empty": {"empty"}, "unknown_crop": {"no_class"}, "overlap": {"overlap"}}
    slivers = declared[declared["SNAR_CODE"] == "360"]
    assert len(slivers) == 12
    assert {labels.loc[_key(k), "reason"] for k in slivers["GEO_ID"]} == {"no_class"}


def test_that_overlaps_are_those_that_geos_finds_in_the_declarations(labels, declared):
    sound = labels[(labels["source"] == "invekos_2018") & labels["reason"].isin([None, "overlap"])].index
    own = declared.assign(key=declared["GEO_ID"].map(_key)).set_index("key").loc[sound]
    shapes = own.geometry.map(lambda g: g if g.is_valid else shapely.make_valid(g, method="structure", keep_collapsed=False))
    clash = set()
    for a, b in combinations(range(len(shapes)), 2):
        one, other = shapes.iloc[a], shapes.iloc[b]
        if one.intersects(other) and one.intersection(other).area > 0.05 * min(one.area, other.area):
            clash |= {sound[a], sound[b]}
    assert len(clash) >= 4
    assert set(labels.index[labels["reason"] == "overlap"]) == clash


def test_that_labels_lie_where_an_independent_reprojection_puts_them(labels, declared):
    # Within the 1 m that separates the operations from MGI: a swapped axis or another system would be kilometres off.
    to_labels = Transformer.from_crs(31287, 3035, always_xy=True)
    for row in declared[declared.geometry.area > 3_000].head(20).itertuples():
        x, y = to_labels.transform(row.geometry.centroid.x, row.geometry.centroid.y)
        found = shapely.from_wkb(bytes(labels.loc[_key(row.GEO_ID), "geometry"])).centroid
        assert np.hypot(found.x - x, found.y - y) < 1.0


@pytest.fixture(scope="module")
def mixed(labelled, tmp_path_factory):
    """The same sources again beside a Dutch one, over a copy of the table."""
    folder = tmp_path_factory.mktemp("mixed")
    # On ground of the tile in zone 32 that has no declarations.
    squares = [shapely.box(718_000 + 200 * i, 5_250_000 - 900, 718_100 + 200 * i, 5_250_000 - 800) for i in range(3)]
    table = {"id": [7, 8, 9], "gewascode": [233, 265, 4711], "gewas": ["Tarwe, winter-", "Grasland, blijvend", "Niets"]}
    dutch = geopandas.GeoDataFrame(table, geometry=squares, crs=32632)
    dutch.to_crs(28992).to_file(folder / "brp.gpkg", layer="percelen", engine="pyogrio")
    source = {"name": "brp_2018", "url": str(folder / "brp.gpkg"), "key": "id", "code": "gewascode", "year": 2018, "codes": "brp"}
    chain = labelled.copied(folder / "chain", "products", "labels")
    first = chain.importing()
    settings = chain.importing(polygons=[*(s.model_dump() for s in first.polygons), source], rows_per_task=150)
    summary = import_labels(chain.spark, settings)
    return chain.read("labels"), summary


def test_that_a_rerun_gives_the_same_rows_however_it_is_cut(mixed, labels, content):
    again = mixed[0]
    assert content(again[again["source"] != "brp_2018"]) == content(labels.reset_index())


def test_that_labels_of_another_country_are_placed_in_the_same_legend(mixed):
    rows, summary = mixed
    dutch = rows[rows["source"] == "brp_2018"].set_index("source_key").sort_index()
    # Winter wheat is class 12 of TimeSen2Crop, grassland 1; nobody knows code 4711.
    assert dutch["class_id"].fillna(-1).tolist() == [12, 1, -1]
    assert dutch["reason"].tolist() == [None, None, "no_class"]
    assert set(dutch["tile"]) == {"32TQT"}
    assert rows["legend"].nunique() == 1
    assert summary["sources"]["brp_2018"]["codes_without_class"] == {"4711": 1}
    assert np.allclose(dutch["area_m2"], 10_000, rtol=2e-3)


def test_that_a_key_that_is_not_unique_is_an_error_with_examples(labelled, tmp_path):
    squares = [shapely.box(0, 0, 100, 100)] * 3
    frame = geopandas.GeoDataFrame({"k": [5, 5, 6], "c": ["233"] * 3}, geometry=squares, crs=28992)
    frame.to_file(tmp_path / "twice.gpkg", engine="pyogrio")
    source = {"name": "twice", "url": str(tmp_path / "twice.gpkg"), "key": "k", "code": "c", "year": 2018, "codes": "brp"}
    chain = labelled.copied(tmp_path / "chain", "products", "labels")
    with pytest.raises(FormatError, match=r"found twice:5:2018 \(2\); name another column"):
        import_labels(chain.spark, chain.importing(polygons=[source], points=[]))
    assert "twice" not in set(chain.read("labels")["source"])


def test_that_declarations_overlap_when_they_share_more_than_the_limit_of_the_smaller(spark):
    def row(name, box, year=2018, usable=True):
        shape = shapely.box(*box)
        values = dict.fromkeys(LABELS.names)
        values |= {"label_id": name, "source": "s", "source_key": name, "legend": "l", "attributes": {}, "crs": "EPSG:3035", "weight": 1.0}
        values |= {"valid_from": date(year, 1, 1), "valid_to": date(year, 12, 31), "geometry": bytes(shape.wkb), "area_m2": shape.area}
        return tuple(({**values, "usable": usable, "reason": None if usable else "too_small"})[n] for n in LABELS.names)

    rows = [
        row("large", (0, 0, 100, 100)),
        row("eleven", (90, -89, 190, 11)),  # 10 x 11 m shared: 1.1 % of both
        row("small", (-10, 40, 1, 50)),  # 1 x 10 m of 11 x 10 m: 9.1 % of the smaller
        row("over", (50, 95, 60, 104)),  # 10 x 5 of 10 x 9: 56 %
        row("touching", (100, 50, 120, 60)),
        row("last_year", (0, 0, 100, 100), year=2017),
        row("unusable", (0, 0, 100, 100), usable=False),
    ]
    frame = spark.createDataFrame(rows, table_schema(LABELS)).repartition(3)
    ten = {r["label_id"]: (r["usable"], r["reason"]) for r in mark_overlaps(frame, 0.10).collect()}
    assert {name for name, (_, reason) in ten.items() if reason == "overlap"} == {"large", "over"}
    assert ten["unusable"] == (False, "too_small")
    assert len(ten) == 7
    five = {r["label_id"] for r in mark_overlaps(frame, 0.05).where("reason = 'overlap' AND NOT usable").collect()}
    assert five == {"large", "over", "small"}


@pytest.mark.parametrize(
    ("year", "start", "first", "last"),
    [
        (2018, "09-01", date(2017, 9, 1), date(2018, 8, 31)),
        (2020, "03-01", date(2019, 3, 1), date(2020, 2, 29)),
        (2018, "01-01", date(2018, 1, 1), date(2018, 12, 31)),
        (2018, "10-16", date(2017, 10, 16), date(2018, 10, 15)),
    ],
)
def test_that_a_crop_year_ends_in_the_year_of_its_declaration(year, start, first, last):
    assert crop_year(year, start) == (first, last)


def test_that_ground_belongs_to_the_square_that_holds_it():
    def in_labels(epsg, x, y):
        return Transformer.from_crs(epsg, 3035, always_xy=True).transform(x, y)

    # Left and right of easting 400 km of zone 33 (33TUN | 33TVN), below and above northing 5300 km (33TVN | 33TVP);
    # left and right of 12 E (zone 32 | 33), where both squares are cut short: 32TQT ends, 33TTN begins.
    points = [
        in_labels(32633, 399_995, 5_250_000), in_labels(32633, 400_005, 5_250_000), in_labels(32633, 450_000, 5_299_995),
        in_labels(32633, 450_000, 5_300_005), in_labels(4326, 11.9999, 47.4), in_labels(4326, 12.0001, 47.4), (np.nan, np.nan),
    ]  # fmt: skip
    x, y = np.array(points).T
    tiles = {"33NUN": "33TUN", "33NVN": "33TVN", "33NVP": "33TVP", "32NQT": "32TQT", "33NTN": "33TTN"}
    assert owner_tiles(x, y, tiles) == ["33TUN", "33TVN", "33TVN", "33TVP", "32TQT", "33TTN", None]
    assert owner_tiles(x, y, {"33NUN": "33TUN"}) == ["33TUN", *[None] * 6]
    assert owner_tiles(x, y, {"33NTN": "32TQT"}) == [*[None] * 5, "32TQT", None]
