"""Errors that come out of Spark, told in a line: what a task raised, what Java says, or that the JVM is gone."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
from pyspark.errors import PySparkException

from eespark.errors import CapacityError
from eespark.io.room import full_error, tells_full
from eespark.retold import error_told_by

# The last line of a stack in Python, and each cause of a stack in Java.
_PYTHON: Final = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Exit)(?:: .*)?)$", re.MULTILINE)
_JAVA: Final = re.compile(r"^(?:Caused by)?: ([\w.$]+: .+)$", re.MULTILINE)
_WRITING: Final = re.compile(r"while writing rows to (\S+?)\.?$", re.MULTILINE)
_MEMORY: Final = (
    "java.lang.OutOfMemoryError", "GC overhead limit exceeded", "exceeding memory limits", "MemoryError",
    "Python worker exited unexpectedly",
)  # fmt: skip


@contextmanager
def plain_errors() -> Iterator[None]:
    """In here errors of Spark come out as those of eespark that they tell of, or as a RuntimeError of one line; the stack is their cause.

    Raises:
        EESparkError: What a task raised.
        CapacityError: No room, no memory, or the JVM is gone.
        RuntimeError: Whatever else Java or a task says.
    """
    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise plain_error(error) from error
    except ConnectionError as error:
        if not any("py4j" in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
            raise
        raise _gone(error) from error


def plain_error(error: Exception) -> Exception:
    """The error that tells the same as one of Spark, in a line."""
    text = "" if isinstance(error, Py4JNetworkError) else str(error)
    # What Py4J itself has to say of a call comes with its trace; without one, there was no answer.
    if isinstance(error, Py4JError) and not isinstance(error, Py4JJavaError) and "Trace:" not in text:
        return _gone(error)
    ours = error_told_by(text)
    if ours is not None:
        return ours
    cause = root_cause(text)
    if tells_full(text):
        where = _WRITING.search(text)
        return full_error(f"{cause}, writing {where[1]}" if where else cause)
    if any(one in text for one in _MEMORY):
        more = "raise spark.driver.memory, spark.executor.memory or spark.executor.memoryOverhead, or ask for smaller chunks or blocks"
        return CapacityError(f"needed more memory than a process has: {cause}; {more}")
    return RuntimeError(cause)


def root_cause(text: str) -> str:
    """The first line of the innermost cause in the text of an error of Spark."""
    found = _PYTHON.findall(text) or _JAVA.findall(text) or text.strip().splitlines() or ["no reason given"]
    # Stacks end with the innermost cause; other texts begin with what is wrong.
    return str(found[-1] if _PYTHON.search(text) or _JAVA.search(text) else found[0]).strip()


def _gone(error: Exception) -> CapacityError:
    return CapacityError(
        f"needed the JVM of Spark, found it gone ({type(error).__name__}): it was killed, perhaps for its memory; "
        "raise spark.driver.memory or free some, and run the job again"
    )
