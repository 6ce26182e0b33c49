"""Put the jars that jobs need among Spark's own, when an image is built."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyspark

from eespark.spark.session import make_session, read_properties

CONF = Path(__file__).resolve().parents[1] / "conf"


def main() -> None:
    """Resolve what spark-s3.conf names, which has all of the others too, and copy it."""
    scratch = Path("/tmp/image.conf")  # noqa: S108
    told = read_properties(CONF / "spark-small.conf") | {
        "spark.jars.packages": read_properties(CONF / "spark-s3.conf")["spark.jars.packages"]
    }
    scratch.write_text("".join(f"{key} {value}\n" for key, value in told.items()), encoding="utf-8")
    spark = make_session("image", scratch)
    jars = [url.removeprefix("file://") for url in (spark.sparkContext.getConf().get("spark.jars") or "").split(",") if url]
    spark.stop()
    if not jars:
        sys.exit("image_jars: needed jars of spark.jars.packages, found none resolved")
    for jar in jars:
        shutil.copy2(jar, Path(pyspark.__file__).parent / "jars")
    print(f"image_jars: {len(jars)} jars")


if __name__ == "__main__":
    main()
