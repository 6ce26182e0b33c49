"""A call that may hang, in a process of its own that is ended after a set time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from eespark.errors import CapacityError, EESparkError, FormatError

T = TypeVar("T")


def call_within(seconds: float, what: str, function: Callable[..., T], *args: Any) -> T:
    """`function(*args)`, given up after `seconds`.

    A reader stuck in a driver's C code cannot be interrupted from within, so the call runs in a forked process. Its result comes
    back through a pipe between the two.

    Raises:
        CapacityError: It took longer, or the process died (killed for its memory, a crash in C).
        EESparkError: What the function raised.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise CapacityError(f"{what}: gave up after {seconds:g} s; raise the limit, or look whether the file hangs its reader")
        done, value = receiver.recv()
    except EOFError as error:
        process.join()
        raise CapacityError(f"{what}: its process ended with code {process.exitcode} before an answer; out of memory?") from error
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        receiver.close()
    if not done:
        raise value
    return value  # type: ignore[no-any-return]


def _run(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer: tuple[bool, Any] = (True, function(*args))
    except EESparkError as error:
        answer = (False, error)
    except (OSError, ValueError, MemoryError) as error:
        answer = (False, FormatError(f"{type(error).__name__}: {error}"))
    sender.send(answer)
    sender.close()
