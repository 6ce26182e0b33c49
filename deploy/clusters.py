"""What it takes to submit a job to a cluster, whichever manager it has: resources by job, code, settings, properties in one file."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import Field

from eespark.errors import EESparkError, MissingError, SettingsError
from eespark.settings import Settings, load_settings
from eespark.spark.session import read_properties, trust_system_certificates, use_java_17, with_known_jars

ROOT: Final = Path(__file__).resolve().parents[1]
PASSED: Final = ("EESPARK_WEBHDFS", "HADOOP_USER_NAME", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables of the submitting shell that drivers and executors get too: addresses and names, never credentials."""
Size = Annotated[str, Field(pattern=r"^\d+[mg]$", description="memory, such as 600m or 4g")]
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
# Ten years before the zip format began there is no time: equal code is an equal zip.
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


class Resources(Settings):
    """What a job gets of a cluster."""

    driver_memory: Size = "4g"
    driver_overhead: Annotated[Size, Field(description="beside the JVM's heap: Python")] = "1g"
    driver_cores: Annotated[int, Field(ge=1, description="cores of the driver")] = 1
    executor_memory: Size = "4g"
    executor_overhead: Annotated[Size, Field(description="beside the JVM's heap: Python, GDAL, ONNX Runtime, TensorFlow")] = "4g"
    executor_cores: Annotated[int, Field(ge=1, description="cores of an executor")] = 4
    task_cpus: Annotated[int, Field(ge=1, description="cores of a task; those of an executor where each is to hold one rank")] = 1
    executors: Annotated[int | None, Field(ge=1, description="so many, from the beginning; null: as many as there is work for")] = None
    most_executors: Annotated[int, Field(ge=1, description="where their number follows the work, at most so many")] = 50
    gpus: Annotated[int, Field(ge=0, description="GPUs of an executor, and of each task one; needs deploy/conf/spark-gpu.conf")] = 0


class Cluster(Settings):
    """Settings that the managers share."""

    properties: Annotated[str, Field(description="file of Spark properties, below the repository or absolute")] = (
        "deploy/conf/spark-large.conf"
    )
    resources: Resources = Resources()
    jobs: Annotated[dict[str, dict[str, Any]], Field(description="job -> what it gets instead of `resources`")] = {}
    conf: Annotated[dict[str, str], Field(description="more Spark properties; they go before all others")] = {}


C = TypeVar("C", bound=Cluster)


def load_cluster(file: str | os.PathLike[str], model: type[C]) -> C:
    """The settings of a cluster, all jobs' resources checked.

    Raises:
        MissingError, SettingsError: They cannot be used, or name jobs that do not exist.
    """
    cluster = load_settings(file, model)
    for job in cluster.jobs:
        job_file(job)
        resources_of(cluster, job)
    return cluster


def job_file(job: str) -> Path:
    """The file of a job.

    Raises:
        MissingError: There is no such job.
    """
    file = ROOT / "jobs" / f"{job}.py"
    if not re.fullmatch(r"\w+", job) or not file.is_file():
        known = ", ".join(sorted(one.stem for one in (ROOT / "jobs").glob("*.py")))
        raise MissingError(f"needed a job, found none named {job!r}; known: {known}")
    return file


def resources_of(cluster: Cluster, job: str) -> Resources:
    """What a job gets.

    Raises:
        SettingsError: The job's own entry has unknown keys or impossible values.
    """
    try:
        return Resources.model_validate({**cluster.resources.model_dump(), **cluster.jobs.get(job, {})})
    except ValueError as error:
        raise SettingsError(f"jobs.{job}: needed resources, found others: {error}") from error


def resource_properties(resources: Resources) -> dict[str, str]:
    """Spark's properties of them."""
    told = {
        "spark.driver.memory": resources.driver_memory,
        "spark.driver.memoryOverhead": resources.driver_overhead,
        "spark.driver.cores": str(resources.driver_cores),
        "spark.executor.memory": resources.executor_memory,
        "spark.executor.memoryOverhead": resources.executor_overhead,
        "spark.executor.cores": str(resources.executor_cores),
        "spark.task.cpus": str(resources.task_cpus),
        "spark.dynamicAllocation.enabled": str(resources.executors is None).lower(),
    }
    if resources.executors is None:
        told["spark.dynamicAllocation.maxExecutors"] = str(resources.most_executors)
    else:
        told["spark.executor.instances"] = str(resources.executors)
    if resources.gpus:
        told |= {"spark.executor.resource.gpu.amount": str(resources.gpus), "spark.task.resource.gpu.amount": "1"}
    return told


def properties_of(cluster: Cluster, job: str) -> dict[str, str]:
    """All properties of a job but those of the manager: of the file, with jars that were resolved before, then resources, then `conf`."""
    file = Path(cluster.properties)
    told = with_known_jars(read_properties(file if file.is_absolute() else ROOT / file))
    return {**told, **resource_properties(resources_of(cluster, job)), **cluster.conf}


def passed_variables(settings: Iterable[Path]) -> dict[str, str]:
    """Variables that processes elsewhere need: those of PASSED that are set, and those that settings files name as `${NAME}`.

    Raises:
        MissingError: A settings file names one that is not set.
    """
    found = {name: os.environ[name] for name in PASSED if name in os.environ}
    for file in settings:
        for name in _VARIABLE.findall(file.read_text(encoding="utf-8")):
            if name not in os.environ:
                raise MissingError(f"{file}: needs the environment variable {name}, which is not set; export it or write the path")
            found[name] = os.environ[name]
    return found


def write_properties(properties: Mapping[str, str], file: Path) -> Path:
    """A file of properties as `spark-submit` reads it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key} {value}\n" for key, value in sorted(properties.items())), encoding="utf-8")
    return file


def zip_code(file: Path) -> Path:
    """The package as a zip, the same bytes for the same code."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted((ROOT / "eespark").rglob("*")):
            if source.is_file() and source.suffix in (".py", ".yaml", ".typed"):
                archive.writestr(zipfile.ZipInfo(str(source.relative_to(ROOT)), _LONG_AGO), source.read_bytes())
    return file


def ship_settings(file: Path, folder: Path, found_at: str = "") -> list[Path]:
    """Copies of a settings file and of those that it names, for a driver elsewhere; the main one first.

    Args:
        file: Settings of a job.
        folder: For the copies.
        found_at: Folder where the driver finds them, with a `/` behind it; empty: where it works.

    Raises:
        MissingError: There is no such file.
        SettingsError: Two have the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.yaml"):
        left.unlink()
    shipping = _Shipping(folder, found_at)
    shipping.ship(file)
    return [folder / name for name in shipping.copied]


@dataclass
class _Shipping:
    folder: Path
    found_at: str
    copied: dict[str, Path] = field(default_factory=dict)

    def ship(self, file: Path) -> str:
        """Copy a file; its path where the driver is."""
        if not file.is_file():
            raise MissingError(f"needed a settings file, found none at {file}")
        if self.copied.setdefault(file.name, file.resolve()) != file.resolve():
            raise SettingsError(f"needed settings files of different names, found {self.copied[file.name]} and {file}; rename one")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        (self.folder / file.name).write_text(yaml.safe_dump(self._renamed(content), sort_keys=False), encoding="utf-8")
        return self.found_at + file.name

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._renamed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._renamed(one) for one in value]
        if isinstance(value, str) and value.endswith((".yaml", ".yml")) and "://" not in value and Path(value).is_file():
            return self.ship(Path(value))
        return value


def submission(doc: str | None, example: Path, model: type[C], submit: Callable[[C, argparse.Namespace, list[str]], int]) -> int:
    """The exit code of a submit script: its command line read, its cluster's settings loaded, `submit` called.

    Args:
        doc: What the script tells of itself.
        example: Settings of the cluster, where the command line names none.
        model: Of these settings.
        submit: Takes them, the command line, and what is behind `--`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--cluster", type=Path, default=example, help="settings of the cluster")
    parser.add_argument("--mode", choices=("client", "cluster"), default="client", help="where the driver runs")
    parser.add_argument("--queue", help="instead of that of the settings, where the manager has queues")
    parser.add_argument("--show", action="store_true", help="write what would be submitted, and stop")
    words = sys.argv[1:]
    own, rest = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    told = parser.parse_args(own)
    try:
        return submit(load_cluster(told.cluster, model), told, rest)
    except EESparkError as error:
        print(f"submit: {error}", file=sys.stderr)
        return 2


def spark_submit(arguments: Iterable[str], variables: Mapping[str, str], *, show: bool, told_code: re.Pattern[str] | None = None) -> int:
    """The exit code of `spark-submit` with these arguments; with `show` it is only printed.

    Args:
        arguments: Of spark-submit.
        variables: Of its environment, beside those of this process.
        show: Print the command and stop.
        told_code: Finds the exit code of a job that runs elsewhere in what is printed of it, where spark-submit ends with 0 in any case.
    """
    import pyspark

    use_java_17()
    trust_system_certificates()
    home = Path(pyspark.__file__).parent
    command = [str(home / "bin" / "spark-submit"), *arguments]
    if show:
        print(" ".join(command))
        return 0
    told = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_DRIVER_PYTHON": sys.executable, **variables}
    if told_code is None:
        return subprocess.run(command, env=told, cwd=ROOT, check=False).returncode
    return code_in_output(command, told, told_code)


def code_in_output(command: list[str], environment: Mapping[str, str], told_code: re.Pattern[str]) -> int:
    """The last code that a command prints, all of which is shown; its own where it failed or prints none."""
    found = 0
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            match = told_code.search(line)
            found = int(match[1]) if match else found
    return process.returncode or found
