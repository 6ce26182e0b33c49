"""Progress of long Spark work, as lines of the log: a person sees that it goes on, and so does a nightly run's log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


@contextmanager
def told_progress(spark: SparkSession, name: str, every_s: float = 15.0) -> Iterator[None]:
    """Log how many tasks of the stages at work are done, every so often and where that changed, while the body runs.

    Args:
        spark: The session.
        name: Of the job, which begins each line.
        every_s: s between two looks; shorter work tells nothing.
    """
    stop = threading.Event()

    def watch() -> None:
        before = (0, 0)
        while not stop.wait(every_s):
            try:
                done, wanted = _tasks_at_work(spark)
            except (Py4JError, ConnectionError):
                return  # the JVM is gone: who waits for its answer tells of it
            if wanted and (done, wanted) != before:
                logger.info("%s: %d of %d tasks of the stages at work", name, done, wanted)
            before = (done, wanted)

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _tasks_at_work(spark: SparkSession) -> tuple[int, int]:
    """Tasks done and tasks in all of the stages that run now."""
    tracker = spark.sparkContext.statusTracker()
    found = [info for info in map(tracker.getStageInfo, tracker.getActiveStageIds()) if info is not None]
    return sum(info.numCompletedTasks for info in found), sum(info.numTasks for info in found)
