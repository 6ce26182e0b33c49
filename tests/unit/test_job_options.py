"""Options of a job that give keys of its settings; commands run in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from eespark.errors import FormatError
from eespark.job import FLAG, JobSettings, run_job
from eespark.settings import Settings, Url
from eespark.spark.catalog import ScanSettings, check_scan

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, list["Example"]]]


class Group(Settings):
    keep: bool = True
    other: int = 1


class Example(JobSettings):
    options: ClassVar[Mapping[str, str]] = {"copy_to": "DIR", "group.keep": FLAG}
    text: str = "a"
    copy_to: Url | None = None
    group: Group = Group()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the example's command; gives its exit code and the settings that its work got."""

    def call(text: str, *arguments: str, check: bool = False) -> tuple[int, list[Example]]:
        file = tmp_path / "settings.yaml"
        file.write_text(f"summary: {tmp_path}/summary.json\n{text}")
        got: list[Example] = []
        monkeypatch.setattr(sys, "argv", ["example.py", str(file), *arguments])
        with pytest.raises(SystemExit) as end:
            run_job("example", Example, lambda settings: got.append(settings) or {}, got.append if check else None)
        return int(end.value.code or 0), got

    return call


def test_that_an_option_gives_its_key(run: Run, tmp_path: Path) -> None:
    code, (settings,) = run("text: b", "--copy-to", str(tmp_path / "x"))
    assert (code, settings.copy_to, settings.text) == (0, str(tmp_path / "x"), "b")


def test_that_an_option_goes_before_the_key_of_the_file(run: Run) -> None:
    assert run("copy_to: /file", "--copy-to", "/line")[1][0].copy_to == "/line"
    assert run("copy_to: /file")[1][0].copy_to == "/file"
    assert run("")[1][0].copy_to is None


def test_that_a_flag_gives_a_key_of_a_group_and_leaves_the_others(run: Run) -> None:
    group = "group: {keep: false, other: 2}"
    assert run(group, "--keep")[1][0].group == Group(keep=True, other=2)
    assert run(group)[1][0].group == Group(keep=False, other=2)
    assert run("", "--no-keep")[1][0].group == Group(keep=False, other=1)
    assert run("group:", "--no-keep")[1][0].group == Group(keep=False, other=1)


def test_that_a_relative_path_of_an_option_is_made_absolute_as_in_the_file(run: Run) -> None:
    assert run("", "--copy-to", "x")[1][0].copy_to == str(Path.cwd() / "x")


def test_that_options_are_checked_too_and_nothing_is_done(run: Run) -> None:
    # The one that was got is what the check got.
    code, got = run("", "--copy-to", "/line", "--check", check=True)
    assert (code, [one.copy_to for one in got]) == (0, ["/line"])
    assert run("", "--copy-to", "", "--check") == (2, [])


def test_that_a_key_without_an_option_stays_one_of_the_file(run: Run) -> None:
    assert run("", "--text", "b") == (2, [])


def test_that_a_file_that_is_no_mapping_is_refused_with_an_option_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("- 1")
    monkeypatch.setattr(sys, "argv", ["example.py", str(file), "--copy-to", "/line"])
    with pytest.raises(SystemExit) as end:
        run_job("example", Example, lambda _: {})
    assert end.value.code == 2


def test_that_scan_archive_takes_a_stac_folder(tmp_path: Path) -> None:
    (tmp_path / "archive" / "a.SAFE").mkdir(parents=True)
    file = tmp_path / "settings.yaml"
    file.write_text(f"archive: {tmp_path}/archive\nproducts: {tmp_path}/products\nsummary: {tmp_path}/summary.json\n")

    def scan(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / "jobs" / "scan_archive.py"), str(file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    done = scan("--stac", str(tmp_path / "stac"), "--check")
    assert (done.returncode, "can be used" in done.stderr) == (0, True)
    refused = scan("--stac", str(tmp_path / "archive" / "stac"), "--check")
    assert (refused.returncode, "stac" in refused.stderr, "must not lie inside the archive" in refused.stderr) == (2, True, True)


@pytest.mark.parametrize("key", ["products", "stac"])
@pytest.mark.parametrize("place", ["archive", "archive/x"])
def test_that_nothing_may_be_written_into_the_archive(tmp_path: Path, key: str, place: str) -> None:
    (tmp_path / "archive" / "a.SAFE").mkdir(parents=True)
    paths = {"archive": str(tmp_path / "archive"), "products": str(tmp_path / "archives"), "summary": str(tmp_path / "s.json")}
    check_scan(ScanSettings.model_validate(paths))
    with pytest.raises(FormatError, match=rf"{key} \(.*\) must not lie inside the archive"):
        check_scan(ScanSettings.model_validate(paths | {key: str(tmp_path / place)}))
