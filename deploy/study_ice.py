"""Compare networks of ice over seeds: for each seed an archive and a chain of its own, on which all networks are trained and validated.

python deploy/study_ice.py            runs what is missing below build/study-polar and writes build/study-polar/results.json
python deploy/study_ice.py --store    writes docs/study/ice.json and docs/study-ice.md from it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runner import ROOT, Study, run_once, run_study, spread

HOME = "build/polar"
STUDY = ROOT / "build" / "study-polar"
CHAIN = (("make_polar_archive", "make_polar_archive"), ("scan_archive", "scan_polar"), ("import_ice_labels", "import_ice_labels"),
         ("extract_patches", "extract_patches"), ("build_patch_set", "build_patch_set"))  # fmt: skip
CHARTS = (("extract_patches", "extract_tiles"), ("build_patch_set", "build_tile_set"), ("train", "train_ice_segmenter"),
          ("validate_ice", "validate_ice_charts"))  # fmt: skip
MEASURES = {"ice_water": "ice or water, weighted F1", "weighted_f1": "types, weighted F1", "macro_f1": "types, macro-F1"}
PARTS = {"unseen": "scenes held out", "test": "ground apart"}
SETS = {"patches": "Patches in polygons of one kind", "looks": "Looks of whole scenes, by charts"}


def main() -> None:
    """Run the study, or store what it found."""
    run_study(__doc__, STUDY, Study("study_polar", run_seed, render, ("study/ice.json", "study-ice.md")))


def run_seed(seed: int, models: Mapping[str, str]) -> list[dict[str, Any]]:
    """Accuracies of all models on the archive of one seed."""
    folder = STUDY / f"seed-{seed}"
    moved = (HOME, folder)
    for job, conf in CHAIN:
        run_once(job, conf, moved, {"seed": seed} if conf == "make_polar_archive" else {})
    untracked = {"fit": {"tracking": None, "seed": seed}}
    for conf in models.values():
        run_once("train", conf, moved, untracked)
    run_once("validate_ice", "validate_ice", moved, {"bundles": {name: str(folder / "bundles" / name) for name in models}})
    for job, conf in CHARTS:
        run_once(job, conf, moved, untracked if job == "train" else {})
    rows: list[dict[str, Any]] = []
    for judged, name in (("patches", "validation"), ("looks", "validation_charts")):
        told = json.loads((folder / name / "manifest.json").read_text(encoding="utf-8"))["protocols"]
        rows += [row_of(seed, (judged, part, model), found) for part in told for model, found in told[part].items()]
    return rows


def row_of(seed: int, what: tuple[str, str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the results."""
    figures = {m: found[m]["estimate"] for m in MEASURES if m != "ice_water"} | {"ice_water": found["ice_water"]["weighted_f1"]["estimate"]}
    judged, part, model = what
    told = {name: None if value is None else round(value, 4) for name, value in figures.items()}
    return {"seed": seed, "judged": judged, "part": part, "model": model, **told}


def render(results: Mapping[str, Any]) -> str:
    """The page of the results, in Markdown."""
    seeds = ", ".join(str(seed) for seed in results["plan"]["seeds"])
    tables = "\n\n".join(f"## {title}\n\n{table(results['rows'], judged)}" for judged, title in SETS.items())
    return TEXT.format(date=results["date"], commit=results["commit"], seeds=seeds, tables=tables)


def table(rows: list[dict[str, Any]], judged: str) -> str:
    """Mean and standard deviation over the seeds, a line a model."""
    own = [row for row in rows if row["judged"] == judged]
    parts = [part for part in PARTS if any(row["part"] == part for row in own)]
    head = "| model | " + " | ".join(f"{PARTS[part]}: {text}" for part in parts for text in MEASURES.values()) + " |"
    lines = [head, "|---" * (1 + len(MEASURES) * len(parts)) + "|"]
    for model in dict.fromkeys(row["model"] for row in own):
        cells = []
        for part in parts:
            mine = [row for row in own if row["model"] == model and row["part"] == part]
            cells += [spread(row[measure] for row in mine if row[measure] is not None) for measure in MEASURES]
        lines.append(f"| {model.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


TEXT = """# Networks of ice compared over seeds

Written by `python deploy/study_ice.py --store` from `docs/study/ice.json`. Run on {date} at commit {commit}; seeds {seeds}.

Each seed is an archive of its own (land, ice, wind, drift, noise, what analysts drew) with the polar demo's sizes and settings, and a chain
of its own. The generator's parameters were frozen before any network was run (their hash is in a test), and nobody had seen an accuracy on
these seeds before. Mean and standard deviation over the seeds. `ice cnn` and VGG-16 have the incidence angle as a channel, `ice cnn slope`
has one slope for all classes taken off; the pixel forest and Bayes' rule with a slope for each class see single pixels.

{tables}

The two sets ask different things: polygons of one kind are drawn where the kind is sure, charts fill the scene and are coarse. Scenes that
were held out have a wind, a drift and a noise that no training scene had; seven or eight training scenes with water are as many winds.
"""


if __name__ == "__main__":
    main()
