"""Starting a command again in several processes on this machine with torchrun."""

import logging
import signal
from collections.abc import Callable

import torch
import torch.distributed as dist

from dcube.engine.distributed import joined_processes
from dcube.runtime.settings import library_defaults


def launch(processes: int, work: Callable[[], None], module: str, *words: str) -> None:
    """Run `work` in this process, or start `processes` processes that run it.

    In a process that torchrun has started, run `work` directly.

    Args:
        module, words: the command `python -m module words…`, with which each process reaches this call again.

    Raises:
        SystemExit: if a process failed and has reported its error; with its exit code, or 128 + N after signal N.
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

    logging.disable()  # the processes report their errors themselves
    try:
        run(parse_args(words))
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        own = codes - {-signal.SIGTERM} or codes  # torchrun ends the processes that did not fail by SIGTERM
        raise SystemExit(max(code if code > 0 else 128 - code for code in own)) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
