"""Which of several products of the same ground and time is current."""

from datetime import UTC, datetime

import pytest
import shapely

from eespark.schema import PRODUCTS
from eespark.spark.catalog import doubt_offsets, settle
from eespark.spark.tables import table_schema


@pytest.fixture
def frame_of(spark):
    def frame(*products):
        rows = []
        for product in products:
            row = dict.fromkeys(PRODUCTS.names)
            row |= {"url": "u", "kind": "safe", "mission": "S2A", "level": "L2A", "tile": "33UXP", "status": "current", "size_bytes": 1}
            row |= {"modified": datetime(2020, 1, 1, tzinfo=UTC), "ingested_at": datetime(2020, 1, 1, tzinfo=UTC), "fingerprint": "f"}
            row |= {"sensing_time": datetime(2018, 5, 1, 10, 0, tzinfo=UTC), "footprint": ground(15.0, 16.0), **product}
            rows.append(tuple(row[name] for name in PRODUCTS.names))
        return spark.createDataFrame(rows, table_schema(PRODUCTS))

    return frame


@pytest.fixture
def statuses(frame_of):
    return lambda *products: {r["product_id"]: (r["status"], r["reason"]) for r in settle(frame_of(*products)).collect()}


def ground(west, east):
    return bytes(shapely.to_wkb(shapely.box(west, 47.0, east, 48.0)))


def strip(made, start, baseline):
    return f"S2A_OPER_MSI_L2A_DS_MPS__{made}_S{start}_N{baseline}"


def test_that_the_newest_baseline_of_a_sensing_is_current(statuses):
    found = statuses(
        {"product_id": "old", "baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")},
        {"product_id": "new", "baseline": "05.00", "datastrip": strip("20230101T120000", "20180501T100033", "05.00")},
    )
    assert found == {"new": ("current", None), "old": ("superseded", "newer: new")}


def test_that_a_locally_processed_product_never_wins_over_the_agency(statuses):
    found = statuses(
        {"product_id": "agency", "baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")},
        {"product_id": "local", "baseline": "99.99", "datastrip": strip("20230101T120000", "20180501T100031", "99.99")},
    )
    assert found["agency"][0] == "current"
    assert found["local"][0] == "superseded"


def test_that_halves_of_a_tile_date_are_both_current(statuses):
    # The second datastrip starts 9 s after the first, within the tile: another strip, other ground.
    found = statuses(
        {
            "product_id": "a",
            "baseline": "02.14",
            "datastrip": strip("20180501T120000", "20180501T100031", "02.14"),
            "footprint": ground(15.0, 15.4),
        },
        {
            "product_id": "b",
            "baseline": "05.00",
            "datastrip": strip("20180501T130000", "20180501T100040", "05.00"),
            "footprint": ground(15.4, 16.0),
        },
    )
    assert {status for status, _ in found.values()} == {"current"}


def test_that_reprocessing_that_moved_the_strip_is_known_by_its_ground(statuses):
    found = statuses(
        {"product_id": "old", "baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")},
        {
            "product_id": "new",
            "baseline": "05.00",
            "datastrip": strip("20230501T130000", "20180501T100052", "05.00"),
            "footprint": ground(15.0, 15.9),
        },
    )
    assert found == {"new": ("current", None), "old": ("superseded", "newer: new")}


def test_that_of_three_the_best_is_named_as_winner(statuses):
    same = {"datastrip": strip("20180501T120000", "20180501T100031", "02.14")}
    found = statuses(*({"product_id": p, "baseline": b, **same} for p, b in (("x", "02.14"), ("y", "04.00"), ("z", "05.00"))))
    assert found == {"x": ("superseded", "newer: z"), "y": ("superseded", "newer: z"), "z": ("current", None)}


def test_that_other_tiles_levels_and_missions_do_not_compete(statuses):
    same = {"baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")}
    found = statuses(
        {"product_id": "a", **same},
        {"product_id": "b", "tile": "33UYP", **same},
        {"product_id": "c", "level": "L1C", **same},
        {"product_id": "d", "mission": "S2B", **same},
    )
    assert {status for status, _ in found.values()} == {"current"}


def test_that_a_quarantined_product_stays_so_and_takes_no_ones_place(statuses):
    found = statuses(
        {
            "product_id": "broken",
            "status": "quarantined",
            "reason": "why",
            "baseline": "05.00",
            "datastrip": strip("20230101T120000", "20180501T100031", "05.00"),
        },
        {"product_id": "whole", "baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")},
    )
    assert found == {"broken": ("quarantined", "why"), "whole": ("current", None)}


def test_that_a_newer_one_found_later_takes_the_place_of_the_current(statuses):
    found = statuses(
        {"product_id": "was", "status": "current", "baseline": "02.14", "datastrip": strip("20180501T120000", "20180501T100031", "02.14")},
        {"product_id": "is", "baseline": "04.00", "datastrip": strip("20220101T120000", "20180501T100031", "04.00")},
    )
    assert found["was"] == ("superseded", "newer: is")


def dark(product_id, value, **more):
    return {"product_id": product_id, "kind": "stac", "dark_reflectance": value, "cloud_share": 0.1, **more}


def test_that_an_offset_applied_twice_is_seen_by_the_darkest_ground(frame_of):
    usual = [dark(f"p{i}", 0.02 + 0.002 * i) for i in range(5)]
    rows = {
        r["product_id"]: r
        for r in doubt_offsets(frame_of(*usual, dark("twice", -0.075), dark("never", 0.125), dark("snow", 0.6))).collect()
    }
    assert {name for name, row in rows.items() if row["status"] == "quarantined"} == {"twice", "never"}
    assert "radiometric offset doubtful" in rows["twice"]["reason"]


def test_that_few_items_of_a_tile_say_nothing_of_its_usual_darkness(frame_of):
    rows = doubt_offsets(frame_of(dark("a", 0.02), dark("b", 0.02), dark("c", 0.12))).collect()
    assert {row["status"] for row in rows} == {"current"}


def test_that_products_without_a_darkness_stay_as_they_are(frame_of):
    usual = [dark(f"p{i}", 0.02) for i in range(5)]
    rows = {
        r["product_id"]: r["status"] for r in doubt_offsets(frame_of(*usual, {"product_id": "safe", "dark_reflectance": None})).collect()
    }
    assert rows["safe"] == "current"
    assert len(rows) == 6


def test_that_a_scene_processed_again_supersedes_the_older_one_and_neighbours_stay(statuses):
    scene = {"mission": "S1A", "level": "GRD", "tile": None, "datastrip": "0B5DFE"}
    start = datetime(2018, 1, 10, 8, 14, 20, tzinfo=UTC)
    found = statuses(
        {**scene, "product_id": "old", "baseline": "02.84", "sensing_time": start},
        {**scene, "product_id": "new", "baseline": "03.40", "sensing_time": start.replace(second=21)},
        {
            **scene,
            "product_id": "next slice",
            "baseline": "03.40",
            "sensing_time": start.replace(minute=15),
            "footprint": ground(15.9, 17.0),
        },
        {**scene, "product_id": "other satellite", "mission": "S1B", "baseline": "03.40", "sensing_time": start},
    )
    assert found["old"] == ("superseded", "newer: new")
    assert {name for name, (status, _) in found.items() if status == "current"} == {"new", "next slice", "other satellite"}
