"""Names of files that lie elsewhere: GDAL's, and those of HDFS's web interface; and what GDAL must be told to read them."""

from __future__ import annotations

import getpass
import os
from typing import Final
from urllib.parse import urlsplit

from eespark.errors import FormatError
from eespark.io.s3 import gdal_endpoint

HDFS_WEB_PORT: Final = 9870
HDFS_REST: Final = "/webhdfs/v1"

_VSI: Final = {"s3": "/vsis3/", "s3a": "/vsis3/", "gs": "/vsigs/", "http": "/vsicurl/http://", "https": "/vsicurl/https://", "file": "/"}
_KNOWN: Final = sorted([*_VSI, "hdfs"])


def gdal_path(url: str, member: str | None = None) -> str:
    """GDAL's name of a URL, or of a member of a zip at that URL."""
    scheme, separator, rest = url.partition("://")
    path = url
    if separator:
        if scheme not in _KNOWN:
            raise FormatError(f"GDAL reads {', '.join(_KNOWN)} and local paths, found {url}; copy it to scratch first")
        web = f"/vsiwebhdfs/{hdfs_web(url)}{HDFS_REST}{hdfs_path(url)}" if scheme == "hdfs" else ""
        path = web or _VSI[scheme] + rest.lstrip("/")
    return (
        path if member is None else f"/vsizip/{path}/{member}" if path.startswith("/vsi") else f"/vsizip/{os.path.abspath(path)}/{member}"
    )


def plain_url(path: str) -> str:
    """The URL that a GDAL path stands for, as other tools name it; members of zips and local paths stay as they are."""
    for prefix, url in (("/vsicurl/", ""), ("/vsis3/", "s3://"), ("/vsigs/", "gs://")):
        if path.startswith(prefix):
            return url + path.removeprefix(prefix)
    if path.startswith("/vsiwebhdfs/"):
        return path.removeprefix("/vsiwebhdfs/") + "?op=OPEN"
    return path


def hdfs_web(url: str) -> str:
    """Where the web interface of an `hdfs://` URL answers: its host at port 9870, or what EESPARK_WEBHDFS says.

    Raises:
        FormatError: The URL names no host, and EESPARK_WEBHDFS is not set.
    """
    told = os.environ.get("EESPARK_WEBHDFS", "").rstrip("/")
    host = urlsplit(url).hostname
    if not told and not host:
        raise FormatError(f"{url}: needed hdfs://namenode:port/path, or EESPARK_WEBHDFS=http://namenode:9870, found neither")
    return told or f"http://{host}:{HDFS_WEB_PORT}"


def hdfs_path(url: str) -> str:
    """The path of an `hdfs://` URL; a path stays as it is."""
    _, separator, rest = url.partition("://")
    return "/" + rest.partition("/")[2].rstrip("/") if separator else url


def hdfs_user() -> str:
    """Who asks HDFS: HADOOP_USER_NAME, else the user of the process."""
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()


def remote_options(path: str) -> dict[str, str]:
    """GDAL's options for a path on S3 or HDFS, as the environment has them; none for others."""
    if "/vsis3/" in path:
        return gdal_endpoint()
    return {"WEBHDFS_USERNAME": hdfs_user()} if "/vsiwebhdfs/" in path else {}
