"""Room to write in: knowing that it ran out, whoever says so, and telling where."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import Final

from eespark.errors import StorageFullError

_CODES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What the C library calls them, and thus Java, GDAL and TensorFlow, which keep the text alone.
_TEXTS: Final = tuple(os.strerror(code) for code in sorted(_CODES))


def is_full(error: BaseException) -> bool:
    """Whether the error, or what caused it, is that a disk, a quota or the largest size of a file is exceeded."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    # An error may be its own cause.
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    return tells_full(str(error)) or any(isinstance(one, OSError) and one.errno in _CODES for one in causes)


def tells_full(text: str) -> bool:
    """Whether a text (of an error that came out of Java, GDAL or another process) tells of that."""
    return any(one in text for one in _TEXTS)


def full_error(told: str) -> StorageFullError:
    """The error to raise where `is_full`, with what was told of it."""
    return StorageFullError(f"needed room to write, found none: {told}; make room, or name other folders, and run the job again")


def free_space(urls: Iterable[str]) -> str:
    """Free space of each disk that holds one of the local URLs or temporary files: "/data/tables 0.3 MB, /tmp 4,321.0 MB"."""
    disks: dict[int, str] = {}
    for url in (*urls, tempfile.gettempdir()):
        folder = url
        while folder and not os.path.exists(folder):
            folder = os.path.dirname(folder)
        if folder.startswith("/"):
            disks.setdefault(os.stat(folder).st_dev, folder)
    return ", ".join(f"{folder} {shutil.disk_usage(folder).free / 1e6:,.1f} MB" for folder in disks.values())
