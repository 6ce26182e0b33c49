"""Legends keep their meaning, and every declared crop has its place."""

from __future__ import annotations

import csv
import itertools
import json
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import yaml

from eespark import legend as legend_module
from eespark.errors import FormatError, MissingError
from eespark.legend import Legend, LegendClass, admissible_classes, load_codes, load_crosswalk, load_hcat, load_legend, place_record

codes_of = cache(load_codes)
LISTS = ("snar", "brp", "rpg", "lucas", "ewoc")

# What each released version means, for ever. A change of a class is a new version: add its line, never alter one.
RELEASED = {
    "timesen2crop@1": (
        (0, "Legumes"),
        (1, "Grassland"),
        (2, "Maize"),
        (3, "Potato"),
        (4, "Sunflower"),
        (5, "Soy"),
        (6, "Winter barley"),
        (7, "Winter caraway"),
        (8, "Rye"),
        (9, "Rapeseed"),
        (10, "Beet"),
        (11, "Spring cereals"),
        (12, "Winter wheat"),
        (13, "Winter triticale"),
        (14, "Permanent plantation"),
        (15, "Other crops"),
    ),
    "coarse@1": (
        (0, "Cereals"),
        (1, "Maize"),
        (2, "Root crops"),
        (3, "Oil crops"),
        (4, "Legumes"),
        (5, "Grassland"),
        (6, "Permanent crops"),
        (7, "Other crops"),
    ),
}


@pytest.fixture(scope="module")
def crops() -> Legend:
    return load_legend("timesen2crop")


@pytest.mark.parametrize("name", ["timesen2crop", "coarse"])
def test_that_the_classes_of_a_released_version_never_change(name):
    legend = load_legend(name)
    assert tuple((c.class_id, c.name) for c in legend.classes) == RELEASED[legend.key]


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("WINTERWEICHWEIZEN", "Winter wheat"),
        ("WINTERHARTWEIZEN (DURUM)", "Winter wheat"),
        ("SOMMERWEICHWEIZEN", "Spring cereals"),
        ("SOMMERHAFER", "Spring cereals"),
        ("WINTERHAFER", "Other crops"),
        ("WINTERGERSTE", "Winter barley"),
        ("SOMMERGERSTE", "Spring cereals"),
        ("WINTERROGGEN", "Rye"),
        ("WINTERTRITICALE", "Winter triticale"),
        ("KÖRNERMAIS", "Maize"),
        ("SILOMAIS", "Maize"),
        ("SORGHUM", "Other crops"),
        ("SPEISEKARTOFFELN", "Potato"),
        ("ZUCKERRÜBEN", "Beet"),
        ("WINTERRAPS", "Rapeseed"),
        ("SONNENBLUMEN", "Sunflower"),
        ("SOJABOHNEN", "Soy"),
        ("KÖRNERERBSEN", "Legumes"),
        ("WINTERKÜMMEL", "Winter caraway"),
        ("SOMMERKÜMMEL", "Other crops"),
        ("KLEEGRAS", "Grassland"),
        ("DAUERWEIDE", "Grassland"),
        ("WEIN", "Permanent plantation"),
        ("HOPFEN", "Permanent plantation"),
        ("ÖLKÜRBIS", "Other crops"),
    ],
)
def test_that_austrian_names_reach_their_class(crops, name, class_name):
    names = {c.class_id: c.name for c in crops.classes}
    placed = place_record(codes_of("snar"), crops, None, name)
    assert placed.reason is None
    assert names[placed.class_id] == class_name


def test_that_a_code_goes_before_a_name(crops):
    assert place_record(codes_of("snar"), crops, "110", "SILOMAIS").class_id == 6


def test_that_an_unknown_code_falls_back_to_its_name_whatever_its_case(crops):
    assert place_record(codes_of("snar"), crops, "99999", "  winterraps ").class_id == 9


def test_that_two_main_crops_of_one_season_are_both_given(crops):
    placed = place_record(codes_of("snar"), crops, None, "FRÜHKARTOFFELN / MAIS")
    assert (placed.class_id, placed.class_ids, placed.reason) == (None, (2, 3), None)


def test_that_an_unknown_crop_is_reported_and_not_guessed(crops):
    placed = place_record(codes_of("snar"), crops, "99999", "DRACHENFRUCHT")
    assert (placed.class_id, placed.class_ids, placed.hcat) == (None, (), ())
    assert placed.reason == "unknown in snar: code '99999', name 'DRACHENFRUCHT'"


def test_that_what_is_no_crop_has_a_reason(crops):
    placed = place_record(codes_of("snar"), crops, "360", None)
    assert (placed.class_ids, placed.reason) == ((), "trees or woody landscape element, no crop")


@pytest.mark.parametrize(
    ("code", "classes"),
    [
        ("B11", (11, 12)),
        ("B13", (6, 11)),
        ("B14", (8, 11)),
        ("B15", (11, 15)),
        ("B16", (2,)),
        ("B18", (11, 13)),
        ("B22", (10,)),
        ("E20", (1,)),
        ("A11", ()),
    ],
)
def test_that_a_lucas_cover_admits_all_classes_it_may_stand_for(crops, code, classes):
    assert admissible_classes(codes_of("lucas"), crops, code) == classes


@pytest.mark.parametrize(
    ("code", "classes"),
    [
        ("B11", (0,)),
        ("B13", (0,)),
        ("B16", (1,)),
        ("B21", (2,)),
        ("B32", (3,)),
        ("B33", (3,)),
        ("B41", (4,)),
        ("B55", (5,)),
        ("B82", (6,)),
        ("B43", (2, 7)),
    ],
)
def test_that_lucas_meets_the_coarse_legend_without_seasons(code, classes):
    assert admissible_classes(codes_of("lucas"), load_legend("coarse"), code) == classes


def test_that_a_season_that_is_not_stated_is_not_chosen(crops):
    assert crops.class_of_hcat("3301010199") is None
    assert crops.reason_of_hcat("3301010199") == "winter or spring wheat not stated"


def test_that_a_hierarchical_code_takes_its_longest_prefix(crops):
    # 1101010021 winter durum; 1101010099 has no entry of its own, wheat has; 1201000010 vineyards.
    codes = codes_of("ewoc")
    assert [admissible_classes(codes, crops, c) for c in ("1101010021", "1101010099", "1201000010")] == [(12,), (11, 12), (14,)]


def test_that_every_hcat_code_in_the_lists_has_a_label():
    labels = load_hcat()
    used = set()
    for codes in map(codes_of, LISTS):
        used |= {c for group in (*codes.by_code.values(), *codes.by_name.values(), *(h for _, h in codes.by_prefix)) for c in group}
    assert used == set(labels)


def test_that_the_crosswalk_holds_what_each_hcat_code_gives(crops):
    crosswalk, coarse = load_crosswalk("timesen2crop_to_coarse"), load_legend("coarse")
    for hcat in load_hcat():
        fine, rough = crops.class_of_hcat(hcat), coarse.class_of_hcat(hcat)
        assert (fine is None) == (rough is None), hcat
        assert fine is None or rough in crosswalk.by_class[fine], hcat


@pytest.mark.parametrize("name", ["timesen2crop", "coarse"])
def test_that_colours_stay_apart_for_the_colour_blind(name):
    colours = np.array([[int(c.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in load_legend(name).classes])
    # Simulation matrices for full deuteranopia and protanopia: Machado et al. 2009, 10.1109/TVCG.2009.113.
    for sight in (
        np.eye(3),
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    ):
        seen = lab(np.clip(linear(colours) @ sight.T, 0, 1))
        nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
        assert nearest > 15  # a difference of 2.3 is just noticeable


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def test_that_an_unknown_legend_lists_those_that_exist():
    with pytest.raises(MissingError, match=r"known: .*coarse.*timesen2crop"):
        load_legend("eurocrops")


def test_that_a_list_is_not_taken_for_a_legend():
    with pytest.raises(MissingError, match="needed 'classes'"):
        load_legend("snar")


BASE = {"name": "x", "version": "1", "classes": [{"id": 0, "name": "A", "colour": "#000000"}], "hcat": {"3301": 0}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": [*BASE["classes"], *BASE["classes"]]}, "class ids repeat"),
        ({"hcat": {"3301": 7}}, "unknown classes 7"),
        ({"hcat": {"3302": None}}, "without a reason"),
        ({"hcat": {"33010": 0}}, "two a level"),
    ],
)
def test_that_a_legend_at_odds_with_itself_is_refused(monkeypatch, change, message):
    monkeypatch.setattr(legend_module, "read_legend_file", lambda name, needed: BASE | change)
    with pytest.raises(FormatError, match=message):
        load_legend("x")


def test_that_an_unquoted_hcat_code_is_refused(monkeypatch):
    content = yaml.safe_load('{name: x, version: "1", codes: {"1": {hcat: 0330101}}}')
    monkeypatch.setattr(legend_module, "read_legend_file", lambda name, needed: content)
    with pytest.raises(FormatError, match="quoted HCAT codes of ten digits"):
        load_codes("x")


def test_that_a_crosswalk_of_an_older_legend_is_refused(monkeypatch):
    newer = Legend("timesen2crop", "2", tuple(LegendClass(i, str(i), "#000000") for i in range(16)), ())
    monkeypatch.setattr(legend_module, "load_legend", lambda name: newer)
    with pytest.raises(FormatError, match="needed legend timesen2crop@1, found timesen2crop@2"):
        load_crosswalk("timesen2crop_to_coarse")


@pytest.mark.real
def test_that_all_austrian_names_of_2018_are_placed(real_data: Path, crops):
    with open(real_data / "invekos" / "at_lpis_2018_crop_to_group_mapping_basic.csv", encoding="utf-8-sig", newline="") as stream:
        names = [row[0] for row in csv.reader(stream, delimiter=";")][1:]
    placed = [place_record(codes_of("snar"), crops, None, name) for name in names]
    assert len(names) == 209
    assert [n for n, p in zip(names, placed, strict=True) if not p.hcat] == []
    assert {p.class_id for p in placed if p.class_id is not None} == set(range(16))


@pytest.mark.real
def test_that_all_crops_of_the_real_parcels_are_placed(real_data: Path, crops):
    austrian = pyogrio.read_dataframe(f"zip://{real_data}/invekos/inspire_schlaege_2025-1_polygon.gpkg.zip", read_geometry=False)
    dutch = pyogrio.read_dataframe(real_data / "invekos" / "brpgewaspercelen_definitief_2023.gpkg", read_geometry=False)
    by_code = [place_record(codes_of("snar"), crops, code) for code in austrian["SNAR_CODE"]]
    by_name = [place_record(codes_of("snar"), crops, None, name) for name in austrian["SNAR_BEZEICHNUNG"]]
    assert by_code == by_name
    assert all(p.hcat for p in by_code)
    dutch_by_code = [place_record(codes_of("brp"), crops, str(code)) for code in dutch["gewascode"]]
    dutch_by_name = [place_record(codes_of("brp"), crops, None, name) for name in dutch["gewas"]]
    assert dutch_by_code == dutch_by_name
    assert all(p.hcat for p in dutch_by_code)
    # 43 ditches, 4 rows of trees, 5 fallow, 1 nature mixture have no class; the rest have one.
    assert sum(p.class_id is None for p in dutch_by_code) == 53


@pytest.mark.real
def test_that_all_french_parcels_are_placed(real_data: Path, crops):
    table = pq.read_table(real_data / "timeseries" / "2022_FRA_LPIS_POLY_110.geoparquet", columns=["sample_id", "ewoc_code"])
    codes = dict(zip(*(table.column(name).to_pylist() for name in ("sample_id", "ewoc_code")), strict=True))
    placed = {key: place_record(codes_of("ewoc"), crops, str(code)) for key, code in codes.items()}
    assert len(placed) == 500
    assert all(p.hcat for p in placed.values())
    # The published mapping to 28 crop types calls the same codes maize.
    mapping = json.loads((real_data / "timeseries" / "class_mappings.json").read_text(encoding="utf-8"))["CROPTYPE28"]
    maize = {key for key, code in codes.items() if mapping.get(str(code)) == "maize"}
    assert {key for key, p in placed.items() if p.class_id == 2} == maize
