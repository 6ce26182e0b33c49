"""The synthetic archive: a tiny one is made once and looked at from outside."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from defusedxml.ElementTree import parse

from eespark.synthetic.archive import make_archive
from eespark.synthetic.crops import CROPS
from eespark.synthetic.settings import ArchiveSettings
from tests.codestream import coding_of

L2A_NAME = re.compile(r"^S2[AB]_MSIL2A_\d{8}T\d{6}_N(0214|0400)_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}$")
BAND_FILE = re.compile(r"^GRANULE/L2A_T(\w{5})_A\d{6}_\d{8}T\d{6}/IMG_DATA/R(10|20)m/T\1_\d{8}T\d{6}_(B\d\d|B8A|SCL)_\2m\.jp2$")


def _settings(folder: Path, **changes: Any) -> ArchiveSettings:
    base = {
        "output": str(folder),
        "summary": "unused.json",
        "seed": 5,
        "size_px": 128,
        "jp2_block_px": (64, 32),
        "first_date": "2018-02-10",
        "last_date": "2018-04-20",
        "dates_per_tile": 3,
        "workers": 1,
    }
    return ArchiveSettings.model_validate(base | changes)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "input"
    make_archive(_settings(folder))
    return folder


@pytest.fixture(scope="module")
def truth(archive: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((archive / "truth" / "manifest.json").read_text())
    return content


def _safes(archive: Path) -> list[Path]:
    return sorted((archive / "archive").glob("*.SAFE"))


def _named(truth: dict[str, Any], fault: str) -> list[str]:
    return [p["product_id"] for p in truth["products"] if p["fault"] == fault]


def _band(archive: Path, product_id: str, band: str) -> np.ndarray:
    (path,) = (archive / "archive" / f"{product_id}.SAFE").glob(f"GRANULE/*/IMG_DATA/**/*_{band}*.jp2")
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def _listed(safe: Path) -> dict[str, tuple[int, str]]:
    streams = parse(safe / "manifest.safe").getroot().iter("byteStream")
    return {s.find("fileLocation").get("href").removeprefix("./"): (int(s.get("size")), s.find("checksum").text) for s in streams}


def test_that_names_of_products_and_bands_are_those_of_the_agency(archive: Path, truth: dict[str, Any]) -> None:
    l2a = [p["product_id"] for p in truth["products"] if p["level"] == "L2A"]
    assert all(L2A_NAME.match(name) for name in l2a)
    whole = next(s for s in _safes(archive) if s.stem not in truth["faults"])
    bands = {m[3] for p in whole.rglob("*.jp2") if (m := BAND_FILE.match(p.relative_to(whole).as_posix()))}
    assert bands == {"B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL"}


def test_that_names_agree_with_a_real_listing(real_data: Path, archive: Path, truth: dict[str, Any]) -> None:
    real = (real_data / "sentinel2" / "safe-listings" / "L2A_02.14.csv").read_text().splitlines()
    pattern = {re.sub(r"\d{8}T\d{6}|A\d{6}|T\d\d[A-Z]{3}", "#", line.split(";")[1].split(".SAFE/")[1]) for line in real if ".SAFE/" in line}
    old = next(p["product_id"] for p in truth["products"] if p["baseline"] == "02.14" and not p["fault"])
    safe = archive / "archive" / f"{old}.SAFE"
    ours = {re.sub(r"\d{8}T\d{6}|A\d{6}|T\d\d[A-Z]{3}", "#", p.relative_to(safe).as_posix()) for p in safe.rglob("*") if p.is_file()}
    assert ours <= pattern


def test_that_every_file_has_the_size_and_md5_of_its_manifest(archive: Path, truth: dict[str, Any]) -> None:
    sound = [s for s in _safes(archive) if truth["faults"].get(s.stem, {}).get("fault") not in ("truncated", "missing_band")]
    for safe in sound:
        files = {p.relative_to(safe).as_posix(): p.read_bytes() for p in safe.rglob("*") if p.is_file() and p.name != "manifest.safe"}
        assert _listed(safe) == {name: (len(b), hashlib.md5(b, usedforsecurity=False).hexdigest()) for name, b in files.items()}


def test_that_only_baseline_04_00_has_thirteen_offsets_of_minus_1000(archive: Path) -> None:
    for safe in _safes(archive):
        if "_MSIL2A_" not in safe.name:
            continue
        found = [(e.get("band_id"), e.text) for e in parse(safe / "MTD_MSIL2A.xml").getroot().iter("BOA_ADD_OFFSET")]
        assert found == ([(str(i), "-1000") for i in range(13)] if "_N0400_" in safe.name else [])


def test_that_the_reprocessed_product_differs_by_1000_where_there_is_data(archive: Path, truth: dict[str, Any]) -> None:
    (new,) = _named(truth, "reprocessed")
    old = next(
        p["product_id"] for p in truth["products"] if p["product_id"][:26] == new[:26] and p["baseline"] == "02.14" and p["level"] == "L2A"
    )
    before, after = (_band(archive, name, "B04").astype(int) for name in (old, new))
    assert ((before == 0) == (after == 0)).all()
    clear = before > 1
    assert clear.any()
    assert (after[clear] - before[clear] == 1000).all()
    assert (_band(archive, old, "SCL") == _band(archive, new, "SCL")).all()


def test_that_the_halves_hold_different_ground_of_one_sensing(archive: Path, truth: dict[str, Any]) -> None:
    first, second = _named(truth, "half")
    assert first[:45] == second[:45]
    assert len({p["datastrip"] for p in truth["products"] if p["fault"] == "half"}) == 2
    for band in ("B02", "B11", "SCL"):
        one, other = (_band(archive, name, band) > 0 for name in (first, second))
        assert one.any()
        assert other.any()
        assert not (one & other).any()


def test_that_the_truncated_file_is_shorter_than_its_manifest_says_and_cannot_be_decoded(archive: Path, truth: dict[str, Any]) -> None:
    (name,) = _named(truth, "truncated")
    safe = archive / "archive" / f"{name}.SAFE"
    (path,) = safe.glob("GRANULE/*/IMG_DATA/R20m/*_B05_20m.jp2")
    assert path.stat().st_size < _listed(safe)[path.relative_to(safe).as_posix()][0]
    with rasterio.open(path) as dataset:
        last = rasterio.windows.Window(32, 32, 32, 32)
        with pytest.raises(rasterio.errors.RasterioIOError):
            dataset.read(1, window=last)


def test_that_the_missing_band_stands_in_the_manifest_only(archive: Path, truth: dict[str, Any]) -> None:
    (name,) = _named(truth, "missing_band")
    safe = archive / "archive" / f"{name}.SAFE"
    absent = [n for n in _listed(safe) if not (safe / n).exists()]
    assert [n.rsplit("_", 2)[1] for n in absent] == ["B11"]


def test_that_the_empty_date_has_no_data_at_all(archive: Path, truth: dict[str, Any]) -> None:
    (name,) = _named(truth, "empty")
    assert not any(_band(archive, name, band).any() for band in ("B02", "B12", "SCL"))


def test_that_one_product_is_a_zip_with_its_safe_folder_inside(archive: Path, truth: dict[str, Any]) -> None:
    (name,) = _named(truth, "zip")
    with zipfile.ZipFile(archive / "archive" / f"{name}.zip") as file:
        assert f"{name}.SAFE/manifest.safe" in file.namelist()
        assert file.testzip() is None
    assert not (archive / "archive" / f"{name}.SAFE").exists()


def test_that_the_l1c_product_has_its_own_layout(archive: Path, truth: dict[str, Any]) -> None:
    (name,) = _named(truth, "l1c")
    safe = archive / "archive" / f"{name}.SAFE"
    assert (safe / "MTD_MSIL1C.xml").is_file()
    assert len(list(safe.glob("GRANULE/L1C_*/IMG_DATA/*_B8A.jp2"))) == 1
    assert not list(safe.rglob("*SCL*"))
    (granule,) = safe.glob("GRANULE/L1C_*")
    mask = granule / "QI_DATA" / "MSK_CLOUDS_B00.gml"
    assert _listed(safe)[mask.relative_to(safe).as_posix()][0] == mask.stat().st_size
    assert [e.text for e in parse(granule / "MTD_TL.xml").getroot().iter("MASK_FILENAME")] == [mask.relative_to(safe).as_posix()]


def test_that_rasters_carry_crs_place_and_internal_tiles(archive: Path, truth: dict[str, Any]) -> None:
    for tile, epsg, west in (("33TUN", 32633, 401_020 - 20), ("33TVN", 32633, 399_960), ("32TQT", 32632, 716_960)):
        name = next(p["product_id"] for p in truth["products"] if p["tile"] == tile and not p["fault"])
        for band, pixel in (("B02", 10.0), ("B05", 20.0)):
            (path,) = (archive / "archive" / f"{name}.SAFE").glob(f"GRANULE/*/IMG_DATA/R*/*_{band}_*.jp2")
            with rasterio.open(path) as dataset:
                assert dataset.crs.to_epsg() == epsg
                assert dataset.transform.a == pixel
                assert dataset.block_shapes[0] == ((64, 64) if pixel == 10 else (32, 32))
                assert (dataset.transform.c - {"33TUN": 300_000, "33TVN": 399_960, "32TQT": 699_960}[tile]) % 20 == 0
                if tile != "33TUN":
                    assert dataset.transform.c == west


def test_that_bands_are_coded_as_the_agency_codes_them(archive: Path, truth: dict[str, Any]) -> None:
    safe = archive / "archive" / f"{next(p['product_id'] for p in truth['products'] if not p['fault'])}.SAFE"
    for band, side in (("B02_10m", 64), ("B05_20m", 32), ("SCL_20m", 32)):
        (path,) = safe.glob(f"GRANULE/*/IMG_DATA/R*/*_{band}.jp2")
        assert coding_of(path) == {
            "tile": (side, side),
            "progression": "LRCP",
            "layers": 1,
            "levels": 4,
            "reversible": True,
            "code_block": (64, 64),
            "precincts": {(256, 256)},
            "packet_lengths": True,
        }


def test_that_the_overlapping_tiles_have_the_same_truth_on_the_same_ground(archive: Path) -> None:
    with rasterio.open(archive / "truth" / "class_33TUN.tif") as a, rasterio.open(archive / "truth" / "class_33TVN.tif") as b:
        west, east = max(a.bounds.left, b.bounds.left), min(a.bounds.right, b.bounds.right)
        assert a.bounds.left < 400_000 < east
        one, other = (d.read(1, window=d.window(west, a.bounds.bottom, east, a.bounds.top)) for d in (a, b))
    assert one.shape == other.shape == (128, 42)
    assert (one == other).all()
    assert (one != 255).any()


def test_that_declared_areas_are_those_of_the_geometry(archive: Path) -> None:
    table = geopandas.read_file(archive / "labels" / "invekos_2018.gpkg")
    assert table.crs.to_epsg() == 31287
    assert np.allclose(table["SL_FLAECHE_BRUTTO_HA"], table.area / 1e4, rtol=2e-6)
    assert table["GEO_ID"].is_unique
    assert table["GEO_ID"].dtype == float


def test_that_the_declarations_have_the_columns_of_the_real_file(archive: Path, real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "invekos" / "inspire_schlaege_2025-1_polygon.gpkg.zip") as file:
        (name,) = [n for n in file.namelist() if n.endswith(".gpkg")]
        file.extract(name, tmp_path)
    real = geopandas.read_file(tmp_path / name)
    ours = geopandas.read_file(archive / "labels" / "invekos_2018.gpkg")
    assert set(ours.columns) <= set(real.columns)
    assert {"GEO_ID", "FS_KENNUNG", "SNAR_CODE", "SNAR_BEZEICHNUNG", "SL_FLAECHE_BRUTTO_HA"} <= set(ours.columns)
    assert all(ours[c].dtype == real[c].dtype for c in ("GEO_ID", "FS_KENNUNG", "SL_FLAECHE_BRUTTO_HA", "SNAR_BEZEICHNUNG"))


def test_that_declared_names_stand_in_the_austrian_list_and_codes_agree_with_real_ones(real_data: Path, tmp_path: Path) -> None:
    listed = set(
        pd.read_csv(real_data / "invekos" / "at_lpis_2018_crop_to_group_mapping_basic.csv", sep=";", encoding="utf-8-sig")["CROP_ID"]
    )
    declared = [pair for crop in CROPS for pair in crop.declared]
    assert {name for _, name in declared} <= listed
    with zipfile.ZipFile(real_data / "invekos" / "inspire_schlaege_2025-1_polygon.gpkg.zip") as file:
        (name,) = [n for n in file.namelist() if n.endswith(".gpkg")]
        file.extract(name, tmp_path)
    real = geopandas.read_file(tmp_path / name)
    known = dict(zip(real["SNAR_CODE"], real["SNAR_BEZEICHNUNG"], strict=True))
    assert {code: name for code, name in declared if code} == {code: known[code] for code, _ in declared if code}


def test_that_the_wrong_share_of_the_parcels_is_declared_wrongly(archive: Path, truth: dict[str, Any]) -> None:
    parcels = geopandas.read_file(archive / "truth" / "parcels.gpkg")
    declared = parcels[~parcels["fault"].isin(["not_declared", "unknown_crop"])]
    wrong = int((declared["true_class"] != declared["declared_class"]).sum())
    whole = int((parcels["fault"] != "not_declared").sum())
    assert wrong == round(0.05 * whole) == truth["wrongly_declared"]


def test_that_the_declarations_hold_their_faults(archive: Path, truth: dict[str, Any]) -> None:
    table = geopandas.read_file(archive / "labels" / "invekos_2018.gpkg")
    assert truth["declaration_faults"] == {"empty": 1, "overlap": 4, "self_crossing": 1, "sliver": 12, "unknown_crop": 1}
    assert int((table.geometry.is_empty | table.geometry.isna()).sum()) == 1
    assert int((~table.geometry.is_valid).sum()) == 1
    assert int((table["SNAR_CODE"] == "999").sum()) == 1


def test_that_the_unlabelled_tile_has_points_but_no_declarations(archive: Path, truth: dict[str, Any]) -> None:
    assert truth["unlabelled_tile"] == "32TQT"
    table = geopandas.read_file(archive / "labels" / "invekos_2018.gpkg").to_crs(4326)
    assert table.total_bounds[0] > 13.0
    points = pd.read_csv(archive / "labels" / "lucas_2018.csv")
    assert (points["TH_LONG"] < 12.0).any()
    assert (points["TH_LONG"] > 13.0).any()


def test_that_survey_points_carry_missing_codes_where_nobody_stood(archive: Path) -> None:
    points = pd.read_csv(archive / "labels" / "lucas_2018.csv")
    away = points[points["OBS_TYPE"] == 3]
    assert 0 < len(away) < len(points)
    assert (away["GPS_LAT"] == 88.888888).all()
    assert (away["OBS_DIRECT"] == 8).all()
    there = points[points["OBS_TYPE"] <= 2]
    assert (there["GPS_LAT"] < 50).all()
    assert set(there["OBS_DIRECT"]) <= {1, 2, 3}


def test_that_the_geopackage_layer_is_named_by_year(archive: Path) -> None:
    with sqlite3.connect(archive / "labels" / "invekos_2018.gpkg") as connection:
        assert connection.execute("select table_name from gpkg_contents").fetchall() == [("INSPIRE_SCHLAEGE_2018_POLYGON",)]


def test_that_equal_seeds_give_equal_rasters_and_other_seeds_others(archive: Path, truth: dict[str, Any], tmp_path: Path) -> None:
    name = next(p["product_id"] for p in truth["products"] if not p["fault"])
    make_archive(_settings(tmp_path / "same"))
    make_archive(_settings(tmp_path / "other", seed=6))

    def digest(folder: Path) -> str:
        return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.rglob("class_33TUN.tif")))).hexdigest()

    assert (_band(archive, name, "B03") == _band(tmp_path / "same", name, "B03")).all()
    same = sorted((tmp_path / "same" / "archive").rglob("*.jp2"))
    assert [p.read_bytes() for p in same] == [p.read_bytes() for p in sorted((archive / "archive").rglob("*.jp2"))]
    assert digest(archive) == digest(tmp_path / "same") != digest(tmp_path / "other")


def test_that_a_second_run_with_equal_settings_is_skipped(archive: Path) -> None:
    before = (archive / "truth" / "manifest.json").stat().st_mtime_ns
    assert make_archive(_settings(archive, workers=2))["skipped"] is True
    assert (archive / "truth" / "manifest.json").stat().st_mtime_ns == before
