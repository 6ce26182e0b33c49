"""The image of deploy/kubernetes/Dockerfile, built by Buildah upon a base of Debian's packages: no registry of images is asked."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tests.kubernetes.tools import CACHE, Tools, run

ROOT = Path(__file__).resolve().parents[2]
NAME = "docker.io/library/eespark:0.1.0"
PAUSE = "docker.io/library/pause:test"
_BASE = "localhost/python:3.11-bookworm"
_STAGE = "localhost/eespark-build:latest"
_MIRROR = "http://deb.debian.org/debian"
# What python:3.11-slim has and Debian's smallest system has not; distutils by its name, for debootstrap knows no virtual packages.
_INCLUDED = "python3.11,python3.11-venv,python3.11-dev,python3-distutils,ca-certificates"
# Where a machine has authorities of its own, builds on it trust them too: these are lent to the build, and not part of the image.
_LENT = (Path("/etc/ssl/certs"), Path("/etc/pip.conf"))
# Buildah starts itself again without the variable that tells where its libraries are: it finds them among the machine's, for it alone.
_WITH_LIBRARIES = 'mount -t overlay overlay -o "lowerdir=$1:$2" "$2" && shift 2 && exec "$@"'
_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")


class Buildah:
    """Buildah with its storage in the cache, so that layers which did not change are built once."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.settings = CACHE / "buildah"
        self.settings.mkdir(parents=True, exist_ok=True)
        (self.settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (self.settings / "registries.conf").write_text("unqualified-search-registries = []\n")
        (self.settings / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{CACHE / "images"}"\nrunroot = "{self.settings / "run"}"\n'
        )
        (self.settings / "containers.conf").write_text("")  # not this machine's own

    def __call__(self, command: str, *arguments: str | Path) -> str:
        """What a command of Buildah printed."""
        told = {
            **self.tools.environment,
            "CONTAINERS_STORAGE_CONF": str(self.settings / "storage.conf"),
            "CONTAINERS_CONF": str(self.settings / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(CACHE),
        }
        policy = [f"--signature-policy={self.settings / 'policy.json'}"] if command in ("bud", "commit", "push") else []
        libraries = self.tools.debian / _LIBRARIES.relative_to("/")
        alone = ["unshare", "--mount", "sh", "-c", _WITH_LIBRARIES, "sh", libraries, _LIBRARIES]
        buildah = ["buildah", f"--registries-conf={self.settings / 'registries.conf'}", command, *policy]
        return run([*alone, *buildah, *arguments], environment=told, cwd=ROOT)


def images(tools: Tools) -> list[Path]:
    """Archives of the image and of the pause image, as `ctr images import` takes them."""
    buildah = Buildah(tools)
    _base(tools, buildah)
    (buildah.settings / "uv.toml").write_text("native-tls = true\n")
    lent = {**{path: path for path in _LENT if path.exists()}, buildah.settings / "uv.toml": Path("/etc/uv/uv.toml")}
    volumes = [f"--volume={here}:{there}:ro" for here, there in lent.items()]
    build = ["--layers", "--network=host", f"--build-arg=BASE={_BASE}", *volumes, "-f", "deploy/kubernetes/Dockerfile"]
    # The first stage has a name too: what has none is of older code, some GB each time, and goes.
    buildah("bud", *build, "--target=build", "-t", _STAGE, ".")
    buildah("bud", *build, "-t", NAME, ".")
    buildah("rmi", "--prune", "--force")
    return [_archive(buildah, NAME), _pause(tools, buildah)]


def _base(tools: Tools, buildah: Buildah) -> None:
    """An image of Debian's with Python 3.11, in the place of python:3.11-slim-bookworm."""
    if _BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    system = CACHE / "system"
    shutil.rmtree(system, ignore_errors=True)
    scripts = tools.debian / "usr" / "share" / "debootstrap"
    command = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", "bookworm", system, _MIRROR]
    run(command, environment={**tools.environment, "DEBOOTSTRAP_DIR": str(scripts), "LD_LIBRARY_PATH": ""})
    _commit(buildah, {f"{system}/": "/"}, _BASE)
    shutil.rmtree(system)


def _pause(tools: Tools, buildah: Buildah) -> Path:
    _commit(buildah, {str(tools.pause): "/pause"}, PAUSE, "--entrypoint", '["/pause"]')
    return _archive(buildah, PAUSE)


def _commit(buildah: Buildah, files: dict[str, str], name: str, *config: str) -> None:
    container = buildah("from", "scratch").strip()
    for source, target in files.items():
        buildah("add", "--quiet", container, source, target)
    if config:
        buildah("config", *config, container)
    buildah("commit", "--quiet", "--rm", container, name)


def _archive(buildah: Buildah, name: str) -> Path:
    """The image in one file, written where the image is another one than that of the file."""
    identity = buildah("images", "--quiet", "--no-trunc", name).strip()
    start = f"image-{name.rsplit('/', 1)[1].replace(':', '-')}-"
    file = CACHE / f"{start}{hashlib.sha256(identity.encode()).hexdigest()[:12]}.tar"
    if not file.exists():
        for left in CACHE.glob(f"{start}*"):
            left.unlink()
        making = file.with_name(file.name + ".making")
        buildah("push", "--quiet", name, f"docker-archive:{making}:{name}")
        making.replace(file)
    return file
