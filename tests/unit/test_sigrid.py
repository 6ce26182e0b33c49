"""Codes of ice charts, against the tables of SIGRID-3 by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eespark.errors import FormatError
from eespark.sigrid import IceCodes, Part, codes_of, concentration, dominant, parts_of, surface, tenths

STAGES = {81: 0, 83: 2, 86: 3, 91: 3, 95: 4}
NOTHING = (None, None, None)


def codes(total: int | None, *parts: tuple[int | None, int | None], poly_type: str | None = "I") -> IceCodes:
    partial, stage = ([one[i] for one in parts] + [None] * (3 - len(parts)) for i in (0, 1))
    return IceCodes(poly_type, total, tuple(partial), tuple(stage), NOTHING)


@pytest.mark.parametrize(
    ("code", "bounds"),
    [
        (0, (0, 0)), (1, (0, 1)), (2, (0, 1)), (55, (0, 0)), (10, (1, 1)), (50, (5, 5)), (90, (9, 9)), (91, (9, 10)), (92, (10, 10)),
        (12, (1, 2)), (13, (1, 3)), (46, (4, 6)), (79, (7, 9)), (89, (8, 9)), (81, (8, 10)), (99, None), (None, None),
    ],
)  # fmt: skip
def test_that_a_concentration_is_its_tenths(code: int | None, bounds: tuple[float, float] | None) -> None:
    assert concentration(code) == bounds
    assert tenths(code) == (None if bounds is None else sum(bounds) / 2)


@pytest.mark.parametrize("code", [3, 11, 21, 54, 64, 93, 100, -9, 98])
def test_that_other_numbers_are_no_concentration(code: int) -> None:
    with pytest.raises(FormatError, match="SIGRID-3 concentration"):
        concentration(code)


def test_that_shares_are_of_the_ice_and_need_not_add_up_to_the_total() -> None:
    # 9/10 of ice, of which 6 are first-year and 2 young: in real charts a tenth is missing.
    assert parts_of(codes(90, (60, 86), (20, 83))) == (Part(86, None, 0.75), Part(83, None, 0.25))
    # A range counts by its middle.
    assert parts_of(codes(91, (46, 95), (50, 83))) == (Part(95, None, 0.5), Part(83, None, 0.5))


@pytest.mark.parametrize("partial", [-9, None, 90, 99])
def test_that_one_stage_has_all_the_ice(partial: int | None) -> None:
    assert parts_of(codes(90, (partial, 86))) == (Part(86, None, 1.0),)


def test_that_a_share_that_is_not_told_stays_unknown() -> None:
    assert [part.share for part in parts_of(codes(90, (99, 86), (20, 83)))] == [None, None]
    assert parts_of(codes(90)) == ()
    assert parts_of(codes(90, (-9, 80))) == ()


def test_that_a_stage_in_no_table_is_an_error() -> None:
    with pytest.raises(FormatError, match="stage of development, found 94"):
        parts_of(codes(90, (-9, 94)))
    assert parts_of(codes(90, (-9, 78))) == (Part(78, None, 1.0),)


def test_that_forms_are_kept_where_they_are_known() -> None:
    found = parts_of(IceCodes("I", 92, (60, 40, None), (95, 86, None), (8, 99, None)))
    assert [part.form for part in found] == [8, None]


@pytest.mark.parametrize(
    ("poly_type", "total", "found"),
    [
        ("L", None, "land"), ("l ", None, "land"), ("W", None, "water"), ("W", 92, "water"), ("I", 92, "ice"), ("I", None, "ice"),
        ("I", 1, "water"), ("I", 55, "water"), (None, 46, "ice"), (None, 0, "water"), (None, None, "unknown"), ("N", 90, "unknown"),
        ("S", 92, "unknown"), ("B", 2, "water"),
    ],
)  # fmt: skip
def test_that_land_water_and_ice_are_told_apart(poly_type: str | None, total: int | None, found: str) -> None:
    assert surface(codes(total, poly_type=poly_type)) == found


@pytest.mark.parametrize(
    ("parts", "least", "found"),
    [
        (((60, 86), (20, 83)), 0.7, (3, None)),
        (((60, 86), (20, 83)), 0.8, (None, "mixed")),
        # Two stages of one class count together.
        (((40, 91), (30, 86), (30, 95)), 0.7, (3, None)),
        (((90, 98), (10, 86)), 0.7, (None, "no_class")),
        (((99, 91), (20, 86)), 0.9, (3, None)),
        (((99, 91), (20, 95)), 0.1, (None, "mixed")),
        (((99, 98), (20, 70)), 0.1, (None, "no_class")),
        ((), 0.5, (None, "no_stage")),
    ],
)
def test_that_the_class_of_a_polygon_must_have_most_of_its_ice(parts: Any, least: float, found: tuple[int | None, str | None]) -> None:
    assert dominant(parts_of(codes(92, *parts)), STAGES, least) == found


def test_that_columns_are_read_whatever_their_case_and_type() -> None:
    row = {"id": 7, "CT": "91", "ca": 46.0, "SA": np.int64(86), "FA": np.nan, "CB": None, "SB": " ", "poly_type": "I"}
    assert codes_of(row) == IceCodes("I", 91, (46, None, None), (86, None, None), NOTHING)
    assert codes_of({"poly_type": float("nan")}) == IceCodes(None, None, NOTHING, NOTHING, NOTHING)
    with pytest.raises(FormatError, match="whole number in CT"):
        codes_of({"CT": "9+"})
    with pytest.raises(FormatError, match="whole number in SA"):
        codes_of({"SA": 86.5})
