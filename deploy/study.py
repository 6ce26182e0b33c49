"""Compare models over seeds: for each seed an archive and a chain of its own, for each model a training and a validation.

python deploy/study.py            runs what is missing below build/study and writes build/study/results.json
python deploy/study.py --store    writes docs/study/results.json and docs/study.md from it
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from runner import ROOT, run_job, summary_of

CHAIN = ("make_demo_archive", "scan_archive", "import_labels", "draw_samples", "extract_series", "build_training_set")
CONF = ROOT / "deploy" / "conf"
STUDY = ROOT / "build" / "study"
DOCS = ROOT / "docs"
FOREST = "random_forest"
PROTOCOLS = {"disjoint_areas": "areas apart", "unseen_tiles": "unseen tile", "lucas": "LUCAS points (coarse)"}
MEASURES = ("overall_accuracy", "macro_f1")


def main() -> None:
    """Run the study, or store what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="write the results into docs")
    if parser.parse_args().store:
        results = json.loads((STUDY / "results.json").read_text(encoding="utf-8"))
        (DOCS / "study").mkdir(exist_ok=True)
        (DOCS / "study" / "results.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (DOCS / "study.md").write_text(render(results), encoding="utf-8")
        print(f"study: stored in {DOCS / 'study.md'}")
        return
    plan = yaml.safe_load((CONF / "study.yaml").read_text(encoding="utf-8"))
    rows = [row for seed in plan["seeds"] for row in run_seed(int(seed), plan["models"])]
    told = {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "plan": plan, "rows": rows}
    (STUDY / "results.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(render(told))


def run_seed(seed: int, models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies of all models and of the forest on the archive of one seed."""
    folder = STUDY / f"seed-{seed}"
    for job in CHAIN:
        run_once(job, folder, job, {"seed": seed} if job == "make_demo_archive" else {})
    rows = []
    for number, (name, model) in enumerate(models.items()):
        places = {"bundle": str(folder / f"bundle-{name}")}
        fit = {
            **yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))["fit"],
            "model": dict(model),
            "seed": seed,
            "tracking": None,
        }
        run_once("train", folder, f"train-{name}", places | {"fit": fit})
        # The forest is the same whatever network it stands beside.
        forest = {} if number == 0 else {"forest_trees": None}
        run_once("validate", folder, f"validate-{name}", places | forest | {"validation": str(folder / f"validation-{name}")})
        protocols = json.loads((folder / f"validation-{name}" / "manifest.json").read_text(encoding="utf-8"))["protocols"]
        rows += [
            row_of(seed, name if told != FOREST else FOREST, p, found) for p, all_ in protocols.items() for told, found in all_.items()
        ]
    return rows


def run_once(job: str, folder: Path, name: str, changes: Mapping[str, Any]) -> None:
    """Run a job with the demo's settings moved to `folder` and changed, unless it is done with just these."""
    text = (CONF / f"{job}.yaml").read_text(encoding="utf-8").replace("build/demo", str(folder.relative_to(ROOT)))
    settings = yaml.safe_load(text) | {"summary": str(folder / "summaries" / f"{name}.json")} | dict(changes)
    file, dumped = folder / "conf" / f"{name}.yaml", yaml.safe_dump(settings)
    if file.is_file() and file.read_text(encoding="utf-8") == dumped and is_done(summary_of(file)):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dumped, encoding="utf-8")
    summary_of(file).unlink(missing_ok=True)
    told = run_job(job, file, folder / "logs" / f"{name}.log")
    print(f"study: {folder.name} {name:<20} {told['wall_seconds']:7.1f} s", flush=True)


def is_done(summary: Path) -> bool:
    """Whether a summary says that its job is done."""
    return summary.is_file() and json.loads(summary.read_text(encoding="utf-8")).get("status") == "done"


def row_of(seed: int, model: str, protocol: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the results."""
    return {"seed": seed, "model": model, "protocol": protocol, **{m: round(found[m]["estimate"], 4) for m in MEASURES}}


def commit() -> str:
    """The commit that ran, marked where files differ from it."""
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation over the seeds."""
    known = list(values)
    return f"{statistics.mean(known):.3f} ± {statistics.stdev(known):.3f}" if len(known) > 1 else f"{known[0]:.3f}"


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
