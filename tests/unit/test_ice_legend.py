"""Polygons in legends of ice."""

from __future__ import annotations

import pytest

from eespark.errors import FormatError
from eespark.ice_legend import IcePlacement, load_ice_legend, place_class, place_codes
from eespark.sigrid import STAGES, IceCodes

NOTHING = (None, None, None)


def ice(total: int | None, partial: tuple[int | None, ...], stage: tuple[int | None, ...], poly_type: str | None = "I") -> IceCodes:
    return IceCodes(poly_type, total, (*partial, *NOTHING)[:3], (*stage, *NOTHING)[:3], NOTHING)


def test_that_every_stage_of_the_table_has_a_class_or_a_reason() -> None:
    legend = load_ice_legend("seaice_types")
    left = set(STAGES) - set(legend.stages) - set(legend.reasons)
    # What says that there is no ice, or none of a stage, is no type of ice.
    assert left == {0, 80}
    assert legend.stages[81] == 0
    assert {legend.stages[code] for code in (83, 84, 85)} == {2}
    assert {legend.stages[code] for code in (95, 96, 97)} == {4}
    assert {legend.stages[code] for code in (99, 13, 45, 78)} == {5}


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        (ice(92, (-9,), (86,)), IcePlacement(3, None, 1.0, 1.0, None)),
        (ice(90, (60, 30), (95, 86)), IcePlacement(None, 3, None, 0.9, "mixed")),
        (ice(90, (70, 20), (95, 86)), IcePlacement(4, 3, 70 / 90, 0.9, None)),
        (ice(91, (40, 50), (87, 91)), IcePlacement(3, None, 1.0, 0.95, None)),
        (ice(92, (-9,), (98,)), IcePlacement(None, None, None, 1.0, "no_class")),
        (ice(92, (), ()), IcePlacement(None, None, None, 1.0, "no_stage")),
        (ice(None, (), (), "L"), IcePlacement(None, reason="land")),
        (ice(None, (), (), "W"), IcePlacement(6)),
        (ice(1, (), (), "I"), IcePlacement(6, concentration=0.05)),
        (ice(None, (), (), None), IcePlacement(None, reason="unknown")),
    ],
)
def test_that_a_polygon_is_of_the_type_that_it_is_mostly_of(codes: IceCodes, found: IcePlacement) -> None:
    placed = place_codes(codes, load_ice_legend("seaice_types"), 0.75)
    assert placed == IcePlacement(
        found.class_id, found.second, pytest.approx(found.share) if found.share else None, found.concentration, found.reason
    )


def test_that_ice_and_water_need_no_stage() -> None:
    legend = load_ice_legend("ice_water")
    assert place_codes(ice(None, (), (), "I"), legend, 0.75).class_id == 1
    assert place_codes(ice(None, (), (), "W"), legend, 0.75).class_id == 0
    assert place_codes(ice(None, (), (), "L"), legend, 0.75).reason == "land"


def test_that_classes_of_the_source_are_looked_up() -> None:
    legend = load_ice_legend("seaice_uit")
    assert [place_class(code, legend).class_id for code in ("1", " 6 ", "3")] == [0, 5, 2]
    assert place_class("7", legend).reason == place_class(None, legend).reason == "unknown_code"


def test_that_a_stage_in_no_table_is_told() -> None:
    with pytest.raises(FormatError, match="stage of development"):
        place_codes(ice(92, (-9,), (44,)), load_ice_legend("seaice_types"), 0.75)
