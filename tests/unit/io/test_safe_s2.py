"""Metadata of SAFE products, from small XML written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import shapely

from eespark.bands import BANDS
from eespark.errors import FormatError, MissingError
from eespark.io import safe_s2, safe_xml

NAME = "S2A_MSIL2A_20180507T100031_N0400_R122_T33UXP_20220107T120000"
GRANULE = "GRANULE/L2A_T33UXP_A015000_20180507T100029/MTD_TL.xml"
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{-1000 - i}</BOA_ADD_OFFSET>' for i in range(13))
PRODUCT = f"""<?xml version="1.0"?>
<n1:P xmlns:n1="urn:p"><PROCESSING_BASELINE>04.00</PROCESSING_BASELINE><SENSING_ORBIT_NUMBER>122</SENSING_ORBIT_NUMBER>
<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE><L>{OFFSETS}</L>
<EXT_POS_LIST>48 15 48 16 47 16 47 15 48 15 </EXT_POS_LIST>
<Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment></n1:P>"""
TILE = """<?xml version="1.0"?>
<n1:T xmlns:n1="urn:t"><DATASTRIP_ID metadataLevel="Standard">DS_1</DATASTRIP_ID>
<SENSING_TIME metadataLevel="Standard">2018-05-07T10:00:41.461Z</SENSING_TIME>
<HORIZONTAL_CS_CODE>EPSG:32633</HORIZONTAL_CS_CODE></n1:T>"""


def read(product: str = PRODUCT, tile: str = TILE, **more: str) -> safe_s2.Metadata:
    files = {"MTD_MSIL2A.xml": product, GRANULE: tile, **more}
    return safe_s2.read_metadata(NAME, list(files), lambda name: files[name].encode())


def with_entry(tag: str, text: str) -> str:
    start, end = PRODUCT.index(f"<{tag}") + len(tag) + 1, PRODUCT.index(f"</{tag}>")
    return PRODUCT[: PRODUCT.index(">", start) + 1] + text + PRODUCT[end:]


def test_that_metadata_are_those_of_the_xml() -> None:
    found = read()
    assert (found.mission, found.level, found.tile, found.baseline) == ("S2A", "L2A", "33UXP", "04.00")
    assert (found.relative_orbit, found.datastrip, found.crs, found.scale) == (122, "DS_1", "EPSG:32633", 10_000)
    assert found.sensing_time == datetime(2018, 5, 7, 10, 0, 41, 461000, UTC)
    assert found.cloud_share == 0.125
    # The list gives latitude before longitude.
    assert shapely.from_wkb(found.footprint).bounds == (15, 47, 16, 48)


def test_that_offsets_follow_the_instruments_band_numbers() -> None:
    # band_id counts 13 bands: B02 1, B03 2, B04 3, B05 4, B06 5, B07 6, B08 7, B8A 8, B09 9, B10 10, B11 11, B12 12.
    assert read().offsets == dict(zip(BANDS, [-1001, -1002, -1003, -1004, -1005, -1006, -1008, -1011, -1012], strict=True))


def test_that_without_offsets_they_are_zero() -> None:
    assert read(PRODUCT.replace(OFFSETS, "")).offsets == dict.fromkeys(BANDS, 0.0)


def test_that_offsets_of_some_bands_only_are_refused() -> None:
    with pytest.raises(MissingError, match="of all bands or of none"):
        read(PRODUCT.replace('<BOA_ADD_OFFSET band_id="8">-1008</BOA_ADD_OFFSET>', ""))


@pytest.mark.parametrize("band_id", ["13", "-1", "x", ""])
def test_that_an_offset_of_no_band_is_refused(band_id: str) -> None:
    with pytest.raises(FormatError, match=r"band_id 0\.\.12"):
        read(PRODUCT.replace('band_id="8"', f'band_id="{band_id}"'))


ATTACKS = {
    "external entity": '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    "exponential entities": '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY x "&b;&b;&b;">]>',
    "external DTD": '<!DOCTYPE d SYSTEM "http://example.invalid/d.dtd">',
    "parameter entity": '<!DOCTYPE d [<!ENTITY % x SYSTEM "file:///etc/hostname"> %x;]>',
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("where", ["product", "tile"])
def test_that_xml_that_attacks_its_reader_is_refused(attack: str, where: str) -> None:
    text = PRODUCT if where == "product" else TILE
    hostile = text.replace("?>\n", "?>\n" + ATTACKS[attack], 1).replace("</n1:", "<X>&x;</X></n1:", 1)
    with pytest.raises(FormatError, match="needed plain XML"):
        read(**{where: hostile})


def test_that_an_attack_in_the_manifest_is_refused() -> None:
    hostile = f"{ATTACKS['external entity']}<a>&x;</a>"
    with pytest.raises(FormatError, match="needed plain XML"):
        safe_xml.manifest_sizes(["manifest.safe"], lambda _: hostile.encode())


def test_that_text_that_is_no_xml_is_refused() -> None:
    with pytest.raises(FormatError, match="needed plain XML, found ParseError"):
        read(product="<unfinished>")


FAULTS = [
    ("SENSING_ORBIT_NUMBER", "R122", "needed a number in <SENSING_ORBIT_NUMBER>"),
    ("BOA_QUANTIFICATION_VALUE", "0", "needed a positive <BOA_QUANTIFICATION_VALUE>"),
    ("BOA_QUANTIFICATION_VALUE", "nan", "needed a number in <BOA_QUANTIFICATION_VALUE>"),
    ("Cloud_Coverage_Assessment", "many", "needed a number in <Cloud_Coverage_Assessment>"),
    ("EXT_POS_LIST", "48 15 x 16 47 16 47 15", "needed a number in <EXT_POS_LIST>"),
    ("EXT_POS_LIST", "48 15 48 16", "needed pairs of latitude and longitude"),
]


@pytest.mark.parametrize(("tag", "text", "reason"), FAULTS)
def test_that_an_entry_that_is_not_what_it_must_be_is_named(tag: str, text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read(with_entry(tag, text))


def test_that_a_time_or_crs_that_is_none_is_named() -> None:
    with pytest.raises(FormatError, match="needed an ISO time"):
        read(tile=TILE.replace("2018-05-07T10:00:41.461Z", "yesterday"))
    with pytest.raises(FormatError, match="needed EPSG:n"):
        read(tile=TILE.replace("EPSG:32633", "UTM 33"))


def test_that_a_time_without_a_zone_is_utc() -> None:
    assert read(tile=TILE.replace(".461Z", "")).sensing_time == datetime(2018, 5, 7, 10, 0, 41, tzinfo=UTC)


def test_that_an_absent_entry_is_named() -> None:
    with pytest.raises(MissingError, match="needed <DATASTRIP_ID>"):
        read(tile=TILE.replace("DATASTRIP_ID", "OTHER_ID"))


def test_that_two_granules_are_refused() -> None:
    with pytest.raises(FormatError, match="needed one granule, found 2"):
        read(**{"GRANULE/L2A_T33UYP_A015000_20180507T100029/MTD_TL.xml": TILE})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAME, ("S2A", "L2A", "33UXP")),
        ("S2C_MSIL1C_20250101T100031_N0511_R122_T01LAC_20250107T120000", ("S2C", "L1C", "01LAC")),
        ("S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135", ("S2A", "L1C", "01LAC")),
    ],
)
def test_that_a_compact_name_tells_mission_level_and_tile(name: str, expected: tuple[str, str, str]) -> None:
    found = safe_s2.parse_name(name)
    assert (found.mission, found.level, found.tile) == expected
    assert safe_s2.is_product_name(name)


@pytest.mark.parametrize("name", ["S2A_OPER_PRD_MSIL1C_PDMC_20160910T174323_R071_V20160701T204642_20160701T204643", NAME + "_x", "", "S2A"])
def test_that_other_names_are_refused(name: str) -> None:
    assert not safe_s2.is_product_name(name)
    with pytest.raises(FormatError, match="needed a name as"):
        safe_s2.parse_name(name)


def image(band: str, metres: int | None, folder: str = "IMG_DATA") -> str:
    end = f"_{metres}m" if metres else ""
    return f"GRANULE/L2A_T33UXP_A015000_20180507T100029/{folder}/R{metres}m/T33UXP_20180507T100031_{band}{end}.jp2"


def test_that_the_finest_file_of_each_band_is_taken() -> None:
    names = [image(band, metres) for metres in (60, 20, 10) for band in (*BANDS, "SCL") if not (band == "SCL" and metres == 10)]
    found = safe_s2.band_files(names, "L2A")
    assert found == {band: image(band, 20 if band == "SCL" else 10) for band in (*BANDS, "SCL")}


def test_that_quality_files_are_not_bands() -> None:
    names = [image(band, 20) for band in BANDS] + [image("SCL", 20, "QI_DATA")]
    with pytest.raises(MissingError, match="found no file of SCL"):
        safe_s2.band_files(names, "L2A")
    assert list(safe_s2.band_files(names, "L1C")) == list(BANDS)


def test_that_sizes_of_the_manifest_are_compared_with_those_found() -> None:
    manifest = (
        '<m><byteStream size="10"><fileLocation href="./a.jp2"/></byteStream>'
        '<byteStream size="20"><fileLocation href="b.jp2"/></byteStream></m>'
    )
    sizes = safe_xml.manifest_sizes(["manifest.safe"], lambda _: manifest.encode())
    assert sizes == {"a.jp2": 10, "b.jp2": 20}
    found: dict[str, Any] = {"a.jp2": 10, "b.jp2": 19, "c.jp2": 3}
    safe_xml.check_sizes(sizes, found, ["a.jp2", "c.jp2"])
    with pytest.raises(FormatError, match=r"b\.jp2: manifest.safe says 20 bytes, found 19"):
        safe_xml.check_sizes(sizes, found, ["a.jp2", "b.jp2", "c.jp2"])
    with pytest.raises(FormatError, match=r"a\.jp2: manifest.safe says 10 bytes, found no file"):
        safe_xml.check_sizes(sizes, {}, ["a.jp2"])
