"""The training set is the same rows for Petastorm, Spark, pyarrow and DuckDB."""

import json

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pytest
from petastorm import make_batch_reader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(demo):
    return json.loads((demo / "training_set" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def train(demo):
    table = ds.dataset(demo / "training_set" / "train", format="parquet", exclude_invalid_files=True).to_table()
    return table.to_pandas().sort_values("sample_id").reset_index(drop=True)


def test_that_pyarrow_reads_the_rows_that_the_manifest_counts(train, manifest):
    assert len(train) == manifest["parts"]["train"]["rows"]
    assert {len(r) for r in train["reflectance"]} == {manifest["times"] * len(manifest["bands"])}


def test_that_petastorm_reads_the_same_without_a_pickle(demo, train):
    with make_batch_reader(f"file://{demo}/training_set/train", num_epochs=1, reader_pool_type="dummy", shuffle_row_groups=False) as reader:
        rows = [(int(i), r.tolist()) for batch in reader for i, r in zip(batch.sample_id, batch.reflectance, strict=True)]
    assert sorted(rows) == [(int(i), r.tolist()) for i, r in zip(train["sample_id"], train["reflectance"], strict=True)]


def test_that_duckdb_reads_the_same(demo, train):
    found = duckdb.sql(
        f"SELECT sample_id, class_id, list_sum(reflectance) AS total FROM '{demo}/training_set/train/*.parquet' ORDER BY sample_id"
    ).df()
    assert found["sample_id"].tolist() == train["sample_id"].tolist()
    assert found["total"].tolist() == [int(np.sum(r, dtype=np.int64)) for r in train["reflectance"]]


def test_that_statistics_are_those_of_the_valid_training_dates_alone(train, manifest):
    times = manifest["times"]
    values = np.stack(train["reflectance"]).reshape(len(train), times, 9)
    valid = np.stack(train["valid"]).astype(bool)
    assert manifest["statistics"]["mean"] == pytest.approx((values[valid] / 1e4).mean(axis=0))
    assert manifest["statistics"]["std"] == pytest.approx((values[valid] / 1e4).std(axis=0))


def test_that_what_is_not_valid_is_zero(train, manifest):
    values = np.stack(train["reflectance"]).reshape(len(train), manifest["times"], 9)
    assert (values[np.stack(train["valid"]) == 0] == 0).all()


def test_that_row_groups_are_enough_for_the_ranks(manifest):
    assert manifest["parts"]["train"]["row_groups"] >= 8
    assert sum(manifest["parts"]["train"]["row_group_rows"]) == manifest["parts"]["train"]["rows"]
