"""A real HDFS and a real YARN on one machine: NameNode, DataNode, ResourceManager and NodeManagers in one JVM that this process drives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from tests.cluster.jars import JAVA, resolve, spark_jar

# The shaded mini cluster asks for log4j 1.2, the ResourceManager's proxy for BouncyCastle, the daemons' pages for JAXB.
ARTIFACTS = (
    "org.apache.hadoop:hadoop-client-minicluster:3.3.4", "org.slf4j:slf4j-reload4j:1.7.36", "org.bouncycastle:bcprov-jdk15on:1.70",
    "org.bouncycastle:bcpkix-jdk15on:1.70", "org.glassfish.jaxb:jaxb-runtime:2.3.1", "javax.activation:javax.activation-api:1.2.0",
)  # fmt: skip
_LOG4J = """log4j.rootLogger=WARN, A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.target=System.err
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d{HH:mm:ss} %p %c{1}: %m%n
"""
NODES, NODE_MB, NODE_CORES = 2, 4096, 2


@dataclass(frozen=True)
class Hadoop:
    """A running cluster.

    Attributes:
        conf: Folder with core-site.xml, hdfs-site.xml and yarn-site.xml.
        hdfs: hdfs://host:port
        web: Of the NameNode, http://host:port
        logs: Folder below which containers work, and write what they print.
    """

    conf: Path
    hdfs: str
    web: str
    logs: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that works with it."""
        return {"HADOOP_CONF_DIR": str(self.conf), "EESPARK_WEBHDFS": self.web, "JAVA_HOME": str(JAVA.parents[1])}


@contextmanager
def running_hadoop(folder: Path, *, yarn: bool) -> Iterator[Hadoop]:
    """A cluster as long as the context lasts; its JVM ends with this process, however that ends.

    Args:
        folder: For all that it writes.
        yarn: A ResourceManager and two NodeManagers too.
    """
    conf, work = folder / "conf", folder / "work"
    for one in (conf, work):
        one.mkdir(parents=True)
    (conf / "log4j.properties").write_text(_LOG4J)
    jars = os.pathsep.join(str(jar) for jar in (conf, *resolve(ARTIFACTS, folder / "ivy")))
    options = ["-Xmx768m", "-XX:TieredStopAtLevel=1", "--add-opens", "java.base/java.lang=ALL-UNNAMED"]
    options += [f"-Dtest.build.data={work / 'data'}", f"-Dtest.build.dir={work / 'build'}"]
    with (folder / "log").open("wb") as log:
        port = launch_gateway(
            jarpath=str(spark_jar("py4j-")), classpath=jars, javaopts=options, die_on_exit=True, java_path=str(JAVA), cwd=str(work),
            redirect_stdout=log, redirect_stderr=log,
        )  # fmt: skip
        gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_convert=True))
        started: list[Any] = []
        try:
            yield _start(gateway.jvm, conf, work, yarn, started)
        finally:
            for one in reversed(started):
                one()
            gateway.shutdown()


def _start(jvm: Any, conf: Path, work: Path, yarn: bool, started: list[Any]) -> Hadoop:
    hadoop = jvm.org.apache.hadoop
    settings = hadoop.hdfs.HdfsConfiguration()
    settings.set("dfs.replication", "1")
    # Who a container says that it is, it is.
    for name in ("hosts", "groups"):
        settings.set(f"hadoop.proxyuser.{os.environ.get('USER', 'root')}.{name}", "*")
    builder = getattr(hadoop.hdfs, "MiniDFSCluster$Builder")(settings, jvm.java.io.File(str(work / "dfs")))
    dfs = builder.numDataNodes(1).format(True).build()
    started.append(lambda: dfs.shutdown(True))
    dfs.waitActive()
    url = str(dfs.getURI().toString())
    web = f"http://127.0.0.1:{dfs.getNameNode().getHttpAddress().getPort()}"
    sites = {"core": {"fs.defaultFS": url}, "hdfs": {"dfs.replication": "1"}, "yarn": {}}
    if yarn:
        sites["yarn"] = _start_yarn(jvm, url, started)
    for name, told in sites.items():
        site = hadoop.conf.Configuration(False)
        for key, value in told.items():
            site.set(key, value)
        stream = jvm.java.io.FileOutputStream(str(conf / f"{name}-site.xml"))
        site.writeXml(stream)
        stream.close()
    return Hadoop(conf, url, web, work / "data")


def _start_yarn(jvm: Any, url: str, started: list[Any]) -> dict[str, str]:
    conf = jvm.org.apache.hadoop.yarn.conf.YarnConfiguration()
    scheduler = "org.apache.hadoop.yarn.server.resourcemanager.scheduler.capacity.CapacityScheduler"
    wanted = {
        "fs.defaultFS": url,
        "yarn.resourcemanager.scheduler.class": scheduler,
        # Cores count as memory does.
        "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
        "yarn.scheduler.capacity.root.queues": "default,night",
        "yarn.scheduler.capacity.root.default.capacity": "50",
        "yarn.scheduler.capacity.root.night.capacity": "50",
        "yarn.scheduler.capacity.root.night.maximum-capacity": "100",
        "yarn.scheduler.capacity.root.night.user-limit-factor": "2",
        "yarn.scheduler.capacity.maximum-am-resource-percent": "0.8",
        "yarn.scheduler.minimum-allocation-mb": "128",
        "yarn.scheduler.maximum-allocation-mb": str(NODE_MB),
        # The mini cluster overwrites the memory of its nodes unless told by this key.
        "yarn.minicluster.yarn.nodemanager.resource.memory-mb": str(NODE_MB),
        "yarn.nodemanager.resource.memory-mb": str(NODE_MB),
        "yarn.nodemanager.resource.cpu-vcores": str(NODE_CORES),
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.delete.debug-delay-sec": "3600",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.0",
        "yarn.minicluster.fixed.ports": "false",
    }
    for key, value in wanted.items():
        conf.set(key, value)
    cluster = jvm.org.apache.hadoop.yarn.server.MiniYARNCluster("eespark", 1, NODES, 1, 1)
    started.append(cluster.stop)
    cluster.init(conf)
    cluster.start()
    assert cluster.waitForNodeManagersToConnect(120_000), "the NodeManagers did not connect"
    told = cluster.getConfig()
    addresses = [f"yarn.resourcemanager.{name}" for name in ("address", "scheduler.address", "resource-tracker.address", "webapp.address")]
    site = {key: str(told.get(key)) for key in addresses}
    # Containers get Spark and Hadoop from the job.
    return site | {"yarn.application.classpath": "", "yarn.scheduler.maximum-allocation-mb": str(NODE_MB)}
