"""Leases: one holder at a time, taken over when it died, noticed when it is lost."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from eespark.errors import BusyError
from eespark.io import lease as leases
from eespark.io.lease import held_lease
from eespark.io.storage import open_filesystem


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "tables" / "night.lease") if request.param == "local" else f"memory://{tmp_path.name}/night.lease"


def there(url: str) -> bool:
    filesystem, path = open_filesystem(url)
    return bool(filesystem.exists(path))


def write(url: str, holder: str, until: float) -> None:
    filesystem, path = open_filesystem(url)
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(path, json.dumps({"holder": holder, "until": until}).encode())


def test_that_a_lease_is_held_by_one_and_given_up(url: str) -> None:
    with held_lease(url, "first") as lease:
        lease.check()
        with pytest.raises(BusyError, match=r"held by first for [56]\d\d s more"), held_lease(url, "second"):
            raise AssertionError("held twice")
    assert not there(url)
    with held_lease(url, "second"):
        assert there(url)


def test_that_it_is_given_up_when_the_work_fails(url: str) -> None:
    with pytest.raises(KeyError), held_lease(url, "first"):
        raise KeyError("work")
    assert not there(url)


def test_that_who_waits_gets_it_when_it_is_free(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_POLL_S", 0.05)
    order: list[str] = []

    def wait() -> None:
        order.append("waits")
        with held_lease(url, "second", wait_s=60):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with held_lease(url, "first"):
            waiting = pool.submit(wait)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            order.append("first")
        waiting.result()
    assert order == ["waits", "first", "second"]


def test_that_a_lease_that_ran_out_is_taken_by_one_of_many(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_SETTLE_S", 0.2)
    write(url, "dead abc", time.time() - 1)
    free = threading.Event()

    def take(number: int) -> str:
        try:
            with held_lease(url, f"run{number}") as lease:
                assert free.wait(60)
                lease.check()
                return "held"
        except BusyError:
            return "busy"

    with ThreadPoolExecutor(4) as pool:
        told = as_completed([pool.submit(take, number) for number in range(4)])
        assert [next(told).result() for _ in range(3)] == ["busy"] * 3
        free.set()
        assert next(told).result() == "held"


def test_that_a_lease_is_renewed_as_long_as_it_is_held(url: str) -> None:
    with held_lease(url, "first", seconds=0.6) as lease:
        filesystem, path = open_filesystem(url)
        began = json.loads(filesystem.cat_file(path))["until"]
        assert not lease.lost.wait(1.5)  # longer than it lasts by itself
        told = json.loads(filesystem.cat_file(path))
        assert told["until"] > began + 0.6
        assert told["holder"] == lease.holder
        lease.check()


def test_that_a_lease_that_another_took_is_told_and_left_to_it(url: str) -> None:
    with held_lease(url, "first", seconds=0.3) as lease:
        write(url, "thief xyz", time.time() + 600)
        with pytest.raises(BusyError, match="found it lost to another run"):
            lease.check()
        assert lease.lost.wait(30)
    filesystem, path = open_filesystem(url)
    assert json.loads(filesystem.cat_file(path))["holder"] == "thief xyz"
    filesystem.rm_file(path)


def test_that_a_broken_file_is_taken_as_run_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_SETTLE_S", 0.01)
    filesystem, path = open_filesystem(url)
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(path, b"{")
    with held_lease(url, "first") as lease:
        lease.check()
        assert json.loads(filesystem.cat_file(path))["holder"] == lease.holder
