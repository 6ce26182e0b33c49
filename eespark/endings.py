"""How a job ends: its exit code, and one readable line for whatever ended it."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType
from typing import NoReturn

from eespark.errors import BusyError, CapacityError, EESparkError, StorageFullError, TooManyFailuresError
from eespark.io.room import free_space, full_error, is_full


class Code(IntEnum):
    """Exit codes of jobs; those of signals are 128 and the signal's number, as a shell tells them."""

    DONE = 0
    UNEXPECTED = 1
    UNUSABLE = 2
    """Settings or inputs: the same run would end in the same way."""
    TOO_MANY_FAILURES = 3
    """More items failed than `max_failed_share`; everything else was written."""
    CAPACITY = 4
    """Disk, memory, slots or time: the same run may succeed with more of it."""
    BUSY = 5
    """Another run holds the lease; what there is to do is being done."""
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Ending:
    """What is told of the error that ended a job.

    Attributes:
        code: Exit code.
        reason: One readable text.
        stack: Where it happened; only of what nobody expected.
    """

    code: Code
    reason: str
    stack: str | None = None


def ending_of(error: BaseException, urls: Iterable[str] = ()) -> Ending:
    """What to tell of the error that ends a job.

    Args:
        error: Whatever it is.
        urls: That the job reads and writes; their free space is told where there was no room.
    """
    known = as_ours(error)
    if isinstance(known, StorageFullError):
        return Ending(Code.CAPACITY, f"{known} (free now: {free_space(urls)})")
    if isinstance(known, TooManyFailuresError):
        return Ending(Code.TOO_MANY_FAILURES, str(known))
    if isinstance(known, BusyError):
        return Ending(Code.BUSY, str(known))
    if isinstance(known, CapacityError):
        return Ending(Code.CAPACITY, str(known))
    if known is not None:
        return Ending(Code.UNUSABLE, str(known))
    if isinstance(error, KeyboardInterrupt):
        return Ending(Code.INTERRUPTED, "interrupted; run it again, it does what is missing")
    if isinstance(error, SystemExit) and error.code == Code.TERMINATED:
        return Ending(Code.TERMINATED, "terminated from outside (SIGTERM); run it again, it does what is missing")
    first = next(iter(str(error).strip().splitlines()), "")
    stack = "".join(traceback.format_exception(error))
    return Ending(Code.UNEXPECTED, f"unexpected {type(error).__name__}: {first}".removesuffix(": "), stack)


def as_ours(error: BaseException) -> EESparkError | None:
    """The error of eespark that tells of the same; None where nobody expected it."""
    if isinstance(error, EESparkError):
        return error
    if isinstance(error, Exception) and is_full(error):
        return full_error(f"{type(error).__name__}: {error}")
    if isinstance(error, MemoryError):
        return CapacityError(f"needed more memory than there is: {error}; give the process more, or set smaller blocks, chunks or batches")
    return None


@contextmanager
def terminable() -> Iterator[None]:
    """In here SIGTERM ends the process as an exception, so that sessions are stopped and a summary is written."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the way out is taken once
        raise SystemExit(Code.TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
