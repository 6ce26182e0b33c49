"""`manifest.json`: what a sample set, training set, bundle, map or report is made of.

A reader checks it before the first row; a writer writes it last, so that a folder with a manifest is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from eespark.errors import ManifestError

MANIFEST_VERSION: Final = 1
FILE_NAME: Final = "manifest.json"
_KINDS: Final[dict[str, frozenset[str]]] = {
    "sample_set": frozenset({"sample_set", "legend", "settings", "counts", "audit"}),
    "training_set": frozenset({"sample_set", "legend", "classes", "bands", "statistics", "parts", "settings", "tables"}),
    "bundle": frozenset({"model", "legend", "classes", "bands", "statistics", "settings", "training_set"}),
    "map": frozenset({"bundle", "legend", "classes", "tile", "settings", "counts"}),
    "validation": frozenset({"bundle", "protocols"}),
}

INPUTS: Final[dict[str, tuple[str, ...]]] = {"series": ("scale", "times", "grid"), "patches": ("size", "looks")}
"""What a network is given -> entries that tell of it, in the manifests of training sets and bundles."""


def inputs_of(manifest: Mapping[str, Any]) -> str:
    """Series or patches; manifests that do not tell are of series."""
    return str(manifest.get("inputs", "series"))


def labels_of(manifest: Mapping[str, Any]) -> str:
    """What of a training set has a class: rows, or looks; manifests that do not tell are of rows."""
    return str(manifest.get("labels", "rows"))


def counts_by_class(part: Mapping[str, Any]) -> dict[str, int]:
    """Legend id -> what a network is shown of a class in a part of a training set: looks where these are labelled, else rows."""
    return dict(part.get("looks_by_class") or part["rows_by_class"])


def build_manifest(kind: str, content: Mapping[str, Any], code_version: str) -> dict[str, Any]:
    """A manifest of the given kind, checked.

    Args:
        kind: One of sample_set, training_set, bundle, map, validation.
        content: JSON-serialisable entries; those that the kind requires must be there.
        code_version: Version of eespark that writes.

    Raises:
        ManifestError: The kind is unknown or an entry is missing.
    """
    manifest = {"kind": kind, "manifest_version": MANIFEST_VERSION, "eespark_version": code_version, **content}
    return check_manifest(manifest, kind, "the manifest being written")


def check_manifest(manifest: object, kind: str, where: str) -> dict[str, Any]:
    """The manifest itself, when it is of that kind and has all it must have.

    Raises:
        ManifestError: With what was needed, found, where, and what to do.
    """
    if kind not in _KINDS:
        raise ManifestError(f"unknown kind of manifest {kind!r}; known: {', '.join(sorted(_KINDS))}")
    if not isinstance(manifest, dict):
        raise ManifestError(f"{where}: needed a JSON object, found {type(manifest).__name__}; rebuild the {kind}")
    found_kind, version = manifest.get("kind"), manifest.get("manifest_version")
    if found_kind != kind:
        raise ManifestError(f"{where}: needed a {kind}, found a {found_kind}; name another folder in the settings")
    if version != MANIFEST_VERSION:
        raise ManifestError(
            f"{where}: needed manifest version {MANIFEST_VERSION}, found {version}; "
            f"rebuild it, or use the eespark that wrote it ({manifest.get('eespark_version')})"
        )
    needed = set(_KINDS[kind])
    if kind in ("training_set", "bundle"):
        if inputs_of(manifest) not in INPUTS:
            raise ManifestError(f"{where}: needed inputs {' or '.join(INPUTS)}, found {inputs_of(manifest)}; rebuild the {kind}")
        needed |= set(INPUTS[inputs_of(manifest)])
    missing = sorted(needed - manifest.keys())
    if missing:
        raise ManifestError(f"{where}: a {kind} manifest needs {', '.join(missing)}; rebuild the {kind}")
    return manifest


def dump_manifest(manifest: Mapping[str, Any]) -> str:
    """Stable, readable JSON: equal manifests give equal text."""
    return json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """A short hash of a manifest: two things with equal manifests are the same thing."""
    return hashlib.sha256(dump_manifest(manifest).encode()).hexdigest()[:16]


def parse_manifest(text: str, kind: str, where: str) -> dict[str, Any]:
    """The checked manifest in `text`.

    Raises:
        ManifestError: Not JSON, or not such a manifest.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where}: needed JSON, found text that breaks at line {error.lineno}; rebuild it") from error
    return check_manifest(content, kind, where)
