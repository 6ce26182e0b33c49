"""Run a whole chain on an embedded archive: every job as its users run it, one after another, ending in a report page.

`demo.py` runs the chain of crops, `demo.py polar` that of sea ice.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from runner import ROOT, run_job


@dataclass(frozen=True)
class Chain:
    """Jobs with their settings in deploy/conf, the folder below build where they write, and those that tell how good it is."""

    folder: str
    jobs: tuple[tuple[str, str], ...]
    judges: tuple[str, ...]
    reports: tuple[str, ...] = ("report.html",)


FOOD = Chain(
    "demo",
    tuple((job, job) for job in (
        "make_demo_archive", "scan_archive", "import_labels", "draw_samples", "extract_series", "build_training_set", "train",
        "predict_map", "validate", "report",
    )),
    ("validate",),
)  # fmt: skip
POLAR = Chain(
    "polar",
    (
        ("make_polar_archive", "make_polar_archive"), ("scan_archive", "scan_polar"), ("import_ice_labels", "import_ice_labels"),
        ("extract_patches", "extract_patches"), ("build_patch_set", "build_patch_set"), ("train", "train_ice"),
        ("train", "train_ice_slope"), ("train", "train_ice_vgg"), ("predict_ice_map", "predict_ice_map"), ("validate_ice", "validate_ice"),
        ("extract_patches", "extract_tiles"), ("build_patch_set", "build_tile_set"), ("train", "train_ice_segmenter"),
        ("predict_ice_map", "predict_ice_map_charts"), ("validate_ice", "validate_ice_charts"),
        ("report_ice", "report_ice"), ("report_ice", "report_ice_charts"),
    ),
    ("validate_ice", "validate_ice_charts"),
    ("report.html", "report_charts.html"),
)  # fmt: skip
CHAINS = {"food": FOOD, "polar": POLAR}


def main() -> None:
    """Run the jobs of a chain."""
    chain = CHAINS[sys.argv[1] if len(sys.argv) > 1 else "food"]
    home = ROOT / "build" / chain.folder
    started = time.monotonic()
    stages: dict[str, Any] = {}
    for number, (job, conf) in enumerate(chain.jobs, start=1):
        print(f"demo: {number:2d}/{len(chain.jobs)} {conf:<24}", end="", flush=True)
        stages[conf] = run_job(job, ROOT / "deploy" / "conf" / f"{conf}.yaml", home / "logs" / f"{conf}.log")
        print(f"{stages[conf]['wall_seconds']:7.1f} s", flush=True)
    found = {}
    for job in chain.judges:
        found |= {part if job == chain.judges[0] else f"{part} ({job})": told for part, told in headline(stages[job]).items()}
    summary = {"seconds": round(time.monotonic() - started, 1), "stages": stages, "validation": found}
    (home / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for protocol, told in found.items():
        print(f"demo: {protocol:<28} {', '.join(_words(told))}")
    print(f"demo: done in {summary['seconds']:.0f} s; the report: {' '.join(str(home / one) for one in chain.reports)}")


def headline(validate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the validation tells first, by protocol."""
    return dict(validate["headline"])


def _words(told: dict[str, Any]) -> list[str]:
    """Figures of one protocol, or of each model of it."""
    words = []
    for name, value in told.items():
        words += [f"{name} {one}" for one in _words(value)] if isinstance(value, dict) else [f"{name.replace('_', ' ')} {value:.3f}"]
    return words


if __name__ == "__main__":
    main()
