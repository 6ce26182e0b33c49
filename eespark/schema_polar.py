"""The tables of the polar chain, as `eespark.schema` has the others."""

from __future__ import annotations

from typing import Final

from eespark.schema import Column, Table

_C = Column

TRAINING_PATCHES: Final = Table(
    "training_patches",
    ("sample_id",),
    (
        _C("sample_id", "bigint", "patch_id"),
        _C("label_id", "string", "polygon that it lies in, or that most of its looks are of", True),
        _C("label_root", "string", "polygon that this one was carried from, or itself", True),
        _C("product_id", "string", "scene"),
        _C("sensing_time", "timestamp", "UTC"),
        _C("season", "string", "ice season, as 2018/19"),
        _C("row", "int", "looks; first row in the scene"),
        _C("col", "int", "looks; first column in the scene"),
        _C("x", "double", "m; centre, polar CRS of the labels"),
        _C("y", "double", "m; centre, polar CRS of the labels"),
        _C("fast", "boolean", "land-fast ice"),
        _C("class_id", "int", "class of the legend; of sets labelled by look that of most of its looks"),
        _C("inclusion_probability", "double", "0..1]"),
        _C("incidence", "array<float>", "(size,) degrees by column"),
        _C("sigma", "binary", "float32, little-endian (size, size, bands): sigma nought, linear; may be below 0; NaN: no value"),
        _C("classes", "binary", "uint8 (size, size): class of each look, 255 for none; of sets labelled by look", True),
    ),
)
"""As `TRAINING`, of patches."""

_CODES: Final = (
    ("ct", "total concentration"), ("ca", "partial concentration of the thickest"), ("cb", "of the second"), ("cc", "of the third"),
    ("sa", "stage of development of the thickest"), ("sb", "of the second"), ("sc", "of the third"),
    ("fa", "form of the thickest"), ("fb", "of the second"), ("fc", "of the third"),
)  # fmt: skip
ICE_LABELS: Final = Table(
    "ice_labels",
    ("label_id",),
    (
        _C("label_id", "string", "source:file:key, and @scene where it was carried or cut to a scene"),
        _C("source", "string", "name of the source in the settings"),
        _C("source_key", "string", "file and key of the record in its source"),
        _C("legend", "string", "name@version of the legend of class_id"),
        _C("class_id", "int", "class of the legend", True),
        _C("second_class_id", "int", "class of the type with the next largest share", True),
        _C("share", "double", "0..1; of the ice of the polygon that is of class_id", True),
        _C("concentration", "double", "0..1; of the polygon that is ice", True),
        _C("poly_type", "string", "L land, W water, I ice, as in the source", True),
        *(_C(name, "int", f"SIGRID-3 code: {meaning}", True) for name, meaning in _CODES),
        _C("fast", "boolean", "land-fast by its form"),
        _C("geometry", "binary", "WKB in crs", True),
        _C("crs", "string", "projected, polar"),
        _C("scene", "string", "product_id of the scene that it was drawn on", True),
        _C("observed", "timestamp", "UTC; time of the scene or of the chart", True),
        _C("carried_from", "string", "label_id of the land-fast ice that it was carried from, or of the polygon that it is cut from", True),
        _C("area_m2", "double", "m2 in crs", True),
        _C("usable", "boolean", "may be trained on"),
        _C("reason", "string", "why not: empty, no_crs, invalid, land, unknown, no_stage, no_class, mixed, unknown_code, no_scene", True),
    ),
)

PATCHES: Final = Table(
    "patches",
    ("sample_set", "patch_id"),
    (
        _C("sample_set", "string", "name@version of the patch set"),
        _C("patch_id", "bigint", "hash of scene, row, col, size, looks and, of patches in one polygon, label"),
        _C("product_id", "string", "scene"),
        _C("fingerprint", "string", "of the scene's files when read"),
        _C("tile", "string", "empty: scenes have no tile"),
        _C("sensing_time", "timestamp", "UTC"),
        _C("label_id", "string", "polygon that it lies in; of tiles the one with most of its looks", True),
        _C("label_root", "string", "polygon that this one was carried from, or itself: never in two parts", True),
        _C("label_roots", "array<string>", "of tiles: those of all polygons that it has looks of", True),
        _C("class_id", "int", "class of the legend; of tiles that of most of its looks", True),
        _C("fast", "boolean", "land-fast ice: the same ground is the same ice all season"),
        _C("bands", "string", "polarisations in the order of sigma, HH,HV"),
        _C("row", "int", "looks; first row in the scene"),
        _C("col", "int", "looks; first column in the scene"),
        _C("size", "int", "looks; side"),
        _C("looks", "int", "px; side of a look"),
        _C("purity", "double", "0..1; share that the polygon covers; of tiles that has a class"),
        _C("x", "double", "m; centre, polar CRS of the labels"),
        _C("y", "double", "m; centre, polar CRS of the labels"),
        _C("sigma", "binary", "float32, little-endian (polarisation, size, size): sigma nought, linear; may be below 0; NaN: no value"),
        _C("incidence", "binary", "float32, little-endian (size, size): degrees"),
        _C("classes", "binary", "of tiles: uint8 (size, size) class of each look, 255 for none", True),
        _C("cells", "binary", "of tiles: uint8 (size / cell, size / cell) 1 where all looks of a cell have a value", True),
        _C("digital", "binary", "of tiles, where asked for: uint16, little-endian (polarisation, size, size)", True),
    ),
    version=2,
)

ICEBERGS: Final = Table(
    "icebergs",
    ("iceberg_id",),
    (
        _C("iceberg_id", "string", "source, scene and number"),
        _C("source", "string", "name of the source in the settings; cfar for what was detected"),
        _C("scene", "string", "product_id"),
        _C("observed", "timestamp", "UTC; time of the scene"),
        _C("geometry", "binary", "WKB in crs: point or outline as drawn, point where detected"),
        _C("crs", "string", "projected, polar"),
        _C("x", "double", "m; centre in crs"),
        _C("y", "double", "m; centre in crs"),
        _C("area_m2", "double", "m2; of the outline, or of the bright pixels", True),
        _C("contrast_db", "double", "dB; over the surroundings, where detected", True),
        _C("partner", "string", "iceberg_id of the drawn one that a detected one is, and the other way round", True),
    ),
)

PAIRS: Final = Table(
    "pairs",
    ("scene", "product_id"),
    (
        _C("scene", "string", "product_id of the SAR scene"),
        _C("product_id", "string", "of the optical product"),
        _C("mission", "string", "of the optical product", True),
        _C("gap_h", "double", "h; from the scene to the product, below 0 where the product came first"),
        _C("overlap_share", "double", "0..1; of the scene that the product sees"),
        _C("product_share", "double", "0..1; of the product that the scene sees"),
        _C("drift_m", "double", "m that ice may have moved between the two"),
        _C("drifted", "boolean", "drift_m is above the limit of the settings"),
        _C("overlap", "binary", "WKB in crs"),
        _C("crs", "string", "projected, polar"),
        _C("quicklook", "string", "PNG of both, SAR to the left", True),
    ),
)
