"""Real servers for the tests: HDFS alone, or with YARN; an S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.hadoop import Hadoop, running_hadoop
from tests.cluster.s3 import S3, running_s3


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("tests.chain")


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """A NameNode and a DataNode, known to this process."""
    yield from _known(tmp_path_factory, yarn=False)


@pytest.fixture(scope="session")
def hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """The same, with a ResourceManager and two NodeManagers."""
    yield from _known(tmp_path_factory, yarn=True)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server with one bucket, known to this process."""
    with running_s3(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def _known(tmp_path_factory: pytest.TempPathFactory, *, yarn: bool) -> Iterator[Hadoop]:
    with running_hadoop(tmp_path_factory.mktemp("hadoop"), yarn=yarn) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster
