"""What the night asks of eespark, by eespark's own Python: a word on standard output.

look.py archive SCAN.yaml      a fingerprint of the archive: names of products, and the files of those that are quarantined
look.py labels IMPORT.yaml     a fingerprint of the settings of the import and of the sizes and times of its sources' files
look.py quarantined SCAN.yaml  how many products were quarantined after the last scan
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from eespark.errors import EESparkError, MissingError
from eespark.io.archive import fingerprint, list_archive
from eespark.io.members import Candidate
from eespark.io.storage import open_filesystem, read_text
from eespark.settings import load_settings
from eespark.spark.catalog import ScanSettings
from eespark.spark.label_settings import ImportSettings

# What changes with a file, by the names of file systems: local, S3, Azure and others, WebHDFS, HTTP.
_CHANGES: Final = ("mtime", "ETag", "etag", "LastModified", "last_modified", "modificationTime", "Last-Modified")


def main() -> None:
    """Print what is asked for."""
    what, file = sys.argv[1:3]
    if what == "archive":
        print(_hash(archive(load_settings(file, ScanSettings))))
    elif what == "labels":
        print(_hash(labels(load_settings(file, ImportSettings))))
    else:
        print(int(json.loads(read_text(load_settings(file, ScanSettings).summary))["quarantined"]))


def archive(settings: ScanSettings) -> list[str]:
    """Names of the products, in order; of those that are quarantined their files too, for they may be mended under their names."""
    try:
        broken = json.loads(read_text(settings.summary)).get("quarantined_reasons", {})
    except MissingError:
        broken = {}
    return sorted(f"{one.url} {_files(one) if one.product_id in broken else ''}" for one in list_archive(settings.archive))


def _files(candidate: Candidate) -> str:
    try:
        return fingerprint(candidate)[0]
    except (EESparkError, OSError):
        return "unread"


def labels(settings: ImportSettings) -> list[str]:
    """The settings, then name, size and time of each source's file."""
    told = [settings.model_dump_json()]
    for source in (*settings.polygons, *settings.points):
        filesystem, path = open_filesystem(source.url)
        info: dict[str, Any] = filesystem.info(path)
        told.append(f"{source.url} {info.get('size')} {[info.get(key) for key in _CHANGES]}")
    return told


def _hash(told: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


if __name__ == "__main__":
    main()
