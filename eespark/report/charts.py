"""The charts of the page: numbers in, data URIs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eespark.report.drawing import INK, MARKERS, PALETTE, chart, short
from eespark.report.series import SeriesBand

Content = Mapping[str, Any]


def series_chart(band: SeriesBand, background: npt.NDArray[np.float64], step: float, first_day: date | None) -> str:
    """NDVI of one class through the year: median on its band of quantiles, the median of all classes in grey.

    Args:
        band: Of the class; bins without enough values are bridged.
        background: (bins,) median of all classes.
        step: Days of a bin.
        first_day: First day of the crop year, to name months; None to count days.
    """
    with chart(2.5, 1.9) as ((axis,), result):
        behind, seen = np.isfinite(background), np.isfinite(band.middle)
        axis.plot((np.arange(len(background)) * step + step / 2)[behind], background[behind], color="#9aa5b1", lw=1.2, ls=(0, (3, 2)))
        axis.fill_between(band.day[seen], band.low[seen], band.high[seen], color=PALETTE[0], alpha=0.22, linewidth=0)
        axis.plot(band.day[seen], band.middle[seen], color=PALETTE[0], linewidth=2)
        axis.set(xlim=(0, 366), ylim=(-0.15, 1.0), yticks=[0, 0.5, 1.0])
        days, names = _months(first_day)
        axis.set_xticks(days, names)
    return result[0]


def _months(first_day: date | None) -> tuple[list[int], list[str]]:
    if first_day is None:
        return [0, 90, 180, 270, 360], ["0", "90", "180", "270", "360"]
    firsts = [day for day in range(366) if (first_day + timedelta(days=day)).day == 1][::3]
    return firsts, [f"{first_day + timedelta(days=day):%b}" for day in firsts]


def curve_chart(curves: Sequence[Content], names: Mapping[str, str], label: str, best: int | None, as_percent: bool) -> str:
    """Figures by epoch, one line each of `names` (key -> what it is called)."""
    epochs, factor = [one.get("epoch", place + 1) for place, one in enumerate(curves)], 100 if as_percent else 1
    with chart(5.6, 3.3) as ((axis,), result):
        for place, (key, name) in enumerate(names.items()):
            values = [np.nan if one.get(key) is None else factor * float(one[key]) for one in curves]
            axis.plot(epochs, values, color=PALETTE[place], marker=MARKERS[place], markersize=4, linewidth=1.8, label=name)
        if best is not None:
            axis.axvline(best, color="#616e7c", linestyle=(0, (4, 3)), linewidth=1.2, label=f"kept: epoch {best}")
        axis.set(xlabel="epoch", ylabel=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if as_percent:
            axis.set_ylim(0, 100)
        axis.legend(loc="best", fontsize=9)
    return result[0]


def dot_chart(rows: Sequence[tuple[str, Sequence[tuple[str, Content]]]], models: Sequence[str], label: str, width_in: float = 5.6) -> str:
    """Estimates with their intervals: one line a row, one marker a model.

    Args:
        rows: Name of the row, and (model, estimate) pairs.
        models: All models, in the order of colours and markers.
        label: Of the axis, percent.
        width_in: Inches.
    """
    gap = min(0.3, 0.7 / max(len(models), 1))
    with chart(width_in, 1.0 + max(0.34, 0.19 * len(models)) * len(rows)) as ((axis,), result):
        drawn = set()
        for line, (_, pairs) in enumerate(rows):
            for model, told in pairs:
                if not told or told.get("estimate") is None:
                    continue
                place = models.index(model)
                y = line + (place - (len(models) - 1) / 2) * gap
                lower, upper = (float(told["estimate"] if told.get(end) is None else told[end]) for end in ("lower", "upper"))
                axis.plot([100 * lower, 100 * upper], [y, y], color=PALETTE[place % 7], linewidth=2, alpha=0.75)
                name = None if model in drawn else short(model)
                axis.plot(100 * told["estimate"], y, MARKERS[place % 7], color=PALETTE[place % 7], markersize=6, label=name)
                drawn.add(model)
        axis.set_yticks(range(len(rows)), [short(name, 26) for name, _ in rows])
        axis.set(xlim=(-1, 101), ylim=(len(rows) - 0.5, -0.5), xlabel=label)
        axis.grid(axis="y", visible=False)
        if drawn:
            axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, borderaxespad=0.2)
    return result[0]


def confusion_width_px(columns: int) -> float:
    """Width of a confusion chart at which its text has the size of the page's small print."""
    return 96 * (0.42 * columns + 2.3)


def confusion_chart(shares: npt.NDArray[np.float64], counts: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Confusion matrix: colour by share of the row, counts of samples in the cells.

    Args:
        shares: (rows, columns) of each row.
        counts: (rows, columns) samples.
        rows: Names of the reference's classes.
        columns: Names of the map's classes.
    """
    with chart(confusion_width_px(len(columns)) / 96, 0.42 * len(rows) + 1.9) as ((axis,), result):
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for row, col in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, col] > 0.55 else INK
            axis.text(col, row, _count(int(counts[row, col])), ha="center", va="center", fontsize=9, color=colour)
        axis.set_xticks(range(len(columns)), [short(one, 20) for one in columns], rotation=55, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(rows)), [short(one, 20) for one in rows])
        axis.set(xlabel="on the map", ylabel="reference")
        axis.set_xticks(np.arange(-0.5, len(columns)), minor=True)
        axis.set_yticks(np.arange(-0.5, len(rows)), minor=True)
        axis.grid(visible=False, which="major")
        axis.grid(visible=True, which="minor", color="white", linewidth=1.2)
        axis.tick_params(which="minor", length=0)
        axis.spines[:].set_visible(False)
    return result[0]


def _count(value: int) -> str:
    return str(value) if value < 10_000 else f"{value / 1000:.0f}k"


def reliability_chart(models: Sequence[tuple[str, Content]], order: Sequence[str]) -> str:
    """Accuracy against confidence in bins, the size of a marker by the share of samples in it."""
    with chart(4.2, 3.9) as ((axis,), result):
        axis.plot([0, 100], [0, 100], color="#9aa5b1", linewidth=1.2, linestyle=(0, (4, 3)), label="perfectly calibrated")
        for model, told in models:
            place = order.index(model)
            bins = {key: np.array([np.nan if v is None else v for v in told[key]], float) for key in ("confidence", "accuracy", "share")}
            filled = np.nan_to_num(bins["share"]) > 0
            x, y = 100 * bins["confidence"][filled], 100 * bins["accuracy"][filled]
            axis.plot(x, y, color=PALETTE[place % 7], linewidth=1.3, alpha=0.7)
            sizes = 18 + 260 * bins["share"][filled]
            axis.scatter(x, y, s=sizes, color=PALETTE[place % 7], marker=MARKERS[place % 7], label=short(model), alpha=0.9, linewidths=0)
        axis.set(xlim=(0, 101), ylim=(0, 101), xlabel="confidence of the model, %", ylabel="right, %", aspect="equal")
        legend = axis.legend(loc="upper left", fontsize=8.5)
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([45])
    return result[0]


def point_chart(samples: pd.DataFrame, groups: Sequence[tuple[Any, str, str]], column: str, outline: Any) -> str:
    """Sample points of one tile (km, EPSG:3035), coloured by a column.

    Args:
        samples: point_x, point_y, metres, and the column.
        groups: (value, name, colour) in the order of drawing.
        column: Whose values are told apart.
        outline: (n, 2) outline of the tile, metres, or None.
    """
    with chart(5.6, 5.2) as ((axis,), result):
        if outline is not None:
            axis.plot(outline[:, 0] / 1000, outline[:, 1] / 1000, color="#52606d", linewidth=1.4)
        values = samples[column].to_numpy()
        size = float(np.clip(20_000 / max(len(samples), 1), 5, 18))
        for place, (value, _, colour) in enumerate(groups):
            mine = values == value
            if mine.any():
                x, y = samples["point_x"].to_numpy()[mine] / 1000, samples["point_y"].to_numpy()[mine] / 1000
                marker = MARKERS[place % 7] if len(groups) <= 7 else "o"
                axis.scatter(x, y, s=size, color=colour, marker=marker, linewidths=0, alpha=0.9, rasterized=len(samples) > 800)
        axis.set(aspect="equal", xlabel="east, km", ylabel="north, km")
        axis.locator_params(nbins=5)
        axis.ticklabel_format(useOffset=False, style="plain")
    return result[0]
