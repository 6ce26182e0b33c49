"""Jobs of the polar chain are killed in the middle and run again: patches, networks and maps are those of a run that nothing disturbed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import rasterio

from eespark.spark.ice_maps import predict_ice_map
from eespark.spark.patches import extract_patches
from eespark.train.settings import FitSettings, TrainSettings
from tests.faults.running import held
from tests.faults.test_killed_training import curves, weights


def test_that_extraction_of_patches_killed_within_a_chunk_goes_on_with_that_chunk(labelled_ice, jobs, tmp_path, digest):
    undisturbed = dataclasses.replace(labelled_ice, root=tmp_path / "undisturbed")
    killed = dataclasses.replace(labelled_ice, root=tmp_path / "killed")
    for ice in (undisturbed, killed):
        for name in ("products", "ice_labels"):
            shutil.copytree(labelled_ice.root / name, ice.root / name)
    extract_patches(undisturbed.spark, undisturbed.cutting(products_per_commit=2))
    settings = killed.cutting(products_per_commit=2).model_copy(update={"summary": str(tmp_path / "summary.json")})
    # The fourth scene is the second of the second chunk.
    (bands,) = [row["bands"] for row in killed.table("products").where(f"product_id = '{killed.scenes[3].product_id}'").collect()]
    with held(Path(dict(bands)["HV"])) as is_read:
        run = jobs.start("extract_patches", settings)
        run.wait_until(is_read)
        run.kill()
        run.wait_until_nothing_is_left()
    kept = set(killed.table("patches").toPandas()["product_id"])
    assert kept == {scene.product_id for scene in killed.scenes[:2]}
    again = jobs.run("extract_patches", settings)
    assert (again.summary()["status"], again.summary()["products_read"]) == ("done", 4)
    assert digest(killed.table("patches").toPandas()) == digest(undisturbed.table("patches").toPandas())


def test_that_training_on_patches_goes_on_from_its_last_epoch(trained_ice, jobs, tmp_path):
    model = {"name": "ice_cnn", "width": 0.25, "features": 8, "dropout": 0.2}
    augment = {"flip_azimuth": True, "noise_floor": 1e-4, "incidence_deg": 0.5}
    told = {"model": model, "augment_sar": augment, "sampling": "balanced", "epochs": 8, "batch": 32, "onnx_tolerance": 1e-3}
    names = {"training_set": str(trained_ice.folder / "set"), "threads_per_process": 1, "fit": FitSettings.model_validate(told)}
    undisturbed, killed = (
        TrainSettings(**names, bundle=str(tmp_path / name / "bundle"), summary=str(tmp_path / name / "summary.json"))
        for name in ("undisturbed", "killed")
    )
    jobs.run("train", undisturbed)
    run = jobs.start("train", killed)
    run.wait_until(lambda: "epoch 2 of 8" in run.log())
    run.kill()
    run.wait_until_nothing_is_left()
    assert not Path(killed.bundle).exists()
    again = jobs.run("train", killed)
    assert "resuming after epoch" in again.log()
    assert weights(Path(killed.bundle)) == weights(Path(undisturbed.bundle))
    assert curves(Path(killed.bundle)) == curves(Path(undisturbed.bundle))


def layers(folder):
    found = {}
    for file in sorted(folder.glob("*.tif")):
        with rasterio.open(file) as dataset:
            found[file.name] = dataset.read().tobytes()
    return found


def test_that_a_killed_map_keeps_its_strips_and_ends_with_the_same_pixels(trained_ice, jobs, tmp_path):
    settings, expected = (
        trained_ice.mapping(tmp_path / name, strip=4, stride=2).model_copy(update={"summary": str(tmp_path / f"{name}.json")})
        for name in ("killed", "undisturbed")
    )
    names = [scene.product_id for scene in trained_ice.ice.scenes[:2]]
    predict_ice_map(trained_ice.ice.spark, expected)
    parts = Path(settings.maps) / "_parts"
    run = jobs.start("predict_ice_map", settings)
    run.wait_until(lambda: len(list(parts.glob("*/*/*.part"))) >= 2)
    run.kill()
    run.wait_until_nothing_is_left()
    strips = 2 * (288 // 2 // 4)
    assert 2 <= len(list(parts.glob("*/*/*.part"))) < strips
    assert not any((Path(settings.maps) / name).exists() for name in names)
    assert predict_ice_map(trained_ice.ice.spark, settings)["scenes_mapped"] == 2
    for name in names:
        found = layers(Path(settings.maps) / name)
        assert list(found) == ["analyst.tif", "backscatter.tif", "class.tif", "probability.tif"]
        assert found == layers(Path(expected.maps) / name)
    assert not any(parts.glob("*"))
