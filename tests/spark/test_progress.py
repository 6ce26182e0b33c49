"""Long Spark work tells of its progress in the log."""

import logging
import os
import time

import pytest

from eespark.spark.progress import told_progress


def wait_for(file):
    def run(rows):
        for row in rows:
            if row:
                while not os.path.exists(file):
                    time.sleep(0.01)
            yield row

    return run


@pytest.fixture
def lines(caplog, tmp_path):
    """Messages of the log; the file that the waiting task waits for appears with the first of them."""

    class Release(logging.Handler):
        def emit(self, _):
            (tmp_path / "go").touch()

    handler = Release()
    log = logging.getLogger("eespark.spark.progress")
    log.addHandler(handler)
    with caplog.at_level("INFO", logger=log.name):
        yield lambda: [record.message for record in caplog.records if record.name == log.name]
    log.removeHandler(handler)


def test_that_tasks_done_and_in_all_are_told_while_work_goes_on(spark, lines, tmp_path):
    with told_progress(spark, "waiting", every_s=0.2):
        # One task waits until a line was logged: without one this never ends.
        found = spark.sparkContext.parallelize([0, 1], 2).mapPartitions(wait_for(str(tmp_path / "go"))).collect()
    assert found == [0, 1]
    assert lines()[0] in ("waiting: 0 of 2 tasks of the stages at work", "waiting: 1 of 2 tasks of the stages at work")


def test_that_short_work_tells_nothing(spark, lines):
    with told_progress(spark, "short", every_s=3600):
        assert spark.range(3).count() == 3
    assert lines() == []
