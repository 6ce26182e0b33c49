"""Pieces of HTML. Whatever comes from outside is escaped here, and nowhere else has to be."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_COLOUR: Final = re.compile(r"^#[0-9a-fA-F]{6}$")
NO_COLOUR: Final = "#9a9a9a"
_NONE: Final = "–"


@dataclass(frozen=True)
class Html:
    """Text that is HTML already; everything else is escaped."""

    text: str


Piece = Html | str | int | float | None


@dataclass(frozen=True)
class Section:
    """One part of the page: an id for its link, a heading, what one sees, and the rest."""

    key: str
    heading: str
    lead: str
    body: Html


def escape(value: Piece) -> str:
    """HTML of a value: numbers readable, nothing as a dash, text escaped, `Html` as it is."""
    if isinstance(value, Html):
        return value.text
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return html.escape(str(value), quote=True)


def number(value: float | None, digits: int = 3) -> str:
    """A number with thousands separators and no digits that say nothing."""
    if value is None or value != value:
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:,.{digits}g}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return _NONE if value is None or value != value else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def join(pieces: Sequence[Piece], by: str = "") -> Html:
    """Pieces after one another."""
    return Html(by.join(escape(one) for one in pieces))


def tag(name: str, content: Piece, **attributes: Any) -> Html:
    """An element; a trailing underscore of an attribute's name is dropped (`class_`)."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"' for key, value in attributes.items())
    return Html(f"<{name}{told}>{escape(content)}</{name}>")


def paragraph(text: Piece, kind: str = "") -> Html:
    """A paragraph."""
    return tag("p", text, class_=kind) if kind else tag("p", text)


def missing(reason: str) -> Html:
    """Says that a part is missing, and why."""
    return tag("p", join([tag("strong", "Not shown: "), reason]), class_="missing")


def table(caption: str, head: Sequence[Piece], rows: Sequence[Sequence[Piece]], numbers_from: int = 1) -> Html:
    """A table with its caption; the first column heads its row.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells.
        numbers_from: Columns from here on are numbers, set to the right.
    """
    kinds = ["" if place < numbers_from else "n" for place in range(len(head))]
    top = join([tag("th", one, scope="col", class_=kind) for one, kind in zip(head, kinds, strict=True)])
    body = join(
        [
            tag(
                "tr",
                join(
                    [tag("th", row[0], scope="row"), *(tag("td", one, class_=kind) for one, kind in zip(row[1:], kinds[1:], strict=True))]
                ),
            )
            for row in rows
        ]
    )
    whole = tag("table", join([tag("caption", tag("span", caption)), tag("thead", tag("tr", top)), tag("tbody", body)]))
    return tag("div", whole, class_="scroll", tabindex=0, role="group", aria_label=caption)


def figure(source: str, alt: str, caption: Piece = None, kind: str = "", width_px: float | None = None) -> Html:
    """A picture (a data URI) with the words that stand for it; as wide as its place, or `width_px` and down to 0.6 of that."""
    size = "" if width_px is None else f' style="width:{width_px:.0f}px;min-width:{0.6 * width_px:.0f}px"'
    image = Html(f'<img src="{html.escape(source, quote=True)}" alt="{html.escape(alt, quote=True)}"{size}>')
    told = join([image] if caption is None else [image, tag("figcaption", caption)])
    return tag("figure", told, class_=kind) if kind else tag("figure", told)


def grid(pieces: Sequence[Html], kind: str = "") -> Html:
    """Pieces beside one another where there is room."""
    return tag("div", join(pieces, "\n"), class_=f"grid {kind}".strip())


def details(summary: str, content: Html) -> Html:
    """Content that opens on demand."""
    return tag("details", join([tag("summary", summary), content]))


def colour_of(value: Any) -> str:
    """A colour that is one: #rrggbb, else grey."""
    return str(value) if _COLOUR.match(str(value)) else NO_COLOUR


def swatch(colour: str, text: Piece) -> Html:
    """A colour and its meaning."""
    return tag("li", join([tag("span", "", class_="swatch", style=f"background:{colour_of(colour)}", aria_hidden="true"), text]))


def interval(estimate: Any, digits: int = 1) -> str:
    """An estimate with its interval, as percent: 85.1 (82.0–87.7)."""
    if not estimate or estimate.get("estimate") is None:
        return _NONE
    value, lower, upper = (estimate.get(name) for name in ("estimate", "lower", "upper"))
    told = f"{100 * value:.{digits}f}"
    return f"{told} (no interval)" if lower is None or upper is None else f"{told} ({100 * lower:.{digits}f}–{100 * upper:.{digits}f})"
