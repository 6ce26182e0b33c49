"""Sections that tell how the sets were made: stages, products, samples, split audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eespark.errors import EESparkError
from eespark.io.quicklook import outline_in
from eespark.report.charts import point_chart
from eespark.report.drawing import PALETTE
from eespark.report.inputs import Inputs
from eespark.report.markup import Html, Piece, Section, colour_of, figure, grid, join, missing, number, paragraph, swatch, table, tag
from eespark.report.names import SPLIT_NAMES, STAGES
from eespark.schema import SPLITS

Content = Mapping[str, Any]
_FAULTS: Final = ("quarantined_reasons", "failed_reasons")


def stages_section(inputs: Inputs) -> Section:
    """Seconds and counts of each job."""
    lead = "What each job did and how long it took, as its own summary tells."
    if not inputs.summaries:
        return Section("stages", "Stages", lead, missing(inputs.missing.get("summaries", "there are no summaries")))
    return Section("stages", "Stages", lead, stages_table(inputs.summaries))


def stages_table(summaries: Mapping[str, Content]) -> Html:
    """Seconds and counts of each job, in the order of the chain."""
    order = [*(one for one in STAGES if one in summaries), *sorted(set(summaries) - set(STAGES) - {"report", "report_ice"})]
    rows: list[list[Piece]] = []
    for job in order:
        told = summaries[job]
        state = "" if told.get("status", "done") == "done" else f"{told['status']}: {told.get('error', '')}"
        name = join([tag("code", job), tag("span", STAGES.get(job, ""), class_="hint block")])
        rows.append([name, number(told.get("seconds")), join([_counts(told), tag("strong", state)] if state else [_counts(told)])])
    total = sum(float(summaries[job].get("seconds") or 0) for job in order)
    rows.append(["all", number(total), ""])
    return table("Seconds and counts by stage", ["job", "seconds", "counts"], rows, 9)


def _counts(told: Content) -> Html:
    pieces = []
    for key, value in told.items():
        if key in ("seconds", "audit", "headline", *_FAULTS) or isinstance(value, (bool, str)) or value is None:
            continue
        text = _told(value)
        if text:
            pieces.append(tag("li", join([key.replace("_", " "), " ", tag("b", text)])))
    return tag("ul", join(pieces), class_="counts")


def _told(value: Any) -> str:
    """A count, or a few counts by name; what is deeper is for the JSON."""
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, dict):
        flat = [(key, one) for key, one in value.items() if isinstance(one, (int, float)) and not isinstance(one, bool)]
        shown = ", ".join(f"{key} {number(one)}" for key, one in flat[:8])
        return shown + (f" and {len(flat) - 8} more" if len(flat) > 8 else "")
    return f"{len(value):,}" if isinstance(value, list) else ""


def products_section(inputs: Inputs) -> Section:
    """Quality of the products, what was set aside and why, and how fast pixels came."""
    scan, extract = inputs.summaries.get("scan_archive", {}), inputs.summaries.get("extract_series", {})
    lead = "Products that could not be trusted are set aside with their reason, and the run goes on without them."
    pieces: list[Html] = []
    if scan:
        counts = [[state, scan.get(state)] for state in ("current", "superseded", "quarantined")]
        pieces.append(table("Products by state", ["state", "products"], counts))
    else:
        pieces.append(missing("no summary of scan_archive"))
    if extract:
        pieces.append(table("Extraction", ["figure", "value"], _rates(extract)))
    else:
        pieces.append(missing("no summary of extract_series"))
    faults = [
        [item, job.replace("_", " "), reason]
        for job, told in inputs.summaries.items()
        for key in _FAULTS
        if isinstance(told.get(key), dict)
        for item, reason in told[key].items()
    ]
    body = [grid(pieces, "pair")]
    body.append(
        table("What was set aside, and why", ["item", "by", "reason"], faults, 9) if faults else paragraph("Nothing was set aside.")
    )
    return Section("products", "Products", lead, join(body, "\n"))


def _rates(extract: Content) -> list[list[Piece]]:
    seconds, core = float(extract.get("seconds") or 0), float(extract.get("core_seconds") or 0)
    rows: list[list[Piece]] = [
        [name.replace("_", " "), extract.get(name)] for name in ("products_read", "products_failed", "observations") if name in extract
    ]
    copied = ("products_copied", "observations_copied")
    rows += [[f"{name.replace('_', ' ')} from an older version", extract[name]] for name in copied if extract.get(name)]
    if seconds > 0:
        rows += [
            ["products a minute", 60 * float(extract.get("products_read") or 0) / seconds],
            ["observations a second", float(extract.get("observations") or 0) / seconds],
        ]
    if core > 0 and extract.get("pixels_decoded"):
        rows.append(["megapixels decoded a second and core", float(extract["pixels_decoded"]) / core / 1e6])
    return rows


def samples_section(inputs: Inputs) -> Section:
    """Where the samples lie, and how many of each class are in each part."""
    lead = (
        "Where the model looked: by part, of which no two share a parcel or ground, and by declared class. "
        "Coordinates are kilometres in EPSG:3035; the line is the outline of the tile's raster."
    )
    pieces = [_sample_maps(inputs)] if inputs.samples is not None else [missing(inputs.missing.get("samples", "there is no training set"))]
    audit = (inputs.sample_set or {}).get("audit", {}).get("classes_by_part")
    if audit:
        pieces.append(_class_table(inputs, audit))
    return Section("samples", "Samples", lead, join(pieces, "\n"))


def _sample_maps(inputs: Inputs) -> Html:
    samples = inputs.samples
    assert samples is not None
    parts = [(one, SPLIT_NAMES[one], PALETTE[place]) for place, one in enumerate(SPLITS) if (samples["split"] == one).any()]
    classes = [(int(one["id"]), str(one["name"]), colour_of(one.get("colour"))) for one in inputs.classes]
    tiles = samples["tile"].value_counts()
    pieces = []
    for tile in sorted(tiles.index[:6]):
        mine = samples[samples["tile"] == tile]
        outline = None
        if tile in inputs.outlines:
            try:
                outline = outline_in(inputs.outlines[tile], "EPSG:3035")
            except EESparkError:
                outline = None
        alt = f"Map of {len(mine):,} samples of tile {tile}, coloured by "
        pieces.append(figure(point_chart(mine, parts, "split", outline), alt + "part.", f"Tile {tile}, by part"))
        pieces.append(figure(point_chart(mine, classes, "class_id", outline), alt + "declared class.", f"Tile {tile}, by declared class"))
    keys = tag("ul", join([swatch(colour, name) for _, name, colour in parts]), class_="legend")
    class_keys = tag("ul", join([swatch(colour, name) for _, name, colour in classes]), class_="legend")
    note = [paragraph(f"{len(tiles) - 6} more tiles are not shown.", "hint")] if len(tiles) > 6 else []
    return join([keys, class_keys, grid(pieces, "pair"), *note], "\n")


def _class_table(inputs: Inputs, audit: Mapping[str, Content]) -> Html:
    names = {str(one["id"]): one["name"] for one in inputs.classes}
    parts = [one for one in SPLITS if one in audit]
    ids = sorted({key for part in parts for key in audit[part]}, key=lambda key: (not key.lstrip("-").isdigit(), key.zfill(6)))
    rows: list[list[Piece]] = []
    for key in ids:
        cells = [audit[part].get(key, {}) for part in parts]
        name = names.get(key, "several admissible classes" if key == "None" else f"class {key}")
        rows.append([name, *(_pair(cell) for cell in cells)])
    caption = "Samples by declared class and part, with the number of labels (parcels or points) they come from"
    return table(caption, ["class", *(SPLIT_NAMES[part] for part in parts)], rows)


def _pair(cell: Content) -> Piece:
    return f"{cell['samples']:,} ({cell['labels']:,})" if cell else None


def audit_section(inputs: Inputs) -> Section:
    """How far apart the parts are."""
    lead = "Whether a test is honest depends on what lies between it and the training samples. A set whose parts share anything is refused."
    audit = (inputs.sample_set or {}).get("audit")
    if not audit:
        return Section("audit", "Split audit", lead, missing(inputs.missing.get("sample_set", "the sample set has no audit")))
    rows: list[list[Piece]] = [["all parts", None, audit.get("shared_labels"), audit.get("shared_pixels"), None]]
    for pair, found in sorted(audit.get("nearest", {}).items()):
        one, _, other = pair.partition("-")
        name = f"{SPLIT_NAMES.get(one, one)} and {SPLIT_NAMES.get(other, other)}"
        rows.append([name, found.get("distance_m"), None, found.get("overlapping"), found.get("time_gap_days")])
    head = ["parts", "smallest distance, m", "shared labels", "shared or overlapping ground", "days between crop years"]
    told = (
        f"Promised distance: {number(audit.get('guard_m'))} m. Pairs that are not listed have nothing within "
        f"{number(audit.get('searched_radius_m'))} m of each other. 0 days: both parts are of the same crop year."
    )
    return Section("audit", "Split audit", lead, join([table("Distances and overlaps between parts", head, rows), paragraph(told, "hint")]))
