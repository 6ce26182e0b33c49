"""Runs jobs as their users run them, one after another; shared by the demos and the studies."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "deploy" / "conf"


def run_job(job: str, settings: Path, log: Path) -> dict[str, Any]:
    """Run one job with a settings file; its log goes to a file, its summary comes back with `wall_seconds`.

    Ends the program with the end of the log where the job fails.
    """
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, f"jobs/{job}.py", str(settings)]
        code = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-25:])
        sys.exit(f"\n{job} ended with {code}; the end of {log}:\n{tail}")
    told: dict[str, Any] = json.loads(summary_of(settings).read_text(encoding="utf-8"))
    return {**told, "wall_seconds": round(time.monotonic() - started, 1)}


def summary_of(settings: Path) -> Path:
    """Where a job with this settings file writes its summary."""
    return ROOT / str(yaml.safe_load(settings.read_text(encoding="utf-8"))["summary"])


@dataclass(frozen=True)
class Study:
    """What a study is made of.

    Attributes:
        plan: Name of its settings in deploy/conf: seeds and models.
        run_seed: Rows of results of one seed and the plan's models.
        render: The page of the results, in Markdown.
        stored: Where results and page are kept, below docs.
    """

    plan: str
    run_seed: Callable[[int, Mapping[str, Any]], list[dict[str, Any]]]
    render: Callable[[Mapping[str, Any]], str]
    stored: tuple[str, str]


def run_study(doc: str | None, home: Path, study: Study) -> None:
    """Run what is missing of a study in a folder, or store what it found, as the command line says.

    Args:
        doc: What the command tells of itself.
        home: Folder of the study.
        study: Which one.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="write the results into docs")
    results, page = (ROOT / "docs" / name for name in study.stored)
    if parser.parse_args().store:
        told = json.loads((home / "results.json").read_text(encoding="utf-8"))
        results.parent.mkdir(exist_ok=True)
        results.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        page.write_text(study.render(told), encoding="utf-8")
        print(f"study: stored in {page}")
        return
    plan = yaml.safe_load((CONF / f"{study.plan}.yaml").read_text(encoding="utf-8"))
    rows = [row for seed in plan["seeds"] for row in study.run_seed(int(seed), plan["models"])]
    told = {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "plan": plan, "rows": rows}
    (home / "results.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(study.render(told))


def run_once(job: str, conf: str, moved: tuple[str, Path], changes: Mapping[str, Any], name: str | None = None) -> None:
    """Run a job with a demo's settings moved to a folder and changed, unless it is done with just these.

    Args:
        job: Name of the job.
        conf: Name of its settings in deploy/conf.
        moved: Folder of the demo, as its settings name it, and the folder that stands for it.
        changes: Settings with other values; those of a group replace the group's own one by one.
        name: Of this run; that of the settings where it is the only one.
    """
    (home, folder), name = moved, name or conf
    text = (CONF / f"{conf}.yaml").read_text(encoding="utf-8").replace(home, str(folder.relative_to(ROOT)))
    settings = yaml.safe_load(text) | {"summary": str(folder / "summaries" / f"{name}.json")}
    for key, value in changes.items():
        settings[key] = settings[key] | value if isinstance(value, dict) and isinstance(settings.get(key), dict) else value
    file, dumped = folder / "conf" / f"{name}.yaml", yaml.safe_dump(settings)
    if file.is_file() and file.read_text(encoding="utf-8") == dumped and is_done(summary_of(file)):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dumped, encoding="utf-8")
    summary_of(file).unlink(missing_ok=True)
    told = run_job(job, file, folder / "logs" / f"{name}.log")
    print(f"study: {folder.name} {name:<24} {told['wall_seconds']:7.1f} s", flush=True)


def is_done(summary: Path) -> bool:
    """Whether a summary says that its job is done."""
    return summary.is_file() and json.loads(summary.read_text(encoding="utf-8")).get("status") == "done"


def commit() -> str:
    """The commit that ran, marked where files differ from it."""
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation over the seeds."""
    known = list(values)
    if not known:
        return "-"
    return f"{statistics.mean(known):.3f} ± {statistics.stdev(known):.3f}" if len(known) > 1 else f"{known[0]:.3f}"
