"""The page: self-contained, escaped, accessible, and honest about what is missing."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eespark.report.page import SECTIONS, write_report
from eespark.report.settings import ReportSettings

KEYS = [
    "summary", "maps", "accuracy", "classes", "confusion", "calibration", "series", "curves", "samples", "audit", "stages", "products",
    "lineage",
]  # fmt: skip
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.badly_nested: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.badly_nested.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(chain: ReportSettings) -> str:
    write_report(chain)
    return Path(chain.output).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a run that has not begun."""
    root = tmp_path_factory.mktemp("empty")
    names = {name: str(root / name) for name in ("summaries", "sets", "training_set", "bundle", "validation", "maps", "truth")}
    settings = ReportSettings(**names, output=str(root / "report.html"), summary=str(root / "report.json"))
    told = write_report(settings)
    assert sorted(told["left_out"]) == [
        "bundle",
        "maps",
        "metrics",
        "sample_set",
        "samples",
        "series",
        "summaries",
        "training",
        "validation",
    ]
    return Page((root / "report.html").read_text(encoding="utf-8"))


def test_that_every_section_is_there_and_linked(page: Page) -> None:
    assert [one["id"] for one in page.all("section")] == KEYS
    assert [one["href"] for one in page.all("a")][1:] == [f"#{key}" for key in KEYS]
    assert len(SECTIONS) == len(KEYS)


def test_that_nothing_is_missing_from_a_whole_chain(page: Page, chain: ReportSettings) -> None:
    assert "Not shown" not in page.text


def test_that_elements_close_in_order(page: Page) -> None:
    assert (page.badly_nested, page.open) == ([], [])


def test_that_ids_are_unique(page: Page) -> None:
    found = Counter(one["id"] for _, one in page.elements if "id" in one)
    assert [key for key, count in found.items() if count > 1] == []


def test_that_every_picture_has_words_for_it(page: Page) -> None:
    assert len(page.all("img")) > 15
    assert all((one.get("alt") or "").strip() for one in page.all("img"))


def test_that_pictures_are_within_the_page(page: Page) -> None:
    assert all((one["src"] or "").startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for one in page.all("img"))


def test_that_the_page_reaches_nowhere(page: Page, html: str) -> None:
    assert {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.elements} == set()
    targets = [value or "" for _, one in page.elements for key, value in one.items() if key in ("src", "href", "style", "action", "srcset")]
    assert [one for one in targets if re.search(r"https?:|//|url\(", re.sub(r"base64,.*", "", one))] == []
    assert "@import" not in html


def test_that_every_table_has_a_caption_and_column_heads(page: Page) -> None:
    names = Counter(tag for tag, _ in page.elements)
    assert names["table"] == names["caption"] == names["thead"] > 5
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))


def test_that_headings_descend_without_a_gap(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_that_a_hostile_class_name_is_shown_and_not_run(page: Page, html: str) -> None:
    assert "<script>alert('x')</script>" in page.text
    assert "<script" not in html


def test_that_a_hostile_product_id_is_shown_as_text(page: Page) -> None:
    assert "S2A_<b>x</b>" in page.text


def test_that_a_colour_that_is_none_is_grey(html: str) -> None:
    assert "example.org" not in html
    assert "background:#9a9a9a" in html


def test_that_the_headline_tells_figures_with_intervals(page: Page) -> None:
    assert "overall accuracy" in page.text
    assert re.search(r"95 % interval \d+\.\d to \d+\.\d", page.text)
    assert "bilstm is " in page.text


def test_that_what_was_copied_from_an_older_version_is_told(html: str, empty: Page) -> None:
    assert re.search(r"observations copied from an older version</t[hd]>\s*<td[^>]*>31,234<", html)
    assert "older version" not in empty.text


def test_that_a_run_that_has_not_begun_gives_a_page_that_says_so(empty: Page) -> None:
    assert [one["id"] for one in empty.all("section")] == KEYS
    assert "There is no trained model yet." in empty.text
    assert empty.text.count("Not shown") >= 10


def test_that_a_broken_input_is_told_and_the_rest_is_shown(chain: ReportSettings, tmp_path: Path) -> None:
    broken = tmp_path / "summaries"
    broken.mkdir()
    (broken / "scan_archive.json").write_text("{not json", encoding="utf-8")
    told = write_report(chain.model_copy(update={"summaries": str(broken), "output": str(tmp_path / "r.html"), "truth": None}))
    assert list(told["left_out"]) == ["summaries"]
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "needed JSON" in text
    assert "Truth" not in text


def test_that_equal_inputs_give_equal_pages(html: str, chain: ReportSettings, tmp_path: Path) -> None:
    write_report(chain.model_copy(update={"output": str(tmp_path / "again.html")}))
    undated = re.compile(r"written [\d: -]+ UTC")
    assert undated.sub("", (tmp_path / "again.html").read_text(encoding="utf-8")) == undated.sub("", html)


CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def browse(chain: ReportSettings, profile: Path, *arguments: str) -> str:
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *arguments, Path(chain.output).as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; install the package chromium")
def test_that_a_browser_opens_the_page_and_shows_the_headline(html: str, chain: ReportSettings, tmp_path: Path) -> None:
    shown = browse(chain, tmp_path / "profile", "--dump-dom")
    assert chain.title in shown
    assert "overall accuracy" in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; install the package chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_that_a_browser_draws_the_page(html: str, chain: ReportSettings, tmp_path: Path, width: int) -> None:
    from matplotlib.image import imread

    browse(chain, tmp_path / "profile", f"--screenshot={tmp_path / 'page.png'}", f"--window-size={width},3000")
    pixels = imread(tmp_path / "page.png")
    assert pixels.shape[:2] == (3000, width)
    # Ink on many rows down the page: text and pictures, not an empty sheet or an error of one line.
    assert (pixels[..., :3].min(axis=(1, 2)) < 0.5).mean() > 0.3
