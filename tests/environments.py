"""Environments of their own for what tests run beside eespark and its packages must not share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def python_with(name: str) -> Path:
    """Python of an environment with what `requirements/<name>.lock` locks, made where it is absent; the test skips where that fails."""
    lock = REPOSITORY / "requirements" / f"{name}.lock"
    folder = REPOSITORY / "build" / "environments" / name
    python, done = folder / "bin" / "python", folder / "installed.lock"
    if done.is_file() and done.read_bytes() == lock.read_bytes():
        return python
    uv = str(Path(sys.executable).parent / "uv")
    install = [uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), "--requirement", str(lock)]
    for command in ([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], install):
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            pytest.skip(f"{lock.name} cannot be installed here: {told.stderr.strip()[-300:]}")
    done.write_bytes(lock.read_bytes())
    return python
