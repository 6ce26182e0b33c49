"""Run a command as the only writer of some tables: `python deploy/leased.py LEASE_URL [options] -- COMMAND...`.

Delta's log on S3 knows one writer at a time. What starts jobs there, a shell, cron or Airflow, starts them by this: it holds the lease as
long as the command runs, and ends with the command's exit code, or with 5 where another holds the lease.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eespark.endings import Code
from eespark.errors import BusyError, EESparkError
from eespark.io.lease import Lease, held_lease

_LOOK_S: Final = 0.5
_END_S: Final = 60.0


def main() -> int:
    """Run the command of the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lease", help="URL of its file, beside the tables")
    parser.add_argument("--seconds", type=float, default=900.0, help="after which the lease of a command that died may be taken")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for another holder")
    words = sys.argv[1:]
    if "--" not in words or words[-1] == "--":
        parser.error("needed `--` and a command behind it")
    told = parser.parse_args(words[: words.index("--")])
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        with held_lease(told.lease, "leased", told.seconds, told.wait) as lease:
            return _run(words[words.index("--") + 1 :], lease)
    except EESparkError as error:
        print(f"leased: {error}", file=sys.stderr)
        return int(Code.BUSY if isinstance(error, BusyError) else Code.UNUSABLE)


def _run(command: list[str], lease: Lease) -> int:
    """The exit code of a command, which is ended where the lease is lost.

    Raises:
        BusyError: It was lost.
    """
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait(_LOOK_S)
                # As shells tell of a signal.
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                if lease.lost.is_set():
                    _end(process)
                    raise BusyError(
                        f"needed the lease {lease.url} until the end, found it lost to another; the command was ended"
                    ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main())
