"""The feed: shards, order, batches, and what is refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from eespark.errors import CapacityError, FormatError, ManifestError, MissingError
from eespark.io.storage import read_manifest
from eespark.train.data import Shape, petastorm_chunks, read_part, series_shape, shape_of
from eespark.train.shards import local_shard, shard_rows, steps_an_epoch
from eespark.train.shuffle import epoch_seed, shuffled_batches


@pytest.fixture(scope="module")
def shape(training_set: Path) -> Shape:
    return shape_of(read_manifest(str(training_set), "training_set"))


def _ids(training_set: Path, shape: Shape, shard: int, shards: int, seed: int) -> list[float]:
    chunks = petastorm_chunks(str(training_set / "train"), shape, shard, shards, seed)
    return [one for chunk in chunks for one in chunk["inclusion_probability"].tolist()]


def test_that_a_part_is_read_as_it_was_written(training_set: Path, shape: Shape) -> None:
    rows = read_part(str(training_set), "train", shape)
    table = pq.read_table(sorted((training_set / "train").glob("*.parquet"))[0])
    assert rows["reflectance"].shape == (190, 10, 9)
    assert rows["reflectance"].dtype == np.int16
    assert rows["reflectance"][7].ravel().tolist() == table["reflectance"][7].as_py()
    assert rows["day"][7].tolist() == table["day"][7].as_py()


def test_that_labels_are_positions_in_the_manifests_classes(shape: Shape) -> None:
    assert shape.index_of(np.array([9, 1, 4, 5, -1, 99])).tolist() == [2, 0, 1, -1, -1, -1]


def test_that_reading_stops_after_enough_rows(training_set: Path, shape: Shape) -> None:
    assert len(read_part(str(training_set), "train", shape, enough_rows=41)["label"]) == 80


def test_that_a_part_that_is_absent_is_named(training_set: Path, shape: Shape) -> None:
    with pytest.raises(MissingError, match="unseen"):
        read_part(str(training_set), "unseen", shape)


def test_that_lists_of_another_length_are_refused(training_set: Path) -> None:
    with pytest.raises(FormatError, match="needed 99 values"):
        read_part(str(training_set), "train", series_shape(11, 9, (1, 4, 9)))


def test_that_a_pickled_schema_is_refused_before_petastorm_sees_it(training_set: Path, tmp_path: Path, shape: Shape) -> None:
    copy = shutil.copytree(training_set, tmp_path / "hostile")
    file = copy / "train" / "_common_metadata"
    schema = pq.read_schema(file)
    pq.write_metadata(schema.with_metadata(schema.metadata | {b"dataset-toolkit.unischema.v1": b"\x80\x04."}), file)
    for read in (lambda: read_part(str(copy), "train", shape), lambda: local_shard(str(copy), "train", (0, 1), shape.fed, str(tmp_path))):
        with pytest.raises(FormatError, match="pickled"):
            read()


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_that_petastorm_deals_row_groups_as_the_steps_assume(training_set: Path, shape: Shape, shards: int) -> None:
    promised = shard_rows([40, 40, 40, 30, 40], shards)
    assert [len(_ids(training_set, shape, shard, shards, 1 + shard)) for shard in range(shards)] == promised


def test_that_shards_hold_each_row_once(training_set: Path, shape: Shape) -> None:
    found = [one for shard in range(3) for one in _ids(training_set, shape, shard, 3, 8)]
    assert sorted(found) == sorted(read_part(str(training_set), "train", shape)["inclusion_probability"].tolist())


def test_that_the_seed_sets_the_order(training_set: Path, shape: Shape) -> None:
    orders = {tuple(_ids(training_set, shape, 0, 1, seed)) for seed in range(1, 7)}
    assert len(orders) > 1
    assert _ids(training_set, shape, 0, 1, 3) == _ids(training_set, shape, 0, 1, 3)


def test_that_a_reader_that_ends_early_is_asked_again(training_set: Path, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    # Widen the gap in which Petastorm takes idle workers for the end of the data.
    from petastorm.workers_pool import thread_pool, ventilator

    idle, ventilate = thread_pool.ThreadPool.all_workers_done, ventilator.ConcurrentVentilator._ventilate

    def slow_idle(self: Any) -> bool:
        answer = idle(self)
        time.sleep(0.02)
        return bool(answer)

    def late_ventilate(self: Any) -> None:
        time.sleep(0.01)
        ventilate(self)

    monkeypatch.setattr(thread_pool.ThreadPool, "all_workers_done", slow_idle)
    monkeypatch.setattr(ventilator.ConcurrentVentilator, "_ventilate", late_ventilate)
    assert [len(_ids(training_set, shape, 0, 2, seed)) for seed in range(1, 4)] == [120, 120, 120]


def test_that_more_ranks_than_row_groups_are_refused(training_set: Path) -> None:
    with pytest.raises(CapacityError, match="6 processes"):
        steps_an_epoch(read_manifest(str(training_set), "training_set"), 6, 8)


def test_that_steps_follow_from_the_smallest_shard() -> None:
    manifest = {"parts": {"train": {"rows": 190, "row_groups": 5, "row_group_rows": [40, 40, 40, 30, 40]}}}
    # Three ranks: 40 + 30, 40 + 40 and 40 rows.
    assert steps_an_epoch(manifest, 3, 16) == (2, 16)


def test_that_a_shard_smaller_than_a_batch_makes_the_batch_smaller() -> None:
    manifest = {"parts": {"train": {"rows": 30, "row_groups": 2, "row_group_rows": [20, 10]}}}
    assert steps_an_epoch(manifest, 2, 64) == (1, 10)


def test_that_row_groups_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ManifestError, match="add up"):
        steps_an_epoch({"parts": {"train": {"rows": 31, "row_groups": 2, "row_group_rows": [20, 10]}}}, 1, 8)


def test_that_epoch_seeds_differ_and_are_never_zero() -> None:
    seeds = [epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)]
    assert len(set(seeds)) == 400
    assert min(seeds) >= 1
    assert epoch_seed(0, 0) == epoch_seed(0, 0)


def _chunks(sizes: list[int]) -> list[dict[str, np.ndarray]]:
    ends = np.cumsum(sizes)
    return [{"label": np.arange(end - size, end)} for size, end in zip(sizes, ends, strict=True)]


@pytest.mark.parametrize("buffer_rows", [0, 7, 1000])
def test_that_batches_have_one_size_and_repeat_no_row(buffer_rows: int) -> None:
    batches = list(shuffled_batches(_chunks([5, 11, 2, 9]), 4, buffer_rows, np.random.default_rng(0)))
    rows = np.concatenate([batch["label"] for batch in batches])
    assert [len(batch["label"]) for batch in batches] == [4] * 6
    assert len(set(rows.tolist())) == 24


def test_that_batches_mix_chunks() -> None:
    batches = list(shuffled_batches(_chunks([50, 50]), 10, 100, np.random.default_rng(0)))
    assert all((batch["label"] < 50).any() and (batch["label"] >= 50).any() for batch in batches)


def test_that_a_remote_part_is_copied_shard_by_shard(training_set: Path, tmp_path: Path, shape: Shape) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{training_set}/", "/remote/training_set", recursive=True)
    try:
        for shard in range(2):
            folder, number, shards = local_shard("memory://remote/training_set", "train", (shard, 2), shape.fed, str(tmp_path))
            copied = [one for c in petastorm_chunks(folder, shape, number, shards, 4) for one in c["inclusion_probability"].tolist()]
            assert sorted(copied) == sorted(_ids(training_set, shape, shard, 2, 4))
    finally:
        memory.rm("/remote", recursive=True)


def test_that_a_set_of_unsorted_classes_is_refused() -> None:
    with pytest.raises(ManifestError, match="sorted"):
        shape_of({"classes": [{"id": 4}, {"id": 1}], "times": 3, "bands": ["B02"]})
