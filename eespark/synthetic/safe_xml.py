"""The XML files of a product, with the agency's elements, order and namespaces."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import escape

from eespark.bands import INSTRUMENT_BANDS
from eespark.grid import TileGrid
from eespark.synthetic.names import ProductName

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_XFDU: Final = (
    'xmlns:gml="http://www.opengis.net/gml" xmlns:safe="http://www.esa.int/safe/sentinel/1.1" xmlns:xfdu="urn:ccsds:schema:xfdu:1"'
)
_PSD: Final = "https://psd-14.sentinel2.eo.esa.int/PSD/"
_SCENE_CLASSES: Final = (
    "SC_NODATA", "SC_SATURATED_DEFECTIVE", "SC_DARK_FEATURE_SHADOW", "SC_CLOUD_SHADOW", "SC_VEGETATION", "SC_NOT_VEGETATED", "SC_WATER",
    "SC_UNCLASSIFIED", "SC_CLOUD_MEDIUM_PROBA", "SC_CLOUD_HIGH_PROBA", "SC_THIN_CIRRUS", "SC_SNOW_ICE",
)  # fmt: skip
_PERCENTAGES: Final = (
    ("NODATA_PIXEL", 0), ("SATURATED_DEFECTIVE_PIXEL", 1), ("DARK_FEATURES", 2), ("CLOUD_SHADOW", 3), ("VEGETATION", 4),
    ("NOT_VEGETATED", 5),
    ("WATER", 6), ("UNCLASSIFIED", 7), ("MEDIUM_PROBA_CLOUDS", 8), ("HIGH_PROBA_CLOUDS", 9), ("THIN_CIRRUS", 10), ("SNOW_ICE", 11),
)  # fmt: skip
_CHECKS: Final = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")


def zulu(moment: datetime) -> str:
    """ISO time with milliseconds and Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def product_xml(name: ProductName, image_files: list[str], facts: dict[str, Any]) -> str:
    """`MTD_MSIL2A.xml` or `MTD_MSIL1C.xml`.

    Args:
        name: Of the product.
        image_files: Paths without suffix.
        facts: See `safe.write_product`.
    """
    level = f"Level-{name.level[1:]}"
    images = "\n".join(f"            <IMAGE_FILE>{f}</IMAGE_FILE>" for f in image_files)
    schema = f"{_PSD}User_Product_{level}.xsd"
    return f"""{_HEAD}<n1:{level}_User_Product xmlns:n1="{schema}" {_XSI} xsi:schemaLocation="{schema}">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{zulu(name.start)}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{zulu(name.start)}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name.product_id}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>{level}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{name.level[1:]}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{name.baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{zulu(name.made)}</GENERATION_TIME>
      <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
      <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
      <Datatake datatakeIdentifier="{name.datatake_id}">
        <SPACECRAFT_NAME>Sentinel-{name.mission[1:]}</SPACECRAFT_NAME>
        <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
        <DATATAKE_SENSING_START>{zulu(name.start)}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{name.relative_orbit}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Query_Options completeSingleTile="true">
        <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
      </Query_Options>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="{name.datastrip_id}" granuleIdentifier="{name.granule_id}" imageFormat="JPEG2000">
{images}
          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
{_special_values()}
{_quantification(name)}
    </Product_Image_Characteristics>
  </n1:General_Info>
{_product_geometry(facts)}{_product_quality(name, facts)}</n1:{level}_User_Product>
"""


def _product_geometry(facts: dict[str, Any]) -> str:
    positions = " ".join(f"{lat:.12g} {lon:.12g}" for lon, lat in facts["footprint"])
    return f"""  <n1:Geometric_Info>
    <Product_Footprint>
      <Product_Footprint>
        <Global_Footprint>
          <EXT_POS_LIST>{positions} </EXT_POS_LIST>
        </Global_Footprint>
      </Product_Footprint>
      <RASTER_CS_TYPE>POINT</RASTER_CS_TYPE>
      <PIXEL_ORIGIN>1</PIXEL_ORIGIN>
    </Product_Footprint>
    <Coordinate_Reference_System>
      <GEO_TABLES version="1">EPSG</GEO_TABLES>
      <HORIZONTAL_CS_TYPE>GEOGRAPHIC</HORIZONTAL_CS_TYPE>
    </Coordinate_Reference_System>
  </n1:Geometric_Info>
"""


def _product_quality(name: ProductName, facts: dict[str, Any]) -> str:
    checks = "\n".join(f'        <quality_check checkType="{c}">PASSED</quality_check>' for c in _CHECKS)
    content = f"\n    <Image_Content_QI>\n{_percentages(facts, 6)}\n    </Image_Content_QI>" if name.level == "L2A" else ""
    return f"""  <n1:Quality_Indicators_Info>
    <Cloud_Coverage_Assessment>{facts["cloud"]:.6f}</Cloud_Coverage_Assessment>
    <Technical_Quality_Assessment>
      <DEGRADED_ANC_DATA_PERCENTAGE>0.0</DEGRADED_ANC_DATA_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
    </Technical_Quality_Assessment>
    <Quality_Control_Checks>
      <Quality_Inspections>
{checks}
      </Quality_Inspections>
      <Failed_Inspections/>
    </Quality_Control_Checks>{content}
  </n1:Quality_Indicators_Info>
"""


def _special_values() -> str:
    pairs = (("NODATA", 0), ("SATURATED", 65535))
    return "\n".join(
        f"      <Special_Values>\n        <SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>\n"
        f"        <SPECIAL_VALUE_INDEX>{index}</SPECIAL_VALUE_INDEX>\n      </Special_Values>"
        for text, index in pairs
    )


def _quantification(name: ProductName) -> str:
    if name.level == "L1C":
        return '      <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    lines = [
        "      <QUANTIFICATION_VALUES_LIST>",
        '        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>',
        '        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>',
        '        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>',
        "      </QUANTIFICATION_VALUES_LIST>",
    ]
    if name.baseline >= "04.00":
        lines += ["      <BOA_ADD_OFFSET_VALUES_LIST>"]
        lines += [f'        <BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(len(INSTRUMENT_BANDS))]
        lines += ["      </BOA_ADD_OFFSET_VALUES_LIST>"]
    lines += ["      <Scene_Classification_List>"]
    for index, text in enumerate(_SCENE_CLASSES):
        lines += [
            "        <Scene_Classification_ID>",
            f"          <SCENE_CLASSIFICATION_TEXT>{text}</SCENE_CLASSIFICATION_TEXT>",
            f"          <SCENE_CLASSIFICATION_INDEX>{index}</SCENE_CLASSIFICATION_INDEX>",
            "        </Scene_Classification_ID>",
        ]
    return "\n".join([*lines, "      </Scene_Classification_List>"])


def _percentages(facts: dict[str, Any], indent: int) -> str:
    return "\n".join(f"{' ' * indent}<{tag}_PERCENTAGE>{facts['percentages'][i]:.6f}</{tag}_PERCENTAGE>" for tag, i in _PERCENTAGES)


def tile_xml(name: ProductName, grid: TileGrid, facts: dict[str, Any]) -> str:
    """`MTD_TL.xml`: identifiers, grid, sun, share of scene classes."""
    level = f"Level-{name.level[1:]}"
    schema = f"{_PSD}S2_PDI_{level}_Tile_Metadata.xsd"
    zone, band = int(name.tile[:2]), "N" if name.tile[2] >= "N" else "S"
    sizes = "\n".join(
        f'      <Size resolution="{m}">\n        <NROWS>{grid.rows * 10 // m}</NROWS>\n'
        f"        <NCOLS>{grid.cols * 10 // m}</NCOLS>\n      </Size>"
        for m in (10, 20, 60)
    )
    places = "\n".join(
        f'      <Geoposition resolution="{m}">\n        <ULX>{grid.x_min:.0f}</ULX>\n        <ULY>{grid.y_max:.0f}</ULY>\n'
        f"        <XDIM>{m}</XDIM>\n        <YDIM>-{m}</YDIM>\n      </Geoposition>"
        for m in (10, 20, 60)
    )
    l1c = f'    <L1C_TILE_ID metadataLevel="Brief">{name.granule_id.replace("L2A", "L1C")}</L1C_TILE_ID>\n' if name.level == "L2A" else ""
    content = f"\n{_percentages(facts, 6)}" if name.level == "L2A" else ""
    mask = (
        f"""
    <Pixel_Level_QI geometry="FULL_RESOLUTION">
      <MASK_FILENAME type="MSK_CLOUDS">{name.cloud_mask_file}</MASK_FILENAME>
    </Pixel_Level_QI>"""
        if name.level == "L1C"
        else ""
    )
    return f"""{_HEAD}<n1:{level}_Tile_ID xmlns:n1="{schema}" {_XSI} xsi:schemaLocation="{schema}">
  <n1:General_Info>
{l1c}    <TILE_ID metadataLevel="Brief">{name.granule_id}</TILE_ID>
    <DATASTRIP_ID metadataLevel="Standard">{name.datastrip_id}</DATASTRIP_ID>
    <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
    <SENSING_TIME metadataLevel="Standard">{zulu(name.sensing_time)}</SENSING_TIME>
    <Archiving_Info metadataLevel="Expertise">
      <ARCHIVING_CENTRE>{name.datastrip_id.split("_")[5]}</ARCHIVING_CENTRE>
      <ARCHIVING_TIME>{zulu(name.made)}</ARCHIVING_TIME>
    </Archiving_Info>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}{band}</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>{grid.crs}</HORIZONTAL_CS_CODE>
{sizes}
{places}
    </Tile_Geocoding>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info metadataLevel="Standard">
    <Image_Content_QI>
      <CLOUDY_PIXEL_PERCENTAGE>{facts["cloud"]:.6f}</CLOUDY_PIXEL_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0.000000</DEGRADED_MSI_DATA_PERCENTAGE>{content}
    </Image_Content_QI>{mask}
  </n1:Quality_Indicators_Info>
</n1:{level}_Tile_ID>
"""


def datastrip_xml(name: ProductName) -> str:
    """`MTD_DS.xml`, its general part."""
    level = f"Level-{name.level[1:]}"
    schema = f"{_PSD}S2_PDI_{level}_Datastrip_Metadata.xsd"
    return f"""{_HEAD}<n1:{level}_DataStrip_ID xmlns:n1="{schema}" {_XSI} xsi:schemaLocation="{schema}">
  <n1:General_Info>
    <Datatake_Info datatakeIdentifier="{name.datatake_id}" metadataLevel="Brief">
      <SPACECRAFT_NAME>Sentinel-{name.mission[1:]}</SPACECRAFT_NAME>
      <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
      <DATATAKE_SENSING_START>{zulu(name.start)}</DATATAKE_SENSING_START>
      <SENSING_ORBIT_NUMBER>{name.relative_orbit}</SENSING_ORBIT_NUMBER>
      <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
    </Datatake_Info>
    <Datastrip_Time_Info metadataLevel="Brief">
      <DATASTRIP_SENSING_START>{zulu(name.datastrip_start)}</DATASTRIP_SENSING_START>
    </Datastrip_Time_Info>
    <Processing_Info metadataLevel="Expertise">
      <PROCESSING_BASELINE>{name.baseline}</PROCESSING_BASELINE>
      <UTC_DATE_TIME>{zulu(name.made)}</UTC_DATE_TIME>
    </Processing_Info>
  </n1:General_Info>
</n1:{level}_DataStrip_ID>
"""


def inspire_xml(name: ProductName) -> str:
    """`INSPIRE.xml`, its title."""
    return (
        f'{_HEAD}<gmd:MD_Metadata xmlns:gmd="http://www.isotc211.org/2005/gmd" xmlns:gco="http://www.isotc211.org/2005/gco">\n'
        f"  <gmd:fileIdentifier><gco:CharacterString>{escape(name.product_id)}</gco:CharacterString></gmd:fileIdentifier>\n"
        "</gmd:MD_Metadata>\n"
    )


def manifest_xml(name: ProductName, files: list[tuple[str, int, str]]) -> str:
    """`manifest.safe`: (path, bytes, MD5) of every file."""
    objects = "\n".join(
        f'    <dataObject ID="Data_{number:03d}">\n'
        f'      <byteStream mimeType="{"text/xml" if path.endswith((".xml", ".gml")) else "application/octet-stream"}" size="{size}">\n'
        f'        <fileLocation locatorType="URL" href="{path if "/" in path else "./" + path}"/>\n'
        f'        <checksum checksumName="MD5">{md5}</checksum>\n      </byteStream>\n    </dataObject>'
        for number, (path, size, md5) in enumerate(files, start=1)
    )
    level = f"Level-{name.level[1:]}"
    version = f"esa/safe/sentinel/1.1/sentinel-2/msi/archive_{name.level.lower()}_user_product"
    return f"""{_HEAD}<xfdu:XFDU {_XFDU} version="{version}">
  <informationPackageMap>
    <xfdu:contentUnit unitType="Product_{level}" textInfo="SENTINEL-2 MSI {level} User Product" pdiID="processing"/>
  </informationPackageMap>
  <metadataSection>
    <metadataObject ID="acquisitionPeriod" category="DMD" classification="DESCRIPTION">
      <metadataWrap mimeType="text/xml" textInfo="Acquisition Period" vocabularyName="Sentinel-SAFE">
        <xmlData>
          <safe:acquisitionPeriod>
            <safe:startTime>{zulu(name.start)}</safe:startTime>
          </safe:acquisitionPeriod>
        </xmlData>
      </metadataWrap>
    </metadataObject>
    <metadataObject ID="measurementOrbitReference" category="DMD" classification="DESCRIPTION">
      <metadataWrap mimeType="text/xml" textInfo="Orbit Reference" vocabularyName="Sentinel-SAFE">
        <xmlData>
          <safe:orbitReference>
            <safe:orbitNumber groundTrackDirection="descending" type="start">{name.absolute_orbit:06d}</safe:orbitNumber>
            <safe:relativeOrbitNumber type="start">{name.relative_orbit:03d}</safe:relativeOrbitNumber>
          </safe:orbitReference>
        </xmlData>
      </metadataWrap>
    </metadataObject>
  </metadataSection>
  <dataObjectSection>
{objects}
  </dataObjectSection>
</xfdu:XFDU>
"""
