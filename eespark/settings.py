"""One YAML file a job, one frozen model: read, checked as a whole, documented by its fields."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from eespark.errors import MissingError, SettingsError


def _absolute(url: str) -> str:
    # Executors run in other folders than the driver.
    return url if "://" in url else os.path.abspath(url)


Url = Annotated[
    str, Field(min_length=1, description="local path or URL that fsspec knows (file, hdfs, s3, ...)"), AfterValidator(_absolute)
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Settings(BaseModel):
    """Base of every job's settings.

    `renamed` maps keys of the release before to today's: they work for one release, with a warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    renamed: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_renamed(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for old, new in cls.renamed.items():
            if old in values and new not in values:
                warnings.warn(f"setting {old!r} is now {new!r}; the old name goes with the next release", FutureWarning, stacklevel=2)
                values[new] = values.pop(old)
        return values


S = TypeVar("S", bound=Settings)


def load_settings(path: str | os.PathLike[str], model: type[S], given: Mapping[str, Any] | None = None) -> S:
    """The settings in a YAML file, all errors reported at once.

    `${NAME}` takes the environment variable NAME (for roots of folders, never for credentials).

    Args:
        path: Of the file.
        model: Of the settings.
        given: Keys that were given otherwise, which go before those of the file; `group.key` is a key of a group.

    Raises:
        MissingError: No such file, or an unset variable.
        SettingsError: Not YAML, unknown keys, impossible values.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"needed a settings file, found none at {file}; examples are in deploy/conf")
    try:
        content = yaml.safe_load(_substitute(file.read_text(encoding="utf-8"), str(file)))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: needed YAML: {error}") from error
    content = {} if content is None else content
    for key, value in (given or {}).items() if isinstance(content, dict) else ():
        group, _, last = key.rpartition(".")
        content = {**content, group: {**(content.get(group) or {}), last: value}} if group else {**content, key: value}
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SettingsError(_explain(error, str(file), model)) from error


def _substitute(text: str, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise MissingError(f"{where}: needs the environment variable {name}, which is not set; export it or write the path")
        return os.environ[name]

    return "\n".join(line if line.lstrip().startswith("#") else _VARIABLE.sub(value, line) for line in text.split("\n"))


def _explain(error: ValidationError, where: str, model: type[Settings]) -> str:
    lines = [f"{where}: {error.error_count()} setting(s) of {model.__name__} cannot be used:"]
    for one in error.errors():
        name = ".".join(str(part) for part in one["loc"]) or "(all)"
        found = f", found {one['input']!r}" if one["type"] not in ("missing", "value_error") else ""
        lines.append(f"  {name}: {one['msg']}{found}")
    known = ", ".join(sorted(model.model_fields))
    lines.append(f"  known settings: {known}")
    return "\n".join(lines)
