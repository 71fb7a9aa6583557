"""A stage in several processes: torch's launcher (torchrun) starts it again, once for every process.

One process's failure ends all of them, and only the one that failed first says why.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import torch
import torch.distributed as dist

from dcube.config.schema import Compute
from dcube.engine.device import choose_device
from dcube.errors import DcubeError

# How long a process waits for the others: the first one measures FID, and fetches checkpoints, alone.
PATIENCE = timedelta(hours=6)
SECONDS_TO_END = 15
FIRST_FAILURE = "DCUBE_FIRST_FAILURE"
BAD_INPUT = 2
SET_PARENT_DEATH_SIGNAL = 1


def in_processes(compute: Compute, work: Callable[[], None], module: str, *words: str) -> None:
    """Do `work`, in this process or in `compute.processes` of them.

    Args:
        module, words: the command `python -m module words…` that led here and leads every process here again.

    Raises:
        DcubeError: more processes than GPUs.
        SystemExit: a process failed, and has said why; with exit code 2 if it found bad input.
    """
    if compute.processes == 1:
        work()
    elif dist.is_torchelastic_launched():
        with _process_group(choose_device(compute)):
            work()
    else:
        _launch(compute, module, *words)


@contextmanager
def _process_group(device: torch.device) -> Iterator[None]:
    # Whoever kills the launcher in a way that it cannot pass on ends the processes too.
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _end_once)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    except Exception:
        if _failed_before():
            raise SystemExit(1) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends
        if not on_gpu or sys.exception() is None:  # NCCL would wait for those that failed
            dist.destroy_process_group()


def _end_once(number: int, _frame: object) -> None:
    # It comes from whoever ends the run and again from the launcher: the second must not disturb the ending.
    if not isinstance(sys.exception(), SystemExit):
        raise SystemExit(128 + number)


def _failed_before() -> bool:
    """Whether another process has failed already, whose end then is why this one fails."""
    try:
        Path(os.environ[FIRST_FAILURE]).touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


def _launch(compute: Compute, module: str, *words: str) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _check_devices(compute)
    _silence_launcher()
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // compute.processes))
    with TemporaryDirectory(prefix="dcube-") as folder:
        os.environ[FIRST_FAILURE] = str(Path(folder, "first-failure"))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=compute.processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            shutdown_timeout=SECONDS_TO_END,
            logs_specs=DefaultLogsSpecs(folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", module, *words)
        except ChildFailedError as error:
            raise SystemExit(_exit_code([failure.exitcode for failure in error.failures.values()])) from None
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None


def _check_devices(compute: Compute) -> None:
    if choose_device(compute).type == "cuda" and compute.processes > torch.cuda.device_count():
        raise DcubeError(
            f"compute.processes is {compute.processes}, and this machine has {torch.cuda.device_count()} usable GPUs: "
            "ask for one process a GPU"
        )


def _silence_launcher() -> None:
    """What a process has to say it says itself."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _exit_code(codes: list[int]) -> int:
    """Bad input before anything else; a process killed by signal N as a shell would say it, 128 + N."""
    if BAD_INPUT in codes:
        return BAD_INPUT
    killed = [128 - code for code in codes if code < 0 and -code != signal.SIGTERM]
    return killed[0] if killed else 1
