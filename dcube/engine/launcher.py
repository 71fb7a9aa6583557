"""Starts a command again in several processes on this machine, by torchrun."""

import logging
import signal
from collections.abc import Callable

import torch
import torch.distributed as dist

from dcube.engine.distributed import joined_processes
from dcube.runtime.settings import library_defaults


def launch(processes: int, work: Callable[[], None], module: str, *words: str) -> None:
    """Do `work` in this process, or in each of `processes`. Started by torchrun, this is one of its processes.

    Args:
        module, words: the command `python -m module words…` that led here and leads every process here again.

    Raises:
        SystemExit: a process failed, and has said why: with its exit code, 128 + N if signal N killed it.
    """
    if processes == 1 or dist.is_torchelastic_launched():
        with joined_processes():
            work()
    else:
        threads = max(1, torch.get_num_threads() // processes)
        with library_defaults({"OMP_NUM_THREADS": str(threads)}):
            _torchrun("--standalone", f"--nproc-per-node={processes}", "-m", module, *words)


def _torchrun(*words: str) -> None:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.disable()  # what a process has to say it says itself
    try:
        run(parse_args(words))
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        own = codes - {-signal.SIGTERM} or codes  # torchrun ends by SIGTERM those that did not fail themselves
        raise SystemExit(max(code if code > 0 else 128 - code for code in own)) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
