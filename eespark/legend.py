"""Legends: the classes of a map, and how codes of label sources reach them.

A legend file is YAML in `eespark/legends`, versioned: a class id never changes its meaning within a
legend's name and major version. Sources map to HCAT, the European hierarchical crop list, as the common hub;
HCAT maps to the classes of a target legend by the longest matching prefix of its levels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from eespark.errors import FormatError, MissingError

_HCAT_CODE = re.compile(r"\d{10}")
_HCAT_PREFIX = re.compile(r"(\d\d){1,5}")


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
    reasons: dict[str, str] = field(default_factory=dict)
    """Why the codes of a prefix are on purpose in no class, by prefix."""

    @property
    def key(self) -> str:
        """`name@version`, as stored beside every class id."""
        return f"{self.name}@{self.version}"

    def class_of_hcat(self, hcat: str) -> int | None:
        """Class of an HCAT code by its longest known prefix, or None."""
        return next((class_id for prefix, class_id in self.by_hcat if hcat.startswith(prefix)), None)

    def reason_of_hcat(self, hcat: str) -> str | None:
        """Why an HCAT code is in no class; None where it is in one."""
        for prefix, class_id in self.by_hcat:
            if hcat.startswith(prefix):
                return None if class_id is not None else self.reasons[prefix]
        return f"HCAT {hcat} is not in legend {self.key}"


@dataclass(frozen=True)
class CodeList:
    """Codes or names of one source, each with the HCAT codes it may stand for."""

    name: str
    version: str
    by_code: dict[str, tuple[str, ...]]
    by_name: dict[str, tuple[str, ...]]
    by_prefix: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For hierarchical codes: (first characters of a code, HCAT codes), longest first."""

    def hcat_of(self, code: str | None, name: str | None) -> tuple[str, ...]:
        """HCAT codes of a declared crop: by code where it is known, else by its longest prefix, else by name; empty when unknown."""
        known = (code or "").strip()
        if known in self.by_code:
            return self.by_code[known]
        for prefix, hcat in self.by_prefix:
            if known.startswith(prefix):
                return hcat
        return self.by_name.get(_fold(name), ()) if name is not None else ()


@dataclass(frozen=True)
class Placement:
    """Where one source record stands in a legend.

    Attributes:
        hcat: HCAT codes that the record may stand for; several where the source does not tell them apart; empty when unknown.
        class_ids: Classes that it may belong to, ascending; empty when none.
        reason: Why it has no class; None where it has.
    """

    hcat: tuple[str, ...]
    class_ids: tuple[int, ...]
    reason: str | None

    @property
    def class_id(self) -> int | None:
        """The class where there is exactly one, else None."""
        return self.class_ids[0] if len(self.class_ids) == 1 else None


@dataclass(frozen=True)
class Crosswalk:
    """From the classes of one legend to those of another, many to many."""

    name: str
    version: str
    source: str
    target: str
    by_class: dict[int, tuple[int, ...]]


def place_record(codes: CodeList, legend: Legend, code: str | None, name: str | None = None) -> Placement:
    """HCAT codes and classes of one source record, or the reason why it has none.

    Args:
        codes: Code list of the source.
        legend: Target legend.
        code: Crop code as declared, None where the source has none.
        name: Crop name as declared, used where the code is absent or unknown; case and repeated spaces do not matter.
    """
    hcat = codes.hcat_of(code, name)
    if not hcat:
        return Placement((), (), f"unknown in {codes.name}: code {code!r}, name {name!r}")
    found = {legend.class_of_hcat(one) for one in hcat}
    class_ids = tuple(sorted(one for one in found if one is not None))
    if class_ids:
        return Placement(hcat, class_ids, None)
    reasons = [legend.reason_of_hcat(one) or "" for one in hcat]
    return Placement(hcat, (), "; ".join(dict.fromkeys(reasons)))


def admissible_classes(codes: CodeList, legend: Legend, source_code: str, name: str | None = None) -> tuple[int, ...]:
    """All classes that a source's code may stand for, ascending; empty when it has none: never one forced."""
    return place_record(codes, legend, source_code, name).class_ids


def load_legend(name: str) -> Legend:
    """The legend in `eespark/legends/<name>.yaml`.

    Raises:
        MissingError: No such legend.
        FormatError: Class ids that repeat, codes that map to a class that does not exist, or to none without a reason.
    """
    content = read_legend_file(name, "classes")
    classes = tuple(LegendClass(int(c["id"]), str(c["name"]), str(c["colour"])) for c in content["classes"])
    ids = [c.class_id for c in classes]
    if len(set(ids)) != len(ids):
        raise FormatError(f"legend {name}: class ids repeat: {sorted(ids)}; give each class its own id")
    reasons = {str(prefix): str(text) for prefix, text in content.get("reasons", {}).items()}
    pairs = [(str(hcat), class_id) for hcat, class_id in content["hcat"].items()]
    _check_pairs(name, pairs, ids, reasons)
    ordered = tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0])))
    return Legend(str(content["name"]), str(content["version"]), classes, ordered, int(content.get("nodata", 255)), reasons)


def _check_pairs(name: str, pairs: list[tuple[str, Any]], ids: list[int], reasons: dict[str, str]) -> None:
    unknown = sorted({str(i) for _, i in pairs if i is not None and i not in ids})
    if unknown:
        raise FormatError(f"legend {name}: HCAT codes map to unknown classes {', '.join(unknown)}; known: {ids}")
    odd = sorted(prefix for prefix, _ in pairs if not _HCAT_PREFIX.fullmatch(prefix))
    if odd:
        raise FormatError(f"legend {name}: needed HCAT prefixes of 2 to 10 digits, two a level and quoted, found {', '.join(odd)}")
    silent = sorted(prefix for prefix, class_id in pairs if class_id is None and prefix not in reasons)
    if silent:
        raise FormatError(f"legend {name}: HCAT {', '.join(silent)} are in no class without a reason; give one under 'reasons'")


def load_crosswalk(name: str) -> Crosswalk:
    """The crosswalk between two legends in `eespark/legends/<name>.yaml`.

    Raises:
        MissingError: No such crosswalk.
        FormatError: Its classes are not those of the two legends it names.
    """
    content = read_legend_file(name, "target")
    by_class = {int(k): tuple(int(i) for i in v) for k, v in content["classes"].items()}
    source, target = (load_legend(str(content[end]).split("@")[0]) for end in ("source", "target"))
    for legend, end, used in ((source, "source", set(by_class)), (target, "target", {i for v in by_class.values() for i in v})):
        if legend.key != content[end]:
            raise FormatError(f"crosswalk {name}: needed legend {content[end]}, found {legend.key}; renew the crosswalk")
        known = {c.class_id for c in legend.classes}
        if used - known or (end == "source" and used != known):
            raise FormatError(f"crosswalk {name}: needed the classes {sorted(known)} of {legend.key}, found {sorted(used)}")
    return Crosswalk(str(content["name"]), str(content["version"]), source.key, target.key, by_class)


def load_hcat() -> dict[str, str]:
    """HCAT codes that the lists use -> a plain English label."""
    return {str(code): str(label) for code, label in read_legend_file("hcat", "labels")["labels"].items()}


def load_codes(name: str) -> CodeList:
    """The code list in `eespark/legends/<name>.yaml`: SNAR, BRP, RPG, LUCAS, ...

    Raises:
        MissingError: No such list.
        FormatError: HCAT codes that are not ten digits.
    """
    content = read_legend_file(name, "codes")
    by_code = {str(code): _codes(entry["hcat"]) for code, entry in content["codes"].items()}
    by_name = {_fold(str(n)): _codes(hcat) for n, hcat in content.get("names", {}).items()}
    by_name |= {_fold(str(e["name"])): _codes(e["hcat"]) for e in content["codes"].values() if e.get("name")}
    prefixes = {str(prefix): _codes(hcat) for prefix, hcat in content.get("prefixes", {}).items()}
    by_prefix = tuple(sorted(prefixes.items(), key=lambda pair: (-len(pair[0]), pair[0])))
    every = [code for group in (*by_code.values(), *by_name.values(), *prefixes.values()) for code in group]
    odd = sorted({code for code in every if not _HCAT_CODE.fullmatch(code)})
    if odd:
        raise FormatError(f"code list {name}: needed quoted HCAT codes of ten digits, found {', '.join(odd)}")
    return CodeList(str(content["name"]), str(content["version"]), by_code, by_name, by_prefix)


def _codes(hcat: Any) -> tuple[str, ...]:
    return tuple(str(code) for code in (hcat if isinstance(hcat, list) else [hcat]))


def _fold(name: str | None) -> str:
    return " ".join((name or "").casefold().split())


def read_legend_file(name: str, needed: str) -> dict[str, Any]:
    """The content of `eespark/legends/<name>.yaml`.

    Raises:
        MissingError: There is none, or it lacks the key that is needed.
    """
    folder = resources.files("eespark.legends")
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))
        raise MissingError(f"needed a legend named {name!r}, found none in eespark/legends; known: {', '.join(known)}")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or needed not in content:
        raise MissingError(f"eespark/legends/{name}.yaml: needed {needed!r}, which is absent; is it the other kind of file?")
    return content
