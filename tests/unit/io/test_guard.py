import os
import time

import pytest

from eespark.errors import CapacityError, FormatError, MissingError
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
