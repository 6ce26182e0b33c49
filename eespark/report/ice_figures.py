"""Pictures of a mapped scene, side by side on its polar grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eespark.io.quicklook import Quicklook
from eespark.report.drawing import class_picture, picture
from eespark.report.markup import Html, colour_of, figure, grid, join, paragraph, percent, swatch, tag

Content = Mapping[str, Any]


def scene_figures(told: Content, layers: Mapping[str, Quicklook]) -> Html:
    """Scene, analyst's polygons, map and probability of one scene side by side, with the classes and their shares.

    Args:
        told: Manifest of the map.
        layers: Name -> what is shown of it.
    """
    classes = {int(c["id"]): (str(c["name"]), colour_of(c.get("colour"))) for c in told["classes"]}
    colours = {class_id: colour for class_id, (_, colour) in classes.items()}
    counts = told["counts"].get("by_class", {})
    total = sum(counts.values())
    keys = [swatch(colour, f"{name} {percent(counts.get(str(c), 0) / total) if total else ''}") for c, (name, colour) in classes.items()]
    name, pieces = str(told["tile"]), []
    if "backscatter" in layers:
        pieces.append(figure(_grey(layers["backscatter"]), f"Backscatter of {name}.", tag("b", "HH backscatter"), "map"))
    if "analyst" in layers:
        look = layers["analyst"]
        pieces.append(
            figure(class_picture(look.values, look.valid, colours), f"Polygons on {name}.", tag("b", "Analyst's polygons"), "map")
        )
    look = layers["class"]
    pieces.append(figure(class_picture(look.values, look.valid, colours), f"Map of {name}.", tag("b", "Map"), "map"))
    if "probability" in layers:
        look = layers["probability"]
        source = _ramp(np.clip(look.values, 0, 100) / 100, look.valid)
        pieces.append(figure(source, f"Probability of {name}.", tag("b", "Probability, 0 to 100 %"), "map"))
    text = f"{told['sensing_time'][:16].replace('T', ' ')} UTC, ice edge {told['counts'].get('ice_edge_km', 0):,.0f} km"
    return join([tag("h3", f"{name}"), paragraph(text, "hint"), tag("ul", join(keys), class_="legend"), grid(pieces, "pair")], "\n")


def _grey(look: Quicklook) -> str:
    """Brightness between the 2nd and 98th percentile."""
    if not look.valid.any():
        return _ramp(np.zeros(look.values.shape), look.valid)
    low, high = np.percentile(look.values[look.valid], [2, 98])
    return _ramp((look.values - low) / max(high - low, 1.0), look.valid)


def _ramp(share: Any, valid: Any) -> str:
    levels = np.where(valid, np.clip(np.rint(share * 254), 0, 254), 255).astype(np.uint8)
    return picture(levels, np.repeat(np.arange(255, dtype=np.uint8)[:, None], 3, axis=1))
