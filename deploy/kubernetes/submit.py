"""Submit a job to Kubernetes: `python deploy/kubernetes/submit.py JOB SETTINGS.yaml [options] [-- arguments of the job]`.

In cluster mode the driver gets a pod of its own, and the settings file with those that it names as a ConfigMap. In client mode this
process is the driver and must run in a pod of the cluster, as the CronJob's does. Code, packages, Java and jars are those of the image.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clusters import (  # beside this folder
    ROOT,
    Cluster,
    job_file,
    passed_variables,
    properties_of,
    ship_settings,
    spark_submit,
    submission,
    write_properties,
)

from eespark.errors import CapacityError, MissingError

HERE: Final = Path(__file__).resolve().parent
# Where the image has the repository, and where Spark mounts the files of the folder that SPARK_CONF_DIR names here.
_IN_IMAGE: Final = "/opt/eespark"
_CONF: Final = "/opt/spark/conf/"
# How spark-submit tells of the driver's container when that ended.
_CODE: Final = re.compile(r"^\s*exit code: (\d+)\s*$")
# A ConfigMap holds 1 MiB; Spark leaves out files that go beyond, and the job would find none.
_MOST_BYTES: Final = 1_000_000


class Kubernetes(Cluster):
    """Settings of a Kubernetes cluster."""

    master: Annotated[str, Field(pattern="^https?://", description="URL of the API server as this process reaches it")]
    driver_master: Annotated[str | None, Field(description="the same as pods reach it, where that differs")] = None
    namespace: Annotated[str, Field(min_length=1, description="of the pods")] = "eespark"
    image: Annotated[str, Field(min_length=1, description="of deploy/kubernetes/Dockerfile, as nodes pull it")]
    driver_template: Annotated[str, Field(description="pod template")] = str(HERE / "driver.yaml")
    executor_template: Annotated[str, Field(description="pod template")] = str(HERE / "executor.yaml")


def main() -> int:
    """Submit as the command line says; the exit code."""
    return submission(__doc__, HERE / "cluster.yaml", Kubernetes, submit)


def submit(cluster: Kubernetes, told: argparse.Namespace, arguments: list[str]) -> int:
    """Write what is shipped, and call spark-submit; its exit code."""
    work, elsewhere = ROOT / "build" / "kubernetes", told.mode == "cluster"
    if not os.access(ROOT, os.W_OK):
        work = Path(os.environ.get("TMPDIR", "/tmp")) / "eespark-submit"  # noqa: S108
    shipped = ship_settings(told.settings, work / "settings" / told.job, _CONF) if elsewhere else [told.settings]
    properties = properties_of(cluster, told.job) | manager_properties(cluster, elsewhere=elsewhere)
    for name in ("spark.jars.packages", "spark.jars"):
        properties.pop(name, None)  # the image has them
    for name, value in passed_variables(shipped).items():
        properties |= {f"spark.kubernetes.driverEnv.{name}": value, f"spark.executorEnv.{name}": value}
    file = write_properties({**properties, **cluster.conf}, work / f"{told.job}.conf")
    options = [
        "--master",
        f"k8s://{cluster.master}",
        "--deploy-mode",
        told.mode,
        "--properties-file",
        str(file),
        "--name",
        told.job.replace("_", "-"),
    ]
    job = job_file(told.job)
    if not elsewhere:
        return spark_submit([*options, str(job), str(told.settings), *arguments], {}, show=told.show)
    size = sum(one.stat().st_size for one in shipped)
    if size > _MOST_BYTES:
        raise CapacityError(f"settings files go to the driver in a ConfigMap: needed at most {_MOST_BYTES} bytes of them, found {size}")
    words = [f"local://{_IN_IMAGE}/jobs/{job.name}", f"{_CONF}{shipped[0].name}", *arguments]
    return spark_submit([*options, *words], {"SPARK_CONF_DIR": str(shipped[0].parent)}, show=told.show, told_code=_CODE)


def manager_properties(cluster: Kubernetes, *, elsewhere: bool) -> dict[str, str]:
    """Kubernetes' own properties.

    Raises:
        MissingError: Client mode outside of a pod.
    """
    told = {
        "spark.kubernetes.namespace": cluster.namespace,
        "spark.kubernetes.container.image": cluster.image,
        "spark.kubernetes.authenticate.driver.serviceAccountName": "eespark-driver",
        "spark.kubernetes.authenticate.executor.serviceAccountName": "eespark-executor",
        "spark.kubernetes.executor.podTemplateFile": cluster.executor_template,
        "spark.kubernetes.executor.podTemplateContainerName": "executor",
    }
    if elsewhere:
        told |= {
            "spark.kubernetes.driver.podTemplateFile": cluster.driver_template,
            "spark.kubernetes.driver.podTemplateContainerName": "driver",
            # Without these the driver would look for the Python of whoever submits.
            "spark.pyspark.python": f"{_IN_IMAGE}/.venv/bin/python",
            "spark.pyspark.driver.python": f"{_IN_IMAGE}/.venv/bin/python",
        }
        if cluster.driver_master:
            told["spark.kubernetes.driver.master"] = cluster.driver_master
        return told
    name, address = os.environ.get("EESPARK_POD_NAME"), os.environ.get("EESPARK_POD_IP")
    if not name or not address:
        raise MissingError(
            "client mode runs in a pod that tells EESPARK_POD_NAME and EESPARK_POD_IP, as cronjob.yaml has them; found neither"
        )
    # Executors call the driver at its pod, and go with it.
    return {**told, "spark.driver.host": address, "spark.driver.bindAddress": "0.0.0.0", "spark.kubernetes.driver.pod.name": name}  # noqa: S104


if __name__ == "__main__":
    sys.exit(main())
