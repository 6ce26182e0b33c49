"""Compare models over seeds: for each seed an archive and a chain of its own, for each model a training and a validation.

python deploy/study.py            runs what is missing below build/study and writes build/study/results.json
python deploy/study.py --store    writes docs/study/results.json and docs/study.md from it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runner import ROOT, Study, run_once, run_study, spread

CHAIN = ("make_demo_archive", "scan_archive", "import_labels", "draw_samples", "extract_series", "build_training_set")
HOME = "build/demo"
STUDY = ROOT / "build" / "study"
FOREST = "random_forest"
PROTOCOLS = {"disjoint_areas": "areas apart", "unseen_tiles": "unseen tile", "lucas": "LUCAS points (coarse)"}
MEASURES = ("overall_accuracy", "macro_f1")


def main() -> None:
    """Run the study, or store what it found."""
    run_study(__doc__, STUDY, Study("study", run_seed, render, ("study/results.json", "study.md")))


def run_seed(seed: int, models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies of all models and of the forest on the archive of one seed."""
    folder = STUDY / f"seed-{seed}"
    for job in CHAIN:
        run_once(job, job, (HOME, folder), {"seed": seed} if job == "make_demo_archive" else {})
    rows = []
    for number, (name, model) in enumerate(models.items()):
        places = {"bundle": str(folder / f"bundle-{name}")}
        fit = {"model": dict(model), "seed": seed, "tracking": None}
        run_once("train", "train", (HOME, folder), places | {"fit": fit}, f"train-{name}")
        # The forest is the same whatever network it stands beside.
        forest = {} if number == 0 else {"forest_trees": None}
        told = places | forest | {"validation": str(folder / f"validation-{name}")}
        run_once("validate", "validate", (HOME, folder), told, f"validate-{name}")
        protocols = json.loads((folder / f"validation-{name}" / "manifest.json").read_text(encoding="utf-8"))["protocols"]
        rows += [
            row_of(seed, name if told != FOREST else FOREST, p, found) for p, all_ in protocols.items() for told, found in all_.items()
        ]
    return rows


def row_of(seed: int, model: str, protocol: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the results."""
    return {"seed": seed, "model": model, "protocol": protocol, **{m: round(found[m]["estimate"], 4) for m in MEASURES}}


def wins(rows: list[dict[str, Any]], model: str, protocol: str, measure: str) -> str:
    """On how many seeds a model is ahead of the forest."""
    by = {(row["seed"], row["model"]): row[measure] for row in rows if row["protocol"] == protocol}
    seeds = sorted({seed for seed, _ in by})
    return f"{sum(by[seed, model] > by[seed, FOREST] for seed in seeds)} of {len(seeds)}"


def render(results: Mapping[str, Any]) -> str:
    """The page of the results, in Markdown."""
    rows = list(results["rows"])
    models = [*results["plan"]["models"], FOREST]
    head = "| model | " + " | ".join(f"{title}: {m}" for title in PROTOCOLS.values() for m in ("overall accuracy", "macro-F1")) + " |"
    lines = [head, "|---" * (1 + 2 * len(PROTOCOLS)) + "|"]
    for model in models:
        cells = []
        for protocol in PROTOCOLS:
            mine = [row for row in rows if row["model"] == model and row["protocol"] == protocol]
            for measure in MEASURES:
                ahead = "" if model == FOREST else f" ({wins(rows, model, protocol, measure)})"
                cells.append(spread(row[measure] for row in mine) + ahead)
        lines.append(f"| {model.replace('_', ' ')} | {' | '.join(cells)} |")
    seeds = ", ".join(str(seed) for seed in results["plan"]["seeds"])
    return TEXT.format(date=results["date"], commit=results["commit"], seeds=seeds, table="\n".join(lines))


TEXT = """# Models compared over seeds

Written by `python deploy/study.py --store` from `docs/study/results.json`. Run on {date} at commit {commit}; seeds {seeds}.

Each seed is an archive of its own (landscape, weather, declarations, points) with the demo's sizes, and a chain of its own; nobody had seen
an accuracy on these seeds when the generator's parameters were frozen and the settings were fixed. All models learn from the same
training set of a seed. The networks have about the same size and the demo's settings, none was tuned for itself; the forest has 300 trees
and scikit-learn's defaults. Mean and standard deviation over the seeds; in brackets on how many seeds a network is ahead of the forest.

{table}

The networks weight rare classes up (`class_weights: sqrt`), the forest does not and seldom names them: that is part of why it is ahead in
overall accuracy on an unseen tile and behind in macro-F1 everywhere.

What the figures are estimates of: [accuracy.md](accuracy.md). Why these crops are hard to tell apart: [demo.md](demo.md). A few hundred
training parcels say little of what a model does with a million series.
"""


if __name__ == "__main__":
    main()
