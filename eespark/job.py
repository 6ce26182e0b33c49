"""What every job does around its work: arguments, logging, `--check`, the JSON summary, the exit code."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, TypeVar

import typer
from pydantic import Field

from eespark import __version__
from eespark.endings import Ending, ending_of, terminable
from eespark.errors import EESparkError
from eespark.io.storage import write_json
from eespark.settings import Settings, Url, load_settings

logger = logging.getLogger(__name__)

FLAG: Final = ""


class JobSettings(Settings):
    """Settings that all jobs have."""

    options: ClassVar[Mapping[str, str]] = {}
    """Keys that the command line may give too, as `--key`, each with what its help shows for the value, or FLAG for `--key/--no-key`;
    they go before the file's. A key of a group is `group.key`, and its option `--key`."""

    summary: Annotated[Url, Field(description="URL of the JSON summary that the job ends with")]
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="level of eespark's log")] = "INFO"


J = TypeVar("J", bound=JobSettings)
Summary = dict[str, Any]


def run_job(
    name: str,
    model: type[J],
    work: Callable[[J], Summary],
    check: Callable[[J], None] | None = None,
    plan: Callable[[J], Summary] | None = None,
) -> None:
    """Run a job from the command line and leave the process with its exit code, one of `eespark.endings.Code`.

    However it ends, but for SIGKILL, its summary says so: status done or failed, the reason (`error`) and the exit code.

    Args:
        name: Of the job, as in its file name.
        model: Of its settings.
        work: Does it; returns the counts of the summary. May raise `TooManyFailuresError` with a `summary` attribute.
        check: More checks for `--check` that need no Spark (inputs exist, ...).
        plan: Tells what the work would cost, for `--plan`, which writes it as JSON to standard output and changes nothing.
    """

    def command(
        settings_file: Annotated[str, typer.Argument(metavar="SETTINGS.yaml", help="settings; examples in deploy/conf")],
        check_only: Annotated[bool, typer.Option("--check", help="check the settings and stop")] = False,
        plan_only: Annotated[bool, typer.Option("--plan", help="tell what it would do and cost, as JSON, and stop")] = False,
        **given: str | bool | None,
    ) -> None:
        _start_logging("INFO")
        try:
            told = {key: given[_parameter(key)] for key in model.options if given[_parameter(key)] is not None}
            settings = load_settings(settings_file, model, told)
            _start_logging(settings.log_level)
            if check_only:
                if check is not None:
                    check(settings)
                logger.info("%s: %s can be used", name, settings_file)
                return
            if plan_only and plan is not None:
                sys.stdout.write(json.dumps(plan(settings), indent=1) + "\n")
                return
        except EESparkError as error:
            raise typer.Exit(_tell(name, ending_of(error), error)) from error
        _work(name, settings, check, work)

    command.__signature__ = _with_options(command, model, planned=plan is not None)  # type: ignore[attr-defined]
    command.__doc__ = (sys.modules["__main__"].__doc__ or name).strip()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


def _with_options(command: Callable[..., None], model: type[JobSettings], *, planned: bool) -> inspect.Signature:
    """The command's signature as typer reads it: an option for each key of `model.options` in the place of `**given`."""
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.kind is not one.VAR_KEYWORD]
    own = [one for one in own if planned or one.name != "plan_only"]
    for key, shown in model.options.items():
        group, _, last = key.rpartition(".")
        fields = model.model_fields[group].annotation.model_fields if group else model.model_fields  # type: ignore[union-attr]
        name, text = last.replace("_", "-"), fields[last].description
        annotation: Any = Annotated[bool | None, typer.Option(f"--{name}/--no-{name}", help=text)]
        if shown != FLAG:
            annotation = Annotated[str | None, typer.Option(f"--{name}", metavar=shown, help=text)]
        own.append(inspect.Parameter(_parameter(key), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return inspect.Signature(own)


def _parameter(key: str) -> str:
    return key.replace(".", "__")


def _work(name: str, settings: J, check: Callable[[J], None] | None, work: Callable[[J], Summary]) -> None:
    started = time.monotonic()
    summary: Summary = {"job": name, "eespark_version": __version__, "status": "failed"}
    with terminable():
        try:
            if check is not None:
                check(settings)
            summary |= work(settings)
            _conclude(name, settings, summary | {"status": "done"}, started)
        except BaseException as error:
            ending = ending_of(error, _local_urls(settings))
            summary |= {**getattr(error, "summary", {}), "error": ending.reason, "exit_code": int(ending.code)}
            if ending.stack is not None:
                summary["stack"] = ending.stack
            try:
                _conclude(name, settings, summary, started)
            except OSError as unwritten:
                logger.error("%s: no summary could be written to %s: %s", name, settings.summary, unwritten)
            raise typer.Exit(_tell(name, ending, error)) from error


def _conclude(name: str, settings: JobSettings, summary: Summary, started: float) -> None:
    seconds = round(time.monotonic() - started, 2)
    write_json(settings.summary, {**summary, "seconds": seconds})
    logger.info("%s: %s in %.1f s; summary in %s", name, summary["status"], seconds, settings.summary)


def _tell(name: str, ending: Ending, error: BaseException) -> int:
    """Log the one line, and the stack for those who asked for details; the exit code."""
    hint = "; the summary holds the stack, please report it" if ending.stack is not None else ""
    logger.error("%s: %s%s", name, ending.reason, hint)
    logger.debug("%s: this is where", name, exc_info=error)
    return int(ending.code)


def _local_urls(settings: JobSettings) -> list[str]:
    return [value for value in settings.model_dump().values() if isinstance(value, str) and value.startswith("/")]


def _start_logging(level: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("eespark").setLevel(level)
