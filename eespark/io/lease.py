"""One writer at a time: a small file that says who holds a place and until when, made by whoever comes first.

Delta orders concurrent commits on local paths and HDFS by itself. On object stores its log has no such order, and a nightly run that
another one overtakes wastes the night in any case: a run takes the lease of its tables, and a second one waits or leaves.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from fsspec.implementations.local import LocalFileSystem

from eespark.errors import BusyError, FormatError
from eespark.io.s3 import create_object, is_s3, swap_object
from eespark.io.storage import open_filesystem, write_bytes

logger = logging.getLogger(__name__)
_POLL_S: Final = 5.0
# Two runs that find the same stale lease: one may remove what the other has just made, within moments of having read it.
_SETTLE_S: Final = 1.0


@dataclass
class Lease:
    """A lease that is held.

    Attributes:
        url: Of its file.
        holder: Who holds it: a name and a token that no other run has.
        seconds: It lasts, from each renewal.
        lost: Set when another took it, because it could not be renewed in time.
    """

    url: str
    holder: str
    seconds: float
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Make sure that it is still held; to be called before what must not happen twice.

        Raises:
            BusyError: Another has taken it.
        """
        if self.lost.is_set() or _read(self.url).get("holder") != self.holder:
            raise BusyError(f"needed the lease {self.url} until the end, found it lost to another run; run again when that one is done")


@contextmanager
def held_lease(url: str, name: str, seconds: float = 600.0, wait_s: float = 0.0) -> Iterator[Lease]:
    """The lease as long as the context lasts; it is renewed meanwhile, and given up at the end.

    Args:
        url: Of its file, on a local path, HDFS or an object store whose driver can create a file only where there is none.
        name: Of who takes it, for those who read the file.
        seconds: After which a lease that was not renewed, for its holder died, may be taken by another.
        wait_s: How long to wait for another holder; 0: not at all.

    Raises:
        BusyError: Another holds it.
    """
    lease = Lease(url, f"{name} {uuid.uuid4().hex}", seconds)
    _take(lease, wait_s)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lease, ended), name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        ended.set()
        renewing.join()
        _give_up(lease)


def _take(lease: Lease, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    told = stale = False
    while not (_create(lease) and _settled(lease, stale)):
        content = _content_of(lease.url)
        if content is None:
            continue  # given up since; what another makes now must not be taken for what ran out
        found = _told_by(content)
        if float(found.get("until", 0)) < time.time():
            if is_s3(lease.url):
                if _swap(lease, content):
                    logger.warning("the lease %s of %s had run out and is taken", lease.url, _who(found))
                    return
                continue
            stale = True
            _remove_stale(lease.url, found)
            continue
        if time.monotonic() >= until:
            raise BusyError(
                f"needed the lease {lease.url}, found it held by {_who(found)} for {float(found['until']) - time.time():.0f} s more; "
                "wait for that run, or remove the file if it is gone"
            )
        if not told:
            logger.info("waiting for the lease %s, which %s holds", lease.url, _who(found))
            told = True
        time.sleep(min(_POLL_S, max(until - time.monotonic(), 0.01)))


def _settled(lease: Lease, stale: bool) -> bool:
    """Whether a lease that was just made is still this one's, where another run may have removed it as stale."""
    if stale:
        time.sleep(_SETTLE_S)
    return not stale or _read(lease.url).get("holder") == lease.holder


def _create(lease: Lease) -> bool:
    """Make the file where there is none; whether this did."""
    filesystem, path = open_filesystem(lease.url)
    content = _content(lease)
    if is_s3(lease.url):
        return create_object(filesystem, path, content)
    if "/" in path:
        filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    try:
        if isinstance(filesystem, LocalFileSystem):
            # The whole content at once: a reader never finds a file that is there and says nothing.
            temporary = f"{path}.{uuid.uuid4().hex}.tmp"
            with open(temporary, "xb") as stream:
                stream.write(content)
            try:
                os.link(temporary, path)
            finally:
                os.remove(temporary)
        else:
            filesystem.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    except NotImplementedError as error:
        raise FormatError(f"needed a place that creates a file only where there is none, found {lease.url}; set another") from error
    return True


def _renew(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(lease.seconds / 3):
        try:
            content = _content_of(lease.url)
            if content is None or _told_by(content).get("holder") != lease.holder or not _swap(lease, content):
                lease.lost.set()
                logger.error("the lease %s was taken by another run", lease.url)
                return
        except OSError as error:
            # Tried again before it runs out; if that fails too, another may take it and `check` tells.
            logger.warning("the lease %s could not be renewed: %s", lease.url, error)


def _remove_stale(url: str, found: dict[str, Any]) -> None:
    """Remove a lease that has run out, unless it is another by now."""
    logger.warning("the lease %s of %s has run out and is taken", url, _who(found))
    filesystem, path = open_filesystem(url)
    if _read(url) == found:
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)


def _give_up(lease: Lease) -> None:
    filesystem, path = open_filesystem(lease.url)
    if not lease.lost.is_set() and _read(lease.url).get("holder") == lease.holder:
        filesystem.rm_file(path)


def _content(lease: Lease) -> bytes:
    return json.dumps({"holder": lease.holder, "until": time.time() + lease.seconds}).encode()


def _swap(lease: Lease, content: bytes) -> bool:
    """Write the lease in the place of what was read; whether that was possible. Only object stores compare and write in one step."""
    filesystem, path = open_filesystem(lease.url)
    if is_s3(lease.url):
        return swap_object(filesystem, path, content, _content(lease))
    write_bytes(lease.url, _content(lease))
    return True


def _read(url: str) -> dict[str, Any]:
    return _told_by(_content_of(url))


def _content_of(url: str) -> bytes | None:
    filesystem, path = open_filesystem(url)
    filesystem.invalidate_cache()
    try:
        return bytes(filesystem.cat_file(path))
    except FileNotFoundError:
        return None


def _told_by(content: bytes | None) -> dict[str, Any]:
    """What the file says; nothing where it is gone or broken."""
    try:
        told = json.loads(content or b"")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _who(found: dict[str, Any]) -> str:
    return str(found.get("holder", "nobody")).split(" ")[0]
