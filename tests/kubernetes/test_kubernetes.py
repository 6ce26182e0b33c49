"""The night and a training in pods of a real Kubernetes, by the image and the manifests as they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from eespark.io import storage
from eespark.job import JobSettings
from eespark.settings import Settings
from eespark.spark.catalog import ScanSettings
from eespark.spark.dataset import build_training_set
from tests.chain import PLACES
from tests.cluster.small import CONF, EPOCHS, FOR_RANKS, RESOURCES, training
from tests.kubernetes.cluster import SERVER, Cluster
from tests.kubernetes.conftest import MANIFESTS, give

ROOT = Path(__file__).resolve().parents[2]
_FILES = ("namespace", "rbac", "driver", "executor", "cronjob")
KUBERNETES_CONF = {
    **CONF, "spark.kubernetes.driver.request.cores": "0.2", "spark.kubernetes.executor.request.cores": "0.2",
    "spark.kubernetes.report.interval": "1s",
}  # fmt: skip


def _settings_of(cluster: str, resources: dict[str, Any], **conf: str) -> dict[str, Any]:
    return {"master": cluster, "image": "eespark:0.1.0", "resources": resources, "conf": {**KUBERNETES_CONF, **conf}}


def _plain(settings: Settings) -> str:
    return yaml.safe_dump(json.loads(settings.model_dump_json()))


@pytest.mark.parametrize("name", _FILES)
def test_that_the_api_server_takes_the_manifests(cluster: Cluster, name: str) -> None:
    """Types, fields and rights of pods in the namespace, by a dry run on the server."""
    told = cluster.kubectl("-n", "eespark", "create", "--dry-run=server", "--validate=true", "-f", "-", told=_named(name))
    assert told.count("(server dry run)") == len(list(yaml.safe_load_all((MANIFESTS / f"{name}.yaml").read_text())))


def _named(name: str) -> str:
    """A manifest with other names: what the cluster has already is refused, and templates of pods have no name and no image."""
    made = []
    for one in yaml.safe_load_all((MANIFESTS / f"{name}.yaml").read_text()):
        one["metadata"]["name"] = "dry-run"
        if one["kind"] == "Pod":
            one["spec"]["containers"][0]["image"] = "eespark:0.1.0"
        made.append(one)
    return yaml.safe_dump_all(made)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda spec: spec.update(schedule="at two"), "schedule"),
        (lambda spec: spec["jobTemplate"]["spec"]["template"]["spec"].update(restartPolicy="Always"), "restartPolicy"),
        (lambda spec: spec.update(schedul="0 2 * * *"), "unknown field"),
    ],
)
def test_that_it_refuses_what_is_wrong(cluster: Cluster, change: Any, reason: str) -> None:
    told = yaml.safe_load((MANIFESTS / "cronjob.yaml").read_text())
    change(told["spec"])
    assert reason in cluster.refused("apply", "--dry-run=server", "--validate=strict", "-f", "-", told=yaml.safe_dump(told))


def test_that_pods_that_could_become_root_are_refused(cluster: Cluster) -> None:
    told = yaml.safe_load(_named("executor"))
    told["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in cluster.refused("-n", "eespark", "create", "--dry-run=server", "-f", "-", told=yaml.safe_dump(told))


@pytest.fixture(scope="module")
def night(cluster: Cluster, data: Path, extracted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive and a sample set on the volume, the settings of the night as a ConfigMap, the CronJob applied."""
    shutil.copytree(extracted.input / "archive", data / "archive")
    shutil.copytree(extracted.table("samples"), data / "tables" / "samples")
    give(data)
    scan = ScanSettings(archive="/data/archive", products="/data/tables/products", summary="/data/scan.json")
    series = extracted.extracting(products_per_commit=3).model_dump(mode="json")
    moved = json.loads(json.dumps(series).replace(str(extracted.root), "/data"))
    nightly = {
        "scan": "/settings/scan.yaml", "series": ["/settings/series.yaml"], "lease": "/data/tables/nightly.lease",
        "page": "/data/night.html", "summary": "/data/nightly.json",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("settings")
    (folder / "scan.yaml").write_text(_plain(scan))
    (folder / "series.yaml").write_text(yaml.safe_dump(moved))
    (folder / "nightly.yaml").write_text(yaml.safe_dump(nightly))
    (folder / "cluster.yaml").write_text(yaml.safe_dump(_settings_of("https://kubernetes.default.svc", RESOURCES)))
    cluster.kubectl("-n", "eespark", "create", "configmap", "eespark-settings", f"--from-file={folder}")
    cluster.kubectl("apply", "-f", MANIFESTS / "cronjob.yaml")
    return data


def _end(cluster: Cluster, pod: str, container: str) -> int | None:
    """The exit code of a pod's container, once it ended."""
    for one in cluster.objects("pods", f"--field-selector=metadata.name={pod}"):
        for status in one["status"].get("containerStatuses", []):
            if status["name"] == container and "terminated" in status["state"]:
                return int(status["state"]["terminated"]["exitCode"])
    return None


def _run_night(cluster: Cluster, name: str) -> str:
    """Start a night by the CronJob, as its schedule does; its pod."""
    cluster.kubectl("-n", "eespark", "create", "job", name, "--from=cronjob/eespark-nightly")
    (pod,) = cluster.until("the night's pod", lambda: cluster.objects("pods", f"--selector=job-name={name}"), 60)
    return str(pod["metadata"]["name"])


def _executors(cluster: Cluster) -> dict[str, str]:
    """Pods of executors that run -> the executor's number."""
    pods = cluster.objects("pods", "--selector=spark-role=executor", "--field-selector=status.phase=Running")
    return {
        one["metadata"]["name"]: one["metadata"]["labels"]["spark-exec-id"] for one in pods if "deletionTimestamp" not in one["metadata"]
    }


def _log(cluster: Cluster, pod: str) -> str:
    return cluster.kubectl("-n", "eespark", "logs", pod)


def _ended(cluster: Cluster, pod: str, container: str, seconds: float = 600) -> int:
    code = cluster.until(f"{pod} to end", lambda: (found := _end(cluster, pod, container)) is not None and [found], seconds)
    return int(code[0])


def test_that_a_night_in_pods_gives_what_it_gives_here_though_an_executor_pod_is_deleted(
    cluster: Cluster, night: Path, extracted: Any, content: Any
) -> None:
    pod = _run_night(cluster, "first")
    log = night / "tables" / "observations" / "_delta_log"
    cluster.until("the first products to be read", lambda: (log / "00000000000000000001.json").exists() or _end(cluster, pod, "nightly"))
    assert _end(cluster, pod, "nightly") is None, _log(cluster, pod)
    before = _executors(cluster)
    assert len(before) == 2
    victim = min(before)
    cluster.kubectl("-n", "eespark", "delete", "pod", victim, "--wait=false")
    cluster.until("another executor", lambda: set(_executors(cluster).values()) - set(before.values()) or _end(cluster, pod, "nightly"))
    assert _ended(cluster, pod, "nightly") == 0, _log(cluster, pod)
    assert "Lost executor" in _log(cluster, pod)
    told = json.loads((night / "nightly.json").read_text())
    assert set(told["steps"].values()) == {"done"}
    assert "data:image/svg+xml" in (night / "night.html").read_text()
    for name, without in {"products": PLACES, "observations": ("fingerprint",)}.items():
        here = extracted.spark.read.format("delta").load(str(night / "tables" / name)).toPandas()
        assert content(here, *without) == content(extracted.read(name), *without), name
    assert not _executors(cluster)


def test_that_the_next_night_finds_nothing_new(cluster: Cluster, night: Path) -> None:
    log = night / "tables" / "observations" / "_delta_log"
    before = sorted(log.iterdir())
    pod = _run_night(cluster, "second")
    assert _ended(cluster, pod, "nightly") == 0, _log(cluster, pod)
    assert sorted(log.iterdir()) == before


@pytest.fixture
def submit(cluster: Cluster) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Submits a training whose driver gets a pod too, as one does from outside of the cluster; none outlives the test."""
    running = []

    def start(folder: Path, settings: JobSettings, *arguments: str) -> subprocess.Popen[bytes]:
        folder.mkdir()
        (folder / "train.yaml").write_text(_plain(settings))
        # Pods that are done stay, for what the ranks in them wrote.
        told = _settings_of(SERVER, FOR_RANKS, **{"spark.kubernetes.executor.deleteOnTermination": "false"})
        (folder / "cluster.yaml").write_text(yaml.safe_dump(told))
        files = [str(folder / "train.yaml"), "--cluster", str(folder / "cluster.yaml")]
        command = [sys.executable, "deploy/kubernetes/submit.py", "train", *files, "--mode", "cluster", "--", *arguments]
        environment = {**os.environ, "KUBECONFIG": str(cluster.folder / "admin.conf")}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        running.append(process)
        return process

    yield start
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _driver(cluster: Cluster, submitted: subprocess.Popen[bytes], log: Path, known: set[str]) -> str:
    """The pod of the driver of what was submitted."""

    def found() -> list[str]:
        assert submitted.poll() is None, log.read_text()
        pods = cluster.objects("pods", "--selector=spark-role=driver")
        return [one["metadata"]["name"] for one in pods if one["metadata"]["name"] not in known]

    (pod,) = cluster.until("the driver's pod", found, 120)
    known.add(pod)
    return str(pod)


def test_that_horovod_trains_in_pods_and_goes_on_after_one_was_deleted(
    cluster: Cluster, data: Path, extracted: Any, submit: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """One rank in each of two pods; the one that goes takes the training with it, and the next goes on after the last epoch."""
    here = extracted.building("set-of-pods", rows_per_group=64)
    build_training_set(extracted.spark, here)
    shutil.copytree(here.training_set, data / "training_set")
    give(data)
    settings = training("/data/training_set", "/data/bundle", "/data/train.json")
    known: set[str] = set()
    first = submit(tmp_path / "first", settings)
    driver = _driver(cluster, first, tmp_path / "first" / "log", known)
    state = data / "bundle.checkpoint" / "state.npz"
    cluster.until("a checkpoint", lambda: state.exists() or _end(cluster, driver, "driver") is not None, 400)
    assert _end(cluster, driver, "driver") is None, _log(cluster, driver)
    pods = _executors(cluster)
    assert len(pods) == 2
    cluster.kubectl("-n", "eespark", "delete", "pod", min(pods), "--grace-period=0", "--force")
    assert _ended(cluster, driver, "driver") == 4, _log(cluster, driver)
    told = json.loads((data / "train.json").read_text())
    assert (told["status"], told["exit_code"]) == ("failed", 4)
    assert first.wait(120) == 4, (tmp_path / "first" / "log").read_text()
    again = submit(tmp_path / "again", settings, "--resume")
    driver = _driver(cluster, again, tmp_path / "again" / "log", known)
    assert _ended(cluster, driver, "driver", 900) == 0, _log(cluster, driver)
    assert again.wait(120) == 0, (tmp_path / "again" / "log").read_text()
    ranks = cluster.kubectl("-n", "eespark", "logs", "--selector=spark-role=executor", "--tail=-1")
    assert "resuming after epoch" in ranks, ranks
    curves = json.loads(storage.read_text(str(data / "bundle" / "metrics.json")))["curves"]
    assert [one["epoch"] for one in curves] == list(range(1, EPOCHS + 1))
    assert not (data / "bundle.checkpoint").exists()
