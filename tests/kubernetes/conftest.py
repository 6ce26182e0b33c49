"""One cluster for all tests, with the namespace, the accounts and a volume of data as the manifests want them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.cluster import Cluster, running_cluster
from tests.kubernetes.image import images
from tests.kubernetes.tools import get_tools, missing

MANIFESTS = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
# The user of the image.
_USER = 10001


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("tests.chain")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Kubernetes that runs, with namespace and accounts."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    tools = get_tools()
    with running_cluster(tmp_path_factory.mktemp("kubernetes") / "cluster", tools, images(tools)) as one:
        for name in ("namespace", "rbac"):
            one.kubectl("apply", "-f", MANIFESTS / f"{name}.yaml")
        yield one


@pytest.fixture(scope="session")
def data(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pods have at /data."""
    folder = tmp_path_factory.mktemp("data")
    os.chown(folder, _USER, _USER)
    size, modes = {"storage": "10Gi"}, ["ReadWriteMany"]
    volume = {"hostPath": {"path": str(folder)}, "capacity": size, "accessModes": modes, "storageClassName": ""}
    claim = {"accessModes": modes, "storageClassName": "", "volumeName": "eespark-data", "resources": {"requests": size}}
    for kind, spec, place in (("PersistentVolume", volume, {}), ("PersistentVolumeClaim", claim, {"namespace": "eespark"})):
        told = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "eespark-data", **place}, "spec": spec}
        cluster.kubectl("apply", "-f", "-", told=yaml.safe_dump(told))
    return folder


def give(folder: Path) -> None:
    """Let pods write below a folder."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _USER, _USER)
