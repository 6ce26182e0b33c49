"""The page of a night: what was read, how long it took, what came in by tile and day, what is set aside, where dates are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from eespark.report.drawing import INK, chart
from eespark.report.markup import Html, Piece, Section, figure, join, missing, number, paragraph, percent, table, tag
from eespark.report.page import made, page_of

Content = Mapping[str, Any]
_MOST_ROWS: Final = 200
_MOST_PLACES: Final = 60


@dataclass(frozen=True)
class Night:
    """What the page tells of.

    Attributes:
        title: Of the page.
        steps: Summary of each step: job, settings, status, seconds, counts, error.
        products: place (tile, or mission and track), day, current, quarantined, cloud_share (0..1, mean of the current ones).
        set_aside: product_id, place, day, reason, ingested_at; the newest first.
        times: sample_set, place, products, failed, median_s, longest_s.
        gaps: place, first_day, last_day, days: stretches without a current product; one that goes on has no last_day.
        gap_days: Days from which on a stretch is one.
    """

    title: str
    steps: Sequence[Content]
    products: pd.DataFrame
    set_aside: pd.DataFrame
    times: pd.DataFrame
    gaps: pd.DataFrame
    gap_days: int


def quality_page(night: Night, written_at: datetime | None = None) -> str:
    """The page as HTML text."""
    written_at = written_at or datetime.now(UTC)
    bad = sum(one["status"] != "done" for one in night.steps)
    under = f"written {written_at:%Y-%m-%d %H:%M} UTC · {f'{bad} of {len(night.steps)} steps failed' if bad else 'all steps done'}"
    return page_of(night.title, under, made((_steps, _products, _set_aside, _times, _gaps), night))


def gaps_of(products: pd.DataFrame, gap_days: int, today: pd.Timestamp) -> pd.DataFrame:
    """Stretches of at least some days without a current product, of places that have any; the longest first.

    Args:
        products: place, day (datetime64), current.
        gap_days: From the day after one product to the day before the next.
        today: Last day that counts.
    """
    rows = []
    for place, own in products[products["current"] > 0].groupby("place", sort=True):
        days = np.sort(own["day"].unique())
        for before, after in zip(days, [*days[1:], None], strict=True):
            end = today + pd.Timedelta(days=1) if after is None else pd.Timestamp(after)
            length = (end - pd.Timestamp(before)).days - 1
            if length >= gap_days:
                last = None if after is None else (end - pd.Timedelta(days=1)).date()
                rows.append((place, (pd.Timestamp(before) + pd.Timedelta(days=1)).date(), last, length))
    found = pd.DataFrame(rows, columns=["place", "first_day", "last_day", "days"])
    return found.sort_values(["days", "place", "first_day"], ascending=[False, True, True], ignore_index=True)


def _steps(night: Night) -> Section:
    lead = "What the night did, step by step; each has a summary of its own."
    rows: list[list[Piece]] = []
    for one in night.steps:
        name = join([tag("code", str(one["job"])), tag("span", str(one["settings"]), class_="hint block")])
        state: Piece = "done" if one["status"] == "done" else tag("strong", f"{one['status']}: {one.get('error', '')}")
        rows.append([name, state, number(one.get("seconds")), _counts(one)])
    return Section("steps", "The night", lead, table("Steps", ["step", "state", "seconds", "counts"], rows, 2))


def _counts(told: Content) -> str:
    wanted = ("scanned", "updated", "current", "quarantined", "superseded", "products_read", "products_failed", "observations", "patches")
    # Most nights copy nothing from an older version of a sample set.
    rare = [name for name in ("products_copied", "observations_copied") if told.get(name)]
    return ", ".join(
        f"{name.replace('_', ' ')} {number(told[name])}" for name in (*wanted, *rare) if isinstance(told.get(name), (int, float))
    )


def _products(night: Night) -> Section:
    lead = "Each mark is a day with products of a place: round and by its cloud where they can be used, a cross where all are set aside."
    if night.products.empty:
        return Section("products", "Products by place and day", lead, missing("there are no products in these days"))
    places = sorted(night.products["place"].unique())
    shown = places[:_MOST_PLACES]
    drawn = _day_chart(night.products, shown)
    body = [figure(drawn, "Products by place and day.", tag("b", "Cloud share of the products of a day"))]
    if len(places) > len(shown):
        body.append(paragraph(f"{len(places) - len(shown)} more places are not drawn.", "hint"))
    rows: list[list[Piece]] = []
    for place, own in night.products.groupby("place", sort=True):
        used = own[own["current"] > 0]
        cloud = used["cloud_share"].mean() if len(used) else None
        told = None if cloud is None or not np.isfinite(cloud) else float(cloud)
        rows.append([str(place), int(own["current"].sum()), int(own["quarantined"].sum()), len(used), percent(told),
                     str(used["day"].max().date()) if len(used) else ""])  # fmt: skip
    head = ["place", "products", "set aside", "days", "mean cloud", "newest day"]
    body.append(table("By place", head, rows))
    return Section("products", "Products by place and day", lead, join(body, "\n"))


def _day_chart(products: pd.DataFrame, places: Sequence[str]) -> str:
    with chart(9.6, 1.0 + 0.2 * len(places)) as ((axis,), result):
        line = {place: len(places) - 1 - number_ for number_, place in enumerate(places)}
        own = products[products["place"].isin(places)]
        used, lost = own[own["current"] > 0], own[own["current"] == 0]
        cloud = used["cloud_share"].fillna(0.0)
        axis.scatter(
            used["day"], used["place"].map(line), c=cloud, cmap="Blues_r", vmin=-0.3, vmax=1.1, s=26, edgecolors=INK, linewidths=0.5
        )
        axis.scatter(lost["day"], lost["place"].map(line), marker="x", color="#c2453d", s=22, linewidths=1.4)
        axis.set_yticks(list(line.values()), list(line))
        axis.set_ylim(-0.7, len(places) - 0.3)
        axis.tick_params(axis="x", labelrotation=30)
        axis.grid(axis="x", color="#e4e7eb", linewidth=0.6)
    return result[0]


def _set_aside(night: Night) -> Section:
    lead = "Products that cannot be used, with their reason. They are looked at again each night until their files are mended."
    rows: list[list[Piece]] = [
        [str(one.product_id), str(one.place), str(one.day), str(one.reason)] for one in night.set_aside.head(_MOST_ROWS).itertuples()
    ]
    if not rows:
        return Section("set-aside", "Set aside", lead, paragraph("None."))
    body = [table(f"{len(night.set_aside):,} products", ["product", "place", "day", "reason"], rows, 9)]
    if len(night.set_aside) > _MOST_ROWS:
        body.append(paragraph(f"{len(night.set_aside) - _MOST_ROWS:,} more are in the catalog.", "hint"))
    return Section("set-aside", "Set aside", lead, join(body, "\n"))


def _times(night: Night) -> Section:
    lead = "Seconds that a task spent on a product, by sample set and place, over all that was read."
    rows: list[list[Piece]] = [
        [str(one["sample_set"]), str(one["place"]), one["products"], one["failed"], f"{one['median_s']:.1f}", f"{one['longest_s']:.1f}"]
        for one in night.times.to_dict("records")
    ]
    head = ["sample set", "place", "products", "failed", "median s", "longest s"]
    return Section("times", "Time a product", lead, table("Time a product", head, rows, 2) if rows else missing("nothing was read yet"))


def _gaps(night: Night) -> Section:
    lead = f"Stretches of {night.gap_days} days or more without a product that can be used."
    rows: list[list[Piece]] = [
        [str(one["place"]), str(one["first_day"]), "goes on" if one["last_day"] is None else str(one["last_day"]), one["days"]]
        for one in night.gaps.head(_MOST_ROWS).to_dict("records")
    ]
    body: Html = table("Gaps", ["place", "from", "to", "days"], rows, 3) if rows else paragraph("None.")
    return Section("gaps", "Gaps", lead, body)
