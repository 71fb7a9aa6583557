"""`python -m dcube.stages STAGE [WORDS…]`: how dvc.yaml starts a stage."""

import atexit
import gc
import sys
from collections.abc import Callable
from importlib import import_module

from dcube.errors import DcubeError, one_line_errors
from dcube.stages import run


def main(stage: str = "", *words: str) -> None:
    with one_line_errors():
        work = main_of(stage)
    # torch and MLflow make a million objects while they are imported, and none of them is garbage. To look through them
    # again and again, meanwhile (`main_of`) and later, takes a sixth of the time of a short stage.
    gc.freeze()
    atexit.register(gc.unfreeze)  # some libraries complain about objects that outlive the interpreter
    atexit.register(gc.disable)
    run(work, *words)


def main_of(stage: str) -> Callable[..., None]:
    """What a stage does.

    Raises:
        DcubeError: there is no such stage.
    """
    name = f"dcube.stages.{stage}"
    gc.disable()
    try:
        work: Callable[..., None] = import_module(name).main
    except (ModuleNotFoundError, AttributeError) as error:
        if error.name == "main" or name.startswith(str(error.name)):
            raise DcubeError(f"{stage!r} is no stage: dvc.yaml lists them") from None
        raise
    finally:
        gc.enable()
    return work


if __name__ == "__main__":
    main(*sys.argv[1:])
