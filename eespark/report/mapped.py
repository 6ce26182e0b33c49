"""The section of the maps: class, truth, probability, novelty, clear dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from eespark.report.drawing import PALETTE, class_picture, picture, ramp_stops, rgb, value_picture
from eespark.report.inputs import Inputs, TileMap
from eespark.report.markup import Html, Section, colour_of, figure, grid, join, missing, paragraph, percent, swatch, tag

_LAYER_TEXT: Final = {
    "probability": ("Probability", "calibrated probability of the class that was named, percent", 0, 100),
    "novelty": ("Novelty", "how unlike the training set, percent: bright ground may be a crop that training never saw", 0, 100),
    "clear_dates": ("Clear dates", "clear dates that the decision rests on", 0, None),
}


def maps_section(inputs: Inputs) -> Section:
    """The maps, their legend, the truth."""
    lead = (
        "The map itself, north up, beside the truth where it is known. Transparent ground has no class: too few clear dates, or not mapped."
    )
    if not inputs.maps:
        return Section("maps", "Maps", lead, missing(inputs.missing.get("maps", "there is no map yet; run predict_map")))
    pieces = [_tile(one) for one in inputs.maps]
    if inputs.tiles_left_out:
        pieces.append(paragraph(f"{inputs.tiles_left_out} more tiles are mapped and not shown.", "hint"))
    return Section("maps", "Maps", lead, join(pieces, "\n"))


def _tile(one: TileMap) -> Html:
    look = one.layers["class"]
    classes = {int(c["id"]): (str(c["name"]), colour_of(c.get("colour"))) for c in one.manifest["classes"]}
    colours = {class_id: colour for class_id, (_, colour) in classes.items()}
    left, bottom, right, top = look.bounds
    size = f"{(right - left) / 1000:.1f} by {(top - bottom) / 1000:.1f} km"
    main = [figure(class_picture(look.values, look.valid, colours), f"Class map of tile {one.tile}, {size}.", tag("b", "Map"), "map")]
    keys, pieces = _keys(one, classes), []
    if one.truth is not None:
        alt = f"True classes of tile {one.tile} on the same ground."
        main.append(figure(class_picture(one.truth.values, one.truth.valid, colours), alt, tag("b", "Truth"), "map"))
        pieces.append(_agreement(one))
    for name, (title, text, low, high) in _LAYER_TEXT.items():
        if name in one.layers:
            layer = one.layers[name]
            top_value = float(high if high is not None else max(1, int(layer.values[layer.valid].max(initial=1))))
            scale = Html(f'<span class="ramp" style="background:linear-gradient(90deg,{ramp_stops()})"></span>')
            caption = join([tag("b", title), f" {text} ", tag("span", join([f"{low} ", scale, f" {top_value:.0f}"]), class_="key")])
            source = value_picture(layer.values, layer.valid, low, top_value)
            pieces.append(figure(source, f"{title} of tile {one.tile}: {text}.", caption, "map"))
    holes = one.manifest["counts"].get("holes")
    note = [paragraph(f"Blocks that could not be mapped and are holes: {holes}.", "hint")] if holes else []
    return join([tag("h3", f"Tile {one.tile}, {size}"), keys, grid(main, "pair"), grid(pieces, "fourth"), *note], "\n")


def _keys(one: TileMap, classes: Mapping[int, tuple[str, str]]) -> Html:
    counts = one.manifest["counts"].get("by_class", {})
    total = sum(counts.values())
    items = []
    for class_id, (name, colour) in classes.items():
        share = counts.get(str(class_id), 0) / total if total else None
        items.append(swatch(colour, f"{name} {percent(share)}" if share is not None else name))
    return tag("ul", join(items), class_="legend")


def _agreement(one: TileMap) -> Html:
    truth, look = one.truth, one.layers["class"]
    assert truth is not None
    both = truth.valid & look.valid
    right = both & (truth.values == look.values)
    drawn = np.where(both, np.where(right, 0, 1), 255).astype(np.uint8)
    source = picture(drawn, np.array([rgb("#e6e9ec"), rgb(PALETTE[1])], np.uint8))
    share = right.sum() / both.sum() if both.any() else None
    caption = join([tag("b", "Where they differ"), f" in orange; {percent(share)} of the shown pixels agree, parcel edges included"])
    return figure(source, f"Where map and truth of tile {one.tile} differ; {percent(share)} of the shown pixels agree.", caption, "map")
