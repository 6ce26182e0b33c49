"""The study's tables: figures by hand, and the stored page says what the stored results say."""

import importlib.util
import json
import sys

import pytest

from tests.conftest import REPOSITORY

ROWS = [
    (1, "cnn1d", "lucas", 0.5, 0.2), (2, "cnn1d", "lucas", 0.7, 0.4),
    (1, "random_forest", "lucas", 0.4, 0.3), (2, "random_forest", "lucas", 0.8, 0.3),
]  # fmt: skip
RESULTS = {"date": "2026-01-02", "commit": "abc", "plan": {"seeds": [1, 2], "models": {"cnn1d": {}}}}


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(REPOSITORY / "deploy"))
    spec = importlib.util.spec_from_file_location("study", REPOSITORY / "deploy" / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(REPOSITORY / "deploy"))


def rows(study):
    every = [dict(zip(("seed", "model", "protocol", *study.MEASURES), row, strict=True)) for row in ROWS]
    return [row | {"protocol": protocol} for row in every for protocol in study.PROTOCOLS]


def test_that_mean_and_standard_deviation_are_over_the_seeds(study):
    assert study.spread([0.5, 0.7]) == "0.600 ± 0.141"
    assert study.spread([0.25]) == "0.250"


def test_that_seeds_on_which_a_network_leads_are_counted(study):
    assert study.wins(rows(study), "cnn1d", "lucas", "overall_accuracy") == "1 of 2"
    assert study.wins(rows(study), "cnn1d", "lucas", "macro_f1") == "1 of 2"


def test_that_the_page_has_a_line_a_model_and_says_when_and_from_what(study):
    page = study.render(RESULTS | {"rows": rows(study)})
    assert "Run on 2026-01-02 at commit abc; seeds 1, 2." in page
    one = "0.600 ± 0.141 (1 of 2) | 0.300 ± 0.141 (1 of 2)"
    assert f"| cnn1d | {one} | {one} | {one} |" in page
    assert "| random forest | 0.600 ± 0.283 | 0.300 ± 0.000 |" in page


def test_that_the_stored_page_is_that_of_the_stored_results(study):
    results = json.loads((REPOSITORY / "docs" / "study" / "results.json").read_text(encoding="utf-8"))
    assert (REPOSITORY / "docs" / "study.md").read_text(encoding="utf-8") == study.render(results)
    assert len(results["plan"]["seeds"]) == 5
    assert {row["model"] for row in results["rows"]} == {"lstm", "bilstm", "cnn1d", "transformer", "random_forest"}


@pytest.fixture(scope="module")
def study_ice():
    sys.path.insert(0, str(REPOSITORY / "deploy"))
    spec = importlib.util.spec_from_file_location("study_ice", REPOSITORY / "deploy" / "study_ice.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(REPOSITORY / "deploy"))


def test_that_the_page_of_ice_has_a_table_a_set_and_a_line_a_model(study_ice):
    found = {"weighted_f1": {"estimate": 0.81234}, "macro_f1": {"estimate": None}, "ice_water": {"weighted_f1": {"estimate": 0.9}}}
    rows = [study_ice.row_of(1, ("patches", "unseen", "ice_cnn"), found)]
    assert rows[0] == {
        "seed": 1, "judged": "patches", "part": "unseen", "model": "ice_cnn", "ice_water": 0.9, "weighted_f1": 0.8123, "macro_f1": None,
    }  # fmt: skip
    rows += [rows[0] | {"seed": 2, "ice_water": 0.7}, rows[0] | {"judged": "looks", "model": "ice_segmenter", "part": "test"}]
    page = study_ice.render({"date": "2026-01-02", "commit": "abc", "plan": {"seeds": [1, 2], "models": {}}, "rows": rows})
    assert "at commit abc; seeds 1, 2." in page
    assert "| ice cnn | 0.800 ± 0.141 | 0.812 ± 0.000 | - |" in page
    patches, looks = page.split("## Looks of whole scenes, by charts")
    assert "ground apart" not in patches
    assert "| ice segmenter | 0.900 | 0.812 | - |" in looks
