"""Submit a job to Kubernetes: `python deploy/kubernetes/submit.py JOB SETTINGS.yaml [options] [-- arguments of the job]`.

In cluster mode the driver gets a pod of its own, for which the settings file and those that it names are uploaded. In client mode this
process is the driver and must run in a pod of the cluster, as the CronJob's does. Code, packages, Java and jars are those of the image.
"""

from __future__ import annotations

import argparse
import os
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

from eespark.errors import MissingError

HERE: Final = Path(__file__).resolve().parent
# Where the image has the repository.
_IN_IMAGE: Final = "/opt/eespark"


class Kubernetes(Cluster):
    """Settings of a Kubernetes cluster."""

    master: Annotated[str, Field(pattern="^https?://", description="URL of the API server as this process reaches it")]
    driver_master: Annotated[str | None, Field(description="the same as pods reach it, where that differs")] = None
    namespace: Annotated[str, Field(min_length=1, description="of the pods")] = "eespark"
    image: Annotated[str, Field(min_length=1, description="of deploy/kubernetes/Dockerfile, as nodes pull it")]
    upload: Annotated[str | None, Field(description="URL that the driver's pod fetches settings files from, in cluster mode")] = None
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
    shipped = ship_settings(told.settings, work / "settings" / told.job) if elsewhere else [told.settings]
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
    if elsewhere:
        options += ["--files", ",".join(str(one) for one in shipped)]
    job = f"local://{_IN_IMAGE}/jobs/{told.job}.py" if elsewhere else str(job_file(told.job))
    settings = shipped[0].name if elsewhere else str(told.settings)
    return spark_submit([*options, job, settings, *arguments], {}, show=told.show)


def manager_properties(cluster: Kubernetes, *, elsewhere: bool) -> dict[str, str]:
    """Kubernetes' own properties.

    Raises:
        MissingError: Cluster mode without `upload`, or client mode outside of a pod.
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
        if cluster.upload is None:
            raise MissingError(
                "cluster mode needs `upload` in the settings of the cluster: a URL that the driver's pod can read, found none"
            )
        told |= {
            "spark.kubernetes.driver.podTemplateFile": cluster.driver_template,
            "spark.kubernetes.driver.podTemplateContainerName": "driver",
            "spark.kubernetes.file.upload.path": cluster.upload,
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
