"""The state of a run after an epoch: one npz file of arrays and JSON, written whole or not at all, never a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.errors import FormatError
from eespark.io.storage import NPZ_ERRORS, join_url, read_bytes, url_exists, write_bytes
from eespark.train.settings import FitSettings

logger = logging.getLogger(__name__)

# What may change between a kill and its resume.
_FREE_SETTINGS = {"resume", "tracking", "experiment", "time_limit_s", "onnx_tolerance", "novelty_shrinkage"}
_LISTS = ("weights", "optimizer", "best")
Weights = list[npt.NDArray[Any]]


@dataclass
class State:
    """Where a run stands after `epoch` epochs."""

    key: str
    weights: Weights
    optimizer: Weights
    best: Weights
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    waited: int = 0
    stopped: str = ""
    """Why no further epoch is wanted; empty while one is."""
    tracking_run: str = ""
    history: list[dict[str, float]] = field(default_factory=list)


def run_key(settings: FitSettings, manifest: Mapping[str, Any], size: int) -> str:
    """Hash of all that decides the course of a run: a checkpoint of another key is of another run."""
    content = [settings.model_dump(mode="json", exclude=_FREE_SETTINGS), manifest, size]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def state_to_bytes(state: State) -> bytes:
    """The state as an npz archive."""
    arrays = {f"{name}_{index:04d}": np.asarray(one) for name in _LISTS for index, one in enumerate(getattr(state, name))}
    plain = {name: value for name, value in vars(state).items() if name not in _LISTS}
    stream = io.BytesIO()
    np.savez(stream, state=np.frombuffer(json.dumps(plain).encode(), np.uint8), **arrays)
    return stream.getvalue()


def state_from_bytes(content: bytes, where: str) -> State:
    """The state in an npz archive of `state_to_bytes`.

    Raises:
        FormatError: It is none.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            plain = json.loads(archive["state"].tobytes())
            names = sorted(set(archive.files) - {"state"})
            weights, optimizer, best = ([archive[n] for n in names if n.startswith(f"{kind}_")] for kind in _LISTS)
        return State(weights=weights, optimizer=optimizer, best=best, **plain)
    except (*NPZ_ERRORS, TypeError) as error:
        raise FormatError(f"{where}: needed a checkpoint, found something else ({error}); remove it, or set resume: false") from error


def checkpoint_url(bundle_url: str) -> str:
    """Where the run that makes this bundle keeps its state."""
    return join_url(bundle_url.rstrip("/") + ".checkpoint", "state.npz")


def save_state(url: str, state: State) -> None:
    """Write the state in the place of the one before."""
    write_bytes(url, state_to_bytes(state))


def load_state(url: str, key: str) -> State | None:
    """The state of the same run, if one was left.

    Raises:
        FormatError: Something else lies there.
    """
    if not url_exists(url):
        return None
    state = state_from_bytes(read_bytes(url), url)
    if state.key != key:
        logger.warning("%s is of a run with other settings or data: it is not resumed", url)
        return None
    return state
