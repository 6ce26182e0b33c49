"""SIGRID-3, the codes of ice charts: concentrations, stages of development, and which stage a polygon is mostly of.

Source: WMO/JCOMM, SIGRID-3: a vector archive format for sea ice charts, code tables 1 (concentration) and 2 (stage of development).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from eespark.errors import FormatError

PolygonType = Literal["L", "W", "I", "N", "S", "B"]

SINGLE: Final = -9
"""In the place of a partial concentration: the polygon is of one type, and its concentration is the total."""
UNKNOWN: Final = 99
FAST_FORM: Final = 8
# Lower and upper bound in tenths. Two different digits n m mean n to m tenths, but for 81 (8 to 10) and 91 (9 to 10).
_WATER: Final = {0: (0.0, 0.0), 1: (0.0, 1.0), 2: (0.0, 1.0), 55: (0.0, 0.0)}
_OPEN_ENDED: Final = {81: (8.0, 10.0), 91: (9.0, 10.0), 92: (10.0, 10.0)}

STAGES: Final[Mapping[int, str]] = {
    0: "ice free",
    70: "brash ice",
    80: "no stage of development",
    81: "new ice",
    82: "nilas, ice rind",
    83: "young ice",
    84: "grey ice",
    85: "grey-white ice",
    86: "first-year ice",
    87: "thin first-year ice",
    88: "thin first-year ice, first stage",
    89: "thin first-year ice, second stage",
    91: "medium first-year ice",
    93: "thick first-year ice",
    95: "old ice",
    96: "second-year ice",
    97: "multi-year ice",
    98: "glacier ice",
    99: "undetermined or unknown",
}
"""Code -> name."""
# Codes met in the published polygons of Danmarkshavn that the table does not hold.
_ODD_STAGES: Final = frozenset({13, 45, 78})


@dataclass(frozen=True)
class IceCodes:
    """The codes of one polygon, as they stand in its file; None where a column is null or absent.

    Attributes:
        poly_type: L land, W water, I ice; N no data, S shelf, B bergy water in national charts.
        total: CT.
        partial: CA, CB, CC.
        stage: SA, SB, SC.
        form: FA, FB, FC.
    """

    poly_type: str | None
    total: int | None
    partial: tuple[int | None, ...]
    stage: tuple[int | None, ...]
    form: tuple[int | None, ...]


@dataclass(frozen=True)
class Part:
    """One type of ice in a polygon.

    Attributes:
        stage: Code of its stage of development.
        form: Code of its form; None when unknown.
        share: Of the ice in the polygon, 0 to 1; None when unknown.
    """

    stage: int
    form: int | None
    share: float | None


def concentration(code: int | None) -> tuple[float, float] | None:
    """Least and largest tenths that a code stands for; None where it says nothing (99, null).

    Raises:
        FormatError: No code of the table.
    """
    if code is None or code == UNKNOWN:
        return None
    if code in _WATER:
        return _WATER[code]
    if code in _OPEN_ENDED:
        return _OPEN_ENDED[code]
    tens, ones = divmod(code, 10)
    if 1 <= tens <= 9 and ones == 0:
        return float(tens), float(tens)
    if 1 <= tens < ones <= 9:
        return float(tens), float(ones)
    raise FormatError(f"needed a SIGRID-3 concentration (00, 01, 02, 55, 10 to 92, two digits n m, 99), found {code}")


def tenths(code: int | None) -> float | None:
    """Middle of the tenths that a code stands for; None where it says nothing."""
    bounds = concentration(code)
    return None if bounds is None else (bounds[0] + bounds[1]) / 2


def known_stage(code: int) -> bool:
    """Whether it is a code of the table, or one of those odd ones that published polygons hold."""
    return code in STAGES or code in _ODD_STAGES


def parts_of(codes: IceCodes) -> tuple[Part, ...]:
    """The types of ice in a polygon with their shares of its ice, in the order of the file: thickest first.

    CA = -9, or a single stage without a partial concentration, means one type. Partial concentrations need not add up to the total in
    real charts: shares are of their own sum where all are known, and unknown where one is.

    Raises:
        FormatError: A code that is in no table.
    """
    parts: list[tuple[int, int | None, float | None]] = []
    for stage, form, partial in zip(codes.stage, codes.form, codes.partial, strict=True):
        if stage is None or stage in (0, 80, SINGLE):
            continue
        if not known_stage(stage):
            raise FormatError(f"needed a SIGRID-3 stage of development, found {stage}; add it to the table if the service has such")
        parts.append((stage, form if form not in (SINGLE, UNKNOWN) else None, None if partial in (None, SINGLE) else tenths(partial)))
    if len(parts) == 1:
        return (Part(parts[0][0], parts[0][1], 1.0),)
    amounts = [amount for _, _, amount in parts]
    if any(amount is None for amount in amounts):
        return tuple(Part(stage, form, None) for stage, form, _ in parts)
    total = math.fsum(amount or 0.0 for amount in amounts)
    return tuple(Part(stage, form, (amount or 0.0) / total if total > 0 else None) for stage, form, amount in parts)


def surface(codes: IceCodes) -> Literal["land", "water", "ice", "unknown"]:
    """What a polygon is: by its type, and by its total concentration where it has no type or is called bergy water.

    Land and water carry null codes. A polygon of ice with less than a tenth is water.
    """
    kind = (codes.poly_type or "").strip().upper()
    if kind == "L":
        return "land"
    if kind in ("N", "S"):
        return "unknown"
    if kind in ("W", "B"):
        return "water"
    bounds = concentration(codes.total)
    if bounds is not None and bounds[1] <= 1.0:
        return "water"
    if kind == "I" or bounds is not None:
        return "ice"
    return "unknown"


def dominant(parts: tuple[Part, ...], classes: Mapping[int, int], least_share: float) -> tuple[int | None, str | None]:
    """The class that a polygon is mostly of, or why it has none.

    Args:
        parts: Of `parts_of`.
        classes: Stage -> class.
        least_share: Of the polygon's ice that the class must have, its stages together.

    Returns:
        Class and None, or None and the reason: no_stage, no_class, mixed.
    """
    if not parts:
        return None, "no_stage"
    shares: dict[int | None, float] = {}
    for part in parts:
        if part.share is None:
            # Nothing is known of the shares: one class only if all parts are of it.
            found = {classes.get(one.stage) for one in parts}
            alone = next(iter(found)) if len(found) == 1 else None
            return (alone, None) if alone is not None else (None, "mixed" if len(found) > 1 else "no_class")
        shares[classes.get(part.stage)] = shares.get(classes.get(part.stage), 0.0) + part.share
    best = max(shares, key=lambda one: shares[one])
    if shares[best] < least_share:
        return None, "mixed"
    return (best, None) if best is not None else (None, "no_class")


def codes_of(columns: Mapping[str, Any]) -> IceCodes:
    """Codes from the columns of a polygon, whatever the case of their names; numbers, text and nulls are understood.

    Raises:
        FormatError: A code that is no whole number.
    """
    named = {name.strip().lower(): value for name, value in columns.items()}

    def code(*names: str) -> int | None:
        value = next((named[name] for name in names if name in named), None)
        return _whole(value, names[0])

    kind = named.get("poly_type")
    text = None if kind is None or (isinstance(kind, float) and math.isnan(kind)) else str(kind)
    return IceCodes(
        text,
        code("ct", "total_con"),
        tuple(code(f"c{letter}", f"part_conc_{letter}") for letter in "abc"),
        tuple(code(f"s{letter}") for letter in "abc"),
        tuple(code(f"f{letter}") for letter in "abc"),
    )


def _whole(value: Any, name: str) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise FormatError(f"needed a whole number in {name.upper()}, found {value!r}") from error
    if math.isnan(number):
        return None
    if number != int(number):
        raise FormatError(f"needed a whole number in {name.upper()}, found {value!r}")
    return int(number)
