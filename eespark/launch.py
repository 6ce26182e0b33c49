"""Run a function in this process, or in n processes that Horovod starts on Spark: one seam, two implementations."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from eespark.errors import CapacityError
from eespark.io.room import full_error, tells_full
from eespark.retold import error_told_by

logger = logging.getLogger(__name__)

R = TypeVar("R")
# What the numerical libraries under TensorFlow read when they start.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
# What ranks raise that only miss another one.
_COMPANY_LOST = (
    "Horovod has been shut down",
    "HorovodInternalError",
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
)


def launch(
    fn: Callable[..., R],
    processes: int,
    args: Sequence[Any] = (),
    spark: Any = None,
    threads_per_process: int | None = None,
    start_timeout_s: int = 120,
) -> list[R]:
    """Results of `fn(*args)` from each process, by rank.

    Args:
        fn: A function at module level; Horovod sends it and its results by cloudpickle between its own processes.
        processes: 1 runs it here, without Spark; more need as many task slots at once.
        args: Of the function.
        spark: Session with the slots, for more than one process.
        threads_per_process: Threads of one numerical operation; None leaves it to the libraries.
        start_timeout_s: s until all processes must have started.

    Raises:
        CapacityError: No session, too few slots, or not all processes started in time.
        EESparkError: What a process raised; a CapacityError where one was lost.
    """
    environment = thread_environment(threads_per_process)
    if processes == 1:
        with _environment(environment):
            return [fn(*args)]
    if spark is None:
        raise CapacityError(f"{processes} processes need a Spark session, found none; make one, or set processes: 1")
    slots = count_slots(spark)
    if slots < processes:
        raise CapacityError(
            f"{processes} processes need as many task slots at once, found {slots}; "
            "set fewer processes, or start Spark with more cores or executors"
        )
    return _launch_horovod(fn, processes, args, {**_where(spark, environment), "start_timeout": start_timeout_s})


def usable_processes(wanted: int, fall_back: bool) -> int:
    """The processes that can be started: 1 instead of more where Horovod is not installed and falling back is allowed.

    Raises:
        CapacityError: More than one process, no Horovod, and no falling back.
    """
    if wanted == 1 or importlib.util.find_spec("horovod") is not None:
        return wanted
    if not fall_back:
        raise CapacityError(
            f"{wanted} processes need Horovod, which is not installed; run make setup with a C++ compiler, or set processes: 1"
        )
    logger.warning(
        "Horovod is not installed (make setup builds it where there is a C++ compiler): training in one process instead of %d", wanted
    )
    return 1


def thread_environment(threads: int | None) -> dict[str, str]:
    """Environment variables that give each process so many threads; none for None."""
    if threads is None:
        return {}
    return {name: str(threads) for name in _THREAD_VARIABLES} | {"TF_NUM_INTEROP_THREADS": "1"}


def count_slots(spark: Any) -> int:
    """Tasks that can run at once in a session: cores over cores a task, over all executors that may be had."""
    context = spark.sparkContext
    cpus = int(context.getConf().get("spark.task.cpus", "1"))
    if context.master.startswith("local[") or context.master == "local":
        return int(context.defaultParallelism) // cpus
    conf = context.getConf()
    cores = int(conf.get("spark.executor.cores", "1"))
    if conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        most = conf.get("spark.dynamicAllocation.maxExecutors", "")
        # Without a limit the queue decides, and only the start timeout can tell.
        return int(most) * (cores // cpus) if most.isdigit() and int(most) < 2**31 - 1 else 2**31 - 1
    instances = conf.get("spark.executor.instances", "")
    # Executors that are still to come count too.
    return (int(instances) * cores if instances else int(context.defaultParallelism)) // cpus


def _where(spark: Any, environment: dict[str, str]) -> dict[str, Any]:
    """Environment and Python of the ranks: those of this process where they run beside it, else those of the executors."""
    if spark.sparkContext.master.startswith("local"):
        return {"env": {**os.environ, **environment}}
    return {"env": environment, "executable": os.environ.get("PYSPARK_PYTHON")}


def _launch_horovod(fn: Callable[..., R], processes: int, args: Sequence[Any], options: dict[str, Any]) -> list[R]:
    import horovod.spark
    from horovod.runner.common.util.timeout import TimeoutException

    logger.info("starting %d processes by Horovod on Spark", processes)
    told = io.StringIO()
    try:
        with _own_signals(), _quiet_threads():
            results: list[R] = horovod.spark.run(
                _run_rank, (fn, tuple(args)), num_proc=processes, use_gloo=True, use_mpi=False, verbose=0, stdout=told, **options
            )
    except TimeoutException as error:
        raise CapacityError(f"{processes} processes were to start within {options['start_timeout']} s and did not: {error}") from error
    except RuntimeError as error:
        error.add_note(told.getvalue())
        raise _reason_of(error, told.getvalue()) from error
    return results


def _run_rank(fn: Callable[..., R], args: tuple[Any, ...]) -> R:
    """Run in a rank. Of one that fails Horovod tells the exit code alone: why it did goes to stdout, which the driver keeps."""
    try:
        return fn(*args)
    except Exception as error:
        sys.stdout.write(traceback.format_exc())
        sys.stdout.flush()
        raise SystemExit(1) from error


def _reason_of(error: RuntimeError, text: str) -> Exception:
    """The error that began it, as the stacks of the ranks tell; where no rank raised one of its own, one was lost."""
    stacks: dict[str, str] = {}
    for rank, line in re.findall(r"^\[(\d+)\]<stdout>:(.*)$", text, re.MULTILINE):
        stacks[rank] = f"{stacks.get(rank, '')}{line}\n"
    ours = [told for told in map(error_told_by, stacks.values()) if told is not None]
    if ours:
        return ours[0]
    own = [stack for stack in stacks.values() if not any(one in stack for one in _COMPANY_LOST)]
    raised = [line for stack in own for line in re.findall(r"^(?:\w+\.)*\w+(?:Error|Exception): .+$", stack, re.MULTILINE)[-1:]]
    if raised:
        return full_error(raised[0]) if tells_full(raised[0]) else RuntimeError(f"a process that trains raised {raised[0]}")
    return CapacityError(
        "a process that trains was lost: killed, out of memory, or its machine is gone; run the job again, it goes on after the last "
        f"epoch (Horovod says: {' '.join(str(error).split())[:300]})"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """In here Horovod may take SIGINT and SIGTERM: it ends its processes by them and tells nobody. Afterwards they are raised again."""
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard, noted = socket.socketpair()
    noted.setblocking(False)
    fd = signal.set_wakeup_fd(noted.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        noted.close()
        with heard:
            for number in heard.recv(4096):
                if number in before:
                    signal.raise_signal(number)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """In here a thread that fails logs its stack for those who ask for details: what failed is told by the main thread too."""

    def tell(failed: threading.ExceptHookArgs) -> None:
        logger.debug("a thread of Horovod failed", exc_info=failed.exc_value)

    before, threading.excepthook = threading.excepthook, tell
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
