"""Jobs as their users run them: processes of their own, which a test watches, ends in the middle and runs again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eespark.job import JobSettings

ROOT = Path(__file__).resolve().parents[2]
_MARK = "EESPARK_TEST_RUN"
_TICK_S = 0.01


@dataclass
class Run:
    """A job at work.

    Every process that it starts, and those that they start, inherit a mark in their environment, by which they are found even
    when they have left their parents.
    """

    process: subprocess.Popen[bytes]
    mark: str
    log_file: Path
    summary_file: Path

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.summary_file.read_text(encoding="utf-8")))

    def wait_until(self, happened: Callable[[], bool], seconds: float = 300) -> None:
        """Wait for what can be seen from outside; a job that ends before it, or takes too long, fails the test."""
        limit = time.monotonic() + seconds
        while not happened():
            code = self._ended_within(_TICK_S)
            assert code is None, f"the job ended with {code} too early:\n{self.log()[-3_000:]}"
            assert time.monotonic() < limit, f"waited {seconds} s in vain:\n{self.log()[-3_000:]}"

    def wait(self, seconds: float = 300) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to the driver and all processes of its group, the JVM among them."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone, as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait()

    def jvm(self) -> int:
        """The process of its JVM."""
        (found,) = [pid for pid in self.left() if Path(f"/proc/{pid}/comm").read_text().strip() == "java"]
        return found

    def left(self) -> list[int]:
        """Processes of this run that are there now."""
        return [pid for pid in _processes() if self.mark.encode() in _environment(pid)]

    def wait_until_nothing_is_left(self, seconds: float = 30) -> None:
        """Every process of the run must go by itself within some seconds of its driver's end."""
        limit = time.monotonic() + seconds
        while left := self.left():
            told = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:200] for pid in left if Path(f"/proc/{pid}").exists()]
            assert time.monotonic() < limit, f"{len(left)} processes stay behind: {told}"
            time.sleep(_TICK_S)

    def end(self) -> None:
        """End whatever is left."""
        for pid in self.left():
            with suppress(ProcessLookupError):  # gone with one that was killed before it
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _ended_within(self, seconds: float) -> int | None:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


@dataclass
class Runner:
    """Starts jobs; their temporary files, and Spark's, lie in its folder."""

    folder: Path
    properties: tuple[str, ...] = ()
    """Lines that go behind those of spark-small.conf."""
    runs: list[Run] = field(default_factory=list)

    def start(self, job: str, settings: JobSettings) -> Run:
        here = self.folder / f"{len(self.runs)}-{job}"
        scratch = here / "scratch"
        scratch.mkdir(parents=True)
        (here / "settings.yaml").write_text(yaml.safe_dump(json.loads(settings.model_dump_json())), encoding="utf-8")
        mark = f"{_MARK}={uuid.uuid4().hex}"
        name, value = mark.split("=")
        changes = {name: value, "EESPARK_SPARK_CONF": str(self._properties(here, scratch)), "TMPDIR": str(scratch)}
        log, summary = here / "log", Path(settings.summary)
        summary.unlink(missing_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, f"jobs/{job}.py", str(here / "settings.yaml")], cwd=ROOT, env={**os.environ, **changes},
                stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_heed_interrupts,
            )  # fmt: skip
        self.runs.append(Run(process, mark, log, summary))
        return self.runs[-1]

    def run(self, job: str, settings: JobSettings, code: int = 0) -> Run:
        """Run a job to its end, which must have this exit code."""
        run = self.start(job, settings)
        found = run.wait()
        assert found == code, f"{job} ended with {found}:\n{run.log()[-3_000:]}"
        return run

    def end(self) -> None:
        for run in self.runs:
            run.end()

    def _properties(self, here: Path, scratch: Path) -> Path:
        small = (ROOT / "deploy" / "conf" / "spark-small.conf").read_text(encoding="utf-8")
        lines = [line for line in small.splitlines() if not line.startswith("spark.driver.extraJavaOptions")]
        lines += [f"spark.local.dir {scratch}", "spark.driver.memory 1g"]
        lines += [f"spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir={scratch}"]
        (here / "spark.conf").write_text("\n".join([*lines, *self.properties]) + "\n", encoding="utf-8")
        return here / "spark.conf"


@contextmanager
def held(file: Path) -> Iterator[Callable[[], bool]]:
    """A pipe that nobody writes to in the place of a file: a process that reads it waits there. Gives whether one does."""
    kept, ends = file.with_name(f"{file.name}.kept"), []
    file.rename(kept)
    os.mkfifo(file)

    def is_read() -> bool:
        try:
            # A writing end can be opened only while there is a reader; left open, it keeps the reader waiting.
            ends.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    try:
        yield is_read
    finally:
        for end in ends:
            os.close(end)
        file.unlink()
        kept.rename(file)


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""  # gone, or not ours


def _heed_interrupts() -> None:
    # Where the tests run in the background of a script interrupts are ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
