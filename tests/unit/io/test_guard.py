import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eespark.errors import CapacityError, FormatError, MissingError, StorageFullError
from eespark.io.guard import call_within


def wait(seconds: float) -> None:
    time.sleep(seconds)


def fail(kind: type[Exception]) -> None:
    raise kind("as told")


def test_that_an_answer_in_time_comes_back():
    assert call_within(30, "adding", lambda a, b: a + b, 2, 3) == 5


def test_that_a_call_that_hangs_is_given_up():
    started = time.monotonic()
    with pytest.raises(CapacityError, match=r"sleeping: gave up after 0\.2 s"):
        call_within(0.2, "sleeping", wait, 60)
    assert time.monotonic() - started < 20


def test_that_a_process_that_dies_is_told_apart_from_one_that_hangs():
    with pytest.raises(CapacityError, match="ended with code 7"):
        call_within(30, "dying", os._exit, 7)


def test_that_our_errors_come_out_as_they_are():
    with pytest.raises(MissingError, match="as told"):
        call_within(30, "failing", fail, MissingError)


def test_that_errors_of_readers_come_out_as_ours():
    with pytest.raises(FormatError, match="OSError: as told"):
        call_within(30, "failing", fail, OSError)


def hang(file: str) -> None:
    # As a hanging reader does: it waits in C for what never comes.
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(str(os.getpid()))
    signal.pause()


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_that_a_reader_dies_with_a_worker_that_is_killed(tmp_path):
    file = tmp_path / "pid"
    worker = multiprocessing.get_context("fork").Process(target=call_within, args=(3600, "hanging", hang, str(file)))
    worker.start()
    wait_until(lambda: file.exists() and bool(file.read_text()))
    reader = int(file.read_text())
    worker.kill()
    worker.join()
    try:
        wait_until(lambda: not is_there(reader))
    finally:
        if is_there(reader):
            os.kill(reader, signal.SIGKILL)


def is_there(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_that_a_full_disk_is_told_apart_from_a_broken_file(number):
    def write() -> None:
        raise OSError(number, os.strerror(number), "/data/part")

    with pytest.raises(StorageFullError, match=r"needed room to write, found none: OSError: \[Errno \d+\] .*'/data/part'; make room"):
        call_within(30, "writing", write)
