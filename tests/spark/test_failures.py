"""What goes wrong in tasks and in Java comes out as one line, of eespark where eespark raised it."""

import os
import re
import signal

import pytest

from eespark.errors import CapacityError, FormatError, SettingsError, StorageFullError
from eespark.retold import error_told_by
from eespark.spark.failures import plain_error, plain_errors, root_cause


def in_a_task(spark, action):
    """Do something in a task."""

    def run(batches):
        for batch in batches:
            action()
            yield batch

    return spark.range(1).mapInArrow(run, "id long").collect()


def raise_ours():
    raise FormatError("x.tif: needed a raster, found none; fetch it again")


def raise_full():
    raise OSError(28, "No space left on device", "/data/part")


def raise_memory():
    raise MemoryError("Unable to allocate 3 GiB")


def raise_other():
    raise KeyError("rows")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("action", "kind", "told"),
    [
        (raise_ours, FormatError, "^x.tif: needed a raster, found none; fetch it again$"),
        (raise_full, StorageFullError, "found none: OSError: .* No space left on device: '/data/part'; make room"),
        (raise_memory, CapacityError, "^needed more memory than a process has: MemoryError: Unable to allocate 3 GiB; raise"),
        (die, CapacityError, "^needed more memory than a process has: .*Python worker exited unexpectedly"),
        (raise_other, RuntimeError, "^KeyError: 'rows'$"),
    ],
)
def test_that_what_a_task_raises_comes_out_in_a_line(spark, action, kind, told):
    with pytest.raises(kind, match=told) as caught, plain_errors():
        in_a_task(spark, action)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is not None


def test_that_what_java_says_comes_out_in_a_line(spark, tmp_path):
    with pytest.raises(RuntimeError, match=r"^\[PATH_NOT_FOUND\] Path does not exist: file:\S+/none\.$"), plain_errors():
        spark.read.parquet(str(tmp_path / "none"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.parquet").write_bytes(b"no such thing" * 9)
    with pytest.raises(RuntimeError) as caught, plain_errors():
        spark.read.schema("id long").parquet(str(tmp_path / "cut")).collect()
    assert "a.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_that_errors_of_the_session_itself_pass():
    with pytest.raises(SettingsError, match="as told"), plain_errors():
        raise SettingsError("as told")


def test_that_a_refused_connection_is_the_jvms_only_where_py4j_asked_for_it():
    with pytest.raises(ConnectionRefusedError), plain_errors():
        raise ConnectionRefusedError("the store says no")


JAVA = """An error occurred while calling o253.save.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 6.0 failed 1 times
	at org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2898)
Caused by: org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed while writing rows to file:/data/tables/t.
	at org.apache.spark.sql.delta.files.DeltaFileFormatWriter(DeltaFileFormatWriter.scala:1)
Caused by: java.io.IOException: No space left on device
	at java.base/java.io.FileOutputStream.writeBytes(Native Method)
"""


def test_that_a_full_disk_of_java_is_told_with_what_was_written():
    error = plain_error(ValueError(JAVA))
    assert type(error) is StorageFullError
    found = "java.io.IOException: No space left on device, writing file:/data/tables/t"
    assert str(error) == f"needed room to write, found none: {found}; make room, or name other folders, and run the job again"


def test_that_the_innermost_cause_is_taken_of_java_and_the_first_line_of_other_texts():
    assert root_cause(JAVA) == "java.io.IOException: No space left on device"
    assert root_cause("[UNRESOLVED_COLUMN] A column `nope` cannot be resolved.;\n'Project ['nope]\n+- Range") == (
        "[UNRESOLVED_COLUMN] A column `nope` cannot be resolved.;"
    )
    assert root_cause("") == "no reason given"


def test_that_errors_of_eespark_are_known_in_a_text_and_no_others():
    text = "Traceback (most recent call last):\n  File a.py\neespark.errors.MissingError: needed x, found none\nValueError: eespark.errors"
    error = error_told_by(text)
    assert (type(error).__name__, str(error)) == ("MissingError", "needed x, found none")
    assert error_told_by("ValueError: eespark.errors.MissingError: x") is None
    # A name that is no error is not looked up and called.
    assert type(error_told_by("eespark.errors.annotations: x")).__name__ == "EESparkError"
    assert re.match("needed y", str(error_told_by(f"{text}\neespark.errors.FormatError: needed y\n more")))
