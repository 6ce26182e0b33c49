"""Run the whole chain on an embedded archive: every job as its users run it, one after another, ending in a report page."""

from __future__ import annotations

import json
import time
from typing import Any

from runner import ROOT, run_job

JOBS = (
    "make_demo_archive",
    "scan_archive",
    "import_labels",
    "draw_samples",
    "extract_series",
    "build_training_set",
    "train",
    "predict_map",
    "validate",
    "report",
)


def main() -> None:
    """Run the jobs with the settings of deploy/conf, which lie below build/demo."""
    demo = ROOT / "build" / "demo"
    started = time.monotonic()
    stages: dict[str, Any] = {}
    for number, job in enumerate(JOBS, start=1):
        print(f"demo: {number:2d}/{len(JOBS)} {job:<20}", end="", flush=True)
        stages[job] = run_job(job, ROOT / "deploy" / "conf" / f"{job}.yaml", demo / "logs" / f"{job}.log")
        print(f"{stages[job]['wall_seconds']:7.1f} s", flush=True)
    summary = {"seconds": round(time.monotonic() - started, 1), "stages": stages, "validation": headline(stages["validate"])}
    (demo / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for protocol, found in summary["validation"].items():
        print(f"demo: {protocol:<16} overall accuracy {found['overall_accuracy']:.3f}, macro-F1 {found['macro_f1']:.3f}")
    print(f"demo: done in {summary['seconds']:.0f} s; the report: {demo / 'report.html'}")


def headline(validate: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Overall accuracy and macro-F1 of the trained network by protocol."""
    return dict(validate["headline"])


if __name__ == "__main__":
    main()
