"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from eespark import __version__
from eespark.io.storage import write_text
from eespark.report.about import lineage_section, summary_section
from eespark.report.inputs import Inputs, read_inputs
from eespark.report.making import audit_section, products_section, samples_section, stages_section
from eespark.report.mapped import maps_section
from eespark.report.markup import Html, Section, escape, join, paragraph, tag
from eespark.report.results import (
    accuracy_section,
    calibration_section,
    classes_section,
    confusion_section,
    curves_section,
    series_section,
)
from eespark.report.settings import ReportSettings
from eespark.report.style import CSS

logger = logging.getLogger(__name__)
T = TypeVar("T")
SECTIONS: Final[tuple[Callable[[Inputs], Section], ...]] = (
    summary_section, maps_section, accuracy_section, classes_section, confusion_section, calibration_section, series_section,
    curves_section, samples_section, audit_section, stages_section, products_section, lineage_section,
)  # fmt: skip
"""In the order of the page: what came out first, then how it was made."""


def write_report(settings: ReportSettings) -> dict[str, Any]:
    """Write the page; the counts of the summary."""
    inputs = read_inputs(settings)
    page = render_page(inputs, datetime.now(UTC))
    write_text(settings.output, page)
    logger.info(
        "report: %s, %.1f MB%s", settings.output, len(page) / 1e6, f"; left out: {', '.join(inputs.missing)}" if inputs.missing else ""
    )
    return {"report": settings.output, "bytes": len(page.encode()), "sections": len(SECTIONS), "left_out": dict(inputs.missing)}


def render_page(inputs: Inputs, written_at: datetime) -> str:
    """The whole page as HTML text.

    Args:
        inputs: What it tells of.
        written_at: Time that the page gives for itself, UTC.
    """
    return page_of(inputs.title, _under_title(inputs, written_at), made(SECTIONS, inputs))


def made(makers: Sequence[Callable[[T], Section]], inputs: T) -> list[Section]:
    """The sections, each told of in the log once it is made."""
    sections = []
    for make in makers:
        sections.append(make(inputs))
        logger.info("report: %s", sections[-1].heading.lower())
    return sections


def page_of(title: str, under_title: str, sections: Sequence[Section]) -> str:
    """A page of sections as HTML text.

    Args:
        title: Of the page.
        under_title: Line below it.
        sections: In their order.
    """
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
        tag("title", title),
        # A page that may be mailed around must never reach out, whatever a name in it holds.
        Html("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"),
        Html(f"<style>{CSS}</style>"),
    ]
    top = [tag("h1", title), paragraph(under_title, "lead"), _contents(sections)]
    body = [
        tag("a", "Skip to the content", class_="skip", href="#content"),
        tag("header", join(top, "\n")),
        tag("main", join([_section(one) for one in sections], "\n"), id="content"),
        tag("footer", paragraph(f"Made by eespark {__version__}. All pictures are in this file; it loads nothing from elsewhere.")),
    ]
    whole = tag("html", join([tag("head", join(head, "\n")), tag("body", join(body, "\n"))], "\n"), lang="en")
    return f"<!doctype html>\n{escape(whole)}\n"


def _under_title(inputs: Inputs, written_at: datetime) -> str:
    told = [f"written {written_at:%Y-%m-%d %H:%M} UTC"]
    if inputs.bundle is not None:
        told.append(f"model {inputs.main_model}, legend {inputs.bundle['legend']}")
    if inputs.sample_set is not None:
        told.append(f"sample set {inputs.sample_set['sample_set']}")
    if inputs.maps:
        told.append("mapped: " + ", ".join(one.tile for one in inputs.maps))
    return " · ".join(told)


def _contents(sections: Sequence[Section]) -> Html:
    links = [tag("li", tag("a", one.heading, href=f"#{one.key}")) for one in sections]
    return tag("nav", tag("ul", join(links)), aria_label="On this page")


def _section(one: Section) -> Html:
    heading = tag("h2", one.heading, id=f"{one.key}-heading")
    return tag("section", join([heading, paragraph(one.lead, "lead"), one.body], "\n"), id=one.key, aria_labelledby=f"{one.key}-heading")
