"""Pictures as data URIs: charts as SVG, pixels as PNG, the same for the same input and on any machine."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito 2008, which people with any kind of colour vision tell apart; markers tell too.
PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
INK: Final = "#1f2933"
_RAMP: Final = "cividis"
_STEPS: Final = 32
_STYLE: Final = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e8ec",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "eespark",
    # Names come from outside: a dollar sign in one is no formula.
    "text.parse_math": False,
}


@contextmanager
def chart(width_in: float, height_in: float, columns: int = 1) -> Iterator[tuple[list[Any], list[str]]]:
    """Axes to draw on, and a list that holds the picture's data URI once the block ends.

    Args:
        width_in: Inches; a picture 4.2 in wide fills a phone, one of 10 in the page.
        height_in: Inches.
        columns: Axes beside one another.
    """
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.subplots(1, columns, squeeze=False)[0]
        result: list[str] = []
        yield list(axes), result
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
        result.append("data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"))


def picture(indices: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> str:
    """The data URI of a PNG.

    Args:
        indices: (rows, cols) places in `colours`; 255 is transparent.
        colours: (n, 3) red, green, blue, n up to 255.
    """
    image = Image.fromarray(indices, mode="P")
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, transparency=255)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def class_picture(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], colours: Mapping[int, str]) -> str:
    """Classes in their colours; no data is transparent, an id without a colour grey."""
    ids = [one for one in colours if 0 <= one < 254]
    table = np.full(256, len(ids), np.uint8)
    table[ids] = np.arange(len(ids), dtype=np.uint8)
    drawn = np.where(valid, table[np.clip(values, 0, 255).astype(np.uint8)], np.uint8(255))
    return picture(drawn, np.array([rgb(colours[one]) for one in ids] + [rgb("#9a9a9a")], np.uint8))


def value_picture(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], low: float, high: float) -> str:
    """Numbers from `low` to `high` on the ramp of `ramp_stops`, in steps that an eye tells apart."""
    scaled = np.clip((values.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    drawn = np.where(valid, np.round(scaled * (_STEPS - 1)), 255).astype(np.uint8)
    colours = np.asarray(mpl.colormaps[_RAMP](np.linspace(0, 1, _STEPS), bytes=True), np.uint8)[:, :3]
    return picture(drawn, colours)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green, blue of #rrggbb."""
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))


def ramp_stops(count: int = 7) -> str:
    """The colours of the ramp as CSS stops."""
    return ",".join(mpl.colors.to_hex(mpl.colormaps[_RAMP](place)) for place in np.linspace(0, 1, count))


def short(text: str, most: int = 22) -> str:
    """A name that fits beside an axis, on one line."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return one_line if len(one_line) <= most else one_line[: most - 1] + "…"
