"""Names for readers: protocols, parts, stages."""

from __future__ import annotations

from typing import Final

PROTOCOL_NAMES: Final = {
    "disjoint_areas": ("Areas apart from training", "same tiles, other ground"),
    "unseen_tiles": ("Tiles never seen", "no training sample in them"),
    "lucas": ("LUCAS survey points", "seen in the field, coarse classes"),
}
SPLIT_NAMES: Final = {"train": "training", "validation": "validation", "test": "test", "unseen": "unseen tiles", "points": "survey points"}
STAGES: Final = {
    "make_demo_archive": "makes the synthetic archive",
    "scan_archive": "lists and checks the products",
    "import_labels": "reads the declarations",
    "draw_samples": "decides where to look",
    "extract_series": "reads reflectance at the samples",
    "build_training_set": "puts series together",
    "train": "fits the network",
    "predict_map": "maps whole tiles",
    "validate": "tests on what was held back",
    "make_polar_archive": "makes the synthetic archive",
    "import_ice_labels": "reads the analysts' polygons",
    "extract_patches": "cuts patches inside the polygons",
    "build_patch_set": "parts the patches",
    "train_ice_cnn": "fits the patch network",
    "train_ice_cnn_slope": "fits it with one slope for the angle",
    "train_vgg16_scratch": "fits VGG-16",
    "extract_tiles": "cuts scenes into tiles",
    "build_tile_set": "parts the tiles",
    "train_ice_segmenter": "fits the segmenter",
    "predict_ice_map_charts": "maps scenes by the segmenter",
    "validate_ice_charts": "tests the segmenter",
    "predict_ice_map": "maps scenes",
    "validate_ice": "tests on what was held back",
}


def protocol_name(key: str) -> str:
    """A protocol's name for readers."""
    return PROTOCOL_NAMES.get(key, (key.replace("_", " "), ""))[0]


def model_name(model: str) -> str:
    """A model's name for readers."""
    return model.replace("_", " ")


def in_text(name: str) -> str:
    """A name within a sentence: its capital goes, but not that of an acronym."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]
