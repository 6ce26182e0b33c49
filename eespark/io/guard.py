"""Calls that may hang, in a process of their own that is ended after a set time."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from eespark.errors import CapacityError, EESparkError, FormatError
from eespark.io.room import full_error, is_full

T = TypeVar("T")
_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h
_ITEM, _ERROR, _END = range(3)


def call_within(seconds: float, what: str, function: Callable[..., T], *args: Any) -> T:
    """`function(*args)`, given up after `seconds`.

    A reader stuck in a driver's C code cannot be interrupted from within, so the call runs in a forked process. Its result comes
    back through a pipe between the two. It dies with the process that waits for it, however that ends.

    Raises:
        CapacityError: It took longer, or the process died (killed for its memory, a crash in C).
        StorageFullError: It had no room to write.
        EESparkError: What the function raised.
    """
    (value,) = iterate_within(seconds, what, lambda: [function(*args)])
    return value


def iterate_within(seconds: float, what: str, function: Callable[..., Iterable[T]], *args: Any) -> Iterator[T]:
    """What `function(*args)` gives one after the other, all of it given up after `seconds`; else as `call_within`.

    The process waits while the pipe is full, so that no more than an item or two are held at once.
    """
    ends = time.monotonic() + seconds
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args, _prctl(), os.getpid()), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            if not receiver.poll(max(ends - time.monotonic(), 0)):
                raise CapacityError(f"{what}: gave up after {seconds:g} s; raise the limit, or look whether the file hangs its reader")
            kind, value = receiver.recv()
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
    except EOFError as error:
        process.join()
        raise CapacityError(f"{what}: its process ended with code {process.exitcode} before an answer; out of memory?") from error
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        receiver.close()


def _prctl() -> Callable[..., int] | None:
    """The system call, looked up before the fork: after it, locks of the loader may be held by threads that are no more."""
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _run(
    sender: Connection, function: Callable[..., Iterable[Any]], args: tuple[Any, ...], prctl: Callable[..., int] | None, parent: int
) -> None:
    if prctl is not None:
        # A worker that is killed cannot end its reader, which may hang for ever: the kernel does.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the call
    # What the parent made is the parent's to end: a connection or event loop that is collected here would be closed there too.
    gc.freeze()
    try:
        for value in function(*args):
            sender.send((_ITEM, value))
        sender.send((_END, None))
    except EESparkError as error:
        sender.send((_ERROR, error))
    except (OSError, ValueError, MemoryError) as error:
        told = f"{type(error).__name__}: {error}"
        sender.send((_ERROR, full_error(told) if is_full(error) else FormatError(told)))
    sender.close()
