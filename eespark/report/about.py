"""Sections that come first: the summary, and what was made from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eespark.report.inputs import Inputs
from eespark.report.markup import Html, Piece, Section, details, grid, interval, join, missing, paragraph, percent, table, tag
from eespark.report.names import PROTOCOL_NAMES, model_name, protocol_name

Content = Mapping[str, Any]


def summary_section(inputs: Inputs) -> Section:
    """Headline figures, what the model is, what it was tested on."""
    model, pieces = inputs.main_model, [paragraph(_what_it_is(inputs), "big")]
    cards = [_card(key, models, model) for key, models in _in_order(inputs.protocols)]
    pieces.append(grid(cards, "cards") if cards else missing(inputs.missing.get("validation", "there is no validation yet; run validate")))
    compared = [one for key, models in _in_order(inputs.protocols) for one in _compare(key, models, model)]
    told = [*compared, *inputs.remarks]
    if told:
        pieces.append(tag("ul", join([tag("li", one) for one in told])))
    populations = {protocol_name(key): next(iter(models.values())) for key, models in _in_order(inputs.protocols) if models}
    if populations:
        rows: list[list[Piece]] = [[name, one["population"], one["estimator"]] for name, one in populations.items()]
        about = table("What each figure is about and how it was estimated", ["test", "population", "estimator"], rows, 9)
        pieces.append(details("What these figures are about, and how they were estimated", about))
    lead = "The figures that matter first. Each stands with the interval that holds the true value in 95 of 100 such samples."
    return Section("summary", "Summary", lead, join(pieces, "\n"))


def _what_it_is(inputs: Inputs) -> str:
    if inputs.bundle is None:
        return "There is no trained model yet."
    parts = inputs.training["parts"] if inputs.training else {}
    rows = parts.get("train", {}).get("rows")
    model = inputs.bundle
    text = (
        f"The model, {inputs.main_model}, reads a crop year of Sentinel-2 observations ({len(model['bands'])} bands, up to "
        f"{model['times']} dates) of a pixel and names one of {len(model['classes'])} classes of the legend {model['legend']}."
    )
    return text + (
        f" It learnt from {rows:,} pixels of declared parcels, sample set {inputs.training['sample_set']}."
        if rows and inputs.training
        else ""
    )


def _in_order(protocols: Mapping[str, Mapping[str, Content]]) -> list[tuple[str, Mapping[str, Content]]]:
    known = [key for key in PROTOCOL_NAMES if key in protocols]
    return [(key, protocols[key]) for key in [*known, *(key for key in protocols if key not in PROTOCOL_NAMES)]]


def _card(key: str, models: Mapping[str, Content], main: str | None) -> Html:
    name, hint = PROTOCOL_NAMES.get(key, (key, ""))
    told = models.get(main or "") or next(iter(models.values()))
    accuracy, f1 = told["overall_accuracy"], told["macro_f1"]
    pieces = [
        tag("h3", name),
        paragraph(hint, "hint"),
        tag("p", join([tag("strong", percent(accuracy["estimate"])), " overall accuracy"]), class_="figure"),
        paragraph(_range(accuracy), "range"),
        tag("p", join([tag("strong", percent(f1["estimate"])), " macro-F1"]), class_="figure second"),
        paragraph(_range(f1), "range"),
        paragraph(f"{told['n_samples']:,} samples, {told['n_labels']:,} labels, {told['n_clusters']:,} clusters; {told['legend']}", "hint"),
    ]
    return tag("article", join(pieces), class_="card")


def _range(estimate: Content) -> str:
    if estimate.get("lower") is None:
        return "no interval: too few clusters"
    return f"95 % interval {100 * estimate['lower']:.1f} to {100 * estimate['upper']:.1f}"


def _compare(key: str, models: Mapping[str, Content], main: str | None) -> list[str]:
    """A sentence for each other model, whoever wins."""
    if main is None or main not in models or models[main]["macro_f1"]["estimate"] is None:
        return []
    own, told = models[main]["macro_f1"], []
    for name, other in ((n, o["macro_f1"]) for n, o in models.items() if n != main):
        if other["estimate"] is None:
            continue
        word = "ahead of" if own["estimate"] > other["estimate"] else "behind" if own["estimate"] < other["estimate"] else "level with"
        text = f"{protocol_name(key)}: {main} is {word} {model_name(name)} in macro-F1, {interval(own)} against {interval(other)}"
        if own["lower"] is not None and other["lower"] is not None:
            apart = own["lower"] > other["upper"] or own["upper"] < other["lower"]
            text += "; the intervals do not touch." if apart else "; the intervals overlap, so the order may be chance."
        told.append(text)
    return told


def lineage_section(inputs: Inputs) -> Section:
    """What was made from what."""
    rows: list[list[Piece]] = []
    for kind, manifest in (
        ("sample set", inputs.sample_set),
        ("training set", inputs.training),
        ("bundle", inputs.bundle),
        ("validation", inputs.validation),
    ):
        if manifest is None:
            reason = inputs.missing.get({"sample set": "sample_set", "training set": "training"}.get(kind, kind), "absent")
            rows.append([kind, f"not there: {reason}", "", "", ""])
        else:
            rows.append([kind, _identity(kind, manifest), _made_from(manifest), manifest.get("eespark_version"), _settings_hash(manifest)])
    for one in inputs.maps:
        rows.append(
            [
                f"map of {one.tile}",
                f"{one.manifest['legend']}",
                _made_from(one.manifest),
                one.manifest.get("eespark_version"),
                _settings_hash(one.manifest),
            ]
        )
    head = ["what", "identity", "made from", "eespark", "settings hash"]
    lead = "What was made from what. The hashes tell whether two runs used the same settings and the same rows."
    return Section("lineage", "Lineage", lead, table("Sets, model and maps, each with what it was made from", head, rows, 9))


def _identity(kind: str, manifest: Content) -> str:
    if kind == "sample set":
        return f"{manifest['sample_set']}, legend {manifest['legend']}"
    if kind == "training set":
        grid_kind = manifest["grid"].get("kind") if isinstance(manifest["grid"], dict) else manifest["grid"]
        return f"{manifest.get('content_hash', 'no content hash')}, {manifest['times']} dates, {str(grid_kind).replace('_', ' ')}"
    model = manifest.get("model")
    if kind == "bundle":
        return str(model.get("name") if isinstance(model, dict) else model)
    return ", ".join(protocol_name(key) for key, _ in _in_order(manifest["protocols"]))


def _made_from(manifest: Content) -> str:
    told = []
    if isinstance(manifest.get("tables"), dict):
        told.append(", ".join(f"{name} version {version}" for name, version in manifest["tables"].items()))
    if manifest.get("kind") == "training_set":
        told.append(f"sample set {manifest['sample_set']}")
    for key in ("training_set", "bundle"):
        source = manifest.get(key)
        if isinstance(source, dict):
            name = source.get("content_hash") or source.get("manifest_sha256") or source.get("url", "")
            told.append(f"{key.replace('_', ' ')} {str(name)[:12]}")
        elif source:
            told.append(f"{key.replace('_', ' ')} {str(source)[:12]}")
    return "; ".join(told)


def _settings_hash(manifest: Content) -> str:
    if manifest.get("settings_hash"):
        return str(manifest["settings_hash"])[:12]
    if "settings" not in manifest:
        return ""
    return hashlib.sha256(json.dumps(manifest["settings"], sort_keys=True, default=str).encode()).hexdigest()[:12]
