"""Real servers for the tests: HDFS alone, or with YARN; an S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.hadoop import Hadoop, running_hadoop


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


def _known(tmp_path_factory: pytest.TempPathFactory, *, yarn: bool) -> Iterator[Hadoop]:
    with running_hadoop(tmp_path_factory.mktemp("hadoop"), yarn=yarn) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster
