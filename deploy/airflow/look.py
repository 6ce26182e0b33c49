"""A fingerprint of what a job would find: `look.py archive SCAN.yaml` or `look.py labels IMPORT.yaml`, by eespark's own Python.

Names of products tell of new ones without opening any; sizes and times tell of changed label files.
"""

from __future__ import annotations

import hashlib
import sys

from eespark.io.archive import list_archive
from eespark.io.storage import open_filesystem
from eespark.settings import load_settings
from eespark.spark.catalog import ScanSettings
from eespark.spark.label_settings import ImportSettings


def main() -> None:
    """Print the fingerprint."""
    what, file = sys.argv[1:3]
    found = archive(load_settings(file, ScanSettings).archive) if what == "archive" else labels(load_settings(file, ImportSettings))
    print(hashlib.sha256("\n".join(found).encode()).hexdigest())


def archive(url: str) -> list[str]:
    """Names of the products, in order."""
    return sorted(candidate.url for candidate in list_archive(url))


def labels(settings: ImportSettings) -> list[str]:
    """Name, size and time of each source's file."""
    told = []
    for source in (*settings.polygons, *settings.points):
        filesystem, path = open_filesystem(source.url)
        info = filesystem.info(path)
        time = next((info[key] for key in ("mtime", "LastModified", "modificationTime", "ETag") if key in info), "")
        told.append(f"{source.url} {info.get('size')} {time}")
    return told


if __name__ == "__main__":
    main()
