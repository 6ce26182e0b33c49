"""What sixteen and 118 tiles cost, from what one costs here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

Told = Mapping[str, Any]
# Tiles, dates of each and why these: the project's food archive, and a year of the whole Danube catchment.
CASES = {"16 tiles x 33 dates": (16, 33), "118 tiles x 73 dates": (118, 73)}
TILE_PX = 10_980


def project(told: Told) -> str:
    """A table of core-hours and GB by step; empty where no step was measured on whole tiles."""
    lines = [line for line in (_sampling(told), *_extraction(told), *_maps(told), _archive(told), _observations(told)) if line]
    if not lines:
        return ""
    body = "\n".join(f"| {' | '.join(line)} |" for line in [("step", *CASES), *[("---",) * (1 + len(CASES))], *lines])
    return f"""## Projected

Multiplied from the figures above, not measured, as if a tile cost the same however many there are, and every date were free of cloud.

{body}
"""


def _sampling(told: Told) -> tuple[str, ...] | None:
    one = _whole(told, "sampling")
    if one is None:
        return None
    last = max(one["results"]["memory_by_parcels"].values(), key=lambda told: told["parcels"])
    hours = last["seconds"] * one["machine"]["cores"] / 3600
    return (f"pure pixels of {last['parcels']:,} parcels a tile, core-hours", *(f"{tiles * hours:.2f}" for tiles, _ in CASES.values()))


def _extraction(told: Told) -> list[tuple[str, ...]]:
    one = _whole(told, "extraction")
    lines = []
    for pixels, laps in sorted(one["results"]["by_pixels"].items(), key=lambda item: int(item[0])) if one is not None else ():
        hours = statistics.median(laps["seconds"][laps["ours"]]) * one["machine"]["cores"] / one["sizes"]["products"] / 3600
        text = f"extraction at {int(pixels):,} pixels a tile, core-hours"
        lines.append((text, *(f"{tiles * dates * hours:,.0f}" for tiles, dates in CASES.values())))
    return lines


def _maps(told: Told) -> list[tuple[str, ...]]:
    lines = []
    for name, one in told["mapping"]["results"]["by_model"].items() if "mapping" in told else ():
        cores = told["mapping"]["machine"]["cores"]
        hours = TILE_PX**2 / 1e3 / one["rates"]["predict_map"]["median"] * cores / 3600
        text = f"map of every pixel by {name}, at the {one['dates']} dates that were measured, core-hours"
        lines.append((text, *(f"{tiles * hours:,.0f}" for tiles, _ in CASES.values())))
    return lines


def _archive(told: Told) -> tuple[str, ...] | None:
    one = _whole(told, "scaling")
    return None if one is None else _gigabytes("archive, nine bands and the scene classes, GB", one["results"]["product_bytes"])


def _observations(told: Told) -> tuple[str, ...] | None:
    one = _whole(told, "scaling")
    if one is None:
        return None
    tiles, most = _most_tiles(one)
    size = most["observation_bytes"]["median"] / tiles / one["results"]["products_per_tile"]
    return _gigabytes(f"observations of {one['sizes']['pixels']:,} pixels a tile, GB", size)


def _most_tiles(scaling: Told) -> tuple[int, Any]:
    tiles = max(map(int, scaling["results"]["by_tiles"]))
    return tiles, scaling["results"]["by_tiles"][str(tiles)]


def _gigabytes(what: str, bytes_a_product: float) -> tuple[str, ...]:
    return (what, *(f"{tiles * dates * bytes_a_product / 1e9:,.1f}" for tiles, dates in CASES.values()))


def _whole(told: Told, name: str) -> Any:
    """What a benchmark told, where it worked on a whole tile."""
    one = told.get(name)
    return one if one is not None and one["sizes"]["size_px"] == TILE_PX else None
