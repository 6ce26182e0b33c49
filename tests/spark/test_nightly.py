"""Nights: a date each gives what one big run gives; a night that died is finished by the next; two are never at work at once."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from eespark.errors import BusyError, MissingError, SettingsError, TooManyFailuresError
from eespark.io.lease import held_lease
from eespark.spark import nightly as nights
from eespark.spark.nightly import NightlySettings, check_nightly, nightly
from tests.chain import PLACES


@pytest.fixture
def incoming(drawn: Any, tmp_path: Path) -> tuple[Any, Path, list[list[Path]]]:
    """A chain with samples and no catalog, an empty archive, and the products of the archive in four lots by their dates."""
    chain = drawn.copied(tmp_path, "samples")
    archive = tmp_path / "archive"
    archive.mkdir()
    by_day: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((drawn.input / "archive").iterdir()):
        by_day[path.name.split("_")[2] if path.name.startswith("S2") else "other"].append(path)
    days = sorted(by_day)
    lots = [[path for day in days[number::4] for path in by_day[day]] for number in range(4)]
    return chain, archive, lots


def _settings(chain: Any, archive: Path) -> NightlySettings:
    root = archive.parent
    scan = {"archive": str(archive), "products": chain.table("products"), "summary": str(root / "scan.json"), "max_failed_share": 1.0}
    series = chain.extracting(max_failed_share=1.0, summary=str(root / "series.json"))
    for name, told in {"scan": scan, "series": series.model_dump(mode="json")}.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(told))
    told = {"scan": str(root / "scan.yaml"), "series": [str(root / "series.yaml")], "lease": str(root / "night.lease")}
    told |= {"page": str(root / "night.html"), "summary": str(root / "night.json"), "gap_days": 20}
    return NightlySettings.model_validate(told)


def _arrive(lot: list[Path], archive: Path) -> None:
    for path in lot:
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, archive / path.name)


def test_that_nights_give_what_one_run_gives_also_where_one_died(incoming: Any, extracted: Any, content: Any, monkeypatch: Any) -> None:
    chain, archive, lots = incoming
    settings = _settings(chain, archive)
    for number, lot in enumerate(lots):
        _arrive(lot, archive)
        if number == 2:
            with monkeypatch.context() as broken:

                def die(*_: Any) -> Any:
                    raise KeyboardInterrupt

                broken.setattr(nights, "extract_series", die)
                with pytest.raises(KeyboardInterrupt):
                    nightly(chain.spark, settings)
            continue
        told = nightly(chain.spark, settings)
        assert set(told["steps"].values()) == {"done"}
    without = ("fingerprint",)
    assert content(chain.read("observations"), *without) == content(extracted.read("observations"), *without)
    again, once = (one.read("products") for one in (chain, extracted))
    assert content(again, *PLACES) == content(once, *PLACES)
    page = (archive.parent / "night.html").read_text()
    quarantined = once.loc[once["status"] == "quarantined", "product_id"]
    assert len(quarantined) > 0
    assert all(name in page for name in quarantined)
    assert all(tile in page for tile in once["tile"].dropna().unique())
    assert json.loads((archive.parent / "series.json").read_text())["status"] == "done"
    assert not (archive.parent / "night.lease").exists()


def test_that_a_second_night_leaves_while_one_is_at_work(incoming: Any) -> None:
    chain, archive, _ = incoming
    settings = _settings(chain, archive)
    with held_lease(settings.lease, "nightly"), pytest.raises(BusyError, match="found it held by nightly"):
        nightly(chain.spark, settings)
    assert not Path(chain.table("products")).exists()


def test_that_a_step_that_fails_does_not_keep_the_others(incoming: Any, monkeypatch: Any) -> None:
    chain, archive, lots = incoming
    _arrive(lots[0][:1], archive)
    settings = _settings(chain, archive)
    settings = settings.model_copy(update={"series": [settings.series[0]] * 3})
    endings = iter([MissingError("no samples"), TooManyFailuresError("1 of 2 failed", {"products_failed": 1}), None])
    done: list[str] = []

    def extract(*_: Any) -> dict[str, Any]:
        error = next(endings)
        done.append(str(error))
        if error is not None:
            raise error
        return {"products_read": 2}

    monkeypatch.setattr(nights, "extract_series", extract)
    with pytest.raises(MissingError, match="no samples"):
        nightly(chain.spark, settings)
    assert len(done) == 3
    assert "1 of 2 failed" in (archive.parent / "night.html").read_text()


def test_that_settings_of_its_jobs_are_checked_before_anything_runs(incoming: Any) -> None:
    chain, archive, _ = incoming
    settings = _settings(chain, archive)
    check_nightly(settings)
    with pytest.raises(MissingError, match="needed a settings file"):
        check_nightly(settings.model_copy(update={"series": ["nowhere.yaml"]}))
    with pytest.raises(SettingsError, match="cannot be used"):
        check_nightly(settings.model_copy(update={"scan": settings.series[0]}))
