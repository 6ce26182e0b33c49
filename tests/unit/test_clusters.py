"""What is submitted to clusters, without any: commands, properties, settings that are shipped, manifests."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


def _submit(manager: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    names = ("HADOOP_CONF_DIR", "EESPARK_POD_NAME", "EESPARK_POD_IP", "EESPARK_WEBHDFS", "AWS_ENDPOINT_URL", "AWS_REGION")
    environment = {name: value for name, value in os.environ.items() if name not in names} | variables
    command = [sys.executable, f"deploy/{manager}/submit.py", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def _properties(manager: str, job: str) -> dict[str, str]:
    lines = (ROOT / "build" / manager / f"{job}.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file that names two others, one of them twice, and a variable."""
    (tmp_path / "scan.yaml").write_text("archive: s3://bucket/archive\n")
    (tmp_path / "series.yaml").write_text("products: ${ROOT_URL}/products\n")
    told = {
        "scan": str(tmp_path / "scan.yaml"),
        "series": [str(tmp_path / "series.yaml"), str(tmp_path / "series.yaml")],
        "page": "hdfs://n/p.html",
    }
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(told))
    return tmp_path / "night.yaml"


def test_that_yarn_gets_the_resources_of_the_job_and_the_packed_environment(settings: Path) -> None:
    done = _submit(
        "yarn", "nightly", str(settings), "--mode", "cluster", "--queue", "night", "--show", "--", "--plan", ROOT_URL="hdfs://n/data"
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[1:5] == ["--master", "yarn", "--deploy-mode", "cluster"]
    assert words[words.index("--archives") + 1] == "hdfs:///apps/eespark/environment.tar.gz#environment"
    shipped = [Path(name) for name in words[words.index("--files") + 1].split(",")]
    assert [file.name for file in shipped] == ["night.yaml", "scan.yaml", "series.yaml"]
    assert yaml.safe_load(shipped[0].read_text()) == {
        "scan": "scan.yaml",
        "series": ["series.yaml", "series.yaml"],
        "page": "hdfs://n/p.html",
    }
    assert words[-3:] == [str(ROOT / "jobs" / "nightly.py"), "night.yaml", "--plan"]
    told = _properties("yarn", "nightly")
    assert told["spark.yarn.queue"] == "night"
    assert told["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    assert told["spark.yarn.appMasterEnv.ROOT_URL"] == told["spark.executorEnv.ROOT_URL"] == "hdfs://n/data"
    assert told["spark.dynamicAllocation.maxExecutors"] == "50"


def test_that_a_job_has_its_own_resources_where_some_are_named(settings: Path) -> None:
    assert _submit("yarn", "train", str(settings), "--show", ROOT_URL="x").returncode == 0
    told = _properties("yarn", "train")
    assert (told["spark.executor.instances"], told["spark.dynamicAllocation.enabled"]) == ("4", "false")
    assert told["spark.task.cpus"] == told["spark.executor.cores"] == "4"
    assert told["spark.executor.memoryOverhead"] == "8g"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nightly", "none.yaml", "--mode", "cluster", "--show"], "needed a settings file, found none at none.yaml"),
        (["fly", "none.yaml", "--show"], r"needed a job, found none named 'fly'; known: .*scan_archive"),
        (["nightly", "none.yaml"], "needed HADOOP_CONF_DIR"),
        (["nightly", "none.yaml", "--cluster", "nowhere.yaml"], "needed a settings file, found none at nowhere.yaml"),
    ],
)
def test_that_what_cannot_be_submitted_is_told_in_a_line(words: list[str], expected: str) -> None:
    import re

    done = _submit("yarn", *words)
    assert done.returncode == 2
    assert re.search(expected, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1


def test_that_a_variable_that_settings_need_must_be_set(settings: Path) -> None:
    done = _submit("yarn", "nightly", str(settings), "--mode", "cluster", "--show")
    assert done.returncode == 2
    assert "needs the environment variable ROOT_URL" in done.stderr


def test_that_resources_of_a_job_are_checked(tmp_path: Path, settings: Path) -> None:
    told = yaml.safe_load((ROOT / "deploy" / "yarn" / "cluster.yaml").read_text()) | {"jobs": {"train": {"executor_memory": "much"}}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(told))
    done = _submit("yarn", "train", str(settings), "--cluster", str(tmp_path / "cluster.yaml"), "--show")
    assert done.returncode == 2
    assert "jobs.train: needed resources" in done.stderr


def test_that_the_code_is_one_zip_the_same_for_the_same_code(settings: Path) -> None:
    contents = []
    for _ in range(2):
        assert _submit("yarn", "train", str(settings), "--show", ROOT_URL="x").returncode == 0
        contents.append((ROOT / "build" / "yarn" / "code.zip").read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(ROOT / "build" / "yarn" / "code.zip") as archive:
        names = archive.namelist()
    assert {"eespark/__init__.py", "eespark/legends/timesen2crop.yaml", "eespark/synthetic/phenology.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_that_kubernetes_in_cluster_mode_runs_the_job_of_the_image(settings: Path) -> None:
    done = _submit("kubernetes", "nightly", str(settings), "--mode", "cluster", "--show", ROOT_URL="s3://b", AWS_REGION="eu-1")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[words.index("--master") + 1] == "k8s://https://kubernetes.default.svc"
    assert words[-2:] == ["local:///opt/eespark/jobs/nightly.py", "/opt/spark/conf/night.yaml"]
    shipped = yaml.safe_load((ROOT / "build" / "kubernetes" / "settings" / "nightly" / "night.yaml").read_text())
    assert shipped["series"] == ["/opt/spark/conf/series.yaml"] * 2
    told = _properties("kubernetes", "nightly")
    assert told["spark.kubernetes.driver.podTemplateFile"] == str(KUBERNETES / "driver.yaml")
    assert told["spark.pyspark.python"] == told["spark.pyspark.driver.python"] == "/opt/eespark/.venv/bin/python"
    assert told["spark.kubernetes.driverEnv.AWS_REGION"] == told["spark.executorEnv.AWS_REGION"] == "eu-1"
    assert not [name for name in told if name.startswith("spark.jars")]


@pytest.mark.parametrize(
    ("printed", "own", "expected"),
    [("running", 0, 0), ("\\t exit code: 4\\n\\t reason: Error", 0, 4), ("exit code: 1\\nexit code: 0", 0, 0), ("exit code: 4", 7, 7)],
)
def test_that_the_code_of_a_job_elsewhere_is_that_of_the_script(printed: str, own: int, expected: int, capsys: Any) -> None:
    """`spark-submit` to Kubernetes ends with 0 in any case."""
    clusters = runpy.run_path(str(ROOT / "deploy" / "clusters.py"))
    pattern = runpy.run_path(str(KUBERNETES / "submit.py"))["_CODE"]
    command = [sys.executable, "-c", f"import sys; print('{printed}'); sys.exit({own})"]
    assert clusters["code_in_output"](command, dict(os.environ), pattern) == expected
    assert printed.split("\\n")[0].replace("\\t", "\t") in capsys.readouterr().out


def test_that_kubernetes_in_client_mode_wants_a_pod(settings: Path) -> None:
    assert "EESPARK_POD_NAME" in _submit("kubernetes", "nightly", str(settings), "--show", ROOT_URL="x").stderr
    pod = {"EESPARK_POD_NAME": "night-1", "EESPARK_POD_IP": "10.1.2.3"}
    assert _submit("kubernetes", "nightly", str(settings), "--show", ROOT_URL="x", **pod).returncode == 0
    told = _properties("kubernetes", "nightly")
    assert (told["spark.driver.host"], told["spark.kubernetes.driver.pod.name"]) == ("10.1.2.3", "night-1")


def _manifests() -> list[dict[str, Any]]:
    return [
        one for file in sorted(KUBERNETES.glob("*.yaml")) if file.name != "cluster.yaml" for one in yaml.safe_load_all(file.read_text())
    ]


def _pods(one: dict[str, Any]) -> list[dict[str, Any]]:
    if one["kind"] == "Pod":
        return [one["spec"]]
    return [one["spec"]["jobTemplate"]["spec"]["template"]["spec"]] if one["kind"] == "CronJob" else []


def test_that_pods_are_not_roots_and_may_not_become_it() -> None:
    pods = [pod for one in _manifests() for pod in _pods(one)]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert "USER 10001:10001" in (KUBERNETES / "Dockerfile").read_text()


def test_that_accounts_of_pods_exist_and_nights_do_not_overlap() -> None:
    manifests = _manifests()
    accounts = {one["metadata"]["name"] for one in manifests if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for one in manifests for pod in _pods(one)} <= accounts
    (cron,) = [one for one in manifests if one["kind"] == "CronJob"]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
