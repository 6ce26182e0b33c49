"""What a network is given: series of reflectance, or patches of a radar scene. One training code, two kinds of inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eespark.errors import SettingsError
from eespark.kernels.packing import pack_dates
from eespark.manifest import inputs_of
from eespark.train.augment import Batch, augment
from eespark.train.augment_sar import augment_patches
from eespark.train.data import Shape, shape_of
from eespark.train.image_models import DENSE, build_image_model, decibels_of, output_stride
from eespark.train.models import build_model, scaling_of
from eespark.train.settings import FitSettings, ImageModelSettings, ModelSettings

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How rows of a training set become a network's inputs.

    Attributes:
        shape: Of a row.
        inputs: Names of the inputs, which are columns of the set too.
        pack: Inputs as they were read -> as the network likes them best.
        augment: A batch with the changes that the settings ask for.
        build: The model with new weights.
    """

    shape: Shape
    inputs: tuple[str, ...]
    pack: Callable[[Inputs], dict[str, Any]]
    augment: Callable[[Batch, FitSettings, np.random.Generator], Batch]
    build: Callable[[FitSettings], Any]


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of a training set.

    Raises:
        ManifestError: Statistics that do not fit.
    """
    return _patches(manifest) if inputs_of(manifest) == "patches" else _series(manifest)


def check_model(settings: FitSettings, manifest: Mapping[str, Any]) -> None:
    """Check that the model is one of this kind of inputs and labels.

    Raises:
        SettingsError: It is not.
    """
    kind, wanted = inputs_of(manifest), ImageModelSettings if inputs_of(manifest) == "patches" else ModelSettings
    if not isinstance(settings.model, wanted):
        names = wanted.model_json_schema()["properties"]["name"]["enum"]
        raise SettingsError(f"needed a model of {kind} ({', '.join(names)}), found {settings.model.name}; set fit.model, or another set")
    if kind != "patches":
        return
    name, size = settings.model.name, int(manifest["size"])
    if shape_of(manifest).look_labels and name not in DENSE:
        raise SettingsError(f"needed a dense model ({', '.join(sorted(DENSE))}) for a set labelled by look, found {name}; set fit.model")
    if size % output_stride(name):
        raise SettingsError(f"needed patches whose side is a multiple of {output_stride(name)} looks for {name}, found {size}; cut others")


def _series(manifest: Mapping[str, Any]) -> Kind:
    scaling, classes = scaling_of(manifest), len(manifest["classes"])

    def pack(inputs: Inputs) -> dict[str, Any]:
        packed = pack_dates(inputs["reflectance"], inputs["valid"], inputs["day"])
        return dict(zip(("reflectance", "valid", "day"), packed, strict=True))

    def change(batch: Batch, settings: FitSettings, rng: np.random.Generator) -> Batch:
        return augment(batch, settings.augment, scaling.scale, rng)

    def build(settings: FitSettings) -> Any:
        assert isinstance(settings.model, ModelSettings), "check_model comes first"
        return build_model(settings.model, scaling, classes)

    return Kind(shape_of(manifest), ("reflectance", "valid", "day"), pack, change, build)


def _patches(manifest: Mapping[str, Any]) -> Kind:
    decibels, classes = decibels_of(manifest), len(manifest["classes"])
    slope = np.asarray(decibels.slope, np.float32)

    def change(batch: Batch, settings: FitSettings, rng: np.random.Generator) -> Batch:
        return augment_patches(batch, settings.augment_sar, slope, rng)

    def build(settings: FitSettings) -> Any:
        assert isinstance(settings.model, ImageModelSettings), "check_model comes first"
        return build_image_model(settings.model, decibels, int(manifest["size"]), classes)

    return Kind(shape_of(manifest), ("sigma", "incidence"), dict, change, build)
