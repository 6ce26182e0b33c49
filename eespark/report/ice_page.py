"""The page of a map of sea ice: scene, analyst and map side by side, accuracy by part, class, scene, season, region and angle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from eespark.errors import EESparkError
from eespark.io.quicklook import Quicklook, read_quicklook
from eespark.io.storage import join_url, local_path, open_filesystem, read_manifest, url_exists, write_text
from eespark.kernels.accuracy import share_of
from eespark.manifest import FILE_NAME
from eespark.report.charts import confusion_chart, confusion_width_px, dot_chart
from eespark.report.drawing import MARKERS, PALETTE, chart, short
from eespark.report.ice_figures import scene_figures
from eespark.report.inputs import read_summaries
from eespark.report.making import stages_table
from eespark.report.markup import (
    Html,
    Piece,
    Section,
    details,
    figure,
    grid,
    interval,
    join,
    missing,
    paragraph,
    percent,
    table,
    tag,
)
from eespark.report.names import model_name
from eespark.report.page import made, page_of
from eespark.report.settings import IceReportSettings

logger = logging.getLogger(__name__)

Content = Mapping[str, Any]
_PARTS: Final = {"unseen": "Scenes held out", "test": "Ground apart from training"}
_LAYERS: Final = ("backscatter", "analyst", "class", "probability")


@dataclass(frozen=True)
class IceInputs:
    """What the page tells of; None where it is absent.

    Attributes:
        training: Manifest of the training set.
        validation: Manifest of the validation.
        maps: Manifest and layers of each scene that is shown.
        maps_left_out: Scenes that are mapped and not shown.
        summaries: Job -> its summary.
        missing: What is absent -> why.
    """

    training: Content | None
    validation: Content | None
    maps: Sequence[tuple[Content, dict[str, Quicklook]]]
    maps_left_out: int
    summaries: Mapping[str, Content]
    missing: dict[str, str]


def write_ice_report(settings: IceReportSettings) -> dict[str, Any]:
    """Write the page; the counts of the summary."""
    inputs = read_ice_inputs(settings)
    sections = made((_summary, _maps, _accuracy, _confusion, _incidence, _groups, _set, _stages), inputs)
    under = f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if inputs.training is not None:
        under += f" · patches {inputs.training['sample_set']}, legend {inputs.training['legend']}"
    page = page_of(settings.title, under, sections)
    write_text(settings.output, page)
    logger.info("report_ice: %s, %.1f MB", settings.output, len(page) / 1e6)
    return {"report": settings.output, "bytes": len(page.encode()), "sections": len(sections), "left_out": dict(inputs.missing)}


def read_ice_inputs(settings: IceReportSettings) -> IceInputs:
    """What there is of what the settings name."""
    absent: dict[str, str] = {}

    def manifest(url: str, kind: str) -> Content | None:
        try:
            return read_manifest(url, kind)
        except EESparkError as error:
            absent[kind] = str(error)
            return None

    folders = []
    if url_exists(settings.maps):
        filesystem, path = open_filesystem(settings.maps)
        names = sorted(str(one).rsplit("/", 1)[-1] for one in filesystem.ls(path, detail=False))
        folders = [join_url(settings.maps, name) for name in names if url_exists(join_url(settings.maps, name, FILE_NAME))]
    if not folders:
        absent["maps"] = f"there is no map in {settings.maps}; run predict_ice_map"
    maps = []
    for folder in folders[: settings.most_scenes]:
        told = manifest(folder, "map")
        files = {name: join_url(folder, f"{name}.tif") for name in _LAYERS}
        if told is not None:
            maps.append((told, {n: read_quicklook(local_path(f), settings.map_px) for n, f in files.items() if url_exists(f)}))
    try:
        summaries = read_summaries(settings.summaries)
    except EESparkError as error:
        summaries, absent["summaries"] = {}, str(error)
    return IceInputs(
        manifest(settings.training_set, "training_set"), manifest(settings.validation, "validation"), maps, len(folders) - len(maps),
        summaries, absent,
    )  # fmt: skip


def _protocols(inputs: IceInputs) -> list[tuple[str, Mapping[str, Content]]]:
    found = inputs.validation["protocols"] if inputs.validation else {}
    return [(part, found[part]) for part in _PARTS if part in found]


def _no_validation(inputs: IceInputs) -> Html:
    return missing(inputs.missing.get("validation", "there is no validation yet; run validate_ice"))


def _summary(inputs: IceInputs) -> Section:
    lead = "How much of what the networks never saw they name rightly. Intervals hold the true value in 95 of 100 draws of whole scenes."
    if not _protocols(inputs):
        return Section("summary", "Summary", lead, _no_validation(inputs))
    pieces: list[Html] = []
    for part, models in _protocols(inputs):
        rows: list[list[Piece]] = []
        for name, told in models.items():
            ice = told.get("ice_water", {})
            rows.append([model_name(name), _angle(inputs, name), interval(ice.get("weighted_f1")), interval(told["weighted_f1"]),
                         interval(told["macro_f1"]), interval(told["overall_accuracy"])])  # fmt: skip
        one = next(iter(models.values()))
        caption = f"{_PARTS[part]}: {one['patches']:,} {_judged(inputs)} of {one['scenes']} scenes; percent, with 95 % intervals"
        head = ["model", "incidence angle", "ice or water, weighted F1", "types, weighted F1", "types, macro-F1", "types, overall accuracy"]
        pieces.append(table(caption, head, rows))
    around = "what is around it" if _judged(inputs) == "looks" else "the whole patch, in whose middle it lies"
    pieces.append(paragraph(
        f"The pixel forest and Bayes' rule with a slope for each class see HH, HV and the angle of one pixel, the networks {around}. "
        "The angle is a channel beside HH and HV, or one slope for all classes is taken off before.", "hint"))  # fmt: skip
    return Section("summary", "Summary", lead, join(pieces, "\n"))


def _judged(inputs: IceInputs) -> str:
    """What is counted: patches, or looks."""
    return str(inputs.validation.get("judged", "patches")) if inputs.validation else "patches"


def _angle(inputs: IceInputs, name: str) -> str:
    """How a model is told the incidence angle."""
    models = inputs.validation.get("models", {}) if inputs.validation else {}
    if name in models:
        return {"channel": "channel", "slope": "one slope", "none": "not used"}[models[name]["incidence"]]
    return {"pixel_forest": "feature", "pixel_bayes_slopes": "a slope for each class"}.get(name, "")


def _maps(inputs: IceInputs) -> Section:
    lead = (
        "Scene, what the analyst drew on it, and the map, on the same polar grid. Land, the border and what was not mapped are transparent."
    )
    if not inputs.maps:
        return Section("maps", "Maps", lead, missing(inputs.missing.get("maps", "there is no map yet")))
    pieces = [scene_figures(told, layers) for told, layers in inputs.maps]
    if inputs.maps_left_out:
        pieces.append(paragraph(f"{inputs.maps_left_out} more scenes are mapped and not shown.", "hint"))
    return Section("maps", "Maps", lead, join(pieces, "\n"))


def _accuracy(inputs: IceInputs) -> Section:
    lead = f"F1 of each class with its interval. A class of few polygons has a wide one, whatever the number of its {_judged(inputs)}."
    pieces = []
    for part, models in _protocols(inputs):
        names = next(iter(models.values()))["names"]
        ids = next(iter(models.values()))["classes"]
        rows = [
            (name, [(model, told["by_class"][str(c)]["f1"]) for model, told in models.items()]) for c, name in zip(ids, names, strict=True)
        ]
        alt = f"F1 by class, {_PARTS[part].lower()}."
        drawn = dot_chart(
            [(name, [(model_name(m), e) for m, e in pairs]) for name, pairs in rows], [model_name(m) for m in models], "F1, %"
        )
        pieces.append(figure(drawn, alt, tag("b", _PARTS[part])))
    return Section("accuracy", "Accuracy by class", lead, grid(pieces, "pair") if pieces else _no_validation(inputs))


def _confusion(inputs: IceInputs) -> Section:
    lead = f"What is taken for what. Colour is the share of the row, numbers are {_judged(inputs)}."
    pieces = []
    for part, models in _protocols(inputs):
        for model, told in models.items():
            counts = np.asarray(told["confusion"])
            shares = share_of(counts, counts.sum(axis=1)[:, None])
            drawn = confusion_chart(np.nan_to_num(shares), counts, told["names"], told["names"])
            what = f"{model_name(model)}, {_PARTS[part].lower()}"
            pieces.append(figure(drawn, f"Confusion matrix of {what}.", tag("b", what), width_px=confusion_width_px(len(counts))))
    return Section("confusion", "Confusion", lead, grid(pieces, "pair") if pieces else _no_validation(inputs))


def _incidence(inputs: IceInputs) -> Section:
    lead = (
        "Weighted F1 of the types against the incidence angle, in bins of two degrees: a network that has learnt angles for ice falls here."
    )
    pieces = [
        figure(_incidence_chart(models), f"Weighted F1 against incidence, {_PARTS[part].lower()}.", tag("b", _PARTS[part]))
        for part, models in _protocols(inputs)
    ]
    return Section("incidence", "Incidence angle", lead, grid(pieces, "pair") if pieces else _no_validation(inputs))


def _incidence_chart(models: Mapping[str, Content]) -> str:
    with chart(5.6, 3.4) as ((axis,), result):
        for place, (model, told) in enumerate(models.items()):
            bins = [one for one in told["by_incidence"] if one["weighted_f1"] is not None]
            middle = [(one["from_deg"] + one["to_deg"]) / 2 for one in bins]
            values = [100 * one["weighted_f1"] for one in bins]
            colour, marker = PALETTE[place % 7], MARKERS[place % 7]
            axis.plot(middle, values, color=colour, marker=marker, markersize=5, linewidth=1.6, label=short(model_name(model)))
        axis.set(xlabel="incidence angle, degrees", ylabel="weighted F1, %", ylim=(0, 101))
        axis.legend(loc="lower left", fontsize=8.5, ncols=2)
    return result[0]


def _groups(inputs: IceInputs) -> Section:
    lead = "The same figures by scene, by ice season and by ground square, of the first network."
    pieces = []
    for part, models in _protocols(inputs):
        model, told = next(iter(models.items()))
        for key, name in (("by_scene", "scene"), ("by_season", "season"), ("by_region", "ground square")):
            rows: list[list[Piece]] = [
                [group, one.get("patches"), percent(one["weighted_f1"]), percent(one["macro_f1"]), percent(one["overall_accuracy"])]
                for group, one in told[key].items()
            ]
            head = [name, _judged(inputs), "weighted F1", "macro-F1", "overall accuracy"]
            pieces.append(table(f"{_PARTS[part]}, {model_name(model)}, by {name}", head, rows))
    return Section("groups", "Scenes, seasons, regions", lead, join(pieces, "\n") if pieces else _no_validation(inputs))


def _set(inputs: IceInputs) -> Section:
    lead = "Patches, polygons and scenes of each class in each part, and how far apart the parts are on ground that may show the same ice."
    if inputs.training is None:
        return Section("set", "Training set", lead, missing(inputs.missing.get("training_set", "there is no training set yet")))
    told, names = inputs.training["audit"], {str(one["id"]): str(one["name"]) for one in inputs.training["classes"]}
    rows: list[list[Piece]] = [
        [part, names.get(c, c), one["patches"], one["polygons"], one["scenes"]]
        for part, by in told["by_part"].items()
        for c, one in by.items()
    ]
    dropped = inputs.training["dropped"]
    text = (
        f"Polygons in two parts: {told['shared_polygons']}. Centres of patches of two parts are {told['guard_m']:,.0f} m apart or more; "
        f"{dropped['too_near_another_part']:,} of {dropped['patches']:,} patches were left out for that."
    )
    pairs: list[list[Piece]] = [[pair, metres] for pair, metres in told["nearest_m"].items()]
    nearest = table(f"Least distance of two parts (m), looked for up to {told['searched_radius_m']:,.0f} m", ["parts", "m"], pairs)
    counts = details(
        "Counts by part and class", table("Counts by part and class", ["part", "class", "patches", "polygons", "scenes"], rows, 2)
    )
    return Section("set", "Training set", lead, join([paragraph(text), nearest, counts], "\n"))


def _stages(inputs: IceInputs) -> Section:
    lead = "Each job with its time, as its summary tells."
    return Section("stages", "How it was made", lead, stages_table(inputs.summaries))
