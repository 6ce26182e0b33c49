"""Namespaces of network, mounts and processes: a machine within the machine, whose processes all end with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes.tools import run

HOST, NODE, PODS = "10.200.77.1", "10.200.77.2", "10.201.77.0/24"
"""Addresses: of this machine, of the machine within, of its pods."""
# What a kubelet sets for the whole machine.
_SHARED = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


@dataclass
class Sandbox:
    """A running one.

    Attributes:
        folder: For logs, and for what lies in /var/lib and /var/log within.
        pid: Of its first process; all others end when that does.
        environment: Of all that is started in it.
    """

    folder: Path
    pid: int
    environment: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str | Path) -> None:
        """Start a daemon; what it prints goes to `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._within(command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=dict(self.environment)
            )

    def run(self, *command: str | Path) -> str:
        """What a command printed."""
        return run(self._within(command), environment=self.environment)

    def check(self) -> None:
        """Raise AssertionError where a daemon ended, with the end of what it printed."""
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)[-4_000:]}"

    def log(self, name: str) -> str:
        """What a daemon printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _within(self, command: Sequence[str | Path]) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *map(str, command)]


@contextmanager
def running_sandbox(folder: Path, environment: Mapping[str, str]) -> Iterator[Sandbox]:
    """A sandbox as long as the context lasts, and no longer than this process lives: its first process reads from it.

    Args:
        folder: For all that is written; must exist.
        environment: Of what is started in it.
    """
    shared = {name: Path("/proc/sys", name).read_text() for name in _SHARED if Path("/proc/sys", name).exists()}
    groups = _groups()
    first = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "echo ready; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert first.stdin is not None
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"ready\n"
        (pid,) = (int(word) for word in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
        sandbox = Sandbox(folder, pid, environment)
        _mounts(sandbox)
        _network(sandbox)
        yield sandbox
        sandbox.check()
    finally:
        # The first process ends, the kernel ends all others, and only then does `unshare` return.
        first.stdin.close()
        first.wait()
        for name, value in shared.items():
            Path("/proc/sys", name).write_text(value)
        _remove_groups(groups)


def _mounts(sandbox: Sandbox) -> None:
    """Nothing of what daemons write lands in this machine's own folders."""
    for name in ("lib", "log"):
        (sandbox.folder / name).mkdir()
        sandbox.run("mount", "--bind", sandbox.folder / name, f"/var/{name}")
    sandbox.run("mount", "-t", "tmpfs", "tmpfs", "/run")


def _network(sandbox: Sandbox) -> None:
    """One link to this machine, by which pods are reached too; the address of the API's service is one of the node's own."""
    host, node = f"ee{sandbox.pid}h"[:15], f"ee{sandbox.pid}n"[:15]
    run(["ip", "link", "add", host, "type", "veth", "peer", "name", node, "netns", str(sandbox.pid)])
    run(["ip", "address", "add", f"{HOST}/24", "dev", host])
    run(["ip", "link", "set", host, "up"])
    run(["ip", "route", "add", PODS, "via", NODE])
    for words in (
        ["address", "add", f"{NODE}/24", "dev", node], ["link", "set", node, "up"], ["link", "set", "lo", "up"],
        ["address", "add", "10.96.0.1/32", "dev", "lo"], ["route", "add", "default", "via", HOST],
    ):  # fmt: skip
        sandbox.run("ip", *words)


def _groups() -> set[Path]:
    """Control groups at the top: those of one hierarchy, or of each."""
    return {one for pattern in ("*", "*/*") for one in Path("/sys/fs/cgroup").glob(pattern) if one.is_dir()}


def _remove_groups(before: set[Path]) -> None:
    for group in _groups() - before:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
