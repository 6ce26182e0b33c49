"""Label sources are read in ranges, whatever their format, and what is wrong with them is said."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from eespark.errors import CapacityError, FormatError, MissingError
from eespark.io.vectors import SourceSettings, count_features, read_chunk

INVEKOS = {"name": "invekos_2018", "key": "GEO_ID", "code": "SNAR_CODE", "label": "SNAR_BEZEICHNUNG", "year": 2018, "codes": "snar"}


def invekos(url, **more) -> SourceSettings:
    return SourceSettings(url=str(url), **(INVEKOS | more))


@pytest.fixture(scope="module")
def parcels() -> geopandas.GeoDataFrame:
    shapes = [shapely.box(i * 100, 0, i * 100 + 50, 50) for i in range(10)]
    columns = {
        "GEO_ID": [106806035.0 + i for i in range(10)],
        "SNAR_CODE": ["110" if i % 2 else None for i in range(10)],
        "SNAR_BEZEICHNUNG": ["WINTERGERSTE", "KÖRNERMAIS"] * 5,
        "SL_FLAECHE_BRUTTO_HA": [0.25] * 10,
    }
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:31287")


@pytest.fixture(params=["gpkg", "zip", "shapefile", "geoparquet"])
def written(request, parcels, tmp_path):
    if request.param in ("gpkg", "zip"):
        path = tmp_path / "parcels.gpkg"
        parcels.to_file(path, layer="schlaege")
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "parcels.gpkg.zip", "w") as archive:
                archive.write(path, "parcels.gpkg")
            path = tmp_path / "parcels.gpkg.zip"
    elif request.param == "shapefile":
        path = tmp_path / "parcels.shp"
        # Shapefiles cut names to ten characters.
        parcels.rename(columns={"SNAR_BEZEICHNUNG": "SNAR_BEZEI", "SL_FLAECHE_BRUTTO_HA": "SL_FLAECHE"}).to_file(path)
    else:
        path = tmp_path / "parcels.parquet"
        parcels.to_parquet(path, row_group_size=3)
    return path


def test_that_all_formats_give_the_same_records(written, parcels, tmp_path):
    source = invekos(written, aliases={"SNAR_BEZEICHNUNG": ("SNAR_BEZEI",)})
    records = list(read_chunk(source, 0, 100, str(tmp_path / "scratch")))
    assert count_features(source, str(tmp_path / "scratch")) == len(records) == 10
    assert [r.source_key for r in records] == [str(106806035 + i) for i in range(10)]
    assert [r.code for r in records] == [None, "110"] * 5
    assert [r.name for r in records] == ["WINTERGERSTE", "KÖRNERMAIS"] * 5
    assert {(r.crs, r.reason, r.weight) for r in records} == {("EPSG:31287", None, 1.0)}
    assert all(shapely.from_wkb(r.geometry).equals(g) for r, g in zip(records, parcels.geometry, strict=True))


def test_that_ranges_together_are_the_whole(written, tmp_path):
    source = invekos(written, aliases={"SNAR_BEZEICHNUNG": ("SNAR_BEZEI",)})
    scratch = str(tmp_path / "scratch")
    parts = [r for first in range(0, 12, 4) for r in read_chunk(source, first, 4, scratch)]
    assert parts == list(read_chunk(source, 0, 10, scratch))
    assert list(read_chunk(source, 10, 4, scratch)) == []


def test_that_attributes_are_kept_as_text_and_nulls_left_out(written, tmp_path):
    aliases = {"SNAR_BEZEICHNUNG": ("SNAR_BEZEI",), "SL_FLAECHE_BRUTTO_HA": ("SL_FLAECHE",)}
    source = invekos(written, aliases=aliases, attributes=("SL_FLAECHE_BRUTTO_HA", "SNAR_CODE"))
    first, second = read_chunk(source, 0, 2, str(tmp_path))
    assert first.attributes == {"SL_FLAECHE_BRUTTO_HA": "0.25"}
    assert second.attributes == {"SL_FLAECHE_BRUTTO_HA": "0.25", "SNAR_CODE": "110"}


def test_that_a_missing_column_lists_those_that_exist(written, tmp_path):
    with pytest.raises(MissingError, match=r"needed the column KULTUR or CROP, found .*GEO_ID.*SNAR_CODE"):
        list(read_chunk(invekos(written, label="KULTUR", aliases={"KULTUR": ("CROP",)}), 0, 1, str(tmp_path)))


def test_that_features_without_a_key_column_take_their_number(parcels, tmp_path):
    parcels.to_parquet(tmp_path / "p.parquet", row_group_size=4)
    records = read_chunk(invekos(tmp_path / "p.parquet", key=None), 5, 2, str(tmp_path))
    assert [r.source_key for r in records] == ["#5", "#6"]


@pytest.fixture
def without_crs(parcels, tmp_path):
    table = pa.table({"GEO_ID": parcels["GEO_ID"], "SNAR_CODE": parcels["SNAR_CODE"], "SNAR_BEZEICHNUNG": parcels["SNAR_BEZEICHNUNG"]})
    pq.write_table(table.append_column("geometry", [parcels.geometry.to_wkb()]), tmp_path / "plain.parquet")
    return tmp_path / "plain.parquet"


def test_that_no_crs_is_a_reason_and_not_a_guess(without_crs, tmp_path):
    record = next(read_chunk(invekos(without_crs), 0, 1, str(tmp_path)))
    assert (record.crs, record.reason) == (None, "no_crs")
    assert record.geometry is not None


def test_that_a_stated_crs_serves_where_the_file_has_none(without_crs, tmp_path):
    record = next(read_chunk(invekos(without_crs, crs="EPSG:31287"), 0, 1, str(tmp_path)))
    assert (record.crs, record.reason) == ("EPSG:31287", None)


def test_that_the_crs_of_the_file_goes_before_the_stated_one(written, tmp_path):
    source = invekos(written, crs="EPSG:4326", aliases={"SNAR_BEZEICHNUNG": ("SNAR_BEZEI",)})
    assert next(read_chunk(source, 0, 1, str(tmp_path))).crs == "EPSG:31287"


def test_that_a_geometry_that_is_absent_is_a_reason(parcels, tmp_path):
    some = parcels.copy()
    some.loc[1, "geometry"] = None
    for name, write in (("p.gpkg", some.to_file), ("p.parquet", some.to_parquet)):
        write(tmp_path / name)
        assert [r.reason for r in read_chunk(invekos(tmp_path / name), 0, 3, str(tmp_path))] == [None, "empty", None]


def test_that_heights_are_dropped(tmp_path):
    frame = geopandas.GeoDataFrame(
        {"GEO_ID": ["a"], "SNAR_CODE": ["110"], "SNAR_BEZEICHNUNG": ["x"]},
        geometry=[shapely.Polygon([(0, 0, 7), (1, 0, 7), (1, 1, 7)])],
        crs="EPSG:31287",
    )
    frame.to_file(tmp_path / "p.gpkg")
    frame.to_parquet(tmp_path / "p.parquet")
    for name in ("p.gpkg", "p.parquet"):
        record = next(read_chunk(invekos(tmp_path / name), 0, 1, str(tmp_path)))
        assert not shapely.from_wkb(record.geometry).has_z


def test_that_geoparquet_without_a_stated_crs_is_longitude_and_latitude(parcels, tmp_path):
    # GeoParquet 1.0: an absent "crs" means OGC:CRS84; null means unknown.
    table = pq.read_table(_geoparquet(parcels, tmp_path))
    for text, crs in ((b"", "OGC:CRS84"), (b', "crs": null', None)):
        metadata = (
            b'{"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "geometry_types": []%s}}}'
            % text
        )
        pq.write_table(table.replace_schema_metadata({b"geo": metadata}), tmp_path / "q.parquet")
        assert next(read_chunk(invekos(tmp_path / "q.parquet"), 0, 1, str(tmp_path))).crs == crs


def _geoparquet(parcels, folder):
    parcels.to_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def test_that_an_absent_source_is_named(tmp_path):
    with pytest.raises(MissingError, match="found nothing there"):
        count_features(invekos(tmp_path / "none.gpkg"), str(tmp_path))


@pytest.mark.parametrize("name", ["x.gpkg", "x.shp", "x.parquet", "x.zip"])
def test_that_a_file_of_other_content_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no such thing" * 100)
    with pytest.raises(FormatError, match=name):
        count_features(invekos(tmp_path / name), str(tmp_path))


def test_that_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "x.kml").write_bytes(b"<kml/>")
    with pytest.raises(FormatError, match=r"needed one of \.gpkg"):
        count_features(invekos(tmp_path / "x.kml"), str(tmp_path))


def test_that_several_layers_need_one_named(parcels, tmp_path):
    for layer in ("a", "b"):
        parcels.to_file(tmp_path / "p.gpkg", layer=layer)
    with pytest.raises(MissingError, match="needed one layer, found a, b"):
        count_features(invekos(tmp_path / "p.gpkg"), str(tmp_path))
    assert count_features(invekos(tmp_path / "p.gpkg", layer="b"), str(tmp_path)) == 10


def test_that_tables_without_geometry_are_no_layers(parcels, tmp_path):
    pyogrio.write_dataframe(parcels[["SNAR_CODE"]].head(3), tmp_path / "p.gpkg", layer="layer_styles")
    parcels.to_file(tmp_path / "p.gpkg", layer="schlaege")
    source = invekos(tmp_path / "p.gpkg")
    assert count_features(source, str(tmp_path)) == len(list(read_chunk(source, 0, 20, str(tmp_path)))) == 10


@pytest.mark.parametrize("member", ["../out.gpkg", "/out.gpkg", "a/../../out.gpkg", "..\\out.gpkg", "C:/out.gpkg"])
def test_that_a_zip_never_writes_outside_its_folder(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(member, b"x")
    with pytest.raises(FormatError, match="do not trust this file"):
        count_features(invekos(tmp_path / "bad.zip"), str(tmp_path / "scratch"))
    assert [p for p in tmp_path.rglob("*") if p.name != "bad.zip" and p.is_file()] == []


def test_that_a_zip_that_lies_about_its_size_is_stopped(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p.gpkg", bytes(5_000_000))
    raw = bytearray((tmp_path / "bomb.zip").read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 10)  # uncompressed size in the central directory
    (tmp_path / "bomb.zip").write_bytes(raw)
    with pytest.raises((CapacityError, FormatError)):
        count_features(invekos(tmp_path / "bomb.zip", max_bytes=1_000_000), str(tmp_path / "scratch"))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_that_a_zip_larger_than_allowed_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p.gpkg", bytes(2_000_000))
    with pytest.raises(CapacityError, match="at most 1000000 bytes"):
        count_features(invekos(tmp_path / "big.zip", max_bytes=1_000_000), str(tmp_path / "scratch"))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_that_a_remote_source_is_fetched_once(parcels, tmp_path):
    import fsspec

    parcels.to_file(tmp_path / "p.gpkg")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/labels/p.gpkg", (tmp_path / "p.gpkg").read_bytes())
    source = invekos("memory://labels/p.gpkg")
    assert count_features(source, str(tmp_path / "scratch")) == 10
    assert len(list(read_chunk(source, 8, 5, str(tmp_path / "scratch")))) == 2
    assert len(list((tmp_path / "scratch").rglob("*.gpkg"))) == 1
    with pytest.raises(CapacityError, match="at most 10 bytes"):
        count_features(invekos("memory://labels/p.gpkg", max_bytes=10), str(tmp_path / "scratch"))


@pytest.mark.real
def test_that_the_real_austrian_zip_has_100_keys(real_data: Path, tmp_path):
    source = invekos(real_data / "invekos" / "inspire_schlaege_2025-1_polygon.gpkg.zip", attributes=("FS_KENNUNG", "SL_FLAECHE_BRUTTO_HA"))
    records = list(read_chunk(source, 0, 1000, str(tmp_path)))
    assert count_features(source, str(tmp_path)) == len({r.source_key for r in records}) == 100
    assert len({r.attributes["FS_KENNUNG"] for r in records}) == 69
    assert all(r.source_key.isdigit() for r in records)
    assert {r.crs for r in records} == {"EPSG:31287"}
    declared = np.array([float(r.attributes["SL_FLAECHE_BRUTTO_HA"]) for r in records])
    assert np.abs(shapely.area(shapely.from_wkb([r.geometry for r in records])) / 1e4 - declared).max() < 2e-6


@pytest.mark.real
def test_that_the_real_dutch_parcels_are_read(real_data: Path, tmp_path):
    url = str(real_data / "invekos" / "brpgewaspercelen_definitief_2023.gpkg")
    source = SourceSettings(name="brp_2023", url=url, code="gewascode", label="gewas", year=2023, codes="brp")
    records = list(read_chunk(source, 0, 1000, str(tmp_path)))
    assert (len(records), len({r.source_key for r in records}), {r.crs for r in records}) == (100, 100, {"EPSG:28992"})
    assert sum(r.code == "343" and r.name == "Sloot" for r in records) == 43


@pytest.mark.real
def test_that_the_real_french_parcels_need_a_stated_crs(real_data: Path, tmp_path):
    url = str(real_data / "timeseries" / "2022_FRA_LPIS_POLY_110.geoparquet")
    source = SourceSettings(name="rpg_2022", url=url, key="sample_id", code="ewoc_code", year=2022, codes="ewoc")
    assert count_features(source, str(tmp_path)) == 8500
    assert {r.reason for r in read_chunk(source, 8000, 1000, str(tmp_path))} == {"no_crs"}
    stated = source.model_copy(update={"crs": "EPSG:4326"})
    assert {(r.reason, r.crs) for r in read_chunk(stated, 8000, 1000, str(tmp_path))} == {(None, "EPSG:4326")}
