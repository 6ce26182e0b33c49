"""The GPU of a process that trains: checked before anything starts, and taken as Spark dealt it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence

import tensorflow as tf

from eespark.errors import CapacityError

logger = logging.getLogger(__name__)


def check_gpus(processes: int) -> None:
    """Check that TensorFlow, and for more than one process Horovod, were built for GPUs; the GPUs themselves may be elsewhere.

    Raises:
        CapacityError: They were not.
    """
    if not tf.test.is_built_with_cuda():
        raise CapacityError("gpus: true needs TensorFlow built with CUDA, found the one for CPUs; run make setup GPU=1, or set gpus: false")
    if processes > 1 and importlib.util.find_spec("horovod") is not None:
        import horovod.tensorflow as hvd

        if not hvd.nccl_built():
            raise CapacityError("gpus: true needs Horovod built with NCCL, found it without; run make setup GPU=1 where CUDA is installed")


def dealt_gpus() -> list[str]:
    """Addresses of the GPUs that Spark gave the task of this rank; none outside of Spark, or where it deals none."""
    from horovod.spark.task import get_available_devices

    return [str(one) for one in get_available_devices()]


def use_gpu(addresses: Sequence[str], rank: int) -> str:
    """Let this process see one GPU alone, whose memory grows as needed; its name.

    Args:
        addresses: Numbers of the GPUs that it may use, of which it takes the first; none: the one that has the number of its rank.
        rank: Of this process.

    Raises:
        CapacityError: The machine has no such GPU.
    """
    found = tf.config.list_physical_devices("GPU")
    number = int(addresses[0]) if addresses else rank
    if number >= len(found):
        raise CapacityError(
            f"gpus: true needs GPU {number} on this machine, found {len(found)}; "
            "start Spark with deploy/conf/spark-gpu.conf, or fewer processes"
        )
    tf.config.set_visible_devices([found[number]], "GPU")
    tf.config.experimental.set_memory_growth(found[number], True)
    logger.info("rank %d trains on %s", rank, found[number].name)
    return str(found[number].name)
