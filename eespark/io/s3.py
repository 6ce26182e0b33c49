"""S3 for Python and GDAL: one endpoint and one set of credentials for both, from the environment; objects changed only as they were read.

The AWS libraries' own variables hold: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL (or
AWS_ENDPOINT_URL_S3), AWS_REGION, roles of machines and pods. GDAL has other names for the endpoint, which are derived here.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem

SCHEMES: Final = frozenset({"s3", "s3a"})


def is_s3(url: str) -> bool:
    """Whether the URL is of S3."""
    return url.partition("://")[0] in SCHEMES


def gdal_endpoint() -> dict[str, str]:
    """GDAL's options for an S3 server that is not Amazon's; none where the environment names none, or GDAL's own variables are set."""
    told = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not told or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    parts = urlsplit(told)
    return {
        "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
        "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
        # Buckets as host names are Amazon's custom.
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def create_object(filesystem: AbstractFileSystem, path: str, content: bytes) -> bool:
    """Write an object where there is none; whether there was none. Of many that try one succeeds (`If-None-Match`).

    Args:
        filesystem: Of s3fs.
        path: Bucket and key.
        content: To write.
    """
    bucket, key, _ = filesystem.split_path(path)
    try:
        filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except OSError as error:
        # Servers differ in how they tell of it, and s3fs knows only Amazon's way.
        if _tells_changed(error):
            return False
        raise
    return True


def swap_object(filesystem: AbstractFileSystem, path: str, old: bytes, new: bytes) -> bool:
    """Write an object in the place of what was read of it; whether it still was that.

    The store compares and writes in one step (`If-Match`), so of many that try one succeeds.

    Args:
        filesystem: Of s3fs.
        path: Bucket and key.
        old: What was read.
        new: To write.
    """
    bucket, key, _ = filesystem.split_path(path)
    try:
        # Its tag before its content: what changes in between has another tag.
        tag = filesystem.call_s3("head_object", Bucket=bucket, Key=key)["ETag"]
        if filesystem.cat_file(path) != old:
            return False
        filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=new, IfMatch=tag)
    except FileNotFoundError:
        return False
    except OSError as error:
        if _tells_changed(error):
            return False
        raise
    return True


def _tells_changed(error: OSError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        told = getattr(cause, "response", {}).get("Error", {}).get("Code")
        if told in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            return True
        cause = cause.__cause__
    return False
