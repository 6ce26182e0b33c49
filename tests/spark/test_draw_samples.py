"""Sample sets: which pixels, with what probability, in which part; checked against GEOS on every cell of the tiny tiles."""

from __future__ import annotations

import dataclasses
import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
import shapely
from delta.tables import DeltaTable
from pyproj import Transformer

from eespark.errors import SettingsError
from eespark.spark.samples import draw_samples

GUARD_M, CAP, ERODE_M = 15.0, 12, 5.0
# What each tile owns: easting 400 km parts 33TUN from 33TVN; 12 E, far off, parts 32TQT from both.
OWNS = {"33TUN": (300_000, 400_000), "33TVN": (400_000, 500_000), "32TQT": (700_000, 800_000)}


@pytest.fixture(scope="module")
def manifest(drawn):
    return json.loads((drawn.root / "sets" / "tiny@1" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def samples(drawn):
    rows = drawn.read("samples")
    return rows[rows["sample_set"] == "tiny@1"]


@pytest.fixture(scope="module")
def labels(drawn):
    return drawn.read("labels").set_index("label_id")


@pytest.fixture(scope="module")
def grids(drawn):
    rows = drawn.read("products").query("status == 'current' and level == 'L2A'").drop_duplicates("tile")
    return {r.tile: (int(r.crs[5:]), r.transform[2], r.transform[5], r.shape[0], r.shape[1]) for r in rows.itertuples()}


@pytest.fixture(scope="module")
def pure(labels, grids):
    """Every pure pixel by asking GEOS about each 20 m cell of each tile: tile, row, col, label_id."""
    polygons = labels[(labels["source"] == "invekos_2018") & labels["usable"]]
    found = []
    for tile, (epsg, west, north, rows, cols) in grids.items():
        move = Transformer.from_crs(3035, epsg, always_xy=True)
        shapes = shapely.from_wkb([bytes(g) for g in polygons["geometry"]])
        shapes = shapely.buffer(shapely.transform(shapes, lambda xy, m=move: np.column_stack(m.transform(*xy.T))), -ERODE_M)
        r, c = (np.array(v) for v in zip(*product(range(0, rows, 2), range(0, cols, 2)), strict=True))
        cells = shapely.box(west + 10 * c, north - 10 * r - 20, west + 10 * c + 20, north - 10 * r)
        label, cell = shapely.STRtree(cells).query(shapes, predicate="contains")
        for dr, dc in product((0, 1), repeat=2):
            found.append(pd.DataFrame({"tile": tile, "row": r[cell] + dr, "col": c[cell] + dc, "label_id": polygons.index[label]}))
            x = west + 10 * found[-1]["col"] + 5
            found[-1] = found[-1][(x >= OWNS[tile][0]) & (x < OWNS[tile][1])]
    pixels = pd.concat(found)
    pixels = pixels[~pixels.duplicated(["tile", "row", "col"], keep=False)]
    # Ground of a held-out tile and other ground are never mixed in one parcel.
    home = pixels["label_id"].map(labels["tile"])
    return pixels[(pixels["tile"] == "33TVN") == (home == "33TVN")]


@pytest.fixture(scope="module")
def placed(drawn, labels, pure):
    """The parcels that the guard leaves, by their distances in shapely: part, pixels, class."""
    table = labels.join(pure.groupby("label_id").size().rename("pixels"), how="inner")
    parts = pd.read_parquet(drawn.root / "sets" / "tiny@1" / "blocks").set_index(["block_x", "block_y"])["split"]
    block = list(zip(np.floor(table["point_x"] / 250).astype(int), np.floor(table["point_y"] / 250).astype(int), strict=True))
    table["split"] = [parts.get(b) if tile != "33TVN" else "unseen" for b, tile in zip(block, table["tile"], strict=True)]
    points = labels[(labels["source"] == "lucas_2018") & labels["usable"]].assign(split="points", pixels=1)
    both = pd.concat([table, points])
    shapes = shapely.from_wkb([bytes(g) for g in both["geometry"]])
    rank = both["split"].map({"points": 0, "unseen": 1, "test": 2, "validation": 3, "train": 4}).to_numpy()
    gone = np.array([(shapely.distance(s, shapes[rank < r]) <= GUARD_M).any() for s, r in zip(shapes, rank, strict=True)])
    return both[~gone & (both["split"] != "points")]


def test_that_the_fixtures_have_something_to_say(samples, placed):
    assert samples["split"].value_counts().reindex(["train", "validation", "test", "unseen", "points"]).min() >= 5
    assert (placed["pixels"] > CAP).any()
    assert (samples["tile"] == "32TQT").any()


def test_that_every_sample_is_a_pure_pixel_of_its_parcel(samples, pure, grids):
    drawn_pixels = samples[samples["split"] != "points"]
    known = set(pure.itertuples(index=False, name=None))
    assert set(drawn_pixels[["tile", "row", "col", "label_id"]].itertuples(index=False, name=None)) <= known
    assert not samples["sample_id"].duplicated().any()
    for row in samples.itertuples():
        epsg, west, north, _, _ = grids[row.tile]
        assert (row.x, row.y, row.crs) == (west + 10 * row.col + 5, north - 10 * row.row - 5, f"EPSG:{epsg}")


def test_that_the_guard_leaves_the_parcels_that_keep_their_distance(samples, placed, manifest):
    assert manifest["counts"]["labels_after_guard"] == len(placed)
    assert set(samples.loc[samples["split"] != "points", "label_id"]) <= set(placed.index)
    assert (
        samples[samples["split"] != "points"].set_index("label_id")["split"]
        == placed["split"].reindex(samples.loc[samples["split"] != "points", "label_id"])
    ).all()


def test_that_parts_keep_the_guard_distance_on_the_ground(samples, labels):
    seen = samples.drop_duplicates("label_id").set_index("label_id")["split"]
    shapes = {part: shapely.from_wkb([bytes(labels.loc[i, "geometry"]) for i in seen.index[seen == part]]) for part in seen.unique()}
    for one, other in ((a, b) for a in shapes for b in shapes if a < b):
        assert shapely.distance(shapely.union_all(shapes[one]), shapely.union_all(shapes[other])) > GUARD_M


def test_that_no_parcel_and_no_pixel_is_in_two_parts(samples):
    assert samples.groupby("label_id")["split"].nunique().max() == 1
    assert samples.groupby(["tile", "row", "col"])["split"].nunique().max() == 1


def test_that_the_held_out_tile_is_in_unseen_alone(samples):
    parcels = samples[samples["split"] != "points"]
    assert set(parcels.loc[parcels["split"] == "unseen", "tile"]) == {"33TVN"}
    assert "33TVN" not in set(parcels.loc[parcels["split"] != "unseen", "tile"])


def test_that_each_pixel_has_the_probability_of_its_class_and_no_parcel_is_expected_to_give_more_than_its_limit(samples, placed, manifest):
    p = {int(c): v for c, v in manifest["probabilities"].items()}
    expected = placed["class_id"].map(p).clip(upper=CAP / placed["pixels"], axis=0).clip(upper=1.0)
    assert (expected * placed["pixels"] <= CAP + 1e-9).all()
    rows = samples[samples["split"] != "points"]
    assert np.allclose(rows["inclusion_probability"], expected.reindex(rows["label_id"]))
    assert set(samples.loc[samples["split"] == "points", "inclusion_probability"]) == {1.0}


def test_that_as_many_are_drawn_as_the_probabilities_promise(samples, placed, manifest):
    p = placed["class_id"].map({int(c): v for c, v in manifest["probabilities"].items()})
    p = np.minimum(np.minimum(p, CAP / placed["pixels"]), 1.0)
    mean, variance = (p * placed["pixels"]).sum(), (p * (1 - p) * placed["pixels"]).sum()
    count = (samples["split"] != "points").sum()
    assert abs(count - mean) <= 4 * np.sqrt(variance)
    assert variance > 50  # or the test says nothing


def test_that_classes_are_expected_in_proportion_to_their_pure_pixels(placed, manifest):
    p = placed["class_id"].map({int(c): v for c, v in manifest["probabilities"].items()})
    expected = (np.minimum(np.minimum(p, CAP / placed["pixels"]), 1.0) * placed["pixels"]).groupby(placed["class_id"]).sum()
    pixels = placed.groupby("class_id")["pixels"].sum()
    wanted = 1200 * pixels / pixels.sum()
    # A class gives less only where each of its parcels is at its limit.
    full = p.groupby(placed["class_id"]).first() == 1.0
    assert (~full).sum() >= 4
    assert np.allclose(expected[~full], wanted[~full], atol=0.51)
    assert (expected[full] <= wanted[full] + 0.51).all()


def test_that_a_version_that_exists_stays_and_may_not_be_asked_for_with_other_settings(drawn):
    again = draw_samples(drawn.spark, drawn.drawing(block_px=64, method="points"))
    assert again["existing"]
    for changed in ({"total": 900}, {"holdout_tiles": []}, {"point_sources": []}, {"seed": 2}, {"split_shares": {"train": 1.0}}):
        with pytest.raises(SettingsError, match=f"exists with other {next(iter(changed))}; a version never changes"):
            draw_samples(drawn.spark, drawn.drawing(**changed))


def test_that_extending_may_change_neither_the_blocks_nor_the_held_out_ground(drawn):
    for changed, told in ({"split_block_m": 300.0}, "other split_block_m"), ({"holdout_tiles": []}, "held out 33TVN"):
        with pytest.raises(SettingsError, match=told):
            draw_samples(drawn.spark, drawn.drawing(sample_set="tiny@2", extends="tiny@1", **changed))


@pytest.mark.parametrize("rule", ["cell", "centre"])
def test_that_the_join_of_every_pixel_draws_the_identical_samples(drawn, samples, content, rule, tmp_path):
    chain = dataclasses.replace(drawn, root=tmp_path)
    at = {"products": drawn.table("products"), "labels": drawn.table("labels"), "purity": rule}
    by = {}
    for method in ("burn", "points"):
        if (rule, method) == ("cell", "burn"):
            by[method] = content(samples)
            continue
        draw_samples(drawn.spark, chain.drawing(**at, method=method, samples=chain.table(method), sets=str(tmp_path / method)))
        by[method] = content(chain.read(method))
    assert by["points"] == by["burn"]
    assert len(by["burn"]) > 200


def test_that_a_set_whose_driver_died_before_the_manifest_is_drawn_again_without_duplicates(drawn, samples, content, tmp_path):
    chain = drawn.copied(tmp_path, "products", "labels", "samples")
    (tmp_path / "sets" / "tiny@1" / "manifest.json").unlink()
    draw_samples(chain.spark, chain.drawing())
    assert content(chain.read("samples")) == content(samples)
    # And once more: what the second death leaves must not hide the third draw.
    DeltaTable.forPath(chain.spark, chain.table("samples")).delete("row % 2 = 0")
    shutil.rmtree(tmp_path / "sets")
    draw_samples(chain.spark, chain.drawing())
    assert content(chain.read("samples")) == content(samples)


def test_that_an_extended_set_keeps_parts_and_probabilities_and_says_what_moved(drawn, manifest, samples, content, tmp_path):
    chain = drawn.copied(tmp_path, "products", "labels", "samples")
    # Without what is extended, other shares give other parts, and a larger total other probabilities.
    shares = {"train": 0.34, "validation": 0.33, "test": 0.33}
    told = draw_samples(chain.spark, chain.drawing(sample_set="tiny@2", extends="tiny@1", split_shares=shares, total=3000))
    newer = json.loads((tmp_path / "sets" / "tiny@2" / "manifest.json").read_text())
    assert newer["probabilities"] == manifest["probabilities"]
    blocks = [pd.read_parquet(tmp_path / "sets" / name / "blocks") for name in ("tiny@1", "tiny@2")]
    assert content(blocks[0]) == content(blocks[1])
    rows = chain.read("samples").query("sample_set == 'tiny@2'")
    assert content(rows, "sample_set") == content(samples, "sample_set")
    assert told["moved"] == {"stay": len(samples), "moved_to_another_part": 0, "gone": 0, "new": 0}
