"""The demo's settings in another folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from eespark.settings import load_settings

CONF = Path(__file__).resolve().parents[2] / "deploy" / "conf"


def settings_file(name: str, folder: Path, **changes: Any) -> Path:
    """A settings file of the demo that reads and writes below `folder`, with some values changed."""
    told = yaml.safe_load((CONF / f"{name}.yaml").read_text().replace("build/demo", str(folder)))
    file = folder / "conf" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(told | changes))
    return file


def settings_of(name: str, folder: Path, model: Any, **changes: Any) -> Any:
    """The same, loaded."""
    return load_settings(settings_file(name, folder, **changes), model)
