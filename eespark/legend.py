"""Legends: the classes of a map, and how codes of label sources reach them.

A legend file is YAML in `eespark/legends`, versioned: a class id never changes its meaning within a
legend's name and major version. Sources map to HCAT, the European hierarchical crop list, as the common hub;
HCAT maps to the classes of a target legend by the longest matching prefix of its levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from eespark.errors import FormatError, MissingError


@dataclass(frozen=True)
class LegendClass:
    """One class: id as stored in tables and maps, name as shown, colour as #rrggbb."""

    class_id: int
    name: str
    colour: str


@dataclass(frozen=True)
class Legend:
    """The classes of one map and the HCAT codes that belong to each."""

    name: str
    version: str
    classes: tuple[LegendClass, ...]
    by_hcat: tuple[tuple[str, int | None], ...]
    """(significant digits of an HCAT code, class id; None: on purpose in no class), longest first."""
    nodata: int = 255

    @property
    def key(self) -> str:
        """`name@version`, as stored beside every class id."""
        return f"{self.name}@{self.version}"

    def class_of_hcat(self, hcat: str) -> int | None:
        """Class of an HCAT code by its longest known prefix, or None."""
        return next((class_id for prefix, class_id in self.by_hcat if hcat.startswith(prefix)), None)


@dataclass(frozen=True)
class CodeList:
    """Codes or names of one source, each with the HCAT codes it may stand for."""

    name: str
    version: str
    by_code: dict[str, tuple[str, ...]]
    by_name: dict[str, tuple[str, ...]]

    def hcat_of(self, code: str | None, name: str | None) -> tuple[str, ...]:
        """HCAT codes of a declared crop: by code where it is known, else by name; empty when unknown."""
        if code is not None and code.strip() in self.by_code:
            return self.by_code[code.strip()]
        return self.by_name.get(_fold(name), ()) if name is not None else ()


def load_legend(name: str) -> Legend:
    """The legend in `eespark/legends/<name>.yaml`.

    Raises:
        MissingError: No such legend.
        FormatError: Class ids that repeat, or codes that map to a class that does not exist.
    """
    content = _read(name, "classes")
    classes = tuple(LegendClass(int(c["id"]), str(c["name"]), str(c["colour"])) for c in content["classes"])
    ids = [c.class_id for c in classes]
    if len(set(ids)) != len(ids):
        raise FormatError(f"legend {name}: class ids repeat: {sorted(ids)}; give each class its own id")
    pairs = [(str(hcat), class_id) for hcat, class_id in content["hcat"].items()]
    unknown = sorted({str(i) for _, i in pairs if i is not None and i not in ids})
    if unknown:
        raise FormatError(f"legend {name}: HCAT codes map to unknown classes {', '.join(unknown)}; known: {ids}")
    ordered = tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0])))
    return Legend(str(content["name"]), str(content["version"]), classes, ordered)


def load_codes(name: str) -> CodeList:
    """The code list in `eespark/legends/<name>.yaml`: SNAR, BRP, RPG, LUCAS, ...

    Raises:
        MissingError: No such list.
    """
    content = _read(name, "codes")
    return CodeList(
        str(content["name"]),
        str(content["version"]),
        {str(code): _codes(entry["hcat"]) for code, entry in content["codes"].items()},
        {_fold(str(n)): _codes(hcat) for n, hcat in content.get("names", {}).items()}
        | {_fold(str(e["name"])): _codes(e["hcat"]) for e in content["codes"].values() if e.get("name")},
    )


def _codes(hcat: Any) -> tuple[str, ...]:
    return tuple(str(code) for code in (hcat if isinstance(hcat, list) else [hcat]))


def _fold(name: str | None) -> str:
    return " ".join((name or "").casefold().split())


def _read(name: str, needed: str) -> dict[str, Any]:
    folder = resources.files("eespark.legends")
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))
        raise MissingError(f"needed a legend named {name!r}, found none in eespark/legends; known: {', '.join(known)}")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or needed not in content:
        raise MissingError(f"eespark/legends/{name}.yaml: needed {needed!r}, which is absent; is it the other kind of file?")
    return content
