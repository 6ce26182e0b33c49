"""The hash that says which generator made a polar archive."""

from __future__ import annotations

import hashlib
import json

from eespark.synthetic.frozen import constants_of
from eespark.synthetic.polar import backscatter, ice, instrument, labels, orbit, plan, product, render


def parameters_hash() -> str:
    """SHA-256 of all constants of the polar generator: what was frozen before any model was run."""
    modules = (backscatter, ice, instrument, labels, orbit, plan, product, render)
    content = {module.__name__: constants_of(module) for module in modules}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
