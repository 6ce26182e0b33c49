"""HDFS by its REST interface, WebHDFS: `hdfs://` URLs for Python without a native library (docs/decisions/0014).

The NameNode's web address follows from the URL (its host, port 9870), or is what EESPARK_WEBHDFS says (`http://namenode:9870`, also of an
HttpFS gateway). Who asks is HADOOP_USER_NAME, else the user of the process.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final
from urllib.parse import quote, unquote, urlsplit

import requests
from fsspec.implementations.webhdfs import WebHDFile, WebHDFS

from eespark.io.remote_names import HDFS_REST, HDFS_WEB_PORT, hdfs_path, hdfs_user, hdfs_web

_WHOLE_READ: Final = 64 << 20  # bytes a request; a file is read by as few as that


class HdfsFileSystem(WebHDFS):  # type: ignore[misc]
    """WebHDFS under `hdfs://`, with files that appear whole, moves in one step, and errors in the place of broken answers."""

    protocol = "hdfs"

    def __init__(self, authority: str, web: str, user: str, **kwargs: Any) -> None:
        """Connect to `web`; `authority` is the host and port that URLs name."""
        if self._cached:
            return
        told = urlsplit(web)
        super().__init__(told.hostname, told.port or HDFS_WEB_PORT, user=user, use_https=told.scheme == "https", **kwargs)
        self.authority = authority

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        return {"authority": urlsplit(path).netloc, "web": hdfs_web(path), "user": hdfs_user()}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return [hdfs_path(one) for one in path] if isinstance(path, list) else hdfs_path(str(path))

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a path, as Spark names it too."""
        return f"hdfs://{self.authority}{hdfs_path(name)}"

    @staticmethod
    def _process_info(info: dict[str, Any]) -> dict[str, Any]:
        return {**WebHDFS._process_info(info), "mtime": info["modificationTime"] / 1000}

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """What is at a path: name, type, size (bytes), mtime (s since 1970)."""
        path = self._strip_protocol(path)
        told = self._call("GETFILESTATUS", path=path).json()["FileStatus"]
        return {**self._process_info(told), "name": path}

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[Any]:
        """What is in a folder, in order; of a file, the file."""
        path = self._strip_protocol(path)
        found = self._call("LISTSTATUS", path=path).json()["FileStatuses"]["FileStatus"]
        names = [f"{path.rstrip('/')}/{one['pathSuffix']}" if one["pathSuffix"] else path for one in found]
        infos = [{**self._process_info(one), "name": name} for one, name in zip(found, names, strict=True)]
        infos.sort(key=lambda one: str(one["name"]))
        return infos if detail else [one["name"] for one in infos]

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is something; a NameNode that does not answer is an error and not a no."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of a file, or of a part of it."""
        first, last, _ = slice(start, end).indices(int(self.info(path)["size"]))
        return b"".join(self.read_range(path, at, min(at + _WHOLE_READ, last)) for at in range(first, last, _WHOLE_READ))

    def read_range(self, path: str, first: int, last: int) -> bytes:
        """Bytes `first` to before `last`."""
        if last <= first:
            return b""
        answer = self._call("OPEN", path=path, offset=first, length=last - first, redirect=False)
        if "Location" in answer.headers:
            answer = _checked(self.session.get(self._apply_proxy(answer.headers["Location"])))
        return bytes(answer.content)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, autocommit: bool = True, **kwargs: Any) -> Any:
        return _File(self, path, mode=mode, block_size=block_size or self.blocksize, tempdir="/tmp", autocommit=True)  # noqa: S108

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file whole; `mode="create"` raises FileExistsError where there is one, whoever else writes it at the same time."""
        with self._beside(path, overwrite=mode != "create") as temporary:
            self._create(temporary, value)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        """Write a local file to HDFS, whole, without holding it in memory; of a folder, the folder alone."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as stream, self._beside(self._strip_protocol(rpath), overwrite=True) as temporary:
            self._create(temporary, stream if os.path.getsize(lpath) else b"")

    def cp_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        """Copy a file, whole."""
        self.pipe_file(rpath, self.cat_file(lpath))

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Move a file or folder in one step to where nothing is.

        Raises:
            FileExistsError: Something is there.
        """
        self._rename(path1, path2, overwrite=False)

    @contextmanager
    def _beside(self, path: str, overwrite: bool) -> Iterator[str]:
        """A temporary name, whose file becomes that of the path in one step."""
        path = self._strip_protocol(path)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            yield temporary
            self._rename(temporary, path, overwrite)
        except BaseException:
            with suppress(OSError):  # what went wrong first is told
                self.rm_file(temporary)
            raise

    def _rename(self, old: str, new: str, overwrite: bool) -> None:
        option = "OVERWRITE" if overwrite else "NONE"
        self._call("RENAME", method="put", path=old, destination=self._strip_protocol(new), renameoptions=option)

    def _create(self, path: str, content: bytes | BinaryIO) -> None:
        # The NameNode tells where to write, and the DataNode there makes the file of the whole of what it is sent.
        told = self._call("CREATE", method="put", path=path, redirect=False, overwrite="true")
        where = self._apply_proxy(told.headers["Location"])
        _checked(self.session.put(where, data=content, headers={"content-type": "application/octet-stream"}))

    def _call(self, op: str, method: str = "get", path: str | None = None, data: Any = None, redirect: bool = True, **kwargs: Any) -> Any:
        url = self._apply_proxy(self.url + quote(self._strip_protocol(path or ""), safe="/="))
        query = {**kwargs, **self.pars, "op": op.upper()}
        return _checked(self.session.request(method.upper(), url, params=query, data=data, allow_redirects=redirect))


class _File(WebHDFile):  # type: ignore[misc]
    """An open file; what it writes appears when it is closed."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.read_range(self.path, max(start, 0), min(self.size, end)))

    def _initiate_upload(self) -> None:
        self._kept = bytearray()

    def _upload_chunk(self, final: bool = False) -> bool:
        self._kept += self.buffer.getvalue()
        if final:
            self.fs.pipe_file(self.path, bytes(self._kept))
        return True


def _checked(answer: requests.Response) -> requests.Response:
    """The answer, where it is one; else the error that HDFS tells of."""
    if answer.status_code < 400:
        return answer
    told: dict[str, Any] = {}
    if "json" in answer.headers.get("content-type", ""):
        told = answer.json().get("RemoteException", {})
    name, text = str(told.get("exception", "")), str(told.get("message", answer.reason)).splitlines()[0]
    if answer.status_code == 404 or name == "FileNotFoundException":
        raise FileNotFoundError(errno.ENOENT, text, unquote(urlsplit(str(answer.url)).path.removeprefix(HDFS_REST)))
    if name == "FileAlreadyExistsException" or "already exists" in text:
        raise FileExistsError(text)
    if answer.status_code == 401 or name in ("AccessControlException", "SecurityException"):
        raise PermissionError(text)
    raise OSError(f"HDFS answers {answer.status_code} {name}: {text}")
