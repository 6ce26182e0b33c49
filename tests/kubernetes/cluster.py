"""A Kubernetes of one node: API server, controllers, scheduler, kubelet, containerd and CoreDNS, each the real one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kubernetes.sandbox import NODE, PODS, Sandbox, running_sandbox
from tests.kubernetes.tools import Tools, run

SERVER: Final = f"https://{NODE}:443"
_SERVICES: Final = "10.96.0.0/16"
_ETCD: Final = "http://127.0.0.1:12379"
_CONTAINERD: Final = "/run/containerd/containerd.sock"
_TICK_S: Final = 0.1
_NAMES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")
_SUBJECTS: Final = {
    "apiserver": "/CN=kube-apiserver",
    "admin": "/O=system:masters/CN=admin",
    "node": "/O=system:nodes/CN=system:node:node",
    "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
}


@dataclass(frozen=True)
class Cluster:
    """A running one.

    Attributes:
        folder: Of certificates, settings and logs.
        tools: Programs.
        sandbox: That its daemons run in.
    """

    folder: Path
    tools: Tools
    sandbox: Sandbox

    def kubectl(self, *arguments: str | Path, told: str = "") -> str:
        """What kubectl printed, as an administrator."""
        return run(self._kubectl(*arguments), told=told)

    def refused(self, *arguments: str | Path, told: str = "") -> str:
        """Why the API server refused; the test fails where it did not."""
        done = subprocess.run(self._kubectl(*arguments), input=told, capture_output=True, text=True, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def objects(self, kind: str, *arguments: str, namespace: str = "eespark") -> list[dict[str, Any]]:
        """Objects of a kind, as JSON tells of them."""
        return list(json.loads(self.kubectl("-n", namespace, "get", kind, "-o", "json", *arguments))["items"])

    def until(self, what: str, happened: Callable[[], Any], seconds: float = 300) -> Any:
        """Wait for something; what it gave."""
        limit = time.monotonic() + seconds
        while not (found := happened()):
            self.sandbox.check()
            assert time.monotonic() < limit, f"waited {seconds} s for {what}\n{self.told()}"
            time.sleep(_TICK_S)
        return found

    def told(self) -> str:
        """What pods did, for a failure's message; empty where the API server does not answer."""
        commands = [self._kubectl("get", kind, "-A", "-o", "wide") for kind in ("pods", "events")]
        return "".join(subprocess.run(one, capture_output=True, text=True, check=False).stdout[-4_000:] for one in commands)

    def _kubectl(self, *arguments: str | Path) -> list[str]:
        return [str(self.tools.kube), "kubectl", f"--kubeconfig={self.folder / 'admin.conf'}", *map(str, arguments)]


@contextmanager
def running_cluster(folder: Path, tools: Tools, images: list[Path]) -> Iterator[Cluster]:
    """A cluster as long as the context lasts, whose node is ready and has the images."""
    (folder / "pki").mkdir(parents=True)
    _certificates(folder / "pki")
    for user in ("admin", "node"):
        _kubeconfig(folder, user)
    with running_sandbox(folder, tools.environment) as sandbox:
        cluster = Cluster(folder, tools, sandbox)
        _start_control_plane(cluster)
        _start_node(cluster, images)
        cluster.until("the node", lambda: _is_ready(cluster), 120)
        yield cluster


def _start_control_plane(cluster: Cluster) -> None:
    sandbox, pki, kube = cluster.sandbox, cluster.folder / "pki", cluster.tools.kube
    peers = "http://127.0.0.1:12380"
    sandbox.start(
        "etcd", "etcd", "--data-dir", cluster.folder / "etcd", "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}",
    )  # fmt: skip
    sandbox.start(
        "apiserver", kube, "kube-apiserver", f"--etcd-servers={_ETCD}", "--secure-port=443", f"--advertise-address={NODE}",
        f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt", f"--kubelet-client-key={pki}/kubelet-client.key",
        f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={_SERVICES}",
        "--authorization-mode=Node,RBAC", "--kubelet-preferred-address-types=InternalIP",
        # Debian's etcd 3.4 cannot tell how far a watch has come, which this way of listing waits for.
        "--feature-gates=WatchList=false",
    )  # fmt: skip
    ready = cluster._kubectl("get", "--raw", "/readyz")
    cluster.until("the API server", lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 120)
    config = f"--kubeconfig={cluster.folder / 'admin.conf'}"
    sandbox.start(
        "controllers", kube, "kube-controller-manager", config, "--leader-elect=false", "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
    )  # fmt: skip
    sandbox.start("scheduler", kube, "kube-scheduler", config, "--leader-elect=false")


def _start_node(cluster: Cluster, images: list[Path]) -> None:
    folder, sandbox, usr = cluster.folder, cluster.sandbox, cluster.tools.debian / "usr"
    _containerd_settings(folder, usr)
    sandbox.run("mkdir", "/run/containerd")
    sandbox.start("containerd", "containerd", "--config", folder / "containerd.toml")
    cluster.until("containerd", lambda: "serving..." in sandbox.log("containerd"), 60)
    for image in images:
        sandbox.run("ctr", "--address", _CONTAINERD, "--namespace", "k8s.io", "images", "import", image)
    zone = f"kubernetes cluster.local {{\n    kubeconfig {folder / 'admin.conf'} test\n  }}"
    (folder / "Corefile").write_text(f"cluster.local:53 {{\n  errors\n  {zone}\n}}\n")
    sandbox.start("dns", cluster.tools.dns, "-conf", folder / "Corefile")
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet_settings(folder)))
    sandbox.start(
        "kubelet", cluster.tools.kube, "kubelet", f"--config={folder / 'kubelet.yaml'}", f"--kubeconfig={folder / 'node.conf'}",
        "--hostname-override=node", f"--node-ip={NODE}", f"--root-dir={folder / 'kubelet'}",
    )  # fmt: skip


def _containerd_settings(folder: Path, usr: Path) -> None:
    network = {
        "cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        ],
    }  # fmt: skip
    (folder / "cni").mkdir()
    (folder / "cni" / "pods.conflist").write_text(json.dumps(network))
    (folder / "containerd.toml").write_text(f"""version = 2
root = "{folder / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{_CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:test"
  disable_apparmor = true
  # Without the right to it (CAP_SYS_RESOURCE) no process can be made less likely to be killed.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{usr / "lib" / "cni"}"
    conf_dir = "{folder / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{usr / "sbin" / "runc"}"
""")


def _kubelet_settings(folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False}, "x509": {"clientCAFile": str(folder / "pki" / "ca.crt")}, "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [NODE],
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "readOnlyPort": 0,
        "healthzPort": 0,
        "oomScoreAdj": 0,
    }  # fmt: skip


def _is_ready(cluster: Cluster) -> bool:
    conditions = [one for node in cluster.objects("nodes") for one in node["status"].get("conditions", [])]
    account = subprocess.run(cluster._kubectl("get", "serviceaccount", "default"), capture_output=True, check=False)
    return account.returncode == 0 and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _certificates(pki: Path) -> None:
    """An authority, certificates of daemons and of an administrator, a key for accounts of services."""
    openssl = ["openssl"]
    run(
        [
            *openssl,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ],
        cwd=pki,
    )
    names = ",".join([*(f"DNS:{name}" for name in _NAMES), "IP:127.0.0.1", "IP:10.96.0.1", f"IP:{NODE}"])
    for name, subject in _SUBJECTS.items():
        told = f"subjectAltName={names}\n" if name == "apiserver" else "basicConstraints=CA:FALSE\n"
        (pki / f"{name}.ext").write_text(told)
        run([*openssl, "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr"], cwd=pki)
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext"]
        run([*openssl, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt"], cwd=pki)
    run([*openssl, "genrsa", "-out", "sa.key", "2048"], cwd=pki)
    run([*openssl, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"], cwd=pki)


def _kubeconfig(folder: Path, user: str) -> None:
    pki = folder / "pki"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": SERVER, "certificate-authority": str(pki / "ca.crt")}}],
        "users": [{"name": user, "user": {"client-certificate": str(pki / f"{user}.crt"), "client-key": str(pki / f"{user}.key")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        "current-context": "test",
    }
    (folder / f"{user}.conf").write_text(yaml.safe_dump(config))
