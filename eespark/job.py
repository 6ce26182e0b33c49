"""What every job does around its work: arguments, logging, `--check`, the JSON summary, the exit code."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import typer
from pydantic import Field

from eespark import __version__
from eespark.errors import EESparkError, TooManyFailuresError
from eespark.io.storage import write_json
from eespark.settings import Settings, Url, load_settings

logger = logging.getLogger(__name__)


class JobSettings(Settings):
    """Settings that all jobs have."""

    options: ClassVar[Mapping[str, str]] = {}
    """Keys that the command line may give too, as `--key`, each with what its help shows for the value; they go before the file's."""

    summary: Annotated[Url, Field(description="URL of the JSON summary that the job ends with")]
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="level of eespark's log")] = "INFO"


J = TypeVar("J", bound=JobSettings)
Summary = dict[str, Any]


def run_job(name: str, model: type[J], work: Callable[[J], Summary], check: Callable[[J], None] | None = None) -> None:
    """Run a job from the command line and leave the process with its exit code.

    Args:
        name: Of the job, as in its file name.
        model: Of its settings.
        work: Does it; returns the counts of the summary. May raise `TooManyFailuresError` with a `summary` attribute.
        check: More checks for `--check` that need no Spark (inputs exist, ...).
    """

    def command(
        settings_file: Annotated[str, typer.Argument(metavar="SETTINGS.yaml", help="settings; examples in deploy/conf")],
        check_only: Annotated[bool, typer.Option("--check", help="check the settings and stop")] = False,
        **given: str | None,
    ) -> None:
        try:
            settings = load_settings(settings_file, model, {key: value for key, value in given.items() if value is not None})
            _start_logging(settings.log_level)
            if check is not None:
                check(settings)
            if check_only:
                logger.info("%s: %s can be used", name, settings_file)
                return
            _work(name, settings, work)
        except EESparkError as error:
            _start_logging("INFO")
            logger.error("%s: %s", name, error)
            raise typer.Exit(2) from error

    command.__signature__ = _with_options(command, model)  # type: ignore[attr-defined]
    command.__doc__ = (sys.modules["__main__"].__doc__ or name).strip()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


def _with_options(command: Callable[..., None], model: type[JobSettings]) -> inspect.Signature:
    """The command's signature as typer reads it: an option for each key of `model.options` in the place of `**given`."""
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.kind is not one.VAR_KEYWORD]
    for key, shown in model.options.items():
        option = typer.Option(f"--{key.replace('_', '-')}", metavar=shown, help=model.model_fields[key].description)
        own.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]))
    return inspect.Signature(own)


def _work(name: str, settings: J, work: Callable[[J], Summary]) -> None:
    started = time.monotonic()
    summary: Summary = {"job": name, "eespark_version": __version__, "status": "failed"}
    try:
        summary |= work(settings)
        summary["status"] = "done"
    except TooManyFailuresError as error:
        summary |= getattr(error, "summary", {})
        summary["error"] = str(error)
        raise
    except EESparkError as error:
        summary["error"] = str(error)
        raise
    finally:
        summary["seconds"] = round(time.monotonic() - started, 2)
        write_json(settings.summary, summary)
        logger.info("%s: %s in %.1f s; summary in %s", name, summary["status"], summary["seconds"], settings.summary)


def _start_logging(level: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("eespark").setLevel(level)
