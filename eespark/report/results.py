"""Sections that show what came out: class series, learning curves, accuracy, matrices, calibration, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eespark.kernels.accuracy import share_of
from eespark.report.charts import confusion_chart, confusion_width_px, curve_chart, dot_chart, reliability_chart, series_chart
from eespark.report.inputs import Inputs
from eespark.report.markup import Html, Piece, Section, details, figure, grid, interval, join, missing, number, paragraph, table, tag
from eespark.report.names import PROTOCOL_NAMES, in_text, model_name, protocol_name
from eespark.report.series import STEP_DAYS
from eespark.report.validation import SEVERAL

Content = Mapping[str, Any]


def series_section(inputs: Inputs) -> Section:
    """NDVI of each class through the year."""
    lead = (
        "What the model can learn from: the greenness (NDVI) of the training samples of each class through the crop year. The line is "
        "the median, the band holds the middle 80 %, the dashed line is the median of all classes. Classes whose bands lie on each "
        "other are hard."
    )
    if not inputs.series:
        return Section("series", "Class series", lead, missing(inputs.missing.get("series", "there is no training set")))
    bins = max(len(one.day) for one in inputs.series.values())
    padded = [np.pad(one.middle, (0, bins - len(one.middle)), constant_values=np.nan) for one in inputs.series.values()]
    stacked = np.stack(padded)
    background = np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in stacked.T])
    names = {int(one["id"]): str(one["name"]) for one in inputs.classes}
    pieces = []
    for class_id, band in inputs.series.items():
        name = names.get(class_id, f"class {class_id}")
        top = (
            f"its median is highest, {np.nanmax(band.middle):.2f}, on day {band.day[np.nanargmax(band.middle)]:.0f}"
            if np.isfinite(band.middle).any()
            else "too few clear values"
        )
        alt = f"NDVI of {name} through the crop year: {top}."
        pieces.append(
            figure(series_chart(band, background, STEP_DAYS, inputs.first_day), alt, join([tag("b", name), f" {band.samples:,} samples"]))
        )
    return Section("series", "Class series", lead, grid(pieces, "small"))


def curves_section(inputs: Inputs) -> Section:
    """Learning curves."""
    lead = "How training went. The weights of the epoch with the best macro-F1 on the validation part are the ones that are kept."
    curves = list((inputs.metrics or {}).get("curves") or [])
    if not curves or inputs.metrics is None:
        return Section("curves", "Learning curves", lead, missing(inputs.missing.get("metrics", "the bundle has no curves")))
    best = inputs.metrics.get("best_epoch")
    losses = {"loss": "training", "validation_loss": "validation"}
    scores = {"validation_macro_f1": "macro-F1", "validation_overall_accuracy": "overall accuracy"}
    count, fitted, held = len(curves), number(curves[-1].get("loss")), number(curves[-1].get("validation_loss"))
    alts = [
        f"Loss over {count} epochs; at the end {fitted} in training and {held} in validation.",
        f"Macro-F1 and overall accuracy on the validation part by epoch; best epoch {best}.",
    ]
    pieces = [
        figure(curve_chart(curves, losses, "loss", best, False), alts[0]),
        figure(curve_chart(curves, scores, "on the validation part, %", best, True), alts[1]),
    ]
    stop = inputs.metrics.get("stopped_by")
    note = f"{len(curves)} epochs, stopped by {stop}." if stop else f"{len(curves)} epochs."
    note += " These figures steered the training, so they flatter; the tests above did not."
    return Section("curves", "Learning curves", lead, join([grid(pieces, "pair"), paragraph(note, "hint")]))


def accuracy_section(inputs: Inputs) -> Section:
    """Accuracy of every model by protocol."""
    lead = (
        "Every model on every test. A marker is the estimate, its line the 95 % interval. The further a test lies from the "
        "training samples, the more it says about new ground."
    )
    if not inputs.protocols:
        return Section("accuracy", "Accuracy by test", lead, _no_validation(inputs))
    models, order = _models(inputs), _order(inputs)
    pieces, rows = [], []
    for key, name in (("overall_accuracy", "Overall accuracy"), ("macro_f1", "Macro-F1")):
        lines = [
            (protocol_name(p), [(model_name(m), inputs.protocols[p][m][key]) for m in models if m in inputs.protocols[p]]) for p in order
        ]
        alt = f"{name} in percent with 95 % intervals: " + "; ".join(
            f"{p}, {', '.join(f'{m} {interval(e)}' for m, e in told)}" for p, told in lines
        )
        pieces.append(figure(dot_chart(lines, [model_name(m) for m in models], f"{name}, %"), alt))
    for protocol in order:
        for model in (m for m in models if m in inputs.protocols[protocol]):
            told = inputs.protocols[protocol][model]
            kappa = told["kappa"]["estimate"]
            cells: list[Piece] = [
                protocol_name(protocol),
                _unbroken(model),
                *(interval(told[k]) for k in ("overall_accuracy", "macro_f1", "weighted_f1")),
            ]
            rows.append([*cells, kappa, told.get("ece"), told["n_samples"], told["n_clusters"]])
    head = ["test", "model", "overall accuracy, %", "macro-F1, %", "weighted F1, %", "kappa", "calibration error", "samples", "clusters"]
    notes = _coarse_notes(inputs, order, models)
    body = [grid(pieces, "pair"), table("Accuracy by test and model, with 95 % intervals", head, rows, 2), *notes]
    return Section("accuracy", "Accuracy by test", lead, join(body, "\n"))


def _coarse_notes(inputs: Inputs, order: Sequence[str], models: Sequence[str]) -> list[Html]:
    rows: list[list[Piece]] = []
    for protocol in order:
        for model in (m for m in models if "agreement" in inputs.protocols[protocol].get(m, {})):
            told = inputs.protocols[protocol][model]
            rows.append(
                [
                    protocol_name(protocol),
                    model_name(model),
                    interval(told["agreement"]),
                    interval(told["compatible"]),
                    told["agreement"].get("samples"),
                ]
            )
    if not rows:
        return []
    head = ["test", "model", "class is admissible, %", "coarse class is compatible, %", "points"]
    points = table("Points whose survey code stands for several classes: how many predictions are among them", head, rows, 2)
    note = "The matrix of this test holds only points that lead to one coarse class; a prediction that stands for several is wrong there."
    return [points, paragraph(note, "hint")]


def confusion_section(inputs: Inputs) -> Section:
    """Confusion matrices."""
    lead = (
        "What is taken for what. A row is the reference (the declared class, or what the surveyor saw), a column the class on the map; the "
        "darker, the larger the share of the row, estimated for the population. Numbers count samples. A dark diagonal is good."
    )
    if not inputs.protocols:
        return Section("confusion", "Confusion matrices", lead, _no_validation(inputs))
    pieces = []
    for protocol in _order(inputs):
        told = inputs.protocols[protocol]
        first, *others = [m for m in _models(inputs) if m in told]
        pieces.append(tag("h3", protocol_name(protocol)))
        pieces.append(_matrix(protocol, first, told[first]))
        if others:
            pieces.append(
                details("The same for " + ", ".join(map(model_name, others)), join([_matrix(protocol, m, told[m]) for m in others]))
            )
    return Section("confusion", "Confusion matrices", lead, join(pieces, "\n"))


def _matrix(protocol: str, model: str, told: Content) -> Html:
    counts = np.asarray(told["confusion_counts"])
    rows, columns = np.flatnonzero(counts.sum(axis=1)), np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    if not len(rows):
        return missing("no samples")
    names = [str(told["by_class"][str(class_id)]["name"]) for class_id in told["classes"]]
    weights = np.array([[0.0 if v is None else v for v in row] for row in told["confusion_estimated"]])
    shares = share_of(weights, weights.sum(axis=1)[:, None])[np.ix_(rows, columns)]
    mixed = counts - np.diag(np.diag(counts))
    row, column = np.unravel_index(int(mixed.argmax()), mixed.shape)
    worst = f" Most often confused: {names[row]} taken for {names[column]}, {int(mixed[row, column]):,} samples." if mixed.any() else ""
    what, left_out = f"{model_name(model)}, {in_text(protocol_name(protocol))}", len(counts) - len(columns)
    note = f" Classes that do not occur: {left_out}." if left_out else ""
    drawn = confusion_chart(shares, counts[np.ix_(rows, columns)], [names[one] for one in rows], [names[one] for one in columns])
    alt = f"Confusion matrix of {what}, {len(columns)} classes.{worst}"
    return figure(drawn, alt, f"{what}.{worst}{note}", "wide", confusion_width_px(len(columns)))


def classes_section(inputs: Inputs) -> Section:
    """Accuracy by class."""
    lead = (
        "How good each class is. User's accuracy: of what the map calls a class, how much is. Producer's accuracy: of what is a class, how "
        "much the map finds. F1 joins the two. Classes with few labels have wide intervals."
    )
    if not inputs.protocols:
        return Section("classes", "Accuracy by class", lead, _no_validation(inputs))
    models, pieces = _models(inputs), []
    for protocol in _order(inputs):
        told = {model: inputs.protocols[protocol][model] for model in models if model in inputs.protocols[protocol]}
        first = next(iter(told.values()))
        here = [str(key) for key in first["classes"] if first["by_class"][str(key)]["samples"]]
        lines = [
            (
                str(first["by_class"][key]["name"]),
                [(model_name(m), one["by_class"].get(key, {}).get("f1") or {}) for m, one in told.items()],
            )
            for key in here
        ]
        pieces.append(tag("h3", protocol_name(protocol)))
        alt = f"F1 by class on {in_text(protocol_name(protocol))}, with 95 % intervals; the table beside it has the numbers."
        drawn = [figure(dot_chart(lines, [model_name(m) for m in models], "F1, %", 4.6), alt)] if lines else []
        pieces.append(grid([*drawn, _class_table(protocol_name(protocol), next(iter(told)), first)], "beside"))
    return Section("classes", "Accuracy by class", lead, join(pieces, "\n"))


def _class_table(protocol: str, model: str, told: Content) -> Html:
    ordered = [told["by_class"][str(class_id)] for class_id in told["classes"] if class_id != SEVERAL]
    rows: list[list[Piece]] = [
        [one["name"], one["samples"], one["labels"], *(interval(one[key]) for key in ("users", "producers", "f1"))]
        for one in ordered
        if one["samples"] or one["users"]["estimate"] is not None
    ]
    head = ["class", "samples", "labels", "user's, %", "producer's, %", "F1, %"]
    return table(f"{model_name(model)}, {in_text(protocol)}: accuracy by class with 95 % intervals", head, rows)


def calibration_section(inputs: Inputs) -> Section:
    """Reliability of the confidence."""
    lead = (
        "Whether the model knows when it is wrong. On the dashed line, of the pixels it is 80 % sure of, 80 % are right; below the line "
        "it is too sure. The larger a marker, the more samples stand behind it."
    )
    told = [(p, [(m, inputs.protocols[p][m]) for m in _models(inputs) if m in inputs.protocols[p]]) for p in _order(inputs)]
    pieces = []
    for protocol, models in told:
        shown = [(model_name(m), one["reliability"]) for m, one in models if any(one["reliability"]["share"])]
        errors = "; ".join(f"{model_name(m)} {number(one.get('ece'))}" for m, one in models)
        alt = f"Reliability on {protocol_name(protocol)}: expected calibration error {errors}."
        order = [model_name(m) for m in _models(inputs)]
        pieces.append(
            figure(reliability_chart(shown, order), alt, join([tag("b", protocol_name(protocol)), f" calibration error: {errors}"]))
        )
    return Section("calibration", "Calibration", lead, grid(pieces, "third") if pieces else _no_validation(inputs))


def _models(inputs: Inputs) -> list[str]:
    """The bundle's model first, then the others by name."""
    found = sorted({model for told in inputs.protocols.values() for model in told})
    return sorted(found, key=lambda name: (name != inputs.main_model, name))


def _unbroken(model: str) -> Html:
    return tag("span", model_name(model), class_="nowrap")


def _of_models(inputs: Inputs, protocol: str, keys: Sequence[str]) -> list[tuple[str, Content]]:
    """(model, what lies under these keys of its summary) of each model that the protocol has."""
    found = []
    for model in (one for one in _models(inputs) if one in inputs.protocols[protocol]):
        told: Any = inputs.protocols[protocol][model]
        for key in keys:
            told = (told or {}).get(key)
        found.append((model_name(model), told or {}))
    return found


def _order(inputs: Inputs) -> list[str]:
    known = [key for key in PROTOCOL_NAMES if key in inputs.protocols]
    return [*known, *(key for key in inputs.protocols if key not in known)]


def _no_validation(inputs: Inputs) -> Html:
    return missing(inputs.missing.get("validation", "there is no validation yet; run validate"))
