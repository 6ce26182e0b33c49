"""How polygons of ice reach the classes of a legend: by stage of development, by type, or by the source's own class."""

from __future__ import annotations

from dataclasses import dataclass

from eespark.errors import FormatError
from eespark.legend import Legend, load_legend, read_legend_file
from eespark.sigrid import IceCodes, concentration, dominant, known_stage, parts_of, surface


@dataclass(frozen=True)
class IceLegend:
    """A legend and what leads to its classes.

    Attributes:
        legend: Its classes.
        stages: SIGRID-3 stage -> class.
        water: Class of open water; None where it has none.
        ice: Class of all ice, whatever its stage; None where stages are told apart.
        codes: Class of the source -> class.
        reasons: Stage -> why it has no class.
        chart: Class -> SIGRID-3 stage that stands for it in charts made from maps.
    """

    legend: Legend
    stages: dict[int, int]
    water: int | None
    ice: int | None
    codes: dict[str, int]
    reasons: dict[int, str]
    chart: dict[int, int]


@dataclass(frozen=True)
class IcePlacement:
    """Where one polygon stands in a legend.

    Attributes:
        class_id: Its class; None where it has none.
        second: Class of the type with the next largest share, another one; None where there is none.
        share: Of its ice that is of `class_id`; None where unknown.
        concentration: Share of the polygon that is ice; None where unknown.
        reason: Why it has no class: land, unknown, no_stage, no_class, mixed, unknown_code; None where it has one.
    """

    class_id: int | None
    second: int | None = None
    share: float | None = None
    concentration: float | None = None
    reason: str | None = None


def load_ice_legend(name: str) -> IceLegend:
    """The legend of ice in `eespark/legends/<name>.yaml`.

    Raises:
        MissingError: No such legend.
        FormatError: Stages that are in no table, or lead to no class of it.
    """
    legend, content = load_legend(name), read_legend_file(name, "classes")
    stages = {int(code): int(one) for code, one in content.get("stages", {}).items()}
    codes = {str(code): int(one) for code, one in content.get("codes", {}).items()}
    water, ice = content.get("water"), content.get("ice")
    known = {one.class_id for one in legend.classes}
    chart = {int(one): int(code) for one, code in content.get("chart", {}).items()}
    led_to = {*stages.values(), *codes.values(), *chart, *(one for one in (water, ice) if one is not None)}
    if led_to - known or not all(known_stage(code) for code in (*stages, *chart.values())):
        raise FormatError(
            f"legend {name}: needed known stages that lead to the classes {sorted(known)}, found {stages} and {sorted(led_to)}"
        )
    reasons = {int(code): str(text) for code, text in content.get("reasons", {}).items()}
    return IceLegend(legend, stages, water, ice, codes, reasons, chart)


def place_codes(codes: IceCodes, legend: IceLegend, least_share: float) -> IcePlacement:
    """Class of a polygon with SIGRID-3 codes.

    Args:
        codes: Of the polygon.
        legend: Where it is to stand.
        least_share: Of its ice that a class must have to be that of the polygon.

    Raises:
        FormatError: A code that is in no table.
    """
    kind = surface(codes)
    bounds = concentration(codes.total)
    share_of_ice = None if bounds is None else sum(bounds) / 20
    if kind == "water":
        reason = None if legend.water is not None else "no_class"
        return IcePlacement(legend.water, concentration=share_of_ice, reason=reason)
    if kind != "ice":
        return IcePlacement(None, reason=kind)
    parts = parts_of(codes)
    if legend.ice is not None:
        return IcePlacement(legend.ice, share=1.0, concentration=share_of_ice)
    class_id, reason = dominant(parts, legend.stages, least_share)
    shares: dict[int, float] = {}
    for part in parts:
        found = legend.stages.get(part.stage)
        if found is not None and part.share is not None:
            shares[found] = shares.get(found, 0.0) + part.share
    order = sorted(shares, key=lambda one: (-shares[one], one))
    others = [one for one in order if one != (class_id if class_id is not None else order[0])]
    return IcePlacement(
        class_id, others[0] if others else None, shares.get(class_id) if class_id is not None else None, share_of_ice, reason
    )


def place_class(code: str | None, legend: IceLegend) -> IcePlacement:
    """Class of a polygon that bears the source's own class."""
    found = legend.codes.get((code or "").strip())
    return IcePlacement(found, share=None, reason=None if found is not None else "unknown_code")
