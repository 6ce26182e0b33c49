"""Accuracy by protocol, from tables small enough to count by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from eespark.errors import FormatError, MissingError
from eespark.report.validation import COLUMNS, SEVERAL, disjoint_areas, lucas, summarise_models, summarise_protocol, unseen_tiles

CLASSES = [{"id": 1, "name": "Grassland"}, {"id": 2, "name": "Maize"}, {"id": 12, "name": "Winter wheat"}]
COARSE = [{"id": 0, "name": "Cereals"}, {"id": 1, "name": "Maize"}, {"id": 7, "name": "Other"}]
CROSSWALK = {11: [0], 12: [0], 2: 1, 15: [0, 7]}


def table(**columns: object) -> pd.DataFrame:
    """Predictions with defaults for what a test does not care about."""
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    rows = {
        "sample_id": range(count), "label_id": [f"l{n}" for n in range(count)], "tile": "33UVP", "split": "test", "class_id": None,
        "class_ids": None, "confidence": 0.9, "novelty": 0.1, "inclusion_probability": 1.0, "weight": 1.0,
        "cluster": [f"c{n}" for n in range(count)], "x": 0.0, "y": 0.0, "model": "bilstm",
    } | columns  # fmt: skip
    return pd.DataFrame(rows)[list(COLUMNS)]


def test_that_accuracy_weights_samples_by_inverse_inclusion_probability() -> None:
    # Three right of weight 2 each, one wrong of weight 10: 6 of 16.
    rows = table(class_id=[1, 1, 2, 2], predicted=[1, 1, 2, 1], inclusion_probability=[0.5, 0.5, 0.5, 0.1])
    found = summarise_protocol(rows, CLASSES, disjoint_areas("timesen2crop@1"))
    assert found["overall_accuracy"]["estimate"] == pytest.approx(6 / 16)
    assert found["confusion_counts"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found["confusion_estimated"][1] == pytest.approx([10 / 16, 2 / 16, 0])
    assert found["macro_f1"]["estimate"] == pytest.approx((2 * 4 / (2 * 4 + 10) + 2 * 2 / (2 * 2 + 10)) / 2)


def test_that_survey_weights_multiply() -> None:
    rows = table(class_id=[1, 2], predicted=[1, 1], weight=[3.0, 1.0])
    assert summarise_protocol(rows, CLASSES, disjoint_areas("t@1"))["overall_accuracy"]["estimate"] == pytest.approx(0.75)


def test_that_a_protocol_takes_its_own_part_only() -> None:
    rows = table(class_id=[1, 2, 2], predicted=[1, 1, 2], split=["unseen", "test", "train"])
    found = summarise_protocol(rows, CLASSES, unseen_tiles("t@1"))
    assert (found["n_samples"], found["overall_accuracy"]["estimate"]) == (1, 1.0)


def test_that_samples_labels_and_clusters_are_counted_apart() -> None:
    rows = table(class_id=[1] * 4, predicted=[1] * 4, label_id=["a", "a", "b", "c"], cluster=["k", "k", "k", "m"])
    found = summarise_protocol(rows, CLASSES, disjoint_areas("t@1"))
    assert (found["n_samples"], found["n_labels"], found["n_clusters"]) == (4, 3, 2)
    assert found["by_class"]["1"]["samples"] == 4
    assert found["by_class"]["1"]["labels"] == 3


def test_that_what_does_not_exist_is_null_in_strict_json() -> None:
    found = summarise_protocol(table(class_id=[1, 1], predicted=[1, 1]), CLASSES, disjoint_areas("t@1"))
    assert found["by_class"]["12"]["f1"] == {"estimate": None, "lower": None, "upper": None, "standard_error": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_that_a_part_without_rows_has_no_figures_and_no_error() -> None:
    found = summarise_protocol(table(class_id=[1], predicted=[1]), CLASSES, unseen_tiles("t@1"))
    assert found["n_samples"] == 0
    assert found["overall_accuracy"]["estimate"] is None
    assert found["ece"] is None


def test_that_a_class_the_model_never_learnt_counts_as_wrong() -> None:
    found = summarise_protocol(table(class_id=[1, 9], predicted=[1, 1]), CLASSES, disjoint_areas("t@1"))
    assert found["overall_accuracy"]["estimate"] == 0.5
    assert found["by_class"]["9"]["f1"]["estimate"] == 0
    assert found["macro_f1"]["estimate"] == pytest.approx((2 / 3 + 0) / 2)


def test_that_points_are_compared_on_the_coarse_legend() -> None:
    # Wheat of unknown season, called winter wheat: right. The same called maize: wrong. Maize called maize: right.
    rows = table(split=["points"] * 3, class_ids=[[11, 12], [11, 12], [2]], predicted=[12, 2, 2])
    found = summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))
    assert found["overall_accuracy"]["estimate"] == pytest.approx(2 / 3)
    assert found["confusion_counts"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["legend"] == "coarse@1"


def test_that_points_of_several_coarse_classes_stay_out_of_the_matrix_but_not_of_agreement() -> None:
    rows = table(split=["points"] * 2, class_ids=[[15], [12]], predicted=[15, 12])
    found = summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))
    assert (found["n_samples"], found["n_of_several_coarse_classes"]) == (1, 1)
    assert (found["agreement"]["estimate"], found["agreement"]["samples"]) == (1, 2)


def test_that_a_prediction_of_several_coarse_classes_is_wrong_in_the_matrix_and_compatible() -> None:
    rows = table(split=["points"] * 2, class_ids=[[12], [12]], predicted=[15, 12])
    found = summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))
    assert found["overall_accuracy"]["estimate"] == 0.5
    assert found["agreement"]["estimate"] == 0.5
    assert found["compatible"]["estimate"] == 1
    assert found["by_class"][str(SEVERAL)]["f1"]["estimate"] is None
    assert found["macro_f1"]["estimate"] == pytest.approx(2 / 3)


def test_that_one_class_may_stand_in_class_id_for_a_point() -> None:
    rows = table(split=["points"], class_id=[2], predicted=[2])
    assert summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))["overall_accuracy"]["estimate"] == 1


def test_that_lists_read_back_from_parquet_are_understood() -> None:
    rows = table(split=["points"] * 2, class_id=[np.nan, 2.0], class_ids=[np.array([11, 12], np.int32), np.nan], predicted=[12, 2])
    assert summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))["overall_accuracy"]["estimate"] == 1


def test_that_rows_without_a_reference_are_counted_and_left_out() -> None:
    found = summarise_protocol(table(class_id=[1, None], predicted=[1, 2]), CLASSES, disjoint_areas("t@1"))
    assert (found["n_samples"], found["n_without_reference"]) == (1, 1)


def test_that_the_calibration_error_is_of_the_weighted_samples() -> None:
    rows = table(class_id=[1, 1], predicted=[1, 2], confidence=[0.95, 0.95], inclusion_probability=[0.25, 1.0])
    assert summarise_protocol(rows, CLASSES, disjoint_areas("t@1"))["ece"] == pytest.approx(0.95 - 0.8)


def test_that_calibration_asks_for_the_class_itself_where_the_coarse_class_would_do() -> None:
    rows = table(split=["points"], class_ids=[[11]], predicted=[12])
    found = summarise_protocol(rows, COARSE, lucas("coarse@1", CROSSWALK))
    assert found["overall_accuracy"]["estimate"] == 1
    assert found["ece"] == pytest.approx(0.9)


def test_that_missing_columns_are_named() -> None:
    with pytest.raises(MissingError, match="cluster, confidence"):
        summarise_protocol(table(class_id=[1], predicted=[1]).drop(columns=["cluster", "confidence"]), CLASSES, disjoint_areas("t@1"))


def test_that_rows_of_two_models_are_refused() -> None:
    with pytest.raises(FormatError, match="one model"):
        summarise_protocol(table(class_id=[1, 1], predicted=[1, 1], model=["a", "b"]), CLASSES, disjoint_areas("t@1"))


@pytest.mark.parametrize("bad", [0.0, 1.5, np.nan])
def test_that_impossible_inclusion_probabilities_are_refused(bad: float) -> None:
    with pytest.raises(FormatError, match="inclusion probabilities"):
        summarise_protocol(table(class_id=[1], predicted=[1], inclusion_probability=[bad]), CLASSES, disjoint_areas("t@1"))


def test_that_each_protocol_tells_of_each_model() -> None:
    rows = table(class_id=[1, 1, 2, 2], predicted=[1, 2, 2, 2], split=["test", "test", "unseen", "unseen"], model=["a", "b", "a", "b"])
    found = summarise_models(
        rows, [(disjoint_areas("t@1"), CLASSES), (unseen_tiles("t@1"), CLASSES), (lucas("coarse@1", CROSSWALK), COARSE)]
    )
    assert {protocol: sorted(models) for protocol, models in found.items()} == {"disjoint_areas": ["a", "b"], "unseen_tiles": ["a", "b"]}
    assert found["disjoint_areas"]["b"]["overall_accuracy"]["estimate"] == 0
