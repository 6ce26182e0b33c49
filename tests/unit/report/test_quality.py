"""The page of a night: gaps by hand, and everything that is told stands on it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd

from eespark.report.quality import Night, gaps_of, quality_page


def _products() -> pd.DataFrame:
    rows = [
        ("33TUN", "2018-01-01", 1, 0, 0.2), ("33TUN", "2018-01-06", 1, 1, 0.9), ("33TUN", "2018-01-21", 2, 0, 0.0),
        ("33TVN", "2018-01-03", 1, 0, None), ("33TVN", "2018-01-10", 0, 1, None),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["place", "day", "current", "quarantined", "cloud_share"])
    return frame.astype({"day": "datetime64[ns]"})


def test_that_gaps_are_the_days_between_products_that_can_be_used() -> None:
    found = gaps_of(_products(), 10, pd.Timestamp("2018-01-31"))
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("33TVN", date(2018, 1, 4), None, 28),  # what was set aside on the 10th does not end it
        ("33TUN", date(2018, 1, 7), date(2018, 1, 20), 14),
        ("33TUN", date(2018, 1, 22), None, 10),
    ]
    assert len(gaps_of(_products(), 29, pd.Timestamp("2018-01-31"))) == 0
    assert len(gaps_of(_products().head(0), 1, pd.Timestamp("2018-01-31"))) == 0


def test_that_the_page_tells_of_the_night() -> None:
    steps = [
        {"job": "scan_archive", "settings": "scan.yaml", "status": "done", "seconds": 3.0, "current": 5, "quarantined": 2},
        {"job": "extract_series", "settings": "a<b.yaml", "status": "failed", "seconds": 2.5, "error": "1 of 5 products failed",
         "products_copied": 7, "observations_copied": 1234},
    ]  # fmt: skip
    aside = pd.DataFrame([("S2A_X", "33TUN", "2018-01-06", "FormatError: <cut>")], columns=["product_id", "place", "day", "reason"])
    columns = ["sample_set", "place", "products", "failed", "median_s", "longest_s"]
    times = pd.DataFrame([("tiny@1", "33TUN", 4, 1, 2.25, 9.0)], columns=columns)
    newest = pd.Timestamp("2018-01-31")
    page = quality_page(
        Night("Nights", steps, _products(), aside, times, gaps_of(_products(), 10, newest), 10), datetime(2018, 2, 1, tzinfo=UTC)
    )
    told = ("1 of 2 steps failed", "1 of 5 products failed", "a&lt;b.yaml", "FormatError: &lt;cut&gt;", "tiny@1", "2.2", "goes on")
    for text in (*told, "observations copied 1,234"):
        assert text in page
    assert "2018-01-20" in page
    assert "<cut>" not in page
    assert page.count("<img") == 1
    nothing = _products().head(0)
    quiet = quality_page(Night("Nights", steps[:1], nothing, aside.head(0), times.head(0), gaps_of(nothing, 1, newest), 1))
    assert "all steps done" in quiet
    assert "copied" not in quiet
    assert quiet.count("None.") == 2
