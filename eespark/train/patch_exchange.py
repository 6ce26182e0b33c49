"""Patches as others exchange them: one NumPy file and one CSV file a part, out of a training set and into one.

`train.npy` is (n, size, size, bands + 1) float32: sigma nought of each band, then the incidence angle in degrees; `train.csv` has a line a
patch, in its order, with the class and, where known, scene, place and polygon; `classes.csv` names the classes. Sets that are labelled by
look have `train_classes.npy` too, (n, size, size) uint8, 255 where there is no class; what has no value is NaN.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from eespark import __version__
from eespark.errors import FormatError, ManifestError, MissingError
from eespark.io.parquet_sets import finish_part
from eespark.io.storage import local_path, new_folder, read_manifest, write_manifest
from eespark.io.tiles import NO_CLASS
from eespark.job import JobSettings
from eespark.kernels.backscatter import Moments, add_moments, moments_by_class, statistics_of
from eespark.kernels.sampling import hash_text
from eespark.kernels.sar import decibels
from eespark.legend import load_legend
from eespark.manifest import build_manifest, inputs_of
from eespark.settings import Url
from eespark.train.data import part_columns, row_groups, shape_of, table_to_arrays

logger = logging.getLogger(__name__)

Unit = Literal["linear", "db"]
_TOLD: Final = ("sample_id", "class_id", "product_id", "season", "row", "col", "x", "y", "label_id")
_PARTS: Final = ("train", "validation", "test", "unseen")
_CLASSES: Final = "_classes"


class ExportPatchesSettings(JobSettings):
    """Settings of `export_patches`."""

    training_set: Annotated[Url, Field(description="folder of a training set of patches")]
    output: Annotated[Url, Field(description="folder to write; it appears whole or not at all")]
    unit: Annotated[Unit, Field(description="of sigma nought: db, with a floor of -40 dB; or linear, which may be below 0")] = "db"


class ImportPatchesSettings(JobSettings):
    """Settings of `import_patches`."""

    folder: Annotated[Url, Field(description="local folder with a .npy and a .csv file a part")]
    training_set: Annotated[Url, Field(description="folder to write")]
    legend: Annotated[str, Field(description="legend of the classes")]
    name: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version of the set")]
    unit: Annotated[Unit, Field(description="of sigma nought in the files")] = "db"
    bands: Annotated[list[str], Field(min_length=1, description="polarisations in the order of the last axis, before the angle")] = [
        "HH",
        "HV",
    ]
    class_column: Annotated[str, Field(description="column of the class id of the legend")] = "class_id"
    looks: Annotated[int, Field(ge=1, description="px of a scene in a look's side")] = 1
    parts: Annotated[dict[str, str], Field(description="part -> name of its files; a split by scene or polygon, never by chance")] = {
        name: name for name in _PARTS
    }
    rows_per_group: Annotated[int, Field(ge=1, description="rows of a row group")] = 512


def export_patches(settings: ExportPatchesSettings) -> dict[str, Any]:
    """Write the parts of a training set as NumPy and CSV files; counts by part.

    Raises:
        ManifestError: The training set is not one of patches.
    """
    manifest = read_manifest(settings.training_set, "training_set")
    if inputs_of(manifest) != "patches":
        raise ManifestError(f"needed a training set of patches, found one of {inputs_of(manifest)} in {settings.training_set}")
    with new_folder(settings.output) as building:
        folder = Path(building)
        with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("class_id", "name"))
            writer.writerows((one["id"], one["name"]) for one in manifest["classes"])
        rows = {part: _export_part(settings, manifest, part, folder) for part in manifest["parts"]}
    logger.info("export_patches: %s", rows)
    return {"rows": rows, "output": settings.output}


def _export_part(settings: ExportPatchesSettings, manifest: dict[str, Any], part: str, folder: Path) -> int:
    shape, count = shape_of(manifest), int(manifest["parts"][part]["rows"])
    size, bands = int(manifest["size"]), len(manifest["bands"])
    file = folder / f"{part}.npy"
    array: Any = np.lib.format.open_memmap(file, "w+", np.float32, (count, size, size, bands + 1))  # type: ignore[no-untyped-call]
    by_look: Any = None
    if shape.look_labels:
        by_look = np.lib.format.open_memmap(folder / f"{part}{_CLASSES}.npy", "w+", np.uint8, (count, size, size))  # type: ignore[no-untyped-call]
    # Sets that were imported know less of their patches.
    told = [name for name in _TOLD if name in part_columns(settings.training_set, part)]
    first = 0
    with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(told)
        for table in row_groups(settings.training_set, part, (*shape.arrays, *told)):
            arrays = table_to_arrays(table, shape, f"{settings.training_set}/{part}")
            rows = slice(first, first + table.num_rows)
            array[rows, ..., :bands] = decibels(arrays["sigma"]) if settings.unit == "db" else arrays["sigma"]
            array[rows, ..., bands] = arrays["incidence"][:, None, :]
            if by_look is not None:
                by_look[rows] = arrays["classes"]
            writer.writerows(zip(*(arrays[name].tolist() for name in told), strict=True))
            first = rows.stop
    for file_map in (array, by_look):
        if file_map is not None:
            file_map.flush()
    return first


def import_patches(settings: ImportPatchesSettings) -> dict[str, Any]:
    """Make a training set of NumPy and CSV files; counts by part.

    Raises:
        MissingError: A file, a column or the part train is not there.
        FormatError: An array of another shape, a class that is not in the legend, or numbers that are none.
    """
    folder = Path(local_path(settings.folder))
    present = {part: name for part, name in settings.parts.items() if (folder / f"{name}.npy").is_file()}
    if "train" not in present:
        raise MissingError(f"needed {settings.parts.get('train', 'train')}.npy in {folder}, found none; set parts")
    with new_folder(settings.training_set) as building:
        parts, sums, size, looked = _write_parts(settings, folder, present, building)
        content = _content(settings, parts, sums, size) | {"labels": "looks" if looked else "rows"}
        write_manifest(building, build_manifest("training_set", content, __version__))
    return {"rows": {part: told["rows"] for part, told in parts.items()}, "training_set": settings.training_set}


def _write_parts(
    settings: ImportPatchesSettings, folder: Path, present: Mapping[str, str], building: str
) -> tuple[dict[str, Any], dict[int, Moments], int, bool]:
    """Write the parts; what the manifest tells of each, sums of train by class, the size of patches, and whether looks are labelled."""
    sums: dict[int, Moments] = {}
    parts, sizes = {}, set()
    for part, name in present.items():
        array, table = _read_files(folder / name, settings)
        by_look = _read_classes(folder / f"{name}{_CLASSES}.npy", array, settings)
        sizes.add((array.shape[1], by_look is not None))
        target = Path(building) / part
        target.mkdir()
        for number, (rows, arrays) in enumerate(_chunks(array, by_look, table, settings)):
            pq.write_table(rows, target / f"part-{number:05d}.parquet")
            if part == "train":
                add_moments(sums, moments_by_class(arrays["sigma"], arrays["incidence"], arrays["class_id"]))
        parts[part] = {"rows": len(table), "rows_by_class": _counted(table["class_id"].to_numpy()), **finish_part(str(target))}
        if by_look is not None:
            parts[part]["looks_by_class"] = _counted(by_look[by_look != NO_CLASS])
    sums.pop(NO_CLASS, None)
    if len(sizes) != 1:
        raise FormatError(f"needed patches of one size in all parts, labelled alike, found (size, by look) {sorted(sizes)}")
    ((size, looked),) = sizes
    return parts, sums, size, looked


def _read_files(stem: Path, settings: ImportPatchesSettings) -> tuple[npt.NDArray[Any], pd.DataFrame]:
    try:
        # Never a pickle: arrays of objects are refused.
        array = np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise FormatError(f"{stem}.npy: needed an array of numbers, found something else ({error})") from error
    wanted = len(settings.bands) + 1
    if array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != wanted or not np.issubdtype(array.dtype, np.floating):
        raise FormatError(f"{stem}.npy: needed floats (n, size, size, {wanted}), found {array.dtype} {array.shape}; set bands")
    if not stem.with_suffix(".csv").is_file():
        raise MissingError(f"needed {stem}.csv beside its array, found none")
    table = pd.read_csv(stem.with_suffix(".csv"))
    if settings.class_column not in table.columns:
        raise MissingError(f"{stem}.csv: needed the column {settings.class_column}, found {', '.join(table.columns)}; set class_column")
    if len(table) != len(array):
        raise FormatError(f"{stem}.csv: needed a line for each of {len(array)} patches, found {len(table)}")
    known = {one.class_id for one in load_legend(settings.legend).classes}
    strange = sorted(set(table[settings.class_column]) - known)
    if strange:
        raise FormatError(f"{stem}.csv: needed classes {sorted(known)} of the legend {settings.legend}, found {strange[:5]}; set legend")
    return array, table.assign(class_id=table[settings.class_column].astype(np.int32))


def _read_classes(file: Path, array: npt.NDArray[Any], settings: ImportPatchesSettings) -> npt.NDArray[np.uint8] | None:
    """(n, size, size) classes of looks; None where there is no such file.

    Raises:
        FormatError: An array of another shape, or classes that are not in the legend.
    """
    if not file.is_file():
        return None
    try:
        classes = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise FormatError(f"{file}: needed an array of numbers, found something else ({error})") from error
    known = [*(one.class_id for one in load_legend(settings.legend).classes), NO_CLASS]
    if classes.dtype != np.uint8 or classes.shape != array.shape[:3] or not np.isin(classes, known).all():
        raise FormatError(f"{file}: needed uint8 {array.shape[:3]} of {sorted(known)}, found {classes.dtype} {classes.shape}; set legend")
    return np.asarray(classes)


def _counted(class_id: npt.NDArray[Any]) -> dict[str, int]:
    found, counts = np.unique(class_id, return_counts=True)
    return {str(one): int(n) for one, n in zip(found, counts, strict=True)}


def _chunks(
    array: npt.NDArray[Any], by_look: npt.NDArray[np.uint8] | None, table: pd.DataFrame, settings: ImportPatchesSettings
) -> Iterator[tuple[pa.Table, dict[str, Any]]]:
    """Row groups as tables, with their arrays."""
    for first in range(0, len(array), settings.rows_per_group):
        rows = slice(first, first + settings.rows_per_group)
        values = np.asarray(array[rows], np.float32)
        labelled = np.s_[:] if by_look is None else by_look[rows] != NO_CLASS
        if not np.isfinite(values[labelled]).all() or not np.isfinite(values[..., -1]).all():
            raise FormatError(f"needed finite numbers in all patches, found others in rows {first} to {first + len(values)}")
        sigma, incidence = values[..., :-1], values[..., -1].mean(axis=1)
        sigma = np.ascontiguousarray(10 ** (sigma / 10) if settings.unit == "db" else sigma, "<f4")
        own = table.iloc[rows]
        names = [hash_text(f"{settings.name}:{place}") for place in range(first, first + len(own))]
        told = {
            name: own[name].to_numpy() if name in own.columns else [None] * len(own)
            for name in ("product_id", "season", "label_id", "x", "y")
        }
        kinds = {"product_id": pa.string(), "season": pa.string(), "label_id": pa.string(), "x": pa.float64(), "y": pa.float64()}
        columns = {name: pa.array(told[name], kinds[name], from_pandas=True) for name in told}
        columns |= {
            "sample_id": pa.array(np.array(names, np.uint64).view(np.int64)),
            "class_id": pa.array(own["class_id"].to_numpy()),
            "inclusion_probability": pa.array(np.ones(len(own))),
            "incidence": pa.array(list(incidence), pa.list_(pa.float32())),
            "sigma": pa.array([one.tobytes() for one in sigma], pa.binary()),
        }
        if by_look is not None:
            columns["classes"] = pa.array([one.tobytes() for one in by_look[rows]], pa.binary())
        class_id = own["class_id"].to_numpy() if by_look is None else by_look[rows]
        yield pa.table(columns), {"sigma": sigma, "incidence": incidence, "class_id": class_id}


def _content(settings: ImportPatchesSettings, parts: dict[str, Any], sums: dict[int, Moments], size: int) -> dict[str, Any]:
    legend = load_legend(settings.legend)
    return {
        "inputs": "patches",
        "sample_set": settings.name,
        "legend": legend.key,
        "classes": [{"id": c.class_id, "name": c.name, "colour": c.colour} for c in legend.classes if c.class_id in sums],
        "bands": list(settings.bands),
        "size": size,
        "looks": settings.looks,
        "statistics": statistics_of([sums[one] for one in sorted(sums)]),
        "parts": parts,
        "settings": settings.model_dump(mode="json"),
        "tables": {},
    }
