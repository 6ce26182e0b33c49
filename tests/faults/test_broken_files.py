"""Files that are empty, cut short or damaged: every reader says so by an error of eespark that names the file."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eespark.errors import EESparkError, FormatError, ManifestError, SettingsError
from eespark.grid import Block
from eespark.io.archive import Candidate, ScanOptions, scan_product
from eespark.io.lucas import LucasSettings, count_points
from eespark.io.mapfiles import LAYERS, read_parcel_part, read_part
from eespark.io.rasters import check_last_tile
from eespark.io.storage import read_manifest
from eespark.io.vectors import SourceSettings, count_features
from eespark.job import JobSettings
from eespark.settings import load_settings
from eespark.train.checkpoint import State, load_state, state_to_bytes
from eespark.train.data import part_files, petastorm_chunks, series_shape
from eespark.train.data import read_part as read_rows

BLOCK = Block(0, 0, 64, 64)
INVEKOS = {"name": "invekos_2018", "key": "GEO_ID", "code": "SNAR_CODE", "label": "SNAR_BEZEICHNUNG", "year": 2018, "codes": "snar"}


def archive_of_arrays() -> bytes:
    layers = {name: np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8) for name in LAYERS}
    stream = io.BytesIO()
    np.savez_compressed(stream, **layers)
    return stream.getvalue()


def table_of_rows() -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table({"reflectance": pa.array([[1] * 27] * 8, pa.list_(pa.int16()))}), stream)
    return stream.getvalue().to_pybytes()


WHOLE = {"npz": archive_of_arrays(), "parquet": table_of_rows(), "state": state_to_bytes(State("key", [np.zeros(9)], [], []))}
READERS = {
    "state.npz": ("state", lambda file: load_state(str(file), "key")),
    "0_0.part": ("npz", lambda file: read_part(str(file), BLOCK)),
    "0_64.part": ("parquet", lambda file: read_parcel_part(str(file))),
    "B02.jp2": ("npz", lambda file: check_last_tile(str(file))),
    "set/train/a.parquet": ("parquet", lambda file: read_rows(str(file.parents[1]), "train", series_shape(3, 9, (1,)))),
    "chunks/train/a.parquet": ("parquet", lambda file: list(petastorm_chunks(str(file.parent), series_shape(3, 9, (1,)), 0, 1, 5))),
    "common/train/_common_metadata": ("parquet", lambda file: part_files(str(file.parents[1]), "train")),
    "lucas.csv": ("npz", lambda file: count_points(LucasSettings(url=str(file)))),
    **{
        f"parcels.{suffix}": (
            "parquet",
            lambda file: count_features(SourceSettings.model_validate({"url": str(file)} | INVEKOS), str(file.parent)),
        )
        for suffix in ("gpkg", "shp", "parquet", "zip")
    },
}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
@pytest.mark.parametrize("name", READERS)
def test_that_an_empty_or_cut_file_is_told_by_its_name(tmp_path, name, share):
    kind, read = READERS[name]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(WHOLE[kind][: int(share * len(WHOLE[kind]))])
    with pytest.raises(EESparkError, match=re.escape(str(file if "chunks" not in name else file.parent))):
        read(file)


def test_that_a_whole_part_is_read_and_a_damaged_one_is_told_wherever_the_damage_is(tmp_path):
    whole, file = WHOLE["npz"], tmp_path / "0_0.part"
    file.write_bytes(whole)
    layers = read_part(str(file), BLOCK)
    refused = 0
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        file.write_bytes(bytes(damaged))
        try:
            found = read_part(str(file), BLOCK)
        except FormatError:
            refused += 1
        else:
            # Some bytes of a zip say nothing of its content, as the time of a member.
            assert all((found[name] == layers[name]).all() for name in LAYERS)
    assert refused > 0.9 * len(range(0, len(whole), 97))


def test_that_an_empty_manifest_is_told(tmp_path):
    (tmp_path / "manifest.json").touch()
    with pytest.raises(ManifestError, match=re.escape(str(tmp_path))):
        read_manifest(str(tmp_path), "map")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00x", b"- a list\n", b"just words", b"summary: [1, 2]\n"])
def test_that_settings_that_are_none_are_told(tmp_path, content):
    (tmp_path / "job.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path))):
        load_settings(tmp_path / "job.yaml", JobSettings)


@pytest.fixture
def product(synthetic: Path, tmp_path: Path) -> Path:
    """A copy of a product of the tiny archive."""
    whole = max(one for one in (synthetic / "archive").rglob("*.SAFE") if "MSIL2A" in one.name)
    return Path(shutil.copytree(whole, tmp_path / whole.name))


OF_A_PRODUCT = ("MTD_MSIL2A.xml", "MTD_TL.xml", "*_B02_10m.jp2", "*_SCL_20m.jp2")


@pytest.mark.parametrize(
    ("pattern", "check_sizes"), [(one, check) for one in OF_A_PRODUCT for check in (True, False)] + [("manifest.safe", True)]
)
def test_that_an_empty_file_of_a_product_is_the_reason_why_it_cannot_be_used(product, pattern, check_sizes):
    (file,) = product.rglob(pattern)
    file.write_bytes(b"")
    with pytest.raises(FormatError, match=re.escape(file.name)):
        scan_product(Candidate(product.stem, str(product), "safe"), ScanOptions(check_sizes=check_sizes))
