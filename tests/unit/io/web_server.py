"""A web server for tests: the files of a folder on a free port of this machine, with index pages and byte ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

TIMEOUT_S = 20.0


class Handler(SimpleHTTPRequestHandler):
    """Files as they are, or a range of their bytes; of `faults` those in their path hold.

    `broken` answers 500, `cut` sends half of what it promises, `silent` sends nothing until the server ends.
    """

    timeout = TIMEOUT_S  # of a connection that falls silent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self._is("broken"):
            self.send_error(500)
            return
        if self._is("silent"):
            self.server.ended.wait(TIMEOUT_S)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        if not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content)
            return
        first, last = _bounds(wanted[1], wanted[2], len(content))
        if first >= len(content):
            self.send_error(416)
            return
        self._send(206, content[first : last + 1], f"bytes {first}-{last}/{len(content)}")

    def do_HEAD(self) -> None:
        if self._is("broken"):
            self.send_error(500)
            return
        super().do_HEAD()

    def _is(self, fault: str) -> bool:
        name = self.server.faults.get(fault)  # type: ignore[attr-defined]
        return name is not None and name in self.path

    def _send(self, status: int, content: bytes, part: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", self.date_time_string(int(Path(self.translate_path(self.path)).stat().st_mtime)))
        if part is not None:
            self.send_header("Content-Range", part)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self._is("cut") else content)
        self.close_connection = self._is("cut")

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' output is not a server's log."""


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


@contextmanager
def serve(folder: Path, **faults: str) -> Iterator[str]:
    """The URL at which the folder is served; the server ends with the block.

    Args:
        folder: To serve.
        faults: Fault (see `Handler`) -> part of the paths that have it.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.daemon_threads = True
    server.faults, server.ended = faults, Event()  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.ended.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
