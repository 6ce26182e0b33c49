"""A real S3 server on this machine: S3Proxy, which keeps objects in a folder, one JVM (docs/decisions/0015)."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.jars import JAVA, checked, resolve

ARTIFACT = "org.gaul:s3proxy:4.1.0"
SHA256 = "d0a0886f02f31f025304194e637343cc15c63a958a5e25b6ca9e910e197ede85"
BUCKET = "eespark"


@dataclass(frozen=True)
class S3:
    """A running server.

    Attributes:
        endpoint: http://host:port
        key: Access key.
        secret: Secret key, made for this run.
        bucket: A bucket that exists.
    """

    endpoint: str
    key: str
    secret: str
    bucket: str

    @property
    def url(self) -> str:
        """Of the bucket."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that works with it."""
        told = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_ENDPOINT_URL": self.endpoint}
        # Instances of the cloud would be asked for more otherwise.
        return {**told, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def running_s3(folder: Path) -> Iterator[S3]:
    """A server as long as the context lasts."""
    objects = folder / "objects" / BUCKET
    objects.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = S3(f"http://127.0.0.1:{port}", "tests", secrets.token_hex(20), BUCKET)
    told = {
        "s3proxy.endpoint": server.endpoint, "s3proxy.authorization": "aws-v2-or-v4", "s3proxy.identity": server.key,
        "s3proxy.credential": server.secret, "jclouds.provider": "filesystem-nio2", "jclouds.identity": "local",
        "jclouds.credential": "local",
        "jclouds.filesystem.basedir": str(objects.parent),
    }  # fmt: skip
    (folder / "s3proxy.conf").write_text("".join(f"{key}={value}\n" for key, value in told.items()))
    (folder / "s3proxy.conf").chmod(0o600)
    jars = resolve([ARTIFACT], folder / "ivy")
    checked(next(jar for jar in jars if jar.name.startswith("s3proxy-")), SHA256)
    command = [str(JAVA), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join(map(str, jars)), "org.gaul.s3proxy.Main"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--properties", str(folder / "s3proxy.conf")], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(process, port, folder / "log")
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + 120
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()[-3_000:]
        assert time.monotonic() < limit, log.read_text()[-3_000:]
        time.sleep(0.1)
