"""Text and folders at any URL that fsspec knows, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from eespark.errors import FormatError, MissingError
from eespark.manifest import FILE_NAME, dump_manifest, parse_manifest

NPZ_ERRORS: Final = (
    OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What reading an npz archive raises that is empty, cut short or damaged: of numpy, of zipfile, and of the parser of numpy's headers."""


# The class that fsspec has for hdfs:// needs a native library.
fsspec.register_implementation("hdfs", "eespark.io.hdfs.HdfsFileSystem", clobber=True)
# Other processes write while this one looks.
for _scheme in ("s3", "s3a"):
    fsspec.config.conf.setdefault(_scheme, {}).setdefault("use_listings_cache", False)


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL and the path in it."""
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


def join_url(url: str, *parts: str) -> str:
    """`url` with parts added, one slash between each."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def is_local(url: str) -> bool:
    """Whether the URL is a path of this machine."""
    return isinstance(open_filesystem(url)[0], LocalFileSystem)


def local_path(url: str) -> str:
    """The plain absolute path of a local URL.

    Raises:
        FormatError: The URL is not local.
    """
    filesystem, path = open_filesystem(url)
    if not isinstance(filesystem, LocalFileSystem):
        raise FormatError(f"needed a local path, found {url}; copy it to local scratch first")
    return str(path)


def url_exists(url: str) -> bool:
    """Whether there is a file or folder at the URL."""
    filesystem, path = open_filesystem(url)
    return bool(filesystem.exists(path))


def read_bytes(url: str, most: int | None = None) -> bytes:
    """The whole file.

    Args:
        url: Of the file, or of a member of a zip (`zip://member::url`).
        most: Bytes; a larger file is not read.

    Raises:
        MissingError: There is none.
        FormatError: It is larger than `most`, or its zip or its server is broken.
    """
    with reading(url) as (filesystem, path):
        if most is None:
            return bytes(filesystem.cat_file(path))
        with filesystem.open(path, "rb") as stream:
            content = bytes(stream.read(most + 1))
    if len(content) > most:
        raise FormatError(f"{url}: needed a file of at most {most} bytes, found more; do not use it")
    return content


@contextmanager
def reading(url: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """The file system of a URL and the path in it; errors while reading from it come out as ours.

    Raises:
        MissingError: There is no such file.
        FormatError: A zip is broken, or a server answers otherwise than by the file.
    """
    try:
        filesystem, path = open_filesystem(url)
        yield filesystem, path
    except FileNotFoundError as error:
        # Of a folder, the file in it that was asked for.
        named = str(error.filename or (error.args[0] if error.args else url))
        raise MissingError(f"needed the file {url if url.endswith(named) else f'{named} of {url}'}, found nothing there") from error
    except _zip_errors(url) as error:
        raise FormatError(f"{url}: needed a whole zip, found a broken one: {error}; fetch the product again") from error
    except _server_errors(url) as error:
        raise FormatError(f"{url}: needed an answer of its server, found {type(error).__name__}: {error}; try again later") from error


def _zip_errors(url: str) -> tuple[type[Exception], ...]:
    # What zipfile raises on zips that are broken, cut short, encrypted or packed in a way it does not know.
    return (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) if url.endswith(".zip") else ()


def _server_errors(url: str) -> tuple[type[Exception], ...]:
    # Imported here, for they take 0.2 s in every process that never speaks to a server.
    if "hdfs://" in url:
        import requests

        return (requests.RequestException,)
    if "http://" in url or "https://" in url:
        import aiohttp

        return (aiohttp.ClientError,)
    return ()


def read_text(url: str) -> str:
    """The whole file as UTF-8 text.

    Raises:
        MissingError: There is none.
        FormatError: It is not UTF-8.
    """
    try:
        return read_bytes(url).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{url}: needed UTF-8 text, found other bytes at {error.start}") from error


def write_bytes(url: str, content: bytes) -> None:
    """Write a file whole: under a temporary name beside it, then renamed."""
    filesystem, path = open_filesystem(url)
    parent = path.rsplit("/", 1)[0]
    if parent:
        filesystem.makedirs(parent, exist_ok=True)
    if not isinstance(filesystem, LocalFileSystem):
        # An object appears whole when its upload ends; so does a file on HDFS.
        filesystem.pipe_file(path, content)
        return
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_text(url: str, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(url, text.encode("utf-8"))


def write_json(url: str, content: Mapping[str, Any]) -> None:
    """Write stable JSON whole or not at all; NaN is refused, as JSON has none."""
    write_text(url, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def read_manifest(url: str, kind: str) -> dict[str, Any]:
    """The checked manifest of the folder at `url`.

    Raises:
        MissingError: The folder has none, so it is not whole or not of eespark.
        ManifestError: It is of another kind or version.
    """
    where = join_url(url, FILE_NAME)
    try:
        text = read_text(where)
    except MissingError as error:
        raise MissingError(f"needed a {kind} at {url}, found no {FILE_NAME} there: its job has not ended; run it (again)") from error
    return parse_manifest(text, kind, where)


def write_manifest(url: str, manifest: Mapping[str, Any]) -> None:
    """Write the folder's manifest; do it last, for it says that the folder is whole."""
    write_text(join_url(url, FILE_NAME), dump_manifest(manifest))


def list_files(url: str, suffix: str) -> list[str]:
    """Full paths of the files below `url` whose names end so, sorted."""
    filesystem, path = open_filesystem(url)
    return sorted(str(filesystem.unstrip_protocol(f)) if not is_local(url) else f for f in filesystem.find(path) if f.endswith(suffix))


def remove_tree(url: str) -> None:
    """Remove a folder and all below it, its manifest first; nothing happens where there is none."""
    filesystem, path = open_filesystem(url)
    manifest = f"{path.rstrip('/')}/{FILE_NAME}"
    if not _moves_folders(filesystem) and filesystem.exists(manifest):
        filesystem.rm_file(manifest)  # what is left when this is broken off is not taken for whole
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def publish_folder(temporary: str, final: str) -> None:
    """Move a finished folder to its final name, in the place of an older one if there is one.

    Object stores cannot move: there its objects are copied one by one, the manifest last.
    """
    filesystem, path = open_filesystem(final)
    _, source = open_filesystem(temporary)
    remove_tree(final)
    if _moves_folders(filesystem):
        filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        filesystem.mv(source, path, recursive=True)
        return
    for name in _manifest_last(filesystem.find(source)):
        filesystem.mv(name, f"{path.rstrip('/')}/{name[len(source.rstrip('/')) + 1 :]}")
    remove_tree(temporary)


def put_folder(folder: str, url: str) -> None:
    """Copy a finished local folder to a URL, in the place of an older one if there is one.

    Args:
        folder: Local path.
        url: Of the folder that it becomes: in one step where folders can be moved, else with its manifest last.
    """
    filesystem, _ = open_filesystem(url)
    final = url.rstrip("/")
    # Always under the same name: what a killed run left behind makes room for the next one.
    target = f"{final}.building" if _moves_folders(filesystem) else final
    remove_tree(target)
    names = (os.path.join(at, name) for at, _, files in os.walk(folder) for name in files)
    for name in _manifest_last(names):
        _, path = open_filesystem(join_url(target, *os.path.relpath(name, folder).split(os.sep)))
        filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        filesystem.put_file(name, path)
    if target != final:
        publish_folder(target, final)


@contextmanager
def new_folder(url: str) -> Iterator[str]:
    """A local folder to fill, which becomes the folder at the URL, in the place of an older one, when the context ends without an error."""
    if not is_local(url):
        with tempfile.TemporaryDirectory(prefix="eespark-folder-") as scratch:
            yield scratch
            put_folder(scratch, url)
        return
    building = f"{local_path(url).rstrip('/')}.building"
    remove_tree(building)
    os.makedirs(building)
    yield building
    publish_folder(building, local_path(url))


def _moves_folders(filesystem: fsspec.AbstractFileSystem) -> bool:
    return isinstance(filesystem, LocalFileSystem) or filesystem.protocol == "hdfs"


def _manifest_last(paths: Iterable[str]) -> list[str]:
    """Paths of files, in order, those of a manifest behind the others."""
    return sorted(paths, key=lambda path: (path.rsplit("/", 1)[-1] == FILE_NAME, path))
