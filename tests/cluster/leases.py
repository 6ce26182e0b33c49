"""What must hold of leases wherever their file is."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest

from eespark.errors import BusyError
from eespark.io.lease import held_lease
from eespark.io.storage import open_filesystem, read_bytes, url_exists, write_bytes


def check_that_one_of_many_holds_it(url: str) -> None:
    """Of those who come at the same moment one holds it; the others leave."""
    free, start = threading.Event(), threading.Barrier(6)

    def take(number: int) -> str:
        start.wait(60)
        try:
            with held_lease(url, f"run{number}") as lease:
                assert free.wait(120)
                lease.check()
                return "held"
        except BusyError as error:
            return "busy" if "found it held by run" in str(error) else str(error)

    with ThreadPoolExecutor(6) as pool:
        told = as_completed([pool.submit(take, number) for number in range(6)])
        assert [next(told).result() for _ in range(5)] == ["busy"] * 5
        free.set()
        assert next(told).result() == "held"
    assert not url_exists(url)


def check_that_a_dead_ones_is_taken_by_one(url: str) -> None:
    write_bytes(url, json.dumps({"holder": "dead abc", "until": time.time() - 1}).encode())
    check_that_one_of_many_holds_it(url)


def check_that_it_is_renewed_and_a_thief_is_told(url: str) -> None:
    with held_lease(url, "first", seconds=3) as lease:
        began = json.loads(read_bytes(url))["until"]
        assert not lease.lost.wait(4)  # longer than it lasts by itself
        assert json.loads(read_bytes(url))["until"] > began + 1
        lease.check()
        write_bytes(url, json.dumps({"holder": "thief xyz", "until": time.time() + 600}).encode())
        assert lease.lost.wait(60)
        with pytest.raises(BusyError, match="found it lost to another run"):
            lease.check()
    assert json.loads(read_bytes(url))["holder"] == "thief xyz"
    filesystem, path = open_filesystem(url)
    filesystem.rm_file(path)
