"""Programs that these tests start, kept in the cache: Debian's, unpacked only, and Kubernetes and CoreDNS, built from their modules."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("EESPARK_CACHE", Path.home() / ".cache" / "eespark")) / "kubernetes"
_PACKAGES = (
    "etcd-server", "containerd", "runc", "containernetworking-plugins", "libseccomp2",
    "buildah", "libgpgme11", "libassuan0", "libdevmapper1.02.1", "debootstrap",
)  # fmt: skip
_NEEDED = ("apt-get", "dpkg-deb", "go", "ip", "nsenter", "unshare", "openssl")


def missing() -> str | None:
    """Why a cluster cannot be started here, or None: it takes root, namespaces of its own, and some programs."""
    if os.geteuid() != 0:
        return "Kubernetes needs root: a kubelet makes namespaces, mounts and control groups"
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if absent:
        return f"Kubernetes needs {', '.join(absent)} on this machine"
    told = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    if told.returncode:
        return f"Kubernetes needs namespaces of network, mounts and processes: {told.stderr.decode().strip()}"
    cgroups = Path("/sys/fs/cgroup")
    memory = cgroups if (cgroups / "cgroup.controllers").exists() else cgroups / "memory"
    if not os.access(memory, os.W_OK):
        return f"Kubernetes needs control groups that can be written, found none at {memory}"
    return None


@dataclass(frozen=True)
class Tools:
    """Where the programs are.

    Attributes:
        debian: Folder that Debian's packages are unpacked in.
        kube: All daemons of Kubernetes, and kubectl.
        dns: CoreDNS.
        pause: What a pod's namespaces are held by.
    """

    debian: Path
    kube: Path
    dns: Path
    pause: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that starts Debian's programs."""
        usr = self.debian / "usr"
        path = os.pathsep.join([str(usr / "bin"), str(usr / "sbin"), os.environ["PATH"]])
        libraries = f"{usr / 'lib' / 'x86_64-linux-gnu'}:{self.debian / 'lib' / 'x86_64-linux-gnu'}"
        return {**os.environ, "PATH": path, "LD_LIBRARY_PATH": libraries}


def get_tools() -> Tools:
    """All programs; about ten minutes the first time."""
    daemons = {name: _built(name) for name in ("kube", "dns", "pause")}
    return Tools(_unpacked(), daemons["kube"], daemons["dns"], daemons["pause"])


def run(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None, told: str = "") -> str:
    """What a command printed; where it fails, the end of that is the error."""
    done = subprocess.run(
        [str(word) for word in command], env=environment, cwd=cwd, input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6_000:]}"
    return done.stdout


def _unpacked() -> Path:
    """Debian's packages, unpacked and not installed: no service starts, and nothing stays but the cache."""
    folder = CACHE / f"debian-{hashlib.sha256(' '.join(_PACKAGES).encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        making = folder.with_name(folder.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        (making / "packages").mkdir(parents=True)
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "download", "-qq", *_PACKAGES], cwd=making / "packages")
        for package in sorted((making / "packages").glob("*.deb")):
            run(["dpkg-deb", "--extract", package, making])
        shutil.rmtree(making / "packages")
        making.replace(folder)
    return folder


def _built(name: str) -> Path:
    """A program of daemons/, built where its sources are others than those it was built from."""
    source = HERE / "daemons" / name
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.iterdir()))).hexdigest()[:12]
    program = CACHE / "bin" / f"{name}-{digest}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        making = program.with_name(f"{program.name}.making")
        told = {**os.environ, "CGO_ENABLED": "0"}
        run(["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", making, "."], environment=told, cwd=source)
        making.replace(program)
    return program
