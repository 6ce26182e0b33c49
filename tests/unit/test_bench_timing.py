"""The arithmetic of comparisons, and the page that is made of them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from benchmarks import page
from benchmarks.inputs import cloud_mask, jp2_tiles
from benchmarks.timing import Lap, compare, interleave


def test_that_sides_take_turns_and_the_warm_up_does_not_count() -> None:
    clock, order = itertools.count(1), []

    def side(name: str) -> Lap:
        order.append(name)
        return Lap(float(next(clock)), 6.0, {"sum": 3})

    laps = interleave({"a": lambda: side("a"), "b": lambda: side("b")}, runs=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert [lap.seconds for lap in laps["a"]] == [3.0, 5.0]
    assert [lap.seconds for lap in laps["b"]] == [4.0, 6.0]


def test_that_sides_with_other_results_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="needed one result on all sides"):
        interleave({"a": lambda: Lap(1.0, 1.0, {"sum": 3}), "b": lambda: Lap(1.0, 1.0, {"sum": 4})}, runs=1, warm_up=0)


def test_that_the_ratio_is_the_median_over_pairs_of_rates() -> None:
    laps = {"a": [Lap(2.0, 8.0), Lap(1.0, 8.0), Lap(4.0, 8.0)], "b": [Lap(4.0, 8.0), Lap(4.0, 8.0), Lap(1.0, 8.0)]}
    told = compare(laps, "a", "b", "things")
    # Rates of a: 4, 8, 2; of b: 2, 2, 8. Pairs: 2, 4, 0.25.
    assert told["ratio"] == {"median": 2.0, "min": 0.25, "max": 4.0, "all": [2.0, 4.0, 0.25]}
    assert told["rates"]["a"]["median"] == 4.0
    assert told["rates"]["b"]["median"] == 2.0


def test_that_internal_tiles_are_counted_once() -> None:
    assert jp2_tiles(np.array([0, 63, 64, 64, 200]), np.array([0, 63, 0, 64, 200]), 64) == 4


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6])
def test_that_clouds_have_their_share(share: float) -> None:
    assert cloud_mask((300, 200), share, 7).mean() == pytest.approx(share, abs=1e-3)


def test_that_the_page_says_what_the_stored_results_say() -> None:
    told = page.load(page.STORE)
    if told:
        assert page.PAGE.read_text(encoding="utf-8") == page.render(told)
    for one in told.values():
        assert one["machine"]["commit"]
        assert "dirty" not in json.dumps(one["machine"])


def test_that_a_missed_goal_is_marked_as_missed() -> None:
    one = {"ratio": {"median": 0.79, "min": 0.7, "max": 0.9, "all": []}}
    assert page.ratio(one, 0.8) == "0.79 (0.70 to 0.90) ✗"
    assert page.ratio(one, 0.79) == "0.79 (0.70 to 0.90) ✓"
