"""Pack this environment into the archive that YARN ships to its nodes: `python deploy/yarn/pack_environment.py OUT.tar.gz`.

Spark comes with the job and eespark with the submit script, so both stay out, and so do the tools of development. Java comes along. Nodes
need the Python that the environment was made from at the same path, for a virtual environment links to it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import venv_pack

LEFT_OUT = (
    "pyspark",
    "eespark*",
    "__editable__*",
    "cmake",
    "cmake-*",
    "ruff*",
    "mypy*",
    "uv*",
    "clang*",
    "pip",
    "pip-*",
    "duckdb*",
    "_duckdb*",
)


def main() -> None:
    """Pack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="PACKAGE", help="more to leave out, such as tensorflow for jobs that do not train"
    )
    parser.add_argument("--level", type=int, default=4, help="of the compression, 0 to 9")
    told = parser.parse_args()
    packages = "lib/python3.11/site-packages"
    out = [*LEFT_OUT, *told.without, *(f"{name.replace('-', '_')}-*" for name in told.without)]
    filters = [("exclude", f"{packages}/{name}{end}") for name in out for end in ("", "/*")] + [("exclude", "bin/[!pa]*")]
    told.output.parent.mkdir(parents=True, exist_ok=True)
    venv_pack.pack(prefix=sys.prefix, output=str(told.output), filters=filters, compress_level=told.level, force=True)
    print(f"pack_environment: {told.output}, {told.output.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
