"""Every benchmark runs at a tiny size, and its sides give the same result; nothing is timed here."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import clouds, extraction, feed, growth, mapping, polar, ranks, sampling, scale, scaling
from benchmarks.inputs import prepare


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of inputs and scratch that all of them share."""
    folder = tmp_path_factory.mktemp("bench")
    prepare(folder / "input", extraction.TINY.size_px, extraction.TINY.block_px)
    return folder


def test_that_extraction_decodes_the_tiles_of_the_bare_decoder(spark: Any, root: Path) -> None:
    told = extraction.measure(extraction.TINY, root)["by_pixels"]
    # 2,000 pixels of 256 x 256 lie in all tiles: nine bands whole, and the scene classes.
    assert told["2000"]["result"] == {"pixels_decoded": 2 * (3 * 256**2 + 7 * 128**2)}
    assert 0 < told["50"]["result"]["pixels_decoded"] <= told["2000"]["result"]["pixels_decoded"]


def test_that_extraction_gives_what_a_script_over_whole_bands_gives(spark: Any, root: Path) -> None:
    told = clouds.measure(clouds.TINY, root)
    for share, one in told["by_cloud"].items():
        assert one["result"].startswith("1000:"), share
        assert one["pixels_decoded"]["extract_series"] <= one["pixels_decoded"]["whole_bands"]
    saved = told["saved"]["0.4"]
    assert saved["50"]["saved_tiles"]["median"] > saved["2000"]["saved_tiles"]["median"] >= 0


def test_that_the_burn_and_the_pointwise_join_find_the_same_pixels(spark: Any, root: Path) -> None:
    told = sampling.measure(sampling.TINY, root)
    cells, centres = (told["by_rule"][rule]["result"]["pixels"] for rule in ("cell", "centre"))
    assert centres > cells == told["memory_by_parcels"]["60"]["pixels"] > 0


def test_that_petastorm_and_memory_lead_to_the_same_weights(root: Path) -> None:
    told = feed.measure(feed.TINY, root)["by_model"]
    assert told["bilstm"]["result"] != told["cnn1d"]["result"]


def test_that_ranks_and_one_process_do_as_many_steps(spark: Any, root: Path) -> None:
    if importlib.util.find_spec("horovod") is None:
        pytest.skip("Horovod is not built here")
    assert ranks.measure(ranks.TINY, root)["result"] == {"series": 512, "steps": 16, "epochs": 2}


def test_that_the_map_is_that_of_onnx_runtime_on_ready_series(spark: Any, root: Path) -> None:
    told = mapping.measure(mapping.TINY, root)["by_model"]
    assert all(one["result"]["mapped"] > 0 for one in told.values())


def test_that_extraction_scales_over_tiles(spark: Any, root: Path) -> None:
    told = scaling.measure(scaling.TINY, root)["by_tiles"]
    assert list(told) == ["1", "2"]
    assert told["2"]["observation_bytes"]["median"] > told["1"]["observation_bytes"]["median"]


def test_that_patches_and_maps_of_scenes_are_those_of_their_baselines(root: Path) -> None:
    told = polar.measure(polar.TINY, root)
    assert told["patches"]["kept_open"]["result"] == told["patches"]["opened_each_time"]["result"]
    assert told["patches"]["kept_open"]["result"]["patches"] > 20
    assert told["dense"]["result"]["weighted"] > 0
    assert told["calibration"]["work"]["sigma"] == 2 * 256**2 / 1e6


def test_that_the_catchment_is_planned_and_what_processes_hold_is_told(root: Path) -> None:
    """In sessions of their own, whose executors are processes."""
    sizes = replace(scale.TINY, tiles=(2,), labels=(200,), dates=2)
    told = scale.measure(sizes, root)
    (case,) = told["cases"]
    assert (case["products"], case["planned"]["tasks"], case["planned"]["observations"]) == (4, 4, 400)
    assert case["pairs"] >= 200
    assert case["steps"]["build training set"]["observations"] == 400
    assert case["steps"]["build training set"]["shuffle_gb"] > 0
    assert told["extraction"]["products_read"] == 2
    assert told["scenes"]["patches"] > 20
    assert told["scenes"]["set_bytes"] > 1_000
    for one in (*case["steps"].values(), *told["extraction"]["steps"].values(), *told["scenes"]["steps"].values()):
        assert one["tasks"] > 0
        assert one["executor_peak_mb"] > one["jvm_kept_mb"] > 10
    assert case["steps"]["scan"]["worker_peak_mb"] > 50


def test_that_small_tiles_are_timed_on_executors_that_are_processes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = next(name for name in growth.MASTERS if name.startswith("local-cluster"))
    monkeypatch.setattr(growth, "MASTERS", {"local[1]": 1, apart: 2})
    told = growth.measure(growth.TINY, root)
    assert list(told["seconds_per_tile"][apart]) == ["1", "2"]
    alone, two = (told["seconds_per_tile"][name]["2"]["median"] for name in ("local[1]", apart))
    assert told["efficiency"][apart] == pytest.approx(alone / two / 2, abs=0.001)
