"""The command of a stage: `STAGE [WORDS…]`."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature

from dcube.errors import DcubeError, one_line_errors
from dcube.runtime.processes import prepare_process
from dcube.stages.process.announcement import announce
from dcube.stages.process.running import run
from dcube.tracking.inputs import inputs_at_start


def main(stage: str = "", *words: str) -> None:
    prepare_process()
    with one_line_errors():
        inputs_at_start()  # must be called before the code of the stage is imported
        announce("@".join((stage, *words)))
        work = main_of(stage)
        if len(words) != len(signature(work).parameters):
            raise DcubeError(f"`{' '.join((stage, *words))}` is no stage's command: dvc.yaml lists them")
    run(work, *words)


def main_of(stage: str) -> Callable[..., None]:
    """Return the function `main` of a stage.

    Raises:
        DcubeError: if there is no such stage.
    """
    name = f"dcube.stages.{stage}"
    try:
        work: Callable[..., None] = import_module(name).main
    except (ModuleNotFoundError, AttributeError) as error:
        if error.name == "main" or name.startswith(str(error.name)):
            raise DcubeError(f"`{stage}` is no stage's command: dvc.yaml lists them") from None
        raise
    return work
