"""Delta tables by their schemas, transactions that are written once, and work that is spread evenly."""

from __future__ import annotations

import threading

import pytest
from delta.tables import DeltaTable, DeltaTableBuilder
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F

from eespark.errors import FormatError, MissingError
from eespark.schema import EXTRACTIONS, SAMPLES
from eespark.spark import tables
from eespark.spark.tasks import one_partition_each, one_task_each


class ConcurrentAppendException(PySparkException):
    """Named as Delta's."""


@pytest.fixture
def ledger(spark, tmp_path):
    url = str(tmp_path / "extractions")
    tables.ensure_table(spark, url, EXTRACTIONS)
    row = ("s@1", "p", "f", 1, "33TUN", "done", 4, None, 0.5, 64, "chunk")
    return url, tables.conform(spark.createDataFrame([row], tables.table_schema(EXTRACTIONS)), EXTRACTIONS)


def test_that_a_table_of_another_schema_version_is_refused(spark, ledger):
    url, _ = ledger
    spark.sql(f"ALTER TABLE delta.`{url}` SET TBLPROPERTIES ('eespark.schema_version' = '0')")
    with pytest.raises(FormatError, match="schema version 1, found version 0; run migrate_tables"):
        tables.open_table(spark, url, EXTRACTIONS)
    with pytest.raises(FormatError, match="schema version 1, found version 0; run migrate_tables"):
        tables.ensure_table(spark, url, EXTRACTIONS)


def test_that_a_table_of_other_columns_is_refused_and_what_it_lacks_is_named(spark, ledger):
    with pytest.raises(FormatError, match=r"columns sample_id, row, col, x.*found attempt, chunk"):
        tables.open_table(spark, ledger[0], SAMPLES)


def test_that_a_folder_without_a_table_is_missing_and_says_what_to_run(spark, tmp_path):
    with pytest.raises(MissingError, match="run the job that writes it"):
        tables.open_table(spark, str(tmp_path / "none"), SAMPLES)


def test_that_conform_names_the_columns_that_are_missing(ledger):
    with pytest.raises(MissingError, match="table extractions needs the columns reason, chunk; the rows have sample_set"):
        tables.conform(ledger[1].drop("reason", "chunk"), EXTRACTIONS)


def test_that_a_chunk_that_two_drivers_write_in_turn_or_at_once_is_there_once(spark, ledger):
    url, rows = ledger
    ready, failed = threading.Barrier(3), []

    def write(transaction):
        ready.wait()
        try:
            tables.append_once(rows, url, transaction, {"sample_set": "s@1"})
        except PySparkException as error:
            failed.append(error)

    drivers = [threading.Thread(target=write, args=("one",)) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    tables.append_once(rows, url, "one", {"sample_set": "s@1"})
    assert not failed
    assert spark.read.format("delta").load(url).count() == 1
    tables.append_once(rows, url, "two", {"sample_set": "s@1"})
    assert spark.read.format("delta").load(url).count() == 2
    assert [commit["transaction"] for commit in tables.commits(spark, url)] == ["one", "two"]


def test_that_the_log_of_a_table_is_kept(spark, ledger):
    properties = DeltaTable.forPath(spark, ledger[0]).detail().select("properties").head()[0]
    assert properties["delta.logRetentionDuration"] == "interval 36500 days"


def test_that_conflicts_are_tried_again_and_other_failures_are_not(monkeypatch):
    waits, tries = [], []
    monkeypatch.setattr(tables.time, "sleep", waits.append)

    def work(faults):
        tries.append(1)
        if faults:
            raise faults.pop()
        return "done"

    two = [ConcurrentAppendException(message="a")] * 2
    assert tables.retry_conflicts(lambda: work(two), "x") == "done"
    assert (len(tries), len(waits)) == (3, 2)
    with pytest.raises(PySparkException, match="other"):
        tables.retry_conflicts(lambda: work([PySparkException(message="other")]), "x")
    assert (len(tries), len(waits)) == (4, 2)
    with pytest.raises(ConcurrentAppendException):
        tables.retry_conflicts(lambda: work([ConcurrentAppendException(message="a")]), "x", attempts=3)
    assert (len(tries), len(waits)) == (7, 4)


def test_that_a_table_that_another_driver_is_making_is_waited_for(spark, tmp_path, monkeypatch):
    faults = [AnalysisException(message="[DELTA_TABLE_NOT_FOUND] Delta table `x` doesn't exist.")]
    execute = DeltaTableBuilder.execute

    def half_made(builder):
        if faults:
            raise faults.pop()
        return execute(builder)

    monkeypatch.setattr(DeltaTableBuilder, "execute", half_made)
    monkeypatch.setattr(tables.time, "sleep", lambda _: None)
    tables.ensure_table(spark, str(tmp_path / "extractions"), EXTRACTIONS)
    assert faults == []
    assert tables.table_exists(spark, str(tmp_path / "extractions"))


def test_that_texts_in_conditions_are_literals(spark):
    strange = 'it\'s \\ a "name"'
    assert spark.sql(f"SELECT {tables.sql_text(strange)} AS t").head()["t"] == strange


def test_that_each_of_fifty_keys_is_a_task_of_its_own(spark):
    keys = spark.createDataFrame([(f"S2A_{i * 7919:09d}",) for i in range(50)], "key string")
    spread = one_task_each(keys, "key")
    assert spread.rdd.glom().map(len).collect() == [1] * 50


def test_that_a_limit_of_tasks_still_spreads_evenly(spark):
    keys = spark.createDataFrame([(f"k{i:03d}",) for i in range(40)], "key string")
    assert sorted(one_task_each(keys, "key", 8).rdd.glom().map(len).collect()) == [5] * 8


def test_that_each_group_is_a_partition_of_its_own_and_none_is_divided(spark):
    rows = spark.range(600).withColumn("group", F.pmod(F.col("id") * F.col("id"), F.lit(13)))
    parts = one_partition_each(rows, "group", 13).rdd.map(lambda row: row["group"]).glom().map(set).collect()
    # Squares modulo 13: seven of the thirteen groups have rows.
    assert sorted(len(part) for part in parts) == [0] * 6 + [1] * 7
    assert set().union(*parts) == {0, 1, 3, 4, 9, 10, 12}
