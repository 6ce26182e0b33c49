"""The hash that says which generator made an archive."""

from __future__ import annotations

import hashlib
import json
from types import ModuleType

from eespark.synthetic import crops, labels, landscape, phenology, plan, region, render, weather


def constants_of(module: ModuleType) -> dict[str, str]:
    """Text of a module's constants: names in capitals, whatever is imported included."""
    return {name.lstrip("_"): repr(value) for name, value in vars(module).items() if name.lstrip("_").isupper() and not callable(value)}


def parameters_hash() -> str:
    """SHA-256 of the fitted parameters and of all constants of the generator: what was frozen before any model was run."""
    modules = (crops, labels, landscape, phenology, plan, region, render, weather)
    content = {"phenology.yaml": phenology.parameters(), **{m.__name__: constants_of(m) for m in modules}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
