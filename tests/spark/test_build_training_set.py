"""Training sets from tables of a few rows: which observations enter a series, in what order, and what is left out and counted."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import numpy as np
import pyarrow.dataset as ds
import pytest
from pyspark.sql import functions as F

from eespark.errors import FormatError, MissingError
from eespark.io.parquet_sets import refuse_pickles
from eespark.io.storage import write_manifest
from eespark.manifest import build_manifest
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES, TRAINING
from eespark.spark.dataset import BuildSettings, build_training_set

FIRST = date(2017, 9, 1)
NONE = -32_768
CLEAR, CLOUD, SHADOW, SNOW, NO_DATA, UNCLASSIFIED = range(6)
# Product -> (day of the crop year, cloud share, status); the halves were sensed on one day.
TAKEN = {
    "early": (10, 0.1, "current"),
    "north": (60, 0.3, "current"),
    "south": (60, 0.3, "current"),
    "cloudy": (100, 0.85, "current"),
    "old": (150, 0.0, "superseded"),
    "new": (150, 0.0, "current"),
    "late": (300, 0.2, "current"),
    "next_year": (370, 0.0, "current"),
    "bad": (200, 0.0, "quarantined"),
    "top": (210, 0.0, "current"),
}
# Sample -> product -> (flag, value of B02; band b has this plus b).
SEEN = {
    1: {"late": (CLEAR, 900), "early": (CLEAR, 100), "north": (NO_DATA, NONE), "south": (CLEAR, 300), "new": (CLEAR, 500)},
    2: {"early": (CLOUD, NONE), "north": (CLEAR, 310), "south": (NO_DATA, NONE), "new": (CLEAR, 510), "late": (SNOW, 5000)},
    3: {
        "early": (CLEAR, 120),
        "cloudy": (CLEAR, 777),
        "old": (CLEAR, 666),
        "bad": (CLEAR, 555),
        "next_year": (CLEAR, 444),
        "top": (CLEAR, 333),
    },
    4: {"early": (CLEAR, 1000), "new": (CLEAR, 2000), "north": (CLOUD, NONE), "south": (SHADOW, 40), "late": (CLEAR, 3000)},
}
SPLIT = {1: "train", 2: "train", 3: "train", 4: "test", 5: "validation"}


def taken(name):
    day, cloud, status = TAKEN[name]
    when = datetime.fromtimestamp(datetime(2017, 9, 1, 10, tzinfo=UTC).timestamp() + day * 86_400, UTC)
    level = "L1C" if name == "top" else "L2A"
    row = {"product_id": name, "url": "u", "kind": "safe", "level": level, "tile": "33UVP", "sensing_time": when, "cloud_share": cloud}
    return row | {"status": status, "size_bytes": 1, "modified": when, "ingested_at": when, "fingerprint": "f"}


def sample(number):
    row = {"sample_set": "s@1", "sample_id": number, "tile": "33UVP", "row": number, "col": 3, "x": 5.0, "y": 6.0, "crs": "EPSG:32633"}
    row |= {"label_id": f"p{number}", "source": "s", "class_id": 2 if number % 2 else 12, "point_x": 4e6, "point_y": 2e6}
    row |= {"valid_from": FIRST, "valid_to": date(2018, 8, 31), "split": SPLIT[number], "inclusion_probability": 0.5, "weight": 1.0}
    return row


def bands(value):
    return [NONE if value == NONE else value + b for b in range(9)]


def observation(number, name, **changes):
    flag, value = SEEN[number][name]
    row = {"sample_set": "s@1", "product_id": name, "fingerprint": "f", "sample_id": number, "tile": "33UVP"}
    return row | {"sensing_time": taken(name)["sensing_time"], "reflectance": bands(value), "flag": flag} | changes


@pytest.fixture(scope="module")
def tables(add_rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    add_rows(folder / "products", PRODUCTS, [taken(name) for name in TAKEN])
    add_rows(folder / "samples", SAMPLES, [sample(number) for number in SPLIT])
    rows = [observation(number, name) for number, products in SEEN.items() for name in products]
    # Read from files that were replaced since, and not retracted yet.
    rows.append(observation(1, "late", sample_id=3, fingerprint="older"))
    add_rows(folder / "observations", OBSERVATIONS, rows)
    add_rows(folder / "shuffled", OBSERVATIONS, rows[::-1])
    told = {"sample_set": "s@1", "legend": "timesen2crop@1.0", "settings": {}, "counts": {}, "audit": {}}
    write_manifest(str(folder / "sets" / "s@1"), build_manifest("sample_set", told, "0"))
    return folder


@pytest.fixture(scope="module")
def build(spark, tables):
    """Builds a set; its summary, its manifest, and its rows by sample id."""

    def built(name, **changes):
        settings = {key: str(tables / key) for key in ("products", "samples", "sets", "observations")}
        settings |= {"training_set": str(tables / name), "sample_set": "s@1", "min_clear": 1, "summary": "unused", **changes}
        told = build_training_set(spark, BuildSettings.model_validate(settings))
        manifest = json.loads((tables / name / "manifest.json").read_text())
        rows = {}
        for part in manifest["parts"]:
            for row in ds.dataset(tables / name / part, format="parquet", exclude_invalid_files=True).to_table().to_pylist():
                rows[row["sample_id"]] = row | {"part": part}
        return told, manifest, rows

    return built


@pytest.fixture(scope="module")
def acquired(build):
    return build("acquired")


def series(row):
    """Day -> B02 of the valid dates, in their order; checks the other bands on the way."""
    values = np.array(row["reflectance"]).reshape(-1, 9)
    valid = np.array(row["valid"], bool)
    assert np.array_equal(values[valid] - values[valid][:, :1], np.tile(np.arange(9), (valid.sum(), 1)))
    assert not values[~valid].any()
    return list(zip(np.array(row["day"])[valid].tolist(), values[valid, 0].tolist(), strict=True))


def test_that_halves_of_a_day_are_one_date_with_the_better_flag(acquired):
    _, manifest, rows = acquired
    assert series(rows[1]) == [(10, 100), (60, 300), (150, 500), (300, 900)]
    assert (60, 310) in series(rows[2])
    assert manifest["times"] == 4


def test_that_a_date_that_is_not_clear_stands_there_without_a_value(acquired):
    rows = acquired[2]
    assert rows[2]["day"] == [10, 60, 150, 300]
    assert rows[2]["valid"] == [0, 1, 1, 0]
    assert series(rows[2]) == [(60, 310), (150, 510)]


def test_that_products_superseded_quarantined_replaced_cloudy_and_of_other_years_and_levels_never_enter(acquired):
    assert series(acquired[2][3]) == [(10, 120)]
    assert acquired[1]["level"] == "L2A"
    assert acquired[2][3]["day"] == [10, 0, 0, 0]


def test_that_a_cloudy_product_enters_where_its_cloud_is_allowed(build):
    assert series(build("cloudier", max_cloud_share=0.9)[2][3]) == [(10, 120), (100, 777)]


def test_that_rows_keep_what_is_known_of_their_sample(acquired):
    row = acquired[2][4]
    known = {
        "label_id": "p4",
        "tile": "33UVP",
        "row": 4,
        "col": 3,
        "class_id": 12,
        "inclusion_probability": 0.5,
        "clear": 3,
        "part": "test",
    }
    assert {name: row[name] for name in known} == known


def test_that_samples_with_few_clear_dates_and_without_any_are_counted(build):
    told, manifest, rows = build("strict", min_clear=3)
    assert set(rows) == {1, 4}
    assert told["dropped"] == {"samples_drawn": 5, "never_observed": 1, "too_few_clear_dates": 2}
    assert told["parts"] == {"train": 1, "test": 1}
    assert manifest["parts"]["train"]["rows_by_class"] == {"2": 1}


def test_that_a_set_without_training_rows_is_not_written(build, tables):
    with pytest.raises(MissingError, match="needed training samples with 5 clear dates, found none"):
        build("none", min_clear=5)
    assert not (tables / "none").exists()


def test_that_statistics_are_of_the_training_part(acquired):
    values = np.array([[100, 300, 500, 900, 310, 510, 120]]) / 1e4
    assert acquired[1]["statistics"]["mean"][0] == pytest.approx(values.mean())
    assert acquired[1]["statistics"]["std"][8] == pytest.approx(values.std())


def test_that_a_regular_grid_is_filled_between_clear_dates_and_held_beyond_them_within_the_gap(build):
    _, manifest, rows = build("grid", grid="regular", step_days=20, max_gap_days=45)
    days = np.arange(0, 366, 20)
    known, values = np.array([10, 150, 300]), np.array([1000, 2000, 3000])
    expected = np.rint(np.interp(days, known, values)).astype(int)
    near = np.abs(days[:, None] - known).min(axis=1) <= 45
    assert series(rows[4]) == list(zip(days[near].tolist(), expected[near].tolist(), strict=True))
    assert not near.all()
    assert manifest["times"] == len(days)


def test_that_two_builds_of_equal_tables_are_equal_whatever_their_order(build, tables):
    one, again = build("one"), build("again", observations=str(tables / "shuffled"), rows_per_group=1)
    assert one[0]["content_hash"] == again[0]["content_hash"]
    assert one[2] == again[2]


def test_that_other_rows_have_another_hash(build):
    assert build("one", min_clear=2)[0]["content_hash"] != build("two")[0]["content_hash"]


def test_that_there_are_row_groups_enough_for_the_ranks_and_none_is_empty(build):
    part = build("groups", min_row_groups=3)[1]["parts"]["train"]
    assert part["row_groups"] == part["files"] == 3
    assert part["row_group_rows"] == [1, 1, 1]


def test_that_spark_reads_the_rows_that_pyarrow_reads(spark, build, tables):
    _, manifest, rows = build("by_spark")
    parts = [spark.read.parquet(str(tables / "by_spark" / part)).withColumn("part", F.lit(part)) for part in manifest["parts"]]
    read = {row["sample_id"]: row.asDict() for part in parts for row in part.collect()}
    assert read == rows
    assert parts[0].select(*TRAINING.names).schema.simpleString() == f"struct<{','.join(f'{c.name}:{c.dtype}' for c in TRAINING.columns)}>"


def test_that_a_set_with_a_pickled_schema_is_refused(build, tables):
    import pyarrow.parquet as pq

    build("hostile")
    file = tables / "hostile" / "train" / "_common_metadata"
    schema = pq.read_schema(file)
    refuse_pickles(str(file.parent))
    pq.write_metadata(schema.with_metadata(schema.metadata | {b"dataset-toolkit.unischema.v1": b"cos\nsystem\n"}), file)
    with pytest.raises(FormatError, match="pickled schema"):
        refuse_pickles(str(file.parent))
